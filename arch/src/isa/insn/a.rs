//! Atomics (A = Zaamo + Zalrsc) and waiting on a reservation (Zawrs).

macro_rules! a_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        LrW      Zalrsc, "lr.w rd,(rs1)"          "00010 aq rl 00000 rs1 010 rd 0101111"
        ScW      Zalrsc, "sc.w rd,rs2,(rs1)"      "00011 aq rl rs2 rs1 010 rd 0101111"
        AmoswapW Zaamo,  "amoswap.w rd,rs2,(rs1)" "00001 aq rl rs2 rs1 010 rd 0101111"
        AmoaddW  Zaamo,  "amoadd.w rd,rs2,(rs1)"  "00000 aq rl rs2 rs1 010 rd 0101111"
        AmoxorW  Zaamo,  "amoxor.w rd,rs2,(rs1)"  "00100 aq rl rs2 rs1 010 rd 0101111"
        AmoandW  Zaamo,  "amoand.w rd,rs2,(rs1)"  "01100 aq rl rs2 rs1 010 rd 0101111"
        AmoorW   Zaamo,  "amoor.w rd,rs2,(rs1)"   "01000 aq rl rs2 rs1 010 rd 0101111"
        AmominW  Zaamo,  "amomin.w rd,rs2,(rs1)"  "10000 aq rl rs2 rs1 010 rd 0101111"
        AmomaxW  Zaamo,  "amomax.w rd,rs2,(rs1)"  "10100 aq rl rs2 rs1 010 rd 0101111"
        AmominuW Zaamo,  "amominu.w rd,rs2,(rs1)" "11000 aq rl rs2 rs1 010 rd 0101111"
        AmomaxuW Zaamo,  "amomaxu.w rd,rs2,(rs1)" "11100 aq rl rs2 rs1 010 rd 0101111"

        LrD      Zalrsc, "lr.d rd,(rs1)"          "00010 aq rl 00000 rs1 011 rd 0101111"
        ScD      Zalrsc, "sc.d rd,rs2,(rs1)"      "00011 aq rl rs2 rs1 011 rd 0101111"
        AmoswapD Zaamo,  "amoswap.d rd,rs2,(rs1)" "00001 aq rl rs2 rs1 011 rd 0101111"
        AmoaddD  Zaamo,  "amoadd.d rd,rs2,(rs1)"  "00000 aq rl rs2 rs1 011 rd 0101111"
        AmoxorD  Zaamo,  "amoxor.d rd,rs2,(rs1)"  "00100 aq rl rs2 rs1 011 rd 0101111"
        AmoandD  Zaamo,  "amoand.d rd,rs2,(rs1)"  "01100 aq rl rs2 rs1 011 rd 0101111"
        AmoorD   Zaamo,  "amoor.d rd,rs2,(rs1)"   "01000 aq rl rs2 rs1 011 rd 0101111"
        AmominD  Zaamo,  "amomin.d rd,rs2,(rs1)"  "10000 aq rl rs2 rs1 011 rd 0101111"
        AmomaxD  Zaamo,  "amomax.d rd,rs2,(rs1)"  "10100 aq rl rs2 rs1 011 rd 0101111"
        AmominuD Zaamo,  "amominu.d rd,rs2,(rs1)" "11000 aq rl rs2 rs1 011 rd 0101111"
        AmomaxuD Zaamo,  "amomaxu.d rd,rs2,(rs1)" "11100 aq rl rs2 rs1 011 rd 0101111"

        WrsNto   Zawrs,  "wrs.nto"                "000000001101 00000 000 00000 1110011"
        WrsSto   Zawrs,  "wrs.sto"                "000000011101 00000 000 00000 1110011"
    } };
}
