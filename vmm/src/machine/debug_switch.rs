//! `-accel kvm,debug-switch=on`: the guest goes to the translator while somebody wants what its own engine does not
//! support, and back when nobody does any more.
//!
//! Wanted are what a debugger stops harts at ([`Machine::debugger_needs`]) and the engine's part of the log. Whoever asks
//! is refused by the engine first, and asks again when the guest is where that works ([`Machine::go_for`]). A user's own
//! choice of an engine ends it: there is no way back then but the user's.

use std::fmt;

use accel::Accel;

use super::Machine;
use super::build::engine_named;
use super::switch::Switched;
use crate::config::{AccelChoice, MachineConfig};
use crate::monitor::event::Event;

/// Where the guest goes.
const TRANSLATOR: &str = "tcg";

/// What the translator is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Watchpoint,
    /// Where nothing is mapped.
    Breakpoint,
    /// Breakpoints and single steps, anywhere.
    Stops,
    /// What the log shows of the guest's code.
    Log,
}

/// Why a guest goes to another engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A user wants it there.
    Request,
    Need(Need),
    /// Nobody needs the translator any more.
    Over,
}

impl Reason {
    /// As QMP has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Need(Need::Watchpoint) => "watchpoint",
            Self::Need(Need::Breakpoint) => "breakpoint",
            Self::Need(Need::Stops) => "debugger",
            Self::Need(Need::Log) => "log",
            Self::Over => "over",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "",
            Self::Need(Need::Watchpoint) => " for a watchpoint",
            Self::Need(Need::Breakpoint) => " for a breakpoint where nothing is mapped",
            Self::Need(Need::Stops) => " for a debugger",
            Self::Need(Need::Log) => " for the log",
            Self::Over => " again",
        })
    }
}

/// Finds an engine by name, with what the command line says of it.
pub(super) type Engines = fn(&str, &MachineConfig) -> Result<Box<dyn Accel>, String>;

/// A guest that is not where its user has put it.
pub(super) struct Away {
    /// The engine to go back to.
    home: Option<&'static str>,
    /// What the debugger wants the translator for.
    debugger: Option<Need>,
    /// Tests have their own.
    pub(super) engines: Engines,
}

impl Default for Away {
    fn default() -> Self {
        Self { home: None, debugger: None, engines: engine_named }
    }
}

/// Whether the command line allows it.
pub(super) fn is_allowed(config: &MachineConfig) -> bool {
    config.accel.iter().any(|choice| matches!(choice, AccelChoice::Kvm(options) if options.debug_switch))
}

impl Machine {
    /// Moves the guest to the translator for what its engine has refused with `message`.
    ///
    /// # Errors
    /// The message, and why the guest stays: it is there already, the option says nothing of it, or something is in the way.
    pub fn go_for(&mut self, need: Need, message: String) -> Result<(), String> {
        if matches!(self.engine, "tcg" | "interp") {
            return Err(message);
        }
        if !is_allowed(&self.config) {
            return Err(format!("{message}; with -accel kvm,debug-switch=on the guest goes to {TRANSLATOR} for that"));
        }
        let home = self.engine;
        let gone = (self.away.engines)(TRANSLATOR, &self.config)
            .and_then(|engine| self.switch_for(&*engine, Reason::Need(need)));
        gone.map_err(|why| format!("{message}; {why}"))?;
        self.away.home = Some(home);
        if need != Need::Log {
            self.away.debugger = Some(need);
        }
        Ok(())
    }

    /// Whether the guest is with the translator only while something is wanted of that.
    pub fn is_away(&self) -> bool {
        self.away.home.is_some()
    }

    /// What the debugger wants the translator for.
    pub fn debuggers_need(&self) -> Option<Need> {
        self.away.debugger
    }

    /// The debugger wants it for this from now on. Without any other need the guest goes back; whether it did.
    pub fn debugger_needs(&mut self, need: Option<Need>) -> bool {
        let before = std::mem::replace(&mut self.away.debugger, need);
        before.is_some() && self.go_back()
    }

    /// A need is over: the guest goes back if there is no other one; whether it did. What is in the way is told, and the
    /// guest stays where it is.
    pub(super) fn go_back(&mut self) -> bool {
        let Some(home) = self.away.home else { return false };
        if self.away.debugger.is_some() || !self.config.log.items.is_empty() {
            return false;
        }
        let switched =
            (self.away.engines)(home, &self.config).and_then(|engine| self.switch_for(&*engine, Reason::Over));
        match switched {
            Ok(_) => self.away.home = None,
            Err(why) => {
                tracing::warn!("{why}; the monitor's 'accel {home}' tries it again");
                self.events.push(Event::Stays(why));
            }
        }
        self.away.home.is_none()
    }

    /// A user has chosen the engine.
    pub(super) fn settle(&mut self) {
        self.away.home = None;
    }
}

impl fmt::Display for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, reason, downtime } = self;
        let milliseconds = downtime.as_secs_f64() * 1e3;
        write!(f, "the guest went from {from} to {to}{reason}; downtime: {milliseconds:.1} ms")
    }
}
