//! What monitors do beyond looking: what is refused and why, moves that are waited for, a gdb server that comes and goes.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::Xorshift;
use super::gdb::Client;
use super::monitor::{PATIENCE, Person, with_person};
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
        for command in ["netdev_add user,id=n", "drive_add 0 file=x", "object_add x", "eject d"] {
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
        for command in ["blockdev-add", "chardev-add", "object-add", "netdev_del"] {
            let (class, desc) = ask(command, json!({ "id": "x" }));
            assert_eq!(class, "GenericError");
            assert!(desc.starts_with(&format!("'{command}' is not possible: ")), "{desc}");
        }
        assert_eq!(ask("frob", json!({})).0, "CommandNotFound");
        p.quit();
    });
}

#[test]
fn keys_are_pressed_where_there_is_a_keyboard() {
    let missing = "the machine has no keyboard (-device virtio-keyboard-device), whose power key is the power button";
    with_person(DEVICES, |mut p, _| {
        assert_eq!(p.ask("system_powerdown"), format!("Error: {missing}\n"));
        assert_eq!(p.ask("sendkey a"), format!("Error: {missing}\n"));
        p.0.write_all(b"q\n").unwrap();
    });
    with_person(&["-device", "virtio-keyboard-device"], |mut p, _| {
        let wrong = "is no key; keys are joined by '-', as ctrl-alt-delete";
        assert_eq!(p.ask("sendkey"), "Error: sendkey lacks an argument: it takes KEYS [MS]\n");
        assert_eq!(p.ask("sendkey ctrl-alt-f99"), format!("Error: 'f99' {wrong}\n"));
        assert_eq!(p.ask("sendkey ctrl-"), format!("Error: '' {wrong}\n"));
        assert_eq!(p.ask("sendkey a soon"), "Error: 'soon' is no number of milliseconds\n");
        assert_eq!(p.ask("sendkey a 60001"), "Error: keys are held for 60 seconds at most\n");
        let nobody = "Error: the guest has no driver for its keyboard, or not yet\n";
        assert_eq!(p.ask("sendkey ctrl-alt-delete 1"), nobody);
        assert_eq!(p.ask("system_powerdown"), nobody);
        p.0.write_all(b"q\n").unwrap();
    });
    with_program(&["-device", "virtio-keyboard-device"], |mut p, _| {
        let key = |data| json!({ "type": "qcode", "data": data });
        let press = |keys: Value| json!({ "execute": "send-key", "arguments": { "keys": keys, "hold-time": 5 } });
        let number = |data: i64| json!({ "type": "number", "data": data });
        let nobody = "the guest has no driver for its keyboard, or not yet";
        assert_eq!(p.send(press(json!([key("ctrl"), key("c"), number(28)])))["error"]["desc"], nobody);
        for bad in [key("f99"), number(84), number(-1)] {
            let answer = p.send(press(json!([bad])));
            assert_eq!(answer["error"]["class"], "GenericError", "{answer}");
        }
        assert_eq!(p.send(json!({ "execute": "system_powerdown" }))["error"]["desc"], nobody);
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

/// Who waits for a move keeps nobody else waiting.
#[test]
fn a_move_that_is_waited_for_leaves_other_monitors_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (other, way, initrd) = (dir.path().join("other"), dir.path().join("way"), dir.path().join("initrd"));
    // More than sockets and buffers take, however it is packed.
    let mut random = Xorshift(1);
    let noise: Vec<u8> = (0..1 << 19).flat_map(|_| random.next().to_le_bytes()).collect();
    std::fs::write(&initrd, noise).unwrap();
    let (initrd, device) = (initrd.display().to_string(), format!("unix:{},server=on,wait=off", other.display()));
    let kernel = dir.path().join("kernel");
    std::fs::write(&kernel, [0x13; 64]).unwrap();
    let kernel = kernel.display().to_string();
    let words = ["-m", "64M", "-kernel", &kernel, "-initrd", &initrd, "-monitor", &device];
    with_person(&words, |mut p, _| {
        let listener = UnixListener::bind(&way).unwrap();
        let command = format!("migrate unix:{}\n", way.display());
        // What is typed meanwhile is done afterwards.
        p.0.write_all(format!("{command}info status\n").as_bytes()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let mut q = Person::at(&other);
        while !q.ask("info migrate").contains("Migration status: active") {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(q.ask("info status"), "VM status: running\n");
        assert!(q.ask("migrate file:/nonexistent/x").contains("is being moved already"));
        // Nothing was said yet to who waits.
        p.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut said = Vec::new();
        let _ = p.0.read_to_end(&mut said);
        assert_eq!(String::from_utf8_lossy(&said), command.replace('\n', "\r\n"));
        p.0.set_read_timeout(Some(PATIENCE)).unwrap();
        q.ask("migrate_cancel");
        drop(stream);
        assert_eq!(p.answer(), "Migration status: cancelled\r\n");
        assert_eq!(p.answer(), "info status\r\nVM status: running\r\n");
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
