//! The commands about drives.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Arguments, Context, Outcome, done};
use crate::config::{CacheMode, DriveConfig};
use crate::machine::Machine;

/// The drives that devices use, and the others.
pub fn drives(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let machine = &*cx.machine;
    Ok(machine.config().drives.iter().map(|d| drive(machine, d)).collect())
}

fn drive(machine: &Machine, drive: &DriveConfig) -> Value {
    let mut info = json!({ "device": drive.id, "type": "unknown", "removable": false, "locked": false });
    if let Some(size) = machine.image_size(&drive.id) {
        info["inserted"] = inserted(drive, size);
    }
    if let Some(device) = machine.disk_of(drive) {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flat {
    /// Without what is below each node; nothing is.
    #[serde(default, rename = "flat")]
    _flat: bool,
}

/// Every drive that something opens is a node.
pub fn nodes(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Flat { .. } = args.take()?;
    let machine = &*cx.machine;
    let node = |d: &DriveConfig| machine.image_size(&d.id).map(|size| inserted(d, size));
    Ok(machine.config().drives.iter().filter_map(node).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Nodes {
    #[serde(default)]
    query_nodes: bool,
}

/// What disks have done.
pub fn stats(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Nodes { query_nodes } = args.take()?;
    let machine = &*cx.machine;
    let info = |d: &DriveConfig| {
        let stats = machine.disk_stats(&d.id)?;
        let mut numbers = json!({
            "wr_highest_offset": stats.highest(),
            // Times are those of requests that went well.
            "account_invalid": false,
            "account_failed": false,
            "timed_stats": [],
        });
        for (name, count) in stats.kinds() {
            numbers[format!("{name}_operations")] = count.operations().into();
            numbers[format!("failed_{name}_operations")] = count.failed().into();
            // Requests that make no sense never come to the image.
            numbers[format!("invalid_{name}_operations")] = 0.into();
            numbers[format!("{name}_total_time_ns")] = (count.waited().as_nanos() as u64).into();
            if name != "flush" {
                numbers[format!("{name}_bytes")] = count.bytes().into();
                numbers[format!("{name}_merged")] = 0.into();
            }
        }
        // Images have no zones.
        for name in ["operations", "bytes", "merged", "total_time_ns"] {
            numbers[format!("zone_append_{name}")] = 0.into();
        }
        for kind in ["failed", "invalid"] {
            numbers[format!("{kind}_zone_append_operations")] = 0.into();
        }
        let mut info = json!({ "node-name": d.id, "stats": numbers });
        if !query_nodes {
            info["device"] = json!(d.id);
            if let Some(device) = machine.disk_of(d) {
                info["qdev"] = json!(device.id);
            }
        }
        Some(info)
    };
    Ok(machine.config().drives.iter().filter_map(info).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Resize {
    device: Option<String>,
    /// Every drive is one node, by its own name.
    node_name: Option<String>,
    /// Bytes.
    size: i64,
}

pub fn resize(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Resize { device, node_name, size } = args.take()?;
    let size = u64::try_from(size).map_err(|_| "Parameter 'size' expects a >0 size".to_owned())?;
    let drives = &cx.machine.config().drives;
    let Some(id) = [&device, &node_name].into_iter().flatten().find(|id| drives.iter().any(|drive| drive.id == **id))
    else {
        let [device, node] = [&device, &node_name].map(|name| name.as_deref().unwrap_or_default());
        return Err(format!("Cannot find device='{device}' nor node-name='{node}'").into());
    };
    cx.machine.resize_drive(id, size)?;
    done()
}
