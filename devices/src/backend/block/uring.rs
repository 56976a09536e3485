//! Raw images through io_uring: requests go to the kernel in batches and complete without threads of ours.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};

use super::buffers::GuestBuffers;
use super::raw::RawImage;
use super::{BlockBackend, BlockImage, Completion, Op, Request, Wait};

/// Requests in flight: one full queue of a disk. The completion ring holds twice as many and never overflows.
const CAPACITY: usize = 256;

/// A request that the kernel knows, or is about to.
struct InFlight {
    request: Request,
    /// Bytes already moved; a short transfer goes on from here.
    done: usize,
    /// What the kernel reads the buffers' places from.
    iov: Vec<libc::iovec>,
}

// SAFETY: `iov` points into the guest RAM that `request.data` keeps mapped; any thread may use it.
unsafe impl Send for InFlight {}

/// A [`BlockBackend`] over a raw image.
pub struct UringBackend {
    ring: IoUring,
    image: Arc<RawImage>,
    slots: Vec<Option<InFlight>>,
    free: Vec<usize>,
    /// Finished without the kernel.
    ready: Vec<Completion>,
}

impl UringBackend {
    /// Fails where the kernel has no io_uring or forbids it.
    pub fn new(image: Arc<RawImage>) -> io::Result<Self> {
        let ring = IoUring::new(CAPACITY as u32)?;
        let mut probe = io_uring::Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let codes = [opcode::Readv::CODE, opcode::Writev::CODE, opcode::Fsync::CODE, opcode::Fallocate::CODE];
        if !codes.iter().all(|&code| probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let slots = (0..CAPACITY).map(|_| None).collect();
        Ok(Self { ring, image, slots, free: (0..CAPACITY).rev().collect(), ready: Vec::new() })
    }

    fn in_flight(&self) -> usize {
        CAPACITY - self.free.len()
    }

    fn finish(&mut self, token: u64, result: io::Result<()>) {
        self.ready.push(Completion { token, result });
    }

    /// Puts the request in `slot` into the submission ring, from where it stands.
    fn enqueue(&mut self, slot: usize) {
        let Some(job) = self.slots[slot].as_mut() else { return };
        let Some(entry) = prepare(&self.image, job) else {
            // Nothing to ask of the kernel: a hint that is off, or a flush that means nothing.
            let token = job.request.token;
            self.release(slot);
            return self.finish(token, Ok(()));
        };
        let entry = entry.user_data(slot as u64);
        // SAFETY: the entry's pointers are `job.iov` and the buffers of `job.request.data`. Both stay in the slot until
        // the completion is seen; `drop` waits for that.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.commit();
        }
    }

    fn release(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.free.push(slot);
    }

    /// Handles what the kernel says of one request.
    fn completed(&mut self, slot: usize, res: i32) {
        let Some(job) = self.slots[slot].as_mut() else { return };
        let (total, op) = (job.request.data.len(), job.request.op);
        let result = match usize::try_from(res) {
            Err(_) if [-libc::EINTR, -libc::EAGAIN].contains(&res) => return self.enqueue(slot),
            Err(_) => recover(&self.image, &job.request, io::Error::from_raw_os_error(-res)),
            Ok(0) if op == Op::Read => {
                job.request.data.zero(job.done..total);
                Ok(())
            }
            Ok(0) if matches!(op, Op::Write { .. }) && total > 0 => Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                job.done += n;
                if job.done < total {
                    return self.enqueue(slot);
                }
                // fallocate has no "durable"; a flush after it has.
                match op {
                    Op::WriteZeroes { durable: true, .. } => self.image.flush(),
                    _ => Ok(()),
                }
            }
        };
        let (data, token) = (&job.request.data, job.request.token);
        if op == Op::Read {
            GuestBuffers::mark_dirty(data);
        }
        self.release(slot);
        self.finish(token, result);
    }

    fn reap(&mut self) {
        while let Some(entry) = { self.ring.completion().next() } {
            self.completed(entry.user_data() as usize, entry.result());
        }
    }
}

