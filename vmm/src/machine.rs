//! A machine: built from its configuration, started, reset as often as it asks, and ended.
//!
//! States: running; stopped (while a request is answered, and for good after a power-off under `-no-shutdown`);
//! ended. Everything that changes the state happens on the main thread; others send a
//! [`Request`]. A reset stops the harts, puts every chip into its power-on state, loads the images
//! again and starts the harts as at power-on: the guest really runs again.

mod build;
mod debug_switch;
mod descriptors;
mod dump;
mod gdb_server;
mod hardware;
mod inspect;
mod jobs;
mod keys;
mod migrate;
mod named;
mod observe;
mod run_state;
mod shared;
mod snapshot;
mod switch;
mod task;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use accel::tcg::csr::{reset, reset_supervisor};
use accel::trace::TraceItems;
use accel::{Accel, AccelError, HartState, MpState};
use arch::model::CpuError;
use devices::chardev::{BackendConfig, ChardevConfig, HostRequest};
use devices::misc::{EventLoopTimers, Timer, TimerService};
use event_manager::SubscriberId;
use firmware::boot::{BootError, BootMode, BootPlan, LoadError};
use firmware::fdt::FdtError;
use firmware::sbi::HartStatus;

pub use debug_switch::{Need, Reason};
pub use dump::{DumpState, DumpStatus};
pub(crate) use inspect::read_physical;
pub use inspect::{Region, RegionKind, Rom};
pub use jobs::{Job, JobStatus};
pub use keys::HOLD;
pub use migrate::{Capability, Outcome, Parameter, Parameters, Report, Sent, Status, Unit};
pub use named::Named;
pub use run_state::RunState;
pub use switch::Switched;
pub use task::Ticket;

use debug_switch::Away;
use descriptors::Descriptors;
use migrate::Moves;
use observe::Profile;
use switch::Running;
use task::Tasks;

use build::{build_board, choose_engine, dump_tree, plan_boot, random_seed, signature_range, take_harts, take_irqchip};

use crate::affinity;
use crate::board::assembly::{Board, BoardError};
use crate::board::memory::{self, Discard, Memory, MemoryError};
use crate::board::{BoardKind, RAM_BASE};
use crate::config::{self, MachineConfig, OnReboot, OnShutdown};
use crate::control::{Control, Request, Wake};
use crate::event_loop::{EventLoop, EventLoopError, Subscriber};
use crate::harts::{Harts, Threads};
use crate::monitor::Monitors;
use crate::monitor::event::{Cause, Event};
use crate::open::{Chardevs, ImageLocks, Kept, OpenError};
use crate::sbi_host::SbiMachine;
use crate::signature::{self, SignatureError};
use crate::snapshot::{SnapshotError, check_folder};

/// How long the last output may take to leave when the program ends.
const DRAIN: Duration = Duration::from_secs(2);
/// How long gdb, if it is there, may take then to confirm the packet that says so.
const CONFIRMATION: Duration = Duration::from_millis(500);

