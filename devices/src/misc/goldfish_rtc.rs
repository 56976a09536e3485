//! The Goldfish real-time clock: nanoseconds since 1970 (or whatever the machine's base is), and an alarm.
//!
//! [`RtcCore`] is the register machine, told the time on each call. [`GoldfishRtc`] attaches it to a clock of
//! the host, to a timer and to a wire.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::timer::{Timer, TimerService};
use crate::fdt::{FdtNode, FdtValue, Placement};
use crate::regmap::{RegMap, Registers};
use crate::{IrqLine, MmioDevice, SavedState, StateError};

const NS_PER_S: u64 = 1_000_000_000;
/// Longest wait for an alarm; the rest is waited for after it. Clocks of the host drift apart meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// What the clock reads when the machine is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RtcBase {
    #[default]
    Utc,
    /// The host's local time, for guests that expect it.
    LocalTime,
    /// Seconds since 1970.
    Date(i64),
}

/// What makes the clock advance.
#[derive(Clone, Default)]
pub enum RtcClock {
    /// The host's real-time clock; the guest sees when somebody sets it.
    #[default]
    Host,
    /// The host's monotonic clock.
    Monotonic,
    /// The machine's own clock, in nanoseconds, which stands still while the machine is paused.
    Machine(Arc<dyn Fn() -> u64 + Send + Sync>),
}

impl RtcClock {
    /// Nanoseconds since a moment that stays the same.
    fn now(&self) -> u64 {
        match self {
            Self::Host => unix_now().as_nanos() as u64,
            Self::Monotonic => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                (now.tv_sec as u64).wrapping_mul(NS_PER_S).wrapping_add(now.tv_nsec as u64)
            }
            Self::Machine(clock) => clock(),
        }
    }
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl RtcBase {
    /// What the clock is to read now, in nanoseconds.
    fn now(self) -> u64 {
        match self {
            Self::Utc => unix_now().as_nanos() as u64,
            Self::LocalTime => (unix_now().as_nanos() as u64).wrapping_add_signed(local_offset() * NS_PER_S as i64),
            Self::Date(seconds) => seconds.wrapping_mul(NS_PER_S as i64) as u64,
        }
    }
}

/// How far the host's local time is ahead of UTC, in seconds.
fn local_offset() -> i64 {
    let now = unix_now().as_secs() as libc::time_t;
    // SAFETY: an all-zero tm is a valid value of this C struct; its pointer may be null.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values; localtime_r keeps neither.
    let done = unsafe { libc::localtime_r(&now, &mut tm) };
    if done.is_null() { 0 } else { tm.tm_gmtoff }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Reg {
    TimeLow,
    TimeHigh,
    AlarmLow,
    AlarmHigh,
    IrqEnabled,
    ClearAlarm,
    AlarmStatus,
    ClearInterrupt,
}

fn map() -> RegMap<Reg> {
    use Reg::*;
    let order = [TimeLow, TimeHigh, AlarmLow, AlarmHigh, IrqEnabled, ClearAlarm, AlarmStatus, ClearInterrupt];
    order.into_iter().zip(0..).fold(RegMap::new(0x24), |map, (reg, i)| map.reg(4 * i, 4, reg))
}

/// The chip's state. All times in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RtcCore {
    /// Guest time minus the clock's reading.
    offset: u64,
    /// The upper half of the time that was read last through its lower half.
    latched_high: u32,
    alarm: u64,
    armed: bool,
    pending: bool,
    irq_enabled: bool,
}

impl RtcCore {
    /// A clock that reads `time` when the clock behind it reads `clock`.
    fn new(time: u64, clock: u64) -> Self {
        Self { offset: time.wrapping_sub(clock), ..Self::default() }
    }

    /// Power-on state; the time goes on.
    fn reset(&mut self) {
        *self = Self { offset: self.offset, ..Self::default() };
    }

    fn time(&self, clock: u64) -> u64 {
        clock.wrapping_add(self.offset)
    }

    fn irq(&self) -> bool {
        self.pending && self.irq_enabled
    }

    /// Lets the alarm go off if it is due.
    fn check(&mut self, clock: u64) {
        if self.armed && self.time(clock) >= self.alarm {
            self.armed = false;
            self.pending = true;
        }
    }

