//! A hart of the translator: architectural state first, then what generated code reaches by fixed offsets,
//! then the Rust side.
//!
//! Only the vCPU's own thread touches a [`Hart`]; other threads reach its [`HartShared`], which stands beside
//! it in one [`HartBox`] so that generated code polls it by a fixed offset too.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::cfi::flags;
use super::code_cache::CodeCache;
use super::code_cache::idle::Idle;
use super::context::Selections;
use super::counters::{self, Counting};
use super::csr::{self, CsrEffect, CsrEnv, CsrOp, Denied, Live, status};
use super::helpers::vector::{VectorUnit, assumed};
use super::interrupts::{self, World};
use super::ir::{TEMPS, fp_check};
use super::mmu::pmp::Windows;
use super::mmu::pointer_mask::PointerMask;
use super::mmu::recent::PageChanges;
use super::mmu::tlb::{Tables, Tlb};
use super::observe::stats::Stats;
use super::observe::trace::Tracing;
use super::smp::{HartShared, LineState, POLL_IRQ, VmShared};
use super::stops::{self, Stops};
use super::triggers::{self, Armed};
use super::{TcgOptions, ctr, exec, rnmi, tinst, trap};
use crate::{HartState, Imsic, Mode, MpState};
use arch::csr::mstatus;
use arch::ext::{Ext, IsaConfig};

/// Why generated code, or a helper, went back to the run loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Exit {
    /// Not leaving: what helpers see while code runs.
    None = 0,
    /// `s.pc` holds where to go on; look the block up.
    Resume = 1,
    /// As `Resume`, after an indirect or cross-page jump that missed the jump cache.
    Lookup = 2,
    /// A direct jump in the same page that is not linked yet; `link` names it.
    Link = 3,
    /// A poll bit was seen; `s.pc` holds where to go on.
    Poll = 4,
    /// `ecall` for the built-in SBI; `s.pc` is past it.
    Sbi = 5,
    /// WFI; `s.pc` is past it.
    Wfi = 6,
    /// Generated code cannot do the instruction at `s.pc`: the interpreter has to.
    Interpret = 7,
    /// As `Resume`, where the run loop would do nothing but look the block up: generated code goes on by the jump cache.
    Jump = 8,
    /// A jump back in the page of the code, to `s.pc`, was taken often; `hot` names it.
    Hot = 9,
    /// A debugger wants the hart before the instruction at `s.pc`.
    Debug = 10,
}

impl Exit {
    pub const COUNT: usize = 11;
    /// What the statistics call them, by number.
    pub const NAMES: [&str; Self::COUNT] = [
        "",
        "trap, xRET or change of mode",
        "jump cache missed",
        "link missing",
        "poll",
        "SBI call",
        "WFI",
        "interpreter",
        // Generated code goes on by the jump cache.
        "",
        "hot loop",
        "debugger",
    ];
}

/// `res_addr` while there is no reservation.
pub const NO_RESERVATION: u64 = u64::MAX;

/// Constants of generated floating-point code, 16 bytes each, in the order of [`FConst`].
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct FpConstants([[u64; 2]; 9]);

/// Numbers of [`FP_CONSTANTS`]. What is for singles leaves the upper half of 64 bits alone where it is a mask.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for generated code, which this host has not"))]
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub enum FConst {
    /// The upper half of a NaN-boxed single.
    Box,
    /// The sign, and all but the sign.
    SignDouble,
    RestDouble,
    SignSingle,
    RestSingle,
    /// The largest numbers that no rounding mode takes beyond a u32 or an i64.
    LargestWuDouble,
    LargestWuSingle,
    LargestLDouble,
    LargestLSingle,
}

pub const FP_CONSTANTS: FpConstants = FpConstants([
    [u64::MAX << 32, 0],
    [1 << 63, 0],
    [u64::MAX >> 1, 0],
    [1 << 31, 0],
    [!(1 << 31), 0],
    [4_294_967_295f64.to_bits(), 0],
    [4_294_967_040f32.to_bits() as u64, 0],
    [9_223_372_036_854_774_784f64.to_bits(), 0],
    [9_223_371_487_098_961_920f32.to_bits() as u64, 0],
]);

