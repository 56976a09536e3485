//! Commands about devices: what the board has, and that nothing is plugged in or pulled out.

use std::fmt::Write;

use super::{Arguments, Context};
use crate::config::{VIRTIO_SLOTS, VirtioConfig, VirtioKind};
use crate::monitor::fixed;

pub fn add(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let driver = args.text.split(',').next().unwrap_or_default();
    let driver = driver.strip_prefix("driver=").unwrap_or(driver).trim();
    Err(fixed::no_room(cx.machine.config(), driver))
}

pub fn del(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let id = args.first();
    Err(fixed::stays(cx.machine.config(), id).unwrap_or_else(|| format!("Device '{id}' not found")))
}

/// The size is in MiB unless it says otherwise, as QEMU has it.
pub fn resize(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let (drive, size) = (args.first(), &args.words[1]);
    let bytes = crate::cli::size::parse(size, 1 << 20).map_err(|why| format!("size '{size}' {why}"))?;
    cx.machine.resize_drive(drive, bytes)
}

pub fn set_link(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let up = match args.words[1].as_str() {
        "on" => true,
        "off" => false,
        other => return Err(format!("'{other}': on or off is allowed")),
    };
    cx.machine.set_link(args.first(), up)
}

/// Properties of a device, as its options have them.
fn properties(device: &VirtioConfig) -> Vec<(&'static str, String)> {
    let quoted = |text: &str| format!("\"{text}\"");
    match &device.kind {
        VirtioKind::Block(disk) => {
            let mut all = vec![("drive", quoted(&disk.drive))];
            all.push(("serial", quoted(&disk.serial.escape_debug().to_string())));
            all.extend(disk.num_queues.map(|n| ("num-queues", n.to_string())));
            all.extend(disk.logical_block_size.map(|n| ("logical_block_size", n.to_string())));
            all
        }
        VirtioKind::Net(card) => {
            let mac = quoted(&card.mac.map(|byte| format!("{byte:02x}")).join(":"));
            vec![("mac", mac), ("netdev", quoted(&card.netdev))]
        }
        VirtioKind::Rng(rng) => {
            vec![("filename", quoted(&rng.source.as_ref().map_or_else(String::new, |p| p.display().to_string())))]
        }
        VirtioKind::Console(console) => vec![("max_ports", console.max_ports.to_string())],
        VirtioKind::Keyboard => Vec::new(),
    }
}

fn driver(kind: &VirtioKind) -> &'static str {
    match kind {
        VirtioKind::Block(_) => "virtio-blk-device",
        VirtioKind::Net(_) => "virtio-net-device",
        VirtioKind::Rng(_) => "virtio-rng-device",
        VirtioKind::Console(_) => "virtio-serial-device",
        VirtioKind::Keyboard => "virtio-keyboard-device",
    }
}

fn virtio(device: &VirtioConfig, out: &mut String) {
    let _ = writeln!(out, "      dev: {}, id \"{}\"", driver(&device.kind), device.id);
    for (name, value) in properties(device) {
        let _ = writeln!(out, "        {name} = {value}");
    }
    let VirtioKind::Console(console) = &device.kind else { return };
    let _ = writeln!(out, "        bus: {}.0\n          type virtio-serial-bus", device.id);
    for port in &console.ports {
        let driver = if port.console { "virtconsole" } else { "virtserialport" };
        let _ = writeln!(out, "          dev: {driver}, id \"\"");
        let _ = writeln!(out, "            chardev = \"{}\"\n            nr = {}", port.chardev, port.nr);
        let _ = writeln!(out, "            name = \"{}\"", port.name);
    }
}

/// The board as a tree of buses and devices, in QEMU's layout.
pub fn tree(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    let _ = writeln!(cx.out, "bus: main-system-bus\n  type System");
    let config = cx.machine.config();
    for region in cx.machine.devices() {
        let slot = cx.machine.virtio_slot(region.base).filter(|slot| *slot < VIRTIO_SLOTS);
        let name = if slot.is_some() { "virtio-mmio" } else { region.name.as_str() };
        let _ = writeln!(cx.out, "  dev: {name}, id \"\"");
        if slot.is_some() {
            let _ = writeln!(cx.out, "    force-legacy = {}", config.force_legacy);
        }
        let _ = writeln!(cx.out, "    mmio {:016x}/{:016x}", region.base, region.size);
        if let Some(slot) = slot {
            let _ = writeln!(cx.out, "    bus: virtio-mmio-bus.{slot}\n      type virtio-mmio-bus");
            config.virtio.iter().filter(|v| v.slot == slot).for_each(|device| virtio(device, cx.out));
        }
    }
    Ok(())
}
