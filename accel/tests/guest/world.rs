//! A small world for random programs: page tables, and a trap handler that changes them, the code and the status of
//! extensions under the program, and goes on.
//!
//! The handler answers `ecall` and `ebreak` by the next of a list of [`Action`]s, and each interrupt by the next of
//! another list. Page faults on pages that an action took away bring them back. Whatever else traps ends the program.
//! It counts the instructions that are its own, so that those of the program are known however often it was interrupted.

use accel::testing::Registers as _;
use accel::{HartState, Mode};
use arch::csr as n;
use arch::pte::{A, D, G, R, U, W, X};

use super::{Asm, END, Guest, Hole, Op, RAM, leaf};

const HANDLER: u64 = RAM + 0x8000;
/// What the handler knows.
const NOTES: u64 = RAM + 0x20_0000;
/// The lists of actions.
const LISTS: [u64; 2] = [NOTES + 0x1000, NOTES + 0x2000];
const ACTIONS: usize = 64;
const ROOTS: [u64; 2] = [RAM + 0x40_0000, RAM + 0x41_0000];
const LEAVES: [u64; 2] = [ROOTS[0] + 0x2000, ROOTS[1] + 0x2000];
/// Frames: two a page, of which one is mapped; those of the second address space behind those of the first.
const FRAMES: u64 = RAM + 0x80_0000;
const SPACE: u64 = 0x4_0000;

/// Where pages begin that the program sees.
pub const VA: u64 = 0x4000_0000;
pub const CODE_PAGES: u64 = 4;
pub const DATA: u64 = VA + 0x8000;
pub const DATA_PAGES: u64 = 8;
const FIRST_DATA: u64 = (DATA - VA) >> 12;
/// Pages from here on are changed from outside, not by the handler.
pub const OUTSIDE: u64 = DATA + 0x4000;
/// Set in entries of pages that are being moved from outside.
const BUSY: u64 = 1 << 8;
/// The bit of an entry that tells the two frames of a page apart.
const OTHER_FRAME: u64 = 1 << 10;

/// A trigger that counts the instructions of programs, in whatever mode they are.
const ICOUNT: u64 = {
    use n::icount::*;
    3 << 60 | U | S | VU | VS
};

/// Instructions of the handler before it looks at the counter, and from where it looks again.
const BEFORE: u64 = 6;
const BEHIND: u64 = 15;

// Offsets in the notes.
const ENTRY: i32 = 64;
const OWN: i32 = 72;
const TRAPS: i32 = 80;
const NEXT: [i32; 2] = [88, 112];
const LEAF: i32 = 136;
const FAULTS: i32 = 144;
const CAUSE: i32 = 152;
const VALUE: i32 = 160;
const PC: i32 = 168;
const X31: i32 = 176;
const START: i32 = 184;
const LIMIT: i32 = 192;
const FLAGS: i32 = 200;
const PERIOD: i32 = 208;
const STEPS: i32 = 216;

/// Who runs the program and who handles its traps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// U-mode, else S-mode.
    pub user: bool,
    /// The handler runs in M-mode, else in S-mode.
    pub machine: bool,
    /// The program runs in VS-mode or VU-mode; its handler in M-mode.
    pub virt: bool,
}

pub const ROLES: [Roles; 6] = [
    Roles { user: true, machine: false, virt: false },
    Roles { user: false, machine: false, virt: false },
    Roles { user: true, machine: true, virt: false },
    Roles { user: false, machine: true, virt: false },
    Roles { user: true, machine: true, virt: true },
    Roles { user: false, machine: true, virt: true },
];

/// What the handler does before it goes back.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    Nothing,
    /// A page of an address space gets its other frame, which has other contents.
    Swap {
        space: usize,
        page: u64,
        all: bool,
    },
    /// The same, the contents moved.
    Move {
        space: usize,
        page: u64,
    },
    /// A page loses flags until it is used again.
    Take {
        space: usize,
        page: u64,
        flags: u64,
    },
    /// A word of a frame of code is replaced.
    Patch {
        space: usize,
        other: bool,
        offset: u64,
        word: u32,
    },
    /// Fields of the status register.
    Status {
        mask: u64,
        value: u64,
    },
    /// The other address space; `fence`: with a fence for all.
    Space {
        space: usize,
        fence: bool,
    },
    FenceI,
    FenceAll,
    /// Control transfers are recorded, or not; for handlers in M-mode, as what follows.
    Record {
        control: u64,
    },
    /// Counter 3 counts an event of the program, from a value on; where it overflows it interrupts.
    Count {
        event: u64,
        from: u64,
    },
    /// The program is stopped after so many instructions, 0 for never.
    Step {
        count: u64,
    },
}

