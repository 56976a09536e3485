//! The commands that copy memory into files.

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use accel::HartState;
use serde::Deserialize;

use super::arguments::address;
use super::{Arguments, Context, Outcome, done};
use crate::files;
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
    let copy = |to: &mut dyn Write| {
        for part in pages(from, end) {
            let data = &mut page[..(part.end - part.start) as usize];
            machine.read_page(state, part.start, data).map_err(io::Error::other)?;
            to.write_all(data)?;
        }
        Ok(())
    };
    let written = files::refuse_pipe(path).and_then(|()| files::replace(path, copy));
    written.map_err(|error| format!("cannot write '{}': {error}", path.display()))
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
    fn pages_make_up_a_range() {
        let all = |from, end| pages(from, end).collect::<Vec<_>>();
        assert_eq!(all(5, 5), []);
        assert_eq!(all(5, 7), Vec::from_iter(Some(5..7)));
        assert_eq!(all(4095, 8193), [4095..4096, 4096..8192, 8192..8193]);
        assert_eq!(all(u64::MAX - 4096, u64::MAX), [u64::MAX - 4096..u64::MAX - 4095, u64::MAX - 4095..u64::MAX]);
    }
}
