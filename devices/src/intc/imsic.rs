//! The incoming MSI controllers of all harts at one privilege level (RISC-V AIA 1.0, "Incoming MSI Controller
//! (IMSIC)"), with 255 identities a file.
//!
//! [`InterruptFile`] is a file as software sees it through `*ireg` and `*topei`: plain state. [`Imsic`] holds the files
//! of one level of every hart, receives MSIs in their memory pages and drives the harts' external lines.
//!
//! A file drives its line under its own lock, so that the line always ends up as the file says, whoever comes last.
//! `eidelivery` knows 0 and 1: no APLIC delivers past an IMSIC here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::fdt::{FdtNode, FdtValue, Placement};
use crate::state::expect;
use crate::unlocked::Scope;
use crate::{HartLines, MmioDevice, SavedState, StateError};

/// Identities of a file are 1 to this.
pub const IDENTITIES: u32 = 255;
/// The most guest files a hart can have on this board.
pub const GUESTS_MAX: u8 = 7;

const WORDS: usize = (IDENTITIES as usize + 1) / 64;
const PAGE: u64 = 0x1000;

const EIDELIVERY: u8 = 0x70;
const EITHRESHOLD: u8 = 0x72;
const EIP0: u8 = 0x80;
const EIP63: u8 = 0xbf;
const EIE0: u8 = 0xc0;

/// Values that `eithreshold` can hold: any identity that the architecture allows.
const THRESHOLD: u64 = 0x7ff;

/// An interrupt file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InterruptFile {
    /// `eidelivery`: interrupts reach the hart.
    pub delivery: bool,
    /// `eithreshold`: identities from this one on are held back; 0 is none.
    pub threshold: u16,
    /// Bit I % 64 of word I / 64 is identity I; bit 0 of word 0 is always clear.
    pub pending: [u64; WORDS],
    pub enabled: [u64; WORDS],
}

/// The identities that exist of a word.
fn existing(word: usize) -> u64 {
    if word == 0 { !1 } else { !0 }
}

/// Clears bits, sets others, returns what was there.
fn change(register: &mut u64, clear: u64, set: u64, mask: u64) -> u64 {
    let old = *register;
    *register = (old & !clear | set) & mask;
    old
}

impl InterruptFile {
    /// Only bits and thresholds that exist.
    fn is_legal(&self) -> bool {
        (self.pending[0] | self.enabled[0]) & !existing(0) == 0 && u64::from(self.threshold) <= THRESHOLD
    }

    /// An MSI arrives. Identities that do not exist are ignored.
    pub fn receive(&mut self, identity: u32) {
        if (1..=IDENTITIES).contains(&identity) {
            self.pending[identity as usize / 64] |= 1 << (identity % 64);
        }
    }

    /// The strongest interrupt that is pending, enabled and passes the threshold; 0 if there is none.
    pub fn top(&self) -> u32 {
        let words = self.pending.iter().zip(&self.enabled).map(|(p, e)| p & e).enumerate();
        let first = words.filter(|(_, set)| *set != 0).map(|(i, set)| i as u32 * 64 + set.trailing_zeros()).next();
        match (first, u32::from(self.threshold)) {
            (Some(identity), 0) => identity,
            (Some(identity), threshold) if identity < threshold => identity,
            _ => 0,
        }
    }

    /// As [`top`](Self::top), and takes it.
    pub fn claim(&mut self) -> u32 {
        let identity = self.top();
        self.pending[identity as usize / 64] &= !(1 << (identity % 64));
        identity
    }

    /// Whether the hart's line is high.
    pub fn signals(&self) -> bool {
        self.delivery && self.top() != 0
    }

