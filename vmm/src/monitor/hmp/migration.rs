//! Commands about moving the machine.

use std::fmt::Write;

use super::{Arguments, Context};
use crate::machine::{Machine, Named, Outcome, Report, Status};
use crate::snapshot::Channel;

/// The one capability there is; the name is QEMU's.
const MAPPED_RAM: &str = "mapped-ram";

pub fn migrate(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let text = args.text.trim();
    let (detach, text) = match text.strip_prefix("-d").filter(|rest| rest.starts_with(char::is_whitespace)) {
        Some(rest) => (true, rest.trim()),
        None => (false, text),
    };
    if text.is_empty() {
        return Err("migrate needs a place: file:PATH, exec:COMMAND, unix:PATH or tcp:HOST:PORT".into());
    }
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    cx.machine.migrate(Channel::parse(text)?)?;
    if detach {
        return Ok(());
    }
    match &mut cx.waits {
        _ if !cx.machine.is_moving() => tell(&cx.machine.migration(), cx.out),
        Some(waits) => **waits = true,
        None => {
            let _ = writeln!(cx.out, "nobody can wait here: the move goes on, and 'info migrate' tells of it");
        }
    }
    Ok(())
}

/// How a move has ended, for who has waited for it.
pub fn tell_end(machine: &Machine, out: &mut String) {
    match machine.migration() {
        Status::Ended(Outcome::Failed(why)) => {
            let _ = writeln!(out, "Error: {why}");
        }
        status => tell(&status, out),
    }
}

pub fn cancel(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    args.at_most(0)?;
    cx.machine.cancel_migration();
    Ok(())
}

pub fn incoming(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    cx.machine.migrate_incoming(Channel::parse(args.text.trim())?)
}

pub fn set_capability(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let on = match args.at_most(2)? {
        [name, _] if name != MAPPED_RAM => return Err(format!("'{name}' is no capability; {MAPPED_RAM} is")),
        [_, state] if state == "on" => true,
        [_, state] if state == "off" => false,
        [_, state] => return Err(format!("'{state}': on or off is allowed")),
        _ => return Err(format!("{MAPPED_RAM} on|off is what it takes")),
    };
    cx.machine.set_mapped_ram(on);
    Ok(())
}

pub fn info(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    args.at_most(0)?;
    tell(&cx.machine.migration(), cx.out);
    Ok(())
}

pub fn capabilities(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    args.at_most(0)?;
    let _ = writeln!(cx.out, "{MAPPED_RAM}: {}", if cx.machine.mapped_ram() { "on" } else { "off" });
    Ok(())
}

/// The name that a command needs.
fn name(args: &Arguments) -> Result<&str, String> {
    match args.at_most(1)? {
        [name] => Ok(name),
        _ => Err("it needs a name".into()),
    }
}

pub fn save(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    cx.machine.save_snapshot(name(args)?).map(drop)
}

pub fn load(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    cx.machine.load_snapshot(name(args)?)
}

pub fn delete(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    cx.machine.delete_snapshot(name(args)?)
}

pub fn list(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    args.at_most(0)?;
    let all = cx.machine.snapshots()?;
    if all.is_empty() {
        let _ = writeln!(cx.out, "There is no snapshot available.");
        return Ok(());
    }
    let width = all.iter().map(|s| s.name.len()).max().unwrap_or(0).max(4);
    let _ = writeln!(cx.out, "{:width$} {:>12}  DATE", "NAME", "BYTES");
    for Named { name, bytes, made } in all {
        let _ = writeln!(cx.out, "{name:width$} {bytes:>12}  {}", humantime::format_rfc3339_seconds(made));
    }
    Ok(())
}

fn tell(status: &Status, out: &mut String) {
    let _ = match status {
        Status::None => Ok(()),
        Status::Setup => writeln!(out, "Migration status: setup"),
        Status::Active { bytes, rounds, total } => {
            let _ = writeln!(out, "Migration status: active");
            let _ = writeln!(out, "total time: {} ms", total.as_millis());
            writeln!(out, "transferred ram: {} kbytes\nrounds: {rounds}", bytes / 1024)
        }
        Status::Ended(Outcome::Cancelled) => writeln!(out, "Migration status: cancelled"),
        Status::Ended(Outcome::Failed(why)) => writeln!(out, "Migration status: failed ({why})"),
        Status::Ended(Outcome::Done(Report { summary, rounds, total, downtime })) => {
            let _ = writeln!(out, "Migration status: completed");
            let _ = writeln!(out, "total time: {} ms", total.as_millis());
            let _ = writeln!(out, "downtime: {:.1} ms", downtime.as_secs_f64() * 1e3);
            let _ = writeln!(out, "transferred ram: {} kbytes", summary.bytes / 1024);
            let (pages, zeros) = (summary.pages, summary.zeros);
            writeln!(out, "rounds: {rounds}\nnormal: {} pages\nduplicate: {zeros} pages", pages - zeros)
        }
    };
}
