//! The whole chip: hierarchy, addresses, byte order, and what leaves it.

use super::*;
use std::collections::HashMap;

/// Lines by hart and bit of `mip`, and MSIs in order.
#[derive(Default)]
struct Outside {
    lines: Mutex<HashMap<(u32, u8), bool>>,
    msis: Mutex<Vec<(u64, u32)>>,
}

impl Outside {
    fn level(&self, hart: u32, irq: u8) -> bool {
        self.lines.lock().unwrap().get(&(hart, irq)).copied().unwrap_or(false)
    }

    fn take(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut self.msis.lock().unwrap())
    }
}

impl HartLines for Outside {
    fn set_irq(&self, hart: u32, irq: u8, level: bool) {
        let was = self.lines.lock().unwrap().insert((hart, irq), level).unwrap_or(false);
        assert_ne!(was, level, "a wire was driven to the level it had");
    }
    fn raise_ssip(&self, _: u32) {}
    fn set_mtimecmp(&self, _: u32, _: u64) {}
    fn mtime(&self) -> u64 {
        0
    }
    fn set_mtime(&self, _: u64) {}
}

impl MsiSink for Outside {
    fn send(&self, address: u64, data: u32) {
        self.msis.lock().unwrap().push((address, data));
    }
}

const DIRECT: Delivery = Delivery::Direct { priority_bits: 3 };
const MSI: Delivery = Delivery::Msi { guests: true };
const BASE: MsiBase = MsiBase { address: 0x2800_0000, guest_bits: 2 };

const IE: u32 = 1 << 8;
const DELEGATE: u32 = 1 << 10;
const LEVEL1: u32 = 6;

struct Machine {
    outside: Arc<Outside>,
    aplic: Arc<Aplic>,
    m: Option<AplicDomain>,
    s: AplicDomain,
}

fn machine(core: AplicCore) -> Machine {
    let outside = Arc::new(Outside::default());
    let aplic = Aplic::new(core, 2, outside.clone(), outside.clone());
    let s = aplic.device(Level::Supervisor).unwrap();
    Machine { m: aplic.device(Level::Machine), s, outside, aplic }
}

fn write(d: &AplicDomain, offset: u64, value: u32) {
    d.write(offset, &value.to_le_bytes());
}

fn read(d: &AplicDomain, offset: u64) -> u32 {
    let mut data = [0; 4];
    d.read(offset, &mut data);
    u32::from_le_bytes(data)
}

/// Makes a domain deliver source 10 to a hart.
fn wire(d: &AplicDomain, hart: u32, target: u32) {
    write(d, 0, IE);
    write(d, 4 * 10, LEVEL1);
    write(d, 0x3000 + 4 * 10, hart << 18 | target);
    write(d, 0x1edc, 10);
    write(d, 0x4000 + 32 * u64::from(hart), 1);
}

#[test]
fn a_source_goes_to_the_level_that_it_is_delegated_to() {
    let Machine { outside, aplic, m, s } = machine(AplicCore::with_machine_level(96, 2, DIRECT));
    let m = m.unwrap();
    wire(&s, 1, 1);
    aplic.set_level(10, true);
    assert_eq!(read(&s, 4 * 10), 0, "not delegated: not there");
    wire(&m, 1, 1);
    assert!(outside.level(1, 11));
    write(&m, 4 * 10, DELEGATE);
    assert_eq!(read(&m, 4 * 10), DELEGATE);
    assert!(!outside.level(1, 11));
    wire(&s, 1, 1);
    assert!(outside.level(1, 9));
    // Its mode at the root again takes it away from the child.
    write(&m, 4 * 10, LEVEL1);
    assert!(!outside.level(1, 9));
    assert_eq!(read(&s, 4 * 10), 0);
}

#[test]
fn a_claim_at_the_hart_lowers_the_line_of_an_edge() {
    let Machine { outside, aplic, s, .. } = machine(AplicCore::supervisor_only(96, 2, DIRECT, BASE));
    wire(&s, 0, 2);
    write(&s, 4 * 10, 4);
    aplic.set_level(10, true);
    assert!(outside.level(0, 9));
    assert_eq!(read(&s, 0x4018), 10 << 16 | 2);
    assert!(outside.level(0, 9));
    assert_eq!(read(&s, 0x401c), 10 << 16 | 2);
    assert!(!outside.level(0, 9));
    assert_eq!(read(&s, 0x401c), 0);
}

#[test]
fn a_root_without_machine_level_knows_its_addresses() {
    let Machine { outside, aplic, s, .. } = machine(AplicCore::supervisor_only(96, 2, MSI, BASE));
    wire(&s, 1, 3 << 12 | 77);
    aplic.set_level(10, true);
    assert_eq!(outside.take(), [(0x2800_0000 + (1 << 14) + (3 << 12), 77)]);
    assert_eq!(read(&s, 0x1c00), 0, "sent is not pending");
    assert_eq!(read(&s, 0x1d00), 1 << 10, "but the wire is still high");
    write(&s, 0x2000, 10);
    assert_eq!(outside.take().len(), 1, "sent again on request");
    aplic.set_level(10, false);
    write(&s, 0x2000, 10);
    assert_eq!(outside.take(), []);
    write(&s, 0x1bc0, !0);
    assert_eq!(read(&s, 0x1bc0), 0, "nobody can change them");
}

