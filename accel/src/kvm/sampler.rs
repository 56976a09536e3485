//! Where a hart of KVM's is when its thread is interrupted (see [`crate::profile`]).
//!
//! The timer's signal takes the thread out of `KVM_RUN`, or finds it on this side of an exit: either way the handler asks the
//! kernel for the registers there and then. An access to a device and an SBI call count as their instruction, which is not
//! finished yet.
//!
//! A hart in WFI waits inside of the kernel, which ends the instruction for the signal. So the guest is behind it, wherever it
//! waits: that is how waiting is told from running.
//!
//! A sample is an exit of the guest and a dozen calls of the kernel. However long they take here, a hart gets as much time
//! between two samples as the last one took.

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::one_reg::{self as reg, RegId};
use super::{NAME, ioctl};
use crate::profile::{Activity, Memory, Pages, ProfileConfig, Registers, Sample, Ticker, look};
use crate::{AccelError, HartState, Mode, VmConfig};

/// Samples a second, at most.
const HZ_MAX: u32 = 1000;

/// What the thread does, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// Something beside the hart: SBI calls, or the machine stands.
    Outside = 0,
    /// It runs the hart.
    Inside = 1,
    /// It sleeps on behalf of the hart.
    Asleep = 2,
}

/// A hart that is sampled. Fields drop in order: the ticker first.
pub struct Sampler {
    _ticker: Ticker,
    /// What the ticker is given.
    _view: Box<View>,
}

/// What the signal handler works with; nobody else does, as long as there is a ticker.
struct View {
    vcpu: OwnedFd,
    place: Arc<AtomicU8>,
    machine: Arc<VmConfig>,
    config: ProfileConfig,
    /// With the mode and address space of the sample that is taken: page tables are read by it.
    state: UnsafeCell<HartState>,
    /// When the next sample may be taken.
    next: Cell<Instant>,
}

// SAFETY: who samples a hart starts and ends that on the hart's thread (`Vcpu::set_profile`); a vCPU that goes to another
// thread is not sampled.
unsafe impl Send for Sampler {}

impl Sampler {
    /// Samples the hart of `vcpu`, whose thread this is, until it is dropped.
    ///
    /// # Errors
    /// They are too many a second, or the host has no timer.
    pub fn start(
        hart: u32,
        vcpu: OwnedFd,
        place: &Arc<AtomicU8>,
        machine: &Arc<VmConfig>,
        config: &ProfileConfig,
    ) -> Result<Self, AccelError> {
        if config.hz > HZ_MAX {
            let what = format!("{} samples of a hart a second: at most {HZ_MAX}", config.hz);
            return Err(AccelError::Unsupported { name: NAME, what });
        }
        let view = Box::new(View {
            vcpu,
            place: Arc::clone(place),
            machine: Arc::clone(machine),
            config: config.clone(),
            state: UnsafeCell::default(),
            next: Cell::new(Instant::now()),
        });
        let data: *const View = &*view;
        // SAFETY: the view is dropped behind the ticker, and where it is it stays.
        let ticker = unsafe { Ticker::start(config.hz, tick, data.cast()) };
        let ticker = ticker.map_err(|source| AccelError::Host { doing: format!("sample hart {hart}"), source })?;
        Ok(Self { _ticker: ticker, _view: view })
    }
}

/// # Safety
/// As [`Tick`](crate::profile::Tick) says; `data` is a [`View`] of this thread's hart.
unsafe fn tick(data: *const (), _: *mut c_void, missed: u32) {
    // SAFETY: by the caller.
    let view = unsafe { &*data.cast::<View>() };
    let (ring, begun) = (&view.config.ring, Instant::now());
    ring.lose(missed.into());
    // SAFETY: signals of one kind do not interrupt each other, and nobody but this handler uses the state.
    let state = unsafe { &mut *view.state.get() };
    if begun < view.next.get() {
        return ring.lose(1);
    }
    match view.registers(state) {
        // Where the host took the thread to run something else says nothing of the guest, unless it waited.
        Ok(seen) if missed == 0 || seen.waits => ring.push(|sample| view.take(sample, &seen, state)),
        _ => ring.lose(1),
    }
    let end = Instant::now();
    view.next.set(end + (end - begun).min(Duration::from_millis(10)));
}

