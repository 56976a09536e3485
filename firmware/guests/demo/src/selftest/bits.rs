//! Bit manipulation and other small extensions, where the ISA string names them.

use core::arch::asm;

use super::{Outcome, Problem, Test, equal};

macro_rules! ext {
    ($ext:literal, $insn:literal, $a:expr, $b:expr) => {{
        let (a, b): (usize, usize) = ($a as usize, $b as usize);
        let r: usize;
        // SAFETY: a register-to-register instruction of an extension that is there.
        unsafe {
            asm!(".option push", concat!(".option arch, +", $ext), concat!($insn, " {r}, {a}, {b}"), ".option pop",
                r = out(reg) r, a = in(reg) a, b = in(reg) b, options(nomem, nostack));
        }
        r
    }};
    ($ext:literal, $insn:literal, $a:expr) => {{
        let a: usize = $a as usize;
        let r: usize;
        // SAFETY: as above.
        unsafe {
            asm!(".option push", concat!(".option arch, +", $ext), concat!($insn, " {r}, {a}"), ".option pop",
                r = out(reg) r, a = in(reg) a, options(nomem, nostack));
        }
        r
    }};
}

fn need(extension: &str, why: &'static str) -> Outcome {
    if crate::machine().has(extension) { Ok(()) } else { Err(Problem::Skip(why)) }
}

fn zba() -> Outcome {
    need("zba", "no Zba")?;
    equal("sh1add", ext!("zba", "sh1add", 3, 100), 106)?;
    equal("sh3add", ext!("zba", "sh3add", usize::MAX, 100), 92)?;
    equal("add.uw", ext!("zba", "add.uw", usize::MAX, 1), 1 << 32)?;
    equal("sh2add.uw", ext!("zba", "sh2add.uw", usize::MAX, 0), 0x3_ffff_fffc)
}

fn zbb() -> Outcome {
    need("zbb", "no Zbb")?;
    equal("clz", ext!("zbb", "clz", 0), 64)?;
    equal("clzw", ext!("zbb", "clzw", 1usize << 40), 32)?;
    equal("ctz", ext!("zbb", "ctz", 1usize << 40), 40)?;
    equal("ctzw", ext!("zbb", "ctzw", 1usize << 40), 32)?;
    equal("cpop", ext!("zbb", "cpop", usize::MAX), 64)?;
    equal("andn", ext!("zbb", "andn", 0xff, 0x0f), 0xf0)?;
    equal("xnor", ext!("zbb", "xnor", 5, 5), usize::MAX)?;
    equal("min", ext!("zbb", "min", -1isize, 0), usize::MAX)?;
    equal("maxu", ext!("zbb", "maxu", -1isize, 0), usize::MAX)?;
    equal("sext.b", ext!("zbb", "sext.b", 0x80), !0x7f)?;
    equal("sext.h", ext!("zbb", "sext.h", 0x8000), !0x7fff)?;
    equal("rol", ext!("zbb", "rol", 1, 65), 2)?;
    equal("ror", ext!("zbb", "ror", 1, 1), 1 << 63)?;
    equal("rorw", ext!("zbb", "rorw", 1, 1), !0x7fff_ffff)?;
    equal("rev8", ext!("zbb", "rev8", 0x0102_0304_0506_0708usize), 0x0807_0605_0403_0201)?;
    equal("orc.b", ext!("zbb", "orc.b", 0x0100_0000_0010_0000usize), 0xff00_0000_00ff_0000)
}

fn zbs() -> Outcome {
    need("zbs", "no Zbs")?;
    equal("bset", ext!("zbs", "bset", 0, 64 + 5), 32)?;
    equal("bclr", ext!("zbs", "bclr", usize::MAX, 63), usize::MAX >> 1)?;
    equal("binv", ext!("zbs", "binv", 32, 5), 0)?;
    equal("bext", ext!("zbs", "bext", 1usize << 63, 63), 1)
}

fn zbc() -> Outcome {
    need("zbc", "no Zbc")?;
    equal("clmul", ext!("zbc", "clmul", 0b111, 0b101), 0b11011)?;
    equal("clmulh", ext!("zbc", "clmulh", usize::MAX, 1usize << 63), usize::MAX >> 1)?;
    equal("clmulr", ext!("zbc", "clmulr", 1usize << 63, 1usize << 63), 1 << 63)
}

fn zicond() -> Outcome {
    need("zicond", "no Zicond")?;
    equal("czero.eqz", ext!("zicond", "czero.eqz", 7, 0), 0)?;
    equal("czero.eqz", ext!("zicond", "czero.eqz", 7, 1), 7)?;
    equal("czero.nez", ext!("zicond", "czero.nez", 7, 1), 0)?;
    equal("czero.nez", ext!("zicond", "czero.nez", 7, 0), 7)
}

/// `cbo.zero` clears the whole block that its address is in.
fn zicboz() -> Outcome {
    need("zicboz", "no Zicboz")?;
    let block = crate::machine().cboz_block;
    if block == 0 || block > crate::memory::PAGE / 4 {
        return Err(Problem::Skip("no block size"));
    }
    let page = crate::memory::pages(1, crate::memory::PAGE);
    // SAFETY: a page of our own.
    let bytes = unsafe { core::slice::from_raw_parts_mut(page as *mut u8, 3 * block) };
    bytes.fill(0xa5);
    // SAFETY: clears a block of that page.
    unsafe {
        asm!(".option push", ".option arch, +zicboz", "cbo.zero ({})", ".option pop", in(reg) page + block + block / 2 + 1)
    };
    let zeros = bytes.iter().filter(|b| **b == 0).count();
    equal("bytes cleared", zeros, block)?;
    equal("first", usize::from(bytes[block]), 0)
}

pub const TESTS: &[Test] = &[
    Test { name: "zba", run: zba },
    Test { name: "zbb", run: zbb },
    Test { name: "zbc", run: zbc },
    Test { name: "zbs", run: zbs },
    Test { name: "zicond", run: zicond },
    Test { name: "zicboz", run: zicboz },
];
