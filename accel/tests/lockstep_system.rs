//! Random loops in a world that changes: the interpreter of the IR against generated code in every forced mode.
//!
//! A program is a nest of loops with calls, memory accesses, floating point, vectors and atomics in them, in a few pages
//! of an address space. Here and there it calls the handler of [`world`](guest::world), which moves pages, takes them
//! away, changes the code, the status of extensions or the address space, and comes back.
//!
//! Another test does the same from outside, whenever it happens to come: interrupts whose handler does what the program
//! must not see, fences, and pages that another thread moves as another hart would.

mod guest;

use std::time::{Duration, Instant};

use accel::tcg::{Tcg, TcgOptions};
use accel::testing::{Rng, number};
use arch::csr as n;
use arch::ext::IsaConfig;
use arch::isa::{Row, rows};
use guest::random::vector_insn;
use guest::setup::Setup;
use guest::world::{Action, CODE_PAGES, DATA, DATA_PAGES, End, OUTSIDE, Outside, ROLES, Roles, VA, World, data_page};
use guest::{Asm, Guest, Op, forced_modes, isa_of_worlds, simd_modes};

/// Registers that hold addresses and count rounds: other instructions do not write them.
const WALK: u8 = 28;
const BASE: u8 = 29;
const COUNTS: [u8; 3] = [25, 26, 27];
/// Counts the rounds of functions.
const INNER: u8 = 24;
const RA: u8 = 1;

const ALU: &[Op] =
    &[Op::Add, Op::Sub, Op::Xor, Op::Sll, Op::Sra, Op::Sltu, Op::Addw, Op::Mul, Op::Divw, Op::Rol, Op::Sh2add, Op::Max];
const IMM: &[Op] = &[Op::Addi, Op::Xori, Op::Andi, Op::Slti, Op::Addiw];
const LOADS: &[(Op, i32)] =
    &[(Op::Lb, 1), (Op::Lhu, 2), (Op::Lw, 4), (Op::Ld, 8), (Op::Ld, 8), (Op::Fld, 8), (Op::Flw, 4), (Op::Flh, 2)];
const STORES: &[(Op, i32)] =
    &[(Op::Sb, 1), (Op::Sh, 2), (Op::Sw, 4), (Op::Sd, 8), (Op::Sd, 8), (Op::Fsd, 8), (Op::Fsw, 4), (Op::Fsh, 2)];
const FLOAT: &[Op] =
    &[Op::FaddD, Op::FsubD, Op::FmulD, Op::FdivD, Op::FmulS, Op::FaddS, Op::FsgnjnD, Op::FsgnjxS, Op::FminD, Op::FmaxS];
const BRANCHES: &[Op] = &[Op::Beq, Op::Bne, Op::Blt, Op::Bge, Op::Bltu, Op::Bgeu];
/// Vector instructions that are seldom reserved.
const VECTORS: &[&str] = &[
    "vle8.v",
    "vle32.v",
    "vle64.v",
    "vse8.v",
    "vse16.v",
    "vse64.v",
    "vadd.vv",
    "vadd.vi",
    "vsub.vx",
    "vmul.vv",
    "vsll.vi",
    "vand.vx",
    "vmseq.vv",
    "vmerge.vvm",
    "vredsum.vs",
    "vfadd.vv",
    "vfmul.vf",
    "vfmacc.vv",
    "vmv.v.v",
    "vmv.x.s",
    "vle8ff.v",
    "vslide1down.vx",
    "vid.v",
    "vl1re8.v",
    "vs1r.v",
    "vfmv.f.s",
];

fn pick<T: Copy>(rng: &mut Rng, list: &[T]) -> T {
    list[rng.below(list.len() as u64) as usize]
}

/// A register that programs compute with.
fn any(rng: &mut Rng) -> u8 {
    let r = rng.below(23) as u8;
    if r == RA { 23 } else { r }
}

