//! Software interrupts and timers of the harts: the ACLINT's three devices (RISC-V ACLINT specification 1.0)
//! and the SiFive CLINT, which is two of them side by side.
//!
//! The comparison of `mtime` with `mtimecmp` is the engine's work: these chips only hold the registers.
//! A device serves the harts `first .. first + count`; its register N belongs to hart `first + N`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fdt::{FdtNode, FdtValue, Placement};
use crate::regmap::{RegMap, Registers};
use crate::state::expect;
use crate::unlocked::Scope;
use crate::{HartLines, MmioDevice, SavedState, StateError};

/// Most harts one device serves, by its address space.
pub const HARTS_MAX: u32 = 4095;

const MSIP: u8 = 3;

/// Decoded bytes of each device.
const MSWI_SIZE: u64 = 0x4000;
const MTIMER_SIZE: u64 = 0x8000;
const SSWI_SIZE: u64 = 0x4000;
const CLINT_SIZE: u64 = 0x1_0000;

/// Of `mtime` in the MTIMER device.
const MTIME: u64 = 0x7ff8;

fn check(count: u32) {
    assert!((1..=HARTS_MAX).contains(&count), "an ACLINT device serves 1 to {HARTS_MAX} harts");
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Machine software interrupts: writing 1 or 0 to a hart's `msip` raises or lowers its MSIP.
pub struct Mswi {
    map: RegMap<u32>,
    first: u32,
    harts: Arc<dyn HartLines>,
    /// A bit a hart. Each hart's wire is driven under its bit's own lock, because a sender and the hart
    /// itself often write the same `msip` at once and the wire must end as the bit does.
    msip: Vec<Mutex<bool>>,
}

impl Mswi {
    pub fn new(first: u32, count: u32, harts: Arc<dyn HartLines>) -> Self {
        check(count);
        let map = RegMap::new(MSWI_SIZE).array(0, 4, count, 4, |i| i);
        Self { map, first, harts, msip: (0..count).map(|_| Mutex::new(false)).collect() }
    }

    fn set(&self, index: u32, level: bool) {
        let _scope = Scope::open();
        let mut msip = locked(&self.msip[index as usize]);
        if *msip != level {
            *msip = level;
            self.harts.set_irq(self.first + index, MSIP, level);
        }
    }

    /// Every hart's `msip`.
    pub fn state(&self) -> Vec<bool> {
        self.msip.iter().map(|m| *locked(m)).collect()
    }

    /// Puts back what [`Mswi::state`] gave.
    pub fn set_state(&self, state: &[bool]) {
        for (index, &level) in (0..).zip(state).take(self.msip.len()) {
            self.set(index, level);
        }
    }
}

impl Registers<u32> for &Mswi {
    fn read(&mut self, index: u32) -> u64 {
        self.peek(index)
    }

    fn peek(&self, index: u32) -> u64 {
        u64::from(*locked(&self.msip[index as usize]))
    }

    fn write(&mut self, index: u32, value: u64) {
        self.set(index, value & 1 != 0);
    }
}

impl MmioDevice for Mswi {
    fn name(&self) -> &str {
        "riscv.aclint.swi"
    }

    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        self.map.read(&mut &*self, offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.map.write(&mut &*self, offset, data);
    }

    fn reset(&self) {
        (0..self.msip.len() as u32).for_each(|index| self.set(index, false));
    }

    fn save_state(&self) -> Option<SavedState> {
        Some(SavedState::of(1, &self.state()))
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        let msip: Vec<bool> = state.read(1)?;
        expect("harts", msip.len(), self.msip.len())?;
        self.set_state(&msip);
        Ok(())
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        vec![software_node("mswi", "riscv,aclint-mswi", at)]
    }
}

fn software_node(name: &str, compatible: &str, at: &Placement) -> FdtNode {
    FdtNode::new(format!("{name}@{:x}", at.base))
        .with("#interrupt-cells", FdtValue::U32(0))
        .with("interrupt-controller", FdtValue::Empty)
        .with("interrupts-extended", FdtValue::Cells(at.interrupts_extended.clone()))
        .with("reg", at.reg())
        .with("compatible", FdtValue::Str(compatible.into()))
}

#[derive(Debug, Clone, Copy)]
enum TimerReg {
    Compare(u32),
    Time,
}

/// Machine timers: `mtimecmp` a hart, one `mtime`.
pub struct Mtimer {
    map: RegMap<TimerReg>,
    first: u32,
    harts: Arc<dyn HartLines>,
    /// `mtimecmp` a hart; the engine is told under the register's own lock, so that it keeps the last value.
    compare: Vec<Mutex<u64>>,
}

impl Mtimer {
    /// `mtimecmp` starts at zero, so MTIP is pending from power-on. The board resets all devices before the
    /// harts run, and so the engine learns of it.
    pub fn new(first: u32, count: u32, harts: Arc<dyn HartLines>) -> Self {
        check(count);
        let map = RegMap::new(MTIMER_SIZE).array(0, 8, count, 8, TimerReg::Compare).reg(MTIME, 8, TimerReg::Time);
        Self { map, first, harts, compare: (0..count).map(|_| Mutex::new(0)).collect() }
    }

    fn set(&self, index: u32, ticks: u64) {
        let mut compare = locked(&self.compare[index as usize]);
        *compare = ticks;
        self.harts.set_mtimecmp(self.first + index, ticks);
    }

    /// Every hart's `mtimecmp`; `mtime` is the clock's.
    pub fn state(&self) -> Vec<u64> {
        self.compare.iter().map(|c| *locked(c)).collect()
    }

    /// Puts back what [`Mtimer::state`] gave.
    pub fn set_state(&self, state: &[u64]) {
        for (index, &ticks) in (0..).zip(state).take(self.compare.len()) {
            self.set(index, ticks);
        }
    }
}

impl Registers<TimerReg> for &Mtimer {
    fn read(&mut self, reg: TimerReg) -> u64 {
        self.peek(reg)
    }

    fn peek(&self, reg: TimerReg) -> u64 {
        match reg {
            TimerReg::Compare(index) => *locked(&self.compare[index as usize]),
            TimerReg::Time => self.harts.mtime(),
        }
    }

    fn write(&mut self, reg: TimerReg, value: u64) {
        match reg {
            TimerReg::Compare(index) => self.set(index, value),
            TimerReg::Time => self.harts.set_mtime(value),
        }
    }
}

impl MmioDevice for Mtimer {
    fn name(&self) -> &str {
        "riscv.aclint.mtimer"
    }

    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        self.map.read(&mut &*self, offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.map.write(&mut &*self, offset, data);
    }

    /// The board resets the clock itself.
    fn reset(&self) {
        (0..self.compare.len() as u32).for_each(|index| self.set(index, 0));
    }

    fn save_state(&self) -> Option<SavedState> {
        Some(SavedState::of(1, &self.state()))
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        let compare: Vec<u64> = state.read(1)?;
        expect("harts", compare.len(), self.compare.len())?;
        self.set_state(&compare);
        Ok(())
    }

    /// `mtime` and the `mtimecmp`s are two ranges; the first reaches to the end of the advertised space.
    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        let time = at.base + MTIME;
        let node = FdtNode::new(format!("mtimer@{time:x}"))
            .with("interrupts-extended", FdtValue::Cells(at.interrupts_extended.clone()))
            .with("reg", FdtValue::reg(&[(time, at.size.saturating_sub(MTIME)), (at.base, MTIME)]))
            .with("compatible", FdtValue::Str("riscv,aclint-mtimer".into()));
        vec![node]
    }
}

