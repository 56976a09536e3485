//! The commands about kinds of devices, and those that would plug devices in and pull them out.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Arguments, Class, Context, Fault, Outcome, done};
use crate::monitor::fixed;

/// The members that are the device's own are not looked at.
#[derive(Deserialize)]
pub struct Add {
    driver: String,
}

pub fn add(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Add { driver } = serde_json::from_value(Value::Object(args.members))
        .map_err(|_| Fault::from("Parameter 'driver' is missing or no string".to_owned()))?;
    Err(fixed::no_room(cx.machine.config(), &driver).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Del {
    id: String,
}

pub fn del(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Del { id } = args.take()?;
    Err(match fixed::stays(cx.machine.config(), &id) {
        Some(why) => why.into(),
        None => Fault::new(Class::DeviceNotFound, format!("Device '{id}' not found")),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    name: String,
    up: bool,
}

pub fn set_link(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Link { name, up } = args.take()?;
    cx.machine.set_link(&name, up).map_err(|desc| Fault::new(Class::DeviceNotFound, desc))?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Types {
    implements: Option<String>,
    /// There are no abstract ones here.
    #[serde(default, rename = "abstract")]
    _abstract: bool,
}

/// What of a device's type a name may stand for besides itself, from its parent upwards.
fn parents(name: &str) -> &'static [&'static str] {
    match name {
        "virtconsole" => &["virtserialport", "virtio-serial-port", "device", "object"],
        "virtserialport" => &["virtio-serial-port", "device", "object"],
        _ => &["virtio-device", "device", "object"],
    }
}

/// The kinds of devices that `-device` makes.
pub fn types(_: &mut Context<'_>, args: Arguments) -> Outcome {
    let Types { implements, .. } = args.take()?;
    let is = |name: &str| implements.as_deref().is_none_or(|kind| kind == name || parents(name).contains(&kind));
    let rows = crate::cli::device_types().iter().filter(|row| is(row.name));
    Ok(rows.map(|row| json!({ "name": row.name, "parent": parents(row.name)[0] })).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    typename: String,
}

/// What a kind of device takes.
pub fn properties(_: &mut Context<'_>, args: Arguments) -> Outcome {
    let Kind { typename } = args.take()?;
    let row = crate::cli::device_types().iter().find(|row| row.name == typename);
    let row = row.ok_or_else(|| Fault::new(Class::DeviceNotFound, format!("Device '{typename}' not found")))?;
    let property = |(name, kind, help): &(&str, &str, &str)| {
        // A switch is one; everything else is said in words.
        let kind = if *kind == "on|off" { "bool" } else { "str" };
        json!({ "name": name, "type": kind, "description": help })
    };
    Ok(row.properties.iter().map(property).collect())
}
