//! Cache-block operations (Zicbom, Zicbop, Zicboz).

macro_rules! zicbo_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        CboInval  Zicbom, "cbo.inval (rs1)"     "000000000000 rs1 010 00000 0001111"
        CboClean  Zicbom, "cbo.clean (rs1)"     "000000000001 rs1 010 00000 0001111"
        CboFlush  Zicbom, "cbo.flush (rs1)"     "000000000010 rs1 010 00000 0001111"
        CboZero   Zicboz, "cbo.zero (rs1)"      "000000000100 rs1 010 00000 0001111"
        PrefetchI Zicbop, "prefetch.i imm(rs1)" "imm[11:5] 00000 rs1 110 00000 0010011"
        PrefetchR Zicbop, "prefetch.r imm(rs1)" "imm[11:5] 00001 rs1 110 00000 0010011"
        PrefetchW Zicbop, "prefetch.w imm(rs1)" "imm[11:5] 00011 rs1 110 00000 0010011"
    } };
}
