//! PMU extension (spec chapter "Performance Monitoring Unit Extension"): hardware counters of the calling hart,
//! configured through the CSRs that only M-mode reaches, and firmware counters of what this SBI does.
//!
//! Counter `n` below 32 is the CSR `cycle + n`, so that 1, which would be `time`, does not exist; the firmware
//! counters follow. Selectors of hardware events are the events' `event_idx`.
//!
//! There is no snapshot memory, which is optional: Linux 6.12, where it finds one, starts counters again at the wrong
//! index after an overflow, so that `perf record` gets one sample and no more.
//!
//! A counter that nobody configured counts nothing, but for `cycle` and `instret`, which run from reset on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arch::csr::{CYCLE, MCOUNTINHIBIT, MCYCLE, MCYCLECFG, MHPMEVENT3, MINSTRETCFG, event, mhpmevent};
use sbi_spec::pmu as spec;
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

use super::{Extension, SbiError, SbiHost, SbiOutcome, SbiRequest};

/// How many firmware counters a hart has.
const FIRMWARE_COUNTERS: usize = 16;
/// Indices of `cycle` and `instret`.
const CYCLES: usize = 0;
const INSTRUCTIONS: usize = 2;

/// What this SBI counts of its own work; the discriminant is the code of the firmware event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum FirmwareEvent {
    SetTimer = spec::firmware_event::SET_TIMER as u8,
    IpiSent = spec::firmware_event::IPI_SENT as u8,
    IpiReceived = spec::firmware_event::IPI_RECEIVED as u8,
    FenceISent = spec::firmware_event::FENCE_I_SENT as u8,
    FenceIReceived = spec::firmware_event::FENCE_I_RECEIVED as u8,
    SfenceVmaSent = spec::firmware_event::SFENCE_VMA_SENT as u8,
    SfenceVmaReceived = spec::firmware_event::SFENCE_VMA_RECEIVED as u8,
    SfenceVmaAsidSent = spec::firmware_event::SFENCE_VMA_ASID_SENT as u8,
    SfenceVmaAsidReceived = spec::firmware_event::SFENCE_VMA_ASID_RECEIVED as u8,
    HfenceGvmaSent = spec::firmware_event::HFENCE_GVMA_SENT as u8,
    HfenceGvmaReceived = spec::firmware_event::HFENCE_GVMA_RECEIVED as u8,
    HfenceGvmaVmidSent = spec::firmware_event::HFENCE_GVMA_VMID_SENT as u8,
    HfenceGvmaVmidReceived = spec::firmware_event::HFENCE_GVMA_VMID_RECEIVED as u8,
    HfenceVvmaSent = spec::firmware_event::HFENCE_VVMA_SENT as u8,
    HfenceVvmaReceived = spec::firmware_event::HFENCE_VVMA_RECEIVED as u8,
    HfenceVvmaAsidSent = spec::firmware_event::HFENCE_VVMA_ASID_SENT as u8,
    HfenceVvmaAsidReceived = spec::firmware_event::HFENCE_VVMA_ASID_RECEIVED as u8,
}

impl FirmwareEvent {
    const ALL: [Self; 17] = [
        Self::SetTimer,
        Self::IpiSent,
        Self::IpiReceived,
        Self::FenceISent,
        Self::FenceIReceived,
        Self::SfenceVmaSent,
        Self::SfenceVmaReceived,
        Self::SfenceVmaAsidSent,
        Self::SfenceVmaAsidReceived,
        Self::HfenceGvmaSent,
        Self::HfenceGvmaReceived,
        Self::HfenceGvmaVmidSent,
        Self::HfenceGvmaVmidReceived,
        Self::HfenceVvmaSent,
        Self::HfenceVvmaReceived,
        Self::HfenceVvmaAsidSent,
        Self::HfenceVvmaAsidReceived,
    ];

    fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|event| *event as u64 == code)
    }
}

/// What a counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Event {
    /// A selector of `mhpmevent`.
    Hardware(u64),
    Firmware(FirmwareEvent),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HartState {
    /// By counter; `None` for one that is not configured.
    #[serde(with = "BigArray")]
    events: [Option<Event>; 32 + FIRMWARE_COUNTERS],
    /// Bit n: counter n was started.
    started: u64,
    firmware: [u64; FIRMWARE_COUNTERS],
}

