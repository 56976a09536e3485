//! Helpers that work on the hart: CSRs, traps, fences, waiting, cache blocks, the run of an FP operation.
//!
//! On entry `hart.cur` names the calling instruction. A helper that leaves the block sets `hart.exit` (and by
//! then `s.pc` and the counters are those after it); otherwise the code after the call goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::semihost;
use super::softfloat::{self, FpOp, Rm};
use arch::cause::Exception;
use arch::csr::{SATP, hgatp, mstatus, satp};
use arch::isa::Op;

use crate::RemoteFence;
use crate::tcg::code_cache::idle;
use crate::tcg::csr::ctr as ctr_registers;
use crate::tcg::csr::{CsrEffect, CsrOp, Denied, fp, status};
use crate::tcg::hart::{Exit, Hart, NO_PACE, NO_RESERVATION};
use crate::tcg::ir::{Helper, Width, fp_check as checks};
use crate::tcg::mmu::hyper::HyperLoad;
use crate::tcg::mmu::tlb::Space;
use crate::tcg::smp::POLL_CODE;
use crate::tcg::trap::{self, Trap};
use crate::tcg::{ctr, exec, rnmi};

/// Bits of an ASID and of a VMID.
const ASID: u64 = satp::ASID >> satp::ASID_SHIFT;
const VMID: u64 = hgatp::VMID >> hgatp::VMID_SHIFT;

/// Performs `helper`; the result is meaningless if `hart.exit` was set.
pub fn call(hart: &mut Hart, helper: Helper, a: u64, b: u64, c: u64) -> u64 {
    match helper {
        Helper::Csr => return csr(hart, a, b, c as u32),
        Helper::Status => return supervisor_status(hart, a, b, c as u32),
        Helper::Ecall => ecall(hart),
        Helper::Ebreak => ebreak(hart),
        Helper::Mret => xret(hart, trap::mret, c as u32),
        Helper::Mnret => xret(hart, rnmi::mnret, c as u32),
        Helper::Sret => sret(hart, c as u32),
        Helper::Wfi => match trap::check_wfi(&hart.s) {
            Ok(()) => hart.leave_after(4, Exit::Wfi),
            Err(denied) => hart.raise(denied.trap(c as u32)),
        },
        Helper::SfenceVma => sfence_vma(hart, a, b, c),
        Helper::HfenceVvma => hfence_vvma(hart, a, b, c),
        Helper::HfenceGvma => hfence_gvma(hart, b, c),
        Helper::HyperLoad => return hyper_load(hart, a, b, c as u32),
        Helper::HyperStore => hyper_store(hart, a, b, c),
        Helper::SfenceInval => {
            if let Err(denied) = trap::check_sfence_inval(&hart.s) {
                hart.raise(denied.trap(c as u32));
            }
        }
        Helper::FenceI => {
            // The block itself may be gone.
            if hart.fence_i() {
                let onward = hart.onward();
                hart.leave_after(4, onward);
            }
        }
        Helper::Illegal => {
            hart.tell_missing(format_args!("no instruction {a:#x}"));
            hart.raise(Trap::illegal(a as u32));
        }
        Helper::CboManage => cbo_manage(hart, a, b, c as u32),
        Helper::CboZero => cbo_zero(hart, a, c as u32),
        Helper::Wrs => wrs(hart),
        Helper::Transfer => hart.transfer(c as u32, a, b),
        Helper::Sctrclr => {
            let vm = Arc::clone(&hart.vm);
            if let Err(denied) = ctr_registers::clear(&mut hart.s, &vm.isa) {
                hart.raise(denied.trap(c as u32));
            }
        }
        Helper::CheckLimit => hart.check_limit(),
        Helper::MisalignedJump => {
            let target = hart.page_base.wrapping_add(a);
            hart.raise(Trap::new(0, target));
        }
        Helper::CheckJump if a & 2 != 0 => hart.raise(Trap::new(0, a & !1)),
        Helper::CheckJump => {}
        Helper::CompareAndSwap16 => compare_and_swap_16(hart, a),
        Helper::JumpToPad => jump_to_pad(hart, a),
        Helper::ShadowPush => hart.shadow_push(a),
        Helper::ShadowPop => hart.shadow_pop(a),
        Helper::ShadowPointer => return hart.s.csr.ssp,
        Helper::ShadowSwap => return hart.shadow_swap(a, b, if c >> 32 != 0 { Width::D } else { Width::W }, c as u32),
        Helper::FpCheck => fp_check(hart, a as u8, c as u32),
        Helper::Interpret => hart.leave_to_interpreter(),
        Helper::Trace => hart.trace_block(a),
    }
    0
}

