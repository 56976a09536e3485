//! What harts share: the machine, and each hart's side that other threads may touch.
//!
//! | Field of [`HartShared`] | Written by | Read by | Rule |
//! |---|---|---|---|
//! | `poll` | anybody sets bits | own hart clears | checked at back edges, indirect jumps and at entry |
//! | `lines`, `hgeip`, `nmi`, `ssip`, `mtimecmp`, `sbi_timer` | devices, other harts | own hart | store, then set `POLL_IRQ` and wake |
//! | `in_guest` | own hart | senders of fences | own: set, then check `poll`; sender: set `poll`, then read it |
//! | `mail` | senders | own hart | lock held only to push or take |
//! | `asleep` | own hart | whoever sets `poll` | own: set, then check `poll`; they: set `poll`, then read it |
//! | `sleep` | own hart waits | whoever sets `poll` of a hart that is asleep | notified after `poll` was set; the lock is passed, not held |
//!
//! Lock order: `mail` before `sleep`; no lock is held while guest code runs.
//!
//! # Safepoints, and why there are no epochs
//!
//! A *safepoint* is a place where a hart looks at `poll`: a jump back, an indirect jump, xRET, and every return to the run
//! loop. What others ask of a hart happens there and nowhere else, so that between two safepoints generated code may
//! rely on what it has looked up: a host address out of the TLB, the mode, that a page is not code. It must not carry
//! such a thing over a safepoint without looking again.
//!
//! | Who asks | What | Answered, so that the asker may go on |
//! |---|---|---|
//! | `remote_fence` | forget translations or code | `mail.done` has reached the fence's number |
//! | `announce_code` | ask again before stores to a page | `code_seen` has reached `code_seq` |
//! | `withdraw_writes` | the same, for dirty logging | likewise |
//!
//! A hart that is not in the guest (`in_guest`) needs no answer: it polls before its next instruction. So no hart waits for
//! one that sleeps, is paused or waits itself, and `remote_fence` cannot deadlock.
//!
//! Memory that one hart frees is never memory that another may stand in: code caches and TLBs belong to one hart, their
//! owner changes them at its own safepoints, and RAM is unmapped by nobody. That is what epochs would be for.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use arch::csr::{envcfg, hstatus, mip};
use arch::ext::IsaConfig;
use arch::isa::Decoder;

use super::csr::hypervisor::henvcfg;
use super::hart::HartBox;
use super::observe::Observer;
use super::ram::Ram;
use super::timer::Timers;
use crate::{Clock, GuestBus, HartIrq, HartSet, HartState, Imsic, RemoteFence};

/// Interrupt lines, timers or SSIP changed.
pub const POLL_IRQ: u32 = 1;
/// `VcpuHandle::kick`.
pub const POLL_KICK: u32 = 2;
/// Mail has arrived.
pub const POLL_MAIL: u32 = 4;
/// Some page became code: writable TLB entries have to be asked for again.
pub const POLL_CODE: u32 = 8;
/// This hart was about to write to a page that the bus watches.
pub const POLL_WATCH: u32 = 16;

/// The side of a hart that other threads may touch.
pub struct HartShared {
    pub poll: AtomicU32,
    /// `mip` bits that chips drive.
    pub lines: AtomicU64,
    /// SSIP was set from outside and not yet taken into `mip`.
    pub ssip: AtomicBool,
    /// Level of the line of non-maskable interrupts.
    pub nmi: AtomicBool,
    pub mtimecmp: AtomicU64,
    /// Guest external interrupts: what `hgeip` shows.
    pub hgeip: AtomicU64,
    /// SBI timer deadline for guests without Sstc.
    pub sbi_timer: AtomicU64,
    /// Whether the hart may be executing translated code.
    pub in_guest: AtomicBool,
    /// `VmShared::code_seq` that this hart has acted on.
    pub code_seen: AtomicU64,
    mail: Mutex<Mail>,
    /// The hart sleeps, or is about to look whether it may: only then is a wake-up worth a system call.
    asleep: AtomicBool,
    sleep: Mutex<()>,
    wake: Condvar,
}

#[derive(Default)]
struct Mail {
    fences: Vec<RemoteFence>,
    /// Fences ever sent and done.
    sent: u64,
    done: u64,
}

