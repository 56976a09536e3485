//! The suite `linux`: real programs in a Debian guest. A script does what the benchmark guest does, and says the same.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::BenchError;
use crate::engine::{Board, Disk};

/// Runs the programs; a disk of its own in the guest.
const SCRIPT: &str = include_str!("linux.sh");

/// What the first program of the guest's initial RAM disk is to do: the script in the system on the first disk, of which
/// nothing is written. Blanks are `%` (the kernel's command line).
const START: &str = "mount%-t%ext4%-o%ro%/dev/vda%/newroot;mount%-t%tmpfs%tmp%/newroot/tmp;\
    for%d%in%dev%proc%sys;do%mount%--move%/$d%/newroot/$d;done;\
    chroot%/newroot%/bin/bash%/dev/vdb;chroot%/newroot%busybox%poweroff%-f";

/// The guest's files.
#[derive(Debug, Clone)]
pub struct Linux {
    kernel: PathBuf,
    initrd: PathBuf,
    root: PathBuf,
}

impl Linux {
    /// In `dir`, or where the project's own commands put them.
    pub fn find(dir: Option<&Path>) -> Result<Self, BenchError> {
        let dir = dir.map_or_else(|| cache_dir().unwrap_or_else(|| "vireo".into()).join("linux"), Path::to_owned);
        let file = |name: &str| {
            let path = dir.join(name);
            match File::open(&path) {
                Ok(_) => Ok(path),
                Err(source) => Err(BenchError::NoLinux { path, source }),
            }
        };
        Ok(Self { kernel: file("Image")?, initrd: file("initrd.gz")?, root: file("root.img")? })
    }

    /// Makes `board` boot this guest and run the script.
    pub fn put_into(&self, board: &mut Board, only: Option<&str>, scratch: &Path) -> Result<(), BenchError> {
        let script = scratch.join("script");
        // A disk has whole sectors; a shell does not mind empty lines.
        let mut text = SCRIPT.as_bytes().to_vec();
        text.resize(text.len().next_multiple_of(512), b'\n');
        fs::write(&script, text).map_err(|source| BenchError::File { doing: "write", path: script.clone(), source })?;
        board.kernel.clone_from(&self.kernel);
        board.initrd = Some(self.initrd.clone());
        board.disks = vec![
            Disk { path: self.root.clone(), options: ",snapshot=on" },
            Disk { path: script, options: ",readonly=on" },
        ];
        board.append = format!("console=ttyS0 quiet initramfs.run={START}");
        if let Some(only) = only {
            board.append += &format!(" bench.only={only}");
        }
        Ok(())
    }
}

/// Where the project's own commands keep what they fetch and make: `$VIREO_CACHE`, or `vireo` of the user's cache.
/// `None` without any of the variables.
pub fn cache_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    match (set("VIREO_CACHE"), set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(dir), _, _) => Some(dir),
        (None, Some(dir), _) => Some(dir.join("vireo")),
        (None, None, Some(home)) => Some(home.join(".cache/vireo")),
        (None, None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_guest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Image"), "").unwrap();
        let error = Linux::find(Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains("initrd.gz") && error.contains("cargo kit fetch"), "{error}");
    }

    #[test]
    fn the_start_is_one_word() {
        assert!(!START.contains([' ', '\n']), "{START}");
    }

    #[test]
    fn every_program_has_its_result() {
        let rows: Vec<_> = SCRIPT.lines().filter(|l| l.starts_with("run ")).collect();
        assert!(rows.len() >= 14);
        for row in rows {
            let wanted = row.split('\'').nth(2).and_then(|rest| rest.trim().split(' ').next()).unwrap_or_default();
            assert!(wanted.len() == 12 && wanted.bytes().all(|b| b.is_ascii_hexdigit()), "{row}");
        }
    }
}
