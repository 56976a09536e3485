//! The bounded queues between a character device's users and its far end. Plain state under one lock; every
//! method is a copy of bytes and never blocks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::mux::{Meaning, Mux, help};
use super::{ChardevClient, ChardevEvent, HostRequest};

/// Bytes of output that wait for the far end. Little, as a guest that interrupts its output wants it to stop.
const OUTPUT_MAX: usize = 16 << 10;
/// Bytes of input that wait for one user.
const INPUT_MAX: usize = 4 << 10;
/// The same on a shared device: escapes have to be found even behind input that a hung guest never takes.
const MUX_INPUT_MAX: usize = 64 << 10;
/// Most users of a shared device.
pub(super) const USERS_MAX: usize = 8;

/// What a user and the device share without a lock, and whom to call.
pub(super) struct Slot {
    available: AtomicUsize,
    client: Mutex<Option<Weak<dyn ChardevClient>>>,
}

impl Slot {
    fn new() -> Self {
        Self { available: AtomicUsize::new(0), client: Mutex::new(None) }
    }

    pub fn available(&self) -> usize {
        self.available.load(Ordering::Acquire)
    }

    pub fn connect(&self, client: Weak<dyn ChardevClient>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
    }

    /// Calls the client, if it still lives.
    pub fn call(&self, f: impl FnOnce(&dyn ChardevClient)) {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Weak::upgrade);
        if let Some(client) = client {
            f(&*client);
        }
    }
}

/// Something to tell, when no lock is held.
pub(super) enum Notice {
    Input(Arc<Slot>),
    Output(Arc<Slot>),
    Event(Arc<Slot>, ChardevEvent),
    Host(HostRequest),
}

struct User {
    slot: Arc<Slot>,
    input: VecDeque<u8>,
    /// It was refused output.
    starved: bool,
    /// Input came since it was told last.
    fresh: bool,
}

pub(super) struct Queues {
    output: VecDeque<u8>,
    /// The event loop was told of the output and will not stop before it is gone.
    draining: bool,
    /// The far end is not read, for lack of room.
    paused: bool,
    users: Vec<User>,
    /// Who gets the input.
    focus: usize,
    mux: Option<Mux>,
    connected: bool,
    notices: Vec<Notice>,
    wake: bool,
}

impl Queues {
    pub fn new(mux: bool, connected: bool) -> Self {
        Self {
            output: VecDeque::new(),
            draining: false,
            paused: false,
            users: Vec::new(),
            focus: 0,
            mux: mux.then(Mux::default),
            connected,
            notices: Vec::new(),
            wake: false,
        }
    }

    /// `None` if there is no place left.
    pub fn add_user(&mut self) -> Option<(usize, Arc<Slot>)> {
        let max = if self.mux.is_some() { USERS_MAX } else { 1 };
        let index = self.users.len();
        (index < max).then(|| {
            let slot = Arc::new(Slot::new());
            self.users.push(User { slot: slot.clone(), input: VecDeque::new(), starved: false, fresh: false });
            (index, slot)
        })
    }

    /// The user wants to hear of input that is already there.
    pub fn announce(&mut self, user: usize) {
        let user = &mut self.users[user];
        user.fresh = !user.input.is_empty();
        if self.connected {
            self.notices.push(Notice::Event(user.slot.clone(), ChardevEvent::Opened));
        }
    }

    /// Bytes taken, and whether the event loop has to be told of them.
    pub fn push_output(&mut self, user: usize, data: &[u8]) -> (usize, bool) {
        let taken = data.len().min(OUTPUT_MAX.saturating_sub(self.output.len()));
        self.append_output(&data[..taken]);
        self.users[user].starved |= taken < data.len();
        let idle = taken > 0 && !std::mem::replace(&mut self.draining, true);
        (taken, idle)
    }

    fn append_output(&mut self, data: &[u8]) {
        let stamping = self.mux.as_mut().filter(|mux| mux.stamping());
        let Some(mux) = stamping else {
            if let (Some(mux), Some(&last)) = (&mut self.mux, data.last()) {
                mux.passed(last);
            }
            self.output.extend(data);
            return;
        };
        for &byte in data {
            // A stamp may go a little over the limit, once a line that was let in.
            if let Some(stamp) = mux.stamp(byte) {
                self.output.extend(stamp.as_bytes());
            }
            self.output.push_back(byte);
        }
    }

    pub fn is_drained(&self) -> bool {
        self.output.is_empty()
    }

