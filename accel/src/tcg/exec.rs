//! The run loop of a hart: finds or makes the block at the pc, enters it, and acts on why it came back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::code_cache::places::Placed;
use super::code_cache::{BlockId, LinkSite, NewBlock, SlotId, hash_code};
use super::counters::Miss;
use super::ctr;
use super::hart::{BlockMode, Exit, Hart, HartBox};
use super::ir::fold::fold;
use super::ir::{Builder, IrBlock, interp};
use super::mmu::pmp::Pmp;
use super::mmu::walk::{self, Access, Regime, Walk};
use super::observe;
use super::smp::{POLL_CODE, POLL_IRQ, POLL_KICK, POLL_MAIL, POLL_WATCH, VmShared};
use super::trap::Trap;
use super::{backend, cfi, region, translate, triggers};
use crate::{Mode, MpState, SbiCall, VcpuExit};
use arch::reg;

/// A place to execute from: translated, checked, in RAM or not.
pub(super) struct Fetch {
    pub walk: Walk,
    pub ram: bool,
}

/// Blocks that the interpreter keeps: they take no room in the arena that would limit them.
const MAX_INTERPRETED_BLOCKS: usize = 1 << 16;

/// The frame pointer.
const S0: u8 = 8;

/// What a hart needs to translate; kept apart from the hart so that buffers are reused.
pub struct Translator {
    pub builder: Builder,
    pub decoder: Arc<arch::isa::Decoder>,
    pub backend: Option<backend::Backend>,
    /// Runs where code does not stand in RAM are not kept.
    scratch: IrBlock,
    /// Guest code that is translated.
    bytes: Vec<u8>,
}

impl Translator {
    pub fn new(vm: &VmShared, backend: Option<backend::Backend>) -> Self {
        let decoder = Arc::clone(&vm.decoder);
        Self { builder: Builder::new(&vm.isa), decoder, backend, scratch: IrBlock::default(), bytes: Vec::new() }
    }

    /// Whether the places of guest instructions in their host code are kept from now on.
    pub fn keep_marks(&mut self, on: bool) {
        if let Some(backend) = &mut self.backend {
            backend.keep_marks(on);
        }
    }

    /// Has samples know of the code that was compiled last, `len` bytes at `address` for what begins at `pa`, now mapped at
    /// `pc`.
    pub fn place(&self, hart: &mut Hart, (address, len): (u64, usize), (pa, pc): (u64, u64), region: bool) {
        let (Some(places), Some(backend)) = (&mut hart.code.places, &self.backend) else { return };
        let homes = [reg::RA, reg::SP, S0, reg::TP].map(|x| backend.home(x, region));
        let (page, mapped, start) = (pa & !0xfff, pc & !0xfff, (pa & 0xfff) as u16);
        places.add(address, Placed { len: len as u32, page, mapped, start, marks: backend.all_marks(), homes });
    }

    /// The direct jumps of what was compiled last.
    pub fn links(&self) -> &[LinkSite] {
        self.backend.as_ref().map_or(&[], backend::Backend::links)
    }
}

/// Runs the hart until something needs the caller.
pub fn run(hart: &mut Hart, tr: &mut Translator) -> VcpuExit {
    let _inside = InGuest::enter(&hart.shared);
    // What the caller did may have been anything.
    hart.res_left = u64::MAX;
    hart.load_mxcsr();
    let exit = run_loop(hart, tr);
    hart.sync_fflags();
    hart.fold_counters();
    exit
}

/// Says that the hart may be executing; takes it back on every way out, so that a panic here does not leave others
/// waiting for their fences.
struct InGuest(Arc<HartBox>);

impl InGuest {
    fn enter(hart: &Arc<HartBox>) -> Self {
        hart.shared.in_guest.store(true, Ordering::SeqCst);
        Self(Arc::clone(hart))
    }
}

impl Drop for InGuest {
    fn drop(&mut self) {
        self.0.shared.in_guest.store(false, Ordering::SeqCst);
    }
}

