use super::super::mock::{self, MockHost, RAM, call_from, value_of};
use super::*;
use crate::sbi::handle;

const EID: u64 = 0x0053_5345;
const LOCAL: u64 = 0xffff_0000;
const GLOBAL: u64 = 0xffff_8000;
const OVERFLOW: u64 = COUNTER_OVERFLOW as u64;
const OK: SbiOutcome = SbiOutcome::success(0);

fn sse(host: &MockHost, hart: u32, fid: usize, args: &[u64]) -> SbiOutcome {
    handle(&call_from(hart, EID, fid as u64, args), host)
}

const fn error(error: SbiError) -> SbiOutcome {
    SbiOutcome::error(error)
}

fn write(host: &MockHost, hart: u32, event: u64, attribute: u64, values: &[u64]) -> SbiOutcome {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert!(host.write_guest(RAM.start, &bytes));
    sse(host, hart, spec::WRITE_ATTRS, &[event, attribute, values.len() as u64, RAM.start, 0])
}

fn read(host: &MockHost, hart: u32, event: u64, attribute: u64) -> u64 {
    value_of(sse(host, hart, spec::READ_ATTRS, &[event, attribute, 1, RAM.start + 64, 0]));
    let mut word = [0; 8];
    assert!(host.read_guest(RAM.start + 64, &mut word));
    u64::from_le_bytes(word)
}

/// State and pending bit.
fn status(host: &MockHost, hart: u32, event: u64) -> u64 {
    read(host, hart, event, attribute::STATUS) & !MAY_INJECT
}

/// Registered with its id as the argument, and enabled.
fn enable(host: &MockHost, hart: u32, event: u64) {
    assert_eq!(sse(host, hart, spec::REGISTER, &[event, 0x1000, event]), OK);
    assert_eq!(sse(host, hart, spec::ENABLE, &[event]), OK);
}

/// What a hart takes before it goes on, by argument; the handler finds the same interrupted.
fn taken(host: &MockHost, hart: u32) -> Option<u64> {
    let mut took = None;
    assert!(!host.state().events.is_wanted(hart) || host.state().events.lock().next(hart).is_some());
    host.state().events.deliver(hart, |entry, arg| {
        assert_eq!(entry, 0x1000);
        took = Some(arg);
        [arg, 1, 2, 3]
    });
    took
}

fn unmasked(harts: u32) -> MockHost {
    let host = MockHost::new(harts);
    (1..harts).for_each(|hart| host.state().reset(hart));
    (0..harts).for_each(|hart| assert_eq!(sse(&host, hart, spec::HART_UNMASK, &[]), OK));
    host
}

#[test]
fn events_are_masked_at_first() {
    let host = MockHost::new(2);
    assert_eq!(sse(&host, 0, spec::HART_MASK, &[]), error(SbiError::AlreadyStopped));
    assert_eq!(sse(&host, 0, spec::HART_UNMASK, &[]), OK);
    assert_eq!(sse(&host, 0, spec::HART_UNMASK, &[]), error(SbiError::AlreadyStarted));
    assert_eq!(sse(&host, 1, spec::HART_MASK, &[]), error(SbiError::AlreadyStopped));
    assert_eq!(sse(&host, 0, spec::HART_MASK, &[]), OK);
    enable(&host, 0, LOCAL);
    assert_eq!(sse(&host, 0, spec::INJECT, &[LOCAL, 0]), OK);
    assert_eq!((taken(&host, 0), status(&host, 0, LOCAL)), (None, 2 | PENDING));
    assert_eq!(sse(&host, 0, spec::HART_UNMASK, &[]), OK);
    assert_eq!((taken(&host, 0), status(&host, 0, LOCAL)), (Some(LOCAL), 3));
}

