//! virtio devices, and what is behind them on the host.

use std::path::PathBuf;
use std::time::Duration;

use devices::netuser::UserNetConfig;
use devices::virtio::blk::{ErrorPolicy, OnError};

/// An image file that devices refer to by `id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveConfig {
    pub id: String,
    pub file: PathBuf,
    pub readonly: bool,
    /// Writes go to a temporary file and are forgotten at exit.
    pub snapshot: bool,
    pub cache: CacheMode,
    /// Discard requests free space in the image.
    pub discard: bool,
    pub aio: Aio,
    pub on_error: OnErrors,
}

/// `rerror=` and `werror=`, where given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OnErrors {
    pub read: Option<OnError>,
    pub write: Option<OnError>,
}

impl OnErrors {
    /// What holds for a disk: its own, else the drive's, else the usual.
    pub fn policy(self, drive: Self) -> ErrorPolicy {
        let usual = ErrorPolicy::default();
        ErrorPolicy {
            read: self.read.or(drive.read).unwrap_or(usual.read),
            write: self.write.or(drive.write).unwrap_or(usual.write),
        }
    }
}

/// `cache=`: what a write that the guest sees as done has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// The host's page cache; the guest flushes.
    #[default]
    WriteBack,
    /// The disk, after every write.
    WriteThrough,
    /// Past the host's page cache (`O_DIRECT`); the guest flushes.
    None,
    /// Past the host's page cache, and the disk after every write.
    DirectSync,
    /// The host's page cache; flushes are ignored.
    Unsafe,
}

/// `aio=`: how requests reach the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aio {
    /// io_uring where the host has it, else threads.
    #[default]
    Auto,
    Threads,
    IoUring,
}

/// A network's host side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetdevConfig {
    pub id: String,
    pub backend: NetBackendConfig,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetBackendConfig {
    User(Box<UserNetConfig>),
    Tap(TapConfig),
}

/// `-netdev tap`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TapConfig {
    /// The interface; `None`: the kernel chooses a name.
    pub ifname: Option<String>,
    /// A descriptor that was opened by the caller.
    pub fd: Option<i32>,
    /// Programs run with the interface's name when it comes up and goes down.
    pub script: Option<PathBuf>,
    pub downscript: Option<PathBuf>,
    /// Leave checksums and segmentation to the host.
    pub vnet_hdr: bool,
}

/// A device on a virtio-mmio transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtioConfig {
    /// `id=`, or one made up for messages.
    pub id: String,
    /// 0..8: transport `virtio-mmio-bus.N`.
    pub slot: u8,
    pub kind: VirtioKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VirtioKind {
    Block(BlockConfig),
    Net(NetConfig),
    Rng(RngConfig),
    Keyboard,
    Console(ConsoleConfig),
}

/// `-device virtio-blk-device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockConfig {
    /// A drive's id.
    pub drive: String,
    /// At most 20 bytes.
    pub serial: String,
    /// `None`: as many as suit the machine.
    pub num_queues: Option<u16>,
    pub queue_size: u16,
    pub discard: bool,
    pub write_zeroes: bool,
    /// Whether the guest sees a volatile write cache; `None`: as the drive's cache mode has it.
    pub write_cache: Option<bool>,
    /// Bytes; `None`: 512.
    pub logical_block_size: Option<u32>,
    pub on_error: OnErrors,
}

/// `-device virtio-net-device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetConfig {
    /// A netdev's id.
    pub netdev: String,
    pub mac: [u8; 6],
    /// Feature bits not to offer, as the specification numbers them.
    pub without: u64,
    pub rx_queue_size: u16,
    pub tx_queue_size: u16,
    pub mtu: Option<u16>,
}

/// `-device virtio-rng-device`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RngConfig {
    /// `None`: the host's getrandom(2).
    pub source: Option<PathBuf>,
    /// At most this many bytes in each period.
    pub limit: Option<(u64, Duration)>,
}

/// `-device virtio-serial-device` with its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleConfig {
    /// 1 to 31; port numbers are below it.
    pub max_ports: u32,
    pub ports: Vec<ConsolePort>,
}

/// `-device virtconsole` or `-device virtserialport`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsolePort {
    /// The port's number; 0 is a console.
    pub nr: u32,
    pub chardev: String,
    /// Shown to the guest, for ports.
    pub name: String,
    /// A console (hvc) rather than a plain port.
    pub console: bool,
}
