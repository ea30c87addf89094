//! Programs that stand before the real ones: they put a deliver into its box, or set a program's clock.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{beside, boxes, settings::Settings};
use crate::chaos::namespace::run;

/// A program whose wall clock is set while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::chaos) enum Clocked {
    /// The first deliver.
    Deliver,
    Redis,
}

/// Debian's package faketime hangs in programs with jemalloc, as Redis is.
const CLOCK: &str = include_str!("clock.c");

/// Sets the clock of the stack in this folder so many seconds ahead, or behind.
pub(in crate::chaos) fn set_clock(folder: &Path, seconds: i64) -> anyhow::Result<()> {
    Ok(fs::write(folder.join("clock"), seconds.to_ne_bytes())?)
}

/// Makes the folder of binaries that the stack runs.
pub(super) fn write(folder: &Path, settings: &Settings) -> anyhow::Result<PathBuf> {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin)?;
    symlink(beside("ingest")?, bin.join("ingest"))?;
    let deliver = beside("deliver")?;
    match (settings.boxes, settings.clock_of) {
        (true, _) => script(&bin.join("deliver"), &boxes::wrapper(folder, &deliver))?,
        (_, Some(Clocked::Deliver)) => {
            let others = format!(
                "case \"$DELIVER_METRICS_LISTEN\" in *00) ;; *) exec '{}' \"$@\" ;; esac\n",
                deliver.display()
            );
            script(&bin.join("deliver"), &(others + &clocked(folder, &deliver)?))?;
        }
        _ => symlink(&deliver, bin.join("deliver"))?,
    }
    if settings.clock_of == Some(Clocked::Redis) {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut found = env::split_paths(&path).map(|dir| dir.join("redis-server"));
        let redis = found.find(|path| path.exists()).context("redis-server is not installed")?;
        script(&bin.join("redis-server"), &clocked(folder, &redis)?)?;
    }
    Ok(bin)
}

/// The script that runs a program whose wall clock a file sets; the monotonic one stays true.
fn clocked(folder: &Path, program: &Path) -> anyhow::Result<String> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, CLOCK)?;
    set_clock(folder, 0)?;
    let (source, output) = (source.display().to_string(), library.display().to_string());
    run("cc", &["-shared", "-fPIC", "-O1", "-o", &output, &source])?;
    Ok(format!(
        "export LD_PRELOAD='{output}' CHAOS_CLOCK='{}'\nexec '{}' \"$@\"\n",
        folder.join("clock").display(),
        program.display()
    ))
}

fn script(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, format!("#!/bin/sh\n{text}"))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}
