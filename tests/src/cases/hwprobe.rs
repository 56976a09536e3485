//! CPU models in Linux: what the kernel tells programs of the harts (riscv_hwprobe) is what the model says.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result, bail};
use arch::ext::{Ext, IsaConfig};

use super::userland::boot_disk_with;
use super::{Case, equal};
use crate::harness::vm::Machine;
use crate::harness::{Env, scratch};
use crate::host;

pub const CASES: &[Case] = &[
    Case { name: "hwprobe of rv64", run: |env| hwprobe(env, "rv64") },
    Case { name: "hwprobe of max", run: |env| hwprobe(env, "max") },
    Case { name: "hwprobe of rva23s64", run: |env| hwprobe(env, "rva23s64") },
    Case {
        name: "hwprobe of extensions that are off",
        run: |env| hwprobe(env, "rv64,zba=off,zbc=off,zfa=off,zicond=off,zawrs=off"),
    },
];

const PROBE: &str = include_str!("../../guest/hwprobe.c");

/// Keys of the system call (Linux, Documentation/arch/riscv/hwprobe.rst).
const MVENDORID: i64 = 0;
const MARCHID: i64 = 1;
const MIMPID: i64 = 2;
const BASE_BEHAVIOR: i64 = 3;
const IMA_EXT_0: i64 = 4;
const ZICBOZ_BLOCK_SIZE: i64 = 6;

/// Bits of `IMA_EXT_0`; the first is F and D together. Later ones depend on the kernel.
const BITS: &[(u32, Ext)] = &[
    (0, Ext::D),
    (1, Ext::C),
    (2, Ext::V),
    (3, Ext::Zba),
    (4, Ext::Zbb),
    (5, Ext::Zbs),
    (6, Ext::Zicboz),
    (7, Ext::Zbc),
    (8, Ext::Zbkb),
    (9, Ext::Zbkc),
    (10, Ext::Zbkx),
    (11, Ext::Zknd),
    (12, Ext::Zkne),
    (13, Ext::Zknh),
    (14, Ext::Zksed),
    (15, Ext::Zksh),
    (16, Ext::Zkt),
    (17, Ext::Zvbb),
    (18, Ext::Zvbc),
    (19, Ext::Zvkb),
    (20, Ext::Zvkg),
    (21, Ext::Zvkned),
    (22, Ext::Zvknha),
    (23, Ext::Zvknhb),
    (24, Ext::Zvksed),
    (25, Ext::Zvksh),
    (26, Ext::Zvkt),
    (27, Ext::Zfh),
    (28, Ext::Zfhmin),
    (29, Ext::Zihintntl),
    (30, Ext::Zvfh),
    (31, Ext::Zvfhmin),
    (32, Ext::Zfa),
    (33, Ext::Ztso),
    (34, Ext::Zacas),
    (35, Ext::Zicond),
    (36, Ext::Zihintpause),
    (37, Ext::Zve32x),
    (38, Ext::Zve32f),
    (39, Ext::Zve64x),
    (40, Ext::Zve64f),
    (41, Ext::Zve64d),
    (42, Ext::Zimop),
    (43, Ext::Zca),
    (44, Ext::Zcb),
    (45, Ext::Zcd),
    (47, Ext::Zcmop),
    (48, Ext::Zawrs),
];

fn hwprobe(env: &Env, model: &str) -> Result<()> {
    let isa = arch::model::parse(model)?;
    let dir = scratch()?;
    let files = dir.path().join("files");
    fs::create_dir(&files)?;
    fs::write(files.join("hwprobe.c"), PROBE)?;
    let archive = dir.path().join("files.tar");
    host::run(host::command("tar").arg("-cf").arg(&archive).arg("-C").arg(&files).arg("."))?;
    let mut vm = boot_disk_with(env, Machine::virt(&env.vireo, 2).args(["-cpu", model]), &archive)?;
    vm.console.check("cd /tmp && tar -xf /dev/vdb && gcc -o hwprobe hwprobe.c")?;
    let output = vm.console.check("./hwprobe")?;
    vm.console.send("poweroff\n")?;
    vm.wait_off()?;
    compare(&isa, &parse(&output)?)
}

/// Lines of a key and a value.
fn parse(output: &str) -> Result<HashMap<i64, u64>> {
    let pair = |line: &str| {
        let (key, value) = line.trim().split_once(' ')?;
        let value = value.strip_prefix("0x").map_or_else(|| value.parse().ok(), |v| u64::from_str_radix(v, 16).ok());
        Some((key.parse().ok()?, value?))
    };
    output.lines().map(|line| pair(line).with_context(|| format!("not a key and a value: {line:?}"))).collect()
}

fn compare(isa: &IsaConfig, probed: &HashMap<i64, u64>) -> Result<()> {
    let value = |key| probed.get(&key).copied().with_context(|| format!("the kernel does not know key {key}"));
    equal("mvendorid", value(MVENDORID)?, isa.mvendorid)?;
    equal("marchid", value(MARCHID)?, isa.marchid)?;
    equal("mimpid", value(MIMPID)?, isa.mimpid)?;
    equal("the base behaviour (IMA)", value(BASE_BEHAVIOR)? & 1, 1)?;
    let bits = value(IMA_EXT_0)?;
    let wrong: Vec<_> = BITS.iter().filter(|(bit, ext)| isa.has(*ext) != (bits >> bit & 1 != 0)).collect();
    if !wrong.is_empty() {
        let says = |&&(bit, ext): &&(u32, Ext)| format!("{}={}", Ext::name(ext), bits >> bit & 1);
        bail!("the kernel ({bits:#x}) and the model differ: {}", wrong.iter().map(says).collect::<Vec<_>>().join(", "));
    }
    if isa.has(Ext::Zicboz) {
        equal("the block of cbo.zero", value(ZICBOZ_BLOCK_SIZE)?, u64::from(isa.cboz_block))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_says_otherwise_is_noticed() {
        let isa = IsaConfig::default();
        let bits = BITS.iter().filter(|(_, ext)| isa.has(*ext)).fold(0u64, |bits, (bit, _)| bits | 1 << bit);
        let probed = |bits: u64| parse(&format!("0 0\n1 0\n2 0\n3 0x1\n4 {bits:#x}\n6 0x40\n")).unwrap();
        assert!(compare(&isa, &probed(bits)).is_ok());
        let error = compare(&isa, &probed(bits ^ 1 << 3)).unwrap_err().to_string();
        assert!(error.contains("zba=0"), "{error}");
        assert!(parse("riscv_hwprobe: Function not implemented").is_err());
    }
}
