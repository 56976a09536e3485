//! The contract every engine fulfils: [`Accel`] makes a [`Vm`], a `Vm` makes [`Vcpu`]s.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::debug::DebugConfig;
use crate::profile::ProfileConfig;
use crate::trace::TraceConfig;
use crate::{
    AccelError, Clock, DirtyPages, GuestBus, GuestRam, HartInputs, HartIrq, HartState, Imsic, Irqchip, IrqchipConfig,
    IrqchipOffer, SbiCall, VcpuExit,
};

/// What an engine needs to know of the machine.
pub struct VmConfig {
    pub ram: GuestRam,
    pub bus: Arc<dyn GuestBus>,
    pub clock: Arc<Clock>,
    /// Number of harts; hart ids are `0..harts`.
    pub harts: u32,
    /// The ISA of every hart.
    pub isa: arch::ext::IsaConfig,
    /// S-mode `ecall` leaves `run()` as [`VcpuExit::Sbi`] (built-in SBI) instead of trapping to M-mode.
    pub builtin_sbi: bool,
    /// No software stands in M-mode: traps into it leave `run()` as [`VcpuExit::MachineTrap`].
    pub machine_traps: bool,
    /// The IMSICs of the harts, where [`IsaConfig::imsic`](arch::ext::IsaConfig::imsic) says that they have them.
    pub imsic: Option<Arc<dyn Imsic>>,
    /// The chips that are not the board's, as [`Accel::irqchip`] offered.
    pub irqchip: Option<IrqchipConfig>,
}

/// What a host's harts have, where an engine cannot give others.
#[derive(Debug, Clone)]
pub struct HostHarts {
    pub isa: arch::ext::IsaConfig,
    /// The extensions of which the engine can tell whether the host has them.
    pub known: arch::ext::ExtSet,
    /// Ticks of the `time` CSR a second.
    pub timebase: u64,
}

/// A register of a hart that a host's hypervisor runs, as its interface has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRegister {
    /// By the interface's number.
    pub id: u64,
    /// Unknown to this program where `None`: what is in it is in no [`HartState`].
    pub role: Option<RegisterRole>,
    pub value: Vec<u8>,
}

/// What becomes of a hypervisor's register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegisterRole {
    /// Part of [`HartState`].
    State,
    /// The machine's clock.
    Clock,
    /// What the harts have, fixed once one has run; [`HostHarts`] and the machine's ISA.
    Harts,
    /// What SBI has, fixed likewise.
    Sbi,
    /// The same as others, or always zero.
    Redundant,
}

/// An engine: what `-accel` names.
pub trait Accel {
    /// As `-accel` spells it.
    fn name(&self) -> &'static str;
    /// One line for `-accel help`.
    fn description(&self) -> &'static str;
    /// Why it cannot be used on this host, if it cannot.
    fn availability(&self) -> Result<(), AccelError>;
    /// The most that its harts can have; `None` for an engine that makes them of nothing.
    fn host_harts(&self) -> Result<Option<HostHarts>, AccelError> {
        Ok(None)
    }
    /// Which chips of a machine with IMSICs are the engine's.
    fn irqchip(&self) -> Result<IrqchipOffer, AccelError> {
        Ok(IrqchipOffer::default())
    }
    /// Why it cannot run harts with this ISA, if it cannot: in words, the first thing that it lacks. Engines whose harts
    /// are the host's tell by [`Accel::host_harts`].
    fn lacks(&self, isa: &arch::ext::IsaConfig) -> Option<String> {
        let _ = isa;
        None
    }
    /// Makes the processor side of a machine, without vCPUs yet.
    fn create_vm(&self, config: VmConfig) -> Result<Arc<dyn Vm>, AccelError>;
}

/// A set of harts by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HartSet(pub Vec<u32>);

/// A fence that one hart asks of others (SBI RFENCE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteFence {
    /// `fence.i`.
    Instruction,
    /// `sfence.vma` over `start .. start + size` bytes; `size == u64::MAX` is everything.
    Address { start: u64, size: u64, asid: Option<u64> },
    /// `hfence.gvma`: the second stage of one or all virtual machines.
    GuestStage { vmid: Option<u64> },
    /// `hfence.vvma` for virtual machine `vmid`, over guest virtual addresses as for `Address`.
    GuestAddress { start: u64, size: u64, asid: Option<u64>, vmid: u64 },
}