impl Default for HartState {
    fn default() -> Self {
        Self { events: [None; 32 + FIRMWARE_COUNTERS], started: 0, firmware: [0; FIRMWARE_COUNTERS] }
    }
}

#[derive(Debug, Default)]
struct Hart {
    state: Mutex<HartState>,
    /// Bit n: a started counter counts the firmware event with code n. Looked at before the lock is taken.
    listening: AtomicU32,
}

impl Hart {
    fn lock(&self) -> MutexGuard<'_, HartState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update_listening(&self, state: &HartState) {
        let started = (0..FIRMWARE_COUNTERS).filter(|i| state.started >> (32 + i) & 1 != 0);
        let bits = started.fold(0, |bits, i| match state.events[32 + i] {
            Some(Event::Firmware(event)) => bits | 1 << event as u32,
            _ => bits,
        });
        self.listening.store(bits, Ordering::Relaxed);
    }
}

/// The counters of all harts.
#[derive(Debug)]
pub struct PmuHarts {
    harts: Vec<Hart>,
    /// Bit n, from 3 on: `mhpmcounter` n counts.
    programmable: u32,
    /// Counters have overflow interrupts and filters (Sscofpmf).
    overflow: bool,
    /// `cycle` and `instret` have filters (Smcntrpmf).
    filters: bool,
}

impl PmuHarts {
    pub fn new(harts: u32, isa: &arch::ext::IsaConfig) -> Self {
        use arch::ext::Ext;
        Self {
            harts: (0..harts).map(|_| Hart::default()).collect(),
            programmable: if isa.has(Ext::Zihpm) { isa.pmu_counters & !7 } else { 0 },
            overflow: isa.has(Ext::Sscofpmf),
            filters: isa.has(Ext::Smcntrpmf),
        }
    }

    /// The hart starts anew, and its CSRs with it.
    pub fn reset(&self, hart: u32) {
        let hart = &self.harts[hart as usize];
        let mut state = hart.lock();
        *state = HartState::default();
        hart.update_listening(&state);
    }

    /// What is remembered, by hart.
    pub(super) fn save(&self) -> Vec<HartState> {
        self.harts.iter().map(|hart| hart.lock().clone()).collect()
    }

    /// Takes over what was saved of as many harts. The harts are stopped.
    pub(super) fn restore(&self, states: Vec<HartState>) {
        for (hart, new) in self.harts.iter().zip(states) {
            let mut state = hart.lock();
            *state = new;
            hart.update_listening(&state);
        }
    }

    /// Power-on.
    pub fn reset_all(&self) {
        (0..self.harts.len()).for_each(|hart| self.reset(hart as u32));
    }

    /// Something that the firmware counters may count happened.
    pub(super) fn count(&self, hart: u32, event: FirmwareEvent) {
        let hart = &self.harts[hart as usize];
        if hart.listening.load(Ordering::Relaxed) >> event as u32 & 1 == 0 {
            return;
        }
        let mut state = hart.lock();
        for i in 0..FIRMWARE_COUNTERS {
            if state.started >> (32 + i) & 1 != 0 && state.events[32 + i] == Some(Event::Firmware(event)) {
                state.firmware[i] = state.firmware[i].wrapping_add(1);
            }
        }
    }

    /// The index of the first firmware counter, as callers see it.
    fn first_firmware(&self) -> usize {
        (self.programmable.checked_ilog2().unwrap_or(INSTRUCTIONS as u32) + 1) as usize
    }

    fn len(&self) -> usize {
        self.first_firmware() + FIRMWARE_COUNTERS
    }

    /// The slot of counter `index`: hardware counters below 32, firmware counters from there.
    fn slot(&self, index: u64) -> Result<usize, SbiError> {
        let index = usize::try_from(index).ok().filter(|index| *index < self.len()).ok_or(SbiError::InvalidParam)?;
        match index.checked_sub(self.first_firmware()) {
            Some(firmware) => Ok(32 + firmware),
            None if matches!(index, CYCLES | INSTRUCTIONS) || self.programmable >> index & 1 != 0 => Ok(index),
            None => Err(SbiError::InvalidParam),
        }
    }

