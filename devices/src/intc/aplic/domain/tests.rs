use super::*;

const DIRECT: Delivery = Delivery::Direct { priority_bits: 3 };
const MSI: Delivery = Delivery::Msi { guests: true };

fn root(delivery: Delivery) -> Domain {
    Domain::new(96, 2, delivery, true, false)
}

/// A source in a mode, enabled, for hart 0.
fn with_source(delivery: Delivery, source: u32, mode: u32) -> Domain {
    let mut d = root(delivery);
    d.set_domaincfg(CFG_IE);
    d.set_sourcecfg(source, mode);
    d.set_setienum(source);
    d.set_idelivery(0, 1);
    d
}

fn is_pending(d: &Domain, source: u32) -> bool {
    d.setip(source / 32) >> (source % 32) & 1 != 0
}

#[test]
fn domaincfg_tells_its_byte_order_and_the_delivery_mode() {
    let mut d = root(DIRECT);
    assert_eq!(d.domaincfg(), 0x8000_0000);
    d.set_domaincfg(!0);
    assert_eq!(d.domaincfg(), 0x8000_0101, "no MSIs here");
    let mut d = root(MSI);
    d.set_domaincfg(0);
    assert_eq!(d.domaincfg(), 0x8000_0004, "only MSIs here");
}

#[test]
fn sourcecfg_holds_defined_modes_of_sources_that_exist() {
    let mut d = root(DIRECT);
    for (written, held) in [(1, 1), (2, 0), (3, 0), (4, 4), (5, 5), (6, 6), (7, 7), (0xffff_fb00 | 6, 6), (0, 0)] {
        d.set_sourcecfg(96, written);
        assert_eq!(d.sourcecfg(96), held, "{written:#x}");
    }
    for absent in [0, 97, 1023, u32::MAX] {
        d.set_sourcecfg(absent, 6);
        assert_eq!(d.sourcecfg(absent), 0);
    }
    // A leaf cannot delegate: the whole register becomes zero.
    d.set_sourcecfg(5, 6);
    assert!(!d.set_sourcecfg(5, DELEGATE | 6));
    assert_eq!(d.sourcecfg(5), 0);
    let mut d = Domain::new(96, 2, DIRECT, true, true);
    assert!(d.set_sourcecfg(5, DELEGATE | 6));
    assert_eq!(d.sourcecfg(5), DELEGATE, "the one child has index 0");
}

#[test]
fn an_inactive_source_has_nothing() {
    let mut d = root(DIRECT);
    d.input(5, true);
    d.set_setip(0, !0);
    d.set_setipnum(5);
    d.set_setie(0, !0);
    d.set_setienum(5);
    d.set_target(5, !0);
    assert_eq!((d.setip(0), d.setie(0), d.target(5), d.in_clrip(0)), (0, 0, 0, 0));
    let mut d = with_source(DIRECT, 5, EDGE1);
    d.set_target(5, 1 << HART_SHIFT | 3);
    d.input(5, true);
    d.set_sourcecfg(5, 0);
    assert_eq!((d.setip(0), d.setie(0), d.target(5)), (0, 0, 0));
}

#[test]
fn a_detached_source_ignores_its_wire() {
    for delivery in [DIRECT, MSI] {
        let mut d = with_source(delivery, 5, DETACHED);
        d.input(5, true);
        assert_eq!((d.setip(0), d.in_clrip(0)), (0, 0));
        d.set_setip(0, 1 << 5);
        assert!(is_pending(&d, 5));
        d.input(5, false);
        assert!(is_pending(&d, 5));
        d.set_in_clrip(0, 1 << 5);
        assert!(!is_pending(&d, 5));
    }
}

#[test]
fn an_edge_is_remembered_until_it_is_cleared() {
    for (delivery, mode, idle) in
        [(DIRECT, EDGE1, false), (DIRECT, EDGE0, true), (MSI, EDGE1, false), (MSI, EDGE0, true)]
    {
        let mut d = root(delivery);
        d.input(40, idle);
        d.set_sourcecfg(40, mode);
        assert!(!is_pending(&d, 40));
        d.input(40, !idle);
        assert!(is_pending(&d, 40));
        assert_eq!(d.in_clrip(1), 1 << 8);
        d.input(40, idle);
        assert!(is_pending(&d, 40), "the edge stays");
        assert_eq!(d.in_clrip(1), 0);
        d.set_clripnum(40);
        assert!(!is_pending(&d, 40));
        d.input(40, idle);
        assert!(!is_pending(&d, 40), "no transition");
        d.set_setipnum(40);
        assert!(is_pending(&d, 40));
    }
}

