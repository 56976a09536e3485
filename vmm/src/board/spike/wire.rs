//! The wiring: a few chips and a ROM.

use std::sync::Arc;

use accel::{Clock, GuestRam};
use devices::fdt::Placement;
use devices::intc::{Clint, Plic, PlicContext};
use devices::misc::{Htif, HtifConsole, Mrom};
use devices::serial::SerialPort;
use devices::{IrqLine, MmioBus, MmioDevice};
use firmware::machine_tree::{BoardDescription, Chosen, Phandles};

use super::map;
use crate::board::RAM_BASE;
use crate::board::assembly::{
    Backends, Board, BoardError, Interrupt, Services, hart_descriptions, isa_description, node,
};
use crate::board::wires::{BoardBus, HartWires};
use crate::config::MachineConfig;

/// Interrupts of the CLINT at a hart.
const MSIP: u32 = 3;
const MTIP: u32 = 7;

impl Board {
    /// The board `spike`. `m_mode` machines have a CLINT.
    pub fn spike(
        config: &MachineConfig,
        m_mode: bool,
        clock: Arc<Clock>,
        ram: Arc<GuestRam>,
        backends: Backends,
        services: &Services<'_>,
    ) -> Result<Self, BoardError> {
        let harts = config.topology.harts();
        let wires = Arc::new(HartWires::new(Arc::clone(&clock)));
        let mut phandles = Phandles::new(harts);
        let mut bus = MmioBus::new();
        let mut devices: Vec<Arc<dyn MmioDevice>> = Vec::new();
        let mut soc_nodes = Vec::new();

        let contexts =
            if m_mode { PlicContext::machine_and_supervisor(0..harts) } else { PlicContext::supervisor(0..harts) };
        let lines = contexts.iter().flat_map(|c| [phandles.intc(c.hart), u32::from(c.irq)]).collect();
        let plic_phandle = phandles.allocate();
        let plic = Arc::new(Plic::new(map::PLIC_SOURCES, contexts, map::PLIC.size, Arc::clone(&wires) as _));
        let plic_at = Placement { phandle: Some(plic_phandle), interrupts_extended: lines, ..map::PLIC.place() };
        let line = IrqLine::new(Arc::clone(&plic) as _, map::UART_IRQ);
        let state = line.state();
        let serial = SerialPort::new(&backends.serial, line).map_err(BoardError::Serial)?;
        let serial_at =
            Placement { interrupt: vec![map::UART_IRQ], interrupt_parent: plic_phandle, ..map::UART.place() };
        for (chip, at) in [(Arc::clone(&serial) as Arc<dyn MmioDevice>, serial_at), (plic, plic_at)] {
            soc_nodes.extend(chip.fdt(&at).into_iter().map(node));
            bus.insert(at.base, Arc::clone(&chip))?;
            devices.push(chip);
        }
        let device = serial.name().to_owned();
        let interrupts = vec![Interrupt { source: map::UART_IRQ, device, line: state }];
        let htif = Htif::new(Arc::clone(&ram), HtifConsole::SharedPort(serial), Arc::clone(&services.control));
        bus.insert(map::HTIF.base, Arc::clone(&htif) as _)?;
        if m_mode {
            let clint: Arc<dyn MmioDevice> = Arc::new(Clint::new(0, harts, Arc::clone(&wires) as _));
            let lines = (0..harts).flat_map(|h| [phandles.intc(h), MSIP, phandles.intc(h), MTIP]).collect();
            let at = Placement { interrupts_extended: lines, ..map::CLINT.place() };
            soc_nodes.extend(clint.fdt(&at).into_iter().map(node));
            bus.insert(map::CLINT.base, Arc::clone(&clint))?;
            devices.push(clint);
        }
        let mrom = Arc::new(Mrom::new(map::MROM.size));
        bus.insert(map::MROM.base, Arc::clone(&mrom) as _)?;
        devices.push(Arc::clone(&mrom) as _);

        let description = BoardDescription {
            compatible: "ucbbar,spike-bare-dev".into(),
            model: "ucbbar,spike-bare,qemu".into(),
            ram_base: RAM_BASE,
            ram_size: config.ram_size,
            harts: hart_descriptions(config.topology),
            isa: isa_description(&config.isa),
            timebase_frequency: clock.frequency() as u32,
            chosen: Chosen { stdout_path: Some("/htif".into()), ..Chosen::default() },
            root_nodes: Vec::new(),
            soc_nodes,
            aliases: Vec::new(),
        };
        let late_nodes = vec![(Arc::clone(&htif) as Arc<dyn MmioDevice>, map::HTIF.place())];
        let console = Arc::clone(&htif) as _;
        let bus = Arc::new(BoardBus::new(bus, Some(htif), backends.semihosting));
        Ok(Self {
            ram,
            bus,
            wires,
            clock,
            console,
            mrom,
            imsics: None,
            engine_chips: None,
            interrupts,
            devices,
            late_nodes,
            description,
            phandles,
        })
    }
}
