//! Breakpoints in guest memory, and which harts run meanwhile.
//!
//! A breakpoint is an `ebreak` in place of the instruction. It stands there only while harts run: the first that enters
//! the guest plants all that are wanted, the last that leaves it puts back what was there. So whoever looks into a stopped
//! machine finds the guest's own code.
//!
//! A single step ends at breakpoints of its own, and steps over one that is planted. The hart is alone for it: the others
//! leave the guest and wait, and the breakpoints of all are away.
//!
//! The guest may write to where a breakpoint stands, as to any memory. What it writes stays, and the breakpoint is gone
//! until it is set again. A breakpoint of 16 bits is enough for every instruction, and is there as a whole or not at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arch::ext::{Ext, IsaConfig};
use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileMemory};

use crate::GuestRam;

const EBREAK: u32 = 0x0010_0073;
const C_EBREAK: u32 = 0x9002;

/// A guest physical address where a breakpoint may stand, and what the guest has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub pa: u64,
    original: u32,
    /// There are instructions of 16 bits.
    compressed: bool,
}

impl Place {
    /// `None` where no instruction in RAM begins.
    pub fn at(pa: u64, isa: &IsaConfig, ram: &GuestRam) -> Option<Self> {
        let place = Self { pa, original: 0, compressed: isa.has(Ext::Zca) };
        let original = place.load(ram)?;
        Some(Self { original, ..place })
    }

    fn ebreak(&self) -> u32 {
        if self.compressed { C_EBREAK } else { EBREAK }
    }

    fn load(&self, ram: &GuestRam) -> Option<u32> {
        let address = GuestAddress(self.pa);
        if self.compressed {
            let slice = ram.get_slice(address, 2).ok()?;
            Some(slice.get_atomic_ref::<AtomicU16>(0).ok()?.load(Ordering::SeqCst).into())
        } else {
            let slice = ram.get_slice(address, 4).ok()?;
            Some(slice.get_atomic_ref::<AtomicU32>(0).ok()?.load(Ordering::SeqCst))
        }
    }

    /// Puts `new` there if it holds `old`. Devices may write meanwhile. Whether it did.
    fn swap(&self, ram: &GuestRam, old: u32, new: u32) -> bool {
        let address = GuestAddress(self.pa);
        let swap = || {
            let (seq, slice) = (Ordering::SeqCst, ram.get_slice(address, if self.compressed { 2 } else { 4 }).ok()?);
            if self.compressed {
                let word = slice.get_atomic_ref::<AtomicU16>(0).ok()?;
                word.compare_exchange(old as u16, new as u16, seq, seq).ok()?;
            } else {
                slice.get_atomic_ref::<AtomicU32>(0).ok()?.compare_exchange(old, new, seq, seq).ok()?;
            }
            slice.bitmap().mark_dirty(0, slice.len());
            Some(())
        };
        swap().is_some()
    }

    /// Whether it stands there now. Not where the guest has changed its code.
    fn plant(&self, ram: &GuestRam) -> bool {
        self.swap(ram, self.original, self.ebreak())
    }

    fn lift(&self, ram: &GuestRam) {
        self.swap(ram, self.ebreak(), self.original);
    }
}

/// What is done to harts that have to leave the guest.
type Interrupt = Arc<dyn Fn() + Send + Sync>;

/// The harts of a machine, while one of them is debugged.
pub struct Stage {
    ram: GuestRam,
    /// Makes all harts see changed code.
    fence: fn(),
    /// Why nothing can stop a hart, if the kernel lacks that.
    pub possible: Result<(), String>,
    /// Some hart has something to stop at.
    debugged: AtomicBool,
    /// `State::alone` is somebody, to be looked at without the lock.
    taken: AtomicBool,
    /// The vCPUs' threads. A leaf.
    state: Mutex<State>,
    /// By hart. Never with `state`; inside it what a kick needs.
    interrupts: Mutex<BTreeMap<u32, Interrupt>>,
}

