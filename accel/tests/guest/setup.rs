//! The small machine of these tests, built once for all of them and for every engine: a test names what is different
//! about its own.

use std::sync::{Arc, Mutex};

use accel::semihost::Semihosting;
use accel::{Accel, BusFault, Clock, GuestBus, GuestRam, IrqchipConfig, VcpuHandle, VmConfig};
use arch::ext::IsaConfig;
use vm_memory::GuestAddress;

use super::{END, Guest, RAM, ROM, SIZE};

/// What a machine is made of. The default: one hart with the usual extensions, a clock of 10 MHz, the built-in SBI below.
pub struct Setup {
    pub harts: u32,
    pub isa: IsaConfig,
    pub clock: Arc<Clock>,
    /// Traps into M-mode leave `run`.
    pub machine_traps: bool,
    /// What the bus does beside answering for its devices.
    pub extra: Option<Arc<dyn Extra>>,
    /// Interrupt controllers of the engine's.
    pub irqchip: Option<IrqchipConfig>,
}

impl Default for Setup {
    fn default() -> Self {
        let clock = Arc::new(Clock::new(10_000_000));
        Self { harts: 1, isa: IsaConfig::default(), clock, machine_traps: false, extra: None, irqchip: None }
    }
}

impl Setup {
    pub fn start(self, engine: &dyn Accel) -> Guest {
        let Self { harts, isa, clock, machine_traps, extra, irqchip } = self;
        let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), SIZE)]).expect("test RAM");
        let bus = Arc::new(Bus { handles: Mutex::default(), extra });
        let config = VmConfig {
            ram: ram.clone(),
            bus: Arc::clone(&bus) as _,
            clock: Arc::clone(&clock),
            harts,
            isa: isa.clone(),
            builtin_sbi: true,
            machine_traps,
            imsic: None,
            irqchip,
        };
        let vm = engine.create_vm(config).expect("the engine starts");
        let vcpus: Vec<_> = (0..harts).map(|i| vm.create_vcpu(i).expect("a vCPU")).collect();
        *bus.handles.lock().unwrap() = vcpus.iter().map(|v| v.handle()).collect();
        let irqchip = vm.start_irqchip().expect("the engine's interrupt controllers start");
        Guest { ram, isa, clock, vm, irqchip, harts: vcpus }
    }
}

/// The optional parts of [`GuestBus`], for a test that brings its own.
pub trait Extra: Send + Sync {
    /// A device of the test's own.
    fn read(&self, _gpa: u64, _data: &mut [u8]) -> Result<(), BusFault> {
        Err(BusFault)
    }

    fn write(&self, _gpa: u64, _data: &[u8]) -> Result<(), BusFault> {
        Err(BusFault)
    }

    fn answers(&self, _gpa: u64) -> bool {
        false
    }

    fn watched(&self) -> Vec<u64> {
        Vec::new()
    }

    fn stored(&self, _gpa: u64, _len: u64) {}

    fn settle(&self) -> bool {
        false
    }

    fn semihosting(&self) -> Option<&dyn Semihosting> {
        None
    }
}

/// [`END`] and [`ROM`].
struct Bus {
    handles: Mutex<Vec<Arc<dyn VcpuHandle>>>,
    extra: Option<Arc<dyn Extra>>,
}

impl GuestBus for Bus {
    fn read(&self, gpa: u64, data: &mut [u8]) -> Result<(), BusFault> {
        if (ROM..ROM + 0x1000).contains(&gpa) {
            // c.nop, over and over.
            data.iter_mut().enumerate().for_each(|(i, b)| *b = u8::from(i % 2 == 0));
            return Ok(());
        }
        self.extra.as_ref().map_or(Err(BusFault), |extra| extra.read(gpa, data))
    }

    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), BusFault> {
        let handles = self.handles.lock().unwrap();
        match gpa.checked_sub(END).and_then(|o| handles.get((o / 8) as usize)) {
            Some(handle) => {
                handle.kick();
                Ok(())
            }
            None => self.extra.as_ref().map_or(Err(BusFault), |extra| extra.write(gpa, data)),
        }
    }

    fn answers(&self, gpa: u64) -> bool {
        let own = (ROM..ROM + 0x1000).contains(&gpa) || (END..END + 0x1000).contains(&gpa);
        own || self.extra.as_ref().is_some_and(|extra| extra.answers(gpa))
    }

    fn watched(&self) -> Vec<u64> {
        self.extra.as_ref().map_or_else(Vec::new, |extra| extra.watched())
    }

    fn stored(&self, gpa: u64, len: u64) {
        if let Some(extra) = &self.extra {
            extra.stored(gpa, len);
        }
    }

    fn settle(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.settle())
    }

    fn semihosting(&self) -> Option<&dyn Semihosting> {
        self.extra.as_ref()?.semihosting()
    }
}
