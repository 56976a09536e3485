//! Pointer masking: the upper bits of the address of an explicit load or store do not count.
//!
//! A masked address is as if an instruction before had replaced those bits: in a virtual address by copies of the bit
//! below them, in a physical one by zeros. Fetches and accesses to page tables are not masked. Generated code knows
//! nothing of it: a tagged address misses the TLB, is masked on the slow path, and enters the TLB under its tag, so that
//! the next access with the same tag hits. Pages that are used with several tags at a time take turns in their slot.
//!
//! Privileged spec, "Pointer Masking Extensions" (Smmpm, Smnpm, Ssnpm).

use arch::csr::{envcfg, hstatus, misa, mstatus};

use super::walk::data_mode;
use crate::tcg::trap::data_virt;
use crate::{HartState, Mode};

/// What is done to addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PointerMask {
    /// PMLEN: 0, 7 or 16.
    len: u8,
    /// The address is virtual.
    extends_sign: bool,
}

impl PointerMask {
    /// Of loads and stores: by the effective privilege mode.
    pub fn of(s: &HartState) -> Self {
        let (mode, virt, c) = (data_mode(s), data_virt(s), &s.csr);
        let pmm = match mode {
            Mode::Machine => c.mseccfg,
            Mode::Supervisor if virt => c.henvcfg,
            Mode::Supervisor => c.menvcfg,
            Mode::User if c.misa & misa::letter('S') == 0 => c.menvcfg,
            Mode::User => c.senvcfg,
        };
        Self::new(s, pmm & envcfg::PMM, mode, virt)
    }

    /// Of HLV and HSV. HLVX is never masked.
    pub fn of_guest_access(s: &HartState) -> Self {
        let c = &s.csr;
        let (mode, pmm) = match c.hstatus & hstatus::SPVP {
            0 if s.mode == Mode::User => (Mode::User, (c.hstatus & hstatus::HUPMM) >> HUPMM_TO_PMM),
            0 => (Mode::User, c.senvcfg),
            _ => (Mode::Supervisor, c.henvcfg),
        };
        Self::new(s, pmm & envcfg::PMM, mode, true)
    }

    fn new(s: &HartState, pmm: u64, mode: Mode, virt: bool) -> Self {
        let c = &s.csr;
        let len = match pmm >> envcfg::PMM_SHIFT {
            2 => 7,
            3 => 16,
            _ => return Self::default(),
        };
        // Where MXR is in effect nothing is masked, translated or not.
        let mxr = c.mstatus | if virt { c.vsstatus } else { 0 };
        if mxr & mstatus::MXR != 0 {
            return Self::default();
        }
        let satp = if virt { c.vsatp } else { c.satp };
        Self { len, extends_sign: mode != Mode::Machine && satp >> 60 != 0 }
    }

    /// The address that is accessed.
    pub fn apply(self, va: u64) -> u64 {
        let up = va << self.len;
        if self.extends_sign { (up as i64 >> self.len) as u64 } else { up >> self.len }
    }

    /// As part of a TLB context's key.
    pub fn bits(self) -> u8 {
        self.len
    }
}

/// Distance of HUPMM from PMM.
const HUPMM_TO_PMM: u32 = hstatus::HUPMM_SHIFT - envcfg::PMM_SHIFT;

#[cfg(test)]
mod tests {
    use super::*;
    use arch::csr::mstatus::MXR;

    const PMM7: u64 = 2 << envcfg::PMM_SHIFT;
    const PMM16: u64 = 3 << envcfg::PMM_SHIFT;

    #[test]
    fn the_example_of_the_specification() {
        let virt = PointerMask { len: 7, extends_sign: true };
        assert_eq!(virt.apply(0xabff_ffff_1234_5678), 0xffff_ffff_1234_5678);
        let physical = PointerMask { len: 7, extends_sign: false };
        assert_eq!(physical.apply(0xabff_ffff_1234_5678), 0x01ff_ffff_1234_5678);
        assert_eq!(PointerMask::default().apply(u64::MAX), u64::MAX);
    }

    /// A hart where every mode has a setting of its own.
    fn hart(mode: Mode, virt: bool) -> HartState {
        let mut s = HartState { mode, virt, ..HartState::default() };
        s.csr.misa = misa::letter('S') | misa::letter('U');
        (s.csr.mseccfg, s.csr.menvcfg, s.csr.henvcfg, s.csr.senvcfg) = (PMM16, PMM7, PMM16, PMM7);
        s
    }

    #[test]
    fn each_mode_has_its_register() {
        let of = |mode, virt| PointerMask::of(&hart(mode, virt)).bits();
        assert_eq!(of(Mode::Machine, false), 16);
        assert_eq!(of(Mode::Supervisor, false), 7);
        assert_eq!(of(Mode::Supervisor, true), 16);
        assert_eq!((of(Mode::User, false), of(Mode::User, true)), (7, 7));
        let mut s = hart(Mode::User, false);
        s.csr.senvcfg = 0;
        assert_eq!(PointerMask::of(&s).bits(), 0);
        s.csr.misa = misa::letter('U');
        assert_eq!(PointerMask::of(&s).bits(), 7);
    }

    #[test]
    fn mprv_counts_and_mxr_ends_it() {
        let mut s = hart(Mode::Machine, false);
        s.csr.satp = 8 << 60;
        s.csr.mstatus = mstatus::MPRV | 1 << mstatus::MPP_SHIFT;
        assert_eq!(PointerMask::of(&s), PointerMask { len: 7, extends_sign: true });
        s.csr.mstatus |= MXR;
        assert_eq!(PointerMask::of(&s), PointerMask::default());
        let mut s = hart(Mode::Supervisor, true);
        s.csr.vsstatus = MXR;
        assert_eq!(PointerMask::of(&s), PointerMask::default());
        s.virt = false;
        assert_eq!(PointerMask::of(&s).bits(), 7);
    }

    #[test]
    fn accesses_for_a_guest_are_masked_as_its_own() {
        let mut s = hart(Mode::Supervisor, false);
        s.csr.vsatp = 8 << 60;
        assert_eq!(PointerMask::of_guest_access(&s), PointerMask { len: 7, extends_sign: true });
        s.csr.hstatus = hstatus::SPVP;
        assert_eq!(PointerMask::of_guest_access(&s).bits(), 16);
        s.mode = Mode::User;
        s.csr.hstatus = 3 << hstatus::HUPMM_SHIFT;
        assert_eq!(PointerMask::of_guest_access(&s).bits(), 16);
        s.csr.hstatus = 0;
        assert_eq!(PointerMask::of_guest_access(&s).bits(), 0);
    }
}
