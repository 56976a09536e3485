//! The engine and its machines.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arch::ext::{Ext, IsaConfig};
use kvm_ioctls::{Cap, Kvm as KvmFd, VmFd};
use vm_memory::GuestMemoryBackend;

use super::irqchip::{self, KvmIrqchip};
use super::limits::{self, Capabilities};
use super::one_reg::{self as reg, OneReg};
use super::options::KvmOptions;
use super::sleep::Sleepers;
use super::stage::Stage;
use super::vcpu::{KvmVcpu, Registers};
use super::{NAME, ioctl, isa, memory, roles, sbi};
use crate::{
    Accel, AccelError, DirtyPages, HartSet, HostHarts, Irqchip, IrqchipOffer, RemoteFence, Vcpu, Vm, VmConfig,
};

/// The engine.
pub struct Kvm {
    pub options: KvmOptions,
}

impl Capabilities for KvmFd {
    fn capability(&self, number: u64) -> u64 {
        // Negative for an error, which is no capability either.
        u64::try_from(self.check_extension_raw(number)).unwrap_or(0)
    }
}

fn host(doing: &str) -> impl FnOnce(kvm_ioctls::Error) -> AccelError {
    let doing = doing.to_owned();
    move |e| AccelError::Host { doing, source: e.into() }
}

fn open() -> Result<KvmFd, AccelError> {
    let kvm = KvmFd::new().map_err(host("open /dev/kvm"))?;
    match limits::problem(kvm.get_api_version(), &kvm) {
        None => Ok(kvm),
        Some(reason) => Err(AccelError::Unavailable { name: NAME, reason }),
    }
}

impl Accel for Kvm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "the host's hypervisor; RISC-V hosts only"
    }

    fn availability(&self) -> Result<(), AccelError> {
        open().map(drop)
    }

    fn host_harts(&self) -> Result<Option<HostHarts>, AccelError> {
        ioctl::allow_vectors();
        // The kernel tells of harts by a vCPU, so one is made for it.
        let vm = open()?.create_vm().map_err(host("make a virtual machine"))?;
        let vcpu = vm.create_vcpu(0).map_err(host("make a vCPU"))?;
        let regs = Registers(&vcpu);
        let failed = |source| AccelError::Host { doing: "ask KVM what its harts have".to_owned(), source };
        let isa = isa::host(&regs).map_err(failed)?;
        let timebase = regs.get(reg::FREQUENCY).map_err(failed)?;
        let known = isa::extensions().map(|(_, ext)| ext).collect();
        Ok(Some(HostHarts { isa, known, timebase }))
    }

    fn irqchip(&self) -> Result<IrqchipOffer, AccelError> {
        let vm = open()?.create_vm().map_err(host("make a virtual machine"))?;
        let vcpu = vm.create_vcpu(0).map_err(host("make a vCPU"))?;
        let isa = isa::host(&Registers(&vcpu))
            .map_err(|source| AccelError::Host { doing: "ask KVM what its harts have".to_owned(), source })?;
        if !isa.has(Ext::Ssaia) {
            let what = "aia=aplic-imsic: the host's harts have no AIA (Ssaia); it must be none or aplic".to_owned();
            return Err(AccelError::Unsupported { name: NAME, what });
        }
        irqchip::offer(&vm, &self.options)
    }

    fn create_vm(&self, config: VmConfig) -> Result<Arc<dyn Vm>, AccelError> {
        if !config.builtin_sbi {
            return Err(AccelError::Unsupported {
                name: NAME,
                what: "firmware in M-mode: the kernel is the firmware (-bios none)".to_owned(),
            });
        }
        ioctl::allow_vectors();
        let kvm = open()?;
        let unsupported = |what| AccelError::Unsupported { name: NAME, what };
        if let Some(advice) = limits::harts(config.harts, &kvm).map_err(unsupported)? {
            tracing::warn!("{advice}");
        }
        limits::memory(config.ram.num_regions(), &kvm).map_err(unsupported)?;
        let (fd, config) = (Arc::new(kvm.create_vm().map_err(host("make a virtual machine"))?), Arc::new(config));
        // The machine keeps its configuration until its own end.
        memory::add(&fd, &config.ram)?;
        let sleepers = Arc::default();
        let irqchip = KvmIrqchip::new(&fd, &config, &self.options, &sleepers)?.map(Arc::new);
        let io_events = kvm.check_extension(Cap::Ioeventfd);
        if !io_events {
            tracing::info!("the host's kernel lacks KVM_CAP_IOEVENTFD: every kick of a virtio device leaves the guest");
        }
        let stage = Stage::new(config.ram.clone(), ioctl::flush_instructions, limits::debugging(&kvm));
        // A new machine's time begins at zero.
        let (time_is_old, stage) = (Arc::new(AtomicBool::new(true)), Arc::new(stage));
        Ok(Arc::new(KvmVm { fd, irqchip, config, time_is_old, sleepers, stage, io_events }))
    }
}

