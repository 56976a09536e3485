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
    j       1f
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
1:
    // Here the linker puts `.head.first`, a program's own first instructions: they keep a0 and a1, and have no stack.

    .section .head.boot, "ax"
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
    // Relocations, packed (RELR): an even word is the address of a pointer, an odd one a bit map of the 63 words
    // behind the last one. The image was linked at 0, so that its base is added to each.
2:  lla     t0, _relr_start
    lla     t1, _relr_end
    lla     t2, _start
3:  bgeu    t0, t1, 4f
    ld      t3, 0(t0)
    addi    t0, t0, 8
    andi    t4, t3, 1
    bnez    t4, 5f
    add     t5, t3, t2
    ld      t6, 0(t5)
    add     t6, t6, t2
    sd      t6, 0(t5)
    addi    t5, t5, 8
    j       3b
5:  mv      a2, t5
    addi    t5, t5, 63 * 8
6:  srli    t3, t3, 1
    beqz    t3, 3b
    andi    t4, t3, 1
    beqz    t4, 7f
    ld      t6, 0(a2)
    add     t6, t6, t2
    sd      t6, 0(a2)
7:  addi    a2, a2, 8
    j       6b
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
