//! Why a snapshot cannot be written or is not taken. Each message is one line, and names what was found and what is
//! allowed.

use std::io;

use super::format::FORMAT_VERSION;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("it is no snapshot of vireo: it begins with {0:02x?}")]
    Magic([u8; 8]),
    #[error("its format has version {0}, and this program knows version {FORMAT_VERSION} only")]
    FormatVersion(u32),
    #[error("it is cut off: {0} is not whole")]
    Truncated(String),
    #[error("{0} is damaged: its checksum is wrong")]
    Checksum(String),
    #[error("{0}")]
    Malformed(String),
    #[error("section '{name}' has {found} bytes, at most {most} are allowed")]
    TooLong { name: String, found: u64, most: u64 },
    #[error("section '{name}' has version {found}, and this program knows version {known} only")]
    SectionVersion { name: String, found: u32, known: u32 },
    #[error("{what}: the snapshot has {found}, this machine has {here}")]
    OtherMachine { what: &'static str, found: String, here: String },
    #[error("{what}: only the snapshot has {found}; only this machine has {here}")]
    OtherParts { what: &'static str, found: String, here: String },
    #[error("the snapshot lacks section '{0}', which this machine needs")]
    Missing(String),
    #[error("section '{0}' belongs to nothing that this machine has")]
    Unknown(String),
    #[error("{name}: {what}")]
    State { name: String, what: String },
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("cannot write it")]
    Write(#[source] io::Error),
    #[error("cannot {what}")]
    Host { what: String, source: io::Error },
    #[error("{0}")]
    Refused(String),
    /// The guest may live elsewhere: it does not go on here by itself.
    #[error("{0}")]
    Undecided(String),
}

impl SnapshotError {
    /// Somebody has given up.
    pub fn cancelled() -> Self {
        Self::Refused("it was cancelled".to_owned())
    }

    pub fn not_a_file() -> Self {
        Self::Refused("RAM can be mapped in files only: mapped-ram is for file:PATH".into())
    }

    /// An error of a read, of what: the end of the data is its own kind.
    pub fn reading(of: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let of = of.into();
        move |error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated(of),
            _ => Self::Read(error),
        }
    }
}
