//! Chips and virtio devices. A device knows offsets and interrupt lines, never addresses, harts' engines or the board.

pub mod backend;
pub mod bus;
pub mod chardev;
pub mod device;
pub mod fdt;
pub mod intc;
pub mod ioevent;
pub mod irq;
pub mod misc;
pub mod netuser;
pub mod regmap;
pub mod serial;
pub mod state;
pub mod unlocked;
pub mod virtio;

pub use bus::MmioBus;
pub use device::MmioDevice;
pub use ioevent::IoEvents;
pub use irq::{HartLines, IrqLine, IrqSink, LineState, MsiSink};
pub use state::{SavedState, StateError};

/// Guest RAM as devices see it; writes through it leave their marks.
pub use ram::GuestRam;
