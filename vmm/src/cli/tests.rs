//! Whole command lines.

use ::devices::chardev::BackendConfig;

use super::*;
use crate::config::{AccelChoice, MonitorMode, SemihostingConfig, VirtioConfig};

/// Splits at spaces.
fn words(line: &str) -> Vec<String> {
    line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

fn config(line: &str) -> MachineConfig {
    match parse(&words(line)) {
        Ok(Command::Run(c)) => *c,
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str) -> String {
    match parse(&words(line)) {
        Err(e) => e.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

fn printed(line: &str) -> String {
    match parse(&words(line)) {
        Ok(Command::Print(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

fn slots(config: &MachineConfig) -> Vec<(String, u8)> {
    config.virtio.iter().map(|VirtioConfig { id, slot, .. }| (id.clone(), *slot)).collect()
}

#[test]
fn no_options_is_the_demo_machine() {
    let c = config("");
    assert_eq!((c.ram_size, c.topology.harts()), (128 << 20, 1));
    assert_eq!((c.boot, c.accel), (BootConfig::default(), vec![]));
    assert_eq!((c.serial.as_deref(), c.chardevs.len()), (Some("serial0"), 1));
    assert!(c.chardevs[0].mux);
    assert!(c.virtio.is_empty() && c.drives.is_empty() && c.netdevs.is_empty());
}

#[test]
fn monitors() {
    let of = |line: &str| {
        let c = config(line);
        let monitors: Vec<_> = c.monitors.into_iter().map(|m| m.chardev).collect();
        (monitors.join(","), c.serial.unwrap_or_default())
    };
    let pair = |monitors: &str, serial: &str| (monitors.to_owned(), serial.to_owned());
    // The default shares the terminal, and gives way to what is asked for.
    assert_eq!(of(""), pair("serial0", "serial0"));
    assert_eq!(of("-nographic -monitor none"), pair("", "serial0"));
    assert_eq!(of("-monitor stdio"), pair("compat_monitor0", ""));
    assert_eq!(of("-monitor unix:/m,server=on,wait=off"), pair("compat_monitor0", "serial0"));
    assert_eq!(of("-serial stdio"), pair("", "serial0"));
    assert_eq!(of("-serial mon:stdio -monitor null"), pair("compat_monitor0,serial0", "serial0"));
    assert_eq!(of("-nodefaults -chardev null,id=a -mon chardev=a,mode=readline"), pair("a", ""));
    let shared = "-chardev stdio,mux=on,id=a -serial chardev:a -mon a";
    assert_eq!(of(shared), pair("a", "a"));
    assert!(config("-S").starts_stopped);
    // QMP takes the place of the default monitor, too.
    assert_eq!(of("-qmp unix:/m,server=on,wait=off"), pair("compat_monitor0", "serial0"));
    assert_eq!(of("-qmp stdio"), pair("compat_monitor0", ""));
    assert_eq!(of("-qmp none -nographic"), pair("", "serial0"));
    assert_eq!(
        of("-monitor null -qmp null -qmp-pretty pty"),
        pair("compat_monitor0,compat_monitor1,compat_monitor2", "serial0")
    );
    // No monitor has no number.
    assert_eq!(of("-monitor none -qmp null"), pair("compat_monitor0", "serial0"));
    let named = "-nodefaults -chardev null,id=a -mon chardev=a,id=monitor,mode=control";
    assert_eq!(of(named), pair("a", ""));
    let modes = |line: &str| config(line).monitors.into_iter().map(|m| m.mode).collect::<Vec<_>>();
    let control = |pretty| MonitorMode::Control { pretty };
    assert_eq!(
        modes("-monitor null -qmp null -qmp-pretty null"),
        [MonitorMode::Readline, control(false), control(true)]
    );
    let mon = |rest: &str| modes(&format!("-nodefaults -chardev null,id=a -mon chardev=a,{rest}"));
    assert_eq!(mon("mode=control"), [control(false)]);
    assert_eq!(mon("mode=control,pretty=on"), [control(true)]);
    assert_eq!(mon("mode=control,pretty=off"), [control(false)]);
}

#[test]
fn the_gdb_server() {
    let of = |line: &str| {
        let c = config(&format!("-nodefaults {line}"));
        let gdb = c.monitors.iter().find(|m| m.mode == MonitorMode::Gdb).map(|m| m.chardev.clone());
        gdb.map(|id| c.chardevs.into_iter().find(|d| d.id == id).expect("its device is there").backend)
    };
    let tcp = |server, wait| {
        let Some(BackendConfig::Socket { server: s, wait: w, .. }) = of("-gdb tcp::1234") else { return false };
        (s, w) == (server, wait)
    };
    assert!(tcp(true, false));
    assert_eq!(of("-s"), of("-gdb tcp::1234"));
    assert_eq!(of("-s"), of("-gdb tcp::1234,server=on,wait=off"));
    assert_eq!(of("-s"), of("-gdb tcp::1234,server"));
    assert!(matches!(of("-gdb tcp:h:1,server=off"), Some(BackendConfig::Socket { server: false, .. })));
    assert!(matches!(of("-gdb tcp::1,wait=on"), Some(BackendConfig::Socket { server: true, wait: true, .. })));
    assert!(matches!(of("-gdb stdio"), Some(BackendConfig::Stdio { .. })));
    assert!(matches!(of("-chardev null,id=a -gdb chardev:a"), Some(BackendConfig::Null)));
    assert_eq!(of("-gdb none"), None);
}

#[test]
fn a_usual_linux_line() {
    let line = "-M virt -accel tcg -m 1G -smp 2 -nographic -kernel Image -initrd rd.gz -append console=ttyS0 \
                -drive file=/nonexistent/root.img,format=raw,if=none,id=hd0 -device virtio-blk-device,drive=hd0 \
                -netdev user,id=n0,hostfwd=tcp::0-:22 -device virtio-net-device,netdev=n0 -device virtio-rng-device -no-reboot";
    let c = config(line);
    assert_eq!((c.ram_size, c.topology.harts()), (1 << 30, 2));
    assert_eq!(c.boot.kernel.as_deref(), Some(std::path::Path::new("Image")));
    assert_eq!(c.boot.append, "console=ttyS0");
    assert_eq!(c.on_reboot, OnReboot::Exit);
    assert_eq!(c.virtio.iter().map(|v| v.slot).collect::<Vec<_>>(), [7, 6, 5]);
    assert_eq!(c.drives.len(), 1);
    assert!(matches!(c.accel[..], [AccelChoice::Tcg(_)]));
}

#[test]
fn order_across_options_decides_the_slots() {
    let c = config(
        "-nic user -drive file=/nonexistent/a,id=a -device virtio-rng-device,id=r -drive file=/nonexistent/b,id=b",
    );
    let want = [("virtio-nic0", 7), ("virtio-a", 6), ("r", 5), ("virtio-b", 4)];
    assert_eq!(slots(&c), want.map(|(n, s)| (n.to_owned(), s)));
    let c = config("-drive file=/nonexistent/a,id=a,index=1 -drive file=/nonexistent/b,id=b,index=0");
    assert_eq!(slots(&c), [("virtio-b", 7), ("virtio-a", 6)].map(|(n, s)| (n.to_owned(), s)));
}

#[test]
fn serial_defaults() {
    assert_eq!(config("-nodefaults").serial, None);
    assert_eq!(config("-display none").serial, None);
    assert_eq!(config("-display none -serial stdio").serial.as_deref(), Some("serial0"));
    assert_eq!(config("-nographic").serial.as_deref(), Some("serial0"));
    assert_eq!(config("-chardev stdio,id=c -serial chardev:c").serial.as_deref(), Some("c"));
    assert_eq!(config("-serial none -serial none").serial, None);
}

#[test]
fn flash() {
    let c = config("-bios none -drive if=pflash,file=/nonexistent/a -drive if=pflash,file=/nonexistent/b");
    assert_eq!(c.flash, [Some("drive0".to_owned()), Some("drive1".to_owned())]);
    let c = config("-bios fw.bin -blockdev file,node-name=f,filename=/nonexistent/a -machine pflash1=f");
    assert_eq!(c.flash, [None, Some("f".to_owned())]);
}

#[test]
fn lists() {
    assert!(printed("-M help").contains("virt-1.0"));
    assert!(printed("-cpu help").contains("rv64"));
    assert!(printed("-accel help").contains("tcg"));
    assert!(printed("-accel tcg,help").contains("tb-size") && printed("-accel kvm,help").contains("riscv-aia"));
    assert!(error("-accel foo,help").contains("unknown accelerator 'foo'"));
    assert!(printed("-device help").contains("virtio-blk-device"));
    assert!(printed("-device virtio-blk-device,help").contains("num-queues"));
    assert!(printed("-machine virt,help").contains("aclint"));
    assert!(printed("-netdev help").contains("user"));
    assert!(printed("-chardev help").contains("socket"));
    assert!(printed("-d help").contains("guest_errors"));
    assert!(printed("-version").starts_with("vireo 0."));
    assert!(printed("-h").contains("-kernel"));
    assert!(error("-device foo,help").contains("unknown device"));
}

/// Each line and what its one-line error contains.
#[test]
fn bad_lines() {
    for (line, what) in [
        ("-m 0", "-m 0: RAM size must be from 2M to 512G"),
        ("-m 1T", "-m 1T: RAM size must be from"),
        ("-m abc", "-m abc: RAM size must be a size"),
        ("-smp 0", "-smp 0: 0: must be a number from 1 to 512"),
        ("-smp 100000", "from 1 to 512"),
        ("-cpu foo", "-cpu foo: unknown CPU model 'foo'"),
        ("-devic x", "did you mean -device?"),
        ("-device foo", "unknown device 'foo'"),
        ("-device virtio-blk-pci,drive=a", "use virtio-blk-device"),
        ("-device virtio-blk-device,drive=a", "no -drive or -blockdev has this id"),
        ("-device virtio-net-device,netdev=a", "no -netdev has this id"),
        ("-drive file=/x,id=a -device virtio-blk-device,drive=a", "another device uses it"),
        ("-drive file=/x -drive file=/x", "already in use"),
        ("-drive file=/x,id=a -drive file=/y,id=a", "already"),
        ("-netdev user,id=a -netdev user,id=a", "another network has this id"),
        (
            "-netdev user,id=a -device virtio-net-device,netdev=a -device virtio-net-device,netdev=a",
            "another device uses it",
        ),
        ("-chardev stdio,id=a -serial stdio", "already used"),
        ("-chardev null,id=a -chardev null,id=a", "another character device"),
        ("-serial chardev:a", "no -chardev has this id"),
        ("-serial stdio -serial pty", "one serial port"),
        ("-monitor stdio -serial stdio", "already used"),
        ("-monitor vc", "not supported by vireo yet"),
        ("-monitor foo", "must be one of"),
        ("-mon nobody", "no -chardev has the id 'nobody'"),
        ("-mon mode=readline", "needs the id"),
        ("-chardev null,id=a -mon a,mode=fast", "must be one of readline, control"),
        ("-chardev null,id=a -mon a,pretty=on", "needs mode=control"),
        ("-qmp nonsense", "-qmp nonsense: must be one of"),
        ("-monitor tcp:h:99999", "-monitor tcp:h:99999: port '99999'"),
        ("-gdb tcp::99999", "-gdb tcp::99999: port '99999'"),
        ("-gdb tcp::1,frob=1", "-gdb tcp::1,frob=1: "),
        ("-chardev null,id=a -mon a,id=9", "must begin with a letter"),
        ("-chardev null,mux=on,id=a -mon a,id=m -mon a,id=m", "another monitor has this id"),
        ("-qmp stdio -monitor stdio", "already used"),
        ("-chardev null,id=a -mon a -mon a", "mux=on"),
        ("-chardev null,id=a -serial chardev:a -mon a", "mux=on"),
        ("-serial null -monitor chardev:serial0", "mux=on"),
        ("-display gtk", "not supported by vireo yet"),
        ("-initrd x", "-initrd: needs -kernel"),
        ("-bios /x -append x", "-append: needs -kernel"),
        ("-dtb x", "needs -kernel"),
        ("-bios none", "needs code to run"),
        ("-accel kvm -bios fw.bin", "does not run under KVM"),
        ("-M virt,aclint=on", "-bios FILE"),
        ("-drive if=pflash,file=/a", "-bios none"),
        ("-bios none -drive if=pflash,file=/a,unit=2", "two flash banks"),
        ("-machine pflash0=x -bios none", "has this id"),
        ("-object rng-egd,id=a", "not supported by vireo yet"),
        ("-object rng-builtin,id=a -object rng-builtin,id=a", "already"),
        ("-global foo", "DRIVER.PROPERTY=VALUE"),
        ("-vga std", "not supported by vireo yet"),
        ("-gdb tcp::1 -s", "the gdb server is already given by -gdb tcp::1"),
        ("-gdb chardev:x", "no -chardev has the id 'x'"),
        ("-gdb udp::1", "not supported by vireo yet"),
        ("-serial stdio -gdb stdio", "the terminal is already used"),
        ("-d nothing", "unknown item"),
        ("-d ,", "names no item"),
        ("-perfmap -accel interp", "-perfmap: interp makes no host code; use -accel tcg"),
        ("-jitdump -accel tcg,jit=off", "-jitdump: interp makes no host code"),
        ("-jitdump -accel kvm", "-jitdump: KVM makes no host code"),
        ("-d op,out_asm -accel kvm:interp", "-d out_asm: interp makes no host code"),
        ("-rtc base=soon", "must be utc"),
        ("-chardev null,id=a -device virtio-serial-device -device virtconsole,chardev=b", "no -chardev has this id"),
        ("disk.img", "-drive file="),
    ] {
        let e = error(line);
        assert!(e.contains(what), "{line}\n  gives: {e}\n  wants: {what}");
        assert!(!e.contains('\n'), "{e:?}");
    }
}

proptest::proptest! {
    /// Whatever the words, the answer is a configuration, a text or one line.
    #[test]
    fn no_command_line_panics(
        line in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::sample::select(vec![
                    "-m", "-smp", "-M", "-machine", "-cpu", "-accel", "-drive", "-blockdev", "-device", "-netdev", "-nic", "-chardev",
                    "-serial", "-rtc", "-global", "-object", "-d", "-bios", "-kernel", "-name", "-nographic", "-snapshot", "--", "",
                ]).prop_map(str::to_owned),
                "[a-z0-9=,:.{\\-]{0,24}",
                "(user|virt|rv64|file=/nonexistent/x|virtio-blk-device|stdio|tcp:|unix:|1G|512),[a-z=,0-9-]{0,16}",
            ],
            0..8,
        )
    ) {
        if let Err(e) = parse(&line) {
            proptest::prop_assert!(!e.to_string().contains('\n'));
        }
    }
}

use proptest::strategy::Strategy;

#[test]
fn the_board_spike() {
    let line = "-M spike -nographic -bios none -kernel t.elf -M signature=sig,signature-granularity=4";
    let c = config(line);
    assert_eq!(c.machine.board, BoardKind::Spike);
    assert_eq!(c.board.signature.as_deref(), Some(std::path::Path::new("sig")));
    assert_eq!(c.board.signature_granularity, 4);
    assert_eq!((c.ram_size, config("-M spike -bios t.elf -m 64M").ram_size), (2 << 30, 64 << 20));
    assert_eq!(config("-machine spike -bios t.elf").board.signature_granularity, 16);
    for (options, what) in [
        ("", "needs code to run"),
        ("-bios x -device virtio-rng-device", "no virtio transport"),
        ("-bios x -M aclint=on", "CLINT"),
        ("-bios x -M htif=off", "htif=off"),
        ("-bios x -drive if=pflash,file=/nonexistent/f,id=f", "flash"),
    ] {
        let e = error(&format!("-M spike {options}"));
        assert!(e.contains(what), "{options}: {e}");
    }
}

#[test]
fn instructions_as_the_clock() {
    assert_eq!(config("-M virt").icount, None);
    for (line, want) in [("-icount 0", 0), ("-icount shift=1", 1), ("-icount shift=10,align=off,sleep=off", 10)] {
        assert_eq!(config(line).icount, Some(want), "{line}");
    }
    for (line, what) in [
        ("-icount shift=11", "0 to 10"),
        ("-icount shift=auto", "shift=auto"),
        ("-icount sleep=on", "shift=N"),
        ("-icount 1,align=on", "align=on"),
        ("-icount 1,rr=record", "rr"),
        ("-icount 1 -smp 2", "-smp must be 1"),
        ("-icount 1 -accel kvm", "KVM"),
    ] {
        let e = error(line);
        assert!(e.contains(what), "{line}: {e}");
    }
}

#[test]
fn semihosting_and_its_options() {
    assert_eq!(config("-M virt").semihosting, None);
    assert_eq!(config("-semihosting").semihosting, Some(SemihostingConfig::default()));
    assert_eq!(config("-semihosting -semihosting-config enable=off").semihosting, None);
    let line = "-chardev null,id=c -semihosting-config enable=on,target=native,chardev=c,userspace=on,arg=a,arg=b";
    let s = config(line).semihosting.unwrap();
    assert!(s.userspace);
    assert_eq!((s.chardev.as_deref(), &s.args[..]), (Some("c"), &["a".to_owned(), "b".to_owned()][..]));
    for (options, what) in [
        ("-semihosting-config target=gdb", "target=gdb"),
        ("-semihosting-config chardev=c", "no -chardev has this id"),
        ("-chardev null,id=c -serial chardev:c -semihosting-config chardev=c", "another device uses it"),
        ("-semihosting-config colour=red", "colour"),
    ] {
        let e = error(options);
        assert!(e.contains(what), "{options}: {e}");
    }
}

#[test]
fn models_tell_what_they_have() {
    let text = printed("-cpu rv64,help");
    assert!(text.starts_with("rv64: ") && text.contains("\nrv64imafdc"), "{text}");
    assert!(text.lines().any(|l| l.trim_start().starts_with("zba ") && l.contains(" on ")), "{text}");
    assert!(printed("-cpu help").contains("rva23s64"));
    assert!(error("-cpu nonsense,help").contains("unknown CPU model"));
}
