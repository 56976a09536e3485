//! Machines whose guests go from one engine to another.

use ::devices::{HartLines, MmioDevice};
use accel::GuestBus;
use accel::debug::DebugConfig;
use accel::mock::Refusal;
use accel::testing::Registers;
use accel::{HartInputs, HostHarts};
use arch::ext::{Ext, ExtSet};

use super::monitor::{Person, with_socket};
use super::snapshot::{machine, shake, state};
use super::*;
use crate::profile::recorder::Wanted;
use crate::snapshot::MachineState;

/// A state with something in it, by hart.
fn hart(n: u32) -> HartState {
    let mut state =
        HartState { pc: 0x8000_0000 + 16 * u64::from(n), mode: accel::Mode::Supervisor, ..Default::default() };
    state.x[1..].iter_mut().zip(1..).for_each(|(x, i)| *x = u64::from(n) << 32 | i);
    state.csr.stimecmp = 77;
    state
}

/// A machine of two harts, with something in every chip and on the wires.
fn busy(words: &[&str], seed: u64) -> Machine {
    let machine = machine(&[&["-nodefaults", "-smp", "2", "-m", "16M"], words].concat());
    shake(&machine, seed, 5000);
    if words.contains(&"virt,aia=aplic-imsic") {
        // No engine has a big-endian APLIC and what else nonsense makes of one.
        let word = |at: u64, value: u32| machine.board.bus.write(at, &value.to_le_bytes()).unwrap();
        let chips = machine.board.engine_chips.as_ref().unwrap();
        chips.aplic_device(0).reset();
        chips.imsic().reset();
        let aplic = map::APLIC_S.base;
        for (source, mode) in [(10, 6), (11, 4), (96, 7)] {
            word(aplic + 4 * source, mode);
            word(aplic + 0x3000 + 4 * source, 1 << 18 | source as u32);
        }
        word(aplic + 0x1edc, 96);
        word(aplic + 0x1cdc, 11);
        word(map::IMSIC_S.base + 0x1000, 200);
    }
    for n in 0..2 {
        machine.harts.on(n, move |vcpu| vcpu.set_state(&hart(n))).unwrap();
        machine.board.wires.set_irq(n, HartIrq::SupervisorExternal as u8, n == 1);
        machine.board.wires.set_sbi_timer(n, 1000 + u64::from(n));
    }
    machine.harts.states.set(0, HartStatus::Started);
    machine.harts.states.set(1, HartStatus::Stopped);
    machine.board.clock.set(500);
    machine
}

fn inputs(machine: &Machine) -> [HartInputs; 2] {
    [0, 1].map(|hart| machine.board.wires.inputs(hart))
}

#[test]
fn all_of_a_machine_is_there_under_the_next_engine() {
    // By name, so that a failure can be read.
    let same = |machine: &Machine, before: &MachineState| {
        let now = state(machine);
        assert_eq!((now.run, &now.sbi), (before.run, &before.sbi));
        assert!(now.harts == before.harts, "the harts differ");
        let differing = now.devices.iter().filter(|(name, device)| before.devices.get(*name) != Some(device));
        assert_eq!(differing.map(|(name, _)| name).collect::<Vec<_>>(), [""; 0]);
    };
    for words in [&[][..], &["-M", "virt,aia=aplic"], &["-M", "virt,aia=aplic-imsic"], &["-icount", "3", "-smp", "1"]] {
        let icount = words.contains(&"-icount");
        let mut machine = match icount {
            false => busy(words, 1),
            true => machine(&[&["-nodefaults", "-m", "16M"], words].concat()),
        };
        machine.board.clock.set(500);
        let before = state(&machine);
        let driven: Vec<_> = (0..machine.hart_count()).map(|hart| machine.board.wires.inputs(hart)).collect();
        let gone = Arc::downgrade(&machine.harts.vm());
        // There and back, by way of engines that have chips, events and hart states of their own.
        for place in [IrqchipPlace::Board, IrqchipPlace::Engine, IrqchipPlace::Split, IrqchipPlace::Board] {
            let own = place != IrqchipPlace::Board;
            let mut next = Mock::default().with_irqchip(IrqchipOffer { place, identities: 255 });
            if own && !icount {
                next = next.with_io_events().that_starts_harts();
            }
            let switched = machine.switch_to(&next).unwrap();
            assert_eq!((switched.to, switched.downtime), ("mock", Duration::ZERO));
            same(&machine, &before);
            assert_eq!(next.events(0).len(), 1, "the harts get their state once");
            if own && !icount {
                let registers = |n| machine.harts.on(n, |vcpu| vcpu.state()).unwrap();
                assert_eq!(
                    [0, 1].map(|n| registers(n).mp),
                    [MpState::Runnable, MpState::Stopped],
                    "as the engine has it"
                );
                assert_eq!(machine.harts.states.get(1), HartStatus::Started);
            }
        }
        let now: Vec<_> = (0..machine.hart_count()).map(|hart| machine.board.wires.inputs(hart)).collect();
        assert_eq!(now, driven);
        assert!(gone.upgrade().is_none(), "nothing is left of the first engine's machine");
    }
}

