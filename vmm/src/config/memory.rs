//! Where RAM comes from.

use std::path::PathBuf;

/// `-object memory-backend-*`, or what `-mem-path` and `-mem-prealloc` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RamConfig {
    /// The option that asked for it, for messages; none did if it is empty.
    pub context: String,
    pub backing: RamBacking,
    /// Others who map the same file or descriptor see what the guest writes.
    pub share: bool,
    /// The host sets huge pages, or swap, aside for all of it at the start.
    pub reserve: bool,
    /// Every page is there before the guest starts.
    pub prealloc: bool,
    /// Threads that do that; `None`: as many as suit the host.
    pub prealloc_threads: Option<u32>,
    /// The host may merge equal pages (KSM).
    pub merge: bool,
    /// Core dumps of the program hold it.
    pub dump: bool,
    /// `host-nodes=` and `policy=`.
    pub numa: Option<NumaPolicy>,
}

impl Default for RamConfig {
    fn default() -> Self {
        Self {
            context: String::new(),
            backing: RamBacking::Any,
            share: false,
            reserve: false,
            prealloc: false,
            prealloc_threads: None,
            merge: true,
            dump: true,
            numa: None,
        }
    }
}

/// Where the bytes of RAM are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RamBacking {
    /// Wherever it costs least.
    Any,
    /// `memory-backend-ram`.
    Anonymous,
    /// `memory-backend-memfd`.
    Memfd {
        /// Pages of hugetlbfs; of the host's default size if that is `None`.
        huge: Option<Option<u64>>,
        /// Nobody can change the file's size.
        seal: bool,
    },
    /// `memory-backend-file`.
    File(RamFile),
}

/// `memory-backend-file`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RamFile {
    /// A file, or a folder in which one without a name is made.
    pub path: PathBuf,
    /// Where RAM begins in the file, in bytes.
    pub offset: u64,
    /// What the address of the mapping is a multiple of, in bytes; `None`: a page.
    pub align: Option<u64>,
    /// The file is opened for reading; what the guest writes is its own.
    pub readonly: bool,
    /// The contents need not be kept at the end.
    pub discard: bool,
}

/// Which of the host's memory to use (`mbind`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumaPolicy {
    pub mode: NumaMode,
    /// Node numbers, below [`NUMA_NODES`].
    pub nodes: Vec<u32>,
}

/// The most NUMA nodes that Linux has.
pub const NUMA_NODES: u32 = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumaMode {
    Preferred,
    Bind,
    Interleave,
}

/// `-overcommit mem-lock=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryLock {
    #[default]
    Off,
    /// All of it, at once.
    On,
    /// What has been touched.
    OnFault,
}