/// What generated code looks up to read and write `fcsr`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct FcsrTables {
    /// MXCSR with a rounding mode, and nothing else.
    pub mxcsr: [u32; 8],
    /// The bits of `Hart::fp_missing` that a rounding mode sets.
    pub missing: [u8; 8],
    /// `fflags` from the six flags of MXCSR.
    pub fflags: [u8; 64],
}

impl Default for FcsrTables {
    fn default() -> Self {
        Self {
            mxcsr: std::array::from_fn(|frm| mxcsr_for((frm as u64) << 5) & 3 << 13),
            missing: std::array::from_fn(|frm| missing_frm(frm as u64)),
            fflags: std::array::from_fn(|flags| mxcsr_to_fflags(flags as u32) as u8),
        }
    }
}

/// What the rounding mode `frm` contributes to `Hart::fp_missing`.
fn missing_frm(frm: u64) -> u8 {
    let flag = |missing, check| if missing { check } else { 0 };
    flag(frm > 3, fp_check::NATIVE_FRM) | flag(frm != 0, fp_check::NEAREST_FRM)
}

/// A hart. Generated code's base register points 128 bytes in, so that what every block needs and all of `s.x` but its end
/// is within a byte's displacement.
#[repr(C)]
pub struct Hart {
    /// Instructions retired since the hart was made.
    pub retired: u64,
    /// The instruction that called out: offset in the page | instructions of the block before it << 16.
    pub cur: u32,
    pub exit: Exit,
    /// Virtual address of the page in which the current block stands.
    pub page_base: u64,
    pub s: HartState,
    /// Arrays of the current TLB context.
    pub tables: *mut Tables,
    /// Floating-point checks that would fail now, see `ir::fp_check`.
    pub fp_missing: u8,
    /// What generated vector code compares with a constant, see `helpers::vector::assumed`.
    pub vector_word: u32,
    /// The interpreter runs the hart, for good or for one instruction.
    pub interpreting: bool,
    /// CSRs that generated code reads by a call in this mode, by the bits of `csr::Gate`.
    pub by_call: u8,
    /// Some interrupt may be pending and enabled, whatever the global enables say: who sets one of those has to look.
    pub held: bool,
    /// What `cycle` and `instret` are besides `retired`, while their gates are open.
    pub cycle_offset: u64,
    pub instret_offset: u64,
    /// Host address of the reserved word, bit 0 set for a word and bit 1 for a doubleword.
    pub res_addr: u64,
    pub res_value: u64,
    /// `retired` when the block of the last LR was left by a quiet way, and LRs from here on that have to be exact; see
    /// `reservation`.
    pub res_left: u64,
    pub exact_lrs: u32,
    /// `Ram::device_writes` before an exact LR.
    pub res_version: u32,
    /// The last LR was exact.
    pub res_exact: bool,
    /// Which direct jump wants to be linked.
    pub link: u32,
    /// Guest's MXCSR: rounding mode and sticky flags.
    pub mxcsr: u32,
    pub host_mxcsr: u32,
    /// The host's stack pointer while a block runs that no frame of the return stack lies above.
    pub stack_base: u64,
    /// How often the accesses of loops changed their pages.
    pub page_changes: PageChanges,
    /// Addends that accesses of the block share, 0 for none; Rust leaves none behind.
    pub covers: [u64; COVERS],
    pub temps: [u64; TEMPS],
    /// For the operands of instructions.
    pub fp_constants: FpConstants,
    pub fcsr_tables: FcsrTables,
    /// The counted jump that was taken often.
    pub hot: HotJump,
    /// How often counted jumps are still to be taken; some may share one.
    pub heat: [i32; HEATS],
    /// Where generated code has called Rust: an address in it, or one of [`called_from`]; kept while the hart is sampled.
    pub called_from: u64,

