//! Whole machines on the engine without a CPU.

mod debug_switch;
mod devices;
mod disks;
mod dump;
mod gdb;
mod jobs;
mod monitor;
mod moves;
mod named;
mod qmp;
mod qmp_events;
mod qmp_queries;
mod shared_images;
mod snapshot;
mod steering;
mod switch;
mod ticks;

use accel::mock::{Event, Mock, Step};
use accel::{HartIrq, Irqchip, IrqchipOffer, IrqchipPlace, SbiCall, ShutdownReason, VcpuExit};

use firmware::fdt::DeviceTree;
use firmware::machine_tree::Chosen;

use super::*;
use crate::board::virt::map;
use crate::cli::{self, Command};

fn config(words: &[&str]) -> MachineConfig {
    let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    match cli::parse(&words) {
        Ok(Command::Run(config)) => *config,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// Runs `scripts` on a machine without console; the mock tells what the harts saw.
fn run_on(words: &[&str], scripts: Vec<Vec<Vec<Step>>>) -> (Result<Ending, String>, Mock) {
    run_with(words, Mock::new(scripts))
}

fn run_with(words: &[&str], mock: Mock) -> (Result<Ending, String>, Mock) {
    let mut config = config(words);
    let ending = take_irqchip(&mut config, &mock).and_then(|()| Machine::new(config, &mock)).and_then(Machine::run);
    (ending.map_err(|e| crate::error_chain(&e)), mock)
}

fn store(gpa: u64, data: &[u8]) -> Step {
    Step::Store { gpa, data: data.to_vec() }
}

fn store32(gpa: u64, value: u32) -> Step {
    store(gpa, &value.to_le_bytes())
}

fn load32(gpa: u64) -> Step {
    Step::Load { gpa, len: 4 }
}

fn loaded32(value: u32) -> Event {
    Event::Loaded(Some(value.to_le_bytes().to_vec()))
}

fn sbi(eid: u64, fid: u64, args: &[u64]) -> Step {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    Step::Exit(VcpuExit::Sbi(SbiCall { eid, fid, args: all }))
}

const HSM: u64 = 0x48534d;
const SRST: u64 = 0x53525354;
const DBCN: u64 = 0x4442434e;

fn power_off(code: u32) -> Step {
    store32(map::FINISHER.base, if code == 0 { 0x5555 } else { code << 16 | 0x3333 })
}

/// Where the demo guest, which these machines load, starts.
const ENTRY: u64 = map::RAM_BASE + (2 << 20);

#[test]
fn the_uart_reaches_its_file_and_the_exit_code_the_caller() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out");
    let serial = format!("file:{}", file.display());
    let script = vec![store(map::UART.base, b"H"), store(map::UART.base, b"i"), power_off(7)];
    let (ending, mock) = run_on(&["-serial", &serial], vec![vec![script]]);
    assert_eq!(ending, Ok(Ending::Code(7)));
    assert_eq!(mock.events(0), [Event::Started(ENTRY)]);
    assert_eq!(std::fs::read(file).unwrap(), b"Hi");
}

#[test]
fn an_interrupt_passes_uart_plic_and_hart() {
    let plic = map::PLIC.base;
    let script = vec![
        // Priority of the UART, its enable bit and the threshold of hart 0's S-mode.
        store32(plic + 4 * 10, 1),
        store32(plic + 0x2000, 1 << 10),
        store32(plic + 0x20_0000, 0),
        // Transmitter empty.
        store(map::UART.base + 1, &[2]),
        Step::Wait { irq: HartIrq::SupervisorExternal, level: true },
        load32(plic + 0x20_0004),
        Step::Wait { irq: HartIrq::SupervisorExternal, level: false },
        store(map::UART.base + 1, &[0]),
        store32(plic + 0x20_0004, 10),
        load32(plic + 0x20_0004),
        power_off(0),
    ];
    let (ending, mock) = run_on(&["-nodefaults"], vec![vec![script]]);
    assert_eq!(ending, Ok(Ending::Code(0)));
    assert_eq!(mock.events(0)[1..], [loaded32(10), loaded32(0)]);
}

#[test]
fn an_interrupt_passes_uart_aplic_and_hart() {
    let aplic = map::APLIC_S.base;
    let script = vec![
        // Global enable; source 10 level-sensitive, for hart 0 with priority 3, enabled; delivery to hart 0.
        store32(aplic, 1 << 8),
        store32(aplic + 4 * 10, 6),
        store32(aplic + 0x3000 + 4 * 10, 3),
        store32(aplic + 0x1edc, 10),
        store32(aplic + 0x4000, 1),
        // Transmitter empty.
        store(map::UART.base + 1, &[2]),
        Step::Wait { irq: HartIrq::SupervisorExternal, level: true },
        load32(aplic + 0x401c),
        store(map::UART.base + 1, &[0]),
        Step::Wait { irq: HartIrq::SupervisorExternal, level: false },
        load32(aplic + 0x401c),
        power_off(0),
    ];
    let (ending, mock) = run_on(&["-nodefaults", "-M", "virt,aia=aplic"], vec![vec![script]]);
    assert_eq!(ending, Ok(Ending::Code(0)));
    assert_eq!(mock.events(0)[1..], [loaded32(10 << 16 | 3), loaded32(0)]);
}

/// On an engine that turns stores into events the kicks of a device that runs are such, and no others.
#[test]
fn kicks_of_a_running_device_do_not_reach_the_bus() {
    let slot = map::virtio(7).base;
    let kick = store32(slot + 0x50, 0);
    let ring = |at: u64, page: u64| store32(slot + at, (map::RAM_BASE + (page << 12)) as u32);
    let script = vec![
        kick.clone(),
        // Driver, version 1, features settled.
        store32(slot + 0x70, 3),
        store32(slot + 0x24, 1),
        store32(slot + 0x20, 1),
        store32(slot + 0x70, 11),
        store32(slot + 0x38, 8),
        ring(0x80, 1),
        ring(0x90, 2),
        ring(0xa0, 3),
        store32(slot + 0x44, 1),
        kick.clone(),
        store32(slot + 0x70, 15),
        load32(slot + 0x70),
        // These two alone.
        kick.clone(),
        kick.clone(),
        store(slot + 0x50, &[0, 0]),
        store32(slot + 0x50, 1),
        store32(slot + 0x70, 0),
        kick,
        power_off(0),
    ];
    for (mock, swallowed) in
        [(Mock::new(vec![vec![script.clone()]]).with_io_events(), 2), (Mock::new(vec![vec![script]]), 0)]
    {
        let machine = Machine::new(config(&["-nodefaults", "-device", "virtio-rng-device"]), &mock).unwrap();
        assert_eq!(machine.run().unwrap(), Ending::Code(0));
        assert_eq!(mock.events(0)[1..], [loaded32(15)]);
        assert_eq!(mock.swallowed_stores(), swallowed);
    }
}

/// An engine with the AIA's chips.
fn mock_with(place: IrqchipPlace, identities: u32, script: Vec<Step>) -> Mock {
    Mock::new(vec![vec![script]]).with_irqchip(IrqchipOffer { place, identities })
}

#[test]
fn an_interrupt_passes_uart_and_the_engines_aplic() {
    // Transmitter empty; its wire is high when the machine ends.
    let script = vec![store(map::UART.base + 1, &[2]), power_off(0)];
    let words = ["-nodefaults", "-smp", "2", "-M", "virt,aia=aplic-imsic"];
    let (ending, mock) = run_with(&words, mock_with(IrqchipPlace::Engine, 2047, script));
    assert_eq!(ending, Ok(Ending::Code(0)));
    let chips = mock.irqchip().unwrap();
    assert_eq!((chips.config.aplic, chips.config.imsic), (Some((map::APLIC_S.base, 96)), map::IMSIC_S.base));
    assert_eq!((chips.config.identities, chips.state().unwrap().aplic.unwrap().inputs), (255, 1 << 10));
}

#[test]
fn an_interrupt_passes_uart_aplic_and_the_engines_imsic() {
    let aplic = map::APLIC_S.base;
    let script = vec![
        // Global enable; source 10 level-sensitive, for hart 1 with identity 77, enabled.
        store32(aplic, 1 << 8),
        store32(aplic + 4 * 10, 6),
        store32(aplic + 0x3000 + 4 * 10, 1 << 18 | 77),
        store32(aplic + 0x1edc, 10),
        store(map::UART.base + 1, &[2]),
        power_off(0),
    ];
    let words = ["-nodefaults", "-smp", "2", "-M", "virt,aia=aplic-imsic,aia-guests=1"];
    let (ending, mock) = run_with(&words, mock_with(IrqchipPlace::Split, 127, script));
    assert_eq!(ending, Ok(Ending::Code(0)));
    let chips = mock.irqchip().unwrap();
    assert_eq!((chips.config.aplic, chips.config.guest_bits, chips.config.identities), (None, 1, 127));
    assert_eq!(chips.msis(), [(map::IMSIC_S.base + 0x2000, 77)]);
}

#[test]
fn the_tree_is_the_same_whoever_has_the_chips() {
    let words = ["-nodefaults", "-smp", "3", "-M", "virt,aia=aplic-imsic,aia-guests=3"];
    let with = |place, identities| {
        let mut config = config(&words);
        config.board.irqchip = IrqchipOffer { place, identities };
        tree_of(&config)
    };
    let own = with(IrqchipPlace::Board, u32::MAX);
    assert_eq!(own, tree(&words));
    assert_eq!(with(IrqchipPlace::Engine, 255), own);
    assert_eq!(with(IrqchipPlace::Split, 2047), own);
    let fewer: Facts<'_> = &[(S_IMSIC, "riscv,num-ids", &[63])];
    check_tree(&with(IrqchipPlace::Engine, 100), fewer, &[]);
}

/// The device tree of a machine.
fn tree(words: &[&str]) -> DeviceTree {
    tree_of(&config(words))
}

fn tree_of(config: &MachineConfig) -> DeviceTree {
    let control = Arc::new(Control::new().unwrap());
    let timers = EventLoopTimers::new().unwrap();
    let chardevs = Chardevs::open(config).unwrap();
    let ram = memory::make(RAM_BASE, config.ram_size, &config.ram, config.lock).unwrap().ram;
    build_board(config, &chardevs, &control, &timers, ram).unwrap().0.tree(Chosen::default())
}

/// Properties of nodes of `/soc`, as cells.
type Facts<'a> = &'a [(&'a str, &'a str, &'a [u32])];

fn check_tree(tree: &DeviceTree, facts: Facts<'_>, absent: &[&str]) {
    for (name, property, cells) in facts {
        let node = tree.root.find(&format!("/soc/{name}")).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(node.cells(property).as_deref(), Some(*cells), "{name} {property}");
    }
    for name in absent {
        assert!(tree.root.find(&format!("/soc/{name}")).is_none(), "{name}");
    }
}

const M_APLIC: &str = "interrupt-controller@c000000";
const S_APLIC: &str = "interrupt-controller@d000000";
const M_IMSIC: &str = "interrupt-controller@24000000";
const S_IMSIC: &str = "interrupt-controller@28000000";

/// The numbers are those of QEMU's trees for `-smp 4`.
#[test]
fn the_tree_of_an_aplic() {
    let words = ["-nodefaults", "-smp", "4", "-bios", "none", "-kernel", "k", "-M", "virt,aia=aplic"];
    let facts: Facts<'_> = &[
        (S_APLIC, "phandle", &[0xa]),
        (S_APLIC, "riscv,num-sources", &[96]),
        (S_APLIC, "reg", &[0, 0xd00_0000, 0, 0x8000]),
        (S_APLIC, "interrupts-extended", &[8, 9, 6, 9, 4, 9, 2, 9]),
        (S_APLIC, "#interrupt-cells", &[2]),
        (M_APLIC, "phandle", &[9]),
        (M_APLIC, "riscv,delegation", &[0xa, 1, 96]),
        (M_APLIC, "riscv,children", &[0xa]),
        (M_APLIC, "interrupts-extended", &[8, 11, 6, 11, 4, 11, 2, 11]),
        ("serial@10000000", "interrupts", &[10, 4]),
        ("serial@10000000", "interrupt-parent", &[0xa]),
        ("test@100000", "phandle", &[0xb]),
    ];
    check_tree(&tree(&words), facts, &[M_IMSIC, S_IMSIC]);
}

#[test]
fn the_tree_of_imsics() {
    let with = |board| tree(&["-nodefaults", "-smp", "4", "-bios", "none", "-kernel", "k", "-M", board]);
    let facts: Facts<'_> = &[
        (M_IMSIC, "phandle", &[9]),
        (M_IMSIC, "reg", &[0, 0x2400_0000, 0, 0x4000]),
        (M_IMSIC, "interrupts-extended", &[8, 11, 6, 11, 4, 11, 2, 11]),
        (S_IMSIC, "phandle", &[0xa]),
        (S_IMSIC, "reg", &[0, 0x2800_0000, 0, 0x1_0000]),
        (S_IMSIC, "riscv,guest-index-bits", &[2]),
        (S_IMSIC, "riscv,num-ids", &[255]),
        (S_IMSIC, "#interrupt-cells", &[0]),
        (M_APLIC, "phandle", &[0xb]),
        (M_APLIC, "msi-parent", &[9]),
        (M_APLIC, "riscv,delegation", &[0xc, 1, 96]),
        (S_APLIC, "phandle", &[0xc]),
        (S_APLIC, "msi-parent", &[0xa]),
        ("virtio_mmio@10008000", "interrupts", &[8, 4]),
    ];
    let guests = with("virt,aia=aplic-imsic,aia-guests=3");
    check_tree(&guests, facts, &[]);
    let isa = guests.root.find("/cpus/cpu@0").unwrap().str("riscv,isa").unwrap();
    assert!(isa.contains("_smaia") && isa.contains("_ssaia"), "{isa}");
    let aclint = with("virt,aia=aplic-imsic,aclint=on");
    let timer: Facts<'_> = &[("mtimer@2007ff8", "reg", &[0, 0x200_7ff8, 0, 8, 0, 0x200_0000, 0, 0x7ff8])];
    check_tree(&aclint, timer, &["mswi@2000000", "sswi@2f00000", "clint@2000000"]);
    let no_guests = aclint.root.find(&format!("/soc/{S_IMSIC}")).unwrap();
    assert_eq!(no_guests.cells("riscv,guest-index-bits"), None);
}

#[test]
fn without_m_mode_there_is_the_supervisor_level_alone() {
    let tree = tree(&["-nodefaults", "-M", "virt,aia=aplic-imsic"]);
    check_tree(&tree, &[(S_APLIC, "msi-parent", &[3]), (S_IMSIC, "phandle", &[3])], &[M_APLIC, M_IMSIC]);
    let aplic = tree.root.find(&format!("/soc/{S_APLIC}")).unwrap();
    assert!(aplic.cells("riscv,delegation").is_none() && aplic.cells("riscv,children").is_none());
}

#[test]
fn a_reset_starts_the_guest_again_with_fresh_chips() {
    let scratch = map::UART.base + 7;
    let reset = store32(map::FINISHER.base, 0x7777);
    let script = |last| vec![Step::Load { gpa: scratch, len: 1 }, store(scratch, &[0x55]), last];
    let scripts = vec![vec![script(reset.clone()), script(reset), script(power_off(0))]];
    let (ending, mock) = run_on(&["-nodefaults"], scripts);
    assert_eq!(ending, Ok(Ending::Code(0)));
    let fresh = [Event::Started(ENTRY), Event::Loaded(Some(vec![0]))];
    assert_eq!(mock.events(0), [&fresh[..], &fresh[..], &fresh[..]].concat());
}

#[test]
fn no_reboot_ends_the_program() {
    let (ending, _) = run_on(&["-nodefaults", "-no-reboot"], vec![vec![vec![sbi(SRST, 0, &[1, 0])]]]);
    assert_eq!(ending, Ok(Ending::Code(0)));
    let (ending, _) = run_on(&["-nodefaults"], vec![vec![vec![sbi(SRST, 0, &[0, 1])]]]);
    assert_eq!(ending, Ok(Ending::Code(1)), "shut down because of a failure");
}

#[test]
fn hsm_starts_stops_and_starts_a_hart() {
    let start = |opaque| sbi(HSM, 0, &[1, ENTRY, opaque]);
    // Hart 1 stops at once; hart 0 waits for that by an interrupt that hart 1 raises through the PLIC's pending UART.
    let plic = map::PLIC.base;
    let hart0 = vec![
        store32(plic + 4 * 10, 1),
        store32(plic + 0x2000, 1 << 10),
        sbi(HSM, 2, &[1]),
        start(1),
        start(2),
        Step::Wait { irq: HartIrq::SupervisorExternal, level: true },
        power_off(0),
    ];
    let hart1 = vec![store(map::UART.base + 1, &[2]), sbi(HSM, 1, &[])];
    let (ending, mock) = run_on(&["-nodefaults", "-smp", "2"], vec![vec![hart0], vec![hart1]]);
    assert_eq!(ending, Ok(Ending::Code(0)));
    let (success, stopped, already) = (Event::Sbi { error: 0, value: 0 }, Event::Sbi { error: 0, value: 1 }, -6);
    let events = mock.events(0);
    assert_eq!(events[1..3], [stopped, success.clone()]);
    // The second start comes before or after hart 1 has stopped again.
    assert!(events[3] == Event::Sbi { error: already, value: 0 } || events[3] == success, "{events:?}");
    assert_eq!(mock.events(1)[0], Event::Started(ENTRY));
}

#[test]
fn the_debug_console_is_the_uarts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out");
    let serial = format!("file:{}", file.display());
    let script =
        vec![store(map::UART.base, b"a"), sbi(DBCN, 2, &[u64::from(b'b')]), store(map::UART.base, b"c"), power_off(0)];
    let (ending, _) = run_on(&["-serial", &serial], vec![vec![script]]);
    assert_eq!(ending, Ok(Ending::Code(0)));
    assert_eq!(std::fs::read(file).unwrap(), b"abc");
}

