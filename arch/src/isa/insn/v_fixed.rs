//! Vector fixed-point arithmetic (V, "Vector Fixed-Point Arithmetic Instructions").

macro_rules! v_fixed_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        VsadduVv  Zve32x, "vsaddu.vv vd,vs2,vs1,vm"  "100000 vm vs2 vs1 000 vd 1010111"
        VsadduVx  Zve32x, "vsaddu.vx vd,vs2,rs1,vm"  "100000 vm vs2 rs1 100 vd 1010111"
        VsadduVi  Zve32x, "vsaddu.vi vd,vs2,imm,vm"  "100000 vm vs2 imm[4:0] 011 vd 1010111"
        VsaddVv   Zve32x, "vsadd.vv vd,vs2,vs1,vm"   "100001 vm vs2 vs1 000 vd 1010111"
        VsaddVx   Zve32x, "vsadd.vx vd,vs2,rs1,vm"   "100001 vm vs2 rs1 100 vd 1010111"
        VsaddVi   Zve32x, "vsadd.vi vd,vs2,imm,vm"   "100001 vm vs2 imm[4:0] 011 vd 1010111"
        VssubuVv  Zve32x, "vssubu.vv vd,vs2,vs1,vm"  "100010 vm vs2 vs1 000 vd 1010111"
        VssubuVx  Zve32x, "vssubu.vx vd,vs2,rs1,vm"  "100010 vm vs2 rs1 100 vd 1010111"
        VssubVv   Zve32x, "vssub.vv vd,vs2,vs1,vm"   "100011 vm vs2 vs1 000 vd 1010111"
        VssubVx   Zve32x, "vssub.vx vd,vs2,rs1,vm"   "100011 vm vs2 rs1 100 vd 1010111"

        VaadduVv  Zve32x, "vaaddu.vv vd,vs2,vs1,vm"  "001000 vm vs2 vs1 010 vd 1010111"
        VaadduVx  Zve32x, "vaaddu.vx vd,vs2,rs1,vm"  "001000 vm vs2 rs1 110 vd 1010111"
        VaaddVv   Zve32x, "vaadd.vv vd,vs2,vs1,vm"   "001001 vm vs2 vs1 010 vd 1010111"
        VaaddVx   Zve32x, "vaadd.vx vd,vs2,rs1,vm"   "001001 vm vs2 rs1 110 vd 1010111"
        VasubuVv  Zve32x, "vasubu.vv vd,vs2,vs1,vm"  "001010 vm vs2 vs1 010 vd 1010111"
        VasubuVx  Zve32x, "vasubu.vx vd,vs2,rs1,vm"  "001010 vm vs2 rs1 110 vd 1010111"
        VasubVv   Zve32x, "vasub.vv vd,vs2,vs1,vm"   "001011 vm vs2 vs1 010 vd 1010111"
        VasubVx   Zve32x, "vasub.vx vd,vs2,rs1,vm"   "001011 vm vs2 rs1 110 vd 1010111"

        VsmulVv   Zve32x, "vsmul.vv vd,vs2,vs1,vm"   "100111 vm vs2 vs1 000 vd 1010111"
        VsmulVx   Zve32x, "vsmul.vx vd,vs2,rs1,vm"   "100111 vm vs2 rs1 100 vd 1010111"
        VssrlVv   Zve32x, "vssrl.vv vd,vs2,vs1,vm"   "101010 vm vs2 vs1 000 vd 1010111"
        VssrlVx   Zve32x, "vssrl.vx vd,vs2,rs1,vm"   "101010 vm vs2 rs1 100 vd 1010111"
        VssrlVi   Zve32x, "vssrl.vi vd,vs2,imm,vm"   "101010 vm vs2 uimm[4:0] 011 vd 1010111"
        VssraVv   Zve32x, "vssra.vv vd,vs2,vs1,vm"   "101011 vm vs2 vs1 000 vd 1010111"
        VssraVx   Zve32x, "vssra.vx vd,vs2,rs1,vm"   "101011 vm vs2 rs1 100 vd 1010111"
        VssraVi   Zve32x, "vssra.vi vd,vs2,imm,vm"   "101011 vm vs2 uimm[4:0] 011 vd 1010111"
        VnclipuWv Zve32x, "vnclipu.wv vd,vs2,vs1,vm" "101110 vm vs2 vs1 000 vd 1010111"
        VnclipuWx Zve32x, "vnclipu.wx vd,vs2,rs1,vm" "101110 vm vs2 rs1 100 vd 1010111"
        VnclipuWi Zve32x, "vnclipu.wi vd,vs2,imm,vm" "101110 vm vs2 uimm[4:0] 011 vd 1010111"
        VnclipWv  Zve32x, "vnclip.wv vd,vs2,vs1,vm"  "101111 vm vs2 vs1 000 vd 1010111"
        VnclipWx  Zve32x, "vnclip.wx vd,vs2,rs1,vm"  "101111 vm vs2 rs1 100 vd 1010111"
        VnclipWi  Zve32x, "vnclip.wi vd,vs2,imm,vm"  "101111 vm vs2 uimm[4:0] 011 vd 1010111"
    } };
}
