//! What a machine is made of is decided at its start. Commands that would change it are known by name, and say why not.

use crate::config::{MachineConfig, VIRTIO_SLOTS};

/// Commands of QEMU's monitors that are refused here, under both monitors' names, and why.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["netdev_add", "netdev_del", "host_net_add", "host_net_remove"],
        "networks are made at the start (-netdev, -nic): no card can be plugged into virtio-mmio, and none pulled out",
    ),
    (
        &["drive_add", "drive_del", "blockdev-add", "blockdev-del", "blockdev-reopen"],
        "drives are opened at the start (-drive, -blockdev): no disk can be plugged into virtio-mmio, and none pulled out",
    ),
    (
        &["change", "eject", "blockdev-change-medium", "blockdev-open-tray", "blockdev-close-tray"],
        "no drive has a medium that could be changed",
    ),
    (
        &["chardev-add", "chardev-remove", "chardev-change"],
        "character devices are opened at the start (-chardev), as are the devices that use them",
    ),
    (
        &["object_add", "object_del", "object-add", "object-del"],
        "objects are made at the start (-object): memory backends and random numbers, which no device here can change",
    ),
    (&["system_wakeup"], "the guest wakes by interrupts alone"),
    (&["nmi", "inject-nmi"], "the harts have no line that this could drive"),
    (
        &["blockdev-snapshot-sync", "blockdev-snapshot", "snapshot_blkdev", "snapshot_blkdev_internal"],
        "raw images keep no snapshots",
    ),
    (&["commit", "block-commit", "block-stream", "block_stream"], "images have no backing files"),
];

/// Why a command is refused; `None` for one that nobody knows.
pub fn refusal(command: &str) -> Option<String> {
    let (_, why) = REFUSED.iter().find(|(names, _)| names.contains(&command))?;
    Some(format!("'{command}' is not possible: {why}"))
}

/// Why nothing is plugged in while the machine runs, in QEMU's words: the name of a bus with room, if one has any.
pub fn no_room(config: &MachineConfig, driver: &str) -> String {
    if !crate::cli::device_types().iter().any(|row| row.name == driver) {
        return format!("'{driver}' is not a valid device model name");
    }
    let free = (0..VIRTIO_SLOTS).rev().find(|slot| config.virtio.iter().all(|v| v.slot != *slot));
    match free {
        Some(slot) => no_hotplug(slot),
        None => format!("No 'virtio-bus' bus found for device '{driver}'"),
    }
}

/// Why nothing is pulled out: `None` if there is no such device.
pub fn stays(config: &MachineConfig, id: &str) -> Option<String> {
    config.virtio.iter().find(|v| v.id == id).map(|v| no_hotplug(v.slot))
}

fn no_hotplug(slot: u8) -> String {
    format!("Bus 'virtio-mmio-bus.{slot}' does not support hotplugging")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_is_refused_twice_or_done_as_well() {
        let names: Vec<_> = REFUSED.iter().flat_map(|(names, _)| *names).collect();
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{name} twice");
            assert!(!super::super::is_command(name), "{name} is a command");
        }
    }
}
