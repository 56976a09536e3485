//! Bit manipulation for cryptography that Zbb and Zbc do not have (Zbkb, Zbkx).

macro_rules! k_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        Pack   Zbkb, "pack rd,rs1,rs2"   "0000100 rs2 rs1 100 rd 0110011"
        Packh  Zbkb, "packh rd,rs1,rs2"  "0000100 rs2 rs1 111 rd 0110011"
        Packw  Zbkb, "packw rd,rs1,rs2"  "0000100 rs2 rs1 100 rd 0111011"
        Brev8  Zbkb, "brev8 rd,rs1"      "011010000111 rs1 101 rd 0010011"
        Xperm4 Zbkx, "xperm4 rd,rs1,rs2" "0010100 rs2 rs1 010 rd 0110011"
        Xperm8 Zbkx, "xperm8 rd,rs1,rs2" "0010100 rs2 rs1 100 rd 0110011"
    } };
}
