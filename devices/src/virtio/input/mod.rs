//! virtio-input (virtio 1.3, 5.8): a keyboard whose keys the monitors press; its power key is the machine's power button.

mod keys;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

pub use keys::{KEYS, POWER, key};

use super::device::{Activation, DeviceState, VirtioDevice, id, read_config_bytes};
use super::queue::VirtQueue;
use super::worker::{Poller, Task, Worker};
use crate::StateError;

const QUEUE_SIZE: u16 = 64;
/// Queues: what happens goes to the driver by the first; the second is for lamps, and there are none.
const EVENTS: usize = 0;
const STATUS: usize = 1;
/// Events that wait for the driver at most; a key has four.
const WAITING_MAX: usize = 512;
/// Lamps looked at before other events have their turn.
const BUDGET: usize = 64;
/// The longest that keys are held.
pub const HOLD_MAX: Duration = Duration::from_secs(60);
/// Token of the bell.
const PRESSED: u64 = 0;

/// Types of events.
mod kind {
    pub const SYN: u16 = 0;
    pub const KEY: u16 = 1;
    pub const REP: u16 = 0x14;
}

/// What the configuration space can show (5.8.4).
mod select {
    pub const NAME: u8 = 1;
    pub const SERIAL: u8 = 2;
    pub const IDS: u8 = 3;
    pub const EVENT_BITS: u8 = 0x11;
}

/// Of the configuration space: select, subsel, size, five reserved bytes, and what is shown.
const CONFIG_LEN: usize = 136;
const SHOWN: usize = 8;

/// `struct virtio_input_devids`: bus (`BUS_VIRTUAL`), vendor, product, version.
const IDS: [u16; 4] = [6, 0x0627, 1, 1];

/// What the driver hears of: type, code and value.
type Event = (u16, u16, u32);

/// Ends a report: a key that has gone down or up.
const SYN: Event = (kind::SYN, 0, 0);

/// An event at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    at: Instant,
    event: Event,
}

/// The keys, for those who press them. Any thread.
pub struct Keys {
    /// In the order that the driver is to hear of them.
    waiting: Mutex<VecDeque<Due>>,
    /// A driver has the keyboard.
    driven: AtomicBool,
    bell: OwnedFd,
}

/// Why keys are not pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPressed {
    #[error("the guest has no driver for its keyboard, or not yet")]
    NoDriver,
    #[error("{waiting} keys wait for the guest already, and {keys} more are above the {} that may", WAITING_MAX / 4)]
    Full { waiting: usize, keys: usize },
    #[error("keys are held for {} seconds at most", HOLD_MAX.as_secs())]
    TooLong,
}

impl Keys {
    fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { waiting: Mutex::default(), driven: AtomicBool::new(false), bell })
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Due>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Presses keys, one after the other, and lets them go after a time, the last one first. `codes` are those of [`KEYS`].
    ///
    /// # Errors
    /// Nobody would hear of it, or the time is above [`HOLD_MAX`].
    pub fn press(&self, codes: &[u16], hold: Duration) -> Result<(), NotPressed> {
        if hold > HOLD_MAX {
            return Err(NotPressed::TooLong);
        }
        if !self.driven.load(Ordering::Relaxed) {
            return Err(NotPressed::NoDriver);
        }
        let mut waiting = self.waiting();
        if waiting.len() + 4 * codes.len() > WAITING_MAX {
            return Err(NotPressed::Full { waiting: waiting.len() / 4, keys: codes.len() });
        }
        // Behind keys that are still held.
        let now = waiting.back().map_or_else(Instant::now, |last| last.at.max(Instant::now()));
        let down = codes.iter().map(|code| (now, (kind::KEY, *code, 1)));
        let up = codes.iter().rev().map(|code| (now + hold, (kind::KEY, *code, 0)));
        waiting.extend(down.chain(up).flat_map(|(at, event)| [event, SYN].map(|event| Due { at, event })));
        drop(waiting);
        // Can only fail when the counter is full, and then the descriptor is readable anyway.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        Ok(())
    }
}

/// The device.
pub struct VirtioKeyboard {
    name: String,
    keys: Arc<Keys>,
    select: u8,
    subsel: u8,
    worker: Option<Worker<InputTask>>,
}

impl VirtioKeyboard {
    pub fn new(name: impl Into<String>) -> io::Result<Self> {
        Ok(Self { name: name.into(), keys: Arc::new(Keys::new()?), select: 0, subsel: 0, worker: None })
    }

    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys)
    }

    /// What is shown now; empty: there is no such thing.
    fn shown(&self) -> Vec<u8> {
        match (self.select, u16::from(self.subsel)) {
            (select::NAME, 0) => b"Vireo Virtio Keyboard".to_vec(),
            (select::SERIAL, 0) => self.name.bytes().take(CONFIG_LEN - SHOWN).collect(),
            (select::IDS, 0) => IDS.iter().flat_map(|number| number.to_le_bytes()).collect(),
            (select::EVENT_BITS, kind::KEY) => {
                let mut bits = vec![0; usize::from(KEYS[KEYS.len() - 1].1) / 8 + 1];
                KEYS.iter().for_each(|(_, code)| bits[usize::from(*code) / 8] |= 1 << (code % 8));
                bits
            }
            // The driver repeats keys that are held; nothing further is to be said of it.
            (select::EVENT_BITS, kind::REP) => vec![0],
            _ => Vec::new(),
        }
    }
}

