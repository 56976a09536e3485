//! CSR access (Zicsr).

macro_rules! zicsr_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        Csrrw  Zicsr, "csrrw rd,csr,rs1"   "csr rs1 001 rd 1110011"
        Csrrs  Zicsr, "csrrs rd,csr,rs1"   "csr rs1 010 rd 1110011"
        Csrrc  Zicsr, "csrrc rd,csr,rs1"   "csr rs1 011 rd 1110011"
        Csrrwi Zicsr, "csrrwi rd,csr,zimm" "csr zimm 101 rd 1110011"
        Csrrsi Zicsr, "csrrsi rd,csr,zimm" "csr zimm 110 rd 1110011"
        Csrrci Zicsr, "csrrci rd,csr,zimm" "csr zimm 111 rd 1110011"
    } };
}