    fn index(&self, slot: usize) -> u64 {
        let first = self.first_firmware();
        slot.checked_sub(32).map_or(slot, |firmware| first + firmware) as u64
    }

    /// The slots that a base and a mask name, in order.
    fn slots(&self, base: u64, mask: u64) -> Result<Vec<usize>, SbiError> {
        (0..u64::BITS)
            .filter(|bit| mask >> bit & 1 != 0)
            .map(|bit| self.slot(base.checked_add(u64::from(bit)).ok_or(SbiError::InvalidParam)?))
            .collect()
    }

    /// Whether the counter in `slot` can count `event`.
    fn counts(&self, slot: usize, event: Event) -> bool {
        match event {
            Event::Firmware(_) => slot >= 32,
            Event::Hardware(selector) => match slot {
                CYCLES => selector == event::CYCLES,
                INSTRUCTIONS => selector == event::INSTRUCTIONS,
                _ => slot < 32,
            },
        }
    }
}

/// The event that `event_idx` and `event_data` mean; `None` if nothing counts it.
fn event_of(index: u64, data: u64) -> Option<Event> {
    let hardware = |selector: u64| event::ALL.contains(&selector).then_some(Event::Hardware(selector));
    let code = index & 0xffff;
    match (index >> 16) as usize {
        spec::event_type::HARDWARE_GENERAL | spec::event_type::HARDWARE_CACHE => hardware(index),
        spec::event_type::HARDWARE_RAW | spec::event_type::HARDWARE_RAW_V2 if code == 0 => hardware(data),
        spec::event_type::FIRMWARE => FirmwareEvent::from_code(code).map(Event::Firmware),
        _ => None,
    }
}

const SKIP_MATCH: u64 = 1 << 0;
const CLEAR_VALUE: u64 = 1 << 1;
const AUTO_START: u64 = 1 << 2;
/// The five filters, VUINH lowest, in the order of `mhpmevent`.
const FILTER_SHIFT: u32 = 3;
const FILTERS: u64 = 0x1f << FILTER_SHIFT;

const SET_INIT_VALUE: u64 = 1 << 0;
const INIT_SNAPSHOT: u64 = 1 << 1;

const RESET: u64 = 1 << 0;
const TAKE_SNAPSHOT: u64 = 1 << 1;

/// One call's view: the calling hart's counters and CSRs.
struct Counters<'a> {
    pmu: &'a PmuHarts,
    host: &'a dyn SbiHost,
    hart: &'a Hart,
    state: MutexGuard<'a, HartState>,
}

impl<'a> Counters<'a> {
    fn of(call: &SbiRequest, host: &'a dyn SbiHost) -> Self {
        let pmu = &host.state().pmu;
        let hart = &pmu.harts[call.hart as usize];
        Self { pmu, host, hart, state: hart.lock() }
    }

    fn started(&self, slot: usize) -> bool {
        self.state.started >> slot & 1 != 0
    }

    fn set_value(&mut self, slot: usize, value: u64) {
        match slot.checked_sub(32) {
            Some(i) => self.state.firmware[i] = value,
            None => self.host.write_csr(MCYCLE + slot as u16, value),
        }
    }

    fn inhibit(&mut self, slot: usize, on: bool) {
        if slot < 32 {
            let old = self.host.read_csr(MCOUNTINHIBIT);
            self.host.write_csr(MCOUNTINHIBIT, if on { old | 1 << slot } else { old & !(1 << slot) });
        }
    }

    /// The CSR that configures a hardware counter, if it has one.
    fn config_csr(&self, slot: usize) -> Option<u16> {
        match slot {
            CYCLES => self.pmu.filters.then_some(MCYCLECFG),
            INSTRUCTIONS => self.pmu.filters.then_some(MINSTRETCFG),
            3..32 => Some(MHPMEVENT3 + slot as u16 - 3),
            _ => None,
        }
    }

