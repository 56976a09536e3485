//! The console's worker: bytes between ports and queues, and the control messages.

use std::sync::Arc;

use super::ConsoleState;
use super::port::{Port, PortState, owes};
use crate::virtio::queue::VirtQueue;
use crate::virtio::worker::{Poller, Task};

/// Bytes moved at once.
const CHUNK: usize = 4096;
/// Buffers moved on one queue before other events have their turn.
const BUDGET: usize = 128;

const CONTROL_RX: usize = super::port::CONTROL_RX as usize;
const CONTROL_TX: usize = CONTROL_RX + 1;

/// Control events (virtio 1.3, 5.3.6.2).
mod event {
    pub const DEVICE_READY: u16 = 0;
    pub const PORT_ADD: u16 = 1;
    pub const PORT_READY: u16 = 3;
    pub const CONSOLE_PORT: u16 = 4;
    pub const PORT_OPEN: u16 = 6;
    pub const PORT_NAME: u16 = 7;
}

/// The receive queue of a port; the transmit queue is the next. Numbers 2 and 3 are the control queues.
pub fn queue_of(nr: u32) -> u16 {
    if nr == 0 { 0 } else { 2 + 2 * nr as u16 }
}

pub struct ConsoleTask {
    queues: Vec<Option<VirtQueue>>,
    ports: Arc<[Port]>,
    state: ConsoleState,
    multiport: bool,
    /// Queues of ports that were just opened, a bit each.
    opened: u64,
}

impl ConsoleTask {
    pub fn new(queues: Vec<Option<VirtQueue>>, ports: Arc<[Port]>, state: ConsoleState, multiport: bool) -> Self {
        Self { queues, ports, state, multiport, opened: 0 }
    }

    pub fn into_parts(self) -> (Vec<Option<VirtQueue>>, ConsoleState) {
        (self.queues, self.state)
    }

    /// The port of a data queue, by index in `ports`.
    fn port_of(&self, queue: usize) -> Option<usize> {
        self.ports.iter().position(|p| usize::from(queue_of(p.config.nr)) == queue & !1)
    }

    /// The guest's output. `true`: there may be more.
    fn transmit(&mut self, index: usize) -> bool {
        let ports = Arc::clone(&self.ports);
        let port = self.port_of(index).map(|p| &ports[p]);
        let mut unused = PortState::default();
        let state = port.and_then(|p| self.state.ports.get_mut(p.config.nr as usize)).unwrap_or(&mut unused);
        let Some(queue) = self.queues[index].as_mut() else { return false };
        for _ in 0..BUDGET {
            let Some(chain) = queue.pop() else { return queue.enable_kicks() };
            let mut reader = chain.reader(queue.mem());
            reader.skip(state.sent);
            let mut bytes = [0; CHUNK];
            loop {
                let n = reader.read(&mut bytes);
                let taken = port.map_or(n, |p| p.write(&bytes[..n]));
                state.sent += taken;
                if taken < n {
                    // The far end is slow: the rest stays in the guest until there is room.
                    queue.unpop(chain);
                    return false;
                }
                if n == 0 {
                    break;
                }
            }
            state.sent = 0;
            queue.push(chain, 0);
        }
        true
    }

    /// Input for the guest. `true`: there may be more.
    fn receive(&mut self, index: usize) -> bool {
        let Some(port) = self.port_of(index).map(|p| &self.ports[p]) else { return false };
        // A stream waits in the character device until a program opens it.
        let open = self.state.ports.get(port.config.nr as usize).is_some_and(|s| s.guest_open);
        if self.multiport && !port.config.console && !open {
            return false;
        }
        let Some(queue) = self.queues[index].as_mut() else { return false };
        let mut bytes = [0; CHUNK];
        for _ in 0..BUDGET {
            if port.available() == 0 {
                return false;
            }
            let Some(chain) = queue.pop() else { return queue.enable_kicks() };
            let n = port.read(&mut bytes[..chain.write_len().min(CHUNK)]);
            let written = chain.writer(queue.mem()).write(&bytes[..n]);
            queue.push(chain, written as u32);
        }
        true
    }

