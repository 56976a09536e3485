//! The extensions Vireo knows by name, one row each, in the canonical order of an ISA string:
//! single letters first, then `z*` grouped by the letter they extend, then `s*`.
//!
//! A row says nothing about how an extension behaves; it says what its presence entails and whether the engines have it.

/// Whether `-cpu` may turn an extension on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The engines do what the extension asks.
    Ready,
    /// Known by name only; asking for it is refused.
    Planned,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct ExtRow {
    pub ext: Ext,
    /// Lower case, as in `riscv,isa-extensions` and on the command line.
    pub name: &'static str,
    pub status: Status,
    /// What this extension contains or cannot be without.
    pub implies: &'static [Ext],
    /// One line for `-cpu help`.
    pub doc: &'static str,
}

macro_rules! extensions {
    ($($ext:ident $name:literal $status:ident [$($implied:ident)*] $doc:literal)*) => {
        /// An ISA extension, in canonical order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Ext {
            $(#[doc = $doc] $ext,)*
        }

        /// All extensions; the row of `ext` is at `ext as usize`.
        pub static EXTENSIONS: &[ExtRow] = &[
            $(ExtRow {
                ext: Ext::$ext,
                name: $name,
                status: Status::$status,
                implies: &[$(Ext::$implied),*],
                doc: $doc,
            },)*
        ];
    };
}

