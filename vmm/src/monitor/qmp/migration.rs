//! Commands about moving the machine.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::shape::{Member, Shape, Takes};
use super::{Arguments, Context, Outcome, done};
use crate::machine::{self, Capability, Machine, Parameters, Report, Sent, Status};
use crate::snapshot::{PAGE, Summary};

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
    let place = cx.machine.place(&uri)?;
    cx.machine.migrate(place)?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    uri: String,
}

pub fn incoming(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Source { uri } = args.take()?;
    let place = cx.machine.place(&uri)?;
    cx.machine.migrate_incoming(place)?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    fdname: String,
}

pub fn name_descriptor(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Named { fdname } = args.take()?;
    cx.machine.name_descriptor(&fdname)?;
    done()
}

pub fn close_descriptor(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Named { fdname } = args.take()?;
    cx.machine.close_descriptor(&fdname)?;
    done()
}

pub fn cancel(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    cx.machine.cancel_migration()?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    capability: String,
    state: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    capabilities: Vec<Switch>,
}

pub fn set_capabilities(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Capabilities { capabilities } = args.take()?;
    // All of them, or none.
    let named = capabilities.iter().map(|c| Capability::find(&c.capability).map(|capability| (capability, c.state)));
    for (capability, on) in named.collect::<Result<Vec<_>, _>>()? {
        cx.machine.set_capability(capability, on);
    }
    done()
}

pub fn query_capabilities(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let row = |c: Capability| json!({ "capability": c.name(), "state": cx.machine.has_capability(c) });
    Ok(Capability::ALL.map(row).to_vec().into())
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
    let status = cx.machine.migration();
    let name = status.name();
    Ok(match status {
        Status::None => json!({}),
        Status::Setup | Status::Ended(machine::Outcome::Cancelled | machine::Outcome::Arrived) => {
            json!({ "status": name })
        }
        Status::Active { sent, left, total, still, .. } => json!({
            "status": name,
            "total-time": total.as_millis() as u64,
            "expected-downtime": still.unwrap_or(sent.expected).as_millis() as u64,
            "ram": ram(cx.machine, &sent, left, total),
        }),
        Status::Ended(machine::Outcome::Failed(why)) => json!({ "status": name, "error-desc": why }),
        Status::Ended(machine::Outcome::Done(Report { sent, total, downtime })) => json!({
            "status": name,
            "total-time": total.as_millis() as u64,
            "downtime": downtime.as_millis() as u64,
            "ram": ram(cx.machine, &sent, 0, total),
        }),
    })
}

/// What QEMU counts, averages over `time`. There is neither postcopy here, nor are there several connections.
fn ram(machine: &Machine, sent: &Sent, left: u64, time: Duration) -> Value {
    let Summary { bytes, pages, zeros } = sent.summary;
    let live = sent.live.unwrap_or(bytes);
    let seconds = time.as_secs_f64().max(1e-9);
    json!({
        "transferred": bytes,
        "remaining": left,
        "total": machine.config().ram_size,
        "duplicate": zeros,
        "normal": pages - zeros,
        "normal-bytes": (pages - zeros) * PAGE,
        "page-size": PAGE,
        "dirty-sync-count": sent.rounds,
        "dirty-pages-rate": sent.dirty_rate,
        "mbps": 8e-6 * bytes as f64 / seconds,
        "pages-per-second": (pages as f64 / seconds) as u64,
        "precopy-bytes": live,
        "downtime-bytes": bytes - live,
        "postcopy-bytes": 0,
        "postcopy-requests": 0,
        "multifd-bytes": 0,
        "dirty-sync-missed-zero-copy": 0,
    })
}
