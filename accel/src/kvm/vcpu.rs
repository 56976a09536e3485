//! A hart that KVM runs: the loop around `KVM_RUN`, and what other threads may do to it.
//!
//! A kick sets `immediate_exit` in the page that is shared with the kernel, then sends the thread a signal. Whoever
//! is on the way into the guest sees the flag there, whoever is inside leaves by the signal, and a thread that is
//! elsewhere finds the flag when it comes: no kick is lost, and none is needed twice.
//!
//! A hart of a machine that is debugged takes its turns in `debug`.
//!
//! After an exit by MMIO, SBI or CSR the kernel finishes the instruction with the next `KVM_RUN`. Registers are read or
//! written only after that was done, by a run with `immediate_exit` set.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_STOPPED, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET,
    KVM_SYSTEM_EVENT_SHUTDOWN, kvm_mp_state,
};
use kvm_ioctls::{VcpuExit as KvmExit, VcpuFd};

use super::irqchip::KvmIrqchip;
use super::one_reg::{self as reg, OneReg, RegId};
use super::sampler::{Place, Sampler};
use super::sleep::{self, Look, Sleepers};
use super::stage::Stage;
use super::{aia, debug, fault, ioctl, roles, state};
use crate::debug::DebugConfig;
use crate::profile::ProfileConfig;
use crate::tcg::csr;
use crate::tcg::mmu::walk::Access;
use crate::trace::TraceConfig;
use crate::{
    AccelError, HartInputs, HartIrq, HartState, HostRegister, MpState, SbiCall, ShutdownReason, Vcpu, VcpuExit,
    VcpuHandle, VmConfig,
};

/// A vCPU's registers by the descriptor.
pub struct Registers<'a>(pub &'a VcpuFd);

impl OneReg for Registers<'_> {
    fn read(&self, id: RegId, data: &mut [u8]) -> io::Result<()> {
        self.0.get_one_reg(id.0, data).map(drop).map_err(io::Error::from)
    }

    fn write(&self, id: RegId, data: &[u8]) -> io::Result<()> {
        self.0.set_one_reg(id.0, data).map(drop).map_err(io::Error::from)
    }

    fn list(&self) -> io::Result<Vec<RegId>> {
        Ok(ioctl::register_list(self.0)?.into_iter().map(RegId).collect())
    }
}

/// How often a vCPU came back from the kernel, by what for.
#[derive(Default)]
pub struct Exits {
    mmio_reads: AtomicU64,
    mmio_writes: AtomicU64,
    sbi: AtomicU64,
    csr: AtomicU64,
    system: AtomicU64,
    /// Kicks and signals.
    interrupted: AtomicU64,
    /// Breakpoint exceptions, while a debugger is there.
    breakpoints: AtomicU64,
    /// Not exits: how often the external interrupt's line changed.
    line_changes: AtomicU64,
}

fn count(counter: &AtomicU64) {
    // One writer at a time, and readers only print.
    counter.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Display for Exits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "exits mmio_reads={} mmio_writes={} sbi={} csr={} system={} interrupted={} breakpoints={} \
             line_changes={}",
            n(&self.mmio_reads),
            n(&self.mmio_writes),
            n(&self.sbi),
            n(&self.csr),
            n(&self.system),
            n(&self.interrupted),
            n(&self.breakpoints),
            n(&self.line_changes)
        )
    }
}

/// What a kick needs of the thread that runs the vCPU.
#[derive(Clone, Copy, Default)]
struct Target {
    thread: Option<libc::pthread_t>,
    /// In the page that the kernel shares; null once the vCPU is gone.
    immediate_exit: Option<&'static AtomicU8>,
}

impl Target {
    /// Whether the next `KVM_RUN` comes back at once.
    fn exit_at_once(&self, on: bool) {
        if let Some(flag) = self.immediate_exit {
            flag.store(u8::from(on), Ordering::SeqCst);
        }
    }
}

/// What the vCPU's thread shares with others.
pub struct Shared {
    target: Mutex<Target>,
    kicked: AtomicBool,
    line: ioctl::InterruptLine,
    /// The level of the external interrupt; its lock is held while the kernel is told.
    level: Mutex<bool>,
    /// The machine's clock was set; one vCPU tells the kernel.
    time_is_old: Arc<AtomicBool>,
    /// Those of the machine.
    pub(super) sleepers: Arc<Sleepers>,
    pub exits: Exits,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Makes the vCPU leave the kernel, or not enter it, without being kicked.
    fn interrupt(&self) {
        // Under the lock the page and the thread are there.
        let target = locked(&self.target);
        target.exit_at_once(true);
        if let Some(thread) = target.thread {
            // SAFETY: the thread takes itself out of `target` before it ends, and the signal has a handler.
            unsafe { libc::pthread_kill(thread, kick_signal()) };
        }
    }

