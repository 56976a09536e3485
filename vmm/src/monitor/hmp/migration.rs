//! Commands about moving the machine.

use std::fmt::Write;

use super::{Arguments, Context};
use crate::cli::size::parse as parse_size;
use crate::machine::{Machine, Named, Outcome, Parameters, Report, Status, Unit};
use crate::snapshot::{Channel, PATIENCE};

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
    cx.machine.cancel_migration()
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

/// A size without a suffix counts MiB, as QEMU has it.
pub fn set_parameter(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let [name, value] = args.at_most(2)? else { return Err("NAME VALUE is what it takes".into()) };
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

pub fn parameters(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    args.at_most(0)?;
    for (row, value) in cx.machine.move_parameters().iter() {
        let _ = writeln!(cx.out, "{}: {value} {} ({})", row.name, row.unit.name(), row.help);
    }
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
    // QEMU's words and columns.
    let _ = writeln!(cx.out, "List of snapshots present on all disks:");
    let mut row = |id: &str, tag: &str, size: &str, date: &str, clock: &str, icount: &str| {
        let _ = writeln!(cx.out, "{id:<7} {tag:<16} {size:>8} {date:>19} {clock:>15} {icount:>10}");
    };
    row("ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
    for Named { name, bytes, made, time } in all {
        let date = humantime::format_rfc3339_seconds(made).to_string();
        let date = date.trim_end_matches('Z').replace('T', " ");
        let clock = time.map_or("--".to_owned(), |time| {
            let (seconds, milliseconds) = (time.as_secs(), time.subsec_millis());
            format!("{:04}:{:02}:{:02}.{milliseconds:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        });
        row("--", &name, &size(bytes), &date, &clock, "--");
    }
    Ok(())
}

/// Bytes with three digits.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        _ if value < 9.995 && unit > 0 => 2,
        _ if value < 99.95 && unit > 0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {}", units[unit])
}

fn tell(status: &Status, out: &mut String) {
    let _ = match status {
        Status::None => Ok(()),
        Status::Setup => writeln!(out, "Migration status: setup"),
        Status::Active { bytes, rounds, total, still } => {
            let _ = writeln!(out, "Migration status: {}", if still.is_some() { "device" } else { "active" });
            let _ = writeln!(out, "total time: {} ms", total.as_millis());
            if let Some(still) = still {
                let (still, patience) = (still.as_millis(), PATIENCE.as_secs());
                let _ = writeln!(out, "standing still: {still} ms; a socket's reader may be silent for {patience} s");
            }
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

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_have_three_digits() {
        let sizes = [0, 999, 1000, 1024, 1536, 10 << 10, 1_023_488, 2_621_440, 123 << 30, u64::MAX].map(super::size);
        let texts =
            ["0 B", "999 B", "0.98 KiB", "1 KiB", "1.5 KiB", "10 KiB", "0.98 MiB", "2.5 MiB", "123 GiB", "16 EiB"];
        assert_eq!(sizes, texts);
    }
}
