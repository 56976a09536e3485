//! The wiring: which chip stands where and drives which line, and the device tree that says so.

use std::sync::Arc;

use accel::{Clock, GuestRam};
use devices::fdt::Placement;
use devices::intc::{Clint, Mswi, Mtimer, Sswi};
use devices::misc::{CfiFlash, Finisher, FlashImage, GoldfishRtc, Htif, HtifConsole, Mrom, RtcBase, RtcClock};
use devices::serial::SerialPort;
use devices::virtio::{VirtioDevice, VirtioMmio};
use devices::{IrqLine, LineState, MmioBus, MmioDevice};
use firmware::fdt::Node;
use firmware::machine_tree::{BoardDescription, Chosen, Phandles};

use super::irqchip::{Irqchip, Request};
use super::map::Window;
use super::{irq, map};
use crate::board::assembly::{
    Backends, Board, BoardError, Interrupt, Services, hart_descriptions, isa_description, node,
};
use crate::board::wires::{BoardBus, HartWires};
use crate::config::{self, Aia, BoardOptions, MachineConfig};

/// A bus under construction.
struct Wiring {
    bus: MmioBus,
    devices: Vec<Arc<dyn MmioDevice>>,
    irqchip: Irqchip,
    soc: Vec<Node>,
    lines: Vec<(u32, Arc<LineState>)>,
    /// The device at each source.
    sources: Vec<(u32, String)>,
}

impl Wiring {
    /// Puts a device at its place and its nodes into `/soc`.
    fn attach(&mut self, device: Arc<dyn MmioDevice>, at: Placement) -> Result<(), BoardError> {
        self.soc.extend(device.fdt(&at).into_iter().map(node));
        self.sources.extend(at.interrupt.first().map(|source| (*source, device.name().to_owned())));
        self.attach_silently(device, at.base)
    }

    /// A device that the device tree does not tell of, or not in `/soc`.
    fn attach_silently(&mut self, device: Arc<dyn MmioDevice>, base: u64) -> Result<(), BoardError> {
        self.bus.insert(base, Arc::clone(&device))?;
        self.devices.push(device);
        Ok(())
    }

    /// A place wired to input `source` of the interrupt controller; 0 is none.
    fn at(&self, window: Window, source: u32) -> Placement {
        self.irqchip.at(window, source)
    }

    fn line(&mut self, source: u32) -> IrqLine {
        let line = self.irqchip.line(source);
        self.lines.push((source, line.state()));
        line
    }

    /// What is wired to the interrupt controller, by source.
    fn interrupts(&self) -> Vec<Interrupt> {
        let name =
            |of: u32| self.sources.iter().find(|(source, _)| *source == of).map_or("", |(_, name)| name).to_owned();
        let lines = self.lines.iter().map(|(source, line)| (*source, Arc::clone(line)));
        let mut all: Vec<_> = lines.map(|(source, line)| Interrupt { source, device: name(source), line }).collect();
        all.sort_by_key(|interrupt| interrupt.source);
        all
    }
}

impl Board {
    /// The board `virt`. `m_mode` machines have what M-mode software expects below the kernel.
    pub fn virt(
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
        let (aia, guests, offer) = (config.board.aia, config.board.aia_guests, config.board.irqchip);
        let request = Request { aia, guests, offer, m_mode, harts, wires: &wires, ram: &ram };
        let irqchip = Irqchip::new(&request, &mut phandles);
        let finisher_phandle = phandles.allocate();
        let mut w = Wiring {
            bus: MmioBus::new(),
            devices: Vec::new(),
            irqchip,
            soc: Vec::new(),
            lines: Vec::new(),
            sources: Vec::new(),
        };

        let rtc = GoldfishRtc::new(rtc_base(config.rtc), RtcClock::Host, w.line(irq::RTC), services.timers);
        let rtc = rtc.map_err(BoardError::Rtc)?;
        w.attach(rtc, w.at(map::RTC, irq::RTC))?;
        let serial = SerialPort::new(&backends.serial, w.line(irq::UART)).map_err(BoardError::Serial)?;
        w.attach(Arc::clone(&serial) as _, w.at(map::UART, irq::UART))?;
        let htif = m_mode && config.board.htif;
        let htif = htif.then(|| {
            Htif::new(Arc::clone(&ram), HtifConsole::Port(Arc::clone(&serial)), Arc::clone(&services.control))
        });
        let at = Placement { phandle: Some(finisher_phandle), ..w.at(map::FINISHER, 0) };
        w.attach(Arc::new(Finisher::new(Arc::clone(&services.control))), at)?;
        attach_virtio(&mut w, backends.virtio, config.force_legacy, &ram)?;
        for (chip, at) in std::mem::take(&mut w.irqchip.chips) {
            w.attach(chip, at)?;
        }
        if m_mode {
            attach_timers(&mut w, &config.board, harts, &phandles, &wires)?;
        }
        let mrom = Arc::new(Mrom::new(map::MROM.size));
        w.attach_silently(Arc::clone(&mrom) as _, map::MROM.base)?;
        let flash = attach_flash(&mut w, backends.flash)?;

        let mut root_nodes =
            vec![syscon_node("poweroff", 0x5555, finisher_phandle), syscon_node("reboot", 0x7777, finisher_phandle)];
        root_nodes.extend(flash);
        if m_mode {
            root_nodes.extend(pmu_node(&config.isa));
        }
        let interrupts = w.interrupts();
        let description = BoardDescription {
            compatible: "riscv-virtio".into(),
            model: "riscv-virtio,qemu".into(),
            ram_base: map::RAM_BASE,
            ram_size: config.ram_size,
            harts: hart_descriptions(config.topology),
            isa: isa_description(&config.isa),
            timebase_frequency: clock.frequency() as u32,
            chosen: Chosen { stdout_path: Some(serial_path()), ..Chosen::default() },
            root_nodes,
            soc_nodes: w.soc,
            aliases: vec![("serial0".into(), serial_path())],
        };
        let (imsics, engine_chips) = (w.irqchip.imsics.take(), w.irqchip.engine.take());
        let bus = Arc::new(BoardBus::new(w.bus, htif, backends.semihosting));
        let (console, devices) = (serial as _, w.devices);
        Ok(Self {
            ram,
            bus,
            wires,
            clock,
            console,
            mrom,
            imsics,
            engine_chips,
            interrupts,
            devices,
            late_nodes: Vec::new(),
            description,
            phandles,
        })
    }
}