    fn configure(&mut self, slot: usize, event: Event, flags: u64) {
        self.inhibit(slot, true);
        if let (Event::Hardware(selector), Some(csr)) = (event, self.config_csr(slot)) {
            let filter = (flags & FILTERS) >> FILTER_SHIFT << mhpmevent::VUINH.trailing_zeros();
            // No interrupt before it is started.
            let programmable = if slot >= 3 { selector | mhpmevent::OF } else { 0 };
            self.host.write_csr(csr, filter | programmable);
        }
        self.state.events[slot] = Some(event);
        if flags & CLEAR_VALUE != 0 {
            self.set_value(slot, 0);
        }
    }

    fn start(&mut self, slot: usize, value: Option<u64>) -> Result<(), SbiError> {
        if self.state.events[slot].is_none() {
            return Err(SbiError::InvalidParam);
        }
        if self.started(slot) {
            return Err(SbiError::AlreadyStarted);
        }
        if let Some(value) = value {
            self.set_value(slot, value);
        }
        if let Some(csr) = self.config_csr(slot).filter(|_| slot >= 3 && self.pmu.overflow) {
            let config = self.host.read_csr(csr);
            self.host.write_csr(csr, config & !mhpmevent::OF);
        }
        self.state.started |= 1 << slot;
        self.inhibit(slot, false);
        self.hart.update_listening(&self.state);
        Ok(())
    }

    fn stop(&mut self, slot: usize, reset: bool) -> Result<(), SbiError> {
        let was = self.started(slot);
        if was {
            self.inhibit(slot, true);
            self.state.started &= !(1 << slot);
        }
        if reset
            && self.state.events[slot].take().is_some()
            && let Some(csr) = self.config_csr(slot)
        {
            self.host.write_csr(csr, 0);
        }
        self.hart.update_listening(&self.state);
        if was { Ok(()) } else { Err(SbiError::AlreadyStopped) }
    }
}

fn counter_info(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let slot = host.state().pmu.slot(call.args[0])?;
    // The width is one less than the number of bits; the top bit says firmware.
    Ok(if slot < 32 { (u64::from(CYCLE) + slot as u64) | 63 << 12 } else { 1 << 63 })
}

fn config_matching(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let [base, mask, flags, index, data, _] = call.args;
    let pmu = &host.state().pmu;
    let slots = pmu.slots(base, mask)?;
    if flags & !(SKIP_MATCH | CLEAR_VALUE | AUTO_START | FILTERS) != 0 {
        return Err(SbiError::InvalidParam);
    }
    let event = event_of(index, data).ok_or(SbiError::NotSupported)?;
    let mut counters = Counters::of(call, host);
    let able = |slot: &usize| pmu.counts(*slot, event);
    let slot = if flags & SKIP_MATCH != 0 {
        slots.first().copied().filter(able)
    } else {
        // Counters that can overflow are worth more than the fixed ones, which cannot.
        let free = |slot: &usize| able(slot) && counters.state.events[*slot].is_none() && !counters.started(*slot);
        let fixed = |slot: &usize| *slot < 3;
        let first = slots.iter().copied().find(|slot| free(slot) && fixed(slot) != pmu.overflow);
        first.or_else(|| slots.iter().copied().find(free))
    };
    let slot = slot.ok_or(SbiError::NotSupported)?;
    if counters.started(slot) {
        return Err(SbiError::InvalidParam);
    }
    counters.configure(slot, event, flags);
    if flags & AUTO_START != 0 {
        counters.start(slot, None)?;
    }
    Ok(pmu.index(slot))
}

/// Does `each` to all counters of the call; the last error counts, as those that can be are done.
fn for_all(
    call: &SbiRequest,
    host: &dyn SbiHost,
    mut each: impl FnMut(&mut Counters, usize) -> Result<(), SbiError>,
) -> Result<u64, SbiError> {
    let slots = host.state().pmu.slots(call.args[0], call.args[1])?;
    let mut counters = Counters::of(call, host);
    let mut result = Ok(0);
    for slot in slots {
        if let Err(error) = each(&mut counters, slot) {
            result = Err(error);
        }
    }
    result
}

fn start(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let flags = call.args[2];
    if flags & INIT_SNAPSHOT != 0 {
        return Err(SbiError::NoShmem);
    }
    if flags & !SET_INIT_VALUE != 0 {
        return Err(SbiError::InvalidParam);
    }
    let value = (flags & SET_INIT_VALUE != 0).then_some(call.args[3]);
    for_all(call, host, |counters, slot| counters.start(slot, value))
}

