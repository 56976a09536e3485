//! The kernel's APLIC and IMSICs: what there can be on this host, and how interrupts get in.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_create_device, kvm_device_attr,
    kvm_device_type_KVM_DEV_TYPE_RISCV_AIA, kvm_irq_routing_entry, kvm_msi,
};
use kvm_ioctls::{Cap, DeviceFd, VmFd};

use super::aia::{self, Attributes};
use super::options::{AiaMode, KernelIrqchip, KvmOptions};
use super::sleep::Sleepers;
use super::{NAME, ioctl};
use crate::{AccelError, Irqchip, IrqchipConfig, IrqchipOffer, IrqchipPlace, IrqchipState, VmConfig};

impl Attributes for DeviceFd {
    fn get(&self, group: u32, attribute: u64, data: &mut [u8]) -> io::Result<()> {
        let mut attribute =
            kvm_device_attr { group, attr: attribute, addr: data.as_mut_ptr() as u64, ..Default::default() };
        // SAFETY: the kernel writes as many bytes as the attribute has, and so many are in the slice.
        unsafe { self.get_device_attr(&mut attribute) }.map_err(io::Error::from)
    }

    fn set(&self, group: u32, attribute: u64, data: &[u8]) -> io::Result<()> {
        let attribute = kvm_device_attr { group, attr: attribute, addr: data.as_ptr() as u64, ..Default::default() };
        self.set_device_attr(&attribute).map_err(io::Error::from)
    }
}

fn unsupported(what: String) -> AccelError {
    AccelError::Unsupported { name: NAME, what }
}

/// Makes the device in a machine, in the mode that was asked for.
fn create(vm: &VmFd, options: &KvmOptions) -> Result<DeviceFd, AccelError> {
    let in_kernel = format!("aia=aplic-imsic with kernel-irqchip={}", options.irqchip);
    let instead = "kernel-irqchip=off needs none of it";
    if !vm.check_extension(Cap::DeviceCtrl) {
        return Err(unsupported(format!("{in_kernel}: the host's kernel lacks KVM_CAP_DEVICE_CTRL; {instead}")));
    }
    let mut device = kvm_create_device { type_: kvm_device_type_KVM_DEV_TYPE_RISCV_AIA, fd: 0, flags: 0 };
    let device = vm.create_device(&mut device).map_err(|e| match e.errno() {
        libc::ENODEV => unsupported(format!("{in_kernel}: the host's kernel lacks KVM_DEV_TYPE_RISCV_AIA; {instead}")),
        _ => AccelError::Host { doing: "make KVM's AIA".to_owned(), source: e.into() },
    })?;
    aia::set_mode(&device, options.aia).map_err(|source| match options.aia {
        AiaMode::HwAccel if source.kind() == io::ErrorKind::InvalidInput => unsupported(
            "riscv-aia=hwaccel: the host's IMSICs have no guest interrupt files; it must be auto or emul".to_owned(),
        ),
        mode => AccelError::Host { doing: format!("set KVM's AIA to riscv-aia={mode}"), source },
    })?;
    Ok(device)
}

/// What the kernel can have, asked of a machine that is thrown away.
pub fn offer(vm: &VmFd, options: &KvmOptions) -> Result<IrqchipOffer, AccelError> {
    let place = match options.irqchip {
        KernelIrqchip::On => IrqchipPlace::Engine,
        KernelIrqchip::Split => IrqchipPlace::Split,
        KernelIrqchip::Off => return Ok(IrqchipOffer::default()),
    };
    let device = create(vm, options)?;
    let identities = aia::identities(&device)
        .map_err(|source| AccelError::Host { doing: "ask KVM's AIA for its identities".to_owned(), source })?;
    Ok(IrqchipOffer { place, identities })
}

/// The chips of a machine.
pub struct KvmIrqchip {
    device: DeviceFd,
    vm: Arc<VmFd>,
    /// MSIs by their input of the kernel.
    routes: Mutex<BTreeMap<u32, (u64, u32)>>,
    /// Keeps guest RAM as long as the descriptors: they are closed first.
    config: Arc<VmConfig>,
    chips: IrqchipConfig,
    /// Told of every interrupt that passes here.
    sleepers: Arc<Sleepers>,
}

impl KvmIrqchip {
    /// Makes the chips; they live with [`Self::start`].
    pub fn new(
        vm: &Arc<VmFd>,
        config: &Arc<VmConfig>,
        options: &KvmOptions,
        sleepers: &Arc<Sleepers>,
    ) -> Result<Option<Self>, AccelError> {
        let Some(chips) = config.irqchip else { return Ok(None) };
        if let Some((_, sources)) = chips.aplic
            && chips.identities < sources
        {
            let what = format!(
                "kernel-irqchip=on: the host's IMSICs have {} identities for guests, and the board has {sources} wires; \
                 it must be split or off",
                chips.identities
            );
            return Err(unsupported(what));
        }
        let (vm, config, sleepers) = (Arc::clone(vm), Arc::clone(config), Arc::clone(sleepers));
        Ok(Some(Self { device: create(&vm, options)?, vm, routes: Mutex::default(), config, chips, sleepers }))
    }

