//! Fixed code at the start of the arena: entry, exit, and the calls out to Rust.

use rustc_hash::FxHashMap;

use super::asm::{Alu, Asm, Cc, Reg, Shift, mem, mem_index};
use super::covers::{cover_field, look, look_twice};
use super::regs::{PINS, is_volatile};
use super::*;
use crate::tcg::code_cache::arena::Arena;
use crate::tcg::csr::Live;
use crate::tcg::exec;
use crate::tcg::hart::{COVERS, called_from};
use crate::tcg::helpers::softfloat::{FpOp, Rm};
use crate::tcg::helpers::{system, vector};
use crate::tcg::ir::{AmoOp, Helper, Width, interp};
use crate::tcg::mmu::tlb::{JUMP_ENTRIES, Tables};

/// Addresses of the thunks.
#[derive(Debug, Default)]
pub struct Thunks {
    /// Calls of Rust leave all guest registers in the state, and say where they came from (`Hart::called_from`).
    pub shown: bool,
    /// `fn(hart, code) -> exit reason`.
    pub enter: u64,
    /// Jumped to with the reason in EAX.
    pub exit: u64,
    /// Called with the pc in RAX, and in RCX twice its index in the jump cache, where the first slot did not match. RDX
    /// and `PAGE_BASE` are then as of [`take_jump`]; leaves generated code if there is nothing to jump to.
    pub find: u64,
    /// Jumped to instead, and jumps on.
    pub lookup: u64,
    /// Jumped to with the pc in RAX.
    pub poll: u64,
    /// The same with the offset in the page of the block.
    pub poll_offset: u64,
    /// Jumped to where a helper left the block for `s.pc` by `Exit::Jump`.
    onward: u64,
    /// Called by an unlinked jump, whose slot stands behind the call; does not return.
    pub link: u64,
    pub load: u64,
    pub store: u64,
    /// Called with the address in RAX; an [`AccessAt`] stands behind the call. For the register map of blocks.
    pub load_at: u64,
    pub store_at: u64,
    /// Called with the address in RAX; for loads and stores, by width, see [`look`].
    pub look: [[u64; 4]; 2],
    /// Called with the addresses of a group in RAX and RDX; for loads and stores, see [`look_twice`].
    pub look_twice: [u64; 2],
    pub amo: u64,
    /// By width.
    pub cas: [u64; 4],
    pub check_aligned: u64,
    pub lr: u64,
    pub sc: u64,
    pub eval: u64,
    /// Reads the clock.
    pub time: u64,
    pub page_changes: u64,
    pub fp: u64,
    pub vector: u64,
    helpers: Vec<u64>,
    /// End of the last.
    end: u64,
    /// Called after a jump that was taken often, with the offset of its target in RAX. Behind the call stand length and
    /// counter of the code that counts, and how far from there it is. Does not return.
    pub hot: u64,
    /// As `exit`, with all guest registers in memory.
    exit_bare: u64,
    onward_bare: u64,
    /// For each thunk that calls Rust, one for code with another register map, see [`Thunks::bare`].
    bare: FxHashMap<u64, u64>,
}

const HELPERS: &[Helper] = &[
    Helper::Csr,
    Helper::Status,
    Helper::Ecall,
    Helper::Ebreak,
    Helper::Mret,
    Helper::Mnret,
    Helper::Sret,
    Helper::Wfi,
    Helper::SfenceVma,
    Helper::HfenceVvma,
    Helper::HfenceGvma,
    Helper::HyperLoad,
    Helper::HyperStore,
    Helper::SfenceInval,
    Helper::FenceI,
    Helper::Illegal,
    Helper::CboManage,
    Helper::CboZero,
    Helper::Wrs,
    Helper::CheckLimit,
    Helper::Transfer,
    Helper::Sctrclr,
    Helper::MisalignedJump,
    Helper::CheckJump,
    Helper::CompareAndSwap16,
    Helper::JumpToPad,
    Helper::ShadowPush,
    Helper::ShadowPop,
    Helper::ShadowPointer,
    Helper::ShadowSwap,
    Helper::FpCheck,
    Helper::Interpret,
    Helper::Trace,
];

/// The registers among [`PINS`] that a call may change.
fn volatile() -> impl Iterator<Item = (u8, Reg)> {
    PINS.into_iter().filter(|&(_, r)| is_volatile(r))
}