fn serial_path() -> String {
    format!("/soc/serial@{:x}", map::UART.base)
}

/// Transports from the last one down, as QEMU's tree has them: Linux numbers disks in this order.
fn attach_virtio(
    w: &mut Wiring,
    mut devices: Vec<(String, u8, Box<dyn VirtioDevice>)>,
    legacy: bool,
    ram: &Arc<GuestRam>,
) -> Result<(), BoardError> {
    for slot in (0..map::VIRTIO_COUNT).rev() {
        let name = format!("virtio-mmio.{slot}");
        let device = devices.iter().position(|(_, s, _)| *s == slot).map(|i| devices.swap_remove(i));
        let transport = match device {
            Some((id, _, device)) => VirtioMmio::new(name, device, legacy, Arc::clone(ram), w.line(irq::virtio(slot)))
                .map_err(|source| BoardError::Virtio { id, source })?,
            None => VirtioMmio::empty(name, legacy),
        };
        let at = w.at(map::virtio(slot), irq::virtio(slot));
        w.attach(Arc::new(transport), at)?;
    }
    Ok(())
}

/// The CLINT, or its parts under other names with `aclint=on`. Beside IMSICs, which take software interrupts as
/// messages, the ACLINT is its timer alone, and that stands where the CLINT would.
fn attach_timers(
    w: &mut Wiring,
    board: &BoardOptions,
    harts: u32,
    phandles: &Phandles,
    wires: &Arc<HartWires>,
) -> Result<(), BoardError> {
    let lines = || Arc::clone(wires) as _;
    let to = |irqs: &[u32]| {
        (0..harts).flat_map(|h| irqs.iter().flat_map(move |irq| [phandles.intc(h), *irq])).collect::<Vec<_>>()
    };
    let mut attach = |device: Arc<dyn MmioDevice>, window, irqs: &[u32]| {
        let at = Placement { interrupts_extended: to(irqs), ..w.at(window, 0) };
        w.attach(device, at)
    };
    const MSIP: u32 = 3;
    const MTIP: u32 = 7;
    const SSIP: u32 = 1;
    if !board.aclint {
        return attach(Arc::new(Clint::new(0, harts, lines())), map::CLINT, &[MSIP, MTIP]);
    }
    if board.aia == Aia::AplicImsic {
        let window = Window { base: map::CLINT.base, ..map::MTIMER };
        return attach(Arc::new(Mtimer::new(0, harts, lines())), window, &[MTIP]);
    }
    attach(Arc::new(Mswi::new(0, harts, lines())), map::MSWI, &[MSIP])?;
    attach(Arc::new(Mtimer::new(0, harts, lines())), map::MTIMER, &[MTIP])?;
    attach(Arc::new(Sswi::new(0, harts, lines())), map::SSWI, &[SSIP])
}

/// Both banks; their common node is not in `/soc`.
fn attach_flash(w: &mut Wiring, images: [FlashImage; 2]) -> Result<Vec<Node>, BoardError> {
    let mut nodes = Vec::new();
    for (n, image) in (0u32..).zip(images) {
        let base = map::FLASH.base + u64::from(n) * map::FLASH.size;
        // The first bank's node tells of both.
        let flash = Arc::new(CfiFlash::new(format!("virt.flash{n}"), image, if n == 0 { 2 } else { 0 }));
        nodes.extend(flash.fdt(&w.at(Window { base, ..map::FLASH }, 0)).into_iter().map(node));
        w.attach_silently(flash, base)?;
    }
    Ok(nodes)
}

fn syscon_node(name: &str, value: u32, finisher: u32) -> Node {
    Node::new(name)
        .with("value", &value)
        .with("offset", &0u32)
        .with("regmap", &finisher)
        .with("compatible", format!("syscon-{name}").as_str())
}

/// What M-mode firmware needs to know of the counters: which of them count which event, by ranges of SBI's event
/// numbers. The selectors are these numbers.
fn pmu_node(isa: &arch::ext::IsaConfig) -> Option<Node> {
    use arch::csr::event;
    let programmable = if isa.has(arch::ext::Ext::Zihpm) { isa.pmu_counters } else { 0 };
    let counters = |event| match event {
        event::CYCLES => programmable | 1 << 0,
        event::INSTRUCTIONS => programmable | 1 << 2,
        _ => programmable,
    };
    let cells: Vec<u32> = event::ALL.iter().flat_map(|&e| [e as u32, e as u32, counters(e)]).collect();
    let node = Node::new("pmu").with("riscv,event-to-mhpmcounters", &cells[..]).with("compatible", "riscv,pmu");
    (programmable != 0).then_some(node)
}

fn rtc_base(base: config::RtcBase) -> RtcBase {
    match base {
        config::RtcBase::Utc => RtcBase::Utc,
        config::RtcBase::LocalTime => RtcBase::LocalTime,
        config::RtcBase::Fixed(seconds) => RtcBase::Date(seconds),
    }
}
