//! The commands that only look.

use serde::Deserialize;
use serde_json::json;

use super::{Arguments, Class, Context, Fault, Outcome, done};
use crate::board::MACHINES;
use crate::config::{HARTS_MAX, NumaMode, OnReboot, OnShutdown, RamBacking};
use crate::machine::RunState;

pub fn version(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(super::version())
}

pub fn status(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let state = cx.machine.run_state();
    Ok(json!({ "status": state.name(), "running": state == RunState::Running }))
}

pub fn name(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(match cx.machine.name() {
        Some(name) => json!({ "name": name }),
        None => json!({}),
    })
}

pub fn target(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(json!({ "arch": "riscv64" }))
}

pub fn kvm(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let present = accel::select::engines().iter().any(|engine| engine.name == "kvm" && engine.availability.is_ok());
    Ok(json!({ "enabled": cx.machine.engine() == "kvm", "present": present }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Machines {
    #[serde(default)]
    compat_props: bool,
}

pub fn machines(_: &mut Context<'_>, args: Arguments) -> Outcome {
    let Machines { compat_props } = args.take()?;
    let machine = |m: &crate::board::MachineType| {
        let mut info = json!({
            "name": m.name,
            "cpu-max": HARTS_MAX,
            "hotpluggable-cpus": false,
            "numa-mem-supported": false,
            "deprecated": false,
            "acpi": false,
        });
        if let Some(alias) = m.aliases.first() {
            info["alias"] = json!(alias);
        }
        if m.default {
            info["is-default"] = json!(true);
        }
        if compat_props {
            // Every machine is as it was from the start.
            info["compat-props"] = json!([]);
        }
        info
    };
    Ok(MACHINES.iter().map(machine).collect())
}

pub fn current_machine(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(json!({ "wakeup-suspend-support": false }))
}

pub fn memory_size_summary(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(json!({ "base-memory": cx.machine.config().ram_size }))
}

/// There is nothing of this kind.
pub fn nothing(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(json!([]))
}

pub fn balloon(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Err(Fault::new(Class::DeviceNotActive, "No balloon device has been activated"))
}

pub fn uuid(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    // Nobody can give one.
    Ok(json!({ "UUID": "00000000-0000-0000-0000-000000000000" }))
}

pub fn accelerators(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let engines = accel::select::engines();
    let present: Vec<_> =
        engines.iter().filter(|engine| engine.availability.is_ok()).map(|engine| engine.name).collect();
    Ok(json!({ "enabled": cx.machine.engine(), "present": present }))
}

pub fn replay(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(json!({ "mode": "none", "icount": 0 }))
}

/// What RAM is made of, unless that is nothing special.
pub fn memdev(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let (ram, size) = (&cx.machine.config().ram, cx.machine.config().ram_size);
    if ram.backing == RamBacking::Any {
        return Ok(json!([]));
    }
    let (policy, nodes) = match &ram.numa {
        None => ("default", Vec::new()),
        Some(numa) => {
            let policy = match numa.mode {
                NumaMode::Preferred => "preferred",
                NumaMode::Bind => "bind",
                NumaMode::Interleave => "interleave",
            };
            (policy, numa.nodes.clone())
        }
    };
    Ok(json!([{
        "size": size,
        "merge": ram.merge,
        "dump": ram.dump,
        "prealloc": ram.prealloc,
        "share": ram.share,
        "reserve": ram.reserve,
        "host-nodes": nodes,
        "policy": policy,
    }]))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Actions {
    reboot: Option<Reboot>,
    shutdown: Option<Shutdown>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reboot {
    Reset,
    Shutdown,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Shutdown {
    Poweroff,
    Pause,
}

/// What follows when the guest reboots or powers off.
pub fn set_action(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Actions { reboot, shutdown } = args.take()?;
    let reboot = reboot.map(|action| match action {
        Reboot::Reset => OnReboot::Reset,
        Reboot::Shutdown => OnReboot::Exit,
    });
    let shutdown = shutdown.map(|action| match action {
        Shutdown::Poweroff => OnShutdown::Exit,
        Shutdown::Pause => OnShutdown::Pause,
    });
    cx.machine.set_actions(reboot, shutdown);
    done()
}