/// What may be in a program.
#[derive(Clone, Copy)]
struct Kind {
    roles: Roles,
    /// It calls the handler, reads `instret` and is changed.
    alone: bool,
    vectors: bool,
}

struct Maker<'a> {
    rng: &'a mut Rng,
    a: Asm,
    kind: Kind,
    rows: &'a [&'static Row],
    /// Offsets of `addi` instructions that may be patched, and their registers.
    marks: Vec<(u64, u8)>,
    /// Calls of functions that are to come.
    calls: Vec<(guest::Hole, u64)>,
    /// Functions call none.
    leaf: bool,
}

impl Maker<'_> {
    fn memory(&mut self) {
        let base = pick(self.rng, &[WALK, BASE, BASE]);
        // Several of the same base are likely to be in one page, or across its end.
        for _ in 0..=self.rng.below(3) {
            let r = any(self.rng);
            if self.rng.below(5) < 3 {
                let (op, size) = pick(self.rng, LOADS);
                let at = size * (self.rng.below(32) as i32 - 16) + i32::from(self.rng.below(8) == 0);
                self.a.i(op, r, base, at);
            } else {
                let (op, size) = pick(self.rng, STORES);
                let at = size * (self.rng.below(32) as i32 - 16) + i32::from(self.rng.below(8) == 0);
                self.a.s(op, r, base, at);
            }
        }
    }

    fn vector(&mut self) {
        let rng = &mut *self.rng;
        if rng.below(2) == 0 {
            let (sew, lmul) = (rng.below(4) as u32, [0, 0, 1, 2, 7][rng.below(5) as usize]);
            self.a.word(
                3 << 30 | ((rng.below(4) as u32) << 6 | sew << 3 | lmul) << 20 | (rng.below(32) as u32) << 15 | 0x7057,
            );
        }
        let base = pick(rng, &[WALK, BASE]);
        let kept: Vec<u32> = [INNER, RA, WALK, BASE, 30, 31].into_iter().chain(COUNTS).map(u32::from).collect();
        let w = vector_insn(rng, self.rows, 3, base.into(), &kept);
        self.a.word(w);
    }

    fn insn(&mut self) {
        let rng = &mut *self.rng;
        let (rd, rs1, rs2) = (any(rng), any(rng), any(rng));
        match rng.below(28) {
            0..=5 => {
                self.a.r(pick(rng, ALU), rd, rs1, rs2);
            }
            6..=8 => {
                self.a.i(pick(rng, IMM), rd, rs1, rng.below(4096) as i32 - 2048);
            }
            9..=13 => self.memory(),
            14..=16 => {
                self.a.r(pick(rng, FLOAT), rd, rs1, rs2);
            }
            17 => {
                self.a.amo(pick(rng, &[Op::AmoaddD, Op::AmoxorW, Op::AmomaxuD, Op::AmoswapW]), rd, rs2, BASE, 0);
            }
            18 if self.kind.alone => {
                self.a.amo(Op::LrD, rd, 0, BASE, 0).amo(Op::ScD, any(rng), rs2, BASE, 0);
            }
            19 => {
                self.marks.push((self.a.here(), rd));
                self.a.i(Op::Addi, rd, rd, 1);
            }
            20 if self.kind.alone => {
                let call = if self.kind.roles.user && rng.below(2) == 0 { Op::Ecall } else { Op::Ebreak };
                self.a.plain(call);
            }
            21 if self.kind.alone => {
                self.a.csrr(rd, if self.rng.below(4) == 0 { n::HPMCOUNTER3 } else { n::INSTRET });
            }
            22 if !self.leaf => {
                let hole = self.a.forward(Op::Jal, RA, 0);
                let which = self.rng.below(3);
                self.calls.push((hole, which));
            }
            23 => {
                let frm = rng.below(5) as u8;
                match rng.below(3) {
                    0 => self.a.csrr(rd, n::FFLAGS),
                    1 => self.a.i(Op::Csrrwi, rd, frm, i32::from(n::FRM)),
                    _ => self.a.i(Op::Csrrwi, rd, frm, i32::from(n::FFLAGS)),
                };
            }
            24 if self.kind.alone && !self.kind.roles.user && !self.kind.roles.machine => {
                // An interrupt at once.
                self.a.i(Op::Csrrsi, 0, 2, i32::from(n::SIP));
            }
            24 | 25 if self.kind.vectors => self.vector(),
            _ => {
                let over = self.a.forward(pick(rng, BRANCHES), rs1, rs2);
                for _ in 0..=rng.below(2) {
                    self.a.r(pick(rng, ALU), any(rng), rs1, rs2);
                }
                if rng.below(4) == 0 {
                    self.memory();
                }
                self.a.bind(over);
            }
        }
    }

    fn insns(&mut self) {
        for _ in 0..1 + self.rng.below(5) {
            self.insn();
        }
    }

    fn body(&mut self, depth: usize) {
        self.insns();
        if depth < COUNTS.len() && self.rng.below(3) != 0 {
            let count = COUNTS[depth];
            self.a.i(Op::Addi, count, 0, 1 + self.rng.below(9) as i32);
            // Now and then the loop is entered in its middle.
            let middle = (self.rng.below(4) == 0).then(|| self.a.forward(Op::Jal, 0, 0));
            let head = self.a.here();
            self.body(depth + 1);
            if let Some(middle) = middle {
                self.a.bind(middle);
                self.insns();
            }
            if self.rng.below(2) == 0 {
                self.walk();
            }
            // A way out of the loop.
            let out = (self.rng.below(3) == 0)
                .then(|| self.a.forward(pick(self.rng, BRANCHES), any(self.rng), any(self.rng)));
            self.a.i(Op::Addi, count, count, -1);
            if self.rng.below(2) == 0 {
                self.a.b(Op::Bne, count, 0, head);
            } else {
                let end = self.a.forward(Op::Beq, count, 0);
                self.a.j(0, head).bind(end);
            }
            out.into_iter().for_each(|out| {
                self.a.bind(out);
            });
        }
        self.insns();
    }

    /// Goes on through the pages of data, and back to their start at the end.
    fn walk(&mut self) {
        let step = pick(self.rng, &[8, 8, 24, 64, 1000, 2040]);
        self.a.i(Op::Addi, WALK, WALK, step);
        let more = self.a.forward(Op::Bltu, WALK, 30);
        self.a.r(Op::Sub, WALK, WALK, 30).i(Op::Andi, WALK, WALK, 1016).r(Op::Add, WALK, WALK, BASE);
        let low = self.a.forward(Op::Bltu, WALK, 30);
        self.a.i(Op::Addi, WALK, BASE, 0);
        self.a.bind(more).bind(low);
    }

    /// A function: it returns by RA, some after a loop.
    fn function(&mut self) -> u64 {
        let at = self.a.here();
        let count = self.rng.below(4);
        self.a.i(Op::Addi, INNER, 0, count as i32);
        let head = self.a.here();
        for _ in 0..1 + self.rng.below(4) {
            self.insn();
        }
        if count != 0 {
            self.a.i(Op::Addi, INNER, INNER, -1).b(Op::Bne, INNER, 0, head);
        }
        self.a.i(Op::Jalr, 0, RA, 0);
        at
    }
}

