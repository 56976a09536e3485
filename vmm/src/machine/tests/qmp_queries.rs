//! What programs ask a machine for at a monitor.

use std::path::Path;

use serde_json::{Value, json};

use super::monitor::connect;
use super::qmp::{with_path, with_program};
use super::*;

fn find<'a>(list: &'a Value, member: &str, value: &str) -> &'a Value {
    let found = list.as_array().unwrap().iter().find(|item| item[member] == value);
    found.unwrap_or_else(|| panic!("no {member} {value} in {list}"))
}

#[test]
fn models_and_what_they_have() {
    with_program(&[], |mut p, _| {
        let models = p.ask("query-cpu-definitions");
        assert_eq!(find(&models, "name", "rv64")["typename"], "rv64-riscv-cpu");
        assert!(find(&models, "name", "rv64").get("unavailable-features").is_none());
        let mut expand = |kind: &str, model: Value| {
            let arguments = json!({ "type": kind, "model": model });
            p.send(json!({ "execute": "query-cpu-model-expansion", "arguments": arguments }))
        };
        let has = |answer: &Value, name: &str| answer["return"]["model"]["props"][name].clone();
        let plain = expand("full", json!({ "name": "rv64" }));
        assert_eq!((has(&plain, "v"), has(&plain, "h"), has(&plain, "m")), (json!(false), json!(true), json!(true)));
        let more = expand("full", json!({ "name": "rv64", "props": { "v": true, "h": false, "vlen": 256 } }));
        assert_eq!((has(&more, "v"), has(&more, "zve64d"), has(&more, "h")), (json!(true), json!(true), json!(false)));
        let wrong = |answer: Value| answer["error"]["desc"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        assert!(wrong(expand("full", json!({ "name": "rv65" }))).contains("'rv65'"));
        assert!(wrong(expand("full", json!({ "name": "rv64", "props": { "frob": true } }))).contains("'frob'"));
        assert!(wrong(expand("full", json!({ "name": "rv64", "props": { "v": "on,h=off" } }))).contains("'v'"));
        assert!(wrong(expand("static", json!({ "name": "rv64" }))).contains("not supported"));
        assert_eq!(wrong(expand("half", json!({ "name": "rv64" }))), "Parameter 'type' does not accept value 'half'");
        p.quit();
    });
}

#[test]
fn drives_and_what_they_have_done() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, [0; 4096]).unwrap();
    let drive = format!("file={},if=none,id=d0,werror=stop", disk.display());
    with_program(&["-drive", &drive, "-device", "virtio-blk-device,drive=d0,id=disk0"], |mut p, _| {
        let nodes = p.ask("query-named-block-nodes");
        assert_eq!(find(&nodes, "node-name", "d0")["image"]["virtual-size"], 4096);
        let stats = p.ask("query-blockstats");
        let of = find(&stats, "device", "d0");
        assert_eq!((&of["qdev"], &of["stats"]["rd_bytes"]), (&json!("disk0"), &json!(0)));
        for name in ["rd_operations", "wr_operations", "wr_bytes", "flush_operations", "failed_wr_operations"] {
            assert_eq!(of["stats"][name], 0, "{name}");
        }
        p.quit();
    });
}

#[test]
fn what_there_is_not() {
    with_program(&[], |mut p, _| {
        for nothing in [
            "query-block-jobs",
            "query-blockstats",
            "query-fdsets",
            "query-iothreads",
            "query-jobs",
            "query-memdev",
            "query-memory-devices",
            "query-mice",
            "query-named-block-nodes",
            "query-pci",
        ] {
            assert_eq!(p.ask(nothing), json!([]), "{nothing}");
        }
        let error = |class: &str, desc: &str| json!({ "error": { "class": class, "desc": desc } });
        let answer = p.send(json!({ "execute": "query-balloon" }));
        assert_eq!(answer, error("DeviceNotActive", "No balloon device has been activated"));
        let answer = p.send(json!({ "execute": "query-hotpluggable-cpus" }));
        assert_eq!(answer, error("GenericError", "machine does not support hot-plugging CPUs"));
        assert_eq!(p.ask("query-uuid"), json!({ "UUID": "00000000-0000-0000-0000-000000000000" }));
        assert_eq!(p.ask("query-replay"), json!({ "mode": "none", "icount": 0 }));
        assert!(p.ask("query-accelerators")["present"].as_array().unwrap().contains(&json!("interp")));
        let text = p.ask("x-query-roms")["human-readable-text"].as_str().unwrap().to_owned();
        assert_eq!(text.replace('\n', "\r\n"), p.human("info roms"));
        p.quit();
    });
    let words = ["-m", "64M", "-object", "memory-backend-memfd,id=m,size=64M,share=on", "-M", "virt,memory-backend=m"];
    with_program(&words, |mut p, _| {
        let memory = p.ask("query-memdev");
        assert_eq!((&memory[0]["size"], &memory[0]["share"]), (&json!(64 << 20), &json!(true)));
        assert_eq!((&memory[0]["policy"], &memory[0]["host-nodes"]), (&json!("default"), &json!([])));
        p.quit();
    });
}