    /// A register by its number in `*iselect`, 64 bits wide: clears and sets bits, returns what was there. Reserved
    /// numbers read zero and ignore writes; which numbers are legal at all is the hart's affair.
    pub fn access(&mut self, register: u8, clear: u64, set: u64) -> u64 {
        let array = |bits: &mut [u64; WORDS], first: u8| match bits.get_mut(usize::from(register - first) / 2) {
            Some(word) => change(word, clear, set, existing(usize::from(register - first) / 2)),
            None => 0,
        };
        match register {
            EIDELIVERY => {
                let mut value = u64::from(self.delivery);
                let old = change(&mut value, clear, set, 1);
                self.delivery = value != 0;
                old
            }
            EITHRESHOLD => {
                let mut value = u64::from(self.threshold);
                let old = change(&mut value, clear, set, THRESHOLD);
                self.threshold = value as u16;
                old
            }
            EIP0..=EIP63 => array(&mut self.pending, EIP0),
            EIE0.. => array(&mut self.enabled, EIE0),
            _ => 0,
        }
    }
}

/// Whose files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Machine,
    /// With this many guest files a hart, behind the supervisor's.
    Supervisor {
        guests: u8,
    },
}

/// Bits of the machine's external lines in `mip`.
const MEIP: u8 = 11;
const SEIP: u8 = 9;

impl Level {
    /// Files of a hart.
    pub fn files(self) -> u32 {
        match self {
            Self::Machine => 1,
            Self::Supervisor { guests } => u32::from(guests) + 1,
        }
    }

    /// Bytes of address space that the files of so many harts take.
    pub fn window(self, harts: u32) -> u64 {
        u64::from(harts) * (PAGE << self.guest_bits())
    }

    /// Bits of a page's number that select the guest.
    pub fn guest_bits(self) -> u32 {
        self.files().next_power_of_two().trailing_zeros()
    }

    /// The line of the level itself, as a bit of `mip`.
    pub fn irq(self) -> u8 {
        if self == Self::Machine { MEIP } else { SEIP }
    }
}

/// A file and what it last drove.
#[derive(Default)]
struct Slot {
    file: InterruptFile,
    line: bool,
}

/// The files of one level of every hart.
pub struct Imsic {
    level: Level,
    lines: Arc<dyn HartLines>,
    /// By hart, then file.
    slots: Vec<Mutex<Slot>>,
}

impl Imsic {
    pub fn new(level: Level, harts: u32, lines: Arc<dyn HartLines>) -> Self {
        if let Level::Supervisor { guests } = level {
            assert!(guests <= GUESTS_MAX, "an IMSIC has 0 to {GUESTS_MAX} guest files here");
        }
        let slots = (0..harts * level.files()).map(|_| Mutex::default()).collect();
        Self { level, lines, slots }
    }

    pub fn level(&self) -> Level {
        self.level
    }

    fn slot(&self, hart: u32, file: u32) -> Option<(MutexGuard<'_, Slot>, u32)> {
        if file >= self.level.files() {
            return None;
        }
        let slot = self.slots.get((hart * self.level.files() + file) as usize)?;
        Some((slot.lock().unwrap_or_else(PoisonError::into_inner), hart))
    }

    /// Changes a file and drives its line. `guest` 0 is the file of the level itself. `None` if it does not exist.
    fn with<T>(&self, hart: u32, guest: u32, f: impl FnOnce(&mut InterruptFile) -> T) -> Option<T> {
        let _scope = Scope::open();
        let (mut slot, hart) = self.slot(hart, guest)?;
        let answer = f(&mut slot.file);
        let level = slot.file.signals();
        if level != slot.line {
            slot.line = level;
            match guest {
                0 => self.lines.set_irq(hart, self.level.irq(), level),
                _ => self.lines.set_guest_irq(hart, guest as u8, level),
            }
        }
        Some(answer)
    }

    /// [`InterruptFile::access`] of a hart's file. Files that do not exist read zero.
    pub fn access(&self, hart: u32, guest: u8, register: u8, clear: u64, set: u64) -> u64 {
        self.with(hart, u32::from(guest), |file| file.access(register, clear, set)).unwrap_or(0)
    }