fn frame(space: usize, page: u64, other: bool) -> u64 {
    FRAMES + space as u64 * SPACE + page * 0x2000 + u64::from(other) * 0x1000
}

fn slot(space: usize, page: u64) -> u64 {
    LEAVES[space] + 8 * page
}

fn satp(space: usize) -> u64 {
    8 << 60 | (5 + space as u64) << 44 | ROOTS[space] >> 12
}

impl Roles {
    /// The flags of a page of the program.
    fn flags(self, page: u64) -> u64 {
        let kind = if page < CODE_PAGES { R | X } else { R | W };
        kind | A | D | if self.user { U } else { 0 }
    }

    fn entry(self, space: usize, page: u64, other: bool) -> u64 {
        leaf(frame(space, page, other), self.flags(page))
    }

    /// The record of an action: what, and three operands.
    fn record(self, action: Action) -> [u64; 4] {
        let va = |page: u64| VA + (page << 12);
        match action {
            Action::Nothing => [0; 4],
            Action::Swap { space, page, all } => [1, slot(space, page), OTHER_FRAME, if all { 0 } else { va(page) }],
            Action::Move { space, page } => [3, slot(space, page), 0, va(page)],
            Action::Take { space, page, flags } => [6, slot(space, page), flags, va(page)],
            Action::Patch { space, other, offset, word } => {
                [2, frame(space, offset >> 12, other) + (offset & 0xfff), u64::from(word), 0]
            }
            Action::Status { mask, value } => [4, value, mask, 0],
            Action::Space { space, fence } => [5, satp(space), LEAVES[space], u64::from(fence)],
            Action::FenceI => [7, 0, 0, 0],
            Action::FenceAll => [8, 0, 0, 0],
            Action::Record { control } => [9, control, 0, 0],
            Action::Count { event, from } => [10, event | n::mhpmevent::MINH, from, 0],
            Action::Step { count: 0 } => [11, 0, 0, 0],
            Action::Step { count } => [11, ICOUNT | count << n::icount::COUNT_SHIFT, 0, 0],
        }
    }
}

/// The CSRs of the handler.
struct Csrs {
    scratch: u16,
    cause: u16,
    value: u16,
    pc: u16,
    pending: u16,
    status: u16,
    satp: u16,
    instret: u16,
    ret: Op,
    fence: Op,
}

impl Csrs {
    fn of(roles: Roles) -> Self {
        let (satp, fence) = if roles.virt { (n::VSATP, Op::HfenceVvma) } else { (n::SATP, Op::SfenceVma) };
        let status = if roles.virt { n::VSSTATUS } else { n::SSTATUS };
        if roles.machine {
            Self {
                scratch: n::MSCRATCH,
                cause: n::MCAUSE,
                value: n::MTVAL,
                pc: n::MEPC,
                pending: n::MIP,
                status,
                satp,
                instret: n::MINSTRET,
                ret: Op::Mret,
                fence,
            }
        } else {
            Self {
                scratch: n::SSCRATCH,
                cause: n::SCAUSE,
                value: n::STVAL,
                pc: n::SEPC,
                pending: n::SIP,
                status,
                satp,
                instret: n::INSTRET,
                ret: Op::Sret,
                fence,
            }
        }
    }
}

/// What the handler finds its data by.
const N: u8 = 31;

fn ld(a: &mut Asm, rd: u8, at: i32) {
    a.i(Op::Ld, rd, N, at);
}

fn sd(a: &mut Asm, rs: u8, at: i32) {
    a.s(Op::Sd, rs, N, at);
}

