//! The machine as the user asked for it: plain, validated, and all that the rest of the program sees of the
//! command line.

mod memory;
mod virtio;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use accel::IrqchipOffer;
use accel::kvm::options::KvmOptions;
use accel::tcg::HostSimd;
use accel::trace::TraceItems;
use arch::ext::IsaConfig;
use devices::chardev::ChardevConfig;

use crate::board::MachineType;
use crate::snapshot::Channel;

pub use memory::{MemoryLock, NUMA_NODES, NumaMode, NumaPolicy, RamBacking, RamConfig, RamFile};
pub use virtio::{
    Aio, BlockConfig, CacheMode, ConsoleConfig, ConsolePort, DriveConfig, NetBackendConfig, NetConfig, NetdevConfig,
    OnErrors, RngConfig, TapConfig, VirtioConfig, VirtioKind,
};

/// The least and the most RAM of a machine, in bytes. The most is what an Sv39 kernel can address with
/// room to spare for devices.
pub const RAM_MIN: u64 = 2 << 20;
pub const RAM_MAX: u64 = 512 << 30;
/// The most harts the board's interrupt controllers have room for.
pub const HARTS_MAX: u32 = 512;
/// virtio-mmio transports of the board.
pub const VIRTIO_SLOTS: u8 = 8;

/// Everything about one machine.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// `-name`: shown in messages.
    pub name: Option<String>,
    /// `-name process=`: what the process is called in `ps`.
    pub process_name: Option<String>,
    pub machine: &'static MachineType,
    pub board: BoardOptions,
    /// Engines in order of preference; empty: the best one that works.
    pub accel: Vec<AccelChoice>,
    /// The argument of `-cpu`, for engines whose harts are the host's.
    pub cpu: Option<String>,
    /// What it means on engines that make their harts; of `-cpu host`, the default.
    pub isa: IsaConfig,
    /// Bytes, a multiple of 4 KiB.
    pub ram_size: u64,
    /// What it is made of.
    pub ram: RamConfig,
    /// `-overcommit mem-lock=`: what of the program's memory the host may not swap out.
    pub lock: MemoryLock,
    pub topology: Topology,
    /// `-smp affinity=`.
    pub affinity: Affinity,
    pub boot: BootConfig,
    pub drives: Vec<DriveConfig>,
    /// `pflash0` and `pflash1`: ids of drives.
    pub flash: [Option<String>; 2],
    pub chardevs: Vec<ChardevConfig>,
    /// The character device behind the UART; `None`: nobody listens.
    pub serial: Option<String>,
    /// `-monitor`, `-mon`, `-gdb`, and the one that shares the terminal with the serial port.
    pub monitors: Vec<MonitorConfig>,
    /// `-S`: the guest waits for a monitor's `cont`.
    pub starts_stopped: bool,
    /// `-incoming`, `-loadvm`: the guest comes from elsewhere.
    pub incoming: Option<Incoming>,
    pub netdevs: Vec<NetdevConfig>,
    /// In slot order as the user gave them.
    pub virtio: Vec<VirtioConfig>,
    /// virtio-mmio transports speak the legacy interface (version 1).
    pub force_legacy: bool,
    pub rtc: RtcBase,
    /// `-icount shift=N`: instructions are the guest's clock; each takes 2^N nanoseconds.
    pub icount: Option<u32>,
    /// `-perfmap`: `perf` learns the names of translated blocks.
    pub perf_map: bool,
    /// `-jitdump`: and their code.
    pub jit_dump: bool,
    /// `-semihosting`: bare programs may call the host.
    pub semihosting: Option<SemihostingConfig>,
    /// What a guest's request to reboot does.
    pub on_reboot: OnReboot,
    /// What a guest's request to power off does.
    pub on_shutdown: OnShutdown,
    pub pidfile: Option<PathBuf>,
    pub log: LogConfig,
}

/// Where a guest comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    From(Channel),
    /// A monitor will say it.
    Deferred,
}

/// A monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorConfig {
    /// The id of its character device.
    pub chardev: String,
    pub mode: MonitorMode,
}

/// What is spoken at a character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonitorMode {
    /// Lines, with a human at the other end.
    Readline,
    /// QMP, with a program there.
    Control {
        /// Answers span lines.
        pretty: bool,
    },
    /// gdb's remote serial protocol.
    Gdb,
}

/// `-semihosting-config`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SemihostingConfig {
    /// Programs in U-mode may call, too.
    pub userspace: bool,
    /// The id of the console; `None`: output goes to standard error.
    pub chardev: Option<String>,
    /// `arg=`, in order; empty: the kernel's name and command line.
    pub args: Vec<String>,
}

/// `-M virt,...`, `-M spike,...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardOptions {
    /// MSWI, MTIMER and SSWI instead of the CLINT; M-mode machines only.
    pub aclint: bool,
    pub aia: Aia,
    /// Guest interrupt files of a hart with `aia=aplic-imsic`.
    pub aia_guests: u8,
    /// Which of the chips are the engine's with `aia=aplic-imsic`: it says so when it is chosen.
    pub irqchip: IrqchipOffer,
    /// Ticks of the `time` CSR a second; `None`: the engine's.
    pub timebase: Option<u32>,
    /// Where snapshots with names are.
    pub snapshots: Option<PathBuf>,
    /// Write the device tree here and exit.
    pub dumpdtb: Option<PathBuf>,
    /// `htif=`: M-mode programs with the symbol `tohost` end through it on boards that have no HTIF, too.
    pub htif: bool,
    /// Write the signature of a test program here when it ends.
    pub signature: Option<PathBuf>,
    /// Bytes in a line of it.
    pub signature_granularity: u8,
}