#[test]
fn m_mode_machines_have_what_belongs_below() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("kernel");
    std::fs::write(&kernel, [0x13; 64]).unwrap();
    let words = ["-nodefaults", "-bios", "none", "-kernel", kernel.to_str().unwrap(), "-smp", "2"];
    let clint = map::CLINT.base;
    let hart0 = vec![
        load32(map::MROM.base),
        // MSIP of hart 1, and of the PLIC context for its M-mode the threshold.
        store32(clint + 4, 1),
        load32(map::PLIC.base + 0x20_2000),
        Step::Load { gpa: map::SSWI.base, len: 4 },
        Step::Wait { irq: HartIrq::MachineSoftware, level: true },
        power_off(0),
    ];
    let hart1 = vec![Step::Wait { irq: HartIrq::MachineSoftware, level: true }, store32(clint, 1)];
    let (ending, mock) = run_on(&words, vec![vec![hart0], vec![hart1]]);
    assert_eq!(ending, Ok(Ending::Code(0)));
    let want = [Event::Started(map::MROM.base), loaded32(0x297), loaded32(0), Event::Loaded(None)];
    assert_eq!(mock.events(0), want);
    assert_eq!(mock.events(1), [Event::Started(map::MROM.base)]);

    let (ending, mock) = run_on(&["-nodefaults"], vec![vec![vec![load32(clint), power_off(0)]]]);
    assert_eq!(ending, Ok(Ending::Code(0)));
    assert_eq!(mock.events(0)[1], Event::Loaded(None), "no CLINT beside the built-in SBI");
}

