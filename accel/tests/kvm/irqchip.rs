//! The kernel's APLIC and IMSICs, on hosts whose harts have the AIA. Identities are below 31: kernels to date reach no
//! more of each 64 in IMSICs that they keep in software.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use accel::irqchip::{AplicState, InterruptFileState};
use accel::testing::Registers as _;
use accel::{Clock, Irqchip, IrqchipConfig, IrqchipState};
use arch::csr;

use crate::guest::setup::Setup;
use crate::guest::{CODE, Guest, Op};
use crate::machine::{Machine, engine, finish};

const APLIC: u64 = 0xd00_0000;
const IMSIC: u64 = 0x2800_0000;
const SOURCES: u32 = 96;

/// A machine with the chips, if the host can have them.
fn machine(harts: u32) -> Option<(Machine, Arc<dyn Irqchip>)> {
    let (engine, host) = engine();
    let offer = match engine.irqchip() {
        Ok(offer) => offer,
        Err(e) => {
            println!("not tested: {e}");
            return None;
        }
    };
    let identities = offer.identities.min(255);
    let irqchip = Some(IrqchipConfig { aplic: Some((APLIC, SOURCES)), imsic: IMSIC, guest_bits: 0, identities });
    let clock = Arc::new(Clock::new(host.timebase));
    let guest: Guest = Setup { harts, isa: host.isa, clock, irqchip, ..Setup::default() }.start(&*engine);
    let chips = guest.irqchip.clone().expect("the engine has them");
    Some((Machine { guest, device: Arc::default() }, chips))
}

/// Out of reset.
fn empty(chips: &dyn Irqchip) -> IrqchipState {
    let state = chips.state().expect("the kernel tells");
    let words = state.files[0].pending.len();
    let file = InterruptFileState { pending: vec![0; words], enabled: vec![0; words], ..Default::default() };
    let by_source = vec![0; SOURCES as usize + 1];
    let aplic = AplicState { sourcecfg: by_source.clone(), target: by_source, ..AplicState::default() };
    IrqchipState { aplic: Some(aplic), files: vec![file; state.files.len()] }
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn the_chips_state_goes_to_the_kernel_and_back() {
    let Some((_machine, chips)) = machine(2) else { return };
    let empty = empty(&*chips);
    assert_eq!(chips.state().unwrap(), empty);
    let mut state = empty.clone();
    let aplic = state.aplic.as_mut().unwrap();
    for source in 1..=SOURCES as usize {
        aplic.sourcecfg[source] = [4, 5, 6, 7][source % 4];
        aplic.target[source] = ((source as u32 & 1) << 18) | source as u32;
    }
    (aplic.delivers, aplic.genmsi) = (true, 1 << 18 | 77);
    (aplic.enabled, aplic.pending) = (0x5555 << 40, 0xaaaa << 30 | 1 << 96);
    aplic.pending &= !aplic.enabled;
    aplic.inputs = 0xf0f0_1234 << 8;
    for (n, file) in (0u64..).zip(&mut state.files) {
        (file.delivery, file.threshold) = (n == 0, 100 + n as u16);
        (file.pending[0], file.enabled[0]) = (0xf0 << n, 0x1234_5678);
        *file.enabled.last_mut().unwrap() = n + 1;
    }
    for state in [&state, &empty, &state] {
        chips.set_state(state).unwrap();
        assert_eq!(&chips.state().unwrap(), state);
    }
}

/// Wires, MSIs and events, in a hart that takes them.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn interrupts_get_in_by_every_way() {
    const GSI: u32 = 200;
    let Some((mut m, chips)) = machine(1) else { return };
    let mut state = empty(&*chips);
    let aplic = state.aplic.as_mut().unwrap();
    (aplic.delivers, aplic.sourcecfg[10], aplic.target[10], aplic.enabled) = (true, 6, 21, 1 << 10);
    (state.files[0].delivery, state.files[0].enabled[0]) = (true, 0x7fff_fffe);
    chips.set_state(&state).unwrap();
    chips.route_msi(GSI, Some((IMSIC, 23))).unwrap();
    assert!(chips.route_msi(10, Some((IMSIC, 23))).is_err(), "a wire's");
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let mut event = std::fs::File::from(event);
    chips.irqfd(GSI, event.as_fd(), true).unwrap();
    // Waits, and claims three interrupts.
    m.program(|a| {
        for n in [20, 21, 22] {
            let again = a.here();
            a.csrrw(n, csr::STOPEI, 0).b(Op::Beq, n, 0, again);
        }
    });
    let start = m.start(0);
    m.harts[0].set_state(&start);
    chips.set_line(10, true);
    chips.send_msi(IMSIC, 22);
    chips.send_msi(IMSIC, 0);
    chips.send_msi(IMSIC, 4000);
    event.write_all(&1u64.to_ne_bytes()).unwrap();
    let end = finish(&mut m.harts[0]);
    assert_eq!([20, 21, 22].map(|n| end.x[n]), [21, 22, 23].map(|id| id << 16 | id));
    // The wire is still high, and has been told.
    let aplic = chips.state().unwrap().aplic.unwrap();
    assert_eq!((aplic.pending, aplic.inputs), (0, 1 << 10));
    chips.set_line(10, false);
    assert_eq!(chips.state().unwrap().aplic.unwrap().inputs, 0);

    let time = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..1000).for_each(|_| f());
        start.elapsed() / 1000
    };
    let call = time(&mut || chips.send_msi(IMSIC, 22));
    let written = time(&mut || event.write_all(&1u64.to_ne_bytes()).unwrap());
    println!("an MSI takes {call:?} by a call, {written:?} by an event");

    chips.irqfd(GSI, event.as_fd(), false).unwrap();
    chips.set_state(&state).unwrap();
    event.write_all(&1u64.to_ne_bytes()).unwrap();
    assert_eq!(chips.state().unwrap().files[0].pending[0], 0);
    chips.route_msi(GSI, None).unwrap();
    assert_eq!(m.harts[0].state().pc, end.pc, "at its end since");
    assert!(end.pc >= CODE);
}

/// A hart whose pending bits are written keeps what its file says.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_harts_state_does_not_lose_an_interrupt() {
    let Some((mut m, chips)) = machine(1) else { return };
    let mut state = empty(&*chips);
    (state.files[0].delivery, state.files[0].enabled[0]) = (true, 1 << 9);
    chips.set_state(&state).unwrap();
    m.program(|a| {
        // Sleeps until the external interrupt is pending, without taking it.
        a.plain(Op::Wfi).csrr(20, csr::SIP).csrr(21, csr::STOPEI);
    });
    chips.send_msi(IMSIC, 9);
    let mut start = m.start(0);
    start.csr.mie |= 1 << 9;
    m.harts[0].set_state(&start);
    assert!(m.harts[0].wait_for_interrupt());
    let end = finish(&mut m.harts[0]);
    assert_eq!((end.x[20] >> 9 & 1, end.x[21]), (1, 9 << 16 | 9));
}
