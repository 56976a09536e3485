//! What happens to a machine, as monitors tell of it.

/// An event; [`Event::name`] is QMP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Stop,
    Resume,
    Reset(Cause),
    Shutdown(Cause),
}

/// Who wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Guest,
    /// A monitor's command.
    Monitor,
    Signal,
    /// Ctrl-A X.
    User,
    /// Something that the machine cannot live with.
    Failure,
}

impl Event {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stop => "STOP",
            Self::Resume => "RESUME",
            Self::Reset(_) => "RESET",
            Self::Shutdown(_) => "SHUTDOWN",
        }
    }
}