    // The Rust side.
    pub id: u32,
    /// A loop that is to be translated without recent pages, once it is left, and the offset of the access that is why.
    pub scattering: Option<(u64, BlockMode, u16)>,
    pub tlb: Tlb,
    pub pmp: Windows,
    /// Of loads and stores, by the state of the last [`Hart::select_context`].
    pub mask: PointerMask,
    /// What of control-flow integrity is on (`cfi::flags`), likewise.
    pub cfi: u8,
    pub selections: Selections,
    /// No triggers are set up, likewise.
    pub unwatched: bool,
    /// The options let blocks lead to each other.
    pub direct: bool,
    /// What triggers are after, likewise.
    pub armed: Armed,
    /// What a debugger is after.
    pub stops: Stops,
    /// Triggers or a debugger look at code somewhere.
    pub code_watched: bool,
    /// Triggers that the current instruction wrote, a bit each.
    pub written_triggers: u8,
    pub code: CodeCache,
    /// When to do without it.
    pub idle: Idle,
    pub vm: Arc<VmShared>,
    pub shared: Arc<HartBox>,
    /// A result that the run loop has to write to an x register because the block was left.
    pub late: Option<(u8, u64)>,
    /// `retired` when the counters in `s.csr` were last exact.
    pub counted: u64,
    pub counting: Counting,
    /// Instructions are the clock.
    pub drives_clock: bool,
    /// Then: the value of `retired` with which the next timer's deadline comes; `u64::MAX`: never.
    pub timer_limit: u64,
    /// Cause of the trap that brought the hart into the critical-error state.
    pub critical: Option<u64>,
    /// `dirtied` of guest RAM at the last `fence.i`.
    pub fenced_at: u64,
    /// Where the pace of RAM is found ([`Ram::pace`](super::ram::Ram::pace)), and what it was before the last `fence.i`
    /// looked; [`NO_PACE`]: the next one has to.
    pub pace_at: *const AtomicU64,
    pub pace_seen: u64,
    pub options: TcgOptions,
    /// What of it the log shows.
    pub tracing: Tracing,
    pub stats: Stats,
    /// What vector instructions need of the ISA.
    pub vector: VectorUnit,
}

/// What [`Hart::called_from`] is besides an address.
pub mod called_from {
    /// The call does not return; the current instruction made it.
    pub const CURRENT: u64 = 0;
    /// A jump to `s.pc` is being looked up.
    pub const JUMP: u64 = 1;
    /// Nothing is called: the run loop has the hart, or its caller.
    pub const OUTSIDE: u64 = 2;
}

/// A pace that RAM never has.
pub const NO_PACE: u64 = u64::MAX;

/// Groups of accesses in a block that share the look at the TLB.
pub const COVERS: usize = 4;

/// Number of counters of jumps back.
pub const HEATS: usize = 1024;

/// A jump back that counts how often it is taken.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct HotJump {
    /// Address of the code that counts.
    pub site: u64,
    /// Bytes of that code.
    pub len: u16,
    /// Its counter in `heat`.
    pub counter: u16,
}

/// Memory of one hart: the shared side and the side of its thread.
#[repr(C)]
pub struct HartBox {
    pub shared: HartShared,
    /// Set while a `Vcpu` owns `hart`.
    pub taken: AtomicBool,
    pub hart: UnsafeCell<std::mem::MaybeUninit<Hart>>,
}

// SAFETY: `hart` is only touched through the one `TcgVcpu` that took it (`taken`); `shared` is made of atomics
// and locks.
unsafe impl Sync for HartBox {}
// SAFETY: as above; raw pointers inside point to memory the hart owns.
unsafe impl Send for HartBox {}

impl Hart {
    pub fn shared(&self) -> &HartShared {
        &self.shared.shared
    }

    /// pc of the instruction that called out.
    pub fn cur_pc(&self) -> u64 {
        self.page_base.wrapping_add(u64::from(self.cur & 0xffff))
    }

    /// Leaves the block before the current instruction took effect: it does not retire.
    pub fn leave_before(&mut self) {
        self.retired += u64::from(self.cur >> 16);
    }

    /// Leaves the block before the current instruction, for the interpreter to perform it.
    pub fn leave_to_interpreter(&mut self) {
        self.s.pc = self.cur_pc();
        self.leave_before();
        self.exit = Exit::Interpret;
    }

    /// Leaves the block after the current instruction, `len` bytes long.
    pub fn leave_after(&mut self, len: u64, exit: Exit) {
        self.s.pc = self.cur_pc().wrapping_add(len);
        self.retired += u64::from(self.cur >> 16) + 1;
        self.exit = exit;
    }

    /// Takes a synchronous trap at the current instruction and leaves the block.
    pub fn raise(&mut self, t: trap::Trap) {
        if t.cause == stops::STOP {
            return self.stop_before();
        }
        let pc = self.cur_pc();
        let tinst = if t.tinst == 0 && trap::shows_instruction(&self.s, &t) { self.transformed(&t) } else { t.tinst };
        self.leave_before();
        self.trap(trap::Trap { tinst, ..t }, pc);
        self.exit = self.onward();
    }