const SAVED: [Reg; 6] = [Reg::Rbx, Reg::Rbp, Reg::R12, Reg::R13, Reg::R14, Reg::R15];

impl Thunks {
    pub fn emit(asm: &mut Asm, arena: &mut Arena, shown: bool) -> Self {
        asm.reset(arena.cursor());
        let mut t = Thunks { shown, enter: asm.here(), ..Thunks::default() };
        SAVED.iter().for_each(|&r| asm.push(r));
        asm.lea(true, HART, mem(Reg::Rdi, BIAS));
        let unpaired = returns::begin(asm);
        asm.stmxcsr(HOST_MXCSR);
        asm.ldmxcsr(MXCSR);
        asm.mov(true, Reg::Rax, Reg::Rsi);
        PINS.iter().for_each(|&(x, r)| asm.mov(true, r, x_slot(x)));
        asm.mov(true, TABLES, TABLES_FIELD);
        asm.jmp_reg(Reg::Rax);

        t.lookup = asm.here();
        let find = asm.call_forward();
        asm.jmp_reg(Reg::Rdx);
        // The first slot did not match: the second, else Rust. RCX is the index times two.
        asm.bind(find);
        t.find = asm.here();
        asm.alu_imm(Alu::Xor, false, Reg::Rcx, 2);
        asm.alu(Alu::Cmp, true, Reg::Rax, slot_word(offset_of!(Tables, jump)));
        let miss = asm.jcc_forward(Cc::Ne);
        asm.mov(true, Reg::Rdx, slot_word(offset_of!(Tables, jump) + 8));
        let found = asm.here();
        asm.alu_imm(Alu::And, true, Reg::Rax, -4096);
        asm.store(8, PAGE_BASE, Reg::Rax);
        asm.ret();
        // As `call`, but that the stack and what it knows of calls stay.
        asm.bind(miss);
        asm.alu_imm(Alu::And, true, Reg::Rax, -2);
        asm.store(8, PC, Reg::Rax);
        t.save(asm);
        if shown {
            asm.store_imm(8, CALLED_FROM, called_from::JUMP as i32);
        }
        asm.lea(true, Reg::Rdi, mem(HART, -BIAS));
        asm.mov_imm(Reg::Rax, h_find as *const () as i64);
        asm.alu_imm(Alu::Sub, true, Reg::Rsp, 8);
        asm.call_reg(Reg::Rax);
        asm.alu_imm(Alu::Add, true, Reg::Rsp, 8);
        volatile().for_each(|(x, r)| asm.mov(true, r, x_slot(x)));
        asm.mov(true, TABLES, TABLES_FIELD);
        asm.mov(true, Reg::Rdx, Reg::Rax);
        asm.mov(true, Reg::Rax, PC);
        asm.test(true, Reg::Rdx, Reg::Rdx);
        asm.jcc(Cc::Ne, found);
        asm.mov_imm(Reg::Rax, Exit::Lookup as i64);
        let to_exit = asm.jmp_forward();
        t.poll_offset = asm.here();
        asm.alu(Alu::Add, true, Reg::Rax, PAGE_BASE);
        t.poll = asm.here();
        asm.alu_imm(Alu::And, true, Reg::Rax, -2);
        asm.store(8, PC, Reg::Rax);
        asm.mov_imm(Reg::Rax, Exit::Poll as i64);

        let also_to_exit = asm.jmp_forward();
        t.hot = asm.here();
        asm.pop(Reg::Rdx);
        asm.mov(false, Reg::Rcx, mem(Reg::Rdx, 0));
        asm.store(4, HOT_CODE, Reg::Rcx);
        asm.extend(4, true, Reg::Rcx, mem(Reg::Rdx, 4));
        asm.alu(Alu::Add, true, Reg::Rcx, Reg::Rdx);
        asm.store(8, HOT_SITE, Reg::Rcx);
        asm.alu(Alu::Add, true, Reg::Rax, PAGE_BASE);
        asm.store(8, PC, Reg::Rax);
        asm.mov_imm(Reg::Rax, Exit::Hot as i64);
        let hot_to_exit = asm.jmp_forward();
        t.link = asm.here();
        asm.pop(Reg::Rax);
        asm.mov(false, Reg::Rax, mem(Reg::Rax, 0));
        asm.store(4, LINK, Reg::Rax);
        asm.mov_imm(Reg::Rax, Exit::Link as i64);

        asm.bind(to_exit);
        asm.bind(also_to_exit);
        asm.bind(hot_to_exit);
        t.exit = asm.here();
        PINS.iter().for_each(|&(x, r)| asm.store(8, x_slot(x), r));
        t.exit_bare = asm.here();
        if shown {
            asm.store_imm(8, CALLED_FROM, called_from::OUTSIDE as i32);
        }
        asm.stmxcsr(MXCSR);
        asm.ldmxcsr(HOST_MXCSR);
        returns::end(asm);
        SAVED.iter().rev().for_each(|&r| asm.pop(r));
        asm.ret();

        asm.bind(unpaired);
        returns::reset(asm);
        probe_jump(asm, t.lookup);

        t.onward = asm.here();
        onward(asm, t.exit, t.lookup);

        // The same with all guest registers in memory.
        t.onward_bare = asm.here();
        PINS.iter().for_each(|&(x, r)| asm.mov(true, r, x_slot(x)));
        asm.jmp(t.onward);

        t.look = [false, true].map(|write| Width::ALL.map(|width| look(asm, width, write)));
        t.look_twice = [false, true].map(|write| look_twice(asm, write));
        t.load = call(asm, &mut t, h_load as *const () as u64, 0);
        t.store = call(asm, &mut t, h_store as *const () as u64, 0);
        t.load_at = call_described(asm, &t, h_load_at as *const () as u64);
        t.store_at = call_described(asm, &t, h_store_at as *const () as u64);
        t.amo = call(asm, &mut t, h_amo as *const () as u64, 0);
        t.cas = std::array::from_fn(|width| call(asm, &mut t, h_cas as *const () as u64, width as i64));
        t.check_aligned = call(asm, &mut t, h_check_aligned as *const () as u64, 0);
        t.lr = call(asm, &mut t, h_lr as *const () as u64, 0);
        t.sc = call(asm, &mut t, h_sc as *const () as u64, 0);
        t.eval = call(asm, &mut t, h_eval as *const () as u64, 0);
        t.time = call(asm, &mut t, h_time as *const () as u64, 0);
        t.page_changes = call(asm, &mut t, h_page_changes as *const () as u64, 0);
        t.fp = call(asm, &mut t, h_fp as *const () as u64, 0);
        t.vector = call(asm, &mut t, h_vector as *const () as u64, 0);
        t.helpers = HELPERS.iter().enumerate().map(|(i, &h)| helper(asm, &mut t, h, i as i64)).collect();
        t.end = asm.here();
        arena.push(&asm.code);
        t
    }