    /// Control messages of the driver. `true`: there may be more.
    fn control(&mut self) -> bool {
        for _ in 0..BUDGET {
            let Some(queue) = self.queues[CONTROL_TX].as_mut() else { return false };
            let Some(chain) = queue.pop() else { return queue.enable_kicks() };
            let mut message = [0; 8];
            let whole = chain.reader(queue.mem()).read(&mut message) == 8;
            queue.push(chain, 0);
            if whole {
                let [a, b, c, d, e, f, g, h] = message;
                let (nr, event) = (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]));
                self.heard(nr, event, u16::from_le_bytes([g, h]) != 0);
            }
        }
        true
    }

    fn heard(&mut self, nr: u32, event: u16, value: bool) {
        if event == event::DEVICE_READY {
            self.state.driver_ready = value;
            for port in self.ports.iter().filter(|_| value) {
                self.state.ports[port.config.nr as usize].owed |= owes::ADD;
            }
            return;
        }
        let Some(port) = self.ports.iter().find(|p| p.config.nr == nr) else { return };
        let state = &mut self.state.ports[nr as usize];
        match event {
            event::PORT_READY => {
                state.ready = value;
                if value {
                    let always = owes::OPEN | if port.config.console { owes::CONSOLE } else { 0 };
                    state.owed |= always | if port.config.name.is_empty() { 0 } else { owes::NAME };
                }
            }
            event::PORT_OPEN => {
                state.guest_open = value;
                self.opened |= u64::from(value) << queue_of(nr);
            }
            _ => {}
        }
    }

    /// Sends what is owed, as far as the driver has buffers for it.
    fn tell(&mut self) {
        for port in self.ports.iter() {
            let state = &mut self.state.ports[port.config.nr as usize];
            if port.host_changed() && state.ready {
                state.owed |= owes::OPEN;
            }
            while state.owed != 0 {
                let one = 1 << state.owed.trailing_zeros();
                let Some(queue) = self.queues[CONTROL_RX].as_mut() else { return };
                let Some(chain) = queue.pop() else {
                    if queue.enable_kicks() {
                        continue;
                    }
                    return;
                };
                let written = chain.writer(queue.mem()).write(&message(port, one));
                queue.push(chain, written as u32);
                state.owed &= !one;
            }
        }
    }

    fn has_control(&self) -> bool {
        self.multiport && self.queues.len() > CONTROL_TX
    }
}

/// A control message to the driver.
fn message(port: &Port, owed: u8) -> Vec<u8> {
    let (event, value) = match owed {
        owes::ADD => (event::PORT_ADD, 1),
        owes::CONSOLE => (event::CONSOLE_PORT, 1),
        owes::NAME => (event::PORT_NAME, 1),
        // A console is always there: its driver does not read before it is told so.
        _ => (event::PORT_OPEN, u16::from(port.config.console || port.host_open())),
    };
    let mut bytes = port.config.nr.to_le_bytes().to_vec();
    bytes.extend(event.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    if owed == owes::NAME {
        bytes.extend(port.config.name.as_bytes());
        bytes.push(0);
    }
    bytes
}

impl Task for ConsoleTask {
    fn kicked(&mut self, queue: u16, _: &Poller) -> bool {
        let queue = usize::from(queue);
        match queue {
            CONTROL_RX | CONTROL_TX if !self.has_control() => false,
            CONTROL_RX => false,
            CONTROL_TX => self.control(),
            _ if queue % 2 == 0 => self.receive(queue),
            _ => self.transmit(queue),
        }
    }

    fn round_done(&mut self, _: &Poller) -> u64 {
        if self.has_control() {
            self.tell();
        }
        self.queues.iter_mut().flatten().for_each(VirtQueue::announce);
        std::mem::take(&mut self.opened)
    }
}
