//! Snapshots with names, as programs have them made: by jobs, which go on when their command is answered.

use serde::Deserialize;
use serde_json::json;

use super::{Arguments, Context, Outcome, done};
use crate::machine::{Job, Machine};

/// What to save or load. All drives that the guest writes to are part of it: `devices` has to name them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Snapshot {
    job_id: String,
    tag: String,
    /// The node that QEMU keeps the machine's state in. Here a file has all.
    vmstate: String,
    devices: Vec<String>,
}

impl Snapshot {
    fn check(&self, machine: &Machine) -> Result<(), String> {
        let nodes = std::iter::once(&self.vmstate).chain(&self.devices);
        check_nodes(machine, nodes)?;
        let missing = machine.written_drives().find(|id| !self.devices.iter().any(|name| name == id));
        match missing {
            None => Ok(()),
            Some(id) => Err(format!("Device '{id}' is writable, and the snapshot would be without it")),
        }
    }
}

fn check_nodes<'a>(machine: &Machine, mut nodes: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let drives = &machine.config().drives;
    match nodes.find(|name| !drives.iter().any(|drive| drive.id == **name)) {
        None => Ok(()),
        Some(name) => Err(format!("No block device node '{name}'")),
    }
}

fn exists(machine: &Machine, tag: &str) -> Result<bool, String> {
    Ok(machine.snapshots()?.iter().any(|snapshot| snapshot.name == tag))
}

pub fn save(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let snapshot: Snapshot = args.take()?;
    cx.machine.start_job(snapshot.job_id.clone(), "snapshot-save", |machine| {
        snapshot.check(machine)?;
        let tag = &snapshot.tag;
        if exists(machine, tag)? {
            return Err(format!("Snapshot '{tag}' already exists"));
        }
        machine.save_snapshot(tag).map(Some)
    })?;
    done()
}

pub fn load(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let snapshot: Snapshot = args.take()?;
    cx.machine.start_job(snapshot.job_id.clone(), "snapshot-load", |machine| {
        snapshot.check(machine)?;
        machine.load_snapshot(&snapshot.tag).map(Some)
    })?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Delete {
    job_id: String,
    tag: String,
    devices: Vec<String>,
}

pub fn delete(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Delete { job_id, tag, devices } = args.take()?;
    cx.machine.start_job(job_id, "snapshot-delete", |machine| {
        check_nodes(machine, devices.iter())?;
        // As QEMU has it: what is not there need not be deleted.
        let there = exists(machine, &tag)? || machine.snapshot_in_use(&tag).is_some();
        if there { machine.delete_snapshot(&tag).map(|()| None) } else { Ok(None) }
    })?;
    done()
}

pub fn query(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let info = |job: &Job| {
        let (done, total) = job.progress;
        let mut info = json!({
            "id": job.id,
            "type": job.kind,
            "status": job.status.name(),
            "current-progress": done,
            "total-progress": total,
        });
        if let Some(error) = &job.error {
            info["error"] = json!(error);
        }
        info
    };
    Ok(cx.machine.jobs().map(info).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Id {
    id: String,
}

pub fn dismiss(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Id { id } = args.take()?;
    cx.machine.dismiss_job(&id)?;
    done()
}

/// One that has not concluded is given up: a save until its file is on its way to its place, a load until RAM changes.
pub fn cancel(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Id { id } = args.take()?;
    cx.machine.cancel_job(&id)?;
    done()
}
