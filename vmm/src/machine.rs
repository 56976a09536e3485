//! A machine: built from its configuration, started, reset as often as it asks, and ended.
//!
//! States: running; stopped (while a request is answered, and for good after a power-off under `-no-shutdown`);
//! ended. Everything that changes the state happens on the main thread; others send a
//! [`Request`]. A reset stops the harts, puts every chip into its power-on state, loads the images
//! again and starts the harts as at power-on: the guest really runs again.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use accel::select::{Choice, select};
use accel::tcg::TcgOptions;
use accel::tcg::csr::{reset, reset_supervisor};
use accel::{Accel, AccelError, Clock, GuestRam, HartState, MpState, VmConfig};
use arch::ext::Ext;
use arch::model::CpuError;
use devices::chardev::{BackendConfig, ChardevConfig, HostRequest};
use devices::misc::EventLoopTimers;
use firmware::boot::{BootError, BootMode, BootPlan, BootRequest, KernelSource, LoadError, Symbols};
use firmware::fdt::{DeviceTree, FdtError};
use firmware::machine_tree::Chosen;
use firmware::sbi::HartStatus;

use crate::affinity;
use crate::board::assembly::{Board, BoardError, Services};
use crate::board::memory::{self, Discard, Memory, MemoryError};
use crate::board::{BoardKind, RAM_BASE, virt};
use crate::config::{AccelChoice, Aia, Bios, MachineConfig, MemoryLock, OnReboot, OnShutdown, RamConfig};
use crate::control::{Control, Request};
use crate::event_loop::{EventLoop, EventLoopError, Subscriber};
use crate::open::{self, Chardevs, DownScript, OpenError};
use crate::sbi_host::SbiMachine;
use crate::signature::{self, SignatureError};
use crate::vcpu_thread::{Harts, Threads};

/// Ticks of the `time` CSR a second, unless the machine asks for another number.
const TIMEBASE: u32 = 10_000_000;

/// How long the last output may take to leave when the program ends.
const DRAIN: Duration = Duration::from_secs(2);

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
    /// The engine answers HSM: all harts have a state from the start.
    starts_harts: bool,
    board: Board,
    plan: BootPlan,
    control: Arc<Control>,
    event_loop: EventLoop,
    chardevs: Chardevs,
    config: MachineConfig,
    _down_scripts: Vec<DownScript>,
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
    let mut machine = match Machine::new(config, &*engine) {
        Err(MachineError::Memory(MemoryError::Interrupted(signal))) => return Ok(Ending::Signal(signal)),
        machine => machine?,
    };
    machine.event_loop.catch_signals()?;
    machine.run()
}

/// What the harts are on this engine: `-cpu` over what the host has, if they are the host's.
fn take_harts(config: &mut MachineConfig, engine: &dyn Accel) -> Result<(), MachineError> {
    let cpu = |source| MachineError::Cpu { argument: config.cpu.clone().unwrap_or_default(), source };
    match engine.host_harts().map_err(MachineError::Accel)? {
        Some(host) => {
            let isa = arch::model::on_host(config.cpu.as_deref(), &host.isa, &host.known).map_err(cpu)?;
            config.isa = isa;
            // The harts' clock is the host's, whatever the machine asks for.
            config.board.timebase = u32::try_from(host.timebase).ok();
            let unsupported = |what| MachineError::Accel(AccelError::Unsupported { name: engine.name(), what });
            match &config.boot.bios {
                Bios::Default | Bios::None => config.boot.bios = Bios::Default,
                Bios::File(path) => {
                    let what = format!("-bios {}: the host's kernel is the firmware (-bios none)", path.display());
                    return Err(unsupported(what));
                }
            }
            if config.machine.board != BoardKind::Virt {
                return Err(unsupported(format!("-machine {}: its console is in RAM", config.machine.name)));
            }
        }
        None if config.cpu.as_deref().is_some_and(crate::cli::names_host) => return Err(cpu(CpuError::NoHost)),
        None => {}
    }
    Ok(())
}

