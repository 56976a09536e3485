//! Moves the guest to another engine: a new machine of that engine gets the state of the harts and of the chips that are
//! the engine's, and takes the place of the old one under the same board.
//!
//! All that can fail comes first, beside the old engine's machine, which stays as it is until nothing can go wrong any
//! more. Devices work on meanwhile: what they drive into harts or chips waits for the moment in which these change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use accel::{Accel, AccelError, HostHarts, Irqchip, IrqchipConfig, IrqchipOffer, Vcpu, Vm, VmConfig};
use arch::ext::{Ext, IsaConfig};
use firmware::sbi::State;

use super::build::m_mode;
use super::debug_switch::Reason;
use super::observe;
use super::{Machine, RunState};
use crate::board::assembly::Board;
use crate::board::engine_chips::EngineChips;
use crate::config::MachineConfig;
use crate::harts::{Processor, Ready};
use crate::monitor::event::Event;

/// What came of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switched {
    pub from: &'static str,
    pub to: &'static str,
    pub reason: Reason,
    /// How long no hart ran; nothing if none did before.
    pub downtime: Duration,
}

/// The processor side of a machine.
pub(super) struct Running {
    pub vm: Arc<dyn Vm>,
    /// By hart id.
    pub vcpus: Vec<Box<dyn Vcpu>>,
    /// The interrupt controllers that are the engine's.
    pub chips: Option<(Arc<dyn Irqchip>, IrqchipConfig)>,
}

impl Running {
    /// For a board whose engine has these interrupt controllers.
    pub fn new(
        engine: &dyn Accel,
        config: &MachineConfig,
        board: &Board,
        offer: IrqchipOffer,
    ) -> Result<Self, AccelError> {
        let harts = config.topology.harts();
        let irqchip = board.engine_chips.as_ref().and_then(|chips| chips.config(offer));
        let vm = engine.create_vm(VmConfig {
            ram: (*board.ram).clone(),
            bus: Arc::clone(&board.bus) as _,
            clock: Arc::clone(&board.clock),
            harts,
            isa: config.isa.clone(),
            builtin_sbi: !m_mode(config),
            machine_traps: !m_mode(config),
            imsic: board.imsics.clone().filter(|_| irqchip.is_none()).map(|imsics| imsics as _),
            irqchip,
        })?;
        let vcpus = (0..harts).map(|hart| vm.create_vcpu(hart)).collect::<Result<_, _>>()?;
        let chips = vm.start_irqchip()?.zip(irqchip);
        Ok(Self { vm, vcpus, chips })
    }
}

/// What harts of this machine have that those of a host have not, or another engine cannot do.
fn lacking(isa: &IsaConfig, engine: &dyn Accel, host: Option<&HostHarts>) -> Vec<String> {
    let Some(HostHarts { isa: host, .. }) = host else { return engine.lacks(isa).into_iter().collect() };
    // What only M-mode sees is the host's own.
    let seen = |ext: &Ext| !ext.name().starts_with("sm");
    let missing = isa.exts.iter().filter(|ext| seen(ext) && !host.has(*ext));
    let mut missing: Vec<_> = missing.map(|ext| ext.name().to_owned()).collect();
    if isa.satp_mode > host.satp_mode {
        missing.push(isa.satp_mode.name().to_owned());
    }
    type Size = fn(&IsaConfig) -> u32;
    let sizes: [(&str, Ext, Size); 4] = [
        ("vlen", Ext::V, |isa| isa.vlen),
        ("cbom_blocksize", Ext::Zicbom, |isa| isa.cbom_block.into()),
        ("cbop_blocksize", Ext::Zicbop, |isa| isa.cbop_block.into()),
        ("cboz_blocksize", Ext::Zicboz, |isa| isa.cboz_block.into()),
    ];
    let differs = |(_, of, get): &(&str, Ext, Size)| isa.has(*of) && host.has(*of) && get(isa) != get(host);
    let size = |(name, _, get): &(&str, Ext, Size)| format!("{name}={} (it has {})", get(isa), get(host));
    missing.extend(sizes.iter().filter(|size| differs(size)).map(size));
    missing
}

impl Machine {
    /// Moves the guest to the engine called `name`, with what the command line says of it. `None`: it is there.
    ///
    /// # Errors
    /// What is in the way. The guest goes on where it is, and as it was.
    pub fn switch_engine(&mut self, name: &str) -> Result<Option<Switched>, String> {
        if name == self.engine {
            self.settle();
            return Ok(None);
        }
        let stays = |why: String| format!("the guest stays on {}: {why}", self.engine);
        let engine = (self.away.engines)(name, &self.config).map_err(stays)?;
        self.switch_to(&*engine).map(Some)
    }

    /// The same to this engine.
    ///
    /// # Errors
    /// As of [`Machine::switch_engine`].
    pub(super) fn switch_to(&mut self, engine: &dyn Accel) -> Result<Switched, String> {
        let switched = self.switch_for(engine, Reason::Request)?;
        self.settle();
        Ok(switched)
    }

