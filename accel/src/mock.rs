//! An engine with no CPU: its harts execute lists of accesses to RAM and devices, and exits. It drives boards and
//! devices in tests, and shows that the engine contract needs no processor behind it.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::debug::DebugConfig;
use crate::irqchip::{AplicState, InterruptFileState};
use crate::{
    Accel, AccelError, BusFault, Clock, DirtyPages, GuestBus, GuestRam, HartInputs, HartIrq, HartSet, HartState,
    HostHarts, Irqchip, IrqchipConfig, IrqchipOffer, IrqchipState, RemoteFence, SbiCall, Vcpu, VcpuExit, VcpuHandle,
    Vm, VmConfig,
};

/// What a hart does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Loads this many bytes.
    Load { gpa: u64, len: usize },
    /// Stores these bytes.
    Store { gpa: u64, data: Vec<u8> },
    /// Leaves `run` with this.
    Exit(VcpuExit),
    /// Panics, as an engine with a bug would.
    Panic,
    /// Waits until a line has this level. A kick interrupts it; it goes on with the next `run`. The line of software
    /// interrupts stays high once it was raised.
    Wait { irq: HartIrq, level: bool },
}

/// What a hart has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A new state, by its pc.
    Started(u64),
    /// A load's answer; `None` is a fault.
    Loaded(Option<Vec<u8>>),
    /// A store that faulted.
    StoreFault(u64),
    /// The answer to an SBI call.
    Sbi { error: i64, value: u64 },
    /// What a debugger wants of it, unless it wants nothing.
    Debugged(DebugConfig),
}

/// Lines, deadlines and kick of a hart, shared by its handle.
#[derive(Default)]
struct Inputs {
    lines: HashMap<HartIrq, bool>,
    /// In ticks; until one is set there is none.
    deadlines: HashMap<HartIrq, u64>,
    kicked: bool,
}

impl Inputs {
    /// The line's level at `now`, in ticks.
    fn level(&self, irq: HartIrq, now: u64) -> bool {
        let due = self.deadlines.get(&irq).is_some_and(|ticks| now >= *ticks);
        due || self.lines.get(&irq).copied().unwrap_or(false)
    }
}

#[derive(Default)]
struct Shared {
    inputs: Mutex<Inputs>,
    changed: Condvar,
    log: Mutex<Vec<Event>>,
}

impl Shared {
    fn inputs(&self) -> MutexGuard<'_, Inputs> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, f: impl FnOnce(&mut Inputs)) {
        f(&mut self.inputs());
        self.changed.notify_all();
    }

    fn log(&self, event: Event) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// What an engine does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// To make the vCPU of this hart.
    Vcpu(u32),
    /// To take a state of this hart.
    State(u32),
    /// To take a state of its interrupt controllers.
    Irqchip,
    /// To take the answer to an SBI call of this hart.
    Sbi(u32),
    /// To stop at accesses to memory.
    Watchpoints,
    /// To stop at anything.
    Stops,
}

impl Refusal {
    fn error(self) -> AccelError {
        AccelError::Unsupported { name: "mock", what: format!("{self:?}") }
    }
}

/// Events that stores cause: by address and value.
type IoEvents = Mutex<HashMap<(u64, u32), OwnedFd>>;

/// The engine. Harts without a script do nothing until they are kicked.
#[derive(Default)]
pub struct Mock {
    /// By hart; what one entry into the guest executes: the script starts anew with every `set_state`.
    scripts: Vec<Vec<Vec<Step>>>,
    offer: IrqchipOffer,
    shared: Mutex<Vec<Arc<Shared>>>,
    chips: Mutex<Option<Arc<MockIrqchip>>>,
    io_events: bool,
    starts_harts: bool,
    host: Option<HostHarts>,
    refuses: Option<Refusal>,
    /// Stores that became events.
    swallowed: Arc<AtomicU64>,
}

impl Mock {
    /// `scripts[hart][n]` is what the hart executes after its `n`-th `set_state`.
    pub fn new(scripts: Vec<Vec<Vec<Step>>>) -> Self {
        Self { scripts, ..Self::default() }
    }

    /// It has interrupt controllers of its own.
    #[must_use]
    pub fn with_irqchip(self, offer: IrqchipOffer) -> Self {
        Self { offer, ..self }
    }

