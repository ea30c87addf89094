//! nginx in front of ingest, configured by the project's own template.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::isolation::{measure::cpu_seconds, stack::free_port};

/// How long nginx may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running nginx with its workers.
#[derive(Debug)]
pub(super) struct Front {
    master: Child,
    /// Where it takes requests.
    pub(super) listen: SocketAddr,
    /// Where ingest is to listen, as its option takes it.
    pub(super) upstream: String,
}

impl Front {
    /// Renders the configuration of the checkout at `root` into `folder` and starts nginx by it.
    pub(super) fn start(root: &Path, folder: &Path) -> anyhow::Result<Front> {
        let (listen, admin) = (free_port()?, free_port()?);
        let run = folder.display();
        // All the load comes from one address: no client has a limit here.
        let settings = format!(
            "POSTBACK_RUN={run}\nPOSTBACK_SOCKETS={run}\nPOSTBACK_LISTEN={listen}\n\
             POSTBACK_ACCESS_LOG={run}/access.log\nINGEST_ADMIN_LISTEN={admin}\n\
             INGEST_CLIENT_RATE=none\nPOSTBACK_CLIENT_REQUESTS=none\n"
        );
        let (file, conf) = (folder.join("settings.env"), folder.join("conf"));
        fs::write(&file, settings)?;
        render(root, &file, &conf)?;
        let master = command()
            .args(["-e", "stderr", "-c"])
            .arg(conf.join("nginx.conf"))
            .spawn()
            .context("cannot start nginx: install it (Debian: apt-get install nginx)")?;
        let front = Front { master, listen, upstream: format!("unix:{run}/ingest/ingest.sock") };
        let since = Instant::now();
        while TcpStream::connect(listen).is_err() {
            anyhow::ensure!(since.elapsed() < PATIENCE, "nginx does not listen on {listen}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(front)
    }

    /// CPU seconds that master and workers have used.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let pid = self.master.id();
        let workers = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .context("cannot read the workers of nginx")?;
        let workers = workers.split_whitespace().filter_map(|worker| worker.parse().ok());
        workers.chain([pid]).map(cpu_seconds).sum()
    }
}

impl Drop for Front {
    /// Asks the master to stop, which stops its workers; one that does not is killed.
    fn drop(&mut self) {
        _ = Command::new("kill").arg(self.master.id().to_string()).stderr(Stdio::null()).status();
        let since = Instant::now();
        while matches!(self.master.try_wait(), Ok(None)) {
            if since.elapsed() > PATIENCE {
                _ = self.master.kill();
                _ = self.master.wait();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Runs the checkout's `scripts/render`.
fn render(root: &Path, settings: &Path, conf: &Path) -> anyhow::Result<()> {
    let script: PathBuf = root.join("scripts/render");
    let mut render = Command::new(&script);
    // The environment goes before the file: what is set for another stack is not for this one.
    for (name, _) in std::env::vars() {
        let ours = ["POSTBACK_", "INGEST_", "DELIVER_"].iter().any(|start| name.starts_with(start));
        if ours || name == "REDIS_URL" {
            render.env_remove(name);
        }
    }
    let output = render.arg(settings).arg(conf).output().with_context(|| {
        format!("cannot run {}: name the checkout with --root", script.display())
    })?;
    let text = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "scripts/render: {}", text.trim());
    Ok(())
}

/// nginx, which Debian keeps where a user's PATH may not look.
pub(super) fn command() -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut nginx = Command::new("nginx");
    nginx.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    nginx
}
