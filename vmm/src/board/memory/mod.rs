//! Guest RAM: mapped, advised, locked and, if that is asked for, touched, before anything else of the machine exists.
//!
//! Without options it is reserved at once, touched lazily, and on huge pages where the host gives them. Then a file
//! descriptor behind the RAM (memfd) would let other processes share it, but shared memory gets huge pages only where
//! the host's `shmem_enabled` allows it, and small pages cost a translator dearly. So the memory is a memfd where that
//! costs nothing, and anonymous otherwise.

mod backing;
mod filler;
mod mapped;
mod prealloc;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use accel::GuestRam;
use rustix::fs::FallocateFlags;
use rustix::mm::{Advice, madvise};
use vm_memory::mmap::{MmapRegion, MmapRegionError};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestRegionMmap, VolatileMemory};

use self::backing::Backing;
pub use self::mapped::map_privately;
use crate::cli::show_size;
use crate::config::{MemoryLock, NUMA_NODES, NumaMode, NumaPolicy, RamConfig};

/// Why a machine gets no RAM.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("cannot reserve {} of memory for the guest; ask for less with -m", show_size(*size))]
    Reserve { size: u64, source: io::Error },
    #[error("cannot reserve {} of memory for the guest; ask for less with -m", show_size(*size))]
    Map { size: u64, source: MmapRegionError },
    #[error("RAM of {} at {base:#x} lies outside of the address space", show_size(*size))]
    Range { base: u64, size: u64 },
    /// What the option asks for cannot be had here.
    #[error("{context}: {what}")]
    Refused { context: String, what: String },
    #[error("{context}: cannot {doing}")]
    Host { context: String, doing: String, source: io::Error },
    /// A signal came while pages were made.
    #[error("ended by signal {0}")]
    Interrupted(i32),
}

/// RAM, and what is to be done with it at the end: it has to outlive whoever uses the RAM.
pub struct Memory {
    pub ram: Arc<GuestRam>,
    pub discard: Option<Discard>,
}

/// Frees what stands in a file when it is dropped (`discard-data=on`).
pub struct Discard {
    file: Arc<File>,
    offset: u64,
    size: u64,
}

impl Drop for Discard {
    fn drop(&mut self) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(error) = rustix::fs::fallocate(&*self.file, flags, self.offset, self.size) {
            tracing::debug!(%error, "the file of the guest's RAM keeps its contents");
        }
    }
}

/// One region of RAM of `size` bytes at `base`, a multiple of 4 KiB, with what the options say of it.
pub fn make(base: u64, size: u64, config: &RamConfig, lock: MemoryLock) -> Result<Memory, MemoryError> {
    let bytes = usize::try_from(size).map_err(|_| MemoryError::Range { base, size })?;
    let mut backing = Backing::open(config, size)?;
    let region = backing.map(config, bytes)?;
    advise(&region, config, &backing);
    if let Some(policy) = &config.numa {
        bind(&region, policy).map_err(|source| {
            let there = std::fs::read_to_string("/sys/devices/system/node/has_memory").unwrap_or_default();
            backing.host(format!("use these NUMA nodes; those of the host with memory: {}", there.trim()), source)
        })?;
    }
    // What would fail for the limit does so before pages are made.
    lock_all(lock, libc::MCL_ONFAULT)?;
    if config.prealloc || lock == MemoryLock::On {
        prealloc::populate(&region, &backing, config.prealloc_threads)?;
    }
    if lock == MemoryLock::On {
        lock_all(lock, 0)?;
    }
    let discard = backing.discard(config, size);
    backing.keep();
    let region = GuestRegionMmap::new(region, GuestAddress(base)).ok_or(MemoryError::Range { base, size })?;
    let ram = GuestRam::from_regions(vec![region]).map_err(|_| MemoryError::Range { base, size })?;
    Ok(Memory { ram: Arc::new(ram), discard })
}

type Region = MmapRegion<ram::WriteMarks>;

fn advise(region: &Region, config: &RamConfig, backing: &Backing) {
    let advice = [
        (!backing.huge, Advice::LinuxHugepage, "no huge pages for guest RAM"),
        (config.merge, Advice::LinuxMergeable, "pages of guest RAM are not merged"),
        (!config.dump, Advice::LinuxDontDump, "core dumps hold guest RAM"),
        // Nobody who is forked off has any use for it, and copying page tables takes time.
        (true, Advice::LinuxDontFork, "child processes inherit guest RAM"),
    ];
    for (_, advice, otherwise) in advice.into_iter().filter(|(wanted, ..)| *wanted) {
        // SAFETY: the range is exactly the mapping that `region` owns, and the advice changes no contents.
        if let Err(error) = unsafe { madvise(region.as_ptr().cast(), region.size(), advice) } {
            tracing::debug!(%error, "{otherwise}");
        }
    }
}

