//! SBI as the host's kernel answers it: which extensions a vCPU has, and the state of two of them.
//!
//! What the kernel does not answer itself it hands on, and built-in SBI answers it: the legacy console, the debug
//! console, system suspend, and probes of the experimental and vendor spaces.
//!
//! SBI specification 3.0; Linux, arch/riscv/include/uapi/asm/kvm.h, for the numbers.

use std::io;

use arch::csr::envcfg;

use super::one_reg::{self as reg, OneReg};
use crate::HartState;

/// An SBI extension that KVM knows, at its number.
struct Extension {
    name: &'static str,
    /// Whether a guest gets it. Where the kernel does not have it there is none.
    on: bool,
}

const fn row(name: &'static str, on: bool) -> Extension {
    Extension { name, on }
}

/// By the kernel's number (`enum KVM_RISCV_SBI_EXT_ID`). Nothing here has calls of its own in the experimental and vendor
/// spaces, or message channels: switched off, the kernel says so to the guest without leaving it.
const EXTENSIONS: [Extension; 14] = [
    row("legacy", true),
    row("TIME", true),
    row("IPI", true),
    row("RFENCE", true),
    row("SRST", true),
    row("HSM", true),
    row("PMU", true),
    row("experimental", false),
    row("vendor", false),
    row("DBCN", true),
    row("STA", true),
    row("SUSP", true),
    row("FWFT", true),
    row("MPXY", false),
];

/// Those that have state.
const STA: usize = 10;
const FWFT: usize = 12;

/// Whether this is an SBI extension's number here.
pub fn is_known(number: usize) -> bool {
    number < EXTENSIONS.len()
}