/// Supervisor software interrupts: writing 1 to a hart's `setssip` makes SSIP pending; reads are zero.
pub struct Sswi {
    map: RegMap<u32>,
    first: u32,
    harts: Arc<dyn HartLines>,
}

impl Sswi {
    pub fn new(first: u32, count: u32, harts: Arc<dyn HartLines>) -> Self {
        check(count);
        Self { map: RegMap::new(SSWI_SIZE).array(0, 4, count, 4, |i| i), first, harts }
    }
}

impl Registers<u32> for &Sswi {
    fn read(&mut self, _: u32) -> u64 {
        0
    }

    fn peek(&self, _: u32) -> u64 {
        0
    }

    fn write(&mut self, index: u32, value: u64) {
        if value & 1 != 0 {
            self.harts.raise_ssip(self.first + index);
        }
    }
}

impl MmioDevice for Sswi {
    fn name(&self) -> &str {
        "riscv.aclint.swi"
    }

    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        self.map.read(&mut &*self, offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.map.write(&mut &*self, offset, data);
    }

    /// SSIP itself is a bit of the hart.
    fn reset(&self) {}

    fn save_state(&self) -> Option<SavedState> {
        None
    }

    fn restore_state(&self, _: &SavedState) -> Result<(), StateError> {
        Err(StateError::Stateless)
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        vec![software_node("sswi", "riscv,aclint-sswi", at)]
    }
}