/// Has `write` touch what is at `address` on the host's small pages. For what is small and stands alone: a huge page under
/// it would have to be zeroed, which takes a good part of the time that a machine takes to start.
pub fn on_small_pages<T>(ram: &GuestRam, address: u64, size: usize, write: impl FnOnce() -> T) -> T {
    const HUGE: u64 = 2 << 20;
    let start = address & !(HUGE - 1);
    let size = (address + size as u64).next_multiple_of(HUGE) - start;
    let place = ram.get_slice(GuestAddress(start), size as usize).ok();
    let advise = |advice| {
        if let Some(place) = &place {
            // SAFETY: the range is part of guest RAM, which `ram` keeps mapped, and the advice changes no contents. Where
            // pages are huge by the mapping's own nature it is refused, which is as well.
            let _ = unsafe { madvise(place.ptr_guard_mut().as_ptr().cast(), place.len(), advice) };
        }
    };
    advise(Advice::LinuxNoHugepage);
    let done = write();
    // Pages that were not touched may be huge again.
    advise(Advice::LinuxHugepage);
    done
}

/// Has the host make the page at `address`, whose contents stay as they are, whoever else writes to them. Zeroing a huge page
/// takes a good part of the time that a machine takes to start, so that another thread than the one that loads does it.
pub fn touch(ram: &GuestRam, address: u64) {
    let Ok(place) = ram.get_slice(GuestAddress(address), 1) else { return };
    if let Ok(byte) = place.get_atomic_ref::<AtomicU8>(0) {
        let value = byte.load(Ordering::Relaxed);
        // A store even so, which a load is not: the host would answer that with a page of zeroes for all.
        let _ = byte.compare_exchange(value, value, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Restricts the region to NUMA nodes of the host. No page of it has been touched.
fn bind(region: &Region, policy: &NumaPolicy) -> io::Result<()> {
    // As `linux/mempolicy.h` numbers them.
    let mode: libc::c_ulong = match policy.mode {
        NumaMode::Preferred => 1,
        NumaMode::Bind => 2,
        NumaMode::Interleave => 3,
    };
    let mut mask = [0u64; NUMA_NODES as usize / 64];
    for node in &policy.nodes {
        mask[*node as usize / 64] |= 1 << (node % 64);
    }
    // The kernel looks at one bit less than it is told of.
    let bits = libc::c_ulong::from(NUMA_NODES) + 1;
    // SAFETY: the range is the mapping that `region` owns, and the kernel reads as many bits of the mask as it has.
    let done = unsafe {
        libc::syscall(libc::SYS_mbind, region.as_ptr(), region.size(), mode, mask.as_ptr(), bits, 0 as libc::c_uint)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps the program's memory, also what it asks for later, out of swap.
fn lock_all(lock: MemoryLock, how: libc::c_int) -> Result<(), MemoryError> {
    let word = match lock {
        MemoryLock::Off => return Ok(()),
        MemoryLock::On => "on",
        MemoryLock::OnFault => "on-fault",
    };
    // SAFETY: touches no memory of ours but to make it resident.
    if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | how) } == 0 {
        return Ok(());
    }
    let source = io::Error::last_os_error();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    let limit = limit.map_or("not limited".to_owned(), |bytes| format!("limited to {}", show_size(bytes)));
    Err(MemoryError::Host {
        context: format!("-overcommit mem-lock={word}"),
        doing: format!("lock the program's memory (ulimit -l: {limit})"),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{RamBacking, RamFile};
    use vm_memory::{Bytes, GuestMemoryBackend};

    const BASE: u64 = 0x8000_0000;
    const SIZE: u64 = 4 << 20;

    fn with(backing: RamBacking) -> RamConfig {
        RamConfig { context: "-object x".to_owned(), backing, reserve: true, ..RamConfig::default() }
    }

    fn file(path: &Path) -> RamConfig {
        with(RamBacking::File(RamFile { path: path.to_owned(), ..RamFile::default() }))
    }

    fn ram(config: &RamConfig) -> Result<Memory, MemoryError> {
        make(BASE, SIZE, config, MemoryLock::Off)
    }

    fn refused(config: &RamConfig) -> String {
        let error = ram(config).map(drop).expect_err("refused");
        let text = crate::error_chain(&error);
        assert!(text.starts_with("-object x: "), "{text}");
        text
    }

    /// It holds what was written, everywhere.
    fn works(memory: &Memory) {
        for at in [0, SIZE / 2 + 8, SIZE - 8] {
            memory.ram.write_obj(0x1122_3344_5566_7788 + at, GuestAddress(BASE + at)).unwrap();
        }
        for at in [0, SIZE / 2 + 8, SIZE - 8] {
            assert_eq!(memory.ram.read_obj::<u64>(GuestAddress(BASE + at)).unwrap(), 0x1122_3344_5566_7788 + at);
        }
    }

    #[test]
    fn memory_far_larger_than_the_host_is_only_reserved() {
        let size = 64 << 30;
        let ram = make(BASE, size, &RamConfig::default(), MemoryLock::Off).unwrap().ram;
        let last = GuestAddress(BASE + size - 8);
        ram.write_obj(0x1122_3344_5566_7788u64, last).unwrap();
        assert_eq!(ram.read_obj::<u64>(last).unwrap(), 0x1122_3344_5566_7788);
        assert_eq!(ram.read_obj::<u64>(GuestAddress(BASE)).unwrap(), 0);
        assert_eq!(ram.last_addr().0, BASE + size - 1);
    }

    #[test]
    fn memory_beyond_the_address_space_is_an_error() {
        let error = make(u64::MAX - 4095, 8192, &RamConfig::default(), MemoryLock::Off);
        let error = error.map(drop).unwrap_err().to_string();
        assert!(error.contains("address space"), "{error}");
    }

    /// The line of `smaps` that begins with `what`, of the mapping that holds `address`.
    fn smaps(address: u64, what: &str) -> String {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in text.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let hex = |text: &str| u64::from_str_radix(text, 16).ok();
            if let Some((start, end)) = range.and_then(|(start, end)| Some((hex(start)?, hex(end)?))) {
                inside = (start..end).contains(&address);
            } else if inside && let Some(value) = line.strip_prefix(what) {
                return value.trim().to_owned();
            }
        }
        panic!("no {what} of {address:#x}");
    }

    #[test]
    fn a_page_that_is_touched_is_there_and_as_it_was() {
        let memory = ram(&RamConfig::default()).unwrap();
        let host = memory.ram.get_host_address(GuestAddress(BASE)).unwrap() as u64;
        assert_eq!(smaps(host, "Rss:"), "0 kB");
        touch(&memory.ram, BASE + 5);
        assert_ne!(smaps(host, "Rss:"), "0 kB");
        memory.ram.write_slice(b"guest", GuestAddress(BASE)).unwrap();
        touch(&memory.ram, BASE);
        let mut read = [0; 8];
        memory.ram.read_slice(&mut read, GuestAddress(BASE)).unwrap();
        assert_eq!(&read, b"guest\0\0\0");
        touch(&memory.ram, BASE + SIZE);
    }

    /// One of each kind; files are made in `dir`.
    fn backings(dir: &std::path::Path) -> [RamBacking; 4] {
        [
            RamBacking::Any,
            RamBacking::Anonymous,
            RamBacking::Memfd { huge: None, seal: true },
            RamBacking::File(RamFile { path: dir.to_owned(), ..RamFile::default() }),
        ]
    }

    /// Whether pages may be huge is as it was, wherever that was wanted.
    #[test]
    fn small_pages_are_small_for_a_moment_only() {
        let dir = tempfile::tempdir().unwrap();
        for backing in backings(dir.path()) {
            let memory = ram(&with(backing)).unwrap();
            let host = memory.ram.get_host_address(GuestAddress(BASE)).unwrap() as u64;
            let flags = |at| {
                let flags = smaps(host + at, "VmFlags:");
                ["hg", "nh"].map(|flag| flags.split(' ').any(|f| f == flag))
            };
            let before = flags(0);
            on_small_pages(&memory.ram, BASE + 100, 100, || {
                // A host without huge pages takes no advice.
                assert_eq!(flags(0), if before == [true, false] { [false, true] } else { before });
                assert_eq!(flags(SIZE - 1), before);
            });
            assert_eq!([flags(0), flags(SIZE - 1)], [before; 2]);
        }
    }

    #[test]
    fn every_backend_holds_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let new = RamBacking::File(RamFile { path: dir.path().join("new"), ..RamFile::default() });
        for backing in backings(dir.path()).into_iter().chain([new]) {
            for share in [false, true] {
                for prealloc in [false, true] {
                    let config = RamConfig { share, prealloc, merge: false, dump: false, ..with(backing.clone()) };
                    works(&ram(&config).unwrap());
                }
            }
        }
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["new"], "a file in a folder has no name");
    }

    #[test]
    fn a_shared_file_has_what_the_guest_wrote_and_a_private_one_has_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ram");
        for share in [false, true] {
            std::fs::write(&path, b"before").unwrap();
            let offset = 4096;
            let file = RamFile { path: path.clone(), offset, ..RamFile::default() };
            let memory = ram(&RamConfig { share, ..with(RamBacking::File(file)) }).unwrap();
            memory.ram.write_slice(b"guest", GuestAddress(BASE)).unwrap();
            let contents = std::fs::read(&path).unwrap();
            assert_eq!(contents.len() as u64, offset + SIZE, "a short file is made longer");
            assert_eq!(&contents[..6], b"before");
            assert_eq!(&contents[4096..4101], if share { b"guest" } else { &[0; 5] });
        }
    }

    #[test]
    fn a_template_is_read_and_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ram");
        std::fs::write(&path, vec![7; SIZE as usize]).unwrap();
        let file = RamFile { path: path.clone(), readonly: true, ..RamFile::default() };
        let memory = ram(&with(RamBacking::File(file.clone()))).unwrap();
        assert_eq!(memory.ram.read_obj::<u8>(GuestAddress(BASE + 99)).unwrap(), 7);
        works(&memory);
        assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 7));

        std::fs::write(&path, b"short").unwrap();
        let text = refused(&with(RamBacking::File(file)));
        assert!(text.contains("5 bytes") && text.contains("4M"), "{text}");
    }

    #[test]
    fn data_are_discarded_at_the_end_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ram");
        let file = RamFile { path: path.clone(), discard: true, ..RamFile::default() };
        let config = RamConfig { share: true, ..with(RamBacking::File(file)) };
        let memory = ram(&config).unwrap();
        memory.ram.write_slice(b"guest", GuestAddress(BASE)).unwrap();
        drop(ram(&RamConfig { share: false, ..config }));
        assert_eq!(&std::fs::read(&path).unwrap()[..5], b"guest", "they are not the private guest's");
        drop(memory);
        let contents = std::fs::read(&path).unwrap();
        assert!(contents.len() as u64 == SIZE && contents.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn addresses_are_aligned_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        for align in [4096, 2 << 20, 64 << 20] {
            let file = RamFile { path: dir.path().to_owned(), align: Some(align), ..RamFile::default() };
            let memory = ram(&with(RamBacking::File(file))).unwrap();
            let host = memory.ram.get_host_address(GuestAddress(BASE)).unwrap();
            assert_eq!(host as u64 % align, 0);
        }
    }

    #[test]
    fn files_that_cannot_be_ram() {
        let dir = tempfile::tempdir().unwrap();
        let text = refused(&file(&dir.path().join("no/such")));
        assert!(text.contains("no/such") && text.contains("o such file"), "{text}");
        let text = refused(&file(Path::new("/dev/null")));
        assert!(text.contains("/dev/null") && text.contains("neither a regular file nor a folder"), "{text}");
        let text = refused(&file(Path::new("/proc")));
        assert!(text.contains("/proc"), "{text}");
        let readonly = RamFile { path: dir.path().join("none"), readonly: true, ..RamFile::default() };
        let text = refused(&with(RamBacking::File(readonly)));
        assert!(text.contains("none") && text.contains("o such file"), "{text}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_was_made_in_vain_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ram");
        let policy = NumaPolicy { mode: NumaMode::Bind, nodes: vec![NUMA_NODES - 1] };
        let text = refused(&RamConfig { numa: Some(policy), ..file(&path) });
        assert!(text.contains("NUMA"), "{text}");
        assert!(!path.exists());
    }

    #[test]
    fn nodes_of_the_host() {
        let policy = NumaPolicy { mode: NumaMode::Bind, nodes: vec![0] };
        let config = RamConfig { numa: Some(policy), prealloc: true, ..with(RamBacking::Anonymous) };
        match ram(&config) {
            Ok(memory) => works(&memory),
            // Kernels without NUMA, and containers that forbid the call.
            Err(MemoryError::Host { source, .. }) => {
                assert!(matches!(source.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)), "{source}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn huge_pages_or_how_many_are_missing() {
        let free = |kib: &str, what: &str| -> u64 {
            let path = format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB/{what}_hugepages");
            std::fs::read_to_string(path).map_or(0, |text| text.trim().parse().unwrap())
        };
        let config = with(RamBacking::Memfd { huge: Some(Some(2 << 20)), seal: true });
        let config = RamConfig { share: true, prealloc: true, ..config };
        let available = free("2048", "free").saturating_sub(free("2048", "resv"));
        match ram(&config) {
            Ok(memory) => works(&memory),
            Err(error) => {
                let text = crate::error_chain(&error);
                let clear = text.contains("needs 2 huge pages of 2M") || text.contains("no huge pages of 2M");
                assert!(available < 2 && clear, "{text}");
            }
        }
        let text = refused(&with(RamBacking::Memfd { huge: Some(Some(1 << 13)), seal: true }));
        assert!(text.contains("no huge pages of 8K"), "{text}");
    }
}
