//! `-accel kvm`, on RISC-V hosts that are guests themselves: of vireo, and of QEMU.
//!
//! To add a case, write a function that takes the prompt of a host, and a row that says which host.

mod aia;
mod debug_switch;
mod engines;
mod gdb;
mod guests;
pub(crate) mod host;
mod memory;
mod profile;
mod snapshots;

use anyhow::Result;

use self::guests::{FAILS_ON_QEMU, Inner, linux, selftest};
use self::host::Host;
use super::{Case, contains};
use crate::harness::Env;
use crate::harness::vm::Vm;

pub const CASES: &[Case] = &[
    Case {
        name: "KVM: no /dev/kvm, and tcg in its place",
        run: |env| Host::of_vireo(env).without_kvm().run(no_kvm_and_tcg_in_its_place),
    },
    Case {
        name: "KVM: engines, models and bad input",
        run: |env| Host::of_vireo(env).run(engines_models_and_bad_input),
    },
    Case { name: "KVM: the demo guest's self test", run: |env| Host::of_vireo(env).run(|host| selftest(host, &[])) },
    Case {
        name: "KVM: Linux, disk, network, reboot",
        run: |env| Host::of_vireo(env).run(|host| linux(host, &Inner::default())),
    },
    Case { name: "KVM: every suite of vireo bench", run: |env| Host::of_vireo(env).arguments(MAX).run(bench) },
    Case { name: "KVM: RAM of every kind", run: |env| Host::of_vireo(env).run(memory::backends) },
    Case { name: "KVM: Linux at gdb", run: |env| gdb::linux(env, Host::of_vireo(env)) },
    Case { name: "KVM: a watchpoint and a log by way of tcg", run: debug_switch::bare },
    Case { name: "KVM: Linux is watched by way of tcg", run: debug_switch::linux },
    Case { name: "KVM: Linux goes to tcg and back", run: |env| engines::there_and_back(env, &[], "") },
    Case {
        name: "KVM: Linux goes to tcg and back, chips in the kernel",
        run: |env| engines::there_and_back(env, aia::WITH_FILES, "-M virt,aia=aplic-imsic"),
    },
    Case { name: "KVM: Linux in snapshots of both engines", run: snapshots::linux },
    Case { name: "KVM: a guest of tcg in snapshots of both engines", run: snapshots::began_under_tcg },
    Case { name: "KVM: a profile of a bare program", run: |env| profile::bare(Host::of_vireo(env)) },
    Case { name: "KVM: a profile of Linux by its own symbols", run: profile::linux },
    Case { name: "KVM: harts on chosen CPUs", run: |env| Host::of_vireo(env).run(memory::affinity) },
    Case { name: "KVM: APLIC and IMSICs in the kernel", run: aia::in_the_kernel },
    Case { name: "KVM: IMSICs in the kernel", run: aia::split },
    Case { name: "KVM: APLIC and IMSICs in user space", run: aia::in_user_space },
    Case { name: "KVM: IMSICs in the kernel's software", run: aia::emulated },
    Case { name: "KVM: no AIA, and an APLIC with wires", run: |env| Host::of_vireo(env).run(aia::refused_without) },
    Case {
        name: "KVM: the engine's own tests, 2 harts with vectors",
        run: |env| engine(Host::of_vireo(env), env, MAX),
    },
    Case { name: "KVM: the engine's own tests, 1 hart", run: |env| engine(Host::of_vireo(env).harts(1), env, MAX) },
    Case { name: "KVM: the engine's own tests, AIA", run: |env| engine(Host::of_vireo(env), env, aia::WITH_FILES) },
    Case { name: "KVM on QEMU: the engine's own tests", run: |env| engine(Host::of_qemu(env)?, env, MAX) },
    Case {
        name: "KVM on QEMU: the demo guest's self test",
        run: |env| Host::of_qemu(env)?.run(|host| selftest(host, FAILS_ON_QEMU)),
    },
    Case { name: "KVM on QEMU: Linux at gdb", run: |env| gdb::linux(env, Host::of_qemu(env)?) },
    Case {
        name: "KVM on QEMU: Linux, disk, network, reboot",
        run: |env| Host::of_qemu(env)?.run(|host| linux(host, &Inner::default())),
    },
];