    /// Puts into the state what a function may look at, or change.
    fn save(&self, asm: &mut Asm) {
        let looked_at = PINS.into_iter().filter(|&(_, r)| self.shown || is_volatile(r));
        looked_at.for_each(|(x, r)| asm.store(8, x_slot(x), r));
    }

    /// Where code calls a function, whose own registers but for arguments are in the state: `true` if the address that it
    /// goes on at is on the stack, else the current instruction says it.
    fn show_call(&self, asm: &mut Asm, returns: bool) {
        match (self.shown, returns) {
            (false, _) => {}
            (true, true) => {
                asm.mov(true, Reg::R11, mem(Reg::Rsp, 0));
                asm.store(8, CALLED_FROM, Reg::R11);
            }
            (true, false) => asm.store_imm(8, CALLED_FROM, called_from::CURRENT as i32),
        }
    }

    /// Name, address and size of each.
    pub fn listed(&self) -> Vec<(String, u64, usize)> {
        let fixed = [
            ("enter", self.enter),
            ("lookup", self.lookup),
            ("find", self.find),
            ("poll", self.poll),
            ("link", self.link),
            ("exit", self.exit),
            ("load", self.load),
            ("store", self.store),
            ("load-at", self.load_at),
            ("store-at", self.store_at),
            ("hot", self.hot),
            ("look", self.look[0][0]),
            ("look-twice", self.look_twice[0]),
            ("amo", self.amo),
            ("check-aligned", self.check_aligned),
            ("lr", self.lr),
            ("sc", self.sc),
            ("eval", self.eval),
            ("time", self.time),
            ("fp", self.fp),
            ("vector", self.vector),
        ];
        let mut all: Vec<_> = fixed.iter().map(|(name, at)| (format!("thunk-{name}"), *at)).collect();
        all.extend(self.cas.iter().map(|at| ("thunk-cas".to_owned(), *at)));
        all.extend(HELPERS.iter().zip(&self.helpers).map(|(helper, at)| (format!("thunk-{helper:?}"), *at)));
        all.sort_by_key(|(_, at)| *at);
        let ends: Vec<u64> = all.iter().skip(1).map(|(_, at)| *at).chain([self.end]).collect();
        all.into_iter().zip(ends).map(|((name, at), end)| (name, at, (end - at) as usize)).collect()
    }

