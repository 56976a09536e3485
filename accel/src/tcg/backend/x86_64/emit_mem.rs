//! Loads, stores and atomics: the inline TLB probe, and the stubs that call out when it fails.

use super::asm::{Alu, Cc, Forward, Reg, Rm, Shift, Xmm, mem, mem_index};
use super::covers::RECENT_SPAN_MIN;
use super::thunks::{AccessAt, aligned_code, amo_code, lr_code, recent_code, sc_code};
use super::*;
use crate::tcg::ir::interp::boxed;
use crate::tcg::ir::{Helper, Width};
use crate::tcg::mmu::tlb::{RECENT_ENTRIES, RECENT_GROUP, Recent, RecentEntry, TLB_ENTRIES, Tables};

const A: Reg = Reg::Rax;
const C: Reg = Reg::Rcx;
const D: Reg = Reg::Rdx;
const SCRATCH: Xmm = Xmm(0);

/// How a probe treats misaligned addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Inside a page they are as good as any.
    Free,
    /// They miss.
    Required,
}

/// Where the last byte of an access is.
#[derive(Clone, Copy)]
pub(super) enum Last {
    /// So many bytes behind the first.
    Offset(i32),
    /// Its address is in RDX.
    InRdx,
}

/// An entry in one of the arrays of recent pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecentSlot {
    slot: u16,
    write: bool,
}

impl RecentSlot {
    fn array(self) -> i32 {
        (if self.write { offset_of!(Tables, recent_write) } else { offset_of!(Tables, recent_read) }) as i32
    }

    fn field(self, offset: usize) -> Mem {
        let entry = offset_of!(Recent, entries) + usize::from(self.slot) * size_of::<RecentEntry>();
        mem(TABLES, self.array() + (entry + offset) as i32)
    }

    pub(super) fn addend(self) -> Mem {
        self.field(offset_of!(RecentEntry, addend))
    }

    /// The byte and the bit of [`Recent::used`].
    fn used(self) -> (Mem, u8) {
        let group = usize::from(self.slot) / RECENT_GROUP;
        (mem(TABLES, self.array() + (offset_of!(Recent, used) + group / 8) as i32), 1 << (group % 8))
    }
}

/// Sizes of what recent pages are kept for, of accesses and of groups of them (`covers`): that is how far from its end a
/// page is left, so entries are shared by what has the same size only.
pub(super) const RECENT_SIZES: usize = 8;
/// Entries for groups, behind those for single accesses.
const RECENT_SHARED: usize = 128;

/// An access or a group of them by its recent page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecentAccess {
    base: Val,
    offset: i32,
    /// Of all of it, as a power of two.
    size: u8,
    slot: RecentSlot,
    /// Where its code begins, and where it goes on with the right page, as offsets in the code.
    again: usize,
    hit: usize,
}

impl RecentAccess {
    /// The same, where another page is reason to begin at `again`.
    pub fn from(self, again: usize) -> Self {
        Self { again, ..self }
    }

    pub fn slot(&self) -> u16 {
        self.slot.slot
    }

    pub fn limit(&self) -> Mem {
        self.slot.field(offset_of!(RecentEntry, limit))
    }

    pub fn addend(&self) -> Mem {
        self.slot.addend()
    }

    pub fn addend_of(slot: u16, write: bool) -> Mem {
        RecentSlot { slot, write }.addend()
    }
}

impl Backend {
    pub(super) fn memory(&mut self, op: &Op) {
        match *op {
            Op::Load { base, offset, width, .. } => match self.sum.take() {
                Some(sum) => self.load_at_sum(op, sum, offset, width as u8),
                None => {
                    let m = self.probe(op, base, offset, width, false, Align::Free);
                    self.access(op, m);
                }
            },
            Op::Store { base, offset, src, width } if self.fenced => {
                let m = self.probe(op, base, offset, width, true, Align::Required);
                self.load_to(D, src);
                self.asm.xchg(width.bytes(), m, D);
            }
            Op::Store { base, offset, width, .. } => {
                let m = self.probe(op, base, offset, width, true, Align::Free);
                self.access(op, m);
            }
            Op::LoadF { fd, base, offset, width } => {
                let m = self.probe(op, base, offset, width, false, Align::Free);
                self.load_f(fd, width, m);
            }
            Op::StoreF { fs, base, offset, width } => {
                let m = self.probe(op, base, offset, width, true, Align::Free);
                self.store_f(fs, width, m);
            }
            _ => unreachable!("only memory operations come here"),
        }
        self.land_stubs(op);
    }