/// A running machine's processor side.
pub trait Vm: Send + Sync {
    /// Makes the vCPU of hart `hart`; once a hart.
    fn create_vcpu(&self, hart: u32) -> Result<Box<dyn Vcpu>, AccelError>;
    /// Brings the chips of [`VmConfig::irqchip`] to life; once, when every vCPU is made and none has run. `None` if
    /// there are none.
    fn start_irqchip(&self) -> Result<Option<Arc<dyn Irqchip>>, AccelError> {
        Ok(None)
    }
    /// Returns when every hart of `harts` has performed the fence, or will before its next instruction.
    fn remote_fence(&self, harts: &HartSet, fence: RemoteFence);
    /// Begins to record which pages of RAM harts and devices write to: from its return on every write is in the log.
    /// This and the next two are not for threads that are in [`Vcpu::run`].
    fn start_dirty_log(&self) -> Result<(), AccelError>;
    /// The pages written to since the log was started or taken last. Who reads a page after this finds all that was
    /// written to it before; what is written meanwhile is in this log or in the next.
    fn take_dirty_log(&self) -> Result<DirtyPages, AccelError>;
    /// Ends the log, with what is in it.
    fn stop_dirty_log(&self) -> Result<(), AccelError>;
    /// SBI's hart state management is the engine's: harts that wait to be started are in `run`, too, with
    /// [`MpState::Stopped`](crate::MpState).
    fn starts_harts(&self) -> bool {
        false
    }
    /// Whether [`Self::set_io_event`] works. Of use where a visit to the bus is dear: engines that call it as a function
    /// do without.
    fn has_io_events(&self) -> bool {
        false
    }
    /// Makes 32-bit stores of the number `value` to `gpa` add one to the counter of `event`, and keeps them from the bus;
    /// or ends that, with the same arguments: then no store changes `event` after the return. Harts may run.
    ///
    /// # Errors
    /// The engine has no room for more events, or has none at all.
    fn set_io_event(&self, gpa: u64, value: u32, event: BorrowedFd<'_>, on: bool) -> Result<(), AccelError> {
        let _ = (value, event, on);
        Err(AccelError::Host { doing: format!("watch stores to {gpa:#x}"), source: ErrorKind::Unsupported.into() })
    }
}

/// A hart, owned by the thread that runs it.
pub trait Vcpu: Send {
    /// Runs the guest until something needs the caller. WFI sleeps inside.
    fn run(&mut self) -> Result<VcpuExit, AccelError>;
    /// Sleeps as WFI would, without executing anything: `true` once an interrupt is pending and enabled in `mie`,
    /// `false` after a kick. For SBI's suspend calls.
    fn wait_for_interrupt(&mut self) -> bool;
    /// Writes the answer to the last [`VcpuExit::Sbi`] into a0 and a1; legacy calls (`eid` < 0x10) write a0 only.
    ///
    /// # Errors
    /// The host's hypervisor does not take them.
    fn finish_sbi(&mut self, call: &SbiCall, error: i64, value: u64) -> Result<(), AccelError>;
    /// Reads CSR `n` as M-mode would with all units on, whatever the hart's mode and `mstatus` say; `None` if it has no such
    /// register.
    fn csr(&mut self, n: u16) -> Option<u64>;
    /// Writes CSR `n` as M-mode would; `false` if the hart has no such register or it is read-only.
    fn set_csr(&mut self, n: u16, v: u64) -> bool;
    /// The hart as a value.
    ///
    /// # Errors
    /// The host's hypervisor does not give a register.
    fn try_state(&mut self) -> Result<HartState, AccelError>;
    /// Puts a value in the place of what the hart was.
    ///
    /// # Errors
    /// The host's hypervisor does not take a register; those before it are new.
    fn try_set_state(&mut self, state: &HartState) -> Result<(), AccelError>;
    /// Changes what traps and returns change: the pc, x registers, the mode and status registers. Unlike
    /// [`Vcpu::try_set_state`] this keeps all that was made of the guest's memory.
    ///
    /// # Errors
    /// As of [`Vcpu::try_state`] and [`Vcpu::try_set_state`].
    fn try_change(&mut self, change: &mut dyn FnMut(&mut HartState)) -> Result<(), AccelError> {
        let mut state = self.try_state()?;
        change(&mut state);
        self.try_set_state(&state)
    }
    /// Sets what stops the hart for a debugger, instead of what was set before. No hart runs meanwhile. The answer is
    /// which breakpoints will not: those of an engine that has to put them into memory, where this hart has none mapped.
    ///
    /// # Errors
    /// The engine cannot do that, and nothing stops the hart.
    fn set_debug(&mut self, config: &DebugConfig) -> Result<Vec<u64>, AccelError> {
        if *config == DebugConfig::default() {
            return Ok(Vec::new());
        }
        Err(AccelError::Host { doing: "stop a hart for a debugger".into(), source: ErrorKind::Unsupported.into() })
    }
    /// Sets what the log shows of the code that the hart runs, instead of what was set before. No hart runs meanwhile.
    ///
    /// # Errors
    /// The engine cannot show that; what was set before stays.
    fn set_trace(&mut self, config: &Arc<TraceConfig>) -> Result<(), AccelError> {
        if config.items.is_empty() {
            return Ok(());
        }
        Err(AccelError::Host { doing: "show the code that a hart runs".into(), source: ErrorKind::Unsupported.into() })
    }
    /// Samples the hart from now on, or ends that. On the thread that runs it, and only there: it is the one that is
    /// interrupted. Who ends that, or drops the vCPU, is that thread, too.
    ///
    /// # Errors
    /// The engine cannot, or the host has no timer for it.
    fn set_profile(&mut self, config: Option<&ProfileConfig>) -> Result<(), AccelError> {
        if config.is_none() {
            return Ok(());
        }
        Err(AccelError::Host { doing: "sample a hart".into(), source: ErrorKind::Unsupported.into() })
    }
    /// What the engine has counted of its own work for the hart, a line each, with an empty one before; `None` where it
    /// translates nothing.
    fn counters(&mut self) -> Option<String> {
        None
    }
    /// What the guest's `time` reads, where the engine has a clock for it beside the machine's.
    ///
    /// # Errors
    /// The host's hypervisor does not tell.
    fn time(&mut self) -> Result<Option<u64>, AccelError> {
        Ok(None)
    }
    /// The registers that a host's hypervisor keeps of the hart, for reports and tests; none with other engines.
    fn host_registers(&mut self) -> Result<Vec<HostRegister>, AccelError> {
        Ok(Vec::new())
    }
    /// For other threads. It may outlive the vCPU, and has no effect then.
    fn handle(&self) -> Arc<dyn VcpuHandle>;
}

