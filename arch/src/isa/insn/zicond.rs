//! Integer conditional operations (Zicond).

macro_rules! zicond_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        CzeroEqz Zicond, "czero.eqz rd,rs1,rs2" "0000111 rs2 rs1 101 rd 0110011"
        CzeroNez Zicond, "czero.nez rd,rs1,rs2" "0000111 rs2 rs1 111 rd 0110011"
    } };
}