#[test]
fn software_sets_the_addresses_of_both_levels_and_locks_them() {
    let Machine { outside, aplic, m, s } = machine(AplicCore::with_machine_level(96, 2, MSI));
    let m = m.unwrap();
    // Hart indices of 2 bits, group bit above them at bit 24 of the address; supervisor pages 4 apart.
    let high = 2 << 12 | 1 << 16;
    let registers = [(0x1bc0, 0x24000), (0x1bc8, 0x28000), (0x1bcc, 2 << 20), (0x1bc4, high)];
    for (offset, value) in registers {
        write(&m, offset, value);
        assert_eq!(read(&m, offset), value);
        write(&s, offset, value);
        assert_eq!(read(&s, offset), 0, "only the root has them");
    }
    write(&m, 4 * 10, DELEGATE);
    wire(&s, 7, 1 << 12 | 9);
    aplic.set_level(10, true);
    write(&m, 4 * 11, 1);
    write(&m, 0x3000 + 4 * 11, 6 << 18 | 3 << 12 | 5);
    write(&m, 0x1edc, 11);
    write(&m, 0, IE);
    write(&m, 0x1cdc, 11);
    assert_eq!(outside.take(), [(0x2800_0000 | 1 << 24 | 3 << 14 | 1 << 12, 9), (0x2400_0000 | 1 << 24 | 2 << 12, 5)]);
    write(&m, 0x1bc4, high | 1 << 31);
    for (offset, value) in [(0x1bc0, 0x24000), (0x1bc8, 0x28000), (0x1bcc, 2 << 20), (0x1bc4, high | 1 << 31)] {
        write(&m, offset, 0);
        assert_eq!(read(&m, offset), value, "locked");
    }
    m.reset();
    assert_eq!(read(&m, 0x1bc4), 0, "a reset unlocks");
}

#[test]
fn address_registers_hold_only_their_fields() {
    let Machine { m, .. } = machine(AplicCore::with_machine_level(96, 2, MSI));
    let m = m.unwrap();
    for (offset, held) in [(0x1bc0, !0), (0x1bc8, !0), (0x1bcc, 0x0070_0fff), (0x1bc4, 0x9f77_ffff)] {
        write(&m, offset, !0);
        assert_eq!(read(&m, offset), held, "{offset:#x}");
    }
    let Machine { m, .. } = machine(AplicCore::with_machine_level(96, 2, DIRECT));
    let m = m.unwrap();
    write(&m, 0x1bc0, !0);
    assert_eq!(read(&m, 0x1bc0), 0, "nothing is ever sent");
}

#[test]
fn an_extempore_msi_leaves_last_and_needs_no_enable() {
    let Machine { outside, s, .. } = machine(AplicCore::supervisor_only(96, 2, MSI, BASE));
    write(&s, 0x3000, 1 << 18 | 33);
    assert_eq!(outside.take(), [(0x2800_4000, 33)]);
    assert_eq!(read(&s, 0x3000), 1 << 18 | 33);
}

#[test]
fn big_endian_turns_every_register_but_two() {
    let Machine { s, .. } = machine(AplicCore::supervisor_only(96, 2, DIRECT, BASE));
    write(&s, 0, 1);
    assert_eq!(read(&s, 0), 0x8000_0001_u32.swap_bytes());
    write(&s, 4 * 5, 1_u32.swap_bytes());
    assert_eq!(read(&s, 4 * 5), 1_u32.swap_bytes());
    let pending = || read(&s, 0x1c00).swap_bytes();
    write(&s, 0x2000, 5);
    assert_eq!(pending(), 1 << 5);
    write(&s, 0x1ddc, 5_u32.swap_bytes());
    assert_eq!(pending(), 0);
    write(&s, 0x2004, 5_u32.swap_bytes());
    assert_eq!(pending(), 1 << 5);
    // The value that is safe to write in either order.
    write(&s, 0, 0);
    assert_eq!(read(&s, 0), 0x8000_0000);
}

#[test]
fn only_aligned_words_reach_registers() {
    let Machine { s, .. } = machine(AplicCore::supervisor_only(96, 2, DIRECT, BASE));
    s.write(4, &[6]);
    s.write(4, &[6, 0]);
    s.write(6, &[6, 0, 0, 0]);
    s.write(4, &[6, 0, 0, 0, 6, 0, 0, 0]);
    assert_eq!([read(&s, 4), read(&s, 8)], [0, 0]);
    let mut data = [0xee; 8];
    s.read(0, &mut data);
    assert_eq!(data, [0; 8]);
}

#[test]
fn a_reset_takes_the_lines_down_and_keeps_the_wires() {
    let Machine { outside, aplic, m, s } = machine(AplicCore::with_machine_level(96, 2, DIRECT));
    let m = m.unwrap();
    write(&m, 4 * 10, DELEGATE);
    wire(&s, 0, 1);
    aplic.set_level(10, true);
    assert!(outside.level(0, 9));
    let saved = aplic.state();
    m.reset();
    s.reset();
    assert!(!outside.level(0, 9));
    assert_eq!((read(&m, 4 * 10), read(&m, 0)), (0, 0x8000_0000));
    write(&m, 4 * 10, DELEGATE);
    assert_eq!(read(&s, 4 * 10), 0);
    wire(&s, 0, 1);
    assert!(outside.level(0, 9), "the device never lowered it");
    aplic.set_state(saved.clone());
    assert_eq!(aplic.state(), saved);
}

#[test]
fn harts_that_do_not_exist_get_nothing() {
    let Machine { outside, aplic, s, .. } = machine(AplicCore::supervisor_only(96, 2, DIRECT, BASE));
    wire(&s, 2, 1);
    aplic.set_level(10, true);
    aplic.set_level(0, true);
    aplic.set_level(500, true);
    assert!(outside.lines.lock().unwrap().is_empty());
    assert_eq!(read(&s, 0x4040 + 0x18), 0);
}
