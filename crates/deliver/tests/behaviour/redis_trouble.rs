//! Redis in trouble, of every kind that one machine can stage: what clients hear, what the logs say, and that both
//! daemons go on by themselves when it is well again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use postback_core::testing::RedisServer;

use crate::support::{Answer, Daemons, Stack, all};

mod changes;

const SOON: Duration = Duration::from_secs(30);

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Killed,
    Stopped,
    Loading,
    ReadOnly,
    MisConf,
    NoReplicas,
    Full,
    NoAuth,
    WrongPass,
}

use Kind::{Full, Killed, Loading, MisConf, NoAuth, NoReplicas, ReadOnly, Stopped, WrongPass};

impl Kind {
    /// How Redis is started for it.
    fn options(self) -> &'static [&'static str] {
        match self {
            // Microseconds a key: the commands of `stage` take four seconds.
            Loading => &["--key-load-delay", "500"],
            // Saving fails while there is a folder of that name.
            MisConf => &["--save", "3600 1000000", "--dbfilename", "blocked"],
            _ => &[],
        }
    }

    /// A word of the log line that tells of it.
    fn word(self) -> &'static str {
        match self {
            Killed | Stopped | Loading => "redis",
            ReadOnly => "READONLY",
            MisConf => "MISCONF",
            NoReplicas => "NOREPLICAS",
            Full => "OOM",
            NoAuth => "NOAUTH",
            WrongPass => "WRONGPASS",
        }
    }

    /// How long it lasts at least.
    fn lasts(self) -> Duration {
        Duration::from_secs(if self == Stopped { 10 } else { 3 })
    }

    /// What both `/readyz` say. A full Redis answers, and takes all that deliver tells it.
    fn ready(self) -> (u16, u16) {
        if self == Full { (200, 200) } else { (503, 503) }
    }
}

/// A command from its words; `''` is an empty one.
fn command(text: &str) -> redis::Cmd {
    let mut parts = text.split(' ').map(|part| if part == "''" { "" } else { part });
    redis::cmd(parts.next().unwrap()).arg(parts.collect::<Vec<_>>()).to_owned()
}

fn try_ask<T: redis::FromRedisValue>(redis: &RedisServer, text: &str) -> redis::RedisResult<T> {
    command(text).query(&mut redis::Client::open(redis.url_text())?.get_connection()?)
}

fn ask<T: redis::FromRedisValue>(redis: &RedisServer, text: &str) -> T {
    try_ask(redis, text).unwrap()
}

fn tell(redis: &RedisServer, command: &str) {
    ask::<redis::Value>(redis, command);
}

/// One case: the daemons, and what was answered to each row.
struct Case {
    kind: Kind,
    daemons: Daemons,
    /// The operator's connection, open before any password changes.
    operator: redis::Connection,
    codes: BTreeMap<u32, String>,
}

impl Case {
    fn start(kind: Kind) -> Case {
        // Each shard's worker has connections of its own, and still there is one line.
        let stack = match kind {
            Killed | ReadOnly => Stack::start_with_shards(3),
            _ => Stack::start_with(kind.options()),
        };
        // Otherwise Redis may postpone its writes on a slow disk, and a kill loses them.
        tell(&stack.redis, "CONFIG SET appendfsync always");
        let mut url = stack.redis.url_text();
        if kind == WrongPass {
            tell(&stack.redis, "ACL SETUSER pb on >old ~* &* +@all");
            url += "?user=pb&pass=old";
        }
        let operator =
            redis::Client::open(stack.redis.url_text()).unwrap().get_connection().unwrap();
        let daemons = Daemons::start(stack, &url, &url);
        Case { kind, daemons, operator, codes: BTreeMap::new() }
    }