#[derive(Default)]
struct State {
    /// What harts want, those that want something.
    wanted: BTreeMap<u32, Vec<Place>>,
    /// Harts that are in the guest, or may be.
    inside: u32,
    /// The one that steps or is about to.
    alone: Option<u32>,
    /// What stands in memory.
    planted: Vec<Place>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    pub fn new(ram: GuestRam, fence: fn(), possible: Result<(), String>) -> Self {
        let (debugged, taken) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { ram, fence, possible, debugged, taken, state: Mutex::default(), interrupts: Mutex::default() }
    }

    /// How a hart is made to leave the guest.
    pub fn join(&self, hart: u32, interrupt: Interrupt) {
        locked(&self.interrupts).insert(hart, interrupt);
    }

    /// What a hart wants to stop at from now on: `None` for nothing, no places for single steps. No hart is in the guest.
    pub fn want(&self, hart: u32, places: Option<Vec<Place>>) {
        let mut state = locked(&self.state);
        match places {
            Some(places) => state.wanted.insert(hart, places),
            None => state.wanted.remove(&hart),
        };
        self.debugged.store(!state.wanted.is_empty(), Ordering::SeqCst);
    }

    /// Whether harts have to [`enter`](Self::enter) at all.
    pub fn is_debugged(&self) -> bool {
        self.debugged.load(Ordering::SeqCst)
    }

    /// Whether a hart in the guest has to leave it, for one that steps.
    pub fn is_taken(&self) -> bool {
        self.taken.load(Ordering::SeqCst)
    }

    /// Lets a hart into the guest, where the breakpoints stand then; `false` while another one is alone.
    pub fn enter(&self) -> bool {
        let mut state = locked(&self.state);
        if state.alone.is_some() {
            return false;
        }
        state.inside += 1;
        if state.inside == 1 {
            let wanted: Vec<_> = state.wanted.values().flatten().copied().collect();
            self.plant(&mut state, wanted);
        }
        true
    }

    /// The hart has left the guest.
    pub fn leave(&self) {
        let mut state = locked(&self.state);
        state.inside -= 1;
        if state.inside == 0 {
            self.lift(&mut state);
        }
    }

    /// Asks for the hart to be alone; whether it is. The others have been told.
    pub fn be_alone(&self, hart: u32) -> bool {
        let mut state = locked(&self.state);
        match state.alone {
            None => state.alone = Some(hart),
            Some(other) => return other == hart && state.inside == 0,
        }
        self.taken.store(true, Ordering::SeqCst);
        let alone = state.inside == 0;
        drop(state);
        if !alone {
            locked(&self.interrupts).iter().filter(|(other, _)| **other != hart).for_each(|(_, interrupt)| interrupt());
        }
        alone
    }

    /// Plants the breakpoints of the hart that is alone, for it to run.
    pub fn plant_for_step(&self, places: Vec<Place>) {
        let mut state = locked(&self.state);
        debug_assert!(state.alone.is_some() && state.inside == 0 && state.planted.is_empty());
        self.plant(&mut state, places);
    }

    /// The hart is not alone any more, nor wants to be. Others may.
    pub fn be_one_of_many(&self, hart: u32) {
        let mut state = locked(&self.state);
        if state.alone == Some(hart) {
            // What others had planted is theirs, where they are still there.
            if state.inside == 0 {
                self.lift(&mut state);
            }
            state.alone = None;
            self.taken.store(false, Ordering::SeqCst);
        }
    }

    /// Whether a breakpoint stands at this address.
    pub fn is_planted(&self, pa: u64) -> bool {
        locked(&self.state).planted.iter().any(|place| place.pa == pa)
    }

    fn plant(&self, state: &mut State, places: Vec<Place>) {
        for place in places {
            // Harts want the same ones.
            let is_there = state.planted.iter().any(|planted| planted.pa == place.pa);
            if !is_there && place.plant(&self.ram) {
                state.planted.push(place);
            }
        }
        if !state.planted.is_empty() {
            (self.fence)();
        }
    }