    /// A load or store of integers at `m`. RCX stays.
    pub(super) fn access(&mut self, op: &Op, m: Mem) {
        match *op {
            // A load to x0 still has to be permitted, and reads nothing anybody could see.
            Op::Load { d: Some(d), width, signed, .. } => {
                let t = self.target_reg(d, &[]);
                self.asm.extend(width.bytes(), signed, t, m);
                self.finish(d, t);
            }
            Op::Store { src, width, .. } => match self.loc(src) {
                Loc::Imm(i) if i32::try_from(i).is_ok() => self.asm.store_imm(width.bytes(), m, i as i32),
                _ => {
                    let r = self.in_reg(D, src);
                    self.asm.store(width.bytes(), m, r);
                }
            },
            _ => {}
        }
    }

    /// Makes `base + offset` a host address by the TLB; what misses goes to the stub of `op`.
    ///
    /// The address is compared by its last byte and looked up by its first, so an access that crosses into
    /// another page misses, and one that does not hits at any alignment.
    pub(super) fn probe(&mut self, op: &Op, base: Val, offset: i32, width: Width, write: bool, align: Align) -> Mem {
        if let Some(m) = self.looked_at(base, offset, write) {
            return m;
        }
        if let Some(cover) = self.covers.now {
            return self.probe_covered(op, cover, (base, offset, width, write));
        }
        if self.recent && align == Align::Free {
            return self.probe_recent(op, base, offset, width, write);
        }
        let addr = self.address_in(base, offset);
        let last = width.bytes() as i32 - 1;
        if align == Align::Free || last == 0 {
            self.look_up(op, addr, Last::Offset(last), -4096, write)
        } else {
            self.look_up(op, addr, Last::Offset(0), -4096 | last, write)
        }
    }

    /// The register that holds `base + offset`: RAX, unless it is in another one already.
    pub(super) fn address_in(&mut self, base: Val, offset: i32) -> Reg {
        match self.loc(base) {
            Loc::Reg(r) if offset == 0 => r,
            Loc::Reg(r) => {
                self.asm.lea(true, A, mem(r, offset));
                A
            }
            _ => {
                self.load_to(A, base);
                self.add_imm(A, i64::from(offset));
                A
            }
        }
    }

    /// The host address of what stands at `addr`, if the bits in `mask` of its last byte's address are those of the page
    /// in the TLB; else the stub of `op`. Changes RCX and RDX; what is returned is based on RCX.
    pub(super) fn look_up(&mut self, op: &Op, addr: Reg, last: Last, mask: i32, write: bool) -> Mem {
        self.look_up_or(StubKind::Slow(*op), addr, last, mask, write)
    }

    /// The same with another stub.
    pub(super) fn look_up_or(&mut self, stub: StubKind, addr: Reg, last: Last, mask: i32, write: bool) -> Mem {
        let table = self.compare_page(addr, last, mask, write);
        let miss = self.asm.jcc_forward(Cc::Ne);
        self.stub(miss, stub);
        self.asm.mov(true, C, mem_index(TABLES, C, 1, table + 8));
        mem_index(C, addr, 1, 0)
    }

    /// The comparison of it: RDX is the page of the access, and its entry stands at RCX and what is returned in the
    /// tables.
    pub(super) fn compare_page(&mut self, addr: Reg, last: Last, mask: i32, write: bool) -> i32 {
        // An entry has 16 bytes.
        if self.features.bmi2 {
            self.asm.rorx(false, C, addr, 8);
        } else {
            self.asm.mov(false, C, addr);
            self.asm.shift_imm(Shift::Shr, false, C, 8);
        }
        self.asm.alu_imm(Alu::And, false, C, ((TLB_ENTRIES - 1) << 4) as i32);
        match last {
            Last::Offset(0) => self.asm.mov(true, D, addr),
            Last::Offset(n) => self.asm.lea(true, D, mem(addr, n)),
            Last::InRdx => {}
        }
        self.asm.alu_imm(Alu::And, true, D, mask);
        let table = if write { offset_of!(Tables, write) } else { offset_of!(Tables, read) } as i32;
        self.asm.alu(Alu::Cmp, true, D, mem_index(TABLES, C, 1, table));
        table
    }