impl VirtioDevice for VirtioKeyboard {
    fn device_type(&self) -> u32 {
        id::INPUT
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; 2]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let shown = self.shown();
        let mut space = vec![0; CONFIG_LEN];
        (space[0], space[1], space[2]) = (self.select, self.subsel, shown.len() as u8);
        space[SHOWN..SHOWN + shown.len()].copy_from_slice(&shown);
        read_config_bytes(&space, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        for (at, byte) in (offset..).zip(data) {
            match at {
                0 => self.select = *byte,
                1 => self.subsel = *byte,
                _ => {}
            }
        }
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        self.keys.driven.store(true, Ordering::Relaxed);
        let task = InputTask { queues: activation.queues, keys: Arc::clone(&self.keys), full: false };
        self.worker = Some(Worker::spawn(&self.name, task, 0b11, activation.doorbell)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<Option<VirtQueue>> {
        self.worker.take().and_then(Worker::stop).map_or_else(Vec::new, |task| task.queues)
    }

    fn reset(&mut self) {
        (self.select, self.subsel) = (0, 0);
        self.keys.driven.store(false, Ordering::Relaxed);
        self.keys.waiting().clear();
    }

    fn save(&self) -> DeviceState {
        // What is held is let go at once by those that take the guest over.
        let events = self.keys.waiting().iter().map(|due| due.event).collect();
        DeviceState::Input { select: self.select, subsel: self.subsel, events }
    }

    fn restore(&mut self, state: &DeviceState) {
        if let DeviceState::Input { select, subsel, events } = state {
            (self.select, self.subsel) = (*select, *subsel);
            let at = Instant::now();
            *self.keys.waiting() = events.iter().map(|event| Due { at, event: *event }).collect();
        }
    }
}

/// Whether events from a snapshot may be a keyboard's.
pub(super) fn check(events: &[Event]) -> Result<(), StateError> {
    let known = |code: u16| KEYS.iter().any(|(_, key)| *key == code);
    let right = |&(kind, code, value): &Event| match kind {
        kind::KEY => known(code) && value <= 1,
        _ => (kind, code, value) == SYN,
    };
    match events.len() <= WAITING_MAX && events.iter().all(right) {
        true => Ok(()),
        false => Err(StateError::Unfit("its events are no keyboard's".to_owned())),
    }
}

struct InputTask {
    queues: Vec<Option<VirtQueue>>,
    keys: Arc<Keys>,
    /// What is due waits for buffers: the driver's next one comes with a kick.
    full: bool,
}

impl InputTask {
    /// Tells the driver of what is due, as far as it has room.
    fn tell(&mut self) {
        self.full = false;
        let Some(queue) = &mut self.queues[EVENTS] else { return };
        let mut waiting = self.keys.waiting();
        let now = Instant::now();
        while let Some(Due { event, .. }) = waiting.front().filter(|due| due.at <= now) {
            let Some(chain) = queue.pop() else {
                if queue.enable_kicks() {
                    continue;
                }
                self.full = true;
                break;
            };
            let (kind, code, value) = *event;
            let mut bytes = [0; 8];
            bytes[..2].copy_from_slice(&kind.to_le_bytes());
            bytes[2..4].copy_from_slice(&code.to_le_bytes());
            bytes[4..].copy_from_slice(&value.to_le_bytes());
            let written = chain.writer(queue.mem()).write(&bytes);
            queue.push(chain, written as u32);
            waiting.pop_front();
        }
        queue.announce();
    }
}

impl Task for InputTask {
    fn start(&mut self, poller: &Poller) -> io::Result<()> {
        poller.add(PRESSED, self.keys.bell.as_fd())
    }

    fn kicked(&mut self, queue: u16, _: &Poller) -> bool {
        let number = usize::from(queue);
        let Some(queue) = self.queues.get_mut(number).and_then(Option::as_mut) else { return false };
        if number != STATUS {
            // The round's end looks at the driver's buffers. That they are there is no work.
            return false;
        }
        // Lamps that are not there go on and off.
        for _ in 0..BUDGET {
            let Some(chain) = queue.pop() else {
                queue.announce();
                return queue.enable_kicks();
            };
            queue.push(chain, 0);
        }
        queue.announce();
        true
    }

    fn ready(&mut self, _token: u64, _: &Poller) -> bool {
        let _ = rustix::io::read(&self.keys.bell, &mut [0; 8]);
        false
    }

    fn round_done(&mut self, _: &Poller) -> u64 {
        self.tell();
        0
    }

    fn deadline(&self) -> Option<Instant> {
        self.keys.waiting().front().map(|due| due.at).filter(|_| !self.full)
    }
}