#[test]
fn a_level_in_direct_mode_is_a_copy_of_the_input() {
    for (mode, idle) in [(LEVEL1, false), (LEVEL0, true)] {
        let mut d = root(DIRECT);
        d.input(5, idle);
        d.set_sourcecfg(5, mode);
        d.set_setipnum(5);
        assert!(!is_pending(&d, 5), "cannot be set");
        d.input(5, !idle);
        d.set_clripnum(5);
        d.set_in_clrip(0, !0);
        assert!(is_pending(&d, 5), "cannot be cleared");
        d.set_setienum(5);
        assert_eq!(d.claim(0), 5 << 16 | 1);
        assert!(is_pending(&d, 5), "nor claimed away");
        d.input(5, idle);
        assert!(!is_pending(&d, 5));
    }
}

#[test]
fn a_level_in_msi_mode_pends_once_an_assertion() {
    for (mode, idle) in [(LEVEL1, false), (LEVEL0, true)] {
        let mut d = root(MSI);
        d.input(5, idle);
        d.set_sourcecfg(5, mode);
        d.set_setipnum(5);
        assert!(!is_pending(&d, 5), "not while the input is low");
        d.input(5, !idle);
        assert!(is_pending(&d, 5));
        d.set_clripnum(5);
        assert!(!is_pending(&d, 5));
        d.set_setipnum(5);
        assert!(is_pending(&d, 5), "again while the input is high");
        d.input(5, idle);
        assert!(!is_pending(&d, 5), "never while it is low");
    }
}

#[test]
fn a_level_that_is_high_when_it_is_configured_is_not_missed() {
    for delivery in [DIRECT, MSI] {
        let mut d = root(delivery);
        d.input(5, true);
        d.set_sourcecfg(5, LEVEL1);
        assert!(is_pending(&d, 5));
        d.set_sourcecfg(5, LEVEL0);
        assert!(!is_pending(&d, 5));
    }
}

#[test]
fn enables_are_set_and_cleared_by_bit_and_number() {
    let mut d = root(DIRECT);
    for source in [1, 33, 96] {
        d.set_sourcecfg(source, LEVEL1);
    }
    d.set_setie(1, !0);
    d.set_setienum(96);
    d.set_setienum(97);
    d.set_setienum(0);
    assert_eq!([0, 1, 2, 3, 31].map(|k| d.setie(k)), [0, 2, 0, 1, 0]);
    d.set_clrie(1, 2);
    d.set_clrienum(96);
    assert_eq!([1, 3].map(|k| d.setie(k)), [0, 0]);
}

#[test]
fn targets_hold_what_the_delivery_mode_has() {
    let mut d = with_source(DIRECT, 5, LEVEL1);
    assert_eq!(d.target(5), 1, "priority 0 does not exist");
    for (written, held) in [(!0, HART | 7), (8, 1), (1 << 18 | 6, 1 << 18 | 6)] {
        d.set_target(5, written);
        assert_eq!(d.target(5), held);
    }
    let mut d = with_source(MSI, 5, LEVEL1);
    d.set_target(5, !0);
    assert_eq!(d.target(5), !(1 << 11));
    let mut d = with_source(Delivery::Msi { guests: false }, 5, LEVEL1);
    d.set_target(5, !0);
    assert_eq!(d.target(5), HART | IDENTITY);
}

#[test]
fn smaller_priority_numbers_then_smaller_sources_come_first() {
    let mut d = root(DIRECT);
    d.set_domaincfg(CFG_IE);
    for (source, priority) in [(3, 2), (4, 1), (9, 1), (80, 5)] {
        d.set_sourcecfg(source, EDGE1);
        d.set_target(source, priority);
        d.set_setienum(source);
        d.input(source, true);
    }
    assert_eq!(d.topi(1), 0, "all are for hart 0");
    let order = [(); 5].map(|()| d.claim(0));
    assert_eq!(order, [4 << 16 | 1, 9 << 16 | 1, 3 << 16 | 2, 80 << 16 | 5, 0]);
}

