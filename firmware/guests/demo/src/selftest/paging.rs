//! Address translation: pages of all sizes, every kind of fault, fences (Sv39, Sv48, Sv57).

use super::exception::{probe_jump, probe_load, probe_store};
use super::{Outcome, Problem, Test, ensure, equal, failure};
use crate::csr::{self, csr_clear, csr_read, csr_set, csr_write};
use crate::memory::{self, PAGE};
use crate::page_table::*;
use crate::trap::{self, Probe, guarded};

core::arch::global_asm!(
    r#"
probe_amo:
    amoadd.d a0, a1, (a0)
    ret
    "#
);

unsafe extern "C" {
    fn probe_amo(a: usize, b: usize) -> usize;
}

/// `ret`, and `lui a0, 0x12345` (four bytes).
const RET: u16 = 0x8082;
const LUI: u32 = 0x1234_5537;

/// Does it in every mode the hart has.
fn in_every_mode(f: fn(Space, usize) -> Outcome) -> Outcome {
    let mut any = false;
    for mode in MODES.iter().filter(|m| m.is_there()) {
        any = true;
        let space = Space::new(*mode);
        f(space, mode.high_half())?;
    }
    if any { Ok(()) } else { Err(Problem::Skip("no paging")) }
}

fn peek(address: usize) -> usize {
    // SAFETY: memory of ours.
    unsafe { (address as *const usize).read_volatile() }
}

fn poke(address: usize, value: usize) {
    // SAFETY: memory of ours.
    unsafe { (address as *mut usize).write_volatile(value) }
}

fn fetched<T: Copy>(address: usize, code: T) {
    // SAFETY: memory of ours, made visible to the instruction fetch.
    unsafe {
        (address as *mut T).write_unaligned(code);
        core::arch::asm!("fence.i");
    }
}

/// The probe must take this exception at this address.
fn faults(space: &Space, what: &str, probe: Probe, address: usize, cause: usize, tval: usize) -> Outcome {
    let name = space.mode.name;
    let Err(t) = guarded(probe, address, 1) else {
        return Err(failure(format_args!("{name} {what}: no fault at {address:#x}")));
    };
    ensure!(t.cause == cause, "{name} {what}: cause {}, want {cause} (stval {:#x})", t.cause, t.tval);
    equal(what, t.tval, tval)?;
    let epc = if probe as usize == probe_jump as *const () as usize { address } else { probe as usize };
    equal("sepc", t.epc, epc)
}

fn works(space: &Space, what: &str, probe: Probe, address: usize) -> Outcome {
    match guarded(probe, address, 1) {
        Ok(_) => Ok(()),
        Err(t) => Err(failure(format_args!("{} {what}: cause {} at {:#x}", space.mode.name, t.cause, t.tval))),
    }
}

fn small_pages() -> Outcome {
    in_every_mode(|space, high| {
        let frames = memory::pages(2, PAGE);
        poke(frames, 111);
        poke(frames + PAGE, 222);
        let va = high + 0x12_3000;
        space.map(va, frames, RW | A | D, 0);
        space.within(|| {
            equal("first frame", peek(va), 111)?;
            poke(va + 8, 77);
            equal("seen at the frame", peek(frames + 8), 77)?;
            // Each kind of fence that names the page makes the change visible.
            for (i, fence_it) in
                [fence, || fence_address(here(0)), || fence_address_asid(here(0), 0)].iter().enumerate()
            {
                here(va);
                let (frame, want) = if i % 2 == 0 { (frames + PAGE, 222) } else { (frames, 111) };
                space.map(va, frame, RW | A | D, 0);
                fence_it();
                equal("after the fence", peek(va), want)?;
            }
            Ok(())
        })
    })
}

/// Remembers an address for the closures above, which must be plain functions.
fn here(set: usize) -> usize {
    use core::sync::atomic::{AtomicUsize, Ordering};
    static HERE: AtomicUsize = AtomicUsize::new(0);
    if set != 0 {
        HERE.store(set, Ordering::Relaxed);
    }
    HERE.load(Ordering::Relaxed)
}