    fn operate(&mut self, text: &str) {
        command(text).query::<redis::Value>(&mut self.operator).unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.daemons.stack.redis.pid().to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// How many commands Redis has done or refused so far, where it can be asked.
    fn commands(&mut self) -> u64 {
        if ![ReadOnly, MisConf, NoReplicas, NoAuth].contains(&self.kind) {
            return 0;
        }
        let text: String = command("INFO commandstats").query(&mut self.operator).unwrap();
        let counts = text.split([',', ':', '\r']).filter_map(|part| {
            let (name, n) = part.split_once('=')?;
            ["calls", "rejected_calls"].contains(&name).then(|| n.parse::<u64>().unwrap())
        });
        counts.sum()
    }

    fn blocked(&self) -> std::path::PathBuf {
        self.daemons.stack.redis.dir().join("blocked")
    }

    fn stage(&mut self) {
        match self.kind {
            Killed => self.daemons.stack.redis.kill(),
            Stopped => self.signal("STOP"),
            Loading => {
                let mut fill = redis::pipe();
                (0..8192)
                    .for_each(|n| _ = fill.cmd("SET").arg(format!("other:{n}")).arg(n).ignore());
                fill.query::<()>(&mut self.operator).unwrap();
                self.daemons.stack.redis.kill();
                self.daemons.stack.redis.up();
            }
            ReadOnly => self.operate("REPLICAOF 127.0.0.1 1"),
            MisConf => {
                std::fs::create_dir(self.blocked()).unwrap();
                self.operate("BGSAVE");
            }
            NoReplicas => self.operate("CONFIG SET min-replicas-to-write 1"),
            Full => self.operate("CONFIG SET maxmemory 1mb"),
            NoAuth => {
                self.operate("CONFIG SET requirepass secret");
                self.operate("CLIENT KILL TYPE normal SKIPME yes");
            }
            WrongPass => {
                self.operate("ACL SETUSER pb resetpass >new");
                self.operate("CLIENT KILL USER pb");
            }
        }
    }

    fn heal(&mut self) {
        match self.kind {
            Killed => self.daemons.stack.redis.up(),
            Stopped => self.signal("CONT"),
            Loading => {} // by itself
            ReadOnly => self.operate("REPLICAOF NO ONE"),
            MisConf => {
                std::fs::remove_dir(self.blocked()).unwrap();
                self.operate("BGSAVE");
            }
            NoReplicas => self.operate("CONFIG SET min-replicas-to-write 0"),
            Full => self.operate("CONFIG SET maxmemory 0"),
            NoAuth => self.operate("CONFIG SET requirepass ''"),
            WrongPass => self.operate("ACL SETUSER pb resetpass >old"),
        }
    }

    /// Posts a row of its own number and keeps the answer's code.
    fn post(&mut self) -> Answer {
        let n = self.codes.len() as u32;
        let answer = self.daemons.post("/x", n);
        self.codes.insert(n, answer.code().to_owned());
        answer
    }

    /// The client's side of a refusal.
    fn check_refusal(&self, answer: &Answer) {
        let kind = self.kind;
        assert_eq!(answer.status, 503, "{kind:?}: {answer:?}");
        assert!(answer.took < Duration::from_secs(2), "{kind:?}: {answer:?}");
        let text = answer.text.to_lowercase();
        // A full one's is reckoned from what was delivered of late.
        let retry = if kind == Full { "\r\nretry-after: " } else { "\r\nretry-after: 2\r\n" };
        assert!(text.contains(retry), "{kind:?}: {answer:?}");
        assert!(text.contains("application/problem+json"), "{kind:?}: {answer:?}");
        assert!(["not_enqueued", "unknown"].contains(&answer.code()), "{kind:?}: {answer:?}");
    }

    /// The trouble, from its begin to its end.
    fn suffer(&mut self) {
        let kind = self.kind;
        self.stage();
        // A save that fails takes Redis a moment to notice.
        let first = self.until_status(503);
        self.check_refusal(&first);
        let (since, cpu, commands) = (Instant::now(), self.daemons.cpu(), self.commands());
        self.daemons.until(&format!("{kind:?}: readiness {:?}", kind.ready()), || {
            self.daemons.ready() == kind.ready()
        });
        while since.elapsed() < kind.lasts() {
            let answer = self.post();
            if kind == Loading && answer.status == 202 {
                break;
            }
            self.check_refusal(&answer);
            std::thread::sleep(Duration::from_millis(50)); // a client that keeps asking
        }
        let asked = (self.commands() - commands) as f64 / since.elapsed().as_secs_f64();
        assert!(asked < 200.0, "{kind:?}: {asked:.0} commands a second");
        let used = self.daemons.cpu().saturating_sub(cpu);
        let share = used.as_secs_f64() / since.elapsed().as_secs_f64();
        assert!(share < 0.3, "{kind:?}: {share:.2} of a core used while redis was in trouble");
        let unknown = self.codes.values().filter(|code| *code == "unknown").count();
        let most = if [Stopped, Loading].contains(&kind) { 8 } else { 0 };
        assert!(unknown <= most, "{kind:?}: {unknown} answers unknown");
    }

    fn until_status(&mut self, status: u16) -> Answer {
        let since = Instant::now();
        loop {
            let answer = self.post();
            if answer.status == status {
                return answer;
            }
            let (ingest, deliver) = (self.daemons.log("ingest"), self.daemons.log("deliver"));
            assert!(since.elapsed() < SOON, "{:?}: {answer:?}\n{ingest}\n{deliver}", self.kind);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Each change is one line in each daemon's log.
    fn check_logs(&self) {
        let kind = self.kind;
        for (daemon, bad, well) in [
            ("ingest", "requests get 503", "redis is well again"),
            ("deliver", "waiting for it", "redis is back"),
        ] {
            let (bad, well) = (self.daemons.lines(daemon, bad), self.daemons.lines(daemon, well));
            if kind == Full && daemon == "deliver" {
                assert!(bad.is_empty(), "{kind:?}: {bad:?}");
                continue;
            }
            // A Redis that starts is away, then loading; a connection that is cut tells of it first.
            let most = match kind {
                Killed | Loading | NoAuth | WrongPass => 2,
                _ => 1,
            };
            assert!((1..=most).contains(&bad.len()), "{kind:?}, {daemon}: {bad:?}");
            assert!(bad.iter().any(|line| line.contains(kind.word())), "{kind:?}: {bad:?}");
            assert_eq!(well.len(), 1, "{kind:?}, {daemon}: {well:?} after {bad:?}");
        }
    }

    fn until_told(&mut self) {
        let since = Instant::now();
        let told = |case: &Case| {
            let deliver = case.kind == Full || !case.daemons.lines("deliver", "is back").is_empty();
            deliver && !case.daemons.lines("ingest", "is well again").is_empty()
        };
        while !told(self) {
            assert!(since.elapsed() < SOON, "{:?}: {}", self.kind, self.daemons.log("deliver"));
            let answer = self.post();
            // Another thread of ingest may be waiting for its own connection.
            let is_well = answer.status == 202 || since.elapsed() < Duration::from_secs(3);
            assert!(is_well, "{:?}: after it was well: {answer:?}", self.kind);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What was accepted arrived once, what was refused never.
    async fn check_rows(&self) {
        let kind = self.kind;
        let accepted = self.codes.values().filter(|code| code.is_empty()).count();
        self.daemons.stack.until_seen(accepted).await;
        self.daemons.stack.until(SOON, "all delivered", |stats| stats.pending == 0).await;
        let mut times: BTreeMap<u32, usize> = BTreeMap::new();
        for seen in self.daemons.stack.seen() {
            if let Some(n) = seen.target.strip_prefix("/x?n=") {
                *times.entry(n.parse().unwrap()).or_default() += 1;
            }
        }
        for (n, code) in &self.codes {
            let times = times.get(n).copied().unwrap_or_default();
            let right = match code.as_str() {
                "" => times == 1,
                "unknown" => times <= 1,
                _ => times == 0,
            };
            assert!(right, "{kind:?}: row {n}, answered `{code}`, arrived {times} times");
        }
    }
}

async fn check(kind: Kind) {
    let mut case = Case::start(kind);
    case.until_status(202);
    case.daemons.until("readiness", || case.daemons.ready() == (200, 200));
    if kind == Full {
        case.daemons.stack.enqueue_numbers("/slow/20?b={n}", 0..4_000).await;
    }
    case.suffer();
    if kind == Full {
        let stack = &case.daemons.stack;
        stack.until(SOON, "the backlog's end", |stats| stats.pending == 0).await;
    }
    case.heal();
    case.until_status(202);
    case.daemons.until("readiness", || case.daemons.ready() == (200, 200));
    case.until_told();
    case.check_logs();
    case.check_rows().await;
}

#[test]
fn in_every_trouble_clients_hear_it_each_change_is_one_line_and_nothing_needs_a_restart() {
    all([Killed, Stopped, Loading, ReadOnly, MisConf, NoReplicas, Full, NoAuth, WrongPass], check);
}
