//! The translator behind the engine contract.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::code_cache::CodeCache;
use super::code_cache::idle::Idle;
use super::code_cache::places::Places;
use super::context::Selections;
use super::counters::Counting;
use super::exec::{self, Translator};
use super::hart::{
    COVERS, Exit, FP_CONSTANTS, FcsrTables, HEATS, Hart, HartBox, HotJump, NO_PACE, NO_RESERVATION, called_from,
};
use super::helpers::vector::VectorUnit;
use super::ir::TEMPS;
use super::mmu::pmp::Windows;
use super::mmu::pointer_mask::PointerMask;
use super::mmu::recent::PageChanges;
use super::mmu::tlb::{ContextKey, Tlb};
use super::observe::Observer;
use super::observe::sampler::Sampler;
use super::observe::stats::{self, Stats};
use super::observe::trace::Tracing;
use super::ram::Ram;
use super::reservation::Reservations;
use super::smp::{HartShared, POLL_IRQ, POLL_KICK, VmShared};
use super::stops::Stops;
use super::timer::Timers;
use super::triggers::Armed;
use super::{TcgOptions, backend, csr};
use crate::debug::DebugConfig;
use crate::profile::ProfileConfig;
use crate::trace::{TraceConfig, TraceItems};
use crate::{
    Accel, AccelError, DirtyPages, HartInputs, HartIrq, HartSet, HartState, RemoteFence, SbiCall, Vcpu, VcpuExit,
    VcpuHandle, Vm, VmConfig,
};

/// `-accel tcg` and `-accel interp`.
#[derive(Debug, Clone, Default)]
pub struct Tcg {
    pub options: TcgOptions,
}

impl Tcg {
    pub fn new(options: TcgOptions) -> Self {
        Self { options }
    }
}

impl Accel for Tcg {
    fn name(&self) -> &'static str {
        if self.options.jit { "tcg" } else { "interp" }
    }

    fn description(&self) -> &'static str {
        if self.options.jit { "dynamic binary translator" } else { "interpreter of the translator's intermediate code" }
    }

    fn availability(&self) -> Result<(), AccelError> {
        Ok(())
    }

    fn lacks(&self, isa: &arch::ext::IsaConfig) -> Option<String> {
        isa.exts.iter().find(|ext| !ext.is_ready()).map(|ext| format!("extension {}", ext.name()))
    }

    fn create_vm(&self, config: VmConfig) -> Result<Arc<dyn Vm>, AccelError> {
        let harts: Vec<_> = (0..config.harts)
            .map(|_| {
                Arc::new(HartBox {
                    shared: HartShared::default(),
                    taken: AtomicBool::new(false),
                    hart: MaybeUninit::uninit().into(),
                })
            })
            .collect();
        let timers = Timers::new(Arc::clone(&config.clock), &harts)
            .map_err(|source| AccelError::Host { doing: "start the timer thread".into(), source })?;
        let shared = VmShared {
            ram: Ram::new(config.ram, config.bus.watched(), Reservations::new(config.harts)),
            semihosting: config.bus.semihosting().is_some(),
            bus: config.bus,
            clock: config.clock,
            decoder: Arc::new(arch::isa::Decoder::new(&config.isa)),
            isa: config.isa,
            builtin_sbi: config.builtin_sbi,
            machine_traps: config.machine_traps,
            imsic: config.imsic,
            harts,
            timers,
            observer: Observer::new(&self.options)?,
            code_seq: AtomicU64::new(0),
            marking: Default::default(),
        };
        Ok(Arc::new(TcgVm { shared: Arc::new(shared), options: self.options.clone() }))
    }
}

struct TcgVm {
    shared: Arc<VmShared>,
    options: TcgOptions,
}

impl Vm for TcgVm {
    fn create_vcpu(&self, hart: u32) -> Result<Box<dyn Vcpu>, AccelError> {
        let unsupported = |what: String| AccelError::Unsupported { name: "tcg", what };
        let hart_box = self
            .shared
            .harts
            .get(hart as usize)
            .ok_or_else(|| unsupported(format!("hart {hart} in a machine of {} harts", self.shared.harts.len())))?;
        if hart_box.taken.swap(true, Ordering::SeqCst) {
            return Err(unsupported(format!("a second vCPU for hart {hart}")));
        }
        TcgVcpu::new(Arc::clone(&self.shared), Arc::clone(hart_box), hart, self.options.clone())
            .map(|v| Box::new(v) as Box<dyn Vcpu>)
            .map_err(|source| AccelError::Host { doing: format!("make the code cache of hart {hart}"), source })
    }