fn stop(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let flags = call.args[2];
    if flags & TAKE_SNAPSHOT != 0 {
        return Err(SbiError::NoShmem);
    }
    if flags & !RESET != 0 {
        return Err(SbiError::InvalidParam);
    }
    for_all(call, host, |counters, slot| counters.stop(slot, flags & RESET != 0))
}

fn firmware_read(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let slot = host.state().pmu.slot(call.args[0])?;
    let i = slot.checked_sub(32).ok_or(SbiError::InvalidParam)?;
    Ok(Counters::of(call, host).state.firmware[i])
}

/// Bytes of an entry of the event list: `event_idx`, output, `event_data`.
const ENTRY: u64 = 16;

fn event_info(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let [low, high, entries, flags, ..] = call.args;
    if flags != 0 || low % ENTRY != 0 {
        return Err(SbiError::InvalidParam);
    }
    let len = entries.checked_mul(ENTRY).filter(|len| high == 0 && low.checked_add(*len).is_some());
    let len = len.filter(|len| host.is_ram(low, *len)).ok_or(SbiError::InvalidAddress)?;
    for address in (low..low + len).step_by(ENTRY as usize) {
        let mut entry = [0; ENTRY as usize];
        if !host.read_guest(address, &mut entry) {
            return Err(SbiError::InvalidAddress);
        }
        let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        let data = u64::from(word(8)) | u64::from(word(12)) << 32;
        if word(0) >> 20 != 0 {
            return Err(SbiError::InvalidParam);
        }
        let supported = event_of(u64::from(word(0)), data).is_some_and(|event| match event {
            Event::Firmware(_) => true,
            Event::Hardware(event::CYCLES | event::INSTRUCTIONS) => true,
            Event::Hardware(_) => host.state().pmu.programmable != 0,
        });
        if !host.write_guest(address + 4, &u32::from(supported).to_le_bytes()) {
            return Err(SbiError::Failed);
        }
    }
    Ok(0)
}

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    let Ok(fid) = usize::try_from(call.fid) else { return SbiOutcome::error(SbiError::NotSupported) };
    match fid {
        spec::NUM_COUNTERS => Ok(host.state().pmu.len() as u64),
        spec::COUNTER_GET_INFO => counter_info(call, host),
        spec::COUNTER_CONFIG_MATCHING => config_matching(call, host),
        spec::COUNTER_START => start(call, host),
        spec::COUNTER_STOP => stop(call, host),
        spec::COUNTER_FW_READ => firmware_read(call, host),
        // Values have 64 bits, all of them in the low word.
        spec::COUNTER_FW_READ_HI => firmware_read(call, host).map(|_| 0),
        spec::EVENT_GET_INFO => event_info(call, host),
        _ => Err(SbiError::NotSupported),
    }
    .into()
}

pub const EXTENSION: Extension =
    Extension { name: "PMU", eids: spec::EID_PMU as u64..=spec::EID_PMU as u64, probe: |_| 1, handle };

#[cfg(test)]
mod tests {
    use super::super::mock::{MockHost, RAM, call, call_from, value_of};
    use super::*;
    use crate::sbi::handle;
    use mhpmevent::{OF, SINH, UINH};

    const EID: u64 = 0x0050_4d55;
    const CFG: u64 = 2;
    const START: u64 = 3;
    const STOP: u64 = 4;
    const READ: u64 = 5;

    fn pmu(host: &MockHost, fid: u64, args: &[u64]) -> SbiOutcome {
        handle(&call(EID, fid, args), host)
    }

    #[test]
    fn counters_are_numbered_as_their_csrs() {
        let host = MockHost::new(1);
        assert_eq!(value_of(pmu(&host, 0, &[])), 19 + 16);
        for (index, csr) in [(0, 0xc00), (2, 0xc02), (3, 0xc03), (18, 0xc12)] {
            assert_eq!(value_of(pmu(&host, 1, &[index])), csr | 63 << 12);
        }
        for index in 19..35 {
            assert_eq!(value_of(pmu(&host, 1, &[index])), 1 << 63);
        }
        for index in [1, 35, u64::MAX] {
            assert_eq!(pmu(&host, 1, &[index]), SbiOutcome::error(SbiError::InvalidParam));
        }
    }

