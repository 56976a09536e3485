//! From IR to host code; one folder a host. Where there is none, blocks run in the IR interpreter.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::{Backend, MAX_BLOCK_BYTES};

#[cfg(not(target_arch = "x86_64"))]
mod none;
#[cfg(not(target_arch = "x86_64"))]
pub use none::{Backend, MAX_BLOCK_BYTES};
