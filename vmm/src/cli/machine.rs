//! Options about the machine as a whole: `-M`, `-accel`, `-m`, `-name`, `-rtc`, `-global`.

use std::path::PathBuf;

use accel::kvm::options::{AiaMode, KernelIrqchip, KvmOptions};
use accel::tcg::HostSimd;
use devices::intc::imsic::GUESTS_MAX;

use super::error::{CliError, Result, did_you_mean};
use super::optlist::{OptList, on_off};
use super::size;
use crate::board::{self, MachineType};
use crate::config::{AccelChoice, Aia, BoardOptions, RAM_MAX, RAM_MIN, RtcBase, SemihostingConfig, TcgConfig};

/// What the `-machine` options said together.
#[derive(Debug)]
pub struct Machine {
    pub machine: &'static MachineType,
    pub board: BoardOptions,
    /// `accel=`.
    pub accel: Option<String>,
    /// `kernel-irqchip=`, which is KVM's.
    pub irqchip: Option<KernelIrqchip>,
    pub pflash: [Option<String>; 2],
    /// `memory-backend=`: the object that is RAM.
    pub memory_backend: Option<String>,
    /// `mem-merge=` and `dump-guest-core=`.
    pub mem_merge: bool,
    pub dump_guest_core: bool,
    /// QEMU's other way of writing -kernel, -initrd, -append, -dtb and -bios.
    pub boot: [Option<String>; 5],
}

pub fn parse_machine(values: &[String]) -> Result<Machine> {
    let mut m = Machine {
        machine: board::default_machine(),
        board: BoardOptions::default(),
        accel: None,
        irqchip: None,
        pflash: [None, None],
        memory_backend: None,
        mem_merge: true,
        dump_guest_core: true,
        boot: Default::default(),
    };
    for text in values {
        let mut o = OptList::parse("-machine", text)?;
        if let Some(name) = o.head("type")? {
            m.machine = board::find_machine(&name).ok_or_else(|| {
                let names = board::MACHINES.iter().flat_map(|m| m.names());
                let hint = did_you_mean(&name, names);
                o.error(format!("unknown machine '{name}'{hint}; -M help lists them"))
            })?;
        }
        m.accel = o.text("accel")?.or(m.accel);
        m.irqchip = o.choice("kernel-irqchip", &KernelIrqchip::WORDS)?.or(m.irqchip);
        m.board.aclint = o.flag("aclint")?.unwrap_or(m.board.aclint);
        let aia = [("none", Aia::None), ("aplic", Aia::Aplic), ("aplic-imsic", Aia::AplicImsic)];
        m.board.aia = o.choice("aia", &aia)?.unwrap_or(m.board.aia);
        m.board.aia_guests = o.number("aia-guests", 0..=GUESTS_MAX)?.unwrap_or(m.board.aia_guests);
        m.board.timebase = o.number("timebase", 1_000..=1_000_000_000)?.or(m.board.timebase);
        m.board.snapshots = o.text("snapshots")?.map(PathBuf::from).or(m.board.snapshots);
        m.board.dumpdtb = o.text("dumpdtb")?.map(PathBuf::from).or(m.board.dumpdtb);
        m.board.htif = o.flag("htif")?.unwrap_or(m.board.htif);
        m.board.signature = o.text("signature")?.map(PathBuf::from).or(m.board.signature);
        if let Some(bytes) = o.number::<u8>("signature-granularity", 1..=128)? {
            if !bytes.is_power_of_two() {
                return Err(o.error(format!("signature-granularity={bytes} must be a power of two from 1 to 128")));
            }
            m.board.signature_granularity = bytes;
        }
        m.pflash[0] = o.text("pflash0")?.or(m.pflash[0].take());
        m.pflash[1] = o.text("pflash1")?.or(m.pflash[1].take());
        m.memory_backend = o.text("memory-backend")?.or(m.memory_backend.take());
        m.mem_merge = o.flag("mem-merge")?.unwrap_or(m.mem_merge);
        m.dump_guest_core = o.flag("dump-guest-core")?.unwrap_or(m.dump_guest_core);
        for (value, key) in m.boot.iter_mut().zip(["kernel", "initrd", "append", "dtb", "firmware"]) {
            *value = o.text(key)?.or(value.take());
        }
        refuse_others(&mut o)?;
        o.finish()?;
    }
    Ok(m)
}