/// Names the registers of a newer kernel that no row here knows: what is in them is in no state.
fn report_unknown(regs: &Registers<'_>, isa: &IsaConfig) {
    match regs.list() {
        Ok(list) => {
            for id in list.into_iter().filter(|id| roles::of(*id, isa).is_none()) {
                tracing::debug!("KVM has a register that is not known here: {:#x}", id.0);
            }
        }
        // Kernels before 6.6 have none.
        Err(e) => tracing::debug!("KVM does not list its registers: {e}"),
    }
}

/// A machine. The descriptor comes first: memory goes after the kernel has let go of it.
struct KvmVm {
    fd: Arc<VmFd>,
    irqchip: Option<Arc<KvmIrqchip>>,
    config: Arc<VmConfig>,
    /// The board's clock was set, and the guest's has to follow.
    time_is_old: Arc<AtomicBool>,
    sleepers: Arc<Sleepers>,
    stage: Arc<Stage>,
    /// `KVM_CAP_IOEVENTFD`.
    io_events: bool,
}

impl Vm for KvmVm {
    fn create_vcpu(&self, hart: u32) -> Result<Box<dyn Vcpu>, AccelError> {
        let fd = self.fd.create_vcpu(u64::from(hart)).map_err(host(&format!("make the vCPU of hart {hart}")))?;
        let regs = Registers(&fd);
        let failed = |what: &str| {
            let doing = format!("{what} of hart {hart}");
            move |source| AccelError::Host { doing, source }
        };
        let stay = isa::restrict(&regs, &self.config.isa).map_err(failed("set up the extensions"))?;
        if hart == 0 && !stay.is_empty() {
            let names: Vec<_> = stay.into_iter().map(Ext::name).collect();
            tracing::info!("KVM cannot take {} from the harts; the device tree does not name them", names.join(", "));
        }
        isa::identify(&regs, &self.config.isa).map_err(failed("set up the harts' properties"))?;
        sbi::configure(&regs).map_err(failed("set up SBI"))?;
        if hart == 0 {
            report_unknown(&regs, &self.config.isa);
        }
        let (config, time_is_old) = (Arc::clone(&self.config), Arc::clone(&self.time_is_old));
        let (irqchip, sleepers, stage) = (self.irqchip.clone(), Arc::clone(&self.sleepers), Arc::clone(&self.stage));
        let vcpu =
            KvmVcpu::new(hart, fd, config, irqchip, time_is_old, sleepers, stage).map_err(failed("set up the vCPU"))?;
        Ok(Box::new(vcpu))
    }

    fn start_irqchip(&self) -> Result<Option<Arc<dyn Irqchip>>, AccelError> {
        let Some(irqchip) = &self.irqchip else { return Ok(None) };
        irqchip.start()?;
        Ok(Some(Arc::clone(irqchip) as _))
    }

    /// The kernel does these itself; nothing else asks for one.
    fn remote_fence(&self, _: &HartSet, _: RemoteFence) {}

    fn start_dirty_log(&self) -> Result<(), AccelError> {
        memory::start_log(&self.fd, &self.config.ram)
    }

    fn take_dirty_log(&self) -> Result<DirtyPages, AccelError> {
        memory::take_log(&self.fd, &self.config.ram)
    }

    fn stop_dirty_log(&self) -> Result<(), AccelError> {
        memory::stop_log(&self.fd, &self.config.ram)
    }

    fn starts_harts(&self) -> bool {
        true
    }

    fn has_io_events(&self) -> bool {
        self.io_events
    }

    fn set_io_event(&self, gpa: u64, value: u32, event: BorrowedFd<'_>, on: bool) -> Result<(), AccelError> {
        ioctl::io_event(&*self.fd, gpa, value, event, on).map_err(|source| {
            let doing = format!("{} KVM's event for stores of {value} to {gpa:#x}", if on { "set" } else { "end" });
            AccelError::Host { doing, source }
        })
    }
}
