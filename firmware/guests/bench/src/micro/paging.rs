//! Address translation: fences, the TLB, page tables that change.

use runtime::memory::{self, PAGE};
use runtime::page_table::{A, D, MODES, RW, Space};
use runtime::{csr_read, csr_write, page_table};

use super::{TIMES, repeat};
use crate::session::{Check, Outcome, Problem, Session};

/// A fresh address space of the smallest mode there is, which maps memory as it is.
pub fn space() -> Result<Space, Problem> {
    let mode = MODES.iter().find(|mode| mode.is_there()).ok_or(Problem::Skip("the harts have no paging"))?;
    Ok(Space::new(*mode))
}

/// A page of a space's own, that begins with a number. Returns its address.
fn page_with(space: &Space, number: u64) -> usize {
    let frame = memory::pages(1, PAGE);
    // SAFETY: fresh memory.
    unsafe { (frame as *mut u64).write(number) };
    let address = space.mode.high_half() + 0x1000_0000;
    space.map(address, frame, RW | A | D, 0);
    address
}

pub fn sfence_page(s: &Session) -> Outcome {
    let space = space()?;
    let page = page_with(&space, 3);
    space.within(|| {
        s.measure(TIMES, &mut |k| {
            let mut sum = 0u64;
            // SAFETY: forgets translations, and loads from our page.
            unsafe {
                repeat!(k, "sfence.vma {p}, zero\nld {x}, 0({p})\nadd {sum}, {sum}, {x}", x = out(reg) _,
                    p = in(reg) page, sum = inout(reg) sum, options(nostack));
            }
            Check::new(sum, 3 * k * TIMES)
        })
    })
}

pub fn sfence_page_alone(s: &Session) -> Outcome {
    let space = space()?;
    let page = page_with(&space, 3);
    space.within(|| {
        s.measure(TIMES, &mut |k| {
            // SAFETY: forgets translations, and loads from our page.
            let number = unsafe {
                repeat!(k, "sfence.vma {p}, zero", p = in(reg) page, options(nostack));
                (page as *const u64).read_volatile()
            };
            Check::new(number, 3)
        })
    })
}

pub fn sfence_all(s: &Session) -> Outcome {
    let space = space()?;
    let page = page_with(&space, 3);
    space.within(|| {
        s.measure(TIMES, &mut |k| {
            let mut sum = 0u64;
            // SAFETY: as above.
            unsafe {
                repeat!(k, "sfence.vma\nld {x}, 0({p})\nadd {sum}, {sum}, {x}", x = out(reg) _,
                    p = in(reg) page, sum = inout(reg) sum, options(nostack));
            }
            Check::new(sum, 3 * k * TIMES)
        })
    })
}

/// Pages go to few frames in turn, so that their data is in a cache and their translations are what is missing. In
/// 64 pages each has its word in another line; the word is the way to the next page's.
pub fn tlb(s: &Session) -> Outcome {
    const FRAMES: usize = 16;
    const LINE: usize = 64;
    const GROUP: usize = PAGE / LINE;
    let space = space()?;
    let frames = memory::pages(FRAMES, PAGE);
    for i in 0..FRAMES * GROUP {
        let step = if i % GROUP == GROUP - 1 { PAGE - (GROUP - 1) * LINE } else { PAGE + LINE };
        // SAFETY: fresh memory.
        unsafe { ((frames + i * LINE) as *mut usize).write(step) };
    }
    let start = space.mode.high_half() + 0x4000_0000;
    let pages = s.point as usize;
    for i in 0..pages {
        space.map(start + i * PAGE, frames + i % FRAMES * PAGE, RW | A | D, 0);
    }
    space.within(|| {
        s.measure(s.point, &mut |k| {
            let mut good = 0;
            for _ in 0..k {
                let mut at = start;
                // SAFETY: loads from the pages above, `pages` of them.
                unsafe {
                    repeat!(pages / GROUP, "ld {x}, 0({at})\nadd {at}, {at}, {x}", x = out(reg) _,
                        at = inout(reg) at, options(nostack));
                }
                good += u64::from(at == start + pages * PAGE);
            }
            Check::new(good, k)
        })
    })
}

/// Between two spaces whose page at one address differs; `fence` is what else a switch needs.
macro_rules! switching {
    ($s:expr, $asids:expr, $fence:literal) => {{
        let (one, two) = (space()?, space()?);
        let page = page_with(&one, 1);
        page_with(&two, 100);
        let satps: [usize; 2] = [one.satp($asids[0]), two.satp($asids[1])];
        page_table::fence();
        let outcome = $s.measure(2 * TIMES, &mut |k| {
            let mut sum = 0u64;
            // SAFETY: both spaces map this program as it is.
            unsafe {
                repeat!(k, concat!("csrw satp, {a}\n", $fence, "ld {x}, 0({p})\nadd {sum}, {sum}, {x}\n",
                    "csrw satp, {b}\n", $fence, "ld {x}, 0({p})\nadd {sum}, {sum}, {x}"), x = out(reg) _,
                    a = in(reg) satps[0], b = in(reg) satps[1], p = in(reg) page, sum = inout(reg) sum,
                    options(nostack));
            }
            Check::new(sum, 101 * k * TIMES)
        });
        csr_write!("satp", 0);
        page_table::fence();
        outcome
    }};
}

/// Whether translations of more than two address spaces can be kept apart.
pub fn has_asids() -> Result<bool, Problem> {
    csr_write!("satp", space()?.satp(0xffff));
    let asids = csr_read!("satp") >> 44 & 0xffff;
    csr_write!("satp", 0);
    page_table::fence();
    Ok(asids >= 3)
}

pub fn satp_switch(s: &Session) -> Outcome {
    if !has_asids()? {
        return Err(Problem::Skip("the harts have no ASIDs"));
    }
    switching!(s, [1, 2], "")
}

pub fn satp_switch_flush(s: &Session) -> Outcome {
    switching!(s, [0, 0], "sfence.vma\n")
}
