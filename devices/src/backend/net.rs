//! The contract between a network card and what carries its frames (tap, user-mode network).
//!
//! One thread drives both: the card's worker. It owns the back end, calls [`NetBackend::send`] for every frame of
//! the guest, [`NetBackend::recv`] while the guest has buffers, and sleeps on [`NetBackend::event_fd`] and
//! [`NetBackend::deadline`] in between. So a back end needs no locks and no thread of its own.
//!
//! Frames are Ethernet frames without FCS. A frame may be far larger than the MTU: with segmentation offload one
//! TCP segment of up to 64 KiB travels in one piece, described by its [`NetHdr`] (virtio 1.3, 5.1.6).
//! Queues inside a back end are bounded: what does not fit is refused ([`SendResult::Full`]) or dropped, as a wire does.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use vm_memory::ByteValued;

use crate::state::{SavedState, StateError};

/// Largest frame that crosses this interface: an Ethernet header with a VLAN tag and an IP packet of 65,535 bytes.
pub const MAX_FRAME: usize = 65_535 + 18;

/// Checksum state of a frame and how to segment it: `struct virtio_net_hdr` (virtio 1.3, 5.1.6), little endian,
/// the layout of the modern interface. `num_buffers` is the card's business; back ends leave it 0.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct NetHdr {
    /// [`NetHdr::NEEDS_CSUM`], [`NetHdr::DATA_VALID`].
    pub flags: u8,
    /// One of the `GSO_*` values, perhaps with [`NetHdr::GSO_ECN`].
    pub gso_type: u8,
    /// Bytes of Ethernet, IP and TCP/UDP headers; a hint.
    pub hdr_len: u16,
    /// Payload bytes of each segment (the MSS), without headers.
    pub gso_size: u16,
    /// With `NEEDS_CSUM`: where in the frame the checksum starts.
    pub csum_start: u16,
    /// With `NEEDS_CSUM`: where, from `csum_start`, the 16-bit sum is stored. It holds the pseudo header's sum.
    pub csum_offset: u16,
    /// Guest buffers that one received frame fills.
    pub num_buffers: u16,
}

impl NetHdr {
    /// The transport checksum is not done: the receiver of the header completes it or trusts the frame.
    pub const NEEDS_CSUM: u8 = 1;
    /// The transport checksum has been verified.
    pub const DATA_VALID: u8 = 2;
    /// An ordinary frame, no longer than the MTU allows.
    pub const GSO_NONE: u8 = 0;
    pub const GSO_TCPV4: u8 = 1;
    pub const GSO_UDP: u8 = 3;
    pub const GSO_TCPV6: u8 = 4;
    /// Or'ed into a TCP type: the segments carry ECN's CWR as described by RFC 3168.
    pub const GSO_ECN: u8 = 0x80;
    /// Bytes of the header with `num_buffers`.
    pub const LEN: usize = 12;
    /// Bytes of the legacy header without mergeable buffers.
    pub const LEGACY_LEN: usize = 10;
}

// SAFETY: `repr(C)`, plain integers, no padding (2 bytes, then five u16), any bit pattern is a value.
unsafe impl ByteValued for NetHdr {}

bitflags::bitflags! {
    /// Work on frames that one side may leave to the other.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Offloads: u32 {
        /// Frames with [`NetHdr::NEEDS_CSUM`].
        const CSUM = 1;
        /// TCP over IPv4, unsegmented. Implies `CSUM`.
        const TSO4 = 1 << 1;
        /// TCP over IPv6, unsegmented. Implies `CSUM`.
        const TSO6 = 1 << 2;
        /// Such segments may have [`NetHdr::GSO_ECN`].
        const ECN = 1 << 3;
        /// UDP, unfragmented. Implies `CSUM`.
        const UFO = 1 << 4;
    }
}