    /// Nanoseconds until the alarm, if it is set.
    fn wait(&self, clock: u64) -> Option<u64> {
        self.armed.then(|| self.alarm.saturating_sub(self.time(clock)))
    }
}

fn with_low(value: u64, low: u64) -> u64 {
    value & !0xffff_ffff | low & 0xffff_ffff
}

fn with_high(value: u64, high: u64) -> u64 {
    value & 0xffff_ffff | high << 32
}

/// The chip at one moment of the clock behind it.
struct At<'a> {
    core: &'a mut RtcCore,
    clock: u64,
}

impl Registers<Reg> for At<'_> {
    fn read(&mut self, reg: Reg) -> u64 {
        if reg == Reg::TimeLow {
            self.core.latched_high = (self.core.time(self.clock) >> 32) as u32;
        }
        self.peek(reg)
    }

    fn peek(&self, reg: Reg) -> u64 {
        let core = &self.core;
        match reg {
            Reg::TimeLow => core.time(self.clock) & 0xffff_ffff,
            Reg::TimeHigh => core.latched_high.into(),
            Reg::AlarmLow => core.alarm & 0xffff_ffff,
            Reg::AlarmHigh => core.alarm >> 32,
            Reg::IrqEnabled => core.irq_enabled.into(),
            Reg::AlarmStatus => core.armed.into(),
            Reg::ClearAlarm | Reg::ClearInterrupt => 0,
        }
    }

    fn write(&mut self, reg: Reg, value: u64) {
        let core = &mut *self.core;
        let time = core.time(self.clock);
        match reg {
            Reg::TimeLow => core.offset = with_low(time, value).wrapping_sub(self.clock),
            Reg::TimeHigh => core.offset = with_high(time, value).wrapping_sub(self.clock),
            // The lower half is written last and sets the alarm.
            Reg::AlarmLow => {
                core.alarm = with_low(core.alarm, value);
                core.armed = true;
            }
            Reg::AlarmHigh => core.alarm = with_high(core.alarm, value),
            Reg::IrqEnabled => core.irq_enabled = value & 1 != 0,
            Reg::ClearAlarm => core.armed = false,
            Reg::ClearInterrupt => core.pending = false,
            Reg::AlarmStatus => {}
        }
        core.check(self.clock);
    }
}

/// The clock on its board.
pub struct GoldfishRtc {
    map: RegMap<Reg>,
    clock: RtcClock,
    core: Mutex<RtcCore>,
    irq: IrqLine,
    timer: Box<dyn Timer>,
    /// Keeps the settings of the timer in the order of the states they follow. Taken before `core`.
    arming: Mutex<()>,
}

impl GoldfishRtc {
    /// Fails only if there is no timer to be had.
    pub fn new(base: RtcBase, clock: RtcClock, irq: IrqLine, timers: &dyn TimerService) -> io::Result<Arc<Self>> {
        let core = RtcCore::new(base.now(), clock.now());
        // The timer's callback needs the chip, which needs the timer: so it gets there by way of a cell.
        let this: Arc<OnceLock<Weak<Self>>> = Arc::default();
        let chip = this.clone();
        let expired = move || chip.get().and_then(Weak::upgrade).iter().for_each(|rtc| rtc.expired());
        let timer = timers.timer(Box::new(expired))?;
        let rtc = Self { map: map(), clock, core: Mutex::new(core), irq, timer, arming: Mutex::new(()) };
        let rtc = Arc::new(rtc);
        this.get_or_init(|| Arc::downgrade(&rtc));
        Ok(rtc)
    }

    fn core(&self) -> MutexGuard<'_, RtcCore> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expired(&self) {
        self.core().check(self.clock.now());
        self.settle();
    }

    /// Brings timer and wire up to date with the chip.
    fn settle(&self) {
        {
            let _arming = self.arming.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = self.core().wait(self.clock.now());
            match wait {
                Some(ns) => self.timer.arm(Instant::now() + Duration::from_nanos(ns).min(WAIT_MAX)),
                None => self.timer.disarm(),
            }
        }
        self.irq.follow(|| self.core().irq());
    }

    /// A copy of the chip's state.
    pub fn state(&self) -> RtcCore {
        self.core().clone()
    }

    /// Puts back a copied state.
    pub fn set_state(&self, state: RtcCore) {
        self.irq.restore(state.irq());
        *self.core() = state;
        self.settle();
    }
}

