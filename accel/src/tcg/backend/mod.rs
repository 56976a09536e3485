//! From IR to host code; one folder a host. Where there is none, blocks run in the IR interpreter.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::Backend;

#[cfg(not(target_arch = "x86_64"))]
mod none;
#[cfg(not(target_arch = "x86_64"))]
pub use none::Backend;

/// Room that a block is given. What needs more is made again of fewer instructions.
pub const MAX_BLOCK_BYTES: usize = 32 << 10;
