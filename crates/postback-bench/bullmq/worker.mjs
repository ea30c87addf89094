// Sends the request of each job: `worker.mjs REDIS_SOCKET ORIGIN CONCURRENCY`. Writes `ready`; ends with its input.
import { Worker } from "bullmq";
import { Pool } from "undici";

const [path, origin, concurrency] = process.argv.slice(2);
const pool = new Pool(origin, { connections: Number(concurrency) });
const send = async (job) => {
  const { statusCode, body } = await pool.request({ method: "GET", path: job.data.url });
  await body.dump();
  if (statusCode >= 300) throw new Error(`status ${statusCode}`);
};
const worker = new Worker("postbacks", send, {
  connection: { path, maxRetriesPerRequest: null },
  concurrency: Number(concurrency),
});
worker.on("error", (error) => console.error(error));
await worker.waitUntilReady();
console.log("ready");
process.stdin.resume().on("end", () => process.exit());
