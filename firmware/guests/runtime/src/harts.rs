//! The other harts: started by HSM, then sleeping until they are given something to run.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::csr::{self, csr_set};
use crate::hart::{self, Hart};
use crate::machine::HARTS_MAX;
use crate::{irq, sbi, trap};

/// By position in [`crate::machine::Machine::harts`]; 0 until a hart has memory.
static HARTS: [AtomicUsize; HARTS_MAX] = [const { AtomicUsize::new(0) }; HARTS_MAX];

/// What another hart can be asked to do.
pub type Job = fn(usize) -> usize;

unsafe extern "C" {
    fn hart_entry();
}

/// The address where a hart starts.
pub fn entry_address() -> usize {
    hart_entry as *const () as usize
}

/// How long anything that should happen soon is waited for: a minute, as engines may be slow and hosts busy.
pub fn patience() -> u64 {
    60 * crate::machine().timebase
}

/// Waits for something that other harts do.
pub fn spin_until(mut done: impl FnMut() -> bool) -> bool {
    let end = irq::time() + patience();
    while !done() {
        if irq::time() > end {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

fn get(index: usize) -> Option<&'static Hart> {
    let pointer = HARTS[index].load(Ordering::Acquire) as *const Hart;
    // SAFETY: null, or memory from `new_hart` that is never freed.
    unsafe { pointer.as_ref() }
}

/// Every other hart that is in its work loop.
pub fn others() -> impl Iterator<Item = &'static Hart> {
    (0..HARTS_MAX).filter_map(get).filter(|h| h.id != hart::this().id && h.online.load(Ordering::Acquire))
}

/// The first other hart.
pub fn other() -> Option<&'static Hart> {
    others().next()
}

/// Registers the boot hart, and starts all others that are stopped. Returns how many are online in the end.
pub fn start_all() -> usize {
    let me = hart::this();
    for (index, info) in crate::machine().harts().iter().enumerate() {
        if info.id == me.id {
            HARTS[index].store(core::ptr::from_ref(me) as usize, Ordering::Release);
            continue;
        }
        let hart = crate::new_hart(info.id);
        let pointer = core::ptr::from_mut(hart) as usize;
        HARTS[index].store(pointer, Ordering::Release);
        if sbi::hart_start(info.id, entry_address(), pointer).ok().is_ok() {
            let hart = get(index);
            spin_until(|| hart.is_some_and(|h| h.online.load(Ordering::Acquire)));
        }
    }
    1 + others().count()
}

impl Hart {
    /// Gives the hart something to run; it must be idle.
    pub fn start(&self, job: Job, argument: usize) {
        self.job_argument.store(argument, Ordering::Relaxed);
        self.job.store(job as usize, Ordering::Release);
        sbi::send_ipi(1, self.id);
    }

    /// Waits for its result.
    pub fn finish(&self) -> Option<usize> {
        spin_until(|| self.job.load(Ordering::Acquire) == 0).then(|| self.job_result.load(Ordering::Acquire))
    }
}

/// Runs `job` on every hart, this one too; says whether all came back.
pub fn run_everywhere(job: Job, argument: usize) -> bool {
    others().for_each(|h| h.start(job, argument));
    job(argument);
    others().all(|h| h.finish().is_some())
}

/// What a started hart does for ever.
pub fn work(me: &'static Hart) -> ! {
    trap::init(me);
    csr_set!("sstatus", csr::FS);
    csr_set!("sie", csr::SSI);
    me.online.store(true, Ordering::Release);
    loop {
        irq::wait_until(|| me.job.load(Ordering::Acquire) != 0);
        let job = me.job.load(Ordering::Acquire);
        // SAFETY: `Hart::start` stored a `Job`.
        let job = unsafe { core::mem::transmute::<usize, Job>(job) };
        let result = job(me.job_argument.load(Ordering::Relaxed));
        me.job_result.store(result, Ordering::Relaxed);
        me.job.store(0, Ordering::Release);
    }
}