fn handler(roles: Roles) -> Asm {
    let c = Csrs::of(roles);
    let mut a = Asm::at(HANDLER);
    a.csrrw(N, c.scratch, N);
    (5..10).for_each(|r| sd(&mut a, r, 8 * i32::from(r - 5)));
    assert_eq!(a.code.len() as u64, 4 * BEFORE);
    a.csrr(5, c.instret);
    sd(&mut a, 5, ENTRY);
    a.csrr(5, c.cause);
    let interrupt = a.forward(Op::Blt, 5, 0);
    let mut holes = Vec::new();
    let mut to_end = Vec::new();
    for cause in [3, 8, 2, 12, 13, 15] {
        a.i(Op::Addi, 6, 0, cause);
        holes.push(a.forward(Op::Beq, 5, 6));
    }
    to_end.push(a.forward(Op::Jal, 0, 0));
    let mut holes = holes.into_iter();
    let mut hole = || holes.next().expect("one a cause");
    let mut to_out = Vec::new();

    // A call: the next of the first list, and on behind the instruction. A trigger: of the other, and on with it.
    a.bind(hole());
    let by_trigger = roles.machine.then(|| {
        a.csrr(6, n::TDATA1).i(Op::Srli, 6, 6, n::icount::HIT.trailing_zeros() as i32).i(Op::Andi, 6, 6, 1);
        let call = a.forward(Op::Beq, 6, 0);
        a.csrw(n::TDATA1, 0);
        ld(&mut a, 6, STEPS);
        a.i(Op::Addi, 6, 6, 1);
        sd(&mut a, 6, STEPS);
        let by_trigger = a.forward(Op::Jal, 0, 0);
        a.bind(call);
        by_trigger
    });
    a.bind(hole());
    a.csrr(6, c.pc).i(Op::Addi, 6, 6, 4).csrw(c.pc, 6);
    let take = |a: &mut Asm, at: i32| {
        ld(a, 7, at);
        a.i(Op::Addi, 8, 7, 32);
        ld(a, 9, at + 8);
        let more = a.forward(Op::Bne, 8, 9);
        ld(a, 8, at + 16);
        a.bind(more);
        sd(a, 8, at);
    };
    take(&mut a, NEXT[0]);
    let act = a.forward(Op::Jal, 0, 0);

    // An interrupt: the next of the other.
    a.bind(interrupt);
    a.i(Op::Andi, 6, 5, 15).i(Op::Addi, 7, 0, 5);
    let timer = a.forward(Op::Beq, 6, 7);
    a.i(Op::Addi, 7, 0, 13);
    let overflow = a.forward(Op::Beq, 6, 7);
    a.i(Op::Addi, 6, 0, 2).csrc(c.pending, 6);
    let next = a.forward(Op::Jal, 0, 0);
    a.bind(overflow).word(0x0000_0037 | 2 << 12 | 6 << 7).csrc(c.pending, 6);
    let next_too = a.forward(Op::Jal, 0, 0);
    a.bind(timer);
    ld(&mut a, 7, PERIOD);
    a.csrr(6, n::TIME).r(Op::Add, 6, 6, 7).csrw(n::STIMECMP, 6).bind(next).bind(next_too);
    by_trigger.into_iter().for_each(|hole| {
        a.bind(hole);
    });
    take(&mut a, NEXT[1]);
    let act_too = a.forward(Op::Jal, 0, 0);

    // An illegal instruction, maybe one of an extension that is off.
    a.bind(hole());
    a.csrr(6, c.status).word(0x0000_0037 | 6 << 12 | 5 << 7).r(Op::And, 7, 6, 5);
    let fs_is_on = a.forward(Op::Bne, 7, 0);
    a.word(0x0000_0037 | 2 << 12 | 5 << 7).csrs(c.status, 5);
    to_out.push(a.forward(Op::Jal, 0, 0));
    a.bind(fs_is_on);
    a.i(Op::Andi, 7, 6, 0x600);
    to_end.push(a.forward(Op::Bne, 7, 0));
    a.i(Op::Addi, 5, 0, 0x200).csrs(c.status, 5);
    to_out.push(a.forward(Op::Jal, 0, 0));

    // A page fault: back with the page, if there is one.
    for _ in 0..3 {
        a.bind(hole());
    }
    a.csrr(6, c.value);
    ld(&mut a, 9, START);
    a.r(Op::Sub, 9, 6, 9).i(Op::Srli, 9, 9, 21);
    to_end.push(a.forward(Op::Bne, 9, 0));
    a.i(Op::Srli, 5, 6, 12).i(Op::Andi, 5, 5, 511).i(Op::Slli, 5, 5, 3);
    ld(&mut a, 8, LEAF);
    a.r(Op::Add, 8, 8, 5).i(Op::Ld, 5, 8, 0);
    to_end.push(a.forward(Op::Beq, 5, 0));
    ld(&mut a, 9, LIMIT);
    to_out.push(a.forward(Op::Bgeu, 6, 9));
    ld(&mut a, 9, FAULTS);
    a.i(Op::Addi, 9, 9, -1);
    sd(&mut a, 9, FAULTS);
    to_end.push(a.forward(Op::Beq, 9, 0));
    ld(&mut a, 9, FLAGS);
    a.r(Op::Or, 5, 5, 9).s(Op::Sd, 5, 8, 0).r(c.fence, 0, 6, 0);
    to_out.push(a.forward(Op::Jal, 0, 0));

    a.bind(act).bind(act_too);
    to_out.extend(actions(&mut a, &c, roles));

    to_out.into_iter().for_each(|hole| {
        a.bind(hole);
    });
    ld(&mut a, 5, ENTRY);
    let behind = a.code.len();
    a.csrr(6, c.instret).r(Op::Sub, 6, 6, 5);
    ld(&mut a, 7, OWN);
    a.r(Op::Add, 7, 7, 6);
    sd(&mut a, 7, OWN);
    ld(&mut a, 7, TRAPS);
    a.i(Op::Addi, 7, 7, 1);
    sd(&mut a, 7, TRAPS);
    (5..10).for_each(|r| ld(&mut a, r, 8 * i32::from(r - 5)));
    a.csrrw(N, c.scratch, N).plain(c.ret);
    assert_eq!((a.code.len() - behind) as u64, 4 * BEHIND);

    to_end.into_iter().for_each(|hole| {
        a.bind(hole);
    });
    for (csr, at) in [(c.cause, CAUSE), (c.value, VALUE), (c.pc, PC), (c.scratch, X31)] {
        a.csrr(5, csr);
        sd(&mut a, 5, at);
    }
    a.word(0x0000_0037 | (END as u32) | 5 << 7).s(Op::Sd, 0, 5, 0);
    let here = a.here();
    a.j(0, here);
    a
}

