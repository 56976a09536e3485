//! 16-bit floating point: half precision (Zfh, Zfhmin) and conversions of BF16 (Zfbfmin).

macro_rules! zfh_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        Flh       Zfhmin | Zfbfmin, "flh fd,imm(rs1)"            "imm[11:0] rs1 001 rd 0000111"
        Fsh       Zfhmin | Zfbfmin, "fsh fs2,imm(rs1)"           "imm[11:5] rs2 rs1 001 imm[4:0] 0100111"
        FmvXH     Zfhmin | Zfbfmin, "fmv.x.h rd,fs1"             "1110010 00000 rs1 000 rd 1010011"
        FmvHX     Zfhmin | Zfbfmin, "fmv.h.x fd,rs1"             "1111010 00000 rs1 000 rd 1010011"
        FcvtSH    Zfhmin,           "fcvt.s.h fd,fs1,exact"      "0100000 00010 rs1 rm rd 1010011"
        FcvtHS    Zfhmin,           "fcvt.h.s fd,fs1,rm"         "0100010 00000 rs1 rm rd 1010011"
        FcvtDH    Zfhmin & D,       "fcvt.d.h fd,fs1,exact"      "0100001 00010 rs1 rm rd 1010011"
        FcvtHD    Zfhmin & D,       "fcvt.h.d fd,fs1,rm"         "0100010 00001 rs1 rm rd 1010011"

        FcvtSBf16 Zfbfmin,          "fcvt.s.bf16 fd,fs1,exact"   "0100000 00110 rs1 rm rd 1010011"
        FcvtBf16S Zfbfmin,          "fcvt.bf16.s fd,fs1,rm"      "0100010 01000 rs1 rm rd 1010011"

        FmaddH    Zfh,              "fmadd.h fd,fs1,fs2,fs3,rm"  "rs3 10 rs2 rs1 rm rd 1000011"
        FmsubH    Zfh,              "fmsub.h fd,fs1,fs2,fs3,rm"  "rs3 10 rs2 rs1 rm rd 1000111"
        FnmsubH   Zfh,              "fnmsub.h fd,fs1,fs2,fs3,rm" "rs3 10 rs2 rs1 rm rd 1001011"
        FnmaddH   Zfh,              "fnmadd.h fd,fs1,fs2,fs3,rm" "rs3 10 rs2 rs1 rm rd 1001111"

        FaddH     Zfh,              "fadd.h fd,fs1,fs2,rm"       "0000010 rs2 rs1 rm rd 1010011"
        FsubH     Zfh,              "fsub.h fd,fs1,fs2,rm"       "0000110 rs2 rs1 rm rd 1010011"
        FmulH     Zfh,              "fmul.h fd,fs1,fs2,rm"       "0001010 rs2 rs1 rm rd 1010011"
        FdivH     Zfh,              "fdiv.h fd,fs1,fs2,rm"       "0001110 rs2 rs1 rm rd 1010011"
        FsqrtH    Zfh,              "fsqrt.h fd,fs1,rm"          "0101110 00000 rs1 rm rd 1010011"
        FsgnjH    Zfh,              "fsgnj.h fd,fs1,fs2"         "0010010 rs2 rs1 000 rd 1010011"
        FsgnjnH   Zfh,              "fsgnjn.h fd,fs1,fs2"        "0010010 rs2 rs1 001 rd 1010011"
        FsgnjxH   Zfh,              "fsgnjx.h fd,fs1,fs2"        "0010010 rs2 rs1 010 rd 1010011"
        FminH     Zfh,              "fmin.h fd,fs1,fs2"          "0010110 rs2 rs1 000 rd 1010011"
        FmaxH     Zfh,              "fmax.h fd,fs1,fs2"          "0010110 rs2 rs1 001 rd 1010011"
        FleH      Zfh,              "fle.h rd,fs1,fs2"           "1010010 rs2 rs1 000 rd 1010011"
        FltH      Zfh,              "flt.h rd,fs1,fs2"           "1010010 rs2 rs1 001 rd 1010011"
        FeqH      Zfh,              "feq.h rd,fs1,fs2"           "1010010 rs2 rs1 010 rd 1010011"
        FclassH   Zfh,              "fclass.h rd,fs1"            "1110010 00000 rs1 001 rd 1010011"

        FcvtWH    Zfh,              "fcvt.w.h rd,fs1,rm"         "1100010 00000 rs1 rm rd 1010011"
        FcvtWuH   Zfh,              "fcvt.wu.h rd,fs1,rm"        "1100010 00001 rs1 rm rd 1010011"
        FcvtLH    Zfh,              "fcvt.l.h rd,fs1,rm"         "1100010 00010 rs1 rm rd 1010011"
        FcvtLuH   Zfh,              "fcvt.lu.h rd,fs1,rm"        "1100010 00011 rs1 rm rd 1010011"
        FcvtHW    Zfh,              "fcvt.h.w fd,rs1,rm"         "1101010 00000 rs1 rm rd 1010011"
        FcvtHWu   Zfh,              "fcvt.h.wu fd,rs1,rm"        "1101010 00001 rs1 rm rd 1010011"
        FcvtHL    Zfh,              "fcvt.h.l fd,rs1,rm"         "1101010 00010 rs1 rm rd 1010011"
        FcvtHLu   Zfh,              "fcvt.h.lu fd,rs1,rm"        "1101010 00011 rs1 rm rd 1010011"
    } };
}