    /// The same by the entry that the access has of its own in the arrays of recent pages. There is no look-up in which
    /// the host address would wait for the guest's.
    fn probe_recent(&mut self, op: &Op, base: Val, offset: i32, width: Width, write: bool) -> Mem {
        let (m, miss, access) = self.compare_recent((base, offset), width as u8, write);
        self.stub(miss, StubKind::Recent(*op, access));
        match self.addend_reg(access.slot) {
            Some(r) => Mem { base: r, ..m },
            None => {
                self.asm.mov(true, C, access.addend());
                m
            }
        }
    }

    /// The comparison of it, for as many bytes as `size` says; the host address of the first, where RCX is the addend.
    pub(super) fn compare_recent(
        &mut self,
        (base, offset): (Val, i32),
        size: u8,
        write: bool,
    ) -> (Mem, Forward, RecentAccess) {
        let again = self.asm.code.len();
        let slot = self.recent_slot(Place { insn: self.cur as u16, offset, size, write });
        let m = match self.loc(base) {
            Loc::Reg(r) => {
                if offset == 0 {
                    self.asm.mov(true, D, r);
                } else {
                    self.asm.lea(true, D, mem(r, offset));
                }
                mem_index(C, r, 1, offset)
            }
            _ => {
                let r = self.address_in(base, offset);
                self.asm.mov(true, D, r);
                mem_index(C, r, 1, 0)
            }
        };
        let miss = self.outside_recent(slot);
        (m, miss, RecentAccess { base, offset, size, slot, again, hit: self.asm.code.len() })
    }

    /// The jump that is taken if the address in RDX is not in the page of `slot`.
    pub(super) fn outside_recent(&mut self, slot: RecentSlot) -> Forward {
        self.asm.alu(Alu::Sub, true, D, slot.field(offset_of!(RecentEntry, base)));
        self.asm.alu(Alu::Cmp, true, D, slot.field(offset_of!(RecentEntry, limit)));
        self.asm.jcc_forward(Cc::Ae)
    }

    /// The entry of what stands at `place`. Regions know it when it comes again.
    pub(super) fn recent_slot(&mut self, place: Place) -> RecentSlot {
        let known = self.slots.iter().flatten().find(|(p, _)| *p == place);
        if let Some(&(_, slot)) = known {
            return slot;
        }
        let slot = RecentSlot { slot: self.new_recent(place.size), write: place.write };
        if let Some(slots) = &mut self.slots {
            slots.push((place, slot));
        }
        slot
    }

    /// An entry for an access or a group. Others of the same size may have it, too.
    fn new_recent(&mut self, size: u8) -> u16 {
        let (first, entries, row) = if size < RECENT_SPAN_MIN {
            (0, RECENT_ENTRIES - RECENT_SHARED, size)
        } else {
            (RECENT_ENTRIES - RECENT_SHARED, RECENT_SHARED, size - RECENT_SPAN_MIN)
        };
        let rows = RECENT_SIZES / 2;
        let kind = usize::from(row) + if first == 0 { 0 } else { rows };
        let before = &mut self.recents[kind];
        *before = (*before + 1) % (entries / rows) as u16;
        (first + usize::from(*before) * rows) as u16 + u16::from(row)
    }

