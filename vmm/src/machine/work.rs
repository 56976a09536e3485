//! Work on snapshots and dumps that takes long: in threads beside the main thread, which is told when it is done.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};

use crate::control::Control;
use crate::snapshot::SnapshotError;

/// What a thread works on.
pub(super) struct Work<T>(Receiver<Result<T, SnapshotError>>);

impl<T: Send + 'static> Work<T> {
    /// The main thread is called when it is done.
    pub(super) fn start(
        name: &str,
        control: &Arc<Control>,
        work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<Self, SnapshotError> {
        let (done, receiver) = mpsc::sync_channel(1);
        let control = Arc::clone(control);
        let body = move || {
            // Nobody may want it any more. A panic closes the channel: that is seen, too.
            let _ = done.send(work());
            drop(done);
            control.attend();
        };
        match std::thread::Builder::new().name(name.to_owned()).spawn(body) {
            Ok(_) => Ok(Self(receiver)),
            Err(source) => Err(SnapshotError::Host { what: "start a thread".to_owned(), source }),
        }
    }

    /// It was done at once.
    pub(super) fn done(result: T) -> Self {
        let (done, receiver) = mpsc::sync_channel(1);
        done.send(Ok(result)).expect("there is room for one");
        Self(receiver)
    }

    /// What came of it, if it is done.
    pub(super) fn poll(&self) -> Option<Result<T, SnapshotError>> {
        match self.0.try_recv() {
            Ok(done) => Some(done),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(Self::lost())),
        }
    }

    pub(super) fn wait(&self) -> Result<T, SnapshotError> {
        self.0.recv().unwrap_or_else(|_| Err(Self::lost()))
    }

    fn lost() -> SnapshotError {
        SnapshotError::Refused("its thread failed".to_owned())
    }
}