/// Some of `checks` does not hold for the instruction `raw`.
fn fp_check(hart: &mut Hart, checks: u8, raw: u32) {
    let missing = hart.fp_missing & checks;
    let reserved_frm = hart.s.csr.fcsr >> 5 & 7 > 4;
    if hart.fp_missing & checks::ON != 0 || missing & checks::NATIVE_FRM != 0 && reserved_frm {
        return hart.raise(Trap::illegal(raw));
    }
    if missing & checks::NATIVE_FRM != 0 && !hart.interpreting {
        return hart.leave_to_interpreter();
    }
    if missing & checks::DIRTY != 0 {
        make_fp_dirty(hart);
    }
}

/// Marks the floating-point state dirty.
pub fn make_fp_dirty(hart: &mut Hart) {
    status::set_dirty(&mut hart.s, mstatus::FS);
    hart.update_fp();
}

/// Performs a floating-point operation in software; `frm` applies where `rm` is `None`.
pub fn fp(hart: &mut Hart, op: FpOp, rm: Option<Rm>, a: u64, b: u64, c: u64) -> u64 {
    let rm = rm.or_else(|| Rm::from_bits(hart.s.csr.fcsr >> 5)).unwrap_or_default();
    let mut flags = 0;
    let r = softfloat::exec(op, a, b, c, rm, &mut flags);
    hart.s.csr.fcsr |= u64::from(flags);
    r
}

/// CSR number, what the instruction does, and whether it writes; `code` is of [`csr_code`](crate::tcg::ir::csr_code).
fn decode_csr(code: u64) -> (u16, CsrOp, bool) {
    let op = match code >> 12 & 3 {
        0 => CsrOp::Rw,
        1 => CsrOp::Rs,
        _ => CsrOp::Rc,
    };
    ((code & 0xfff) as u16, op, code >> 16 & 1 != 0)
}

fn csr(hart: &mut Hart, code: u64, src: u64, raw: u32) -> u64 {
    hart.stats.csr += 1;
    hart.tell_time();
    let (n, op, write) = decode_csr(code);
    let floating = (1..=3).contains(&n);
    if floating {
        hart.sync_fflags();
        if fp::is_at_hand(&hart.s, &hart.vm.isa) {
            let old = fp::change_fcsr(&mut hart.s, n, op, src, write);
            if write {
                hart.load_mxcsr();
                hart.update_fp();
            }
            return old;
        }
    }
    let blocks = (hart.counting.armed, ctr::recording(&hart.s));
    let cfi = hart.cfi;
    let (old, effect) = match hart.csr_op(n, op, src, write) {
        Ok(r) => r,
        Err(denied) => {
            // One that the hart has was not allowed.
            if arch::csr::by_number(n).is_none_or(|row| !row.available(&hart.vm.isa)) {
                hart.tell_missing(format_args!("no CSR {n:#x}"));
            }
            hart.raise(denied.trap(raw));
            return 0;
        }
    };
    if floating {
        hart.load_mxcsr();
    }
    if write && !is_of_the_moment(n) {
        hart.selections.forget();
    }
    hart.update_fp();
    if effect.is_empty() {
        return old;
    }
    if effect.contains(CsrEffect::PMP) {
        hart.pmp.clear();
    }
    if effect.contains(CsrEffect::TRIGGER) {
        hart.written_triggers |= 1 << hart.s.csr.tselect;
    }
    if effect.intersects(CsrEffect::PMP | CsrEffect::TRIGGER) {
        // Neither entries nor blocks know of what they lead to.
        hart.tlb.flush_all();
    }
    let mut leave = effect.intersects(CsrEffect::PMP | CsrEffect::TRIGGER)
        || blocks != (hart.counting.armed, ctr::recording(&hart.s));
    if leave || effect.intersects(CsrEffect::SATP | CsrEffect::TRANSLATION) {
        hart.select_context();
        // The code that follows is translated for another mode.
        leave |= cfi != hart.cfi;
        // Data accesses use new tables at once; a new mapping of the code itself needs a new look.
        leave = leave || effect.contains(CsrEffect::SATP) && !(n == SATP && code_stays(hart, code >> 20 << 12));
    } else if effect.contains(CsrEffect::MODE) {
        hart.shut_gates();
    }
    if effect.contains(CsrEffect::INTERRUPTS) && hart.look_at_interrupts() {
        hart.poll_interrupts();
        leave = true;
    }
    if leave {
        // The block is not there any more to write the result: the run loop does it.
        hart.leave_after(4, Exit::Resume);
        hart.late = Some(((raw >> 7 & 31) as u8, old));
    }
    old
}

