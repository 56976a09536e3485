//! What generated code of a vector instruction takes for granted, in one word.
//!
//! Code is made for one `vtype`, for `vstart` = 0 and for a state that is Dirty already. Behind a `vset{i}vl{i}` of the
//! same block with an immediate that is so; everywhere else the code compares [`word`], which every hart keeps at hand
//! (`Hart::vector_word`), with the constant it was made for. Where they differ the instruction's function is called, as it
//! is for everything that has no code of its own.
//!
//! `vtype` is not part of a block's mode: then every `vset{i}vl{i}` would be an indirect jump into another set of tables,
//! and a block that sets `vtype` itself, as most do, would exist once for each it is entered with. A compare with memory
//! costs a fraction of a nanosecond; a guess that turns out wrong costs what calling the function costs.

use arch::csr::mstatus;

use super::shape::VILL;
use crate::HartState;
use crate::tcg::csr::status;

/// `vtype` in bits 7:0 of [`word`].
pub const VTYPE: u32 = 0xff;
/// `vtype.vill`, or a `vtype` with reserved bits: no constant that code is made for has this.
pub const ILL: u32 = 1 << 8;
/// `vstart` is not 0.
pub const STARTED: u32 = 1 << 9;
/// The state is not Dirty, or vectors are off.
pub const CLEAN: u32 = 1 << 10;

/// The word as the state is now.
#[inline]
pub fn word(s: &HartState) -> u32 {
    let flag = |on, flag| if on { flag } else { 0 };
    let vtype = s.csr.vtype;
    vtype as u32 & VTYPE
        | flag(vtype & VILL != 0 || vtype >> 8 != 0, ILL)
        | flag(s.csr.vstart != 0, STARTED)
        | flag(!status::is_dirty(s, mstatus::VS), CLEAN)
}

/// The word that code is made for where `now` is met; `None` if there is no code for that.
pub const fn plain(now: u32) -> Option<u32> {
    if now & ILL == 0 { Some(now & VTYPE) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_a_plain_vtype_only_where_code_may_run() {
        let mut s = HartState::default();
        s.csr.vtype = 0xd1;
        s.csr.mstatus |= mstatus::VS;
        assert_eq!(word(&s), 0xd1);
        s.csr.vstart = 3;
        assert_eq!(word(&s), 0xd1 | STARTED);
        s.csr.vstart = 0;
        s.csr.mstatus = mstatus::INITIAL << mstatus::VS_SHIFT;
        assert_eq!(word(&s), 0xd1 | CLEAN);
        s.csr.mstatus |= mstatus::VS;
        s.virt = true;
        assert_eq!(word(&s), 0xd1 | CLEAN, "VS of a guest counts too");
        s.csr.vsstatus |= mstatus::VS;
        assert_eq!(word(&s), 0xd1);
        s.csr.vtype = VILL;
        assert_eq!(word(&s), ILL);
        s.csr.vtype = 0x100;
        assert_eq!(word(&s), ILL);
    }
}
