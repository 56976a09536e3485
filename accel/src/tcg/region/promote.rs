//! A jump back was taken often: its target becomes the head of a region, if there is a loop around it.

use arch::ext::Ext;

use super::form::{Code, form};
use super::{Refused, Region};
use crate::tcg::backend;
use crate::tcg::code_cache::{BlockId, NewBlock, hash_code};
use crate::tcg::exec::{Translator, block_mode, fetch_code};
use crate::tcg::hart::Hart;
use crate::tcg::helpers::vector::assumed;
use crate::tcg::observe::{self, Made};

/// Acts on `hart.hot`; the code that counted is still there. `s.pc` is where the jump leads, and the run loop goes on
/// from there as after any exit.
pub fn promote(hart: &mut Hart, tr: &mut Translator) {
    let begun = hart.stats.begin();
    if let Some(outcome) = look_at(hart, tr) {
        hart.stats.promoted(begun, outcome.err());
    }
}

/// `None` if the code is gone by now.
fn look_at(hart: &mut Hart, tr: &mut Translator) -> Option<Result<(), Refused>> {
    let hot = hart.hot;
    hart.heat[usize::from(hot.counter)] = hart.options.hot.saturating_sub(1) as i32;
    let pc = hart.s.pc;
    // A fault is taken when the run loop goes on.
    let Ok(fetch) = fetch_code(hart, pc) else { return None };
    let (pa, mode) = (fetch.walk.pa, block_mode(hart));
    let head = |hart: &Hart| hart.code.find(pa, mode).filter(|&id| hart.code.block(id).second_page.is_none());
    // The jump may have led into the middle of its own block so far; it goes on counting.
    let Some(id) = head(hart) else { return Some(Err(Refused::NoBlock)) };
    // Whatever comes of it, it need not be asked for again.
    hart.code.stop_counting(hot.site, hot.len);
    if hart.code.block(id).tier == 2 {
        return Some(Err(Refused::Known));
    }
    // Room first: making it may drop blocks.
    hart.code.reserve(backend::MAX_BLOCK_BYTES);
    hart.drop_stale_jumps();
    Some(compile(hart, tr, head(hart)?))
}

/// Makes a region of the loop around the block `id`, in the place of which it comes.
fn compile(hart: &mut Hart, tr: &mut Translator, id: BlockId) -> Result<(), Refused> {
    let (Some(backend), key) = (&mut tr.backend, hart.code.block(id).key) else { return Err(Refused::NoBlock) };
    let (page, head) = (key.0 & !0xfff, (key.0 & 0xfff) as u16);
    let Some(bytes) = hart.vm.ram.read_bytes(page, 4096) else { return Err(Refused::NoBlock) };
    let executed = |at: u16| {
        let found = hart.code.find(page | u64::from(at), key.1);
        found.is_some_and(|id| hart.code.block(id).second_page.is_none())
    };
    let limit = hart.options.block_insns;
    let scattered = |at: u16| hart.code.is_scattered(page | u64::from(at), key.1);
    let vtype = assumed::plain(hart.vector_word);
    let searches = backend.searches(hart.vm.isa.has(Ext::Ztso));
    let code = Code { bytes: &bytes, mode: key.1, limit, searches, executed: &executed, scattered: &scattered, vtype };
    let region = form(&mut tr.builder, &tr.decoder, &code, head)?;
    let (compiled, entry) = backend.compile_region(&region, &mut hart.code).ok_or(Refused::TooLarge)?;
    let host_bytes = compiled.len();
    let address = hart.code.arena.push(compiled);
    let code = address + entry;
    show(hart, tr, &region, &bytes, address, host_bytes);
    tr.place(hart, (address, host_bytes), (key.0, hart.s.pc), true);
    let (from, to) = region.span();
    let hash = hash_code(&bytes[usize::from(from)..usize::from(to)]);
    hart.code.kill(id);
    let (from, len) = (page | u64::from(from), to - from);
    let new = NewBlock { key, from, len, second_page: None, hash, code, ir: None, tier: 2 };
    hart.code.insert(new, tr.links());
    hart.drop_stale_jumps();
    hart.stats.region_insns += region.nodes.iter().map(|n| u64::from(n.insns)).sum::<u64>();
    hart.stats.region_bytes += host_bytes as u64;
    Ok(())
}

/// Tells an observer of the region, with all that stands between its first and last instruction. The operations of its
/// head stand for all.
fn show(hart: &Hart, tr: &Translator, region: &Region, page: &[u8], address: u64, host_bytes: usize) {
    let Some(head) = region.nodes.iter().find(|n| n.start == region.head).filter(|_| hart.is_observed()) else {
        return;
    };
    let (from, to) = region.span();
    let bytes = &page[usize::from(from)..usize::from(to)];
    let host = hart.code.arena.bytes(address, host_bytes);
    let (pc, mode) = (hart.s.pc, block_mode(hart));
    let from = (pc & !0xfff) | u64::from(from);
    let marks = tr.backend.as_ref().map_or(&[][..], |b| b.marks());
    observe::show(hart, &tr.decoder, &Made { hart: hart.id, pc, mode, bytes, from, ir: head, address, host, marks });
}
