//! Load rules: where kernel, initrd, firmware and device tree go, and in which state the harts start.
//!
//! There are two contracts. With the built-in SBI ([`Bios::Builtin`]; the same under `-accel kvm`) the boot hart
//! enters the kernel in S-mode with a0 = hart id and a1 = device tree; the others wait for an SBI call. Otherwise
//! every hart starts at the reset vector in M-mode, as on QEMU's `virt`; the addresses are QEMU's too, but an
//! initrd that would overlap the kernel is moved instead of refused.
//!
//! A [`BootPlan`] is made once and applied at every reset.

use std::ops::Range;
use std::path::PathBuf;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::fdt::{self, DeviceTree, FdtError};
use crate::fw_dynamic::FwDynamicInfo;
use crate::load::{Data, DataError, ElfImage, FileProblem, Firmware, Kernel, open_initrd};
use crate::reset_vector::{self, reset_vector};

const MIB: u64 = 1 << 20;

/// Kernels and the device tree are aligned to it: the size of a megapage.
const ALIGNMENT: u64 = 2 * MIB;

/// Where a kernel goes under the built-in SBI if it does not say; below it a real machine's firmware would sit.
const KERNEL_OFFSET: u64 = 2 * MIB;

/// An initrd stands this far behind the kernel's start, or half of the RAM if that is less.
const INITRD_OFFSET_MAX: u64 = 512 * MIB;

const PAGE: u64 = 4096;

/// What runs below the kernel: `-bios`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bios {
    /// The built-in SBI.
    Builtin,
    /// Nothing: the kernel runs in M-mode.
    None,
    /// M-mode firmware.
    File(PathBuf),
}

/// Where the kernel comes from.
#[derive(Debug, Clone)]
pub enum KernelSource {
    File(PathBuf),
    /// Something built in, with a name for messages.
    Embedded {
        name: &'static str,
        bytes: &'static [u8],
    },
}

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct BootRequest {
    /// Guest physical addresses of the RAM.
    pub ram: Range<u64>,
    pub bios: Bios,
    pub kernel: Option<KernelSource>,
    pub initrd: Option<PathBuf>,
    /// Base of the first flash bank, if a drive is in it.
    pub flash: Option<u64>,
    /// Look for [`Symbols`] in what is loaded.
    pub symbols: bool,
}

/// Addresses that test programs tell by name: guest physical ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Symbols {
    /// The host interface's two doublewords: `tohost` and `fromhost`. Without the second there is only an exit.
    pub tohost: Option<u64>,
    pub fromhost: Option<u64>,
    /// What a test leaves behind: `begin_signature` and `end_signature`.
    pub signature: Option<(u64, u64)>,
}

impl Symbols {
    fn of(image: &ElfImage) -> Result<Self, FileProblem> {
        let names = ["tohost", "fromhost", "begin_signature", "end_signature"];
        let [tohost, fromhost, begin, end] = image.symbols(names)?;
        Ok(Self { tohost, fromhost: fromhost.filter(|_| tohost.is_some()), signature: begin.zip(end) })
    }

    /// What a later file tells goes before what an earlier one did.
    fn update(&mut self, later: Self) {
        if later.tohost.is_some() {
            (self.tohost, self.fromhost) = (later.tohost, later.fromhost);
        }
        self.signature = later.signature.or(self.signature);
    }
}

/// Why a machine cannot be booted as asked.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("cannot load {what}")]
    File { what: String, source: FileProblem },
    #[error(
        "{what} of {size} bytes at {start:#x} does not fit into {ram_mib} MiB of RAM with the rest; \
         at least {need_mib} MiB are needed"
    )]
    TooSmall { what: String, size: u64, start: u64, ram_mib: u64, need_mib: u64 },
    #[error("{what} wants memory at {start:#x}..{end:#x}, outside of RAM at {ram_start:#x}..{ram_end:#x}")]
    Outside { what: String, start: u64, end: u64, ram_start: u64, ram_end: u64 },
    #[error("{a} at {a_start:#x}..{a_end:#x} overlaps {b} at {b_start:#x}..{b_end:#x}")]
    Overlap { a: String, a_start: u64, a_end: u64, b: String, b_start: u64, b_end: u64 },
    #[error("an initrd needs a kernel (-kernel)")]
    InitrdWithoutKernel,
    #[error("there is nothing to run: give a kernel (-kernel), firmware (-bios) or a flash image (if=pflash)")]
    NothingToRun,
    #[error("a kernel (-kernel) and a flash image (if=pflash) together are not supported yet")]
    KernelAndFlash,
    #[error("cannot make the device tree")]
    DeviceTree(#[source] FdtError),
}