fn actions(rng: &mut Rng, marks: &[(u64, u8)], alone: bool) -> Vec<Action> {
    let mut list = Vec::new();
    for _ in 0..1 + rng.below(48) {
        let space = if alone { rng.below(2) as usize } else { 0 };
        let inside = data_page(rng.below((OUTSIDE - DATA) >> 12));
        let data = if alone { data_page(rng.below(DATA_PAGES)) } else { inside };
        let code = rng.below(CODE_PAGES);
        let either = if rng.below(2) == 0 { code } else { inside };
        let status = [(0x6000, rng.below(4) << 13), (0x600, rng.below(4) << 9)][rng.below(2) as usize];
        list.push(match rng.below(if alone { 16 } else { 8 }) {
            0 => Action::Move { space, page: inside },
            1 | 2 => Action::Take { space, page: either, flags: pick(rng, &[1, 1, 0x40, 0x80, 4, 2 | 4]) },
            3 => Action::FenceI,
            4 => Action::FenceAll,
            5 => Action::Status { mask: status.0, value: status.1 },
            6 => Action::Nothing,
            7 => Action::Space { space: 0, fence: rng.below(2) == 0 },
            8 | 9 => Action::Swap { space, page: data, all: rng.below(2) == 0 },
            10 | 11 => Action::Swap { space, page: code, all: rng.below(2) == 0 },
            12 | 13 => Action::Space { space, fence: rng.below(2) == 0 },
            _ if !marks.is_empty() => {
                let (at, rd) = pick(rng, marks);
                let word = guest::word(Op::Addi, rd, rd, 0, rng.below(64) as i32);
                Action::Patch { space, other: rng.below(2) == 0, offset: at - VA, word }
            }
            _ => Action::Nothing,
        });
    }
    list
}