#[test]
fn kinds_of_devices() {
    with_program(&[], |mut p, _| {
        let types = |implements: &str| json!({ "execute": "qom-list-types", "arguments": { "implements": implements, "abstract": false } });
        let of = p.send(types("virtio-device"));
        assert_eq!(find(&of["return"], "name", "virtio-blk-device")["parent"], "virtio-device");
        assert!(of["return"].as_array().unwrap().iter().all(|item| item["name"] != "virtconsole"));
        assert_eq!(p.send(types("pci-device"))["return"], json!([]));
        let list = |name: &str| json!({ "execute": "device-list-properties", "arguments": { "typename": name } });
        let blk = p.send(list("virtio-blk-device"));
        assert_eq!(find(&blk["return"], "name", "discard")["type"], "bool");
        assert!(find(&blk["return"], "name", "werror")["description"].is_string());
        let error = json!({ "error": { "class": "DeviceNotFound", "desc": "Device 'frob' not found" } });
        assert_eq!(p.send(list("frob")), error);
        p.quit();
    });
}

/// What a question without arguments returns is what its row says.
#[test]
fn answers_have_their_types() {
    with_program(&["-device", "virtio-keyboard-device"], |mut p, _| {
        let schema = p.ask("query-qmp-schema");
        let commands: Vec<_> =
            schema.as_array().unwrap().iter().filter(|info| info["meta-type"] == "command").collect();
        let mut asked = 0;
        for info in commands {
            let name = info["name"].as_str().unwrap();
            let answer = match name.contains("query-") && info["arg-type"] == "q_empty" {
                true => p.send(json!({ "execute": name })),
                false => continue,
            };
            let Some(value) = answer.get("return") else { continue };
            let is_list = info["ret-type"] == "[any]";
            assert_eq!((value.is_array(), value.is_object()), (is_list, !is_list), "{name}: {value}");
            asked += 1;
        }
        assert!(asked >= 25, "{asked}");
        p.quit();
    });
}