fn run_loop(hart: &mut Hart, tr: &mut Translator) -> VcpuExit {
    let mut exit = Exit::Resume;
    loop {
        if let Some((rd, v)) = hart.late.take()
            && rd != 0
        {
            hart.s.x[usize::from(rd)] = v;
        }
        match exit {
            // First of all, while the code that says so is certain to be there.
            Exit::Hot => region::promote(hart, tr),
            Exit::Sbi => return VcpuExit::Sbi(sbi_call(hart)),
            // A debugger gets a hart that it steps back.
            Exit::Wfi if hart.stops.steps() => {}
            Exit::Wfi => wait(hart),
            Exit::Debug => return VcpuExit::Debug(hart.stops.take_reason()),
            _ => {}
        }
        if hart.s.mp == MpState::Failed {
            return VcpuExit::CriticalError { cause: hart.critical.unwrap_or_default(), pc: hart.s.pc };
        }
        if hart.retired >= hart.counting.limit {
            hart.look_at_counters();
            hart.select_context();
        }
        if hart.drives_clock {
            // No instruction is under way.
            hart.exit = Exit::Resume;
            hart.tell_time();
            if hart.retired >= hart.timer_limit {
                hart.poll_interrupts();
            }
        }
        let mut link = (exit == Exit::Link).then(|| wanted_link(hart));
        if hart.shared().poll.load(Ordering::SeqCst) != 0 {
            // Whatever happens here, the way of the jump may not be the way any more.
            link = None;
            if poll(hart) {
                return VcpuExit::Kicked;
            }
        }
        if hart.vm.machine_traps && hart.s.mode == Mode::Machine {
            return VcpuExit::MachineTrap;
        }
        if hart.options.evict != 0 {
            link = None;
            forced_eviction(hart);
        }
        exit = match link {
            // Part of a block that has been shown.
            _ if exit == Exit::Interpret => interpret_one(hart, tr, false),
            Some(link) => follow_link(hart, tr, &link),
            None => step(hart, tr),
        };
    }
}

/// A direct jump in the same page that is not linked: its slot, where it stands and where it leads.
struct WantedLink {
    slot: SlotId,
    page: u64,
    mode: BlockMode,
    offset: u16,
}

/// Names the jump that left, and makes its target the pc.
fn wanted_link(hart: &mut Hart) -> WantedLink {
    let slot = hart.link;
    let offset = hart.code.slot_offset(slot);
    let (page, mode) = hart.code.slot_source(slot);
    hart.s.pc = hart.page_base.wrapping_add(u64::from(offset));
    WantedLink { slot, page, mode, offset }
}

fn sbi_call(hart: &Hart) -> SbiCall {
    let x = &hart.s.x;
    SbiCall { eid: x[17], fid: x[16], args: [x[10], x[11], x[12], x[13], x[14], x[15]] }
}

/// Acts on the poll bits; `true` if the caller was asked for.
fn poll(hart: &mut Hart) -> bool {
    hart.stats.polls += 1;
    let bits = hart.shared().poll.swap(0, Ordering::SeqCst);
    if bits & POLL_CODE != 0 {
        hart.forget_writes();
    }
    if bits & POLL_WATCH != 0 && hart.vm.bus.settle() {
        hart.shared().poll.fetch_or(POLL_WATCH, Ordering::SeqCst);
    }
    if bits & POLL_MAIL != 0 {
        let (fences, number) = hart.shared().take_mail();
        fences.into_iter().for_each(|f| hart.perform(f));
        hart.shared().mail_done(number);
    }
    if bits & POLL_IRQ != 0 {
        scatter(hart);
        // The deadline that brought us here is gone, and others may have moved behind it.
        hart.tell_time();
        let now = hart.vm.clock.now();
        hart.arm_timer_at(now);
        hart.take_soft();
        hart.look_at_counters();
        if hart.stops.hold_interrupts() {
            // Whoever lets them come has them looked at again.
            hart.held = true;
        } else if hart.nmi_due() {
            let pc = hart.s.pc;
            hart.nmi(pc);
            hart.held = true;
        } else if let Some(interrupt) = hart.look_for_interrupt_at(Some(now)) {
            let pc = hart.s.pc;
            hart.trap(interrupt, pc);
        }
    }
    bits & POLL_KICK != 0
}