    /// An access of a loop is in another page than the last time: finds that, and remembers it.
    pub(super) fn recent_miss(&mut self, access: &RecentAccess) -> Forward {
        let RecentAccess { base, offset, size, slot, again, hit } = *access;
        let addr = match self.loc(base) {
            Loc::Reg(_) => self.address_in(base, offset),
            // Where the probe left it.
            _ => A,
        };
        let rest = (1 << size) - 1;
        let table = self.compare_page(addr, Last::Offset(rest), -4096, slot.write);
        let mut miss = self.asm.jcc_forward(Cc::Ne);
        self.asm.mov(true, C, mem_index(TABLES, C, 1, table + 8));
        self.asm.store_imm(8, slot.field(offset_of!(RecentEntry, limit)), 4097 - (1 << size));
        let remember = self.asm.here();
        self.asm.store(8, slot.field(offset_of!(RecentEntry, base)), D);
        self.asm.store(8, slot.addend(), C);
        if let Some(r) = self.addend_reg(slot) {
            self.asm.mov(true, r, C);
        }
        let (used, bit) = slot.used();
        self.asm.or_byte(used, bit);
        self.asm.alu_imm(Alu::Sub, false, PAGE_CHANGES, 1);
        let hit = self.asm.base + hit as u64;
        self.asm.jcc(Cc::Ge, hit);
        if addr != A {
            self.asm.mov(true, A, addr);
        }
        self.tell_of_changes(access);
        let again = self.asm.base + again as u64;
        self.asm.jmp(again);
        if size >= RECENT_SPAN_MIN {
            // Part of a group may be in the next page, which is as good if it is mapped alike.
            self.asm.bind(miss);
            if addr != A {
                self.asm.mov(true, A, addr);
            }
            self.asm.lea(true, D, mem(A, rest));
            self.asm.call(self.thunks.look_twice[usize::from(slot.write)]);
            miss = self.asm.jcc_forward(Cc::Ne);
            self.asm.store_imm(8, slot.field(offset_of!(RecentEntry, limit)), 8193 - (1 << size));
            self.asm.jmp(remember);
        }
        miss
    }

    /// Enough changes were counted, that of `access` last, whose address is in RAX. Nothing of it has happened yet.
    pub(super) fn tell_of_changes(&mut self, access: &RecentAccess) {
        let RecentSlot { slot, write } = access.slot;
        self.set_cur();
        self.asm.mov_imm(D, recent_code(self.entry_offset(), slot, access.size, write));
        let f = self.f.now;
        self.call_out(self.thunks.page_changes);
        self.f_become(f);
    }

    fn load_f(&mut self, fd: u8, width: Width, m: Mem) {
        let x = self.f_target(fd);
        match width {
            Width::W | Width::D if x != SCRATCH => {
                self.fmov_load(width == Width::D, x, m);
                self.f_written(fd, x, width == Width::D, width == Width::W);
            }
            _ if x != SCRATCH => {
                self.asm.extend(width.bytes(), false, D, m);
                self.asm.alu_imm(Alu::Or, true, D, boxed(width, 0) as i64 as i32);
                self.fmov_from(true, x, D);
                self.f_written(fd, x, true, false);
            }
            _ => {
                self.asm.extend(width.bytes(), false, D, m);
                self.put_f(fd, width, D);
                self.f_stored(fd, width != Width::W);
            }
        }
    }

    fn store_f(&mut self, fs: u8, width: Width, m: Mem) {
        match self.f_bits(fs, width == Width::D) {
            Rm::X(x) if matches!(width, Width::W | Width::D) => return self.fmov_store(width == Width::D, m, x),
            Rm::X(x) => self.fmov_to(false, D, x),
            slot => self.asm.mov(true, D, slot),
        }
        self.asm.store(width.bytes(), m, D);
    }

    /// Puts the low bytes of `reg`, zero-extended, into an f register in memory.
    fn put_f(&mut self, fd: u8, width: Width, reg: Reg) {
        if width == Width::W {
            self.asm.store(4, f_slot(fd), reg);
            self.asm.store_imm(4, upper(f_slot(fd)), -1);
            return;
        }
        if width != Width::D {
            self.asm.alu_imm(Alu::Or, true, reg, boxed(width, 0) as i64 as i32);
        }
        self.asm.store(8, f_slot(fd), reg);
    }

    /// A load or store that missed, by a call that a word behind it describes: most memory accesses of a block have such a
    /// stub, and most of them never run. `false` where it is of another kind.
    pub(super) fn slow_access(&mut self, op: &Op) -> bool {
        let (base, offset, width, signed, reg, thunk) = match *op {
            Op::Load { base, offset, width, d: None, signed } => (base, offset, width, signed, 0, self.thunks.load_at),
            Op::Load { base, offset, width, d: Some(Dst::X(d)), signed } => {
                (base, offset, width, signed, d, self.thunks.load_at)
            }
            Op::Store { base, offset, src: Val::X(r), width } => (base, offset, width, false, r, self.thunks.store_at),
            Op::Store { base, offset, src: Val::C(0), width } => (base, offset, width, false, 0, self.thunks.store_at),
            _ => return false,
        };
        if self.region.is_some() || self.f.now.uses_host() {
            return false;
        }
        // Otherwise the probe left the address in RAX.
        if let (Loc::Reg(r), 0) = (self.loc(base), offset) {
            self.asm.mov(true, A, r);
        }
        self.asm.call(thunk);
        self.asm.data(AccessAt { cur: self.cur, reg, width, signed }.code());
        true
    }

