//! What every board is once it is built: memory, a bus with its chips, wires to the harts and a device tree. Each
//! board's `wire.rs` makes one.

use std::sync::Arc;

use accel::semihost::Semihosting;
use accel::{Clock, GuestRam};
use arch::ext::{Ext, IsaConfig};
use devices::chardev::{Chardev, ChardevError};
use devices::fdt::{FdtNode, FdtValue, Placement};
use devices::misc::{FlashImage, Htif, MachineControl, Mrom, TimerService};
use devices::serial::SerialPort;
use devices::virtio::VirtioDevice;
use devices::{LineState, MmioDevice};
use firmware::boot::Symbols;
use firmware::fdt::{DeviceTree, Node};
use firmware::machine_tree::{BoardDescription, Chosen, HartDescription, IsaDescription, Phandles};

use crate::board::engine_chips::EngineChips;
use crate::board::imsics::Imsics;
use crate::board::wires::{BoardBus, HartWires};
use crate::config::Topology;

/// Why a board cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    #[error("cannot make the real-time clock's timer")]
    Rtc(#[source] std::io::Error),
    #[error("cannot connect the serial port")]
    Serial(#[source] ChardevError),
    #[error("cannot put a device on the bus")]
    Bus(#[from] devices::bus::BusError),
    #[error("cannot make the transport of device '{id}'")]
    Virtio { id: String, source: std::io::Error },
}

/// What the board's chips are connected to outside of it.
pub struct Backends {
    /// Behind the console.
    pub serial: Arc<Chardev>,
    /// By bank; for boards that have flash.
    pub flash: [FlashImage; 2],
    /// Id, slot and device; for boards that have transports.
    pub virtio: Vec<(String, u8, Box<dyn VirtioDevice>)>,
    /// Who answers bare programs' calls to the host.
    pub semihosting: Option<Box<dyn Semihosting>>,
}

/// The services a board takes from the machine around it.
pub struct Services<'a> {
    pub control: Arc<dyn MachineControl>,
    pub timers: &'a dyn TimerService,
}

/// The console's chip as the built-in SBI shares it with the guest. Both calls return how many bytes.
pub trait FirmwareConsole: Send + Sync {
    /// Sends bytes, as many as there is room for now.
    fn console_write(&self, bytes: &[u8]) -> usize;
    /// Takes bytes that have come, as many as `buf` holds.
    fn console_read(&self, buf: &mut [u8]) -> usize;
}

impl FirmwareConsole for SerialPort {
    fn console_write(&self, bytes: &[u8]) -> usize {
        SerialPort::console_write(self, bytes)
    }

    fn console_read(&self, buf: &mut [u8]) -> usize {
        SerialPort::console_read(self, buf)
    }
}

impl FirmwareConsole for Htif {
    fn console_write(&self, bytes: &[u8]) -> usize {
        Htif::console_write(self, bytes)
    }

    fn console_read(&self, buf: &mut [u8]) -> usize {
        Htif::console_read(self, buf)
    }
}

/// A wire into the interrupt controller, and the device at its other end.
pub struct Interrupt {
    pub source: u32,
    pub device: String,
    pub line: Arc<LineState>,
}

/// A board with everything on it.
pub struct Board {
    pub ram: Arc<GuestRam>,
    pub bus: Arc<BoardBus>,
    pub wires: Arc<HartWires>,
    pub clock: Arc<Clock>,
    pub console: Arc<dyn FirmwareConsole>,
    pub mrom: Arc<Mrom>,
    pub imsics: Option<Arc<Imsics>>,
    /// The interrupt controllers that may be the engine's.
    pub engine_chips: Option<Arc<EngineChips>>,
    /// By source.
    pub interrupts: Vec<Interrupt>,
    /// All of the bus, for resets.
    pub(super) devices: Vec<Arc<dyn MmioDevice>>,
    /// Devices in the root of the device tree whose nodes depend on what is loaded.
    pub(super) late_nodes: Vec<(Arc<dyn MmioDevice>, Placement)>,
    /// Its `/chosen` names the console.
    pub(super) description: BoardDescription,
    pub(super) phandles: Phandles,
}

impl Board {
    /// What the guest's programs tell of themselves: where the host interface is, if the board has one.
    pub fn take_symbols(&self, symbols: &Symbols) {
        if let (Some(htif), Some(tohost)) = (&self.bus.htif, symbols.tohost) {
            htif.bind(tohost, symbols.fromhost);
        }
    }

    /// The machine's device tree with these contents of `/chosen`, but for the console.
    pub fn tree(&self, chosen: Chosen) -> DeviceTree {
        let mut board = self.description.clone();
        board.chosen = Chosen { stdout_path: board.chosen.stdout_path, ..chosen };
        board.root_nodes.extend(self.late_nodes.iter().flat_map(|(device, at)| device.fdt(at)).map(node));
        board.tree(&self.phandles)
    }

    /// Devices with threads of their own stop where they are. The harts are stopped.
    pub fn stop(&self) {
        self.devices.iter().for_each(|d| d.pause());
    }

    /// They go on.
    pub fn resume(&self) {
        self.devices.iter().for_each(|d| d.resume());
    }

    /// Every chip to its power-on state. The harts are stopped.
    pub fn reset(&self) {
        self.devices.iter().for_each(|d| d.reset());
        if let Some(htif) = &self.bus.htif {
            htif.reset();
        }
    }
}

/// Hart ids count threads first, then cores, clusters and sockets.
pub fn hart_descriptions(t: Topology) -> Vec<HartDescription> {
    let describe = |id| {
        let (core, thread) = (id / t.threads, id % t.threads);
        let (cluster, core) = (core / t.cores, core % t.cores);
        let (socket, cluster) = (cluster / t.clusters, cluster % t.clusters);
        HartDescription { id, socket, cluster, core, thread }
    };
    (0..t.harts()).map(describe).collect()
}

/// What the device tree says of a hart's ISA.
pub fn isa_description(isa: &IsaConfig) -> IsaDescription {
    let block = |ext, size: u16| isa.has(ext).then_some(u32::from(size));
    IsaDescription {
        isa: isa.isa_string(),
        base: isa.isa_base().to_owned(),
        extensions: isa.isa_extensions().into_iter().map(str::to_owned).collect(),
        mmu_type: isa.mmu_type().to_owned(),
        cbom_block_size: block(Ext::Zicbom, isa.cbom_block),
        cbop_block_size: block(Ext::Zicbop, isa.cbop_block),
        cboz_block_size: block(Ext::Zicboz, isa.cboz_block),
    }
}

/// A device's plain node as firmware writes it.
pub fn node(plain: FdtNode) -> Node {
    let mut node = Node::new(plain.name);
    for (name, value) in plain.properties {
        match value {
            FdtValue::Empty => node.set(&name, &()),
            FdtValue::U32(v) => node.set(&name, &v),
            FdtValue::U64(v) => node.set(&name, &v),
            FdtValue::Cells(v) => node.set(&name, &v[..]),
            FdtValue::Str(v) => node.set(&name, v.as_str()),
            FdtValue::Strs(v) => node.set(&name, &v[..]),
            FdtValue::Bytes(v) => node.set_bytes(&name, v),
        }
    }
    node.children = plain.children.into_iter().map(self::node).collect();
    node
}
