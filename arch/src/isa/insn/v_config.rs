//! Vector configuration (V, "Configuration-Setting Instructions").

macro_rules! v_config_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        Vsetvli  Zve32x, "vsetvli rd,rs1,vtype"   "0 uimm[10:0] rs1 111 rd 1010111"
        Vsetivli Zve32x, "vsetivli rd,zimm,vtype" "11 uimm[9:0] zimm 111 rd 1010111"
        Vsetvl   Zve32x, "vsetvl rd,rs1,rs2"      "1000000 rs2 rs1 111 rd 1010111"
    } };
}