    #[test]
    fn a_hardware_counter_from_configuration_to_reset() {
        let host = MockHost::new(1);
        let all = 0x7_fffd;
        // UINH and SINH are hints 5 and 6.
        assert_eq!(value_of(pmu(&host, CFG, &[0, all, CLEAR_VALUE | 3 << 5, 1, 0])), 3);
        assert_eq!(host.csr(MHPMEVENT3), event::CYCLES | OF | UINH | SINH);
        assert_eq!(host.csr(MCOUNTINHIBIT), 1 << 3);
        // Not started, but taken.
        assert_eq!(value_of(pmu(&host, CFG, &[0, all, 0, 0x10019, 0])), 4);
        assert_eq!(pmu(&host, START, &[3, 1, 1, 1000]), SbiOutcome::success(0));
        assert_eq!(host.csr(MHPMEVENT3), event::CYCLES | UINH | SINH);
        assert_eq!((host.csr(MCYCLE + 3), host.csr(MCOUNTINHIBIT)), (1000, 1 << 4));
        assert_eq!(pmu(&host, START, &[3, 3, 0]), SbiOutcome::error(SbiError::AlreadyStarted));
        assert_eq!(host.csr(MCOUNTINHIBIT), 0, "the other one was started all the same");
        assert_eq!(pmu(&host, STOP, &[3, 1, 0]), SbiOutcome::success(0));
        assert_eq!((host.csr(MCOUNTINHIBIT), host.csr(MHPMEVENT3) & 0xff), (1 << 3, event::CYCLES));
        assert_eq!(pmu(&host, STOP, &[3, 1, RESET]), SbiOutcome::error(SbiError::AlreadyStopped));
        assert_eq!(host.csr(MHPMEVENT3), 0);
        assert_eq!(pmu(&host, START, &[3, 1, 0]), SbiOutcome::error(SbiError::InvalidParam), "not configured");
        assert_eq!(value_of(pmu(&host, CFG, &[0, all, AUTO_START, 2, 0])), 3);
        assert_eq!((host.csr(MHPMEVENT3), host.csr(MCOUNTINHIBIT)), (event::INSTRUCTIONS, 0));
    }

    #[test]
    fn fixed_counters_are_last_and_by_name() {
        let host = MockHost::new(1);
        // Only the fixed ones are in the set.
        assert_eq!(value_of(pmu(&host, CFG, &[0, 5, 0, 2, 0])), 2);
        assert_eq!(pmu(&host, CFG, &[0, 5, 0, 2, 0]), SbiOutcome::error(SbiError::NotSupported));
        assert_eq!(value_of(pmu(&host, CFG, &[0, 1, SKIP_MATCH, 1, 0])), 0);
        assert_eq!(pmu(&host, CFG, &[0, 1, SKIP_MATCH, 2, 0]), SbiOutcome::error(SbiError::NotSupported));
        assert_eq!(pmu(&host, STOP, &[0, 5, 0]), SbiOutcome::error(SbiError::AlreadyStopped));
        assert_eq!(pmu(&host, START, &[0, 5, 0]), SbiOutcome::success(0));
    }

    #[test]
    fn events_that_nothing_counts() {
        let host = MockHost::new(1);
        let all = 0x7_fffd;
        for (index, data) in [(0, 0), (3, 0), (0x10018, 0), (0x20000, 0x1234), (0x20001, 1), (0xf0000, 0), (0x40000, 0)]
        {
            let outcome = pmu(&host, CFG, &[0, all, 0, index, data]);
            assert_eq!(outcome, SbiOutcome::error(SbiError::NotSupported), "{index:#x}");
        }
        assert_eq!(value_of(pmu(&host, CFG, &[0, all, 0, 0x20000, event::DTLB_READ_MISS])), 3);
        for set in [(0, 2), (35, 1), (u64::MAX, 2), (34, 3)] {
            let outcome = pmu(&host, CFG, &[set.0, set.1, 0, 1, 0]);
            assert_eq!(outcome, SbiOutcome::error(SbiError::InvalidParam), "{set:?}");
        }
        assert_eq!(pmu(&host, CFG, &[0, all, 1 << 8, 1, 0]), SbiOutcome::error(SbiError::InvalidParam));
        assert_eq!(pmu(&host, START, &[0, 1, INIT_SNAPSHOT]), SbiOutcome::error(SbiError::NoShmem));
        assert_eq!(pmu(&host, STOP, &[0, 1, TAKE_SNAPSHOT]), SbiOutcome::error(SbiError::NoShmem));
        assert_eq!(pmu(&host, 7, &[0, 0, 0]), SbiOutcome::error(SbiError::NotSupported));
    }