/// Properties that QEMU's board has: accepted where the value asks for what is so anyway.
fn refuse_others(o: &mut OptList) -> Result<()> {
    for key in ["usb", "acpi", "graphics", "iommu-sys", "smbios"] {
        if o.flag(key)? == Some(true) {
            return Err(o.error(format!("{key}=on is not supported by vireo yet")));
        }
    }
    o.unsupported(&["memory-encryption", "dt-compatible", "phandle-start", "hmat", "nvdimm", "smp", "memory"])
}

/// `-accel` (several), `-machine accel=a:b` and `-enable-kvm`, in order of preference; `-machine kernel-irqchip=` holds
/// where `-accel` says nothing of it.
pub fn parse_accel(
    values: &[String],
    machine: Option<&str>,
    enable_kvm: bool,
    irqchip: Option<KernelIrqchip>,
) -> Result<Vec<AccelChoice>> {
    let given = usize::from(!values.is_empty()) + usize::from(machine.is_some()) + usize::from(enable_kvm);
    if given > 1 && !(values.is_empty() && machine == Some("kvm")) {
        return Err(CliError::new("-accel", "only one of -accel, -machine accel= and -enable-kvm may be given"));
    }
    let kvm = KvmOptions { irqchip: irqchip.unwrap_or_default(), ..KvmOptions::default() };
    let mut choices = Vec::new();
    if enable_kvm {
        choices.push(AccelChoice::Kvm(kvm.clone()));
    }
    for text in values {
        choices.extend(parse_one_accel("-accel", text, &kvm)?);
    }
    if let Some(text) = machine.filter(|_| !enable_kvm) {
        choices.extend(parse_one_accel("-machine accel", text, &kvm)?);
    }
    match irqchip {
        Some(irqchip @ (KernelIrqchip::On | KernelIrqchip::Split))
            if !choices.iter().any(|c| matches!(c, AccelChoice::Kvm(_))) =>
        {
            let message = "there is no kernel's interrupt controller without -accel kvm; it must be off";
            Err(CliError::new(format!("-machine kernel-irqchip={irqchip}"), message))
        }
        _ => Ok(choices),
    }
}

