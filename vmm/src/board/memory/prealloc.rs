//! Makes every page of RAM before the guest starts (`prealloc=on`), by several threads.
//!
//! On a terminal a line tells how far it is, if it takes long. A signal that would end the program ends it here, too,
//! in order: the caller learns of it and goes.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::available_parallelism;

use rustix::mm::{Advice, madvise};

use super::backing::Backing;
use super::{MemoryError, Region};
use crate::cli::show_size;
use crate::progress_line::{EVERY, ProgressLine};

/// Bytes that a thread takes at a time: a signal is seen after as much.
const CHUNK: usize = 64 << 20;
/// More threads than this only wait for each other in the kernel.
const THREADS_MAX: usize = 16;

/// Makes the pages of `region`; `threads`: the user's wish.
pub fn populate(region: &Region, backing: &Backing, threads: Option<u32>) -> Result<(), MemoryError> {
    let signals = Signals::catch();
    let method = method(region, backing)?;
    let chunk = CHUNK.max(backing.page as usize);
    let host = available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let threads = threads.map_or(host, |n| n as usize).min(region.size().div_ceil(chunk));
    let work = Work {
        start: Start(region.as_ptr()),
        size: region.size(),
        chunk,
        page: backing.page as usize,
        method,
        next: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    };
    work.run(threads)?.map_err(|source| match source.raw_os_error() {
        // What a store would have met as a bus error, or as the end of memory.
        Some(libc::EFAULT | libc::ENOMEM | libc::ENOSPC) => backing.too_few_pages(),
        _ => backing.host("allocate its pages", source),
    })?;
    drop(signals);
    // One that came after the last page was made.
    interrupted()
}

fn interrupted() -> Result<(), MemoryError> {
    match Signals::caught() {
        0 => Ok(()),
        signal => Err(MemoryError::Interrupted(signal)),
    }
}

/// How a page is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// `MADV_POPULATE_WRITE`.
    Advice,
    /// By a store that changes nothing.
    Touch,
}

/// Asks the kernel by the first page.
fn method(region: &Region, backing: &Backing) -> Result<Method, MemoryError> {
    // SAFETY: the page is of the mapping that `region` owns, and its contents stay.
    match unsafe { madvise(region.as_ptr().cast(), backing.page as usize, Advice::LinuxPopulateWrite) } {
        // A kernel before 5.14. A page that cannot be made would be a bus error: so the file gets its blocks before.
        Err(rustix::io::Errno::INVAL) => match backing.allocate_blocks() {
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => Err(backing.too_few_pages()),
            _ => Ok(Method::Touch),
        },
        // Whatever is wrong shows again, and is told then.
        _ => Ok(Method::Advice),
    }
}

#[derive(Clone, Copy)]
struct Start(*mut u8);

// SAFETY: the mapping outlives the threads, which only make its pages.
unsafe impl Send for Start {}
// SAFETY: as above.
unsafe impl Sync for Start {}

struct Work {
    start: Start,
    size: usize,
    chunk: usize,
    page: usize,
    method: Method,
    /// Where the next chunk begins, and bytes that are done.
    next: AtomicUsize,
    done: AtomicUsize,
    failed: AtomicBool,
}