    fn lift(&self, state: &mut State) {
        if !state.planted.is_empty() {
            state.planted.drain(..).for_each(|place| place.lift(&self.ram));
            (self.fence)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::AtomicU32;

    use vm_memory::Bytes;

    use super::*;
    use crate::kvm::sleep::{Look, Sleepers};

    const RAM: u64 = 0x8000_0000;

    thread_local! {
        static FENCES: Cell<u32> = const { Cell::new(0) };
    }

    fn fences() -> u32 {
        FENCES.take()
    }

    /// With `addi a0, a0, 1` and `c.nop` in memory.
    fn stage() -> (Stage, GuestRam) {
        let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), 1 << 16)]).unwrap();
        ram.write_obj(0x0015_0513u32, GuestAddress(RAM)).unwrap();
        ram.write_obj(1u16, GuestAddress(RAM + 4)).unwrap();
        (Stage::new(ram.clone(), || FENCES.set(FENCES.get() + 1), Ok(())), ram)
    }

    fn place(ram: &GuestRam, pa: u64) -> Place {
        Place::at(pa, &IsaConfig::default(), ram).unwrap()
    }

    fn code(ram: &GuestRam) -> (u32, u16) {
        (ram.read_obj(GuestAddress(RAM)).unwrap(), ram.read_obj(GuestAddress(RAM + 4)).unwrap())
    }

    const CLEAN: (u32, u16) = (0x0015_0513, 1);

    #[test]
    fn breakpoints_stand_while_harts_run() {
        let (stage, ram) = stage();
        assert!(!stage.is_debugged());
        // The same for both, as gdb has it.
        for hart in 0..2 {
            stage.want(hart, Some(vec![place(&ram, RAM), place(&ram, RAM + 4)]));
        }
        assert!(stage.is_debugged());
        assert_eq!((code(&ram), fences()), (CLEAN, 0));
        assert!(stage.enter() && stage.enter());
        assert_eq!((code(&ram), fences()), ((0x0015_9002, 0x9002), 1));
        assert!(stage.is_planted(RAM) && stage.is_planted(RAM + 4) && !stage.is_planted(RAM + 2));
        stage.leave();
        assert_eq!((code(&ram), fences()), ((0x0015_9002, 0x9002), 0));
        stage.leave();
        assert_eq!((code(&ram), fences()), (CLEAN, 1));
        assert!(!stage.is_planted(RAM));
        stage.want(0, None);
        stage.want(1, Some(vec![]));
        assert!(stage.is_debugged(), "for steps");
        assert!(stage.enter());
        assert_eq!((code(&ram), fences()), (CLEAN, 0));
        stage.leave();
        stage.want(1, None);
        assert!(!stage.is_debugged());
    }

    #[test]
    fn what_the_guest_writes_stays() {
        let (stage, ram) = stage();
        stage.want(0, Some(vec![place(&ram, RAM), place(&ram, RAM + 4)]));
        assert!(stage.enter());
        ram.write_obj(0x0025_0513u32, GuestAddress(RAM)).unwrap();
        stage.leave();
        assert_eq!(code(&ram), (0x0025_0513, 1));
        // It is other code now; the other place is as it was.
        assert!(stage.enter());
        ram.write_obj(0x0015_0513u32, GuestAddress(RAM)).unwrap();
        assert_eq!(code(&ram).1, 0x9002);
        stage.leave();
        // As it was when the breakpoint was set: a machine that was reset, say.
        assert!(stage.enter() && stage.is_planted(RAM));
        stage.leave();
        assert_eq!(code(&ram), CLEAN);
    }

    #[test]
    fn a_step_is_alone() {
        let (stage, ram) = stage();
        let told = Arc::new(AtomicU32::new(0));
        for hart in 0..3u32 {
            let told = Arc::clone(&told);
            let interrupt = move || {
                told.fetch_add(10u32.pow(hart), Ordering::SeqCst);
            };
            stage.join(hart, Arc::new(interrupt));
        }
        stage.want(1, Some(vec![place(&ram, RAM)]));
        assert!(stage.enter());
        assert!(!stage.be_alone(1), "another one is in the guest");
        assert_eq!(told.load(Ordering::SeqCst), 101);
        assert!(stage.is_taken() && !stage.enter() && !stage.be_alone(2) && !stage.be_alone(1));
        // One that gives up leaves what is others'.
        stage.be_one_of_many(2);
        stage.be_one_of_many(1);
        assert!(!stage.is_taken() && stage.is_planted(RAM) && !stage.be_alone(1));
        stage.leave();
        assert!(stage.be_alone(1));
        assert_eq!(code(&ram), CLEAN, "what is stepped over is there");
        stage.plant_for_step(vec![place(&ram, RAM + 4)]);
        assert_eq!(code(&ram), (CLEAN.0, 0x9002));
        stage.be_one_of_many(1);
        assert_eq!(code(&ram), CLEAN);
        assert!(stage.enter());
        stage.leave();
    }

    /// As the harts' threads do it: some run until they are asked to leave, some step.
    #[test]
    fn harts_take_turns_at_any_moment() {
        const ROUNDS: u32 = 3000;
        let (stage, ram) = stage();
        let (sleepers, inside) = (Sleepers::default(), AtomicU32::new(0));
        stage.want(0, Some(vec![place(&ram, RAM)]));
        let wait = |ready: &dyn Fn() -> bool| {
            sleepers.sleep(|| if ready() { Look::Over(()) } else { Look::Sleep(None) });
        };
        let runs = |_| {
            for _ in 0..ROUNDS {
                wait(&|| stage.enter());
                inside.fetch_add(1, Ordering::SeqCst);
                assert_eq!(code(&ram), (0x0015_9002, 1));
                let mut turns = 0;
                while !stage.is_taken() && turns < 20 {
                    std::thread::yield_now();
                    turns += 1;
                }
                inside.fetch_sub(1, Ordering::SeqCst);
                stage.leave();
                sleepers.changed();
            }
        };
        let steps = |hart| {
            for round in 0..ROUNDS {
                wait(&|| stage.be_alone(hart));
                assert_eq!((inside.load(Ordering::SeqCst), code(&ram)), (0, CLEAN));
                if round % 2 == 0 {
                    stage.plant_for_step(vec![place(&ram, RAM + 4)]);
                    assert_eq!(code(&ram), (CLEAN.0, 0x9002));
                }
                stage.be_one_of_many(hart);
                sleepers.changed();
            }
        };
        std::thread::scope(|scope| {
            for hart in 0..2 {
                scope.spawn(move || runs(hart));
                scope.spawn(move || steps(hart + 2));
            }
        });
        assert_eq!(code(&ram), CLEAN);
        assert!(!stage.is_taken());
    }

    #[test]
    fn a_place_is_an_instructions_and_in_ram() {
        let (_, ram) = stage();
        let (with, mut without) = (IsaConfig::default(), IsaConfig::default());
        [Ext::C, Ext::Zca, Ext::Zcd].into_iter().for_each(|ext| without.exts.remove(ext));
        assert!(Place::at(RAM + 1, &with, &ram).is_none() && Place::at(RAM + 2, &without, &ram).is_none());
        assert!(Place::at(RAM - 2, &with, &ram).is_none() && Place::at(RAM + (1 << 16), &with, &ram).is_none());
        assert!(Place::at(RAM + (1 << 16) - 2, &with, &ram).is_some());
        let wide = Place::at(RAM, &without, &ram).unwrap();
        assert!(wide.plant(&ram));
        assert_eq!(code(&ram), (EBREAK, 1));
        wide.lift(&ram);
        assert_eq!(code(&ram), CLEAN);
    }
}
