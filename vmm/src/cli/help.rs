//! The lists that `help` prints.

use std::fmt::Write;

use arch::ext::{EXTENSIONS, ExtRow};
use arch::model::{PROFILES, PROPERTIES};

use super::{chardev, device, log, net, object};
use crate::board;

/// Two columns.
fn table<'a>(title: &str, rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = format!("{title}\n");
    for (name, what) in rows {
        let _ = writeln!(text, "  {name:width$}  {what}");
    }
    text
}

pub fn machines() -> String {
    let rows = board::MACHINES.iter().flat_map(|m| {
        let aliases = m.aliases.iter().map(|a| (*a, format!("{} (alias of {})", m.description, m.name)));
        let default = if m.default { " (default)" } else { "" };
        aliases.chain([(m.name, format!("{}{default}", m.description))])
    });
    table("Machines:", rows)
}

pub fn machine_properties() -> String {
    table(
        "Properties of -machine (virt has all, spike no aclint and no pflash):",
        [
            ("accel", "engines in order of preference, such as kvm:tcg".to_owned()),
            ("aclint", "on|off: ACLINT instead of the CLINT; with -bios FILE or none (default: off)".to_owned()),
            ("aia", "none|aplic|aplic-imsic: a PLIC, an APLIC, or an APLIC with IMSICs (default: none)".to_owned()),
            ("aia-guests", "N: guest interrupt files of a hart with aia=aplic-imsic, 0 to 7 (default: 0)".to_owned()),
            ("dump-guest-core", "on|off: core dumps hold the guest's RAM (default: on)".to_owned()),
            ("dumpdtb", "FILE: write the device tree there and exit".to_owned()),
            (
                "htif",
                "on|off: a bare program with the symbol tohost ends through it on virt, too (default: on)".to_owned(),
            ),
            ("kernel-irqchip", "on|split|off: that of -accel kvm (default: on)".to_owned()),
            ("mem-merge", "on|off: the host may merge equal pages of RAM (default: on)".to_owned()),
            ("memory-backend", "ID: the -object memory-backend-ram, -memfd or -file that is RAM".to_owned()),
            ("pflash0", "ID: the -drive or -blockdev in the first flash bank".to_owned()),
            ("pflash1", "ID: the -drive or -blockdev in the second flash bank".to_owned()),
            ("signature", "FILE: write what a test leaves from begin_signature to end_signature".to_owned()),
            (
                "signature-granularity",
                "N: bytes in a line of it, a power of two from 1 to 128 (default: 16)".to_owned(),
            ),
            ("snapshots", "FOLDER: where savevm, loadvm and -loadvm keep snapshots".to_owned()),
            ("timebase", "HZ: ticks of the time CSR a second, 1000 to 1000000000 (default: 10000000)".to_owned()),
        ],
    )
}

pub fn accels() -> String {
    let rows = accel::select::engines().into_iter().map(|e| {
        let state = match e.availability {
            Ok(()) => "available".to_owned(),
            Err(reason) => format!("not available: {reason}"),
        };
        (e.name, format!("{} ({state})", e.description))
    });
    table("Accelerators:", rows)
}

/// The properties of engines `a:b`, if there are such engines.
pub fn accel_properties(names: &str) -> Option<String> {
    const TCG: &[(&str, &str)] = &[
        ("jit", "on|off: make host code; off is interp (default: on, and off for interp)"),
        ("one-insn-per-tb", "on|off: blocks of a single instruction (default: off)"),
        ("tb-size", "MIB: room for a hart's translated code, 1 to 2048"),
        ("thread", "multi: a thread a hart"),
    ];
    const TESTS: &[(&str, &str)] = &[
        ("x-chain", "on|off: link blocks (default: on)"),
        ("x-evict", "N: drop a block at random about every so many turns, 1 to 1000000"),
        ("x-host", "avx512|avx2|none: the most of the host's vector instructions to use"),
        ("x-hot", "N: turns of a loop before it is compiled as a whole, 0 to 1000000; 0: never"),
        ("x-idle-code", "MIB: code that an idle hart keeps, 0 to 2048"),
        ("x-jump-cache", "on|off: remember where indirect jumps lead (default: on)"),
        ("x-tlb-entries", "N: pages that a hart remembers, 0 or a power of two up to 4096"),
    ];
    const KVM: &[(&str, &str)] = &[
        ("debug-switch", "on|off: go to tcg and back for watchpoints and logs of the guest's code (default: off)"),
        ("kernel-irqchip", "on|split|off: interrupt controllers in the kernel (default: on)"),
        ("riscv-aia", "auto|emul|hwaccel: how the kernel makes IMSICs (default: auto)"),
    ];
    let own = |rows: &'static [(&str, &str)]| rows.iter().map(|(name, what)| (*name, (*what).to_owned()));
    let mut text = String::new();
    for name in names.split(':') {
        match name {
            "tcg" | "interp" => {
                text.push_str(&table(&format!("Properties of -accel {name}:"), own(TCG)));
                text.push_str(&table("For tests of the translator:", own(TESTS)));
            }
            "kvm" => text.push_str(&table("Properties of -accel kvm:", own(KVM))),
            _ => return None,
        }
    }
    Some(text)
}