    fn remote_fence(&self, harts: &HartSet, fence: RemoteFence) {
        self.shared.remote_fence(harts, fence);
    }

    fn start_dirty_log(&self) -> Result<(), AccelError> {
        self.shared.ram.start_log();
        self.shared.withdraw_writes();
        Ok(())
    }

    fn take_dirty_log(&self) -> Result<DirtyPages, AccelError> {
        let pages = self.shared.ram.take_log();
        self.shared.withdraw_writes();
        Ok(pages)
    }

    fn stop_dirty_log(&self) -> Result<(), AccelError> {
        self.shared.ram.stop_log();
        Ok(())
    }
}

struct TcgVcpu {
    /// First: it looks at the hart.
    sampler: Option<Sampler>,
    hart_box: Arc<HartBox>,
    translator: Translator,
    handle: Arc<Handle>,
}

// SAFETY: the hart is only reached through this value, which one thread owns at a time.
unsafe impl Send for TcgVcpu {}

impl TcgVcpu {
    fn new(vm: Arc<VmShared>, hart_box: Arc<HartBox>, id: u32, options: TcgOptions) -> std::io::Result<Self> {
        let key = ContextKey { mode: 3, data_mode: 3, ..ContextKey::default() };
        let mut code = CodeCache::new(options.room(vm.harts.len()))?;
        let smp = vm.ram.reservations.shared();
        let unit = VectorUnit::of(&vm.isa);
        let backend = if options.jit { backend::Backend::new(&mut code, smp, unit, options.simd) } else { None };
        let mut translator = Translator::new(&vm, backend);
        translator.keep_marks(vm.observer.is_some());
        if let (Some(observer), Some(backend)) = (&vm.observer, &translator.backend) {
            for (name, address, len) in backend.thunks() {
                observer.thunk(&name, address, code.arena.bytes(address, len));
            }
        }
        let mut tlb = Tlb::new(key, options.tlb_entries);
        let tables = tlb.select(key, 0);
        let mut hart = Hart {
            s: csr::reset(&vm.isa, u64::from(id)),
            tables,
            page_base: 0,
            cur: 0,
            exit: Exit::None,
            fp_missing: 0,
            interpreting: translator.backend.is_none(),
            by_call: u8::MAX,
            held: true,
            cycle_offset: 0,
            instret_offset: 0,
            retired: 0,
            res_addr: NO_RESERVATION,
            res_value: 0,
            res_left: 0,
            exact_lrs: 0,
            res_version: 0,
            res_exact: false,
            link: 0,
            mxcsr: 0,
            host_mxcsr: 0,
            page_changes: PageChanges::default(),
            covers: [0; COVERS],
            scattering: None,
            stack_base: 0,
            called_from: called_from::OUTSIDE,
            temps: [0; TEMPS],
            fp_constants: FP_CONSTANTS,
            fcsr_tables: FcsrTables::default(),
            hot: HotJump::default(),
            heat: [options.hot.saturating_sub(1) as i32; HEATS],
            id,
            tlb,
            pmp: Windows::default(),
            mask: PointerMask::default(),
            cfi: 0,
            selections: Selections::default(),
            unwatched: false,
            direct: options.leads_on(),
            armed: Armed::default(),
            stops: Stops::default(),
            code_watched: false,
            written_triggers: 0,
            code,
            idle: Idle::new(options.idle_code),
            vm: Arc::clone(&vm),
            shared: Arc::clone(&hart_box),
            late: None,
            vector_word: 0,
            drives_clock: vm.clock.is_counting(),
            timer_limit: u64::MAX,
            counted: 0,
            counting: Counting::default(),
            critical: None,
            fenced_at: 0,
            pace_at: vm.ram.pace(),
            pace_seen: NO_PACE,
            options,
            tracing: Tracing::default(),
            stats: Stats::asked(),
            vector: unit,
        };
        hart.recount();
        hart.select_context();
        hart.update_fp();
        // SAFETY: `taken` made us the only one to touch `hart`.
        unsafe { (*hart_box.hart.get()).write(hart) };
        let handle = Arc::new(Handle { hart_box: Arc::clone(&hart_box), vm, id });
        Ok(Self { sampler: None, hart_box, translator, handle })
    }