/// Does the action that x7 points to. What is done comes out behind it, or by the jumps that are returned.
fn actions(a: &mut Asm, c: &Csrs, roles: Roles) -> Vec<Hole> {
    let mut to_out = Vec::new();
    a.i(Op::Ld, 5, 7, 0);
    a.i(Op::Ld, 8, 7, 8).i(Op::Ld, 9, 7, 16);
    let mut kinds = Vec::new();
    for kind in 1..=if roles.machine { 11 } else { 8 } {
        a.i(Op::Addi, 6, 0, kind);
        kinds.push(a.forward(Op::Beq, 5, 6));
    }
    to_out.push(a.forward(Op::Jal, 0, 0));
    let mut kinds = kinds.into_iter();
    // 1: *x8 ^= x9 and a fence.
    a.bind(kinds.next().unwrap());
    a.i(Op::Ld, 5, 8, 0).r(Op::Xor, 5, 5, 9).s(Op::Sd, 5, 8, 0).i(Op::Ld, 6, 7, 24);
    let one = a.forward(Op::Bne, 6, 0);
    a.r(c.fence, 0, 0, 0);
    to_out.push(a.forward(Op::Jal, 0, 0));
    a.bind(one);
    a.r(c.fence, 0, 6, 0);
    to_out.push(a.forward(Op::Jal, 0, 0));
    // 2: a word of code.
    a.bind(kinds.next().unwrap());
    a.s(Op::Sw, 9, 8, 0).plain(Op::FenceI);
    to_out.push(a.forward(Op::Jal, 0, 0));
    // 3: copies the frame and spoils the old one.
    a.bind(kinds.next().unwrap());
    a.i(Op::Ld, 5, 8, 0).i(Op::Xori, 6, 5, OTHER_FRAME as i32).s(Op::Sd, 6, 8, 0).i(Op::Ld, 9, 7, 24);
    a.r(c.fence, 0, 9, 0);
    a.i(Op::Srli, 5, 5, 10).i(Op::Slli, 5, 5, 12).i(Op::Srli, 6, 6, 10).i(Op::Slli, 6, 6, 12);
    a.word(0x0000_0037 | 1 << 12 | 9 << 7).r(Op::Add, 9, 9, 5);
    let again = a.here();
    a.i(Op::Ld, 7, 5, 0).s(Op::Sd, 7, 6, 0).s(Op::Sd, 9, 5, 0);
    a.i(Op::Ld, 7, 5, 8).s(Op::Sd, 7, 6, 8).s(Op::Sd, 9, 5, 8);
    a.i(Op::Addi, 5, 5, 16).i(Op::Addi, 6, 6, 16).b(Op::Bltu, 5, 9, again);
    to_out.push(a.forward(Op::Jal, 0, 0));
    // 4: status.
    a.bind(kinds.next().unwrap());
    a.csrc(c.status, 9).csrs(c.status, 8);
    to_out.push(a.forward(Op::Jal, 0, 0));
    // 5: another address space.
    a.bind(kinds.next().unwrap());
    a.csrw(c.satp, 8);
    sd(a, 9, LEAF);
    a.i(Op::Ld, 6, 7, 24);
    to_out.push(a.forward(Op::Beq, 6, 0));
    a.r(c.fence, 0, 0, 0);
    to_out.push(a.forward(Op::Jal, 0, 0));
    // 6: *x8 &= ~x9 and a fence. Interrupts do so any number of times: the fault that follows is not one of those that
    // end a program.
    a.bind(kinds.next().unwrap());
    ld(a, 5, FAULTS);
    a.i(Op::Addi, 5, 5, 1);
    sd(a, 5, FAULTS);
    a.i(Op::Ld, 5, 8, 0).r(Op::Andn, 5, 5, 9).s(Op::Sd, 5, 8, 0).i(Op::Ld, 6, 7, 24).r(c.fence, 0, 6, 0);
    to_out.push(a.forward(Op::Jal, 0, 0));
    a.bind(kinds.next().unwrap());
    a.plain(Op::FenceI);
    to_out.push(a.forward(Op::Jal, 0, 0));
    a.bind(kinds.next().unwrap());
    a.r(c.fence, 0, 0, 0);
    if roles.machine {
        // 9: control transfers.
        to_out.push(a.forward(Op::Jal, 0, 0));
        a.bind(kinds.next().unwrap());
        a.csrw(n::MCTRCTL, 8).csrw(n::VSCTRCTL, 8).csrw(n::SCTRSTATUS, 9);
        to_out.push(a.forward(Op::Jal, 0, 0));
        // 10: a counter.
        a.bind(kinds.next().unwrap());
        a.csrw(n::MHPMEVENT3, 0).csrw(n::MHPMCOUNTER3, 9).csrw(n::MHPMEVENT3, 8);
        to_out.push(a.forward(Op::Jal, 0, 0));
        // 11: single steps.
        a.bind(kinds.next().unwrap());
        a.csrw(n::TDATA1, 8);
    }
    to_out
}