fn superpages() -> Outcome {
    in_every_mode(|space, high| {
        let ram = memory::image_end();
        for level in 1..space.mode.levels {
            let size = level_size(level);
            // Behind the first entry of the root, so that the levels do not share tables.
            let va = high + level_size(space.mode.levels - 1) * level;
            let (base, offset) = (ram & !(size - 1), ram & (size - 1));
            space.map(va, base, RW | A | D, level);
            poke(ram, level);
            space.within(|| {
                equal("through a superpage", peek(va + offset), level)?;
                poke(va + offset, 99);
                equal("seen at the frame", peek(ram), 99)
            })?;
            if level < space.mode.levels {
                // A frame that is not aligned to the page's size is a fault.
                space.map(va, base + PAGE, RW | A | D, level);
                space.within(|| {
                    let at = va + offset;
                    faults(&space, "misaligned superpage", probe_load, at, trap::LOAD_PAGE, at)
                })?;
            }
        }
        Ok(())
    })
}

fn permissions() -> Outcome {
    in_every_mode(|space, high| {
        let frame = memory::pages(1, PAGE);
        fetched(frame, RET);
        let va = high + 0x40_0000;
        let ad = A | D;
        // Flags, and whether load, store and fetch work.
        let rows = [
            ("r", R | ad, true, false, false),
            ("rw", RW | ad, true, true, false),
            ("x", X | ad, false, false, true),
            ("rx", R | X | ad, true, false, true),
            ("rwx", RW | X | ad, true, true, true),
            ("w (reserved)", W | ad, false, false, false),
            ("wx (reserved)", W | X | ad, false, false, false),
            ("pointer at the last level", 0, false, false, false),
            ("ru", R | U | ad, false, false, false),
            ("rwxu", RW | X | U | ad, false, false, false),
        ];
        for (what, flags, load, store, fetch) in rows {
            space.map(va, frame, flags, 0);
            space.within(|| {
                let check = |ok, probe: Probe, at, cause| {
                    if ok { works(&space, what, probe, at) } else { faults(&space, what, probe, at, cause, at) }
                };
                check(load, probe_load, va, trap::LOAD_PAGE)?;
                check(fetch, probe_jump, va, trap::FETCH_PAGE)?;
                check(store, probe_store, va + 8, trap::STORE_PAGE)?;
                check(store, probe_amo, va + 16, trap::STORE_PAGE)
            })?;
        }
        Ok(())
    })
}

fn sum_and_mxr() -> Outcome {
    in_every_mode(|space, high| {
        let frame = memory::pages(1, PAGE);
        fetched(frame, RET);
        let va = high + 0x40_0000;
        space.map(va, frame, RW | X | U | A | D, 0);
        space.map(va + PAGE, frame, X | A | D, 0);
        space.within(|| {
            csr_set!("sstatus", csr::SUM | csr::MXR);
            let outcome = works(&space, "SUM", probe_load, va)
                .and_then(|()| works(&space, "SUM", probe_store, va + 8))
                .and_then(|()| faults(&space, "SUM fetch", probe_jump, va, trap::FETCH_PAGE, va))
                .and_then(|()| works(&space, "MXR", probe_load, va + PAGE))
                .and_then(|()| faults(&space, "MXR store", probe_store, va + PAGE, trap::STORE_PAGE, va + PAGE));
            csr_clear!("sstatus", csr::SUM | csr::MXR);
            outcome?;
            faults(&space, "SUM off again", probe_load, va, trap::LOAD_PAGE, va)?;
            faults(&space, "MXR off again", probe_load, va + PAGE, trap::LOAD_PAGE, va + PAGE)
        })
    })
}

