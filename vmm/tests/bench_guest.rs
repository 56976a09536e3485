//! The embedded benchmark guest in the program: what it prints, and what a wrong result does. Not how fast it is.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a run printed, and its exit code.
struct Run {
    records: Vec<String>,
    code: Option<i32>,
}

fn run(arguments: &str, machine: &[&str]) -> Run {
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../firmware/guests/prebuilt/bench.bin");
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vireo"))
        .args(["-nographic", "-kernel", guest, "-append", arguments])
        .args(machine)
        .stdin(Stdio::null())
        .stdout(out.reopen().unwrap())
        .spawn()
        .unwrap();
    // A guest that does not power off must not hang the tests.
    let end = Instant::now() + Duration::from_secs(300);
    let code = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if Instant::now() > end => {
                child.kill().unwrap();
                break child.wait().unwrap().code();
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let text = std::fs::read(out.path()).unwrap();
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    let records = text.lines().filter(|line| line.starts_with('@')).map(str::to_owned).collect();
    Run { records, code }
}

impl Run {
    fn of(&self, kind: &str) -> Vec<&str> {
        self.records.iter().filter_map(|r| r.strip_prefix(kind)?.strip_prefix(' ')).collect()
    }
}

/// The keys and values of a record, without its free text.
fn fields(record: &str) -> BTreeMap<&str, &str> {
    record.split(' ').filter_map(|word| word.split_once('=')).collect()
}

#[test]
fn every_micro_benchmark_has_a_right_result() {
    let run = run("suites=micro min_ms=1", &["-smp", "2", "-cpu", "rv64,v=on"]);
    let all = run.records.join("\n");
    assert_eq!(run.code, Some(0), "{all}");
    assert_eq!(run.records.last().map(String::as_str), Some("@done"), "{all}");
    let guest = fields(run.of("@guest")[0]);
    assert_eq!((guest["version"], guest["harts"]), ("1", "2"));
    assert!(guest["isa"].starts_with("rv64"), "{guest:?}");
    assert!(run.of("@skip").is_empty() && run.of("@fail").is_empty() && run.of("@note").is_empty(), "{all}");
    let ends = run.of("@end");
    assert!(ends.len() > 40, "{all}");
    for end in &ends {
        let fields = fields(end);
        assert_eq!(fields["check"], "ok", "{end}");
        assert!(fields["n"].parse::<u64>().unwrap() > 0 && fields["ticks"].parse::<u64>().is_ok(), "{end}");
        let name = end.split(' ').next().unwrap();
        let begin = run.records.iter().position(|r| *r == format!("@begin {name}")).unwrap();
        assert!(run.records[begin + 1].starts_with(&format!("@end {name} ")), "{all}");
        let base = name.split('@').next().unwrap();
        let row = run.of("@bench").into_iter().find(|b| b.split(' ').next() == Some(base)).unwrap();
        assert!(row.contains(" unit=op ") && row.contains(" what="), "{row}");
    }
}

#[test]
fn a_wrong_result_and_what_is_not_there_are_told() {
    let run = run("suites=vector,cpu,none only=r selfcheck-fail=cpu/sort min_ms=1 bogus", &["-cpu", "rv64,v=off"]);
    let all = run.records.join("\n");
    assert_eq!(run.code, Some(1), "{all}");
    assert_eq!(run.of("@note").len(), 2, "{all}");
    let of = |name: &str| run.of("@end").into_iter().find(|end| end.split(' ').next() == Some(name)).map(fields);
    let sort = of("cpu/sort").unwrap();
    assert!(sort["check"] == "bad" && sort["got"] != sort["want"], "{all}");
    assert_eq!(of("cpu/crc").unwrap()["check"], "ok");
    assert!(of("cpu/hash").is_none(), "{all}");
    assert!(run.of("@skip").contains(&"vector/reverse reason=the harts have no V"), "{all}");
}

/// The words of a machine with a disk and a card on a user network.
fn with_devices(disk: &std::path::Path) -> Vec<String> {
    let drive = format!("file={},format=raw,if=none,id=d", disk.display());
    let words = ["-drive", &drive, "-device", "virtio-blk-device,drive=d", "-netdev", "user,id=n", "-device"];
    words.into_iter().chain(["virtio-net-device,netdev=n"]).map(str::to_owned).collect()
}

#[test]
fn a_disk_is_written_only_if_it_was_made_for_that() {
    const LEN: usize = 2 << 20;
    let disk = tempfile::NamedTempFile::new().unwrap();
    let mut content: Vec<u8> = (0..LEN).map(|at| (at / 512 * 7 + at) as u8).collect();
    for ours in [false, true] {
        if ours {
            content[..15].copy_from_slice(b"VIREOBENCHDISK1");
        }
        std::fs::write(disk.path(), &content).unwrap();
        let words = with_devices(disk.path());
        let run = run("suites=io min_ms=1", &words.iter().map(String::as_str).collect::<Vec<_>>());
        let all = run.records.join("\n");
        assert_eq!(run.code, Some(0), "{all}");
        assert!(run.of("@end").iter().all(|end| end.ends_with(" check=ok")), "{all}");
        let skipped = run.of("@skip");
        assert!(skipped.iter().all(|skip| skip.starts_with("io/blk-write-") && !ours), "{all}");
        assert_eq!((run.of("@end").len(), skipped.len()), if ours { (11, 0) } else { (8, 3) }, "{all}");
        let after = std::fs::read(disk.path()).unwrap();
        assert!(after[..256 << 10] == content[..256 << 10], "its first part is only read");
        assert_eq!(after == content, !ours);
    }
}

#[test]
fn every_other_suite_has_right_results() {
    let run = run("suites=cpu,fp,vector,memory,system,smp min_ms=1", &["-cpu", "rv64,v=on", "-smp", "2"]);
    let all = run.records.join("\n");
    assert_eq!(run.code, Some(0), "{all}");
    assert!(run.of("@skip").is_empty() && run.of("@fail").is_empty(), "{all}");
    let ends = run.of("@end");
    assert!(ends.iter().all(|end| end.ends_with(" check=ok")), "{all}");
    for suite in ["cpu", "fp", "vector", "memory", "system", "smp"] {
        assert!(ends.iter().any(|end| end.starts_with(&format!("{suite}/"))), "{all}");
    }
}

/// What the harts cannot do fails alone: the benchmarks behind it run.
#[test]
fn an_exception_ends_one_benchmark() {
    let run = run("suites=fp min_ms=1", &["-cpu", "rv64,d=off"]);
    let all = run.records.join("\n");
    assert_eq!(run.code, Some(1), "{all}");
    assert!(run.of("@fail").iter().any(|fail| fail.starts_with("fp/n-body reason=exception 2 at 0x")), "{all}");
    assert!(run.of("@end").iter().any(|end| end.starts_with("fp/gemm-f32 ") && end.ends_with(" check=ok")), "{all}");
    assert_eq!(run.records.last().map(String::as_str), Some("@done"), "{all}");
}
