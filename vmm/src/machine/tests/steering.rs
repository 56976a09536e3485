//! What monitors do beyond looking: what is refused and why, a gdb server that comes and goes.

use std::io::{Read, Write};

use serde_json::{Value, json};

use super::gdb::Client;
use super::monitor::with_person;
use super::qmp::with_program;

const DEVICES: &[&str] = &["-device", "virtio-rng-device,id=r,bus=virtio-mmio-bus.7"];

#[test]
fn nothing_is_plugged_in_or_pulled_out() {
    with_person(DEVICES, |mut p, _| {
        let no = |bus: u8| format!("Error: Bus 'virtio-mmio-bus.{bus}' does not support hotplugging\n");
        assert_eq!(p.ask("device_add virtio-rng-device,id=x"), no(6));
        assert_eq!(p.ask("device_add driver=virtio-blk-device,drive=d"), no(6));
        assert_eq!(p.ask("device_add e1000"), "Error: 'e1000' is not a valid device model name\n");
        assert_eq!(p.ask("device_del r"), no(7));
        assert_eq!(p.ask("device_del x"), "Error: Device 'x' not found\n");
        for command in ["netdev_add user,id=n", "drive_add 0 file=x", "object_add x", "system_powerdown", "eject d"] {
            let answer = p.ask(command);
            let name = command.split(' ').next().unwrap();
            assert!(answer.starts_with(&format!("Error: '{name}' is not possible: ")), "{answer}");
        }
        assert_eq!(p.ask("info status"), "VM status: running\n");
        p.0.write_all(b"q\n").unwrap();
    });
}

#[test]
fn programs_are_told_the_same_with_classes() {
    with_program(DEVICES, |mut p, _| {
        let mut ask = |command: &str, arguments: Value| {
            let answer = p.send(json!({ "execute": command, "arguments": arguments }));
            let error = &answer["error"];
            (error["class"].as_str().unwrap().to_owned(), error["desc"].as_str().unwrap().to_owned())
        };
        let generic = |desc: &str| ("GenericError".to_owned(), desc.to_owned());
        let no = generic("Bus 'virtio-mmio-bus.7' does not support hotplugging");
        assert_eq!(ask("device_del", json!({ "id": "r" })), no);
        let lost = ("DeviceNotFound".to_owned(), "Device 'x' not found".to_owned());
        assert_eq!(ask("device_del", json!({ "id": "x" })), lost);
        let no = generic("Bus 'virtio-mmio-bus.6' does not support hotplugging");
        assert_eq!(ask("device_add", json!({ "driver": "virtio-net-device", "netdev": "n", "id": "c" })), no);
        assert_eq!(ask("device_add", json!({ "driver": "x" })), generic("'x' is not a valid device model name"));
        assert_eq!(ask("device_add", json!({})).0, "GenericError");
        for command in ["blockdev-add", "chardev-add", "object-add", "netdev_del", "system_powerdown"] {
            let (class, desc) = ask(command, json!({ "id": "x" }));
            assert_eq!(class, "GenericError");
            assert!(desc.starts_with(&format!("'{command}' is not possible: ")), "{desc}");
        }
        assert_eq!(ask("frob", json!({})).0, "CommandNotFound");
        p.quit();
    });
}

#[test]
fn the_tree_has_every_chip_and_device() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    std::fs::write(&image, [0; 4096]).unwrap();
    let drive = format!("file={},id=d0,if=none", image.display());
    let words = [
        "-drive",
        &drive,
        "-device",
        "virtio-blk-device,drive=d0,id=disk,serial=s",
        "-device",
        "virtio-serial-device,id=ports",
        "-chardev",
        "null,id=n",
        "-device",
        "virtserialport,chardev=n,name=x",
    ];
    with_person(&words, |mut p, _| {
        let tree = p.ask("info qtree");
        assert!(tree.starts_with("bus: main-system-bus\n  type System\n  dev: "), "{tree}");
        let disk = "    bus: virtio-mmio-bus.7\n      type virtio-mmio-bus\n      dev: virtio-blk-device, id \"disk\"\n        \
                    drive = \"d0\"\n        serial = \"s\"\n";
        assert!(tree.contains(disk), "{tree}");
        let port = "        bus: ports.0\n          type virtio-serial-bus\n          dev: virtserialport, id \"\"\n            \
                    chardev = \"n\"\n";
        assert!(tree.contains(port), "{tree}");
        let uart = "  dev: serial, id \"\"\n    mmio 0000000010000000/0000000000000008\n";
        assert!(tree.contains(uart), "{tree}");
        assert_eq!(tree.matches("  dev: virtio-mmio, id \"\"\n").count(), 8);
        p.0.write_all(b"q\n").unwrap();
    });
}

#[test]
fn a_gdb_server_comes_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gdb");
    let command = format!("gdbserver unix:{},server=on,wait=off", path.display());
    with_person(&[], |mut p, _| {
        assert_eq!(p.ask("gdbserver none"), "Error: there is no gdb server\n");
        assert!(p.ask("gdbserver carrier:pigeon").starts_with("Error: gdbserver carrier:pigeon: "));
        assert!(p.ask("gdbserver chardev:x").contains("a device of its own"));
        for _ in 0..2 {
            let place = format!("'disconnected:unix:{},server=on'", path.display());
            assert_eq!(p.ask(&command), format!("Waiting for gdb connection on device {place}\n"));
            assert_eq!(p.ask("info status"), "VM status: running\n");
            let mut gdb = Client::at(&path);
            assert!(gdb.ask("?").starts_with("T05"));
            assert!(p.ask(&command).contains("there is a gdb server at"));
            assert!(p.ask("info chardev").contains("gdb: filename=unix:"));
            assert_eq!(p.ask("gdbserver none"), "");
            assert_eq!(gdb.0.read(&mut [0; 64]).unwrap_or(0), 0, "the server hangs up");
            assert!(!path.exists());
            assert_eq!(p.ask("info status"), "VM status: paused (debug)\n");
            p.ask("cont");
        }
        // gdb itself may end it.
        p.ask(&command);
        let mut gdb = Client::at(&path);
        gdb.packet(format!("qRcmd,{}", super::gdb::hex(b"gdbserver none")).as_bytes());
        let _ = gdb.0.read_to_end(&mut Vec::new());
        assert!(!p.ask("info chardev").contains("gdb"));
        p.0.write_all(b"q\n").unwrap();
    });
}
