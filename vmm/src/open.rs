//! From configuration to open files: character devices, disks, flash images, networks.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use accel::semihost::Semihosting;
use devices::backend::block::{self, AioMode, BlockError, BlockOptions, Image, ImageLock, RawImage};
use devices::backend::net::NetBackend;
use devices::backend::tap::{Tap, TapError};
use devices::chardev::{BackendConfig, Chardev, ChardevConfig, ChardevError};
use devices::misc::{FlashError, FlashImage};
use devices::netuser::{UserNet, UserNetError};
use devices::virtio::blk::{BlkConfig, BlkConfigError, BlkStats, VirtioBlk};
use devices::virtio::console::{ConsoleConfigError, PortConfig, VirtioConsole};
use devices::virtio::input::{Keys, VirtioKeyboard};
use devices::virtio::net::{Link, NetConfigError, VirtioNet};
use devices::virtio::rng::{RngSource, VirtioRng};
use devices::virtio::{self, VirtioDevice};

use crate::board::assembly::Backends;
use crate::config::{
    Aio, BlockConfig, CacheMode, ConsoleConfig, ConsolePort, DriveConfig, Incoming, MachineConfig, NetBackendConfig,
    NetConfig, RngConfig, SemihostingConfig, TapConfig, VirtioKind,
};
use crate::control::Control;
use crate::disk_errors::Ears;
use crate::semihosting;
use crate::snapshot::Disk;

/// Why something outside of the machine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Chardev(#[from] ChardevError),
    #[error("cannot open drive '{id}'")]
    Drive { id: String, source: BlockError },
    #[error("cannot open flash drive '{id}'")]
    Flash { id: String, source: FlashError },
    #[error("device '{id}'")]
    Block { id: String, source: BlkConfigError },
    #[error("cannot start network '{id}'")]
    UserNet { id: String, source: UserNetError },
    #[error("cannot start network '{id}'")]
    Tap { id: String, source: TapError },
    #[error("cannot run network script '{}'", path.display())]
    Script { path: PathBuf, source: std::io::Error },
    #[error("device '{id}'")]
    Net { id: String, source: NetConfigError },
    #[error("device '{id}'")]
    Console { id: String, source: ConsoleConfigError },
    #[error("device '{id}': cannot make an event descriptor")]
    Keyboard { id: String, source: std::io::Error },
    #[error("cannot open entropy source '{}'", path.display())]
    Rng { path: PathBuf, source: std::io::Error },
    #[error("device '{id}' is not supported by vireo yet: {what}")]
    NotYet { id: String, what: &'static str },
}

/// All character devices of a machine.
pub struct Chardevs {
    all: Vec<Arc<Chardev>>,
    /// Behind the UART.
    pub serial: Arc<Chardev>,
}