/// CSRs that are written all the time and never change what a mode selects (see `context`): those of floating point and
/// vectors, pending and enabled interrupts, timers, and the status of a guest, which is named there.
fn is_of_the_moment(n: u16) -> bool {
    use arch::csr::*;
    matches!(n, FFLAGS..=FCSR | VSTART..=VCSR | SIE | SIP | STIMECMP | VSIE | VSIP | VSTIMECMP | MIE | MIP | STOPEI)
        || matches!(n, SSTATUS | VSSTATUS)
}

/// A CSR instruction on `sstatus`, which the mode allows: what kernels do around everything.
fn supervisor_status(hart: &mut Hart, code: u64, src: u64, raw: u32) -> u64 {
    hart.stats.csr += 1;
    let (_, op, write) = decode_csr(code);
    let (old, effect) = status::change_sstatus(&mut hart.s, &hart.vm.isa, op, src, write);
    if effect.contains(CsrEffect::MODE) {
        hart.update_fp();
    }
    let (cfi, mut leave) = (hart.cfi, false);
    if effect.contains(CsrEffect::TRANSLATION) {
        hart.select_context();
        leave = cfi != hart.cfi;
    }
    if effect.contains(CsrEffect::INTERRUPTS) {
        hart.tell_time();
        hart.take_soft();
        if hart.look_at_interrupts() {
            hart.poll_interrupts();
            leave = true;
        }
    }
    if leave {
        hart.leave_after(4, Exit::Resume);
        hart.late = Some(((raw >> 7 & 31) as u8, old));
    }
    old
}

/// ECALL.
#[inline]
pub fn ecall(hart: &mut Hart) {
    if hart.vm.builtin_sbi && hart.s.mode == crate::Mode::Supervisor && !hart.s.virt {
        // ECALL does not retire, whoever answers it (privileged spec, "Environment Call and Breakpoint").
        hart.s.pc = hart.cur_pc().wrapping_add(4);
        hart.leave_before();
        hart.exit = Exit::Sbi;
        return;
    }
    if hart.s.mode == crate::Mode::User {
        hart.raise_plain(Exception::EcallFromU.code(), 0);
    } else {
        hart.raise(Trap::new(trap::ecall_cause(&hart.s), 0));
    }
}

/// EBREAK, or a semihosting call.
#[inline]
pub fn ebreak(hart: &mut Hart) {
    if hart.vm.semihosting && semihost::call(hart) {
        return;
    }
    let pc = hart.cur_pc();
    hart.raise_plain(Exception::Breakpoint.code(), pc);
}

/// SRET; `raw` is the instruction.
#[inline]
pub fn sret(hart: &mut Hart, raw: u32) {
    xret(hart, trap::sret, raw);
}