/// Privilege mode at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootMode {
    /// The boot hart starts in S-mode, the others are stopped (built-in SBI).
    Supervisor,
    /// Every hart starts in M-mode.
    Machine,
}

/// The registers a hart starts with; all others are as at reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRegisters {
    pub pc: u64,
    pub a0: u64,
    pub a1: u64,
    pub a2: u64,
}

/// Bytes, then zeros, to put into guest RAM.
#[derive(Debug, Clone)]
pub struct Write {
    /// For messages.
    pub what: String,
    /// Guest physical address.
    pub address: u64,
    pub data: Data,
    /// Zero bytes after `data`.
    pub zeros: u64,
}

/// Guest RAM could not be filled.
#[derive(Debug, thiserror::Error)]
#[error("cannot copy {what} to guest memory at {address:#x}")]
pub struct LoadError {
    what: String,
    address: u64,
    source: DataError,
}

impl Write {
    fn load<M: GuestMemoryBackend>(&self, ram: &M) -> Result<(), LoadError> {
        let failed = |source| LoadError { what: self.what.clone(), address: self.address, source };
        self.data.load(ram, self.address).map_err(failed)?;
        let zeros = [0; PAGE as usize];
        let mut at = self.address + self.data.len();
        let end = at + self.zeros;
        while at < end {
            let part = &zeros[..PAGE.min(end - at) as usize];
            ram.write_slice(part, GuestAddress(at)).map_err(|e| failed(DataError::Ram(e)))?;
            at += part.len() as u64;
        }
        Ok(())
    }
}

/// Everything that happens to memory and harts before the guest runs.
#[derive(Debug, Clone)]
pub struct BootPlan {
    /// Kernel, initrd and firmware; ranges do not overlap and are inside of RAM.
    pub writes: Vec<Write>,
    pub mode: BootMode,
    /// The kernel's (or flash's) first instruction under [`BootMode::Supervisor`]; the reset vector otherwise.
    pub pc: u64,
    pub fdt_address: u64,
    /// The device tree's blob; goes to `fdt_address`.
    pub dtb: Vec<u8>,
    /// The boot ROM's contents, to be mapped at [`reset_vector::BASE`]; only under [`BootMode::Machine`].
    pub rom: Option<Vec<u8>>,
    pub initrd: Option<Range<u64>>,
    /// Of firmware and kernel; none unless they were asked for.
    pub symbols: Symbols,
}

/// Writes the machine's device tree, for an initrd's address range and the symbols of what is loaded.
pub type MakeTree<'a> = dyn FnMut(Option<Range<u64>>, &Symbols) -> Result<DeviceTree, FdtError> + 'a;

impl BootPlan {
    /// Decides. `make_dtb` is called twice, and the blob's length must not depend on the initrd's addresses.
    pub fn new(request: &BootRequest, make_dtb: &mut MakeTree<'_>) -> Result<Self, BootError> {
        if request.initrd.is_some() && request.kernel.is_none() {
            return Err(BootError::InitrdWithoutKernel);
        }
        if request.kernel.is_some() && request.flash.is_some() {
            return Err(BootError::KernelAndFlash);
        }
        let mut layout = Layout { want_symbols: request.symbols, ..Layout::new(request.ram.clone()) };

        let firmware = request.load_firmware(&mut layout)?;
        let kernel = request.load_kernel(&mut layout, firmware.as_ref())?;
        let initrd_data = request.open_initrd()?;

        let symbols = layout.symbols;
        let mut blob = |initrd| {
            let tree = make_dtb(initrd, &symbols).map_err(BootError::DeviceTree)?;
            tree.to_dtb().map_err(BootError::DeviceTree)
        };
        let dtb = blob(initrd_data.as_ref().map(|_| 0..0))?;
        let fdt_address = layout.place_fdt(dtb.len() as u64, initrd_data.as_ref().map_or(0, Data::len))?;
        let (initrd, dtb) = match initrd_data {
            None => (None, dtb),
            Some(data) => {
                let start = kernel.as_ref().map_or(request.ram.start, |k| k.start);
                let range = layout.place_initrd(request.initrd_name(), data, start)?;
                let again = blob(Some(range.clone()))?;
                assert_eq!(dtb.len(), again.len(), "a device tree's length depends on the initrd's address");
                (Some(range), again)
            }
        };
        let (mode, pc, rom) = request.entry(firmware.as_ref(), kernel.as_ref(), fdt_address)?;
        for write in &layout.writes {
            let (what, len) = (&write.what, write.data.len());
            tracing::debug!("{what}: {len} bytes and {} zeros at {:#x}", write.zeros, write.address);
        }
        tracing::debug!("device tree: {} bytes at {fdt_address:#x}; start at {pc:#x}, {mode:?}", dtb.len());
        Ok(Self { writes: layout.writes, mode, pc, fdt_address, dtb, rom, initrd, symbols })
    }

