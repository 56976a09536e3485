//! The portable interpreter of IR: runs blocks where there is no backend, and is what backends are compared with.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::{Dst, FDst, FVal, Gated, Helper, IrBlock, Op, Val, Width, csr_code};
use crate::tcg::csr::CsrOp;
use crate::tcg::hart::{Exit, Hart, NO_RESERVATION};
use crate::tcg::helpers::{system, vector};
use crate::tcg::reservation::{Since, certainly_loud};

fn get(h: &Hart, v: Val) -> u64 {
    match v {
        Val::X(r) => h.s.x[usize::from(r)],
        Val::T(t) => h.temps[usize::from(t)],
        Val::C(c) => c as u64,
    }
}

fn put(h: &mut Hart, d: Dst, v: u64) {
    match d {
        Dst::X(r) => h.s.x[usize::from(r)] = v,
        Dst::T(t) => h.temps[usize::from(t)] = v,
    }
}

fn put_opt(h: &mut Hart, d: Option<Dst>, v: u64) {
    if let Some(d) = d {
        put(h, d, v);
    }
}

/// Runs `block`, which stands in the page at `hart.page_base`, to its end or to the exit it takes.
/// `s.pc` and the counters are then those of the next instruction.
pub fn run(h: &mut Hart, block: &IrBlock) -> Exit {
    let mut done = 0u32;
    h.exit = Exit::None;
    for (i, op) in block.ops.iter().enumerate() {
        if let Op::Insn { offset, .. } = *op {
            h.cur = u32::from(offset) | done << 16;
            done += 1;
            continue;
        }
        if let Some(exit) = step(h, &block.ops, i, done) {
            return exit;
        }
        if h.exit != Exit::None {
            return h.exit;
        }
    }
    unreachable!("a block ends with an operation that leaves it");
}

/// What an access by `base` accesses.
fn address(h: &Hart, base: Val, offset: i32) -> u64 {
    get(h, base).wrapping_add(offset as u64)
}

/// What stands at `offset` from the start of the block's page.
fn in_page(h: &Hart, offset: i64) -> u64 {
    h.page_base.wrapping_add(offset as u64)
}

/// Calls a helper of CSR instructions: `raw` is the instruction, and `code` what it does.
fn call_csr(h: &mut Hart, helper: Helper, code: i64, src: Val, raw: u32) -> u64 {
    let src = get(h, src);
    system::call(h, helper, code as u64, src, u64::from(raw))
}

/// A CSR that code reads itself, if it is not for a helper now.
fn read_gated(h: &mut Hart, what: Gated, raw: u32) -> u64 {
    match what {
        _ if h.by_call & what.gate() as u8 != 0 => {
            call_csr(h, Helper::Csr, csr_code(CsrOp::Rs, false, raw), Val::C(0), raw)
        }
        Gated::Word(field, _) => field.get(&h.s),
        Gated::Live(live) => h.live(live),
    }
}

/// Leaves to `pc` after `done` instructions, with `before` done.
fn leave(h: &mut Hart, pc: u64, done: u32, before: &[Op]) -> Option<Exit> {
    h.s.pc = pc;
    let entered = h.retired;
    h.retired += u64::from(done);
    if h.res_addr != NO_RESERVATION {
        h.reservation_left(Since::behind(before), entered);
    }
    Some(Exit::Resume)
}