/// The registers that a sample needs.
struct Seen {
    pc: u64,
    registers: Registers,
    sscratch: u64,
    place: u8,
    waits: bool,
}

impl View {
    fn get(&self, id: RegId) -> io::Result<u64> {
        ioctl::register(&self.vcpu, id.0)
    }

    /// Asks the kernel, and gives the state what page tables are read by.
    fn registers(&self, state: &mut HartState) -> io::Result<Seen> {
        let x = |n| self.get(reg::x(n));
        let place = self.place.load(Ordering::Relaxed);
        let registers = Registers { ra: x(1)?, sp: x(2)?, s0: x(8)?, tp: x(4)? };
        let pc = self.get(reg::PC)?;
        state.mode = if self.get(reg::MODE)? != 0 { Mode::Supervisor } else { Mode::User };
        state.csr.satp = self.get(reg::SATP)?;
        let sscratch = self.get(reg::SSCRATCH)?;
        let waits = place == Place::Asleep as u8 || self.is_behind_wfi(state, pc) || ioctl::is_stopped(&self.vcpu)?;
        Ok(Seen { pc, registers, sscratch, place, waits })
    }

    fn is_behind_wfi(&self, state: &HartState, pc: u64) -> bool {
        state.mode == Mode::Supervisor && behind_wfi(pc, &mut self.memory(state))
    }

    fn memory<'a>(&'a self, state: &'a HartState) -> Pages<'a> {
        Pages::of(state, &self.machine.isa, &self.machine.ram)
    }

    fn take(&self, sample: &mut Sample, seen: &Seen, state: &HartState) {
        (sample.pc, sample.mode, sample.virt, sample.satp) = (seen.pc, state.mode, false, state.csr.satp);
        sample.activity = match () {
            () if seen.waits => Activity::Idle,
            () if seen.place == Place::Outside as u8 => Activity::Outside,
            () => Activity::Guest,
        };
        look(sample, &seen.registers, seen.sscratch, &self.config, &mut self.memory(state));
    }
}

/// Whether the instruction before `pc` is WFI.
pub(super) fn behind_wfi(pc: u64, memory: &mut impl Memory) -> bool {
    const WFI: u32 = 0x1050_0073;
    let at = pc.wrapping_sub(4);
    let mut half = |va: u64| Some((memory.read(va & !7)? >> (8 * (va & 6))) as u16);
    let word = half(at).zip(half(at.wrapping_add(2)));
    word.is_some_and(|(low, high)| u32::from(high) << 16 | u32::from(low) == WFI)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Code(Vec<u8>);

    impl Memory for Code {
        fn read(&mut self, va: u64) -> Option<u64> {
            let at = usize::try_from(va.checked_sub(0x1000)?).ok()?;
            Some(u64::from_le_bytes(self.0.get(at..at + 8)?.try_into().ok()?))
        }
    }

    #[test]
    fn a_hart_behind_wfi_waits() {
        for at in (0..24).step_by(2) {
            let mut code = vec![1; 32];
            code[at..at + 4].copy_from_slice(&0x1050_0073u32.to_le_bytes());
            let mut code = Code(code);
            for pc in (0x1000..0x1020).step_by(2) {
                assert_eq!(behind_wfi(pc, &mut code), pc == 0x1004 + at as u64, "{at} {pc:#x}");
            }
        }
        assert!(!behind_wfi(0, &mut Code(vec![])) && !behind_wfi(u64::MAX - 1, &mut Code(vec![0; 8])));
    }
}
