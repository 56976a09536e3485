//! Moves a machine: out of this program while it runs ([`leaving`]), and into it ([`arriving`]).
//!
//! Whatever takes long is done in threads of their own; the main thread looks after what they have done when they call it.

mod arriving;
mod capabilities;
mod leaving;
mod pace;
mod parameters;

use std::sync::Arc;
use std::time::Duration;

use super::{Machine, MachineError, RunState};
use crate::control::Request;
use crate::monitor::event::Event;
use crate::snapshot::Summary;

use arriving::Incoming;
use capabilities::Capabilities;
pub use capabilities::Capability;
use leaving::Outgoing;
pub use parameters::{Parameter, Parameters, Unit};

/// How a move has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done(Report),
    Failed(String),
    Cancelled,
    /// The guest is here.
    Arrived,
}

/// What a move has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    pub summary: Summary,
    /// Of these bytes, how many before the guest stood still; `None`: it does not yet.
    pub live: Option<u64>,
    /// Over all of RAM and over what was written to meanwhile.
    pub rounds: u64,
    /// Pages a second that the guest wrote to in the last round.
    pub dirty_rate: u64,
    /// How long the guest will stand still, as far as that can be told.
    pub expected: Duration,
}

/// What a move took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub sent: Sent,
    pub total: Duration,
    /// Between the stop here and the other side's answer.
    pub downtime: Duration,
}

/// What there is to tell of moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    None,
    /// Waits for a guest, or for the other side.
    Setup,
    Active {
        sent: Sent,
        /// Bytes of RAM and disks that are left of this round.
        left: u64,
        total: Duration,
        /// How long the guest has stood still for the end of the move.
        still: Option<Duration>,
        /// Somebody has given up, and its thread is to see that.
        cancelled: bool,
    },
    Ended(Outcome),
}

impl Status {
    /// QMP's `MigrationStatus`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Setup => "setup",
            Self::Active { cancelled: true, .. } => "cancelling",
            Self::Active { still: Some(_), .. } => "device",
            Self::Active { still: None, .. } => "active",
            Self::Ended(Outcome::Cancelled) => "cancelled",
            Self::Ended(Outcome::Failed(_)) => "failed",
            Self::Ended(Outcome::Done(_) | Outcome::Arrived) => "completed",
        }
    }
}

/// The moves of a machine; one at a time.
#[derive(Default)]
pub(super) struct Moves {
    outgoing: Option<Outgoing>,
    incoming: Option<Incoming>,
    last: Option<Outcome>,
    /// What was asked for while a move came to its end, or a snapshot was worked on.
    deferred: Vec<Request>,
    /// What monitors were told last, and of how many rounds.
    told: Option<&'static str>,
    told_rounds: u64,
    capabilities: Capabilities,
    parameters: Arc<Parameters>,
}

impl Machine {
    /// How the last move stands.
    pub fn migration(&self) -> Status {
        match (&self.moves.outgoing, &self.moves.incoming, &self.moves.last) {
            (Some(out), ..) => out.status(),
            (None, Some(_), _) => Status::Setup,
            (None, None, Some(outcome)) => Status::Ended(outcome.clone()),
            (None, None, None) => Status::None,
        }
    }

    /// Whether this is on for moves.
    pub fn has_capability(&self, capability: Capability) -> bool {
        self.moves.capabilities.has(capability)
    }

    pub fn set_capability(&mut self, capability: Capability, on: bool) {
        self.moves.capabilities.set(capability, on);
    }

    /// Tells monitors how the move under way goes, if that is news and somebody wants it.
    fn tell_move(&mut self) {
        let status = self.migration();
        let now = (status != Status::None).then(|| status.name());
        let rounds = match &status {
            Status::Active { sent, .. } | Status::Ended(Outcome::Done(Report { sent, .. })) => sent.rounds,
            _ => 0,
        };
        let is_told = self.has_capability(Capability::Events);
        if is_told {
            self.events.extend((self.moves.told_rounds + 1..=rounds).map(Event::MovePass));
        }
        self.moves.told_rounds = rounds;
        if std::mem::replace(&mut self.moves.told, now) != now && is_told {
            self.events.extend(now.map(Event::Move));
        }
    }

