//! The argument of `-cpu`: `MODEL[,EXT=on|off][,+EXT][,-EXT][,PROPERTY=VALUE]...`.
//!
//! An extension that is turned on brings what it implies. One that is turned off takes along what the model had and what
//! cannot be without it, but never what the same argument turns on: that is an error.

use std::ops::RangeInclusive;

use super::{HOST, MODELS, PROFILES, Profile, find, rules};
use crate::ext::{EXTENSIONS, Ext, ExtSet, IsaConfig, SatpMode};

/// What is wrong with the argument of `-cpu`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    #[error("unknown CPU model '{name}' (models: {})", model_names())]
    UnknownModel { name: String },
    #[error("CPU model 'host' is for engines that run on the host's harts: use it with -accel kvm")]
    NoHost,
    #[error("this host cannot be CPU model '{model}': it lacks {}", .missing.join(", "))]
    HostLacks { model: String, missing: Vec<String> },
    #[error("CPU model '{model}' is not supported by vireo yet: it needs {}", names(.missing))]
    ModelNotReady { model: &'static str, missing: Vec<Ext> },
    #[error("CPU extension '{}' is not supported by vireo yet{}", .ext.name(), because(.ext, .missing))]
    ExtensionNotReady { ext: Ext, missing: Vec<Ext> },
    #[error("CPU property '{name}' is not supported by vireo yet")]
    PropertyNotReady { name: String },
    #[error("unknown CPU extension or property '{name}' (did you mean '{nearest}'?)")]
    UnknownProperty { name: String, nearest: &'static str },
    #[error("CPU property '{name}' has the value '{value}': it must be {allowed}")]
    BadValue { name: String, value: String, allowed: &'static str },
    #[error("CPU extension '{}' needs '{}', which is off", .ext.name(), .needs.name())]
    Requires { ext: Ext, needs: Ext },
    #[error("CPU extension '{}' needs {what}", .ext.name())]
    Needs { ext: Ext, what: &'static str },
    #[error("CPU extensions '{}' and '{}' exclude each other: {reason}", .ext.name(), .other.name())]
    Conflict { ext: Ext, other: Ext, reason: &'static str },
    #[error("CPU profile '{profile}' needs '{needs}', which is off")]
    Profile { profile: &'static str, needs: &'static str },
    #[error("CPU property 'zvl{min}b' needs vlen={min} or more")]
    MinimumVlen { min: u32 },
    #[error("CPU extension '{}' needs cache blocks of 64 bytes", .ext.name())]
    BlockSize { ext: Ext },
    #[error("the base ISA 'i' cannot be off")]
    NoBase,
}

/// A property of `-cpu` that is not an extension.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    pub name: &'static str,
    pub allowed: &'static str,
    /// One line for `-cpu help`.
    pub doc: &'static str,
    set: Setter,
}

/// Applies a value; `None` if it is not allowed.
type Setter = fn(&mut Options, &str) -> Option<()>;

const ON_OFF: &str = "on or off";
const BLOCK: &str = "a power of two from 16 to 4096";

/// All properties that are not extensions.
pub static PROPERTIES: &[Property] = &[
    Property { name: "sv39", allowed: ON_OFF, doc: "39-bit virtual addresses", set: |o, v| o.satp(SatpMode::Sv39, v) },
    Property { name: "sv48", allowed: ON_OFF, doc: "48-bit virtual addresses", set: |o, v| o.satp(SatpMode::Sv48, v) },
    Property { name: "sv57", allowed: ON_OFF, doc: "57-bit virtual addresses", set: |o, v| o.satp(SatpMode::Sv57, v) },
    Property {
        name: "mmu",
        allowed: ON_OFF,
        doc: "address translation",
        set: |o, v| store(&mut o.mmu, boolean(v).map(Some)),
    },
    Property {
        name: "pmp",
        allowed: "on (16 entries), off or a number of entries from 0 to 64",
        doc: "physical memory protection",
        set: |o, v| {
            let entries = boolean(v).map(|on| u8::from(on) * 16);
            store(&mut o.isa.pmp_entries, entries.or_else(|| in_range(v, 0..=64)))
        },
    },
    Property {
        name: "rnmi-interrupt-vector",
        allowed: "an even number of 64 bits",
        doc: "address of the handler of non-maskable interrupts",
        set: |o, v| store(&mut o.isa.rnmi_interrupt_vector, code_address(v)),
    },
    Property {
        name: "rnmi-exception-vector",
        allowed: "an even number of 64 bits",
        doc: "address of the handler of exceptions in a handler of non-maskable interrupts",
        set: |o, v| store(&mut o.isa.rnmi_exception_vector, code_address(v)),
    },
    Property {
        name: "pmu-mask",
        allowed: "a mask of bits 3 to 31",
        doc: "which of mhpmcounter3 to mhpmcounter31 count",
        set: |o, v| {
            let mask: Option<u32> = in_range(v, 0..=u64::from(u32::MAX));
            store(&mut o.isa.pmu_counters, mask.filter(|mask| mask & 7 == 0))
        },
    },
    Property {
        name: "pmu-num",
        allowed: "a number from 0 to 29",
        doc: "how many of the counters from mhpmcounter3 on count",
        set: |o, v| store(&mut o.isa.pmu_counters, in_range(v, 0..=29).map(|n: u32| (((1u64 << n) - 1) << 3) as u32)),
    },
    Property {
        name: "num-pmp-regions",
        allowed: "a number from 0 to 64",
        doc: "entries of physical memory protection",
        set: |o, v| store(&mut o.isa.pmp_entries, in_range(v, 0..=64)),
    },
    Property {
        name: "pmp-granularity",
        allowed: "4",
        doc: "bytes that the smallest region of physical memory protection has",
        set: |_, v| (in_range::<u32>(v, 4..=4)).map(|_| ()),
    },
    Property {
        name: "priv_spec",
        allowed: "v1.13.0",
        doc: "version of the privileged specification",
        set: |_, v| (v == "v1.13.0").then_some(()),
    },
    Property {
        name: "short-isa-string",
        allowed: ON_OFF,
        doc: "riscv,isa has single letters only",
        set: |o, v| store(&mut o.isa.short_isa_string, boolean(v)),
    },
    Property {
        name: "vlen",
        allowed: "a power of two from 128 to 1024",
        doc: "bits of a vector register",
        set: |o, v| store(&mut o.isa.vlen, power_of_two(v, 128..=1024)),
    },
    Property {
        name: "elen",
        allowed: "64 (32 comes with zve32x or zve32f alone)",
        doc: "bits of the widest vector element",
        set: |_, v| (in_range::<u32>(v, 64..=64)).map(|_| ()),
    },
    Property {
        name: "vext_spec",
        allowed: "v1.0",
        doc: "version of the vector specification",
        set: |_, v| (v == "v1.0").then_some(()),
    },
    Property {
        name: "rvv_ta_all_1s",
        allowed: ON_OFF,
        doc: "agnostic tail elements become all ones",
        set: |o, v| store(&mut o.isa.rvv.ta_all_1s, boolean(v)),
    },
    Property {
        name: "rvv_ma_all_1s",
        allowed: ON_OFF,
        doc: "agnostic masked-off elements become all ones",
        set: |o, v| store(&mut o.isa.rvv.ma_all_1s, boolean(v)),
    },
    Property {
        name: "rvv_vl_half_avl",
        allowed: ON_OFF,
        doc: "vl is half of AVL where that is between VLMAX and twice VLMAX",
        set: |o, v| store(&mut o.isa.rvv.vl_half_avl, boolean(v)),
    },
    Property {
        name: "rvv_vsetvl_x0_vill",
        allowed: ON_OFF,
        doc: "vsetvli x0, x0 that changes VLMAX sets vill",
        set: |o, v| store(&mut o.isa.rvv.vsetvl_x0_vill, boolean(v)),
    },
    Property {
        name: "cbom_blocksize",
        allowed: BLOCK,
        doc: "bytes that cbo.inval, cbo.clean and cbo.flush act on",
        set: |o, v| store(&mut o.isa.cbom_block, power_of_two(v, 16..=4096)),
    },
    Property {
        name: "cbop_blocksize",
        allowed: BLOCK,
        doc: "bytes that a prefetch acts on",
        set: |o, v| store(&mut o.isa.cbop_block, power_of_two(v, 16..=4096)),
    },
    Property {
        name: "cboz_blocksize",
        allowed: BLOCK,
        doc: "bytes that cbo.zero clears",
        set: |o, v| store(&mut o.isa.cboz_block, power_of_two(v, 16..=4096)),
    },
    Property {
        name: "mvendorid",
        allowed: "a number of 32 bits",
        doc: "value of the CSR mvendorid",
        set: |o, v| store(&mut o.isa.mvendorid, in_range(v, 0..=u64::from(u32::MAX))),
    },
    Property {
        name: "marchid",
        allowed: "a number of 64 bits",
        doc: "value of the CSR marchid",
        set: |o, v| store(&mut o.isa.marchid, in_range(v, 0..=u64::MAX)),
    },
    Property {
        name: "mimpid",
        allowed: "a number of 64 bits",
        doc: "value of the CSR mimpid",
        set: |o, v| store(&mut o.isa.mimpid, in_range(v, 0..=u64::MAX)),
    },
];

/// Properties that QEMU has and we do not.
const NOT_READY: &[&str] = &[
    "host-cache-info",
    "num-triggers",
    "resetvec",
    "x-misa-w",
    "xmipscbop",
    "xmipscmov",
    "xmipslsp",
    "xtheadba",
    "xtheadbb",
    "xtheadbs",
    "xtheadcmo",
    "xtheadcondmov",
    "xtheadfmemidx",
    "xtheadfmv",
    "xtheadmac",
    "xtheadmemidx",
    "xtheadmempair",
    "xtheadsync",
    "xventanacondops",
];

/// Extensions that are the name of others: without the name, the model's parts do not stay behind.
const FAMILIES: &[(Ext, &[Ext])] = &[
    (Ext::M, &[Ext::Zmmul]),
    (Ext::A, &[Ext::Zaamo, Ext::Zalrsc]),
    (Ext::C, &[Ext::Zca, Ext::Zcb, Ext::Zcd, Ext::Zcmop, Ext::Zcmp, Ext::Zcmt, Ext::Zclsd]),
];

/// Parses the argument of `-cpu`.
pub fn parse(argument: &str) -> Result<IsaConfig, CpuError> {
    let mut parts = argument.split(',').map(str::trim);
    let name = parts.next().unwrap_or_default();
    if name == HOST {
        return Err(CpuError::NoHost);
    }
    let model = find(name).ok_or_else(|| CpuError::UnknownModel { name: name.into() })?;
    let isa = resolve(model.config(), model.exts(), parts)?;
    let missing: Vec<Ext> = isa.exts.iter().filter(|ext| !ext.is_ready()).collect();
    match missing.is_empty() {
        true => Ok(isa),
        false => Err(CpuError::ModelNotReady { model: model.name, missing }),
    }
}

/// A model with extensions `model`, as options change it.
pub(super) fn resolve<'a>(
    base: IsaConfig,
    model: ExtSet,
    parts: impl Iterator<Item = &'a str>,
) -> Result<IsaConfig, CpuError> {
    let mut options = Options {
        isa: base,
        on: ExtSet::EMPTY,
        off: ExtSet::EMPTY,
        satp_on: None,
        satp_off: None,
        mmu: None,
        profiles: Vec::new(),
        minimum_vlen: 0,
    };
    for part in parts {
        options.apply(part)?;
    }
    let wanted = options.profiles.iter().fold(model, |exts, profile| exts.union(&profile.exts()));
    options.isa.exts = wanted.union(&options.on).closure();
    options.isa.satp_mode = options.satp_mode();
    let exts = options.extensions(wanted)?;
    if let Some(ext) = options.on.iter().find(|ext| !missing(*ext).is_empty()) {
        return Err(CpuError::ExtensionNotReady { ext, missing: missing(ext) });
    }
    options.isa.exts = exts;
    if !exts.contains(Ext::S) {
        options.isa.satp_mode = SatpMode::Bare;
    }
    if options.isa.vlen < options.minimum_vlen {
        return Err(CpuError::MinimumVlen { min: options.minimum_vlen });
    }
    rules::check(&options.isa, &options.profiles)?;
    Ok(options.isa)
}

/// What the argument asked for, before it is put together.
struct Options {
    isa: IsaConfig,
    on: ExtSet,
    off: ExtSet,
    /// The largest mode turned on, the smallest turned off.
    satp_on: Option<SatpMode>,
    satp_off: Option<SatpMode>,
    mmu: Option<bool>,
    /// Profiles that the ISA has to fulfil.
    profiles: Vec<&'static Profile>,
    /// `zvlNb`: the least VLEN.
    minimum_vlen: u32,
}

impl Options {
    fn apply(&mut self, part: &str) -> Result<(), CpuError> {
        let (name, value) = match part.split_once('=') {
            Some(pair) => pair,
            None => match part.split_at_checked(1) {
                Some(("+", name)) => (name, "on"),
                Some(("-", name)) => (name, "off"),
                _ => (part, ""),
            },
        };
        let bad = |allowed| CpuError::BadValue { name: name.into(), value: value.into(), allowed };
        // Extensions were once called so before they were ratified.
        let plain = name.strip_prefix("x-").unwrap_or(name);
        if let Some(exts) = named_extensions(plain) {
            let on = boolean(value).ok_or_else(|| bad(ON_OFF))?;
            for ext in exts.iter() {
                self.on.set(ext, on);
                self.off.set(ext, !on);
            }
            return Ok(());
        }
        if let Some(profile) = PROFILES.iter().find(|profile| profile.name == name) {
            return self.profile(profile, boolean(value).ok_or_else(|| bad(ON_OFF))?);
        }
        if let Some(bits) = name.strip_prefix("zvl").and_then(|rest| rest.strip_suffix('b')) {
            let bits = power_of_two(bits, 32..=1024).ok_or_else(|| bad("known for 32 to 1024 bits"))?;
            boolean(value).filter(|on| *on).ok_or_else(|| bad("on; vlen= makes registers smaller"))?;
            self.minimum_vlen = self.minimum_vlen.max(bits);
            self.isa.vlen = self.isa.vlen.max(bits);
            return Ok(());
        }
        let canonical = name.replace("-blocksize", "_blocksize");
        if let Some(property) = PROPERTIES.iter().find(|property| property.name == canonical) {
            return (property.set)(self, value).ok_or_else(|| bad(property.allowed));
        }
        Err(match NOT_READY.contains(&name) {
            true => CpuError::PropertyNotReady { name: name.into() },
            false => CpuError::UnknownProperty { name: name.into(), nearest: nearest(name) },
        })
    }

    /// A profile that is on adds what it makes mandatory, and holds the ISA to it; one that is off takes it away, but for
    /// the base ISA.
    fn profile(&mut self, profile: &'static Profile, on: bool) -> Result<(), CpuError> {
        self.profiles.retain(|other| other.name != profile.name);
        if on {
            self.profiles.push(profile);
            self.off = self.off.difference(&profile.exts().closure());
            self.isa.satp_mode = self.isa.satp_mode.max(profile.satp_mode);
        } else {
            let without = profile.exts().closure().difference(&ExtSet::of(&[Ext::I]));
            self.off = self.off.union(&without);
            self.on = self.on.difference(&without);
        }
        Ok(())
    }

    fn satp(&mut self, mode: SatpMode, value: &str) -> Option<()> {
        if boolean(value)? {
            self.satp_on = self.satp_on.max(Some(mode));
        } else {
            self.satp_off = Some(self.satp_off.map_or(mode, |off| off.min(mode)));
        }
        Some(())
    }

    /// The largest mode that was turned on; else the model's, below the smallest that was turned off.
    fn satp_mode(&self) -> SatpMode {
        if self.mmu == Some(false) || !self.isa.has(Ext::S) {
            return SatpMode::Bare;
        }
        let model = match self.isa.satp_mode {
            SatpMode::Bare if self.mmu == Some(true) => SatpMode::Sv57,
            mode => mode,
        };
        let below = match self.satp_off {
            Some(SatpMode::Sv39) => SatpMode::Bare,
            Some(SatpMode::Sv48) => SatpMode::Sv39,
            Some(SatpMode::Sv57) => SatpMode::Sv48,
            _ => SatpMode::Sv57,
        };
        self.satp_on.unwrap_or(model.min(below))
    }

    /// The model's extensions as the argument changes them, closed under implication.
    fn extensions(&self, model: ExtSet) -> Result<ExtSet, CpuError> {
        if self.off.contains(Ext::I) {
            return Err(CpuError::NoBase);
        }
        let mut off = self.off;
        for (_, parts) in FAMILIES.iter().filter(|(name, _)| self.off.contains(*name)) {
            off = off.union(&ExtSet::of(parts).difference(&self.on.closure()));
        }
        let mut model = model;
        if self.isa.satp_mode == SatpMode::Bare && !self.on.closure().contains(Ext::H) {
            // It has nothing to translate with.
            off.insert(Ext::H);
        }
        if self.isa.pmp_entries == 0 {
            model = model.difference(&ExtSet::of(rules::NEED_PMP));
        }
        let mut base = model.difference(&off);
        while let Some(off) = base.union(&self.on).closure().iter().find(|ext| off.contains(*ext)) {
            let needs_it = |ext: &Ext| ExtSet::of(&[*ext]).closure().contains(off);
            if let Some(ext) = self.on.iter().find(needs_it) {
                return Err(CpuError::Requires { ext, needs: off });
            }
            let without: ExtSet = base.iter().filter(|ext| !needs_it(ext)).collect();
            if without == base {
                // Zcd, which only C and D together imply.
                return Err(CpuError::Requires { ext: Ext::C, needs: off });
            }
            base = without;
        }
        let mut exts = base.union(&self.on).closure();
        if [self.isa.cbom_block, self.isa.cbop_block, self.isa.cboz_block] != [64; 3] {
            if self.on.contains(Ext::Zic64b) {
                return Err(CpuError::BlockSize { ext: Ext::Zic64b });
            }
            exts.remove(Ext::Zic64b);
        }
        Ok(exts)
    }
}

/// The extension of a name; of `g` all that it stands for.
fn named_extensions(name: &str) -> Option<ExtSet> {
    const G: &[Ext] = &[Ext::I, Ext::M, Ext::A, Ext::F, Ext::D, Ext::Zicsr, Ext::Zifencei];
    match Ext::from_name(name) {
        Some(ext) => Some(ExtSet::of(&[ext])),
        None => (name == "g").then(|| ExtSet::of(G)),
    }
}

/// What `ext` entails, itself included, and the engines lack.
fn missing(ext: Ext) -> Vec<Ext> {
    ExtSet::of(&[ext]).closure().iter().filter(|ext| !ext.is_ready()).collect()
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "on" | "true" | "yes" | "y" => Some(true),
        "off" | "false" | "no" | "n" => Some(false),
        _ => None,
    }
}

fn in_range<T: TryFrom<u64>>(value: &str, range: RangeInclusive<u64>) -> Option<T> {
    let number = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse(),
    };
    number.ok().filter(|number| range.contains(number)).and_then(|number| number.try_into().ok())
}

