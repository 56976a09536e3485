//! Vector permutation (V, "Vector Permutation Instructions").

macro_rules! v_perm_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        VmvXS          Zve32x, "vmv.x.s rd,vs2"                "010000 1 vs2 00000 010 rd 1010111"
        VmvSX          Zve32x, "vmv.s.x vd,rs1"                "010000 1 00000 rs1 110 vd 1010111"

        VslideupVx     Zve32x, "vslideup.vx vd,vs2,rs1,vm"     "001110 vm vs2 rs1 100 vd 1010111"
        VslideupVi     Zve32x, "vslideup.vi vd,vs2,imm,vm"     "001110 vm vs2 uimm[4:0] 011 vd 1010111"
        VslidedownVx   Zve32x, "vslidedown.vx vd,vs2,rs1,vm"   "001111 vm vs2 rs1 100 vd 1010111"
        VslidedownVi   Zve32x, "vslidedown.vi vd,vs2,imm,vm"   "001111 vm vs2 uimm[4:0] 011 vd 1010111"
        Vslide1upVx    Zve32x, "vslide1up.vx vd,vs2,rs1,vm"    "001110 vm vs2 rs1 110 vd 1010111"
        Vslide1downVx  Zve32x, "vslide1down.vx vd,vs2,rs1,vm"  "001111 vm vs2 rs1 110 vd 1010111"

        VrgatherVv     Zve32x, "vrgather.vv vd,vs2,vs1,vm"     "001100 vm vs2 vs1 000 vd 1010111"
        VrgatherVx     Zve32x, "vrgather.vx vd,vs2,rs1,vm"     "001100 vm vs2 rs1 100 vd 1010111"
        VrgatherVi     Zve32x, "vrgather.vi vd,vs2,imm,vm"     "001100 vm vs2 uimm[4:0] 011 vd 1010111"
        Vrgatherei16Vv Zve32x, "vrgatherei16.vv vd,vs2,vs1,vm" "001110 vm vs2 vs1 000 vd 1010111"
        VcompressVm    Zve32x, "vcompress.vm vd,vs2,vs1"       "010111 1 vs2 vs1 010 vd 1010111"

        Vmv1rV         Zve32x, "vmv1r.v vd,vs2"                "100111 1 vs2 00000 011 vd 1010111"
        Vmv2rV         Zve32x, "vmv2r.v vd,vs2"                "100111 1 vs2 00001 011 vd 1010111"
        Vmv4rV         Zve32x, "vmv4r.v vd,vs2"                "100111 1 vs2 00011 011 vd 1010111"
        Vmv8rV         Zve32x, "vmv8r.v vd,vs2"                "100111 1 vs2 00111 011 vd 1010111"
    } };
}
