//! The commands that copy memory into files.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use accel::HartState;
use serde::Deserialize;

use super::arguments::address;
use super::{Arguments, Context, Outcome, done};
use crate::files::AtomicFile;
use crate::machine::Machine;

const PAGE: u64 = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Virtual {
    #[serde(deserialize_with = "address")]
    val: u64,
    size: u64,
    filename: PathBuf,
    cpu_index: Option<i64>,
}

pub fn memsave(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Virtual { val, size, filename, cpu_index } = args.take()?;
    let hart = cx.hart(cpu_index)?;
    let state = cx.machine.hart_state(hart)?;
    cx.machine.with_harts_stopped(|machine| save(machine, Some(&state), val, size, &filename))?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Physical {
    #[serde(deserialize_with = "address")]
    val: u64,
    size: u64,
    filename: PathBuf,
}

pub fn pmemsave(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Physical { val, size, filename } = args.take()?;
    cx.machine.with_harts_stopped(|machine| save(machine, None, val, size, &filename))?;
    done()
}

/// A file that is there stays as it was unless all can be copied.
fn save(machine: &Machine, state: Option<&HartState>, from: u64, size: u64, path: &Path) -> Result<(), String> {
    let end = from.checked_add(size).ok_or_else(|| format!("{size} bytes do not fit behind {from:#x}"))?;
    for part in pages(from, end) {
        machine.answers_page(state, part.start)?;
    }
    let mut page = [0; PAGE as usize];
    replace(path, |to, failed| {
        for part in pages(from, end) {
            let data = &mut page[..(part.end - part.start) as usize];
            machine.read_page(state, part.start, data)?;
            to.write_all(data).map_err(|error| failed(&error))?;
        }
        Ok(())
    })
}

/// What is wrong with a file.
type Failed<'a> = &'a dyn Fn(&dyn Error) -> String;

/// Makes a file hold what `write` writes, or leaves it as it was. What is no file is written to.
fn replace(path: &Path, write: impl FnOnce(&mut dyn Write, Failed<'_>) -> Result<(), String>) -> Result<(), String> {
    let failed = |error: &dyn Error| format!("cannot write '{}': {}", path.display(), crate::error_chain(error));
    crate::files::refuse_pipe(path).map_err(|error| failed(&error))?;
    if fs::metadata(path).is_ok_and(|data| !data.is_file()) {
        let mut to = BufWriter::new(File::create(path).map_err(|error| failed(&error))?);
        write(&mut to, &failed)?;
        return to.flush().map_err(|error| failed(&error));
    }
    let mut file = AtomicFile::new(path).map_err(|error| failed(&error))?;
    // Others may read it, as they may any file that a program writes.
    let mode = fs::metadata(path).map_or_else(|_| fs::Permissions::from_mode(0o644), |data| data.permissions());
    file.file().set_permissions(mode).map_err(|error| failed(&error))?;
    let mut to = BufWriter::new(&mut file);
    write(&mut to, &failed)?;
    to.flush().map_err(|error| failed(&error))?;
    drop(to);
    file.commit().map_err(|error| failed(&error))
}

/// The parts of a range of addresses, each of them in one page.
fn pages(from: u64, end: u64) -> impl Iterator<Item = Range<u64>> {
    let next = move |start: u64| start..end.min((start | (PAGE - 1)).saturating_add(1));
    let first = (from < end).then(|| next(from));
    std::iter::successors(first, move |part| (part.end < end).then(|| next(part.end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_or_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "precious").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let late = replace(&path, |to, failed| {
            to.write_all(&[1; 100_000]).map_err(|error| failed(&error))?;
            Err("no more".into())
        });
        assert_eq!((late, fs::read(&path).unwrap()), (Err("no more".into()), b"precious".to_vec()));
        replace(&path, |to, failed| to.write_all(b"new").map_err(|error| failed(&error))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
        let full = replace(Path::new("/dev/full"), |to, failed| to.write_all(b"new").map_err(|error| failed(&error)));
        assert!(full.unwrap_err().starts_with("cannot write '/dev/full': "));
        replace(Path::new("/dev/null"), |_, _| Ok(())).unwrap();
    }

    #[test]
    fn pages_make_up_a_range() {
        let all = |from, end| pages(from, end).collect::<Vec<_>>();
        assert_eq!(all(5, 5), []);
        assert_eq!(all(5, 7), Vec::from_iter(Some(5..7)));
        assert_eq!(all(4095, 8193), [4095..4096, 4096..8192, 8192..8193]);
        assert_eq!(all(u64::MAX - 4096, u64::MAX), [u64::MAX - 4096..u64::MAX - 4095, u64::MAX - 4095..u64::MAX]);
    }
}
