//! Control and status registers by name or number.

/// Reads a CSR.
#[macro_export]
macro_rules! csr_read {
    ($csr:tt) => {{
        let value: usize;
        // SAFETY: reading the CSRs that this program names changes nothing.
        unsafe { core::arch::asm!(concat!("csrr {}, ", $csr), out(reg) value) };
        value
    }};
}

/// Writes a CSR.
#[macro_export]
macro_rules! csr_write {
    ($csr:tt, $value:expr) => {{
        let value: usize = $value;
        // SAFETY: the caller knows what it changes; memory is not reordered across it.
        unsafe { core::arch::asm!(concat!("csrw ", $csr, ", {}"), in(reg) value) };
    }};
}

/// Sets bits of a CSR and returns what was there.
#[macro_export]
macro_rules! csr_set {
    ($csr:tt, $mask:expr) => {{
        let mask: usize = $mask;
        let old: usize;
        // SAFETY: as `csr_write`.
        unsafe { core::arch::asm!(concat!("csrrs {}, ", $csr, ", {}"), out(reg) old, in(reg) mask) };
        old
    }};
}

/// Clears bits of a CSR and returns what was there.
#[macro_export]
macro_rules! csr_clear {
    ($csr:tt, $mask:expr) => {{
        let mask: usize = $mask;
        let old: usize;
        // SAFETY: as `csr_write`.
        unsafe { core::arch::asm!(concat!("csrrc {}, ", $csr, ", {}"), out(reg) old, in(reg) mask) };
        old
    }};
}

pub use crate::{csr_clear, csr_read, csr_set, csr_write};

/// `sstatus.SIE`.
pub const SIE: usize = 1 << 1;
/// `sstatus.SPIE`.
pub const SPIE: usize = 1 << 5;
/// `sstatus.SPP`.
pub const SPP: usize = 1 << 8;
/// `sstatus.VS`.
pub const VS: usize = 3 << 9;
/// `sstatus.FS`.
pub const FS: usize = 3 << 13;
/// `sstatus.SUM`.
pub const SUM: usize = 1 << 18;
/// `sstatus.MXR`.
pub const MXR: usize = 1 << 19;

/// Supervisor software, timer and external interrupts in `sie` and `sip`.
pub const SSI: usize = 1 << 1;
pub const STI: usize = 1 << 5;
pub const SEI: usize = 1 << 9;

core::arch::global_asm!(
    r#"
    .section .text
probe_cycle:
    csrr    a0, cycle
    ret
probe_instret:
    csrr    a0, instret
    ret
    "#
);

unsafe extern "C" {
    fn probe_cycle(a: usize, b: usize) -> usize;
    fn probe_instret(a: usize, b: usize) -> usize;
}

/// Whether `cycle` can be read. KVM lets it be read by a guest that has set it up, where hosts count by themselves.
pub fn has_cycle() -> bool {
    crate::trap::guarded(probe_cycle, 0, 0).is_ok()
}

/// The same of `instret`.
pub fn has_instret() -> bool {
    crate::trap::guarded(probe_instret, 0, 0).is_ok()
}
