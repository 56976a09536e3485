//! Instructions with a name of their own in the encoding of another, whose operation they keep: hints, which do nothing
//! like that, and shadow stack instructions, which are may-be-operations where there is no shadow stack.

use super::Op;
use crate::ext::Ext;
use crate::isa::table::RowText;

pub(in crate::isa) const ROWS: &[RowText] = rows! {
    Add Zihintntl,       "ntl.p1"     "0000000 00010 00000 000 00000 0110011, rs2=2"
    Add Zihintntl,       "ntl.pall"   "0000000 00011 00000 000 00000 0110011, rs2=3"
    Add Zihintntl,       "ntl.s1"     "0000000 00100 00000 000 00000 0110011, rs2=4"
    Add Zihintntl,       "ntl.all"    "0000000 00101 00000 000 00000 0110011, rs2=5"
    Add Zihintntl & Zca, "c.ntl.p1"   "1001 00000 00010 10, rs2=2"
    Add Zihintntl & Zca, "c.ntl.pall" "1001 00000 00011 10, rs2=3"
    Add Zihintntl & Zca, "c.ntl.s1"   "1001 00000 00100 10, rs2=4"
    Add Zihintntl & Zca, "c.ntl.all"  "1001 00000 00101 10, rs2=5"

    MopRrN Zicfiss,         "sspush ra"     "1100111 00001 00000 100 00000 1110011, rs2=1, imm=7"
    MopRrN Zicfiss,         "sspush t0"     "1100111 00101 00000 100 00000 1110011, rs2=5, imm=7"
    MopRN  Zicfiss,         "sspopchk ra"   "110011011100 00001 100 00000 1110011, rs1=1, imm=28"
    MopRN  Zicfiss,         "sspopchk t0"   "110011011100 00101 100 00000 1110011, rs1=5, imm=28"
    MopRN  Zicfiss,         "ssrdp rd"      "110011011100 00000 100 rd 1110011, rd!=0, imm=28"
    Addi   Zicfiss & Zcmop, "c.sspush ra"   "0110000010000001"
    Addi   Zicfiss & Zcmop, "c.sspopchk t0" "0110001010000001"
};
