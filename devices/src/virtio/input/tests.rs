use super::*;
use crate::MmioDevice;
use crate::virtio::testing::Driver;

fn show(d: &Driver, select: u8, subsel: u8) -> Vec<u8> {
    d.dev.write(0x100, &[select]);
    d.dev.write(0x101, &[subsel]);
    let size = d.config::<1>(2)[0];
    d.config::<128>(8)[..usize::from(size)].to_vec()
}

/// The driver's buffers, and what came in them.
struct Buffers {
    at: u64,
}

impl Buffers {
    fn give(d: &mut Driver, count: u64) -> Self {
        let at = d.alloc(8 * count as usize);
        (0..count).for_each(|i| _ = d.submit(0, &[(at + 8 * i, 8, true)]));
        Self { at }
    }

    fn next(&mut self, d: &mut Driver) -> (u16, u16, u32) {
        assert_eq!(d.wait_used(0).1, 8);
        let event = (d.get(self.at), d.get(self.at + 2), d.get(self.at + 4));
        self.at += 8;
        event
    }
}

#[test]
fn a_driver_learns_what_the_keyboard_is() {
    for legacy in [false, true] {
        let d = Driver::ready(Box::new(VirtioKeyboard::new("kbd0").unwrap()), legacy, 2, 0);
        assert_eq!(show(&d, select::NAME, 0), b"Vireo Virtio Keyboard");
        assert_eq!(show(&d, select::SERIAL, 0), b"kbd0");
        assert_eq!(show(&d, select::IDS, 0), [6, 0, 0x27, 6, 1, 0, 1, 0]);
        let keys = show(&d, select::EVENT_BITS, 1);
        let has = |code: u16| keys[usize::from(code) / 8] & 1 << (code % 8) != 0;
        assert!(has(POWER) && has(30) && !has(0) && !has(84));
        assert_eq!(show(&d, select::EVENT_BITS, 0x14), [0]);
        for (nothing, sub) in [(0, 0), (select::NAME, 1), (select::EVENT_BITS, 2), (0x12, 0), (0xff, 0xff)] {
            assert!(show(&d, nothing, sub).is_empty(), "{nothing} {sub}");
        }
    }
}

#[test]
fn keys_go_down_and_up_in_order() {
    let keyboard = VirtioKeyboard::new("kbd").unwrap();
    let keys = keyboard.keys();
    let mut d = Driver::ready(Box::new(keyboard), false, 2, 0);
    let mut buffers = Buffers::give(&mut d, 16);
    let before = Instant::now();
    keys.press(&[29, 46], Duration::from_millis(30)).unwrap();
    keys.press(&[POWER], Duration::ZERO).unwrap();
    let mut strokes = Vec::new();
    for _ in 0..6 {
        strokes.push(buffers.next(&mut d));
        assert_eq!(buffers.next(&mut d), (0, 0, 0));
    }
    assert_eq!(strokes, [(1, 29, 1), (1, 46, 1), (1, 46, 0), (1, 29, 0), (1, 116, 1), (1, 116, 0)]);
    assert!(before.elapsed() >= Duration::from_millis(30), "held");
    // Lamps are answered.
    let lamp = d.alloc(8);
    d.submit(1, &[(lamp, 8, false)]);
    assert_eq!(d.wait_used(1).1, 0);
}

#[test]
fn events_wait_for_buffers_and_are_bounded() {
    let keyboard = VirtioKeyboard::new("kbd").unwrap();
    let keys = keyboard.keys();
    let mut d = Driver::new(Box::new(keyboard), false);
    assert_eq!(keys.press(&[30], Duration::ZERO), Err(NotPressed::NoDriver));
    d.negotiate(2, 0);
    assert_eq!(keys.press(&[30], HOLD_MAX * 2), Err(NotPressed::TooLong));
    let mut pressed = 0;
    while keys.press(&[30], Duration::ZERO).is_ok() {
        pressed += 1;
    }
    assert_eq!(pressed, WAITING_MAX / 4);
    assert_eq!(keys.press(&[1, 2], Duration::ZERO), Err(NotPressed::Full { waiting: pressed, keys: 2 }));
    // One buffer at a time: each comes with a kick that is heard.
    for event in [(1, 30, 1), (0, 0, 0), (1, 30, 0), (0, 0, 0), (1, 30, 1)] {
        assert_eq!(Buffers::give(&mut d, 1).next(&mut d), event);
    }
    d.wait("room", || keys.waiting().len() == WAITING_MAX - 5);

    d.dev.pause();
    let saved = d.dev.save_state().unwrap();
    d.dev.reset();
    assert!(keys.waiting().is_empty(), "a reset forgets them");
    d.dev.restore_state(&saved).unwrap();
    assert_eq!(keys.waiting().len(), WAITING_MAX - 5);
    d.dev.resume();
    let mut buffers = Buffers::give(&mut d, 2);
    assert_eq!((buffers.next(&mut d), buffers.next(&mut d)), ((0, 0, 0), (1, 30, 0)));
    assert!(check(&[(1, 30, 1), SYN]).is_ok());
    for bad in [(1, 84, 1), (1, 30, 2), (0, 0, 1), (2, 0, 0)] {
        assert!(check(&[bad]).is_err(), "{bad:?}");
    }
    assert!(check(&[SYN; WAITING_MAX + 1]).is_err());
}

/// A driver keeps buffers in the ring for as long as it lives: they are no work.
#[test]
fn a_keyboard_that_nobody_touches_sleeps() {
    let keyboard = VirtioKeyboard::new("sleepy").unwrap();
    let keys = keyboard.keys();
    let mut d = Driver::ready(Box::new(keyboard), false, 2, 0);
    let mut buffers = Buffers::give(&mut d, 8);
    let state = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let is_ours = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "sleepy")
        };
        let mut tasks = tasks.filter(is_ours);
        // It gives itself its name when it comes to run.
        let text = std::fs::read_to_string(tasks.next()?.join("stat")).unwrap();
        let fields: Vec<_> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        Some(fields[0].to_owned())
    };
    // Asleep at ten looks in a row; one that spins is never found so but by chance.
    d.wait("it to sleep", || {
        (0..10).all(|_| {
            std::thread::sleep(Duration::from_millis(2));
            state().is_some_and(|state| state == "S")
        })
    });
    keys.press(&[30], Duration::ZERO).unwrap();
    assert_eq!(buffers.next(&mut d), (1, 30, 1));
}
