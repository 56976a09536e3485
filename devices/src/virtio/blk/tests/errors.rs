//! Requests that the image fails: told, forgiven, or tried again.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use super::*;
use crate::virtio::blk::{Answer, DiskError, DiskErrors, ErrorPolicy, OnError};

/// What the image does, and what was heard of it.
#[derive(Default)]
struct World {
    /// The host's error number for each request, if it is to fail.
    fails: Option<i32>,
    heard: Vec<DiskError>,
    /// Requests that went well, by offset.
    done: Vec<(Op, u64)>,
}

type Shared = Arc<Mutex<World>>;

struct Ears(Shared);

impl DiskErrors for Ears {
    fn failed(&self, error: &DiskError) {
        self.0.lock().unwrap().heard.push(error.clone());
    }
}

/// An image that fails when it is told to.
struct Shaky {
    world: Shared,
    submitted: Vec<(u64, Op, u64)>,
    event: OwnedFd,
}

impl BlockBackend for Shaky {
    fn len(&self) -> u64 {
        1 << 20
    }
    fn at_once(&mut self, _: Op, _: u64, _: &GuestBuffers, _: Wait) -> bool {
        false
    }
    fn room(&self) -> usize {
        4 - self.submitted.len()
    }
    fn submit(&mut self, request: Request) {
        self.submitted.push((request.token, request.op, request.offset));
    }
    fn commit(&mut self) {
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }
    fn completions(&mut self, out: &mut Vec<Completion>) {
        let mut world = self.world.lock().unwrap();
        let fails = world.fails;
        for (token, op, offset) in self.submitted.drain(..) {
            let result = fails.map_or(Ok(()), |number| Err(io::Error::from_raw_os_error(number)));
            if result.is_ok() {
                world.done.push((op, offset));
            }
            out.push(Completion { token, result });
        }
    }
    fn drain(&mut self, out: &mut Vec<Completion>) {
        self.completions(out);
    }
    fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
    fn kind(&self) -> &'static str {
        "shaky"
    }
}

fn shaky(policy: ErrorPolicy) -> (Disk, Shared) {
    let world = Shared::default();
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
    let backend = Shaky { world: Arc::clone(&world), submitted: Vec::new(), event };
    let config = BlkConfig { on_error: policy, ..BlkConfig::default() };
    let mut device = VirtioBlk::new("virtio-blk", Box::new(backend), config).unwrap();
    device.tell_errors(Arc::new(Ears(Arc::clone(&world))));
    (Disk::new(Box::new(device), false), world)
}

const EVERY: [OnError; 4] = [OnError::Report, OnError::Ignore, OnError::Stop, OnError::StopIfFull];

#[test]
fn failures_are_told_or_forgiven_as_the_policy_has_it() {
    for (number, full) in [(libc::EIO, false), (libc::ENOSPC, true)] {
        for (read, write) in EVERY.into_iter().flat_map(|r| EVERY.map(|w| (r, w))) {
            for is_write in [false, true] {
                let (mut d, world) = shaky(ErrorPolicy { read, write });
                world.lock().unwrap().fails = Some(number);
                let (wanted, status) = match if is_write { write } else { read } {
                    OnError::Report => (Answer::Report, 1),
                    OnError::StopIfFull if !full => (Answer::Report, 1),
                    OnError::Ignore => (Answer::Ignore, 0),
                    // Tested below.
                    OnError::Stop | OnError::StopIfFull => continue,
                };
                let got = if is_write { d.write(8, &[1; 512]) } else { d.read(8, 512).0 };
                assert_eq!(got, status, "{read:?} {write:?} {is_write}");
                let heard = std::mem::take(&mut world.lock().unwrap().heard);
                let [error] = &heard[..] else { panic!("{heard:?}") };
                assert_eq!((error.write, error.answer, error.full), (is_write, wanted, full));
                assert_eq!(error.reason, if full { "No space left on device" } else { "Input/output error" });
            }
        }
    }
}

/// More requests than the image has room for wait, over a stop and a snapshot, and are all done once it is well again.
#[test]
fn requests_wait_for_the_machine_to_go_on() {
    const COUNT: u64 = 12;
    for by_snapshot in [false, true] {
        let stop = ErrorPolicy { read: OnError::Stop, write: OnError::StopIfFull };
        let (mut d, world) = shaky(stop);
        world.lock().unwrap().fails = Some(libc::ENOSPC);
        let at = d.driver.alloc(64 * COUNT as usize);
        for i in 0..COUNT {
            let h = at + 64 * i;
            let kind = (i % 2) as u32;
            d.driver.put(h, kind);
            d.driver.put(h + 4, 0u32);
            d.driver.put(h + 8, i);
            d.driver.put(h + 32, 0xffu8);
            let data = d.data + 512 * i;
            d.driver.submit(0, &[(h, 16, false), (data, 512, kind == 0), (h + 32, 1, true)]);
        }
        d.driver.wait("all to fail", || world.lock().unwrap().heard.len() == COUNT as usize);
        assert!(d.driver.poll_used(0).is_none(), "nothing is answered");
        assert!(world.lock().unwrap().heard.iter().all(|error| error.answer == Answer::Stop));

        d.driver.dev.pause();
        // Once more while it still fails: they wait again.
        d.driver.dev.resume();
        d.driver.wait("all to fail again", || world.lock().unwrap().heard.len() == 2 * COUNT as usize);
        // In the same order: reads and writes take turns.
        assert!(world.lock().unwrap().heard.iter().zip(0..).all(|(error, i)| error.write == (i % 2 == 1)));
        d.driver.dev.pause();
        if by_snapshot {
            let saved = d.driver.dev.save_state().unwrap();
            d.driver.dev.reset();
            d.driver.dev.restore_state(&saved).unwrap();
        }
        world.lock().unwrap().fails = None;
        d.driver.dev.resume();
        for _ in 0..COUNT {
            d.driver.wait_used(0);
        }
        assert!((0..COUNT).all(|i| d.driver.get::<u8>(at + 64 * i + 32) == 0));
        let done: BTreeSet<u64> = world.lock().unwrap().done.iter().map(|(_, offset)| offset / 512).collect();
        assert_eq!(done, (0..COUNT).collect());
        assert_eq!(d.read(0, 512).0, 0, "works on");
    }
}

#[test]
fn a_reset_forgets_what_waits() {
    let (mut d, world) = shaky(ErrorPolicy { read: OnError::Stop, write: OnError::Stop });
    world.lock().unwrap().fails = Some(libc::EIO);
    d.driver.put(d.header, 0u32);
    d.driver.put(d.header + 8, 0u64);
    d.driver.submit(0, &[(d.header, 16, false), (d.data, 512, true), (d.header + 64, 1, true)]);
    d.driver.wait("it to fail", || !world.lock().unwrap().heard.is_empty());
    d.driver.dev.reset();
    world.lock().unwrap().fails = None;
    d.driver.rewind();
    d.driver.negotiate(1, 0);
    assert_eq!(d.read(3, 512).0, 0);
    assert_eq!(world.lock().unwrap().done, [(Op::Read, 3 * 512)]);
}
