//! Hypervisor instructions (privileged specification, "H" extension, and Svinval).

macro_rules! h_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        HlvB       H, "hlv.b rd,(rs1)"       "0110000 00000 rs1 100 rd 1110011"
        HlvBu      H, "hlv.bu rd,(rs1)"      "0110000 00001 rs1 100 rd 1110011"
        HlvH       H, "hlv.h rd,(rs1)"       "0110010 00000 rs1 100 rd 1110011"
        HlvHu      H, "hlv.hu rd,(rs1)"      "0110010 00001 rs1 100 rd 1110011"
        HlvxHu     H, "hlvx.hu rd,(rs1)"     "0110010 00011 rs1 100 rd 1110011"
        HlvW       H, "hlv.w rd,(rs1)"       "0110100 00000 rs1 100 rd 1110011"
        HlvWu      H, "hlv.wu rd,(rs1)"      "0110100 00001 rs1 100 rd 1110011"
        HlvxWu     H, "hlvx.wu rd,(rs1)"     "0110100 00011 rs1 100 rd 1110011"
        HlvD       H, "hlv.d rd,(rs1)"       "0110110 00000 rs1 100 rd 1110011"
        HsvB       H, "hsv.b rs2,(rs1)"      "0110001 rs2 rs1 100 00000 1110011"
        HsvH       H, "hsv.h rs2,(rs1)"      "0110011 rs2 rs1 100 00000 1110011"
        HsvW       H, "hsv.w rs2,(rs1)"      "0110101 rs2 rs1 100 00000 1110011"
        HsvD       H, "hsv.d rs2,(rs1)"      "0110111 rs2 rs1 100 00000 1110011"
        HfenceVvma H, "hfence.vvma rs1,rs2"  "0010001 rs2 rs1 000 00000 1110011"
        HfenceGvma H, "hfence.gvma rs1,rs2"  "0110001 rs2 rs1 000 00000 1110011"
        HinvalVvma H & Svinval, "hinval.vvma rs1,rs2" "0010011 rs2 rs1 000 00000 1110011"
        HinvalGvma H & Svinval, "hinval.gvma rs1,rs2" "0110011 rs2 rs1 000 00000 1110011"
    } };
}
