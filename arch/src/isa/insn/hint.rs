//! Hints with a name of their own. They do what the instruction whose encoding they use does: nothing.

use super::Op;
use crate::ext::Ext;
use crate::isa::table::RowText;

pub(in crate::isa) static ROWS: &[RowText] = rows! {
    Add Zihintntl,       "ntl.p1"     "0000000 00010 00000 000 00000 0110011, rs2=2"
    Add Zihintntl,       "ntl.pall"   "0000000 00011 00000 000 00000 0110011, rs2=3"
    Add Zihintntl,       "ntl.s1"     "0000000 00100 00000 000 00000 0110011, rs2=4"
    Add Zihintntl,       "ntl.all"    "0000000 00101 00000 000 00000 0110011, rs2=5"
    Add Zihintntl & Zca, "c.ntl.p1"   "1001 00000 00010 10, rs2=2"
    Add Zihintntl & Zca, "c.ntl.pall" "1001 00000 00011 10, rs2=3"
    Add Zihintntl & Zca, "c.ntl.s1"   "1001 00000 00100 10, rs2=4"
    Add Zihintntl & Zca, "c.ntl.all"  "1001 00000 00101 10, rs2=5"
};