    /// The interrupt controllers of the machine that was made last.
    pub fn irqchip(&self) -> Option<Arc<MockIrqchip>> {
        self.chips.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It turns stores into events.
    #[must_use]
    pub fn with_io_events(self) -> Self {
        Self { io_events: true, ..self }
    }

    /// It starts and stops harts itself.
    #[must_use]
    pub fn that_starts_harts(self) -> Self {
        Self { starts_harts: true, ..self }
    }

    /// Its harts are a host's.
    #[must_use]
    pub fn on_host(self, host: HostHarts) -> Self {
        Self { host: Some(host), ..self }
    }

    /// It fails there.
    #[must_use]
    pub fn that_refuses(self, refusal: Refusal) -> Self {
        Self { refuses: Some(refusal), ..self }
    }

    /// How many stores became events instead of going to the bus.
    pub fn swallowed_stores(&self) -> u64 {
        self.swallowed.load(Ordering::SeqCst)
    }

    /// What hart `hart` has seen so far.
    pub fn events(&self, hart: u32) -> Vec<Event> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let log = shared[hart as usize].log.lock().unwrap_or_else(PoisonError::into_inner);
        log.clone()
    }
}

impl Accel for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn description(&self) -> &'static str {
        "no CPU; for tests"
    }

    fn availability(&self) -> Result<(), AccelError> {
        Ok(())
    }

    fn irqchip(&self) -> Result<IrqchipOffer, AccelError> {
        Ok(self.offer)
    }

    fn host_harts(&self) -> Result<Option<HostHarts>, AccelError> {
        Ok(self.host.clone())
    }

    fn create_vm(&self, config: VmConfig) -> Result<Arc<dyn Vm>, AccelError> {
        let harts: Vec<_> = (0..config.harts).map(|_| Arc::new(Shared::default())).collect();
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = harts.clone();
        let chips = config.irqchip.map(|chips| {
            let refuses = self.refuses == Some(Refusal::Irqchip);
            Arc::new(MockIrqchip { refuses, ..MockIrqchip::new(chips, config.harts) })
        });
        *self.chips.lock().unwrap_or_else(PoisonError::into_inner) = chips.clone();
        let io_events = self.io_events.then(Arc::default);
        let (scripts, swallowed) = (self.scripts.clone(), Arc::clone(&self.swallowed));
        let VmConfig { ram, bus, clock, .. } = config;
        let (starts_harts, refuses) = (self.starts_harts, self.refuses);
        let world = World { ram, bus, clock };
        Ok(Arc::new(MockVm { world, harts, scripts, chips, io_events, swallowed, starts_harts, refuses }))
    }
}

/// What a hart reaches.
#[derive(Clone)]
struct World {
    ram: GuestRam,
    bus: Arc<dyn GuestBus>,
    clock: Arc<Clock>,
}

impl World {
    fn load(&self, gpa: u64, data: &mut [u8]) -> Result<(), BusFault> {
        match self.ram.address_in_range(GuestAddress(gpa)) {
            true => self.ram.read_slice(data, GuestAddress(gpa)).map_err(|_| BusFault),
            false => self.bus.read(gpa, data),
        }
    }

    fn store(&self, gpa: u64, data: &[u8]) -> Result<(), BusFault> {
        match self.ram.address_in_range(GuestAddress(gpa)) {
            true => self.ram.write_slice(data, GuestAddress(gpa)).map_err(|_| BusFault),
            false => self.bus.write(gpa, data),
        }
    }
}

struct MockVm {
    world: World,
    harts: Vec<Arc<Shared>>,
    scripts: Vec<Vec<Vec<Step>>>,
    chips: Option<Arc<MockIrqchip>>,
    io_events: Option<Arc<IoEvents>>,
    swallowed: Arc<AtomicU64>,
    starts_harts: bool,
    refuses: Option<Refusal>,
}

impl Vm for MockVm {
    fn create_vcpu(&self, hart: u32) -> Result<Box<dyn Vcpu>, AccelError> {
        if let Some(refusal) = self.refuses.filter(|refusal| *refusal == Refusal::Vcpu(hart)) {
            return Err(refusal.error());
        }
        let mut scripts = self.scripts.get(hart as usize).cloned().unwrap_or_default();
        scripts.reverse();
        Ok(Box::new(MockVcpu {
            world: self.world.clone(),
            io_events: self.io_events.clone(),
            swallowed: Arc::clone(&self.swallowed),
            shared: Arc::clone(&self.harts[hart as usize]),
            scripts,
            steps: Vec::new(),
            state: HartState::default(),
            hart,
            refuses: self.refuses,
        }))
    }