#[test]
fn what_an_engine_does_not_take_is_told_and_nothing_has_happened() {
    let mut machine = busy(&["-M", "virt,aia=aplic-imsic"], 2);
    let (before, driven) = (state(&machine), inputs(&machine));
    let offer = IrqchipOffer { place: IrqchipPlace::Engine, identities: 255 };
    let host = |exts: &[Ext], timebase| {
        let isa = machine.config.isa.clone();
        let exts = isa.exts.iter().filter(|ext| !exts.contains(ext)).collect();
        HostHarts { isa: arch::ext::IsaConfig { exts, ..isa }, known: ExtSet::default(), timebase }
    };
    let mock = || Mock::default().with_irqchip(offer);
    let cases = [
        (mock().that_refuses(Refusal::Vcpu(1)), "accelerator 'mock' does not support Vcpu(1)"),
        (mock().that_refuses(Refusal::State(1)), "accelerator 'mock' does not support State(1)"),
        (mock().that_refuses(Refusal::Irqchip), "accelerator 'mock' does not support Irqchip"),
        (mock().on_host(host(&[Ext::Zbb, Ext::H], 10_000_000)), "its harts have what mock lacks: h, zbb"),
        (mock().on_host(host(&[], 1_000_000)), "its clock has 10000000 Hz, and mock has the host's with 1000000"),
    ];
    let vm = machine.harts.vm();
    for (engine, why) in cases {
        assert_eq!(machine.switch_to(&engine), Err(format!("the guest stays on mock: {why}")));
        assert!(Arc::ptr_eq(&vm, &machine.harts.vm()));
        assert!((state(&machine), inputs(&machine)) == (before.clone(), driven), "{why}");
    }
    // What the built-in SBI remembers is lost where another one answers.
    machine.harts.sbi.pmu.reset(0);
    machine.harts.sbi.hart(1).features = serde_json::from_str(r#"{"keeps_misaligned":true,"locked":1}"#).unwrap();
    let refused = machine.switch_to(&mock().that_starts_harts());
    assert_eq!(refused, Err("the guest stays on mock: it uses what cannot be moved of SBI: FWFT".into()));
    assert!(machine.switch_to(&mock()).is_ok());
}

#[test]
fn machines_that_are_not_an_engines_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("kernel");
    std::fs::write(&kernel, [0x13; 64]).unwrap();
    let m_mode = ["-nodefaults", "-m", "16M", "-bios", "none", "-kernel", kernel.to_str().unwrap()];
    let mut machine = machine(&m_mode);
    let host = HostHarts { isa: machine.config.isa.clone(), known: ExtSet::default(), timebase: 10_000_000 };
    let stays = |why: &str| Err(format!("the guest stays on mock: {why}"));
    let refused = machine.switch_to(&Mock::default().on_host(host.clone()));
    assert_eq!(refused, stays("it has firmware in M-mode, where mock has the host's kernel"));
    // Lines of M-mode and its timer are inputs as well.
    machine.board.wires.set_irq(0, 11, true);
    machine.board.wires.set_mtimecmp(0, 4711);
    let driven = machine.board.wires.inputs(0);
    assert_eq!((driven.lines, driven.mtimecmp), (1 << 11, 4711));
    machine.switch_to(&Mock::default()).unwrap();
    assert_eq!(machine.board.wires.inputs(0), driven);

    let mut counting = super::snapshot::machine(&["-nodefaults", "-m", "16M", "-icount", "1"]);
    assert_eq!(counting.switch_to(&Mock::default().on_host(host)), stays("mock does not count instructions (-icount)"));
    if cfg!(not(target_arch = "riscv64")) {
        let why = counting.switch_engine("kvm").unwrap_err();
        assert!(why.starts_with("the guest stays on mock: accelerator 'kvm' is not available: the host is"), "{why}");
    }
    let why = "there is no accelerator 'qemu'; there are kvm, tcg and interp";
    assert_eq!(counting.switch_engine("qemu"), stays(why).map(|_: Switched| None));
}

