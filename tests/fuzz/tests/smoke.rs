//! Every target for a while. A failure leaves its input behind and says how to try it again.

use std::path::Path;

fn smoke(name: &str) {
    let target = fuzz::find(name).expect("a target");
    if let Err(what) = fuzz::smoke::run(target, Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        panic!("{what}");
    }
}

macro_rules! smoke {
    ($($test:ident: $name:literal),*) => {
        $(#[test]
        fn $test() {
            smoke($name);
        })*

        #[test]
        fn every_target_is_run() {
            let all: Vec<_> = fuzz::TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(all, [$($name),*]);
        }
    };
}

smoke! {
    snapshot: "snapshot",
    snapshot_load: "snapshot-load",
    snapshot_incoming: "snapshot-incoming",
    qmp: "qmp",
    hmp: "hmp",
    gdb: "gdb",
    device_tree: "device-tree",
    kernel: "kernel",
    virtio: "virtio",
    network: "network",
    command_line: "command-line"
}