fn parse_one_accel(option: &str, text: &str, kvm: &KvmOptions) -> Result<Vec<AccelChoice>> {
    let mut o = OptList::parse(option, text)?;
    let names = o.head("accel")?.ok_or_else(|| o.error("needs an accelerator: kvm, tcg or interp"))?;
    let mut choices = Vec::new();
    let mut tcg_given = false;
    for name in names.split(':') {
        choices.push(match name {
            "kvm" => AccelChoice::Kvm(kvm.clone()),
            "tcg" | "interp" => {
                let jit = [name == "tcg"];
                tcg_given |= jit[0];
                AccelChoice::Tcg(TcgConfig { jit: jit[0], ..TcgConfig::default() })
            }
            "hvf" | "xen" | "nvmm" | "whpx" | "qtest" | "mshv" | "nitro" => {
                return Err(
                    o.error(format!("accelerator '{name}' is not supported by vireo yet; use kvm, tcg or interp"))
                );
            }
            _ => {
                let hint = did_you_mean(name, ["kvm", "tcg", "interp"]);
                return Err(o.error(format!("unknown accelerator '{name}'{hint}; -accel help lists them")));
            }
        });
    }
    let has_tcg = choices.iter().any(|c| matches!(c, AccelChoice::Tcg(_)));
    let has_kvm = choices.iter().any(|c| matches!(c, AccelChoice::Kvm(_)));
    if has_kvm {
        let options = parse_kvm(&mut o, kvm)?;
        for choice in &mut choices {
            if let AccelChoice::Kvm(kvm) = choice {
                kvm.clone_from(&options);
            }
        }
    }
    if has_tcg {
        let jit = o.flag("jit")?;
        let cache = o.number("tb-size", 1..=2048)?;
        let one = o.flag("one-insn-per-tb")?;
        let tlb = o.number("x-tlb-entries", 0..=4096)?;
        if let Some(n) = tlb.filter(|n: &u32| *n != 0 && !n.is_power_of_two()) {
            return Err(o.error(format!("x-tlb-entries={n} must be 0 or a power of two up to 4096")));
        }
        let evict = o.number("x-evict", 1..=1_000_000)?;
        let hot = o.number("x-hot", 0..=1_000_000)?;
        let idle_code = o.number("x-idle-code", 0..=2048)?;
        let (chain, jump_cache) = (o.flag("x-chain")?, o.flag("x-jump-cache")?);
        let host =
            o.choice("x-host", &[("avx512", HostSimd::Avx512), ("avx2", HostSimd::Avx2), ("none", HostSimd::None)])?;
        o.unsupported(&["split-wx"])?;
        if o.choice("thread", &[("multi", true), ("single", false)])? == Some(false) {
            return Err(o.error("thread=single is not supported by vireo yet; every hart has a thread of its own"));
        }
        if jit == Some(true) && !tcg_given {
            return Err(o.error("jit=on contradicts interp; use tcg"));
        }
        let compiles = tcg_given && jit != Some(false);
        for (key, given) in [("x-hot", hot.is_some_and(|n| n > 0)), ("x-host", host.is_some())] {
            if given && !compiles {
                return Err(o.error(format!("{key} is about host code, which interp does not make; use tcg")));
            }
        }
        if let (Some(n @ 1..), Some(false)) = (hot, chain) {
            return Err(o.error(format!("x-hot={n} needs x-chain=on: loops are found where blocks are linked")));
        }
        for choice in &mut choices {
            if let AccelChoice::Tcg(tcg) = choice {
                // interp stays what it is.
                tcg.jit &= jit.unwrap_or(true);
                tcg.code_cache_mib = cache;
                tcg.one_insn_per_block = one.unwrap_or(false);
                tcg.chain = chain.unwrap_or(true);
                tcg.jump_cache = jump_cache.unwrap_or(true);
                tcg.tlb_entries = tlb;
                tcg.evict = evict;
                tcg.hot = hot;
                tcg.idle_code_mib = idle_code;
                tcg.host = host;
            }
        }
    }
    o.finish()?;
    Ok(choices)
}

/// `-accel kvm,...`.
fn parse_kvm(o: &mut OptList, base: &KvmOptions) -> Result<KvmOptions> {
    o.unsupported(&["kvm-shadow-mem", "dirty-ring-size", "notify-vmexit", "eager-split-size", "device"])?;
    let irqchip = o.choice("kernel-irqchip", &KernelIrqchip::WORDS)?.unwrap_or(base.irqchip);
    let aia = o.choice("riscv-aia", &AiaMode::WORDS)?.unwrap_or(base.aia);
    if (irqchip, aia) == (KernelIrqchip::Off, AiaMode::HwAccel) {
        let message = "riscv-aia=hwaccel needs the kernel's IMSICs: kernel-irqchip=off must be on or split";
        return Err(o.error(message));
    }
    let debug_switch = o.flag("debug-switch")?.unwrap_or(base.debug_switch);
    Ok(KvmOptions { irqchip, aia, debug_switch })
}

/// Bytes; `None`: the machine's own size.
pub fn parse_memory(values: &[String]) -> Result<Option<u64>> {
    let mut ram = None;
    for text in values {
        let mut o = OptList::parse("-m", text)?;
        o.unsupported(&["slots", "maxmem"])?;
        if let Some(text) = o.head("size")? {
            let range = format!("must be from {} to {}", size::show(RAM_MIN), size::show(RAM_MAX));
            let bytes = size::parse(&text, 1 << 20).map_err(|e| o.error(format!("RAM size {e}")))?;
            // Pages are 4 KiB.
            ram = match bytes.checked_next_multiple_of(4096) {
                Some(bytes) if (RAM_MIN..=RAM_MAX).contains(&bytes) => Some(bytes),
                _ => return Err(o.error(format!("RAM size {range}"))),
            };
        }
        o.finish()?;
    }
    Ok(ram)
}