#[test]
fn breakpoints_stay_set_or_the_guest_stays() {
    let mut machine = busy(&[], 3);
    let set = |machine: &Machine, at: u64| {
        let config = DebugConfig { breakpoints: vec![at], ..DebugConfig::default() };
        for hart in 0..2 {
            machine.harts.set_debug(hart, config.clone()).unwrap().unwrap();
        }
        config
    };
    let config = set(&machine, 3);
    machine.start();
    let next = Mock::default();
    machine.switch_to(&next).unwrap();
    for hart in 0..2 {
        assert_eq!(next.events(hart)[1], Event::Debugged(config.clone()), "hart 1 has memory mapped there");
    }
    machine.stop(RunState::Paused);
    set(&machine, 1);
    machine.switch_to(&Mock::default()).expect("whoever lets it go on sets the breakpoint again");
    machine.start();
    let why = "no hart has memory mapped where there is a breakpoint, at 0x1";
    assert_eq!(machine.switch_to(&Mock::default()), Err(format!("the guest stays on mock: {why}")));
}

/// A hart that sleeps by SBI sleeps on where its sleep is the machine's, and wakes where it is the engine's.
#[test]
fn suspended_harts_sleep_on_or_wake() {
    const SUSP: u64 = 0x5355_5350;
    for (eid, args, pc, a0) in [(HSM, [0, 0, 0], None, 0), (HSM, [0x8000_0000, ENTRY, 5], Some(ENTRY), 0)] {
        let script = vec![sbi(eid, 3, &args), power_off(0)];
        let mock = Mock::new(vec![vec![script]]);
        let mut machine = Machine::new(config(&["-nodefaults"]), &mock).unwrap();
        machine.power_on().unwrap();
        machine.start();
        while machine.harts.states.get(0) != HartStatus::Suspended {
            std::thread::yield_now();
        }
        machine.switch_to(&Mock::default()).unwrap();
        assert_eq!(machine.harts.states.get(0), HartStatus::Suspended);
        machine.switch_to(&Mock::default().that_starts_harts()).unwrap();
        machine.stop(RunState::Paused);
        assert_eq!(machine.harts.states.get(0), HartStatus::Started);
        let state = machine.harts.on(0, |vcpu| vcpu.state()).unwrap();
        assert_eq!((state.pc, state.x[10]), (pc.unwrap_or(state.pc), a0));
    }
    let mock = Mock::new(vec![vec![vec![sbi(SUSP, 0, &[0, ENTRY, 0])]]]);
    let mut machine = Machine::new(config(&["-nodefaults"]), &mock).unwrap();
    machine.power_on().unwrap();
    machine.start();
    while machine.harts.states.get(0) != HartStatus::Suspended {
        std::thread::yield_now();
    }
    machine.switch_to(&Mock::default().that_starts_harts()).unwrap();
    assert_eq!(machine.harts.states.get(0), HartStatus::Suspended, "the system sleeps until somebody wakes it");
}