    /// The same for a reason.
    ///
    /// # Errors
    /// As of [`Machine::switch_engine`].
    pub(super) fn switch_for(&mut self, engine: &dyn Accel, reason: Reason) -> Result<Switched, String> {
        let (from, to) = (self.engine, engine.name());
        let stays = |why: String| format!("the guest stays on {from}: {why}");
        let text = |error: AccelError| stays(crate::error_chain(&error));
        self.can_switch(engine).map_err(stays)?;
        let offer = match self.board.engine_chips {
            Some(_) => engine.irqchip().map_err(text)?,
            None => IrqchipOffer::default(),
        };
        let mut running = Running::new(engine, &self.config, &self.board, offer).map_err(text)?;
        observe::trace(&self.config, &mut running.vcpus).map_err(|error| stays(crate::error_chain(&error)))?;
        let runs = self.run_state == RunState::Running;
        let stopped = Instant::now();
        let old = self.with_harts_stopped(|m| m.without_samples(|m| m.take_places(running))).map_err(stays)?;
        let downtime = if runs { stopped.elapsed() } else { Duration::ZERO };
        // Its memory takes a while to be given back.
        drop(old);
        self.engine = to;
        let switched = Switched { from, to, reason, downtime };
        tracing::info!("{switched}");
        self.events.push(Event::Switched(switched));
        Ok(switched)
    }

    /// Whether the engine can have the guest, as far as that can be told before.
    fn can_switch(&self, engine: &dyn Accel) -> Result<(), String> {
        let to = engine.name();
        if self.is_moving() {
            return Err("the machine is being moved to another program".into());
        }
        if let Some(why) = self.is_kept_still() {
            return Err(why);
        }
        if self.run_state == RunState::InMigrate {
            return Err("there is no guest yet".into());
        }
        let host = engine.host_harts().map_err(|error| crate::error_chain(&error))?;
        if host.is_some() && m_mode(&self.config) {
            return Err(format!("it has firmware in M-mode, where {to} has the host's kernel"));
        }
        if host.is_some() && self.config.icount.is_some() {
            return Err(format!("{to} does not count instructions (-icount)"));
        }
        let frequency = self.board.clock.frequency();
        if let Some(HostHarts { timebase, .. }) = host
            && timebase != frequency
        {
            return Err(format!("its clock has {frequency} Hz, and {to} has the host's with {timebase}"));
        }
        let missing = lacking(&self.config.isa, engine, host.as_ref());
        if !missing.is_empty() {
            return Err(format!("its harts have what {to} lacks: {}", missing.join(", ")));
        }
        Ok(())
    }

    /// The harts go on in another machine. What ran them before is returned: it is of no more use. The harts are stopped.
    fn take_places(&mut self, running: Running) -> Result<Vec<Processor>, String> {
        let Running { vm, vcpus, chips } = running;
        let before = self.harts.vm();
        let text = |error: AccelError| crate::error_chain(&error);
        if vm.starts_harts() && !before.starts_harts() {
            // Such an engine answers these calls itself, and there is no way to tell it what was called before.
            let fresh = State::new(self.hart_count(), &self.config.isa);
            let used = self.harts.sbi.different(&fresh);
            if !used.is_empty() {
                return Err(format!("it uses what cannot be moved of SBI: {}", used.join(", ")));
            }
        }
        let chips_of = |board: &Board| -> Option<Arc<EngineChips>> { board.engine_chips.clone() };
        let board_chips = chips_of(&self.board);
        let moving = board_chips.as_ref().map(|board| board.prepare(chips)).transpose().map_err(text)?;
        let prepare = |(hart, vcpu)| self.harts.prepare(hart, Processor { vcpu, vm: Arc::clone(&vm) });
        let ready = (0..).zip(vcpus).map(prepare).collect::<Result<Vec<_>, _>>()?;
        if self.run_state == RunState::Running {
            breakpoints_are_there(&ready)?;
            self.keep_time()?;
        }
        self.board.clock.restart_count();
        if let Some(moving) = &moving {
            moving.leave();
        }
        let old = self.harts.replace(ready);
        if let Some(moving) = moving {
            moving.arrive();
        }
        self.board.bus.connect(&vm);
        self.board.wires.clock_changed();
        Ok(old)
    }
}

/// Every breakpoint of a machine that runs stops at least one hart.
fn breakpoints_are_there(ready: &[Ready]) -> Result<(), String> {
    let Some((first, others)) = ready.split_first() else { return Ok(()) };
    let nowhere = first.missed.iter().find(|address| others.iter().all(|ready| ready.missed.contains(address)));
    let message = |address| format!("no hart has memory mapped where there is a breakpoint, at {address:#x}");
    nowhere.map_or(Ok(()), |address| Err(message(address)))
}