/// Which of the AIA's chips are the engine's.
fn take_irqchip(config: &mut MachineConfig, engine: &dyn Accel) -> Result<(), MachineError> {
    if config.board.aia == Aia::AplicImsic {
        config.board.irqchip = engine.irqchip().map_err(MachineError::Accel)?;
        // The harts may be the host's: then the model says nothing of them, and the engine has looked.
        config.isa.exts.insert(Ext::Ssaia);
        config.isa.imsic = true;
    }
    Ok(())
}

/// Whether the guest starts in M-mode, with what that needs on the board.
fn m_mode(config: &MachineConfig) -> bool {
    config.boot.bios != Bios::Default
}

fn choose_engine(config: &MachineConfig) -> Result<Box<dyn Accel>, MachineError> {
    let mut choices: Vec<Choice> = config.accel.iter().map(choice).collect();
    let observed = config.perf_map || config.jit_dump;
    if choices.is_empty() && (m_mode(config) || config.icount.is_some() || observed) {
        // Only the translator has an M-mode, counts instructions, and has code to show.
        choices.push(Choice::Tcg(TcgOptions::default()));
    }
    for choice in &mut choices {
        if let Choice::Tcg(options) = choice {
            (options.perf_map, options.jit_dump) = (config.perf_map, config.jit_dump);
        }
    }
    let selection = select(&choices).map_err(|mut refused| match (refused.len(), refused.pop()) {
        (1, Some(only)) => MachineError::Accel(only),
        (_, last) => {
            refused.extend(last);
            let reasons: Vec<_> = refused.iter().map(ToString::to_string).collect();
            MachineError::NoAccel(reasons.join("; "))
        }
    })?;
    for reason in &selection.refused {
        // A list that the user gave falls back audibly; the default does so quietly.
        let engine = selection.engine.name();
        match choices.is_empty() {
            true => tracing::info!("{reason}; using {engine}"),
            false => tracing::warn!("{reason}; using {engine}"),
        }
    }
    Ok(selection.engine)
}

fn choice(choice: &AccelChoice) -> Choice {
    match choice {
        AccelChoice::Kvm(options) => Choice::Kvm(options.clone()),
        AccelChoice::Tcg(tcg) => {
            let mut options = TcgOptions { jit: tcg.jit, ..TcgOptions::default() };
            if let Some(mib) = tcg.code_cache_mib {
                options.tb_size = Some((mib as usize) << 20);
            }
            if tcg.one_insn_per_block {
                options.block_insns = 1;
            }
            if let Some(n) = tcg.tlb_entries {
                options.tlb_entries = n as usize;
            }
            options.evict = tcg.evict.unwrap_or(options.evict);
            options.chain = tcg.chain;
            if let Some(mib) = tcg.idle_code_mib {
                options.idle_code = (mib as usize) << 20;
            }
            options.hot = tcg.hot.unwrap_or(options.hot);
            options.jump_cache = tcg.jump_cache;
            options.simd = tcg.host.unwrap_or(options.simd);
            Choice::Tcg(options)
        }
    }
}

/// Chips, wires and memory, without anything that runs them.
fn build_board(
    config: &MachineConfig,
    chardevs: &Chardevs,
    control: &Arc<Control>,
    timers: &Arc<EventLoopTimers>,
    ram: Arc<GuestRam>,
) -> Result<(Board, Vec<DownScript>), MachineError> {
    let frequency = u64::from(config.board.timebase.unwrap_or(TIMEBASE));
    let clock =
        Arc::new(config.icount.map_or_else(|| Clock::new(frequency), |shift| Clock::counting(frequency, shift)));
    let (backends, down_scripts) = open::backends(config, chardevs, control)?;
    let services = Services { control: Arc::clone(control) as _, timers };
    let build = match config.machine.board {
        BoardKind::Virt => Board::virt,
        BoardKind::Spike => Board::spike,
    };
    Ok((build(config, m_mode(config), clock, ram, backends, &services)?, down_scripts))
}

