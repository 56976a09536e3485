//! Calls into the SBI.

use core::arch::asm;

pub const BASE: usize = 0x10;
pub const TIME: usize = 0x5449_4d45;
pub const IPI: usize = 0x0073_5049;
pub const RFENCE: usize = 0x5246_4e43;
pub const HSM: usize = 0x0048_534d;
pub const SRST: usize = 0x5352_5354;
pub const DBCN: usize = 0x4442_434e;
pub const SUSP: usize = 0x5355_5350;
pub const FWFT: usize = 0x4657_4654;
pub const DBTR: usize = 0x4442_5452;
pub const SSE: usize = 0x0053_5345;

pub const NOT_SUPPORTED: isize = -2;
pub const INVALID_PARAM: isize = -3;
pub const DENIED: isize = -4;
pub const INVALID_ADDRESS: isize = -5;
pub const ALREADY_AVAILABLE: isize = -6;
pub const ALREADY_STARTED: isize = -7;
pub const ALREADY_STOPPED: isize = -8;
pub const NO_SHMEM: isize = -9;
pub const INVALID_STATE: isize = -10;
pub const BAD_RANGE: isize = -11;

/// What a call returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ret {
    pub error: isize,
    pub value: usize,
}

impl Ret {
    pub fn ok(self) -> Result<usize, isize> {
        if self.error == 0 { Ok(self.value) } else { Err(self.error) }
    }
}

/// An SBI call with up to five arguments.
pub fn call(eid: usize, fid: usize, args: [usize; 5]) -> Ret {
    let (error, value);
    // SAFETY: the SBI changes a0 and a1 and only memory that the arguments name.
    unsafe {
        asm!("ecall", inlateout("a0") args[0] => error, inlateout("a1") args[1] => value,
            in("a2") args[2], in("a3") args[3], in("a4") args[4], in("a6") fid, in("a7") eid);
    }
    Ret { error, value }
}

pub fn probe(eid: usize) -> bool {
    call(BASE, 3, [eid, 0, 0, 0, 0]).ok().is_ok_and(|found| found != 0)
}

/// Vireo's built-in SBI, which checks more than others do.
pub fn is_vireo() -> bool {
    call(BASE, 1, [0; 5]).value == 0x5652_454f
}

/// The SBI of Linux's KVM, which checks less than the specification asks for.
pub fn is_kvm() -> bool {
    call(BASE, 1, [0; 5]).value == 3
}

pub fn set_timer(deadline: u64) {
    call(TIME, 0, [deadline as usize, 0, 0, 0, 0]);
}

pub fn send_ipi(mask: usize, base: usize) -> Ret {
    call(IPI, 0, [mask, base, 0, 0, 0])
}

pub fn hart_start(hart: usize, address: usize, opaque: usize) -> Ret {
    call(HSM, 0, [hart, address, opaque, 0, 0])
}

/// 0 started, 1 stopped, 2 start pending ...
pub fn hart_status(hart: usize) -> Ret {
    call(HSM, 2, [hart, 0, 0, 0, 0])
}

/// Type 0 is shutdown, 1 cold reboot; reason 1 is failure. Comes back only if the SBI has no reset.
pub fn reset(kind: usize, reason: usize) -> Ret {
    let ret = call(SRST, 0, [kind, reason, 0, 0, 0]);
    if kind == 0 {
        // The legacy shutdown, for an SBI without SRST.
        call(8, 0, [0; 5]);
    }
    ret
}

/// Switches the machine off; says to the SBI whether all went well.
pub fn power_off(good: bool) -> ! {
    reset(0, usize::from(!good));
    crate::console::print_anyway(format_args!("the SBI cannot power off\n"));
    loop {
        core::hint::spin_loop();
    }
}