#[test]
fn an_event_goes_from_state_to_state() {
    let host = unmasked(1);
    let invalid = error(SbiError::InvalidState);
    let step = |fid| sse(&host, 0, fid, &[LOCAL, 0x1000, 0]);
    for fid in [spec::UNREGISTER, spec::ENABLE, spec::DISABLE] {
        assert_eq!(step(fid), invalid);
    }
    assert_eq!(sse(&host, 0, spec::REGISTER, &[LOCAL, 0x1001, 0]), error(SbiError::InvalidParam));
    assert_eq!((step(spec::REGISTER), status(&host, 0, LOCAL)), (OK, 1));
    assert_eq!((step(spec::REGISTER), step(spec::DISABLE)), (invalid, invalid));
    assert_eq!((step(spec::ENABLE), status(&host, 0, LOCAL)), (OK, 2));
    for fid in [spec::REGISTER, spec::UNREGISTER, spec::ENABLE] {
        assert_eq!(step(fid), invalid);
    }
    assert_eq!(sse(&host, 0, spec::INJECT, &[LOCAL, 0]), OK);
    assert_eq!(taken(&host, 0), Some(0));
    for fid in [spec::REGISTER, spec::UNREGISTER, spec::ENABLE, spec::DISABLE] {
        assert_eq!(step(fid), invalid);
    }
    assert_eq!(step(spec::COMPLETE), SbiOutcome::EventReturn { interrupted: [0, 1, 2, 3] });
    assert_eq!((step(spec::COMPLETE), status(&host, 0, LOCAL)), (OK, 2), "nothing runs: nothing to do");
    assert_eq!((step(spec::DISABLE), step(spec::UNREGISTER), status(&host, 0, LOCAL)), (OK, OK, 0));
}

#[test]
fn unknown_events_are_invalid_and_missing_ones_not_supported() {
    let mut host = MockHost::new(1);
    let all = |host: &MockHost, event, want| {
        for fid in [spec::READ_ATTRS, spec::WRITE_ATTRS, spec::REGISTER, spec::UNREGISTER, spec::ENABLE] {
            assert_eq!(sse(host, 0, fid, &[event, 1, 1, RAM.start, 0]), want, "{event:#x}");
        }
        for fid in [spec::DISABLE, spec::INJECT] {
            assert_eq!(sse(host, 0, fid, &[event, 0]), want, "{event:#x}");
        }
    };
    for event in [2, 0x4000, 0xc000, 0x1_8000, 0x2_0000, 0xffff_0001, 0xffff_4000] {
        all(&host, event, error(SbiError::InvalidParam));
    }
    host.isa.exts.remove(Ext::Ssdbltrp);
    for event in [0, 1, 0x8000, 0x10_0000, 0x10_8000] {
        all(&host, event, error(SbiError::NotSupported));
    }
    assert_eq!(sse(&host, 0, spec::INJECT, &[LOCAL, 1]), error(SbiError::InvalidParam));
    assert_eq!(sse(&host, 0, spec::INJECT, &[GLOBAL, 1]), OK, "the hart is ignored");
    assert_eq!(sse(&host, 0, spec::INJECT, &[1 << 32 | LOCAL, 0]), OK, "ids have 32 bits");
}

#[test]
fn attributes_have_rules() {
    let host = unmasked(2);
    for n in 0..attribute::END {
        assert_eq!(read(&host, 1, GLOBAL, n), if n == 0 { MAY_INJECT } else { 0 }, "{n}");
    }
    assert_eq!(read(&host, 1, LOCAL, attribute::PREFERRED_HART), 1);
    for n in [0, 4, 5] {
        assert_eq!(write(&host, 0, GLOBAL, n, &[0]), error(SbiError::Denied));
    }
    assert_eq!(write(&host, 0, LOCAL, 3, &[0]), error(SbiError::Denied));
    let bad = [(1, 1 << 32), (2, 2), (3, 2), (3, u64::MAX), (7, 64)];
    for (n, v) in bad {
        assert_eq!(write(&host, 0, GLOBAL, n, &[v]), error(SbiError::InvalidParam), "{n}");
    }
    assert_eq!(write(&host, 0, GLOBAL, 1, &[7, 1, 2]), error(SbiError::InvalidParam));
    assert_eq!(read(&host, 0, GLOBAL, 1), 0, "all or nothing");
    assert_eq!(write(&host, 0, GLOBAL, 1, &[7, 1, 1]), OK);
    assert_eq!(sse(&host, 0, spec::READ_ATTRS, &[GLOBAL, 1 << 32 | 1, 1 << 32 | 3, RAM.start + 8, 0]), OK);
    let mut words = [0; 24];
    assert!(host.read_guest(RAM.start + 8, &mut words));
    assert_eq!(words.map(usize::from).iter().step_by(8).copied().collect::<Vec<_>>(), [7, 1, 1]);
    for n in 6..attribute::END {
        assert_eq!(write(&host, 0, LOCAL, n, &[1]), error(SbiError::InvalidState), "{n}");
    }
}