    fn tell_line(&self, level: &mut bool, new: bool) {
        *level = new;
        count(&self.exits.line_changes);
        if let Err(e) = self.line.set(new) {
            // The kernel knows this call since it has KVM for RISC-V, and a vCPU's descriptor stays good.
            tracing::error!("KVM did not take the external interrupt's level: {e}");
        }
    }
}

impl VcpuHandle for Shared {
    fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        self.interrupt();
        self.sleepers.changed();
    }

    fn set_irq(&self, irq: HartIrq, level: bool) {
        if irq != HartIrq::SupervisorExternal {
            // M-mode's lines lead nowhere here, and software and timer interrupts are the kernel's.
            return;
        }
        let mut current = locked(&self.level);
        if *current != level {
            self.tell_line(&mut current, level);
            drop(current);
            self.sleepers.changed();
        }
    }

    /// Guests of this machine have no guests of their own.
    fn set_guest_irq(&self, _file: u8, _level: bool) {}

    /// The kernel answers SBI's IPIs, and no chip of the board sends any.
    fn raise_ssip(&self) {}

    /// There is no M-mode.
    fn set_mtimecmp(&self, _ticks: u64) {}

    /// The kernel answers SBI's timer calls.
    fn set_sbi_timer(&self, _ticks: u64) {}

    fn clock_changed(&self) {
        self.time_is_old.store(true, Ordering::SeqCst);
        self.kick();
    }

    /// All but the external interrupt is the kernel's: its timers and software interrupts are part of the state.
    fn inputs(&self) -> HartInputs {
        let level = *locked(&self.level);
        let lines = if level { HartIrq::SupervisorExternal.mask() } else { 0 };
        HartInputs { lines, ..HartInputs::default() }
    }
}

/// The signal of kicks: a real-time one, as nothing else sends it.
fn kick_signal() -> libc::c_int {
    libc::SIGRTMIN()
}

/// A handler that does nothing makes `KVM_RUN` return; without one the signal would end the process.
fn install_handler() {
    extern "C" fn nothing(_: libc::c_int) {}
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: an all-zero `sigaction` is valid, the handler is async-signal-safe as it does nothing, and without
        // SA_RESTART system calls come back.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(kick_signal(), &action, std::ptr::null_mut());
        }
    });
}

/// A hart.
pub struct KvmVcpu {
    sampler: Option<Sampler>,
    /// What the thread does: a [`Place`].
    thread_is: Arc<AtomicU8>,
    pub(super) hart: u32,
    pub(super) fd: VcpuFd,
    pub(super) config: Arc<VmConfig>,
    /// The kernel's interrupt controllers, if it has them: then no line of the board leads here.
    irqchip: Option<Arc<KvmIrqchip>>,
    pub(super) shared: Arc<Shared>,
    /// What KVM does not hold: M-mode's side.
    rest: HartState,
    /// The kernel has an instruction to finish.
    unfinished: bool,
    pub(super) debugged: debug::Debugged,
}