impl Chardevs {
    pub fn open(config: &MachineConfig) -> Result<Self, OpenError> {
        let mut all = config.chardevs.iter().map(Chardev::open).collect::<Result<Vec<_>, _>>()?;
        let wanted = config.serial.as_deref();
        let serial = match wanted.and_then(|id| all.iter().find(|c| c.id() == id)) {
            Some(serial) => Arc::clone(serial),
            None => {
                let null = Chardev::open(&ChardevConfig::new("null", BackendConfig::Null))?;
                all.push(Arc::clone(&null));
                null
            }
        };
        Ok(Self { all, serial })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Chardev>> {
        self.all.iter()
    }

    /// One more, while the machine runs.
    pub fn add(&mut self, chardev: Arc<Chardev>) {
        self.all.push(chardev);
    }

    /// Nobody uses it any more.
    pub fn remove(&mut self, id: &str) {
        self.all.retain(|chardev| chardev.id() != id);
    }

    /// The configuration was checked: ids that are named exist.
    pub fn find(&self, id: &str) -> &Arc<Chardev> {
        self.all.iter().find(|c| c.id() == id).expect("character devices that others name exist")
    }
}

/// What stays of opening as long as the machine.
#[derive(Default)]
pub struct Kept {
    pub down_scripts: Vec<DownScript>,
    pub keyboards: Vec<Arc<Keys>>,
    /// By the card's id.
    pub links: BTreeMap<String, Arc<Link>>,
    /// By the drive's id.
    pub disk_stats: BTreeMap<String, Arc<BlkStats>>,
    /// Bytes of images, by the drive's id: where a name leads to may change.
    pub image_sizes: BTreeMap<String, u64>,
    /// What the guest may write to, and snapshots may have to keep.
    pub disks: Vec<Disk>,
}

/// Everything the board is connected to.
pub fn backends(
    config: &MachineConfig,
    chardevs: &Chardevs,
    control: &Arc<Control>,
) -> Result<(Backends, Kept), OpenError> {
    let mut kept = Kept::default();
    // Flash images are files, and so may drives be that no device opens.
    for d in &config.drives {
        let file = std::fs::metadata(&d.file).ok().filter(std::fs::Metadata::is_file);
        kept.image_sizes.extend(file.map(|file| (d.id.clone(), file.len())));
    }
    let flash = |bank: usize| match &config.flash[bank] {
        Some(id) => flash_image(drive(config, id)),
        None => Ok(FlashImage::erased()),
    };
    // What is programmed into other banks is the chips' own state.
    for d in config.flash.iter().flatten().map(|id| drive(config, id)).filter(|d| !d.readonly && !d.snapshot) {
        let options = BlockOptions { locking: false, ..BlockOptions::default() };
        let image =
            RawImage::open(&d.file, &options).map_err(|source| OpenError::Drive { id: d.id.clone(), source })?;
        kept.disks.push(Disk { id: d.id.clone(), image: Image::Raw(Arc::new(image)) });
    }
    let mut virtio = Vec::new();
    for v in &config.virtio {
        let id = v.id.clone();
        let device: Box<dyn VirtioDevice> = match &v.kind {
            VirtioKind::Block(b) => {
                let drive = drive(config, &b.drive);
                let (mut disk, image) = disk(&id, b, drive, config.topology.harts())?;
                disk.tell_errors(Arc::new(Ears::new(&b.drive, &id, control)));
                kept.disk_stats.insert(b.drive.clone(), disk.stats());
                kept.image_sizes.insert(b.drive.clone(), image.len());
                kept.disks.extend((!drive.readonly).then(|| Disk { id: drive.id.clone(), image }));
                Box::new(disk)
            }
            VirtioKind::Rng(r) => Box::new(rng(&id, r)?),
            VirtioKind::Net(n) => {
                let card = card(&id, n, config, &mut kept.down_scripts)?;
                kept.links.insert(id.clone(), card.link());
                Box::new(card)
            }
            VirtioKind::Console(c) => Box::new(console(&id, c, chardevs)?),
            VirtioKind::Keyboard => {
                let keyboard =
                    VirtioKeyboard::new(&id).map_err(|source| OpenError::Keyboard { id: id.clone(), source })?;
                kept.keyboards.push(keyboard.keys());
                Box::new(keyboard)
            }
        };
        virtio.push((id, v.slot, device));
    }
    let semihosting = config.semihosting.as_ref();
    let semihosting = semihosting.map(|s| semihost(s, config, chardevs, control)).transpose()?;
    let serial = Arc::clone(&chardevs.serial);
    let backends = Backends { serial, flash: [flash(0)?, flash(1)?], virtio, semihosting };
    Ok((backends, kept))
}

/// Who answers bare programs' calls to the host.
fn semihost(
    s: &SemihostingConfig,
    config: &MachineConfig,
    chardevs: &Chardevs,
    control: &Arc<Control>,
) -> Result<Box<dyn Semihosting>, OpenError> {
    let console = s.chardev.as_ref().map(|id| chardevs.find(id).endpoint()).transpose()?;
    let mut words = s.args.clone();
    if words.is_empty() {
        words.extend(config.boot.kernel.as_ref().map(|path| path.display().to_string()));
        words.extend(Some(config.boot.append.clone()).filter(|text| !text.is_empty()));
    }
    Ok(Box::new(semihosting::Host::new(s.userspace, words.join(" "), console, Arc::clone(control) as _)))
}

/// The configuration was checked: every id that is used is there.
fn drive<'a>(config: &'a MachineConfig, id: &str) -> &'a DriveConfig {
    config.drives.iter().find(|d| d.id == id).expect("drives that devices name exist")
}