#[test]
fn the_threshold_holds_weaker_sources_back() {
    let mut d = with_source(DIRECT, 5, LEVEL1);
    d.set_target(5, 3);
    d.input(5, true);
    for (threshold, passes) in [(0, true), (3, false), (2, false), (4, true), (8, true)] {
        d.set_ithreshold(0, threshold);
        assert_eq!(d.signals(0), passes, "{threshold}");
        assert_eq!(d.topi(0) != 0, passes);
    }
    d.set_ithreshold(0, !0);
    assert_eq!(d.idc(0).threshold, 7, "as wide as priorities");
}

#[test]
fn every_switch_on_the_way_to_the_hart_counts() {
    let mut d = with_source(DIRECT, 5, LEVEL1);
    d.input(5, true);
    assert!(d.signals(0));
    d.set_domaincfg(0);
    assert!(!d.signals(0));
    d.set_domaincfg(CFG_IE);
    d.set_idelivery(0, 2);
    assert!(!d.signals(0));
    d.set_idelivery(0, 1);
    d.set_clrienum(5);
    assert!(!d.signals(0));
}

#[test]
fn a_forced_interrupt_is_spurious_and_ends_with_its_claim() {
    let mut d = root(DIRECT);
    d.set_iforce(1, 1);
    assert!(!d.signals(1));
    d.set_domaincfg(CFG_IE);
    d.set_idelivery(1, 1);
    assert!(d.signals(1));
    assert_eq!(d.topi(1), 0);
    assert!(d.idc(1).force, "topi has no side effect");
    assert_eq!(d.claim(1), 0);
    assert!(!d.signals(1));
    // A claim of something real leaves it.
    d.set_iforce(1, 1);
    d.set_sourcecfg(5, EDGE1);
    d.set_target(5, 1 << HART_SHIFT | 1);
    d.set_setienum(5);
    d.input(5, true);
    assert_eq!(d.claim(1), 5 << 16 | 1);
    assert!(d.signals(1));
}

#[test]
fn messages_leave_when_everything_is_enabled_and_clear_the_pending_bit() {
    let mut d = with_source(MSI, 5, EDGE1);
    d.set_target(5, 1 << HART_SHIFT | 2 << GUEST_SHIFT | 77);
    d.set_domaincfg(0);
    d.input(5, true);
    assert_eq!(d.take_messages(), []);
    assert!(is_pending(&d, 5));
    d.set_domaincfg(CFG_IE);
    assert_eq!(d.take_messages(), [Message { hart: 1, guest: 2, identity: 77 }]);
    assert!(!is_pending(&d, 5));
    assert_eq!(d.take_messages(), []);
    assert!(!d.signals(0) && !d.signals(1), "no line besides");
}

#[test]
fn genmsi_is_for_msi_mode_and_needs_no_enable() {
    let mut d = root(MSI);
    assert_eq!(d.set_genmsi(!0), Some(Message { hart: 0x3fff, guest: 0, identity: 0x7ff }));
    assert_eq!(d.genmsi(), HART | IDENTITY);
    let mut d = root(DIRECT);
    assert_eq!((d.set_genmsi(!0), d.genmsi()), (None, 0));
}

#[test]
fn idc_structures_are_for_direct_mode() {
    let mut d = root(MSI);
    d.set_idelivery(0, 1);
    d.set_iforce(0, 1);
    d.set_ithreshold(0, 3);
    assert_eq!(d.idc(0), Idc::default());
    assert_eq!((d.topi(0), d.claim(0)), (0, 0));
}

#[test]
fn a_source_that_is_taken_back_leaves_nothing() {
    let mut child = Domain::new(96, 1, DIRECT, false, false);
    child.set_sourcecfg(5, EDGE1);
    assert_eq!(child.sourcecfg(5), 0, "it is the parent's");
    child.input(5, true);
    child.delegated(5, true);
    assert_eq!(child.sourcecfg(5), 0);
    child.set_sourcecfg(5, LEVEL1);
    child.set_setienum(5);
    assert!(is_pending(&child, 5));
    child.delegated(5, false);
    assert_eq!((child.sourcecfg(5), child.setip(0), child.setie(0)), (0, 0, 0));
    child.delegated(5, true);
    assert_eq!(child.sourcecfg(5), 0);
}