#[test]
fn a_hart_that_sleeps_by_sbi_wakes_by_an_interrupt() {
    let plic = map::PLIC.base;
    let script = vec![
        store32(plic + 4 * 10, 1),
        store32(plic + 0x2000, 1 << 10),
        store(map::UART.base + 1, &[2]),
        // Retentive, then not.
        sbi(HSM, 3, &[0, 0, 0]),
        sbi(HSM, 3, &[0x8000_0000, ENTRY + 4, 9]),
    ];
    let (ending, mock) = run_on(&["-nodefaults"], vec![vec![script, vec![power_off(0)]]]);
    assert_eq!(ending, Ok(Ending::Code(0)));
    let want = [Event::Started(ENTRY), Event::Sbi { error: 0, value: 0 }, Event::Started(ENTRY + 4)];
    assert_eq!(mock.events(0), want);
}

/// Numbers without a pattern that a device could know.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Loads and stores of all widths all over the board, but for the finisher's register.
fn garbage(seed: u64, count: usize) -> Vec<Step> {
    let mut random = Xorshift(seed);
    let apart = |name: &str| ["finisher", "virtio"].contains(&name);
    let mut windows: Vec<_> = map::ALL.iter().filter(|(name, _)| !apart(name)).map(|(_, w)| *w).collect();
    windows.extend((0..map::VIRTIO_COUNT).map(map::virtio));
    let steps = (0..count).map(|_| {
        let window = windows[random.next() as usize % windows.len()];
        let len = 1usize << (random.next() % 4);
        // Registers are near the start; the rest of a window is looked at now and then.
        let span = if random.next().is_multiple_of(4) { window.size } else { window.size.min(0x200) };
        let gpa = window.base + (random.next() % span) / len as u64 * len as u64;
        let value = match random.next() % 4 {
            0 => random.next() % 256,
            1 => map::RAM_BASE + random.next() % 0x10_0000,
            2 => u64::MAX,
            _ => random.next(),
        };
        match random.next() % 3 {
            0 => Step::Load { gpa, len },
            _ => store(gpa, &value.to_le_bytes()[..len]),
        }
    });
    steps.collect()
}

