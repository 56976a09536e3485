//! RISC-V Semihosting as engines see it: a breakpoint between two marked no-operations is a call to the host.
//!
//! The operation is in a0, its parameter in a1, the result comes back in a0. What the operations do is the board's
//! affair ([`Semihosting`], reached through [`GuestBus::semihosting`](crate::GuestBus::semihosting)); that the three
//! instructions are a call, and what memory the caller may touch, is the engine's.

/// The instructions of a call (RISC-V Semihosting, "Semihosting Trap Instruction Sequence"), in one page, none of them
/// compressed: `slli x0, x0, 0x1f`, `ebreak`, `srai x0, x0, 7`.
pub const SEQUENCE: [u32; 3] = [0x01f0_1013, 0x0010_0073, 0x4070_5013];

/// The caller's memory, at virtual addresses and with its rights. `false`: not all of it may be accessed.
pub trait CallerMemory {
    /// Fills `data` with what stands from `va` on.
    fn read(&mut self, va: u64, data: &mut [u8]) -> bool;
    /// Puts `data` there.
    fn write(&mut self, va: u64, data: &[u8]) -> bool;
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is done; this is a0.
    Done(u64),
    /// Not yet: the hart makes the call again.
    Again,
}

/// Who answers calls. Called from vCPU threads, concurrently.
pub trait Semihosting: Send + Sync {
    /// Whether U-mode may call; if not, its breakpoints are breakpoints.
    fn userspace(&self) -> bool;

    /// Does `operation`, a0 of the call, with `parameter`, its a1: in most a virtual address in `memory`.
    fn call(&self, operation: u64, parameter: u64, memory: &mut dyn CallerMemory) -> Answer;

    /// What a snapshot keeps of it, in a format of its own.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes over what was saved, or leaves all as it is.
    ///
    /// # Errors
    /// What is wrong with it.
    fn restore(&self, _state: &[u8]) -> Result<(), String> {
        Ok(())
    }
}
