//! What a KVM host's vCPUs have, as the ISA of a model: the kernel's numbers of extensions, and the harts' properties.

use std::io;

use arch::ext::{Ext, ExtSet, IsaConfig, SatpMode};

use super::one_reg::{self as reg, OneReg, RegId};

/// Extensions by the kernel's number of them (`enum KVM_RISCV_ISA_EXT_ID`).
pub const EXTENSIONS: [&str; 80] = [
    "a",
    "c",
    "d",
    "f",
    "h",
    "i",
    "m",
    "svpbmt",
    "sstc",
    "svinval", // 0
    "zihintpause",
    "zicbom",
    "zicboz",
    "zbb",
    "ssaia",
    "v",
    "svnapot",
    "zba",
    "zbs",
    "zicntr", // 10
    "zicsr",
    "zifencei",
    "zihpm",
    "smstateen",
    "zicond",
    "zbc",
    "zbkb",
    "zbkc",
    "zbkx",
    "zknd", // 20
    "zkne",
    "zknh",
    "zkr",
    "zksed",
    "zksh",
    "zkt",
    "zvbb",
    "zvbc",
    "zvkb",
    "zvkg", // 30
    "zvkned",
    "zvknha",
    "zvknhb",
    "zvksed",
    "zvksh",
    "zvkt",
    "zfh",
    "zfhmin",
    "zihintntl",
    "zvfh", // 40
    "zvfhmin",
    "zfa",
    "ztso",
    "zacas",
    "sscofpmf",
    "zimop",
    "zca",
    "zcb",
    "zcd",
    "zcf", // 50
    "zcmop",
    "zawrs",
    "smnpm",
    "ssnpm",
    "svade",
    "svadu",
    "svvptc",
    "zabha",
    "ziccrse",
    "zaamo", // 60
    "zalrsc",
    "zicbop",
    "zfbfmin",
    "zvfbfmin",
    "zvfbfwma",
    "zclsd",
    "zilsd",
    "zalasr",
    "zicfilp",
    "zicfiss", // 70
];

/// The kernel's number and the extension, of those that both know.
pub fn extensions() -> impl Iterator<Item = (usize, Ext)> {
    EXTENSIONS.iter().enumerate().filter_map(|(number, name)| Some((number, Ext::from_name(name)?)))
}

/// The register that says whether a vCPU has `ext`, which is one of the kernel's.
pub fn register(ext: Ext) -> RegId {
    let number = extensions().find(|(_, known)| *known == ext).map(|(number, _)| number);
    reg::isa_extension(number.expect("an extension that the kernel has a number of"))
}

/// The ISA of a fresh vCPU: all that the host can give.
pub fn host(regs: &impl OneReg) -> io::Result<IsaConfig> {
    let mut exts = ExtSet::of(&[Ext::S, Ext::U]);
    for (number, ext) in extensions() {
        exts.set(ext, regs.find(reg::isa_extension(number))? == Some(1));
    }
    // A guest of this machine has no hypervisor of its own.
    exts.remove(Ext::H);
    let block = |bytes: Option<u64>| bytes.and_then(|bytes| u16::try_from(bytes).ok()).unwrap_or(64);
    let vlenb = if exts.contains(Ext::V) { regs.find(reg::VLENB)? } else { None };
    let base = IsaConfig::default();
    Ok(IsaConfig {
        exts: exts.closure(),
        satp_mode: regs.find(reg::SATP_MODE)?.and_then(SatpMode::from_encoding).unwrap_or(SatpMode::Sv39),
        // M-mode is the host's.
        pmp_entries: 0,
        vlen: vlenb.map_or(base.vlen, |bytes| bytes as u32 * 8),
        cbom_block: block(regs.find(reg::ZICBOM_BLOCK)?),
        cboz_block: block(regs.find(reg::ZICBOZ_BLOCK)?),
        cbop_block: block(regs.find(reg::ZICBOP_BLOCK)?),
        imsic: false,
        geilen: 0,
        mvendorid: regs.get(reg::MVENDORID)?,
        marchid: regs.get(reg::MARCHID)?,
        mimpid: regs.get(reg::MIMPID)?,
        model: "host".to_owned(),
        ..base
    })
}

