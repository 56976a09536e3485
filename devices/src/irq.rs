//! Interrupt lines, as devices see them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::unlocked::Scope;

/// An interrupt controller's input side (PLIC, APLIC). May be called from any thread; must not call back.
pub trait IrqSink: Send + Sync {
    /// Level of input `source` (1-based, as in the board's IRQ table).
    fn set_level(&self, source: u32, level: bool);
}

/// Where message-signalled interrupts go (MSIs). May be called from any thread; must not call back.
pub trait MsiSink: Send + Sync {
    /// A 32-bit little-endian write of `data` to a physical address. An address at which nothing is takes nothing.
    fn send(&self, address: u64, data: u32);
}

/// What chips such as the PLIC and the CLINT drive: lines into harts. Implemented by the board over the engine.
pub trait HartLines: Send + Sync {
    /// `irq` is the bit number in `mip`: 3 MSIP, 7 MTIP, 9 SEIP, 11 MEIP.
    fn set_irq(&self, hart: u32, irq: u8, level: bool);
    /// Bit `guest` of the hart's `hgeip`: a guest external interrupt, 1 to GEILEN.
    fn set_guest_irq(&self, _hart: u32, _guest: u8, _level: bool) {}
    /// Sets SSIP pending (ACLINT SSWI); the guest clears it in `sip`.
    fn raise_ssip(&self, hart: u32);
    /// The engine keeps MTIP high while `mtime >= ticks`.
    fn set_mtimecmp(&self, hart: u32, ticks: u64);
    /// The machine's time, in ticks.
    fn mtime(&self) -> u64;
    /// A guest's write to `mtime`.
    fn set_mtime(&self, ticks: u64);
}

/// What can be seen of a wire.
#[derive(Debug, Default)]
pub struct LineState {
    level: AtomicBool,
    raised: AtomicU64,
}

impl LineState {
    pub fn level(&self) -> bool {
        self.level.load(Ordering::Acquire)
    }

    /// How often it went up.
    pub fn raised(&self) -> u64 {
        self.raised.load(Ordering::Relaxed)
    }
}

/// One device's wire to an interrupt controller. Remembers its level, so that repeated calls cost nothing.
pub struct IrqLine {
    sink: Arc<dyn IrqSink>,
    source: u32,
    state: Arc<LineState>,
    /// Orders the callers of [`IrqLine::follow`]. Taken before a device's own lock, never inside it.
    order: Mutex<()>,
}

impl std::fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IrqLine({}={})", self.source, self.level())
    }
}

impl IrqLine {
    pub fn new(sink: Arc<dyn IrqSink>, source: u32) -> Self {
        Self { sink, source, state: Arc::default(), order: Mutex::new(()) }
    }

    /// Drives the wire. Callers that race must order their calls themselves (hold the device's lock
    /// while they decide, drive it after): the last call wins.
    pub fn set(&self, level: bool) {
        if self.state.level.swap(level, Ordering::AcqRel) != level {
            if level {
                self.state.raised.fetch_add(1, Ordering::Relaxed);
            }
            self.sink.set_level(self.source, level);
        }
    }

    /// Drives the wire to what `wanted` reads, one caller at a time. For devices that change on several
    /// threads: decide under the device's lock, release it, then call this with a closure that takes the lock
    /// and reads the level again. Whoever comes last reads the newest state, so the wire ends up right.
    pub fn follow(&self, wanted: impl FnOnce() -> bool) {
        let _scope = Scope::open();
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(wanted());
    }

    pub fn level(&self) -> bool {
        self.state.level()
    }

    /// For those who look on.
    pub fn state(&self) -> Arc<LineState> {
        Arc::clone(&self.state)
    }

    /// Restores a saved level without making an edge.
    pub fn restore(&self, level: bool) {
        self.state.level.store(level, Ordering::Release);
    }
}