/// Makes some of the actions others: that switch on and off what watches the program, and changes its translation.
fn watch(rng: &mut Rng, list: &mut [Action]) {
    for action in list {
        let sooner = |rng: &mut Rng| {
            let most = 1 << rng.below(9);
            1 + rng.below(most)
        };
        *action = match rng.below(8) {
            0 => Action::Record { control: 0 },
            1 => {
                let control = n::ctrctl::U | n::ctrctl::S | if rng.below(4) == 0 { n::ctrctl::MTE } else { 0 };
                // Some types are left out; calls as a stack.
                let types = rng.next() & rng.next() & n::ctrctl::TYPES;
                let freezes = pick(rng, &[0, n::ctrctl::BPFRZ, n::ctrctl::LCOFIFRZ]);
                Action::Record { control: control | freezes | pick(rng, &[0, 0, types, n::ctrctl::RASEMU]) }
            }
            2 => Action::Count { event: 0, from: 0 },
            3 => {
                let event = pick(rng, &[n::event::INSTRUCTIONS, n::event::CYCLES]);
                Action::Count { event, from: sooner(rng).wrapping_neg() }
            }
            4 => Action::Step { count: 0 },
            5 => Action::Step { count: if rng.below(2) == 0 { 1 } else { sooner(rng) } },
            _ => *action,
        };
    }
}

fn vector_rows(isa: &IsaConfig) -> Vec<&'static Row> {
    rows().iter().filter(|row| row.available(isa) && VECTORS.contains(&row.mnemonic)).collect()
}