    /// How the block is left for `s.pc` after a trap, a return or a fence.
    #[inline(always)]
    pub fn onward(&self) -> Exit {
        let outside = self.vm.machine_traps && self.s.mode == Mode::Machine;
        let plain = self.direct && self.unwatched && !self.counting.armed && !self.s.elp && !outside;
        if plain && self.s.mp == MpState::Runnable { Exit::Jump } else { Exit::Resume }
    }

    /// The current instruction as `htinst` shows it after `t`.
    #[cold]
    fn transformed(&self, t: &trap::Trap) -> u64 {
        let Some(raw) = exec::encoding(self, self.cur_pc()) else { return 0 };
        let Some(insn) = self.vm.decoder.decode(raw) else { return 0 };
        tinst::transform(&insn, raw, t.offset)
    }

    /// Takes a trap or an interrupt at `pc`.
    pub fn trap(&mut self, t: trap::Trap, pc: u64) {
        self.take(t, pc);
    }

    /// As [`Hart::raise`], for causes that are known where it is called and have no more to say than `tval`.
    #[inline(always)]
    pub fn raise_plain(&mut self, cause: u64, tval: u64) {
        let pc = self.cur_pc();
        self.leave_before();
        self.take(trap::Trap::new(cause, tval), pc);
        self.exit = self.onward();
    }

    #[inline(always)]
    fn take(&mut self, t: trap::Trap, pc: u64) {
        self.stats.traps += 1;
        if self.tracing.traps {
            self.log_trap(t.cause, t.tval, pc);
        }
        let from = (self.s.mode, self.s.virt);
        // What looks at traps besides: where nothing does, the modes alone select a context.
        let watched = !self.unwatched;
        let armed = watched && self.armed.traps();
        let counting = if armed { triggers::counting(&self.s) } else { 0 };
        trap::take_trap(&mut self.s, &self.vm.isa, t, pc);
        if self.s.mp == MpState::Failed {
            self.s.pc = pc;
            self.critical = Some(t.cause);
        } else if watched && !ctr::is_off(&self.s) {
            // A copy of its own, so that the other one needs no memory.
            ctr::record_trap(&mut self.s, &{ t }, pc, from);
        }
        if armed {
            triggers::count(&mut self.s, counting);
        }
        if self.s.virt != from.1 {
            self.update_fp();
        }
        self.counters_see_mode();
        self.res_addr = NO_RESERVATION;
        self.select_context();
        if armed && self.s.mp != MpState::Failed {
            self.check_trapped(from);
        }
    }

    #[cold]
    fn log_trap(&self, cause: u64, tval: u64, pc: u64) {
        if !self.tracing.wants(&self.s) {
            return;
        }
        tracing::trace!(target: "int", hart = self.id, virt = self.s.virt, cause, tval, pc, "trap");
    }

    /// Takes a non-maskable interrupt at `pc`.
    pub fn nmi(&mut self, pc: u64) {
        let from = (self.s.mode, self.s.virt);
        let counting = if self.armed.traps() { triggers::counting(&self.s) } else { 0 };
        rnmi::take_nmi(&mut self.s, &self.vm.isa, pc);
        triggers::count(&mut self.s, counting);
        let t = trap::Trap::new(self.s.csr.mncause, 0);
        ctr::record_trap(&mut self.s, &t, pc, from);
        self.update_fp();
        self.counters_see_mode();
        self.res_addr = NO_RESERVATION;
        self.select_context();
    }

    /// Whether a non-maskable interrupt is to be taken.
    pub fn nmi_due(&self) -> bool {
        !self.s.csr.nmi_masked && self.nmi_line()
    }

    /// Whether WFI goes on: for NMIE as for the other global enables.
    pub fn wfi_wakes(&self) -> bool {
        self.nmi_line() || interrupts::wakes(&self.s, &self.interrupts())
    }

    /// The value of `cycle`, `time` or `instret` that the current instruction reads, if its gate is open.
    pub fn live(&self, live: Live) -> u64 {
        let retired = self.retired.wrapping_add(u64::from(self.cur >> 16));
        match live {
            Live::Cycle => retired.wrapping_add(self.cycle_offset),
            Live::Instret => retired.wrapping_add(self.instret_offset),
            Live::Time => {
                self.tell_time();
                self.vm.clock.now().wrapping_add(if self.s.virt { self.s.csr.htimedelta } else { 0 })
            }
        }
    }