/// What a reboot and a power-off lead to is changed while the machine runs.
#[test]
fn actions_are_set() {
    with_program(&[], |mut p, _| {
        let set = |arguments: Value| json!({ "execute": "set-action", "arguments": arguments });
        let bad = p.send(set(json!({ "reboot": "pause" })));
        assert_eq!(bad["error"]["desc"], "Parameter 'reboot' does not accept value 'pause'");
        assert!(p.send(set(json!({ "panic": "run" })))["error"]["desc"].as_str().unwrap().contains("'panic'"));
        assert_eq!(p.send(set(json!({ "reboot": "shutdown", "shutdown": "pause" }))), json!({ "return": {} }));
        p.say(r#"{"execute":"system_reset"}"#);
        let end = json!({ "event": "SHUTDOWN", "data": { "guest": false, "reason": "host-qmp-system-reset" } });
        assert_eq!(p.hear(), end);
    });
}

/// A client library's own types take all of it.
#[test]
fn a_client_library_understands() {
    use qapi::qmp;

    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, [0; 4096]).unwrap();
    let drive = format!("file={},if=none,id=d0", disk.display());
    let memory = "memory-backend-memfd,id=m,size=64M";
    let words = [
        &["-drive", &drive, "-device", "virtio-blk-device,drive=d0,id=disk0", "-m", "64M"][..],
        &["-object", memory, "-M", "virt,memory-backend=m", "-device", "virtio-keyboard-device"],
        &["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net,id=card"],
    ];
    with_path(&words.concat(), Mock::default(), |path, _| {
        let stream = connect(path);
        let mut client = qapi::Qmp::from_stream(&stream);
        client.handshake().unwrap();
        let stats = client.execute(&qmp::query_blockstats { query_nodes: None }).unwrap();
        assert_eq!((stats.len(), stats[0].stats.rd_bytes, stats[0].stats.rd_total_time_ns), (1, 0, 0));
        assert_eq!(client.execute(&qmp::query_named_block_nodes { flat: None }).unwrap().len(), 1);
        assert!(client.execute(&qmp::query_block_jobs {}).unwrap().is_empty());
        assert!(client.execute(&qmp::query_jobs {}).unwrap().is_empty());
        assert!(client.execute(&qmp::query_pci {}).unwrap().is_empty());
        assert!(client.execute(&qmp::query_mice {}).unwrap().is_empty());
        assert!(client.execute(&qmp::query_memory_devices {}).unwrap().is_empty());
        assert_eq!(client.execute(&qmp::query_memdev {}).unwrap()[0].size, 64 << 20);
        assert!(client.execute(&qmp::query_uuid {}).unwrap().UUID.starts_with("0000"));
        assert_eq!(client.execute(&qmp::query_replay {}).unwrap().icount, 0);
        assert!(client.execute(&qmp::query_balloon {}).is_err());
        let schema = client.execute(&qmp::query_qmp_schema {}).unwrap();
        let is = |info: &qmp::SchemaInfo, wanted: &str| match info {
            qmp::SchemaInfo::command { base, .. } => base.name == wanted,
            qmp::SchemaInfo::event { base, .. } => base.name == wanted,
            _ => false,
        };
        let has = |name: &str| schema.iter().any(|info| is(info, name));
        assert!(has("device_add") && has("BLOCK_IO_ERROR") && !has("blockdev-add"));
        let types = qmp::qom_list_types { implements: None, abstract_: None };
        assert_eq!(client.execute(&types).unwrap().len(), crate::cli::device_types().len());
        let properties = qmp::device_list_properties { typename: "virtio-blk-device".into() };
        assert!(client.execute(&properties).unwrap().iter().any(|property| property.name == "drive"));
        let link = |name: &str, up| qmp::set_link { name: name.into(), up };
        assert!(client.execute(&link("net", false)).is_ok() && client.execute(&link("card", true)).is_ok());
        let missing = client.execute(&link("disk0", true)).unwrap_err().to_string();
        assert!(missing.contains("Device 'disk0' not found"), "{missing}");
        let resize = qmp::block_resize { device: Some("d0".into()), node_name: None, size: 8192 };
        client.execute(&resize).unwrap();
        assert_eq!(std::fs::metadata(&disk).unwrap().len(), 8192);
        // No driver has the keyboard.
        assert!(client.execute(&qmp::system_powerdown {}).is_err());
        client.execute(&qmp::quit {}).unwrap();
    });
}