/// WFI: sleeps until an interrupt is pending and enabled, or the caller is asked for.
fn wait(hart: &mut Hart) {
    let shared = Arc::clone(&hart.shared);
    let shared = &shared.shared;
    hart.look_at_counters();
    hart.code.arena.rest();
    // A hart that sleeps waits for its deadline itself; what ends its sleep arms it anew (`POLL_IRQ`).
    hart.vm.timers.arm(hart.id, u64::MAX);
    loop {
        hart.take_soft();
        // What was written to a watched page must not wait for an interrupt.
        if hart.wfi_wakes() || shared.poll.load(Ordering::SeqCst) & (POLL_KICK | POLL_WATCH) != 0 {
            break;
        }
        // Fences sent meanwhile are performed before the next instruction, so their senders need not wait.
        shared.in_guest.store(false, Ordering::SeqCst);
        let deadline = hart.deadline();
        if hart.vm.clock.skip_to(deadline) {
            continue;
        }
        if hart.idle.sleeps(hart.code.arena.used(), Instant::now) {
            hart.give_up_code();
        }
        shared.sleep(hart.vm.clock.until(deadline).min(hart.idle.patience()));
        hart.idle.wakes(Instant::now);
        shared.in_guest.store(true, Ordering::SeqCst);
        shared.poll.fetch_and(!POLL_IRQ, Ordering::SeqCst);
    }
    shared.poll.fetch_or(POLL_IRQ, Ordering::SeqCst);
}

/// WFI on behalf of the caller; whether it was an interrupt that ended it. Takes the kick that ends it otherwise.
pub fn wait_for_interrupt(hart: &mut Hart) -> bool {
    hart.shared().in_guest.store(true, Ordering::SeqCst);
    wait(hart);
    let woken = hart.wfi_wakes();
    if !woken {
        hart.shared().poll.fetch_and(!POLL_KICK, Ordering::SeqCst);
    }
    hart.shared().in_guest.store(false, Ordering::SeqCst);
    woken
}

/// The forced mode that drops a block every so often.
fn forced_eviction(hart: &mut Hart) {
    let n = hart.retired.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    if n.is_multiple_of(u64::from(hart.options.evict)) {
        hart.code.evict_nth(n >> 7);
        hart.drop_stale_jumps();
    }
}

/// Looks the block at `s.pc` up and runs it.
fn step(hart: &mut Hart, tr: &mut Translator) -> Exit {
    let pc = hart.s.pc;
    hart.page_base = pc & !0xfff;
    if hart.watches_code(pc) {
        return step_watched(hart, tr);
    }
    if hart.s.elp
        && let Err(t) = land(hart, pc)
    {
        return fault(hart, t, pc);
    }
    if tr.backend.is_some()
        && let Some(code) = hart.tlb.find_jump(pc)
    {
        return enter(hart, tr, code);
    }
    hart.stats.lookups += 1;
    let fetch = match fetch_code(hart, pc) {
        Ok(f) => f,
        Err(t) => return fault(hart, t, pc),
    };
    if !fetch.ram {
        return run_from_device(hart, tr, pc, fetch.walk.pa, hart.tracing.blocks);
    }
    let walk = fetch.walk;
    if hart.options.jump_cache
        && let Some(code) = hart.code.find_recent(walk.pa, block_mode(hart))
    {
        hart.tlb.fill_jump(pc, code, walk.global, walk.page_shift);
        return enter(hart, tr, code);
    }
    let id = match find_or_translate(hart, tr, pc, &walk) {
        Ok(id) => id,
        Err(t) => return fault(hart, t, pc),
    };
    run_block(hart, tr, id, pc, &walk)
}