impl MmioDevice for GoldfishRtc {
    fn name(&self) -> &str {
        "goldfish_rtc"
    }

    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        let clock = self.clock.now();
        self.map.read(&mut At { core: &mut self.core(), clock }, offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let clock = self.clock.now();
        self.map.write(&mut At { core: &mut self.core(), clock }, offset, data);
        self.settle();
    }

    fn reset(&self) {
        self.core().reset();
        self.settle();
    }

    /// An alarm may have become due meanwhile.
    fn resume(&self) {
        self.core().check(self.clock.now());
        self.settle();
    }

    /// With the time: the clock behind it may be one that another program does not have.
    fn save_state(&self) -> Option<SavedState> {
        let core = self.state();
        let time = core.time(self.clock.now());
        Some(SavedState::of(1, &(core, time)))
    }

    /// Wall-clock time goes on by itself; other clocks go on from where they were.
    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        let (mut core, time): (RtcCore, u64) = state.read(1)?;
        if !matches!(self.clock, RtcClock::Host) {
            core.offset = time.wrapping_sub(self.clock.now());
        }
        self.irq.restore(core.irq());
        *self.core() = core;
        self.timer.disarm();
        Ok(())
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        let node = FdtNode::new(format!("rtc@{:x}", at.base))
            .with_interrupt(at)
            .with("reg", at.reg())
            .with("compatible", FdtValue::Str("google,goldfish-rtc".into()));
        vec![node]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IrqSink;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// One hand-driven timer.
    #[derive(Default)]
    struct Hand {
        expired: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
        armed: AtomicBool,
    }

    struct HandTimer(Arc<Hand>);

    impl TimerService for Arc<Hand> {
        fn timer(&self, expired: Box<dyn Fn() + Send + Sync>) -> io::Result<Box<dyn Timer>> {
            *self.expired.lock().unwrap() = Some(expired);
            Ok(Box::new(HandTimer(self.clone())))
        }
    }

    impl Timer for HandTimer {
        fn arm(&self, _: Instant) {
            self.0.armed.store(true, Ordering::SeqCst);
        }
        fn disarm(&self) {
            self.0.armed.store(false, Ordering::SeqCst);
        }
    }

    #[derive(Default)]
    struct Wire(AtomicBool);

    impl IrqSink for Wire {
        fn set_level(&self, _: u32, level: bool) {
            self.0.store(level, Ordering::SeqCst);
        }
    }

    struct Bench {
        now: Arc<AtomicU64>,
        hand: Arc<Hand>,
        wire: Arc<Wire>,
        rtc: Arc<GoldfishRtc>,
    }

    fn bench(base: i64) -> Bench {
        let now = Arc::new(AtomicU64::new(1000));
        let hand = Arc::new(Hand::default());
        let wire = Arc::new(Wire::default());
        let read = now.clone();
        let clock = RtcClock::Machine(Arc::new(move || read.load(Ordering::SeqCst)));
        let rtc = GoldfishRtc::new(RtcBase::Date(base), clock, IrqLine::new(wire.clone(), 11), &hand).unwrap();
        Bench { now, hand, wire, rtc }
    }

    impl Bench {
        fn read(&self, offset: u64) -> u32 {
            let mut data = [0; 4];
            self.rtc.read(offset, &mut data);
            u32::from_le_bytes(data)
        }
        fn write(&self, offset: u64, value: u32) {
            self.rtc.write(offset, &value.to_le_bytes());
        }
        fn time(&self) -> u64 {
            let low = self.read(0);
            u64::from(self.read(4)) << 32 | u64::from(low)
        }
        fn level(&self) -> bool {
            self.wire.0.load(Ordering::SeqCst)
        }
        fn set_alarm(&self, time: u64) {
            self.write(0xc, (time >> 32) as u32);
            self.write(8, time as u32);
        }
        fn advance(&self, ns: u64) {
            self.now.fetch_add(ns, Ordering::SeqCst);
        }
        fn expire(&self) {
            self.hand.expired.lock().unwrap().as_ref().unwrap()();
        }
    }