    /// What is set for moves; the one under way goes by it at once.
    pub fn move_parameters(&self) -> &Parameters {
        &self.moves.parameters
    }

    /// Whether a move is under way.
    pub fn is_moving(&self) -> bool {
        self.moves.outgoing.is_some()
    }

    /// Whether the guest stands still because a move comes to its end.
    pub(super) fn is_leaving(&self) -> bool {
        self.moves.outgoing.as_ref().is_some_and(Outgoing::is_ending)
    }

    /// Whether the guest stands still for what others than the main thread do, and for what, in words. What is written to it
    /// meanwhile would come to half of it, or to nobody.
    pub fn is_held(&self) -> Option<String> {
        if self.is_leaving() { Some("the guest is being moved".to_owned()) } else { self.is_kept_still() }
    }

    /// Something is asked for that can only be done when the guest is held no more: it may be elsewhere then, or another
    /// one.
    pub(super) fn defer(&mut self, request: Request) {
        self.moves.deferred.push(request);
    }

    /// What was deferred, once that is known.
    pub(super) fn take_deferred(&mut self) -> Vec<Request> {
        if self.is_held().is_some() { Vec::new() } else { std::mem::take(&mut self.moves.deferred) }
    }

    /// The guest that has asked is not there any more.
    pub(super) fn forget_deferred_of_guest(&mut self) {
        self.moves.deferred.retain(|request| !request.is_of_guest());
    }

    /// A guest that stays here after all is to be in `state` then.
    pub(super) fn stop_afterwards(&mut self, state: RunState) {
        if let Some(out) = &mut self.moves.outgoing {
            out.stop_afterwards(state);
        }
    }

    /// Gives the move under way up.
    ///
    /// # Errors
    /// The other side has been told to go on with the guest.
    pub fn cancel_migration(&mut self) -> Result<(), String> {
        match &self.moves.outgoing {
            Some(out) if !out.cancel() => {
                return Err(format!("it is too late: '{}' may go on with the guest already", out.channel()));
            }
            Some(out) if out.is_connecting() => {
                self.forget_connecting();
                // Somebody may wait for its end.
                self.control.attend();
            }
            _ => {}
        }
        self.tell_move();
        Ok(())
    }

    /// The program ends: half a file is removed, and so is a socket that nobody came to.
    pub(super) fn abandon_moves(&mut self) {
        // One that is decided comes to its end.
        let _ = self.cancel_migration();
        if let Some(out) = self.moves.outgoing.take() {
            out.abandon();
        }
        if let Some(waiting) = self.moves.incoming.take() {
            waiting.abandon();
        }
    }

    /// Whether nothing is done with the machine, so that it may be loaded, or its memory dumped.
    pub(super) fn is_free(&self) -> Result<(), String> {
        if self.moves.outgoing.is_some() {
            return Err("the machine is being moved already".into());
        }
        if self.run_state == RunState::InMigrate {
            return Err("the guest is not here yet".into());
        }
        self.is_kept_still().map_or(Ok(()), Err)
    }

    /// Whether the machine may leave this program, or be saved: its guest has to be whole, too.
    pub(super) fn can_move(&self) -> Result<(), String> {
        self.is_free()?;
        match self.run_state {
            RunState::InternalError => self.run_state.may_go_on(),
            _ => Ok(()),
        }
    }

    /// Goes on with what a thread has done. Called whenever somebody wants attention.
    pub(super) fn look_after_moves(&mut self) -> Result<(), MachineError> {
        // Rounds come before what follows from them.
        self.tell_move();
        if let Err(text) = self.look_after_leaving() {
            tracing::warn!("{text}");
        }
        let arrived = self.look_after_arriving();
        self.tell_move();
        arrived
    }
}
