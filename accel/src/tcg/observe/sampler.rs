//! Where a hart is when its thread is interrupted (see [`crate::profile`]).
//!
//! | The thread is in | The guest is at | Its registers are in |
//! |---|---|---|
//! | generated code | the instruction whose code it is ([`places`](crate::tcg::code_cache::places)) | host registers, by the code's map |
//! | a thunk that code calls | the same for the caller | likewise |
//! | Rust that code calls | the same for the call ([`Hart::called_from`]) | the state |
//! | the run loop, or outside | `s.pc` | the state |
//! | the interpreter | the current instruction | the state |
//!
//! While a hart is sampled, its code knows where guest instructions begin, and calls Rust by other thunks, which leave all
//! guest registers in the state and say where they are called from. A hart that is not sampled has none of that.
//!
//! Between an indirect jump's store of the page and the jump itself the page is that of the target already: if the page is
//! not where this code stands, it is where the code was when it was made.
//!
//! Everything here runs in a signal handler on the hart's own thread: it reads what that thread owns, as it happens to be.
//! Code and its places only change in the run loop, where nothing is looked up in them.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::GuestRam;
use crate::debug::physical_address;
use crate::profile::{Activity, Pages, ProfileConfig, Registers, Sample, Ticker, look};
use crate::tcg::code_cache::places::{Home, Placed};
use crate::tcg::hart::{Hart, HartBox, called_from};

/// A hart that is sampled. Fields drop in order: the ticker first.
pub struct Sampler {
    _ticker: Ticker,
    /// What the ticker is given.
    _view: Box<View>,
}

/// What the signal handler works with.
struct View {
    hart: Arc<HartBox>,
    ram: GuestRam,
    config: ProfileConfig,
    /// Generated code, and the part of it that is thunks.
    arena: Range<u64>,
    thunks: Range<u64>,
    interprets: bool,
}

impl Sampler {
    /// Samples `hart`, whose thread this is, until it is dropped.
    ///
    /// # Errors
    /// The host has no timer.
    pub fn start(hart: &Hart, interprets: bool, config: &ProfileConfig) -> std::io::Result<Self> {
        let arena = &hart.code.arena;
        let view = Box::new(View {
            hart: Arc::clone(&hart.shared),
            ram: hart.vm.ram.guest().clone(),
            config: config.clone(),
            arena: arena.range(),
            thunks: arena.fixed(),
            interprets,
        });
        let data: *const View = &*view;
        // SAFETY: the view is dropped behind the ticker, and where it is it stays.
        let ticker = unsafe { Ticker::start(config.hz, tick, data.cast()) }?;
        Ok(Self { _ticker: ticker, _view: view })
    }
}

/// The host's registers where the thread was interrupted.
struct Host {
    pc: u64,
    sp: u64,
    /// By their number.
    registers: [u64; 16],
}

impl Host {
    /// # Safety
    /// `context` is the `ucontext_t` of a signal.
    #[cfg(target_arch = "x86_64")]
    unsafe fn of(context: *mut c_void) -> Self {
        use libc::{
            REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RAX, REG_RBP, REG_RBX, REG_RCX,
            REG_RDI, REG_RDX, REG_RIP, REG_RSI, REG_RSP,
        };
        const ORDER: [libc::c_int; 16] = [
            REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11,
            REG_R12, REG_R13, REG_R14, REG_R15,
        ];
        // SAFETY: by the caller.
        let all = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        let get = |n: libc::c_int| all[n as usize] as u64;
        Self { pc: get(REG_RIP), sp: get(REG_RSP), registers: ORDER.map(get) }
    }

    /// Without generated code nobody asks.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe fn of(_: *mut c_void) -> Self {
        Self { pc: 0, sp: 0, registers: [0; 16] }
    }

    /// The words on top of the stack, the last one pushed first.
    fn stack(&self) -> [u64; 3] {
        // SAFETY: generated code was interrupted, whose stack is the thread's, with the frame of its entry above.
        std::array::from_fn(|n| unsafe { std::ptr::read_unaligned((self.sp as *const u64).wrapping_add(n)) })
    }
}

