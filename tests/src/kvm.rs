//! The disk of a guest that is a host itself: the riscv64 QEMU of the distribution with all it needs, the module of
//! KVM, and the kernel and first file system of the guest inside.
//!
//! It is mounted and entered by `chroot`: nothing of the outer guest's own files is used.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt::{self, Apt, Package};
use crate::guest::{Guest, Modules};
use crate::{host, rootfs};

/// The VMM of the inner guest.
const PACKAGES: &[&str] = &["qemu-system-riscv"];

/// The image's size; sparse.
const SIZE: &str = "2G";

/// Changes when the way an image is made does.
pub const RECIPE: &str = concat!("1", include_str!("kvm.rs"));

/// The image, made or found in the cache. Not to be written to.
pub fn prepare(cache: &Path, apt: &Apt, kernel: &[Package], guest: &Guest) -> Result<PathBuf> {
    let packages = apt.closure(PACKAGES)?;
    let versions: Vec<_> = packages.iter().chain(kernel).map(|p| format!("{}={}", p.name, p.version)).collect();
    let inner = [&guest.kernel, &guest.initrd].map(|p| p.display().to_string());
    let parts = versions.iter().chain(&inner).map(String::as_str).chain([RECIPE]);
    let image = cache.join("kvm").join(format!("{}.img", host::fingerprint(parts)));
    if image.is_file() {
        return Ok(image);
    }
    host::require(&[host::DPKG_DEB, host::TAR, host::MKE2FS, host::DEBUGFS, host::XZ])?;
    fs::create_dir_all(cache.join("kvm"))?;
    let work = tempfile::tempdir_in(cache)?;
    let (tree, modules) = (work.path().join("tree"), work.path().join("modules"));
    let files = apt.fetch(&packages)?;
    apt::unpack(&apt.fetch(kernel)?, &modules)?;
    host::say(format_args!("making the disk of a KVM host from {} packages", files.len()));
    apt::unpack(&files, &tree)?;
    for dir in ["dev", "proc", "sys", "tmp", "root"] {
        fs::create_dir_all(tree.join(dir))?;
    }
    fs::copy(&guest.kernel, tree.join("root/Image"))?;
    fs::copy(&guest.initrd, tree.join("root/initrd.gz"))?;
    let mut order = String::new();
    for (name, data) in Modules::index(&modules.join("usr/lib/modules"))?.load(&["kvm"])? {
        fs::write(tree.join(format!("root/{name}.ko")), data)?;
        order += &format!("{name}\n");
    }
    fs::write(tree.join("root/order"), order)?;
    host::replace(&image, |part| rootfs::make_image(&tree, part, SIZE))
        .context("cannot make the disk of a KVM host")?;
    // Images of older packages only take room; a running guest keeps the one it has open.
    for old in fs::read_dir(cache.join("kvm"))?.flatten().map(|e| e.path()).filter(|old| *old != image) {
        let _ = fs::remove_file(old);
    }
    Ok(image)
}
