//! The interrupt controllers of the board: a PLIC, an APLIC, or an APLIC that sends MSIs to IMSICs (`aia=`).
//!
//! With M-mode below the guest there is a machine level and a supervisor level of each, as in QEMU. Without it there is
//! the supervisor level alone, which then needs no delegation: the APLIC's supervisor domain is its root, has all
//! sources, and knows where the IMSICs are. The device tree says the same: what the built-in SBI would have to keep
//! from the guest is not there.

use std::sync::Arc;

use accel::{GuestRam, HartIrq, IrqchipOffer};
use devices::fdt::Placement;
use devices::intc::aplic::{self, AplicCore, Delivery, MsiBase};
use devices::intc::{Aplic, Imsic, Plic, PlicContext, imsic};
use devices::{HartLines, IrqLine, IrqSink, MmioDevice, MsiSink};
use firmware::machine_tree::Phandles;

use super::map::Window;
use super::{irq, map};
use crate::board::engine_chips::{EngineChips, Shape};
use crate::board::imsics::Imsics;
use crate::board::wires::HartWires;
use crate::config::Aia;

/// Bits of an APLIC's priorities, as in QEMU's machine.
const PRIORITY_BITS: u32 = 3;
/// An interrupt specifier's second cell on an APLIC: level-sensitive, active high.
const LEVEL_HIGH: u32 = 4;

/// What a board needs to make its interrupt controllers.
pub struct Request<'a> {
    pub aia: Aia,
    /// Guest interrupt files of a hart.
    pub guests: u8,
    /// The chips that are the engine's beside IMSICs; without M-mode only.
    pub offer: IrqchipOffer,
    pub m_mode: bool,
    pub harts: u32,
    pub wires: &'a Arc<HartWires>,
    pub ram: &'a Arc<GuestRam>,
}

/// Interrupt controllers that are made, but not on the bus yet.
pub struct Irqchip {
    sink: Arc<dyn IrqSink>,
    /// phandle of the controller that devices are wired to.
    phandle: u32,
    /// Specifiers have a second cell.
    typed: bool,
    /// In the order of the device tree.
    pub chips: Vec<(Arc<dyn MmioDevice>, Placement)>,
    pub imsics: Option<Arc<Imsics>>,
    pub engine: Option<Arc<EngineChips>>,
}

impl Irqchip {
    pub fn new(request: &Request<'_>, phandles: &mut Phandles) -> Self {
        match request.aia {
            Aia::None => plic(request, phandles),
            Aia::Aplic => aplic(request, phandles, None),
            Aia::AplicImsic if request.m_mode => {
                let files = ImsicParts::new(request, phandles);
                aplic(request, phandles, Some(files))
            }
            Aia::AplicImsic => movable(request, phandles),
        }
    }

    /// The wire of input `source`.
    pub fn line(&self, source: u32) -> IrqLine {
        IrqLine::new(Arc::clone(&self.sink), source)
    }

    /// A place wired to input `source`; 0 is none.
    pub fn at(&self, window: Window, source: u32) -> Placement {
        let interrupt = match source {
            0 => Vec::new(),
            _ if self.typed => vec![source, LEVEL_HIGH],
            _ => vec![source],
        };
        Placement { interrupt, interrupt_parent: self.phandle, ..window.place() }
    }
}

/// A line into every hart, as `interrupts-extended` has it.
fn to_harts(harts: u32, phandles: &Phandles, irq: u8) -> Vec<u32> {
    (0..harts).flat_map(|hart| [phandles.intc(hart), u32::from(irq)]).collect()
}

fn plic(r: &Request<'_>, phandles: &mut Phandles) -> Irqchip {
    let phandle = phandles.allocate();
    let contexts =
        if r.m_mode { PlicContext::machine_and_supervisor(0..r.harts) } else { PlicContext::supervisor(0..r.harts) };
    let wires = contexts.iter().flat_map(|c| [phandles.intc(c.hart), u32::from(c.irq)]).collect();
    let plic = Arc::new(Plic::new(irq::SOURCES, contexts, map::PLIC.size, Arc::clone(r.wires) as _));
    let at = Placement { phandle: Some(phandle), interrupts_extended: wires, ..map::PLIC.place() };
    Irqchip {
        sink: Arc::clone(&plic) as _,
        phandle,
        typed: false,
        chips: vec![(plic as Arc<dyn MmioDevice>, at)],
        imsics: None,
        engine: None,
    }
}

/// The IMSICs with their places.
struct ImsicParts {
    imsics: Arc<Imsics>,
    /// Takes MSIs to them.
    msis: Arc<dyn MsiSink>,
    chips: Vec<(Arc<dyn MmioDevice>, Placement)>,
    base: MsiBase,
    machine: Option<u32>,
    supervisor: u32,
}

