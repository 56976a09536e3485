//! The program as its users meet it: output, one-line errors, exit codes.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn vireo(words: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vireo"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that has ended already does not read.
    let _ = child.stdin.take().unwrap().write_all(input);
    // A guest that does not power off must not hang the tests.
    let end = Instant::now() + Duration::from_secs(120);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// The one line on standard error of a run that must fail.
fn error(words: &[&str]) -> String {
    let out = vireo(words, b"");
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{words:?}: {text}");
    assert!(out.stdout.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&out.stdout));
    assert!(text.starts_with("vireo: ") && text.lines().count() == 1, "{words:?}: {text}");
    text
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn help_and_version() {
    let out = vireo(&["-version"], b"");
    assert!(out.status.success());
    assert!(out.stdout.starts_with(b"vireo "));
    let help = String::from_utf8(vireo(&["-h"], b"").stdout).unwrap();
    for option in ["-machine", "-kernel", "-drive", "-netdev", "-serial"] {
        assert!(help.contains(option), "{option} is missing in:\n{help}");
    }
}

#[test]
fn bad_input_is_one_line_and_exit_code_one() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    std::fs::write(&empty, b"").unwrap();
    let garbage = dir.path().join("garbage");
    std::fs::write(&garbage, [0xa5; 5000]).unwrap();
    let (empty, garbage, folder) = (path(&empty), path(&garbage), path(dir.path()));
    let drive = |file: &str| format!("file={file},format=raw");
    for (words, what) in [
        (&["-m", "0"][..], "RAM size must be from 2M to 512G"),
        (&["-m", "1T"], "RAM size"),
        (&["-m", "abc"], "RAM size"),
        (&["-smp", "0"], "from 1 to 512"),
        (&["-smp", "100000"], "from 1 to 512"),
        (&["-devic", "x"], "did you mean -device?"),
        (&["-device", "foo"], "unknown device"),
        (&["-kernel", "/nonexistent/kernel"], "/nonexistent/kernel"),
        (&["-kernel", empty], "empty"),
        (&["-kernel", folder], "directory"),
        (&["-kernel", garbage, "-initrd", "/nonexistent/rd"], "/nonexistent/rd"),
        (&["-kernel", garbage, "-initrd", empty], "empty"),
        (&["-kernel", garbage, "-dtb", garbage], "device tree"),
        (&["-kernel", garbage, "-dtb", empty], "device tree"),
        (&["-bios", "/nonexistent/fw"], "/nonexistent/fw"),
        (&["-drive", "file=/nonexistent/disk"], "/nonexistent/disk"),
        (&["-drive", &drive(folder)], folder),
        (&["-drive", &drive(garbage), "-drive", &drive(garbage)], "already in use"),
        (&["-serial", "file:/nonexistent/out"], "/nonexistent/out"),
        (&["-pidfile", "/nonexistent/pid"], "/nonexistent/pid"),
        (&["-D", "/nonexistent/log"], "/nonexistent/log"),
        (&["-M", "virt,dumpdtb=/nonexistent/dtb"], "/nonexistent/dtb"),
        (&["-M", "virt,snapshots=/nonexistent/s"], "cannot keep snapshots in '/nonexistent/s': No such file"),
        (&["-M", &format!("virt,snapshots={garbage}")], "not a directory"),
        (&["-vnc", ":0"], "not supported by vireo yet"),
    ] {
        let text = error(words);
        assert!(text.contains(what), "{words:?}: {text}");
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_with_one_line() {
    let out = vireo(&["-d", "op,in_asm", "-D", "/dev/full"], b"poweroff\r");
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(0), "{text}");
    assert!(text.starts_with("vireo: -D /dev/full: cannot write: No space left on device"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_result_that_cannot_be_written_is_found_out_before_anything_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    let words = ["bench", "--engines", "tcg", "--json", "/nonexistent/x.json", "--html", path(&page)];
    let out = vireo(&words, b"");
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.starts_with("vireo bench: cannot write '/nonexistent/x.json': "), "{text}");
    assert!(text.lines().count() == 1 && out.stdout.is_empty() && !page.exists(), "{text}");
}

#[test]
fn a_benchmark_that_does_not_exist_is_named() {
    let short = ["--runs", "1", "--warmup", "0", "--min-ms", "1", "--engines", "tcg"];
    let out = vireo(&[&["bench", "--suite", "micro,boot", "--only", "zzz"][..], &short].concat(), b"");
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{text}");
    let line = "vireo bench: --only zzz: no benchmark of micro, boot has this in its name";
    assert_eq!(text.lines().last(), Some(line), "{text}");
    assert!(out.stdout.is_empty());
    let out = vireo(&[&["bench", "--cpu", "foo"][..], &short].concat(), b"");
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.starts_with("vireo bench: --cpu foo: tcg does not take it: "), "{text}");
    assert_eq!((out.status.code(), text.lines().count()), (Some(1), 1), "{text}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let rule = format!("user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22");
    let text = error(&["-netdev", &rule, "-device", "virtio-net-device,netdev=n"]);
    assert!(text.contains(&port.to_string()), "{text}");
}

#[test]
#[cfg(not(target_arch = "riscv64"))]
fn kvm_says_why_not_and_a_list_falls_back() {
    assert!(error(&["-accel", "kvm"]).contains("not RISC-V"));
    let out = vireo(&["-accel", "kvm:tcg"], b"poweroff\r");
    let log = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success() && log.contains("not RISC-V") && log.contains("using tcg"), "{log}");
}