/// Decides what is loaded where.
fn plan_boot(config: &MachineConfig, board: &Board) -> Result<BootPlan, MachineError> {
    let bios = match &config.boot.bios {
        Bios::Default => firmware::boot::Bios::Builtin,
        Bios::None => firmware::boot::Bios::None,
        Bios::File(path) => firmware::boot::Bios::File(path.clone()),
    };
    let demo = || KernelSource::Embedded { name: firmware::demo::DEMO_NAME, bytes: firmware::demo::DEMO };
    let kernel = match &config.boot.kernel {
        Some(path) => Some(KernelSource::File(path.clone())),
        // Nothing to run was named: show what the machine can do.
        None if bios == firmware::boot::Bios::Builtin && config.flash[0].is_none() => Some(demo()),
        None => None,
    };
    let request = BootRequest {
        ram: RAM_BASE..RAM_BASE + config.ram_size,
        bios,
        kernel,
        initrd: config.boot.initrd.clone(),
        flash: config.flash[0].is_some().then_some(virt::map::FLASH.base),
        symbols: board.bus.htif.is_some() || config.board.signature.is_some(),
    };
    let users_tree = config.boot.dtb.as_ref().map(read_tree).transpose()?;
    let mut make_tree = |initrd, symbols: &Symbols| {
        board.take_symbols(symbols);
        let chosen = Chosen {
            bootargs: config.boot.append.clone(),
            initrd,
            // A place; every boot gets its own numbers.
            rng_seed: Some([0; 32]),
            ..Chosen::default()
        };
        Ok(match &users_tree {
            Some(tree) => {
                let mut tree = tree.clone();
                chosen.apply(&mut tree);
                tree
            }
            None => board.tree(chosen),
        })
    };
    Ok(BootPlan::new(&request, &mut make_tree)?)
}

/// Where the signature is that was asked for.
fn signature_range(config: &MachineConfig, plan: &BootPlan) -> Result<Option<Range<u64>>, SignatureError> {
    let ram = RAM_BASE..RAM_BASE + config.ram_size;
    config.board.signature.as_ref().map(|path| signature::range(plan.symbols.signature, ram, path)).transpose()
}

fn read_tree(path: &PathBuf) -> Result<DeviceTree, MachineError> {
    let file = |source| MachineError::File { what: "read device tree", path: path.clone(), source };
    let blob = std::fs::read(path).map_err(file)?;
    DeviceTree::parse(&blob).map_err(|source| MachineError::Dtb { path: path.clone(), source })
}

/// `-M dumpdtb=`: no guest runs, and no console is opened.
fn dump_tree(mut config: MachineConfig, path: PathBuf) -> Result<Ending, MachineError> {
    config.chardevs.clear();
    config.serial = None;
    // Nor are disks and networks: an empty transport looks the same.
    config.virtio.clear();
    let host = |what| move |source| MachineError::Host { what, source };
    let control = Arc::new(Control::new().map_err(host("make an event descriptor"))?);
    let timers = EventLoopTimers::new().map_err(host("make a timer"))?;
    let chardevs = Chardevs::open(&config)?;
    // Nothing is loaded: what the options say of memory makes no difference.
    let ram = memory::make(RAM_BASE, config.ram_size, &RamConfig::default(), MemoryLock::Off)?.ram;
    let (board, _) = build_board(&config, &chardevs, &control, &timers, ram)?;
    let mut plan = plan_boot(&config, &board)?;
    plan.reseed(random_seed()?)?;
    std::fs::write(&path, &plan.dtb).map_err(|source| MachineError::File {
        what: "write device tree",
        path: path.clone(),
        source,
    })?;
    println!("vireo: device tree written to '{}'", path.display());
    Ok(Ending::Code(0))
}

