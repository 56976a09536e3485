//! The board's devices, each from its registers to the interrupt that a hart claims, and what stands above them: SBI,
//! timers, stop and go.

use ::devices::HartLines;
use serde_json::json;

use super::monitor::started;
use super::qmp::{Program, done, event, plain, with_path};
use super::*;
use crate::board::virt::irq;

/// Where a script has its rings and buffers: behind the demo guest, which is loaded but never runs.
const RINGS: u64 = map::RAM_BASE + (16 << 20);

/// The PLIC lets this source through to hart 0.
fn listen(source: u32) -> Vec<Step> {
    let plic = map::PLIC.base;
    vec![
        store32(plic + 4 * u64::from(source), 1),
        store32(plic + 0x2000 + u64::from(source / 32) * 4, 1 << (source % 32)),
        store32(plic + 0x20_0000, 0),
    ]
}

const CLAIM: u64 = map::PLIC.base + 0x20_0004;

/// Waits for the interrupt and claims it; `quiet` silences the device.
fn take(source: u32, quiet: Vec<Step>) -> Vec<Step> {
    let wait = |level| Step::Wait { irq: HartIrq::SupervisorExternal, level };
    [vec![wait(true), load32(CLAIM)], quiet, vec![store32(CLAIM, source), wait(false)]].concat()
}

/// Runs one hart to the end and returns what it saw behind its start.
fn events_of(words: &[&str], script: Vec<Vec<Step>>) -> Vec<Event> {
    let script = [script.concat(), vec![power_off(0)]].concat();
    let (ending, mock) = run_on(words, vec![vec![script]]);
    assert_eq!(ending, Ok(Ending::Code(0)));
    mock.events(0)[1..].to_vec()
}

/// A queue of a virtio device of the second version.
#[derive(Clone, Copy)]
struct Queue {
    slot: u8,
    index: u32,
}

const QUEUE_SIZE: u32 = 8;

impl Queue {
    fn place(self) -> u64 {
        RINGS + u64::from(self.index) * 0x1_0000
    }

    fn avail(self) -> u64 {
        self.place() + 0x1000
    }

    fn used(self) -> u64 {
        self.place() + 0x2000
    }

    /// Room for a buffer of a page.
    fn buffer(self, n: u64) -> u64 {
        self.place() + 0x3000 + n * 0x1000
    }

    fn place_it(self) -> Vec<Step> {
        let at = |offset| map::virtio(self.slot).base + offset;
        let mut steps = vec![store32(at(0x30), self.index), store32(at(0x38), QUEUE_SIZE)];
        for (register, ring) in [(0x80, self.place()), (0x90, self.avail()), (0xa0, self.used())] {
            steps.extend([store32(at(register), ring as u32), store32(at(register + 4), (ring >> 32) as u32)]);
        }
        steps.push(store32(at(0x44), 1));
        steps
    }

    /// Makes a chain of buffers (address, length, written by the device) from descriptor `first` on available as the
    /// `n`-th, and tells the device. `silent`: no interrupt.
    fn submit(self, n: u16, first: u16, buffers: &[(u64, u32, bool)], silent: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        for (i, (address, len, write)) in (first..).zip(buffers) {
            let last = usize::from(i - first) + 1 == buffers.len();
            let flags = u16::from(!last) | u16::from(*write) << 1;
            let words = [&address.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &(i + 1).to_le_bytes()];
            steps.push(store(self.place() + 16 * u64::from(i), &words.concat()));
        }
        steps.push(store(self.avail() + 4 + 2 * u64::from(n), &first.to_le_bytes()));
        steps.push(store(self.avail(), &[u8::from(silent), 0]));
        steps.push(store(self.avail() + 2, &(n + 1).to_le_bytes()));
        steps.push(store32(map::virtio(self.slot).base + 0x50, self.index));
        steps
    }
}

/// The status register of a transport up to DRIVER_OK, with VERSION_1 alone of the features.
fn negotiate(slot: u8, queues: &[Queue]) -> Vec<Step> {
    let at = |offset| map::virtio(slot).base + offset;
    let status = |value| store32(at(0x70), value);
    let mut steps = vec![status(0), status(1), status(3)];
    steps.extend([store32(at(0x24), 0), store32(at(0x20), 0), store32(at(0x24), 1), store32(at(0x20), 1)]);
    steps.extend([status(11), load32(at(0x70))]);
    steps.extend(queues.iter().flat_map(|q| q.place_it()));
    steps.push(status(15));
    steps
}

