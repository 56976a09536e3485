//! Devices: a virtio disk and a virtio network card.

mod blk;
mod net;
mod virtio;

use crate::session::{Outcome, Points, Row, Session, Suite, Work};

pub const SUITE: Suite = Suite {
    name: "io",
    rows: &[
        row("blk-read-4k", "request", "4 KiB read from the disk, one at a time, by polling", blk::read_one),
        row("blk-read-4k-irq", "request", "4 KiB read from the disk, one at a time, by interrupt", blk::read_one_irq),
        row("blk-read-4k-deep", "request", "4 KiB read from the disk, 32 under way, by polling", blk::read_deep),
        row(
            "blk-read-256k",
            "byte",
            "read from the disk 256 KiB at a time, four under way, by polling",
            blk::read_large,
        ),
        row("blk-write-4k", "request", "4 KiB written to the disk, one at a time, by polling", blk::write_one),
        row("blk-write-4k-deep", "request", "4 KiB written to the disk, 32 under way, by polling", blk::write_deep),
        row(
            "blk-write-256k",
            "byte",
            "written to the disk 256 KiB at a time, four under way, by polling",
            blk::write_large,
        ),
        row("net-echo", "request", "an ICMP echo of 56 bytes, one at a time, by polling", net::echo),
        row("net-echo-irq", "request", "an ICMP echo of 56 bytes, one at a time, by interrupt", net::echo_irq),
        row("net-echo-deep", "request", "an ICMP echo of 56 bytes, 16 under way, by polling", net::echo_deep),
        row(
            "net-echo-1400",
            "byte",
            "sent and got back in ICMP echoes of 1400 bytes, 16 under way, by polling",
            net::echo_large,
        ),
    ],
};

const fn row(name: &'static str, unit: &'static str, what: &'static str, run: fn(&Session) -> Outcome) -> Row {
    Row { name, unit, points: Points::One, what, work: Work::Code(run) }
}
