//! The commands that only look.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Arguments, Context, Outcome};
use crate::board::MACHINES;
use crate::config::{CacheMode, DriveConfig, HARTS_MAX, VirtioConfig, VirtioKind};
use crate::machine::{Machine, RunState};

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

/// Does not disturb the harts.
pub fn cpus_fast(cx: &mut Context<'_>, args: Arguments) -> Outcome {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Machines {
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

/// There are no objects of this kind.
pub fn iothreads(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(json!([]))
}

/// The drives that devices use, and the others.
pub fn block(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let machine = &*cx.machine;
    Ok(machine.config().drives.iter().map(|d| drive(machine, d)).collect())
}

fn drive(machine: &Machine, drive: &DriveConfig) -> Value {
    let mut info = json!({ "device": drive.id, "type": "unknown", "removable": false, "locked": false });
    if let Some(size) = machine.image_size(&drive.id) {
        info["inserted"] = inserted(drive, size);
    }
    let uses = |v: &&VirtioConfig| matches!(&v.kind, VirtioKind::Block(b) if b.drive == drive.id);
    if let Some(device) = machine.config().virtio.iter().find(uses) {
        info["qdev"] = json!(device.id);
        info["io-status"] = json!(machine.io_status(&drive.id));
    }
    info
}

fn inserted(drive: &DriveConfig, size: u64) -> Value {
    let path = drive.file.display().to_string();
    let cache = json!({
        "writeback": !matches!(drive.cache, CacheMode::WriteThrough | CacheMode::DirectSync),
        "direct": matches!(drive.cache, CacheMode::None | CacheMode::DirectSync),
        "no-flush": drive.cache == CacheMode::Unsafe,
    });
    json!({
        "file": path,
        // Every drive is one node, by its own name.
        "node-name": drive.id,
        "drv": "raw",
        "ro": drive.readonly,
        "encrypted": false,
        "detect_zeroes": "off",
        "backing_file_depth": 0,
        "bps": 0, "bps_rd": 0, "bps_wr": 0,
        "iops": 0, "iops_rd": 0, "iops_wr": 0,
        "write_threshold": 0,
        "cache": cache,
        "image": { "filename": path, "format": "raw", "virtual-size": size, "dirty-flag": false },
    })
}