/// Runs the one instruction at the pc that triggers and a debugger have to look at.
#[cold]
fn step_watched(hart: &mut Hart, tr: &mut Translator) -> Exit {
    let pc = hart.s.pc;
    if hart.stops.are_set() && hart.stops.stop_at(pc) {
        return Exit::Debug;
    }
    if let Err(t) = hart.check_fetch(pc) {
        return fault(hart, t, pc);
    }
    if hart.s.elp
        && let Err(t) = land(hart, pc)
    {
        return fault(hart, t, pc);
    }
    hart.count_miss(Miss::Fetch);
    hart.written_triggers = 0;
    let (counting, retired) = (triggers::counting(&hart.s), hart.retired);
    let exit = interpret_one(hart, tr, hart.tracing.blocks);
    // A trap was counted when it was taken, but for a call that is answered outside.
    if hart.retired != retired || exit == Exit::Sbi {
        triggers::count(&mut hart.s, counting & !hart.written_triggers);
    }
    exit
}

/// The code at the pc, where that takes no more than finding: what a jump looks for that the jump cache does not know.
/// Nothing is dropped, and no trap taken.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for generated code, which this host has not"))]
pub(super) fn find_code(hart: &mut Hart) -> Option<u64> {
    let pc = hart.s.pc;
    let options = &hart.options;
    if !options.jump_cache || options.evict != 0 || hart.s.elp || hart.watches_code(pc) {
        return None;
    }
    // An odd address was looked for.
    if let Some(code) = hart.tlb.find_jump(pc) {
        return Some(code);
    }
    let walk = hart.tlb.find_fetch(pc)?;
    let mode = block_mode(hart);
    let code = match hart.code.find_recent(walk.pa, mode) {
        Some(code) => code,
        None => {
            let id = hart.code.find(walk.pa, mode)?;
            let block = hart.code.block(id);
            let code = block.code;
            if let Some(second) = block.second_page {
                let next = hart.tlb.find_fetch((pc | 0xfff).wrapping_add(1)).filter(|next| next.pa == second)?;
                hart.tlb.jump_crosses(pc, next.global, next.page_shift);
            }
            hart.code.used(id);
            code
        }
    };
    hart.stats.lookups += 1;
    hart.tlb.fill_jump(pc, code, walk.global, walk.page_shift);
    Some(code)
}

fn run_block(hart: &mut Hart, tr: &mut Translator, id: BlockId, pc: u64, walk: &Walk) -> Exit {
    let block = hart.code.block(id);
    if tr.backend.is_none() {
        let ir = Arc::clone(block.ir.as_ref().expect("the interpreter keeps the IR of its blocks"));
        return interp::run(hart, &ir);
    }
    let (code, crosses) = (block.code, block.second_page.is_some());
    if hart.options.jump_cache {
        if crosses {
            match fetch_code(hart, (pc | 0xfff) + 1) {
                Ok(next) if next.ram => hart.tlb.jump_crosses(pc, next.walk.global, next.walk.page_shift),
                _ => return enter(hart, tr, code),
            }
        }
        hart.tlb.fill_jump(pc, code, walk.global, walk.page_shift);
        hart.code.used(id);
    }
    enter(hart, tr, code)
}

fn enter(hart: &mut Hart, tr: &mut Translator, code: u64) -> Exit {
    match &tr.backend {
        Some(backend) => {
            let exit = backend.enter(hart, code);
            hart.stats.exits[exit as usize] += 1;
            exit
        }
        None => unreachable!("code was made without a backend"),
    }
}

