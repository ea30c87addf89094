//! Small disks, in memory, at folders of a stack.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;

use crate::chaos::namespace::run;

/// Mounted disks; they are taken away when this is dropped.
#[derive(Debug)]
pub(super) struct Disks(Vec<PathBuf>);

impl Disks {
    /// Mounts a disk of so many MiB at each of these folders, which are made.
    pub(super) fn mount(folder: &Path, disks: &[(&str, u32)]) -> anyhow::Result<Disks> {
        let mut mounted = Disks(vec![]);
        for (name, mib) in disks {
            let place = folder.join(name);
            fs::create_dir_all(&place)?;
            let text = place.to_str().context("a folder's name is not UTF-8")?;
            run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "none", text])?;
            mounted.0.push(place);
        }
        Ok(mounted)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for place in &self.0 {
            // Busy: the namespace takes it along at the end.
            drop(Command::new("umount").arg("--lazy").arg(place).stderr(Stdio::null()).status());
        }
    }
}

/// A file that takes what a disk has left; gone when this is dropped.
pub(in crate::chaos) struct Filler {
    path: PathBuf,
    file: File,
}

impl Filler {
    pub(in crate::chaos) fn new(folder: &Path) -> anyhow::Result<Filler> {
        let path = folder.join("filler");
        Ok(Filler { file: File::create(&path)?, path })
    }

    /// Takes all that is left now.
    pub(in crate::chaos) fn fill(&mut self) -> anyhow::Result<()> {
        loop {
            match self.file.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("cannot fill a disk"),
            }
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}