    fn start_irqchip(&self) -> Result<Option<Arc<dyn Irqchip>>, AccelError> {
        Ok(self.chips.clone().map(|chips| chips as _))
    }

    /// Nothing is cached.
    fn remote_fence(&self, _: &HartSet, _: RemoteFence) {}

    fn starts_harts(&self) -> bool {
        self.starts_harts
    }

    fn has_io_events(&self) -> bool {
        self.io_events.is_some()
    }

    fn set_io_event(&self, gpa: u64, value: u32, event: BorrowedFd<'_>, on: bool) -> Result<(), AccelError> {
        let failed = |source| AccelError::Host { doing: format!("watch stores to {gpa:#x}"), source };
        let events = self.io_events.as_ref().ok_or_else(|| failed(ErrorKind::Unsupported.into()))?;
        let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
        match (on, events.contains_key(&(gpa, value))) {
            (true, true) => return Err(failed(ErrorKind::AlreadyExists.into())),
            (false, false) => return Err(failed(ErrorKind::NotFound.into())),
            (true, false) => events.insert((gpa, value), event.try_clone_to_owned().map_err(failed)?),
            (false, true) => events.remove(&(gpa, value)),
        };
        Ok(())
    }

    fn start_dirty_log(&self) -> Result<(), AccelError> {
        DirtyPages::of_devices(&self.world.ram);
        Ok(())
    }

    /// The harts store as devices do.
    fn take_dirty_log(&self) -> Result<DirtyPages, AccelError> {
        Ok(DirtyPages::of_devices(&self.world.ram))
    }

    fn stop_dirty_log(&self) -> Result<(), AccelError> {
        Ok(())
    }
}

/// Interrupt controllers that deliver nothing, and remember what was done to them.
pub struct MockIrqchip {
    pub config: IrqchipConfig,
    state: Mutex<IrqchipState>,
    msis: Mutex<Vec<(u64, u32)>>,
    refuses: bool,
}

impl MockIrqchip {
    fn new(config: IrqchipConfig, harts: u32) -> Self {
        let words = (config.identities as usize + 1) / 64;
        let file = InterruptFileState { pending: vec![0; words], enabled: vec![0; words], ..Default::default() };
        let aplic = config.aplic.map(|(_, sources)| {
            let by_source = vec![0; sources as usize + 1];
            AplicState { sourcecfg: by_source.clone(), target: by_source, ..AplicState::default() }
        });
        let state = IrqchipState { aplic, files: vec![file; harts as usize] };
        Self { config, state: Mutex::new(state), msis: Mutex::default(), refuses: false }
    }

