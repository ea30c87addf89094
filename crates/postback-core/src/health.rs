//! How the box is that a daemon runs on: CPU, load, memory, swap and network out of `/proc`, and nginx's connections
//! out of its `stub_status` page. The readers of texts are pure.

use std::{
    fs,
    time::{Duration, Instant},
};

/// The longest name of a box, in characters.
const NAME: usize = 64;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Interfaces that carry what others carry too, or nothing that leaves the box.
const INNER: [&str; 6] = ["lo", "veth", "docker", "br-", "virbr", "tap"];

/// How a box was between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Health {
    /// The share of its CPUs' time that was used, 0 to 1.
    pub cpu: f64,
    /// Programs that ran or wanted to, on average over the last minute.
    pub load: f64,
    /// How many CPUs it has.
    pub cores: u64,
    /// Memory that is not available, bytes.
    pub memory_used: u64,
    /// Memory, bytes.
    pub memory_total: u64,
    /// Swap in use, bytes.
    pub swap_used: u64,
    /// Swap, bytes.
    pub swap_total: u64,
    /// Bytes that came over the network a second.
    pub network_in: u64,
    /// Bytes that went over the network a second.
    pub network_out: u64,
}

/// nginx's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nginx {
    /// All that are open.
    pub active: u64,
    /// Those whose request's head is being read.
    pub reading: u64,
    /// Those whose answer is being written, or made.
    pub writing: u64,
    /// Those that are kept without a request.
    pub waiting: u64,
}

/// What `/proc` said at an instant.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    at: Instant,
    cpu: Cpu,
    load: f64,
    memory: Memory,
    network: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cpu {
    busy: u64,
    all: u64,
    cores: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    total: u64,
    available: u64,
    swap_total: u64,
    swap_free: u64,
}

/// The box's name; empty where it cannot be read.
pub fn box_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().take(NAME).collect()
}

impl Reading {
    /// Reads `/proc`; `None` where there is none, or one that is unknown.
    pub fn take() -> Option<Reading> {
        Reading::of(|name| fs::read_to_string(format!("/proc/{name}")).ok())
    }

    /// A box, or a container of one, may have no network.
    fn of(read: impl Fn(&str) -> Option<String>) -> Option<Reading> {
        Some(Reading {
            at: Instant::now(),
            cpu: cpu(&read("stat")?)?,
            load: load(&read("loadavg")?)?,
            memory: memory(&read("meminfo")?)?,
            network: network(&read("net/dev").unwrap_or_default()),
        })
    }

    /// How the box was since an earlier reading.
    pub fn since(&self, before: &Reading) -> Health {
        let used = self.cpu.busy.saturating_sub(before.cpu.busy) as f64;
        let all = self.cpu.all.saturating_sub(before.cpu.all) as f64;
        let time = self.at.saturating_duration_since(before.at).max(Duration::from_millis(1));
        let rate = |n: u64, was: u64| (n.saturating_sub(was) as f64 / time.as_secs_f64()) as u64;
        Health {
            cpu: (used / all.max(1.0)).min(1.0),
            load: self.load,
            cores: self.cpu.cores,
            memory_used: self.memory.total.saturating_sub(self.memory.available),
            memory_total: self.memory.total,
            swap_used: self.memory.swap_total.saturating_sub(self.memory.swap_free),
            swap_total: self.memory.swap_total,
            network_in: rate(self.network.0, before.network.0),
            network_out: rate(self.network.1, before.network.1),
        }
    }
}

impl Health {
    /// The kept form: thousandths of CPU, hundredths of load, CPUs, four figures in MiB, two in bytes a second. Short
    /// enough (64 bytes) for the small form of a Redis hash.
    pub fn encode(&self) -> String {
        let [used, total] = [self.memory_used, self.memory_total].map(|bytes| bytes / MIB);
        let [swap_used, swap_total] = [self.swap_used, self.swap_total].map(|bytes| bytes / MIB);
        format!(
            "{:.0} {:.0} {} {used} {total} {swap_used} {swap_total} {} {}",
            self.cpu * 1000.0,
            self.load * 100.0,
            self.cores,
            self.network_in,
            self.network_out
        )
    }

    /// Reads the kept form.
    pub fn decode(text: &str) -> Option<Health> {
        let [cpu, load, cores, used, total, swap_used, swap_total, come, gone] = numbers(text)?;
        Some(Health {
            cpu: cpu as f64 / 1000.0,
            load: load as f64 / 100.0,
            cores,
            memory_used: used.saturating_mul(MIB),
            memory_total: total.saturating_mul(MIB),
            swap_used: swap_used.saturating_mul(MIB),
            swap_total: swap_total.saturating_mul(MIB),
            network_in: come,
            network_out: gone,
        })
    }