fn random_world(rng: &mut Rng, m: &Guest, alone: bool) -> World {
    let roles = pick(rng, &ROLES);
    let vectors = rng.below(3) == 0;
    let rows = vector_rows(&m.isa);
    // Some across the ends of pages.
    let a = Asm::at(VA + rng.below(2 * 4096) / 2 * 2);
    let mut k = Maker {
        rng,
        a,
        kind: Kind { roles, alone, vectors },
        rows: &rows,
        marks: Vec::new(),
        calls: Vec::new(),
        leaf: false,
    };
    let entry = k.a.base;
    let rounds = if alone { 1 + k.rng.below(20) } else { 200 + k.rng.below(1800) };
    k.a.i(Op::Addi, COUNTS[0], 0, rounds as i32);
    let head = k.a.here();
    k.body(1);
    k.walk();
    k.a.i(Op::Addi, COUNTS[0], COUNTS[0], -1);
    let over = k.a.forward(Op::Beq, COUNTS[0], 0);
    k.a.j(0, head).bind(over);
    // The end: illegal whatever is on.
    let end = k.a.here();
    k.a.word(0);
    k.leaf = true;
    let functions: Vec<u64> = (0..3).map(|_| k.function()).collect();
    let calls = std::mem::take(&mut k.calls);
    for (hole, which) in calls {
        k.a.bind_to(hole, functions[which as usize]);
    }
    let Maker { a, marks, rng, .. } = k;
    assert!(entry - VA + (a.code.len() as u64) < CODE_PAGES << 12, "the program is too long");

    let mut start = m.supervisor(0, entry);
    for r in 1..32 {
        (start.x[r], start.f[r]) = (rng.corner(), rng.corner());
    }
    start.f[0] = rng.corner();
    start.v.0.chunks_mut(8).for_each(|bytes| bytes.copy_from_slice(&rng.corner().to_le_bytes()));
    let last = DATA + (DATA_PAGES << 12);
    let near_an_end = |rng: &mut Rng| DATA + ((1 + rng.below(DATA_PAGES - 1)) << 12) - 128 + 8 * rng.below(32);
    start.x[usize::from(BASE)] = near_an_end(rng) + if rng.below(24) == 0 { rng.below(8) } else { 0 };
    start.x[usize::from(WALK)] = if rng.below(24) == 0 { last - 8 * rng.below(64) } else { near_an_end(rng) };
    // Where walks turn back.
    start.x[30] = last - 256;
    let field = |rng: &mut Rng| if rng.below(4) == 0 { rng.below(4) } else { 3 };
    let (fs, vs) = (field(rng), field(rng));
    start.csr.mstatus |= fs << 13 | vs << 9;
    if roles.virt {
        start.csr.mstatus |= 3 << 13 | 3 << 9;
    }
    start.csr.fcsr = rng.below(5) << 5 | rng.below(32);
    if rng.below(2) == 0 {
        // Hardware sets A and D.
        start.csr.menvcfg |= n::envcfg::ADUE;
        start.csr.henvcfg |= n::envcfg::ADUE;
    }
    let mut pages = Vec::new();
    let offset = (entry - VA) as usize;
    for page in 0..CODE_PAGES {
        pages.push((
            page,
            [0, 1, 2, 3].map(|variant: i32| {
                // The same program with other numbers in it.
                let mut image = vec![0; (CODE_PAGES << 12) as usize];
                image[offset..offset + a.code.len()].copy_from_slice(&a.code);
                if alone {
                    for (at, rd) in &marks {
                        let word = guest::word(Op::Addi, *rd, *rd, 0, 1 + 5 * variant);
                        let at = (at - VA) as usize;
                        image[at..at + 4].copy_from_slice(&word.to_le_bytes());
                    }
                }
                image[(page << 12) as usize..][..4096].to_vec()
            }),
        ));
    }
    for page in 0..DATA_PAGES {
        let mut contents = || (0..512).flat_map(|_| rng.corner().to_le_bytes()).collect::<Vec<u8>>();
        pages.push((data_page(page), [contents(), contents(), contents(), contents()]));
    }
    let actions = [actions(rng, &marks, alone), actions(rng, &marks, alone)];
    World { roles, pages, actions, start, end, period: None }
}

fn difference(a: &End, b: &End) -> String {
    let mut out = String::new();
    let mut differ = |what: &str, a: &[u64], b: &[u64]| {
        for (i, (a, b)) in a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b) {
            out += &format!("{what}{i}: {a:#x} / {b:#x}\n");
        }
    };
    differ("cause, value, pc, retired: ", &[a.cause, a.value, a.pc, a.retired], &[b.cause, b.value, b.pc, b.retired]);
    differ("x", &a.x, &b.x);
    differ("f", &a.f, &b.f);
    differ("fcsr, vl, vtype, vstart, vcsr: ", &a.extra, &b.extra);
    differ("counter, event, trigger: ", &a.watch, &b.watch);
    differ("traps: ", &[a.traps], &[b.traps]);
    differ("records: ", &a.records, &b.records);
    for (i, (a, b)) in a.pages.iter().zip(&b.pages).enumerate() {
        let at: Vec<usize> = (0..4096).filter(|&i| a[i] != b[i]).take(8).collect();
        if !at.is_empty() {
            out += &format!("page {}, space {}: bytes {at:x?} differ\n", i / 2, i % 2);
        }
    }
    let at: Vec<usize> = (0..a.v.len()).filter(|&i| a.v[i] != b.v[i]).take(8).collect();
    if !at.is_empty() {
        out += &format!("vectors: bytes {at:x?} differ\n");
    }
    out
}

