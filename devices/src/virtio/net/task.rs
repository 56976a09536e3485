//! The card's worker: frames between the queues and the back end, and the control queue.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use vm_memory::ByteValued;

use super::{CTRL, RX, RxFilter, Shared, TX, feature, guest_offloads};
use crate::backend::net::{MAX_FRAME, NetBackend, NetHdr, Offloads, SendResult};
use crate::virtio::device::{self, Activation, DeviceEvents};
use crate::virtio::queue::{Chain, QueueFault, VirtQueue};
use crate::virtio::worker::{Poller, Task};

/// Frames moved in one direction before the other has its turn.
const BUDGET: usize = 128;
/// Frames that a hart sends itself after a kick, and the longest of them: a larger one is worth waking the worker.
const BUDGET_HERE: usize = 32;
const LONGEST_HERE: usize = 4096;
/// Bytes that a hart receives itself, about.
const BYTES_HERE: usize = 32 << 10;
/// Token of the back end's descriptor.
const BACKEND: u64 = 0;
/// Longest control command that is looked at: two full tables of MAC addresses fit.
const CTRL_MAX: usize = 16 * 1024;

/// Control classes (virtio 1.3, 5.1.6.5).
mod class {
    pub const RX: u8 = 0;
    pub const MAC: u8 = 1;
    pub const GUEST_OFFLOADS: u8 = 5;
}

pub struct NetTask {
    rx: Option<VirtQueue>,
    tx: Option<VirtQueue>,
    ctrl: Option<VirtQueue>,
    backend: Box<dyn NetBackend>,
    events: Arc<dyn DeviceEvents>,
    shared: Arc<Shared>,
    filter: RxFilter,
    features: u64,
    header_len: usize,
    mergeable: bool,
    /// A frame on its way out.
    tx_frame: Box<[u8]>,
    /// The back end was full; it says when it is not.
    tx_blocked: bool,
    /// Frames were sent since `service`.
    sent: bool,
    /// A frame on its way in, and its header and length while the guest has no room for it.
    rx_frame: Box<[u8]>,
    rx_waiting: Option<(NetHdr, usize)>,
    rx_paused: bool,
    /// Chains that one received frame fills.
    rx_chains: Vec<(Chain, u32)>,
}

impl NetTask {
    pub fn new(a: Activation, backend: Box<dyn NetBackend>, filter: RxFilter, shared: Arc<Shared>) -> Self {
        let mergeable = a.has(feature::MRG_RXBUF);
        // The legacy header ends before num_buffers unless buffers can be merged.
        let long = mergeable || a.has(device::feature::VERSION_1);
        let mut queues = a.queues.into_iter();
        let mut next = || queues.next().flatten();
        Self {
            rx: next(),
            tx: next(),
            ctrl: next(),
            backend,
            events: a.events,
            shared,
            filter,
            features: a.features,
            header_len: if long { NetHdr::LEN } else { NetHdr::LEGACY_LEN },
            mergeable,
            tx_frame: vec![0; MAX_FRAME].into(),
            tx_blocked: false,
            sent: false,
            rx_frame: vec![0; MAX_FRAME].into(),
            rx_waiting: None,
            rx_paused: false,
            rx_chains: Vec::new(),
        }
    }

    pub fn into_parts(self) -> (Vec<Option<VirtQueue>>, Box<dyn NetBackend>, RxFilter) {
        (vec![self.rx, self.tx, self.ctrl], self.backend, self.filter)
    }

    /// What the back end may leave to the guest: what it accepted and the back end can do.
    fn start_backend(&mut self, accepted: u64) {
        let mut offloads = guest_offloads(accepted) & self.backend.caps().to_guest;
        if !offloads.contains(Offloads::CSUM) {
            offloads = Offloads::empty();
        }
        self.backend.start(offloads);
    }

