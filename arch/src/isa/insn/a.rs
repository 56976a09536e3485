//! Atomics: A = Zaamo + Zalrsc, narrow ones (Zabha), compare-and-swap (Zacas), load-acquire and store-release (Zalasr)
//! and waiting on a reservation (Zawrs).

macro_rules! a_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        LrW      Zalrsc,        "lr.w rd,(rs1)"           "00010 aq rl 00000 rs1 010 rd 0101111"
        ScW      Zalrsc,        "sc.w rd,rs2,(rs1)"       "00011 aq rl rs2 rs1 010 rd 0101111"
        AmoswapW Zaamo,         "amoswap.w rd,rs2,(rs1)"  "00001 aq rl rs2 rs1 010 rd 0101111"
        AmoaddW  Zaamo,         "amoadd.w rd,rs2,(rs1)"   "00000 aq rl rs2 rs1 010 rd 0101111"
        AmoxorW  Zaamo,         "amoxor.w rd,rs2,(rs1)"   "00100 aq rl rs2 rs1 010 rd 0101111"
        AmoandW  Zaamo,         "amoand.w rd,rs2,(rs1)"   "01100 aq rl rs2 rs1 010 rd 0101111"
        AmoorW   Zaamo,         "amoor.w rd,rs2,(rs1)"    "01000 aq rl rs2 rs1 010 rd 0101111"
        AmominW  Zaamo,         "amomin.w rd,rs2,(rs1)"   "10000 aq rl rs2 rs1 010 rd 0101111"
        AmomaxW  Zaamo,         "amomax.w rd,rs2,(rs1)"   "10100 aq rl rs2 rs1 010 rd 0101111"
        AmominuW Zaamo,         "amominu.w rd,rs2,(rs1)"  "11000 aq rl rs2 rs1 010 rd 0101111"
        AmomaxuW Zaamo,         "amomaxu.w rd,rs2,(rs1)"  "11100 aq rl rs2 rs1 010 rd 0101111"

        LrD      Zalrsc,        "lr.d rd,(rs1)"           "00010 aq rl 00000 rs1 011 rd 0101111"
        ScD      Zalrsc,        "sc.d rd,rs2,(rs1)"       "00011 aq rl rs2 rs1 011 rd 0101111"
        AmoswapD Zaamo,         "amoswap.d rd,rs2,(rs1)"  "00001 aq rl rs2 rs1 011 rd 0101111"
        AmoaddD  Zaamo,         "amoadd.d rd,rs2,(rs1)"   "00000 aq rl rs2 rs1 011 rd 0101111"
        AmoxorD  Zaamo,         "amoxor.d rd,rs2,(rs1)"   "00100 aq rl rs2 rs1 011 rd 0101111"
        AmoandD  Zaamo,         "amoand.d rd,rs2,(rs1)"   "01100 aq rl rs2 rs1 011 rd 0101111"
        AmoorD   Zaamo,         "amoor.d rd,rs2,(rs1)"    "01000 aq rl rs2 rs1 011 rd 0101111"
        AmominD  Zaamo,         "amomin.d rd,rs2,(rs1)"   "10000 aq rl rs2 rs1 011 rd 0101111"
        AmomaxD  Zaamo,         "amomax.d rd,rs2,(rs1)"   "10100 aq rl rs2 rs1 011 rd 0101111"
        AmominuD Zaamo,         "amominu.d rd,rs2,(rs1)"  "11000 aq rl rs2 rs1 011 rd 0101111"
        AmomaxuD Zaamo,         "amomaxu.d rd,rs2,(rs1)"  "11100 aq rl rs2 rs1 011 rd 0101111"

        AmoswapB Zabha,         "amoswap.b rd,rs2,(rs1)"  "00001 aq rl rs2 rs1 000 rd 0101111"
        AmoaddB  Zabha,         "amoadd.b rd,rs2,(rs1)"   "00000 aq rl rs2 rs1 000 rd 0101111"
        AmoxorB  Zabha,         "amoxor.b rd,rs2,(rs1)"   "00100 aq rl rs2 rs1 000 rd 0101111"
        AmoandB  Zabha,         "amoand.b rd,rs2,(rs1)"   "01100 aq rl rs2 rs1 000 rd 0101111"
        AmoorB   Zabha,         "amoor.b rd,rs2,(rs1)"    "01000 aq rl rs2 rs1 000 rd 0101111"
        AmominB  Zabha,         "amomin.b rd,rs2,(rs1)"   "10000 aq rl rs2 rs1 000 rd 0101111"
        AmomaxB  Zabha,         "amomax.b rd,rs2,(rs1)"   "10100 aq rl rs2 rs1 000 rd 0101111"
        AmominuB Zabha,         "amominu.b rd,rs2,(rs1)"  "11000 aq rl rs2 rs1 000 rd 0101111"
        AmomaxuB Zabha,         "amomaxu.b rd,rs2,(rs1)"  "11100 aq rl rs2 rs1 000 rd 0101111"

        AmoswapH Zabha,         "amoswap.h rd,rs2,(rs1)"  "00001 aq rl rs2 rs1 001 rd 0101111"
        AmoaddH  Zabha,         "amoadd.h rd,rs2,(rs1)"   "00000 aq rl rs2 rs1 001 rd 0101111"
        AmoxorH  Zabha,         "amoxor.h rd,rs2,(rs1)"   "00100 aq rl rs2 rs1 001 rd 0101111"
        AmoandH  Zabha,         "amoand.h rd,rs2,(rs1)"   "01100 aq rl rs2 rs1 001 rd 0101111"
        AmoorH   Zabha,         "amoor.h rd,rs2,(rs1)"    "01000 aq rl rs2 rs1 001 rd 0101111"
        AmominH  Zabha,         "amomin.h rd,rs2,(rs1)"   "10000 aq rl rs2 rs1 001 rd 0101111"
        AmomaxH  Zabha,         "amomax.h rd,rs2,(rs1)"   "10100 aq rl rs2 rs1 001 rd 0101111"
        AmominuH Zabha,         "amominu.h rd,rs2,(rs1)"  "11000 aq rl rs2 rs1 001 rd 0101111"
        AmomaxuH Zabha,         "amomaxu.h rd,rs2,(rs1)"  "11100 aq rl rs2 rs1 001 rd 0101111"

        SsamoswapW Zicfiss,     "ssamoswap.w rd,rs2,(rs1)" "01001 aq rl rs2 rs1 010 rd 0101111"
        SsamoswapD Zicfiss,     "ssamoswap.d rd,rs2,(rs1)" "01001 aq rl rs2 rs1 011 rd 0101111"

        AmocasB  Zacas & Zabha, "amocas.b rd,rs2,(rs1)"   "00101 aq rl rs2 rs1 000 rd 0101111"
        AmocasH  Zacas & Zabha, "amocas.h rd,rs2,(rs1)"   "00101 aq rl rs2 rs1 001 rd 0101111"
        AmocasW  Zacas,         "amocas.w rd,rs2,(rs1)"   "00101 aq rl rs2 rs1 010 rd 0101111"
        AmocasD  Zacas,         "amocas.d rd,rs2,(rs1)"   "00101 aq rl rs2 rs1 011 rd 0101111"
        AmocasQ  Zacas,         "amocas.q rd,rs2,(rs1)"   "00101 aq rl rs2.even rs1 100 rd.even 0101111"

        LbAq     Zalasr,        "lb.aq rd,(rs1)"          "00110 1 rl 00000 rs1 000 rd 0101111"
        LhAq     Zalasr,        "lh.aq rd,(rs1)"          "00110 1 rl 00000 rs1 001 rd 0101111"
        LwAq     Zalasr,        "lw.aq rd,(rs1)"          "00110 1 rl 00000 rs1 010 rd 0101111"
        LdAq     Zalasr,        "ld.aq rd,(rs1)"          "00110 1 rl 00000 rs1 011 rd 0101111"
        SbRl     Zalasr,        "sb.rl rs2,(rs1)"         "00111 aq 1 rs2 rs1 000 00000 0101111"
        ShRl     Zalasr,        "sh.rl rs2,(rs1)"         "00111 aq 1 rs2 rs1 001 00000 0101111"
        SwRl     Zalasr,        "sw.rl rs2,(rs1)"         "00111 aq 1 rs2 rs1 010 00000 0101111"
        SdRl     Zalasr,        "sd.rl rs2,(rs1)"         "00111 aq 1 rs2 rs1 011 00000 0101111"

        WrsNto   Zawrs,         "wrs.nto"                 "000000001101 00000 000 00000 1110011"
        WrsSto   Zawrs,         "wrs.sto"                 "000000011101 00000 000 00000 1110011"
    } };
}
