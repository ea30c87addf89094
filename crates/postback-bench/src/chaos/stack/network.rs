//! Networks of a stack: the partner, or each deliver, in a network namespace of its own, with links that can be cut.
//!
//! A namespace lives as long as a process in it, its holder; its links go with it. All of this needs the namespace
//! that `namespace::enter` makes.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;

use super::Settings;
use crate::chaos::namespace::run;

/// Who is apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::chaos) enum Layout {
    /// All are at 127.0.0.1.
    Together,
    /// The partner, behind two links: it has an address at each.
    Partner,
    /// Each deliver, behind a link to Redis and one to the partner.
    Delivers,
}

/// The partner's and Redis's addresses where the delivers are apart.
const PARTNER: &str = "10.212.0.1";
const REDIS: &str = "10.212.0.2";
const REDIS_PORT: u16 = 6390;
/// The partner's port where it is apart.
const PARTNER_PORT: u16 = 8000;
const METRICS_PORT: u16 = 9100;
/// Where no network card is.
const NOWHERE: &str = "02:00:00:00:00:99";
/// How long a namespace may take to come about.
const START: Duration = Duration::from_secs(10);

/// The networks of a stack. They go when it is dropped.
#[derive(Debug)]
pub(in crate::chaos) struct Network {
    layout: Layout,
    holders: Vec<Holder>,
}

impl Network {
    /// Makes the namespaces and links, all of them up.
    pub(super) fn lay(layout: Layout, delivers: u64) -> anyhow::Result<Network> {
        let holders = match layout {
            Layout::Together => vec![],
            Layout::Partner => vec![apart(0)?],
            Layout::Delivers => {
                for address in [PARTNER, REDIS] {
                    run("ip", &["address", "add", address, "dev", "lo"])?;
                }
                (0..delivers).map(apart_with_routes).collect::<anyhow::Result<_>>()?
            }
        };
        Ok(Network { layout, holders })
    }

    /// What the stack needs to be told so that its programs find each other.
    pub(super) fn configure(&self, settings: &mut Settings) {
        if self.layout == Layout::Together {
            return;
        }
        settings.lines.push("DELIVER_ALLOW_NET=127.0.0.0/8,10.212.0.0/15".to_owned());
        if self.layout == Layout::Delivers {
            settings.lines.push(format!("POSTBACK_REDIS_PORT={REDIS_PORT}"));
            settings.lines.push(format!("POSTBACK_REDIS_BIND={REDIS}"));
            // Nobody else is in this network.
            settings.redis.push("protected-mode no".to_owned());
            for (n, holder) in self.holders.iter().enumerate() {
                let metrics = metrics(n);
                let text = format!(
                    "if [ \"$SUPERVISOR_PROCESS_NAME\" = deliver_{n:02} ]; then\n\
                     export REDIS_URL=redis://{REDIS}:{REDIS_PORT} DELIVER_METRICS_LISTEN={metrics}\n\
                     set -- nsenter --net={} \"$@\"\nfi",
                    holder.path()
                );
                settings.before.push(("deliver", text));
            }
        }
    }

    /// Where the sink listens, and the addresses at which delivers find it.
    pub(super) fn partner(&self) -> (String, Vec<&'static str>) {
        match self.layout {
            Layout::Together => ("127.0.0.1:0".to_owned(), vec!["127.0.0.1"]),
            Layout::Partner => {
                (format!("0.0.0.0:{PARTNER_PORT}"), vec!["10.213.0.2", "10.213.1.2"])
            }
            Layout::Delivers => (format!("{PARTNER}:0"), vec![PARTNER]),
        }
    }

    /// A program that is to run where the partner is.
    pub(super) fn beside_partner(&self, program: &std::path::Path) -> Command {
        match (self.layout, self.holders.first()) {
            (Layout::Partner, Some(holder)) => {
                let mut nsenter = Command::new("nsenter");
                nsenter.arg(format!("--net={}", holder.path())).arg(program);
                nsenter
            }
            _ => Command::new(program),
        }
    }

