//! A private redis-server for tests. Built with the feature `testing` only.

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::redis::RedisUrl;

/// A redis-server of the test's own, on a unix socket in a directory that goes with it.
#[derive(Debug)]
pub struct RedisServer {
    child: Option<Child>,
    dir: PathBuf,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts one with AOF on and `noeviction`, as in production.
    ///
    /// # Panics
    /// When redis-server is not installed or does not come up within 30 s.
    pub fn start() -> RedisServer {
        RedisServer::start_with(&[])
    }

    /// Starts one with further options, such as `["--maxmemory", "8mb"]`.
    ///
    /// # Panics
    /// As [`RedisServer::start`].
    pub fn start_with(options: &[&str]) -> RedisServer {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("postback-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a directory for redis");
        let options = options.iter().map(ToString::to_string).collect();
        let mut server = RedisServer { child: None, dir, options };
        server.up();
        server
    }

    /// Starts it again after [`RedisServer::kill`], with what its append-only file holds.
    ///
    /// # Panics
    /// As [`RedisServer::start`].
    pub fn up(&mut self) {
        let socket = self.dir.join("redis.sock");
        drop(std::fs::remove_file(&socket));
        let child = Command::new("redis-server")
            .args(["--port", "0", "--appendonly", "yes", "--save", "", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(&self.dir)
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        let since = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(since.elapsed() < Duration::from_secs(30), "redis-server did not come up");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it (SIGKILL); its append-only file stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Sends it a signal by name, such as `STOP`; nothing after [`RedisServer::kill`].
    ///
    /// # Panics
    /// When the signal is none.
    pub fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
            assert!(sent.expect("kill is installed").success(), "no signal {name}");
        }
    }

    /// Its process id; 0 after [`RedisServer::kill`].
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Its directory, which tests may put sockets and files into.
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// Its URL as a text, for a daemon's `--redis-url`.
    pub fn url_text(&self) -> String {
        format!("unix://{}", self.dir.join("redis.sock").display())
    }

    /// Its URL.
    ///
    /// # Panics
    /// Never: the text is a good URL.
    pub fn url(&self) -> RedisUrl {
        self.url_text().parse().expect("a unix socket's URL")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        drop(std::fs::remove_dir_all(&self.dir));
    }
}
