//! The commands that write the guest's memory to a file for debuggers.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Arguments, Context, Later, Outcome, done};
use crate::machine::DumpStatus;
use crate::monitor::hmp::Waits;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dump {
    paging: bool,
    protocol: String,
    /// The answer comes at once; DUMP_COMPLETED tells of the end.
    #[serde(default)]
    detach: bool,
    begin: Option<u64>,
    length: Option<u64>,
    #[serde(rename = "format")]
    _format: Option<Format>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Elf,
}

pub fn dump(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Dump { paging, protocol, detach, begin, length, .. } = args.take()?;
    let path = match protocol.split_once(':') {
        Some(("file", path)) => Path::new(path),
        Some(("fd", _)) => {
            return Err("protocol 'fd:': no descriptor can be handed over here; file:PATH".to_owned().into());
        }
        _ => return Err("parameter 'protocol' must start with 'file:'".to_owned().into()),
    };
    if paging {
        return Err("'paging' is not possible: memory is dumped by physical address".to_owned().into());
    }
    let range = match (begin, length) {
        (None, None) => None,
        (Some(begin), Some(length)) => Some(begin..begin.saturating_add(length)),
        (Some(_), None) => return Err("Parameter 'length' is missing".to_owned().into()),
        (None, Some(_)) => return Err("Parameter 'begin' is missing".to_owned().into()),
    };
    let ticket = cx.machine.dump_memory(path, range)?;
    if !detach {
        *cx.waits = Some((Later::Nothing, Waits::Task(ticket)));
    }
    done()
}

pub fn query(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(status(cx.machine.dump_status()))
}

/// QMP's `DumpQueryResult`.
pub fn status(status: Option<DumpStatus>) -> Value {
    let name = status.map_or("none", |status| status.state.name());
    let (completed, total) = status.map_or((0, 0), |status| (status.completed, status.total));
    json!({ "status": name, "completed": completed, "total": total })
}

pub fn capability(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(json!({ "formats": ["elf"] }))
}