fn block_options(d: &DriveConfig) -> BlockOptions {
    BlockOptions {
        read_only: d.readonly,
        cache: match d.cache {
            CacheMode::WriteBack => block::CacheMode::Writeback,
            CacheMode::WriteThrough => block::CacheMode::Writethrough,
            CacheMode::None => block::CacheMode::None,
            CacheMode::DirectSync => block::CacheMode::Directsync,
            CacheMode::Unsafe => block::CacheMode::Unsafe,
        },
        aio: match d.aio {
            Aio::Auto => AioMode::Auto,
            Aio::Threads => AioMode::Threads,
            Aio::IoUring => AioMode::IoUring,
        },
        discard: d.discard,
        snapshot: d.snapshot,
        // They are the machine's: a guest that moves away gives them up.
        locking: false,
    }
}

/// The locks of the images behind a machine's disks and flash banks.
#[derive(Debug, Default)]
pub struct ImageLocks {
    /// The drive's id, its file, and whether it is written to.
    images: Vec<(String, PathBuf, bool)>,
    held: Vec<ImageLock>,
}

impl ImageLocks {
    /// None is held yet.
    pub fn new(config: &MachineConfig) -> Self {
        let disks = config.virtio.iter().filter_map(|v| match &v.kind {
            VirtioKind::Block(b) => Some(drive(config, &b.drive)),
            VirtioKind::Net(_) | VirtioKind::Rng(_) | VirtioKind::Console(_) | VirtioKind::Keyboard => None,
        });
        let banks = config.flash.iter().flatten().map(|id| drive(config, id));
        let image = |d: &DriveConfig| (d.id.clone(), d.file.clone(), !d.readonly && !d.snapshot);
        Self { images: disks.chain(banks).map(image).collect(), held: Vec::new() }
    }

    /// All of them, or none.
    pub fn take(&mut self) -> Result<(), OpenError> {
        if self.held.len() == self.images.len() {
            return Ok(());
        }
        for (id, path, write) in &self.images {
            let lock = ImageLock::take(path, *write);
            match lock {
                Ok(lock) => self.held.push(lock),
                Err(source) => {
                    self.held.clear();
                    return Err(OpenError::Drive { id: id.clone(), source });
                }
            }
        }
        Ok(())
    }

    /// Somebody else may have the images now, with all that was written to them.
    pub fn release(&mut self) {
        for (lock, (id, ..)) in self.held.drain(..).zip(&self.images).filter(|(_, image)| image.2) {
            if let Err(error) = lock.flush() {
                tracing::warn!("drive '{id}': what was written may not be on the disk: {error}");
            }
        }
    }
}

/// A disk, and its image.
fn disk(id: &str, b: &BlockConfig, d: &DriveConfig, harts: u32) -> Result<(VirtioBlk, Image), OpenError> {
    let options = block_options(d);
    let opened = block::open_image(&d.file, &options);
    let (backend, image) = opened.map_err(|source| OpenError::Drive { id: d.id.clone(), source })?;
    let block_size = b.logical_block_size.unwrap_or(512);
    let config = BlkConfig {
        serial: b.serial.clone(),
        read_only: d.readonly,
        // More queues than harts are never used, and one worker serves them all.
        queues: b.num_queues.unwrap_or(harts.clamp(1, 4) as u16),
        queue_size: b.queue_size,
        logical_block_size: block_size,
        physical_block_size: block_size,
        write_cache: b.write_cache.unwrap_or(options.cache.write_cache()),
        discard: b.discard,
        write_zeroes: b.write_zeroes,
        on_error: b.on_error.policy(d.on_error),
        ..BlkConfig::default()
    };
    let disk = VirtioBlk::new(id, backend, config).map_err(|source| OpenError::Block { id: id.to_owned(), source })?;
    Ok((disk, image))
}

