//! Commands about the log.

use std::fmt::Write;

use super::{Arguments, Context};
use crate::cli::log::{self, FILTERS, ITEMS};

/// `log ITEM,...`: these and no others.
pub fn log(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let Some(words) = args.words.first().filter(|words| *words != "help") else {
        for item in ITEMS {
            let _ = writeln!(cx.out, "{:<12}  {}", item.name, item.meaning);
        }
        for (name, meaning) in FILTERS {
            let _ = writeln!(cx.out, "{name:<12}  {meaning}");
        }
        let _ = writeln!(cx.out, "{:<12}  no item", "none");
        return Ok(());
    };
    let mut config = cx.machine.log().clone();
    // Filters stay until they are set anew.
    config.names.clear();
    config.directives.clear();
    config.items = accel::trace::TraceItems::empty();
    if words != "none" {
        log::words(&mut config, words, cx.machine.hart_count())?;
    }
    cx.machine.set_log(config)
}

/// `trace`: what is logged. `trace ITEM on|off`, `trace FILTER=VALUE`: one thing of it changes.
pub fn trace(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let mut config = cx.machine.log().clone();
    match args.words.as_slice() {
        [] => {
            let _ = writeln!(cx.out, "{}", log::show(&config));
            return Ok(());
        }
        [filter] if filter.contains('=') => {
            let (name, value) = filter.split_once('=').unwrap_or_default();
            log::filter(&mut config.filter, name, value, cx.machine.hart_count())?;
        }
        [name, switch] if switch == "on" => log::add(&mut config, log::find(name)?),
        [name, switch] if switch == "off" => log::remove(&mut config, log::find(name)?),
        _ => return Err("trace takes ITEM on|off, or FILTER=VALUE; log alone lists them".into()),
    }
    cx.machine.set_log(config)
}