impl KvmVcpu {
    pub fn new(
        hart: u32,
        mut fd: VcpuFd,
        config: Arc<VmConfig>,
        irqchip: Option<Arc<KvmIrqchip>>,
        time_is_old: Arc<AtomicBool>,
        sleepers: Arc<Sleepers>,
        stage: Arc<Stage>,
    ) -> io::Result<Self> {
        install_handler();
        let flag: *mut u8 = &raw mut fd.get_kvm_run().immediate_exit;
        // SAFETY: the page is mapped until `fd` goes, and `Drop` takes the reference away before; the kernel and other
        // threads access the byte atomically.
        let immediate_exit = unsafe { AtomicU8::from_ptr(flag) };
        let target = Target { thread: None, immediate_exit: Some(immediate_exit) };
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            kicked: AtomicBool::new(false),
            line: ioctl::InterruptLine::of(&fd)?,
            level: Mutex::new(false),
            time_is_old,
            sleepers,
            exits: Exits::default(),
        });
        let interrupted = Arc::clone(&shared);
        stage.join(hart, Arc::new(move || interrupted.interrupt()));
        let (rest, debugged) = (HartState::default(), debug::Debugged::new(stage));
        let (sampler, thread_is) = (None, Arc::default());
        Ok(Self { sampler, thread_is, hart, fd, config, irqchip, shared, rest, unfinished: false, debugged })
    }

    pub(super) fn error(&self, doing: &str, source: io::Error) -> AccelError {
        AccelError::Host { doing: format!("{doing} of hart {}", self.hart), source }
    }

    /// Takes a kick if there is one. The flag goes first: a kick that comes now sets both again.
    pub(super) fn take_kick(&mut self) -> bool {
        locked(&self.shared.target).exit_at_once(false);
        self.shared.kicked.swap(false, Ordering::SeqCst)
    }

    /// Lets the kernel finish the instruction of the last exit without going on.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.unfinished) {
            return Ok(());
        }
        locked(&self.shared.target).exit_at_once(true);
        let done = match self.fd.run() {
            Err(e) if e.errno() == libc::EINTR => Ok(()),
            Err(e) => Err(e.into()),
            Ok(exit) => Err(io::Error::other(format!("KVM left for {exit:?} instead of finishing an instruction"))),
        };
        // A kick that came meanwhile has to be found by the next run. It is noted before the lock is taken, so that one
        // that is not seen here sets the flag afterwards.
        let target = locked(&self.shared.target);
        target.exit_at_once(self.shared.kicked.load(Ordering::SeqCst));
        drop(target);
        done
    }

    /// The guest's time follows the board's clock after that was set.
    pub(super) fn follow_clock(&mut self) -> io::Result<()> {
        let old = &self.shared.time_is_old;
        // Looked at on every entry, set at power-on and after a pause.
        if old.load(Ordering::SeqCst) && old.swap(false, Ordering::SeqCst) {
            let now = self.config.clock.now();
            Registers(&self.fd).set(reg::TIME, now)?;
        }
        Ok(())
    }

    /// `KVM_RUN` and what comes out of it; `None` to go on.
    pub(super) fn enter(&mut self) -> Result<Option<VcpuExit>, AccelError> {
        let exits = &self.shared.exits;
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(e) if e.errno() == libc::EINTR || e.errno() == libc::EAGAIN => {
                count(&exits.interrupted);
                self.unfinished = false;
                return Ok(self.take_kick().then_some(VcpuExit::Kicked));
            }
            // So the kernel leaves a fetch from where there is no memory, and what it cannot make an exit of.
            Err(e) if [libc::EOPNOTSUPP, libc::EIO].contains(&e.errno()) => {
                self.unfinished = false;
                let failed = |e| self.error("deliver an access fault", e);
                let mut s = self.load().map_err(failed)?;
                let (isa, ram) = (&self.config.isa, &self.config.ram);
                if !fault::take_fetch(&mut s, isa, ram) && !fault::take_access(&mut s, isa, ram) {
                    return Err(self.error("run the guest", e.into()));
                }
                state::store_trap(&Registers(&self.fd), &s).map_err(failed)?;
                return Ok(None);
            }
            Err(e) => return Err(self.error("run the guest", e.into())),
        };
        self.unfinished = false;
        match exit {
            KvmExit::MmioRead(gpa, data) => {
                count(&exits.mmio_reads);
                self.unfinished = true;
                if self.config.bus.read(gpa, data).is_err() {
                    self.fault(Access::Load).map_err(|e| self.error("deliver an access fault", e))?;
                }
            }
            KvmExit::MmioWrite(gpa, data) => {
                count(&exits.mmio_writes);
                self.unfinished = true;
                if self.config.bus.write(gpa, data).is_err() {
                    self.fault(Access::Store).map_err(|e| self.error("deliver an access fault", e))?;
                }
            }
            KvmExit::SystemEvent(kind, data) => {
                count(&exits.system);
                return match kind {
                    // Its first number is SBI's reason for the reset.
                    KVM_SYSTEM_EVENT_SHUTDOWN if data.first().is_some_and(|reason| *reason == 1) => {
                        Ok(Some(VcpuExit::Shutdown(ShutdownReason::Failure)))
                    }
                    KVM_SYSTEM_EVENT_SHUTDOWN => Ok(Some(VcpuExit::Shutdown(ShutdownReason::Guest))),
                    KVM_SYSTEM_EVENT_RESET => Ok(Some(VcpuExit::Reset)),
                    KVM_SYSTEM_EVENT_CRASH => Ok(Some(VcpuExit::Shutdown(ShutdownReason::Failure))),
                    _ => Err(self.error("run the guest", io::Error::other(format!("KVM reports system event {kind}")))),
                };
            }
            KvmExit::Unsupported(ioctl::EXIT_SBI) => {
                count(&exits.sbi);
                self.unfinished = true;
                return Ok(Some(VcpuExit::Sbi(ioctl::sbi_call(self.fd.get_kvm_run()))));
            }
            KvmExit::Unsupported(ioctl::EXIT_CSR) => {
                count(&exits.csr);
                self.unfinished = true;
                self.access_csr().map_err(|e| self.error("answer a CSR", e))?;
            }
            KvmExit::Debug(_) => {
                count(&exits.breakpoints);
                return self.met_breakpoint().map_err(|e| self.error("stop at a breakpoint", e));
            }
            KvmExit::Intr => count(&exits.interrupted),
            exit => {
                let what = format!("KVM gave up: {exit:?}");
                return Err(self.error("run the guest", io::Error::other(what)));
            }
        }
        Ok(None)
    }

    /// Nothing answers the access of the last exit. The kernel will finish the instruction; the hart traps at it, from
    /// the state before.
    fn fault(&mut self, access: Access) -> io::Result<()> {
        let mut s = self.load()?;
        self.finish()?;
        fault::take(&mut s, &self.config.isa, &self.config.ram, access);
        state::store_trap(&Registers(&self.fd), &s)
    }

    /// A CSR that the kernel leaves to us: the entropy source, and those of an interrupt file where the kernel has no
    /// IMSIC. Others are of chips that are not there.
    fn access_csr(&mut self) -> io::Result<()> {
        let (number, value, mask) = ioctl::csr_access(self.fd.get_kvm_run());
        if number == u64::from(arch::csr::SEED) {
            let value = csr::seed(csr::host_entropy());
            ioctl::answer_csr(self.fd.get_kvm_run(), value);
            return Ok(());
        }
        if let Some(imsic) = &self.config.imsic {
            let siselect = Registers(&self.fd).get(reg::csr_aia(0))?;
            if let Some(old) = aia::access_csr(&**imsic, self.hart, siselect, number as u16, value, mask) {
                ioctl::answer_csr(self.fd.get_kvm_run(), old);
                return Ok(());
            }
        }
        let mut s = self.load()?;
        self.finish()?;
        fault::take_illegal(&mut s, &self.config.isa, &self.config.ram);
        state::store_trap(&Registers(&self.fd), &s)
    }

    /// The registers as they stand.
    pub(super) fn load(&self) -> io::Result<HartState> {
        let mut s = self.rest.clone();
        state::load(&Registers(&self.fd), &self.config.isa, &mut s)?;
        s.mp = if self.is_stopped()? { MpState::Stopped } else { MpState::Runnable };
        Ok(s)
    }

    /// Whether the hart waits to be started.
    pub(super) fn is_stopped(&self) -> io::Result<bool> {
        Ok(self.fd.get_mp_state()?.mp_state == KVM_MP_STATE_STOPPED)
    }

    fn store(&mut self, s: &HartState) -> io::Result<()> {
        self.rest = s.clone();
        // The kernel arms its timer by the guest's time as it is when the deadline comes.
        self.follow_clock()?;
        // What is to run may have been loaded just now.
        ioctl::flush_instructions();
        state::store(&Registers(&self.fd), &self.config.isa, s)?;
        let mp_state = if s.mp == MpState::Runnable { KVM_MP_STATE_RUNNABLE } else { KVM_MP_STATE_STOPPED };
        self.fd.set_mp_state(kvm_mp_state { mp_state })?;
        // `sip` was written whole; the line is what it is.
        if let Some(irqchip) = &self.irqchip {
            return irqchip.refresh(self.hart);
        }
        let mut level = locked(&self.shared.level);
        let now = *level;
        self.shared.tell_line(&mut level, now);
        Ok(())
    }

    /// Whether a sleep is over: by a kick (`false`), or by an interrupt that is pending and that `sie` enables.
    fn look(&mut self) -> io::Result<Look<bool>> {
        if self.take_kick() {
            return Ok(Look::Over(false));
        }
        self.follow_clock()?;
        let regs = Registers(&self.fd);
        let (sie, mut sip) = (regs.get(reg::csr(1))?, regs.get(reg::csr(7))?);
        if let Some(irqchip) = &self.irqchip {
            // Guest interrupt files of the host do not show in `sip`.
            sip |= if irqchip.signals(self.hart)? { HartIrq::SupervisorExternal.mask() } else { 0 };
        }
        let timer = sie & HartIrq::SupervisorTimer.mask() != 0;
        let (deadline, now) = (if timer { state::deadline(&regs)? } else { u64::MAX }, regs.get(reg::TIME)?);
        Ok(match sie & sip != 0 || deadline <= now {
            true => Look::Over(true),
            false => Look::Sleep(sleep::until(deadline, now, self.config.clock.frequency())),
        })
    }
}

