//! What RAM is mapped from: nothing, a memfd, or a file, on small pages or huge ones.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use vm_memory::FileOffset;
use vm_memory::bitmap::NewBitmap;
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};

use super::filler::Filler;
use super::{Discard, MemoryError, Region};
use crate::cli::show_size;
use crate::config::{RamBacking, RamConfig, RamFile};

/// What transparent huge pages are made of, and a second-stage page table maps at once: the address in the program
/// has to agree with the guest's in its low bits.
const LARGE_PAGE: u64 = 2 << 20;

/// Opened and checked, to be mapped.
pub struct Backing {
    /// For messages; empty: the user asked for nothing in particular.
    context: String,
    size: u64,
    file: Option<Arc<File>>,
    /// In the file.
    offset: u64,
    /// Bytes of a page; more than that of the host's for hugetlbfs, too.
    pub page: u64,
    /// Pages of hugetlbfs.
    pub huge: bool,
    flags: i32,
    /// The file that was made for this, and is removed again if there is no machine.
    made: Option<PathBuf>,
}

impl Drop for Backing {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            // Nothing depends on it, and the user learns of the first error.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Backing {
    pub fn open(config: &RamConfig, size: u64) -> Result<Self, MemoryError> {
        let share = if config.share { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let reserve = if config.reserve { 0 } else { libc::MAP_NORESERVE };
        let mut b = Self {
            context: config.context.clone(),
            size,
            file: None,
            offset: 0,
            page: host_page(),
            huge: false,
            flags: share | reserve,
            made: None,
        };
        match &config.backing {
            RamBacking::Any if shared_memory_has_huge_pages() => {
                b.memfd(MemfdFlags::empty(), false).map_err(|source| MemoryError::Reserve { size, source })?;
                b.flags = libc::MAP_SHARED | reserve;
            }
            RamBacking::Any | RamBacking::Anonymous => b.flags |= libc::MAP_ANONYMOUS,
            RamBacking::Memfd { huge: None, seal } => {
                b.memfd(MemfdFlags::empty(), *seal).map_err(|e| b.host("make a memfd", e))?;
            }
            RamBacking::Memfd { huge: Some(page), seal } => b.huge_memfd(*page, *seal)?,
            RamBacking::File(file) => b.open_file(file)?,
        }
        Ok(b)
    }

    /// A file without a name, as long as RAM.
    fn memfd(&mut self, flags: MemfdFlags, seal: bool) -> io::Result<()> {
        let sealing = if seal { MemfdFlags::ALLOW_SEALING } else { MemfdFlags::empty() };
        let file = File::from(rustix::fs::memfd_create("vireo-ram", MemfdFlags::CLOEXEC | flags | sealing)?);
        file.set_len(self.size)?;
        if seal {
            rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        }
        self.file = Some(Arc::new(file));
        Ok(())
    }

    fn huge_memfd(&mut self, page: Option<u64>, seal: bool) -> Result<(), MemoryError> {
        let sizes = huge_page_sizes();
        self.huge = true;
        self.page = match page.or_else(default_huge_page) {
            Some(page) if sizes.contains(&page) => page,
            page => {
                let asked =
                    page.map_or("no huge pages".to_owned(), |page| format!("no huge pages of {}", show_size(page)));
                let sizes: Vec<_> = sizes.into_iter().map(show_size).collect();
                let there = if sizes.is_empty() { String::new() } else { format!(", only of {}", sizes.join(" and ")) };
                return Err(self.refused(format!("this host has {asked}{there}")));
            }
        };
        self.check_pages()?;
        // The logarithm of the size stands in the upper bits.
        let size = MemfdFlags::from_bits_retain(self.page.trailing_zeros() << 26);
        self.memfd(MemfdFlags::HUGETLB | size, seal).map_err(|e| self.host("make a memfd of huge pages", e))
    }

    fn open_file(&mut self, f: &RamFile) -> Result<(), MemoryError> {
        let path = &f.path;
        let shown = path.display();
        let opening = format!("open '{shown}'");
        let kind = match std::fs::metadata(path) {
            Ok(data) => Some(data),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !f.readonly => None,
            Err(e) => return Err(self.host(opening, e)),
        };
        let file = match kind {
            None => {
                let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
                self.made = file.is_ok().then(|| path.clone());
                file
            }
            Some(data) if data.is_dir() && f.readonly => {
                return Err(self.refused(format!("'{shown}' is a folder; readonly=on needs a file")));
            }
            Some(data) if data.is_dir() => nameless(path),
            Some(data) if data.is_file() => OpenOptions::new().read(true).write(!f.readonly).open(path),
            Some(_) => return Err(self.refused(format!("'{shown}' is neither a regular file nor a folder"))),
        };
        let file = file.map_err(|e| self.host(opening, e))?;
        if let Some(page) = huge_page_of(&file) {
            (self.page, self.huge) = (page, true);
        }
        self.offset = f.offset;
        self.check_pages()?;
        let end = f.offset.checked_add(self.size).filter(|end| i64::try_from(*end).is_ok());
        let end = end.ok_or_else(|| self.refused("offset and size together are too large for a file".to_owned()))?;
        let length = file.metadata().map_err(|e| self.host(format!("look at '{shown}'"), e))?.len();
        if length < end && f.readonly {
            let (has, needs) = (show_size(length), show_size(end));
            return Err(self.refused(format!("'{shown}' has {has}, and offset and size need {needs}")));
        }
        if length < end {
            file.set_len(end).map_err(|e| self.host(format!("make '{shown}' {} long", show_size(end)), e))?;
        }
        self.file = Some(Arc::new(file));
        Ok(())
    }

    /// Size and offset are whole pages.
    fn check_pages(&self) -> Result<(), MemoryError> {
        for (what, bytes) in [("size", self.size), ("offset", self.offset)] {
            if bytes % self.page != 0 {
                let (bytes, page) = (show_size(bytes), show_size(self.page));
                return Err(self.refused(format!("its {what} of {bytes} is no multiple of its pages' {page}")));
            }
        }
        Ok(())
    }

    /// Maps it, at an address that suits large pages if there is one.
    pub fn map(&self, config: &RamConfig, bytes: usize) -> Result<Region, MemoryError> {
        let asked = match &config.backing {
            RamBacking::File(file) => file.align,
            _ => None,
        };
        let suits = if self.size >= LARGE_PAGE { LARGE_PAGE } else { self.page };
        let align = asked.unwrap_or(suits).max(self.page);
        // The kernel takes the end of the highest gap that is large enough. What is above the next multiple there is
        // filled, and it is asked again: then it takes that multiple, or a lower gap.
        let mut fillers = Vec::new();
        let tries = if asked.is_some() { 64 } else { 4 };
        for _ in 0..tries {
            let region = self.map_somewhere(bytes).map_err(|source| self.unmapped(source))?;
            let start = region.as_ptr() as usize;
            let over = start % align as usize;
            if over == 0 {
                return Ok(region);
            }
            drop(region);
            // Where the gap is too small for it, the place that was found is filled. Another thread may be quicker: then the
            // next try finds another place.
            let above = Filler::new(start + bytes - over, over);
            fillers.extend(above.or_else(|_| Filler::new(start, bytes)));
        }
        if asked.is_some() {
            return Err(self.refused(format!("there is no room in the program at a multiple of {}", show_size(align))));
        }
        self.map_somewhere(bytes).map_err(|source| self.unmapped(source))
    }

    fn map_somewhere(&self, bytes: usize) -> Result<Region, MmapRegionError> {
        let builder = MmapRegionBuilder::new_with_bitmap(bytes, ram::WriteMarks::with_len(bytes))
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(self.flags)
            .with_hugetlbfs(self.huge);
        match &self.file {
            Some(file) => builder.with_file_offset(FileOffset::from_arc(Arc::clone(file), self.offset)).build(),
            None => builder.build(),
        }
    }

    fn unmapped(&self, source: MmapRegionError) -> MemoryError {
        match source {
            MmapRegionError::Mmap(e) if self.huge && e.raw_os_error() == Some(libc::ENOMEM) => self.too_few_pages(),
            MmapRegionError::Mmap(e) if !self.context.is_empty() => {
                self.host(format!("map {} of memory", show_size(self.size)), e)
            }
            source => MemoryError::Map { size: self.size, source },
        }
    }

    /// The host has not enough for all of it.
    pub fn too_few_pages(&self) -> MemoryError {
        let size = show_size(self.size);
        if !self.huge {
            return self.refused(format!("the host has no room for all of its {size}"));
        }
        let (needed, page, free) = (self.size / self.page, show_size(self.page), free_huge_pages(self.page));
        self.refused(format!(
            "needs {needed} huge pages of {page}, and {free} are free on this host (see /proc/sys/vm/nr_hugepages)"
        ))
    }

    pub fn refused(&self, what: String) -> MemoryError {
        MemoryError::Refused { context: self.context(), what }
    }

    pub fn host(&self, doing: impl Into<String>, source: io::Error) -> MemoryError {
        MemoryError::Host { context: self.context(), doing: doing.into(), source }
    }

    fn context(&self) -> String {
        if self.context.is_empty() { format!("-m {}", show_size(self.size)) } else { self.context.clone() }
    }

    /// Sets the file's blocks aside, where there is a file that others can see.
    pub fn allocate_blocks(&self) -> io::Result<()> {
        match &self.file {
            Some(file) if self.flags & libc::MAP_SHARED != 0 => {
                Ok(rustix::fs::fallocate(&**file, rustix::fs::FallocateFlags::empty(), self.offset, self.size)?)
            }
            _ => Ok(()),
        }
    }

    /// What frees the file's contents at the end. Where the guest's changes are its own, the file's contents are not.
    pub fn discard(&self, config: &RamConfig, size: u64) -> Option<Discard> {
        match config.backing {
            RamBacking::File(RamFile { discard: true, offset, .. }) if config.share => {
                self.file.as_ref().map(|file| Discard { file: Arc::clone(file), offset, size })
            }
            _ => None,
        }
    }

    /// The machine has its RAM: a file that was made stays.
    pub fn keep(&mut self) {
        self.made = None;
    }
}

/// A new file in `folder` that nobody else can open, and that goes with the last who has it open.
fn nameless(folder: &Path) -> io::Result<File> {
    let mut number = 0;
    loop {
        let path = folder.join(format!(".vireo-ram.{}.{number}", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            // Left behind by another process of that number.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            Err(e) => return Err(e),
        }
    }
}

fn host_page() -> u64 {
    // SAFETY: asks for a number.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// Bytes of a page of the hugetlbfs that holds the file.
fn huge_page_of(file: &File) -> Option<u64> {
    const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;
    let system = rustix::fs::fstatfs(file).ok()?;
    // The type of the field differs from host to host.
    (system.f_type as u64 & 0xffff_ffff == HUGETLBFS_MAGIC).then_some(system.f_bsize as u64)
}

/// Bytes of the huge pages that the host knows, in order.
fn huge_page_sizes() -> Vec<u64> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let kib = entries.filter_map(|entry| {
        entry.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()
    });
    let mut sizes: Vec<_> = kib.map(|kib| kib << 10).collect();
    sizes.sort_unstable();
    sizes
}

fn default_huge_page() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Hugepagesize:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Huge pages of `page` bytes that nobody has or has been promised.
fn free_huge_pages(page: u64) -> u64 {
    let count = |what: &str| -> u64 {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-{}kB/{what}_hugepages", page >> 10);
        std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    };
    count("free").saturating_sub(count("resv"))
}

/// The chosen word of the setting stands in brackets.
fn shared_memory_has_huge_pages() -> bool {
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    ["[always]", "[advise]", "[within_size]", "[force]"].iter().any(|word| setting.contains(word))
}
