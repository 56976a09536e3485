//! Commands about moving the machine.

use std::fmt::Write;

use super::snapshots::size;
use super::{Arguments, Context, Waits};
use crate::cli::size::parse as parse_size;
use crate::machine::{Capability, Machine, Outcome, Parameters, Report, Sent, Status, Unit};
use crate::snapshot::PATIENCE;

pub fn migrate(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let text = args.text.trim();
    let (detach, text) =
        match text.strip_prefix("-d").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            Some(rest) => (true, rest.trim()),
            None => (false, text),
        };
    if text.is_empty() {
        return Err("migrate needs a place: file:PATH, exec:COMMAND, unix:PATH, tcp:HOST:PORT or fd:NAME".into());
    }
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    let place = cx.machine.place(text)?;
    cx.machine.migrate(place)?;
    if detach {
        return Ok(());
    }
    if !cx.machine.is_moving() {
        tell(&cx.machine.migration(), cx.out);
    } else if cx.is_person {
        *cx.waits = Some(Waits::Move);
    } else {
        let _ = writeln!(cx.out, "nobody can wait here: the move goes on, and 'info migrate' tells of it");
    }
    Ok(())
}

/// How a move has ended, for who has waited for it.
pub fn end(machine: &Machine) -> Option<Result<String, String>> {
    if machine.is_moving() {
        return None;
    }
    Some(match machine.migration() {
        Status::Ended(Outcome::Failed(why)) => Err(why),
        status => {
            let mut out = String::new();
            tell(&status, &mut out);
            Ok(out)
        }
    })
}

/// How far it is, in a line.
pub fn progress(machine: &Machine) -> Option<String> {
    match machine.migration() {
        Status::Active { cancelled: true, .. } => Some("moving: being given up".to_owned()),
        Status::Active { sent: Sent { summary, rounds, .. }, left, .. } => {
            Some(format!("moving: {} sent, {} of round {} left", size(summary.bytes), size(left), rounds + 1))
        }
        Status::None | Status::Setup | Status::Ended(_) => None,
    }
}

pub fn cancel(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    cx.machine.cancel_migration()
}

pub fn incoming(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let place = cx.machine.place(args.text.trim())?;
    cx.machine.migrate_incoming(place)
}

pub fn name_descriptor(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    cx.machine.name_descriptor(args.text.trim())
}

pub fn close_descriptor(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    cx.machine.close_descriptor(args.text.trim())
}

pub fn set_capability(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let [name, state] = &args.words[..] else { return Err("NAME on|off is what it takes".into()) };
    let capability = Capability::find(name)?;
    let on = match &**state {
        "on" => true,
        "off" => false,
        _ => return Err(format!("'{state}': on or off is allowed")),
    };
    cx.machine.set_capability(capability, on);
    Ok(())
}

pub fn info(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    tell(&cx.machine.migration(), cx.out);
    Ok(())
}

pub fn capabilities(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    for capability in Capability::ALL {
        let state = if cx.machine.has_capability(capability) { "on" } else { "off" };
        let _ = writeln!(cx.out, "{}: {state}", capability.name());
    }
    Ok(())
}

/// A size without a suffix counts MiB, as QEMU has it.
pub fn set_parameter(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let [name, value] = &args.words[..] else { return Err("NAME VALUE is what it takes".into()) };
    let row = Parameters::find(name)?;
    let number = match row.unit {
        Unit::BytesPerSecond => parse_size(value, 1 << 20).map_err(|why| format!("{name} {value}: {why}"))?,
        Unit::Milliseconds => {
            let (first, last, unit) = (row.range.start(), row.range.end(), row.unit.name());
            value.parse().map_err(|_| format!("{name} {value}: {first} to {last} {unit} are allowed"))?
        }
    };
    cx.machine.move_parameters().set(&[(row, number)])
}

pub fn parameters(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    for (row, value) in cx.machine.move_parameters().iter() {
        let _ = writeln!(cx.out, "{}: {value} {} ({})", row.name, row.unit.name(), row.help);
    }
    Ok(())
}

fn tell(status: &Status, out: &mut String) {
    let _ = match status {
        Status::None | Status::Ended(Outcome::Failed(_)) => Ok(()),
        _ => writeln!(out, "Migration status: {}", status.name()),
    };
    let _ = match status {
        Status::None | Status::Setup | Status::Ended(Outcome::Cancelled | Outcome::Arrived) => Ok(()),
        Status::Active { sent: Sent { summary, rounds, dirty_rate, expected, .. }, left, total, still, .. } => {
            let _ = writeln!(out, "total time: {} ms", total.as_millis());
            if let Some(still) = still {
                let (still, patience) = (still.as_millis(), PATIENCE.as_secs());
                let _ = writeln!(out, "standing still: {still} ms; a socket's reader may be silent for {patience} s");
            }
            let _ = writeln!(out, "expected downtime: {} ms", still.unwrap_or(*expected).as_millis());
            let (sent, left) = (summary.bytes / 1024, left / 1024);
            let _ = writeln!(out, "transferred ram: {sent} kbytes\nremaining ram: {left} kbytes\nrounds: {rounds}");
            writeln!(out, "dirty pages rate: {dirty_rate} pages/s")
        }
        Status::Ended(Outcome::Failed(why)) => writeln!(out, "Migration status: {} ({why})", status.name()),
        Status::Ended(Outcome::Done(Report { sent: Sent { summary, rounds, .. }, total, downtime })) => {
            let _ = writeln!(out, "total time: {} ms", total.as_millis());
            let _ = writeln!(out, "downtime: {:.1} ms", downtime.as_secs_f64() * 1e3);
            let _ = writeln!(out, "transferred ram: {} kbytes", summary.bytes / 1024);
            let (pages, zeros) = (summary.pages, summary.zeros);
            writeln!(out, "rounds: {rounds}\nnormal: {} pages\nduplicate: {zeros} pages", pages - zeros)
        }
    };
}