impl Work {
    /// The inner result is what the host says; the outer one, that a signal came.
    fn run(&self, threads: usize) -> Result<io::Result<()>, MemoryError> {
        let (report, reports) = channel();
        let mut line = ProgressLine::new(format!("allocating {} of RAM", show_size(self.size as u64)));
        let mut result = Ok(());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let report = report.clone();
                let thread = move || report.send(self.thread());
                if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, thread) {
                    self.failed.store(true, Ordering::Relaxed);
                    result = Err(error);
                    break;
                }
            }
            drop(report);
            loop {
                match reports.recv_timeout(EVERY) {
                    Ok(done) => result = std::mem::replace(&mut result, Ok(())).and(done),
                    Err(RecvTimeoutError::Timeout) => {
                        if let Some(line) = &mut line {
                            line.show(self.done.load(Ordering::Relaxed) as u64, self.size as u64);
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        });
        drop(line);
        interrupted().map(|()| result)
    }

    fn thread(&self) -> io::Result<()> {
        while Signals::caught() == 0 && !self.failed.load(Ordering::Relaxed) {
            let at = self.next.fetch_add(self.chunk, Ordering::Relaxed);
            if at >= self.size {
                break;
            }
            let len = self.chunk.min(self.size - at);
            self.make(at, len).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
            self.done.fetch_add(len, Ordering::Relaxed);
        }
        Ok(())
    }

    fn make(&self, at: usize, len: usize) -> io::Result<()> {
        // SAFETY: `at` lies inside the mapping.
        let start = unsafe { self.start.0.add(at) };
        match self.method {
            Method::Advice => loop {
                // SAFETY: the range lies in the mapping, and the advice changes no contents.
                match unsafe { madvise(start.cast(), len, Advice::LinuxPopulateWrite) } {
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) if Signals::caught() == 0 => {}
                    Err(rustix::io::Errno::INTR) => return Ok(()),
                    done => return Ok(done?),
                }
            },
            Method::Touch => {
                for offset in (0..len).step_by(self.page) {
                    // SAFETY: the byte lies in the mapping; others who share it may change it at any time.
                    let byte = unsafe { &*start.add(offset).cast::<AtomicU8>() };
                    let there = byte.load(Ordering::Relaxed);
                    // Equal or not, the host writes to the page; the byte stays what others made of it.
                    let _ = byte.compare_exchange(there, there, Ordering::Relaxed, Ordering::Relaxed);
                }
                Ok(())
            }
        }
    }
}

/// The last signal that asked the program to end.
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// Signals that would end the program are remembered instead, as long as this lives.
struct Signals {
    before: Vec<(i32, libc::sigaction)>,
}

impl Signals {
    fn catch() -> Self {
        extern "C" fn remember(signal: libc::c_int) {
            CAUGHT.store(signal, Ordering::Relaxed);
        }
        CAUGHT.store(0, Ordering::Relaxed);
        let mut before = Vec::new();
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
            // SAFETY: all zeroes is a valid `sigaction`; the handler does nothing but store to an atomic, as handlers
            // may, and what was there before is put back.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = remember as extern "C" fn(libc::c_int) as libc::sighandler_t;
                action.sa_flags = libc::SA_RESTART;
                let mut old: libc::sigaction = std::mem::zeroed();
                if libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0
                    // A signal that whoever started us ignores (nohup) stays so.
                    && old.sa_sigaction != libc::SIG_IGN
                    && libc::sigaction(signal, &raw const action, std::ptr::null_mut()) == 0
                {
                    before.push((signal, old));
                }
            }
        }
        Self { before }
    }

    /// 0: none.
    fn caught() -> i32 {
        CAUGHT.load(Ordering::Relaxed)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for (signal, old) in &self.before {
            // SAFETY: what `catch` found there.
            unsafe { libc::sigaction(*signal, old, std::ptr::null_mut()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::bitmap::NewBitmap;
    use vm_memory::mmap::MmapRegionBuilder;

    use super::*;

    const PAGE: usize = 4096;

    fn resident(region: &Region) -> usize {
        let mut pages = vec![0u8; region.size() / PAGE];
        // SAFETY: one byte a page of the mapping.
        let done = unsafe { libc::mincore(region.as_ptr().cast(), region.size(), pages.as_mut_ptr()) };
        assert_eq!(done, 0);
        pages.into_iter().filter(|page| page & 1 != 0).count()
    }

    fn region(size: usize) -> Region {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let builder = MmapRegionBuilder::new_with_bitmap(size, ram::WriteMarks::with_len(size));
        builder.with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE).with_mmap_flags(flags).build().unwrap()
    }

    #[test]
    fn every_page_is_made_and_keeps_its_bytes() {
        for method in [Method::Advice, Method::Touch] {
            for threads in [1, 3] {
                let region = region(21 * PAGE);
                // SAFETY: inside the mapping.
                unsafe { *region.as_ptr().add(5 * PAGE) = 42 };
                let work = Work {
                    start: Start(region.as_ptr()),
                    size: region.size(),
                    chunk: 2 * PAGE,
                    page: PAGE,
                    method,
                    next: AtomicUsize::new(0),
                    done: AtomicUsize::new(0),
                    failed: AtomicBool::new(false),
                };
                work.run(threads).unwrap().unwrap();
                assert_eq!((resident(&region), work.done.into_inner()), (21, 21 * PAGE), "{method:?}");
                // SAFETY: inside the mapping.
                assert_eq!(unsafe { *region.as_ptr().add(5 * PAGE) }, 42);
            }
        }
    }
}
