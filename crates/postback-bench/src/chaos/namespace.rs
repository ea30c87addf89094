//! A namespace of users, network and mounts for the whole run: in it this program is root of nothing but that, so that
//! small disks can be filled and links taken down without harm to the machine.

use std::{
    env,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::Context;

/// Set in the run that is inside.
const INSIDE: &str = "POSTBACK_CHAOS_NAMESPACE";

/// Starts this program anew in a namespace, in the same process. Where there may be none it returns why, and the run
/// goes on without.
pub(super) fn enter() -> Result<(), String> {
    if env::var_os(INSIDE).is_some() {
        return run("ip", &["link", "set", "lo", "up"]).map_err(|error| format!("{error:#}"));
    }
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    let mut unshare = Command::new("unshare");
    unshare.env("PATH", path).args(["--user", "--map-root-user", "--net", "--mount", "--"]);
    let tried = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--", "true"])
        .stdin(Stdio::null())
        .output();
    judge(tried).map_err(|error| format!("unshare: {error:#}"))?;
    let own = env::current_exe().map_err(|error| error.to_string())?;
    // Returns only when it failed.
    Err(unshare.arg(own).args(env::args_os().skip(1)).env(INSIDE, "1").exec().to_string())
}

/// A small file system in memory at a folder, which is made.
pub(super) fn mount_small(folder: &Path, mib: u32) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let folder = folder.to_str().context("a folder's name is not UTF-8")?;
    run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "none", folder])
}

/// Takes it away again.
pub(super) fn unmount(folder: &Path) {
    // Busy or not there: the namespace takes it along at the end.
    drop(Command::new("umount").arg("--lazy").arg(folder).stderr(Stdio::null()).status());
}

/// Runs a program and waits; fails with what it says.
pub(super) fn run(program: &str, words: &[&str]) -> anyhow::Result<()> {
    judge(Command::new(program).args(words).output())
        .with_context(|| format!("{program} {}", words.join(" ")))
}

fn judge(output: std::io::Result<Output>) -> anyhow::Result<()> {
    let output = output?;
    let text = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}", text.trim());
    Ok(())
}
