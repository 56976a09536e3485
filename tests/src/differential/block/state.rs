//! The CSRs that a block starts from.

use arch::csr;
use arch::ext::{Ext, SatpMode};

use super::csrs::DELEGABLE;
use super::{Generator, Profile};
use crate::differential::guest::SUPERVISOR_HANDLER;
use crate::differential::paging;
use crate::differential::rng::Rng;

/// What a block starts from, besides its integer and floating-point registers.
pub(super) struct State {
    pub csrs: Vec<u64>,
    pub mode: u64,
    pub translated: bool,
    pub fences_trap: bool,
}

impl Generator {
    pub(super) fn state(&self, rng: &mut Rng, profile: Profile) -> State {
        let mut csrs = vec![0; self.guest.csrs.len()];
        let mut set = |number: u16, value: u64| {
            if let Some(index) = self.guest.csrs.iter().position(|n| *n == number) {
                csrs[index] = value;
            }
        };
        let frm = if rng.one_in(12) { 5 + rng.below(3) } else { rng.below(5) };
        set(csr::FCSR, frm << 5 | if rng.one_in(2) { 0 } else { rng.below(32) });
        let clean: &[u64] = if profile == Profile::Compute { &[1, 2, 3, 3] } else { &[3] };
        let fs = if rng.one_in(24) { 0 } else { rng.pick(clean) };
        let mut mstatus = fs << csr::mstatus::FS_SHIFT;
        set(csr::STIMECMP, u64::MAX);
        set(csr::STVEC, SUPERVISOR_HANDLER);
        // Everything is allowed, unless a block says otherwise.
        set(csr::PMPADDR0, csr::pmpcfg::ADDR);
        set(csr::PMPCFG0, 0x1f);
        let mut mode = 3;
        let mut translated = false;
        if profile != Profile::Compute {
            for number in [csr::SSCRATCH, csr::SEPC, csr::SCAUSE, csr::STVAL] {
                set(number, rng.integer() & if number == csr::SEPC { !1 } else { u64::MAX });
            }
        }
        if profile == Profile::Privileged {
            mode = rng.pick(&[0, 1, 1, 3]);
            let satp = self.satp(rng);
            translated = satp >> 60 != 0;
            set(csr::SATP, satp);
            set(csr::MEDELEG, if rng.one_in(3) { rng.bits() & DELEGABLE } else { 0 });
            set(csr::MCOUNTEREN, rng.below(8));
            set(csr::SCOUNTEREN, rng.below(8));
            let adue = csr::envcfg::ADUE & if self.isa.has(Ext::Svadu) { rng.bits() } else { 0 };
            let pbmte = csr::envcfg::PBMTE & if self.isa.has(Ext::Svpbmt) { rng.bits() } else { 0 };
            let blocks = |rng: &mut Rng| match rng.below(3) {
                0 => 0,
                1 => csr::envcfg::CBIE | csr::envcfg::CBCFE | csr::envcfg::CBZE,
                _ => rng.pick(&[0x10, 0x30, 0x40, 0x80]),
            };
            set(csr::MENVCFG, adue | pbmte | blocks(rng));
            set(csr::SENVCFG, blocks(rng));
            let bits = csr::mstatus::SUM | csr::mstatus::MXR | csr::mstatus::SPP;
            mstatus |= rng.bits() & bits;
            for bit in [csr::mstatus::TVM, csr::mstatus::TSR, csr::mstatus::TW] {
                mstatus |= if rng.one_in(8) { bit } else { 0 };
            }
        }
        if profile == Profile::Vector {
            let vs = if rng.one_in(24) { 0 } else { rng.pick(&[1, 2, 3, 3]) };
            mstatus |= vs << csr::mstatus::VS_SHIFT;
            if rng.one_in(2) {
                mode = 1;
                let satp = self.satp(rng);
                translated = satp >> 60 != 0;
                set(csr::SATP, satp);
                mstatus |= rng.bits() & (csr::mstatus::SUM | csr::mstatus::MXR);
            }
        }
        set(csr::MSTATUS, mstatus | mode << csr::mstatus::MPP_SHIFT);
        State { csrs, mode, translated, fences_trap: mstatus & csr::mstatus::TVM != 0 }
    }

    fn satp(&self, rng: &mut Rng) -> u64 {
        let modes: Vec<_> = [SatpMode::Sv39, SatpMode::Sv48, SatpMode::Sv57]
            .into_iter()
            .filter(|mode| *mode <= self.isa.satp_mode)
            .collect();
        if modes.is_empty() || rng.one_in(8) {
            return 0;
        }
        let mode = rng.pick(&modes);
        mode.encoding() << 60 | rng.below(4) << 44 | paging::root(mode) >> 12
    }
}