#[test]
fn the_demo_guest_boots_and_powers_off() {
    let dir = tempfile::tempdir().unwrap();
    let (pidfile, log) = (dir.path().join("pid"), dir.path().join("console"));
    let chardev = format!("stdio,id=c,signal=off,logfile={}", log.display());
    let words = ["-smp", "2", "-pidfile", path(&pidfile), "-chardev", &chardev, "-serial", "chardev:c"];
    let out = vireo(&words, b"poweroff\r");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("2 hart(s)"), "{text}");
    assert_eq!(std::fs::read(log).unwrap(), out.stdout);
    assert!(!pidfile.exists(), "the pidfile is left behind");
}

#[test]
fn the_device_tree_is_written_and_no_guest_runs() {
    let dir = tempfile::tempdir().unwrap();
    let dtb = dir.path().join("virt.dtb");
    let out = vireo(&["-M", &format!("virt,dumpdtb={}", dtb.display()), "-smp", "3"], b"");
    assert!(out.status.success());
    let tree = firmware::fdt::DeviceTree::parse(&std::fs::read(dtb).unwrap()).unwrap();
    assert!(tree.root.find("/cpus/cpu@2").is_some() && tree.root.find("/cpus/cpu@3").is_none());
    assert!(tree.root.find("/soc/clint@2000000").is_none(), "a CLINT beside the built-in SBI");
}

#[test]
fn a_program_speaks_qmp_on_standard_input_and_output() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vireo"))
        .args(["-S", "-qmp", "stdio", "-name", "guest"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its end would be the end of the session.
    let mut input = child.stdin.take().unwrap();
    let requests = ["qmp_capabilities", "query-status", "query-name", "quit"];
    requests.iter().for_each(|name| writeln!(input, "{{\"execute\":\"{name}\"}}").unwrap());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("{\"QMP\":{") && lines[4].contains("\"reason\":\"host-qmp-quit\""), "{text}");
    let answers = ["{}", "{\"running\":false,\"status\":\"prelaunch\"}", "{\"name\":\"guest\"}"];
    assert_eq!(lines[1..4], answers.map(|answer| format!("{{\"return\":{answer}}}")));
    assert_eq!(lines[5..], ["{\"return\":{}}"]);
}

/// The files that perf reads have the code of every engine that the guest has been on.
#[test]
#[cfg(target_arch = "x86_64")]
fn perf_hears_of_the_next_engine() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vireo"))
        .args(["-S", "-perfmap", "-jitdump", "-serial", "null", "-monitor", "stdio", "-display", "none"])
        .args(["-append", "selftest"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    child.stdin.as_mut().unwrap().write_all(b"accel interp\naccel tcg\ncont\n").unwrap();
    let out = child.wait_with_output().unwrap();
    let map = format!("/tmp/perf-{pid}.map");
    let names = std::fs::read_to_string(&map).unwrap();
    std::fs::remove_file(map).unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(said.contains("the guest went from interp to tcg"), "{said}");
    assert_eq!(out.status.code(), Some(0));
    // What both have made before the first block of the second.
    let first = names.lines().next().and_then(|line| line.split_once(' ')?.1.split_once(' ')).unwrap().1;
    assert_eq!(names.lines().filter(|line| line.ends_with(first)).count(), 2, "{first}");
    assert!(names.contains(" guest-0x80"), "{first}");
    let dump = std::fs::read(dir.path().join(format!("jit-{pid}.dump"))).unwrap();
    let blocks = dump.windows(10).filter(|bytes| bytes.starts_with(b"guest-0x80")).count();
    assert!(blocks > 100, "{blocks}");
}