    /// The same as `thunk`, but guest registers are in memory before, and the caller loads them again.
    pub fn bare(&self, thunk: u64) -> u64 {
        self.bare[&thunk]
    }

    pub fn helper(&self, h: Helper) -> u64 {
        let i = HELPERS.iter().position(|&x| x == h).expect("every helper has a thunk");
        self.helpers[i]
    }
}

fn helper(asm: &mut Asm, t: &mut Thunks, helper: Helper, id: i64) -> u64 {
    match helper {
        _ if helper.ends_block() => leave(asm, t, function(helper), id),
        Helper::Trace => call_shown(asm, t, function(helper), id),
        _ => call(asm, t, function(helper), id),
    }
}

/// As [`call`], for a function that always sets `exit`. It is jumped to, since the host would go on expecting the return
/// of a call; and each goes on by a jump of its own, since they lead to different places.
fn leave(asm: &mut Asm, t: &mut Thunks, f: u64, id: i64) -> u64 {
    let function = |asm: &mut Asm| {
        t.show_call(asm, false);
        pass(asm, f, id);
        asm.call_reg(Reg::Rax);
    };
    let bare = asm.here();
    function(asm);
    PINS.iter().for_each(|&(x, r)| asm.mov(true, r, x_slot(x)));
    let rest = asm.jmp_forward();
    let at = asm.here();
    t.save(asm);
    function(asm);
    volatile().for_each(|(x, r)| asm.mov(true, r, x_slot(x)));
    asm.bind(rest);
    asm.mov(true, TABLES, TABLES_FIELD);
    asm.mov(false, Reg::Rax, EXIT);
    asm.alu_imm(Alu::Cmp, false, Reg::Rax, Exit::Jump as i32);
    asm.jcc(Cc::Ne, t.exit);
    onward(asm, t.exit, t.lookup);
    t.bare.insert(at, bare);
    at
}

/// Goes on by the jump cache where a helper left the block for `s.pc`, unless there is something else to do.
fn onward(asm: &mut Asm, exit: u64, lookup: u64) {
    asm.store_imm(4, EXIT, Exit::None as i32);
    asm.alu_imm(Alu::Cmp, false, POLL, 0);
    asm.mov_imm_keep_flags(Reg::Rax, Exit::Poll as i64);
    asm.jcc(Cc::Ne, exit);
    asm.mov(true, Reg::Rax, PC);
    probe_jump(asm, lookup);
}

/// What a function is passed, whose address is then in RAX.
fn pass(asm: &mut Asm, f: u64, id: i64) {
    asm.mov(true, Reg::Rsi, Reg::Rax);
    asm.lea(true, Reg::Rdi, mem(HART, -BIAS));
    asm.mov_imm(Reg::R8, id);
    asm.mov_imm(Reg::Rax, f as i64);
}

/// A call to `f(hart, RAX, RDX, RCX, id)` that keeps all guest registers but those in vector registers; leaves the block
/// if the function set `exit`. MXCSR stays the guest's.
fn call(asm: &mut Asm, t: &mut Thunks, f: u64, id: i64) -> u64 {
    let bare = asm.here();
    t.show_call(asm, true);
    call_bare(asm, (t.exit_bare, t.onward_bare), f, id, |_| {});
    let at = asm.here();
    t.save(asm);
    t.show_call(asm, true);
    call_bare(asm, (t.exit, t.onward), f, id, |asm| volatile().for_each(|(x, r)| asm.mov(true, r, x_slot(x))));
    t.bare.insert(at, bare);
    at
}

/// As [`call`], for code with the register map of blocks and a function that looks at all guest registers.
fn call_shown(asm: &mut Asm, t: &Thunks, f: u64, id: i64) -> u64 {
    let at = asm.here();
    PINS.iter().for_each(|&(x, r)| asm.store(8, x_slot(x), r));
    t.show_call(asm, true);
    call_bare(asm, (t.exit, t.onward), f, id, |asm| volatile().for_each(|(x, r)| asm.mov(true, r, x_slot(x))));
    at
}

