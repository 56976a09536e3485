//! Supervisor software events extension (spec chapter "Supervisor Software Events Extension"): handlers that preempt
//! whatever the supervisor does.
//!
//! [`SoftwareEvents`] keeps the states and decides which event a hart takes next. The hart's own thread asks it before
//! it goes back into the guest ([`SoftwareEvents::deliver`]); what entering and leaving a handler does to registers is
//! not here. Whoever makes an event deliverable on another hart wakes that one up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arch::csr::{MIDELEG, MIE, mip};
use arch::ext::{Ext, IsaConfig};
use sbi_spec::sse as spec;
use serde::{Deserialize, Serialize};

use super::{Extension, SbiError, SbiHost, SbiOutcome, SbiRequest};

/// An event of the specification.
struct Source {
    id: u32,
    /// Whether a machine with such harts signals it.
    available: fn(&IsaConfig) -> bool,
}

const DOUBLE_TRAP: u32 = 0x0000_0001;
const COUNTER_OVERFLOW: u32 = 0x0001_0000;

/// By id, which is also the order of events with the same priority.
static SOURCES: [Source; COUNT] = [
    // Nothing here has hardware errors to report (RAS).
    Source { id: 0x0000_0000, available: |_| false },
    Source { id: DOUBLE_TRAP, available: |isa| isa.has(Ext::Ssdbltrp) },
    Source { id: 0x0000_8000, available: |_| false },
    Source { id: COUNTER_OVERFLOW, available: |isa| isa.has(Ext::Sscofpmf) },
    Source { id: 0x0010_0000, available: |_| false },
    Source { id: 0x0010_8000, available: |_| false },
    // Injected by software.
    Source { id: 0xffff_0000, available: |_| true },
    Source { id: 0xffff_8000, available: |_| true },
];

const COUNT: usize = 8;

/// Whether an event is one for all harts.
fn is_global(id: u32) -> bool {
    id & 1 << 15 != 0
}

/// What the machine signals to the hart on which it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Signal {
    DoubleTrap = DOUBLE_TRAP,
    CounterOverflow = COUNTER_OVERFLOW,
}

/// The state of an event; the discriminant is its number in STATUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[repr(u8)]
enum Status {
    #[default]
    Unused = 0,
    Registered = 1,
    Enabled = 2,
    Running = 3,
}

/// Attributes 6 to 9: `sepc`, flags, a6 and a7 as the event found them.
pub type Interrupted = [u64; 4];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Event {
    status: Status,
    pending: bool,
    priority: u32,
    /// CONFIG: completion disables it.
    one_shot: bool,
    /// Of a global event, the preferred hart. Of a running one, `runs_on` is the hart that handles it.
    preferred: u32,
    runs_on: u32,
    entry: u64,
    arg: u64,
    interrupted: Interrupted,
}

/// One hart's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Hart {
    events: [Event; COUNT],
    /// The hart is started.
    started: bool,
    /// The hart is ready for events.
    unmasked: bool,
    /// `sie.LCOFIE` from before counter overflows became events.
    lcofie: bool,
}

/// All that is remembered: plain data. The local events of `global` and the global ones of a hart are unused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Events {
    global: [Event; COUNT],
    harts: Vec<Hart>,
}

impl Events {
    /// As at power-on, when hart 0 starts.
    fn new(harts: usize) -> Self {
        let hart = |n| Hart { started: n == 0, ..Hart::default() };
        Self { global: Default::default(), harts: (0..harts).map(hart).collect() }
    }

    /// The event with index `i`, as hart `hart` sees it.
    fn event(&mut self, i: usize, hart: u32) -> &mut Event {
        match is_global(SOURCES[i].id) {
            true => &mut self.global[i],
            false => &mut self.harts[hart as usize].events[i],
        }
    }

    fn events_of(&self, hart: u32) -> impl Iterator<Item = (usize, &Event)> {
        let local = &self.harts[hart as usize].events;
        (0..COUNT).map(move |i| (i, if is_global(SOURCES[i].id) { &self.global[i] } else { &local[i] }))
    }

    /// What handles the highest event that runs on a hart.
    fn running(&self, hart: u32) -> Option<(u32, usize)> {
        let here = |event: &Event| event.status == Status::Running && event.runs_on == hart;
        self.events_of(hart).filter(|(_, event)| here(event)).map(|(i, event)| (event.priority, i)).min()
    }

    /// The event that a hart takes next, if it takes one now.
    fn next(&self, hart: u32) -> Option<usize> {
        // A global event waits until its preferred hart is ready; if that one is stopped it goes to any other that is.
        let mine = |i: usize, event: &Event| {
            !is_global(SOURCES[i].id) || event.preferred == hart || !self.harts[event.preferred as usize].started
        };
        let waiting =
            |(i, event): &(usize, &Event)| event.pending && event.status == Status::Enabled && mine(*i, event);
        let first = self.events_of(hart).filter(waiting).map(|(i, event)| (event.priority, i)).min()?;
        let preempts = self.running(hart).is_none_or(|running| first < running);
        (self.harts[hart as usize].unmasked && preempts).then_some(first.1)
    }
}

