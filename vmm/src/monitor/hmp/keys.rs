//! The commands that press keys.

use std::time::Duration;

use devices::virtio::input::key;

use super::{Arguments, Context};
use crate::machine::HOLD;

pub fn powerdown(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    cx.machine.power_button()
}

/// `ctrl-alt-delete`, and for how many milliseconds.
pub fn send(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let hold = match args.words.get(1) {
        None => HOLD,
        Some(hold) => {
            let hold = hold.parse::<u32>().map_err(|_| format!("'{hold}' is no number of milliseconds"))?;
            Duration::from_millis(hold.into())
        }
    };
    let codes = args.first().split('-').map(code).collect::<Result<Vec<_>, _>>()?;
    cx.machine.press_keys(&codes, hold)
}

fn code(name: &str) -> Result<u16, String> {
    key(name).ok_or_else(|| format!("'{name}' is no key; keys are joined by '-', as ctrl-alt-delete"))
}