    /// The mean of several; `None` of none.
    pub fn mean(all: &[Health]) -> Option<Health> {
        let last = all.last()?;
        let share =
            |figure: fn(&Health) -> f64| all.iter().map(figure).sum::<f64>() / all.len() as f64;
        Some(Health {
            cpu: share(|h| h.cpu),
            load: share(|h| h.load),
            memory_used: share(|h| h.memory_used as f64) as u64,
            swap_used: share(|h| h.swap_used as f64) as u64,
            network_in: share(|h| h.network_in as f64) as u64,
            network_out: share(|h| h.network_out as f64) as u64,
            ..*last
        })
    }
}

impl Nginx {
    /// Reads what nginx's `stub_status` answers.
    pub fn parse(text: &str) -> Option<Nginx> {
        let mut words = text.split_ascii_whitespace();
        let mut after =
            |word: &str| words.find(|w| *w == word).and_then(|_| words.next()?.parse().ok());
        Some(Nginx {
            active: after("connections:")?,
            reading: after("Reading:")?,
            writing: after("Writing:")?,
            waiting: after("Waiting:")?,
        })
    }

    /// The kept form.
    pub fn encode(&self) -> String {
        format!("{} {} {} {}", self.active, self.reading, self.writing, self.waiting)
    }

    /// Reads the kept form.
    pub fn decode(text: &str) -> Option<Nginx> {
        let [active, reading, writing, waiting] = numbers(text)?;
        Some(Nginx { active, reading, writing, waiting })
    }

    /// The one of several with the most connections; `None` of none.
    pub fn fullest(all: &[Nginx]) -> Option<Nginx> {
        all.iter().copied().max_by_key(|nginx| nginx.active)
    }
}

/// Exactly so many numbers.
fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let all: Result<Vec<u64>, _> = text.split(' ').map(str::parse).collect();
    all.ok()?.try_into().ok()
}

/// `/proc/stat`: time in hundredths of a second since the box began. Waiting for a disk is no work.
fn cpu(stat: &str) -> Option<Cpu> {
    let times = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // What guests used (from the ninth on) is in the first two already.
    let times: Vec<u64> =
        times.split_ascii_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let idle = times.get(3)? + times.get(4).unwrap_or(&0);
    let all = times.iter().sum::<u64>();
    let is_core = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    Some(Cpu {
        busy: all.saturating_sub(idle),
        all,
        cores: stat.lines().filter(is_core).count() as u64,
    })
}

/// `/proc/loadavg`: the first figure is the last minute's.
fn load(loadavg: &str) -> Option<f64> {
    loadavg.split_ascii_whitespace().next()?.parse().ok()
}

/// `/proc/meminfo`. What is cached can be had: only what is not available is used.
fn memory(meminfo: &str) -> Option<Memory> {
    let bytes = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
        Some(kib * KIB)
    };
    Some(Memory {
        total: bytes("MemTotal:")?,
        available: bytes("MemAvailable:")?,
        swap_total: bytes("SwapTotal:").unwrap_or(0),
        swap_free: bytes("SwapFree:").unwrap_or(0),
    })
}

