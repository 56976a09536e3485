//! `-d`, `-dfilter` and `-D`: what is logged, of which code, and where. The monitor's `log` and `trace` speak the same
//! language.

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use accel::Mode;
use accel::trace::{TraceItems, mode_bit};

use super::error::{CliError, Result, did_you_mean};
use crate::config::{LogConfig, LogFilter};

/// An item of `-d`.
pub struct Item {
    pub name: &'static str,
    pub meaning: &'static str,
    /// The parts of the program whose debug messages it turns on.
    directives: &'static [&'static str],
    /// What it is to an engine.
    items: TraceItems,
}

const fn item(name: &'static str, meaning: &'static str, directives: &'static [&'static str]) -> Item {
    Item { name, meaning, directives, items: TraceItems::empty() }
}

const fn engine(
    name: &'static str,
    meaning: &'static str,
    directives: &'static [&'static str],
    items: TraceItems,
) -> Item {
    Item { name, meaning, directives, items }
}

pub const ITEMS: &[Item] = &[
    item("guest_errors", "what the guest does wrong", &["devices=debug", "vmm::board=debug", "firmware=debug"]),
    item(
        "unimp",
        "what the guest asks for that is not there: SBI calls, CSRs, instructions",
        &["firmware::sbi=debug", "unimp=debug"],
    ),
    item("sbi", "SBI calls", &["firmware::sbi=trace"]),
    item("boot", "what is loaded where", &["firmware::boot=debug", "firmware::load=debug", "vmm::machine=debug"]),
    engine("int", "traps and interrupts, as tcg takes them", &["int=trace"], TraceItems::INT),
    engine("mmu", "page walks of tcg: address, access, and result or fault", &["mmu=trace"], TraceItems::MMU),
    engine("in_asm", "guest code of blocks that tcg translates", &["in_asm=trace"], TraceItems::IN_ASM),
    engine("op", "their intermediate code", &["op=trace"], TraceItems::OP),
    engine("out_asm", "their host code: a line of bytes a guest instruction", &["out_asm=trace"], TraceItems::OUT_ASM),
    engine("exec", "each block before tcg executes it", &["exec=trace"], TraceItems::EXEC),
    engine("cpu", "the registers before each of these blocks", &["cpu=trace"], TraceItems::CPU),
    engine("fpu", "with cpu: floating-point registers, too", &[], TraceItems::FPU),
    engine("vpu", "with cpu: vector registers, too", &[], TraceItems::VPU),
    engine(
        "nochain",
        "blocks of tcg do not lead to each other (exec and cpu show every block without it)",
        &[],
        TraceItems::NOCHAIN,
    ),
    item("vcpu", "vCPU threads: start, stop, exits", &["vmm::harts=debug"]),
    item("virtio", "virtio devices", &["devices::virtio=debug"]),
    item("block", "disks", &["devices::backend=debug", "devices::virtio::blk=debug"]),
    item("net", "networks", &["devices::netuser=debug", "devices::virtio::net=debug"]),
    item("chardev", "consoles", &["devices::chardev=debug", "devices::serial=debug"]),
    item("stats", "counters of every hart at the end", &["stats=debug"]),
    item("all", "all of these but what tcg shows, and each SBI call", &["debug"]),
];

/// What stands among the items and says of what they are.
pub const FILTERS: &[(&str, &str)] = &[
    ("hart=LIST", "only of these harts: 0:2-3"),
    ("priv=LIST", "only in these modes, of U, S, M, VU and VS: U:S"),
    ("symbols=FILE", "names for in_asm, op, out_asm, exec: ELF, System.map, or a copy of /proc/kallsyms"),
];

const ELSEWHERE: &[&str] = &[
    "op_opt",
    "op_ind",
    "op_plugin",
    "cpu_reset",
    "page",
    "plugin",
    "strace",
    "tid",
    "pcall",
    "invalid_mem",
    "ioport",
    "trace:",
];

/// Every `-d` and `-dfilter`, and the last `-D`, of a machine with so many harts.
pub fn parse(items: &[String], filters: &[String], files: &[String], count: u32) -> Result<LogConfig> {
    let mut config = LogConfig { file: files.last().map(PathBuf::from), ..LogConfig::default() };
    for text in items {
        if text.split(',').all(str::is_empty) {
            return Err(CliError::new("-d", format!("'{text}' names no item; -d help lists them")));
        }
        words(&mut config, text, count)
            .map_err(|message| CliError::new(format!("-d {text}"), format!("{message}; -d help lists them")))?;
    }
    for text in filters {
        let ranges = ranges(text).map_err(|message| CliError::new(format!("-dfilter {text}"), message))?;
        config.filter.ranges.extend(ranges);
    }
    Ok(config)
}

