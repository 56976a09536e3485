//! What a sample has of the guest's memory: who called, and what runs.

use std::sync::atomic::Ordering;

use arch::ext::IsaConfig;
use vm_memory::{Bytes, GuestAddress};

use super::{Activity, Memory, NAME, ProfileConfig, Registers, Sample, unwind};
use crate::debug::physical_address;
use crate::{GuestRam, HartState, Mode};

/// Memory as the hart's data accesses have it, without faults. The last page is remembered.
pub(crate) struct Pages<'a> {
    pub state: &'a HartState,
    pub isa: &'a IsaConfig,
    pub ram: &'a GuestRam,
    page: Option<(u64, u64)>,
}

impl<'a> Pages<'a> {
    pub fn of(state: &'a HartState, isa: &'a IsaConfig, ram: &'a GuestRam) -> Self {
        Self { state, isa, ram, page: None }
    }
}

impl Memory for Pages<'_> {
    fn read(&mut self, va: u64) -> Option<u64> {
        let page = va & !0xfff;
        let pa = match self.page {
            Some((known, pa)) if known == page => pa,
            _ => {
                let pa = physical_address(self.state, self.isa, self.ram, page)?;
                self.page = Some((page, pa));
                pa
            }
        };
        self.ram.load(GuestAddress(pa | va & 0xff8), Ordering::Relaxed).ok()
    }
}

/// Fills in the task and its name, and who called the function at `sample.pc`; the activity and the mode are there.
pub(crate) fn look(
    sample: &mut Sample,
    registers: &Registers,
    sscratch: u64,
    config: &ProfileConfig,
    memory: &mut impl Memory,
) {
    sample.name = [0; NAME];
    (sample.depth, sample.ra) = (0, 0);
    if sample.virt {
        // Two stages and another kernel: what is there is not known.
        sample.task = 0;
        return;
    }
    sample.task = if sample.mode == Mode::User { sscratch } else { registers.tp };
    let offset = config.name_offset.load(Ordering::Relaxed);
    if offset != 0 && sample.task & 7 == 0 && sample.task != 0 {
        for (n, part) in sample.name.chunks_exact_mut(8).enumerate() {
            let at = sample.task.wrapping_add(u64::from(offset) + 8 * n as u64);
            part.copy_from_slice(&memory.read(at).unwrap_or(0).to_le_bytes());
        }
    }
    if sample.activity != Activity::Idle {
        unwind(sample, registers, memory);
    }
}
