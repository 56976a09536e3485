//! The machine as gdb's target: a thread a hart, registers and memory of harts that stand still.

use std::num::NonZeroUsize;
use std::sync::Arc;

use accel::debug::{self, DebugConfig, Watchpoint, physical_address};
use accel::{AccelError, GuestBus, GuestRam, HartState, Vcpu};
use arch::ext::IsaConfig;
use gdbstub::common::{Signal, Tid};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::description::target_xml;
use super::registers::{Core, Register, Riscv, number};
use crate::harts::Harts;
use crate::machine::{Need, read_physical};

/// Error numbers, which packets have in hexadecimal.
const EIO: u8 = 5;
const EFAULT: u8 = 14;
const EINVAL: u8 = 22;

const PAGE: u64 = 4096;

/// What of a machine a debugger reaches, while it is stopped.
pub struct Parts {
    pub harts: Arc<Harts>,
    pub hart_count: u32,
    pub isa: IsaConfig,
    pub ram: Arc<GuestRam>,
    pub bus: Arc<dyn GuestBus>,
}

/// Bits of `qqemu.sstep`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sstep(pub u8);

impl Sstep {
    /// Without it a step is no step: the hart goes on.
    pub const ENABLE: u8 = 1;
    /// Interrupts wait.
    pub const NOIRQ: u8 = 2;
    /// Time stands still.
    pub const NOTIMER: u8 = 4;
    pub const ALL: u8 = 7;

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

pub struct Debuggee {
    parts: Parts,
    xml: String,
    /// Addresses of memory are physical ones (`Qqemu.PhyMemMode`).
    pub physical: bool,
    /// What a single step is like (`Qqemu.sstep`).
    pub sstep: Sstep,
    /// Each once, however often gdb asks for it.
    breakpoints: Vec<(Kind, u64)>,
    watchpoints: Vec<Watchpoint>,
    /// Harts that are to execute one instruction.
    stepped: Vec<u32>,
    /// Harts that are to go on, apart from those.
    resumed: Vec<u32>,
    /// Only these go on.
    locked: bool,
    /// gdb has let the machine go on.
    pub goes_on: bool,
}

/// Why nothing stops the harts.
pub enum Unarmed {
    /// The engine does not do that; the translator does.
    Lacking(Need, String),
    Failed(String),
}

/// The hart of a thread.
fn hart_of(tid: Tid) -> u32 {
    u32::try_from(tid.get() - 1).unwrap_or(u32::MAX)
}

/// The answer where the engine has lost a hart.
fn lost(error: AccelError) -> TargetError<String> {
    tracing::warn!("gdb: {}", crate::error_chain(&error));
    TargetError::Errno(EIO)
}

pub fn thread_of(hart: u32) -> Tid {
    NonZeroUsize::MIN.saturating_add(hart as usize)
}

impl Debuggee {
    pub fn new(parts: Parts) -> Self {
        let xml = target_xml(&parts.isa);
        Self {
            parts,
            xml,
            physical: false,
            sstep: Sstep(Sstep::ALL),
            breakpoints: Vec::new(),
            watchpoints: Vec::new(),
            stepped: Vec::new(),
            resumed: Vec::new(),
            locked: false,
            goes_on: false,
        }
    }

    /// Has the thread's hart do something; the machine is stopped.
    fn on<R: Send + 'static>(
        &self,
        tid: Tid,
        f: impl FnOnce(&mut dyn Vcpu) -> R + Send + 'static,
    ) -> Result<R, TargetError<String>> {
        let hart = hart_of(tid);
        if hart >= self.parts.hart_count {
            return Err(TargetError::Errno(EINVAL));
        }
        self.parts.harts.on(hart, f).map_err(|_| TargetError::Errno(EIO))
    }

    fn state(&self, tid: Tid) -> Result<Box<HartState>, TargetError<String>> {
        self.on(tid, |vcpu| vcpu.try_state().map(Box::new))?.map_err(lost)
    }