impl ImsicParts {
    fn new(r: &Request<'_>, phandles: &mut Phandles) -> Self {
        let lines = || Arc::clone(r.wires) as Arc<dyn HartLines>;
        let machine_phandle = r.m_mode.then(|| phandles.allocate());
        let supervisor_phandle = phandles.allocate();
        let level = imsic::Level::Supervisor { guests: r.guests };
        let supervisor = Arc::new(Imsic::new(level, r.harts, lines()));
        let machine = r.m_mode.then(|| Arc::new(Imsic::new(imsic::Level::Machine, r.harts, lines())));

        let placed = |imsic: &Arc<Imsic>, window: Window, phandle| {
            let at = Placement {
                phandle: Some(phandle),
                interrupts_extended: to_harts(r.harts, phandles, imsic.level().irq()),
                ..Placement::at(window.base, imsic.size())
            };
            (Arc::clone(imsic) as Arc<dyn MmioDevice>, at)
        };
        let mut chips = vec![placed(&supervisor, map::IMSIC_S, supervisor_phandle)];
        chips.extend(machine.iter().zip(machine_phandle).map(|(m, phandle)| placed(m, map::IMSIC_M, phandle)));
        let imsics = Arc::new(Imsics {
            machine: machine.map(|imsic| (map::IMSIC_M.base, imsic)),
            supervisor: (map::IMSIC_S.base, supervisor),
            ram: Arc::clone(r.ram),
        });
        Self {
            chips,
            base: MsiBase { address: map::IMSIC_S.base, guest_bits: level.guest_bits() },
            machine: machine_phandle,
            supervisor: supervisor_phandle,
            msis: Arc::clone(&imsics) as _,
            imsics,
        }
    }
}

/// As many identities as the board's own IMSICs have, or as an engine can give: one less than a multiple of 64.
fn identities(most: u32) -> u32 {
    if most >= imsic::IDENTITIES {
        return imsic::IDENTITIES;
    }
    let identities = ((most + 1) & !63).max(64) - 1;
    tracing::info!("the engine's IMSICs have {identities} interrupt identities instead of {}", imsic::IDENTITIES);
    identities
}

/// APLIC and IMSICs that may be an engine's.
fn movable(r: &Request<'_>, phandles: &mut Phandles) -> Irqchip {
    let (supervisor, phandle) = (phandles.allocate(), phandles.allocate());
    let shape = Shape {
        harts: r.harts,
        guests: r.guests,
        address: map::APLIC_S.base,
        sources: irq::APLIC_SOURCES,
        imsic: map::IMSIC_S.base,
        identities: identities(r.offer.identities),
    };
    let chips = EngineChips::new(shape, &(Arc::clone(r.wires) as Arc<dyn HartLines>), r.ram);
    let interrupts_extended = || to_harts(r.harts, phandles, HartIrq::SupervisorExternal as u8);
    let imsic = chips.imsic();
    let window = Window { size: imsic.size(), ..map::IMSIC_S };
    let files = Placement { phandle: Some(supervisor), interrupts_extended: interrupts_extended(), ..window.place() };
    let at = Placement { phandle: Some(phandle), interrupts_extended: interrupts_extended(), ..map::APLIC_S.place() };
    let aplic: Arc<dyn MmioDevice> = Arc::new(chips.aplic_device(supervisor));
    Irqchip {
        sink: Arc::clone(&chips) as _,
        phandle,
        typed: true,
        chips: vec![(aplic, at), (Arc::new(imsic), files)],
        imsics: Some(chips.imsics()),
        engine: Some(chips),
    }
}

fn aplic(r: &Request<'_>, phandles: &mut Phandles, files: Option<ImsicParts>) -> Irqchip {
    let machine_phandle = r.m_mode.then(|| phandles.allocate());
    let phandle = phandles.allocate();
    let delivery = match files {
        Some(_) => Delivery::Msi { guests: r.guests > 0 },
        None => Delivery::Direct { priority_bits: PRIORITY_BITS },
    };
    let core = match r.m_mode {
        true => AplicCore::with_machine_level(irq::APLIC_SOURCES, r.harts, delivery),
        false => {
            let base = files.as_ref().map_or(MsiBase { address: 0, guest_bits: 0 }, |f| f.base);
            AplicCore::supervisor_only(irq::APLIC_SOURCES, r.harts, delivery, base)
        }
    };
    let msis = match &files {
        Some(f) => Arc::clone(&f.msis),
        None => Arc::new(NoMsis),
    };
    let aplic = Aplic::new(core, r.harts, Arc::clone(r.wires) as _, msis);

    let placed = |level: aplic::Level, window: Window, own, child, parent, line: HartIrq| {
        let device = aplic.device(level)?.with_relatives(child, parent);
        let interrupts_extended = to_harts(r.harts, phandles, line as u8);
        let at = Placement { phandle: Some(own), interrupts_extended, ..window.place() };
        Some((Arc::new(device) as Arc<dyn MmioDevice>, at))
    };
    let (machine_files, supervisor_files) = files.as_ref().map_or((None, None), |f| (f.machine, Some(f.supervisor)));
    let supervisor =
        placed(aplic::Level::Supervisor, map::APLIC_S, phandle, None, supervisor_files, HartIrq::SupervisorExternal);
    let machine = machine_phandle.and_then(|own| {
        placed(aplic::Level::Machine, map::APLIC_M, own, Some(phandle), machine_files, HartIrq::MachineExternal)
    });
    let mut chips: Vec<_> = supervisor.into_iter().chain(machine).collect();
    let imsics = files.map(|f| {
        chips.extend(f.chips);
        f.imsics
    });
    Irqchip { sink: aplic as _, phandle, typed: true, chips, imsics, engine: None }
}

/// Where an APLIC that drives lines sends its MSIs.
struct NoMsis;

impl MsiSink for NoMsis {
    fn send(&self, _: u64, _: u32) {}
}
