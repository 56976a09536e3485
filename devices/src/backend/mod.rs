//! Host sides of devices: what carries a guest's frames and disk blocks outside the machine.
//!
//! A back end knows files, sockets and threads of the host; it knows neither guest queues nor registers.

pub mod block;
pub mod net;
pub mod tap;
