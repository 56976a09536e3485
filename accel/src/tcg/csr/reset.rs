//! What a hart is when it comes out of reset, and when a supervisor execution environment starts it.

use arch::cause::Exception;
use arch::csr::{envcfg, pmpcfg};
use arch::ext::{Ext, IsaConfig};

use super::{interrupt, status};
use crate::{CsrState, HartState, Mode};

/// Where M-mode starts: the board's boot ROM.
const RESET_VECTOR: u64 = 0x1000;

/// The M-mode hart: in the boot ROM, no translation, nothing enabled, delegated or protected.
pub fn reset(isa: &IsaConfig, hart_id: u64) -> HartState {
    HartState {
        pc: RESET_VECTOR,
        mode: Mode::Machine,
        csr: CsrState {
            hart_id,
            mstatus: status::at_reset(isa),
            misa: isa.misa(),
            menvcfg: initial_menvcfg(isa),
            // Never, until somebody asks for it.
            stimecmp: u64::MAX,
            ..CsrState::default()
        },
        ..HartState::default()
    }
}

/// Software that does not know `menvcfg` gets the extensions that the hart advertises: memory types always, and
/// hardware updates of A and D if it was not also promised faults (Svade).
fn initial_menvcfg(isa: &IsaConfig) -> u64 {
    let pbmte = if isa.has(Ext::Svpbmt) { envcfg::PBMTE } else { 0 };
    let adue = if isa.has(Ext::Svadu) && !isa.has(Ext::Svade) { envcfg::ADUE } else { 0 };
    pbmte | adue
}

/// The S-mode hart as SBI starts it (SBI spec, "Hart State Management"): at `pc` with `a0` the hart id and `a1`
/// as given, no translation and no interrupts. M-mode is where software would leave it: all that S-mode can be given
/// is given. ECALL from S-mode alone is not delegated: it is for whoever answers SBI calls.
pub fn reset_supervisor(isa: &IsaConfig, hart_id: u64, pc: u64, a1: u64) -> HartState {
    let mut s = reset(isa, hart_id);
    s.pc = pc;
    s.mode = Mode::Supervisor;
    s.x[10] = hart_id;
    s.x[11] = a1;
    s.csr.medeleg = interrupt::DELEGABLE_EXCEPTIONS & !Exception::EcallFromS.bit();
    s.csr.mideleg = interrupt::DELEGABLE_INTERRUPTS;
    s.csr.mcounteren = u64::from(u32::MAX);
    s.csr.scounteren = u64::from(u32::MAX);
    let cache_ops = envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE;
    s.csr.menvcfg |= (cache_ops | envcfg::STCE) & super::envcfg::writable(isa);
    if isa.pmp_entries > 0 {
        s.csr.pmp.cfg[0] = pmpcfg::NAPOT << pmpcfg::A_SHIFT | pmpcfg::R | pmpcfg::W | pmpcfg::X;
        s.csr.pmp.addr[0] = pmpcfg::ADDR;
    }
    s
}
