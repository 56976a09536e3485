//! The log of pages that were written to: the kernel's for what harts store, and guest memory's own for the rest.

use crate::guest::writes::{self, PARTS};
use crate::machine::Machine;

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn the_log_has_the_pages_written_to_and_no_others() {
    writes::parts_are_logged(&mut Machine::new(1), "kvm", PARTS, |_| ());
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn nothing_is_missed_while_harts_run() {
    writes::copies_are_complete(&mut Machine::new(2), "kvm");
}