/// The guest's and the process's name.
pub fn parse_name(values: &[String]) -> Result<(Option<String>, Option<String>)> {
    let (mut guest, mut process) = (None, None);
    for text in values {
        let mut o = OptList::parse("-name", text)?;
        guest = o.head("guest")?.or(guest);
        process = o.text("process")?.or(process);
        // Threads always have names.
        o.flag("debug-threads")?;
        o.finish()?;
    }
    Ok((guest, process))
}

/// The most that an instruction may take, as a power of two of nanoseconds.
const ICOUNT_SHIFT_MAX: u32 = 10;

/// `-icount [shift=]N`.
pub fn parse_icount(values: &[String]) -> Result<Option<u32>> {
    let mut shift = None;
    for text in values {
        let mut o = OptList::parse("-icount", text)?;
        let word = o.head("shift")?.ok_or_else(|| o.error("needs shift=N"))?;
        let n = word.parse().ok().filter(|n| *n <= ICOUNT_SHIFT_MAX);
        shift = Some(n.ok_or_else(|| match word.as_str() {
            "auto" => o.error("shift=auto is not supported by vireo yet; it must be a number"),
            _ => o.error(format!("shift={word}: must be 0 to {ICOUNT_SHIFT_MAX}")),
        })?);
        if o.flag("align")? == Some(true) {
            return Err(o.error("align=on is not supported by vireo yet; the clock does not follow the host's"));
        }
        // A hart that waits does not wait in real time, whatever this says.
        o.flag("sleep")?;
        o.unsupported(&["rr", "rrfile", "rrsnapshot"])?;
        o.finish()?;
    }
    Ok(shift)
}

/// `-semihosting` and `-semihosting-config`, which turns them on unless it says otherwise.
pub fn parse_semihosting(on: bool, values: &[String]) -> Result<Option<SemihostingConfig>> {
    let mut on = on;
    let mut config = SemihostingConfig::default();
    for text in values {
        let mut o = OptList::parse_headless("-semihosting-config", text)?;
        on = o.flag("enable")?.unwrap_or(true);
        if let Some(target) = o.text("target")?
            && !["native", "auto"].contains(&target.as_str())
        {
            return Err(o.error(format!("target={target} is not supported by vireo yet; it must be native or auto")));
        }
        config.chardev = o.text("chardev")?.or(config.chardev);
        config.userspace = o.flag("userspace")?.unwrap_or(config.userspace);
        config.args.extend(o.texts("arg")?);
        o.finish()?;
    }
    Ok(on.then_some(config))
}

pub fn parse_rtc(values: &[String]) -> Result<RtcBase> {
    let mut base = RtcBase::Utc;
    for text in values {
        let mut o = OptList::parse_headless("-rtc", text)?;
        if let Some(text) = o.text("base")? {
            base = match text.as_str() {
                "utc" => RtcBase::Utc,
                "localtime" => RtcBase::LocalTime,
                date => RtcBase::Fixed(parse_date(date).ok_or_else(|| {
                    o.error(format!(
                        "base={date}: must be utc, localtime, or a date such as 2030-01-31T12:00:00 or 2030-01-31"
                    ))
                })?),
            };
        }
        if let Some(clock) = o.text("clock")?
            && clock != "host"
        {
            return Err(o.error(format!("clock={clock} is not supported by vireo yet; it must be host")));
        }
        if let Some(fix) = o.text("driftfix")?
            && fix != "none"
        {
            return Err(o.error(format!("driftfix={fix} is not supported by vireo yet; it must be none")));
        }
        o.finish()?;
    }
    Ok(base)
}

