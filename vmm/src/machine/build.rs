//! From a configuration to what a machine is made of: the engine, what its harts are, the board and the boot plan.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use accel::kvm::options::KvmOptions;
use accel::select::{Choice, select};
use accel::tcg::TcgOptions;
use accel::{Accel, AccelError, Clock, GuestRam};
use arch::ext::Ext;
use arch::model::CpuError;
use devices::misc::EventLoopTimers;
use firmware::boot::{BootPlan, BootRequest, KernelSource, Symbols};
use firmware::fdt::DeviceTree;
use firmware::machine_tree::Chosen;

use super::{Ending, MachineError};
use crate::board::assembly::{Board, Services};
use crate::board::{BoardKind, RAM_BASE, memory, virt};
use crate::config::{AccelChoice, Aia, Bios, MachineConfig, MemoryLock, RamConfig, TcgConfig};
use crate::control::Control;
use crate::open::{self, Chardevs, Kept};
use crate::signature::{self, SignatureError};

/// Ticks of the `time` CSR a second, unless the machine asks for another number.
const TIMEBASE: u32 = 10_000_000;

/// What the harts are on this engine: `-cpu` over what the host has, if they are the host's.
pub(super) fn take_harts(config: &mut MachineConfig, engine: &dyn Accel) -> Result<(), MachineError> {
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
        // What the host's harts have is also a model for harts that are made of nothing, where it can be told.
        None if config.cpu.as_deref().is_some_and(crate::cli::names_host) => {
            let host = engine_named("kvm", config).ok().and_then(|kvm| kvm.host_harts().ok().flatten());
            let host = host.ok_or_else(|| cpu(CpuError::NoHost))?;
            config.isa = arch::model::on_host(config.cpu.as_deref(), &host.isa, &host.known).map_err(cpu)?;
            config.board.timebase = config.board.timebase.or(u32::try_from(host.timebase).ok());
            if let Some(lacking) = engine.lacks(&config.isa) {
                let what = format!("-cpu host: it lacks {lacking}, which this host has");
                return Err(MachineError::Accel(AccelError::Unsupported { name: engine.name(), what }));
            }
        }
        None => {}
    }
    Ok(())
}

/// Which of the AIA's chips are the engine's.
pub(super) fn take_irqchip(config: &mut MachineConfig, engine: &dyn Accel) -> Result<(), MachineError> {
    if config.board.aia == Aia::AplicImsic {
        config.board.irqchip = engine.irqchip().map_err(MachineError::Accel)?;
        // The harts may be the host's: then the model says nothing of them, and the engine has looked.
        config.isa.exts.insert(Ext::Ssaia);
        config.isa.imsic = true;
    }
    Ok(())
}

/// Whether the guest starts in M-mode, with what that needs on the board.
pub(super) fn m_mode(config: &MachineConfig) -> bool {
    config.boot.bios != Bios::Default
}

pub(super) fn choose_engine(config: &MachineConfig) -> Result<Box<dyn Accel>, MachineError> {
    let mut choices: Vec<Choice> = config.accel.iter().map(choice).collect();
    let observed = config.perf_map || config.jit_dump || !config.log.items.is_empty();
    if choices.is_empty() && (m_mode(config) || config.icount.is_some() || observed) {
        // Only the translator has an M-mode, counts instructions, and has code to show.
        choices.push(Choice::Tcg(TcgOptions::default()));
    }
    choices.iter_mut().for_each(|choice| show_to_perf(choice, config));
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

/// The engine called `name`, with what the command line says of it.
pub(super) fn engine_named(name: &str, config: &MachineConfig) -> Result<Box<dyn Accel>, String> {
    let wanted = match name {
        "kvm" => {
            let given = config.accel.iter().find(|choice| matches!(choice, AccelChoice::Kvm(_)));
            given.cloned().unwrap_or_else(|| AccelChoice::Kvm(KvmOptions::default()))
        }
        "tcg" | "interp" => {
            let given = config.accel.iter().find_map(|choice| match choice {
                AccelChoice::Tcg(options) => Some(options.clone()),
                AccelChoice::Kvm(_) => None,
            });
            AccelChoice::Tcg(TcgConfig { jit: name == "tcg", ..given.unwrap_or_default() })
        }
        _ => return Err(format!("there is no accelerator '{name}'; there are kvm, tcg and interp")),
    };
    let mut wanted = choice(&wanted);
    show_to_perf(&mut wanted, config);
    match select(&[wanted]) {
        Ok(selection) => Ok(selection.engine),
        Err(refused) => Err(refused.iter().map(|error| crate::error_chain(error)).collect::<Vec<_>>().join("; ")),
    }
}

fn show_to_perf(choice: &mut Choice, config: &MachineConfig) {
    if let Choice::Tcg(options) = choice {
        (options.perf_map, options.jit_dump) = (config.perf_map, config.jit_dump);
    }
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
pub(super) fn build_board(
    config: &MachineConfig,
    chardevs: &Chardevs,
    control: &Arc<Control>,
    timers: &Arc<EventLoopTimers>,
    ram: Arc<GuestRam>,
) -> Result<(Board, Kept), MachineError> {
    let frequency = u64::from(config.board.timebase.unwrap_or(TIMEBASE));
    let clock =
        Arc::new(config.icount.map_or_else(|| Clock::new(frequency), |shift| Clock::counting(frequency, shift)));
    let (backends, kept) = open::backends(config, chardevs, control)?;
    let services = Services { control: Arc::clone(control) as _, timers };
    let build = match config.machine.board {
        BoardKind::Virt => Board::virt,
        BoardKind::Spike => Board::spike,
    };
    Ok((build(config, m_mode(config), clock, ram, backends, &services)?, kept))
}

/// Decides what is loaded where.
pub(super) fn plan_boot(config: &MachineConfig, board: &Board) -> Result<BootPlan, MachineError> {
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
pub(super) fn signature_range(config: &MachineConfig, plan: &BootPlan) -> Result<Option<Range<u64>>, SignatureError> {
    let ram = RAM_BASE..RAM_BASE + config.ram_size;
    config.board.signature.as_ref().map(|path| signature::range(plan.symbols.signature, ram, path)).transpose()
}

fn read_tree(path: &PathBuf) -> Result<DeviceTree, MachineError> {
    let file = |source| MachineError::File { what: "read device tree", path: path.clone(), source };
    let blob = std::fs::read(path).map_err(file)?;
    DeviceTree::parse(&blob).map_err(|source| MachineError::Dtb { path: path.clone(), source })
}

/// `-M dumpdtb=`: no guest runs, and no console is opened.
pub(super) fn dump_tree(mut config: MachineConfig, path: PathBuf) -> Result<Ending, MachineError> {
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

pub(super) fn random_seed() -> Result<[u8; 32], MachineError> {
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