/// Reads and acknowledges a transport's interrupt.
fn acknowledge(slot: u8) -> Vec<Step> {
    let base = map::virtio(slot).base;
    vec![load32(base + 0x60), store32(base + 0x64, 1)]
}

fn loaded(bytes: &[u8]) -> Event {
    Event::Loaded(Some(bytes.to_vec()))
}

#[test]
fn a_sector_goes_to_the_disk_and_comes_back() {
    const SLOT: u8 = 2;
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, vec![0; 8 * 512]).unwrap();
    let drive = format!("file={},if=none,format=raw,id=d", disk.display());
    let device = format!("virtio-blk-device,drive=d,bus=virtio-mmio-bus.{SLOT}");
    let q = Queue { slot: SLOT, index: 0 };
    let (header, data, status, back) = (q.buffer(0), q.buffer(1), q.buffer(2), q.buffer(3));
    let sector: Vec<u8> = (0..512u32).map(|i| (i * 7 + i / 256) as u8).collect();
    let ask = |kind: u32| store(header, &[&kind.to_le_bytes()[..], &[0; 4], &3u64.to_le_bytes()].concat());
    let end = || vec![Step::Load { gpa: q.used() + 2, len: 2 }, Step::Load { gpa: status, len: 1 }];
    let script = vec![
        listen(irq::virtio(SLOT)),
        vec![load32(map::virtio(SLOT).base + 8)],
        negotiate(SLOT, &[q]),
        vec![ask(1), store(data, &sector), store(status, &[0xff])],
        q.submit(0, 0, &[(header, 16, false), (data, 512, false), (status, 1, true)], false),
        take(irq::virtio(SLOT), acknowledge(SLOT)),
        end(),
        vec![ask(0), store(status, &[0xff])],
        q.submit(1, 3, &[(header, 16, false), (back, 512, true), (status, 1, true)], false),
        take(irq::virtio(SLOT), acknowledge(SLOT)),
        end(),
        vec![Step::Load { gpa: back, len: 512 }],
    ];
    let events = events_of(&["-nodefaults", "-drive", &drive, "-device", &device], script);
    let interrupt = [loaded32(irq::virtio(SLOT)), loaded32(1)];
    let done = |n| [loaded(&[n, 0]), loaded(&[0])];
    let want = [&[loaded32(2), loaded32(11)][..], &interrupt, &done(1), &interrupt, &done(2), &[loaded(&sector)]];
    assert_eq!(events, want.concat());
    assert_eq!(std::fs::read(disk).unwrap()[3 * 512..4 * 512], sector);
}

#[test]
fn the_gateway_answers_a_frame() {
    const SLOT: u8 = 5;
    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    /// The device's header before each frame.
    const HEADER: usize = 12;
    let words = ["-nodefaults", "-netdev", "user,id=n", "-device"];
    let device = format!("virtio-net-device,netdev=n,mac=52:54:00:12:34:56,bus=virtio-mmio-bus.{SLOT}");
    let (receive, transmit) = (Queue { slot: SLOT, index: 0 }, Queue { slot: SLOT, index: 1 });
    // Who has 10.0.2.2?
    let arp = [0, 1, 8, 0, 6, 4, 0, 1];
    let frame =
        [&[0; HEADER][..], &[0xff; 6], &MAC, &[8, 6], &arp, &MAC, &[10, 0, 2, 15], &[0; 6], &[10, 0, 2, 2]].concat();
    let len = frame.len();
    let script = vec![
        listen(irq::virtio(SLOT)),
        negotiate(SLOT, &[receive, transmit]),
        receive.submit(0, 0, &[(receive.buffer(0), 2048, true)], false),
        vec![store(transmit.buffer(0), &frame)],
        transmit.submit(0, 0, &[(transmit.buffer(0), len as u32, false)], true),
        take(irq::virtio(SLOT), acknowledge(SLOT)),
        vec![Step::Load { gpa: receive.used() + 2, len: 2 }, Step::Load { gpa: receive.buffer(0), len }],
    ];
    let events = events_of(&[&words[..], &[&device]].concat(), script);
    assert_eq!(events[..4], [loaded32(11), loaded32(irq::virtio(SLOT)), loaded32(1), loaded(&[1, 0])]);
    let Event::Loaded(Some(answer)) = &events[4] else { panic!("{events:?}") };
    let answer = &answer[HEADER..];
    assert_eq!(answer[..6], MAC);
    assert_eq!(answer[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 2], "a reply");
    assert_eq!((&answer[28..32], &answer[32..38], &answer[38..]), (&[10, 0, 2, 2][..], &MAC[..], &[10, 0, 2, 15][..]));
}