    /// The same operation by a call to Rust; goes on behind the fast path.
    pub(super) fn slow(&mut self, op: &Op) {
        match *op {
            Op::Load { base, offset, width, d, signed } => {
                self.address(base, offset);
                self.asm.mov_imm(D, width.bytes() as i64);
                self.call_out(self.thunks.load);
                if let Some(d) = d {
                    let t = self.target_reg(d, &[]);
                    self.asm.extend(width.bytes(), signed, t, A);
                    self.finish(d, t);
                }
            }
            Op::Store { base, offset, src, width } => {
                self.address(base, offset);
                self.load_to(C, src);
                self.asm.mov_imm(D, width.bytes() as i64);
                self.call_out(self.thunks.store);
            }
            Op::LoadF { fd, base, offset, width } => {
                self.address(base, offset);
                self.asm.mov_imm(D, width.bytes() as i64);
                self.call_out(self.thunks.load);
                self.put_f(fd, width, A);
            }
            Op::StoreF { fs, base, offset, width } => {
                self.address(base, offset);
                self.asm.mov(true, C, f_slot(fs));
                self.asm.mov_imm(D, width.bytes() as i64);
                self.call_out(self.thunks.store);
            }
            Op::Amo { op, width, d, addr, src } => {
                self.load_to(A, addr);
                self.load_to(D, src);
                self.asm.mov_imm(C, amo_code(op, width));
                self.call_out(self.thunks.amo);
                if let Some(d) = d {
                    self.finish(d, A);
                }
            }
            Op::Cas { width, d, addr, expected, src } => {
                self.load_to(A, addr);
                self.load_to(D, src);
                self.load_to(C, expected);
                self.call_out(self.thunks.cas[width as usize]);
                if let Some(d) = d {
                    self.finish(d, A);
                }
            }
            Op::CheckAligned { width, addr, store } => {
                self.load_to(A, addr);
                self.asm.mov_imm(D, aligned_code(width, store));
                self.call_out(self.thunks.check_aligned);
            }
            Op::Lr { width, d, addr } => {
                self.load_to(A, addr);
                self.asm.mov_imm(D, lr_code(width, self.exact));
                self.call_out(self.thunks.lr);
                if let Some(d) = d {
                    self.finish(d, A);
                }
            }
            Op::Sc { width, d, addr, src } => {
                self.load_to(A, addr);
                self.load_to(D, src);
                self.asm.mov_imm(C, sc_code(width, self.since));
                self.call_out(self.thunks.sc);
                if let Some(d) = d {
                    self.finish(d, A);
                }
            }
            Op::FpCheck { checks, raw } => {
                self.asm.mov_imm(A, i64::from(checks));
                self.asm.mov_imm(C, i64::from(raw));
                let thunk = self.thunks.helper(Helper::FpCheck);
                self.call_out(thunk);
            }
            Op::Call { helper: Helper::FenceI, .. } => {
                let thunk = self.thunks.helper(Helper::FenceI);
                self.call_out(thunk);
            }
            Op::Fp { .. } => self.fp_slow(op),
            Op::Vector { .. } => self.vector_call(op),
            Op::ReadGated { .. } | Op::Status { .. } => self.csr_slow(op),
            _ => unreachable!("an operation without a slow path"),
        }
    }

    /// RAX = `base + offset`.
    pub(super) fn address(&mut self, base: Val, offset: i32) {
        self.load_to(A, base);
        self.add_imm(A, i64::from(offset));
    }
}

/// The upper half of an eight-byte slot.
pub(super) fn upper(m: Mem) -> Mem {
    Mem { disp: m.disp + 4, ..m }
}
