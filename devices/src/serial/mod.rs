//! Serial ports: the chip, and the port that joins it to a character device and an interrupt line.

pub mod port;
pub mod uart16550;

pub use port::SerialPort;