/// What a program is started with.
#[derive(Debug, Clone)]
pub struct World {
    pub roles: Roles,
    /// Contents of each page from [`VA`] on: of both frames in both spaces, in the order (space, other).
    pub pages: Vec<(u64, [Vec<u8>; 4])>,
    /// The actions of calls and of interrupts; each list goes on from its start.
    pub actions: [Vec<Action>; 2],
    /// The program's registers, its pc among them.
    pub start: HartState,
    /// The address of its last instruction, which is illegal.
    pub end: u64,
    /// Ticks from one interrupt of the timer to the next, if there are any.
    pub period: Option<u64>,
}

/// What is left of it.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    pub cause: u64,
    pub value: u64,
    pub pc: u64,
    /// Instructions of the program.
    pub retired: u64,
    pub x: Vec<u64>,
    pub f: Vec<u64>,
    /// `fcsr`, `vl`, `vtype`, `vstart`, `vcsr`.
    pub extra: [u64; 5],
    /// Counter 3, its event, and the trigger.
    pub watch: [u64; 3],
    /// `sctrstatus` and the records of control transfers.
    pub records: Vec<u64>,
    /// How often the handler ran and came back, if nothing came from outside.
    pub traps: u64,
    /// How often a trigger fired.
    pub steps: u64,
    pub v: Vec<u8>,
    /// What the pages of both spaces hold.
    pub pages: Vec<Vec<u8>>,
}