/// The hart's own registers that lines into it depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineState {
    /// `u64::MAX` where Sstc is off.
    pub stimecmp: u64,
    /// Likewise for the guest.
    pub vstimecmp: u64,
    pub htimedelta: u64,
    pub hgeie: u64,
    /// `hstatus.VGEIN`.
    pub vgein: u8,
}

impl LineState {
    pub fn of(s: &HartState) -> Self {
        let c = &s.csr;
        let armed = |config: u64, deadline| if config & envcfg::STCE != 0 { deadline } else { u64::MAX };
        Self {
            stimecmp: armed(c.menvcfg, c.stimecmp),
            vstimecmp: armed(henvcfg(s), c.vstimecmp),
            htimedelta: c.htimedelta,
            hgeie: c.hgeie,
            vgein: ((c.hstatus & hstatus::VGEIN) >> hstatus::VGEIN_SHIFT) as u8,
        }
    }

    /// SGEIP and VSEIP.
    fn guest_external(&self, hgeip: u64) -> u64 {
        // Bit 0 of `hgeip` is never set: VGEIN being 0 selects nothing.
        u64::from(hgeip & self.hgeie != 0) << 12 | (hgeip >> self.vgein & 1) << 10
    }

    fn guest_time_is_up(&self, now: u64) -> bool {
        self.vstimecmp != u64::MAX && now.wrapping_add(self.htimedelta) >= self.vstimecmp
    }

    /// When VSTIP becomes high, by the machine's clock.
    pub fn guest_deadline(&self, now: u64) -> u64 {
        if self.vstimecmp == u64::MAX {
            return u64::MAX;
        }
        now.saturating_add(self.vstimecmp.saturating_sub(now.wrapping_add(self.htimedelta)))
    }
}