    /// Whether code that is made has marks: for the log, for observers, or for samples.
    fn marked(&mut self, listed: bool) {
        let hart = self.hart();
        let marked = listed || hart.vm.observer.is_some() || hart.code.places.is_some();
        self.translator.keep_marks(marked);
    }

    fn hart(&mut self) -> &mut Hart {
        // SAFETY: written in `new`; only this value reaches it, and `&mut self` is exclusive.
        unsafe { (*self.hart_box.hart.get()).assume_init_mut() }
    }
}

impl Drop for TcgVcpu {
    fn drop(&mut self) {
        self.sampler = None;
        let h = self.hart();
        tracing::debug!(target: "stats", "hart {} ends{}", h.id, stats::table(h));
        tracing::debug!(target: "stats", hart = h.id, "hart ends: exits {};", h.stats.exits());
        if let Some(observer) = &h.vm.observer {
            observer.flush();
        }
        // SAFETY: written in `new`, and nobody can reach it any more; a new vCPU may be made for the hart.
        unsafe { (*self.hart_box.hart.get()).assume_init_drop() };
        self.hart_box.taken.store(false, Ordering::SeqCst);
    }
}

impl Vcpu for TcgVcpu {
    fn run(&mut self) -> Result<VcpuExit, AccelError> {
        // SAFETY: as in `hart`; split so that the translator can be borrowed beside it.
        let hart = unsafe { (*self.hart_box.hart.get()).assume_init_mut() };
        Ok(exec::run(hart, &mut self.translator))
    }

    fn wait_for_interrupt(&mut self) -> bool {
        exec::wait_for_interrupt(self.hart())
    }

    fn finish_sbi(&mut self, call: &SbiCall, error: i64, value: u64) -> Result<(), AccelError> {
        let x = &mut self.hart().s.x;
        x[10] = error as u64;
        if call.eid >= 0x10 {
            x[11] = value;
        }
        Ok(())
    }

    fn csr(&mut self, n: u16) -> Option<u64> {
        self.hart().machine_csr(n, None)
    }

    fn set_csr(&mut self, n: u16, v: u64) -> bool {
        self.hart().machine_csr(n, Some(v)).is_some()
    }

    fn try_state(&mut self) -> Result<HartState, AccelError> {
        let h = self.hart();
        h.take_soft();
        h.fold_counters();
        Ok(h.s.clone())
    }

    fn try_set_state(&mut self, state: &HartState) -> Result<(), AccelError> {
        let h = self.hart();
        h.s = state.clone();
        h.s.x[0] = 0;
        h.counted = h.retired;
        h.recount();
        h.res_addr = NO_RESERVATION;
        h.late = None;
        h.critical = None;
        h.selections.forget();
        h.tlb.flush_all();
        h.pmp.clear();
        // Memory may have been replaced behind our back (reset, a snapshot).
        h.drop_code();
        h.load_mxcsr();
        h.update_fp();
        h.select_context();
        h.arm_timer();
        h.poll_interrupts();
        Ok(())
    }

    fn try_change(&mut self, change: &mut dyn FnMut(&mut HartState)) -> Result<(), AccelError> {
        let h = self.hart();
        h.take_soft();
        h.fold_counters();
        change(&mut h.s);
        h.s.x[0] = 0;
        h.selections.forget();
        h.recount();
        h.res_addr = NO_RESERVATION;
        h.late = None;
        h.load_mxcsr();
        h.update_fp();
        h.select_context();
        h.poll_interrupts();
        Ok(())
    }

    fn set_debug(&mut self, config: &DebugConfig) -> Result<Vec<u64>, AccelError> {
        let h = self.hart();
        h.stops = Stops::new(config);
        h.selections.forget();
        // Jumps to what runs one instruction at a time from now on are there, and pages that are watched.
        h.tlb.flush_all();
        h.select_context();
        // Interrupts may have been held.
        h.poll_interrupts();
        Ok(Vec::new())
    }

