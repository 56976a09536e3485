//! Why a character device cannot be used.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ChardevError {
    #[error("character device '{id}': cannot open '{}'", path.display())]
    Open { id: String, path: PathBuf, source: io::Error },
    #[error("character device '{id}': cannot create {what}")]
    Create { id: String, what: &'static str, source: io::Error },
    #[error("character device '{id}': cannot find an address for '{address}'")]
    Resolve { id: String, address: String, source: io::Error },
    #[error("character device '{id}': cannot listen on {address}")]
    Listen { id: String, address: String, source: io::Error },
    #[error("character device '{id}': cannot connect to {address}")]
    Connect { id: String, address: String, source: io::Error },
    #[error("character device '{id}': standard input and output are used by another character device")]
    StdioTaken { id: String },
    #[error("character device '{id}': size {size} is not a power of two between 1 and 2^30")]
    RingSize { id: String, size: usize },
    #[error("character device '{id}' is used by another device; mux=on would let them share it")]
    InUse { id: String },
    #[error("character device '{id}': more than {max} devices share it")]
    TooManyUsers { id: String, max: usize },
    #[error("character device '{id}': cannot wait for a connection")]
    Wait { id: String, source: io::Error },
}
