//! Vector bit manipulation and cryptography (Zvbb, Zvkb, Zvbc, Zvkg, Zvkned, Zvknh, Zvksed, Zvksh).

macro_rules! zvk_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        VandnVv   Zvkb,            "vandn.vv vd,vs2,vs1,vm"   "000001 vm vs2 vs1 000 vd 1010111"
        VandnVx   Zvkb,            "vandn.vx vd,vs2,rs1,vm"   "000001 vm vs2 rs1 100 vd 1010111"
        VrolVv    Zvkb,            "vrol.vv vd,vs2,vs1,vm"    "010101 vm vs2 vs1 000 vd 1010111"
        VrolVx    Zvkb,            "vrol.vx vd,vs2,rs1,vm"    "010101 vm vs2 rs1 100 vd 1010111"
        VrorVv    Zvkb,            "vror.vv vd,vs2,vs1,vm"    "010100 vm vs2 vs1 000 vd 1010111"
        VrorVx    Zvkb,            "vror.vx vd,vs2,rs1,vm"    "010100 vm vs2 rs1 100 vd 1010111"
        VrorVi    Zvkb,            "vror.vi vd,vs2,imm,vm"    "01010 uimm[5] vm vs2 uimm[4:0] 011 vd 1010111"
        Vbrev8V   Zvkb,            "vbrev8.v vd,vs2,vm"       "010010 vm vs2 01000 010 vd 1010111"
        Vrev8V    Zvkb,            "vrev8.v vd,vs2,vm"        "010010 vm vs2 01001 010 vd 1010111"
        VbrevV    Zvbb,            "vbrev.v vd,vs2,vm"        "010010 vm vs2 01010 010 vd 1010111"
        VclzV     Zvbb,            "vclz.v vd,vs2,vm"         "010010 vm vs2 01100 010 vd 1010111"
        VctzV     Zvbb,            "vctz.v vd,vs2,vm"         "010010 vm vs2 01101 010 vd 1010111"
        VcpopV    Zvbb,            "vcpop.v vd,vs2,vm"        "010010 vm vs2 01110 010 vd 1010111"
        VwsllVv   Zvbb,            "vwsll.vv vd,vs2,vs1,vm"   "110101 vm vs2 vs1 000 vd 1010111"
        VwsllVx   Zvbb,            "vwsll.vx vd,vs2,rs1,vm"   "110101 vm vs2 rs1 100 vd 1010111"
        VwsllVi   Zvbb,            "vwsll.vi vd,vs2,imm,vm"   "110101 vm vs2 uimm[4:0] 011 vd 1010111"
        VclmulVv  Zvbc,            "vclmul.vv vd,vs2,vs1,vm"  "001100 vm vs2 vs1 010 vd 1010111"
        VclmulVx  Zvbc,            "vclmul.vx vd,vs2,rs1,vm"  "001100 vm vs2 rs1 110 vd 1010111"
        VclmulhVv Zvbc,            "vclmulh.vv vd,vs2,vs1,vm" "001101 vm vs2 vs1 010 vd 1010111"
        VclmulhVx Zvbc,            "vclmulh.vx vd,vs2,rs1,vm" "001101 vm vs2 rs1 110 vd 1010111"

        VghshVv   Zvkg,            "vghsh.vv vd,vs2,vs1"      "101100 1 vs2 vs1 010 vd 1110111"
        VgmulVv   Zvkg,            "vgmul.vv vd,vs2"          "101000 1 vs2 10001 010 vd 1110111"

        VaesdmVv  Zvkned,          "vaesdm.vv vd,vs2"         "101000 1 vs2 00000 010 vd 1110111"
        VaesdmVs  Zvkned,          "vaesdm.vs vd,vs2"         "101001 1 vs2 00000 010 vd 1110111"
        VaesdfVv  Zvkned,          "vaesdf.vv vd,vs2"         "101000 1 vs2 00001 010 vd 1110111"
        VaesdfVs  Zvkned,          "vaesdf.vs vd,vs2"         "101001 1 vs2 00001 010 vd 1110111"
        VaesemVv  Zvkned,          "vaesem.vv vd,vs2"         "101000 1 vs2 00010 010 vd 1110111"
        VaesemVs  Zvkned,          "vaesem.vs vd,vs2"         "101001 1 vs2 00010 010 vd 1110111"
        VaesefVv  Zvkned,          "vaesef.vv vd,vs2"         "101000 1 vs2 00011 010 vd 1110111"
        VaesefVs  Zvkned,          "vaesef.vs vd,vs2"         "101001 1 vs2 00011 010 vd 1110111"
        VaeszVs   Zvkned,          "vaesz.vs vd,vs2"          "101001 1 vs2 00111 010 vd 1110111"
        Vaeskf1Vi Zvkned,          "vaeskf1.vi vd,vs2,imm"    "100010 1 vs2 uimm[4:0] 010 vd 1110111"
        Vaeskf2Vi Zvkned,          "vaeskf2.vi vd,vs2,imm"    "101010 1 vs2 uimm[4:0] 010 vd 1110111"

        Vsha2msVv Zvknha | Zvknhb, "vsha2ms.vv vd,vs2,vs1"    "101101 1 vs2 vs1 010 vd 1110111"
        Vsha2chVv Zvknha | Zvknhb, "vsha2ch.vv vd,vs2,vs1"    "101110 1 vs2 vs1 010 vd 1110111"
        Vsha2clVv Zvknha | Zvknhb, "vsha2cl.vv vd,vs2,vs1"    "101111 1 vs2 vs1 010 vd 1110111"

        Vsm3meVv  Zvksh,           "vsm3me.vv vd,vs2,vs1"     "100000 1 vs2 vs1 010 vd 1110111"
        Vsm3cVi   Zvksh,           "vsm3c.vi vd,vs2,imm"      "101011 1 vs2 uimm[4:0] 010 vd 1110111"
        Vsm4kVi   Zvksed,          "vsm4k.vi vd,vs2,imm"      "100001 1 vs2 uimm[4:0] 010 vd 1110111"
        Vsm4rVv   Zvksed,          "vsm4r.vv vd,vs2"          "101000 1 vs2 10000 010 vd 1110111"
        Vsm4rVs   Zvksed,          "vsm4r.vs vd,vs2"          "101001 1 vs2 10000 010 vd 1110111"
    } };
}