fn random_seed() -> Result<[u8; 32], MachineError> {
    let mut seed = [0; 32];
    let mut filled = 0;
    while filled < seed.len() {
        // SAFETY: writes at most the slice's length into the slice.
        let n = unsafe { libc::getrandom(seed[filled..].as_mut_ptr().cast(), seed.len() - filled, 0) };
        match usize::try_from(n) {
            Ok(n) => filled += n,
            Err(_) => {
                let error = std::io::Error::last_os_error();
                if error.kind() != std::io::ErrorKind::Interrupted {
                    return Err(MachineError::Random(error));
                }
            }
        }
    }
    Ok(seed)
}

impl Machine {
    pub fn new(config: MachineConfig, engine: &dyn Accel) -> Result<Self, MachineError> {
        let host = |what| move |source| MachineError::Host { what, source };
        let control = Arc::new(Control::new().map_err(host("make an event descriptor"))?);
        let timers = EventLoopTimers::new().map_err(host("make a timer"))?;
        let cpus = affinity::cpu_sets(&config.affinity).map_err(MachineError::Failed)?;
        // Before the terminal is the guest's: making pages may take long, and Ctrl-C ends it.
        let Memory { ram, discard } = memory::make(RAM_BASE, config.ram_size, &config.ram, config.lock)?;
        let chardevs = Chardevs::open(&config)?;
        let (board, down_scripts) = build_board(&config, &chardevs, &control, &timers, ram)?;
        let plan = plan_boot(&config, &board)?;
        // A test that cannot leave a signature need not run.
        signature_range(&config, &plan)?;

        let hart_count = config.topology.harts();
        let vm = engine
            .create_vm(VmConfig {
                ram: (*board.ram).clone(),
                bus: Arc::clone(&board.bus) as _,
                clock: Arc::clone(&board.clock),
                harts: hart_count,
                isa: config.isa.clone(),
                builtin_sbi: !m_mode(&config),
                machine_traps: !m_mode(&config),
                imsic: board.imsics.clone().map(|imsics| imsics as _),
                irqchip: board.engine_chips.as_ref().map(|chips| chips.config),
            })
            .map_err(MachineError::Accel)?;
        let starts_harts = vm.starts_harts();
        let vcpus = (0..hart_count).map(|h| vm.create_vcpu(h)).collect::<Result<Vec<_>, _>>();
        let vcpus = vcpus.map_err(MachineError::Accel)?;
        board.bus.connect(&vm);
        if let (Some(chips), Some(engines)) = (&board.engine_chips, vm.start_irqchip().map_err(MachineError::Accel)?) {
            chips.bind(engines);
        }
        board.wires.bind(vcpus.iter().map(|v| v.handle()).collect());

        let harts = Arc::new(Harts::new(hart_count, &config.isa, Arc::clone(&board.wires)));
        control.bind(Arc::clone(&harts));
        let sbi = Arc::new(SbiMachine {
            ram: Arc::clone(&board.ram),
            vm,
            wires: Arc::clone(&board.wires),
            harts: Arc::clone(&harts),
            isa: config.isa.clone(),
            hart_count,
            console: Arc::clone(&board.console),
        });
        let early = plan.writes.first().map(|write| write.address);
        let threads = Threads::spawn(&harts, vcpus, &sbi, &control, &cpus, early);
        let threads = threads.map_err(host("start the vCPU threads"))?;

        let mut event_loop = EventLoop::new(Arc::clone(&control), &timers)?;
        for chardev in chardevs.iter() {
            let control = Arc::clone(&control);
            chardev.set_host_handler(move |request| match request {
                HostRequest::Exit => control.request(Request::Quit),
                // Changes of snapshot disks are forgotten at the end; there is nothing to save them to.
                HostRequest::SaveDisks => tracing::warn!("writing snapshot disks back is not supported by vireo yet"),
            });
            event_loop.add(Arc::clone(chardev) as Subscriber);
            if let Some(notice) = chardev.notice() {
                eprintln!("vireo: {notice}");
            }
        }
        Ok(Self {
            threads,
            harts,
            starts_harts,
            board,
            plan,
            control,
            event_loop,
            chardevs,
            config,
            _down_scripts: down_scripts,
            _discard: discard,
        })
    }

