//! Snapshots: a machine as a file, or as a stream to another program.
//!
//! One format for all ways there are (`savevm`, `migrate`, `-incoming`, `-loadvm`): [`format`] is the container,
//! [`identity`] what the machine has to be, [`ram`] and [`mapped`] the two layouts of RAM, [`disks`] what was written to
//! disks, [`state`] everything else.
//! [`load`] reads it and [`save`] writes it. Nothing in it depends on the engine.

mod channel;
mod decision;
mod disks;
mod error;
mod format;
mod handed;
mod identity;
mod load;
mod mapped;
mod named;
mod progress;
mod ram;
mod save;
mod state;

pub use channel::{Answer, Channel, Descriptor, Listening, Sink, Source, Stream};
pub use decision::{Decision, GO, PATIENCE};
pub use disks::{Disk, Scope, Tracked};
pub use error::SnapshotError;
pub use handed::{Arrived, Shared};
pub use identity::Identity;
pub use load::{Loaded, Loader, Pages};
pub use named::{check_folder, list, named};
pub use progress::Progress;
pub use ram::{PAGE, write_sparse};
pub use save::{Saver, Stop, Summary, save_mapped, whole};
pub use state::{Collected, MachineState, Run, device_name, state_error};
