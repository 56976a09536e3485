//! Commands about the engine that runs the guest. QMP has none for a change of it: these are Vireo's own, with its prefix.

use ::accel::select::engines;
use serde::Deserialize;
use serde_json::json;

use super::{Arguments, Context, Outcome};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    accel: String,
}

/// Answers when the guest is there. The downtime is in seconds.
pub fn set(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Wanted { accel } = args.take()?;
    let downtime = cx.machine.switch_engine(&accel)?.map_or(0.0, |switched| switched.downtime.as_secs_f64());
    Ok(json!({ "accel": accel, "downtime": downtime }))
}

pub fn query(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let engine = |engine: ::accel::select::EngineInfo| {
        let mut info = json!({ "name": engine.name, "available": engine.availability.is_ok() });
        if let Err(why) = engine.availability {
            info["reason"] = json!(why);
        }
        info
    };
    Ok(json!({ "accel": cx.machine.engine(), "accels": engines().into_iter().map(engine).collect::<Vec<_>>() }))
}