    /// Brings `fp_missing` and `vector_word` up to date: after writes to mstatus, fcsr, vstart or the whole state.
    pub fn update_fp(&mut self) {
        self.vector_word = assumed::word(&self.s);
        let (dirty, off) = (status::is_dirty(&self.s, mstatus::FS), status::is_off(&self.s, mstatus::FS));
        let frm = self.s.csr.fcsr >> 5 & 7;
        let flag = |missing, check| if missing { check } else { 0 };
        self.fp_missing = flag(!dirty, fp_check::DIRTY) | flag(off, fp_check::ON) | missing_frm(frm);
    }

    /// `mip` as software reads it, timers by the clock.
    pub fn mip(&self) -> u64 {
        trap::mip(&self.s, self.lines())
    }

    /// What decides about interrupts.
    pub fn interrupts(&self) -> World<'_> {
        self.interrupts_at(None)
    }

    /// The same at a time by the clock, if the caller has it. A timer whose interrupt is not enabled decides nothing.
    fn interrupts_at(&self, now: Option<u64>) -> World<'_> {
        let now = || now.unwrap_or_else(|| self.vm.clock.now());
        let lines = self.shared().lines(now, &LineState::of(&self.s), self.s.csr.mie);
        World { mip: trap::mip(&self.s, lines), isa: &self.vm.isa, imsic: self.vm.imsic.as_deref() }
    }

    /// Brings what other threads asked for into the state. Called before `mip` is looked at.
    pub fn take_soft(&mut self) {
        if self.shared().ssip.load(Ordering::Relaxed) && self.shared().ssip.swap(false, Ordering::SeqCst) {
            self.s.csr.mip |= 2;
        }
    }

    /// Looks whether an interrupt is to be taken now, and tells generated code when to look again. While nothing is
    /// pending and enabled there is no need: whatever changes that is a CSR instruction that asks, or sets `POLL_IRQ`.
    pub fn look_at_interrupts(&mut self) -> bool {
        self.look_for_interrupt().is_some() || self.nmi_due()
    }

    /// As [`Hart::look_at_interrupts`]: the interrupt to take now, if it is no NMI.
    pub fn look_for_interrupt(&mut self) -> Option<trap::Trap> {
        self.look_for_interrupt_at(None)
    }

    /// The same at a time by the clock, if the caller has it.
    pub fn look_for_interrupt_at(&mut self, now: Option<u64>) -> Option<trap::Trap> {
        // The clock is read once for both.
        let world = self.interrupts_at(now);
        let held = interrupts::wakes(&self.s, &world);
        let interrupt = if held { interrupts::pending(&self.s, &world) } else { None };
        self.held = held || self.nmi_line();
        interrupt
    }

    fn nmi_line(&self) -> bool {
        self.vm.isa.has(Ext::Smrnmi) && self.shared().nmi.load(Ordering::SeqCst)
    }

    /// Makes the run loop look at interrupts at the next poll.
    pub fn poll_interrupts(&mut self) {
        self.held = true;
        self.shared().poll.fetch_or(POLL_IRQ, Ordering::SeqCst);
    }

    /// Earliest deadline of a timer that could wake this hart. One whose interrupt is not enabled cannot, and if it
    /// has passed it must not keep the hart from sleeping.
    pub fn deadline(&self) -> u64 {
        let h = self.shared();
        let enabled = |deadline, bit: u32| if self.s.csr.mie >> bit & 1 != 0 { deadline } else { u64::MAX };
        let by = LineState::of(&self.s);
        let s = enabled(by.stimecmp.min(h.sbi_timer.load(Ordering::SeqCst)), 5);
        let guest = enabled(by.guest_deadline(self.vm.clock.now()), 6);
        s.min(guest).min(enabled(h.mtimecmp.load(Ordering::SeqCst), 7))
    }

    /// Arms the timer thread if a deadline lies ahead.
    pub fn arm_timer(&mut self) {
        self.tell_time();
        self.arm_timer_at(self.vm.clock.now());
    }

    /// The same at a time by the clock, which has been told of the last instructions.
    pub fn arm_timer_at(&mut self, now: u64) {
        let h = self.shared();
        let by = LineState::of(&self.s);
        let again = if self.counting.far { counters::LOOK_AGAIN * self.vm.clock.frequency() } else { 0 };
        let again = now.saturating_add(again);
        let all = [
            by.stimecmp,
            by.guest_deadline(now),
            h.mtimecmp.load(Ordering::SeqCst),
            h.sbi_timer.load(Ordering::SeqCst),
            again,
        ];
        let next = all.into_iter().filter(|&d| d > now).min().unwrap_or(u64::MAX);
        if self.drives_clock {
            let ahead = if next == u64::MAX { u64::MAX } else { self.vm.clock.instructions_until(next) };
            self.timer_limit = self.retired_now().saturating_add(ahead);
            return;
        }
        self.vm.timers.arm(self.id, next);
    }

    /// Instructions up to the current one, which a helper performs, or up to the pc between blocks.
    fn retired_now(&self) -> u64 {
        self.retired.wrapping_add(if self.exit == Exit::None { u64::from(self.cur >> 16) } else { 0 })
    }

    /// Before anything looks at the clock: if instructions drive it, makes it know of the last ones.
    pub fn tell_time(&self) {
        if self.drives_clock {
            self.vm.clock.count(self.retired_now());
        }
    }

    /// Merges the host's sticky floating-point flags into `fcsr`.
    pub fn sync_fflags(&mut self) {
        self.s.csr.fcsr |= mxcsr_to_fflags(self.mxcsr);
    }

    /// Makes the host's rounding mode and flags follow `fcsr`.
    pub fn load_mxcsr(&mut self) {
        self.mxcsr = mxcsr_for(self.s.csr.fcsr);
    }
}

