//! The image's header and the first instructions of every hart.

use core::arch::global_asm;

// The 64-byte header of a RISC-V `Image` (Linux `Documentation/arch/riscv/boot-image-header.rst`), then the boot
// hart's entry: a0 = hart id, a1 = device tree, S-mode, `satp` = 0, wherever the image was put.
global_asm!(
    r#"
    .section .head, "ax"
    .globl _start
_start:
    .option push
    .option norvc
    j       boot
    nop
    .option pop
    .dword  0x200000
    .dword  _end - _start
    .dword  0
    .word   2
    .word   0
    .dword  0
    .ascii  "RISCV\0\0\0"
    .ascii  "RSC\x05"
    .word   0

boot:
    csrw    sie, zero
    csrci   sstatus, 2
    csrw    satp, zero
    mv      s0, a0
    mv      s1, a1
    // Whatever was in RAM before: a reboot may leave it.
    lla     t0, _bss_start
    lla     t1, _end
1:  bgeu    t0, t1, 2f
    sd      zero, 0(t0)
    addi    t0, t0, 8
    j       1b
    // Every relocation is R_RISCV_RELATIVE: *(base + offset) = base + addend.
2:  lla     t0, _rela_start
    lla     t1, _rela_end
    lla     t2, _start
3:  bgeu    t0, t1, 4f
    ld      t3, 0(t0)
    ld      t4, 16(t0)
    add     t3, t3, t2
    add     t4, t4, t2
    sd      t4, 0(t3)
    addi    t0, t0, 24
    j       3b
4:  lla     sp, boot_stack
    li      t0, {boot_stack_len}
    add     sp, sp, t0
    mv      tp, zero
    mv      a0, s0
    mv      a1, s1
    tail    boot_main

    // A hart that HSM started: a0 = hart id, a1 = its `Hart`.
    .globl hart_entry
hart_entry:
    csrw    sie, zero
    csrci   sstatus, 2
    csrw    satp, zero
    mv      tp, a1
    ld      sp, {hart_stack}(tp)
    tail    hart_main
    "#,
    boot_stack_len = const BOOT_STACK_LEN,
    hart_stack = const core::mem::offset_of!(crate::hart::Hart, stack_top),
);

const BOOT_STACK_LEN: usize = 32 << 10;

/// Stack of the boot hart.
#[unsafe(no_mangle)]
#[used]
static mut boot_stack: Stack = Stack([0; BOOT_STACK_LEN]);

#[repr(C, align(16))]
struct Stack([u8; BOOT_STACK_LEN]);
