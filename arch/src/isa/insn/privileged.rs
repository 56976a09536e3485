//! Machine and supervisor instructions (privileged specification).

macro_rules! privileged_rows {
    ([$next:ident $($then:ident)*] $($rows:tt)*) => { $next! { [$($then)*] $($rows)*
        Mret          I,       "mret"               "001100000010 00000 000 00000 1110011"
        Mnret         Smrnmi,  "mnret"              "011100000010 00000 000 00000 1110011"
        Wfi           I,       "wfi"                "000100000101 00000 000 00000 1110011"
        Sret          S,       "sret"               "000100000010 00000 000 00000 1110011"
        Sctrclr       Ssctr,   "sctrclr"            "000100000100 00000 000 00000 1110011"
        SfenceVma     S,       "sfence.vma rs1,rs2" "0001001 rs2 rs1 000 00000 1110011"
        SinvalVma     Svinval, "sinval.vma rs1,rs2" "0001011 rs2 rs1 000 00000 1110011"
        SfenceWInval  Svinval, "sfence.w.inval"     "000110000000 00000 000 00000 1110011"
        SfenceInvalIr Svinval, "sfence.inval.ir"    "000110000001 00000 000 00000 1110011"
    } };
}