impl Hart {
    /// Levels of the interrupt lines of chips and timers, as bits of `mip`.
    pub fn lines(&self) -> u64 {
        self.shared().lines(|| self.vm.clock.now(), &LineState::of(&self.s), !0)
    }

    /// Performs a CSR instruction on the state.
    pub fn csr_op(&mut self, n: u16, op: CsrOp, src: u64, write: bool) -> Result<(u64, CsrEffect), Denied> {
        self.take_soft();
        // The instruction itself retires after it has read or written the counters.
        self.fold_to_current();
        let (result, counters) = self.access_csr(n, op, src, write)?;
        if let Some(written) = counters {
            self.counters_written(written);
        }
        Ok(result)
    }

    /// Reads CSR `n` as M-mode would with all units on, and writes `v` to it if there is one. Not for helpers: outside of
    /// instructions.
    pub fn machine_csr(&mut self, n: u16, v: Option<u64>) -> Option<u64> {
        self.take_soft();
        self.fold_counters();
        let (mode, virt) = (self.s.mode, self.s.virt);
        (self.s.mode, self.s.virt) = (Mode::Machine, false);
        // A unit that is off keeps its registers, and stays off.
        let unit = csr::unit(n);
        let off = unit != 0 && self.s.csr.mstatus & unit == 0;
        if off {
            self.s.csr.mstatus |= unit;
        }
        let result = match v {
            Some(v) => self.access_csr(n, CsrOp::Rw, v, true),
            None => self.access_csr(n, CsrOp::Rs, 0, false),
        };
        (self.s.mode, self.s.virt) = (mode, virt);
        if off {
            self.s.csr.mstatus &= !unit;
        }
        let ((old, effect), counters) = result.ok()?;
        if counters.is_some() {
            self.recount();
        }
        if effect.contains(CsrEffect::PMP) {
            self.pmp.clear();
        }
        if effect.intersects(CsrEffect::PMP | CsrEffect::TRIGGER) {
            self.tlb.flush_all();
        }
        if v.is_some() {
            self.selections.forget();
        }
        self.update_fp();
        if !effect.is_empty() {
            self.select_context();
            self.poll_interrupts();
        }
        Some(old)
    }

    /// Accesses a CSR; besides what the instruction gets, the counters that were written, if anything about counting
    /// was.
    fn access_csr(&mut self, n: u16, op: CsrOp, src: u64, write: bool) -> Result<CsrAccess, Denied> {
        let mut view = CsrView {
            vm: &self.vm,
            shared: &self.shared.shared,
            by: LineState::of(&self.s),
            counters: None,
            timer: false,
        };
        let result = csr::csr_op(&mut self.s, &mut view, n, op, src, write)?;
        let CsrView { counters, timer, .. } = view;
        if timer {
            self.arm_timer();
        }
        Ok((result, counters))
    }
}