    /// Runs to the end. Whoever wants signals to end it has them caught before.
    pub fn run(mut self) -> Result<Ending, MachineError> {
        if let Some(ending) = self.wait_for_peers()? {
            return Ok(ending);
        }
        self.power_on()?;
        let ending = self.serve();
        // The harts end before the last output is written, so that it is the last.
        drop(self.threads);
        for chardev in self.chardevs.iter() {
            chardev.drain(DRAIN);
        }
        ending
    }

    /// `wait=on`: the guest starts when somebody is at the far end. The user may give up meanwhile.
    fn wait_for_peers(&mut self) -> Result<Option<Ending>, MachineError> {
        let waits = |c: &&ChardevConfig| matches!(c.backend, BackendConfig::Socket { server: true, wait: true, .. });
        for config in self.config.chardevs.iter().filter(waits) {
            let Some(chardev) = self.chardevs.iter().find(|c| c.id() == config.id) else { continue };
            match self.event_loop.turn_while(&|| !chardev.is_connected())? {
                None => {}
                Some(Request::Signal(signal)) => return Ok(Some(Ending::Signal(signal))),
                Some(Request::Failure(what)) => return Err(MachineError::Failed(what)),
                // No guest runs yet: it is the user's.
                Some(Request::Quit | Request::Reset | Request::PowerOff(_)) => return Ok(Some(Ending::Code(0))),
            }
        }
        Ok(None)
    }

    /// Answers requests until one ends the machine.
    fn serve(&mut self) -> Result<Ending, MachineError> {
        loop {
            match self.event_loop.next_request()? {
                Request::Reset if self.config.on_reboot == OnReboot::Exit => return Ok(Ending::Code(0)),
                Request::Reset => {
                    self.harts.stop();
                    // Other harts may have asked for something before they stopped; that life is over.
                    self.control.forget_guest_requests();
                    self.power_on()?;
                }
                Request::PowerOff(code) => match self.config.on_shutdown {
                    OnShutdown::Exit => {
                        self.write_signature()?;
                        return Ok(Ending::Code(code));
                    }
                    OnShutdown::Pause => {
                        self.harts.stop();
                        self.board.clock.pause();
                        tracing::info!("the guest has powered off; the machine is stopped");
                    }
                },
                Request::Quit => return Ok(Ending::Code(0)),
                Request::Signal(signal) => return Ok(Ending::Signal(signal)),
                Request::Failure(what) => return Err(MachineError::Failed(what)),
            }
        }
    }

    /// Power-on: everything as if the machine had just been built, then the harts run. They are stopped.
    fn power_on(&mut self) -> Result<(), MachineError> {
        self.board.reset();
        self.board.clock.set(0);
        for handle in self.board.wires.handles() {
            handle.set_sbi_timer(u64::MAX);
        }
        self.board.wires.clock_changed();
        self.plan.reseed(random_seed()?)?;
        if let Some(rom) = &self.plan.rom {
            self.board.mrom.load(rom.clone())?;
        }
        let (ram, plan) = (&self.board.ram, &self.plan);
        memory::on_small_pages(ram, plan.fdt_address, plan.dtb.len(), || plan.load(&**ram))?;
        self.load_harts();
        self.harts.run();
        Ok(())
    }

    /// `-M signature=`: the guest is done.
    fn write_signature(&self) -> Result<(), MachineError> {
        if let (Some(path), Some(range)) = (&self.config.board.signature, signature_range(&self.config, &self.plan)?) {
            self.harts.stop();
            signature::write(&self.board.ram, range, self.config.board.signature_granularity, path)?;
        }
        Ok(())
    }

    fn load_harts(&self) {
        let isa = &self.config.isa;
        self.harts.reset();
        for hart in 0..self.config.topology.harts() {
            let r = self.plan.registers(hart);
            match self.plan.mode {
                BootMode::Supervisor if hart == 0 => {
                    self.harts.load(hart, reset_supervisor(isa, u64::from(hart), r.pc, r.a1));
                }
                BootMode::Supervisor if self.starts_harts => {
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
