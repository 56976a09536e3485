//! The dynamic binary translator: guest instructions to IR, IR to host code, one hart a thread.
//!
//! The way of a guest instruction: `exec` finds no block at the pc, `translate` lowers decoded instructions to
//! IR (`ir`), `backend` compiles it into the hart's `code_cache`, and the block runs until it leaves: by a link
//! to the next block, through the jump cache, or out to `exec`. Loads and stores probe the TLB of `mmu` inline
//! and call out to it when they miss; everything that is not worth inlining is a function of `helpers`. What
//! other threads do to a hart goes through `smp`; deadlines are kept by `timer`.

mod backend;
mod cfi;
mod code_cache;
mod context;
mod counters;
pub mod csr;
mod ctr;
mod exec;
pub mod firmware;
mod hart;
pub mod helpers;
mod host_pages;
pub mod interrupts;
mod ir;
pub mod mmu;
mod observe;
mod ram;
mod region;
mod reservation;
mod rnmi;
mod smp;
mod stops;
mod timer;
pub mod tinst;
mod translate;
pub mod trap;
mod triggers;
mod vm;

pub use vm::Tcg;

/// How the translator works; the defaults are what is fast, the rest forces rare paths in tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcgOptions {
    /// Compile to host code; otherwise interpret the IR. Hosts without a backend always interpret.
    pub jit: bool,
    /// Bytes of host code a hart may keep; `None`: [`TcgOptions::room`] decides.
    pub tb_size: Option<usize>,
    /// Most guest instructions in a block.
    pub block_insns: u16,
    /// Link direct jumps.
    pub chain: bool,
    /// Remember indirect jumps.
    pub jump_cache: bool,
    /// TLB entries in use, a power of two up to 4096; 0: no translation outlives its access.
    pub tlb_entries: usize,
    /// Times that a jump goes back in a page before the loop is compiled as a region; 0 is never.
    pub hot: u32,
    /// Drop a block at random about every so many returns to the run loop; 0 is never.
    pub evict: u32,
    /// Bytes of code that a hart keeps when it idles; 0: it drops all code whenever it sleeps.
    pub idle_code: usize,
    /// Write `/tmp/perf-PID.map`, so that `perf report` knows blocks by name.
    pub perf_map: bool,
    /// Write `jit-PID.dump`, for `perf inject -j`.
    pub jit_dump: bool,
    /// The most that generated code may use of the host's vector instructions.
    pub simd: HostSimd,
}

/// Vector instructions of x86 hosts, from none beyond what every one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum HostSimd {
    None,
    /// AVX2, with FMA, F16C and BMI2.
    Avx2,
    /// AVX-512 F, BW, DQ, CD and VL; its other parts where there are.
    #[default]
    Avx512,
}

impl Default for TcgOptions {
    fn default() -> Self {
        Self {
            jit: true,
            tb_size: None,
            block_insns: translate::USUAL_INSNS,
            chain: true,
            jump_cache: true,
            tlb_entries: mmu::tlb::TLB_ENTRIES,
            hot: region::HOT,
            evict: 0,
            idle_code: code_cache::idle::KEPT,
            perf_map: false,
            jit_dump: false,
            simd: HostSimd::default(),
        }
    }
}

impl TcgOptions {
    /// Whether blocks lead to each other without the run loop.
    fn leads_on(&self) -> bool {
        self.evict == 0 && self.jump_cache
    }

    /// Bytes of host code each of `harts` may keep. By default a compiler and the kernel under it fit in (some 100 MiB);
    /// five to 32 harts share 1 GiB, more have 32 MiB each. All of it is paid for as it is used.
    pub fn room(&self, harts: usize) -> usize {
        self.tb_size.unwrap_or_else(|| ((1 << 30) / harts.max(1)).clamp(32 << 20, 256 << 20))
    }
}