impl World {
    fn state(&self) -> HartState {
        let (r, mut s) = (self.roles, self.start.clone());
        s.mode = if r.user { Mode::User } else { Mode::Supervisor };
        s.virt = r.virt;
        (s.csr.mtvec, s.csr.stvec) = (HANDLER, HANDLER);
        (s.csr.mscratch, s.csr.sscratch) = (NOTES, NOTES);
        let mine = 0x22 | n::mip::LCOFIP;
        (s.csr.medeleg, s.csr.mideleg) =
            if r.machine { (0, s.csr.mideleg & !mine) } else { (0xb3ff, s.csr.mideleg | mine) };
        (s.csr.hedeleg, s.csr.hideleg) = (0, 0);
        s.csr.mie = if self.period.is_some() { 0x22 } else { 2 } | n::mip::LCOFIP;
        s.csr.stimecmp = self.period.unwrap_or(u64::MAX);
        (s.csr.mcounteren, s.csr.scounteren, s.csr.hcounteren) = (15, 15, 15);
        (s.csr.satp, s.csr.vsatp) = if r.virt { (0, satp(0)) } else { (satp(0), 0) };
        s.csr.vsstatus = s.csr.mstatus & (n::mstatus::FS | n::mstatus::VS);
        if !r.user && !r.machine {
            // SIE.
            s.csr.mstatus |= 2;
        }
        s
    }

    fn set_up(&self, g: &Guest) {
        let r = self.roles;
        g.load(&handler(r));
        g.write(NOTES, &[0; 4096]);
        for (list, base) in LISTS.into_iter().enumerate() {
            let actions = &self.actions[list];
            assert!(!actions.is_empty() && actions.len() <= ACTIONS);
            let bytes: Vec<u8> = actions.iter().flat_map(|a| r.record(*a)).flat_map(u64::to_le_bytes).collect();
            g.write(base, &bytes);
            for (i, v) in [base, base + bytes.len() as u64, base].into_iter().enumerate() {
                g.write64(NOTES + NEXT[list] as u64 + 8 * i as u64, v);
            }
        }
        let flags = R | W | X | A | D | arch::pte::V | if r.user { U } else { 0 };
        let notes = [
            (LEAF, LEAVES[0]),
            (FAULTS, 3000),
            (START, VA),
            (LIMIT, OUTSIDE),
            (FLAGS, flags),
            (PERIOD, self.period.unwrap_or(0)),
        ];
        notes.into_iter().for_each(|(at, v)| g.write64(NOTES + at as u64, v));
        let all = R | W | X | A | D;
        for space in 0..2 {
            g.write(ROOTS[space], &[0; 0x3000]);
            g.write64(ROOTS[space], leaf(0, R | W | A | D));
            g.write64(ROOTS[space] + 8, (ROOTS[space] + 0x1000) >> 2 | arch::pte::V);
            g.write64(ROOTS[space] + 16, leaf(RAM, all | G));
            g.write64(ROOTS[space] + 0x1000, LEAVES[space] >> 2 | arch::pte::V);
        }
        for (page, contents) in &self.pages {
            for space in 0..2 {
                g.write64(slot(space, *page), r.entry(space, *page, false));
                for other in [false, true] {
                    g.write(frame(space, *page, other), &contents[2 * space + usize::from(other)]);
                }
            }
        }
    }

