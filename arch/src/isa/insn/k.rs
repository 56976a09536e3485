//! Scalar cryptography (Zk*): AES, SHA-2, SM3, SM4, and the bit manipulation that Zbb and Zbc do not have.

macro_rules! k_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        Pack       Zbkb,        "pack rd,rs1,rs2"       "0000100 rs2 rs1 100 rd 0110011"
        Packh      Zbkb,        "packh rd,rs1,rs2"      "0000100 rs2 rs1 111 rd 0110011"
        Packw      Zbkb,        "packw rd,rs1,rs2"      "0000100 rs2 rs1 100 rd 0111011"
        Brev8      Zbkb,        "brev8 rd,rs1"          "011010000111 rs1 101 rd 0010011"
        Xperm4     Zbkx,        "xperm4 rd,rs1,rs2"     "0010100 rs2 rs1 010 rd 0110011"
        Xperm8     Zbkx,        "xperm8 rd,rs1,rs2"     "0010100 rs2 rs1 100 rd 0110011"

        Aes64ds    Zknd,        "aes64ds rd,rs1,rs2"    "0011101 rs2 rs1 000 rd 0110011"
        Aes64dsm   Zknd,        "aes64dsm rd,rs1,rs2"   "0011111 rs2 rs1 000 rd 0110011"
        Aes64im    Zknd,        "aes64im rd,rs1"        "001100000000 rs1 001 rd 0010011"
        Aes64es    Zkne,        "aes64es rd,rs1,rs2"    "0011001 rs2 rs1 000 rd 0110011"
        Aes64esm   Zkne,        "aes64esm rd,rs1,rs2"   "0011011 rs2 rs1 000 rd 0110011"
        Aes64ks1i  Zknd | Zkne, "aes64ks1i rd,rs1,rnum" "00110001 uimm[3:0] rs1 001 rd 0010011, imm!=1011, imm!=11.."
        Aes64ks2   Zknd | Zkne, "aes64ks2 rd,rs1,rs2"   "0111111 rs2 rs1 000 rd 0110011"

        Sha256sum0 Zknh,        "sha256sum0 rd,rs1"     "000100000000 rs1 001 rd 0010011"
        Sha256sum1 Zknh,        "sha256sum1 rd,rs1"     "000100000001 rs1 001 rd 0010011"
        Sha256sig0 Zknh,        "sha256sig0 rd,rs1"     "000100000010 rs1 001 rd 0010011"
        Sha256sig1 Zknh,        "sha256sig1 rd,rs1"     "000100000011 rs1 001 rd 0010011"
        Sha512sum0 Zknh,        "sha512sum0 rd,rs1"     "000100000100 rs1 001 rd 0010011"
        Sha512sum1 Zknh,        "sha512sum1 rd,rs1"     "000100000101 rs1 001 rd 0010011"
        Sha512sig0 Zknh,        "sha512sig0 rd,rs1"     "000100000110 rs1 001 rd 0010011"
        Sha512sig1 Zknh,        "sha512sig1 rd,rs1"     "000100000111 rs1 001 rd 0010011"

        Sm3p0      Zksh,        "sm3p0 rd,rs1"          "000100001000 rs1 001 rd 0010011"
        Sm3p1      Zksh,        "sm3p1 rd,rs1"          "000100001001 rs1 001 rd 0010011"
        Sm4ed      Zksed,       "sm4ed rd,rs1,rs2,bs"   "uimm[1:0] 11000 rs2 rs1 000 rd 0110011"
        Sm4ks      Zksed,       "sm4ks rd,rs1,rs2,bs"   "uimm[1:0] 11010 rs2 rs1 000 rd 0110011"
    } };
}
