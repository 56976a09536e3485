//! Code that is new: what a translator takes for an instruction that it has not seen, its first run included.

use core::arch::asm;

use runtime::memory::PAGE;

use crate::session::{Check, Outcome, Session};

const A0: u32 = 10;
const A1: u32 = 11;
const A2: u32 = 12;
const A3: u32 = 13;
const A4: u32 = 14;
const A5: u32 = 15;
const RET: u32 = 0x8067;

const fn r_type(funct3: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    0x33 | rd << 7 | funct3 << 12 | rs1 << 15 | rs2 << 20
}

const fn i_type(opcode: u32, funct3: u32, rd: u32, rs1: u32, imm: u32) -> u32 {
    opcode | rd << 7 | funct3 << 12 | rs1 << 15 | imm << 20
}

/// Eight instructions of the usual kinds; the first adds `step` to a0, and the branch is not taken.
const fn group(step: u32) -> [u32; 8] {
    [
        i_type(0x13, 0, A0, A0, step),                 // addi a0, a0, step
        i_type(0x03, 3, A2, A1, 0),                    // ld a2, 0(a1)
        r_type(0, A3, A2, A0),                         // add a3, a2, a0
        i_type(0x13, 1, A4, A3, 3),                    // slli a4, a3, 3
        r_type(4, A5, A4, A2),                         // xor a5, a4, a2
        0x23 | 8 << 7 | 3 << 12 | A1 << 15 | A5 << 20, // sd a5, 8(a1)
        0x63 | 8 << 7 | A1 << 15,                      // beq a1, zero, 8
        i_type(0x13, 7, A5, A5, 255),                  // andi a5, a5, 255
    ]
}

/// Groups in the page, behind which it returns.
const GROUPS: usize = PAGE / size_of::<[u32; 8]>() - 1;

pub fn code(s: &Session) -> Outcome {
    let code = s.code(PAGE)?;
    let cell = s.slice::<u64>(8)?.as_mut_ptr();
    // SAFETY: a fresh page.
    unsafe { ((code as *mut [u32; 8]).add(GROUPS) as *mut u32).write(RET) };
    s.measure(8 * GROUPS as u64, &mut |k| {
        let (mut sum, mut want) = (0u64, 0u64);
        for i in 0..k as usize {
            for at in 0..GROUPS {
                // No group is what it was before.
                let step = (7 * i + at) as u32 & 0x3ff;
                // SAFETY: the page above; nothing runs there now.
                unsafe { (code as *mut [u32; 8]).add(at).write_volatile(group(step)) };
                want += u64::from(step);
            }
            // SAFETY: a function that changes the registers named, and the cell.
            unsafe {
                asm!("fence.i", "jalr {f}", f = in(reg) code, inout("a0") sum, in("a1") cell, out("a2") _,
                    out("a3") _, out("a4") _, out("a5") _, out("ra") _, options(nostack));
            }
        }
        Check::new(sum, want)
    })
}