    /// Where each deliver serves its figures; `None`: as usual.
    pub(super) fn metrics(&self) -> Option<Vec<SocketAddr>> {
        (self.layout == Layout::Delivers)
            .then(|| (0..self.holders.len()).filter_map(|n| metrics(n).parse().ok()).collect())
    }

    /// Drops all packets to the partner's first address, or no longer.
    pub(in crate::chaos) fn black_hole(&self, on: bool) -> anyhow::Result<()> {
        let partner = "10.213.0.2";
        if on {
            let words = ["neigh", "replace", partner, "lladdr", NOWHERE, "nud", "permanent"];
            run("ip", &[&words[..], &["dev", "a0"]].concat())
        } else {
            run("ip", &["neigh", "del", partner, "dev", "a0"])
        }
    }

    /// Takes a deliver's link to Redis down, or up again.
    pub(in crate::chaos) fn link_to_redis(&self, deliver: usize, up: bool) -> anyhow::Result<()> {
        let state = if up { "up" } else { "down" };
        run("ip", &["link", "set", &format!("a{}", 2 * deliver), state])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.layout == Layout::Delivers {
            for address in [PARTNER, REDIS] {
                // The next trial adds it again.
                drop(run("ip", &["address", "del", address, "dev", "lo"]));
            }
        }
    }
}

/// Where a deliver that is apart serves its figures: at its end of the link to the partner.
fn metrics(deliver: usize) -> String {
    format!("10.213.{}.2:{METRICS_PORT}", 2 * deliver + 1)
}

/// A namespace with two links to it: `a<2n>` and `a<2n+1>` here, `b…` there, at 10.213.<…>.1 and .2.
fn apart(n: u64) -> anyhow::Result<Holder> {
    let holder = Holder::start()?;
    let pid = holder.child.id().to_string();
    holder.run("ip", &["link", "set", "lo", "up"])?;
    for link in [2 * n, 2 * n + 1] {
        let (here, there) = (format!("a{link}"), format!("b{link}"));
        let words = ["link", "add", &here, "type", "veth", "peer", "name", &there, "netns", &pid];
        run("ip", &words)?;
        run("ip", &["address", "add", &format!("10.213.{link}.1/30"), "dev", &here])?;
        run("ip", &["link", "set", &here, "up"])?;
        let address = format!("10.213.{link}.2/30");
        holder.run("ip", &["address", "add", &address, "dev", &there])?;
        holder.run("ip", &["link", "set", &there, "up"])?;
    }
    Ok(holder)
}

/// A deliver's: the first link leads to Redis, the second to the partner.
fn apart_with_routes(n: u64) -> anyhow::Result<Holder> {
    let holder = apart(n)?;
    for (link, address) in [(2 * n, REDIS), (2 * n + 1, PARTNER)] {
        holder.run("ip", &["route", "add", address, "via", &format!("10.213.{link}.1")])?;
    }
    Ok(holder)
}

/// A process that keeps a network namespace.
#[derive(Debug)]
struct Holder {
    child: Child,
}

impl Holder {
    fn start() -> anyhow::Result<Holder> {
        // It ends with its input, so with this program.
        let child = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start unshare")?;
        let holder = Holder { child };
        let (since, ours) = (Instant::now(), fs::read_link("/proc/self/ns/net")?);
        while fs::read_link(holder.path()).map_or(true, |there| there == ours) {
            anyhow::ensure!(since.elapsed() < START, "unshare made no network namespace");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(holder)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.child.id())
    }

    /// Runs a program in the namespace.
    fn run(&self, program: &str, words: &[&str]) -> anyhow::Result<()> {
        let net = format!("--net={}", self.path());
        run("nsenter", &[&[net.as_str(), program], words].concat())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // One that is gone already is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