    /// Has a hart go on at another address.
    ///
    /// # Errors
    /// The hart's thread has failed, or the engine does not take its registers.
    pub fn set_pc(&self, hart: u32, pc: u64) -> Result<(), String> {
        let done = self.parts.harts.on(hart, move |vcpu| vcpu.try_change(&mut |state| state.pc = pc));
        done?.map_err(|error| crate::error_chain(&error))
    }

    pub fn hart_count(&self) -> u32 {
        self.parts.hart_count
    }

    /// Tells the engine what stops the harts.
    ///
    /// # Errors
    /// The engine cannot do that, or not at one of the addresses.
    pub fn arm(&self) -> Result<(), Unarmed> {
        let addresses: Vec<u64> = self.breakpoints.iter().map(|(_, address)| *address).collect();
        let mut nowhere = addresses.clone();
        for hart in 0..self.parts.hart_count {
            let single_step = self.stepped.contains(&hart);
            let config = DebugConfig {
                single_step,
                breakpoints: addresses.clone(),
                watchpoints: self.watchpoints.clone(),
                hold_interrupts: single_step && self.sstep.has(Sstep::NOIRQ),
            };
            let done = self.parts.harts.set_debug(hart, config).map_err(Unarmed::Failed)?;
            let missed = done.map_err(|error| {
                let message = crate::error_chain(&error);
                match error.is_unsupported() {
                    true if self.watchpoints.is_empty() => Unarmed::Lacking(Need::Stops, message),
                    true => Unarmed::Lacking(Need::Watchpoint, message),
                    false => Unarmed::Failed(message),
                }
            })?;
            nowhere.retain(|address| missed.contains(address));
        }
        if let Some(address) = nowhere.first() {
            let message = format!("cannot set the breakpoint at {address:#x}: no hart has memory mapped there now");
            return Err(Unarmed::Lacking(Need::Breakpoint, message));
        }
        let runs = |hart| self.stepped.contains(&hart) || self.resumed.contains(&hart);
        self.parts.harts.hold(|hart| self.locked && !runs(hart));
        Ok(())
    }

    /// Whether all harts go on, and for more than an instruction.
    pub fn goes_on_whole(&self) -> bool {
        self.stepped.is_empty() && !self.locked
    }

    /// What the translator is needed for, which was needed for `before`.
    pub fn need(&self, before: Option<Need>) -> Option<Need> {
        if !self.watchpoints.is_empty() {
            return Some(Need::Watchpoint);
        }
        if before == Some(Need::Stops) {
            return (!self.breakpoints.is_empty()).then_some(Need::Stops);
        }
        let mut nowhere: Vec<u64> = self.breakpoints.iter().map(|(_, address)| *address).collect();
        for hart in 0..self.parts.hart_count {
            let Ok(state) = self.state(thread_of(hart)) else { continue };
            nowhere.retain(|at| physical_address(&state, &self.parts.isa, &self.parts.ram, *at).is_none());
        }
        (!nowhere.is_empty()).then_some(Need::Breakpoint)
    }

    /// Whether time stands still while the machine goes on.
    pub fn holds_time(&self) -> bool {
        !self.stepped.is_empty() && self.sstep.has(Sstep::NOTIMER)
    }

    /// The machine has stopped: what the harts were to do is over. Breakpoints stay.
    pub fn halt(&mut self) {
        self.forget_actions();
        // An engine that cannot stop harts has nothing to take back.
        let _ = self.arm();
    }

    /// Nothing stops the harts any more.
    pub fn disarm(&mut self) {
        self.breakpoints.clear();
        self.watchpoints.clear();
        self.halt();
    }

    fn forget_actions(&mut self) {
        self.stepped.clear();
        self.resumed.clear();
        self.locked = false;
    }