    #[test]
    fn counts_from_its_base_and_latches_the_upper_half() {
        let b = bench(4);
        assert_eq!(b.time(), 4 * NS_PER_S);
        b.advance(u64::from(u32::MAX) - 1);
        let low = b.read(0);
        b.advance(u64::from(u32::MAX));
        assert_eq!(u64::from(b.read(4)) << 32 | u64::from(low), 4 * NS_PER_S + u64::from(u32::MAX) - 1);
    }

    #[test]
    fn can_be_set() {
        let b = bench(0);
        b.write(4, 0x1234);
        b.write(0, 0x5678);
        assert_eq!(b.time(), 0x1234_0000_5678);
        b.advance(5);
        assert_eq!(b.time(), 0x1234_0000_567d);
        b.rtc.reset();
        assert_eq!(b.time(), 0x1234_0000_567d, "the time survives a reset");
    }

    #[test]
    fn alarm_rings_once_when_due() {
        let b = bench(10);
        b.set_alarm(10 * NS_PER_S + 500);
        b.write(0x10, 1);
        assert_eq!((b.read(0x18), b.level(), b.hand.armed.load(Ordering::SeqCst)), (1, false, true));
        b.expire();
        assert!(!b.level(), "an early call of the timer changes nothing");
        assert!(b.hand.armed.load(Ordering::SeqCst));
        b.advance(500);
        b.expire();
        assert_eq!((b.read(0x18), b.level(), b.hand.armed.load(Ordering::SeqCst)), (0, true, false));
        b.write(0x10, 0);
        assert!(!b.level(), "disabled");
        b.write(0x10, 1);
        assert!(b.level(), "still pending");
        b.write(0x1c, 1);
        assert!(!b.level());
    }

    #[test]
    fn an_alarm_in_the_past_rings_at_once_and_a_cleared_one_never() {
        let b = bench(10);
        b.write(0x10, 1);
        b.set_alarm(1);
        assert!(b.level());
        b.write(0x1c, 0);
        b.set_alarm(11 * NS_PER_S);
        b.write(0x14, 1);
        assert_eq!((b.read(0x18), b.hand.armed.load(Ordering::SeqCst)), (0, false));
        b.advance(2 * NS_PER_S);
        b.expire();
        assert!(!b.level());
    }

    #[test]
    fn setting_the_time_past_the_alarm_rings() {
        let b = bench(10);
        b.write(0x10, 1);
        b.set_alarm(1 << 40);
        b.write(4, 1 << 9);
        assert!(b.level());
    }

    #[test]
    fn reset_and_state() {
        let b = bench(10);
        b.write(0x10, 1);
        b.set_alarm(1);
        let ringing = b.rtc.state();
        b.rtc.reset();
        assert!(!b.level());
        assert_eq!(b.read(0x10), 0);
        b.rtc.set_state(ringing.clone());
        assert_eq!(b.rtc.state(), ringing);
        b.write(0x1c, 1);
        assert!(!b.level());
    }

    #[test]
    fn utc_follows_the_host() {
        let hand = Arc::new(Hand::default());
        let rtc =
            GoldfishRtc::new(RtcBase::Utc, RtcClock::Host, IrqLine::new(Arc::new(Wire::default()), 11), &hand).unwrap();
        let before = unix_now().as_nanos() as u64;
        let mut data = [0; 8];
        rtc.read(0, &mut data);
        let after = unix_now().as_nanos() as u64;
        let time = u64::from_le_bytes(data);
        // The clock and its base are read one after the other when it is made.
        assert!(time + NS_PER_S >= before && time <= after + NS_PER_S, "{before} {time} {after}");
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses in prop::collection::vec((0u64..0x28, 0usize..4, any::<u64>(), 0u8..4), 100)) {
            let b = bench(0);
            for (offset, width, value, kind) in accesses {
                let mut data = value.to_le_bytes();
                let data = &mut data[..1 << width];
                match kind {
                    0 => b.rtc.read(offset, data),
                    1 => b.rtc.write(offset, data),
                    2 => b.expire(),
                    _ => { b.now.store(value, Ordering::SeqCst); }
                }
            }
        }
    }
}
