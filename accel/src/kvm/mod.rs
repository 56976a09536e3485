//! `-accel kvm`: harts that the host's hypervisor runs. RISC-V hosts with the H extension only.
//!
//! The kernel answers most of SBI (base, time, IPI, fences, HSM), keeps the guest's timer, and translates addresses;
//! what is left leaves a vCPU as MMIO, as an SBI call that the kernel hands on, or as a system event. The board is the
//! one that the translator has: M-mode is the kernel's, so there is none below the guest.
//!
//! | part      | |
//! |-----------|---|
//! | `options` | what the user may ask for |
//! | `one_reg` | the kernel's numbers of registers |
//! | `state`   | a hart's state in them, a row a CSR |
//! | `aia`     | the kernel's APLIC and IMSICs by attributes of their device |
//! | `isa`     | what the host's harts have |
//! | `roles`   | what becomes of each register that the kernel lists |
//! | `sbi`     | SBI extensions that the kernel answers, and their state |
//! | `limits`  | what the kernel has to have, and how much of it there is |
//! | `sleep`   | waiting on behalf of a suspended hart |
//! | `stage`   | breakpoints in guest memory, and who runs meanwhile |
//! | `step`    | what can come behind an instruction |
//! | `fault`   | accesses that nothing answers |
//! | `ioctl`   | what `kvm-ioctls` lacks on RISC-V |
//! | `irqchip` | the kernel's APLIC and IMSICs: wires, MSIs, routes |
//! | `memory`  | slots of RAM, and the log of pages written to |
//! | `vm`      | the engine and the machine: capabilities |
//! | `vcpu`    | a hart: the run loop, kicks and lines |
//! | `debug`   | a hart that a debugger stops |
//! | `sampler` | where a hart is, many times a second |
//!
//! The first twelve build and are tested on any host.

pub mod options;

#[cfg_attr(not(target_arch = "riscv64"), allow(dead_code, reason = "for hosts with KVM; tested everywhere"))]
mod aia;
#[cfg_attr(not(target_arch = "riscv64"), allow(dead_code, reason = "for hosts with KVM; tested everywhere"))]
mod fault;
#[cfg_attr(not(target_arch = "riscv64"), allow(dead_code, reason = "for hosts with KVM; tested everywhere"))]
mod isa;
#[cfg_attr(not(target_arch = "riscv64"), allow(dead_code, reason = "for hosts with KVM; tested everywhere"))]
mod limits;
#[cfg_attr(not(target_arch = "riscv64"), allow(dead_code, reason = "for hosts with KVM; tested everywhere"))]
mod one_reg;
#[cfg_attr(not(target_arch = "riscv64"), allow(dead_code, reason = "for hosts with KVM; tested everywhere"))]
mod roles;
#[cfg_attr(not(target_arch = "riscv64"), allow(dead_code, reason = "for hosts with KVM; tested everywhere"))]
mod sbi;
#[cfg_attr(not(target_arch = "riscv64"), allow(dead_code, reason = "for hosts with KVM; tested everywhere"))]
mod sleep;
#[cfg_attr(not(target_arch = "riscv64"), allow(dead_code, reason = "for hosts with KVM; tested everywhere"))]
mod stage;
#[cfg_attr(not(target_arch = "riscv64"), allow(dead_code, reason = "for hosts with KVM; tested everywhere"))]
mod state;
#[cfg_attr(not(target_arch = "riscv64"), allow(dead_code, reason = "for hosts with KVM; tested everywhere"))]
mod step;

#[cfg(target_arch = "riscv64")]
mod debug;
#[cfg(target_arch = "riscv64")]
mod ioctl;
#[cfg(target_arch = "riscv64")]
mod irqchip;
#[cfg(target_arch = "riscv64")]
mod memory;
#[cfg(target_arch = "riscv64")]
mod sampler;
#[cfg(target_arch = "riscv64")]
mod vcpu;
#[cfg(target_arch = "riscv64")]
mod vm;

#[cfg(target_arch = "riscv64")]
pub use vm::Kvm;

/// As `-accel` spells it.
#[cfg(target_arch = "riscv64")]
const NAME: &str = "kvm";
