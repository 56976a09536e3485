//! One port: its character device, and what wakes the worker when something happens there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::{Deserialize, Serialize};

use crate::chardev::{ChardevClient, ChardevEvent, Endpoint};
use crate::virtio::worker::Doorbell;

/// Number of the queue for control messages to the driver, which wakes the worker for them.
pub const CONTROL_RX: u16 = 2;

/// What a port is.
#[derive(Debug)]
pub struct PortConfig {
    /// `nr=`.
    pub nr: u32,
    /// `name=`, for programs in the guest; may be empty.
    pub name: String,
    /// A console (`virtconsole`), or a stream for programs (`virtserialport`).
    pub console: bool,
    /// Without one, output is dropped and there is no input.
    pub endpoint: Option<Endpoint>,
}

impl PortConfig {
    /// Port 0, a console.
    pub fn console(endpoint: Endpoint) -> Self {
        Self { nr: 0, name: String::new(), console: true, endpoint: Some(endpoint) }
    }
}

/// What driver and device have told each other of a port, and how far a transfer got.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortState {
    /// The driver took the port.
    pub ready: bool,
    /// A program in the guest has it open.
    pub guest_open: bool,
    /// Control messages still to send, `port::owes` bits.
    pub owed: u8,
    /// Bytes of the next output buffer that went out already.
    pub sent: usize,
}

/// Control messages that a port owes the driver. Each kind at most once, so that a driver that does not take them
/// costs nothing. Sent in this order.
pub mod owes {
    pub const ADD: u8 = 1;
    pub const CONSOLE: u8 = 2;
    pub const NAME: u8 = 4;
    pub const OPEN: u8 = 8;
    pub const ALL: u8 = ADD | CONSOLE | NAME | OPEN;
}

/// A port that device and worker share.
pub struct Port {
    pub config: PortConfig,
    client: Arc<Client>,
}

/// The character device's way to the worker. Called on the event loop.
#[derive(Default)]
struct Client {
    /// The bell, and the number of the port's first queue. Never held while ringing anything else.
    bell: Mutex<Option<(Arc<Doorbell>, u16)>>,
    host_open: AtomicBool,
    host_changed: AtomicBool,
}

impl Client {
    fn ring(&self, queue: impl FnOnce(u16) -> u16) {
        if let Some((bell, first)) = &*self.bell.lock().unwrap_or_else(PoisonError::into_inner) {
            bell.ring(queue(*first));
        }
    }
}

impl ChardevClient for Client {
    fn input_ready(&self) {
        self.ring(|first| first);
    }

    fn output_ready(&self) {
        self.ring(|first| first + 1);
    }

    fn event(&self, event: ChardevEvent) {
        let open = match event {
            ChardevEvent::Opened => true,
            ChardevEvent::Closed => false,
            _ => return,
        };
        self.host_open.store(open, Ordering::Release);
        self.host_changed.store(true, Ordering::Release);
        self.ring(|_| CONTROL_RX);
    }
}

impl Port {
    pub fn new(config: PortConfig) -> Self {
        let client = Arc::new(Client::default());
        if let Some(endpoint) = &config.endpoint {
            let weak: Weak<dyn ChardevClient> = Arc::downgrade(&(Arc::clone(&client) as Arc<dyn ChardevClient>));
            endpoint.connect(weak);
        }
        Self { config, client }
    }

    /// Where to ring from now on; `queue` is the port's first.
    pub fn attach(&self, bell: &Arc<Doorbell>, queue: u16) {
        *self.client.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(bell), queue));
    }

    /// Whether somebody is at the far end.
    pub fn host_open(&self) -> bool {
        self.client.host_open.load(Ordering::Acquire)
    }

    /// Whether that changed since the last call.
    pub fn host_changed(&self) -> bool {
        self.client.host_changed.swap(false, Ordering::AcqRel)
    }

    /// Bytes taken; fewer than all means that `output_ready` rings.
    pub fn write(&self, data: &[u8]) -> usize {
        self.config.endpoint.as_ref().map_or(data.len(), |e| e.write(data))
    }

    pub fn available(&self) -> usize {
        self.config.endpoint.as_ref().map_or(0, Endpoint::available)
    }

    pub fn read(&self, buf: &mut [u8]) -> usize {
        self.config.endpoint.as_ref().map_or(0, |e| e.read(buf))
    }
}