/// A call to `f(hart, RAX, word)` with the word behind the call of the thunk, where it goes on after. All guest registers
/// are in memory for it.
fn call_described(asm: &mut Asm, t: &Thunks, f: u64) -> u64 {
    let at = asm.here();
    asm.pop(Reg::Rcx);
    asm.mov(false, Reg::Rdx, mem(Reg::Rcx, 0));
    asm.alu_imm(Alu::Add, true, Reg::Rcx, 4);
    asm.push(Reg::Rcx);
    PINS.iter().for_each(|&(x, r)| asm.store(8, x_slot(x), r));
    t.show_call(asm, true);
    call_bare(asm, (t.exit, t.onward), f, 0, |asm| PINS.iter().for_each(|&(x, r)| asm.mov(true, r, x_slot(x))));
    at
}

/// Whether calls to it inside of a group of accesses may change the TLB, see `covers`: a device may answer with other memory
/// from now on.
fn in_groups(f: u64) -> bool {
    let accesses = [h_load as *const (), h_store as *const (), h_load_at as *const (), h_store_at as *const ()];
    accesses.into_iter().chain([h_page_changes as *const ()]).any(|g| g as u64 == f)
}

/// The call itself, `reload` behind it, and the ways out where the function set `exit`.
fn call_bare(asm: &mut Asm, (exit, onward): (u64, u64), f: u64, id: i64, reload: impl FnOnce(&mut Asm)) {
    pass(asm, f, id);
    asm.alu_imm(Alu::Sub, true, Reg::Rsp, 8);
    asm.call_reg(Reg::Rax);
    asm.alu_imm(Alu::Add, true, Reg::Rsp, 8);
    reload(asm);
    // What the block looked up may hold no more; other calls end its groups, or leave the TLB alone.
    if in_groups(f) {
        (0..COVERS as u8).for_each(|group| asm.store_imm(8, cover_field(group), 0));
    }
    asm.mov(true, TABLES, TABLES_FIELD);
    asm.alu_imm(Alu::Cmp, false, EXIT, 0);
    let leave = asm.jcc_forward(Cc::Ne);
    asm.ret();
    asm.bind(leave);
    asm.mov(false, Reg::Rax, EXIT);
    asm.alu_imm(Alu::Add, true, Reg::Rsp, 8);
    asm.alu_imm(Alu::Cmp, false, Reg::Rax, Exit::Jump as i32);
    asm.jcc(Cc::E, onward);
    asm.jmp(exit);
}

/// Goes to the virtual address in RAX by the jump cache.
pub fn probe_jump(asm: &mut Asm, lookup: u64) {
    compare_jump(asm);
    asm.jcc(Cc::Ne, lookup);
    take_jump(asm);
    asm.jmp_reg(Reg::Rdx);
}

/// A word of the slot that RCX names by twice its index.
fn slot_word(field: usize) -> Mem {
    mem_index(TABLES, Reg::Rcx, 8, field as i32)
}

/// Compares the virtual address in RAX with its first slot, the index of which is half of RCX.
pub fn compare_jump(asm: &mut Asm) {
    asm.mov(false, Reg::Rcx, Reg::Rax);
    asm.shift_imm(Shift::Shr, false, Reg::Rcx, 12);
    asm.alu(Alu::Xor, false, Reg::Rcx, Reg::Rax);
    asm.alu_imm(Alu::And, false, Reg::Rcx, ((JUMP_ENTRIES - 1) << 1) as i32);
    asm.alu(Alu::Cmp, true, Reg::Rax, slot_word(offset_of!(Tables, jump)));
}

/// Where they are equal: RDX is where to jump to, and `PAGE_BASE` the page of RAX.
pub fn take_jump(asm: &mut Asm) {
    asm.mov(true, Reg::Rdx, slot_word(offset_of!(Tables, jump) + 8));
    asm.alu_imm(Alu::And, true, Reg::Rax, -4096);
    asm.store(8, PAGE_BASE, Reg::Rax);
}

/// A load or store as one word describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessAt {
    /// As `Hart::cur`.
    pub cur: u32,
    /// The guest register that is written or read.
    pub reg: u8,
    pub width: Width,
    pub signed: bool,
}