/// Adds items and filters, separated by commas, of a machine with `count` harts.
///
/// # Errors
/// What is none, or has no such value.
pub fn words(config: &mut LogConfig, text: &str, count: u32) -> std::result::Result<(), String> {
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some((name, value)) => filter(&mut config.filter, name, value, count)?,
            None => add(config, find(word)?),
        }
    }
    Ok(())
}

/// The item of this name.
///
/// # Errors
/// There is none.
pub fn find(name: &str) -> std::result::Result<&'static Item, String> {
    ITEMS.iter().find(|item| item.name == name).ok_or_else(|| {
        if ELSEWHERE.iter().any(|e| name == *e || (e.ends_with(':') && name.starts_with(e))) {
            return format!("item '{name}' is not supported by vireo yet");
        }
        format!("unknown item '{name}'{}", did_you_mean(name, ITEMS.iter().map(|item| item.name)))
    })
}

/// Whether it is the engine that shows an item.
pub fn is_of_engine(name: &str) -> bool {
    find(name).is_ok_and(|item| !item.items.is_empty())
}

/// Adds an item to what is logged.
pub fn add(config: &mut LogConfig, item: &'static Item) {
    let names = config.names.iter().copied().chain([item.name]).collect::<Vec<_>>();
    set(config, &names);
}

/// Takes an item from it.
pub fn remove(config: &mut LogConfig, item: &'static Item) {
    let names: Vec<_> = config.names.iter().copied().filter(|name| *name != item.name).collect();
    set(config, &names);
}

fn set(config: &mut LogConfig, names: &[&str]) {
    let wanted = || ITEMS.iter().filter(|item| names.contains(&item.name));
    config.names = wanted().map(|item| item.name).collect();
    config.directives = wanted().flat_map(|item| item.directives).map(|d| (*d).to_owned()).collect();
    config.items = wanted().fold(TraceItems::empty(), |all, item| all | item.items);
}

/// Sets the filter called `name`; `all` takes it away.
///
/// # Errors
/// There is no such filter, or no such value.
pub fn filter(filter: &mut LogFilter, name: &str, value: &str, count: u32) -> std::result::Result<(), String> {
    let all = value == "all";
    match name {
        "hart" if all => filter.harts = Vec::new(),
        "hart" => filter.harts = harts(value, count)?,
        "priv" if all => filter.modes = 0,
        "priv" => filter.modes = modes(value)?,
        "symbols" if value.is_empty() => return Err("symbols= needs a file".into()),
        "symbols" => filter.symbols.push(PathBuf::from(value)),
        "dfilter" if all => filter.ranges = Vec::new(),
        "dfilter" => filter.ranges = ranges(value)?,
        _ => return Err(format!("unknown filter '{name}='{}", did_you_mean(name, ["hart", "priv", "symbols"]))),
    }
    Ok(())
}

/// `0:2-3`, of a machine with `count` harts.
///
/// # Errors
/// What is no list of harts, or names one that is not there.
pub fn harts(text: &str, count: u32) -> std::result::Result<Vec<RangeInclusive<u32>>, String> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(first..=last)
    };
    let all: Option<Vec<_>> = text.split(':').map(range).collect();
    let all = all.ok_or_else(|| format!("'{text}' is no list of harts: 0, 0:2, 1-3"))?;
    match all.iter().map(RangeInclusive::end).find(|last| **last >= count) {
        Some(last) => Err(format!("there is no hart {last}: harts are 0 to {}", count - 1)),
        None => Ok(all),
    }
}

const MODES: [(&str, Mode, bool); 5] = [
    ("U", Mode::User, false),
    ("S", Mode::Supervisor, false),
    ("M", Mode::Machine, false),
    ("VU", Mode::User, true),
    ("VS", Mode::Supervisor, true),
];

fn modes(text: &str) -> std::result::Result<u8, String> {
    let bit = |part: &str| {
        let (_, mode, virt) = MODES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(part))?;
        Some(mode_bit(*mode, *virt))
    };
    let all: Option<Vec<u8>> = text.split(':').map(bit).collect();
    let all = all.ok_or_else(|| format!("'{text}' is no list of modes: of U, S, M, VU and VS, as in U:S"))?;
    Ok(all.into_iter().fold(0, |all, bit| all | bit))
}

/// `FIRST..LAST`, `START+BYTES` or `END-BYTES`, several separated by commas.
fn ranges(text: &str) -> std::result::Result<Vec<RangeInclusive<u64>>, String> {
    text.split(',').map(|part| range(part).ok_or_else(|| format!("'{part}' is no range: {FORMS}"))).collect()
}

const FORMS: &str = "FIRST..LAST, START+BYTES or END-BYTES";