/// Gives a fresh vCPU the extensions of the table.
pub fn configure(regs: &impl OneReg) -> io::Result<()> {
    for (number, row) in EXTENSIONS.iter().enumerate() {
        let (id, on) = (reg::sbi_extension(number), u64::from(row.on));
        match regs.find(id)? {
            Some(now) if now != on => {
                let failed = |e: io::Error| io::Error::new(e.kind(), format!("SBI extension {}: {e}", row.name));
                regs.set(id, on).map_err(failed)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A feature of SBI FWFT whose value the kernel keeps.
struct Feature {
    /// SBI's number of it.
    id: u32,
    get: fn(&HartState) -> u64,
    set: fn(&mut HartState, u64),
}

/// Load and store misaligned.
const MISALIGNED: u64 = 1 << 4 | 1 << 6;

/// Values of `menvcfg.PMM`, and how many bits they mask.
const PMLENS: [(u64, u64); 3] = [(0, 0), (2, 7), (3, 16)];

fn flag(word: &mut u64, bits: u64, on: u64) {
    *word = if on != 0 { *word | bits } else { *word & !bits };
}

/// A bit of `menvcfg`.
macro_rules! envcfg_bit {
    ($id:expr, $bit:expr) => {
        Feature {
            id: $id,
            get: |s| u64::from(s.csr.menvcfg & $bit != 0),
            set: |s, on| flag(&mut s.csr.menvcfg, $bit, on),
        }
    };
}

/// By the kernel's place (`struct kvm_riscv_sbi_fwft`).
static FEATURES: [Feature; 5] = [
    Feature {
        id: 0,
        get: |s| u64::from(s.csr.medeleg & MISALIGNED == MISALIGNED),
        set: |s, on| flag(&mut s.csr.medeleg, MISALIGNED, on),
    },
    Feature {
        id: 5,
        get: |s| {
            let mode = (s.csr.menvcfg & envcfg::PMM) >> envcfg::PMM_SHIFT;
            PMLENS.iter().find(|(pmm, _)| *pmm == mode).map_or(0, |(_, len)| *len)
        },
        set: |s, len| {
            let mode = PMLENS.iter().find(|(_, known)| *known == len).map_or(0, |(pmm, _)| *pmm);
            s.csr.menvcfg = s.csr.menvcfg & !envcfg::PMM | mode << envcfg::PMM_SHIFT;
        },
    },
    envcfg_bit!(4, envcfg::ADUE),
    envcfg_bit!(1, envcfg::LPE),
    envcfg_bit!(2, envcfg::SSE),
];

/// The features that the vCPU has, and their places. Kernels that do not know an extension refuse its registers in
/// various ways, so that it is asked for first.
fn features(regs: &impl OneReg) -> io::Result<Vec<(u64, &'static Feature)>> {
    let mut found = Vec::new();
    if regs.find(reg::sbi_extension(FWFT))?.is_some() {
        for (place, feature) in (0..).zip(&FEATURES) {
            if regs.find(reg::feature_value(place))?.is_some() {
                found.push((place, feature));
            }
        }
    }
    Ok(found)
}

fn has_steal_time(regs: &impl OneReg) -> io::Result<bool> {
    Ok(regs.find(reg::sbi_extension(STA))?.is_some())
}

/// How many places of features there are.
pub fn feature_places() -> u64 {
    FEATURES.len() as u64
}

/// Reads what the kernel has of STA and FWFT into `s`.
pub fn load(regs: &impl OneReg, s: &mut HartState) -> io::Result<()> {
    s.sbi.steal_time = if has_steal_time(regs)? { regs.get(reg::STEAL_TIME)? } else { u64::MAX };
    for (place, feature) in features(regs)? {
        (feature.set)(s, regs.get(reg::feature_value(place))?);
        let locked = regs.get(reg::feature_lock(place))?;
        flag(&mut s.sbi.locked_features, 1 << feature.id, locked & 1);
    }
    Ok(())
}

/// Writes it.
pub fn store(regs: &impl OneReg, s: &HartState) -> io::Result<()> {
    if has_steal_time(regs)? {
        regs.set(reg::STEAL_TIME, s.sbi.steal_time)?;
    }
    for (place, feature) in features(regs)? {
        regs.set(reg::feature_value(place), (feature.get)(s))?;
        regs.set(reg::feature_lock(place), s.sbi.locked_features >> feature.id & 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::Registers;
    use super::*;

    #[test]
    fn only_what_the_kernel_has_is_switched() {
        let regs = Registers::default();
        for (number, on) in [(0, 1), (7, 1), (8, 1), (9, 0), (11, 0)] {
            regs.set(reg::sbi_extension(number), on).unwrap();
        }
        configure(&regs).unwrap();
        let now = |number| regs.find(reg::sbi_extension(number)).unwrap();
        assert_eq!([0, 7, 8, 9, 11].map(now), [Some(1), Some(0), Some(0), Some(1), Some(1)]);
        assert_eq!([10, 12, 13].map(now), [None; 3], "an older kernel");
        assert!(is_known(13) && !is_known(14));
    }

    #[test]
    fn features_are_fields_of_the_hart() {
        let regs = Registers::default();
        let has = [0, 1, 2];
        for place in has {
            regs.set(reg::feature_lock(place), 0).unwrap();
            regs.set(reg::feature_value(place), 0).unwrap();
        }
        regs.set(reg::STEAL_TIME, u64::MAX).unwrap();
        load(&regs, &mut HartState::default()).unwrap();
        for number in [STA, FWFT] {
            regs.set(reg::sbi_extension(number), 1).unwrap();
        }
        let mut s = HartState::default();
        s.csr.menvcfg = envcfg::ADUE | 2 << envcfg::PMM_SHIFT | envcfg::CBZE;
        s.csr.medeleg = MISALIGNED | 1 << 8;
        (s.sbi.steal_time, s.sbi.locked_features) = (0x8000_1000, 1 << 5);
        store(&regs, &s).unwrap();
        assert_eq!(has.map(|place| regs.get(reg::feature_value(place)).unwrap()), [1, 7, 1]);
        assert_eq!(has.map(|place| regs.get(reg::feature_lock(place)).unwrap()), [0, 1, 0]);
        assert_eq!(regs.find(reg::feature_value(3)).unwrap(), None);

        let mut back = HartState::default();
        (back.csr.menvcfg, back.csr.medeleg) = (envcfg::CBZE | 3 << envcfg::PMM_SHIFT, 1 << 8);
        load(&regs, &mut back).unwrap();
        assert_eq!(back, s);
        regs.set(reg::feature_value(0), 0).unwrap();
        load(&regs, &mut back).unwrap();
        assert_eq!(back.csr.medeleg, 1 << 8);
    }
}
