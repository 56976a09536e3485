//! The commands that copy memory into files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use accel::HartState;
use serde::Deserialize;
use serde_json::json;

use super::{Arguments, Context, Outcome};
use crate::machine::Machine;

const PAGE: u64 = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Virtual {
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
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Physical {
    val: u64,
    size: u64,
    filename: PathBuf,
}

pub fn pmemsave(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Physical { val, size, filename } = args.take()?;
    cx.machine.with_harts_stopped(|machine| save(machine, None, val, size, &filename))?;
    Ok(json!({}))
}

/// An error leaves what was copied before it.
fn save(machine: &Machine, state: Option<&HartState>, from: u64, size: u64, path: &Path) -> Result<(), String> {
    let failed = |error| format!("cannot write '{}': {error}", path.display());
    let end = from.checked_add(size).ok_or_else(|| format!("{size} bytes do not fit behind {from:#x}"))?;
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    let mut page = [0; PAGE as usize];
    let mut at = from;
    while at < end {
        let n = (end - at).min(PAGE - at % PAGE);
        let data = &mut page[..n as usize];
        machine.read_page(state, at, data)?;
        file.write_all(data).map_err(failed)?;
        at += n;
    }
    file.flush().map_err(failed)
}
