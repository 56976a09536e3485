//! The AIA under KVM: who has which chip, on hosts with and without guest interrupt files.

use anyhow::Result;

use super::guests::{Inner, linux};
use super::host::Host;
use crate::cases::contains;
use crate::harness::Env;
use crate::harness::vm::Vm;

/// Arguments of a host whose kernel can make IMSICs of guest interrupt files, and of one whose cannot.
pub const WITH_FILES: &[&str] = &["-M", "aia=aplic-imsic,aia-guests=3", "-cpu", "max"];
const WITHOUT_FILES: &[&str] = &["-M", "aia=aplic-imsic", "-cpu", "max"];

/// Linux on IMSICs, which an APLIC sends to.
fn imsics(host: Host, options: &str) -> Result<()> {
    let arguments = format!("-M virt,aia=aplic-imsic -accel kvm,{options}");
    host.run(|host| linux(host, &Inner { arguments: &arguments, interrupts: "APLIC-MSI" }))
}

pub fn in_the_kernel(env: &Env) -> Result<()> {
    imsics(Host::of_vireo(env).arguments(WITH_FILES), "kernel-irqchip=on,riscv-aia=hwaccel")
}

pub fn split(env: &Env) -> Result<()> {
    imsics(Host::of_vireo(env).arguments(WITH_FILES), "kernel-irqchip=split")
}

pub fn in_user_space(env: &Env) -> Result<()> {
    imsics(Host::of_vireo(env).arguments(WITH_FILES), "kernel-irqchip=off")
}

/// The kernel makes the IMSICs in software, and says that it has no other.
pub fn emulated(env: &Env) -> Result<()> {
    Host::of_vireo(env).arguments(WITHOUT_FILES).run(|host| {
        let mut refused =
            |options: &str, reason: &str| refused(host, &format!("-M virt,aia=aplic-imsic {options}"), reason);
        let reason = "riscv-aia=hwaccel: the host's IMSICs have no guest interrupt files; it must be auto or emul";
        refused("-accel kvm,riscv-aia=hwaccel", reason)?;
        refused("-accel kvm,riscv-aia=hwaccel,kernel-irqchip=split", reason)?;
        refused("-accel kvm,riscv-aia=hwaccel,kernel-irqchip=off", "kernel-irqchip=off must be on or split")?;
        let arguments = "-M virt,aia=aplic-imsic -accel kvm";
        linux(host, &Inner { arguments, interrupts: "APLIC-MSI" })
    })
}

/// On a host that has no AIA.
pub fn refused_without(host: &mut Vm) -> Result<()> {
    for irqchip in ["on", "split", "off"] {
        let arguments = format!("-M virt,aia=aplic-imsic -accel kvm,kernel-irqchip={irqchip}");
        refused(host, &arguments, "aia=aplic-imsic: the host's harts have no AIA (Ssaia); it must be none or aplic")?;
    }
    // An APLIC that drives wires needs nothing of the host.
    linux(host, &Inner { arguments: "-M virt,aia=aplic -accel kvm", interrupts: "APLIC-DIRECT" })
}

fn refused(host: &mut Vm, arguments: &str, reason: &str) -> Result<()> {
    let said = host.console.check(&format!("vireo {arguments} -nographic < /dev/null 2>&1; test $? = 1"))?;
    contains(arguments, &said, reason)
}
