use accel::mock::{Mock, MockIrqchip};
use accel::{Accel, Clock, HartIrq, Vm, VmConfig};

use super::*;
use crate::board::memory;
use crate::board::wires::{BoardBus, HartWires};
use crate::config::{MemoryLock, RamConfig};
use devices::MmioBus;
use vm_memory::{Bytes, GuestAddress};

const IMSIC: u64 = 0x2800_0000;

fn offer(place: IrqchipPlace, identities: u32) -> IrqchipOffer {
    IrqchipOffer { place, identities }
}

/// Chips of a board for two harts, with the wires to them.
fn on_board(identities: u32) -> (Arc<EngineChips>, Arc<HartWires>) {
    let ram = memory::make(0x8000_0000, 1 << 20, &RamConfig::default(), MemoryLock::Off).unwrap().ram;
    let wires = Arc::new(HartWires::new(Arc::new(Clock::new(10_000_000))));
    let shape = Shape { harts: 2, guests: 1, address: 0xd00_0000, sources: 96, imsic: IMSIC, identities };
    (EngineChips::new(shape, &(Arc::clone(&wires) as Arc<dyn HartLines>), &ram), wires)
}

/// A machine of the mock with these of its own chips.
fn vm(chips: &EngineChips, mock: &Mock, irqchip: Option<IrqchipConfig>) -> Arc<dyn Vm> {
    let ram = &chips.files.board.ram;
    let config = VmConfig {
        ram: (**ram).clone(),
        bus: Arc::new(BoardBus::new(MmioBus::new(), None, None)),
        clock: Arc::new(Clock::new(10_000_000)),
        harts: 2,
        isa: arch::ext::IsaConfig::default(),
        builtin_sbi: true,
        machine_traps: true,
        imsic: None,
        irqchip,
    };
    mock.create_vm(config).unwrap()
}

fn chips(identities: u32) -> (Arc<EngineChips>, Arc<MockIrqchip>) {
    let (chips, _) = on_board(identities);
    let config = chips.config(offer(IrqchipPlace::Engine, identities)).unwrap();
    let mock = Mock::default();
    let vm = vm(&chips, &mock, Some(config));
    chips.bind(vm.start_irqchip().unwrap().unwrap(), config);
    (chips, mock.irqchip().unwrap())
}

/// A board's chips with something in every register.
fn boards() -> (Arc<Aplic>, Imsic) {
    let wires = Arc::new(HartWires::new(Arc::new(Clock::new(10_000_000))));
    let imsic = Imsic::new(imsic::Level::Supervisor { guests: 1 }, 2, Arc::clone(&wires) as _);
    let base = MsiBase { address: IMSIC, guest_bits: 1 };
    let core = AplicCore::supervisor_only(96, 2, Delivery::Msi { guests: true }, base);
    struct Nowhere;
    impl MsiSink for Nowhere {
        fn send(&self, _: u64, _: u32) {}
    }
    let aplic = Aplic::new(core, 2, wires, Arc::new(Nowhere));
    let d = aplic.device(aplic::Level::Supervisor).unwrap();
    let write = |offset: u64, value: u32| d.write(offset, &value.to_le_bytes());
    // Level, edge, and a source that is high and not enabled.
    for (source, mode) in [(10, 6), (11, 4), (96, 7)] {
        write(4 * source, mode);
        write(0x3000 + 4 * source, 1 << 18 | source as u32);
    }
    write(0x1edc, 96);
    write(0x1cdc, 11);
    write(0x3000, 1 << 18 | 77);
    aplic.set_level(10, true);
    for hart in 0..2 {
        imsic.access(hart, 0, 0x70, 0, 1);
        imsic.access(hart, 0, 0x72, 0, 99);
        imsic.access(hart, 0, 0xc6, 0, u64::from(hart) + 5);
    }
    imsic.receive(0x2000, 200);
    (aplic, imsic)
}

#[test]
fn a_boards_state_moves_into_the_engine_and_back() {
    let (chips, mock) = chips(255);
    let (aplic, imsic) = boards();
    chips.set_state(&ChipsState { aplic: aplic.state(), files: imsic.state() }).unwrap();
    let held = mock.state().unwrap();
    let a = held.aplic.as_ref().unwrap();
    assert_eq!((a.sourcecfg[96], a.target[11], a.inputs, a.genmsi), (7, 1 << 18 | 11, 1 << 10, 1 << 18 | 77));
    assert_eq!((a.pending, a.enabled), (1 << 10 | 1 << 11 | 1 << 96, 1 << 96));
    assert_eq!((held.files[1].pending[3], held.files[1].enabled[3], held.files[0].threshold), (1 << 8, 6, 99));
    assert_eq!(chips.state().unwrap(), ChipsState { aplic: aplic.state(), files: imsic.state() });
}

