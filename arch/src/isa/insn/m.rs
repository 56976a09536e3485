//! Integer multiplication and division (M, Zmmul).

macro_rules! m_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        Mul    Zmmul, "mul rd,rs1,rs2"    "0000001 rs2 rs1 000 rd 0110011"
        Mulh   Zmmul, "mulh rd,rs1,rs2"   "0000001 rs2 rs1 001 rd 0110011"
        Mulhsu Zmmul, "mulhsu rd,rs1,rs2" "0000001 rs2 rs1 010 rd 0110011"
        Mulhu  Zmmul, "mulhu rd,rs1,rs2"  "0000001 rs2 rs1 011 rd 0110011"
        Mulw   Zmmul, "mulw rd,rs1,rs2"   "0000001 rs2 rs1 000 rd 0111011"

        Div    M,     "div rd,rs1,rs2"    "0000001 rs2 rs1 100 rd 0110011"
        Divu   M,     "divu rd,rs1,rs2"   "0000001 rs2 rs1 101 rd 0110011"
        Rem    M,     "rem rd,rs1,rs2"    "0000001 rs2 rs1 110 rd 0110011"
        Remu   M,     "remu rd,rs1,rs2"   "0000001 rs2 rs1 111 rd 0110011"
        Divw   M,     "divw rd,rs1,rs2"   "0000001 rs2 rs1 100 rd 0111011"
        Divuw  M,     "divuw rd,rs1,rs2"  "0000001 rs2 rs1 101 rd 0111011"
        Remw   M,     "remw rd,rs1,rs2"   "0000001 rs2 rs1 110 rd 0111011"
        Remuw  M,     "remuw rd,rs1,rs2"  "0000001 rs2 rs1 111 rd 0111011"
    } };
}