/// From the mock to the interpreter, which runs the demo guest then.
#[test]
fn the_monitor_switches_engines() {
    let dir = tempfile::tempdir().unwrap();
    let serial = format!("file:{}", dir.path().join("out").display());
    let words = ["-serial", &serial, "-append", "selftest"];
    let (ending, _) = with_socket("-monitor", &words, Mock::default(), |path, mock| {
        super::monitor::started(mock, 1);
        let mut person = Person::at(path);
        let accel = person.ask("accel");
        assert!(!accel.contains('*') && accel.contains("\n  interp  the same as tcg,jit=off"), "{accel}");
        assert_eq!(person.ask("accel x y"), "Error: 'y' is one word too many: accel takes [kvm|tcg|interp]\n");
        let refused = person.ask("accel bochs");
        assert!(refused.ends_with("there is no accelerator 'bochs'; there are kvm, tcg and interp\n"), "{refused}");
        assert_eq!(person.ask("info kvm"), "kvm support: disabled\n");
        person.ask("stop");
        assert_eq!(person.ask("accel interp"), "the guest went from mock to interp; downtime: 0.0 ms\n");
        assert_eq!(person.ask("info status"), "VM status: paused\n");
        assert_eq!(person.ask("accel interp"), "the guest is on interp already\n");
        assert!(person.ask("info accel").contains("\n* interp"), "{accel}");
        person.ask("cont");
        let told = person.ask("accel tcg");
        assert!(told.starts_with("the guest went from interp to tcg; downtime: "), "{told}");
        assert!(person.ask("help accel").contains("[kvm|tcg|interp]"));
        // The self test switches the machine off at its end.
        while std::os::unix::net::UnixStream::connect(path).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(ending, Ending::Code(0));
    let said = std::fs::read_to_string(dir.path().join("out")).unwrap();
    assert!(said.contains(" passed, 0 failed"), "{said}");
}

/// What the built-in SBI of a snapshot remembers is refused where another one answers.
#[test]
fn a_snapshot_is_refused_that_uses_what_an_engine_has_not() {
    let from = busy(&[], 5);
    let plain = from.machine_state(true).unwrap();
    from.harts.sbi.hart(1).features = serde_json::from_str(r#"{"keeps_misaligned":true,"locked":1}"#).unwrap();
    let uses = from.machine_state(true).unwrap();
    let mut to = machine(&["-nodefaults", "-smp", "2", "-m", "16M"]);
    to.restore(uses.clone()).unwrap();
    let mut to = machine(&["-nodefaults", "-smp", "2", "-m", "16M"]);
    to.switch_to(&Mock::default().that_starts_harts()).unwrap();
    let before = state(&to);
    let refused = crate::error_chain(&to.restore(uses).unwrap_err());
    assert!(refused.contains("mock does not take what was used of it: FWFT"), "{refused}");
    assert!(state(&to) == before);
    to.restore(plain).unwrap();
}

/// Samples are taken on wherever the guest goes.
#[test]
fn a_profile_goes_along() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("kernel");
    // It jumps to itself.
    std::fs::write(&kernel, 0x0000_006fu32.to_le_bytes().repeat(16)).unwrap();
    let words = ["-nodefaults", "-m", "16M", "-accel", "tcg", "-kernel", kernel.to_str().unwrap()];
    let config = config(&words);
    let engine = choose_engine(&config).unwrap();
    let mut machine = Machine::new(config, &*engine).unwrap();
    machine.power_on().unwrap();
    machine.start();
    machine.start_profile(Wanted { hz: 997, harts: vec![0], file: None }).unwrap();
    let samples = |machine: &Machine| -> u64 {
        let status = machine.profile_status();
        status.strip_prefix("running: ").and_then(|s| s.split(' ').next()?.parse().ok()).expect("a number")
    };
    for engine in ["interp", "tcg", "interp"] {
        machine.switch_engine(engine).unwrap().unwrap();
        let before = samples(&machine);
        let watchdog = std::time::Instant::now() + Duration::from_secs(120);
        while samples(&machine) < before + 20 {
            assert!(std::time::Instant::now() < watchdog, "no samples under {engine}: {}", machine.profile_status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    machine.stop(RunState::Paused);
    assert!(machine.stop_profile(None).unwrap().contains("samples of 1 hart(s)"));
}