fn range(text: &str) -> Option<RangeInclusive<u64>> {
    if let Some((first, last)) = text.split_once("..") {
        let (first, last) = (number(first)?, number(last)?);
        return (first <= last).then_some(first..=last);
    }
    if let Some((start, bytes)) = text.split_once('+') {
        let (start, bytes) = (number(start)?, number(bytes)?);
        return Some(start..=start.checked_add(bytes.checked_sub(1)?)?);
    }
    let (end, bytes) = text.split_once('-')?;
    let (end, bytes) = (number(end)?, number(bytes)?);
    // The last address counts, and as many bytes up to it.
    Some(end.checked_sub(bytes.checked_sub(1)?)?..=end)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// What is logged and of what, for people.
pub fn show(config: &LogConfig) -> String {
    let mut text = if config.names.is_empty() { "none".to_owned() } else { config.names.join(",") };
    let LogFilter { ranges, harts, modes, symbols } = &config.filter;
    let mut list = |name: &str, parts: Vec<String>, between: &str| {
        if !parts.is_empty() {
            let _ = write!(text, " {name}={}", parts.join(between));
        }
    };
    list("dfilter", ranges.iter().map(|r| format!("{:#x}..{:#x}", r.start(), r.end())).collect(), ",");
    list("hart", harts.iter().map(|r| format!("{}-{}", r.start(), r.end())).collect(), ":");
    let named = MODES.iter().filter(|(_, mode, virt)| modes & mode_bit(*mode, *virt) != 0);
    list("priv", named.map(|(name, ..)| (*name).to_owned()).collect(), ":");
    list("symbols", symbols.iter().map(|path| path.display().to_string()).collect(), ",");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    fn items() {
        let log = parse(&v("sbi,vcpu"), &[], &v("x"), 4).unwrap();
        assert!(log.directives.contains(&"vmm::harts=debug".to_owned()));
        assert_eq!(log.file.as_deref(), Some(std::path::Path::new("x")));
        assert_eq!((log.names.as_slice(), log.items), (&["sbi", "vcpu"][..], TraceItems::empty()));
        let error = |text: &str| parse(&v(text), &[], &[], 4).unwrap_err().to_string();
        assert!(error("op_opt").contains("not supported by vireo yet"));
        assert!(error("sbii").contains("did you mean 'sbi'"));
        assert_eq!(error(","), "-d: ',' names no item; -d help lists them");
        assert!(parse(&v(""), &[], &[], 4).is_err());
        assert!(error("trace:foo").contains("not supported"));
        let log = parse(&[v("exec,cpu"), v("in_asm,exec")].concat(), &[], &[], 4).unwrap();
        assert_eq!(log.items, TraceItems::EXEC | TraceItems::CPU | TraceItems::IN_ASM);
        assert_eq!(log.names, ["in_asm", "exec", "cpu"]);
        assert_eq!(log.directives, ["in_asm=trace", "exec=trace", "cpu=trace"]);
    }

    #[test]
    fn items_come_and_go() {
        let mut log = parse(&v("exec,net"), &[], &[], 4).unwrap();
        add(&mut log, find("mmu").unwrap());
        remove(&mut log, find("exec").unwrap());
        assert_eq!((log.names.as_slice(), log.items), (&["mmu", "net"][..], TraceItems::MMU));
    }

    #[test]
    fn filters_are_read_as_qemu_reads_them() {
        let all = "0x1000..0x1fff,0x8000+0x100,0x9fff-16,5..5,0xffffffffffffffff-1";
        let log = parse(&v("exec,hart=0:2-3,priv=u:VS"), &v(all), &[], 4).unwrap();
        let LogFilter { ranges, harts, modes, .. } = &log.filter;
        assert_eq!(*ranges, [0x1000..=0x1fff, 0x8000..=0x80ff, 0x9ff0..=0x9fff, 5..=5, u64::MAX..=u64::MAX]);
        assert_eq!(*harts, [0..=0, 2..=3]);
        assert_eq!(*modes, mode_bit(Mode::User, false) | mode_bit(Mode::Supervisor, true));
        let shown = show(&LogConfig { filter: LogFilter { ranges: vec![0x10..=0x1f], ..log.filter.clone() }, ..log });
        assert_eq!(shown, "exec dfilter=0x10..0x1f hart=0-0:2-3 priv=U:VS");
        assert_eq!(show(&LogConfig::default()), "none");
        for bad in ["", "1", "2..1", "1+0", "0-2", "x..y", "1..", "0xffffffffffffffff+2", "1..2,"] {
            let error = parse(&[], &v(bad), &[], 4).unwrap_err().to_string();
            assert!(error.contains("is no range: FIRST..LAST"), "{bad}: {error}");
        }
        for bad in ["hart=", "hart=2-1", "hart=x", "hart=0:4", "priv=", "priv=H", "symbols=", "heart=1"] {
            assert!(parse(&v(bad), &[], &[], 4).is_err(), "{bad}");
        }
        let mut filter = log.filter;
        for name in ["hart", "priv", "dfilter"] {
            super::filter(&mut filter, name, "all", 4).unwrap();
        }
        assert_eq!(filter, LogFilter::default());
    }
}