    /// When all vCPUs are made.
    pub fn start(&self) -> Result<(), AccelError> {
        aia::start(&self.device, &self.chips, self.config.harts)
            .map_err(|source| AccelError::Host { doing: "start KVM's AIA".to_owned(), source })
    }

    /// Whether the IMSIC of a hart asks for its attention.
    pub fn signals(&self, hart: u32) -> io::Result<bool> {
        aia::signals(&self.device, &self.chips, hart)
    }

    /// The pending bits of a hart were written: its external interrupt is what the IMSIC says again.
    pub fn refresh(&self, hart: u32) -> io::Result<()> {
        aia::refresh(&self.device, hart)
    }

    fn drive(&self, source: u32, level: bool) {
        if let Err(e) = self.vm.set_irq_line(source, level) {
            // The sources exist, and the kernel has no other reason.
            tracing::error!("KVM did not take the level of source {source}: {e}");
        }
        self.sleepers.changed();
    }

    /// All that inputs stand for, in the kernel's form: the wires, then the MSIs.
    fn routing(&self, routes: &BTreeMap<u32, (u64, u32)>) -> io::Result<KvmIrqRouting> {
        let wires = (0..self.chips.aplic.map_or(0, |(_, sources)| sources + 1)).map(|pin| {
            let mut entry = kvm_irq_routing_entry { gsi: pin, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
            entry.u.irqchip.pin = pin;
            entry
        });
        let msis = routes.iter().map(|(gsi, (address, data))| {
            let mut entry = kvm_irq_routing_entry { gsi: *gsi, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
            // SAFETY: the member is plain numbers, and all of it is zero.
            let msi = unsafe { &mut entry.u.msi };
            (msi.address_lo, msi.address_hi, msi.data) = (*address as u32, (*address >> 32) as u32, *data);
            entry
        });
        let entries: Vec<_> = wires.chain(msis).collect();
        KvmIrqRouting::from_entries(&entries).map_err(|e| io::Error::other(format!("{e:?}")))
    }
}

impl Irqchip for KvmIrqchip {
    fn set_line(&self, source: u32, level: bool) {
        if self.chips.aplic.is_some_and(|(_, sources)| (1..=sources).contains(&source)) {
            self.drive(source, level);
        }
    }

    fn send_msi(&self, address: u64, data: u32) {
        let msi =
            kvm_msi { address_lo: address as u32, address_hi: (address >> 32) as u32, data, ..Default::default() };
        if let Err(e) = self.vm.signal_msi(msi) {
            // Identities that do not exist, and guests' files.
            tracing::debug!("MSI {data} for {address:#x}: KVM takes it nowhere: {e}");
        }
        self.sleepers.changed();
    }

    fn route_msi(&self, gsi: u32, msi: Option<(u64, u32)>) -> Result<(), AccelError> {
        let failed = |source| AccelError::Host { doing: format!("route interrupt {gsi} of KVM"), source };
        if self.chips.aplic.is_some_and(|(_, sources)| gsi <= sources) {
            return Err(failed(io::ErrorKind::AddrInUse.into()));
        }
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = routes.clone();
        match msi {
            Some(msi) => drop(changed.insert(gsi, msi)),
            None => drop(changed.remove(&gsi)),
        }
        let routing = self.routing(&changed).map_err(failed)?;
        self.vm.set_gsi_routing(&routing).map_err(|e| failed(e.into()))?;
        *routes = changed;
        Ok(())
    }

    // Whoever lets the kernel raise interrupts so has to tell the sleepers of it: they cannot see events.
    fn irqfd(&self, gsi: u32, fd: BorrowedFd<'_>, on: bool) -> Result<(), AccelError> {
        ioctl::irq_event(&*self.vm, gsi, fd, on).map_err(|source| {
            let doing = format!("{} KVM's interrupt {gsi} by events", if on { "raise" } else { "stop" });
            AccelError::Host { doing, source }
        })
    }

    fn state(&self) -> Result<IrqchipState, AccelError> {
        aia::load(&self.device, &self.chips, self.config.harts)
            .map_err(|source| AccelError::Host { doing: "read KVM's AIA".to_owned(), source })
    }

    fn set_state(&self, state: &IrqchipState) -> Result<(), AccelError> {
        aia::store(&self.device, |source, level| self.drive(source, level), state)
            .map_err(|source| AccelError::Host { doing: "write KVM's AIA".to_owned(), source })
    }
}
