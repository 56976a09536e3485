//! Commands about moving the machine.

use serde::Deserialize;
use serde_json::{Value, json};

use super::shape::{Member, Shape, Takes};
use super::{Arguments, Context, Outcome, done};
use crate::machine::{self, Parameters, Report, Status};
use crate::snapshot::Channel;

const MAPPED_RAM: &str = "mapped-ram";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    uri: String,
    /// QEMU takes it and ignores it: moves never wait.
    #[serde(default, rename = "detach")]
    _detach: bool,
}

/// Answers at once; `query-migrate` tells how it goes.
pub fn migrate(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Place { uri, .. } = args.take()?;
    cx.machine.migrate(Channel::parse(&uri)?)?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    uri: String,
}

pub fn incoming(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Source { uri } = args.take()?;
    cx.machine.migrate_incoming(Channel::parse(&uri)?)?;
    done()
}

pub fn cancel(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    cx.machine.cancel_migration()?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Capability {
    capability: String,
    state: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    capabilities: Vec<Capability>,
}

pub fn set_capabilities(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Capabilities { capabilities } = args.take()?;
    if let Some(other) = capabilities.iter().find(|c| c.capability != MAPPED_RAM) {
        return Err(format!("'{}' is no capability; {MAPPED_RAM} is", other.capability).into());
    }
    if let Some(mapped) = capabilities.last() {
        cx.machine.set_mapped_ram(mapped.state);
    }
    done()
}

pub fn query_capabilities(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(json!([{ "capability": MAPPED_RAM, "state": cx.machine.mapped_ram() }]))
}

/// What the table has.
pub const LIMITS: Takes = Takes {
    name: std::any::type_name::<Parameters>,
    shape: || {
        let member = |name| Member { name, shape: Shape::Integer, optional: true };
        Shape::Object(Parameters::default().iter().map(|(row, _)| member(row.name)).collect())
    },
};

/// All of them, or none.
pub fn set_parameters(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let values = args.members.iter().map(|(name, value)| {
        let row = Parameters::find(name)?;
        Ok((row, value.as_u64().ok_or_else(|| format!("Parameter '{name}' expects uint64"))?))
    });
    let values = values.collect::<Result<Vec<_>, String>>()?;
    cx.machine.move_parameters().set(&values)?;
    done()
}

pub fn query_parameters(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(cx.machine.move_parameters().iter().map(|(row, value)| (row.name.to_owned(), json!(value))).collect())
}

/// Milliseconds and bytes, as QEMU has them.
pub fn query(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(match cx.machine.migration() {
        Status::None => json!({}),
        Status::Setup => json!({ "status": "setup" }),
        Status::Active { bytes, rounds, total, still } => {
            let total_time = total.as_millis() as u64;
            let status = if still.is_some() { "device" } else { "active" };
            json!({ "status": status, "total-time": total_time, "ram": ram(bytes, rounds) })
        }
        Status::Ended(machine::Outcome::Cancelled) => json!({ "status": "cancelled" }),
        Status::Ended(machine::Outcome::Failed(why)) => json!({ "status": "failed", "error-desc": why }),
        Status::Ended(machine::Outcome::Done(Report { summary, rounds, total, downtime })) => {
            let mut ram = ram(summary.bytes, rounds);
            ram["normal"] = json!(summary.pages - summary.zeros);
            ram["duplicate"] = json!(summary.zeros);
            json!({
                "status": "completed",
                "total-time": total.as_millis() as u64,
                "downtime": downtime.as_millis() as u64,
                "ram": ram,
            })
        }
    })
}

fn ram(bytes: u64, rounds: u64) -> Value {
    json!({ "transferred": bytes, "dirty-sync-count": rounds, "page-size": crate::snapshot::PAGE })
}