    #[test]
    fn firmware_counters_count_what_this_sbi_does() {
        let host = MockHost::new(3);
        let on = |hart, fid, args: &[u64]| value_of(handle(&call_from(hart, EID, fid, args), &host));
        let listen = |hart, code: u64| on(hart, CFG, &[19, 0xffff, CLEAR_VALUE | AUTO_START, 0xf_0000 | code, 0]);
        let sent = listen(0, 6);
        let received = listen(1, 7);
        let timers = listen(0, 5);
        let asid = listen(2, 13);
        assert_eq!((sent, received, timers, asid), (19, 19, 20, 19));
        value_of(handle(&call(0x0073_5049, 0, &[0b110, 0]), &host));
        value_of(handle(&call(0x0073_5049, 0, &[0b010, 0]), &host));
        value_of(handle(&call(0x5449_4d45, 0, &[5]), &host));
        value_of(handle(&call(0x5246_4e43, 2, &[0b110, 0, 0, 0, 7]), &host));
        assert_eq!((on(0, READ, &[sent]), on(1, READ, &[received])), (3, 2));
        assert_eq!((on(0, READ, &[timers]), on(2, READ, &[asid])), (1, 1));
        assert_eq!(on(0, 6, &[sent]), 0, "the high word");
        assert_eq!(pmu(&host, READ, &[3]), SbiOutcome::error(SbiError::InvalidParam));
        on(0, STOP, &[sent, 1, 0]);
        value_of(handle(&call(0x0073_5049, 0, &[0b110, 0]), &host));
        assert_eq!(on(0, READ, &[sent]), 3);
        host.state().pmu.reset(0);
        assert_eq!(on(0, READ, &[sent]), 0);
    }

    #[test]
    fn event_info_tells_what_can_be_counted() {
        let host = MockHost::new(1);
        let entry = |i: u64| RAM.start + 16 * i;
        let cases: [(u32, u64, u32); 5] = [(1, 0, 1), (3, 0, 0), (0x2_0000, 2, 1), (0xf_0005, 0, 1), (0xf_0000, 0, 0)];
        for (i, (index, data, _)) in (0..).zip(cases) {
            host.write_guest(entry(i), &index.to_le_bytes());
            host.write_guest(entry(i) + 8, &data.to_le_bytes());
        }
        assert_eq!(pmu(&host, 8, &[RAM.start, 0, 5, 0]), SbiOutcome::success(0));
        for (i, (_, _, supported)) in (0..).zip(cases) {
            let mut output = [0; 4];
            host.read_guest(entry(i) + 4, &mut output);
            assert_eq!(u32::from_le_bytes(output), supported, "{i}");
        }
        let invalid = SbiOutcome::error(SbiError::InvalidParam);
        assert_eq!(pmu(&host, 8, &[RAM.start + 8, 0, 1, 0]), invalid);
        assert_eq!(pmu(&host, 8, &[RAM.start, 0, 1, 1]), invalid);
        let nowhere = SbiOutcome::error(SbiError::InvalidAddress);
        for (low, high, entries) in [(RAM.end, 0, 1), (RAM.start, 1, 1), (RAM.start, 0, u64::MAX / 8)] {
            assert_eq!(pmu(&host, 8, &[low, high, entries, 0]), nowhere);
        }
        host.write_guest(RAM.start, &(1u32 << 20).to_le_bytes());
        assert_eq!(pmu(&host, 8, &[RAM.start, 0, 1, 0]), invalid);
    }
}
