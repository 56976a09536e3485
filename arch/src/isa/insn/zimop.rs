//! May-be-operations (Zimop): they write zero until an extension gives them a meaning.

macro_rules! zimop_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        MopRN  Zimop, "mop.r.n rd,rs1"      "1 uimm[4] 00 uimm[3:2] 0111 uimm[1:0] rs1 100 rd 1110011"
        MopRrN Zimop, "mop.rr.n rd,rs1,rs2" "1 uimm[2] 00 uimm[1:0] 1 rs2 rs1 100 rd 1110011"
    } };
}