/// What other threads may do to a vCPU. Every method may be called at any time and does not block.
pub trait VcpuHandle: Send + Sync {
    /// Makes `run()` return [`VcpuExit::Kicked`] soon; remembered if the vCPU is outside `run()`.
    fn kick(&self);
    /// Drives a level-sensitive line.
    fn set_irq(&self, irq: HartIrq, level: bool);
    /// Drives the level-sensitive guest external interrupt `file` (1 to GEILEN): the bit of `hgeip`.
    fn set_guest_irq(&self, file: u8, level: bool);
    /// As [`VcpuHandle::set_irq`], but a vCPU that sleeps sleeps on: if it may, the answer is `true`, and
    /// [`VcpuHandle::wake`] has to follow. For callers with locks that the vCPU will want as soon as it is awake.
    fn set_irq_quietly(&self, irq: HartIrq, level: bool) -> bool {
        self.set_irq(irq, level);
        false
    }
    /// The same for [`VcpuHandle::set_guest_irq`].
    fn set_guest_irq_quietly(&self, file: u8, level: bool) -> bool {
        self.set_guest_irq(file, level);
        false
    }
    /// Makes a vCPU that sleeps look at its lines.
    fn wake(&self) {}
    /// Drives the level-sensitive line of non-maskable interrupts. Harts without Smrnmi have none and ignore it.
    fn set_nmi(&self, _level: bool) {}
    /// Sets pending the supervisor software interrupt as a write of `mip.SSIP` would (SBI IPI, ACLINT SSWI).
    fn raise_ssip(&self);
    /// `mtimecmp` in ticks of the machine's clock: MTIP is high while `mtime >= mtimecmp`.
    fn set_mtimecmp(&self, ticks: u64);
    /// The SBI timer: STIP is high while `time >= stimecmp`; `u64::MAX` disarms. Used where the guest has no Sstc.
    fn set_sbi_timer(&self, ticks: u64);
    /// The clock was set or resumed: deadlines have to be computed again.
    fn clock_changed(&self);
    /// What was driven into the vCPU so far, as far as the engine leaves it to others. Nobody drives anything meanwhile.
    fn inputs(&self) -> HartInputs;
    /// Drives all of this into a vCPU that nobody has driven anything into.
    fn set_inputs(&self, inputs: &HartInputs) {
        for irq in HartIrq::ALL {
            self.set_irq(irq, inputs.lines & irq.mask() != 0);
        }
        for file in 1..64 {
            self.set_guest_irq(file, inputs.guest_lines >> file & 1 != 0);
        }
        self.set_nmi(inputs.nmi);
        if inputs.ssip {
            self.raise_ssip();
        }
        self.set_mtimecmp(inputs.mtimecmp);
        self.set_sbi_timer(inputs.sbi_timer);
    }
}