/// The submission entry of a request, from where it stands. `None`: it needs no I/O.
fn prepare(image: &RawImage, job: &mut InFlight) -> Option<squeue::Entry> {
    let Request { op, offset, data, .. } = &job.request;
    let at = offset + job.done as u64;
    // Not in the ring's file table: the kernel frees that late, and the image's lock with it.
    let (whole, cached) = image.files();
    let whole = types::Fd(whole.as_raw_fd());
    let unaligned = job.done > 0 || image.is_unaligned(*offset, data);
    let file = cached.filter(|_| unaligned).map_or(whole, |c| types::Fd(c.as_raw_fd()));
    if matches!(op, Op::Read | Op::Write { .. }) {
        job.iov = data.iovecs(job.done..data.len());
    }
    let (iov, count) = (job.iov.as_ptr(), job.iov.len() as u32);
    Some(match *op {
        Op::Read => opcode::Readv::new(file, iov, count).offset(at).build(),
        Op::Write { durable } => {
            let flags = if durable && !image.is_volatile() { libc::RWF_DSYNC } else { 0 };
            opcode::Writev::new(file, iov, count).offset(at).rw_flags(flags).build()
        }
        Op::Flush if image.is_volatile() => return None,
        Op::Flush => opcode::Fsync::new(whole).flags(types::FsyncFlags::DATASYNC).build(),
        Op::Discard { len } => {
            let flags = image.hole_flags(false, true)?;
            opcode::Fallocate::new(whole, len).offset(at).mode(flags.bits() as i32).build()
        }
        Op::WriteZeroes { len, unmap, .. } => {
            let flags = image.hole_flags(true, unmap)?;
            opcode::Fallocate::new(whole, len).offset(at).mode(flags.bits() as i32).build()
        }
    })
}

/// What a file system without holes cannot do, done otherwise; any other error stands.
fn recover(image: &RawImage, request: &Request, error: io::Error) -> io::Result<()> {
    match request.op {
        _ if error.raw_os_error() != Some(libc::EOPNOTSUPP) => Err(error),
        Op::Discard { .. } => Ok(()),
        Op::WriteZeroes { len, unmap, durable } => image.write_zeroes(request.offset, len, unmap, durable),
        _ => Err(error),
    }
}

impl BlockBackend for UringBackend {
    fn len(&self) -> u64 {
        self.image.len()
    }

    fn measure(&mut self) -> io::Result<()> {
        self.image.measure()
    }

    fn at_once(&mut self, op: Op, offset: u64, data: &GuestBuffers, wait: Wait) -> bool {
        self.image.at_once(op, offset, data, wait)
    }

    fn room(&self) -> usize {
        self.free.len()
    }

    fn submit(&mut self, request: Request) {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(InFlight { request, done: 0, iov: Vec::new() });
                self.enqueue(slot);
            }
            None => self.finish(request.token, Err(io::ErrorKind::ResourceBusy.into())),
        }
    }

    fn commit(&mut self) {
        if !self.ring.submission().is_empty() {
            // A busy kernel keeps the entries for the next try.
            if let Err(error) = self.ring.submit() {
                tracing::debug!(%error, "io_uring submit");
            }
        }
    }

    fn completions(&mut self, out: &mut Vec<Completion>) {
        self.reap();
        self.commit();
        out.append(&mut self.ready);
    }

    fn drain(&mut self, out: &mut Vec<Completion>) {
        while self.in_flight() > 0 {
            if let Err(error) = self.ring.submit_and_wait(1)
                && error.kind() != io::ErrorKind::Interrupted
                && error.raw_os_error() != Some(libc::EBUSY)
                && error.raw_os_error() != Some(libc::EAGAIN)
            {
                // The kernel may still write to the buffers, so they must never be let go.
                tracing::error!(%error, "io_uring wait failed with disk requests in flight");
                std::process::abort();
            }
            self.reap();
        }
        out.append(&mut self.ready);
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to `self.ring`, which lives as long as the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    fn kind(&self) -> &'static str {
        "io_uring"
    }
}

impl Drop for UringBackend {
    fn drop(&mut self) {
        self.drain(&mut Vec::new());
    }
}