/// More fences than this at once become one that covers everything.
const MAIL_LIMIT: usize = 64;

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// Takes from the calling thread the 50 microseconds that Linux adds to sleeps by default: a hart sleeps for about as
/// long between two timers.
pub fn wake_in_time() {
    thread_local! {
        static DONE: Cell<bool> = const { Cell::new(false) };
    }
    if !DONE.replace(true) {
        #[cfg(target_os = "linux")]
        // Without it timers are late, nothing else.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    }
}

impl Default for HartShared {
    fn default() -> Self {
        Self {
            poll: AtomicU32::new(0),
            lines: AtomicU64::new(0),
            ssip: AtomicBool::new(false),
            hgeip: AtomicU64::new(0),
            nmi: AtomicBool::new(false),
            mtimecmp: AtomicU64::new(u64::MAX),
            sbi_timer: AtomicU64::new(u64::MAX),
            in_guest: AtomicBool::new(false),
            code_seen: AtomicU64::new(0),
            mail: Mutex::default(),
            asleep: AtomicBool::new(false),
            sleep: Mutex::default(),
            wake: Condvar::new(),
        }
    }
}

impl HartShared {
    /// Sets poll bits and wakes the hart if it sleeps.
    pub fn notify(&self, bits: u32) {
        if self.mark(bits) {
            self.wake();
        }
    }

    /// Sets poll bits. `true`: the hart may sleep, and [`HartShared::wake`] has to follow.
    fn mark(&self, bits: u32) -> bool {
        self.poll.fetch_or(bits, Ordering::SeqCst) & bits != bits && self.asleep.load(Ordering::SeqCst)
    }

    /// Makes a hart that sleeps look at its poll bits.
    pub fn wake(&self) {
        drop(lock(&self.sleep));
        self.wake.notify_all();
    }

    /// Whether the hart sleeps, or is about to.
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    /// Sleeps until a poll bit of `POLL_IRQ | POLL_KICK` is set or `timeout` has passed.
    pub fn sleep(&self, timeout: Duration) {
        wake_in_time();
        let guard = lock(&self.sleep);
        self.asleep.store(true, Ordering::SeqCst);
        // Mail and code marks need no wake-up: they are acted on before the next guest instruction.
        let awake = |_: &mut ()| self.poll.load(Ordering::SeqCst) & (POLL_IRQ | POLL_KICK) == 0;
        drop(self.wake.wait_timeout_while(guard, timeout, awake));
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Drives a line. `true`: the hart may sleep, and [`HartShared::wake`] has to follow.
    pub fn set_line(&self, irq: HartIrq, level: bool) -> bool {
        let old = if level {
            self.lines.fetch_or(irq.mask(), Ordering::SeqCst)
        } else {
            self.lines.fetch_and(!irq.mask(), Ordering::SeqCst)
        };
        level && old & irq.mask() == 0 && self.mark(POLL_IRQ)
    }

    /// Drives guest external interrupt `file` (1 to GEILEN), as [`HartShared::set_line`] does.
    pub fn set_guest_line(&self, file: u8, level: bool) -> bool {
        let bit = 1 << (file & 63);
        let old = if level {
            self.hgeip.fetch_or(bit, Ordering::SeqCst)
        } else {
            self.hgeip.fetch_and(!bit, Ordering::SeqCst)
        };
        level && old & bit == 0 && self.mark(POLL_IRQ)
    }

    /// Levels of the lines of chips and timers, as bits of `mip`. Those of timers are only told where they are `wanted`:
    /// to look at the clock takes longer than all else.
    pub fn lines(&self, now: impl FnOnce() -> u64, by: &LineState, wanted: u64) -> u64 {
        let mut lines = self.lines.load(Ordering::SeqCst) | by.guest_external(self.hgeip.load(Ordering::SeqCst));
        let told = |bit: u64, deadline: u64| if wanted & bit != 0 { deadline } else { u64::MAX };
        let machine = told(mip::MTIP, self.mtimecmp.load(Ordering::SeqCst));
        let supervisor = told(mip::STIP, by.stimecmp.min(self.sbi_timer.load(Ordering::SeqCst)));
        let guest = told(mip::VSTIP, by.vstimecmp);
        if machine.min(supervisor).min(guest) != u64::MAX {
            let now = now();
            let level = |up: bool, bit: u64| if up { bit } else { 0 };
            lines |= level(now >= machine, mip::MTIP) | level(now >= supervisor, mip::STIP);
            lines |= level(guest != u64::MAX && by.guest_time_is_up(now), mip::VSTIP);
        }
        lines
    }

    pub fn raise_ssip(&self) {
        self.ssip.store(true, Ordering::SeqCst);
        self.notify(POLL_IRQ);
    }

    /// Queues a fence; returns its number.
    fn post(&self, fence: RemoteFence) -> u64 {
        let mut mail = lock(&self.mail);
        if mail.fences.len() >= MAIL_LIMIT {
            mail.fences.clear();
            mail.fences.push(RemoteFence::Instruction);
            mail.fences.push(RemoteFence::Address { start: 0, size: u64::MAX, asid: None });
            mail.fences.push(RemoteFence::GuestStage { vmid: None });
        } else {
            mail.fences.push(fence);
        }
        mail.sent += 1;
        let number = mail.sent;
        drop(mail);
        self.poll.fetch_or(POLL_MAIL, Ordering::SeqCst);
        number
    }

    /// The fences to perform, and the number to report to [`HartShared::mail_done`] afterwards.
    pub fn take_mail(&self) -> (Vec<RemoteFence>, u64) {
        let mut mail = lock(&self.mail);
        (std::mem::take(&mut mail.fences), mail.sent)
    }

    pub fn mail_done(&self, number: u64) {
        lock(&self.mail).done = number;
    }

    /// Whether fence `number` is performed, or certain to be before the hart's next instruction.
    fn settled(&self, number: u64) -> bool {
        !self.in_guest.load(Ordering::SeqCst) || lock(&self.mail).done >= number
    }
}

/// The machine as all its harts see it.
pub struct VmShared {
    pub ram: Ram,
    pub bus: Arc<dyn GuestBus>,
    pub clock: Arc<Clock>,
    pub isa: IsaConfig,
    /// For instructions that trapped.
    pub decoder: Arc<Decoder>,
    pub builtin_sbi: bool,
    pub machine_traps: bool,
    /// Some breakpoints may be semihosting calls.
    pub semihosting: bool,
    pub imsic: Option<Arc<dyn Imsic>>,
    pub harts: Vec<Arc<HartBox>>,
    pub timers: Timers,
    /// Whoever asked to see blocks.
    pub observer: Option<Observer>,
    /// Counts pages that became code while a hart might have held a writable entry.
    pub code_seq: AtomicU64,
    /// Held while a page is marked as code and announced.
    pub marking: Mutex<()>,
}

impl VmShared {
    /// Hart `own` marks a page as code by `mark`, which tells whether a hart may hold a writable entry of it. If so,
    /// every other hart is told to ask again before it stores. Returns the number of the newest announcement: also a
    /// page that was marked before may have been so a moment ago, by another hart.
    pub fn announce_code(&self, own: u32, mark: impl FnOnce() -> bool) -> u64 {
        // Under the lock, so that who reads a number knows that all poll bits for it are set.
        let _marking = lock(&self.marking);
        if mark() {
            self.code_seq.fetch_add(1, Ordering::SeqCst);
            let others = self.harts.iter().enumerate().filter(|(id, _)| *id as u32 != own);
            for (_, hart) in others {
                hart.shared.poll.fetch_or(POLL_CODE, Ordering::SeqCst);
            }
        }
        self.code_seq.load(Ordering::SeqCst)
    }

    /// The newest announcement that every hart but `own` has acted on, or will before its next instruction.
    pub fn code_settled(&self, own: u32) -> u64 {
        let others = self.harts.iter().enumerate().filter(|(id, _)| *id as u32 != own).map(|(_, h)| &h.shared);
        let running = others.filter(|h| h.in_guest.load(Ordering::SeqCst));
        running.map(|h| h.code_seen.load(Ordering::SeqCst)).min().unwrap_or(u64::MAX)
    }

    /// Takes every hart's writable TLB entries away: stores that begin after this ask again, the others have ended.
    /// Not for a thread that is in the guest.
    pub fn withdraw_writes(&self) {
        const NO_HART: u32 = u32::MAX;
        let number = self.announce_code(NO_HART, || true);
        while self.code_settled(NO_HART) < number {
            std::thread::yield_now();
        }
    }

    /// See [`crate::Vm::remote_fence`].
    pub fn remote_fence(&self, harts: &HartSet, fence: RemoteFence) {
        let targets: Vec<_> = harts.0.iter().filter_map(|&id| self.harts.get(id as usize)).map(|h| &h.shared).collect();
        let sent: Vec<_> = targets.iter().map(|h| (*h, h.post(fence))).collect();
        for (hart, number) in sent {
            let mut rounds = 0u32;
            while !hart.settled(number) {
                rounds += 1;
                // A running hart polls within microseconds; give its thread the core if it has none.
                if rounds < 200 { std::hint::spin_loop() } else { std::thread::yield_now() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_read_for_timers_that_are_wanted() {
        let by = LineState { stimecmp: 7, vstimecmp: 19, htimedelta: 10, hgeie: 0, vgein: 0 };
        let h = HartShared::default();
        h.mtimecmp.store(8, Ordering::SeqCst);
        h.lines.store(mip::SEIP, Ordering::SeqCst);
        let timers = |now, by, wanted| h.lines(|| now, by, wanted) & !mip::SEIP;
        assert_eq!(
            [6, 7, 8, 9].map(|now| timers(now, &by, !0)),
            [0, mip::STIP, mip::STIP | mip::MTIP, mip::STIP | mip::MTIP | mip::VSTIP]
        );
        for wanted in [mip::STIP, mip::VSTIP, mip::MTIP, mip::STIP | mip::MTIP] {
            assert_eq!(timers(100, &by, wanted), wanted);
        }
        assert_eq!(h.lines(|| panic!("nobody asked"), &by, !(mip::STIP | mip::VSTIP | mip::MTIP)), mip::SEIP);
        let off = LineState { stimecmp: u64::MAX, vstimecmp: u64::MAX, ..by };
        assert_eq!(h.lines(|| panic!("no timer is set"), &off, mip::STIP | mip::VSTIP), mip::SEIP);
        h.sbi_timer.store(5, Ordering::SeqCst);
        assert_eq!([4, 5].map(|now| timers(now, &off, mip::STIP)), [0, mip::STIP]);
    }
}