    /// Every MSI so far: address and data.
    pub fn msis(&self) -> Vec<(u64, u32)> {
        self.msis.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Irqchip for MockIrqchip {
    fn set_line(&self, source: u32, level: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(aplic) = &mut state.aplic {
            let bit = 1 << source;
            aplic.inputs = if level { aplic.inputs | bit } else { aplic.inputs & !bit };
        }
    }

    fn send_msi(&self, address: u64, data: u32) {
        self.msis.lock().unwrap_or_else(PoisonError::into_inner).push((address, data));
    }

    fn route_msi(&self, _: u32, _: Option<(u64, u32)>) -> Result<(), AccelError> {
        Ok(())
    }

    fn irqfd(&self, _: u32, _: BorrowedFd<'_>, _: bool) -> Result<(), AccelError> {
        Err(AccelError::Unsupported { name: "mock", what: "event descriptors".to_owned() })
    }

    fn state(&self) -> Result<IrqchipState, AccelError> {
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn set_state(&self, state: &IrqchipState) -> Result<(), AccelError> {
        if self.refuses {
            return Err(Refusal::Irqchip.error());
        }
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state.clone();
        Ok(())
    }
}

struct MockVcpu {
    world: World,
    io_events: Option<Arc<IoEvents>>,
    swallowed: Arc<AtomicU64>,
    shared: Arc<Shared>,
    /// The next one last.
    scripts: Vec<Vec<Step>>,
    /// The next one last.
    steps: Vec<Step>,
    state: HartState,
    hart: u32,
    refuses: Option<Refusal>,
}

impl MockVcpu {
    /// Whether the store was turned into an event.
    fn becomes_event(&self, gpa: u64, data: &[u8]) -> bool {
        let (Some(events), Ok(value)) = (&self.io_events, <[u8; 4]>::try_from(data)) else { return false };
        let events = events.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(event) = events.get(&(gpa, u32::from_le_bytes(value))) else { return false };
        self.swallowed.fetch_add(1, Ordering::SeqCst);
        rustix::io::write(event, &1u64.to_ne_bytes()).is_ok()
    }

    /// Sleeps until `done`, which is told the time, or a kick; `false` after a kick, which is taken.
    fn sleep(&self, done: impl Fn(&Inputs, u64) -> bool) -> bool {
        let clock = &self.world.clock;
        let mut inputs = self.shared.inputs();
        loop {
            // One reading for both: a deadline that passes between two would count neither as due nor as to come.
            let now = clock.now();
            if done(&inputs, now) || inputs.kicked {
                break;
            }
            let next = inputs.deadlines.values().filter(|ticks| **ticks > now).min();
            inputs = match next.map(|ticks| clock.until(*ticks)) {
                Some(d) => self.shared.changed.wait_timeout(inputs, d).unwrap_or_else(PoisonError::into_inner).0,
                None => self.shared.changed.wait(inputs).unwrap_or_else(PoisonError::into_inner),
            };
        }
        !std::mem::take(&mut inputs.kicked)
    }
}

impl Vcpu for MockVcpu {
    fn run(&mut self) -> Result<VcpuExit, AccelError> {
        loop {
            if std::mem::take(&mut self.shared.inputs().kicked) {
                return Ok(VcpuExit::Kicked);
            }
            match self.steps.pop() {
                Some(Step::Load { gpa, len }) => {
                    let mut data = vec![0; len];
                    let answer = self.world.load(gpa, &mut data).ok().map(|()| data);
                    self.shared.log(Event::Loaded(answer));
                }
                Some(Step::Store { gpa, data }) => {
                    if !self.becomes_event(gpa, &data) && self.world.store(gpa, &data).is_err() {
                        self.shared.log(Event::StoreFault(gpa));
                    }
                }
                Some(Step::Exit(exit)) => return Ok(exit),
                Some(Step::Panic) => panic!("the script says so"),
                Some(Step::Wait { irq, level }) => {
                    if !self.sleep(|i, now| i.level(irq, now) == level) {
                        self.steps.push(Step::Wait { irq, level });
                        return Ok(VcpuExit::Kicked);
                    }
                }
                None => {
                    self.sleep(|_, _| false);
                    return Ok(VcpuExit::Kicked);
                }
            }
        }
    }

    /// Any line counts as enabled.
    fn wait_for_interrupt(&mut self) -> bool {
        self.sleep(|i, now| i.lines.keys().chain(i.deadlines.keys()).any(|irq| i.level(*irq, now)))
    }

    fn finish_sbi(&mut self, _: &SbiCall, error: i64, value: u64) -> Result<(), AccelError> {
        if let Some(refusal) = self.refuses.filter(|refusal| *refusal == Refusal::Sbi(self.hart)) {
            return Err(refusal.error());
        }
        self.shared.log(Event::Sbi { error, value });
        Ok(())
    }

    fn csr(&mut self, _: u16) -> Option<u64> {
        None
    }

    fn set_csr(&mut self, _: u16, _: u64) -> bool {
        false
    }

    fn try_state(&mut self) -> Result<HartState, AccelError> {
        Ok(self.state.clone())
    }

    fn try_set_state(&mut self, state: &HartState) -> Result<(), AccelError> {
        if let Some(refusal) = self.refuses.filter(|refusal| *refusal == Refusal::State(self.hart)) {
            return Err(refusal.error());
        }
        self.state = state.clone();
        self.steps = self.scripts.pop().unwrap_or_default();
        self.steps.reverse();
        self.shared.log(Event::Started(state.pc));
        Ok(())
    }

    /// Its scripts say when it stops. Nothing is at address 1, and for hart 0 at address 3.
    fn set_debug(&mut self, config: &DebugConfig) -> Result<Vec<u64>, AccelError> {
        let refused = match self.refuses {
            Some(Refusal::Watchpoints) => !config.watchpoints.is_empty(),
            Some(Refusal::Stops) => *config != DebugConfig::default(),
            _ => false,
        };
        if let Some(refusal) = self.refuses.filter(|_| refused) {
            return Err(refusal.error());
        }
        if *config != DebugConfig::default() {
            self.shared.log(Event::Debugged(config.clone()));
        }
        let is_nowhere = |address: &&u64| **address == 1 || self.hart == 0 && **address == 3;
        Ok(config.breakpoints.iter().filter(is_nowhere).copied().collect())
    }

    fn handle(&self) -> Arc<dyn VcpuHandle> {
        Arc::new(MockHandle(Arc::clone(&self.shared)))
    }
}

struct MockHandle(Arc<Shared>);

impl VcpuHandle for MockHandle {
    fn kick(&self) {
        self.0.change(|i| i.kicked = true);
    }

    fn set_irq(&self, irq: HartIrq, level: bool) {
        self.0.change(|i| {
            i.lines.insert(irq, level);
        });
    }

    fn set_guest_irq(&self, _file: u8, _level: bool) {}

    fn raise_ssip(&self) {
        self.set_irq(HartIrq::SupervisorSoftware, true);
    }

    fn set_mtimecmp(&self, ticks: u64) {
        self.0.change(|i| {
            i.deadlines.insert(HartIrq::MachineTimer, ticks);
        });
    }

    fn set_sbi_timer(&self, ticks: u64) {
        self.0.change(|i| {
            i.deadlines.insert(HartIrq::SupervisorTimer, ticks);
        });
    }

    fn clock_changed(&self) {
        self.0.change(|_| ());
    }

    fn inputs(&self) -> HartInputs {
        let inputs = self.0.inputs();
        let deadline = |irq| inputs.deadlines.get(&irq).copied().unwrap_or(u64::MAX);
        HartInputs {
            lines: inputs.lines.iter().filter(|(_, level)| **level).map(|(irq, _)| irq.mask()).sum(),
            mtimecmp: deadline(HartIrq::MachineTimer),
            sbi_timer: deadline(HartIrq::SupervisorTimer),
            ..HartInputs::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use super::*;

    struct NoBus;

    impl GuestBus for NoBus {
        fn answers(&self, _: u64) -> bool {
            false
        }

        fn read(&self, _: u64, _: &mut [u8]) -> Result<(), BusFault> {
            Err(BusFault)
        }

        fn write(&self, _: u64, _: &[u8]) -> Result<(), BusFault> {
            Err(BusFault)
        }
    }

    #[test]
    fn no_deadline_is_missed_that_passes_while_the_hart_falls_asleep() {
        let shared = Arc::new(Shared::default());
        let hart = MockVcpu {
            world: World { ram: GuestRam::new(), bus: Arc::new(NoBus), clock: Arc::new(Clock::new(10_000_000)) },
            io_events: None,
            swallowed: Arc::default(),
            shared: Arc::clone(&shared),
            scripts: Vec::new(),
            steps: Vec::new(),
            state: HartState::default(),
            hart: 0,
            refuses: None,
        };
        // A hart that slept through its deadline would sleep on: the kick makes a failure of it.
        let (done, watched) = (Arc::new(AtomicBool::new(false)), Arc::downgrade(&shared));
        let over = Arc::clone(&done);
        let guard = std::thread::spawn(move || {
            let start = Instant::now();
            while !over.load(Ordering::SeqCst) && start.elapsed() < Duration::from_secs(120) {
                std::thread::sleep(Duration::from_millis(10));
            }
            Weak::upgrade(&watched).inspect(|hart| hart.change(|i| i.kicked = true));
        });
        for n in 0..20_000 {
            let at = hart.world.clock.now() + n % 16;
            shared.change(|i| i.deadlines.extend([(HartIrq::SupervisorTimer, at)]));
            assert!(hart.sleep(|i, now| i.level(HartIrq::SupervisorTimer, now)), "deadline {n} was missed");
        }
        done.store(true, Ordering::SeqCst);
        guard.join().unwrap();
    }
}