    /// How hart `hart` starts. Under [`BootMode::Supervisor`] that is for the boot hart; the others are stopped.
    pub fn registers(&self, hart: u32) -> EntryRegisters {
        match self.mode {
            BootMode::Supervisor => EntryRegisters { pc: self.pc, a0: u64::from(hart), a1: self.fdt_address, a2: 0 },
            // The reset vector fills in the rest.
            BootMode::Machine => EntryRegisters { pc: self.pc, a0: 0, a1: 0, a2: 0 },
        }
    }

    /// Fills guest RAM. Not from two threads at a time.
    pub fn load<M: GuestMemoryBackend>(&self, ram: &M) -> Result<(), LoadError> {
        self.writes.iter().try_for_each(|write| write.load(ram))?;
        ram.write_slice(&self.dtb, GuestAddress(self.fdt_address)).map_err(|e| LoadError {
            what: "the device tree".into(),
            address: self.fdt_address,
            source: DataError::Ram(e),
        })
    }

    /// Replaces `/chosen/rng-seed`, if there is one: every boot of a guest gets its own.
    pub fn reseed(&mut self, seed: [u8; 32]) -> Result<(), FdtError> {
        if let Some(place) = fdt::value_in(&self.dtb, "/chosen", "rng-seed")?.filter(|place| place.len() == seed.len())
        {
            self.dtb[place].copy_from_slice(&seed);
        }
        Ok(())
    }
}

/// Something that was given a place.
#[derive(Debug, Clone, Copy)]
struct Placed {
    /// Lowest address.
    start: u64,
    /// One past the highest.
    end: u64,
    /// Where an ELF file says it starts; the lowest address of anything else.
    entry: u64,
}

impl BootRequest {
    fn kernel_name(&self) -> String {
        match &self.kernel {
            Some(KernelSource::File(path)) => format!("kernel '{}'", path.display()),
            Some(KernelSource::Embedded { name, .. }) => format!("kernel '{name}'"),
            None => "kernel".into(),
        }
    }

    fn initrd_name(&self) -> String {
        format!("initrd '{}'", self.initrd.as_deref().unwrap_or_else(|| "".as_ref()).display())
    }

    fn load_firmware(&self, layout: &mut Layout) -> Result<Option<Placed>, BootError> {
        let Bios::File(path) = &self.bios else { return Ok(None) };
        let what = format!("firmware '{}'", path.display());
        let firmware = Firmware::open(path).map_err(|source| BootError::File { what: what.clone(), source })?;
        match firmware {
            Firmware::Elf(image) => layout.add_elf(&what, image, self.ram.start),
            Firmware::Raw { data } => {
                let len = data.len();
                layout.add_flat(&what, data, self.ram.start, len)
            }
        }
        .map(Some)
    }

