//! The commands that would plug devices in and pull them out.

use serde::Deserialize;
use serde_json::Value;

use super::{Arguments, Class, Context, Fault, Outcome};
use crate::monitor::fixed;

/// The members that are the device's own are not looked at.
#[derive(Deserialize)]
struct Add {
    driver: String,
}

pub fn add(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Add { driver } = serde_json::from_value(Value::Object(args.0))
        .map_err(|_| Fault::from("Parameter 'driver' is missing or no string".to_owned()))?;
    Err(fixed::no_room(cx.machine.config(), &driver).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Del {
    id: String,
}

pub fn del(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Del { id } = args.take()?;
    Err(match fixed::stays(cx.machine.config(), &id) {
        Some(why) => why.into(),
        None => Fault::new(Class::DeviceNotFound, format!("Device '{id}' not found")),
    })
}
