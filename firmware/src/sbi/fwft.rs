//! Firmware features extension (spec chapter "SBI Firmware Features Extension"): what of the hart M-mode switches on for
//! the supervisor. All features are local to a hart.
//!
//! A feature is a field of the hart's `menvcfg`, which is where its value is kept. What is remembered here is which
//! features are locked, and the one feature that the hart knows nothing of.

use arch::csr::{MENVCFG, envcfg};
use arch::ext::{Ext, IsaConfig};
use sbi_spec::fwft as spec;
use serde::{Deserialize, Serialize};

use super::{Extension, SbiError, SbiHost, SbiOutcome, SbiRequest};

/// What is remembered of a hart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Features {
    /// Misaligned accesses are not delegated.
    keeps_misaligned: bool,
    /// Bit n: feature n is locked.
    locked: u8,
}

/// How a feature is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    /// MISALIGNED_EXC_DELEG. Harts perform misaligned accesses to memory themselves, and what is left (devices, atomic
    /// instructions) cannot be emulated: without delegation it is passed on to the supervisor all the same.
    Misaligned,
    /// A bit of `menvcfg`: 0 or 1.
    Bit(u64),
    /// `menvcfg.PMM`: the number of masked bits, at least.
    PointerMask,
}

/// A feature.
struct Feature {
    id: usize,
    control: Control,
    /// Whether a hart has it.
    available: fn(&IsaConfig) -> bool,
}

static FEATURES: &[Feature] = &[
    Feature { id: spec::feature_type::MISALIGNED_EXC_DELEG, control: Control::Misaligned, available: |_| true },
    Feature {
        id: spec::feature_type::LANDING_PAD,
        control: Control::Bit(envcfg::LPE),
        available: |isa| isa.has(Ext::Zicfilp),
    },
    Feature {
        id: spec::feature_type::SHADOW_STACK,
        control: Control::Bit(envcfg::SSE),
        available: |isa| isa.has(Ext::Zicfiss),
    },
    Feature {
        id: spec::feature_type::DOUBLE_TRAP,
        control: Control::Bit(envcfg::DTE),
        available: |isa| isa.has(Ext::Ssdbltrp),
    },
    // A supervisor that finds Svadu without Svade takes hardware updates to be always on (device tree binding of the ISA
    // extensions); only with both there is a choice, and updates are off at first.
    Feature {
        id: spec::feature_type::PTE_AD_HW_UPDATING,
        control: Control::Bit(envcfg::ADUE),
        available: |isa| isa.has(Ext::Svadu) && isa.has(Ext::Svade),
    },
    Feature {
        id: spec::feature_type::POINTER_MASKING_PMLEN,
        control: Control::PointerMask,
        available: |isa| isa.has(Ext::Smnpm),
    },
];

/// Values of `menvcfg.PMM` and the numbers of bits that they mask.
const PMLENS: [(u64, u64); 3] = [(0, 0), (2, 7), (3, 16)];

/// The feature that a parameter of 32 bits names.
fn feature(id: u64, host: &dyn SbiHost) -> Result<&'static Feature, SbiError> {
    let feature = FEATURES.iter().find(|f| f.id == id as u32 as usize).ok_or(SbiError::Denied)?;
    if (feature.available)(host.isa()) { Ok(feature) } else { Err(SbiError::NotSupported) }
}

fn get(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let config = || host.read_csr(MENVCFG);
    Ok(match feature(call.args[0], host)?.control {
        Control::Misaligned => u64::from(!host.state().hart(call.hart).features.keeps_misaligned),
        Control::Bit(bit) => u64::from(config() & bit != 0),
        Control::PointerMask => {
            let mode = (config() & envcfg::PMM) >> envcfg::PMM_SHIFT;
            PMLENS.iter().find(|(pmm, _)| *pmm == mode).map_or(0, |(_, len)| *len)
        }
    })
}

fn set(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let [id, value, flags, ..] = call.args;
    let feature = feature(id, host)?;
    let lock = match flags {
        0 => false,
        1 => true,
        _ => return Err(SbiError::InvalidParam),
    };
    let features = &mut host.state().hart(call.hart).features;
    if features.locked >> feature.id & 1 != 0 {
        return Err(SbiError::DeniedLocked);
    }
    let configure = |field: u64, v: u64| host.write_csr(MENVCFG, host.read_csr(MENVCFG) & !field | v);
    match feature.control {
        Control::PointerMask => {
            let mode = PMLENS.iter().find(|(_, len)| *len >= value).ok_or(SbiError::InvalidParam)?.0;
            configure(envcfg::PMM, mode << envcfg::PMM_SHIFT);
        }
        _ if value > 1 => return Err(SbiError::InvalidParam),
        Control::Misaligned => features.keeps_misaligned = value == 0,
        Control::Bit(bit) => configure(bit, if value == 1 { bit } else { 0 }),
    }
    features.locked |= u8::from(lock) << feature.id;
    Ok(0)
}

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    const SET: u64 = spec::SET as u64;
    const GET: u64 = spec::GET as u64;
    match call.fid {
        SET => set(call, host),
        GET => get(call, host),
        _ => Err(SbiError::NotSupported),
    }
    .into()
}