impl Default for BoardOptions {
    fn default() -> Self {
        Self {
            aclint: false,
            snapshots: None,
            aia: Aia::None,
            aia_guests: 0,
            irqchip: IrqchipOffer::default(),
            timebase: None,
            dumpdtb: None,
            htif: true,
            signature: None,
            // As the ISA simulator has it.
            signature_granularity: 16,
        }
    }
}

/// `aia=`: the interrupt controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aia {
    /// A PLIC.
    #[default]
    None,
    /// An APLIC, with lines into the harts.
    Aplic,
    /// An APLIC, which sends messages to an IMSIC at every hart.
    AplicImsic,
}

/// One engine of `-accel`, with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccelChoice {
    Kvm(KvmOptions),
    Tcg(TcgConfig),
}

/// `-accel tcg,...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcgConfig {
    /// Compile to host code; otherwise the intermediate code is interpreted.
    pub jit: bool,
    /// `tb-size=`: room for translated code, in MiB; `None`: the engine's choice.
    pub code_cache_mib: Option<u32>,
    /// `one-insn-per-tb=on`: blocks of a single instruction, to find translator bugs.
    pub one_insn_per_block: bool,
    /// `x-tlb-entries=`: pages a hart remembers; fewer than the engine's choice finds translator bugs.
    pub tlb_entries: Option<u32>,
    /// `x-evict=`: drop a block at random about every so many turns of the run loop, to find translator bugs.
    pub evict: Option<u32>,
    /// `x-chain=`: link direct jumps between blocks.
    pub chain: bool,
    /// `x-hot=`: times that a jump goes back before the loop is compiled as a whole; 0: never; `None`: the engine's choice.
    pub hot: Option<u32>,
    /// `x-idle-code=`: MiB of code that a hart keeps when it idles; 0: it drops all code whenever it sleeps.
    pub idle_code_mib: Option<u32>,
    /// `x-jump-cache=`: remember where indirect jumps lead.
    pub jump_cache: bool,
    /// `x-host=`: the most that generated code may use of the host's vector instructions; `None`: all there is.
    pub host: Option<HostSimd>,
}

impl Default for TcgConfig {
    fn default() -> Self {
        Self {
            jit: true,
            code_cache_mib: None,
            one_insn_per_block: false,
            tlb_entries: None,
            evict: None,
            chain: true,
            hot: None,
            idle_code_mib: None,
            jump_cache: true,
            host: None,
        }
    }
}

/// How the harts are grouped. The product is the number of harts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    pub sockets: u32,
    /// In a socket.
    pub clusters: u32,
    /// In a cluster.
    pub cores: u32,
    /// In a core.
    pub threads: u32,
}

impl Default for Topology {
    fn default() -> Self {
        Self { sockets: 1, clusters: 1, cores: 1, threads: 1 }
    }
}

impl Topology {
    pub fn harts(&self) -> u32 {
        self.sockets * self.clusters * self.cores * self.threads
    }
}

/// CPUs of the host, by number, on which a hart's thread may run; harts that are not here run anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Affinity(pub BTreeMap<u32, Vec<u32>>);

/// CPU numbers of the host are below this.
pub const HOST_CPUS_MAX: u32 = 1024;

/// What the guest meets first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootConfig {
    pub bios: Bios,
    pub kernel: Option<PathBuf>,
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub append: String,
    /// A device tree to use instead of the machine's own.
    pub dtb: Option<PathBuf>,
}

/// `-bios`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Bios {
    /// The built-in SBI; the guest starts in S-mode.
    #[default]
    Default,
    /// Nothing: the guest starts in M-mode at the start of RAM or flash.
    None,
    /// M-mode firmware.
    File(PathBuf),
}

impl Bios {
    /// The file that it is.
    pub fn file(&self) -> Option<&Path> {
        if let Self::File(path) = self { Some(path) } else { None }
    }
}

/// What the real-time clock starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RtcBase {
    #[default]
    Utc,
    LocalTime,
    /// Seconds since 1970-01-01 00:00 UTC, at the machine's start.
    Fixed(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnReboot {
    #[default]
    Reset,
    /// `-no-reboot`.
    Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnShutdown {
    #[default]
    Exit,
    /// `-no-shutdown`.
    Pause,
}

/// `-d`, `-dfilter` and `-D`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogConfig {
    /// The items of `-d` by name, in their table's order.
    pub names: Vec<&'static str>,
    /// What to log, as tracing directives.
    pub directives: Vec<String>,
    /// Those of them that are the engine's.
    pub items: TraceItems,
    pub filter: LogFilter,
    /// Where; standard error if `None`.
    pub file: Option<PathBuf>,
}

/// Of which code and harts the engine's items are logged: all, where nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFilter {
    /// `-dfilter`: virtual addresses.
    pub ranges: Vec<RangeInclusive<u64>>,
    /// `hart=`.
    pub harts: Vec<RangeInclusive<u32>>,
    /// `priv=`, as [`mode_bit`](accel::trace::mode_bit) has them; 0: all.
    pub modes: u8,
    /// `symbols=`: what names code besides the kernel, if that is an ELF file.
    pub symbols: Vec<PathBuf>,
}
