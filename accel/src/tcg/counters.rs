//! What the counters count: instructions and cycles, misses of the TLB; by mode, until they overflow.
//!
//! Nothing is counted where it happens. Generated code keeps the number of retired instructions, the slow path of
//! memory accesses the number of misses, and [`Counting::advance`] adds what has come since the last time to the
//! counters: when a CSR is accessed, when the mode changes and some counter follows it, and when the state is taken.
//! What a counter counts is derived from the CSRs once they are written, so that a hart whose event counters are off
//! pays nothing for them. Rule of this machine: an instruction takes one cycle.
//!
//! An overflow has to interrupt at the instruction that causes it (Sscofpmf). While a counter may overflow before
//! long the hart is *armed*: its blocks, which are then other ones, look at [`Counting::limit`] on entry, and the last
//! instructions before it run one by one.
//!
//! Privileged spec, "Hardware Performance Monitor", "Sscofpmf", "Smcntrpmf".

use arch::csr::{counteren, event, mhpmevent, mip};
use arch::ext::{Ext, IsaConfig};

use super::csr::Gate;
use super::hart::Hart;
use super::translate::MAX_INSNS;
use crate::{CsrState, HartState, Mode};

/// A translation that the TLB did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    Load = 0,
    Store = 1,
    Fetch = 2,
}

/// Overflows further away than this many instructions need no care yet: hours.
const FAR: u64 = 1 << 44;
/// How often a hart with such a counter looks again, in seconds. It cannot execute [`FAR`] instructions meanwhile.
pub const LOOK_AGAIN: u64 = 600;

/// What is counted now; derived from the CSRs and the mode.
#[derive(Debug, Default)]
pub struct Counting {
    /// Counters of instructions and cycles that count in this mode, by their bits of `mcountinhibit`.
    per_insn: u32,
    /// Counters of each kind of miss that count in this mode.
    per_miss: [u32; 3],
    /// What counts depends on the mode.
    by_mode: bool,
    /// There are overflow interrupts.
    overflows: bool,
    /// Some counter may overflow before long, in this mode or another.
    pub armed: bool,
    /// Some counter may overflow, but not soon.
    pub far: bool,
    /// The value of `retired` with which a counter overflows in this mode; `u64::MAX`: none that is armed for does.
    pub limit: u64,
    misses: [u64; 3],
    /// The misses that the counters hold already.
    counted: [u64; 3],
    /// The misses with which a counter overflows.
    miss_limit: [u64; 3],
}

/// The bit that keeps a counter still in the hart's mode.
fn inhibit_bit(s: &HartState) -> u64 {
    match (s.mode, s.virt) {
        (Mode::Machine, _) => mhpmevent::MINH,
        (Mode::Supervisor, false) => mhpmevent::SINH,
        (Mode::User, false) => mhpmevent::UINH,
        (Mode::Supervisor, true) => mhpmevent::VSINH,
        (Mode::User, true) => mhpmevent::VUINH,
    }
}

/// The bits of a set of counters.
fn each(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let i = set.checked_ilog2()?;
        set &= !(1 << i);
        Some(i as usize)
    })
}

/// Counters beyond `mcycle` and `minstret` that are there, by their bits of `mcountinhibit`.
pub fn implemented(isa: &IsaConfig) -> u32 {
    if isa.has(Ext::Zihpm) { isa.pmu_counters & counteren::HPM as u32 } else { 0 }
}

impl Counting {
    /// Follows a change of the CSRs or the mode. The counters hold what happened until `retired` was `counted`.
    pub fn derive(&mut self, s: &HartState, isa: &IsaConfig, counted: u64) {
        let mode = inhibit_bit(s);
        let c = &s.csr;
        let enabled = !c.mcountinhibit;
        self.overflows = isa.has(Ext::Sscofpmf);
        (self.armed, self.far, self.limit, self.miss_limit) = (false, false, u64::MAX, [u64::MAX; 3]);
        let counts = |bit: u64, config: u64| enabled & bit != 0 && config & mode == 0;
        self.by_mode = (c.mcyclecfg | c.minstretcfg) & mhpmevent::INHIBIT != 0;
        self.per_insn =
            u32::from(counts(counteren::CY, c.mcyclecfg)) | u32::from(counts(counteren::IR, c.minstretcfg)) << 2;
        self.per_miss = [0; 3];
        for i in each(implemented(isa) & enabled as u32) {
            let config = c.mhpmevent[i];
            let kind = match config & mhpmevent::EVENT {
                event::CYCLES | event::INSTRUCTIONS => None,
                event::DTLB_READ_MISS => Some(Miss::Load),
                event::DTLB_WRITE_MISS => Some(Miss::Store),
                event::ITLB_READ_MISS => Some(Miss::Fetch),
                _ => continue,
            };
            self.by_mode |= config & mhpmevent::INHIBIT != 0;
            let now = config & mode == 0;
            // Zero has the whole range ahead.
            let left = c.mhpmcounter[i].wrapping_neg();
            let overflows = self.overflows && config & mhpmevent::OF == 0 && left != 0;
            match kind {
                None => {
                    self.per_insn |= u32::from(now) << i;
                    self.armed |= overflows && left <= FAR;
                    self.far |= overflows && left > FAR;
                    if overflows && now && left <= FAR {
                        self.limit = self.limit.min(counted.wrapping_add(left));
                    }
                }
                Some(miss) => {
                    let miss = miss as usize;
                    self.per_miss[miss] |= u32::from(now) << i;
                    if overflows && now {
                        let limit = self.counted[miss].saturating_add(left);
                        self.miss_limit[miss] = self.miss_limit[miss].min(limit);
                    }
                }
            }
        }
    }