#[test]
fn attribute_ranges_and_addresses_are_checked() {
    let host = MockHost::new(1);
    for fid in [spec::READ_ATTRS, spec::WRITE_ATTRS] {
        let attributes = |first, count, low, high| sse(&host, 0, fid, &[LOCAL, first, count, low, high]);
        assert_eq!(attributes(1, 0, RAM.start, 0), error(SbiError::InvalidParam));
        for (first, count) in [(10, 1), (9, 2), (0, 11), (u64::from(u32::MAX), 1), (1, u64::from(u32::MAX))] {
            assert_eq!(attributes(first, count, RAM.start, 0), error(SbiError::BadRange));
        }
        for (low, high) in [(RAM.start + 1, 0), (RAM.start, 1), (RAM.end - 8, 0), (u64::MAX - 7, 0), (0, 0)] {
            assert_eq!(attributes(1, 2, low, high), error(SbiError::InvalidAddress));
        }
    }
}

#[test]
fn a_handler_may_change_what_it_returns_to() {
    let host = unmasked(2);
    enable(&host, 0, GLOBAL);
    assert_eq!(sse(&host, 0, spec::INJECT, &[GLOBAL, 0]), OK);
    assert_eq!(taken(&host, 0), Some(GLOBAL));
    assert_eq!(write(&host, 1, GLOBAL, 6, &[9]), error(SbiError::InvalidState), "another hart handles it");
    assert_eq!(write(&host, 0, GLOBAL, 6, &[9, 0x3f, 7, 6]), OK);
    for n in 1..=3 {
        assert_eq!(write(&host, 0, GLOBAL, n, &[1]), error(SbiError::InvalidState), "{n}");
    }
    assert_eq!(sse(&host, 0, spec::COMPLETE, &[]), SbiOutcome::EventReturn { interrupted: [9, 0x3f, 7, 6] });
}

#[test]
fn higher_events_preempt_lower_ones() {
    let host = unmasked(1);
    for (event, priority) in [(LOCAL, 5), (GLOBAL, 4), (OVERFLOW, 5)] {
        assert_eq!(write(&host, 0, event, 1, &[priority]), OK);
        enable(&host, 0, event);
    }
    let inject = |event| assert_eq!(sse(&host, 0, spec::INJECT, &[event, 0]), OK);
    let complete = || match sse(&host, 0, spec::COMPLETE, &[]) {
        SbiOutcome::EventReturn { interrupted } => interrupted[0],
        other => panic!("{other:?}"),
    };
    inject(LOCAL);
    assert_eq!(taken(&host, 0), Some(LOCAL));
    inject(LOCAL);
    assert_eq!(taken(&host, 0), None, "an event does not preempt itself");
    inject(OVERFLOW);
    assert_eq!(taken(&host, 0), Some(OVERFLOW), "the same priority, a lower id");
    inject(GLOBAL);
    assert_eq!(taken(&host, 0), Some(GLOBAL));
    assert_eq!((complete(), taken(&host, 0)), (GLOBAL, None));
    assert_eq!((complete(), taken(&host, 0)), (OVERFLOW, None));
    assert_eq!((complete(), taken(&host, 0)), (LOCAL, Some(LOCAL)), "what was injected meanwhile comes next");
    assert_eq!((complete(), taken(&host, 0)), (LOCAL, None));
}

#[test]
fn a_one_shot_event_is_disabled_when_it_is_done() {
    let host = unmasked(1);
    assert_eq!(write(&host, 0, LOCAL, 2, &[ONE_SHOT]), OK);
    enable(&host, 0, LOCAL);
    assert_eq!(sse(&host, 0, spec::INJECT, &[LOCAL, 0]), OK);
    assert_eq!(taken(&host, 0), Some(LOCAL));
    assert!(matches!(sse(&host, 0, spec::COMPLETE, &[]), SbiOutcome::EventReturn { .. }));
    assert_eq!(status(&host, 0, LOCAL), 1);
}

#[test]
fn local_events_are_each_harts_own() {
    let host = unmasked(2);
    enable(&host, 1, LOCAL);
    assert_eq!((status(&host, 0, LOCAL), status(&host, 1, LOCAL)), (0, 2));
    assert_eq!(sse(&host, 0, spec::INJECT, &[LOCAL, 1]), OK);
    assert_eq!(host.events(), [mock::Event::Wake(1)]);
    assert_eq!((taken(&host, 0), taken(&host, 1)), (None, Some(LOCAL)));
}