/// Performs operation `i` of `ops`, a block, after `done` instructions.
fn step(h: &mut Hart, ops: &[Op], i: usize, done: u32) -> Option<Exit> {
    match ops[i] {
        Op::Insn { .. } => {}
        Op::Mov { d, s } => {
            let v = get(h, s);
            put(h, d, v);
        }
        Op::Bin { op, d, a, b } => {
            let v = op.eval(get(h, a), get(h, b));
            put(h, d, v);
        }
        Op::Un { op, d, a } => {
            let v = op.eval(get(h, a));
            put(h, d, v);
        }
        Op::Late { op, d, a, n } => {
            let v = op.eval(get(h, Val::X(a)), u64::from(n));
            put(h, Dst::X(d), v);
        }
        Op::PcRel { d, offset } => {
            let v = in_page(h, offset);
            put(h, d, v);
        }
        Op::Load { d, base, offset, width, signed } => {
            let va = address(h, base, offset);
            let Some(v) = h.load(va, width.bytes()) else { return Some(h.exit) };
            put_opt(h, d, width.extend(v, signed));
        }
        Op::Store { base, offset, src, width } => {
            let va = address(h, base, offset);
            let v = get(h, src);
            h.store(va, width.bytes(), v);
        }
        Op::LoadF { fd, base, offset, width } => {
            let va = address(h, base, offset);
            let Some(v) = h.load(va, width.bytes()) else { return Some(h.exit) };
            h.s.f[usize::from(fd)] = boxed(width, v);
        }
        Op::StoreF { fs, base, offset, width } => {
            let va = address(h, base, offset);
            let v = h.s.f[usize::from(fs)];
            h.store(va, width.bytes(), v);
        }
        Op::Amo { op, width, d, addr, src } => {
            let (va, v) = (get(h, addr), get(h, src));
            let old = h.amo(op, width, va, v);
            put_unless_left(h, d, old);
        }
        Op::Cas { width, d, addr, expected, src } => {
            let (va, expected, v) = (get(h, addr), get(h, expected), get(h, src));
            let old = h.compare_and_swap(width, va, expected, v);
            put_unless_left(h, d, old);
        }
        Op::CheckAligned { width, addr, store } => {
            let va = get(h, addr);
            h.check_aligned(va, width, store);
        }
        Op::Lr { width, d, addr } => {
            let va = get(h, addr);
            let v = lr_at(h, width, va, certainly_loud(&ops[i + 1..]));
            put_unless_left(h, d, v);
        }
        Op::Sc { width, d, addr, src } => {
            let (va, v) = (get(h, addr), get(h, src));
            let failed = sc_at(h, width, va, v, Since::behind(&ops[..i]));
            put_unless_left(h, d, failed);
        }
        Op::FenceStoreLoad { .. } => fence(Ordering::SeqCst),
        Op::FpCheck { checks, raw } => {
            if h.fp_missing & checks != 0 {
                system::call(h, Helper::FpCheck, u64::from(checks), 0, u64::from(raw));
            }
        }
        Op::FpCsr { kind, write, d, src, raw, .. } => {
            let v = call_csr(h, Helper::Csr, csr_code(kind, write, raw), src, raw);
            put_unless_left(h, d, v);
        }
        Op::Fp { op, rm, d, a, b, c } => {
            let [a, b, c] = [a, b, c].map(|v| match v {
                FVal::F(r) => h.s.f[usize::from(r)],
                FVal::X(r) => h.s.x[usize::from(r)],
                FVal::C(c) => u64::from(c),
            });
            let v = system::fp(h, op, rm, a, b, c);
            match d {
                FDst::F(r) => h.s.f[usize::from(r)] = v,
                FDst::X(0) => {}
                FDst::X(r) => h.s.x[usize::from(r)] = v,
            }
        }
        Op::Vector { op, raw, d, a, b } => {
            let (a, b) = (get(h, a), get(h, b));
            let v = vector::run(h, op, raw, a, b);
            put_unless_left(h, d, v);
        }
        Op::ReadState { d, field } => {
            let v = field.get(&h.s);
            put(h, d, v);
        }
        Op::WriteState { field, src } => {
            let v = get(h, src);
            field.set(&mut h.s, v);
        }
        Op::ReadGated { d, what, raw } => {
            let v = read_gated(h, what, raw);
            put_unless_left(h, Some(d), v);
        }
        Op::Status { d, kind, write, src, raw } => {
            let v = call_csr(h, Helper::Status, csr_code(kind, write, raw), src, raw);
            put_unless_left(h, d, v);
        }
        Op::Call { helper, d, args } => {
            let [a, b, c] = args.map(|v| get(h, v));
            let v = system::call(h, helper, a, b, c);
            put_unless_left(h, d, v);
        }
        Op::BranchIf { cond, a, b, target } => {
            if cond.eval(get(h, a), get(h, b)) {
                return leave(h, in_page(h, target.offset), done, &ops[..i]);
            }
        }
        Op::Linkage(_) => {}
        Op::Jump { target } => {
            return leave(h, in_page(h, target.offset), done, &ops[..i]);
        }
        Op::JumpReg { addr } => {
            let pc = get(h, addr) & !1;
            return leave(h, pc, done, &ops[..i]);
        }
    }
    None
}

fn put_unless_left(h: &mut Hart, d: Option<Dst>, v: u64) {
    if let (Some(d), Exit::None) = (d, h.exit) {
        put(h, d, v);
    }
}

/// A load-reserved at a virtual address. `loud`: it has to be exact.
pub fn lr_at(h: &mut Hart, width: Width, va: u64, loud: bool) -> u64 {
    let Some(host) = h.atomic_place(va, width.bytes(), false) else { return 0 };
    h.res_exact = h.reserves_exactly(loud);
    let read = || load_atomic(host, width);
    let v = width.extend(if h.res_exact { h.reserve(host, read) } else { read() }, true);
    h.res_addr = host as u64 | reservation_tag(width);
    h.res_value = v;
    v
}

/// A store-conditional at a virtual address, with `since` before it in its block; returns 1 if it failed.
pub fn sc_at(h: &mut Hart, width: Width, va: u64, v: u64, since: Since) -> u64 {
    let Some(host) = h.atomic_place(va, width.bytes(), true) else { return 0 };
    let reserved = h.res_addr == host as u64 | reservation_tag(width);
    h.res_addr = NO_RESERVATION;
    let old = h.res_value;
    let stored = reserved && h.store_conditionally(host, width.bytes(), since, || swap_if(host, width, old, v));
    u64::from(!stored)
}

/// What a narrow floating-point load puts into the register.
pub fn boxed(width: Width, v: u64) -> u64 {
    match width {
        Width::D => v,
        Width::W => v | 0xffff_ffff_0000_0000,
        _ => v | !0xffff,
    }
}

/// Distinguishes reservations by size: an SC of another size than its LR fails.
pub fn reservation_tag(width: Width) -> u64 {
    if width == Width::D { 2 } else { 1 }
}

fn load_atomic(host: *mut u8, width: Width) -> u64 {
    // SAFETY: `atomic_place` answered for an aligned access of this width in guest RAM.
    unsafe {
        match width {
            Width::D => (*host.cast::<AtomicU64>()).load(Ordering::SeqCst),
            _ => u64::from((*host.cast::<AtomicU32>()).load(Ordering::SeqCst)),
        }
    }
}

fn swap_if(host: *mut u8, width: Width, old: u64, new: u64) -> bool {
    // SAFETY: as in `load_atomic`.
    unsafe {
        match width {
            Width::D => {
                (*host.cast::<AtomicU64>()).compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            }
            _ => (*host.cast::<AtomicU32>())
                .compare_exchange(old as u32, new as u32, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok(),
        }
    }
}