fn listing(w: &World, isa: &IsaConfig) -> String {
    let decoder = arch::isa::Decoder::new(isa);
    let code: Vec<u8> = w.pages[..CODE_PAGES as usize].iter().flat_map(|p| p.1[0].clone()).collect();
    let mut out = format!("{:?}\n{:?}\n", w.roles, w.actions);
    for (i, insn) in code.chunks(4).enumerate() {
        let raw = u32::from_le_bytes(insn.try_into().unwrap());
        if let Some(insn) = decoder.decode(raw) {
            let pc = VA + 4 * i as u64;
            out += &format!("{pc:x}: {}\n", arch::isa::disasm(&insn, pc));
        }
    }
    out
}

fn guests(isa: &IsaConfig) -> (Guest, Vec<(&'static str, Guest)>) {
    let reference = Guest::with_isa(TcgOptions { jit: false, ..TcgOptions::default() }, 1, isa.clone());
    let mut others: Vec<_> = forced_modes()
        .into_iter()
        .chain(simd_modes().into_iter().map(|(name, o)| (name, TcgOptions { hot: 1, ..o })))
        .map(|(name, options)| (name, Guest::with_isa(options, 1, isa.clone())))
        .collect();
    let hot = |hot| TcgOptions { hot, ..TcgOptions::default() };
    if cfg!(target_arch = "x86_64") {
        others.push(("loops after some rounds", Guest::with_isa(hot(5), 1, isa.clone())));
        others.push(("no regions", Guest::with_isa(hot(0), 1, isa.clone())));
        // LR and SC are done otherwise.
        others.push(("of two harts", Guest::with_isa(hot(1), 2, isa.clone())));
    }
    (reference, others)
}

/// `VIREO_LOCKSTEP_ROUNDS` programs, 400 unless told, from the seed `VIREO_LOCKSTEP_SEED` on.
#[test]
fn what_changes_in_a_loop_is_seen() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 400), number("VIREO_LOCKSTEP_SEED", 1));
    let isa = isa_of_worlds();
    let (mut reference, mut others) = guests(&isa);
    let (mut finished, mut retired) = (0, 0);
    for seed in first..first + rounds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let world = random_world(&mut rng, &reference, true);
        let expected = world.run(&mut reference, None);
        finished += u64::from(expected.pc == world.end);
        retired += expected.retired;
        for (name, m) in &mut others {
            let got = world.run(m, None);
            let differ = || format!("{}{}", difference(&expected, &got), listing(&world, &isa));
            assert!(got == expected, "{name}, seed {seed}: {}", differ());
        }
    }
    assert!(finished > rounds / 2, "{finished} of {rounds} programs get to their end");
    assert!(retired / rounds > 100, "they have {} instructions", retired / rounds);
}

/// Records of control transfers, counters that overflow, and single steps come and go while the program runs: all see
/// every instruction from the one on behind which they are switched on. Half of `VIREO_LOCKSTEP_ROUNDS` programs, from
/// the seed `VIREO_LOCKSTEP_SEED` on.
#[test]
fn what_watches_a_program_comes_and_goes() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 400) / 2, number("VIREO_LOCKSTEP_SEED", 1));
    let isa = isa_of_worlds();
    let (mut reference, mut others) = guests(&isa);
    let (mut traps, mut recorded, mut overflown, mut stepped) = (0, 0, 0, 0);
    for seed in first..first + rounds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x3333);
        let mut world = random_world(&mut rng, &reference, true);
        // These are for M-mode to do.
        world.roles.machine = true;
        let [calls, watched] = &mut world.actions;
        watch(&mut rng, calls);
        watch(&mut rng, watched);
        let expected = world.run(&mut reference, None);
        traps += expected.traps;
        recorded += u64::from(expected.records[1] != 0);
        overflown += u64::from(expected.watch[1] & n::mhpmevent::OF != 0);
        stepped += expected.steps;
        for (name, m) in &mut others {
            let got = world.run(m, None);
            let differ = || format!("{}{}", difference(&expected, &got), listing(&world, &isa));
            assert!(got == expected, "{name}, seed {seed}: {}", differ());
        }
    }
    assert!(traps / rounds.max(1) > 10, "the handler runs {traps} times in {rounds} programs");
    assert!(recorded > rounds / 8, "{recorded} of {rounds} programs leave records");
    assert!(overflown > rounds / 40, "the counter overflows in {overflown} of {rounds} programs");
    assert!(stepped > rounds, "the trigger fires {stepped} times in {rounds} programs");
}

