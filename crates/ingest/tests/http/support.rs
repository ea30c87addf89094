//! An ingest in the test's own process, on free ports, and a client that sends exactly what it is told to.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

use clap::Parser;
use ingest::{config::Config, server};
use postback_core::testing::RedisServer;
use serde_json::Value;
use tokio::sync::oneshot;

/// What an ingest answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (given, value) = line.split_once(": ")?;
            given.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Sends raw bytes on a connection of their own and reads until it is closed.
pub(crate) fn send(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    read(stream)
}

pub(crate) fn read(mut stream: impl Read) -> Answer {
    let mut bytes = vec![];
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default();
    Answer { status, head: head.into(), body: body.into() }
}

/// A request that closes its connection, in text.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    format!("{head}\r\n{body}").into_bytes()
}

/// The header that every good request has.
pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A running ingest.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    pub(crate) fn start(redis_url: &str, options: &[&str]) -> Front {
        let own = ["ingest", "--redis-url", redis_url, "--listen", "127.0.0.1:0"];
        let free = ["--admin-listen", "127.0.0.1:0"];
        let config = Config::parse_from(own.iter().chain(&free).chain(options));
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let ingest = server::bind(&config).await.unwrap();
                tell.send((ingest.address, ingest.admin_address)).unwrap();
                ingest.run(async { drop(stopped.await) }).await.unwrap();
            });
        });
        let (address, admin) = told.recv().unwrap();
        Front { address, admin, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        send(self.address, &request("POST", path, &[JSON], body))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        send(self.address, &request("GET", path, &[], ""))
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// How many keys Redis holds, without the figures that ingest tells of its box and of the queue now and then.
pub(crate) fn keys(redis: &RedisServer) -> usize {
    let is_figure = |key: &String| {
        [":minute:", ":health:", ":sampled"].iter().any(|figure| key.contains(figure))
    };
    let keys: Vec<String> = ask(redis, &["KEYS", "*"]);
    keys.iter().filter(|key| !is_figure(key)).count()
}

pub(crate) fn ask<T: redis::FromRedisValue>(redis: &RedisServer, command: &[&str]) -> T {
    let mut connection = redis::Client::open(redis.url_text()).unwrap().get_connection().unwrap();
    redis::cmd(command[0]).arg(&command[1..]).query(&mut connection).unwrap()
}

/// A request that is right.
pub(crate) const GOOD: &str = r#"{"endpoint":{"method":"GET","url":"http://a.com/x?k={k}&bar={bar}"},"data":[{"k":1},{"k":2}]}"#;