fn card(id: &str, n: &NetConfig, config: &MachineConfig, down: &mut Vec<DownScript>) -> Result<VirtioNet, OpenError> {
    let netdev = config.netdevs.iter().find(|d| d.id == n.netdev).expect("networks that devices name exist");
    let backend: Box<dyn NetBackend> = match &netdev.backend {
        NetBackendConfig::User(user) => {
            // A file's or a program's guest is nowhere else; another's may have the ports still.
            let elsewhere = match &config.incoming {
                Some(Incoming::Deferred) => true,
                Some(Incoming::From(channel)) => channel.is_answered(),
                None => false,
            };
            let start = if elsewhere { UserNet::start_waiting } else { UserNet::start };
            let net = start((**user).clone()).map_err(|source| OpenError::UserNet { id: netdev.id.clone(), source })?;
            for (rule, address) in user.host_fwd.iter().zip(net.forwarded()) {
                if rule.host.port() == 0 {
                    eprintln!("vireo: network '{}' forwards {address} to guest port {}", netdev.id, rule.guest_port);
                }
            }
            Box::new(net)
        }
        NetBackendConfig::Tap(t) => Box::new(tap(&netdev.id, t, down)?),
    };
    let properties = virtio::net::NetConfig {
        mac: n.mac,
        rx_queue_size: n.rx_queue_size,
        tx_queue_size: n.tx_queue_size,
        without: n.without,
        mtu: n.mtu,
    };
    VirtioNet::new(id, backend, properties).map_err(|source| OpenError::Net { id: id.to_owned(), source })
}

fn tap(id: &str, t: &TapConfig, down: &mut Vec<DownScript>) -> Result<Tap, OpenError> {
    let fail = |source| OpenError::Tap { id: id.to_owned(), source };
    let tap = match t.fd {
        // SAFETY: the user says that this descriptor was opened for us; nothing else in the program uses it,
        // and `from_fd` finds out whether it is a tap at all.
        Some(fd) => Tap::from_fd(unsafe { OwnedFd::from_raw_fd(fd) }).map_err(fail)?,
        None => Tap::open(t.ifname.as_deref()).map_err(fail)?,
    };
    if let Some(script) = &t.script {
        run_script(script, tap.name()).map_err(|source| OpenError::Script { path: script.clone(), source })?;
    }
    if let Some(script) = &t.downscript {
        down.push(DownScript { script: script.clone(), interface: tap.name().to_owned() });
    }
    Ok(tap)
}

fn run_script(script: &Path, interface: &str) -> std::io::Result<()> {
    let status = Command::new(script).arg(interface).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("it ended with {status}"))) }
}

/// `downscript=`, run when the machine ends.
pub struct DownScript {
    script: PathBuf,
    interface: String,
}

impl Drop for DownScript {
    fn drop(&mut self) {
        if let Err(error) = run_script(&self.script, &self.interface) {
            tracing::warn!("cannot run '{}': {error}", self.script.display());
        }
    }
}

fn console(id: &str, c: &ConsoleConfig, chardevs: &Chardevs) -> Result<VirtioConsole, OpenError> {
    let port = |p: &ConsolePort| {
        let endpoint = Some(chardevs.find(&p.chardev).endpoint()?);
        Ok(PortConfig { nr: p.nr, name: p.name.clone(), console: p.console, endpoint })
    };
    let ports = c.ports.iter().map(port).collect::<Result<Vec<_>, ChardevError>>()?;
    let new = VirtioConsole::new(id, c.max_ports, ports, None);
    new.map_err(|source| OpenError::Console { id: id.to_owned(), source })
}

fn rng(id: &str, r: &RngConfig) -> Result<VirtioRng, OpenError> {
    if r.limit.is_some() {
        return Err(OpenError::NotYet { id: id.to_owned(), what: "a rate limit (max-bytes)" });
    }
    let source = match &r.source {
        None => RngSource::Host,
        Some(path) => {
            RngSource::File(File::open(path).map_err(|source| OpenError::Rng { path: path.clone(), source })?)
        }
    };
    Ok(VirtioRng::new(id, source))
}

fn flash_image(d: &DriveConfig) -> Result<FlashImage, OpenError> {
    let image = match (d.snapshot, d.readonly) {
        (true, _) => FlashImage::snapshot(&d.file),
        (false, true) => FlashImage::read_only(&d.file),
        (false, false) => FlashImage::read_write(&d.file),
    };
    image.map_err(|source| OpenError::Flash { id: d.id.clone(), source })
}