/// Finds the target of a jump that is not linked, links it and goes there.
fn follow_link(hart: &mut Hart, tr: &mut Translator, link: &WantedLink) -> Exit {
    let &WantedLink { slot, page, mode, offset } = link;
    let found = hart.code.find(page | u64::from(offset), mode);
    match found {
        Some(id) if hart.code.block(id).second_page.is_none() => {
            hart.stats.links += 1;
            if hart.options.chain {
                hart.code.link(slot, id);
            }
            let code = hart.code.block(id).code;
            enter(hart, tr, code)
        }
        _ => {
            let pc = hart.s.pc;
            let exit = translate_at(hart, tr, pc);
            match exit {
                Ok((id, walk)) => {
                    // Translating may have dropped the block the jump stands in, and if the page is mapped elsewhere by
                    // now, the target is not what the jump leads to wherever its own page is entered.
                    if hart.options.chain
                        && walk.pa & !0xfff == page
                        && hart.code.block(id).second_page.is_none()
                        && hart.code.slot_is(slot, page, mode, offset)
                    {
                        hart.code.link(slot, id);
                    }
                    run_block(hart, tr, id, pc, &walk)
                }
                Err(e) => e,
            }
        }
    }
}

/// Fetches and translates at `pc`; `Err` if a trap was taken or the code does not stand in RAM.
fn translate_at(hart: &mut Hart, tr: &mut Translator, pc: u64) -> Result<(BlockId, Walk), Exit> {
    match fetch_code(hart, pc) {
        Ok(f) if f.ram => match find_or_translate(hart, tr, pc, &f.walk) {
            Ok(id) => Ok((id, f.walk)),
            Err(t) => Err(fault(hart, t, pc)),
        },
        Ok(_) => Err(Exit::Resume),
        Err(t) => Err(fault(hart, t, pc)),
    }
}

/// Takes a fetch fault at `pc`.
fn fault(hart: &mut Hart, t: Trap, pc: u64) -> Exit {
    hart.trap(t, pc);
    Exit::Resume
}

/// Translates `pc` for execution. The page, or the word in a page that PMP divides, may be executed.
fn fetch(hart: &Hart, pc: u64) -> Result<Fetch, Trap> {
    let walk = match hart.selections.fetch() {
        Some(single) => {
            let pmp = (Pmp::of(&hart.s, &hart.vm.isa), &hart.pmp);
            single.translate(pmp, &hart.vm.ram, pc, Access::Fetch)
        }
        None => {
            let regime = Regime { windows: Some(&hart.pmp), ..Regime::fetch(&hart.s, &hart.vm.isa) };
            walk::translate(&regime, &hart.vm.ram, pc, Access::Fetch)
        }
    };
    hart.trace_walk(pc, Access::Fetch, &walk);
    let walk = walk?;
    let mode = hart.s.mode;
    let whole = hart.pmp_verdict(walk.pa & !0xfff, 4096, mode).allows(Access::Fetch);
    if !whole && !hart.pmp_verdict(walk.pa, 2, mode).allows(Access::Fetch) {
        return Err(Access::Fetch.access_fault(pc));
    }
    // Where PMP divides the page, every instruction is fetched on its own.
    Ok(Fetch { ram: whole && hart.vm.ram.host(walk.pa & !0xfff, 4096).is_some(), walk })
}

/// As [`fetch`], remembered for pages of RAM that may be executed as a whole.
pub(super) fn fetch_code(hart: &mut Hart, pc: u64) -> Result<Fetch, Trap> {
    if let Some(walk) = hart.tlb.find_fetch(pc) {
        return Ok(Fetch { walk, ram: true });
    }
    hart.count_miss(Miss::Fetch);
    let found = fetch(hart, pc)?;
    if found.ram {
        hart.tlb.fill_fetch(pc, &found.walk);
    }
    Ok(found)
}