fn missing() -> Outcome {
    in_every_mode(|space, high| {
        let frame = memory::pages(1, PAGE);
        let va = high + 0x80_0000;
        space.map(va, frame, RW | X | A | D, 0);
        // The top of the lower half, and an address whose upper bits do not agree.
        let odd = 1usize << (12 + 9 * space.mode.levels);
        space.within(|| {
            for at in [va + PAGE, high + level_size(space.mode.levels - 1) * 7, usize::MAX - 7, odd | 0x8000_0000] {
                faults(&space, "load", probe_load, at, trap::LOAD_PAGE, at)?;
                faults(&space, "store", probe_store, at, trap::STORE_PAGE, at)?;
                faults(&space, "amo", probe_amo, at & !7, trap::STORE_PAGE, at & !7)?;
                faults(&space, "fetch", probe_jump, at & !1, trap::FETCH_PAGE, at & !1)?;
            }
            Ok(())
        })?;
        // Reserved bits 54 to 60.
        space.set(va, space.get(va, 0) | 1 << 54, 0);
        space.within(|| faults(&space, "reserved bit", probe_load, va, trap::LOAD_PAGE, va))
    })
}

/// An access that begins in one page and ends in another.
fn page_crossing() -> Outcome {
    in_every_mode(|space, high| {
        let frames = memory::pages(3, PAGE);
        let va = high + 0xc0_0000;
        // Neighbours in virtual memory, not in physical memory.
        let (first, second) = (frames + 2 * PAGE, frames);
        space.map(va, first, RW | X | A | D, 0);
        space.map(va + PAGE, second, RW | X | A | D, 0);
        let edge = va + PAGE;
        for (i, at) in (first + PAGE - 4..first + PAGE).chain(second..second + 4).enumerate() {
            // SAFETY: frames of ours.
            unsafe { (at as *mut u8).write_volatile(i as u8 + 1) };
        }
        fetched(second + 2, RET);
        space.within(|| {
            let got = guarded(probe_load, edge - 4, 0);
            equal("load", got.unwrap_or(0) & 0xffff_ffff_ffff, 0x0605_0403_0201)?;
            works(&space, "store", probe_store, edge - 3)
        })?;
        equal("store, first part", peek(first + PAGE - 8) >> 40, 1)?;
        // A four-byte instruction, two bytes in each page, then `ret`.
        fetched(first + PAGE - 2, LUI as u16);
        fetched(second, (LUI >> 16) as u16);
        fetched(second + 2, RET);
        space.within(|| {
            let code = edge - 2;
            equal("fetch", guarded(probe_jump, code, 0).unwrap_or(0), 0x1234_5000)
        })?;
        space.set(va + PAGE, 0, 0);
        space.within(|| {
            faults(&space, "load", probe_load, edge - 4, trap::LOAD_PAGE, edge)?;
            faults(&space, "store", probe_store, edge - 4, trap::STORE_PAGE, edge)?;
            let Err(t) = guarded(probe_jump, edge - 2, 0) else { return Err(failure(format_args!("fetch worked"))) };
            equal("fetch cause", t.cause, trap::FETCH_PAGE)?;
            equal("fetch sepc", t.epc, edge - 2)?;
            equal("fetch stval", t.tval, edge)
        })
    })
}

/// Accessed and dirty bits: set by the hart, or asked for by a fault.
fn accessed_dirty() -> Outcome {
    in_every_mode(|space, high| {
        let frame = memory::pages(1, PAGE);
        let va = high + 0x100_0000;
        let with = |flags: usize, probe: Probe| {
            space.map(va, frame, flags, 0);
            let result = space.within(|| guarded(probe, va, 1));
            (result, space.get(va, 0) & (A | D))
        };
        let cases = [
            ("load, A clear", RW, probe_load as Probe, trap::LOAD_PAGE, A),
            ("store, A and D clear", RW, probe_store as Probe, trap::STORE_PAGE, A | D),
            ("store, D clear", RW | A, probe_store as Probe, trap::STORE_PAGE, A | D),
            ("amo, D clear", RW | A, probe_amo as Probe, trap::STORE_PAGE, A | D),
        ];
        for (what, flags, probe, cause, set) in cases {
            match with(flags, probe) {
                (Ok(_), bits) => equal(what, bits, set)?,
                (Err(t), bits) => {
                    equal(what, t.cause, cause)?;
                    equal("stval", t.tval, va)?;
                    equal("bits after a fault", bits, flags & (A | D))?;
                }
            }
        }
        // A load never makes a page dirty.
        equal("load of a clean page", with(RW | A, probe_load).1, A)
    })
}