/// The SiFive CLINT: an MSWI device at 0 and an MTIMER device at 0x4000.
pub struct Clint {
    pub mswi: Mswi,
    pub mtimer: Mtimer,
}

impl Clint {
    pub fn new(first: u32, count: u32, harts: Arc<dyn HartLines>) -> Self {
        Self { mswi: Mswi::new(first, count, harts.clone()), mtimer: Mtimer::new(first, count, harts) }
    }

    /// Calls `f` with the device an access falls in and its offset there. Nothing lies across the border.
    fn part(&self, offset: u64, f: impl FnOnce(&dyn MmioDevice, u64)) {
        match offset.checked_sub(MSWI_SIZE) {
            None => f(&self.mswi, offset),
            Some(offset) => f(&self.mtimer, offset),
        }
    }
}

impl MmioDevice for Clint {
    fn name(&self) -> &str {
        "riscv.sifive.clint"
    }

    fn size(&self) -> u64 {
        CLINT_SIZE
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        self.part(offset, |device, offset| device.read(offset, data));
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.part(offset, |device, offset| device.write(offset, data));
    }

    fn reset(&self) {
        self.mswi.reset();
        self.mtimer.reset();
    }

    fn save_state(&self) -> Option<SavedState> {
        Some(SavedState::of(1, &(self.mswi.state(), self.mtimer.state())))
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        let (msip, compare): (Vec<bool>, Vec<u64>) = state.read(1)?;
        expect("harts", msip.len(), self.mswi.msip.len())?;
        expect("harts", compare.len(), self.mtimer.compare.len())?;
        self.mswi.set_state(&msip);
        self.mtimer.set_state(&compare);
        Ok(())
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        let node = FdtNode::new(format!("clint@{:x}", at.base))
            .with("interrupts-extended", FdtValue::Cells(at.interrupts_extended.clone()))
            .with("reg", at.reg())
            .with("compatible", FdtValue::Strs(vec!["sifive,clint0".into(), "riscv,clint0".into()]));
        vec![node]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Call {
        Irq(u32, u8, bool),
        Ssip(u32),
        Compare(u32, u64),
    }

    #[derive(Default)]
    struct Harts {
        calls: Mutex<Vec<Call>>,
        time: Mutex<u64>,
    }

    impl Harts {
        fn take(&self) -> Vec<Call> {
            std::mem::take(&mut *self.calls.lock().unwrap())
        }
    }

    impl HartLines for Harts {
        fn set_irq(&self, hart: u32, irq: u8, level: bool) {
            self.calls.lock().unwrap().push(Call::Irq(hart, irq, level));
        }
        fn raise_ssip(&self, hart: u32) {
            self.calls.lock().unwrap().push(Call::Ssip(hart));
        }
        fn set_mtimecmp(&self, hart: u32, ticks: u64) {
            self.calls.lock().unwrap().push(Call::Compare(hart, ticks));
        }
        fn mtime(&self) -> u64 {
            *self.time.lock().unwrap()
        }
        fn set_mtime(&self, ticks: u64) {
            *self.time.lock().unwrap() = ticks;
        }
    }

    fn clint(first: u32, count: u32) -> (Arc<Harts>, Clint) {
        let harts = Arc::new(Harts::default());
        let clint = Clint::new(first, count, harts.clone());
        (harts, clint)
    }

    fn read<const N: usize>(device: &dyn MmioDevice, offset: u64) -> [u8; N] {
        let mut data = [0xee; N];
        device.read(offset, &mut data);
        data
    }

    #[test]
    fn timers_are_pending_from_power_on() {
        let (harts, clint) = clint(0, 2);
        assert_eq!(harts.take(), [], "nobody is called before the machine is complete");
        clint.reset();
        assert_eq!(harts.take(), [Call::Compare(0, 0), Call::Compare(1, 0)]);
    }

    #[test]
    fn msip_keeps_one_bit_and_drives_its_own_hart() {
        let (harts, clint) = clint(4, 2);
        harts.take();
        clint.write(4, &u32::MAX.to_le_bytes());
        assert_eq!(harts.take(), [Call::Irq(5, 3, true)]);
        assert_eq!(read(&clint, 4), [1, 0, 0, 0]);
        assert_eq!(read(&clint, 0), [0; 4]);
        clint.write(4, &1u32.to_le_bytes());
        assert_eq!(harts.take(), [], "no change, no call");
        clint.write(4, &0u32.to_le_bytes());
        assert_eq!(harts.take(), [Call::Irq(5, 3, false)]);
        clint.write(8, &1u32.to_le_bytes());
        assert_eq!(harts.take(), [], "no third hart");
    }

    #[test]
    fn mtimecmp_takes_whole_and_half_writes() {
        let (harts, clint) = clint(0, 2);
        harts.take();
        clint.write(0x4008, &0x1122_3344_5566_7788u64.to_le_bytes());
        clint.write(0x400c, &u32::MAX.to_le_bytes());
        clint.write(0x4008, &9u32.to_le_bytes());
        let want = [0x1122_3344_5566_7788, 0xffff_ffff_5566_7788, 0xffff_ffff_0000_0009].map(|v| Call::Compare(1, v));
        assert_eq!(harts.take(), want);
        assert_eq!(read(&clint, 0x4008), 0xffff_ffff_0000_0009u64.to_le_bytes());
        assert_eq!(read(&clint, 0x400c), u32::MAX.to_le_bytes());
    }

    #[test]
    fn mtime_reads_and_writes_the_clock() {
        let (harts, clint) = clint(0, 1);
        harts.set_mtime(0x1_2345_6789);
        assert_eq!(read(&clint, 0xbff8), 0x1_2345_6789u64.to_le_bytes());
        assert_eq!(read(&clint, 0xbffc), 1u32.to_le_bytes());
        clint.write(0xbffc, &7u32.to_le_bytes());
        assert_eq!(harts.mtime(), 0x7_2345_6789);
        clint.write(0xbff8, &5u64.to_le_bytes());
        assert_eq!(harts.mtime(), 5);
    }

    #[test]
    fn sswi_sets_and_reads_zero() {
        let harts = Arc::new(Harts::default());
        let sswi = Sswi::new(2, 2, harts.clone());
        sswi.write(4, &1u32.to_le_bytes());
        sswi.write(0, &0u32.to_le_bytes());
        sswi.write(0, &2u32.to_le_bytes());
        assert_eq!(harts.take(), [Call::Ssip(3)]);
        assert_eq!(read(&sswi, 4), [0; 4]);
    }

    #[test]
    fn reset_and_state() {
        let (harts, clint) = clint(0, 2);
        clint.write(0, &1u32.to_le_bytes());
        clint.write(0x4000, &77u64.to_le_bytes());
        let (msip, compare) = (clint.mswi.state(), clint.mtimer.state());
        assert_eq!((msip.as_slice(), compare.as_slice()), (&[true, false][..], &[77, 0][..]));
        harts.take();
        clint.reset();
        assert_eq!(harts.take(), [Call::Irq(0, 3, false), Call::Compare(0, 0), Call::Compare(1, 0)]);
        clint.mswi.set_state(&msip);
        clint.mtimer.set_state(&compare);
        assert_eq!(harts.take(), [Call::Irq(0, 3, true), Call::Compare(0, 77), Call::Compare(1, 0)]);
    }

    #[test]
    fn device_tree_of_the_timer() {
        let at = |base, size| Placement { interrupts_extended: vec![2, 7], ..Placement::at(base, size) };
        let timer = Mtimer::new(0, 1, Arc::new(Harts::default()));
        let node = &timer.fdt(&at(0x200_4000, 0xc000))[0];
        assert_eq!(node.name, "mtimer@200bff8");
        assert_eq!(node.properties[1].1, FdtValue::reg(&[(0x200_bff8, 0x4008), (0x200_4000, 0x7ff8)]));
        let node = &timer.fdt(&at(0x200_0000, 0x8000))[0];
        assert_eq!(node.name, "mtimer@2007ff8");
        assert_eq!(node.properties[1].1, FdtValue::reg(&[(0x200_7ff8, 8), (0x200_0000, 0x7ff8)]));
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses in prop::collection::vec((0..CLINT_SIZE, 0usize..4, any::<u64>(), any::<bool>()), 200)) {
            let (_, clint) = clint(0, 3);
            for (offset, width, value, store) in accesses {
                let mut data = value.to_le_bytes();
                let data = &mut data[..1 << width];
                if store { clint.write(offset, data) } else { clint.read(offset, data) }
            }
        }
    }
}
