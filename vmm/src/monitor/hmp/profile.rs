//! `profile`: samples of the harts.

use std::fmt::Write;
use std::path::PathBuf;

use super::{Arguments, Context};
use crate::cli::log::harts;
use crate::profile::recorder::{HZ, HZ_MAX, Wanted};

pub fn profile(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["start", options @ ..] => start(cx, options),
        ["stop"] => stop(cx, None),
        ["stop", file] => {
            let path = file.strip_prefix("file=").filter(|path| !path.is_empty());
            stop(cx, Some(path.ok_or_else(|| format!("'{file}' is not file=PATH"))?.into()))
        }
        ["status"] => {
            let _ = writeln!(cx.out, "{}", cx.machine.profile_status());
            Ok(())
        }
        _ => Err("profile takes start [hz=N] [harts=LIST] [file=PATH], stop [file=PATH], or status".into()),
    }
}

fn start(cx: &mut Context<'_>, options: &[&str]) -> Result<(), String> {
    let count = cx.machine.hart_count();
    let mut wanted = Wanted { hz: HZ, harts: (0..count).collect(), file: None };
    for option in options {
        match option.split_once('=') {
            Some(("hz", value)) => {
                let hz = value.parse().ok().filter(|hz| (1..=HZ_MAX).contains(hz));
                wanted.hz = hz.ok_or_else(|| format!("hz={value}: must be 1 to {HZ_MAX}"))?;
            }
            Some(("harts", value)) => {
                let ranges = harts(value, count).map_err(|why| format!("harts={value}: {why}"))?;
                wanted.harts.retain(|hart| ranges.iter().any(|range| range.contains(hart)));
            }
            Some(("file", path)) if !path.is_empty() => wanted.file = Some(PathBuf::from(path)),
            _ => return Err(format!("'{option}' is not hz=N, harts=LIST or file=PATH")),
        }
    }
    cx.machine.start_profile(wanted)
}

fn stop(cx: &mut Context<'_>, file: Option<PathBuf>) -> Result<(), String> {
    let said = cx.machine.stop_profile(file)?;
    cx.out.push_str(&said);
    Ok(())
}
