//! Physical memory protection: which bytes a mode may touch, and how.
//!
//! Functions of the registers as they stand; callers cache the answers per page and forget them after a CSR write
//! that reports [`CsrEffect::PMP`](crate::tcg::csr::CsrEffect::PMP). The grain is four bytes (G = 0).
//! Not here: the rules for writing the registers (`csr/pmp.rs`).
//!
//! Privileged spec, "Physical Memory Protection".

use arch::csr::pmpcfg;
use arch::ext::IsaConfig;

use super::walk::{Access, Perms};
use crate::{HartState, Mode, PmpState};

/// An entry that can match: the bytes `lo .. hi`, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    lo: u64,
    hi: u64,
    perms: Perms,
    locked: bool,
}

impl Range {
    /// What the entry grants an access of `mode` that it matches.
    fn grants(&self, mode: Mode) -> Perms {
        if mode == Mode::Machine && !self.locked { Perms::RWX } else { self.perms }
    }
}

/// What PMP says of a whole region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every access inside the region is allowed exactly as these say.
    Uniform(Perms),
    /// An entry begins or ends inside: each access has to be checked by itself.
    SubPage,
}

impl Verdict {
    /// Whether an access to the whole region is allowed. Over [`Verdict::SubPage`] none is: the first entry that
    /// matches a byte does not match them all.
    pub fn allows(self, access: Access) -> bool {
        match self {
            Verdict::Uniform(perms) => perms.contains(access.needs()),
            Verdict::SubPage => false,
        }
    }
}

/// Whether `mode` may access the `len` bytes from `pa`; `len` is not zero.
pub fn check(s: &HartState, isa: &IsaConfig, pa: u64, len: u64, access: Access, mode: Mode) -> bool {
    verdict(&s.csr.pmp, isa.pmp_entries, pa, len, mode).allows(access)
}

/// The verdict on the 4 KiB page that holds `pa`, for accesses that stay inside it.
pub fn page_verdict(s: &HartState, isa: &IsaConfig, pa: u64, mode: Mode) -> Verdict {
    verdict(&s.csr.pmp, isa.pmp_entries, pa & !0xfff, 0x1000, mode)
}

/// The verdict on the `len` bytes from `pa` (`len` is not zero), with the first `entries` registers implemented.
pub fn verdict(regs: &PmpState, entries: u8, pa: u64, len: u64, mode: Mode) -> Verdict {
    let last = pa.saturating_add(len - 1);
    let entries = usize::from(entries).min(regs.cfg.len());
    for i in (0..entries).filter(|&i| matching(regs.cfg[i]) != pmpcfg::OFF) {
        if let Some(r) = range(regs, i).filter(|r| r.lo <= last && pa < r.hi) {
            let whole = r.lo <= pa && last < r.hi;
            return if whole { Verdict::Uniform(r.grants(mode)) } else { Verdict::SubPage };
        }
    }
    // S and U have nothing by default, but without any entry there is nothing to protect.
    let open = mode == Mode::Machine || entries == 0;
    Verdict::Uniform(if open { Perms::RWX } else { Perms::empty() })
}

/// Field A of an entry.
pub fn matching(cfg: u8) -> u8 {
    (cfg & pmpcfg::A) >> pmpcfg::A_SHIFT
}

/// The bytes that entry `i` matches; `None` if it is off or empty.
fn range(regs: &PmpState, i: usize) -> Option<Range> {
    let cfg = regs.cfg[i];
    let addr = regs.addr[i] & pmpcfg::ADDR;
    let (lo, hi) = match matching(cfg) {
        pmpcfg::TOR => (if i == 0 { 0 } else { (regs.addr[i - 1] & pmpcfg::ADDR) << 2 }, addr << 2),
        pmpcfg::NA4 => (addr << 2, (addr << 2) + 4),
        pmpcfg::NAPOT => {
            // The lowest zero bit marks the size: yyy0 is 8 bytes, yy01 is 16 ...
            let ones = addr.trailing_ones();
            let size = 8 << ones;
            let lo = (addr << 2) & !(size - 1);
            (lo, lo + size)
        }
        _ => return None,
    };
    let perms = Perms::from_bits_truncate(cfg & (pmpcfg::R | pmpcfg::W | pmpcfg::X));
    (lo < hi).then_some(Range { lo, hi, perms, locked: cfg & pmpcfg::L != 0 })
}