impl Vcpu for KvmVcpu {
    fn run(&mut self) -> Result<VcpuExit, AccelError> {
        // SAFETY: always succeeds.
        let thread = unsafe { libc::pthread_self() };
        locked(&self.shared.target).thread = Some(thread);
        self.thread_is.store(Place::Inside as u8, Ordering::Relaxed);
        let exit = self.run_in_turn();
        self.thread_is.store(Place::Outside as u8, Ordering::Relaxed);
        locked(&self.shared.target).thread = None;
        exit
    }

    fn wait_for_interrupt(&mut self) -> bool {
        let sleepers = Arc::clone(&self.shared.sleepers);
        self.thread_is.store(Place::Asleep as u8, Ordering::Relaxed);
        let woken = sleepers.sleep(|| {
            self.look().unwrap_or_else(|e| {
                tracing::error!("cannot ask KVM for the interrupts of hart {}, so it wakes: {e}", self.hart);
                Look::Over(true)
            })
        });
        self.thread_is.store(Place::Outside as u8, Ordering::Relaxed);
        woken
    }

    fn finish_sbi(&mut self, call: &SbiCall, error: i64, value: u64) -> Result<(), AccelError> {
        // The kernel writes both registers; the second of a legacy call stays what it was.
        let (error, value) = (error as u64, if call.eid < 0x10 { call.args[1] } else { value });
        if self.unfinished {
            ioctl::answer_sbi(self.fd.get_kvm_run(), error, value);
            return Ok(());
        }
        // Somebody looked at the registers meanwhile, for which the kernel had to finish the call without an answer.
        let regs = Registers(&self.fd);
        regs.set(reg::x(10), error)
            .and_then(|()| regs.set(reg::x(11), value))
            .map_err(|e| self.error("answer an SBI call", e))
    }