    /// Whether the mode decides what is counted.
    #[inline]
    pub fn follows_mode(&self) -> bool {
        self.by_mode
    }

    /// Counts `n` instructions and the misses since the last time, but not in the counters of `except`. Says whether
    /// an overflow asked for an interrupt; then it has to be derived anew.
    fn advance(&mut self, c: &mut CsrState, n: u64, except: u32) -> bool {
        let set = self.per_insn & !except;
        if set & 1 != 0 {
            c.mcycle = c.mcycle.wrapping_add(n);
        }
        if set & 4 != 0 {
            c.minstret = c.minstret.wrapping_add(n);
        }
        let mut overflown = false;
        for i in each(set & !7) {
            overflown |= self.add(c, i, n);
        }
        for miss in 0..3 {
            let n = self.misses[miss] - self.counted[miss];
            if n != 0 {
                self.counted[miss] = self.misses[miss];
                for i in each(self.per_miss[miss] & !except) {
                    overflown |= self.add(c, i, n);
                }
            }
        }
        overflown
    }

    /// Adds to counter `i`.
    fn add(&self, c: &mut CsrState, i: usize, n: u64) -> bool {
        let (sum, carry) = c.mhpmcounter[i].overflowing_add(n);
        c.mhpmcounter[i] = sum;
        let overflown = carry && self.overflows && c.mhpmevent[i] & mhpmevent::OF == 0;
        if overflown {
            c.mhpmevent[i] |= mhpmevent::OF;
            c.mip |= mip::LCOFIP;
        }
        overflown
    }
}

impl Hart {
    /// Makes the counters hold all instructions that retired. Not for helpers: those before in the block have not yet.
    pub fn fold_counters(&mut self) {
        self.fold_to(self.retired);
    }

    /// As [`Hart::fold_counters`], at the instruction that calls out: the ones before it in its block count.
    pub fn fold_to_current(&mut self) {
        self.fold_to(self.retired.wrapping_add(u64::from(self.cur >> 16)));
    }

    fn fold_to(&mut self, retired: u64) {
        let n = retired.wrapping_sub(self.counted);
        self.counted = retired;
        if self.counting.advance(&mut self.s.csr, n, 0) {
            self.recount();
            self.poll_interrupts();
        }
    }

    /// The current instruction, which [`Hart::fold_to_current`] has led up to, wrote a CSR of the counters: it counts
    /// itself by the old rule, but in the counters of `written`, whose new values the next instruction reads.
    pub fn counters_written(&mut self, written: u32) {
        self.counted = self.counted.wrapping_add(1);
        if self.counting.advance(&mut self.s.csr, 1, written) {
            self.poll_interrupts();
        }
        self.recount();
        if self.counting.far {
            self.arm_timer();
        }
    }

    /// Derives what is counted anew; the counters are up to date.
    pub fn recount(&mut self) {
        self.counting.derive(&self.s, &self.vm.isa, self.counted);
        // Blocks look at the limit, which is that of the timers, too.
        self.counting.armed |= self.drives_clock;
        // As long as a counter follows the instructions it is this far from them.
        self.cycle_offset = self.s.csr.mcycle.wrapping_sub(self.counted);
        self.instret_offset = self.s.csr.minstret.wrapping_sub(self.counted);
        self.selections.forget();
        self.shut_gates();
    }

    /// The counters that do not follow the instructions now, by their gates.
    pub fn uncounted(&self) -> u8 {
        let shut = |bit: u32, gate: Gate| if self.counting.per_insn & bit != 0 { 0 } else { gate as u8 };
        shut(1, Gate::Cycle) | shut(4, Gate::Instret)
    }

    /// The mode has changed after the last retired instruction.
    #[inline]
    pub fn counters_see_mode(&mut self) {
        if self.counting.by_mode {
            self.fold_counters();
            self.recount();
        }
    }

    /// The limit was reached, or a poll asks to look.
    pub fn look_at_counters(&mut self) {
        self.fold_counters();
        if self.counting.far {
            self.recount();
        }
    }

    /// On entry to a block of an armed hart: the instructions before an overflow run one by one.
    pub fn check_limit(&mut self) {
        if self.counting.limit.min(self.timer_limit).saturating_sub(self.retired) < u64::from(MAX_INSNS) {
            self.leave_to_interpreter();
        }
    }

    pub fn count_miss(&mut self, miss: Miss) {
        let c = &mut self.counting;
        let n = &mut c.misses[miss as usize];
        *n += 1;
        if *n >= c.miss_limit[miss as usize] {
            self.poll_interrupts();
        }
    }
}
