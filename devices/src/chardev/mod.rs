//! Character devices: the host's side of serial ports, consoles and monitors.

mod config;

pub use config::{BackendConfig, ChardevConfig, SocketAddress};