fn code_address(value: &str) -> Option<u64> {
    in_range(value, 0..=u64::MAX).filter(|pc: &u64| pc.is_multiple_of(2))
}

fn power_of_two<T: TryFrom<u64>>(value: &str, range: RangeInclusive<u64>) -> Option<T> {
    let number: u64 = in_range(value, range)?;
    number.is_power_of_two().then_some(number)?.try_into().ok()
}

fn store<T>(slot: &mut T, value: Option<T>) -> Option<()> {
    *slot = value?;
    Some(())
}

fn model_names() -> String {
    MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
}

fn names(exts: &[Ext]) -> String {
    exts.iter().map(|ext| ext.name()).collect::<Vec<_>>().join(", ")
}

fn because(ext: &Ext, missing: &[Ext]) -> String {
    if missing.contains(ext) { String::new() } else { format!(": it needs {}", names(missing)) }
}

/// The known name at the smallest edit distance.
fn nearest(name: &str) -> &'static str {
    let known = EXTENSIONS.iter().map(|row| row.name).chain(PROPERTIES.iter().map(|property| property.name));
    known.min_by_key(|known| edit_distance(name, known)).unwrap_or_default()
}

fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let cost = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(argument: &str) -> String {
        parse(argument).unwrap_err().to_string()
    }

    #[test]
    fn a_name_is_one_row() {
        let mut names: Vec<&str> =
            EXTENSIONS.iter().map(|row| row.name).chain(PROPERTIES.iter().map(|property| property.name)).collect();
        names.sort_unstable();
        assert_eq!(names.windows(2).find(|pair| pair[0] == pair[1]), None);
    }

    #[test]
    fn a_model_alone_is_itself() {
        assert_eq!(parse("rv64"), Ok(IsaConfig::default()));
        assert_eq!(parse("rv64i").unwrap().isa_string(), "rv64i");
    }

    #[test]
    fn an_extension_brings_what_it_implies() {
        let isa = parse("rv64i,d=on,+b,-b,c=true").unwrap();
        assert_eq!(isa.isa_string(), "rv64ifdc_zicsr_zca_zcd");
        assert_eq!(parse("rv64i,+s,sv48=on").unwrap().satp_mode, SatpMode::Sv48);
    }

    #[test]
    fn turning_off_takes_dependents_along_unless_they_were_asked_for() {
        let isa = parse("rv64,f=off").unwrap();
        assert!(![Ext::F, Ext::D, Ext::Zfa, Ext::Zcd].iter().any(|ext| isa.has(*ext)));
        assert!(isa.has(Ext::Zca) && isa.has(Ext::Zcb));
        let isa = parse("rv64,c=off").unwrap();
        assert!(![Ext::C, Ext::Zca, Ext::Zcb, Ext::Zcd].iter().any(|ext| isa.has(*ext)));
        let isa = parse("rv64,a=off").unwrap();
        assert!(![Ext::A, Ext::Zaamo, Ext::Zalrsc, Ext::Zawrs, Ext::Zabha].iter().any(|ext| isa.has(*ext)));
        assert!(!parse("rv64,m=off").unwrap().has(Ext::Zmmul));
        let isa = parse("rv64,c=off,zcb=on").unwrap();
        assert!(isa.has(Ext::Zca) && isa.has(Ext::Zcb) && !isa.has(Ext::C) && !isa.has(Ext::Zcd));
        let isa = parse("rv64,s=off").unwrap();
        assert!(!isa.has(Ext::Sstc) && isa.has(Ext::U));
        assert_eq!(isa.satp_mode, SatpMode::Bare);
        assert_eq!(error("rv64,f=off,d=on"), "CPU extension 'd' needs 'f', which is off");
        assert_eq!(error("rv64,zcd=off"), "CPU extension 'c' needs 'zcd', which is off");
        assert_eq!(error("rv64,i=off"), "the base ISA 'i' cannot be off");
    }

    #[test]
    fn what_is_not_there_yet_is_refused_by_name() {
        assert_eq!(error("rv64,zilsd=on"), "CPU extension 'zilsd' is not supported by vireo yet");
        assert_eq!(parse("rv64,v=off"), Ok(IsaConfig::default()));
        let missing = find("rva23s64").unwrap().missing();
        if !missing.is_empty() {
            let text = error("rva23s64");
            assert!(text.starts_with("CPU model 'rva23s64' is not supported by vireo yet: it needs "), "{text}");
            assert!(missing.iter().all(|ext| text.contains(ext.name())), "{text}");
        }
        assert_eq!(error("rv64,x-misa-w=on"), "CPU property 'x-misa-w' is not supported by vireo yet");
    }

    #[test]
    fn a_wrong_argument_says_what_is_allowed() {
        assert_eq!(
            error("rv65"),
            "unknown CPU model 'rv65' (models: rv64, rv64i, max, rva22u64, rva22s64, rva23u64, rva23s64)"
        );
        assert_eq!(error("rv64,zbx=on"), "unknown CPU extension or property 'zbx' (did you mean 'zba'?)");
        assert_eq!(error("rv64,zba=maybe"), "CPU property 'zba' has the value 'maybe': it must be on or off");
        assert_eq!(error("rv64,zba"), "CPU property 'zba' has the value '': it must be on or off");
        assert!(error("rv64,vlen=2048").ends_with("it must be a power of two from 128 to 1024"));
        assert_eq!(
            error("rv64,vlen=100"),
            "CPU property 'vlen' has the value '100': it must be a power of two from 128 to 1024"
        );
        assert_eq!(
            error("rv64,elen=48"),
            "CPU property 'elen' has the value '48': it must be 64 (32 comes with zve32x or zve32f alone)"
        );
        assert!(error("rv64,").contains("unknown CPU extension or property ''"));
    }

    #[test]
    fn properties_set_their_parameter() {
        let isa = parse("rv64,pmp=off,vlen=256,cbom_blocksize=32,mvendorid=0x10,sv57=off").unwrap();
        assert_eq!((isa.pmp_entries, isa.vlen, isa.cbom_block, isa.mvendorid), (0, 256, 32, 16));
        assert_eq!(isa.satp_mode, SatpMode::Sv48);
        assert!(!isa.has(Ext::Zic64b));
        assert_eq!(parse("rv64,pmp=64").unwrap().pmp_entries, 64);
        assert_eq!(parse("rv64,num-pmp-regions=8").unwrap().pmp_entries, 8);
        assert_eq!(parse("rv64,sv39=on").unwrap().satp_mode, SatpMode::Sv39);
        assert_eq!(parse("rv64,mmu=off").unwrap().satp_mode, SatpMode::Bare);
        assert!(error("rv64,zic64b=on,cboz_blocksize=128").contains("64 bytes"));
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_rule_it_breaks() {
        assert_eq!(error("rv64,h=on,sv39=off"), "CPU extension 'h' needs sv39, which is off");
        assert_eq!(error("rv64,h=on,mmu=off"), "CPU extension 'h' needs sv39, which is off");
        assert_eq!(error("rv64i,h=on"), "CPU extension 'h' needs sv39, which is off");
        assert_eq!(error("rv64,h=on,s=off"), "CPU extension 'h' needs 's', which is off");
        assert_eq!(error("rv64,v=on,f=off"), "CPU extension 'v' needs 'f', which is off");
        assert_eq!(error("rv64,v=on,d=off"), "CPU extension 'v' needs 'd', which is off");
        assert_eq!(error("rv64,zve64f=on,zve32f=off"), "CPU extension 'zve64f' needs 'zve32f', which is off");
        assert_eq!(error("rv64,b=on,zba=off"), "CPU extension 'b' needs 'zba', which is off");
        assert_eq!(error("rv64,zvl256b=on,vlen=128"), "CPU property 'zvl256b' needs vlen=256 or more");
        // Without H, which has nothing to translate with.
        assert!(!parse("rv64,mmu=off").unwrap().has(Ext::H));
    }

    #[test]
    fn extensions_that_exclude_each_other() {
        let mut isa = IsaConfig::default();
        isa.exts.insert(Ext::Zfinx);
        let error = rules::check(&isa, &[]).unwrap_err().to_string();
        assert!(error.starts_with("CPU extensions 'zfinx' and 'f' exclude each other: "), "{error}");
        let mut isa = IsaConfig::default();
        isa.exts.insert(Ext::Zcmp);
        assert!(rules::check(&isa, &[]).is_err());
        isa.exts.remove(Ext::Zcd);
        assert_eq!(rules::check(&isa, &[]), Ok(()));
        isa.exts.insert(Ext::Zclsd);
        assert!(rules::check(&isa, &[]).unwrap_err().to_string().contains("64-bit"));
        let mut isa = IsaConfig { pmp_entries: 0, ..IsaConfig::default() };
        isa.exts.insert(Ext::Smepmp);
        assert!(rules::check(&isa, &[]).unwrap_err().to_string().contains("pmp="));
    }

    #[test]
    fn profiles_add_what_they_make_mandatory_and_hold_to_it() {
        if find("rva22s64").unwrap().missing().is_empty() {
            let isa = parse("rv64i,rva22s64=true").unwrap();
            assert_eq!(isa.exts, parse("rva22s64").unwrap().exts);
            assert_eq!(isa.satp_mode, SatpMode::Sv39);
            assert_eq!(error("rv64,rva22u64=on,zba=off"), "CPU profile 'rva22u64' needs 'zba', which is off");
            assert_eq!(error("rv64i,rva22s64=on,mmu=off"), "CPU profile 'rva22s64' needs 'sv39', which is off");
        }
        let isa = parse("rv64,rva22u64=off").unwrap();
        assert!(!isa.has(Ext::M) && !isa.has(Ext::Zba) && isa.has(Ext::I), "{isa:?}");
    }

    #[test]
    fn other_names_of_extensions() {
        assert_eq!(parse("rv64i,g=on").unwrap().isa_string(), "rv64imafd_zicsr_zifencei_zmmul_zaamo_zalrsc");
        assert_eq!(parse("rv64i,x-zba=on,Zbb=true").unwrap().isa_string(), "rv64i_zba_zbb");
        let isa = parse("rv64,short-isa-string=on").unwrap();
        assert!(!isa.isa_string().contains('_') && isa.isa_extensions().contains(&"zicsr"));
        assert_eq!(parse("rv64i,zvl512b=on").unwrap().vlen, 512);
        assert!(error("rv64,zvl48b=on").contains("zvl48b"));
    }
}