    /// Runs it on hart 0; `meanwhile` is called on another thread until it ends.
    pub fn run(&self, g: &mut Guest, meanwhile: Option<&(dyn Fn(&Outside) + Sync)>) -> End {
        self.set_up(g);
        g.harts[0].set_state(&self.state());
        let over = std::sync::atomic::AtomicBool::new(false);
        let outside = Outside { ram: g.ram.clone(), vm: g.vm.clone(), handle: g.harts[0].handle(), roles: self.roles };
        let s = std::thread::scope(|scope| {
            if let Some(meanwhile) = meanwhile {
                scope.spawn(|| {
                    while !over.load(std::sync::atomic::Ordering::Acquire) {
                        meanwhile(&outside);
                    }
                });
            }
            let s = g.resume();
            over.store(true, std::sync::atomic::Ordering::Release);
            s
        });
        let note = |at: i32| g.read64(NOTES + at as u64);
        let mut x = s.x.to_vec();
        (5..10).for_each(|r| x[r] = note(8 * (r as i32 - 5)));
        x[31] = note(X31);
        let handled = note(OWN) + note(TRAPS) * (BEFORE + BEHIND);
        let c = &s.csr;
        let contents =
            |space: usize, page: u64| g.read(frame(space, page, g.read64(slot(space, page)) & OTHER_FRAME != 0), 4096);
        let pages = self.pages.iter().flat_map(|(page, _)| [contents(0, *page), contents(1, *page)]).collect();
        End {
            cause: note(CAUSE),
            value: note(VALUE),
            pc: note(PC),
            retired: note(ENTRY).wrapping_sub(BEFORE + handled).wrapping_sub(self.start.csr.minstret),
            x,
            f: s.f.to_vec(),
            extra: [c.fcsr, c.vl, c.vtype, c.vstart, c.vcsr],
            watch: [c.mhpmcounter[3], c.mhpmevent[3], c.triggers[0].tdata1],
            records: std::iter::once(c.ctr.status)
                .chain(c.ctr.entries.iter().flat_map(|e| [e.source, e.target, e.data]))
                .collect(),
            steps: note(STEPS),
            traps: if meanwhile.is_some() { 0 } else { note(TRAPS) },
            v: s.v.0.to_vec(),
            pages,
        }
    }
}

/// What comes to the hart from outside.
pub struct Outside {
    ram: accel::GuestRam,
    vm: std::sync::Arc<dyn accel::Vm>,
    handle: std::sync::Arc<dyn accel::VcpuHandle>,
    roles: Roles,
}

impl Outside {
    pub fn interrupt(&self) {
        self.handle.raise_ssip();
    }

    pub fn fence(&self, page: Option<u64>) {
        let (start, size) = page.map_or((0, u64::MAX), |page| (VA + (page << 12), 4096));
        let fence = if self.roles.virt {
            accel::RemoteFence::GuestAddress { start, size, asid: None, vmid: 0 }
        } else {
            accel::RemoteFence::Address { start, size, asid: None }
        };
        self.vm.remote_fence(&accel::HartSet(vec![0]), fence);
    }

    pub fn fence_i(&self) {
        self.vm.remote_fence(&accel::HartSet(vec![0]), accel::RemoteFence::Instruction);
    }

    /// As another hart would: takes a page of data away, moves it, and gives it back.
    pub fn move_page(&self, space: usize, page: u64) {
        use std::sync::atomic::{AtomicU64, Ordering};
        use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};
        assert!(VA + (page << 12) >= OUTSIDE);
        let host = self.ram.get_host_address(GuestAddress(slot(space, page))).expect("inside RAM");
        // SAFETY: the entry is aligned and inside of RAM, which lives longer, and shared with the hart by atomic accesses.
        let entry = unsafe { AtomicU64::from_ptr(host.cast()) };
        let old = entry.swap(BUSY, Ordering::SeqCst);
        self.fence(Some(page));
        let from = frame(space, page, old & OTHER_FRAME != 0);
        let to = frame(space, page, old & OTHER_FRAME == 0);
        let mut bytes = vec![0; 4096];
        self.ram.read_slice(&mut bytes, GuestAddress(from)).expect("inside RAM");
        self.ram.write_slice(&bytes, GuestAddress(to)).expect("inside RAM");
        self.ram.write_slice(&[0xa5; 4096], GuestAddress(from)).expect("inside RAM");
        entry.store(old ^ OTHER_FRAME, Ordering::SeqCst);
    }
}

/// The page of data with this number.
pub const fn data_page(i: u64) -> u64 {
    FIRST_DATA + i
}