extensions! {
    I            "i"            Ready    [] "base integer instructions"
    M            "m"            Ready    [Zmmul] "integer multiplication and division"
    A            "a"            Ready    [Zaamo Zalrsc] "atomic instructions"
    F            "f"            Ready    [Zicsr] "single-precision floating point"
    D            "d"            Ready    [F] "double-precision floating point"
    C            "c"            Ready    [Zca] "compressed instructions"
    B            "b"            Ready    [Zba Zbb Zbs] "bit manipulation: Zba, Zbb and Zbs"
    V            "v"            Ready    [Zve64d] "vector operations for application processors"
    H            "h"            Ready    [S] "hypervisor"
    Zic64b       "zic64b"       Ready    [] "cache blocks are 64 bytes"
    Zicbom       "zicbom"       Ready    [] "cache-block management"
    Zicbop       "zicbop"       Ready    [] "cache-block prefetch"
    Zicboz       "zicboz"       Ready    [] "cache-block zero"
    Ziccamoa     "ziccamoa"     Ready    [Zaamo] "main memory supports all atomics of A"
    Ziccif       "ziccif"       Ready    [] "main memory supports atomic instruction fetch"
    Zicclsm      "zicclsm"      Ready    [] "main memory supports misaligned loads and stores"
    Ziccrse      "ziccrse"      Ready    [Zalrsc] "main memory supports forward progress of LR/SC sequences"
    Zicfilp      "zicfilp"      Ready    [Zicsr] "landing pads"
    Zicfiss      "zicfiss"      Ready    [Zicsr Zimop Zaamo] "shadow stack"
    Zicond       "zicond"       Ready    [] "integer conditional operations"
    Zicntr       "zicntr"       Ready    [Zicsr] "base counters and timers"
    Zicsr        "zicsr"        Ready    [] "CSR access instructions"
    Zifencei     "zifencei"     Ready    [] "instruction-fetch fence"
    Zihintntl    "zihintntl"    Ready    [] "non-temporal locality hints"
    Zihintpause  "zihintpause"  Ready    [] "pause hint"
    Zihpm        "zihpm"        Ready    [Zicsr] "hardware performance counters"
    Zilsd        "zilsd"        Planned  [] "load and store pair (RV32 only)"
    Zimop        "zimop"        Ready    [] "may-be-operations"
    Zmmul        "zmmul"        Ready    [] "integer multiplication"
    Za128rs      "za128rs"      Ready    [] "reservation sets are at most 128 bytes"
    Za64rs       "za64rs"       Ready    [] "reservation sets are at most 64 bytes"
    Zaamo        "zaamo"        Ready    [] "atomic memory operations"
    Zabha        "zabha"        Ready    [Zaamo] "byte and half-word atomic memory operations"
    Zacas        "zacas"        Ready    [Zaamo] "atomic compare-and-swap"
    Zalasr       "zalasr"       Ready    [] "load-acquire and store-release"
    Zalrsc       "zalrsc"       Ready    [] "load-reserved and store-conditional"
    Zama16b      "zama16b"      Ready    [] "misaligned atomics within 16 bytes"
    Zawrs        "zawrs"        Ready    [Zalrsc] "wait on reservation set"
    Zfa          "zfa"          Ready    [F] "additional floating-point instructions"
    Zfbfmin      "zfbfmin"      Ready    [F] "scalar BF16 conversions"
    Zfh          "zfh"          Ready    [Zfhmin] "half-precision floating point"
    Zfhmin       "zfhmin"       Ready    [F] "half-precision conversions"
    Zfinx        "zfinx"        Planned  [Zicsr] "single precision in integer registers"
    Zdinx        "zdinx"        Planned  [Zfinx] "double precision in integer registers"
    Zca          "zca"          Ready    [] "compressed instructions without floating point"
    Zcb          "zcb"          Ready    [Zca] "additional compressed instructions"
    Zcd          "zcd"          Ready    [Zca D] "compressed double-precision loads and stores"
    Zclsd        "zclsd"        Planned  [Zca Zilsd] "compressed load and store pair (RV32 only)"
    Zcmop        "zcmop"        Ready    [Zca] "compressed may-be-operations"
    Zcmp         "zcmp"         Planned  [Zca] "compressed push and pop"
    Zcmt         "zcmt"         Planned  [Zca Zicsr] "compressed table jump"
    Zba          "zba"          Ready    [] "address generation"
    Zbb          "zbb"          Ready    [] "basic bit manipulation"
    Zbc          "zbc"          Ready    [] "carry-less multiplication"
    Zbkb         "zbkb"         Ready    [] "bit manipulation for cryptography"
    Zbkc         "zbkc"         Ready    [] "carry-less multiplication for cryptography"
    Zbkx         "zbkx"         Ready    [] "crossbar permutations"
    Zbs          "zbs"          Ready    [] "single-bit operations"
    Zk           "zk"           Ready    [Zkn Zkr Zkt] "standard scalar cryptography"
    Zkn          "zkn"          Ready    [Zbkb Zbkc Zbkx Zkne Zknd Zknh] "NIST algorithm suite"
    Zknd         "zknd"         Ready    [] "AES decryption"
    Zkne         "zkne"         Ready    [] "AES encryption"
    Zknh         "zknh"         Ready    [] "SHA-2 hash functions"
    Zkr          "zkr"          Ready    [Zicsr] "entropy source"
    Zks          "zks"          Ready    [Zbkb Zbkc Zbkx Zksed Zksh] "ShangMi algorithm suite"
    Zksed        "zksed"        Ready    [] "SM4 block cipher"
    Zksh         "zksh"         Ready    [] "SM3 hash function"
    Zkt          "zkt"          Ready    [] "data-independent execution latency, as far as the host has it"
    Ztso         "ztso"         Ready    [] "total store ordering"
    Zvbb         "zvbb"         Ready    [Zvkb] "vector basic bit manipulation"
    Zvbc         "zvbc"         Ready    [Zve64x] "vector carry-less multiplication"
    Zve32f       "zve32f"       Ready    [Zve32x F] "vectors of 32-bit integers and single precision"
    Zve32x       "zve32x"       Ready    [Zicsr] "vectors of 32-bit integers"
    Zve64f       "zve64f"       Ready    [Zve64x Zve32f] "vectors of 64-bit integers and single precision"
    Zve64d       "zve64d"       Ready    [Zve64f D] "vectors of 64-bit integers and double precision"
    Zve64x       "zve64x"       Ready    [Zve32x] "vectors of 64-bit integers"
    Zvfbfa       "zvfbfa"       Planned  [Zve32f Zfbfmin] "vector BF16 arithmetic"
    Zvfbfmin     "zvfbfmin"     Ready    [Zve32f] "vector BF16 conversions"
    Zvfbfwma     "zvfbfwma"     Ready    [Zvfbfmin Zfbfmin] "vector BF16 widening multiply-add"
    Zvfh         "zvfh"         Ready    [Zvfhmin Zfhmin] "vector half-precision floating point"
    Zvfhmin      "zvfhmin"      Ready    [Zve32f] "vector half-precision conversions"
    Zvkb         "zvkb"         Ready    [Zve32x] "vector cryptography bit manipulation"
    Zvkg         "zvkg"         Ready    [Zve32x] "vector GCM/GMAC"
    Zvkn         "zvkn"         Ready    [Zvkned Zvknhb Zvkb Zvkt] "vector NIST algorithm suite"
    Zvknc        "zvknc"        Ready    [Zvkn Zvbc] "vector NIST algorithm suite with carry-less multiplication"
    Zvkned       "zvkned"       Ready    [Zve32x] "vector AES"
    Zvkng        "zvkng"        Ready    [Zvkn Zvkg] "vector NIST algorithm suite with GCM"
    Zvknha       "zvknha"       Ready    [Zve32x] "vector SHA-256"
    Zvknhb       "zvknhb"       Ready    [Zve64x] "vector SHA-256 and SHA-512"
    Zvks         "zvks"         Ready    [Zvksed Zvksh Zvkb Zvkt] "vector ShangMi algorithm suite"
    Zvksc        "zvksc"        Ready    [Zvks Zvbc] "vector ShangMi algorithm suite with carry-less multiplication"
    Zvksed       "zvksed"       Ready    [Zve32x] "vector SM4"
    Zvksg        "zvksg"        Ready    [Zvks Zvkg] "vector ShangMi algorithm suite with GCM"
    Zvksh        "zvksh"        Ready    [Zve32x] "vector SM3"
    Zvkt         "zvkt"         Ready    [] "vector data-independent execution latency"
    Zhinx        "zhinx"        Planned  [Zhinxmin] "half precision in integer registers"
    Zhinxmin     "zhinxmin"     Planned  [Zfinx] "half-precision conversions in integer registers"
    S            "s"            Ready    [U Zicsr] "supervisor mode"
    U            "u"            Ready    [Zicsr] "user mode"
    Sdtrig       "sdtrig"       Ready    [] "debug triggers"
    Shcounterenw "shcounterenw" Ready    [H] "hcounteren bits of all counters are writable"
    Sha          "sha"          Ready    [H Ssstateen Shcounterenw Shvstvala Shtvala Shvstvecd Shvsatpa Shgatpa] "augmented hypervisor"
    Shgatpa      "shgatpa"      Ready    [H] "hgatp supports the modes of satp"
    Shtvala      "shtvala"      Ready    [H] "htval holds the faulting guest physical address"
    Shvsatpa     "shvsatpa"     Ready    [H] "vsatp supports the modes of satp"
    Shvstvala    "shvstvala"    Ready    [H] "vstval holds what stval would"
    Shvstvecd    "shvstvecd"    Ready    [H] "vstvec supports direct mode"
    Smaia        "smaia"        Ready    [Ssaia] "advanced interrupt architecture, machine level"
    Smcdeleg     "smcdeleg"     Ready    [Sscsrind] "counter delegation"
    Smcntrpmf    "smcntrpmf"    Ready    [] "cycle and instret privilege-mode filtering"
    Smcsrind     "smcsrind"     Ready    [] "indirect CSR access, machine level"
    Smctr        "smctr"        Ready    [S Smcsrind] "control-transfer records, machine level"
    Smdbltrp     "smdbltrp"     Ready    [] "double trap, machine level"
    Smepmp       "smepmp"       Ready    [] "enhanced physical memory protection"
    Smmpm        "smmpm"        Ready    [] "pointer masking in machine mode"
    Smnpm        "smnpm"        Ready    [] "pointer masking for the next lower mode, machine level"
    Smpmpmt      "smpmpmt"      Planned  [] "memory types in PMP entries"
    Smrnmi       "smrnmi"       Ready    [] "resumable non-maskable interrupts"
    Smstateen    "smstateen"    Ready    [Ssstateen] "state enable, machine level"
    Ssaia        "ssaia"        Ready    [S] "advanced interrupt architecture, supervisor level"
    Ssccfg       "ssccfg"       Ready    [Smcdeleg] "counter configuration, supervisor level"
    Ssccptr      "ssccptr"      Ready    [S] "main memory supports page-table reads"
    Sscofpmf     "sscofpmf"     Ready    [Zihpm] "counter overflow interrupts and mode filtering"
    Sscounterenw "sscounterenw" Ready    [S] "scounteren bits of all counters are writable"
    Sscsrind     "sscsrind"     Ready    [S] "indirect CSR access, supervisor level"
    Ssctr        "ssctr"        Ready    [S Sscsrind] "control-transfer records, supervisor level"
    Ssdbltrp     "ssdbltrp"     Ready    [S] "double trap, supervisor level"
    Ssnpm        "ssnpm"        Ready    [S] "pointer masking for the next lower mode"
    Sspm         "sspm"         Ready    [S] "pointer masking in supervisor mode"
    Ssstateen    "ssstateen"    Ready    [S] "state enable, supervisor level"
    Ssstrict     "ssstrict"     Ready    [S] "no non-conforming extensions; reserved encodings trap"
    Sstc         "sstc"         Ready    [S] "supervisor timer compare"
    Sstvala      "sstvala"      Ready    [S] "stval holds the faulting address or instruction"
    Sstvecd      "sstvecd"      Ready    [S] "stvec supports direct mode"
    Ssu64xl      "ssu64xl"      Ready    [S] "sstatus.UXL supports 64 bits"
    Supm         "supm"         Ready    [U] "pointer masking in user mode"
    Svade        "svade"        Ready    [S] "page faults when accessed or dirty bits need setting"
    Svadu        "svadu"        Ready    [S] "hardware sets accessed and dirty bits"
    Svinval      "svinval"      Ready    [S] "fine-grained address-translation cache invalidation"
    Svnapot      "svnapot"      Ready    [S] "naturally aligned power-of-two pages"
    Svpbmt       "svpbmt"       Ready    [S] "page-based memory types"
    Svrsw60t59b  "svrsw60t59b"  Ready    [S] "page-table bits 60 and 59 are for software"
    Svvptc       "svvptc"       Ready    [S] "valid page-table entries become visible in bounded time"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ready_needs_nothing_that_is_not() {
        for row in EXTENSIONS.iter().filter(|row| row.status == Status::Ready) {
            let missing: Vec<_> = row.implies.iter().filter(|ext| !ext.is_ready()).collect();
            assert!(missing.is_empty(), "{} needs {missing:?}", row.name);
        }
    }
}
