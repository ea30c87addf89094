//! A private, real stack: redis, deliver, ingest and nginx under supervisord, configured by `scripts/render`, and the
//! sink beside them. Unprivileged, on free ports and sockets in a folder of its own.
//!
//! All of it is killed, by process id, when the [`Stack`] is dropped. Finding its processes is in `processes`, what it
//! is configured with in `settings`.

mod network;
mod processes;
mod settings;
mod wrappers;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use postback_core::queue::{Queue, Shard};

pub(super) use self::{
    network::{Layout, Network},
    processes::{Process, sample, signal},
    settings::{DELIVERS, IN_FLIGHT, Settings, proxy_socket, redis_socket},
    wrappers::Before,
};
use self::{processes::descendants, settings::Ports};
use super::journal::Journals;
use crate::{
    chaos::namespace::{mount_small, unmount},
    isolation::measure::{Seen, is_ready, seen},
};

/// How long the stack may take until every program serves.
const START: Duration = Duration::from_secs(60);
/// How long Redis may take to answer a command of the trial's own.
const REPLY: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// A running stack.
#[derive(Debug)]
pub(super) struct Stack {
    folder: PathBuf,
    supervisord: Child,
    sink: Child,
    /// Where nginx takes requests.
    pub(super) listen: SocketAddr,
    /// The sink's addresses, as they stand in URLs.
    pub(super) hosts: Vec<String>,
    /// Where each deliver serves its figures.
    metrics: Vec<SocketAddr>,
    redis: String,
    pub(super) network: Network,
    _disks: Disks,
}

/// Small disks that are there; they go when this is dropped.
#[derive(Debug)]
struct Disks(Vec<PathBuf>);

impl Stack {
    /// Starts one in this folder and waits until it serves; `root` is the checkout.
    pub(super) async fn start(
        root: &Path,
        folder: &Path,
        settings: &Settings,
    ) -> anyhow::Result<Stack> {
        let network = Network::lay(settings.layout, settings.delivers)?;
        let mut settings = settings.clone();
        network.configure(&mut settings);
        let disks = Disks::mount(folder, &settings.disks)?;
        let ports = Ports::free(settings.delivers)?;
        settings.render(root, folder, &ports)?;
        let (sink, hosts) = start_sink(folder, &network)?;
        let mut stack = Stack {
            folder: folder.to_owned(),
            supervisord: start_supervisord(folder)?,
            sink,
            listen: ports.listen(),
            hosts,
            metrics: network
                .metrics()
                .unwrap_or_else(|| ports.metrics(settings.delivers).collect()),
            redis: format!("unix://{}", redis_socket(folder).display()),
            network,
            _disks: disks,
        };
        stack.until_ready().await?;
        Ok(stack)
    }