/// Two spaces with an id each, switched without a fence.
fn asids() -> Outcome {
    in_every_mode(|space, high| {
        csr_write!("satp", space.satp(0xffff));
        let bits = csr_read!("satp") >> 44 & 0xffff;
        csr_write!("satp", 0);
        fence();
        if bits < 2 {
            return Err(Problem::Skip("no ASIDs"));
        }
        let other = Space::new(space.mode);
        let frames = memory::pages(2, PAGE);
        poke(frames, 1);
        poke(frames + PAGE, 2);
        let va = high + 0x140_0000;
        space.map(va, frames, RW | A | D, 0);
        other.map(va, frames + PAGE, RW | A | D, 0);
        fence();
        let mut wrong = 0;
        for _ in 0..100 {
            for (s, asid) in [(&space, 1), (&other, 2)] {
                csr_write!("satp", s.satp(asid));
                wrong += usize::from(peek(va) != asid);
            }
        }
        csr_write!("satp", 0);
        fence();
        equal("reads of the wrong space", wrong, 0)
    })
}

/// Contiguous 64 KiB pages (Svnapot) and memory types (Svpbmt).
fn napot_and_pbmt() -> Outcome {
    let m = crate::machine();
    let (napot, pbmt) = (m.has("svnapot"), m.has("svpbmt"));
    if !napot && !pbmt {
        return Err(Problem::Skip("neither Svnapot nor Svpbmt"));
    }
    in_every_mode(|space, high| {
        let m = crate::machine();
        let frames = memory::pages(16, 16 * PAGE);
        let va = high + 0x180_0000;
        if m.has("svnapot") {
            for i in 0..16 {
                poke(frames + i * PAGE, i + 1);
                // All sixteen entries are the same; PPN bits 3:0 = 8 say 64 KiB.
                space.set(va + i * PAGE, 1 << 63 | ((frames >> 12) | 8) << 10 | RW | A | D | V, 0);
            }
            space.within(|| (0..16).try_for_each(|i| equal("napot page", peek(va + i * PAGE), i + 1)))?;
            space.set(va, 1 << 63 | ((frames >> 12) | 4) << 10 | RW | A | D | V, 0);
            space.within(|| faults(&space, "reserved napot size", probe_load, va, trap::LOAD_PAGE, va))?;
        }
        if m.has("svpbmt") {
            for (kind, ok) in [(1, true), (2, true), (3, false)] {
                space.set(va, kind << 61 | (frames >> 12) << 10 | RW | A | D | V, 0);
                space.within(|| {
                    if ok {
                        works(&space, "memory type", probe_load, va)
                    } else {
                        faults(&space, "reserved memory type", probe_load, va, trap::LOAD_PAGE, va)
                    }
                })?;
            }
        }
        Ok(())
    })
}

pub const TESTS: &[Test] = &[
    Test { name: "paging-small", run: small_pages },
    Test { name: "paging-superpages", run: superpages },
    Test { name: "paging-permissions", run: permissions },
    Test { name: "paging-sum-mxr", run: sum_and_mxr },
    Test { name: "paging-missing", run: missing },
    Test { name: "paging-crossing", run: page_crossing },
    Test { name: "paging-accessed-dirty", run: accessed_dirty },
    Test { name: "paging-asid", run: asids },
    Test { name: "paging-napot-pbmt", run: napot_and_pbmt },
];
