//! `cargo linux`: from nothing to the prompt of a Debian system on the serial console.

use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{guest, host, tools, verify};

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub mirror: Option<String>,
    pub kernel: Option<PathBuf>,
    pub initrd: Option<PathBuf>,
    /// A root disk of the user's own.
    pub disk: Option<PathBuf>,
    pub no_disk: bool,
    /// Forget what earlier runs wrote to the disk.
    pub fresh: bool,
    pub update: bool,
    /// Run QEMU instead, to compare.
    pub qemu: bool,
    /// For the program that runs the guest.
    pub extra: Vec<String>,
}

/// Becomes the program that runs the guest.
pub fn run(options: &Options) -> Result<Infallible> {
    let wanted = guest::Options {
        mirror: options.mirror.clone(),
        disk: !options.no_disk && options.disk.is_none(),
        firmware: false,
        kvm: false,
        update: options.update,
    };
    for file in [&options.kernel, &options.initrd, &options.disk].into_iter().flatten() {
        fs::File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    }
    // Someone's own kernel does not go with our modules, so it goes with their initrd and disk, or with none.
    let (kernel, initrd, disk) = match &options.kernel {
        Some(kernel) => (kernel.clone(), options.initrd.clone(), options.disk.clone()),
        None => {
            let guest = guest::prepare(&wanted)?;
            let disk = match (&options.disk, &guest.disk) {
                (_, _) if options.no_disk => None,
                (Some(own), _) => Some(own.clone()),
                (None, Some(pristine)) => Some(working_copy(pristine, options.fresh)?),
                (None, None) => None,
            };
            (guest.kernel, Some(options.initrd.clone().unwrap_or(guest.initrd)), disk)
        }
    };
    let program = match options.qemu {
        true => tools::prepare(options.mirror.as_deref())?.qemu,
        false => {
            host::say("building vireo");
            verify::build_vireo()?
        }
    };
    let mut command = Command::new(&program);
    command.args(["-M", "virt", "-smp", "2", "-m", "1G", "-nographic"]).arg("-kernel").arg(kernel);
    if let Some(initrd) = initrd {
        command.arg("-initrd").arg(initrd);
    }
    let append = if disk.is_some() { "console=ttyS0 root=/dev/vda" } else { "console=ttyS0" };
    command.args(["-append", append]);
    if let Some(disk) = disk {
        let path = disk.to_str().context("the disk's path is not UTF-8")?.replace(',', ",,");
        command.arg("-drive").arg(format!("file={path},format=raw,if=none,id=root"));
        command.args(["-device", "virtio-blk-device,drive=root"]);
    }
    command.args(["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net"]);
    command.args(["-device", "virtio-rng-device"]).args(&options.extra);
    host::say("starting the guest; 'poweroff' in it or Ctrl-A X ends it");
    let error = command.exec();
    bail!("cannot run {}: {error}", program.display())
}

/// The disk that `cargo linux` writes to; it keeps what is written until the packages change or `--fresh`.
fn working_copy(pristine: &std::path::Path, fresh: bool) -> Result<PathBuf> {
    let copy = pristine.with_extension("work");
    if fresh || !copy.is_file() {
        host::replace(&copy, |part| {
            let mut cp = host::command("cp");
            host::run(cp.args(["--sparse=always", "--reflink=auto"]).arg(pristine).arg(part)).map(drop)
        })?;
    }
    Ok(copy)
}