    /// [`InterruptFile::top`] or [`InterruptFile::claim`] of a hart's file.
    pub fn top(&self, hart: u32, guest: u8, claim: bool) -> u32 {
        if claim {
            return self.with(hart, u32::from(guest), InterruptFile::claim).unwrap_or(0);
        }
        self.slot(hart, u32::from(guest)).map_or(0, |(slot, _)| slot.file.top())
    }

    /// An MSI for the file whose page is at `offset`.
    pub fn receive(&self, offset: u64, identity: u32) {
        let page = (offset / PAGE) as u32;
        let bits = self.level.guest_bits();
        let _ = self.with(page >> bits, page & ((1 << bits) - 1), |file| file.receive(identity));
    }

    /// Every file, by hart and guest.
    pub fn state(&self) -> Vec<InterruptFile> {
        self.slots.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).file.clone()).collect()
    }

    /// Puts back what [`Imsic::state`] gave.
    pub fn set_state(&self, state: &[InterruptFile]) {
        let files = self.level.files();
        for (i, file) in (0..self.slots.len() as u32).zip(state) {
            let _ = self.with(i / files, i % files, |f| *f = file.clone());
        }
    }

    fn harts(&self) -> u32 {
        self.slots.len() as u32 / self.level.files()
    }
}

/// `count` files as an [`Imsic`] saves them.
///
/// # Errors
/// They are not that.
pub fn read_files(state: &SavedState, count: usize) -> Result<Vec<InterruptFile>, StateError> {
    let files: Vec<InterruptFile> = state.read(1)?;
    expect("interrupt files", files.len(), count)?;
    match files.iter().all(InterruptFile::is_legal) {
        true => Ok(files),
        false => Err(StateError::Unfit("an interrupt file with bits that do not exist".into())),
    }
}

/// `files` as an [`Imsic`] saves them.
pub fn save_files(files: &[InterruptFile]) -> SavedState {
    SavedState::of(1, files)
}

impl MmioDevice for Imsic {
    fn name(&self) -> &str {
        "riscv.imsic"
    }

    fn size(&self) -> u64 {
        self.level.window(self.harts())
    }

    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    /// Only aligned words count: `seteipnum_le` at 0 and `seteipnum_be` at 4 of a page.
    fn write(&self, offset: u64, data: &[u8]) {
        let Ok(word) = <[u8; 4]>::try_from(data) else { return };
        match offset % PAGE {
            0 => self.receive(offset, u32::from_le_bytes(word)),
            4 => self.receive(offset, u32::from_be_bytes(word)),
            _ => {}
        }
    }

    fn reset(&self) {
        self.set_state(&vec![InterruptFile::default(); self.slots.len()]);
    }

    fn save_state(&self) -> Option<SavedState> {
        Some(save_files(&self.state()))
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        self.set_state(&read_files(state, self.slots.len())?);
        Ok(())
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        vec![node(self.level, IDENTITIES, at)]
    }
}

