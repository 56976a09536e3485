//! Vector mask instructions (V, "Vector Mask Instructions").

macro_rules! v_mask_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        VmandnMm Zve32x, "vmandn.mm vd,vs2,vs1" "011000 1 vs2 vs1 010 vd 1010111"
        VmandMm  Zve32x, "vmand.mm vd,vs2,vs1"  "011001 1 vs2 vs1 010 vd 1010111"
        VmorMm   Zve32x, "vmor.mm vd,vs2,vs1"   "011010 1 vs2 vs1 010 vd 1010111"
        VmxorMm  Zve32x, "vmxor.mm vd,vs2,vs1"  "011011 1 vs2 vs1 010 vd 1010111"
        VmornMm  Zve32x, "vmorn.mm vd,vs2,vs1"  "011100 1 vs2 vs1 010 vd 1010111"
        VmnandMm Zve32x, "vmnand.mm vd,vs2,vs1" "011101 1 vs2 vs1 010 vd 1010111"
        VmnorMm  Zve32x, "vmnor.mm vd,vs2,vs1"  "011110 1 vs2 vs1 010 vd 1010111"
        VmxnorMm Zve32x, "vmxnor.mm vd,vs2,vs1" "011111 1 vs2 vs1 010 vd 1010111"

        VcpopM   Zve32x, "vcpop.m rd,vs2,vm"    "010000 vm vs2 10000 010 rd 1010111"
        VfirstM  Zve32x, "vfirst.m rd,vs2,vm"   "010000 vm vs2 10001 010 rd 1010111"
        VmsbfM   Zve32x, "vmsbf.m vd,vs2,vm"    "010100 vm vs2 00001 010 vd 1010111"
        VmsofM   Zve32x, "vmsof.m vd,vs2,vm"    "010100 vm vs2 00010 010 vd 1010111"
        VmsifM   Zve32x, "vmsif.m vd,vs2,vm"    "010100 vm vs2 00011 010 vd 1010111"
        ViotaM   Zve32x, "viota.m vd,vs2,vm"    "010100 vm vs2 10000 010 vd 1010111"
        VidV     Zve32x, "vid.v vd,vm"          "010100 vm 00000 10001 010 vd 1010111"
    } };
}