pub const EXTENSION: Extension =
    Extension { name: "FWFT", eids: spec::EID_FWFT as u64..=spec::EID_FWFT as u64, probe: |_| 1, handle };

#[cfg(test)]
mod tests {
    use super::super::mock::{MockHost, call, call_from, value_of};
    use super::*;
    use crate::sbi::handle;

    const EID: u64 = 0x4657_4654;
    const OK: SbiOutcome = SbiOutcome::success(0);

    fn host() -> MockHost {
        let mut host = MockHost::new(2);
        [Ext::Svade, Ext::Svadu].into_iter().for_each(|ext| host.isa.exts.insert(ext));
        host
    }

    fn set(host: &MockHost, args: &[u64]) -> SbiOutcome {
        handle(&call(EID, 0, args), host)
    }

    fn get(host: &MockHost, id: u64) -> SbiOutcome {
        handle(&call(EID, 1, &[id]), host)
    }

    const fn error(error: SbiError) -> SbiOutcome {
        SbiOutcome::error(error)
    }

    #[test]
    fn features_are_fields_of_menvcfg() {
        let host = host();
        host.write_csr(MENVCFG, envcfg::CBZE);
        for (id, field) in [(1, envcfg::LPE), (2, envcfg::SSE), (3, envcfg::DTE), (4, envcfg::ADUE)] {
            assert_eq!(value_of(get(&host, id)), 0, "{id}");
            assert_eq!(set(&host, &[id, 1]), OK);
            assert_eq!((value_of(get(&host, id)), host.csr(MENVCFG)), (1, envcfg::CBZE | field), "{id}");
            assert_eq!(set(&host, &[1 << 32 | id, 0]), OK, "the upper half is no part of the id");
            assert_eq!((value_of(get(&host, id)), host.csr(MENVCFG)), (0, envcfg::CBZE), "{id}");
        }
    }

    #[test]
    fn pointer_masks_are_as_long_as_asked_for_or_longer() {
        let host = host();
        for (asked, got, pmm) in [(0, 0, 0), (1, 7, 2), (7, 7, 2), (8, 16, 3), (16, 16, 3), (0, 0, 0)] {
            assert_eq!(set(&host, &[5, asked]), OK);
            assert_eq!((value_of(get(&host, 5)), host.csr(MENVCFG)), (got, pmm << envcfg::PMM_SHIFT), "{asked}");
        }
        assert_eq!(set(&host, &[5, 17]), error(SbiError::InvalidParam));
        assert_eq!(set(&host, &[5, 1 << 32]), error(SbiError::InvalidParam));
    }

    #[test]
    fn misaligned_accesses_are_delegated_at_first() {
        let host = host();
        assert_eq!(value_of(get(&host, 0)), 1);
        assert_eq!(set(&host, &[0, 0]), OK);
        assert_eq!(value_of(get(&host, 0)), 0);
        assert_eq!(value_of(handle(&call_from(1, EID, 1, &[0]), &host)), 1, "another hart's is its own");
        host.state().reset(0);
        assert_eq!(value_of(get(&host, 0)), 1);
    }

    #[test]
    fn a_locked_feature_stays_until_the_hart_is_reset() {
        let host = host();
        assert_eq!(set(&host, &[4, 1, 1]), OK);
        for (value, flags) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            assert_eq!(set(&host, &[4, value, flags]), error(SbiError::DeniedLocked));
        }
        assert_eq!(value_of(get(&host, 4)), 1);
        assert_eq!(set(&host, &[3, 1, 0]), OK, "the others are not");
        assert_eq!(handle(&call_from(1, EID, 0, &[4, 0, 0]), &host), OK, "nor is it on other harts");
        host.state().reset(0);
        assert_eq!(set(&host, &[4, 0, 0]), OK);
    }

    #[test]
    fn bad_values_and_flags_change_nothing() {
        let host = host();
        for id in 0..=4 {
            let before = value_of(get(&host, id));
            for (value, flags) in [(2, 0), (u64::MAX, 0), (1 << 32, 0), (2, 1), (1 - before, 2), (0, 1 << 32)] {
                assert_eq!(set(&host, &[id, value, flags]), error(SbiError::InvalidParam), "{id} {value} {flags}");
            }
            assert_eq!(value_of(get(&host, id)), before);
            assert_eq!(set(&host, &[id, before, 0]), OK, "a refused lock is none");
        }
    }

    #[test]
    fn reserved_features_are_denied_and_missing_ones_not_supported() {
        let mut host = host();
        for id in [6, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, 0xc000_0000, 0xffff_ffff] {
            assert_eq!(get(&host, id), error(SbiError::Denied), "{id:#x}");
            assert_eq!(set(&host, &[id, 1]), error(SbiError::Denied), "{id:#x}");
        }
        for (id, ext) in [
            (1, Ext::Zicfilp),
            (2, Ext::Zicfiss),
            (3, Ext::Ssdbltrp),
            (4, Ext::Svade),
            (4, Ext::Svadu),
            (5, Ext::Smnpm),
        ] {
            let all = host.isa.clone();
            host.isa.exts.remove(ext);
            assert_eq!(get(&host, id), error(SbiError::NotSupported), "{id}");
            assert_eq!(set(&host, &[id, 2]), error(SbiError::NotSupported), "{id}");
            host.isa = all;
        }
    }
}
