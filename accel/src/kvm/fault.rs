//! Faults of instructions that KVM leaves to us and that nothing answers. KVM has no call for such a trap, so that it is
//! made here, as the specification has the hart take it: a load or store access fault at the instruction, with its
//! virtual address; an illegal instruction, with its encoding.
//!
//! Privileged spec, "Supervisor Cause Register (scause)".

use std::sync::atomic::Ordering;

use arch::ext::IsaConfig;
use arch::isa::{Decoder, insn_len};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::tcg::mmu::walk::{Access, PhysMem, Regime, translate};
use crate::tcg::tinst::displacement;
use crate::tcg::trap::{Trap, take_trap};
use crate::{GuestRam, HartState};

/// Guest RAM as page tables are read from it; only asked, never changed.
struct Tables<'a>(&'a GuestRam);

impl PhysMem for Tables<'_> {
    fn read_pte(&self, pa: u64) -> Option<u64> {
        self.0.load(GuestAddress(pa), Ordering::Acquire).ok()
    }

    fn cas_pte(&self, _: u64, _: u64, _: u64) -> Option<bool> {
        None
    }
}

/// Puts the hart, which stands at a load or store that nothing answers, into its trap handler.
pub fn take(s: &mut HartState, isa: &IsaConfig, ram: &GuestRam, access: Access) {
    // The address is the instruction's; where that cannot be read any more (another hart has changed it), none is told.
    let va = address(s, isa, ram).unwrap_or(0);
    let epc = s.pc;
    take_trap(s, isa, access.access_fault(va), epc);
}

/// The same for an instruction that names a CSR that there is not.
pub fn take_illegal(s: &mut HartState, isa: &IsaConfig, ram: &GuestRam) {
    let (trap, epc) = (Trap::illegal(instruction(s, isa, ram).unwrap_or(0)), s.pc);
    take_trap(s, isa, trap, epc);
}

/// The same for a fetch, if the pc leads to where there is no RAM. Whether it does.
pub fn take_fetch(s: &mut HartState, isa: &IsaConfig, ram: &GuestRam) -> bool {
    let nowhere = |va| match place(s, isa, ram, va) {
        Some(pa) => !ram.address_in_range(GuestAddress(pa)),
        None => false,
    };
    // The second half of an instruction may be the one that is missing; `epc` is the instruction's.
    let Some(va) = [s.pc, s.pc.wrapping_add(2)].into_iter().find(|va| nowhere(*va)) else { return false };
    let epc = s.pc;
    take_trap(s, isa, Access::Fetch.access_fault(va), epc);
    true
}

/// Where `va` is in physical memory, for execution.
fn place(s: &HartState, isa: &IsaConfig, ram: &GuestRam, va: u64) -> Option<u64> {
    let regime = Regime { dry: true, ..Regime::fetch(s, isa) };
    Some(translate(&regime, &Tables(ram), va, Access::Fetch).ok()?.pa)
}

/// The virtual address of the load or store at the pc.
fn address(s: &HartState, isa: &IsaConfig, ram: &GuestRam) -> Option<u64> {
    let raw = instruction(s, isa, ram)?;
    let insn = Decoder::new(isa).decode(raw)?;
    Some(s.x[usize::from(insn.rs1)].wrapping_add(displacement(&insn, raw)))
}

/// The instruction at the pc.
fn instruction(s: &HartState, isa: &IsaConfig, ram: &GuestRam) -> Option<u32> {
    let half = |va| ram.read_obj::<u16>(GuestAddress(place(s, isa, ram, va)?)).ok();
    let low = half(s.pc)?;
    let high = if insn_len(low) == 4 { half(s.pc.wrapping_add(2))? } else { 0 };
    Some(u32::from(low) | u32::from(high) << 16)
}

#[cfg(test)]
mod tests {
    use arch::csr::{mstatus, satp};
    use arch::pte;

    use super::*;
    use crate::Mode;
    use crate::tcg::csr::reset_supervisor;

    const RAM: u64 = 0x8000_0000;

    fn ram() -> GuestRam {
        GuestRam::from_ranges(&[(GuestAddress(RAM), 1 << 20)]).unwrap()
    }

    #[test]
    fn a_load_of_nowhere_traps_with_its_address() {
        let (ram, isa) = (ram(), IsaConfig::default());
        // ld a0, -8(a1)
        ram.write_obj(0xff85_b503u32, GuestAddress(RAM + 0x1000)).unwrap();
        let mut s = reset_supervisor(&isa, 0, RAM + 0x1000, 0);
        (s.x[11], s.csr.stvec) = (0x1000_0008, RAM + 0x2000);
        take(&mut s, &isa, &ram, Access::Load);
        assert_eq!((s.pc, s.csr.sepc, s.csr.scause, s.csr.stval), (RAM + 0x2000, RAM + 0x1000, 5, 0x1000_0000));
        assert_eq!(s.csr.mstatus & mstatus::SPP, mstatus::SPP);
    }

    #[test]
    fn an_unknown_csr_is_an_illegal_instruction() {
        let (ram, isa) = (ram(), IsaConfig::default());
        // csrrw a4, stopei, zero
        ram.write_obj(0x15c0_1773u32, GuestAddress(RAM + 0x1000)).unwrap();
        let mut s = reset_supervisor(&isa, 0, RAM + 0x1000, 0);
        s.csr.stvec = RAM + 0x2000;
        take_illegal(&mut s, &isa, &ram);
        assert_eq!((s.pc, s.csr.sepc, s.csr.scause, s.csr.stval), (RAM + 0x2000, RAM + 0x1000, 2, 0x15c0_1773));
    }

    #[test]
    fn a_fetch_of_nowhere_traps_and_others_are_left_alone() {
        let (ram, isa) = (ram(), IsaConfig::default());
        let start = |pc| {
            let mut s = reset_supervisor(&isa, 0, pc, 0);
            s.csr.stvec = RAM + 0x2000;
            s
        };
        for (pc, tval) in [(0x4000_0000, 0x4000_0000), (RAM + (1 << 20) - 2, RAM + (1 << 20))] {
            let mut s = start(pc);
            assert!(take_fetch(&mut s, &isa, &ram));
            assert_eq!((s.pc, s.csr.sepc, s.csr.scause, s.csr.stval), (RAM + 0x2000, pc, 1, tval));
        }
        let mut s = start(RAM + 0x1000);
        assert!(!take_fetch(&mut s, &isa, &ram));
        assert_eq!(s, start(RAM + 0x1000));
    }

    #[test]
    fn the_instruction_is_found_through_the_guests_tables() {
        let (ram, isa) = (ram(), IsaConfig::default());
        // One page of 1 GiB, executable by U-mode, at virtual 0.
        let entry = pte::V | pte::R | pte::W | pte::X | pte::U | pte::A | pte::D | (RAM >> 12) << 10;
        ram.write_obj(entry, GuestAddress(RAM + 0x3000)).unwrap();
        // c.sw a2, 4(a0)
        ram.write_obj(0xc150u16, GuestAddress(RAM + 0x1000)).unwrap();
        let mut s = reset_supervisor(&isa, 0, 0x1000, 0);
        s.mode = Mode::User;
        (s.x[10], s.csr.satp) = (0x7000_0000, 8 << satp::MODE_SHIFT | (RAM + 0x3000) >> 12);
        take(&mut s, &isa, &ram, Access::Store);
        assert_eq!((s.mode, s.csr.scause, s.csr.stval), (Mode::Supervisor, 7, 0x7000_0004));
    }
}
