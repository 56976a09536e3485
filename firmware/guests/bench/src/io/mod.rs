//! Devices: a virtio disk and a virtio network card. The hart sleeps until they interrupt, if it does not say otherwise.

mod blk;
mod net;
mod virtio;

use crate::session::{Outcome, Points, Row, Session, Suite, Work};

pub const SUITE: Suite = Suite {
    name: "io",
    rows: &[
        row("blk-read-4k", "request", "4 KiB read from the disk, one at a time", blk::read_one),
        row("blk-read-4k-poll", "request", "the same by looking for the answer all the time", blk::read_one_poll),
        row("blk-read-4k-deep", "request", "4 KiB read from the disk, 32 under way", blk::read_deep),
        row("blk-read-256k", "byte", "bytes read from the disk, 256 KiB at a time, four under way", blk::read_large),
        row("blk-write-4k", "request", "4 KiB written to the disk, one at a time", blk::write_one),
        row("blk-write-4k-deep", "request", "4 KiB written to the disk, 32 under way", blk::write_deep),
        row("blk-write-256k", "byte", "bytes written to the disk, 256 KiB at a time, four under way", blk::write_large),
        row("net-echo", "request", "an ICMP echo of 56 bytes, one at a time", net::echo),
        row("net-echo-poll", "request", "the same by looking for the answer all the time", net::echo_poll),
        row("net-echo-deep", "request", "an ICMP echo of 56 bytes, 16 under way", net::echo_deep),
        row("net-echo-1400", "byte", "bytes sent and got back in ICMP echoes of 1400, 16 under way", net::echo_large),
    ],
};

const fn row(name: &'static str, unit: &'static str, what: &'static str, run: fn(&Session) -> Outcome) -> Row {
    Row { name, unit, points: Points::One, what, work: Work::Code(run) }
}