/// An indirect jump came to `pc`, where it expects a landing pad. What is wrong with the fetch comes before what is
/// wrong with the instruction.
fn land(hart: &mut Hart, pc: u64) -> Result<(), Trap> {
    let here = fetch(hart, pc)?;
    let mut insn = u32::from(fetch_half(hart, &here, pc)?);
    if pc & 3 == 0 && arch::isa::insn_len(insn as u16) == 4 {
        let next = fetch(hart, pc + 2)?;
        insn |= u32::from(fetch_half(hart, &next, pc + 2)?) << 16;
    }
    if !cfi::lands(&hart.s, pc, insn) {
        return Err(cfi::landing_pad_fault());
    }
    hart.s.elp = false;
    Ok(())
}

/// What blocks that are entered now depend on.
pub(super) fn block_mode(hart: &Hart) -> BlockMode {
    BlockMode::of(&hart.s).cfi(hart.cfi).counting(hart.counting.armed).recording(ctr::recording(&hart.s))
}

/// An access of a loop that is in another page than the last time.
pub(super) struct LoopAccess {
    /// Offset of the loop in its page.
    pub start: u64,
    pub va: u64,
    /// Its entry among the recent pages.
    pub slot: usize,
    /// In bytes.
    pub width: u64,
    pub store: bool,
}

/// The loops of this hart have changed pages a number of times, that of `access` last. If that was too often, a load
/// gets more than a page to be in; where that is no help, the loop is translated anew, without recent pages.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for generated code, which this host has not"))]
pub(super) fn look_at_loop(hart: &mut Hart, access: &LoopAccess) {
    if !hart.page_changes.too_many(hart.retired) {
        return;
    }
    if !access.store
        && let Some(range) = hart.mapped_alike(access.va)
        && hart.tlb.widen_recent(access.slot, access.width, &range)
    {
        return;
    }
    let Ok(f) = fetch(hart, hart.page_base.wrapping_add(access.start)) else { return };
    // The loop is left where it goes back, or before: until then its way out may be a jump that wants to be linked.
    hart.scattering = Some((f.walk.pa, block_mode(hart), hart.cur as u16));
    hart.poll_interrupts();
}

/// Drops the loop that is to be translated anew.
fn scatter(hart: &mut Hart) {
    if let Some((pa, mode, at)) = hart.scattering.take()
        && let Some(id) = hart.code.find(pa, mode)
    {
        hart.code.scatter(id, at);
        hart.drop_stale_jumps();
    }
}

fn find_or_translate(hart: &mut Hart, tr: &mut Translator, pc: u64, walk: &Walk) -> Result<BlockId, Trap> {
    let mode = block_mode(hart);
    if let Some(id) = hart.code.find(walk.pa, mode) {
        let Some(second) = hart.code.block(id).second_page else { return Ok(id) };
        // The second page may be mapped elsewhere than when the block was made.
        let next = fetch_code(hart, (pc | 0xfff) + 1)?;
        if next.ram && next.walk.pa == second {
            return Ok(id);
        }
        hart.code.kill(id);
        hart.drop_stale_jumps();
    }
    translate_block(hart, tr, pc, walk.pa, mode)
}

fn translate_block(hart: &mut Hart, tr: &mut Translator, pc: u64, pa: u64, mode: BlockMode) -> Result<BlockId, Trap> {
    let begun = hart.stats.begin();
    loop {
        if let Some(id) = try_to_translate(hart, tr, pc, (pa, mode), begun)? {
            return Ok(id);
        }
    }
}