#[test]
fn what_a_machine_is_shows() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, [0; 4096]).unwrap();
    let drive = format!("file={},format=raw,if=none,id=d0,readonly=on", disk.display());
    let words = [
        &["-name", "guest", "-smp", "4,sockets=2,cores=2", "-m", "64M", "-cpu", "rva22s64"][..],
        &["-chardev", "ringbuf,id=r", "-drive", &drive, "-device", "virtio-blk-device,drive=d0,id=disk0"],
        &["-chardev", "pty,id=p", "-chardev", "socket,id=t,host=127.0.0.1,port=0,server=on,wait=off"],
    ];
    with_program(&words.concat(), |mut p, _| {
        // An image stays open when its name is gone.
        std::fs::remove_file(&disk).unwrap();
        assert_eq!(p.ask("query-name"), json!({ "name": "guest" }));
        assert_eq!(p.ask("query-target"), json!({ "arch": "riscv64" }));
        assert_eq!(p.ask("query-memory-size-summary"), json!({ "base-memory": 64 << 20 }));
        assert_eq!(p.ask("query-iothreads"), json!([]));
        assert_eq!(p.ask("query-kvm")["enabled"], false);
        assert_eq!(p.ask("query-current-machine"), json!({ "wakeup-suspend-support": false }));
        assert_eq!(p.ask("query-version")["package"], concat!("vireo-", env!("CARGO_PKG_VERSION")));
        let machines = p.ask("query-machines");
        let default: Vec<_> = machines.as_array().unwrap().iter().filter(|m| m["is-default"] == true).collect();
        assert_eq!((default.len(), &default[0]["alias"]), (1, &json!("virt")));
        let commands = p.ask("query-commands");
        assert!(commands.as_array().unwrap().contains(&json!({ "name": "query-commands" })));

        let cpus = p.ask("query-cpus-fast");
        assert_eq!(cpus.as_array().unwrap().len(), 4);
        let place = json!({ "socket-id": 1, "cluster-id": 0, "core-id": 1, "thread-id": 0 });
        assert_eq!((&cpus[3]["cpu-index"], &cpus[3]["props"]), (&json!(3), &place));
        assert_eq!((&cpus[3]["target"], &cpus[3]["qom-type"]), (&json!("riscv64"), &json!("rva22s64-riscv-cpu")));
        let task = Path::new("/proc/self/task").join(cpus[3]["thread-id"].to_string()).join("comm");
        assert_eq!(std::fs::read_to_string(task).unwrap(), "vcpu3\n");

        let chardevs = p.ask("query-chardev");
        let of = |label: &str| chardevs.as_array().unwrap().iter().find(|c| c["label"] == label).unwrap().clone();
        assert_eq!(of("r"), json!({ "label": "r", "filename": "ringbuf", "frontend-open": false }));
        assert!(of("p")["filename"].as_str().unwrap().starts_with("pty:/dev/pts/"), "{chardevs}");
        let place = of("t")["filename"].as_str().unwrap().to_owned();
        let port = place.strip_prefix("disconnected:tcp:127.0.0.1:").and_then(|p| p.strip_suffix(",server=on"));
        assert!(port.expect(&place).parse::<u16>().unwrap() > 0, "{place}");
        let mine = of("compat_monitor0");
        assert_eq!(mine["frontend-open"], true);
        assert!(mine["filename"].as_str().unwrap().starts_with("unix:"), "{mine}");

        let blocks = p.ask("query-block");
        let (block, inserted) = (&blocks[0], &blocks[0]["inserted"]);
        assert_eq!((&block["device"], &block["removable"]), (&json!("d0"), &json!(false)));
        assert_eq!((&block["qdev"], &block["io-status"]), (&json!("disk0"), &json!("ok")));
        assert_eq!((&inserted["ro"], &inserted["image"]["virtual-size"]), (&json!(true), &json!(4096)));
        p.quit();
    });
}

/// A client library's own types take what is said.
#[test]
fn a_client_library_is_served() {
    use qapi::qmp;

    let words = ["-name", "guest", "-smp", "2", "-chardev", "ringbuf,id=r"];
    with_path(&words, Mock::default(), |path, _| {
        let stream = connect(path);
        let mut client = qapi::Qmp::from_stream(&stream);
        let greeting = client.handshake().unwrap();
        assert_eq!(greeting.version.package, concat!("vireo-", env!("CARGO_PKG_VERSION")));
        assert!(client.execute(&qmp::query_status {}).unwrap().running);
        assert_eq!(client.execute(&qmp::query_name {}).unwrap().name.as_deref(), Some("guest"));
        assert_eq!(client.execute(&qmp::query_cpus_fast {}).unwrap().len(), 2);
        assert_eq!(client.execute(&qmp::query_chardev {}).unwrap().len(), 2);
        assert_eq!(client.execute(&qmp::query_block {}).unwrap().len(), 0);
        assert_eq!(
            client.execute(&qmp::query_machines { compat_props: None }).unwrap().len(),
            crate::board::MACHINES.len()
        );
        assert_eq!(client.execute(&qmp::query_memory_size_summary {}).unwrap().base_memory, 128 << 20);
        assert!(!client.execute(&qmp::query_kvm {}).unwrap().enabled);
        assert!(!client.execute(&qmp::query_current_machine {}).unwrap().wakeup_suspend_support);
        client.execute(&qmp::stop {}).unwrap();
        client.execute(&qmp::system_reset {}).unwrap();
        let events: Vec<_> = client.events().collect();
        let [qmp::Event::STOP { .. }, qmp::Event::RESET { data, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((data.guest, data.reason), (false, qmp::ShutdownCause::host_qmp_system_reset));
        assert!(client.execute(&qmp::query_vnc {}).is_err());
        // The machine may have ended before the client has written the end of the line.
        let _ = client.execute(&qmp::quit {});
    });
}