/// A machine whose clock counts instructions; each begins at zero.
fn counting(options: &TcgOptions, isa: &IsaConfig) -> Guest {
    let clock = std::sync::Arc::new(accel::Clock::counting(10_000_000, 1));
    Setup { isa: isa.clone(), clock, ..Setup::default() }.start(&Tcg { options: options.clone() })
}

/// With instructions as the clock, timers come at the same instruction however the program runs: what their handler does
/// is seen there. A tenth of `VIREO_LOCKSTEP_ROUNDS` programs, from the seed `VIREO_LOCKSTEP_SEED` on.
#[test]
fn timers_come_at_their_instruction() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 400).div_ceil(10), number("VIREO_LOCKSTEP_SEED", 1));
    let isa = isa_of_worlds();
    let interpreter = TcgOptions { jit: false, ..TcgOptions::default() };
    for seed in first..first + rounds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7777);
        let mut reference = counting(&interpreter, &isa);
        let mut world = random_world(&mut rng, &reference, true);
        world.period = Some(1 + rng.below(40));
        let expected = world.run(&mut reference, None);
        for (name, options) in forced_modes() {
            let got = world.run(&mut counting(&options, &isa), None);
            let differ = || format!("{}{}", difference(&expected, &got), listing(&world, &isa));
            assert!(got == expected, "{name}, seed {seed}: {}", differ());
        }
    }
}

/// What comes from outside at any moment.
fn disturb(o: &Outside, rng: &mut Rng) {
    let page = data_page(((OUTSIDE - DATA) >> 12) + rng.below((DATA + (DATA_PAGES << 12) - OUTSIDE) >> 12));
    match rng.below(8) {
        0..=3 => o.interrupt(),
        4 => o.move_page(0, page),
        5 => o.fence(None),
        6 => o.fence(Some(page)),
        _ => o.fence_i(),
    }
    let longest = 1 << rng.below(17);
    let wait = Duration::from_nanos(rng.below(longest));
    let start = Instant::now();
    while start.elapsed() < wait {
        std::hint::spin_loop();
    }
}

/// A tenth of `VIREO_LOCKSTEP_ROUNDS` programs, which take longer, from the seed `VIREO_LOCKSTEP_SEED` on.
#[test]
fn what_comes_from_outside_is_not_seen() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 200).div_ceil(10), number("VIREO_LOCKSTEP_SEED", 1));
    let isa = isa_of_worlds();
    let (mut reference, mut others) = guests(&isa);
    for seed in first..first + rounds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5555);
        let world = random_world(&mut rng, &reference, false);
        // What comes from outside is handled, too: nobody counts how often.
        let expected = End { traps: 0, ..world.run(&mut reference, None) };
        for (name, m) in &mut others {
            let noise = std::sync::Mutex::new(Rng(rng.next()));
            let got = world.run(m, Some(&|o| disturb(o, &mut noise.lock().unwrap())));
            let differ = || format!("{}{}", difference(&expected, &got), listing(&world, &isa));
            assert!(got == expected, "{name}, seed {seed}: {}", differ());
        }
    }
}