/// # Safety
/// As [`Tick`](crate::profile::Ticker) says; `data` is a [`View`] of this thread's hart.
unsafe fn tick(data: *const (), context: *mut c_void, missed: u32) {
    // SAFETY: by the caller.
    let (view, host) = unsafe { (&*data.cast::<View>(), Host::of(context)) };
    if missed > 0 {
        view.config.ring.lose(u64::from(missed));
        if !view.hart.shared.is_asleep() {
            // The host ran something else meanwhile: where it took the thread its processor says nothing of the guest.
            return view.config.ring.lose(1);
        }
    }
    view.config.ring.push(|sample| view.take(sample, &host));
}

impl View {
    fn take(&self, sample: &mut Sample, host: &Host) {
        // SAFETY: this thread owns the hart and is interrupted, so nothing changes it now; all of it that is read is plain
        // data, of which any value will do.
        let hart = unsafe { (*self.hart.hart.get()).assume_init_ref() };
        let shared = &self.hart.shared;
        let s = &hart.s;
        let satp = if s.virt { s.csr.vsatp } else { s.csr.satp };
        (sample.mode, sample.virt, sample.satp) = (s.mode, s.virt, satp);
        let mut registers = Registers { ra: s.x[1], sp: s.x[2], s0: s.x[8], tp: s.x[4] };
        (sample.activity, sample.pc) = match () {
            () if shared.is_asleep() => (Activity::Idle, s.pc),
            () if !shared.in_guest.load(Ordering::Relaxed) => (Activity::Outside, s.pc),
            () if self.interprets => (Activity::Guest, hart.cur_pc()),
            () => match self.code(hart, host) {
                Some(Found { pc, placed }) => {
                    if let Some(placed) = placed {
                        let [ra, sp, s0, tp] = placed.homes;
                        let value = |home, in_state| match home {
                            Home::Memory => in_state,
                            Home::Host(n) => host.registers[usize::from(n)],
                        };
                        registers = Registers {
                            ra: value(ra, registers.ra),
                            sp: value(sp, registers.sp),
                            s0: value(s0, registers.s0),
                            tp: value(tp, registers.tp),
                        };
                    }
                    (Activity::Guest, pc)
                }
                None => (Activity::Engine, s.pc),
            },
        };
        let mut memory = Pages::of(s, &hart.vm.isa, &self.ram);
        look(sample, &registers, s.csr.sscratch, &self.config, &mut memory);
    }

    /// Where the guest is in its code; `None` in the run loop.
    fn code<'h>(&self, hart: &'h Hart, host: &Host) -> Option<Found<'h>> {
        let current = Found { pc: hart.cur_pc(), placed: None };
        if !self.arena.contains(&host.pc) {
            return match hart.called_from {
                called_from::OUTSIDE => None,
                called_from::JUMP => Some(Found { pc: hart.s.pc, placed: None }),
                called_from::CURRENT => Some(current),
                // Registers are in the state.
                from => Some(self.place(hart, from - 1).map_or(current, |found| Found { placed: None, ..found })),
            };
        }
        if !self.thunks.contains(&host.pc) {
            return Some(self.place(hart, host.pc).unwrap_or(current));
        }
        // A thunk: who called it stands near the top of the stack.
        let callers = host.stack().into_iter().filter(|at| self.arena.contains(at) && !self.thunks.contains(at));
        Some(callers.map(|at| at - 1).find_map(|at| self.place(hart, at)).unwrap_or(current))
    }

    /// The guest instruction whose code is at `address`.
    fn place<'h>(&self, hart: &'h Hart, address: u64) -> Option<Found<'h>> {
        let (placed, at) = hart.code.places.as_ref()?.find(address)?;
        let offset = u64::from(placed.guest(at).unwrap_or(placed.start));
        // Two addresses may be one page, and one two in turn.
        let here = physical_address(&hart.s, &hart.vm.isa, &self.ram, hart.page_base);
        let page = if here == Some(placed.page) { hart.page_base } else { placed.mapped };
        Some(Found { pc: page | offset, placed: Some(placed) })
    }
}

struct Found<'h> {
    pc: u64,
    /// The code that has the guest's registers, if they are not in the state.
    placed: Option<&'h Placed>,
}