#[test]
fn garbage_in_every_register_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let kernel = dir.path().join("kernel");
    std::fs::write(&kernel, [0x13; 64]).unwrap();
    let drive = format!("file={},snapshot=on", disk.display());
    let words = ["-nodefaults", "-smp", "2", "-drive", &drive, "-device", "virtio-rng-device", "-nic", "user"];
    let m_mode = ["-bios", "none", "-kernel", kernel.to_str().unwrap(), "-machine", "aclint=on"];
    let aia = ["-machine", "aia=aplic-imsic,aia-guests=3"];
    let m_mode_aia = [&m_mode[..4], &["-machine", "aia=aplic"]].concat();
    let legacy = ["-global", "virtio-mmio.force-legacy=on"];
    for (round, extra) in [&[][..], &m_mode, &legacy, &aia, &m_mode_aia].into_iter().enumerate() {
        let seed = 0x9e37_79b9_7f4a_7c15 + round as u64;
        let last = |end| [garbage(seed, 20_000), vec![end]].concat();
        // A reset in between finds every chip in a state that nobody planned.
        let lives = vec![last(store32(map::FINISHER.base, 0x7777)), last(power_off(0))];
        let (ending, _) = run_on(&[&words[..], extra].concat(), vec![lives, vec![garbage(!seed, 20_000); 2]]);
        assert_eq!(ending, Ok(Ending::Code(0)), "round {round}");
    }
}

