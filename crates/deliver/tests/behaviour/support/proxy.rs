//! A proxy before Redis that loses or delays what it is told to.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use postback_core::testing::RedisServer;

/// What happens to a command or its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The connection is cut, and Redis never sees the command.
    Before,
    /// Redis does it; the connection is cut before a byte of the reply is handed on.
    After,
    /// Half of the reply is handed on before the cut.
    Within,
    /// The reply comes, but 3 s late.
    Late,
}

/// The reply of a reserve that brought nothing is not longer, and not worth losing.
const EMPTY: usize = 200;

#[derive(Default)]
struct State {
    /// The scripts' names by their hashes.
    names: HashMap<String, &'static str>,
    /// What shall happen to the next command of a name.
    rule: Option<(&'static str, How)>,
    /// Whether it has happened.
    lost: bool,
    /// What came by, by name.
    seen: Vec<String>,
}

pub(crate) struct Proxy {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

/// A connection through the proxy.
struct Pair {
    client: UnixStream,
    redis: UnixStream,
    /// What happens to the next reply.
    next: Mutex<Option<(&'static str, How)>>,
    over: AtomicBool,
}

impl Proxy {
    pub(crate) fn start(redis: &RedisServer) -> Proxy {
        Proxy::start_in(redis, redis.dir())
    }

    /// One of several, with a folder of its own.
    pub(crate) fn start_in(redis: &RedisServer, folder: &Path) -> Proxy {
        let path = folder.join("proxy.sock");
        let upstream = redis.dir().join("redis.sock");
        let names = script_names(redis);
        let state = Arc::new(Mutex::new(State { names, ..State::default() }));
        let listener = UnixListener::bind(&path).expect("a socket");
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(redis) = UnixStream::connect(&upstream) else { continue };
                let over = AtomicBool::new(false);
                let pair = Arc::new(Pair { client, redis, next: Mutex::default(), over });
                let (there, back, state) = (pair.clone(), pair, shared.clone());
                let of_replies = state.clone();
                std::thread::spawn(move || there.commands(&state));
                std::thread::spawn(move || back.replies(&of_replies));
            }
        });
        Proxy { state, path }
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// What shall happen to the next command of this name: `enqueue`, `reserve`, `settle`, `beat`, `beat first`…
    pub(crate) fn lose(&self, name: &'static str, how: How) {
        self.state.lock().expect("unpoisoned").rule = Some((name, how));
    }

    /// Whether what was asked has happened.
    pub(crate) fn has_lost(&self) -> bool {
        self.state.lock().expect("unpoisoned").lost
    }

    /// How many commands of this name came by.
    pub(crate) fn seen(&self, name: &str) -> usize {
        self.state.lock().expect("unpoisoned").seen.iter().filter(|seen| *seen == name).count()
    }
}

impl Pair {
    fn commands(&self, state: &Mutex<State>) {
        let mut from = BufReader::new(&self.client);
        while let Some((raw, parts)) = read_command(&mut from) {
            let asked = state.lock().expect("unpoisoned").judge(&parts);
            if asked.is_some_and(|(_, how)| how == How::Before) {
                state.lock().expect("unpoisoned").lost = true;
                break;
            }
            if asked.is_some() {
                *self.next.lock().expect("unpoisoned") = asked;
            }
            if (&self.redis).write_all(&raw).is_err() {
                break;
            }
        }
        self.cut();
    }

    fn replies(&self, state: &Mutex<State>) {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(n @ 1..) = (&self.redis).read(&mut buffer) {
            let asked = self.next.lock().expect("unpoisoned").take();
            let how = asked.filter(|(name, _)| *name != "reserve" || n > EMPTY).map(|(_, how)| how);
            if asked.is_some() {
                let mut state = state.lock().expect("unpoisoned");
                state.lost = how.is_some();
                state.rule = asked.filter(|_| how.is_none());
            }
            let handed = match how {
                Some(How::After) => 0,
                Some(How::Within) => n / 2,
                _ => n,
            };
            if how == Some(How::Late) {
                std::thread::sleep(Duration::from_secs(3)); // the case itself
            }
            if self.over.load(Ordering::Relaxed)
                || (&self.client).write_all(&buffer[..handed]).is_err()
                || handed < n
            {
                break;
            }
        }
        self.cut();
        // What Redis still answers is read, so that it does all that it was sent.
        while let Ok(1..) = (&self.redis).read(&mut buffer) {}
    }

    fn cut(&self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.client.shutdown(Shutdown::Both));
        drop(self.redis.shutdown(Shutdown::Write));
    }
}

impl State {
    fn judge(&mut self, parts: &[Vec<u8>]) -> Option<(&'static str, How)> {
        let text = |n: usize| parts.get(n).map(|part| String::from_utf8_lossy(part).into_owned());
        let mut name = text(0).unwrap_or_default();
        if let Some(script) = text(1).and_then(|hash| self.names.get(&hash)) {
            name = (*script).to_owned();
        }
        // EVALSHA, hash, 1, key, worker, which
        let full = format!("{name} {}", text(5).unwrap_or_default());
        let asked = self.rule.take_if(|(rule, _)| *rule == name || *rule == full);
        self.seen.push(name);
        asked
    }
}

/// A command (an array of bulk strings): as it came, and its parts.
fn read_command(from: &mut impl BufRead) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let (mut raw, mut parts) = (vec![], vec![]);
    let number = |from: &mut dyn BufRead, raw: &mut Vec<u8>| {
        let mut line = vec![];
        from.read_until(b'\n', &mut line).ok().filter(|n| *n > 0)?;
        raw.extend(&line);
        std::str::from_utf8(line.get(1..)?).ok()?.trim().parse::<usize>().ok()
    };
    for _ in 0..number(from, &mut raw)? {
        let mut part = vec![0; number(from, &mut raw)? + 2];
        from.read_exact(&mut part).ok()?;
        raw.extend(&part);
        part.truncate(part.len() - 2);
        parts.push(part);
    }
    Some((raw, parts))
}

fn script_names(redis: &RedisServer) -> HashMap<String, &'static str> {
    macro_rules! script {
        ($name:literal) => {
            ($name, include_str!(concat!("../../../../postback-core/src/queue/", $name, ".lua")))
        };
    }
    let common = script!("common").1;
    let mut connection =
        redis::Client::open(redis.url_text()).expect("a URL").get_connection().expect("redis");
    let scripts = [
        script!("check"),
        script!("enqueue"),
        script!("reserve"),
        script!("settle"),
        script!("beat"),
    ];
    let hashes = scripts.map(|(name, own)| {
        let load = redis::cmd("SCRIPT").arg("LOAD").arg(format!("{common}{own}")).to_owned();
        (load.query(&mut connection).expect("a hash"), name)
    });
    hashes.into()
}