#[test]
fn global_events_go_to_the_preferred_hart() {
    let host = unmasked(3);
    assert_eq!(write(&host, 0, GLOBAL, 3, &[2]), OK);
    enable(&host, 1, GLOBAL);
    let inject = || assert_eq!(sse(&host, 0, spec::INJECT, &[GLOBAL, 0]), OK);
    inject();
    assert_eq!(host.events(), [mock::Event::Wake(2)]);
    assert_eq!((taken(&host, 0), taken(&host, 1), taken(&host, 2)), (None, None, Some(GLOBAL)));
    assert_eq!(sse(&host, 0, spec::COMPLETE, &[]), OK, "it does not run there");
    assert!(matches!(sse(&host, 2, spec::COMPLETE, &[]), SbiOutcome::EventReturn { .. }));
    assert_eq!(sse(&host, 2, spec::HART_MASK, &[]), OK);
    inject();
    assert_eq!((taken(&host, 0), taken(&host, 1), taken(&host, 2)), (None, None, None), "it waits for that hart");
    assert_eq!(handle(&call_from(2, 0x0048_534d, 1, &[]), &host), SbiOutcome::HartStop);
    assert_eq!((taken(&host, 2), taken(&host, 1)), (None, Some(GLOBAL)));
    assert_eq!(taken(&host, 0), None, "one hart handles it");
}

#[test]
fn a_hart_that_stops_takes_its_events_along() {
    let host = unmasked(2);
    enable(&host, 1, LOCAL);
    assert_eq!(write(&host, 0, GLOBAL, 3, &[1]), OK);
    enable(&host, 0, GLOBAL);
    assert_eq!(sse(&host, 0, spec::INJECT, &[GLOBAL, 0]), OK);
    assert_eq!(handle(&call_from(1, 0x0048_534d, 1, &[]), &host), SbiOutcome::HartStop);
    assert_eq!(host.events(), [mock::Event::Wake(1), mock::Event::Wake(0)]);
    assert_eq!((status(&host, 1, LOCAL), taken(&host, 1), taken(&host, 0)), (0, None, Some(GLOBAL)));
    host.state().reset_all();
    assert_eq!((status(&host, 0, GLOBAL), sse(&host, 0, spec::HART_UNMASK, &[])), (0, OK));
}

#[test]
fn overflows_are_a_machine_interrupt_while_they_are_an_event() {
    let host = unmasked(1);
    let registers = || (host.csr(MIDELEG), host.csr(MIE));
    for enabled in [0, mip::LCOFIP] {
        host.write_csr(MIDELEG, mip::LCOFIP | 0x222);
        host.write_csr(MIE, enabled);
        enable(&host, 0, OVERFLOW);
        assert_eq!(registers(), (0x222, mip::LCOFIP));
        assert!(host.state().events.signal(0, Signal::CounterOverflow));
        assert_eq!(taken(&host, 0), Some(OVERFLOW));
        assert!(!host.state().events.signal(0, Signal::CounterOverflow), "it runs already");
        assert!(matches!(sse(&host, 0, spec::COMPLETE, &[]), SbiOutcome::EventReturn { .. }));
        assert_eq!(registers(), (0x222, mip::LCOFIP));
        assert_eq!(taken(&host, 0), Some(OVERFLOW));
        assert!(matches!(sse(&host, 0, spec::COMPLETE, &[]), SbiOutcome::EventReturn { .. }));
        assert_eq!(sse(&host, 0, spec::DISABLE, &[OVERFLOW]), OK);
        assert_eq!(registers(), (mip::LCOFIP | 0x222, enabled));
        assert_eq!(sse(&host, 0, spec::UNREGISTER, &[OVERFLOW]), OK);
    }
}

#[test]
fn a_double_trap_needs_a_handler_at_once() {
    let host = MockHost::new(1);
    let events = &host.state().events;
    assert!(!events.signal(0, Signal::DoubleTrap));
    enable(&host, 0, 1);
    assert!(!events.signal(0, Signal::DoubleTrap), "masked");
    assert_eq!(sse(&host, 0, spec::HART_UNMASK, &[]), OK);
    assert!(events.signal(0, Signal::DoubleTrap));
    assert_eq!(taken(&host, 0), Some(1));
    assert!(!events.signal(0, Signal::DoubleTrap), "in its own handler");
}
