//! Commands about snapshots with names.

use std::fmt::Write;

use super::{Arguments, Context, Waits};
use crate::machine::Named;

pub fn save(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let ticket = cx.machine.save_snapshot(args.first())?;
    *cx.waits = Some(Waits::Task(ticket));
    Ok(())
}

pub fn load(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let ticket = cx.machine.load_snapshot(args.first())?;
    *cx.waits = Some(Waits::Task(ticket));
    Ok(())
}

pub fn delete(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    cx.machine.delete_snapshot(args.first())
}

pub fn list(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
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
pub fn size(bytes: u64) -> String {
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
