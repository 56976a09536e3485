//! `-d` and `-D`: what is logged, and where.

use super::error::{CliError, Result, did_you_mean};
use crate::config::LogConfig;

/// Items of `-d`: name, meaning, and the parts of the program whose debug messages it turns on.
pub const ITEMS: &[(&str, &str, &[&str])] = &[
    ("guest_errors", "what the guest does wrong", &["devices=debug", "vmm::board=debug", "firmware=debug"]),
    ("sbi", "SBI calls", &["firmware::sbi=trace"]),
    ("boot", "what is loaded where", &["firmware::boot=debug", "firmware::load=debug", "vmm::machine=debug"]),
    ("int", "traps and interrupts, as tcg takes them", &["int=trace"]),
    ("in_asm", "guest code of blocks that tcg translates", &["in_asm=trace"]),
    ("op", "their intermediate code", &["op=trace"]),
    ("out_asm", "their host code: a line of bytes a guest instruction", &["out_asm=trace"]),
    ("vcpu", "vCPU threads: start, stop, exits", &["vmm::harts=debug"]),
    ("virtio", "virtio devices", &["devices::virtio=debug"]),
    ("block", "disks", &["devices::backend=debug", "devices::virtio::blk=debug"]),
    ("net", "networks", &["devices::netuser=debug", "devices::virtio::net=debug"]),
    ("chardev", "consoles", &["devices::chardev=debug", "devices::serial=debug"]),
    ("stats", "counters of every hart at the end", &["stats=debug"]),
    ("all", "all of these but int, in_asm, op, out_asm and each SBI call", &["debug"]),
];

const ELSEWHERE: &[&str] = &[
    "op_opt",
    "op_ind",
    "op_plugin",
    "exec",
    "cpu",
    "fpu",
    "cpu_reset",
    "unimp",
    "nochain",
    "page",
    "plugin",
    "strace",
    "tid",
    "vpu",
    "pcall",
    "invalid_mem",
    "ioport",
    "trace:",
];

/// Every `-d`, and the last `-D`.
pub fn parse(items: &[String], files: &[String]) -> Result<LogConfig> {
    let mut directives: Vec<String> = Vec::new();
    for text in items {
        if text.split(',').all(str::is_empty) {
            return Err(CliError::new("-d", format!("'{text}' names no item; -d help lists them")));
        }
        for item in text.split(',').filter(|i| !i.is_empty()) {
            let error = |message: String| CliError::new(format!("-d {text}"), message);
            let row = ITEMS.iter().find(|(name, ..)| *name == item).ok_or_else(|| {
                if ELSEWHERE.iter().any(|e| item == *e || (e.ends_with(':') && item.starts_with(e))) {
                    return error(format!("item '{item}' is not supported by vireo yet; -d help lists what is"));
                }
                let hint = did_you_mean(item, ITEMS.iter().map(|(n, ..)| *n));
                error(format!("unknown item '{item}'{hint}; -d help lists them"))
            })?;
            directives.extend(row.2.iter().map(|d| (*d).to_owned()));
        }
    }
    let file = files.last().map(std::path::PathBuf::from);
    Ok(LogConfig { directives, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items() {
        let v = |t: &str| vec![t.to_owned()];
        let log = parse(&v("sbi,vcpu"), &v("x")).unwrap();
        assert!(log.directives.contains(&"vmm::harts=debug".to_owned()));
        assert_eq!(log.file.as_deref(), Some(std::path::Path::new("x")));
        assert!(parse(&v("op_opt"), &[]).unwrap_err().to_string().contains("not supported by vireo yet"));
        assert!(parse(&v("sbii"), &[]).unwrap_err().to_string().contains("did you mean 'sbi'"));
        assert_eq!(parse(&v(","), &[]).unwrap_err().to_string(), "-d: ',' names no item; -d help lists them");
        assert!(parse(&v(""), &[]).is_err());
        assert!(parse(&v("trace:foo"), &[]).unwrap_err().to_string().contains("not supported"));
    }
}