#[test]
fn random_numbers_fill_a_buffer() {
    const SLOT: u8 = 0;
    let q = Queue { slot: SLOT, index: 0 };
    let script = vec![
        listen(irq::virtio(SLOT)),
        negotiate(SLOT, &[q]),
        q.submit(0, 0, &[(q.buffer(0), 32, true)], false),
        take(irq::virtio(SLOT), acknowledge(SLOT)),
        vec![Step::Load { gpa: q.used() + 8, len: 4 }, Step::Load { gpa: q.buffer(0), len: 32 }],
    ];
    let device = format!("virtio-rng-device,bus=virtio-mmio-bus.{SLOT}");
    let events = events_of(&["-nodefaults", "-device", &device], script);
    assert_eq!(events[1..4], [loaded32(irq::virtio(SLOT)), loaded32(1), loaded32(32)]);
    assert_ne!(events[4], loaded(&[0; 32]));
}

/// It is a key of the keyboard, whose driver hears of it; programs at monitors do, too.
#[test]
fn the_power_button_is_pressed() {
    const SLOT: u8 = 3;
    let (keys, lamps) = (Queue { slot: SLOT, index: 0 }, Queue { slot: SLOT, index: 1 });
    let strokes = (0..4).flat_map(|n| keys.submit(n, n, &[(keys.buffer(n.into()), 8, true)], false)).collect();
    let script = [
        listen(irq::virtio(SLOT)),
        negotiate(SLOT, &[keys, lamps]),
        strokes,
        vec![load32(keys.used())],
        vec![Step::Wait { irq: HartIrq::SupervisorExternal, level: true }],
        vec![Step::Load { gpa: keys.buffer(0), len: 8 }, power_off(0)],
    ];
    let device = format!("virtio-keyboard-device,bus=virtio-mmio-bus.{SLOT}");
    let mock = Mock::new(vec![vec![script.concat()]]);
    let (ending, mock) = with_path(&["-device", &device], mock, |path, mock| {
        let mut p = Program::at(path);
        // The start, and what was loaded: then its buffers are there.
        started(mock, 3);
        p.say(json!({ "execute": "system_powerdown" }).to_string());
        p.hears([plain("POWERDOWN"), done(), event("SHUTDOWN", true, "guest-shutdown")]);
    });
    assert_eq!(ending, Ending::Code(0));
    // The power key goes down.
    assert_eq!(mock.events(0)[3..], [loaded(&[1, 0, 116, 0, 1, 0, 0, 0])]);
}

#[test]
fn the_clock_rings() {
    let rtc = map::RTC.base;
    // The lower half of the alarm arms it: a millisecond from when the time was set.
    let (high, low) = (0x1234, 1_000_000);
    let script = vec![
        listen(irq::RTC),
        vec![store32(rtc + 4, high), store32(rtc, 0), store32(rtc + 0x10, 1)],
        vec![store32(rtc + 0xc, high), store32(rtc + 8, low)],
        take(irq::RTC, vec![load32(rtc + 0x18), load32(rtc), load32(rtc + 4), store32(rtc + 0x1c, 1)]),
    ];
    let events = events_of(&["-nodefaults"], script);
    assert_eq!(events[..2], [loaded32(irq::RTC), loaded32(0)], "{events:?}");
    let Event::Loaded(Some(now)) = &events[2] else { panic!("{events:?}") };
    assert!(u32::from_le_bytes(now[..].try_into().unwrap()) >= low, "the alarm is not before its time");
    assert_eq!(events[3], loaded32(high));
}

const TIME: u64 = 0x5449_4d45;
const IPI: u64 = 0x73_5049;
const RFENCE: u64 = 0x5246_4e43;

