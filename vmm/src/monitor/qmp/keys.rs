//! The commands that press keys.

use std::time::Duration;

use ::devices::virtio::input::{KEYS, key};
use serde::Deserialize;

use super::{Arguments, Context, Outcome, done};
use crate::machine::HOLD;

pub fn powerdown(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    cx.machine.power_button()?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Send {
    keys: Vec<Key>,
    /// Milliseconds.
    hold_time: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "type", content = "data")]
enum Key {
    QCode(String),
    Number(i64),
}

pub fn send(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Send { keys, hold_time } = args.take()?;
    let code = |key_: &Key| match key_ {
        Key::QCode(name) => key(name).ok_or_else(|| format!("Parameter 'data' does not accept value '{name}'")),
        // The numbers of a PC's keyboard, which are the same as far as they have one byte.
        Key::Number(number) => u16::try_from(*number)
            .ok()
            .filter(|number| *number < 0x54 && KEYS.iter().any(|(_, code)| code == number))
            .ok_or_else(|| format!("Parameter 'data' does not accept value '{number}'")),
    };
    let codes = keys.iter().map(code).collect::<Result<Vec<_>, _>>()?;
    let hold = hold_time.map_or(HOLD, |time| Duration::from_millis(time.into()));
    cx.machine.press_keys(&codes, hold)?;
    done()
}