#[inline(always)]
fn xret(hart: &mut Hart, ret: impl FnOnce(&mut crate::HartState) -> Result<(), Denied>, raw: u32) {
    let source = hart.cur_pc();
    hart.s.pc = source;
    let from = (hart.s.mode, hart.s.virt);
    if let Err(denied) = ret(&mut hart.s) {
        return hart.raise(denied.trap(raw));
    }
    hart.retired += u64::from(hart.cur >> 16) + 1;
    ctr::record_return(&mut hart.s, source, from);
    hart.counters_see_mode();
    hart.res_addr = NO_RESERVATION;
    // What instructions of floating point and vectors find is the guest's own or not.
    if hart.s.virt != from.1 {
        hart.update_fp();
    }
    hart.select_context();
    if hart.held && hart.look_at_interrupts() {
        hart.poll_interrupts();
    }
    hart.exit = hart.onward();
}

/// SFENCE.VMA and SINVAL.VMA; `code` as the instruction's [`Helper`] says.
#[inline]
pub fn sfence_vma(hart: &mut Hart, va: u64, asid: u64, code: u64) {
    let (registers, page) = (code & 0x3ff, code & !0xfff);
    if let Err(denied) = trap::check_sfence_vma(&hart.s) {
        let op = if code >> 10 & 1 != 0 { Op::SinvalVma } else { Op::SfenceVma };
        return hart.raise(denied.trap(op.row().pattern.bits | (registers as u32) << 15));
    }
    let space = if hart.s.virt { hart.guest_space() } else { Space::Host };
    let asid = (registers >> 5 != 0).then_some(asid & ASID);
    if registers & 0x1f != 0 {
        // The page of the code is another one, and the translation of that still the same.
        if !hart.tlb.flush_page(space, va, asid) && va & !0xfff != hart.page_base {
            return;
        }
    } else {
        hart.fence(space, None, asid);
    }
    if !code_stays(hart, page) {
        let onward = hart.onward();
        hart.leave_after(4, onward);
    }
}

/// Whether the block at hand, whose code stands in the physical `page`, is still what the hart executes there. Others
/// that it leads to directly stand in that page, too.
fn code_stays(hart: &mut Hart, page: u64) -> bool {
    let pc = hart.cur_pc();
    exec::fetch_code(hart, pc).is_ok_and(|found| found.ram && found.walk.pa & !0xfff == page)
}

/// As [`sfence_vma`], for the guest of the current VMID.
fn hfence_vvma(hart: &mut Hart, va: u64, asid: u64, which: u64) {
    if let Err(denied) = trap::check_hfence_vvma(&hart.s) {
        return hart.raise(denied.trap((which >> 2) as u32));
    }
    let space = hart.guest_space();
    hart.fence(space, (which & 1 != 0).then_some(va), (which & 2 != 0).then_some(asid));
}

/// As [`sfence_vma`], for the second stage; the address does not narrow it.
fn hfence_gvma(hart: &mut Hart, vmid: u64, which: u64) {
    if let Err(denied) = trap::check_hfence_gvma(&hart.s) {
        return hart.raise(denied.trap((which >> 2) as u32));
    }
    hart.tlb.flush_guests((which & 2 != 0).then_some(vmid & VMID));
}

/// HLV and HLVX; `kind` as [`HyperLoad`] packs it.
fn hyper_load(hart: &mut Hart, va: u64, kind: u64, raw: u32) -> u64 {
    if let Err(denied) = trap::check_hypervisor_access(&hart.s) {
        hart.raise(denied.trap(raw));
        return 0;
    }
    let kind = HyperLoad::unpack(kind);
    hart.load_as_guest(va, u64::from(kind.bytes), kind.exec).map_or(0, |v| kind.extend(v))
}

/// HSV.
fn hyper_store(hart: &mut Hart, va: u64, v: u64, kind: u64) {
    if let Err(denied) = trap::check_hypervisor_access(&hart.s) {
        return hart.raise(denied.trap((kind >> 4) as u32));
    }
    let _ = hart.store_as_guest(va, kind & 15, v);
}