/// Why a machine cannot be built or go on.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("cannot start accelerator")]
    Accel(#[source] AccelError),
    #[error("no accelerator works here: {0}")]
    NoAccel(String),
    #[error("-cpu {argument}")]
    Cpu { argument: String, source: CpuError },
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Board(#[from] BoardError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot make the device tree")]
    Tree(#[from] FdtError),
    #[error("device tree '{}'", path.display())]
    Dtb { path: PathBuf, source: FdtError },
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("cannot {what} '{}'", path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the boot ROM's contents do not fit")]
    Rom(#[from] devices::misc::mrom::MromFull),
    #[error("cannot get random numbers from the host")]
    Random(#[source] std::io::Error),
    #[error(transparent)]
    EventLoop(#[from] EventLoopError),
    #[error("cannot {what}")]
    Host { what: &'static str, source: std::io::Error },
    #[error("cannot take the guest from '{channel}'")]
    Incoming { channel: String, source: SnapshotError },
    #[error("{0}")]
    Failed(String),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Code(u8),
    /// A signal asked for it.
    Signal(i32),
}

/// A machine that is ready to run. Fields drop in order: the harts first, then what they use.
pub struct Machine {
    threads: Threads,
    harts: Arc<Harts>,
    board: Board,
    /// What a reset loads. A machine that waits for a guest makes it when it is needed: kernels may be large.
    plan: Option<BootPlan>,
    control: Arc<Control>,
    event_loop: EventLoop,
    /// Calls for the monitors.
    ticks: Box<dyn Timer>,
    chardevs: Chardevs,
    monitors: Arc<Monitors>,
    /// The event loop's numbers of the character devices.
    subscribers: BTreeMap<String, SubscriberId>,
    /// The gdb server is to end.
    ends_gdb: bool,
    run_state: RunState,
    /// Drives for which the machine has stopped, and what their images had.
    io_status: BTreeMap<String, &'static str>,
    /// Not dismissed.
    jobs: Vec<Job>,
    /// How the guest's memory was dumped last.
    dumped: Option<DumpStatus>,
    /// What the monitors have not been told yet.
    events: Vec<Event>,
    /// A monitor has asked for something that was not done yet.
    requested: bool,
    /// What monitors were handed.
    descriptors: Descriptors,
    moves: Moves,
    tasks: Tasks,
    profile: Profile,
    /// Held while the guest is here.
    locks: ImageLocks,
    config: MachineConfig,
    /// The engine's name.
    engine: &'static str,
    away: Away,
    kept: Kept,
    _discard: Option<Discard>,
}

/// Builds a machine and runs it to its end.
pub fn run(mut config: MachineConfig) -> Result<Ending, MachineError> {
    let dumpdtb = config.board.dumpdtb.clone();
    let engine = choose_engine(&config)?;
    take_harts(&mut config, &*engine)?;
    take_irqchip(&mut config, &*engine)?;
    if let Some(path) = dumpdtb {
        return dump_tree(config, path);
    }
    let shown = debug_switch::is_allowed(&config) && engine.host_harts().map_err(MachineError::Accel)?.is_some();
    // The guest is given the engine's harts, and the translator runs them.
    let items = if shown { std::mem::take(&mut config.log.items) } else { TraceItems::empty() };
    let mut machine = match Machine::new(config, &*engine) {
        Err(MachineError::Memory(MemoryError::Interrupted(signal))) => return Ok(Ending::Signal(signal)),
        machine => machine?,
    };
    machine.start_log(items).map_err(MachineError::Failed)?;
    machine.event_loop.catch_signals()?;
    machine.run()
}

impl Machine {
    pub fn new(config: MachineConfig, engine: &dyn Accel) -> Result<Self, MachineError> {
        let host = |what| move |source| MachineError::Host { what, source };
        if let Some(folder) = &config.board.snapshots {
            let what = "keep snapshots in";
            check_folder(folder).map_err(|source| MachineError::File { what, path: folder.clone(), source })?;
        }
        let control = Arc::new(Control::new().map_err(host("make an event descriptor"))?);
        let timers = EventLoopTimers::new().map_err(host("make a timer"))?;
        let called = Arc::clone(&control);
        let ticks = timers.timer(Box::new(move || called.attend())).map_err(host("make a timer"))?;
        let cpus = affinity::cpu_sets(&config.affinity).map_err(MachineError::Failed)?;
        // Before the terminal is the guest's: making pages may take long, and Ctrl-C ends it.
        let Memory { ram, discard } = memory::make(RAM_BASE, config.ram_size, &config.ram, config.lock)?;
        let chardevs = Chardevs::open(&config)?;
        let mut locks = ImageLocks::new(&config);
        if config.incoming.is_none() {
            locks.take()?;
        }
        let (board, kept) = build_board(&config, &chardevs, &control, &timers, ram)?;
        let needs_plan = config.incoming.is_none() || config.board.signature.is_some() || board.bus.htif.is_some();
        let plan = needs_plan.then(|| plan_boot(&config, &board)).transpose()?;
        // A test that cannot leave a signature need not run.
        plan.as_ref().map_or(Ok(None), |plan| signature_range(&config, plan))?;

        let hart_count = config.topology.harts();
        let Running { vm, mut vcpus, chips } =
            Running::new(engine, &config, &board, config.board.irqchip).map_err(MachineError::Accel)?;
        observe::trace(&config, &mut vcpus)?;
        board.bus.connect(&vm);
        if let (Some(board), Some((chips, config))) = (&board.engine_chips, chips) {
            board.bind(chips, config);
        }
        board.wires.bind(vcpus.iter().map(|v| v.handle()).collect());

        let harts = Arc::new(Harts::new(hart_count, &config.isa, Arc::clone(&board.wires), vm));
        control.bind(Arc::clone(&harts));
        let sbi = Arc::new(SbiMachine {
            ram: Arc::clone(&board.ram),
            wires: Arc::clone(&board.wires),
            harts: Arc::clone(&harts),
            isa: config.isa.clone(),
            hart_count,
            console: Arc::clone(&board.console),
        });
        let early = plan.as_ref().filter(|_| config.incoming.is_none());
        let early = early.and_then(|plan| plan.writes.first()).map(|write| write.address);
        let threads = Threads::spawn(&harts, vcpus, &sbi, &control, &cpus, early);
        let threads = threads.map_err(host("start the vCPU threads"))?;

        let monitors =
            Monitors::open(&config.monitors, |id| chardevs.find(id), &control).map_err(OpenError::Chardev)?;
        let monitors = Arc::new(monitors);
        let mut event_loop = EventLoop::new(Arc::clone(&control), &timers)?;
        let mut subscribers = BTreeMap::new();
        for chardev in chardevs.iter() {
            let control = Arc::clone(&control);
            chardev.set_host_handler(move |request| match request {
                HostRequest::Exit => control.request(Request::Quit(Cause::User)),
                // Changes of snapshot disks are forgotten at the end; there is nothing to save them to.
                HostRequest::SaveDisks => tracing::warn!("writing snapshot disks back is not supported by vireo yet"),
            });
            subscribers.insert(chardev.id().to_owned(), event_loop.add(Arc::clone(chardev) as Subscriber));
            if let Some(notice) = chardev.notice() {
                eprintln!("vireo: {notice}");
            }
        }
        Ok(Self {
            threads,
            harts,
            board,
            plan,
            control,
            event_loop,
            ticks,
            chardevs,
            monitors,
            subscribers,
            ends_gdb: false,
            run_state: RunState::Prelaunch,
            io_status: BTreeMap::new(),
            jobs: Vec::new(),
            dumped: None,
            events: Vec::new(),
            requested: false,
            descriptors: Descriptors::default(),
            moves: Moves::default(),
            tasks: Tasks::default(),
            profile: Profile::default(),
            locks,
            config,
            engine: engine.name(),
            away: Away::default(),
            kept,
            _discard: discard,
        })
    }

    /// Runs to the end. Whoever wants signals to end it has them caught before.
    pub fn run(mut self) -> Result<Ending, MachineError> {
        if let Some(ending) = self.wait_for_peers()? {
            return Ok(ending);
        }
        let incoming = self.config.incoming.clone();
        if self.config.starts_stopped || incoming.is_some() {
            self.board.clock.pause();
        }
        match incoming {
            None => {
                self.power_on()?;
                if !self.config.starts_stopped {
                    self.start();
                }
            }
            Some(incoming) => {
                self.run_state = RunState::InMigrate;
                self.board.stop();
                if let config::Incoming::From(channel) = incoming {
                    self.expect(channel)?;
                }
            }
        }
        let ending = self.serve();
        self.abandon_moves();
        self.abandon_task();
        self.end_profile();
        Arc::clone(&self.monitors).finish(&mut self, ending.as_ref().ok());
        let gdb = self.gdb_server().map(|id| Arc::clone(self.chardevs.find(id)));
        // The harts end before the last output is written, so that it is the last.
        drop(self.threads);
        for chardev in self.chardevs.iter() {
            chardev.drain(DRAIN);
        }
        if let Some(gdb) = gdb {
            gdb.hear_out(CONFIRMATION);
        }
        self.chardevs.iter().for_each(|chardev| chardev.close());
        ending
    }

    /// `wait=on`: the guest starts when somebody is at the far end. The user may give up meanwhile.
    fn wait_for_peers(&mut self) -> Result<Option<Ending>, MachineError> {
        let waits = |c: &&ChardevConfig| matches!(c.backend, BackendConfig::Socket { server: true, wait: true, .. });
        let mut attention = false;
        let waited: Vec<_> = self.config.chardevs.iter().filter(waits).map(|c| c.id.clone()).collect();
        for id in waited {
            let chardev = Arc::clone(self.chardevs.find(&id));
            while !chardev.is_connected() {
                match self.event_loop.turn_while(&|| !chardev.is_connected())? {
                    None | Some(Wake::Request(Request::Debug { .. } | Request::IoError)) => {}
                    // There is no machine yet that monitors could steer.
                    Some(Wake::Attention) => attention = true,
                    Some(Wake::Request(Request::Signal(signal))) => return Ok(Some(Ending::Signal(signal))),
                    Some(Wake::Request(Request::Failure(what))) => return Err(MachineError::Failed(what)),
                    // It is the user's.
                    Some(Wake::Request(Request::Quit(_) | Request::Reset(_) | Request::PowerOff(_))) => {
                        return Ok(Some(Ending::Code(0)));
                    }
                }
            }
        }
        if attention {
            self.control.attend();
        }
        Ok(None)
    }

    /// Answers requests and monitors until something ends the machine.
    fn serve(&mut self) -> Result<Ending, MachineError> {
        loop {
            match self.event_loop.next_wake()? {
                Wake::Attention => {}
                Wake::Request(request) => {
                    if let Some(ending) = self.answer(request)? {
                        return Ok(ending);
                    }
                }
            }
            self.look_after_moves()?;
            self.look_after_task();
            for request in self.take_deferred() {
                if let Some(ending) = self.answer(request)? {
                    return Ok(ending);
                }
            }
            self.attend();
        }
    }

    /// Looks after the monitors.
    fn attend(&mut self) {
        let monitors = Arc::clone(&self.monitors);
        monitors.serve(self);
        self.finish_gdb();
    }

    fn answer(&mut self, request: Request) -> Result<Option<Ending>, MachineError> {
        // Another one may wait behind this.
        self.requested &= self.control.is_asked();
        match request {
            Request::Debug { .. } | Request::IoError | Request::Reset(_) | Request::PowerOff(_)
                if self.is_held().is_some() =>
            {
                self.defer(request)
            }
            Request::Debug { hart, stop } => {
                self.stop(RunState::Debug);
                self.events.push(Event::Debug { hart, stop });
            }
            Request::IoError => {
                self.hear_disks();
                self.interrupt(RunState::IoError);
            }
            // There is no guest to start again.
            Request::Reset(_) if self.run_state == RunState::InMigrate => {}
            Request::Reset(cause) if self.config.on_reboot == OnReboot::Exit => {
                self.events.push(Event::NoReboot(cause));
                return Ok(Some(Ending::Code(0)));
            }
            Request::Reset(cause) => {
                self.harts.stop();
                // Other harts may have asked for something before they stopped; that life is over.
                self.control.forget_guest_requests();
                self.power_on()?;
                self.events.push(Event::Reset(cause));
                match self.run_state {
                    RunState::Running => self.start(),
                    _ => self.run_state = RunState::Prelaunch,
                }
            }
            Request::PowerOff(code) => {
                self.events.push(Event::Shutdown(Cause::Guest));
                match self.config.on_shutdown {
                    OnShutdown::Exit => {
                        self.write_signature()?;
                        return Ok(Some(Ending::Code(code)));
                    }
                    OnShutdown::Pause => {
                        self.stop(RunState::Shutdown);
                        // What other harts asked for before they stopped means nothing any more.
                        self.control.forget_guest_requests();
                        tracing::info!("the guest has powered off; the machine is stopped");
                    }
                }
            }
            Request::Quit(cause) => {
                self.events.push(Event::Shutdown(cause));
                return Ok(Some(Ending::Code(0)));
            }
            Request::Signal(signal) => {
                self.events.push(Event::Shutdown(Cause::Signal));
                return Ok(Some(Ending::Signal(signal)));
            }
            Request::Failure(what) => {
                self.events.push(Event::Shutdown(Cause::Failure));
                return Err(MachineError::Failed(what));
            }
        }
        Ok(None)
    }

    /// Power-on: everything as if the machine had just been built. The harts are stopped, and stay so.
    fn power_on(&mut self) -> Result<(), MachineError> {
        self.board.reset();
        self.board.clock.set(0);
        for hart in 0..self.hart_count() {
            self.board.wires.set_sbi_timer(hart, u64::MAX);
        }
        self.board.wires.clock_changed();
        let mut plan = match self.plan.take() {
            Some(plan) => plan,
            None => plan_boot(&self.config, &self.board)?,
        };
        plan.reseed(random_seed()?)?;
        if let Some(rom) = &plan.rom {
            self.board.mrom.load(rom.clone())?;
        }
        let ram = &self.board.ram;
        memory::on_small_pages(ram, plan.fdt_address, plan.dtb.len(), || plan.load(&**ram))?;
        self.load_harts(&plan);
        self.plan = Some(plan);
        Ok(())
    }

    /// `-M signature=`: the guest is done.
    fn write_signature(&self) -> Result<(), MachineError> {
        let Some(plan) = &self.plan else { return Ok(()) };
        if let (Some(path), Some(range)) = (&self.config.board.signature, signature_range(&self.config, plan)?) {
            self.harts.stop();
            signature::write(&self.board.ram, range, self.config.board.signature_granularity, path)?;
        }
        Ok(())
    }

    fn load_harts(&self, plan: &BootPlan) {
        let isa = &self.config.isa;
        let starts_harts = self.harts.vm().starts_harts();
        self.harts.reset();
        for hart in 0..self.config.topology.harts() {
            let r = plan.registers(hart);
            match plan.mode {
                BootMode::Supervisor if hart == 0 => {
                    self.harts.load(hart, reset_supervisor(isa, u64::from(hart), r.pc, r.a1));
                }
                BootMode::Supervisor if starts_harts => {
                    let state = reset_supervisor(isa, u64::from(hart), 0, 0);
                    self.harts.load(hart, HartState { mp: MpState::Stopped, ..state });
                }
                BootMode::Supervisor => {}
                BootMode::Machine => {
                    let mut state = reset(isa, u64::from(hart));
                    if self.config.machine.board == BoardKind::Spike && isa.pmp_entries > 0 {
                        // As the simulator has it: its programs may not know of PMP. All of memory, all accesses.
                        (state.csr.pmp.cfg[0], state.csr.pmp.addr[0]) = (0x1f, (1 << 54) - 1);
                    }
                    (state.pc, state.x[10], state.x[11], state.x[12]) = (r.pc, r.a0, r.a1, r.a2);
                    self.harts.states.set(hart, HartStatus::Started);
                    self.harts.load(hart, state);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
