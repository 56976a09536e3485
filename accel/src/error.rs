//! What can go wrong when an engine is set up or asked for something.

/// Each message says what was being done and with which value; causes stay in `source()`.
#[derive(Debug, thiserror::Error)]
pub enum AccelError {
    /// The engine cannot run on this host.
    #[error("accelerator '{name}' is not available: {reason}")]
    Unavailable { name: &'static str, reason: String },
    /// An option or a machine property that this engine cannot honour.
    #[error("accelerator '{name}' does not support {what}")]
    Unsupported { name: &'static str, what: String },
    /// The host refused a resource.
    #[error("cannot {doing}")]
    Host {
        doing: String,
        #[source]
        source: std::io::Error,
    },
}

impl AccelError {
    /// Another engine may do it.
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::Unsupported { .. } => true,
            Self::Host { source, .. } => source.kind() == std::io::ErrorKind::Unsupported,
            Self::Unavailable { .. } => false,
        }
    }
}
