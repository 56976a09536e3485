//! Programs compiled for a vector machine, in Linux: what they print here is what the same binaries print on QEMU.
//!
//! The compiler of the root disk makes them, so they are built by what users of the guest would build with.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Result, bail};

use super::{Case, equal};
use crate::harness::vm::Machine;
use crate::harness::{Env, scratch};
use crate::host;

pub const CASES: &[Case] = &[
    Case { name: "vector programs print what they print on QEMU", run: as_on_qemu },
    Case { name: "openssl with the vector unit as on the host", run: openssl },
];

/// Name, source, and what the compiler is told beside [`ARCH`].
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("loops", include_str!("../../guest/rva23/loops.c"), "-O3"),
    ("sizes", include_str!("../../guest/rva23/loops.c"), "-O3 -mrvv-max-lmul=m8"),
    ("vectors", include_str!("../../guest/rva23/vectors.c"), "-O2"),
];

/// RVA23 and the options that the programs use, as far as the guest's compiler knows the names.
const ARCH: &str = "-march=rv64gcv_zba_zbb_zbs_zicond_zfa_zfh_zvfh_zvbb_zvbc_zcb";

/// Both VMMs have this model, and it has everything that [`ARCH`] names.
const CPU: [&str; 2] = ["-cpu", "max"];

/// Room for the binaries.
const BINARIES: u64 = 32 << 20;

const INITRAMFS_PROMPT: &str = "initramfs# ";

fn as_on_qemu(env: &Env) -> Result<()> {
    let Ok(tools) = &env.tools else { bail!("there is no QEMU to compare with") };
    let dir = scratch()?;
    let binaries = dir.path().join("binaries.tar");
    File::create(&binaries)?.set_len(BINARIES)?;
    let ours = build_and_run(env, dir.path(), &binaries)?;
    let theirs = run(env, &tools.qemu, &binaries)?;
    for ((name, ours), (_, theirs)) in ours.into_iter().zip(theirs) {
        equal(&format!("what {name} prints"), ours, theirs)?;
    }
    Ok(())
}

/// The library of the root disk chooses its vector code, ciphers and hashes included, by what the kernel reports.
fn openssl(env: &Env) -> Result<()> {
    let check = super::userland::CHECKS.iter().filter(|c| c.0 == "check-openssl.sh");
    super::userland::compare(env, Machine::virt(&env.vireo, 1).args(CPU), check)
}

/// Compiles the programs in the guest of the root disk, leaves them in the archive `binaries`, and runs them.
fn build_and_run(env: &Env, dir: &Path, binaries: &Path) -> Result<Vec<(&'static str, String)>> {
    let files = dir.join("files");
    fs::create_dir(&files)?;
    for (name, source, _) in PROGRAMS {
        fs::write(files.join(format!("{name}.c")), source)?;
    }
    let sources = dir.join("sources.tar");
    host::run(host::command("tar").arg("-cf").arg(&sources).arg("-C").arg(&files).arg("."))?;
    let machine = Machine::virt(&env.vireo, 2).args(CPU);
    let machine = machine.disk(env.disk()?, ",snapshot=on").disk(&sources, ",readonly=on").disk(binaries, "");
    let mut vm = machine.linux(env.guest()?, "quiet root=/dev/vda").start()?;
    vm.console.expect(super::userland::PROMPT)?;
    vm.console.check("stty cols 1000; bind 'set enable-bracketed-paste off'")?;
    vm.console.check("mkdir /tmp/files && cd /tmp/files && tar -xf /dev/vdb")?;
    for (name, _, options) in PROGRAMS {
        vm.console.check(&format!("gcc {ARCH} {options} -static -o {name} {name}.c -lm 2>&1"))?;
    }
    let names: Vec<_> = PROGRAMS.iter().map(|p| p.0).collect();
    vm.console.check(&format!("strip {0} && tar -cf /dev/vdc {0} && sync", names.join(" ")))?;
    let printed =
        PROGRAMS.iter().map(|p| Ok((p.0, vm.console.check(&format!("./{}", p.0))?))).collect::<Result<_>>()?;
    vm.console.send("poweroff\n")?;
    vm.wait_off()?;
    Ok(printed)
}

/// Runs the programs of the archive `binaries` in the first file system.
fn run(env: &Env, program: &Path, binaries: &Path) -> Result<Vec<(&'static str, String)>> {
    let machine = Machine::virt(program, 1).args(CPU).disk(binaries, ",readonly=on");
    let mut vm = machine.linux(env.guest()?, "quiet").start()?;
    vm.console.expect(INITRAMFS_PROMPT)?;
    vm.console.check("mkdir /p && cd /p && tar -xf /dev/vda")?;
    let printed =
        PROGRAMS.iter().map(|p| Ok((p.0, vm.console.check(&format!("./{}", p.0))?))).collect::<Result<_>>()?;
    vm.console.send("poweroff -f\n")?;
    vm.wait()?;
    Ok(printed)
}