    /// Sends what the guest has put up, up to so many frames and to the first one that is longer than `longest`. `true`:
    /// there may be more.
    fn transmit(&mut self, budget: usize, longest: usize) -> bool {
        if self.tx_blocked {
            return false;
        }
        let Some(queue) = &mut self.tx else { return false };
        queue.disable_kicks();
        for _ in 0..budget {
            let Some(chain) = queue.pop() else { return queue.enable_kicks() };
            if chain.read_len() > longest {
                queue.unpop(chain);
                return true;
            }
            let mut reader = chain.reader(queue.mem());
            let mut hdr = NetHdr::default();
            let bytes = &mut hdr.as_mut_slice()[..self.header_len];
            if reader.read(bytes) < self.header_len {
                queue.fail(QueueFault::BadRequest(chain.head(), "a frame header"));
                return false;
            }
            hdr.num_buffers = 0;
            let len = chain.read_len() - self.header_len;
            // A frame longer than any can be is dropped, like one without a word in it, and all where the link is down.
            if (1..=MAX_FRAME).contains(&len) && self.shared.link.is_up() {
                reader.read(&mut self.tx_frame[..len]);
                if self.backend.send(&hdr, &self.tx_frame[..len]) == SendResult::Full {
                    queue.unpop(chain);
                    self.tx_blocked = true;
                    return false;
                }
                self.sent = true;
            }
            queue.push(chain, 0);
        }
        true
    }

    /// Hands waiting frames to the guest, until they are `enough` bytes. `true`: there may be more.
    fn receive(&mut self, enough: usize) -> bool {
        let mut bytes = 0;
        for _ in 0..BUDGET {
            if bytes >= enough {
                break;
            }
            let Some((hdr, len)) = self.rx_waiting.take().or_else(|| self.next_frame()) else { return false };
            if !self.deliver(hdr, len) {
                self.rx_waiting = Some((hdr, len));
                return self.wait_for_buffers();
            }
            bytes += len;
        }
        true
    }

    /// The next frame of the back end that is for this card, in `rx_frame`.
    fn next_frame(&mut self) -> Option<(NetHdr, usize)> {
        // The filter may drop many in a row, and other work must not starve.
        for _ in 0..BUDGET {
            let (hdr, len) = self.backend.recv(&mut self.rx_frame)?;
            if self.shared.link.is_up()
                && let Some(destination) = self.rx_frame[..len].first_chunk::<6>()
                && self.filter.accepts(&self.shared.mac(), destination)
            {
                return Some((hdr, len));
            }
        }
        None
    }

    /// Puts a frame into the guest's buffers. `false`: not enough of them.
    fn deliver(&mut self, mut hdr: NetHdr, len: usize) -> bool {
        let Some(queue) = &mut self.rx else { return false };
        let need = self.header_len + len;
        let mut room = 0;
        while room < need {
            let Some(chain) = queue.pop() else {
                // All that the driver will ever put up is not enough.
                let hopeless = self.rx_chains.len() >= usize::from(queue.size());
                put_back(queue, &mut self.rx_chains);
                return hopeless;
            };
            if chain.write_len() < if self.rx_chains.is_empty() { self.header_len } else { 1 } {
                queue.fail(QueueFault::BadRequest(chain.head(), "room for a frame"));
                return true;
            }
            room += chain.write_len();
            self.rx_chains.push((chain, 0));
            if !self.mergeable && room < need {
                // One buffer a frame, and this one does not fit: as a wire, drop it.
                put_back(queue, &mut self.rx_chains);
                return true;
            }
        }
        hdr.num_buffers = self.rx_chains.len() as u16;
        let mut frame = &self.rx_frame[..len];
        let mut header = &hdr.as_slice()[..self.header_len];
        for (chain, written) in &mut self.rx_chains {
            let mut writer = chain.writer(queue.mem());
            let head = writer.write(header);
            let body = writer.write(frame);
            (header, frame) = (&header[head..], &frame[body..]);
            *written = (head + body) as u32;
        }
        queue.push_together(&mut self.rx_chains);
        true
    }

    /// The guest is out of buffers. `true`: it is not, look again.
    fn wait_for_buffers(&mut self) -> bool {
        if self.rx.as_mut().is_some_and(VirtQueue::enable_kicks) {
            return true;
        }
        self.pause_rx(true);
        false
    }

    fn pause_rx(&mut self, paused: bool) {
        if self.rx_paused != paused {
            self.rx_paused = paused;
            self.backend.pause_rx(paused);
        }
    }

    fn control(&mut self) -> bool {
        for _ in 0..BUDGET {
            let Some(queue) = &mut self.ctrl else { return false };
            let Some(chain) = queue.pop() else { return queue.enable_kicks() };
            let mut command = vec![0; chain.read_len().min(CTRL_MAX)];
            chain.reader(queue.mem()).read(&mut command);
            let whole = chain.read_len() <= CTRL_MAX;
            let done = whole && self.command(&command);
            if let Some(queue) = &mut self.ctrl {
                let written = chain.writer(queue.mem()).write(&[u8::from(!done)]);
                queue.push(chain, written as u32);
            }
        }
        true
    }