    /// Does something to memory page by page: gets the physical address and what part of the data is there.
    fn span(
        &self,
        start: u64,
        len: usize,
        tid: Tid,
        mut each: impl FnMut(u64, std::ops::Range<usize>) -> bool,
    ) -> Result<(), TargetError<String>> {
        let fault = || TargetError::Errno(EFAULT);
        // One more than the last byte is what is asked for next.
        start.checked_add(len as u64).ok_or_else(fault)?;
        let state = if self.physical { None } else { Some(self.state(tid)?) };
        let mut done = 0;
        while done < len {
            let at = start + done as u64;
            let part = done..len.min(done + (PAGE - at % PAGE) as usize);
            let pa = match &state {
                None => Some(at),
                Some(state) => physical_address(state, &self.parts.isa, &self.parts.ram, at),
            };
            done = part.end;
            if !pa.is_some_and(|pa| each(pa, part)) {
                return Err(fault());
            }
        }
        Ok(())
    }
}

impl Target for Debuggee {
    type Arch = Riscv;
    type Error = String;

    fn base_ops(&mut self) -> BaseOps<'_, Riscv, String> {
        BaseOps::MultiThread(self)
    }

    /// Connections are reliable, and a stub that starts anew after an error must not forget it.
    fn use_no_ack_mode(&self) -> bool {
        false
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(&mut self) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl TargetDescriptionXmlOverride for Debuggee {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buf: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::Errno(EINVAL));
        }
        let rest = usize::try_from(offset).ok().and_then(|offset| self.xml.as_bytes().get(offset..));
        let rest = rest.unwrap_or_default();
        let n = rest.len().min(length).min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

impl MultiThreadBase for Debuggee {
    fn read_registers(&mut self, regs: &mut Core, tid: Tid) -> TargetResult<(), Self> {
        let state = self.state(tid)?;
        (regs.x, regs.pc) = (state.x, state.pc);
        Ok(())
    }

    fn write_registers(&mut self, regs: &Core, tid: Tid) -> TargetResult<(), Self> {
        let regs = regs.clone();
        self.on(tid, move |vcpu| {
            vcpu.try_change(&mut |state| {
                (state.x, state.pc) = (regs.x, regs.pc);
                state.x[0] = 0;
            })
        })?
        .map_err(lost)
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let parts = &self.parts;
        self.span(start, data.len(), tid, |pa, part| read_physical(&parts.ram, &*parts.bus, pa, &mut data[part]))?;
        Ok(data.len())
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let parts = &self.parts;
        let done = self.span(start, data.len(), tid, |pa, part| {
            let data = &data[part];
            match parts.ram.address_in_range(GuestAddress(pa)) {
                true => parts.ram.write_slice(data, GuestAddress(pa)).is_ok(),
                false => parts.bus.write(pa, data).is_ok(),
            }
        });
        // It may have been code.
        parts.harts.fence_code();
        done
    }

