//! Double-precision floating point (D).

macro_rules! d_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        Fld     D, "fld fd,imm(rs1)"            "imm[11:0] rs1 011 rd 0000111"
        Fsd     D, "fsd fs2,imm(rs1)"           "imm[11:5] rs2 rs1 011 imm[4:0] 0100111"

        FmaddD  D, "fmadd.d fd,fs1,fs2,fs3,rm"  "rs3 01 rs2 rs1 rm rd 1000011"
        FmsubD  D, "fmsub.d fd,fs1,fs2,fs3,rm"  "rs3 01 rs2 rs1 rm rd 1000111"
        FnmsubD D, "fnmsub.d fd,fs1,fs2,fs3,rm" "rs3 01 rs2 rs1 rm rd 1001011"
        FnmaddD D, "fnmadd.d fd,fs1,fs2,fs3,rm" "rs3 01 rs2 rs1 rm rd 1001111"

        FaddD   D, "fadd.d fd,fs1,fs2,rm"       "0000001 rs2 rs1 rm rd 1010011"
        FsubD   D, "fsub.d fd,fs1,fs2,rm"       "0000101 rs2 rs1 rm rd 1010011"
        FmulD   D, "fmul.d fd,fs1,fs2,rm"       "0001001 rs2 rs1 rm rd 1010011"
        FdivD   D, "fdiv.d fd,fs1,fs2,rm"       "0001101 rs2 rs1 rm rd 1010011"
        FsqrtD  D, "fsqrt.d fd,fs1,rm"          "0101101 00000 rs1 rm rd 1010011"
        FsgnjD  D, "fsgnj.d fd,fs1,fs2"         "0010001 rs2 rs1 000 rd 1010011"
        FsgnjnD D, "fsgnjn.d fd,fs1,fs2"        "0010001 rs2 rs1 001 rd 1010011"
        FsgnjxD D, "fsgnjx.d fd,fs1,fs2"        "0010001 rs2 rs1 010 rd 1010011"
        FminD   D, "fmin.d fd,fs1,fs2"          "0010101 rs2 rs1 000 rd 1010011"
        FmaxD   D, "fmax.d fd,fs1,fs2"          "0010101 rs2 rs1 001 rd 1010011"
        FleD    D, "fle.d rd,fs1,fs2"           "1010001 rs2 rs1 000 rd 1010011"
        FltD    D, "flt.d rd,fs1,fs2"           "1010001 rs2 rs1 001 rd 1010011"
        FeqD    D, "feq.d rd,fs1,fs2"           "1010001 rs2 rs1 010 rd 1010011"
        FclassD D, "fclass.d rd,fs1"            "1110001 00000 rs1 001 rd 1010011"

        FcvtWD  D, "fcvt.w.d rd,fs1,rm"         "1100001 00000 rs1 rm rd 1010011"
        FcvtWuD D, "fcvt.wu.d rd,fs1,rm"        "1100001 00001 rs1 rm rd 1010011"
        FcvtLD  D, "fcvt.l.d rd,fs1,rm"         "1100001 00010 rs1 rm rd 1010011"
        FcvtLuD D, "fcvt.lu.d rd,fs1,rm"        "1100001 00011 rs1 rm rd 1010011"
        FcvtDW  D, "fcvt.d.w fd,rs1,exact"      "1101001 00000 rs1 rm rd 1010011"
        FcvtDWu D, "fcvt.d.wu fd,rs1,exact"     "1101001 00001 rs1 rm rd 1010011"
        FcvtDL  D, "fcvt.d.l fd,rs1,rm"         "1101001 00010 rs1 rm rd 1010011"
        FcvtDLu D, "fcvt.d.lu fd,rs1,rm"        "1101001 00011 rs1 rm rd 1010011"
        FmvXD   D, "fmv.x.d rd,fs1"             "1110001 00000 rs1 000 rd 1010011"
        FmvDX   D, "fmv.d.x fd,rs1"             "1111001 00000 rs1 000 rd 1010011"

        FcvtSD  D, "fcvt.s.d fd,fs1,rm"         "0100000 00001 rs1 rm rd 1010011"
        FcvtDS  D, "fcvt.d.s fd,fs1,exact"      "0100001 00000 rs1 rm rd 1010011"
    } };
}