/// Makes a block; `None` if there was no room for it, which there is now. `begun`: when the first attempt began.
fn try_to_translate(
    hart: &mut Hart,
    tr: &mut Translator,
    pc: u64,
    (pa, mode): (u64, BlockMode),
    begun: Option<Duration>,
) -> Result<Option<BlockId>, Trap> {
    if tr.backend.is_none() && hart.code.len() >= MAX_INTERPRETED_BLOCKS {
        hart.drop_code();
    }
    hart.drop_stale_jumps();
    add_page(hart, pa & !0xfff);
    // As far as the block can go.
    let first = (4096 - (pa & 0xfff) as usize).min(4 * usize::from(translate::MAX_INSNS));
    let mut bytes = std::mem::take(&mut tr.bytes);
    hart.vm.ram.read_into(&mut bytes, pa, first);
    let (limit, traced) = (hart.options.block_insns, hart.tracing.blocks);
    let mut second_page = None;
    if translate::translate(&mut tr.builder, &tr.decoder, &source(&bytes, pa, None, mode, traced), limit).is_err() {
        let at = (pc | 0xfff) + 1;
        let next = fetch(hart, at)?;
        let second = next.walk.pa & !0xfff;
        let half = fetch_half(hart, &next, at)?;
        // Where it is no RAM, or divided by PMP, the block is good for one run (see `find_or_translate`).
        add_page(hart, second);
        second_page = Some(second);
        // The block is this one instruction: beyond it another page begins.
        let done = translate::translate(&mut tr.builder, &tr.decoder, &source(&bytes, pa, Some(half), mode, traced), 1);
        debug_assert!(done.is_ok());
        bytes.extend(half.to_le_bytes());
    }
    translate::check(&tr.builder.block);
    let scattered = hart.code.is_scattered(pa, mode);
    if let Some(backend) = &mut tr.backend {
        backend.assume_vectors(hart.vector_word);
        backend.profile(region::are_made(&hart.options, mode) && !hart.tracing.blocks);
        let size = loop {
            fold_block(&mut tr.builder.block);
            let size = backend.compile(&tr.builder.block, scattered, &mut hart.code).len();
            if size <= backend::MAX_BLOCK_BYTES {
                break size;
            }
            // What outgrows its room is made again of half as many instructions. One alone never does.
            hart.code.free_slots(backend.links().iter().map(|l| l.slot));
            let limit = (tr.builder.block.insns / 2).max(1);
            let done =
                translate::translate(&mut tr.builder, &tr.decoder, &source(&bytes, pa, None, mode, traced), limit);
            debug_assert!(done.is_ok());
        };
        if hart.code.arena.room() < size {
            hart.code.free_slots(backend.links().iter().map(|l| l.slot));
            hart.code.reserve(size);
            // That may have dropped blocks and the pages just added, and the code was made for another place.
            tr.bytes = bytes;
            return Ok(None);
        }
    }
    let len = usize::from(tr.builder.block.end - tr.builder.block.start);
    let hash = hash_code(&bytes[..len]);
    let mut new =
        NewBlock { key: (pa, mode), from: pa, len: len as u16, second_page, hash, code: 0, ir: None, tier: 1 };
    let mut host_bytes = 0;
    match &mut tr.backend {
        Some(backend) => {
            host_bytes = backend.compiled().len();
            new.code = hart.code.arena.push(backend.compiled());
        }
        None => new.ir = Some(Arc::new(tr.builder.block.clone())),
    }
    hart.stats.translated(begun, tr.builder.block.insns, len, host_bytes);
    if hart.is_observed() {
        observe::show(hart, &tr.decoder, &made(hart, tr, pc, &bytes[..len], &new, host_bytes));
    }
    tr.bytes = bytes;
    tr.place(hart, (new.code, host_bytes), (pa, pc), false);
    Ok(Some(hart.code.insert(new, tr.links())))
}

/// For generated code, in which a jump to the block's own start stays.
fn fold_block(block: &mut IrBlock) {
    let start = i64::from(block.start);
    fold(block, |to| to == start);
    translate::check(block);
}

/// The code of the block at `pa` in `bytes`, to be translated for `mode`.
fn source(bytes: &[u8], pa: u64, next_page: Option<u16>, mode: BlockMode, traced: bool) -> translate::Source<'_> {
    let (page, start) = (pa & !0xfff, (pa & 0xfff) as u16);
    translate::Source { bytes, page, start, next_page, mode, stops: &[], traced }
}