impl AccessAt {
    /// Bits 11:0 offset in the page, 23:12 instructions before, 28:24 register, 30:29 width, 31 signed.
    pub fn code(self) -> u32 {
        let (offset, before) = (self.cur & 0xffff, self.cur >> 16);
        debug_assert!(offset < 1 << 12 && before < 1 << 12, "a place beyond the page or the block");
        offset | before << 12 | u32::from(self.reg) << 24 | (self.width as u32) << 29 | u32::from(self.signed) << 31
    }

    fn from_code(code: u32) -> Self {
        Self {
            cur: code & 0xfff | (code >> 12 & 0xfff) << 16,
            reg: (code >> 24 & 31) as u8,
            width: Width::ALL[(code >> 29 & 3) as usize],
            signed: code >> 31 != 0,
        }
    }
}

/// Codes of an atomic operation for [`h_amo`].
pub fn amo_code(op: AmoOp, width: Width) -> i64 {
    op as i64 | (width as i64) << 8
}

/// Codes of an access for [`h_check_aligned`].
pub fn aligned_code(width: Width, store: bool) -> i64 {
    width as i64 | i64::from(store) << 8
}

/// Codes of an access of a loop for [`h_page_changes`].
pub fn recent_code(start: u16, slot: u16, size: u8, store: bool) -> i64 {
    i64::from(start) | i64::from(slot) << 16 | i64::from(size) << 32 | i64::from(store) << 40
}

/// Codes of a load-reserved for [`h_lr`].
pub fn lr_code(width: Width, loud: bool) -> i64 {
    width as i64 | i64::from(loud) << 8
}

/// Codes of a store-conditional for [`h_sc`].
pub fn sc_code(width: Width, since: Since) -> i64 {
    width as i64 | (since as i64) << 8
}

/// Codes of a floating-point operation for [`h_fp`].
pub fn fp_code(op: FpOp, rm: Option<Rm>) -> i64 {
    i64::from(op.bits()) | rm.map_or(7, |r| r as i64) << 16
}

/// Codes for [`h_eval`].
pub fn bin_code(op: crate::tcg::ir::BinOp) -> i64 {
    op as i64
}

pub fn un_code(op: crate::tcg::ir::UnOp) -> i64 {
    op as i64 | 1 << 8
}

/// Codes of a vector instruction for [`h_vector`].
pub fn vector_code(op: arch::isa::Op, raw: u32) -> i64 {
    (vector::index(op) << 32 | u64::from(raw)) as i64
}

// SAFETY of the functions below: generated code passes its own hart, which its thread owns, and makes no other
// use of it until the function returns.

extern "sysv64" fn h_load(hart: *mut Hart, va: u64, len: u64) -> u64 {
    // SAFETY: see above.
    unsafe { &mut *hart }.load(va, len).unwrap_or(0)
}

extern "sysv64" fn h_store(hart: *mut Hart, va: u64, len: u64, v: u64) {
    // SAFETY: see above.
    let _ = unsafe { &mut *hart }.store(va, len, v);
}

extern "sysv64" fn h_load_at(hart: *mut Hart, va: u64, code: u64) {
    // SAFETY: see above.
    let hart = unsafe { &mut *hart };
    let access = AccessAt::from_code(code as u32);
    hart.cur = access.cur;
    let Some(v) = hart.load(va, access.width.bytes()) else { return };
    if access.reg != 0 && hart.exit == Exit::None {
        hart.s.x[usize::from(access.reg)] = access.width.extend(v, access.signed);
    }
}

extern "sysv64" fn h_store_at(hart: *mut Hart, va: u64, code: u64) {
    // SAFETY: see above.
    let hart = unsafe { &mut *hart };
    let access = AccessAt::from_code(code as u32);
    hart.cur = access.cur;
    let v = hart.s.x[usize::from(access.reg)];
    let _ = hart.store(va, access.width.bytes(), v);
}

extern "sysv64" fn h_amo(hart: *mut Hart, va: u64, src: u64, code: u64) -> u64 {
    // SAFETY: see above.
    unsafe { &mut *hart }.amo(AmoOp::ALL[(code & 0xff) as usize], Width::ALL[(code >> 8) as usize], va, src)
}

extern "sysv64" fn h_cas(hart: *mut Hart, va: u64, src: u64, expected: u64, width: u64) -> u64 {
    // SAFETY: see above.
    unsafe { &mut *hart }.compare_and_swap(Width::ALL[width as usize], va, expected, src)
}