    /// Copies output to write; 0 says that there is none, and that new output wakes the event loop again.
    pub fn peek_output(&mut self, chunk: &mut [u8]) -> usize {
        let (head, _) = self.output.as_slices();
        let n = head.len().min(chunk.len());
        chunk[..n].copy_from_slice(&head[..n]);
        self.draining = n > 0;
        n
    }

    /// `n` bytes of output are written.
    pub fn drop_output(&mut self, n: usize) {
        self.output.drain(..n);
        if self.output.len() > OUTPUT_MAX / 2 {
            return;
        }
        for user in &mut self.users {
            if std::mem::take(&mut user.starved) {
                self.notices.push(Notice::Output(user.slot.clone()));
            }
        }
    }

    /// Nobody is there to read it.
    pub fn forget_output(&mut self) {
        self.drop_output(self.output.len());
    }

    /// How many bytes may be read from the far end.
    pub fn input_room(&mut self) -> usize {
        let max = if self.mux.is_some() { MUX_INPUT_MAX } else { INPUT_MAX };
        let room = self.users.get(self.focus).map_or(0, |user| max.saturating_sub(user.input.len()));
        self.paused = room == 0;
        room
    }

    /// Takes input from the far end, not more than there is room for.
    pub fn push_input(&mut self, data: &[u8]) {
        for &byte in data {
            match self.mux.as_mut().map_or(Meaning::Data(byte), |mux| mux.decode(byte)) {
                Meaning::Data(byte) => {
                    let user = &mut self.users[self.focus];
                    user.input.push_back(byte);
                    user.fresh = true;
                }
                Meaning::Nothing => {}
                Meaning::Help => self.print(&help(self.users.len() > 1)),
                Meaning::Exit => self.notices.push(Notice::Host(HostRequest::Exit)),
                Meaning::Save => self.notices.push(Notice::Host(HostRequest::SaveDisks)),
                Meaning::Stamps => self.mux.iter_mut().for_each(Mux::switch_stamps),
                Meaning::Break => self.tell(self.focus, ChardevEvent::Break),
                Meaning::Next => self.next_focus(),
            }
        }
        for user in &self.users {
            user.slot.available.store(user.input.len(), Ordering::Release);
        }
    }

    /// The device's own words to the person at the far end.
    fn print(&mut self, text: &str) {
        let room = OUTPUT_MAX.saturating_sub(self.output.len());
        self.output.extend(text.as_bytes().iter().take(room));
        self.wake = true;
    }

    fn next_focus(&mut self) {
        let old = self.focus;
        self.focus = (self.focus + 1) % self.users.len();
        if self.focus != old {
            self.tell(old, ChardevEvent::FocusOut);
            self.tell(self.focus, ChardevEvent::FocusIn);
        }
    }

    fn tell(&mut self, user: usize, event: ChardevEvent) {
        // Events come after the input that preceded them.
        self.announce_input();
        self.notices.push(Notice::Event(self.users[user].slot.clone(), event));
    }

    fn announce_input(&mut self) {
        for user in &mut self.users {
            if std::mem::take(&mut user.fresh) {
                user.slot.available.store(user.input.len(), Ordering::Release);
                self.notices.push(Notice::Input(user.slot.clone()));
            }
        }
    }

    /// Bytes given to a user, and whether the event loop has to be woken to read on.
    pub fn take_input(&mut self, user: usize, buf: &mut [u8]) -> (usize, bool) {
        let max = if self.mux.is_some() { MUX_INPUT_MAX } else { INPUT_MAX };
        let user = &mut self.users[user];
        let n = buf.len().min(user.input.len());
        for (to, from) in buf.iter_mut().zip(user.input.drain(..n)) {
            *to = from;
        }
        user.slot.available.store(user.input.len(), Ordering::Release);
        let resume = user.input.len() <= max / 2;
        (n, resume && std::mem::take(&mut self.paused))
    }

    /// Somebody is at the far end, or nobody any more.
    pub fn connected(&mut self, connected: bool) {
        self.connected = connected;
        let event = if connected { ChardevEvent::Opened } else { ChardevEvent::Closed };
        for user in 0..self.users.len() {
            self.tell(user, event);
        }
    }

    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.announce_input();
        std::mem::take(&mut self.notices)
    }

    /// Whether output was queued by the device itself.
    pub fn take_wake(&mut self) -> bool {
        std::mem::take(&mut self.wake) && !std::mem::replace(&mut self.draining, true)
    }
}