/// The block as an observer is shown it.
fn made<'a>(
    hart: &'a Hart,
    tr: &'a Translator,
    pc: u64,
    bytes: &'a [u8],
    new: &NewBlock,
    host_bytes: usize,
) -> observe::Made<'a> {
    let host = if new.code == 0 { &[] } else { hart.code.arena.bytes(new.code, host_bytes) };
    let marks = tr.backend.as_ref().map_or(&[][..], backend::Backend::marks);
    let ir = &tr.builder.block;
    observe::Made { hart: hart.id, pc, mode: new.key.1, bytes, from: pc, ir, address: new.code, host, marks }
}

/// Watches a page before its code is read for the first time.
fn add_page(hart: &mut Hart, page: u64) {
    if !hart.code.has_page(page) {
        hart.vm.ram.collect_device_write(page);
        let (version, announced) = hart.watch_page(page);
        hart.code.add_page(page, version, announced);
        hart.note_unsettled();
    }
}

/// Reads 16 bits of code that was fetched successfully, from RAM or a device.
fn fetch_half(hart: &mut Hart, f: &Fetch, pc: u64) -> Result<u16, Trap> {
    let mut data = [0; 2];
    match hart.vm.ram.read_bytes(f.walk.pa, 2) {
        Some(v) => data.copy_from_slice(&v),
        None => hart.vm.bus.read(f.walk.pa, &mut data).map_err(|_| Access::Fetch.access_fault(pc))?,
    }
    Ok(u16::from_le_bytes(data))
}

/// The encoding of the instruction at `pc`, which is executing; `None` where it does not stand in RAM.
pub(super) fn encoding(hart: &Hart, pc: u64) -> Option<u32> {
    let half = |pc| {
        let data = hart.vm.ram.read_bytes(fetch(hart, pc).ok()?.walk.pa, 2)?;
        Some(u16::from_le_bytes([data[0], data[1]]))
    };
    let low = half(pc)?;
    let high = if arch::isa::insn_len(low) == 4 { half(pc.wrapping_add(2))? } else { 0 };
    Some(u32::from(low) | u32::from(high) << 16)
}

/// Runs the instruction at the pc, which generated code cannot do, in the interpreter.
fn interpret_one(hart: &mut Hart, tr: &mut Translator, traced: bool) -> Exit {
    let pc = hart.s.pc;
    hart.page_base = pc & !0xfff;
    match fetch(hart, pc) {
        Ok(f) => run_from_device(hart, tr, pc, f.walk.pa, traced),
        Err(t) => fault(hart, t, pc),
    }
}

/// Runs one instruction from a ROM or flash, or from a page that PMP divides; nothing is kept.
fn run_from_device(hart: &mut Hart, tr: &mut Translator, pc: u64, pa: u64, traced: bool) -> Exit {
    let insn = (|| {
        let here = fetch(hart, pc)?;
        let low = fetch_half(hart, &here, pc)?;
        if arch::isa::insn_len(low) == 2 {
            return Ok((low, None));
        }
        let next = fetch(hart, pc.wrapping_add(2))?;
        let high = fetch_half(hart, &next, pc.wrapping_add(2))?;
        Ok((low, Some(high)))
    })();
    let (low, high) = match insn {
        Ok(i) => i,
        Err(t) => return fault(hart, t, pc),
    };
    let bytes = low.to_le_bytes();
    let mode = BlockMode::of(&hart.s).cfi(hart.cfi).recording(ctr::recording(&hart.s));
    let source = source(&bytes, pa, high, mode, traced);
    let done = translate::translate(&mut tr.builder, &tr.decoder, &source, 1);
    debug_assert!(done.is_ok());
    std::mem::swap(&mut tr.builder.block, &mut tr.scratch);
    let interpreting = std::mem::replace(&mut hart.interpreting, true);
    let exit = interp::run(hart, &tr.scratch);
    hart.interpreting = interpreting;
    std::mem::swap(&mut tr.builder.block, &mut tr.scratch);
    exit
}