/// Caches are coherent here, so managing a block is checking that it may be managed.
fn cbo_manage(hart: &mut Hart, va: u64, kind: u64, raw: u32) {
    let legal = match kind {
        0 => trap::check_cbo_inval(&hart.s).map(|_| ()),
        _ => trap::check_cbo_clean_flush(&hart.s),
    };
    if let Err(denied) = legal {
        return hart.raise(denied.trap(raw));
    }
    if hart.block_or_trap(va, u64::from(hart.vm.isa.cbom_block)).is_none() {
        return;
    }
    let _ = hart.cbo_check(va);
}

fn cbo_zero(hart: &mut Hart, va: u64, raw: u32) {
    if let Err(denied) = trap::check_cbo_zero(&hart.s) {
        return hart.raise(denied.trap(raw));
    }
    let block = u64::from(hart.vm.isa.cboz_block);
    if hart.block_or_trap(va, block).is_none() {
        return;
    }
    // A fault reports the address in rs1, not that of the block.
    hart.zero_block(va, block);
}

/// Waiting for the reservation set may end at any time (Zawrs): let others run and go on. It is bounded, so TW
/// need not trap it.
fn wrs(hart: &mut Hart) {
    if hart.res_addr != NO_RESERVATION && hart.shared().poll.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
}

/// An indirect jump that has to end at a landing pad: the run loop looks whether it does.
fn jump_to_pad(hart: &mut Hart, target: u64) {
    hart.leave_after(0, Exit::Resume);
    hart.s.pc = target & !1;
    hart.s.elp = true;
}

/// AMOCAS.Q.
fn compare_and_swap_16(hart: &mut Hart, va: u64) {
    let pair = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
    let [e0, e1, v0, v1] = hart.temps;
    if let Some(old) = hart.compare_and_swap_16(va, pair(e0, e1), pair(v0, v1)) {
        (hart.temps[0], hart.temps[1]) = (old as u64, (old >> 64) as u64);
    }
}

impl Hart {
    /// `fence.i`: blocks whose guest code changed are dropped; whether any page had to be looked at. See `ram` and
    /// `code_cache`. Generated code comes here only where `pace_seen` is not the pace of RAM.
    pub fn fence_i(&mut self) -> bool {
        self.stats.fence_i += 1;
        // Before anything is looked at: what comes later is looked at by the next one.
        let pace = self.vm.ram.pace().load(Ordering::SeqCst);
        if pace == self.pace_seen {
            return false;
        }
        let changed = self.look_at_code();
        self.pace_seen = pace;
        self.note_unsettled();
        changed
    }

    /// The next `fence.i` has to look, as long as stores to some page may go unnoticed.
    pub fn note_unsettled(&mut self) {
        if !self.code.unsettled.is_empty() {
            self.pace_seen = NO_PACE;
        }
    }

    /// Drops blocks whose guest code changed; whether any page had to be looked at.
    fn look_at_code(&mut self) -> bool {
        self.vm.ram.collect_device_writes_to(self.code.pages());
        self.vm.ram.device_writes_collected();
        if self.vm.ram.changed() == self.fenced_at && self.code.unsettled.is_empty() {
            return false;
        }
        let (dirtied, changes) = self.vm.ram.changes_since(self.fenced_at);
        let mut changed = false;
        let mut pages = std::mem::take(&mut self.code.unsettled);
        match changes {
            Some(changes) => pages.extend(changes),
            None => pages = self.code.pages().to_vec(),
        }
        for page in pages {
            let version = self.vm.ram.version(page);
            if !self.code.suspicious(page, version) {
                continue;
            }
            // From here on stores are noticed again; what was stored before is seen by the comparison.
            let (version, announced) = self.watch_page(page);
            let ram = &self.vm.ram;
            self.code.recheck(page, version, announced, |gpa, len| ram.read_bytes(gpa, len));
            changed = true;
        }
        self.fenced_at = dirtied;
        if changed {
            self.drop_stale_jumps();
        }
        changed
    }

    /// Answers the announcements of code so far (`POLL_CODE`): no store is under way, and the next ones ask again.
    pub fn forget_writes(&mut self) {
        let seq = self.vm.code_seq.load(Ordering::SeqCst);
        self.tlb.flush_writes();
        self.shared().code_seen.store(seq, Ordering::SeqCst);
    }