    fn set_trace(&mut self, config: &Arc<TraceConfig>) -> Result<(), AccelError> {
        let jit = self.translator.backend.is_some();
        let listed = config.items.contains(TraceItems::OUT_ASM);
        if listed && !jit {
            return Err(AccelError::Unsupported { name: "interp", what: "-d out_asm: it makes no host code".into() });
        }
        self.hart().set_trace(config);
        self.marked(listed);
        Ok(())
    }

    fn set_profile(&mut self, config: Option<&ProfileConfig>) -> Result<(), AccelError> {
        self.sampler = None;
        // SAFETY: as in `hart`; split so that the translator can be borrowed beside it.
        let hart = unsafe { (*self.hart_box.hart.get()).assume_init_mut() };
        hart.drop_code();
        hart.code.places = config.map(|_| Places::default());
        hart.called_from = called_from::OUTSIDE;
        if let Some(backend) = &mut self.translator.backend {
            backend.show_calls(config.is_some(), &mut hart.code);
        }
        let interprets = self.translator.backend.is_none();
        let start = |config| Sampler::start(hart, interprets, config);
        let error = |source| AccelError::Host { doing: format!("sample hart {}", hart.id), source };
        self.sampler = config.map(start).transpose().map_err(error)?;
        self.marked(hart.tracing.shows_host_code());
        Ok(())
    }

    fn counters(&mut self) -> Option<String> {
        Some(stats::table(self.hart()))
    }

    fn handle(&self) -> Arc<dyn VcpuHandle> {
        Arc::clone(&self.handle) as Arc<dyn VcpuHandle>
    }
}

struct Handle {
    hart_box: Arc<HartBox>,
    vm: Arc<VmShared>,
    id: u32,
}

impl Handle {
    fn shared(&self) -> &HartShared {
        &self.hart_box.shared
    }

    /// Wakes the hart at `ticks` if it lies ahead, else at once: it decides itself what is pending.
    fn deadline(&self, ticks: u64) {
        if ticks != u64::MAX && ticks > self.vm.clock.now() {
            self.vm.timers.arm_earlier(self.id, ticks);
        }
        self.shared().notify(POLL_IRQ);
    }
}

impl VcpuHandle for Handle {
    fn kick(&self) {
        self.shared().notify(POLL_KICK);
    }

    fn set_irq(&self, irq: HartIrq, level: bool) {
        if self.set_irq_quietly(irq, level) {
            self.wake();
        }
    }

    fn set_guest_irq(&self, file: u8, level: bool) {
        if self.set_guest_irq_quietly(file, level) {
            self.wake();
        }
    }

    fn set_irq_quietly(&self, irq: HartIrq, level: bool) -> bool {
        self.shared().set_line(irq, level)
    }

    fn set_guest_irq_quietly(&self, file: u8, level: bool) -> bool {
        (1..=self.vm.isa.geilen).contains(&file) && self.shared().set_guest_line(file, level)
    }

    fn wake(&self) {
        self.shared().wake();
    }

    fn set_nmi(&self, level: bool) {
        self.shared().nmi.store(level, Ordering::SeqCst);
        if level {
            self.shared().notify(POLL_IRQ);
        }
    }

    fn raise_ssip(&self) {
        self.shared().raise_ssip();
    }

    fn set_mtimecmp(&self, ticks: u64) {
        self.shared().mtimecmp.store(ticks, Ordering::SeqCst);
        self.deadline(ticks);
    }

    fn set_sbi_timer(&self, ticks: u64) {
        self.shared().sbi_timer.store(ticks, Ordering::SeqCst);
        self.deadline(ticks);
    }

    fn clock_changed(&self) {
        self.vm.timers.clock_changed();
        self.shared().notify(POLL_IRQ);
    }

    fn inputs(&self) -> HartInputs {
        let h = self.shared();
        HartInputs {
            lines: h.lines.load(Ordering::SeqCst),
            guest_lines: h.hgeip.load(Ordering::SeqCst),
            nmi: h.nmi.load(Ordering::SeqCst),
            ssip: h.ssip.load(Ordering::SeqCst),
            mtimecmp: h.mtimecmp.load(Ordering::SeqCst),
            sbi_timer: h.sbi_timer.load(Ordering::SeqCst),
        }
    }
}
