//! Which engines, and how each works: `-accel`, and what else says so.

use accel::kvm::options::{AiaMode, KernelIrqchip, KvmOptions};
use accel::tcg::HostSimd;

use super::error::{CliError, Result, did_you_mean};
use super::optlist::OptList;
use crate::config::{AccelChoice, TcgConfig};

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
                let jit = name == "tcg";
                tcg_given |= jit;
                AccelChoice::Tcg(TcgConfig { jit, ..TcgConfig::default() })
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
    let has_kvm = choices.iter().any(|c| matches!(c, AccelChoice::Kvm(_)));
    let has_tcg = choices.iter().any(|c| matches!(c, AccelChoice::Tcg(_)));
    let for_kvm = has_kvm.then(|| parse_kvm(&mut o, kvm)).transpose()?;
    let for_tcg = has_tcg.then(|| parse_tcg(&mut o, tcg_given)).transpose()?;
    for choice in &mut choices {
        match (choice, &for_kvm, &for_tcg) {
            (AccelChoice::Kvm(kvm), Some(options), _) => kvm.clone_from(options),
            // interp stays what it is.
            (AccelChoice::Tcg(tcg), _, Some(options)) => {
                *tcg = TcgConfig { jit: tcg.jit && options.jit, ..options.clone() };
            }
            _ => {}
        }
    }
    o.finish()?;
    Ok(choices)
}

/// `-accel tcg,...`, which holds for interp, too; `tcg_given`: it is not for interp alone.
fn parse_tcg(o: &mut OptList, tcg_given: bool) -> Result<TcgConfig> {
    let jit = o.flag("jit")?;
    let code_cache_mib = o.number("tb-size", 1..=2048)?;
    let one = o.flag("one-insn-per-tb")?;
    let tlb_entries = o.number("x-tlb-entries", 0..=4096)?;
    if let Some(n) = tlb_entries.filter(|n: &u32| *n != 0 && !n.is_power_of_two()) {
        return Err(o.error(format!("x-tlb-entries={n} must be 0 or a power of two up to 4096")));
    }
    let evict = o.number("x-evict", 1..=1_000_000)?;
    let hot = o.number("x-hot", 0..=1_000_000)?;
    let idle_code_mib = o.number("x-idle-code", 0..=2048)?;
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
    Ok(TcgConfig {
        jit: jit.unwrap_or(true),
        code_cache_mib,
        one_insn_per_block: one.unwrap_or(false),
        chain: chain.unwrap_or(true),
        jump_cache: jump_cache.unwrap_or(true),
        tlb_entries,
        evict,
        hot,
        idle_code_mib,
        host,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Vec<String> {
        vec![text.to_owned()]
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
}
