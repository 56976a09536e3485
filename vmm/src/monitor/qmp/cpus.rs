//! The commands about harts and their models.

use arch::ext::EXTENSIONS;
use arch::model::MODELS;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Arguments, Context, Outcome};

/// Does not disturb the harts.
pub fn fast(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let model = &cx.machine.isa().model;
    let topology = cx.machine.config().topology;
    let cpu = |hart: u32| {
        let (core, thread) = (hart / topology.threads, hart % topology.threads);
        let (cluster, core) = (core / topology.cores, core % topology.cores);
        let (socket, cluster) = (cluster / topology.clusters, cluster % topology.clusters);
        json!({
            "cpu-index": hart,
            "qom-path": format!("/machine/soc0/harts[{hart}]"),
            "qom-type": format!("{model}-riscv-cpu"),
            "thread-id": cx.machine.hart_thread(hart),
            "props": { "socket-id": socket, "cluster-id": cluster, "core-id": core, "thread-id": thread },
            "target": "riscv64",
        })
    };
    Ok((0..topology.harts()).map(cpu).collect())
}

pub fn hotpluggable(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Err("machine does not support hot-plugging CPUs".to_owned().into())
}

/// The models of `-cpu`.
pub fn definitions(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let model = |model: &arch::model::Model| {
        let mut info = json!({
            "name": model.name,
            "typename": format!("{}-riscv-cpu", model.name),
            // A model may come to have more with a later version.
            "static": false,
            "deprecated": false,
        });
        let missing: Vec<_> = model.missing().iter().map(|ext| ext.name()).collect();
        if !missing.is_empty() {
            info["unavailable-features"] = json!(missing);
        }
        info
    };
    Ok(MODELS.iter().map(model).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expansion {
    #[serde(rename = "type")]
    kind: Kind,
    model: Model,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Full,
    Static,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
    #[serde(default)]
    props: Map<String, Value>,
}

/// Which extensions a model has; `props` are as `-cpu` takes them.
pub fn expansion(_: &mut Context<'_>, args: Arguments) -> Outcome {
    let Expansion { kind, model: Model { name, props } } = args.take()?;
    if matches!(kind, Kind::Static) {
        return Err("The requested expansion type is not supported".to_owned().into());
    }
    if arch::model::find(&name).is_none() {
        return Err(format!("The CPU type '{name}' is not a known RISC-V CPU type").into());
    }
    let mut argument = name.clone();
    for (property, value) in &props {
        let value = match value {
            Value::Bool(true) => "on".to_owned(),
            Value::Bool(false) => "off".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::String(text) if !text.contains(',') => text.clone(),
            _ => return Err(format!("Parameter '{property}' is no property's value").into()),
        };
        argument.push_str(&format!(",{property}={value}"));
    }
    let isa = arch::model::parse(&argument).map_err(|error| crate::error_chain(&error))?;
    let ready = EXTENSIONS.iter().filter(|row| row.ext.is_ready());
    let props: Map<_, _> = ready.map(|row| (row.name.to_owned(), json!(isa.has(row.ext)))).collect();
    Ok(json!({ "model": { "name": name, "props": props } }))
}