    fn list_active_threads(&mut self, thread_is_active: &mut dyn FnMut(Tid)) -> Result<(), String> {
        (0..self.parts.hart_count).map(thread_of).for_each(thread_is_active);
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl ThreadExtraInfo for Debuggee {
    fn thread_extra_info(&self, tid: Tid, buf: &mut [u8]) -> Result<usize, String> {
        let text = format!("hart {}", tid.get() - 1);
        let n = text.len().min(buf.len());
        buf[..n].copy_from_slice(&text.as_bytes()[..n]);
        Ok(n)
    }
}

impl SingleRegisterAccess<Tid> for Debuggee {
    fn read_register(&mut self, tid: Tid, register: Register, buf: &mut [u8]) -> TargetResult<usize, Self> {
        let value = match register {
            Register::Csr(n) => self.on(tid, move |vcpu| vcpu.csr(n))?.map(|value| value.to_le_bytes().to_vec()),
            _ => register.read(&*self.state(tid)?, &self.parts.isa),
        };
        let value = value.ok_or(TargetError::Errno(EINVAL))?;
        buf.get_mut(..value.len()).ok_or(TargetError::Errno(EINVAL))?.copy_from_slice(&value);
        Ok(value.len())
    }

    fn write_register(&mut self, tid: Tid, register: Register, value: &[u8]) -> TargetResult<(), Self> {
        let (isa, value) = (self.parts.isa.clone(), value.to_vec());
        let done = self.on(tid, move |vcpu| match register {
            Register::Csr(n) => Ok(number(&value).is_some_and(|value| vcpu.set_csr(n, value))),
            Register::X(_) | Register::Pc | Register::Priv => {
                let mut done = false;
                vcpu.try_change(&mut |state| done = register.write(state, &isa, &value)).map(|()| done)
            }
            Register::F(_) | Register::V(_) => {
                let mut state = vcpu.try_state()?;
                let done = register.write(&mut state, &isa, &value);
                if done { vcpu.try_set_state(&state).map(|()| true) } else { Ok(false) }
            }
        })?;
        let done = done.map_err(lost)?;
        if done { Ok(()) } else { Err(TargetError::Errno(EINVAL)) }
    }
}

impl MultiThreadResume for Debuggee {
    /// The session lets the machine go on, which has it in hand.
    fn resume(&mut self) -> Result<(), String> {
        self.goes_on = true;
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), String> {
        self.forget_actions();
        Ok(())
    }

    /// A guest gets no signals of gdb's.
    fn set_resume_action_continue(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), String> {
        self.resumed.push(hart_of(tid));
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSingleStep for Debuggee {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), String> {
        let harts = if self.sstep.has(Sstep::ENABLE) { &mut self.stepped } else { &mut self.resumed };
        harts.push(hart_of(tid));
        Ok(())
    }
}

impl MultiThreadSchedulerLocking for Debuggee {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), String> {
        self.locked = true;
        Ok(())
    }
}

/// Breakpoints are the engine's: the memory of a stopped machine stays as it is, so that both kinds are the same.
impl Breakpoints for Debuggee {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl Debuggee {
    fn add_breakpoint(&mut self, kind: Kind, address: u64) -> bool {
        add(&mut self.breakpoints, (kind, address));
        true
    }

    fn remove_breakpoint(&mut self, kind: Kind, address: u64) -> bool {
        remove(&mut self.breakpoints, &(kind, address))
    }
}

/// Which of gdb's lists a breakpoint is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Software,
    Hardware,
}

/// A packet that comes twice means no more than once.
fn add<T: PartialEq>(all: &mut Vec<T>, value: T) {
    if !all.contains(&value) {
        all.push(value);
    }
}

/// Whether it was there.
fn remove<T: PartialEq>(all: &mut Vec<T>, value: &T) -> bool {
    let place = all.iter().position(|each| each == value);
    place.map(|place| all.swap_remove(place)).is_some()
}

/// A watchpoint; `None` if there is nothing of it in the address space.
fn watchpoint(start: u64, len: u64, kind: WatchKind) -> Option<Watchpoint> {
    start.checked_add(len.checked_sub(1)?)?;
    let kind = match kind {
        WatchKind::Read => debug::WatchKind::Read,
        WatchKind::Write => debug::WatchKind::Write,
        WatchKind::ReadWrite => debug::WatchKind::Access,
    };
    Some(Watchpoint { start, len, kind })
}

impl HwWatchpoint for Debuggee {
    fn add_hw_watchpoint(&mut self, start: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        let watchpoint = watchpoint(start, len, kind);
        watchpoint.into_iter().for_each(|watchpoint| add(&mut self.watchpoints, watchpoint));
        Ok(watchpoint.is_some())
    }

    fn remove_hw_watchpoint(&mut self, start: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        Ok(watchpoint(start, len, kind).is_some_and(|watchpoint| remove(&mut self.watchpoints, &watchpoint)))
    }
}

impl SwBreakpoint for Debuggee {
    fn add_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add_breakpoint(Kind::Software, address))
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove_breakpoint(Kind::Software, address))
    }
}

impl HwBreakpoint for Debuggee {
    fn add_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add_breakpoint(Kind::Hardware, address))
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove_breakpoint(Kind::Hardware, address))
    }
}
