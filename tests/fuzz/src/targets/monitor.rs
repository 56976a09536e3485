//! Sessions of the monitors: garbage, floods, and commands with arguments that cannot be.

use serde_json::Value;

use super::caged;
use crate::guest::Guest;
use crate::{Run, Target};

pub const QMP: Target = Target { name: "qmp", rounds: 150, seeds: qmp_seeds, words: QMP_WORDS, open: qmp };
pub const HMP: Target = Target { name: "hmp", rounds: 150, seeds: hmp_seeds, words: HMP_WORDS, open: hmp };

const QMP_WORDS: &[&[u8]] = &[
    br#"{"execute":"qmp_capabilities"}"#,
    br#"{"execute":"query-status"}"#,
    br#"{"execute":"stop"}"#,
    br#"{"execute":"cont"}"#,
    br#"{"execute":"system_reset"}"#,
    br#"{"execute":"quit"}"#,
    br#""arguments":{"#,
    br#""id":"#,
    br#""command-line":"#,
    br#""cpu-index":"#,
    br#""filename":"#,
    br#""uri":"#,
    br#""file:x""#,
    br#""exec:cat""#,
    br#""tcp::0""#,
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1e999",
    b"null",
    b"true",
    b"\"",
    b"\\u",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\xff",
    b"\xf0\x9f\x98\x80",
    b"\n",
];

fn qmp_seeds() -> Vec<Vec<u8>> {
    let hello = r#"{"execute":"qmp_capabilities"}"#;
    let commands = [
        r#"{"execute":"query-commands"}{"execute":"query-block"}{"execute":"query-chardev","id":[1,{"a":null}]}"#,
        r#"{"execute":"stop"}{"execute":"query-cpus-fast"}{"execute":"cont"}{"execute":"query-status"}"#,
        r#"{"execute":"human-monitor-command","arguments":{"command-line":"info registers","cpu-index":1}}"#,
        r#"{"execute":"memsave","arguments":{"val":2149580800,"size":64,"filename":"x","cpu-index":0}}"#,
        r#"{"execute":"pmemsave","arguments":{"val":2149580800,"size":64,"filename":"x"}}"#,
        r#"{"execute":"migrate","arguments":{"uri":"file:x"}}{"execute":"query-migrate"}{"execute":"migrate_cancel"}"#,
        r#"{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"mapped-ram","state":true}]}}"#,
        r#"{"execute":"dump-guest-memory","arguments":{"paging":false,"protocol":"file:x","begin":2149580800,"length":64}}"#,
        r#"{"execute":"block_resize","arguments":{"device":"x","size":512}}{"execute":"query-qmp-schema"}"#,
        r#"{"execute":"set_link","arguments":{"name":"x","up":false}}{"execute":"query-dump","id":1e99}"#,
        r#"{"execute":"ringbuf-read","arguments":{"device":"x","size":10,"format":"base64"}}"#,
        r#"{'execute':'query-version'} 5 "x" null [{}] {"execute":"system_reset"}{"execute":"query-machines"}"#,
    ];
    let mut all: Vec<_> = commands.iter().map(|command| format!("{hello}\n{command}\n").into_bytes()).collect();
    all.push(commands.concat().into_bytes());
    // Floods: nesting, a string without end, words, and questions whose answers are long.
    all.push([hello.as_bytes(), &b"[".repeat(300_000)].concat());
    all.push([hello.as_bytes(), b"{\"x\":\"", &b"y".repeat(300_000)].concat());
    all.push([hello.as_bytes(), &b"7 ".repeat(20_000)].concat());
    all.push([hello.as_bytes(), &br#"{"execute":"query-commands"}"#.repeat(200)].concat());
    all
}

fn qmp() -> Run {
    let folder = caged();
    let mut guest = Guest::start(folder.path());
    Box::new(move |input| {
        let _ = &folder;
        let last = "\n\"\u{1}\n{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-name\",\"id\":\"the-last\"}\n";
        match guest.converse("qmp", input, last.as_bytes(), "\"id\":\"the-last\"") {
            Some(said) => {
                for line in String::from_utf8(said).expect("QMP is ASCII").lines() {
                    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
                    let kinds = ["QMP", "return", "error", "event"];
                    assert!(kinds.iter().filter(|kind| value.get(kind).is_some()).count() == 1, "{line}");
                }
                assert!(guest.counts());
            }
            None => guest.again(),
        }
    })
}

const HMP_WORDS: &[&[u8]] = &[
    b"info ",
    b"x/",
    b"xp/65536xg ",
    b"print ",
    b"$pc",
    b"$mstatus",
    b"0x80200000",
    b"18446744073709551615",
    b"-1",
    b"<<",
    b"((((((((((((((((((((((((((((((((",
    b"~~~~~~~~~~~~~~~~",
    b"migrate file:x",
    b"migrate exec:cat",
    b"migrate -d unix:x",
    b"migrate_cancel",
    b"dump-guest-memory x",
    b"block_resize x 1G",
    b"set_link x off",
    b"savevm a",
    b"loadvm a",
    b"delvm a",
    b"system_reset",
    b"stop",
    b"cont",
    b"quit",
    b"cpu 1",
    b"\"",
    b"\t",
    b"\x1b[A",
    b"\x1b[99999999999D",
    b"\x1b[3~",
    b"\x01",
    b"\x03",
    b"\x15",
    b"\x17",
    b"\xc3",
    b"\n",
];

fn hmp_seeds() -> Vec<Vec<u8>> {
    let sessions = [
        "help\ninfo\ninfo status\ninfo cpus\ninfo registers -a\ninfo mtree -f\n",
        "info block\ninfo network\ninfo chardev\ninfo snapshots\ninfo migrate\ninfo migrate_capabilities\ninfo migrate_parameters\n",
        "stop\nx/8i $pc\nxp/4xg 0x80200000\ngva2gpa $sp\ngpa2hva 0x80200000\nprint/d $pc+4*(3-1)\ncont\n",
        "cpu 1\ninfo registers\ncpu 0\nx/3s 0\nx/20xb 0x10000000\nprint/o 0777\n",
        "dump-guest-memory -d x 0x80200000 64\nblock_resize x 4K\nset_link x off\ninfo network\nset_link x on\n",
        "savevm one\ninfo snapshots\nloadvm one\ndelvm one\n",
        "migrate_set_capability mapped-ram on\nmigrate_incoming file:x\nmigrate unix:x\nmigrate_cancel\n",
        "in\tstat\t\n\x1b[A\x1b[A\x1b[D\x1b[D\x17help\x05 x\x01\x0b\nhelp info \t\t\n",
        "system_reset\ninfo status\n# a comment\n\n   \nunknown words \"of a kind\"\n",
    ];
    let mut all: Vec<_> = sessions.iter().map(|session| session.as_bytes().to_vec()).collect();
    all.push(b"x".repeat(200_000));
    all.push(b"info mtree\n".repeat(200));
    all.push(["print ", &"(".repeat(4000), "\n"].concat().into_bytes());
    all
}

fn hmp() -> Run {
    let folder = caged();
    let mut guest = Guest::start(folder.path());
    Box::new(move |input| {
        let _ = &folder;
        // An escape sequence under way ends first; the sum is not in the echo.
        let last = "\r\n\x03\nprint 0x4711beee+1\n";
        match guest.converse("hmp", input, last.as_bytes(), "0x4711beef\r\n") {
            Some(_) => assert!(guest.counts()),
            None => guest.again(),
        }
    })
}
