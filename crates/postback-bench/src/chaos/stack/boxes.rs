//! Boxes for delivers: a network namespace each, with one link to where Redis is and one to where the partner is.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::chaos::namespace::run;

/// Where Redis listens for boxes, and the partner; each box has a route to either over a link of its own.
pub(super) const REDIS_ADDRESS: &str = "10.220.99.99";
pub(super) const SINK_ADDRESS: &str = "10.210.99.99";
const NETS: [(&str, u8, &str); 2] = [("redis", 220, REDIS_ADDRESS), ("sink", 210, SINK_ADDRESS)];
const START: Duration = Duration::from_secs(10);

/// The boxes; they go when this is dropped.
#[derive(Debug)]
pub(super) struct Boxes(Vec<Child>);

impl Boxes {
    /// Makes so many, and writes for the wrapper down which process holds each.
    pub(super) fn start(folder: &Path, count: u64) -> anyhow::Result<Boxes> {
        for (_, _, address) in NETS {
            // There already after an earlier trial.
            drop(run("ip", &["address", "add", &format!("{address}/32"), "dev", "lo"]));
        }
        let mut boxes = Boxes(vec![]);
        for n in 0..count {
            let holder = Command::new("unshare")
                .args(["--net", "sleep", "infinity"])
                .stdin(Stdio::null())
                .spawn()
                .context("cannot start unshare")?;
            let pid = holder.id();
            boxes.0.push(holder);
            until_apart(pid)?;
            connect(n, pid)?;
            fs::write(folder.join(format!("box-{n:02}")), pid.to_string())?;
        }
        Ok(boxes)
    }
}

impl Drop for Boxes {
    fn drop(&mut self) {
        for holder in &mut self.0 {
            drop(holder.kill());
            drop(holder.wait());
        }
    }
}

/// The address by which this namespace reaches a box.
pub(super) fn address(n: u64) -> [u8; 4] {
    [10, NETS[1].1, n as u8, 2]
}

/// Takes a box's link to Redis down, or up again.
pub(in crate::chaos) fn set_link(n: u64, up: bool) -> anyhow::Result<()> {
    run("ip", &["link", "set", &format!("redis{n}"), if up { "up" } else { "down" }])
}

/// The script that runs a deliver in its box, known by the last digits of where it serves its figures.
pub(super) fn wrapper(folder: &Path, deliver: &Path) -> String {
    format!(
        "port=${{DELIVER_METRICS_LISTEN##*:}}\n\
         box=$(cat '{}/box-'\"${{port#???}}\")\n\
         exec nsenter --net=\"/proc/$box/ns/net\" -- '{}' \"$@\"\n",
        folder.display(),
        deliver.display()
    )
}

/// Waits until a process has a network namespace of its own.
fn until_apart(pid: u32) -> anyhow::Result<()> {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let since = Instant::now();
    while of(&pid.to_string()) == of("self") {
        anyhow::ensure!(since.elapsed() < START, "no network namespace for a box after {START:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Links a box.
fn connect(n: u64, pid: u32) -> anyhow::Result<()> {
    let (pid, net) = (pid.to_string(), format!("--net=/proc/{pid}/ns/net"));
    let inside = |words: &[&str]| run("nsenter", &[&[net.as_str(), "ip"], words].concat());
    inside(&["link", "set", "lo", "up"])?;
    for (name, net, address) in NETS {
        let (link, peer) = (format!("{name}{n}"), format!("to-{name}"));
        let ours = format!("10.{net}.{n}.1");
        run("ip", &["link", "add", &link, "type", "veth", "peer", "name", &peer, "netns", &pid])?;
        run("ip", &["address", "add", &format!("{ours}/24"), "dev", &link])?;
        run("ip", &["link", "set", &link, "up"])?;
        inside(&["address", "add", &format!("10.{net}.{n}.2/24"), "dev", &peer])?;
        inside(&["link", "set", &peer, "up"])?;
        inside(&["route", "add", address, "via", &ours])?;
    }
    Ok(())
}