    /// Waits until nginx reaches ingest, ingest and every deliver reach Redis.
    pub(super) async fn until_ready(&mut self) -> anyhow::Result<()> {
        let since = Instant::now();
        loop {
            let mut waits = vec![];
            for address in self.metrics.iter().chain([&self.listen]) {
                if !is_ready(*address).await {
                    waits.push(address.to_string());
                }
            }
            if waits.is_empty() {
                return Ok(());
            }
            if let Some(status) = self.supervisord.try_wait()? {
                anyhow::bail!("supervisord ended ({status}): see {}", self.logs().display());
            }
            anyhow::ensure!(
                since.elapsed() < START,
                "{} not ready after {START:?}: see {}",
                waits.join(", "),
                self.logs().display()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Requests in flight in all delivers.
    pub(super) async fn in_flight(&self) -> anyhow::Result<u64> {
        let mut all = 0;
        for address in &self.metrics {
            all += seen(*address).await?.in_flight;
        }
        Ok(all)
    }

    /// The sink's process.
    pub(super) fn sink_pid(&self) -> u32 {
        self.sink.id()
    }

    /// A plain connection to Redis, past any proxy.
    pub(super) async fn redis(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.redis.as_str())?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(REPLY));
        Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
    }

    /// What each deliver tells of itself, in order of their numbers.
    pub(super) async fn seen(&self) -> anyhow::Result<Vec<Seen>> {
        let mut all = vec![];
        for address in &self.metrics {
            all.push(seen(*address).await?);
        }
        Ok(all)
    }

    /// A path in the stack's folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn logs(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The processes under supervisord that run, nginx's workers among them.
    pub(super) fn processes(&self) -> Vec<Process> {
        descendants(self.supervisord.id())
    }

    /// The processes of a program by its file's name: `deliver`, `ingest`, `redis-server`.
    pub(super) fn pids(&self, program: &str) -> Vec<u32> {
        self.processes().into_iter().filter(|p| p.program == program).map(|p| p.pid).collect()
    }

    /// Runs `supervisorctl` with these words and waits for it.
    pub(super) async fn supervisorctl(&self, words: &[&str]) -> anyhow::Result<()> {
        let output = tokio::process::Command::new("supervisorctl")
            .arg("-c")
            .arg(self.folder.join("supervisord.conf"))
            .args(words)
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run supervisorctl")?;
        let text = String::from_utf8_lossy(&output.stdout);
        anyhow::ensure!(output.status.success(), "supervisorctl {words:?}: {}", text.trim());
        Ok(())
    }

    /// The queue's only shard, over a connection of its own past any proxy.
    pub(super) fn shard(&self) -> anyhow::Result<Shard> {
        let url = self.redis.parse().map_err(|error| anyhow::anyhow!("{}: {error}", self.redis))?;
        Ok(Queue::open(&url, "pb", 1)?.shards()[0].clone())
    }
}

impl Drop for Stack {
    /// Nothing is asked to stop: some may be stopped by a signal or wait for Redis, and what they hold is journalled.
    fn drop(&mut self) {
        // Stopped, supervisord starts nothing anew while its programs are killed.
        signal(&[self.supervisord.id()], "STOP");
        loop {
            let left: Vec<u32> = self.processes().iter().map(|p| p.pid).collect();
            if left.is_empty() {
                break;
            }
            signal(&left, "KILL");
            std::thread::sleep(Duration::from_millis(5));
        }
        for child in [&mut self.supervisord, &mut self.sink] {
            // One that is gone already is what is wanted.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Disks {
    fn mount(folder: &Path, disks: &[(&str, u32)]) -> anyhow::Result<Disks> {
        let mut mounted = Disks(vec![]);
        for (name, mib) in disks {
            mount_small(&folder.join(name), *mib)?;
            mounted.0.push(folder.join(name));
        }
        Ok(mounted)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        self.0.iter().for_each(|folder| unmount(folder));
    }
}

/// The path of a program of this workspace: beside the running one.
fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(path.exists(), "{} is missing: build the workspace", path.display());
    Ok(path)
}

fn start_sink(folder: &Path, network: &Network) -> anyhow::Result<(Child, Vec<String>)> {
    let (listen, addresses) = network.partner();
    let mut child = network
        .beside_partner(&beside("postback-bench")?)
        .args(["sink", "--listen", &listen, "--journal"])
        .arg(folder.join(Journals::HITS))
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the sink")?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    match line.trim().strip_prefix("listening on ").and_then(|address| address.rsplit_once(':')) {
        Some((_, port)) => {
            Ok((child, addresses.iter().map(|address| format!("{address}:{port}")).collect()))
        }
        None => {
            drop(child.kill());
            drop(child.wait());
            anyhow::bail!("the sink did not tell its address: `{line}`")
        }
    }
}

/// In a process group of its own: a Ctrl-C in a terminal is for this program alone, which then stops the rest.
fn start_supervisord(folder: &Path) -> anyhow::Result<Child> {
    let output = fs::File::create(folder.join("supervisord.out"))?;
    Command::new("supervisord")
        .args(["-n", "-c"])
        .arg(folder.join("supervisord.conf"))
        .process_group(0)
        .stdin(Stdio::null())
        .stderr(output.try_clone()?)
        .stdout(output)
        .spawn()
        .context("cannot start supervisord (Debian's package supervisor)")
}
