//! Programs that start another way than usual: with fewer descriptors, another clock, in another namespace. A shell
//! script stands in for the program and becomes it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::beside;

/// Shell that runs before a program starts, by the program's name. `$run` is the stack's folder, `"$@"` the program with
/// its arguments.
pub(in crate::chaos) type Before = Vec<(&'static str, String)>;

/// Makes the folder with the programs of a stack and returns it.
pub(super) fn make(folder: &Path, before: &Before) -> anyhow::Result<PathBuf> {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin)?;
    for name in ["deliver", "ingest", "redis-server"] {
        let program = if name == "redis-server" { installed(name)? } else { beside(name)? };
        let texts: Vec<&str> =
            before.iter().filter(|(of, _)| *of == name).map(|(_, text)| text.as_str()).collect();
        let file = bin.join(name);
        if texts.is_empty() {
            symlink(&program, &file)?;
            continue;
        }
        let text = format!(
            "#!/bin/sh\nrun='{}'\nset -- '{}' \"$@\"\n{}\nexec \"$@\"\n",
            folder.display(),
            program.display(),
            texts.join("\n")
        );
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    Ok(bin)
}

/// The path of an installed program.
fn installed(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(name));
    found.find(|file| file.exists()).with_context(|| format!("{name} is not installed"))
}