/// `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM:SS`, UTC, as seconds since 1970.
fn parse_date(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let numbers = |text: &str, separator| -> Option<[i64; 3]> {
        let mut parts = text
            .split(separator)
            .map(|p| p.bytes().all(|b| b.is_ascii_digit()).then(|| p.parse::<u16>().ok()).flatten().map(i64::from));
        let all = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(all)
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1970..=9999).contains(&year) || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days from the civil calendar: years begin in March, so that the leap day is the last one.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// `-global`: whether virtio-mmio is legacy.
pub fn parse_global(values: &[String]) -> Result<bool> {
    let mut legacy = false;
    for text in values {
        let error = |message: String| CliError::new(format!("-global {text}"), message);
        match text.split_once('=') {
            Some(("virtio-mmio.force-legacy", value)) => {
                legacy = on_off(value).ok_or_else(|| error("must be 'on' or 'off'".to_owned()))?;
            }
            Some((name, _)) => {
                return Err(error(format!(
                    "'{name}' is not supported by vireo yet; only virtio-mmio.force-legacy=on|off is"
                )));
            }
            None => return Err(error("must be DRIVER.PROPERTY=VALUE".to_owned())),
        }
    }
    Ok(legacy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    fn memory() {
        assert_eq!(parse_memory(&[]), Ok(None));
        assert_eq!(parse_memory(&v("512M")), Ok(Some(512 << 20)));
        assert_eq!(parse_memory(&v("4G")), Ok(Some(4 << 30)));
        assert_eq!(parse_memory(&v("size=1G")), Ok(Some(1 << 30)));
        assert_eq!(parse_memory(&v("3000000B")), Ok(Some(3_002_368)));
        for text in ["0", "1T", "1", "0x0", "512.5G", "513G"] {
            let e = parse_memory(&v(text)).unwrap_err().to_string();
            assert_eq!(e, format!("-m {text}: RAM size must be from 2M to 512G"));
        }
        for text in ["abc", "-1", "16E", "4G,slots=2,maxmem=8G", "1G,foo=1", "1Q"] {
            let e = parse_memory(&v(text)).unwrap_err().to_string();
            assert!(e.starts_with(&format!("-m {text}: ")), "{e}");
        }
    }

    #[test]
    fn accels() {
        let tcg = |jit| AccelChoice::Tcg(TcgConfig { jit, ..TcgConfig::default() });
        let accel = |text: &str| parse_accel(&v(text), None, false, None);
        assert_eq!(accel("kvm:tcg").unwrap(), [AccelChoice::Kvm(KvmOptions::default()), tcg(true)]);
        assert_eq!(accel("interp").unwrap(), [tcg(false)]);
        assert_eq!(accel("tcg,jit=off").unwrap(), [tcg(false)]);
        assert_eq!(accel("interp:tcg,jit=on").unwrap(), [tcg(false), tcg(true)]);
        assert_eq!(accel("tcg:interp,jit=off").unwrap(), [tcg(false), tcg(false)]);
        assert_eq!(
            accel("tcg,tb-size=64,thread=multi,one-insn-per-tb=on").unwrap(),
            [AccelChoice::Tcg(TcgConfig {
                jit: true,
                code_cache_mib: Some(64),
                one_insn_per_block: true,
                ..TcgConfig::default()
            })]
        );
        let forced = TcgConfig {
            chain: false,
            jump_cache: false,
            tlb_entries: Some(4),
            evict: Some(9),
            hot: Some(0),
            idle_code_mib: Some(0),
            host: Some(HostSimd::Avx2),
            ..TcgConfig::default()
        };
        let text = "tcg,x-chain=off,x-jump-cache=off,x-tlb-entries=4,x-evict=9,x-hot=0,x-idle-code=0,x-host=avx2";
        assert_eq!(accel(text).unwrap(), [AccelChoice::Tcg(forced)]);
        assert_eq!(
            parse_accel(&[], Some("kvm:tcg"), false, None).unwrap(),
            [AccelChoice::Kvm(KvmOptions::default()), tcg(true)]
        );
        assert_eq!(parse_accel(&[], None, true, None).unwrap(), [AccelChoice::Kvm(KvmOptions::default())]);
        assert_eq!(parse_accel(&[], None, false, None).unwrap(), []);
        assert_eq!(
            parse_accel(&["kvm".into(), "tcg".into()], None, false, None).unwrap(),
            [AccelChoice::Kvm(KvmOptions::default()), tcg(true)]
        );
        let kvm = |irqchip, aia| [AccelChoice::Kvm(KvmOptions { irqchip, aia, debug_switch: false })];
        let text = "kvm,kernel-irqchip=split,riscv-aia=emul";
        assert_eq!(accel(text).unwrap(), kvm(KernelIrqchip::Split, AiaMode::Emul));
        let machine = |text: &str| parse_accel(&v(text), None, false, Some(KernelIrqchip::Split));
        assert_eq!(machine("kvm").unwrap(), kvm(KernelIrqchip::Split, AiaMode::Auto));
        assert_eq!(machine("kvm,kernel-irqchip=off").unwrap(), kvm(KernelIrqchip::Off, AiaMode::Auto));
        assert!(machine("tcg").is_err());
        for text in [
            "",
            "foo",
            "tgc",
            "hvf",
            "tcg:",
            "tcg,jit=7",
            "tcg,tb-size=0",
            "tcg,thread=single",
            "kvm,jit=on",
            "kvm,kernel-irqchip=no",
            "kvm,riscv-aia=on",
            "kvm,kernel-irqchip=off,riscv-aia=hwaccel",
            "tcg,riscv-aia=auto",
            "interp,jit=on",
            "tcg,x-tlb-entries=3",
            "tcg,x-chain=maybe",
            "tcg,tb-size=x,tb-size=1",
            "interp,x-hot=1",
            "interp,x-host=none",
            "tcg,jit=off,x-hot=1",
            "tcg,x-chain=off,x-hot=1",
            "tcg,x-host=mmx",
            "tcg,x=1",
        ] {
            let e = accel(text).expect_err(text).to_string();
            assert!(e.starts_with(&format!("-accel {text}")), "{e}");
        }
        assert!(parse_accel(&v("tcg"), Some("kvm"), false, None).is_err());
    }

    #[test]
    fn machines() {
        let m = parse_machine(&v("virt,aclint=on,timebase=1000000,dumpdtb=a,accel=tcg,pflash0=f")).unwrap();
        assert!(m.board.aclint);
        assert_eq!((m.board.timebase, m.accel.as_deref()), (Some(1_000_000), Some("tcg")));
        assert_eq!(m.pflash[0].as_deref(), Some("f"));
        assert_eq!(parse_machine(&v("virt-1.0")).unwrap().machine.name, parse_machine(&[]).unwrap().machine.name);
        assert!(!parse_machine(&v("virt,aia=none,usb=off,acpi=off")).unwrap().board.aclint);
        for (text, what) in [
            ("virtt", "did you mean 'virt'"),
            ("sifive_u", "unknown machine"),
            ("spike,signature-granularity=3", "a power of two"),
            ("virt,aia=imsic", "must be one of none, aplic, aplic-imsic"),
            ("virt,aia=aplic-imsic,aia-guests=8", "must be a number from 0 to 7"),
            ("virt,acpi=on", "not supported by vireo yet"),
            ("virt,timebase=0", "timebase=0"),
            ("virt,aclnt=on", "did you mean 'aclint'"),
            ("virt,aclint=maybe", "'on' or 'off'"),
        ] {
            let e = parse_machine(&v(text)).expect_err(text).to_string();
            assert!(e.contains(what), "{text}: {e}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(parse_date("1970-01-01"), Some(0));
        assert_eq!(parse_date("2000-02-29T12:34:56"), Some(951_827_696));
        assert_eq!(parse_date("2038-01-19T03:14:08"), Some(1 << 31));
        for bad in [
            "",
            "2023-02-29",
            "2023-13-01",
            "2023-1",
            "1969-12-31",
            "2023-01-01T24:00:00",
            "2023-01-01 00:00:00",
            "+2023-01-01",
        ] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn globals() {
        assert_eq!(parse_global(&v("virtio-mmio.force-legacy=on")), Ok(true));
        assert_eq!(parse_global(&v("virtio-mmio.force-legacy=false")), Ok(false));
        for bad in ["", "virtio-mmio.force-legacy", "virtio-mmio.force-legacy=2", "e1000.mac=1"] {
            assert!(parse_global(&v(bad)).is_err(), "{bad}");
        }
    }
}
