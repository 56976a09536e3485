//! What a character device is made of, as plain data: filled by the command line, read by [`Chardev::open`].
//!
//! [`Chardev::open`]: super::Chardev::open

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// One `-chardev`, or the character device behind one `-serial`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChardevConfig {
    /// `id=`; names the device in messages.
    pub id: String,
    pub backend: BackendConfig,
    /// `mux=on` (and the `mon:` prefix): several front ends share it, Ctrl-A is the escape.
    pub mux: bool,
    /// `logfile=`: everything the guest writes, also what nobody is there to read.
    pub logfile: Option<PathBuf>,
    /// `logappend=on`: keep what the log file held.
    pub logappend: bool,
}

impl ChardevConfig {
    /// A device without mux or log.
    pub fn new(id: impl Into<String>, backend: BackendConfig) -> Self {
        Self { id: id.into(), backend, mux: false, logfile: None, logappend: false }
    }
}

/// The far end of a character device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendConfig {
    /// Swallows output, has no input.
    Null,
    /// This process's standard input and output.
    Stdio {
        /// Ctrl-C, Ctrl-\ and Ctrl-Z act on this process; otherwise the guest gets them. QEMU's default is on,
        /// and off for `mon:stdio` and `-nographic`.
        signal: bool,
    },
    File {
        path: PathBuf,
        /// Keep what the file held.
        append: bool,
        /// `input-path=`: bytes the guest reads.
        input: Option<PathBuf>,
    },
    /// Named pipes `PATH.in` and `PATH.out`, or one named pipe `PATH` for both directions.
    Pipe { path: PathBuf },
    /// A new pseudo terminal.
    Pty {
        /// `path=`: a symbolic link to make to it; removed at exit.
        link: Option<PathBuf>,
    },
    Socket {
        address: SocketAddress,
        /// Listen, rather than connect.
        server: bool,
        /// Wait for the first client before the machine starts; servers only.
        wait: bool,
        /// How long a client waits before it connects again; `None`: never. Clients only.
        reconnect: Option<Duration>,
        /// Send small TCP segments at once.
        nodelay: bool,
        /// Speak Telnet.
        telnet: bool,
    },
    /// Keeps the newest bytes in memory, for the monitor.
    RingBuf {
        /// Bytes, a power of two; QEMU's default is 65536.
        size: usize,
    },
}

#[cfg(test)]
impl BackendConfig {
    /// A socket that waits for nobody, with nothing special about it.
    pub fn listening(address: SocketAddress) -> Self {
        Self::Socket { address, server: true, wait: false, reconnect: None, nodelay: false, telnet: false }
    }
}

/// Where a socket listens or connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketAddress {
    Tcp {
        /// Empty: any address (servers) or this machine (clients).
        host: String,
        /// 0 lets the system choose (servers).
        port: u16,
        /// Addresses of this kind alone.
        only: Option<IpVersion>,
    },
    Unix(PathBuf),
}

/// `ipv4=` and `ipv6=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpVersion {
    V4,
    V6,
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "tcp:{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