#[test]
fn sbi_calls_reach_timers_and_other_harts() {
    let timer = |level| Step::Wait { irq: HartIrq::SupervisorTimer, level };
    let hart0 = vec![
        // The version of the specification, what HSM is called, and a call that does not exist.
        sbi(0x10, 0, &[]),
        sbi(0x10, 3, &[HSM]),
        sbi(0x0abc_def0, 0, &[]),
        // 2 ms after power-on, and then never.
        sbi(TIME, 0, &[20_000]),
        timer(true),
        sbi(TIME, 0, &[u64::MAX]),
        timer(false),
        sbi(HSM, 0, &[1, ENTRY, 0]),
        sbi(RFENCE, 0, &[0b11, 0]),
        sbi(IPI, 0, &[0b10, 0]),
        Step::Wait { irq: HartIrq::SupervisorSoftware, level: true },
        power_off(0),
    ];
    let hart1 =
        vec![Step::Wait { irq: HartIrq::SupervisorSoftware, level: true }, sbi(IPI, 0, &[1, 0]), sbi(HSM, 1, &[])];
    let (ending, mock) = run_on(&["-nodefaults", "-smp", "2"], vec![vec![hart0], vec![hart1]]);
    assert_eq!(ending, Ok(Ending::Code(0)));
    let answer = |error, value| Event::Sbi { error, value };
    let success = answer(0, 0);
    let want = [answer(0, 3 << 24), answer(0, 1), answer(-2, 0)].into_iter().chain(vec![success; 5]);
    assert_eq!(mock.events(0)[1..], want.collect::<Vec<_>>());
}

#[test]
fn the_timer_of_m_mode_reaches_its_hart() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("kernel");
    std::fs::write(&kernel, [0x13; 64]).unwrap();
    let compare = map::CLINT.base + 0x4000;
    let wait = |level| Step::Wait { irq: HartIrq::MachineTimer, level };
    let script = vec![
        store(compare, &20_000u64.to_le_bytes()),
        wait(true),
        store(compare, &u64::MAX.to_le_bytes()),
        wait(false),
        Step::Load { gpa: compare, len: 8 },
    ];
    let words = ["-nodefaults", "-bios", "none", "-kernel", kernel.to_str().unwrap()];
    assert_eq!(events_of(&words, vec![script]), [loaded(&[0xff; 8])]);
}

#[test]
fn harts_that_are_stopped_go_on_where_they_were() {
    const ROUNDS: u32 = 50;
    const STARTED: u32 = 1;
    let counter = map::RAM_BASE + (32 << 20);
    // Each round waits for a line that the other thread drives while the harts are stopped.
    let wait = |level| Step::Wait { irq: HartIrq::SupervisorSoftware, level };
    let script = |hart: u64| -> Vec<Step> {
        let round = |n: u32| [wait(n % 2 == 1), store32(counter + 4 * hart, STARTED + n)];
        std::iter::once(store32(counter + 4 * hart, STARTED)).chain((1..=ROUNDS).flat_map(round)).collect()
    };
    let hart0 = [vec![sbi(HSM, 0, &[1, ENTRY, 0])], script(0), vec![wait(true), power_off(3)]].concat();
    let mock = Mock::new(vec![vec![hart0], vec![script(1)]]);
    let machine = Machine::new(config(&["-nodefaults", "-smp", "2"]), &mock).unwrap();
    let (harts, wires, ram) = (Arc::clone(&machine.harts), Arc::clone(&machine.board.wires), machine.board.ram.clone());
    let count = move |hart: u64| -> u32 {
        vm_memory::Bytes::read_obj(&*ram, vm_memory::GuestAddress(counter + 4 * hart)).unwrap()
    };
    let conductor = std::thread::spawn(move || {
        let rounds = |n| {
            while (0..2).any(|hart| count(hart) < STARTED + n) {
                std::thread::yield_now()
            }
        };
        let mut seen = Vec::new();
        for n in 1..=ROUNDS {
            rounds(n - 1);
            harts.stop();
            // What the lines do meanwhile is seen when the harts go on, not before.
            (0..2).for_each(|hart| wires.set_irq(hart, HartIrq::SupervisorSoftware as u8, n % 2 == 1));
            seen.push((count(0), count(1)));
            harts.run();
        }
        rounds(ROUNDS);
        wires.set_irq(0, HartIrq::SupervisorSoftware as u8, true);
        seen
    });
    assert_eq!(machine.run().map_err(|e| crate::error_chain(&e)), Ok(Ending::Code(3)));
    let seen = conductor.join().unwrap();
    assert_eq!(seen, (0..ROUNDS).map(|n| (STARTED + n, STARTED + n)).collect::<Vec<_>>());
}
