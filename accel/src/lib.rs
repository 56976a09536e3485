//! Engines that run harts, behind one contract.
//!
//! A board asks an [`Accel`] for a [`Vm`], the `Vm` for one [`Vcpu`] a hart, and runs each on a thread of
//! its own. MMIO is answered inside [`Vcpu::run`] through the [`GuestBus`]; what leaves `run` is a
//! [`VcpuExit`]. All state of a hart is one plain [`HartState`]: reset is assignment, a snapshot is a copy,
//! a differential test is `==`, and a running guest can move from one engine to another.

pub mod bus;
pub mod clock;
pub mod debug;
pub mod dirty;
pub mod error;
pub mod exit;
pub mod irq;
pub mod irqchip;
pub mod kvm;
pub mod mock;
pub mod profile;
pub mod select;
pub mod semihost;
pub mod state;
pub mod tcg;
pub mod testing;
pub mod trace;
pub mod vm;

pub use bus::{BusFault, GuestBus};
pub use clock::Clock;
pub use dirty::{DirtyPages, DirtyRegion};
pub use error::AccelError;
pub use exit::{SbiCall, ShutdownReason, VcpuExit};
pub use irq::{HartInputs, HartIrq, Imsic, InterruptFile};
pub use irqchip::{Irqchip, IrqchipConfig, IrqchipOffer, IrqchipPlace, IrqchipState};
pub use state::{
    CsrState, CtrEntry, CtrState, HartState, MAX_VLEN, Mode, MpState, PmpState, SbiState, TRIGGERS, TriggerState,
    VectorRegs,
};
pub use vm::{Accel, HartSet, HostHarts, HostRegister, RegisterRole, RemoteFence, Vcpu, VcpuHandle, Vm, VmConfig};

/// Guest RAM as every engine and device sees it. Its marks record writes made from outside the harts
/// (virtio DMA, loaders), so that `fence.i` and later a live migration know which pages changed.
pub use ram::GuestRam;
