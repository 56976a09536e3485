//! Semihosting calls: which breakpoints are one, and the caller's memory.

use std::sync::Arc;

use crate::Mode;
use crate::semihost::{Answer, CallerMemory, SEQUENCE};
use crate::tcg::exec;
use crate::tcg::hart::{Exit, Hart};

const A0: usize = 10;
const A1: usize = 11;

/// Whether the current instruction, a breakpoint, was a call that is answered (or made again).
pub fn call(hart: &mut Hart) -> bool {
    let bus = Arc::clone(&hart.vm.bus);
    let Some(host) = bus.semihosting() else { return false };
    if hart.s.mode == Mode::User && !host.userspace() || !is_call(hart) {
        return false;
    }
    let (operation, parameter) = (hart.s.x[A0], hart.s.x[A1]);
    match host.call(operation, parameter, &mut Memory(hart)) {
        Answer::Done(result) => {
            hart.leave_after(4, Exit::Resume);
            hart.late = Some((A0 as u8, result));
        }
        Answer::Again => {
            hart.s.pc = hart.cur_pc();
            hart.leave_before();
            hart.exit = Exit::Resume;
        }
    }
    true
}

/// Whether the breakpoint stands between its two marks, all in one page.
fn is_call(hart: &Hart) -> bool {
    let pc = hart.cur_pc();
    let first = pc.wrapping_sub(4);
    first >> 12 == pc.wrapping_add(7) >> 12
        && (0..).step_by(4).zip(SEQUENCE).all(|(at, insn)| exec::encoding(hart, first.wrapping_add(at)) == Some(insn))
}

struct Memory<'a>(&'a mut Hart);

impl Memory<'_> {
    /// A debugger's watchpoints are for the guest's own accesses.
    fn quietly<R>(&mut self, f: impl FnOnce(&mut Hart) -> R) -> R {
        self.0.stops.muted = true;
        let result = f(self.0);
        self.0.stops.muted = false;
        result
    }
}

impl CallerMemory for Memory<'_> {
    fn read(&mut self, va: u64, data: &mut [u8]) -> bool {
        self.quietly(|h| {
            (0..).zip(data).all(|(i, byte)| h.try_load(va.wrapping_add(i), 1).map(|v| *byte = v as u8).is_ok())
        })
    }

    fn write(&mut self, va: u64, data: &[u8]) -> bool {
        self.quietly(|h| (0..).zip(data).all(|(i, byte)| h.try_store(va.wrapping_add(i), 1, u64::from(*byte)).is_ok()))
    }
}