    /// The same between polls, if there is one.
    pub fn give_up_writes(&mut self) {
        if self.shared().poll.fetch_and(!POLL_CODE, Ordering::SeqCst) & POLL_CODE != 0 {
            self.forget_writes();
        }
    }

    /// Marks a page as code: every hart has to ask before it stores to it. Returns the version of the page as it is
    /// going to be read, and the announcement that some hart has not acted on yet, 0 if from here on no store to the page can go without a mark. In the first case what is
    /// read of the page now has to be compared again, even if the announcement is acted on by then: that tells
    /// nothing of the stores before.
    pub fn watch_page(&mut self, page: u64) -> (u32, u64) {
        let vm = Arc::clone(&self.vm);
        let mut version = 0;
        let number = vm.announce_code(self.id, || {
            let writable;
            (writable, version) = vm.ram.mark_code(page);
            // Marked by another hart a moment ago, the entries may be those that it told us to give up.
            let told = self.shared().poll.load(Ordering::SeqCst) & POLL_CODE != 0;
            if (writable || told)
                && let Some(host) = vm.ram.host(page, 4096)
            {
                self.tlb.drop_writes_to(host as u64);
            }
            writable
        });
        (version, if number <= vm.code_settled(self.id) { 0 } else { number })
    }

    /// After blocks died: no jump cache may name them.
    pub fn drop_stale_jumps(&mut self) {
        match self.code.dead.len() {
            0 => {}
            1..=16 => self.tlb.drop_jumps_to(&self.code.dead),
            _ => self.tlb.flush_jumps(),
        }
        self.code.dead.clear();
    }

    /// Drops all code, which the hart is not in.
    pub fn drop_code(&mut self) {
        self.code.clear();
        self.tlb.flush_jumps();
    }

    /// Drops it for the sake of its memory.
    pub fn give_up_code(&mut self) {
        self.stats.given_up += self.code.len() as u64;
        self.drop_code();
        // The contexts of what ran long ago are as large as its code; they fill again no slower than that comes back.
        self.tlb.keep_current();
        self.selections.forget();
        self.select_context();
        idle::release_heap();
    }

    /// The guest that HS-mode is set up for, or that runs.
    pub fn guest_space(&self) -> Space {
        Space::Guest { vmid: (self.s.csr.hgatp & hgatp::VMID) >> hgatp::VMID_SHIFT }
    }

    /// Orders translations after a change of page tables, for one address or address space if they are given.
    fn fence(&mut self, space: Space, va: Option<u64>, asid: Option<u64>) {
        let asid = asid.map(|asid| asid & ASID);
        match (va, asid) {
            (Some(va), asid) => {
                self.tlb.flush_page(space, va, asid);
            }
            (None, Some(asid)) => self.tlb.flush_asid(space, asid),
            (None, None) => self.tlb.flush_space(space),
        }
    }

    /// As [`fence`](Self::fence), for `size` bytes from `start`; everything if both are zero or it is too much.
    fn fence_range(&mut self, space: Space, start: u64, size: u64, asid: Option<u64>) {
        const PAGES: u64 = 64;
        if start == 0 && size == 0 || size > PAGES << 12 {
            return self.fence(space, None, asid);
        }
        let first = start & !0xfff;
        let last = start.saturating_add(size.max(1) - 1) & !0xfff;
        for page in (first..=last).step_by(4096) {
            self.fence(space, Some(page), asid);
        }
    }

    /// Performs a fence that another hart asked for.
    pub fn perform(&mut self, fence: RemoteFence) {
        match fence {
            RemoteFence::Instruction => {
                self.fence_i();
            }
            RemoteFence::Address { start, size, asid } => self.fence_range(Space::Host, start, size, asid),
            RemoteFence::GuestStage { vmid } => self.tlb.flush_guests(vmid.map(|vmid| vmid & VMID)),
            RemoteFence::GuestAddress { start, size, asid, vmid } => {
                self.fence_range(Space::Guest { vmid: vmid & VMID }, start, size, asid);
            }
        }
    }
}