    /// One command: class, command, data. `false`: refused.
    fn command(&mut self, bytes: &[u8]) -> bool {
        let has = |f: u64| self.features & f != 0;
        match *bytes {
            [class::RX, command, on, ..] if has(feature::CTRL_RX) => {
                (command < 2 || has(feature::CTRL_RX_EXTRA)) && self.filter.set_mode(command, on != 0)
            }
            [class::MAC, 0, ref tables @ ..] if has(feature::CTRL_RX) => self.filter.set_tables(tables),
            [class::MAC, 1, a, b, c, d, e, f, ..] if has(feature::CTRL_MAC_ADDR) => {
                self.shared.set_mac([a, b, c, d, e, f]);
                true
            }
            [class::GUEST_OFFLOADS, 0, ref rest @ ..] if has(feature::CTRL_GUEST_OFFLOADS) => {
                let Some(bits) = rest.first_chunk::<8>() else { return false };
                let wanted = u64::from_le_bytes(*bits);
                let known = wanted & !self.features == 0;
                if known {
                    self.start_backend(wanted);
                }
                known
            }
            _ => false,
        }
    }

    /// The driver has put up buffers.
    fn refilled(&mut self, enough: usize) -> bool {
        self.rx.iter_mut().for_each(VirtQueue::disable_kicks);
        let more = self.receive(enough);
        if self.rx_waiting.is_none() {
            self.pause_rx(false);
        }
        more
    }

    /// What is due after frames were sent or received. Returns the queues to look at again, a bit each.
    fn settle(&mut self, enough: usize) -> u64 {
        let now = Instant::now();
        let mut again = false;
        if std::mem::take(&mut self.sent) || self.backend.deadline().is_some_and(|d| d <= now) {
            self.backend.settle(now);
            if !self.rx_paused {
                again = self.receive(enough);
            }
        }
        self.watch_link();
        for queue in [&mut self.rx, &mut self.tx, &mut self.ctrl] {
            queue.iter_mut().for_each(VirtQueue::announce);
        }
        u64::from(again) << RX
    }

    fn watch_link(&mut self) {
        let up = self.shared.link.is_up() && self.backend.link_up();
        if self.shared.link_up.swap(up, Ordering::Relaxed) != up {
            self.events.config_changed();
        }
    }
}

/// Returns chains to the available ring, the last popped first.
fn put_back(queue: &mut VirtQueue, chains: &mut Vec<(Chain, u32)>) {
    while let Some((chain, _)) = chains.pop() {
        queue.unpop(chain);
    }
}

impl Task for NetTask {
    fn start(&mut self, poller: &Poller) -> io::Result<()> {
        self.start_backend(self.features);
        self.backend.pause_rx(false);
        if let Some(rx) = &mut self.rx {
            // Only a card that ran out of buffers wants to hear of new ones.
            rx.disable_kicks();
        }
        poller.add(BACKEND, self.backend.event_fd())
    }

    fn kicked(&mut self, queue: u16, _: &Poller) -> bool {
        match usize::from(queue) {
            RX => self.refilled(usize::MAX),
            TX => self.transmit(BUDGET, usize::MAX),
            CTRL => self.control(),
            _ => false,
        }
    }

    fn kicked_here(&mut self, queue: u16) -> u64 {
        let more = match usize::from(queue) {
            RX => self.refilled(BYTES_HERE),
            TX => self.transmit(BUDGET_HERE, LONGEST_HERE),
            CTRL => self.control(),
            _ => false,
        };
        u64::from(more) << queue | self.settle(BYTES_HERE)
    }

    fn ready(&mut self, _token: u64, _: &Poller) -> bool {
        self.backend.service(Instant::now());
        self.tx_blocked = false;
        let more = self.transmit(BUDGET, usize::MAX);
        self.receive(usize::MAX) || more
    }

    fn round_done(&mut self, _: &Poller) -> u64 {
        self.settle(usize::MAX)
    }

    fn deadline(&self) -> Option<Instant> {
        self.backend.deadline()
    }
}