    fn load_kernel(&self, layout: &mut Layout, firmware: Option<&Placed>) -> Result<Option<Placed>, BootError> {
        let Some(source) = &self.kernel else { return Ok(None) };
        let what = self.kernel_name();
        let max_len = self.ram.end - self.ram.start;
        let kernel = match source {
            KernelSource::File(path) => Kernel::open(path, max_len),
            KernelSource::Embedded { bytes, .. } => Kernel::recognise(Data::from(*bytes), max_len),
        };
        let kernel = kernel.map_err(|source| BootError::File { what: what.clone(), source })?;
        let text_offset = match &kernel {
            Kernel::Image { header, .. } => header.text_offset,
            _ => 0,
        };
        let start = match (&self.bios, firmware) {
            (Bios::Builtin, _) if text_offset != 0 => self.ram.start.saturating_add(text_offset),
            (Bios::Builtin, _) => self.ram.start + KERNEL_OFFSET,
            (_, Some(firmware)) => firmware.end.next_multiple_of(ALIGNMENT),
            (_, None) => self.ram.start,
        };
        match kernel {
            Kernel::Elf(image) => layout.add_elf(&what, image, start),
            Kernel::Image { header, data } => layout.add_flat(&what, data, start, header.image_size),
            Kernel::Raw { data } => {
                let len = data.len();
                layout.add_flat(&what, data, start, len)
            }
        }
        .map(Some)
    }

    fn open_initrd(&self) -> Result<Option<Data>, BootError> {
        let open = |path: &PathBuf| open_initrd(path);
        let data = self.initrd.as_ref().map(open).transpose();
        data.map_err(|source| BootError::File { what: self.initrd_name(), source })
    }

    /// Mode, pc and boot ROM.
    fn entry(
        &self,
        firmware: Option<&Placed>,
        kernel: Option<&Placed>,
        fdt: u64,
    ) -> Result<(BootMode, u64, Option<Vec<u8>>), BootError> {
        // Where S-mode starts. For an ELF kernel that is its lowest address, not its entry point: kernels may
        // have one of each, for SBI and for other loaders (FreeBSD has).
        let supervisor = kernel.map(|k| k.start).or(self.flash);
        let machine = |start, next_address| {
            let rom = reset_vector(start, fdt, FwDynamicInfo { next_address });
            (BootMode::Machine, reset_vector::BASE, Some(rom.to_vec()))
        };
        match (&self.bios, firmware) {
            (Bios::Builtin, _) => supervisor.map(|pc| (BootMode::Supervisor, pc, None)).ok_or(BootError::NothingToRun),
            (_, Some(firmware)) => Ok(machine(firmware.entry, supervisor.unwrap_or(0))),
            (_, None) => {
                let start = kernel.map(|k| k.entry).or(self.flash).ok_or(BootError::NothingToRun)?;
                Ok(machine(start, 0))
            }
        }
    }
}

/// RAM with what is in it so far.
struct Layout {
    ram: Range<u64>,
    writes: Vec<Write>,
    used: Vec<(String, Range<u64>)>,
    want_symbols: bool,
    symbols: Symbols,
}

impl Layout {
    fn new(ram: Range<u64>) -> Self {
        Self { ram, writes: Vec::new(), used: Vec::new(), want_symbols: false, symbols: Symbols::default() }
    }

    /// Claims a range of RAM for `what`.
    fn claim(&mut self, what: &str, range: Range<u64>) -> Result<(), BootError> {
        if range.start < self.ram.start || range.end > self.ram.end {
            let (what, start, end) = (what.to_owned(), range.start, range.end);
            return Err(BootError::Outside { what, start, end, ram_start: self.ram.start, ram_end: self.ram.end });
        }
        if let Some((other, taken)) = self.used.iter().find(|(_, taken)| overlap(taken, &range)) {
            return Err(BootError::Overlap {
                a: what.to_owned(),
                a_start: range.start,
                a_end: range.end,
                b: other.clone(),
                b_start: taken.start,
                b_end: taken.end,
            });
        }
        self.used.push((what.to_owned(), range));
        Ok(())
    }

    fn too_small(&self, what: &str, size: u64, start: u64, need: u64) -> BootError {
        BootError::TooSmall {
            what: what.to_owned(),
            size,
            start,
            ram_mib: (self.ram.end - self.ram.start) / MIB,
            need_mib: need.div_ceil(MIB),
        }
    }

