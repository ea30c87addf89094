//! What a stack is configured with: settings for `scripts/render`, ports, and lines added to redis.conf.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::{Before, Layout, wrappers};

/// How many deliver processes a stack has unless a fault wants otherwise.
pub(in crate::chaos) const DELIVERS: u64 = 2;
/// Requests in flight in one deliver: the part of the bound on repeats that a kill costs.
pub(in crate::chaos) const IN_FLIGHT: u64 = 32;
/// The longest path of a unix socket.
const SOCKET_PATH: usize = 107;

/// What a stack is like.
#[derive(Debug, Clone)]
pub(in crate::chaos) struct Settings {
    /// How many deliver processes.
    pub(in crate::chaos) delivers: u64,
    /// Settings as supervisor/settings.env explains them, after the usual ones.
    pub(in crate::chaos) lines: Vec<String>,
    /// Whether the daemons reach Redis through a proxy.
    pub(in crate::chaos) proxied: bool,
    /// Lines at the end of redis.conf, where the last one of a kind holds.
    pub(in crate::chaos) redis: Vec<String>,
    /// Folders in the stack's that are small disks of their own, MiB.
    pub(in crate::chaos) disks: Vec<(&'static str, u32)>,
    pub(in crate::chaos) layout: Layout,
    /// How programs start.
    pub(in crate::chaos) before: Before,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            delivers: DELIVERS,
            lines: vec![],
            proxied: false,
            redis: vec![],
            disks: vec![],
            layout: Layout::Together,
            before: vec![],
        }
    }
}

/// Where a stack's Redis listens.
pub(in crate::chaos) fn redis_socket(folder: &Path) -> PathBuf {
    folder.join("redis/redis.sock")
}

/// Where the proxy before it listens, if there is one.
pub(in crate::chaos) fn proxy_socket(folder: &Path) -> PathBuf {
    folder.join("proxy.sock")
}

/// A hundred ports: nginx and ingest's admin pages at its end, deliver's figures at its start.
pub(super) struct Ports(u16);

const LISTEN: u16 = 98;
const ADMIN: u16 = 99;

impl Ports {
    /// A hundred below the ephemeral ports, where what is needed is free.
    pub(super) fn free(delivers: u64) -> anyhow::Result<Ports> {
        // Stacks of other runs begin elsewhere.
        let start = std::process::id() % 120;
        let hundreds = (0..120).map(|n| 200 + ((start + n) % 120) as u16);
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        let all_free = |hundred: &u16| {
            (0..delivers as u16).chain([LISTEN, ADMIN]).all(|port| is_free(100 * hundred + port))
        };
        hundreds
            .into_iter()
            .find(all_free)
            .map(Ports)
            .context("no ports are free from 20000 to 32000")
    }

    fn at(&self, port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 100 * self.0 + port).into()
    }

    pub(super) fn listen(&self) -> SocketAddr {
        self.at(LISTEN)
    }

    pub(super) fn metrics(&self, delivers: u64) -> impl Iterator<Item = SocketAddr> {
        (0..delivers as u16).map(|n| self.at(n))
    }
}

impl Settings {
    /// Writes the stack's configuration into its folder, as an operator would.
    pub(super) fn render(&self, root: &Path, folder: &Path, ports: &Ports) -> anyhow::Result<()> {
        let socket = folder.join("supervisor.sock.4194304");
        anyhow::ensure!(
            socket.as_os_str().len() <= SOCKET_PATH,
            "{} is too long for unix sockets: set TMPDIR to a shorter folder",
            folder.display()
        );
        let bin = wrappers::make(folder, &self.before)?;
        // All the load comes from one address: no client has a limit here.
        let mut text = format!(
            "POSTBACK_RUN={run}\nPOSTBACK_SOCKETS={run}\nPOSTBACK_LOGS={run}/log\nPOSTBACK_BIN={bin}\n\
             POSTBACK_LISTEN={listen}\nPOSTBACK_DELIVER_PROCS={delivers}\nPOSTBACK_DELIVER_METRICS=127.0.0.1:{hundred}\n\
             INGEST_ADMIN_LISTEN={admin}\nDELIVER_ALLOW_NET=127.0.0.0/8\nDELIVER_CONCURRENCY={IN_FLIGHT}\n\
             DELIVER_DRAIN=10s\nRUST_LOG=info\nINGEST_CLIENT_RATE=none\nPOSTBACK_CLIENT_REQUESTS=none\n",
            run = folder.display(),
            bin = bin.display(),
            listen = ports.listen(),
            delivers = self.delivers,
            hundred = ports.0,
            admin = ports.at(ADMIN),
        );
        if self.proxied {
            text.push_str(&format!("REDIS_URL=unix://{}\n", proxy_socket(folder).display()));
        }
        // Before the usual ones, as the first of a name holds.
        text.insert_str(0, &self.lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        let file = folder.join("settings.env");
        fs::write(&file, text)?;
        let mut render = Command::new(root.join("scripts/render"));
        let path = std::env::var("PATH").unwrap_or_default();
        render.env("PATH", format!("{}:{path}", bin.display())); // where redis-server is looked for
        // The environment goes before the file: what is set for another stack is not for this one.
        for (name, _) in std::env::vars() {
            let is_ours =
                ["POSTBACK_", "INGEST_", "DELIVER_"].iter().any(|start| name.starts_with(start));
            if is_ours || name == "REDIS_URL" {
                render.env_remove(name);
            }
        }
        let output = render.arg(&file).arg(folder).output().with_context(|| {
            format!(
                "cannot run scripts/render in {}: name the checkout with --root",
                root.display()
            )
        })?;
        let text = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "scripts/render: {}", text.trim());
        let mut redis = File::options().append(true).open(folder.join("redis.conf"))?;
        self.redis.iter().try_for_each(|line| writeln!(redis, "{line}"))?;
        Ok(())
    }
}