type CsrAccess = ((u64, CsrEffect), Option<u32>);

/// What the CSRs need of the world while `HartState` is borrowed.
struct CsrView<'a> {
    vm: &'a VmShared,
    shared: &'a HartShared,
    by: LineState,
    /// Counters that were written, if anything about counting was.
    counters: Option<u32>,
    timer: bool,
}

impl CsrEnv for CsrView<'_> {
    fn isa(&self) -> &IsaConfig {
        &self.vm.isa
    }

    fn time(&self) -> u64 {
        self.vm.clock.now()
    }

    fn entropy(&self) -> Option<u16> {
        csr::host_entropy()
    }

    fn counters_changed(&mut self, written: u32) {
        self.counters = Some(written);
    }

    fn lines(&self) -> u64 {
        self.shared.lines(|| self.vm.clock.now(), &self.by, !0)
    }

    fn hgeip(&self) -> u64 {
        self.shared.hgeip.load(Ordering::SeqCst)
    }

    fn stimecmp_changed(&mut self) {
        self.timer = true;
    }

    fn imsic(&self) -> Option<&dyn Imsic> {
        self.vm.imsic.as_deref()
    }
}

/// What the translation of a block depends on besides its code: bits 1:0 privilege, bit 2 V, bits 4:3 landing pads and
/// shadow stacks, bit 6 whether it records its control transfers, bit 7 whether the block
/// looks at the counters' limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct BlockMode(pub u8);

impl BlockMode {
    pub fn of(s: &HartState) -> Self {
        Self(s.mode as u8 | u8::from(s.virt) << 2)
    }

    pub fn privilege(self) -> Mode {
        match self.0 & 3 {
            0 => Mode::User,
            1 => Mode::Supervisor,
            _ => Mode::Machine,
        }
    }

    pub fn virt(self) -> bool {
        self.0 >> 2 & 1 != 0
    }

    /// With blocks that record their control transfers.
    pub fn recording(self, on: bool) -> Self {
        Self(self.0 | u8::from(on) << 6)
    }

    pub fn is_recording(self) -> bool {
        self.0 >> 6 & 1 != 0
    }

    /// With the part of `cfi::flags` that matters to blocks.
    pub fn cfi(self, flags: u8) -> Self {
        Self(self.0 | (flags & (flags::LANDING_PADS | flags::SHADOW_STACK)) << 3)
    }

    /// The flags given to [`cfi`](Self::cfi).
    pub fn cfi_flags(self) -> u8 {
        self.0 >> 3 & (flags::LANDING_PADS | flags::SHADOW_STACK)
    }

    /// With blocks that look at the limit of `counters`.
    pub fn counting(self, armed: bool) -> Self {
        Self(self.0 | u8::from(armed) << 7)
    }

    pub fn is_counting(self) -> bool {
        self.0 >> 7 != 0
    }
}

impl std::fmt::Display for BlockMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = if self.0 & 4 == 0 { ["U", "S", "?", "M"] } else { ["VU", "VS", "?", "?"] };
        f.write_str(names[usize::from(self.0 & 3)])
    }
}

/// MXCSR with all exceptions masked, the rounding mode of `fcsr` and its flags.
pub fn mxcsr_for(fcsr: u64) -> u32 {
    // RISC-V: RNE RTZ RDN RUP; MXCSR.RC: nearest, down, up, zero.
    let rc = match fcsr >> 5 & 7 {
        1 => 3,
        2 => 1,
        3 => 2,
        _ => 0,
    };
    let f = fcsr as u32;
    let flags = f >> 4 & 1 | (f >> 3 & 1) << 2 | (f >> 2 & 1) << 3 | (f >> 1 & 1) << 4 | (f & 1) << 5;
    0x1f80 | rc << 13 | flags
}

/// `fflags` from the sticky bits of MXCSR (IE, ZE, OE, UE, PE; DE has no counterpart).
pub fn mxcsr_to_fflags(m: u32) -> u64 {
    u64::from((m & 1) << 4 | (m >> 2 & 1) << 3 | (m >> 3 & 1) << 2 | (m >> 4 & 1) << 1 | m >> 5 & 1)
}