pub fn cpus() -> String {
    let models = arch::model::MODELS.iter().map(|m| {
        let state = if m.missing().is_empty() { "" } else { " (not supported by vireo yet)" };
        (m.name, format!("{}{state}", m.doc))
    });
    let names = |ready: bool| EXTENSIONS.iter().filter(move |e| e.ext.is_ready() == ready).map(|e| e.ext.name());
    let mut text = table("CPU models (-cpu MODEL,help lists what one has):", models);
    text.push_str("\nExtensions, switched by NAME=on, NAME=off, +NAME or -NAME:\n");
    text.push_str(&wrap(names(true)));
    if names(false).next().is_some() {
        text.push_str("\nExtensions that are known by name and not supported by vireo yet:\n");
        text.push_str(&wrap(names(false)));
    }
    let profiles = PROFILES.iter().map(|p| (p.name, "on or off: what the profile makes mandatory".to_owned()));
    text.push('\n');
    text.push_str(&table("Profiles:", profiles));
    let properties = PROPERTIES.iter().map(|p| (p.name, format!("{}: {}", p.allowed, p.doc)));
    text.push('\n');
    text.push_str(&table("Other properties:", properties));
    text
}

/// What one model has and may be given; `None` if there is no such model.
pub fn cpu_properties(name: &str) -> Option<String> {
    let model = arch::model::find(name)?;
    let isa = model.config();
    let mut text = format!("{}: {}\n{}\n\n", model.name, model.doc, isa.isa_string());
    let missing = model.missing();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|ext| ext.name()).collect();
        let _ = writeln!(text, "Not supported by vireo yet: it needs {}\n", names.join(", "));
    }
    let state = |e: &ExtRow| match (isa.has(e.ext), e.ext.is_ready()) {
        (true, true) => "on ",
        (false, true) => "off",
        (_, false) => "-  ",
    };
    let rows = EXTENSIONS.iter().map(|e| (e.name, format!("{}  {}", state(e), e.doc)));
    text.push_str(&table("Extensions, and whether they are on (-: not supported by vireo yet):", rows));
    let properties = PROPERTIES.iter().map(|p| (p.name, format!("{}: {}", p.allowed, p.doc)));
    text.push('\n');
    text.push_str(&table("Other properties:", properties));
    Some(text)
}

fn wrap<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in words {
        if column == 0 || column + word.len() > 100 {
            text.push_str(if column == 0 { " " } else { "\n " });
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += word.len() + 1;
    }
    text.push('\n');
    text
}

pub fn devices() -> String {
    table("Devices:", device::TYPES.iter().map(|t| (t.name, t.description.to_owned())))
}

/// The properties of one device, if there is such a device.
pub fn device_properties(name: &str) -> Option<String> {
    let t = device::TYPES.iter().find(|t| t.name == name)?;
    let common = [("id", "ID", "its name")].into_iter();
    let bus = if name.starts_with("virtio-") {
        ("bus", "virtio-mmio-bus.0..7", "its transport (default: the highest free one)")
    } else {
        ("bus", "ID.0", "the virtio-serial-device (default: the last one)")
    };
    let rows = common.chain([bus]).chain(t.properties.iter().copied());
    Some(table(&format!("Properties of {name}:"), rows.map(|(n, kind, what)| (n, format!("<{kind}> {what}")))))
}

pub fn objects() -> String {
    table(
        "Objects (-object TYPE,help lists the properties of one):",
        object::TYPES.iter().map(|t| (t.name, t.description.to_owned())),
    )
}

/// The properties of one object, if there is such a type.
pub fn object_properties(name: &str) -> Option<String> {
    let t = object::TYPES.iter().find(|t| t.name == name)?;
    let rows = [("id", "ID", "its name")].into_iter().chain(t.properties.iter().copied());
    Some(table(&format!("Properties of {name}:"), rows.map(|(n, kind, what)| (n, format!("<{kind}> {what}")))))
}

pub fn netdevs() -> String {
    table("Network types:", net::TYPES.iter().map(|(n, d)| (*n, (*d).to_owned())))
}

pub fn chardevs() -> String {
    table("Character device types:", chardev::TYPES.iter().map(|(n, d)| (*n, (*d).to_owned())))
}

pub fn log_items() -> String {
    let mut text = table("Items of -d:", log::ITEMS.iter().map(|item| (item.name, item.meaning.to_owned())));
    let title = "\nFilters among them, for what tcg shows (-dfilter has those by address):";
    text.push_str(&table(title, log::FILTERS.iter().map(|(n, d)| (*n, (*d).to_owned()))));
    text
}

pub fn short(option: &str, what: &str) -> String {
    format!("{option}: {what}\n")
}