/// What the device tree says of the IMSICs of a level, whoever has them.
pub fn node(level: Level, identities: u32, at: &Placement) -> FdtNode {
    let mut node = FdtNode::new(format!("interrupt-controller@{:x}", at.base)).with_phandle(at);
    if level.guest_bits() != 0 {
        node = node.with("riscv,guest-index-bits", FdtValue::U32(level.guest_bits()));
    }
    node.with("riscv,num-ids", FdtValue::U32(identities))
        .with("reg", at.reg())
        .with("interrupts-extended", FdtValue::Cells(at.interrupts_extended.clone()))
        .with("msi-controller", FdtValue::Empty)
        .with("interrupt-controller", FdtValue::Empty)
        .with("#interrupt-cells", FdtValue::U32(0))
        .with("compatible", FdtValue::Strs(vec!["qemu,imsics".into(), "riscv,imsics".into()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Levels by hart and line; guests are lines 64 and up.
    #[derive(Default)]
    struct Harts(Mutex<HashMap<(u32, u8), bool>>);

    impl Harts {
        fn level(&self, hart: u32, irq: u8) -> bool {
            self.0.lock().unwrap().get(&(hart, irq)).copied().unwrap_or(false)
        }

        fn drive(&self, hart: u32, irq: u8, level: bool) {
            let was = self.0.lock().unwrap().insert((hart, irq), level).unwrap_or(false);
            assert_ne!(was, level, "a wire was driven to the level it had");
        }
    }

    impl HartLines for Harts {
        fn set_irq(&self, hart: u32, irq: u8, level: bool) {
            self.drive(hart, irq, level);
        }
        fn set_guest_irq(&self, hart: u32, guest: u8, level: bool) {
            self.drive(hart, 64 + guest, level);
        }
        fn raise_ssip(&self, _: u32) {}
        fn set_mtimecmp(&self, _: u32, _: u64) {}
        fn mtime(&self) -> u64 {
            0
        }
        fn set_mtime(&self, _: u64) {}
    }

    fn supervisor(guests: u8) -> (Arc<Harts>, Imsic) {
        let harts = Arc::new(Harts::default());
        let imsic = Imsic::new(Level::Supervisor { guests }, 2, harts.clone());
        (harts, imsic)
    }

    fn write(imsic: &Imsic, offset: u64, value: u32) {
        imsic.write(offset, &value.to_le_bytes());
    }

    /// Enables identities 1 to 63 and the delivery.
    fn open(imsic: &Imsic, hart: u32, guest: u8) {
        imsic.access(hart, guest, EIDELIVERY, !0, 1);
        imsic.access(hart, guest, EIE0, !0, !0);
    }

    #[test]
    fn registers_hold_what_the_specification_lets_them() {
        let mut f = InterruptFile::default();
        let mut held = |register, value| {
            f.access(register, !0, value);
            f.access(register, 0, 0)
        };
        assert_eq!(held(0x70, !0), 1);
        assert_eq!(held(0x70, 0x4000_0000), 0, "no PLIC or APLIC delivers past the file");
        assert_eq!(held(0x72, 255), 255);
        for reserved in [0x71].into_iter().chain(0x73..0x80) {
            assert_eq!(held(reserved, !0), 0, "{reserved:#x}");
        }
        assert_eq!(held(0x80, !0), !1, "identity 0 does not exist");
        assert_eq!(held(0xc0, !0), !1);
        for k in [2, 4, 6] {
            assert_eq!([held(0x80 + k, !0), held(0xc0 + k, !0)], [!0; 2]);
        }
        for k in (8..64).step_by(2) {
            assert_eq!([held(0x80 + k, !0), held(0xc0 + k, !0)], [0; 2], "identities from 256 on do not exist");
        }
    }

    #[test]
    fn an_access_clears_then_sets_and_returns_the_old() {
        let mut f = InterruptFile::default();
        assert_eq!(f.access(EIP0, 0, 0b1100), 0);
        assert_eq!(f.access(EIP0, 0b0100, 0b0010), 0b1100);
        assert_eq!(f.access(EIP0, 0, 0), 0b1010);
    }

    #[test]
    fn the_lowest_identity_is_the_strongest() {
        let mut f = InterruptFile { enabled: [!1, !0, !0, !0], ..Default::default() };
        for identity in [255, 64, 63, 7, 0, 256, u32::MAX] {
            f.receive(identity);
        }
        assert_eq!([(); 5].map(|()| f.claim()), [7, 63, 64, 255, 0]);
        assert_eq!(f.pending, [0; 4]);
    }

    #[test]
    fn what_is_not_enabled_or_not_below_the_threshold_does_not_signal() {
        let mut f = InterruptFile { delivery: true, ..Default::default() };
        f.receive(7);
        assert_eq!((f.top(), f.signals()), (0, false));
        f.enabled[0] = 1 << 7;
        assert_eq!((f.top(), f.signals()), (7, true));
        f.threshold = 7;
        assert_eq!((f.top(), f.signals(), f.claim()), (0, false, 0));
        f.threshold = 8;
        f.delivery = false;
        assert_eq!((f.top(), f.signals()), (7, false), "delivery does not matter to topei");
        assert_eq!(f.claim(), 7);
    }

    #[test]
    fn an_msi_raises_the_line_of_its_file_and_the_claim_lowers_it() {
        let (harts, imsic) = supervisor(3);
        // Four pages a hart.
        assert_eq!(imsic.size(), 0x8000);
        for (offset, hart, guest, line) in [(0, 0, 0, 9), (0x4000, 1, 0, 9), (0x5000, 1, 1, 65), (0x3000, 0, 3, 67)] {
            open(&imsic, hart, guest);
            write(&imsic, offset, 5);
            assert!(harts.level(hart, line), "{offset:#x}");
            assert_eq!(harts.0.lock().unwrap().values().filter(|l| **l).count(), 1);
            assert_eq!(imsic.top(hart, guest, false), 5);
            assert_eq!(imsic.top(hart, guest, true), 5);
            assert!(!harts.level(hart, line));
        }
    }

    #[test]
    fn the_line_follows_every_register() {
        let (harts, imsic) = supervisor(0);
        write(&imsic, 0, 9);
        assert!(!harts.level(0, 9));
        open(&imsic, 0, 0);
        assert!(harts.level(0, 9));
        imsic.access(0, 0, EITHRESHOLD, !0, 9);
        assert!(!harts.level(0, 9));
        imsic.access(0, 0, EITHRESHOLD, !0, 0);
        assert!(harts.level(0, 9));
        imsic.access(0, 0, EIP0, 1 << 9, 0);
        assert!(!harts.level(0, 9));
        imsic.access(0, 0, EIP0, 0, 1 << 9);
        assert!(harts.level(0, 9), "software sets pending bits too");
        imsic.reset();
        assert!(!harts.level(0, 9));
        assert!(imsic.state().iter().all(|f| *f == InterruptFile::default()));
    }

    #[test]
    fn pages_take_aligned_words_and_read_zero() {
        let (_, imsic) = supervisor(1);
        let pending = || imsic.state().iter().map(|f| f.pending[0]).collect::<Vec<_>>();
        imsic.write(0x1004, &3u32.to_be_bytes());
        assert_eq!(pending(), [0, 8, 0, 0]);
        for (offset, data) in
            [(0, &[5][..]), (0, &[5, 0]), (0, &[5, 0, 0, 0, 0, 0, 0, 0]), (2, &[5, 0, 0, 0]), (8, &[5, 0, 0, 0])]
        {
            imsic.write(offset, data);
        }
        assert_eq!(pending(), [0, 8, 0, 0]);
        let mut data = [0xee; 4];
        imsic.read(0x1004, &mut data);
        assert_eq!(data, [0; 4]);
    }

    #[test]
    fn pages_behind_the_last_guest_are_empty() {
        let (_, imsic) = supervisor(2);
        open(&imsic, 0, 0);
        write(&imsic, 0x3000, 5);
        write(&imsic, 0x8000, 5);
        assert!(imsic.state().iter().all(|f| f.pending[0] == 0));
        assert_eq!((imsic.access(0, 3, EIP0, 0, 2), imsic.top(0, 3, true), imsic.top(7, 0, true)), (0, 0, 0));
    }

    #[test]
    fn a_state_that_is_put_back_drives_its_lines() {
        let (harts, imsic) = supervisor(1);
        open(&imsic, 1, 1);
        write(&imsic, 0x3000, 4);
        let saved = imsic.state();
        imsic.reset();
        assert!(!harts.level(1, 65));
        imsic.set_state(&saved);
        assert!(harts.level(1, 65));
        assert_eq!(imsic.state(), saved);
    }

    #[test]
    fn the_machine_level_has_one_file_a_hart() {
        let harts = Arc::new(Harts::default());
        let imsic = Imsic::new(Level::Machine, 3, harts.clone());
        assert_eq!(imsic.size(), 0x3000);
        open(&imsic, 2, 0);
        write(&imsic, 0x2000, 1);
        assert!(harts.level(2, 11));
    }
}
