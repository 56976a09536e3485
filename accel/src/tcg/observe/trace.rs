//! `-d exec,cpu,int,mmu`: what a hart shows in the log while it runs.
//!
//! `exec` and `cpu` are exact: while one of them is on, every block that is made begins with a call to [`Hart::trace_block`],
//! in generated code and in the interpreter alike, and no loops are compiled as regions. So every block is shown whatever
//! leads to it. A hart that nobody asks about has none of that in its code; the others look at a flag where they take a
//! trap or walk page tables, which is not in generated code.
//!
//! Filters by address are about virtual ones, and translations are kept by physical ones: what is executed is asked when
//! it is.

use std::sync::Arc;

use super::listing::place;
use crate::HartState;
use crate::tcg::TcgOptions;
use crate::tcg::hart::{BlockMode, Hart};
use crate::tcg::mmu::walk::{Access, Walk};
use crate::tcg::trap::Trap;
use crate::trace::{self, TraceConfig, TraceItems, mode_name};

/// What a hart shows.
#[derive(Debug, Default)]
pub struct Tracing {
    /// Blocks when they are made.
    pub listings: bool,
    /// Blocks when they are executed.
    pub blocks: bool,
    pub traps: bool,
    pub walks: bool,
    config: Option<Arc<TraceConfig>>,
    /// The options without [`TraceItems::NOCHAIN`].
    usual: Option<TcgOptions>,
}

impl Tracing {
    fn new(config: &Arc<TraceConfig>, hart: u32) -> Self {
        if config.items.is_empty() || !config.wants_hart(hart) {
            return Self::default();
        }
        let any = |items| config.items.intersects(items);
        Self {
            listings: any(TraceItems::LISTINGS),
            blocks: any(TraceItems::BLOCKS),
            traps: any(TraceItems::INT),
            walks: any(TraceItems::MMU),
            config: Some(Arc::clone(config)),
            usual: None,
        }
    }

    pub fn shows_host_code(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.items.contains(TraceItems::OUT_ASM))
    }

    /// Whether a hart in this state is shown.
    pub fn wants(&self, state: &HartState) -> bool {
        self.config.as_ref().is_some_and(|config| config.wants_mode(state.mode, state.virt))
    }

    /// What is to be shown of a block that was made.
    pub fn lists(&self, pc: u64, mode: BlockMode) -> Option<&TraceConfig> {
        let config = self.config.as_deref().filter(|_| self.listings)?;
        let wanted = config.wants_code(pc) && config.wants_mode(mode.privilege(), mode.virt());
        wanted.then_some(config)
    }
}

impl Hart {
    /// Shows this from now on. The hart is not in its code, which is made again.
    pub fn set_trace(&mut self, config: &Arc<TraceConfig>) {
        if let Some(usual) = self.tracing.usual.take() {
            self.options = usual;
        }
        self.tracing = Tracing::new(config, self.id);
        if config.items.contains(TraceItems::NOCHAIN) && config.wants_hart(self.id) {
            self.tracing.usual = Some(self.options.clone());
            (self.options.chain, self.options.jump_cache) = (false, false);
        }
        self.direct = self.options.leads_on();
        self.drop_code();
    }

    /// A block begins; `host` is its code, 0 in the interpreter. All integer registers are in the state.
    #[cold]
    pub fn trace_block(&mut self, host: u64) {
        let Some(config) = &self.tracing.config else { return };
        let pc = self.cur_pc();
        if !config.wants_code(pc) || !config.wants_mode(self.s.mode, self.s.virt) {
            return;
        }
        let (hart, mode) = (self.id, mode_name(self.s.mode, self.s.virt));
        if config.items.contains(TraceItems::EXEC) {
            let pc = place(config.symbols.as_deref(), pc);
            match host {
                0 => tracing::trace!(target: "exec", "hart {hart}, mode {mode}, {pc}"),
                _ => tracing::trace!(target: "exec", "hart {hart}, mode {mode}, {pc}, host {host:#x}"),
            }
        }
        if config.items.contains(TraceItems::CPU) {
            let registers = trace::registers(&self.s, pc, config.items, self.vm.isa.vlen as usize / 8);
            tracing::trace!(target: "cpu", "hart {hart}, mode {mode}\n{}", registers.trim_end());
        }
    }

    /// The current instruction asks for something that the hart has not (`-d unimp`).
    #[cold]
    pub fn tell_missing(&self, what: std::fmt::Arguments<'_>) {
        let (hart, pc) = (self.id, self.cur_pc());
        tracing::debug!(target: "unimp", "hart {hart} at {pc:#x}: {what}");
    }

    /// A page walk for `va` was made.
    #[inline(always)]
    pub fn trace_walk(&self, va: u64, access: Access, result: &Result<Walk, Trap>) {
        if self.tracing.walks {
            self.show_walk(va, access, result);
        }
    }

    #[cold]
    fn show_walk(&self, va: u64, access: Access, result: &Result<Walk, Trap>) {
        if !self.tracing.wants(&self.s) {
            return;
        }
        let (hart, mode) = (self.id, mode_name(self.s.mode, self.s.virt));
        let access = match access {
            Access::Fetch => "fetch",
            Access::Load => "load",
            Access::Store => "store",
        };
        match result {
            Ok(walk) => {
                let size = show_size(walk.page_shift);
                let global = if walk.global { ", global" } else { "" };
                tracing::trace!(target: "mmu", "hart {hart}, mode {mode}, {access} {va:#x}: {:#x}, page of {size}{global}", walk.pa);
            }
            Err(trap) => {
                let cause = arch::cause::Exception::from_code(trap.cause).map_or("fault", |cause| cause.name());
                tracing::trace!(target: "mmu", "hart {hart}, mode {mode}, {access} {va:#x}: {cause}");
            }
        }
    }
}

/// The size of a page of `1 << shift` bytes.
fn show_size(shift: u8) -> String {
    match shift {
        30.. => format!("{} GiB", 1u64 << (shift - 30).min(63)),
        20.. => format!("{} MiB", 1 << (shift - 20)),
        _ => format!("{} KiB", 1u32 << shift.saturating_sub(10)),
    }
}