/// Takes from a fresh vCPU what `isa` does not have. An extension that the kernel cannot take away stays: it says so,
/// and programs that look at the device tree do not see it.
pub fn restrict(regs: &impl OneReg, isa: &IsaConfig) -> io::Result<Vec<Ext>> {
    let mut stay = Vec::new();
    for (number, ext) in extensions() {
        let id = reg::isa_extension(number);
        if isa.has(ext) || regs.find(id)? != Some(1) {
            continue;
        }
        if regs.set(id, 0).is_err() {
            stay.push(ext);
        }
    }
    Ok(stay)
}

/// Gives a fresh vCPU the machine's identity, which SBI tells, and makes sure of the size of its vector registers: the
/// kernel takes none but the host's.
pub fn identify(regs: &impl OneReg, isa: &IsaConfig) -> io::Result<()> {
    for (id, value) in [(reg::MVENDORID, isa.mvendorid), (reg::MARCHID, isa.marchid), (reg::MIMPID, isa.mimpid)] {
        if regs.get(id)? != value {
            regs.set(id, value)?;
        }
    }
    let has = if isa.has(Ext::V) { regs.get(reg::VLENB)? * 8 } else { u64::from(isa.vlen) };
    if has != u64::from(isa.vlen) {
        let what = format!("the host's vector registers have {has} bits, not {}", isa.vlen);
        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::Registers;
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        let number = |name| EXTENSIONS.iter().position(|n| *n == name).unwrap();
        let known = [("h", 4), ("ssaia", 14), ("svnapot", 16), ("zicntr", 19), ("smstateen", 23), ("zknd", 29)];
        for (name, n) in known {
            assert_eq!(number(name), n, "{name}");
        }
        let known = [("zvbb", 36), ("zfh", 46), ("sscofpmf", 54), ("zawrs", 61), ("svvptc", 66), ("zalrsc", 70)];
        for (name, n) in known {
            assert_eq!(number(name), n, "{name}");
        }
        assert_eq!(number("zicfiss"), 79);
        let mut names = EXTENSIONS;
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn only_what_is_there_and_wanted_is_on() {
        let regs = Registers::default();
        for name in ["a", "c", "d", "f", "i", "m", "v", "h", "zbb", "zicsr"] {
            let number = EXTENSIONS.iter().position(|n| *n == name).unwrap();
            regs.set(reg::isa_extension(number), 1).unwrap();
        }
        for id in [reg::MVENDORID, reg::MARCHID, reg::MIMPID] {
            regs.set(id, 7).unwrap();
        }
        regs.set(reg::VLENB, 32).unwrap();
        regs.set(reg::SATP_MODE, SatpMode::Sv48.encoding()).unwrap();
        let isa = host(&regs).unwrap();
        assert!(isa.has(Ext::V) && isa.has(Ext::S) && isa.has(Ext::Zbb) && !isa.has(Ext::H) && !isa.has(Ext::Zba));
        assert_eq!((isa.vlen, isa.satp_mode, isa.mimpid), (256, SatpMode::Sv48, 7));

        let mut less = isa.clone();
        less.exts.remove(Ext::V);
        assert_eq!(restrict(&regs, &less).unwrap(), []);
        let on = |name| {
            let number = EXTENSIONS.iter().position(|n| *n == name).unwrap();
            regs.get(reg::isa_extension(number)).unwrap()
        };
        assert_eq!((on("v"), on("d"), on("h")), (0, 1, 0));
    }

    #[test]
    fn identities_are_set_and_vectors_are_the_hosts() {
        let regs = Registers::default();
        for id in [reg::MVENDORID, reg::MARCHID, reg::MIMPID] {
            regs.set(id, 7).unwrap();
        }
        regs.set(reg::VLENB, 16).unwrap();
        let base = IsaConfig::default();
        let exts = base.exts.union(&ExtSet::of(&[Ext::V])).closure();
        let isa = IsaConfig { exts, vlen: 128, mvendorid: 7, marchid: 8, mimpid: 9, ..base };
        identify(&regs, &isa).unwrap();
        assert_eq!([reg::MVENDORID, reg::MARCHID, reg::MIMPID].map(|id| regs.get(id).unwrap()), [7, 8, 9]);
        let error = identify(&regs, &IsaConfig { vlen: 256, ..isa }).unwrap_err();
        assert_eq!(error.to_string(), "the host's vector registers have 128 bits, not 256");
    }
}