#[test]
fn wires_reach_the_engine_and_outlive_a_reset() {
    let (chips, mock) = chips(127);
    let inputs = || mock.state().unwrap().aplic.unwrap().inputs;
    [5, 10, 0, 97, 1000].iter().for_each(|source| chips.set_level(*source, true));
    assert_eq!(inputs(), 1 << 5 | 1 << 10);
    let (aplic, imsic) = boards();
    chips.set_state(&ChipsState { aplic: aplic.state(), files: imsic.state() }).unwrap();
    chips.set_level(3, true);
    chips.imsic().reset();
    let s = mock.state().unwrap();
    let expected =
        AplicState { inputs: 1 << 3 | 1 << 10, sourcecfg: vec![0; 97], target: vec![0; 97], ..AplicState::default() };
    assert_eq!(s.aplic, Some(expected));
    let file = InterruptFileState { pending: vec![0; 2], enabled: vec![0; 2], ..InterruptFileState::default() };
    assert_eq!(s.files, [file.clone(), file]);
}

#[test]
fn messages_reach_the_engine_or_memory() {
    let (chips, mock) = chips(255);
    for address in [IMSIC, IMSIC + 0x3000, IMSIC + 0x4000, 0x8000_0100, 0x1000] {
        chips.files.send(address, 7);
    }
    assert_eq!(mock.msis(), [(IMSIC, 7), (IMSIC + 0x3000, 7)]);
    assert_eq!(chips.files.board.ram.read_obj::<u32>(GuestAddress(0x8000_0100)).unwrap().to_le(), 7);
}

/// From the board into an engine and back, whatever part of them the engine has: nothing changes, and the harts' lines
/// are driven by the board's alone.
#[test]
fn chips_move_with_the_engine() {
    for place in [IrqchipPlace::Engine, IrqchipPlace::Split] {
        let (chips, wires) = on_board(255);
        let mock = Mock::default();
        let board = vm(&chips, &mock, None);
        let vcpus: Vec<_> = (0..2).map(|hart| board.create_vcpu(hart).unwrap()).collect();
        wires.bind(vcpus.iter().map(|v| v.handle()).collect());
        let lines = |vcpus: &[Box<dyn accel::Vcpu>]| [0, 1].map(|h| vcpus[h].handle().inputs().lines);
        let (aplic, imsic) = boards();
        let state = ChipsState { aplic: aplic.state(), files: imsic.state() };
        chips.set_state(&state).unwrap();
        // An interrupt of hart 1, which waits.
        chips.files.imsic().access(1, 0, 0x72, 0, 0);
        for (register, bits) in [(0x70, 1), (0xc0, 1 << 9), (0x80, 1 << 9)] {
            chips.files.imsic().access(1, 0, register, 0, bits);
        }
        chips.files.imsic().access(1, 0, 0x72, !0, 0);
        let high = HartIrq::SupervisorExternal.mask();
        assert_eq!(lines(&vcpus), [0, high]);
        let state = chips.state().unwrap();

        let config = chips.config(offer(place, 255)).unwrap();
        let engine = vm(&chips, &mock, Some(config));
        let others: Vec<_> = (0..2).map(|hart| engine.create_vcpu(hart).unwrap()).collect();
        let to = engine.start_irqchip().unwrap().unwrap();
        drop(chips.prepare(Some((Arc::clone(&to), config))).unwrap());
        assert_eq!((chips.state().unwrap(), lines(&vcpus)), (state.clone(), [0, high]), "a move that is given up");
        let moving = chips.prepare(Some((to, config))).unwrap();
        moving.leave();
        (0..).zip(&others).for_each(|(hart, vcpu)| wires.rebind(hart, vcpu.handle()));
        moving.arrive();
        // Guests' files are not the engine's.
        let mut without_guests = state.clone();
        without_guests.files.iter_mut().skip(1).step_by(2).for_each(|f| *f = InterruptFile::default());
        assert_eq!(chips.state().unwrap(), without_guests, "{place:?}");
        assert_eq!(lines(&others), [0, 0], "the engine drives its harts itself");
        assert_eq!(mock.irqchip().unwrap().state().unwrap().aplic.is_some(), place == IrqchipPlace::Engine);
        chips.files.send(IMSIC, 3);
        assert_eq!(mock.irqchip().unwrap().msis(), [(IMSIC, 3)]);
        chips.set_level(10, false);
        chips.set_level(96, true);

        let back = vm(&chips, &Mock::default(), None);
        let vcpus: Vec<_> = (0..2).map(|hart| back.create_vcpu(hart).unwrap()).collect();
        let moving = chips.prepare(None).unwrap();
        moving.leave();
        (0..).zip(&vcpus).for_each(|(hart, vcpu)| wires.rebind(hart, vcpu.handle()));
        moving.arrive();
        assert_eq!(lines(&vcpus), [0, high]);
        let inputs = chips.state().unwrap().aplic.supervisor().registers().inputs;
        assert_eq!(inputs, 1 << 96, "{place:?}");
        assert_eq!(chips.state().unwrap().files, without_guests.files);
    }
}

#[test]
fn an_engine_with_fewer_identities_than_the_guest_knows_has_none_of_the_chips() {
    let (chips, _) = on_board(255);
    assert!(chips.config(offer(IrqchipPlace::Engine, 63)).is_none());
    assert!(chips.config(offer(IrqchipPlace::Board, u32::MAX)).is_none());
    assert_eq!(chips.config(offer(IrqchipPlace::Split, 2047)).unwrap().identities, 255);
}
