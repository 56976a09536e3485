//! Single-precision floating point (F).

macro_rules! f_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        Flw     F, "flw fd,imm(rs1)"            "imm[11:0] rs1 010 rd 0000111"
        Fsw     F, "fsw fs2,imm(rs1)"           "imm[11:5] rs2 rs1 010 imm[4:0] 0100111"

        FmaddS  F, "fmadd.s fd,fs1,fs2,fs3,rm"  "rs3 00 rs2 rs1 rm rd 1000011"
        FmsubS  F, "fmsub.s fd,fs1,fs2,fs3,rm"  "rs3 00 rs2 rs1 rm rd 1000111"
        FnmsubS F, "fnmsub.s fd,fs1,fs2,fs3,rm" "rs3 00 rs2 rs1 rm rd 1001011"
        FnmaddS F, "fnmadd.s fd,fs1,fs2,fs3,rm" "rs3 00 rs2 rs1 rm rd 1001111"

        FaddS   F, "fadd.s fd,fs1,fs2,rm"       "0000000 rs2 rs1 rm rd 1010011"
        FsubS   F, "fsub.s fd,fs1,fs2,rm"       "0000100 rs2 rs1 rm rd 1010011"
        FmulS   F, "fmul.s fd,fs1,fs2,rm"       "0001000 rs2 rs1 rm rd 1010011"
        FdivS   F, "fdiv.s fd,fs1,fs2,rm"       "0001100 rs2 rs1 rm rd 1010011"
        FsqrtS  F, "fsqrt.s fd,fs1,rm"          "0101100 00000 rs1 rm rd 1010011"
        FsgnjS  F, "fsgnj.s fd,fs1,fs2"         "0010000 rs2 rs1 000 rd 1010011"
        FsgnjnS F, "fsgnjn.s fd,fs1,fs2"        "0010000 rs2 rs1 001 rd 1010011"
        FsgnjxS F, "fsgnjx.s fd,fs1,fs2"        "0010000 rs2 rs1 010 rd 1010011"
        FminS   F, "fmin.s fd,fs1,fs2"          "0010100 rs2 rs1 000 rd 1010011"
        FmaxS   F, "fmax.s fd,fs1,fs2"          "0010100 rs2 rs1 001 rd 1010011"
        FleS    F, "fle.s rd,fs1,fs2"           "1010000 rs2 rs1 000 rd 1010011"
        FltS    F, "flt.s rd,fs1,fs2"           "1010000 rs2 rs1 001 rd 1010011"
        FeqS    F, "feq.s rd,fs1,fs2"           "1010000 rs2 rs1 010 rd 1010011"
        FclassS F, "fclass.s rd,fs1"            "1110000 00000 rs1 001 rd 1010011"

        FcvtWS  F, "fcvt.w.s rd,fs1,rm"         "1100000 00000 rs1 rm rd 1010011"
        FcvtWuS F, "fcvt.wu.s rd,fs1,rm"        "1100000 00001 rs1 rm rd 1010011"
        FcvtLS  F, "fcvt.l.s rd,fs1,rm"         "1100000 00010 rs1 rm rd 1010011"
        FcvtLuS F, "fcvt.lu.s rd,fs1,rm"        "1100000 00011 rs1 rm rd 1010011"
        FcvtSW  F, "fcvt.s.w fd,rs1,rm"         "1101000 00000 rs1 rm rd 1010011"
        FcvtSWu F, "fcvt.s.wu fd,rs1,rm"        "1101000 00001 rs1 rm rd 1010011"
        FcvtSL  F, "fcvt.s.l fd,rs1,rm"         "1101000 00010 rs1 rm rd 1010011"
        FcvtSLu F, "fcvt.s.lu fd,rs1,rm"        "1101000 00011 rs1 rm rd 1010011"
        FmvXW   F, "fmv.x.w rd,fs1"             "1110000 00000 rs1 000 rd 1010011"
        FmvWX   F, "fmv.w.x fd,rs1"             "1111000 00000 rs1 000 rd 1010011"
    } };
}