#[test]
fn engines_failures_end_the_machine() {
    let (ending, _) =
        run_on(&["-nodefaults"], vec![vec![vec![Step::Exit(VcpuExit::Shutdown(ShutdownReason::Failure))]]]);
    assert_eq!(ending, Ok(Ending::Code(1)));
}

#[test]
fn an_answer_that_an_engine_does_not_take_ends_the_machine() {
    let script = vec![vec![vec![sbi(0x10, 0, &[])]]];
    let mock = Mock::new(script).that_refuses(accel::mock::Refusal::Sbi(0));
    let ending = Machine::new(config(&["-nodefaults"]), &mock).unwrap().run();
    let why = "hart 0 cannot go on: accelerator 'mock' does not support Sbi(0)";
    assert_eq!(ending.unwrap_err().to_string(), why);
}

#[test]
fn a_panic_of_a_hart_ends_the_machine() {
    let (ending, _) = run_on(&["-nodefaults", "-smp", "2"], vec![vec![vec![Step::Panic]]]);
    assert_eq!(ending, Err("the thread of hart 0 failed".to_owned()));
}

#[test]
fn what_is_missing_is_named() {
    let error = |words: &[&str]| run_on(words, vec![]).0.unwrap_err();
    assert!(error(&["-kernel", "/nonexistent/k"]).contains("'/nonexistent/k'"));
    assert!(error(&["-drive", "file=/nonexistent/d"]).contains("'/nonexistent/d'"));
    assert!(error(&["-bios", "/nonexistent/b"]).contains("'/nonexistent/b'"));
    assert!(error(&["-kernel", "/dev/null", "-dtb", "/nonexistent/t"]).contains("'/nonexistent/t'"));
    assert!(error(&["-nodefaults", "-serial", "file:/nonexistent/s"]).contains("'/nonexistent/s'"));
}