extern "sysv64" fn h_check_aligned(hart: *mut Hart, va: u64, code: u64) {
    // SAFETY: see above.
    unsafe { &mut *hart }.check_aligned(va, Width::ALL[(code & 0xff) as usize], code >> 8 != 0)
}

extern "sysv64" fn h_lr(hart: *mut Hart, va: u64, code: u64) -> u64 {
    // SAFETY: see above.
    interp::lr_at(unsafe { &mut *hart }, Width::ALL[(code & 0xff) as usize], va, code >> 8 != 0)
}

extern "sysv64" fn h_sc(hart: *mut Hart, va: u64, src: u64, code: u64) -> u64 {
    let (width, since) = (Width::ALL[(code & 0xff) as usize], Since::from_bits(code >> 8));
    // SAFETY: see above.
    interp::sc_at(unsafe { &mut *hart }, width, va, src, since)
}

extern "sysv64" fn h_page_changes(hart: *mut Hart, va: u64, code: u64) {
    let access = exec::LoopAccess {
        start: code & 0xffff,
        va,
        slot: (code >> 16 & 0xffff) as usize,
        width: 1 << (code >> 32 & 0xff),
        store: code >> 40 != 0,
    };
    // SAFETY: see above.
    exec::look_at_loop(unsafe { &mut *hart }, &access);
}

extern "sysv64" fn h_eval(_hart: *mut Hart, a: u64, b: u64, code: u64) -> u64 {
    let n = (code & 0xff) as usize;
    if code >> 8 == 0 { crate::tcg::ir::BinOp::ALL[n].eval(a, b) } else { crate::tcg::ir::UnOp::ALL[n].eval(a) }
}

extern "sysv64" fn h_find(hart: *mut Hart) -> u64 {
    // SAFETY: see above.
    exec::find_code(unsafe { &mut *hart }).unwrap_or(0)
}

extern "sysv64" fn h_time(hart: *mut Hart) -> u64 {
    // SAFETY: see above.
    unsafe { &*hart }.live(Live::Time)
}

extern "sysv64" fn h_fp(hart: *mut Hart, a: u64, b: u64, code: u64) -> u64 {
    // SAFETY: see above.
    let hart = unsafe { &mut *hart };
    let op = FpOp::from_bits(code as u16).expect("the backend packs valid operations");
    let rm = Rm::from_bits(code >> 16);
    let c = hart.temps[0];
    system::fp(hart, op, rm, a, b, c)
}

extern "sysv64" fn h_vector(hart: *mut Hart, a: u64, b: u64, code: u64) -> u64 {
    // SAFETY: see above.
    vector::run_indexed(unsafe { &mut *hart }, (code >> 32) as usize, code as u32, a, b)
}

/// The function behind the thunk of a helper.
fn function(helper: Helper) -> u64 {
    let function = match helper {
        Helper::Ecall => h_ecall as *const (),
        Helper::Ebreak => h_ebreak as *const (),
        Helper::Sret => h_sret as *const (),
        Helper::SfenceVma => h_sfence as *const (),
        _ => h_helper as *const (),
    };
    function as u64
}

// What every system call goes through.
extern "sysv64" fn h_ecall(hart: *mut Hart) {
    // SAFETY: see above.
    system::ecall(unsafe { &mut *hart });
}

extern "sysv64" fn h_ebreak(hart: *mut Hart) {
    // SAFETY: see above.
    system::ebreak(unsafe { &mut *hart });
}

extern "sysv64" fn h_sfence(hart: *mut Hart, va: u64, asid: u64, code: u64) {
    // SAFETY: see above.
    system::sfence_vma(unsafe { &mut *hart }, va, asid, code);
}

extern "sysv64" fn h_sret(hart: *mut Hart, _: u64, _: u64, raw: u64) {
    // SAFETY: see above.
    system::sret(unsafe { &mut *hart }, raw as u32);
}

extern "sysv64" fn h_helper(hart: *mut Hart, a: u64, b: u64, c: u64, id: u64) -> u64 {
    // SAFETY: see above.
    system::call(unsafe { &mut *hart }, HELPERS[id as usize], a, b, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_describes_an_access() {
        for (cur, reg, width, signed) in [(0xffe | 95 << 16, 31, Width::D, true), (2, 1, Width::B, false)] {
            let access = AccessAt { cur, reg, width, signed };
            assert_eq!(AccessAt::from_code(access.code()), access);
        }
    }
}
