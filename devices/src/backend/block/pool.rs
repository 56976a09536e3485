//! Runs the blocking calls of an image on a few threads.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};

use super::{BlockBackend, BlockImage, Completion, GuestBuffers, Op, Request, Wait};

/// Threads of one image; a file system gains little from more.
const THREADS: usize = 4;
/// Requests in flight: one full queue of a disk.
const CAPACITY: usize = 256;

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Request>,
    done: Vec<Completion>,
    /// Threads that wait for work.
    idle: usize,
    /// Requests taken and not finished.
    running: usize,
    closing: bool,
}

struct Shared {
    image: Arc<dyn BlockImage>,
    /// Held for a few moves only, never during I/O.
    jobs: Mutex<Jobs>,
    work: Condvar,
    finished: Condvar,
    event: OwnedFd,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A [`BlockBackend`] over any [`BlockImage`].
pub struct PoolBackend {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    in_flight: usize,
}

impl PoolBackend {
    /// Threads start when there is work for them, the first one now.
    pub fn new(image: Arc<dyn BlockImage>) -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (jobs, work, finished) = (Mutex::default(), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { image, jobs, work, finished, event });
        let mut new = Self { shared, threads: Vec::new(), in_flight: 0 };
        new.grow()?;
        Ok(new)
    }

    fn grow(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.threads.push(std::thread::Builder::new().name("block-io".to_owned()).spawn(move || serve(&shared))?);
        Ok(())
    }
}

impl BlockBackend for PoolBackend {
    fn len(&self) -> u64 {
        self.shared.image.len()
    }

    fn measure(&mut self) -> io::Result<()> {
        self.shared.image.measure()
    }

    fn at_once(&mut self, op: Op, offset: u64, data: &GuestBuffers, wait: Wait) -> bool {
        self.shared.image.at_once(op, offset, data, wait)
    }

    fn room(&self) -> usize {
        CAPACITY - self.in_flight
    }

    fn submit(&mut self, request: Request) {
        self.in_flight += 1;
        let mut jobs = self.shared.lock();
        jobs.waiting.push_back(request);
        let behind = jobs.waiting.len() > jobs.idle;
        drop(jobs);
        self.shared.work.notify_one();
        if behind && self.threads.len() < THREADS {
            // The first thread exists, so failing to add one only costs speed.
            let _ = self.grow();
        }
    }

    fn commit(&mut self) {}

    fn completions(&mut self, out: &mut Vec<Completion>) {
        let mut jobs = self.shared.lock();
        self.in_flight -= jobs.done.len();
        out.append(&mut jobs.done);
        let mut count = [0; 8];
        // Empty if nothing had finished since the last look.
        let _ = rustix::io::read(&self.shared.event, &mut count);
    }

    fn drain(&mut self, out: &mut Vec<Completion>) {
        let jobs = self.shared.lock();
        let busy = |j: &mut Jobs| j.running > 0 || !j.waiting.is_empty();
        drop(self.shared.finished.wait_while(jobs, busy).unwrap_or_else(PoisonError::into_inner));
        self.completions(out);
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    fn kind(&self) -> &'static str {
        "threads"
    }
}

impl Drop for PoolBackend {
    fn drop(&mut self) {
        self.drain(&mut Vec::new());
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(shared: &Shared) {
    let mut jobs = shared.lock();
    loop {
        if let Some(request) = jobs.waiting.pop_front() {
            jobs.running += 1;
            drop(jobs);
            let token = request.token;
            let result = perform(&*shared.image, &request);
            // The guest's memory is let go before the request counts as finished.
            drop(request);
            jobs = shared.lock();
            jobs.running -= 1;
            jobs.done.push(Completion { token, result });
            if jobs.done.len() == 1 {
                let _ = rustix::io::write(&shared.event, &1u64.to_ne_bytes());
            }
            shared.finished.notify_all();
        } else if jobs.closing {
            return;
        } else {
            jobs.idle += 1;
            jobs = shared.work.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            jobs.idle -= 1;
        }
    }
}

fn perform(image: &dyn BlockImage, r: &Request) -> io::Result<()> {
    match r.op {
        Op::Read => {
            let result = image.read(r.offset, &r.data);
            r.data.mark_dirty();
            result
        }
        Op::Write { durable } => image.write(r.offset, &r.data, durable),
        Op::Flush => image.flush(),
        Op::Discard { len } => image.discard(r.offset, len),
        Op::WriteZeroes { len, unmap, durable } => image.write_zeroes(r.offset, len, unmap, durable),
    }
}