    /// M-mode's registers are the host's.
    fn csr(&mut self, _: u16) -> Option<u64> {
        None
    }

    fn set_csr(&mut self, _: u16, _: u64) -> bool {
        false
    }

    fn try_state(&mut self) -> Result<HartState, AccelError> {
        self.finish().and_then(|()| self.load()).map_err(|e| self.error("read the registers", e))
    }

    fn try_set_state(&mut self, state: &HartState) -> Result<(), AccelError> {
        self.finish().and_then(|()| self.store(state)).map_err(|e| self.error("write the registers", e))
    }

    fn set_debug(&mut self, config: &DebugConfig) -> Result<Vec<u64>, AccelError> {
        self.debug(config)
    }

    fn time(&mut self) -> Result<Option<u64>, AccelError> {
        let time = self.finish().and_then(|()| self.follow_clock()).and_then(|()| Registers(&self.fd).get(reg::TIME));
        time.map(Some).map_err(|e| self.error("read the time", e))
    }

    fn host_registers(&mut self) -> Result<Vec<HostRegister>, AccelError> {
        let list = || -> io::Result<Vec<HostRegister>> {
            let regs = Registers(&self.fd);
            let read = |id: RegId| {
                let mut value = vec![0; id.size()];
                regs.read(id, &mut value)?;
                Ok(HostRegister { id: id.0, role: roles::of(id, &self.config.isa), value })
            };
            regs.list()?.into_iter().map(read).collect()
        };
        list().map_err(|e| self.error("list the registers", e))
    }

    fn set_trace(&mut self, config: &Arc<TraceConfig>) -> Result<(), AccelError> {
        if config.items.is_empty() {
            return Ok(());
        }
        let what = "logging the guest's code, traps and page walks: the host runs them (use -accel tcg)".into();
        Err(AccelError::Unsupported { name: "kvm", what })
    }

    fn set_profile(&mut self, config: Option<&ProfileConfig>) -> Result<(), AccelError> {
        self.sampler = None;
        let Some(config) = config else { return Ok(()) };
        let copy = ioctl::copy(&self.fd).map_err(|e| self.error("copy the descriptor", e))?;
        self.sampler = Some(Sampler::start(self.hart, copy, &self.thread_is, &self.config, config)?);
        Ok(())
    }

    fn handle(&self) -> Arc<dyn VcpuHandle> {
        Arc::clone(&self.shared) as _
    }
}

impl Drop for KvmVcpu {
    fn drop(&mut self) {
        tracing::debug!(target: "stats", hart = self.hart, "hart ends: {}", self.shared.exits);
        // Handles may live longer than the page that they would write to.
        *locked(&self.shared.target) = Target::default();
    }
}
