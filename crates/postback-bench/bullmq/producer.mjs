// Adds jobs in bulk: `producer.mjs REDIS_SOCKET TARGETS_FILE JOBS_AT_ONCE`.
//
// Writes `ready`; then each line read is a number of jobs to add.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Queue } from "bullmq";

const [path, file, size] = process.argv.slice(2);
const atOnce = Number(size);
const targets = readFileSync(file, "utf8").trim().split("\n");
const queue = new Queue("postbacks", {
  connection: { path },
  defaultJobOptions: {
    attempts: 5,
    backoff: { type: "exponential", delay: 1000 },
    removeOnComplete: true,
    removeOnFail: true,
  },
});
await queue.waitUntilReady();
console.log("ready");
let next = 0;
for await (const line of createInterface({ input: process.stdin })) {
  for (let left = Number(line); left > 0; left -= atOnce) {
    const jobs = Array.from({ length: Math.min(left, atOnce) }, () => ({
      name: "postback",
      data: { url: targets[next++ % targets.length] },
    }));
    await queue.addBulk(jobs);
  }
}
await queue.close();
