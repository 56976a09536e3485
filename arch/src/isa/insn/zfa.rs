//! Additional floating-point instructions (Zfa).

macro_rules! zfa_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        FliS      Zfa,       "fli.s fd,fli"           "1111000 00001 rs1 000 rd 1010011"
        FminmS    Zfa,       "fminm.s fd,fs1,fs2"     "0010100 rs2 rs1 010 rd 1010011"
        FmaxmS    Zfa,       "fmaxm.s fd,fs1,fs2"     "0010100 rs2 rs1 011 rd 1010011"
        FroundS   Zfa,       "fround.s fd,fs1,rm"     "0100000 00100 rs1 rm rd 1010011"
        FroundnxS Zfa,       "froundnx.s fd,fs1,rm"   "0100000 00101 rs1 rm rd 1010011"
        FleqS     Zfa,       "fleq.s rd,fs1,fs2"      "1010000 rs2 rs1 100 rd 1010011"
        FltqS     Zfa,       "fltq.s rd,fs1,fs2"      "1010000 rs2 rs1 101 rd 1010011"

        FliD      Zfa & D,   "fli.d fd,fli"           "1111001 00001 rs1 000 rd 1010011"
        FminmD    Zfa & D,   "fminm.d fd,fs1,fs2"     "0010101 rs2 rs1 010 rd 1010011"
        FmaxmD    Zfa & D,   "fmaxm.d fd,fs1,fs2"     "0010101 rs2 rs1 011 rd 1010011"
        FroundD   Zfa & D,   "fround.d fd,fs1,rm"     "0100001 00100 rs1 rm rd 1010011"
        FroundnxD Zfa & D,   "froundnx.d fd,fs1,rm"   "0100001 00101 rs1 rm rd 1010011"
        FleqD     Zfa & D,   "fleq.d rd,fs1,fs2"      "1010001 rs2 rs1 100 rd 1010011"
        FltqD     Zfa & D,   "fltq.d rd,fs1,fs2"      "1010001 rs2 rs1 101 rd 1010011"

        FliH      Zfa & Zfh | Zfa & Zvfh, "fli.h fd,fli"           "1111010 00001 rs1 000 rd 1010011"
        FminmH    Zfa & Zfh, "fminm.h fd,fs1,fs2"     "0010110 rs2 rs1 010 rd 1010011"
        FmaxmH    Zfa & Zfh, "fmaxm.h fd,fs1,fs2"     "0010110 rs2 rs1 011 rd 1010011"
        FroundH   Zfa & Zfh, "fround.h fd,fs1,rm"     "0100010 00100 rs1 rm rd 1010011"
        FroundnxH Zfa & Zfh, "froundnx.h fd,fs1,rm"   "0100010 00101 rs1 rm rd 1010011"
        FleqH     Zfa & Zfh, "fleq.h rd,fs1,fs2"      "1010010 rs2 rs1 100 rd 1010011"
        FltqH     Zfa & Zfh, "fltq.h rd,fs1,fs2"      "1010010 rs2 rs1 101 rd 1010011"

        FcvtmodWD Zfa & D,   "fcvtmod.w.d rd,fs1,rtz" "1100001 01000 rs1 001 rd 1010011"
    } };
}

/// The constants of `fli`, by index, as the disassembler writes them. `min` is the smallest normal number of the format.
pub(in crate::isa) const FLI: [&str; 32] = [
    "-0x1p+0", "min", "0x1p-16", "0x1p-15", "0x1p-8", "0x1p-7", "0x1p-4", "0x1p-3", "0x1p-2", "0x1.4p-2", "0x1.8p-2",
    "0x1.cp-2", "0x1p-1", "0x1.4p-1", "0x1.8p-1", "0x1.cp-1", "0x1p+0", "0x1.4p+0", "0x1.8p+0", "0x1.cp+0", "0x1p+1",
    "0x1.4p+1", "0x1.8p+1", "0x1p+2", "0x1p+3", "0x1p+4", "0x1p+7", "0x1p+8", "0x1p+15", "0x1p+16", "inf", "nan",
];