/// What a back end is able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetCaps {
    /// Accepted by [`NetBackend::send`].
    pub from_guest: Offloads,
    /// Used by [`NetBackend::recv`] if the guest agrees.
    pub to_guest: Offloads,
    /// MTU to tell the guest, if the carrier has one.
    pub mtu: Option<u16>,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendResult {
    /// Taken, or dropped as a wire drops.
    Done,
    /// No room now. The card keeps the frame and tries again after [`NetBackend::event_fd`] became readable.
    Full,
}

/// Something of the host's on its way to another program with the guest: what is known of it, and perhaps its descriptor.
#[derive(Debug, Clone)]
pub struct Handed {
    pub state: SavedState,
    pub socket: Option<Arc<OwnedFd>>,
}

/// A back end whose open sockets can go to another program on the same host. Only called while the card is paused.
pub trait Sockets {
    /// All that there is. Nothing changes: only [`Sockets::let_go`] says that it is elsewhere.
    fn hand_over(&mut self) -> Vec<Handed>;
    /// Whether these are of such a back end, and make sense. Changes nothing, and does not touch the sockets.
    fn check(&self, parts: &[Handed]) -> Result<(), StateError>;
    /// Goes on with what was checked. What cannot be here is broken, and both its ends learn it.
    fn adopt(&mut self, parts: Vec<Handed>);
    /// The guest lives elsewhere. All is closed: without a word if another program has `taken` the descriptors.
    fn let_go(&mut self, taken: bool);
}

/// What carries a card's frames. All calls come from one thread; none may block.
pub trait NetBackend: Send {
    /// For `info network` and errors, e.g. `tap,ifname=tap0`.
    fn describe(&self) -> String;

    /// Constant during the life of the back end.
    fn caps(&self) -> NetCaps;

    /// A driver has taken the card over: frames to it may use `to_guest` (part of [`NetCaps::to_guest`]) and no more.
    /// Called again after a reset of the card, with other flags perhaps.
    fn start(&mut self, to_guest: Offloads);

    /// Takes a frame from the guest. The header is the guest's and can hold anything: offsets outside the frame,
    /// unknown types.
    fn send(&mut self, hdr: &NetHdr, frame: &[u8]) -> SendResult;

    /// Writes the next frame for the guest into `buf`, at least [`MAX_FRAME`] bytes long, and returns its header and length.
    /// `None` when nothing waits.
    fn recv(&mut self, buf: &mut [u8]) -> Option<(NetHdr, usize)>;

    /// `true`: the guest has no buffers, so frames that wait must not keep `event_fd` readable.
    fn pause_rx(&mut self, paused: bool);

    /// Readable (level) while `service` has work, a frame waits and rx is not paused, or there is room again after
    /// [`SendResult::Full`]. With several sockets this is an epoll descriptor. The same one for the back end's whole life.
    fn event_fd(&self) -> BorrowedFd<'_>;

    /// When `service` wants to be called even if no descriptor becomes ready.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Does what is due on sockets and timers. Called after `event_fd` became readable.
    fn service(&mut self, _now: Instant) {}

    /// Does what is due without a look at sockets. Called after `deadline` and once after each batch of `send`. The caller
    /// receives until nothing waits, or pauses rx: so `event_fd` need not become readable for what this makes.
    fn settle(&mut self, _now: Instant) {}

    /// Its sockets, if they can go along with the guest.
    fn sockets(&mut self) -> Option<&mut dyn Sockets> {
        None
    }

    /// Whether a cable is plugged in; the card tells the driver when it changes.
    fn link_up(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_has_the_wire_layout() {
        let hdr = NetHdr {
            flags: NetHdr::NEEDS_CSUM,
            gso_type: NetHdr::GSO_TCPV4,
            hdr_len: 54,
            gso_size: 1460,
            csum_start: 34,
            csum_offset: 16,
            num_buffers: 1,
        };
        assert_eq!(hdr.as_slice(), [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 1, 0]);
        assert_eq!(size_of::<NetHdr>(), NetHdr::LEN);
    }
}
