//! A worker with tasks that say what they hear.

use super::*;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;

struct Echo {
    heard: Sender<u64>,
    pipe: Option<OwnedFd>,
    finished: bool,
}

impl Task for Echo {
    fn start(&mut self, poller: &Poller) -> io::Result<()> {
        self.pipe.as_ref().map_or(Ok(()), |p| poller.add(7, p.as_fd()))
    }
    fn kicked(&mut self, queue: u16, _: &Poller) -> bool {
        self.heard.send(u64::from(queue)).is_err()
    }
    fn ready(&mut self, token: u64, poller: &Poller) -> bool {
        poller.remove(self.pipe.as_ref().expect("only source").as_fd());
        let _ = self.heard.send(100 + token);
        false
    }
    fn finish(&mut self) {
        self.finished = true;
    }
}

#[test]
fn every_kick_is_heard_awake_or_asleep() {
    let bell = Arc::new(Doorbell::new().unwrap());
    let (heard, ears) = channel();
    let echo = Echo { heard, pipe: None, finished: false };
    let worker = Worker::spawn("test", echo, 0b11, Arc::clone(&bell)).unwrap();
    assert_eq!((ears.recv().unwrap(), ears.recv().unwrap()), (0, 1), "queues count as kicked at the start");
    for i in 0..2000 {
        bell.ring(1);
        assert_eq!(ears.recv().unwrap(), 1);
        if i % 500 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    bell.ring(5); // not ours
    bell.ring(200);
    let echo = worker.stop().unwrap();
    assert!(echo.finished);
    assert!(ears.try_recv().is_err());
}

/// A place that takes every assignment and does nothing: the test stores by itself.
struct Anything;

impl IoEvents for Anything {
    fn assign(&self, _: u64, _: u32, _: BorrowedFd<'_>) -> bool {
        true
    }
    fn deassign(&self, _: u64, _: u32, _: BorrowedFd<'_>) {}
}

/// A ring of one place, which a look empties.
struct Look {
    filled: Arc<AtomicBool>,
    taken: Sender<()>,
}

impl Task for Look {
    fn kicked(&mut self, queue: u16, _: &Poller) -> bool {
        if queue == 1 && self.filled.swap(false, Ordering::SeqCst) {
            let _ = self.taken.send(());
        }
        false
    }
}

/// The driver fills its ring and kicks, by either way, at each point of a worker's life: also by the way that ends
/// there, and by the one that has not begun.
#[test]
fn no_kick_is_lost_whenever_the_worker_starts_and_stops() {
    for (by_event, point) in (0..6).flat_map(|point| [(false, point), (true, point)]) {
        let bell = Arc::new(Doorbell::new().unwrap());
        bell.connect(Arc::new(Anything), 0x50, 2).unwrap();
        let (taken, ears) = channel();
        let filled = Arc::new(AtomicBool::new(false));
        let start = || {
            let look = Look { filled: Arc::clone(&filled), taken: taken.clone() };
            Worker::spawn("test", look, 0b11, Arc::clone(&bell)).unwrap()
        };
        let at = |here: usize| match by_event {
            _ if point != here => {}
            true => {
                filled.store(true, Ordering::SeqCst);
                let event = &bell.queue_events.get().unwrap().events[1];
                rustix::io::write(event, &1u64.to_ne_bytes()).unwrap();
            }
            false => {
                filled.store(true, Ordering::SeqCst);
                bell.ring(1);
            }
        };
        let worker = start();
        at(0);
        bell.begin_events(0b11);
        at(1);
        bell.end_events();
        at(2);
        worker.stop().unwrap();
        at(3);
        let worker = start();
        at(4);
        bell.begin_events(0b11);
        at(5);
        let heard = ears.recv_timeout(Duration::from_secs(120));
        assert!(heard.is_ok(), "lost at point {point}, by event: {by_event}");
        worker.stop().unwrap();
    }
}

#[test]
fn a_queues_event_is_a_kick_awake_or_asleep() {
    let bell = Arc::new(Doorbell::new().unwrap());
    bell.connect(Arc::new(Anything), 0x50, 64).unwrap();
    let (heard, ears) = channel();
    let echo = Echo { heard, pipe: None, finished: false };
    let worker = Worker::spawn("test", echo, 1 << 63 | 0b10, Arc::clone(&bell)).unwrap();
    assert_eq!((ears.recv().unwrap(), ears.recv().unwrap()), (1, 63));
    let events = &bell.queue_events.get().unwrap().events;
    // Nobody reads the counters, so a full one must wake as well.
    rustix::io::write(&events[63], &(u64::MAX - 2001).to_ne_bytes()).unwrap();
    assert_eq!(ears.recv().unwrap(), 63);
    for i in 0..2000 {
        rustix::io::write(&events[63], &1u64.to_ne_bytes()).unwrap();
        assert_eq!(ears.recv().unwrap(), 63);
        if i % 500 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    rustix::io::write(&events[5], &1u64.to_ne_bytes()).unwrap(); // not ours
    worker.stop().unwrap();
    assert!(ears.try_recv().is_err());
}

#[test]
fn descriptors_wake_it() {
    let (r, w) = std::io::pipe().unwrap();
    let bell = Arc::new(Doorbell::new().unwrap());
    let (heard, ears) = channel();
    let worker = Worker::spawn("test", Echo { heard, pipe: Some(r.into()), finished: false }, 0, bell).unwrap();
    rustix::io::write(&w, b"x").unwrap();
    assert_eq!(ears.recv().unwrap(), 107);
    drop(worker);
}

#[test]
fn a_panic_loses_the_task_not_the_caller() {
    struct Bad;
    impl Task for Bad {
        fn kicked(&mut self, _: u16, _: &Poller) -> bool {
            panic!("on purpose")
        }
    }
    let bell = Arc::new(Doorbell::new().unwrap());
    let worker = Worker::spawn("test", Bad, 1, bell).unwrap();
    assert!(worker.stop().is_none());
}

/// Says who served: the thread that kicked, or the worker.
struct Shared {
    heard: Sender<(u16, bool)>,
    kicker: ThreadId,
    /// What `kicked_here` leaves, and the deadline it leaves behind.
    left: u64,
    deadline: Option<Instant>,
}

impl Task for Shared {
    fn kicked(&mut self, queue: u16, _: &Poller) -> bool {
        let here = std::thread::current().id() == self.kicker;
        let _ = self.heard.send((queue, here));
        self.deadline = None;
        false
    }
    fn kicked_here(&mut self, queue: u16) -> u64 {
        assert_eq!(std::thread::current().id(), self.kicker);
        let _ = self.heard.send((queue, true));
        if queue == 1 { self.left } else { 0 }
    }
    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// A worker that has had its first look, and sleeps or is about to.
fn shared(left: u64, deadline: Option<Instant>) -> (Arc<Doorbell>, Worker<Shared>, Receiver<(u16, bool)>) {
    let bell = Arc::new(Doorbell::new().unwrap());
    let (heard, ears) = channel();
    let task = Shared { heard, kicker: std::thread::current().id(), left, deadline: None };
    let worker = Worker::spawn("test", task, 0b11, Arc::clone(&bell)).unwrap();
    assert_eq!((ears.recv().unwrap(), ears.recv().unwrap()), ((0, false), (1, false)));
    // Waits for the worker's round to end: afterwards it does nothing by itself.
    {
        let mut guard = bell.seat();
        let task: &mut dyn Any = &mut *guard.as_mut().unwrap().task;
        task.downcast_mut::<Shared>().unwrap().deadline = deadline;
    }
    (bell, worker, ears)
}

#[test]
fn who_kicks_serves_and_leaves_the_rest_to_the_worker() {
    let (bell, worker, ears) = shared(0b01, None);
    bell.kick(0);
    assert_eq!(ears.try_recv(), Ok((0, true)), "served when the kick returns");
    bell.kick(1);
    assert_eq!(ears.recv().unwrap(), (1, true));
    assert_eq!(ears.recv().unwrap(), (0, false), "the queue that was left");
    bell.kick(7); // not ours
    bell.kick(200);
    worker.stop().unwrap();
    assert!(ears.try_recv().is_err());
    bell.kick(0);
    assert!(ears.try_recv().is_err(), "nothing runs");
}

#[test]
fn a_kick_while_the_device_is_served_is_the_workers() {
    let (bell, worker, ears) = shared(0, None);
    let seat = bell.seat();
    bell.kick(0);
    assert!(ears.try_recv().is_err());
    drop(seat);
    assert_eq!(ears.recv().unwrap(), (0, false));
    worker.stop().unwrap();
}

/// The worker sleeps without an end, and what a hart did has a deadline.
#[test]
fn the_worker_hears_of_an_earlier_deadline() {
    let (bell, worker, ears) = shared(0, Some(Instant::now() + Duration::from_secs(1000)));
    bell.kick(0);
    assert_eq!((ears.recv().unwrap(), ears.recv().unwrap()), ((0, true), (0, false)));
    worker.stop().unwrap();
}

#[test]
fn a_panic_on_a_harts_thread_loses_the_task_not_the_hart() {
    struct Bad;
    impl Task for Bad {
        fn kicked(&mut self, _: u16, _: &Poller) -> bool {
            false
        }
        fn kicked_here(&mut self, _: u16) -> u64 {
            panic!("on purpose")
        }
    }
    let bell = Arc::new(Doorbell::new().unwrap());
    let worker = Worker::spawn("test", Bad, 1, Arc::clone(&bell)).unwrap();
    // The worker may have the seat at first.
    while bell.seat().is_some() {
        bell.kick(0);
    }
    bell.kick(0);
    assert!(worker.stop().is_none());
}