/// A host with all extensions.
const MAX: &[&str] = &["-cpu", "max"];

/// accel/tests/kvm, on a host with these arguments.
fn engine<'a>(host: Host<'a>, env: &'a Env, arguments: &'a [&'a str]) -> Result<()> {
    let program = env.kvm_test.clone().map_err(|e| anyhow::anyhow!("no test program: {e}"))?;
    host.arguments(arguments).program("engine-test", program).run(|host| {
        let said = host.console.check("engine-test --ignored --test-threads 1 2>&1")?;
        contains("the tests", &said, "test result: ok")
    })
}

/// Each suite once. How fast is not looked at.
fn bench(host: &mut Vm) -> Result<()> {
    host.console.check("dmesg -n 1")?;
    let short = "--runs 1 --warmup 0 --min-ms 1 --no-noise";
    let said = host.console.check(&format!("vireo bench --engines kvm --suite all --smp 2 {short} 2>&1"))?;
    for part in ["guest-up", "csr-read", "sort", "n-body", "saxpy", "latency", "exits a request"] {
        contains("the table", &said, part)?;
    }
    Ok(())
}

fn no_kvm_and_tcg_in_its_place(host: &mut Vm) -> Result<()> {
    let refused = host.console.check("vireo -accel kvm -nographic < /dev/null 2>&1; test $? = 1")?;
    contains("the refusal", &refused, "accelerator 'kvm' is not available: there is no /dev/kvm")?;
    let help = host.console.check("vireo -accel help")?;
    contains("-accel help", &help, "(not available: there is no /dev/kvm")?;
    let fell_back = host.console.check("printf 'poweroff\\n' | vireo -M virt,accel=kvm:tcg -nographic 2>&1")?;
    contains("the warning", &fell_back, "there is no /dev/kvm")?;
    contains("the warning", &fell_back, "using tcg")?;
    contains("the guest", &fell_back, "Vireo demo guest")
}

fn engines_models_and_bad_input(host: &mut Vm) -> Result<()> {
    let help = host.console.check("vireo -accel help")?;
    contains("-accel help", &help, "kvm     the host's hypervisor; RISC-V hosts only (available)")?;
    let mut refused = |arguments: &str, reason: &str| {
        let said =
            host.console.check(&format!("vireo -accel kvm -nographic {arguments} < /dev/null 2>&1; test $? = 1"))?;
        contains(arguments, &said, reason)
    };
    refused("-cpu rva23s64", "this host cannot be CPU model 'rva23s64': it lacks v")?;
    refused("-cpu host,zvbb=on", "it lacks")?;
    refused("-cpu host,cbom_blocksize=32", "it lacks cbom_blocksize=32 (it has 64)")?;
    refused("-bios /bin/busybox", "M-mode firmware does not run under KVM")?;
    refused("-M spike -kernel /bin/vireo", "-machine spike")?;
    // The host's harts, made of nothing.
    let said =
        host.console.check("printf 'info\\npoweroff\\n' | vireo -accel tcg -cpu host,zbb=off -nographic 2>&1")?;
    contains("the guest", &said, "_zba_zbc")?;
    let more = "printf 'poweroff\\n' | vireo -accel kvm -nographic -smp 4 2>&1";
    contains("the warning", &host.console.check(more)?, "4 harts are more than the 2 that this host runs well")?;
    let less = "printf 'info\\npoweroff\\n' | vireo -accel kvm -nographic -cpu host,zbb=off 2>&1";
    let said = host.console.check(less)?;
    contains("the guest", &said, "_zba_zbc")
}