    /// Puts something without addresses of its own to `start`, where it takes `memory_size` bytes.
    fn add_flat(&mut self, what: &str, data: Data, start: u64, memory_size: u64) -> Result<Placed, BootError> {
        let end = start.checked_add(memory_size).filter(|end| *end <= self.ram.end);
        let Some(end) = end else {
            let need = (start - self.ram.start).saturating_add(memory_size).saturating_add(ALIGNMENT);
            return Err(self.too_small(what, memory_size, start, need));
        };
        self.claim(what, start..end)?;
        self.writes.push(Write { what: what.to_owned(), address: start, data, zeros: 0 });
        Ok(Placed { start, end, entry: start })
    }

    /// Puts an ELF file where it says, or to `base` if it can be anywhere and names no RAM.
    fn add_elf(&mut self, what: &str, mut image: ElfImage, base: u64) -> Result<Placed, BootError> {
        if image.position_independent && !self.ram.contains(&image.low) {
            let size = image.high - image.low;
            image = image.moved_to(base).ok_or_else(|| self.too_small(what, size, base, u64::MAX))?;
        }
        if self.want_symbols {
            let found = Symbols::of(&image).map_err(|source| BootError::File { what: what.to_owned(), source })?;
            self.symbols.update(found);
        }
        let placed = Placed { start: image.low, end: image.high, entry: image.entry.unwrap_or(image.low) };
        for segment in image.segments {
            self.claim(&format!("a segment of {what}"), segment.address..segment.end())?;
            let zeros = segment.memory_size - segment.data.len();
            self.writes.push(Write { what: what.to_owned(), address: segment.address, data: segment.data, zeros });
        }
        Ok(placed)
    }

    /// One past the highest address that is used.
    fn used_end(&self) -> u64 {
        self.used.iter().map(|(_, range)| range.end).max().unwrap_or(self.ram.start)
    }

    /// The device tree goes to the top of RAM. `initrd_len` only makes the error's figure right.
    fn place_fdt(&mut self, len: u64, initrd_len: u64) -> Result<u64, BootError> {
        let start = self.ram.end.checked_sub(len).map_or(0, |start| start / ALIGNMENT * ALIGNMENT);
        let range = start..start + len;
        if start < self.ram.start || self.used.iter().any(|(_, used)| overlap(used, &range)) {
            let used = (self.used_end() - self.ram.start).next_multiple_of(PAGE);
            let need = used.saturating_add(initrd_len.next_multiple_of(PAGE));
            let need = need.next_multiple_of(ALIGNMENT).saturating_add(len.next_multiple_of(ALIGNMENT));
            return Err(self.too_small("the device tree", len, start, need));
        }
        self.claim("the device tree", range)?;
        Ok(start)
    }

    /// Puts an initrd where QEMU would, or else behind something else where it fits.
    fn place_initrd(&mut self, what: String, data: Data, kernel_start: u64) -> Result<Range<u64>, BootError> {
        let len = data.len();
        let preferred = kernel_start + ((self.ram.end - self.ram.start) / 2).min(INITRD_OFFSET_MAX);
        let mut ends: Vec<u64> = self.used.iter().map(|(_, range)| range.end.next_multiple_of(PAGE)).collect();
        ends.sort_unstable();
        let fits = |start: &u64| {
            start.checked_add(len).is_some_and(|end| {
                end <= self.ram.end && !self.used.iter().any(|(_, used)| overlap(used, &(*start..end)))
            })
        };
        // Behind the kernel is better than in front of it, where only small things would fit.
        let candidates = std::iter::once(preferred).chain(ends.iter().rev().copied());
        let Some(start) = { candidates }.find(fits) else {
            let fdt_len = self.used.last().map_or(0, |(_, fdt)| fdt.end - fdt.start);
            let below = self.used.iter().rev().skip(1).map(|(_, range)| range.end).max().unwrap_or(self.ram.start);
            let need = (below - self.ram.start).next_multiple_of(PAGE).saturating_add(len);
            let need = need.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX);
            let need = need.saturating_add(fdt_len.next_multiple_of(ALIGNMENT));
            return Err(self.too_small(&what, len, preferred, need));
        };
        let range = start..start + len;
        self.claim(&what, range.clone())?;
        self.writes.push(Write { what, address: start, data, zeros: 0 });
        Ok(range)
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

#[cfg(test)]
mod tests;
