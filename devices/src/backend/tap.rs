//! A tap device of the host as the wire of a network card.
//!
//! The kernel understands the card's frame header (`IFF_VNET_HDR`), so checksums and segmentation pass through.
//! Nothing is configured on the interface: addresses, bridges and routes are the host's business.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::epoll;
use rustix::io::Errno;
use vm_memory::ByteValued;

use super::net::{NetBackend, NetCaps, NetHdr, Offloads, SendResult};

const TUN: &str = "/dev/net/tun";

// From linux/if_tun.h; the numbers are the kernel's interface.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNGETIFF: libc::c_ulong = 0x8004_54d2;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const TUN_F_CSUM: u32 = 1;
const TUN_F_TSO4: u32 = 2;
const TUN_F_TSO6: u32 = 4;
const TUN_F_TSO_ECN: u32 = 8;

/// Why a tap cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    #[error("tap: '{0}' is not an interface name (1 to 15 bytes, no '/' or spaces)")]
    Name(String),
    #[error("tap: cannot open {TUN}")]
    Open { source: io::Error },
    #[error(
        "tap: cannot attach to interface '{name}' (does it exist or may we create it, and is no other program on it?)"
    )]
    Attach { name: String, source: io::Error },
    #[error("tap: fd={fd} is not a tap device")]
    NotTap { fd: i32, source: io::Error },
    #[error("tap: fd={fd} is in tun mode: it carries IP packets, not Ethernet frames")]
    TunMode { fd: i32 },
    #[error("tap: cannot set up '{path}'", path = path.display())]
    Setup { path: PathBuf, source: io::Error },
}

/// The back end.
pub struct Tap {
    file: File,
    name: String,
    /// The descriptor carries frame headers.
    headers: bool,
    from_guest: Offloads,
    to_guest: Offloads,
    /// Holds `file` alone: what it waits for changes, the descriptor the card waits on does not.
    epoll: OwnedFd,
    rx_paused: bool,
    tx_blocked: bool,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tap({})", self.name)
    }
}

impl Tap {
    /// Attaches to interface `name`, or to a new one if there is none of that name. `None` or a name with `%d`:
    /// the kernel chooses.
    pub fn open(name: Option<&str>) -> Result<Self, TapError> {
        let wanted = name.unwrap_or("tap%d");
        let mut request = ifreq(wanted).ok_or_else(|| TapError::Name(wanted.to_owned()))?;
        let file = File::options().read(true).write(true).open(TUN).map_err(|source| TapError::Open { source })?;
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &mut request) };
        if done < 0 {
            let source = io::Error::last_os_error();
            return Err(TapError::Attach { name: wanted.to_owned(), source });
        }
        Self::set_up(file, ifname(&request), true)
    }

    /// Takes a tap that somebody else opened (`fd=`).
    pub fn from_fd(fd: OwnedFd) -> Result<Self, TapError> {
        let number = fd.as_raw_fd();
        // SAFETY: all zeroes is an `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // SAFETY: TUNGETIFF writes one `ifreq`, which outlives the call.
        let done = unsafe { libc::ioctl(number, TUNGETIFF as _, &mut request) };
        if done < 0 {
            return Err(TapError::NotTap { fd: number, source: io::Error::last_os_error() });
        }
        // SAFETY: TUNGETIFF fills this member of the union in.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        if flags & libc::IFF_TAP == 0 {
            return Err(TapError::TunMode { fd: number });
        }
        Self::set_up(File::from(fd), ifname(&request), flags & libc::IFF_VNET_HDR != 0)
    }

    fn set_up(file: File, name: String, headers: bool) -> Result<Self, TapError> {
        let fail = |source: io::Error| TapError::Setup { path: PathBuf::from(&name), source };
        let epoll = rustix::io::ioctl_fionbio(&file, true).and_then(|()| {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            epoll::add(&epoll, &file, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
            Ok(epoll)
        });
        let epoll = epoll.map_err(|e| fail(e.into()))?;
        let (mut from_guest, mut to_guest) = (Offloads::empty(), Offloads::empty());
        if headers {
            let size = NetHdr::LEN as libc::c_int;
            // SAFETY: TUNSETVNETHDRSZ reads one int, which outlives the call.
            if unsafe { libc::ioctl(file.as_raw_fd(), TUNSETVNETHDRSZ as _, &size) } < 0 {
                return Err(fail(io::Error::last_os_error()));
            }
            // A kernel takes any of these from us; what it may give us is a question of TUNSETOFFLOAD.
            from_guest = Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6 | Offloads::ECN;
            to_guest = if set_offload(&file, from_guest) { from_guest } else { Offloads::empty() };
            set_offload(&file, Offloads::empty());
        }
        Ok(Self { file, name, headers, from_guest, to_guest, epoll, rx_paused: false, tx_blocked: false })
    }

    /// The interface's name, as the kernel has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn rearm(&self) {
        let mut want = epoll::EventFlags::empty();
        want.set(epoll::EventFlags::IN, !self.rx_paused);
        want.set(epoll::EventFlags::OUT, self.tx_blocked);
        // The descriptor is in the set, so this cannot fail.
        let _ = epoll::modify(&self.epoll, &self.file, epoll::EventData::new_u64(0), want);
    }
}