/// The events of a machine.
#[derive(Debug)]
pub struct SoftwareEvents {
    events: Mutex<Events>,
    /// By hart: it has an event to take. Written with `events` locked, looked at without.
    wanted: Box<[AtomicBool]>,
}

impl SoftwareEvents {
    /// None in use.
    pub fn new(harts: u32) -> Self {
        let wanted = (0..harts).map(|_| AtomicBool::new(false)).collect();
        Self { events: Mutex::new(Events::new(harts as usize)), wanted }
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `change`, and tells the harts that have an event to take, the others besides in the answer.
    fn update<T>(&self, change: impl FnOnce(&mut Events) -> T) -> (T, Vec<u32>) {
        let mut events = self.lock();
        let result = change(&mut events);
        let mut woken = Vec::new();
        for (hart, wanted) in (0..).zip(&self.wanted) {
            let wants = events.next(hart).is_some();
            if wanted.swap(wants, Ordering::SeqCst) != wants && wants {
                woken.push(hart);
            }
        }
        (result, woken)
    }

    /// Whether a hart has an event to take.
    pub fn is_wanted(&self, hart: u32) -> bool {
        self.wanted[hart as usize].load(Ordering::SeqCst)
    }

    /// Lets a hart take the event that it has to take, if there is one: `enter` gets where the handler is and what its
    /// argument is, and answers what it interrupted. Called by the hart's own thread.
    pub fn deliver(&self, hart: u32, enter: impl FnOnce(u64, u64) -> Interrupted) {
        self.update(|events| {
            let Some(i) = events.next(hart) else { return };
            let event = events.event(i, hart);
            (event.status, event.pending, event.runs_on) = (Status::Running, false, hart);
            event.interrupted = enter(event.entry, event.arg);
        });
    }

    /// The machine signals an event to a hart, on its own thread. Without a handler that can run at once it is only
    /// pending, and the answer is `false`.
    pub fn signal(&self, hart: u32, signal: Signal) -> bool {
        let index = SOURCES.iter().position(|source| source.id == signal as u32);
        let (taken, _) = self.update(|events| {
            let Some(i) = index else { return false };
            let event = events.event(i, hart);
            event.pending = true;
            let (enabled, order) = (event.status == Status::Enabled, (event.priority, i));
            let ready = events.harts[hart as usize].unmasked;
            enabled && ready && events.running(hart).is_none_or(|running| order < running)
        });
        taken
    }

    /// The hart starts, without events.
    pub fn start(&self, hart: u32) {
        self.update(|events| events.harts[hart as usize] = Hart { started: true, ..Hart::default() });
    }

    /// The hart stops, and with it its own events and what it was handling. Answers whom that gives an event to take.
    fn stop(&self, hart: u32) -> Vec<u32> {
        let forget = |events: &mut Events| {
            events.harts[hart as usize] = Hart::default();
            for event in events.global.iter_mut().filter(|e| e.status == Status::Running && e.runs_on == hart) {
                *event = Event::default();
            }
        };
        self.update(forget).1
    }

    /// All that is remembered.
    pub(super) fn save(&self) -> Events {
        self.lock().clone()
    }

    /// Whether what is remembered elsewhere is of a machine like this.
    pub(super) fn fits(&self, new: &Events) -> bool {
        let harts = self.wanted.len();
        let exist = |event: &Event| (event.preferred.max(event.runs_on) as usize) < harts;
        new.harts.len() == harts && new.global.iter().chain(new.harts.iter().flat_map(|h| &h.events)).all(exist)
    }

    /// Takes over what was saved and fits. The harts are stopped.
    pub(super) fn restore(&self, new: Events) {
        self.update(|events| *events = new);
    }

    /// Power-on.
    pub fn reset_all(&self) {
        self.update(|events| *events = Events::new(events.harts.len()));
    }
}

/// Does `change` and wakes the other harts that have an event to take now.
fn update<T>(own: u32, host: &dyn SbiHost, change: impl FnOnce(&mut Events) -> T) -> T {
    let (result, woken) = host.state().events.update(change);
    wake(own, host, woken);
    result
}

fn wake(own: u32, host: &dyn SbiHost, woken: Vec<u32>) {
    woken.into_iter().filter(|hart| *hart != own).for_each(|hart| host.wake(hart));
}

/// The calling hart stops.
pub(super) fn hart_stops(hart: u32, host: &dyn SbiHost) {
    wake(hart, host, host.state().events.stop(hart));
}

/// The event that a parameter of 32 bits names.
fn index_of(id: u64, host: &dyn SbiHost) -> Result<usize, SbiError> {
    let i = SOURCES.iter().position(|source| source.id == id as u32).ok_or(SbiError::InvalidParam)?;
    if (SOURCES[i].available)(host.isa()) { Ok(i) } else { Err(SbiError::NotSupported) }
}

/// Numbers of attributes.
mod attribute {
    pub const STATUS: u64 = 0;
    pub const PRIORITY: u64 = 1;
    pub const CONFIG: u64 = 2;
    pub const PREFERRED_HART: u64 = 3;
    pub const ENTRY_PC: u64 = 4;
    pub const ENTRY_ARG: u64 = 5;
    pub const INTERRUPTED_SEPC: u64 = 6;
    pub const INTERRUPTED_FLAGS: u64 = 7;
    pub const END: u64 = 10;
}

/// In STATUS.
const PENDING: u64 = 1 << 2;
const MAY_INJECT: u64 = 1 << 3;
/// In CONFIG.
const ONE_SHOT: u64 = 1;
/// The bits of INTERRUPTED_FLAGS.
const FLAGS: u64 = 0x3f;

fn read_attribute(event: &Event, global: bool, hart: u32, n: u64) -> u64 {
    match n {
        attribute::STATUS => event.status as u64 | if event.pending { PENDING } else { 0 } | MAY_INJECT,
        attribute::PRIORITY => u64::from(event.priority),
        attribute::CONFIG => u64::from(event.one_shot),
        attribute::PREFERRED_HART => u64::from(if global { event.preferred } else { hart }),
        attribute::ENTRY_PC => event.entry,
        attribute::ENTRY_ARG => event.arg,
        _ => event.interrupted[(n - attribute::INTERRUPTED_SEPC) as usize],
    }
}

/// Writes an attribute of an event as `hart` may.
fn write_attribute(
    event: &mut Event,
    global: bool,
    host: &dyn SbiHost,
    hart: u32,
    n: u64,
    v: u64,
) -> Result<(), SbiError> {
    let idle = || match event.status {
        Status::Unused | Status::Registered => Ok(()),
        _ => Err(SbiError::InvalidState),
    };
    match n {
        attribute::PRIORITY => {
            let priority = u32::try_from(v).map_err(|_| SbiError::InvalidParam)?;
            idle()?;
            event.priority = priority;
        }
        attribute::CONFIG if v & !ONE_SHOT != 0 => return Err(SbiError::InvalidParam),
        attribute::CONFIG => {
            idle()?;
            event.one_shot = v & ONE_SHOT != 0;
        }
        attribute::PREFERRED_HART if global => {
            let preferred = u32::try_from(v).ok().filter(|h| *h < host.hart_count()).ok_or(SbiError::InvalidParam)?;
            idle()?;
            event.preferred = preferred;
        }
        attribute::INTERRUPTED_FLAGS if v & !FLAGS != 0 => return Err(SbiError::InvalidParam),
        attribute::INTERRUPTED_SEPC..attribute::END => {
            if event.status != Status::Running || event.runs_on != hart {
                return Err(SbiError::InvalidState);
            }
            event.interrupted[(n - attribute::INTERRUPTED_SEPC) as usize] = v;
        }
        _ => return Err(SbiError::Denied),
    }
    Ok(())
}

/// The attributes that a call names, and where their values are.
fn range(call: &SbiRequest, host: &dyn SbiHost) -> Result<(std::ops::Range<u64>, u64), SbiError> {
    let [_, first, count, low, high, _] = call.args;
    let (first, count) = (u64::from(first as u32), u64::from(count as u32));
    if count == 0 {
        return Err(SbiError::InvalidParam);
    }
    if first + count > attribute::END {
        return Err(SbiError::BadRange);
    }
    let inside = high == 0 && low.is_multiple_of(8) && low.checked_add(8 * count).is_some();
    if inside && host.is_ram(low, 8 * count) { Ok((first..first + count, low)) } else { Err(SbiError::InvalidAddress) }
}

fn read_attributes(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let i = index_of(call.args[0], host)?;
    let (attributes, at) = range(call, host)?;
    let event = *host.state().events.lock().event(i, call.hart);
    let global = is_global(SOURCES[i].id);
    let bytes: Vec<u8> = attributes.flat_map(|n| read_attribute(&event, global, call.hart, n).to_le_bytes()).collect();
    if host.write_guest(at, &bytes) { Ok(0) } else { Err(SbiError::Failed) }
}

/// All of them are written, or none.
fn write_attributes(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let i = index_of(call.args[0], host)?;
    let (attributes, at) = range(call, host)?;
    update(call.hart, host, |events| {
        let event = events.event(i, call.hart);
        let mut changed = *event;
        for (place, n) in (0..).zip(attributes) {
            let mut word = [0; 8];
            if !host.read_guest(at + 8 * place, &mut word) {
                return Err(SbiError::Failed);
            }
            let (global, value) = (is_global(SOURCES[i].id), u64::from_le_bytes(word));
            write_attribute(&mut changed, global, host, call.hart, n, value)?;
        }
        *event = changed;
        Ok(0)
    })
}

/// Moves an event from a state to another.
fn transit(call: &SbiRequest, host: &dyn SbiHost, from: Status, to: Status) -> Result<u64, SbiError> {
    let i = index_of(call.args[0], host)?;
    update(call.hart, host, |events| {
        let event = events.event(i, call.hart);
        if event.status != from {
            return Err(SbiError::InvalidState);
        }
        event.status = to;
        switch(i, to == Status::Enabled, from == Status::Enabled, &mut events.harts[call.hart as usize], host);
        Ok(0)
    })
}

/// Counter overflows are an interrupt of M-mode's while they are an event, and of the supervisor's otherwise.
fn switch(i: usize, on: bool, off: bool, hart: &mut Hart, host: &dyn SbiHost) {
    if SOURCES[i].id != COUNTER_OVERFLOW || on == off {
        return;
    }
    let (mideleg, mie) = (host.read_csr(MIDELEG), host.read_csr(MIE));
    if on {
        hart.lcofie = mie & mip::LCOFIP != 0;
        host.write_csr(MIDELEG, mideleg & !mip::LCOFIP);
        host.write_csr(MIE, mie | mip::LCOFIP);
    } else {
        host.write_csr(MIE, if hart.lcofie { mie } else { mie & !mip::LCOFIP });
        host.write_csr(MIDELEG, mideleg | mip::LCOFIP);
    }
}

fn register(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let [id, entry, arg, ..] = call.args;
    let i = index_of(id, host)?;
    if entry % 2 != 0 {
        return Err(SbiError::InvalidParam);
    }
    update(call.hart, host, |events| {
        let event = events.event(i, call.hart);
        if event.status != Status::Unused {
            return Err(SbiError::InvalidState);
        }
        (event.status, event.entry, event.arg) = (Status::Registered, entry, arg);
        Ok(0)
    })
}

fn inject(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let i = index_of(call.args[0], host)?;
    let there = u32::try_from(call.args[1]).ok().filter(|hart| *hart < host.hart_count());
    let hart = if is_global(SOURCES[i].id) { 0 } else { there.ok_or(SbiError::InvalidParam)? };
    update(call.hart, host, |events| events.event(i, hart).pending = true);
    Ok(0)
}

fn set_ready(call: &SbiRequest, host: &dyn SbiHost, ready: bool) -> Result<u64, SbiError> {
    let was = |events: &mut Events| std::mem::replace(&mut events.harts[call.hart as usize].unmasked, ready);
    match update(call.hart, host, was) {
        true if ready => Err(SbiError::AlreadyStarted),
        false if !ready => Err(SbiError::AlreadyStopped),
        _ => Ok(0),
    }
}

fn complete(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    let done = update(call.hart, host, |events| {
        let (_, i) = events.running(call.hart)?;
        let event = events.event(i, call.hart);
        event.status = if event.one_shot { Status::Registered } else { Status::Enabled };
        let (interrupted, off) = (event.interrupted, event.one_shot);
        switch(i, false, off, &mut events.harts[call.hart as usize], host);
        Some(interrupted)
    });
    done.map_or(SbiOutcome::success(0), |interrupted| SbiOutcome::EventReturn { interrupted })
}

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    use Status::{Enabled, Registered, Unused};
    let Ok(fid) = usize::try_from(call.fid) else { return SbiOutcome::error(SbiError::NotSupported) };
    match fid {
        spec::READ_ATTRS => read_attributes(call, host),
        spec::WRITE_ATTRS => write_attributes(call, host),
        spec::REGISTER => register(call, host),
        spec::UNREGISTER => transit(call, host, Registered, Unused),
        spec::ENABLE => transit(call, host, Registered, Enabled),
        spec::DISABLE => transit(call, host, Enabled, Registered),
        spec::COMPLETE => return complete(call, host),
        spec::INJECT => inject(call, host),
        spec::HART_UNMASK => set_ready(call, host, true),
        spec::HART_MASK => set_ready(call, host, false),
        _ => Err(SbiError::NotSupported),
    }
    .into()
}

pub const EXTENSION: Extension =
    Extension { name: "SSE", eids: spec::EID_SSE as u64..=spec::EID_SSE as u64, probe: |_| 1, handle };

#[cfg(test)]
#[path = "sse/tests.rs"]
mod tests;