/// `/proc/net/dev`: bytes in and out of all interfaces that lead out of the box.
fn network(dev: &str) -> (u64, u64) {
    let interfaces = dev.lines().filter_map(|line| line.split_once(':'));
    let outer = interfaces.filter(|(name, _)| {
        let name = name.trim_start();
        name != INNER[0] && !INNER[1..].iter().any(|inner| name.starts_with(inner))
    });
    outer.fold((0, 0), |(come, gone), (_, figures)| {
        let figures: Vec<u64> =
            figures.split_ascii_whitespace().map_while(|figure| figure.parse().ok()).collect();
        let figure = |n: usize| figures.get(n).copied().unwrap_or(0);
        (come + figure(0), gone + figure(8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 20 30 800 40 5 5 0 70 0\ncpu0 50 10 15 400 20 3 2 0 0 0\ncpu1 50 10 15 400 20 2 3 0 0 0\nintr 1 2\nctxt 3\n";
    const MEMINFO: &str = "MemTotal:        8000000 kB\nMemFree:          100000 kB\nMemAvailable:    6000000 kB\nSwapCached:            0 kB\nSwapTotal:       1000 kB\nSwapFree:         400 kB\n";
    const DEV: &str = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo: 999 9 0 0 0 0 0 0 999 9 0 0 0 0 0 0\n  eth0: 1000 10 0 0 0 0 0 0 500 5 0 0 0 0 0 0\n loft0:1 1 0 0 0 0 0 0 2 5 0 0 0 0 0 0\nveth12: 7 1 0 0 0 0 0 0 7 5 0 0 0 0 0 0\n";
    const STATUS: &str = "Active connections: 291 \nserver accepts handled requests\n 16630948 16630948 31070465 \nReading: 6 Writing: 179 Waiting: 106 \n";

    #[test]
    fn proc_s_texts_are_read() {
        assert_eq!(cpu(STAT), Some(Cpu { busy: 160, all: 1000, cores: 2 }));
        assert_eq!(load("0.52 0.58 0.59 1/345 6789\n"), Some(0.52));
        let expect = Memory {
            total: 8_000_000 * KIB,
            available: 6_000_000 * KIB,
            swap_total: 1000 * KIB,
            swap_free: 400 * KIB,
        };
        assert_eq!(memory(MEMINFO), Some(expect));
        assert_eq!(network(DEV), (1001, 502));
        let nginx = Nginx { active: 291, reading: 6, writing: 179, waiting: 106 };
        assert_eq!(Nginx::parse(STATUS), Some(nginx));
    }

    #[test]
    fn other_texts_are_no_figures() {
        for text in ["", "cpu", "cpu  1 2 x 4", "cpu  1 2", "<html>404</html>"] {
            assert_eq!(cpu(text), None, "{text}");
            assert_eq!(load(text), None, "{text}");
            assert_eq!(memory(text), None, "{text}");
            assert_eq!(network(text), (0, 0), "{text}");
            assert_eq!(Nginx::parse(text), None, "{text}");
            assert_eq!(Health::decode(text), None, "{text}");
        }
    }

    #[test]
    fn rates_are_what_came_between_two_readings() {
        let memory = memory(MEMINFO).expect("it is one");
        let before = Reading {
            at: Instant::now(),
            cpu: Cpu { busy: 100, all: 1000, cores: 2 },
            load: 1.0,
            memory,
            network: (1000, 100),
        };
        let after = Reading {
            at: before.at + Duration::from_secs(10),
            cpu: Cpu { busy: 600, all: 3000, cores: 2 },
            load: 1.5,
            network: (21_000, 50), // an interface went away
            ..before
        };
        let health = after.since(&before);
        assert_eq!((health.cpu, health.load, health.cores), (0.25, 1.5, 2));
        assert_eq!((health.network_in, health.network_out), (2000, 0));
        assert_eq!((health.memory_used, health.swap_used), (2_000_000 * KIB, 600 * KIB));
    }

    #[test]
    fn the_kept_form_comes_back_and_is_short() {
        let health = Health {
            cpu: 1.0,
            load: 123.45,
            cores: 128,
            memory_used: 999_999 * MIB,
            memory_total: 1_048_576 * MIB,
            swap_used: 0,
            swap_total: 8192 * MIB,
            network_in: 1_250_000_000,
            network_out: 1_250_000_000,
        };
        let text = health.encode();
        assert_eq!(Health::decode(&text), Some(health));
        assert!(text.len() + 3 <= 64, "{text} is {} bytes", text.len());
        let nginx = Nginx { active: 4, reading: 1, writing: 2, waiting: 1 };
        assert_eq!(Nginx::decode(&nginx.encode()), Some(nginx));
        let busier = Health { cpu: 0.5, memory_used: MIB, ..health };
        let mean = Health::mean(&[health, busier]).expect("there are two");
        assert_eq!((mean.cpu, mean.memory_used), (0.75, 500_000 * MIB));
        assert_eq!(Health::mean(&[]), None);
    }

    #[test]
    fn a_box_without_network_is_told_of_too() {
        let read = |name: &str| match name {
            "stat" => Some(STAT.to_owned()),
            "loadavg" => Some("0.52 0.58 0.59 1/345 6789\n".to_owned()),
            "meminfo" => Some(MEMINFO.to_owned()),
            _ => None,
        };
        let reading = Reading::of(read).expect("there is all but a network");
        assert_eq!((reading.network, reading.cpu.cores), ((0, 0), 2));
        assert!(Reading::of(|_| None).is_none());
    }

    #[test]
    fn this_box_can_be_read() {
        let reading = Reading::take().expect("/proc is there");
        let health = Reading::take().expect("/proc is there").since(&reading);
        assert!(health.memory_total > health.memory_used && health.cores > 0, "{health:?}");
        assert!(!box_name().is_empty());
    }
}