/// Tells the kernel which frames it may hand us. `false` if it cannot.
fn set_offload(file: &File, offloads: Offloads) -> bool {
    let table = [
        (Offloads::CSUM, TUN_F_CSUM),
        (Offloads::TSO4, TUN_F_TSO4),
        (Offloads::TSO6, TUN_F_TSO6),
        (Offloads::ECN, TUN_F_TSO_ECN),
    ];
    let bits = table.iter().filter(|t| offloads.contains(t.0)).fold(0, |all, t| all | t.1);
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD as _, libc::c_ulong::from(bits)) >= 0 }
}

/// A request for an interface of this name; `None` if it cannot be one.
fn ifreq(name: &str) -> Option<libc::ifreq> {
    let valid = |b: u8| b > b' ' && b != b'/' && b != 0x7f;
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || !name.bytes().all(valid) || name == "." || name == ".." {
        return None;
    }
    // SAFETY: all zeroes is an `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Some(request)
}

fn ifname(request: &libc::ifreq) -> String {
    let bytes: Vec<u8> = request.ifr_name.iter().map(|c| c.to_ne_bytes()[0]).take_while(|&c| c != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl NetBackend for Tap {
    fn describe(&self) -> String {
        format!("tap,ifname={}", self.name)
    }

    fn caps(&self) -> NetCaps {
        NetCaps { from_guest: self.from_guest, to_guest: self.to_guest, mtu: None }
    }

    fn start(&mut self, to_guest: Offloads) {
        if self.headers && !set_offload(&self.file, to_guest) {
            tracing::warn!(tap = self.name, "the kernel refuses the offloads that it offered before");
        }
    }

    fn send(&mut self, hdr: &NetHdr, frame: &[u8]) -> SendResult {
        let head: &[u8] = if self.headers { hdr.as_slice() } else { &[] };
        loop {
            match rustix::io::writev(&self.file, &[IoSlice::new(head), IoSlice::new(frame)]) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.tx_blocked = true;
                    self.rearm();
                    return SendResult::Full;
                }
                // The kernel refuses headers that make no sense, and everything while the interface is down.
                Err(error) => {
                    tracing::debug!(tap = self.name, %error, "frame dropped");
                    return SendResult::Done;
                }
                Ok(_) => return SendResult::Done,
            }
        }
    }

    fn recv(&mut self, buf: &mut [u8]) -> Option<(NetHdr, usize)> {
        let mut hdr = NetHdr::default();
        loop {
            let head: &mut [u8] = if self.headers { hdr.as_mut_slice() } else { &mut [] };
            let skip = head.len();
            match rustix::io::readv(&self.file, &mut [IoSliceMut::new(head), IoSliceMut::new(buf)]) {
                Ok(n) if n > skip => {
                    hdr.num_buffers = 0;
                    return Some((hdr, n - skip));
                }
                Err(Errno::INTR) => {}
                _ => return None,
            }
        }
    }

    fn pause_rx(&mut self, paused: bool) {
        self.rx_paused = paused;
        self.rearm();
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn service(&mut self, _now: std::time::Instant) {
        if std::mem::take(&mut self.tx_blocked) {
            self.rearm();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn names_are_checked() {
        for name in ["", "a/b", "has space", "0123456789abcdef", ".."] {
            assert!(matches!(Tap::open(Some(name)), Err(TapError::Name(n)) if n == name));
        }
    }

    #[test]
    fn other_descriptors_are_refused() {
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(Tap::from_fd(file.into()), Err(TapError::NotTap { .. })));
    }

    /// Brings an interface up by name.
    fn up(name: &str) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut request = ifreq(name).unwrap();
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which outlives the call.
        assert_eq!(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) }, 0);
    }

    /// Where the test may make interfaces: frames reach the host, and the host's reach us.
    #[test]
    fn frames_pass_both_ways() {
        let mut tap = match Tap::open(None) {
            Ok(tap) => tap,
            Err(TapError::Open { .. } | TapError::Attach { .. }) => {
                eprintln!("skipped: no right to make a tap here");
                return;
            }
            Err(other) => panic!("{other}"),
        };
        assert!(tap.name().starts_with("tap") && tap.describe().ends_with(tap.name()));
        assert!(tap.caps().to_guest.contains(Offloads::CSUM | Offloads::TSO4));
        tap.start(tap.caps().to_guest);
        up(&tap.name);
        // A host with IPv6 announces itself on a new interface. One without stays silent, so do not insist.
        let mut buf = vec![0; super::super::net::MAX_FRAME];
        let end = Instant::now() + Duration::from_secs(2);
        let mut seen = None;
        while seen.is_none() && Instant::now() < end {
            seen = tap.recv(&mut buf);
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some((hdr, len)) = seen {
            assert!(len >= 14 && hdr.gso_type == NetHdr::GSO_NONE);
        }
        let stats = || {
            let path = format!("/sys/class/net/{}/statistics/rx_packets", tap.name);
            std::fs::read_to_string(path).ok().and_then(|s| s.trim().parse::<u64>().ok())
        };
        let before = stats();
        let mut arp = vec![0xff; 6];
        arp.extend([0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6]);
        arp.extend([0; 46]);
        let nonsense = NetHdr { flags: 0xff, gso_type: 0x7f, csum_start: 0xffff, ..Default::default() };
        let file = tap.file.try_clone().unwrap();
        let mut sender = Tap::set_up(file, tap.name.clone(), true).unwrap();
        assert_eq!(sender.send(&NetHdr::default(), &arp), SendResult::Done);
        assert_eq!(sender.send(&nonsense, &arp), SendResult::Done);
        if let (Some(before), Some(after)) = (before, stats()) {
            assert_eq!(after - before, 1);
        }
    }
}
