//! The Linux guest: kernel, first file system and firmware, from the distribution's riscv64 packages.
//!
//! What is made is kept under the cache, in a folder named by the versions it was made from. A run within a week of
//! the last look at the archive does not ask again.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::apt::{self, Apt, Archive, Distro, Package};
use crate::cpio::Cpio;
use crate::{host, kvm, rootfs};

/// A guest is used this long before newer packages are looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Modules loaded at boot, with what they depend on, in this order. One that the kernel has built in is left out.
const MODULES: &[&str] =
    &["virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng", "virtio_input", "evdev", "crc32c_generic", "ext4"];

/// Modules that not every kernel has, in either form.
const OPTIONAL: &[&str] = &["crc32c_generic"];

/// Files of a guest.
#[derive(Clone, Debug)]
pub struct Guest {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    /// The pristine root disk; boot copies of it, or with `snapshot=on`.
    pub disk: Option<PathBuf>,
    /// M-mode firmware that hands over by `fw_dynamic`.
    pub opensbi: Option<PathBuf>,
    /// U-Boot for S-mode.
    pub uboot: Option<PathBuf>,
    /// A disk with all that a KVM guest inside this guest takes, see [`crate::kvm`].
    pub kvm: Option<PathBuf>,
}

/// What a guest is made with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub mirror: Option<String>,
    pub disk: bool,
    pub firmware: bool,
    pub kvm: bool,
    /// Look for newer packages now.
    pub update: bool,
}

/// Makes the guest, or finds it made.
pub fn prepare(options: &Options) -> Result<Guest> {
    let cache = host::cache_dir()?;
    let recipes = [INIT, rootfs::RECIPE, kvm::RECIPE, options.mirror.as_deref().unwrap_or_default()];
    let recipe = host::fingerprint(recipes.into_iter().chain(MODULES.iter().copied()));
    let stamp = cache.join(format!("guest-{recipe}"));
    if !options.update
        && let Some(guest) = recent(&stamp, options)
    {
        return Ok(guest);
    }
    let archive = Archive::find(options.mirror.as_deref())?;
    let apt = Apt::open(&cache, &archive, "riscv64", archive.distro.guest_suite())?;
    let mut guest = boot_files(&cache, &archive, &apt)?;
    if options.firmware {
        firmware(&cache, &apt, &mut guest)?;
    }
    if options.disk {
        guest.disk = Some(rootfs::prepare(&cache, &apt)?);
    }
    if options.kvm {
        guest.kvm = Some(kvm::prepare(&cache, &apt, &kernel_packages(&archive, &apt)?, &guest)?);
    }
    publish(&cache, &guest)?;
    let line = |p: &Option<PathBuf>| p.as_deref().unwrap_or(Path::new("")).display().to_string();
    let boot = [&Some(guest.kernel.clone()), &Some(guest.initrd.clone())];
    let files = boot.into_iter().chain([&guest.disk, &guest.opensbi, &guest.uboot, &guest.kvm]);
    fs::write(&stamp, files.map(line).collect::<Vec<_>>().join("\n")).context("cannot write to the cache")?;
    Ok(guest)
}

/// Where `vireo bench --guest linux` looks for the guest: names that do not change with its packages.
fn publish(cache: &Path, guest: &Guest) -> Result<()> {
    let Some(disk) = &guest.disk else { return Ok(()) };
    let dir = cache.join("linux");
    fs::create_dir_all(&dir).context("cannot make a folder in the cache")?;
    for (name, file) in [("Image", &guest.kernel), ("initrd.gz", &guest.initrd), ("root.img", disk)] {
        host::replace(&dir.join(name), |part| {
            let _ = fs::remove_file(part);
            Ok(std::os::unix::fs::symlink(file, part)?)
        })?;
    }
    Ok(())
}

/// The guest that `stamp` names, if it is young and has what is asked for.
fn recent(stamp: &Path, options: &Options) -> Option<Guest> {
    let made = fs::metadata(stamp).ok()?.modified().ok()?;
    if SystemTime::now().duration_since(made).ok()? > LOOK_AGAIN {
        return None;
    }
    let text = fs::read_to_string(stamp).ok()?;
    let mut files = text.split('\n').map(|l| Some(PathBuf::from(l)).filter(|p| p.is_file()));
    let (kernel, initrd) = (files.next()??, files.next()??);
    let (disk, opensbi, uboot, kvm) = (files.next()?, files.next()?, files.next()?, files.next()?);
    let firmware = opensbi.is_some() && uboot.is_some();
    let unpublished = options.disk && !stamp.with_file_name("linux").join("root.img").is_file();
    let missing =
        unpublished || options.disk && disk.is_none() || options.firmware && !firmware || options.kvm && kvm.is_none();
    (!missing).then_some(Guest { kernel, initrd, disk, opensbi, uboot, kvm })
}

/// The kernel, its modules, and a static busybox.
fn kernel_packages(archive: &Archive, apt: &Apt) -> Result<Vec<Package>> {
    let meta = match archive.distro {
        Distro::Debian => "linux-image-riscv64",
        Distro::Ubuntu => "linux-image-generic",
    };
    let numbered = |p: &Package, prefix: &str| {
        p.name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let wanted =
        |p: &Package| numbered(p, "linux-image-") || numbered(p, "linux-modules-") || p.name == "busybox-static";
    Ok(apt.closure(&[meta, "busybox-static"])?.into_iter().filter(wanted).collect())
}

fn boot_files(cache: &Path, archive: &Archive, apt: &Apt) -> Result<Guest> {
    let packages = kernel_packages(archive, apt)?;
    let versions: Vec<_> = packages.iter().map(|p| format!("{}={}", p.name, p.version)).collect();
    let name = host::fingerprint(versions.iter().map(String::as_str).chain([INIT]).chain(MODULES.iter().copied()));
    let dir = cache.join("boot").join(name);
    let guest = |dir: &Path| Guest {
        kernel: dir.join("Image"),
        initrd: dir.join("initrd.gz"),
        disk: None,
        opensbi: None,
        uboot: None,
        kvm: None,
    };
    if dir.is_dir() {
        return Ok(guest(&dir));
    }
    let files = apt.fetch(&packages)?;
    host::say("making the initramfs");
    let work = tempfile::tempdir_in(cache)?;
    let tree = work.path().join("tree");
    apt::unpack(&files, &tree)?;
    let made = work.path().join("made");
    fs::create_dir(&made)?;
    fs::copy(find_kernel(&tree.join("boot"))?, made.join("Image"))?;
    let modules = Modules::index(&tree.join("usr/lib/modules"))?.load(MODULES)?;
    let busybox = fs::read(tree.join("usr/bin/busybox")).context("busybox-static has no usr/bin/busybox")?;
    fs::write(made.join("initrd.gz"), initramfs(&busybox, &modules)?)?;
    fs::create_dir_all(dir.parent().unwrap_or(cache))?;
    fs::rename(&made, &dir).context("cannot put the kernel in its place")?;
    Ok(guest(&dir))
}

fn find_kernel(boot: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(boot).context("the kernel's package has no /boot")?;
    let is_kernel = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinu"));
    entries.flatten().map(|e| e.path()).find(is_kernel).context("the kernel's package has no /boot/vmlinu*")
}

/// The kernel's modules by name.
pub(crate) struct Modules {
    files: HashMap<String, PathBuf>,
    /// Names of modules that are part of the kernel.
    builtin: Vec<String>,
}

impl Modules {
    pub(crate) fn index(root: &Path) -> Result<Self> {
        let mut modules = Self { files: HashMap::new(), builtin: Vec::new() };
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries =
                fs::read_dir(&folder).with_context(|| format!("no kernel modules in {}", folder.display()))?;
            for entry in entries.flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else if name == "modules.builtin" {
                    let text = fs::read_to_string(&path)?;
                    modules.builtin.extend(text.lines().map(|l| module_name(l.rsplit('/').next().unwrap_or(l))));
                } else if name.contains(".ko") {
                    modules.files.insert(module_name(&name), path);
                }
            }
        }
        Ok(modules)
    }

    /// `names` and what they need, each after what it needs: name and content.
    pub(crate) fn load(&self, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut loaded = Vec::new();
        for name in names {
            self.add(name, &mut loaded)?;
        }
        Ok(loaded)
    }

    fn add(&self, name: &str, loaded: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
        if self.builtin.iter().any(|b| b == name) || loaded.iter().any(|(n, _)| n == name) {
            return Ok(());
        }
        let Some(file) = self.files.get(name) else {
            if OPTIONAL.contains(&name) {
                return Ok(());
            }
            bail!("the kernel has no module {name}, and does not have it built in");
        };
        let data = decompressed(file)?;
        for needed in dependencies(&data) {
            self.add(&needed, loaded)?;
        }
        loaded.push((name.to_owned(), data));
        Ok(())
    }
}

/// `virtio-rng.ko.xz` is the module `virtio_rng`.
fn module_name(file: &str) -> String {
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

fn decompressed(file: &Path) -> Result<Vec<u8>> {
    let tool = match file.extension().and_then(|e| e.to_str()) {
        Some("xz") => host::XZ,
        Some("zst") => host::ZSTD,
        _ => return Ok(fs::read(file)?),
    };
    host::require(&[tool])?;
    let output = host::command(tool.program).arg("-dc").arg(file).output()?;
    if !output.status.success() {
        bail!("{} cannot unpack {}", tool.program, file.display());
    }
    Ok(output.stdout)
}

/// The `depends=` field of a module's `.modinfo`. `modules.dep` is made when a package is installed, so there is none.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|w| w == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|&b| b == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|n| !n.is_empty()).map(module_name).collect()
}

/// What runs first in the guest. It loads the modules, then goes to the disk that `root=` names, or gives a shell.
/// `initramfs.run=` holds a command for tests and measurements, with `%` for spaces.
pub const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=vt100 PS1='initramfs# '
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts; mount -t devpts pts /dev/pts
while read -r m; do insmod /modules/$m.ko || echo "initramfs: module $m was refused"; done < /modules/order
read -r up idle < /proc/uptime
echo "initramfs: started after $up s"

root= run=
for word in $(cat /proc/cmdline); do
    case $word in
    root=*) root=${word#root=} ;;
    initramfs.run=*) run=$(echo "${word#initramfs.run=}" | tr '%' ' ') ;;
    esac
done
if [ -n "$root" ]; then
    tries=0
    while [ ! -b "$root" ] && [ $tries -lt 100 ]; do usleep 100000; tries=$((tries + 1)); done
    if mount -t ext4 "$root" /newroot && [ -x /newroot/sbin/init ]; then
        for dir in dev proc sys; do mount --move /$dir /newroot/$dir; done
        exec switch_root /newroot /sbin/init
    fi
    echo "initramfs: no system on $root, here is a shell"
fi
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    udhcpc -i eth0 -n -q -t 10 -T 1 -s /bin/udhcpc-script > /dev/null 2>&1 || echo "initramfs: no answer to DHCP on eth0"
fi
if [ -n "$run" ]; then sh -c "$run"; fi
exec setsid cttyhack sh
"#;

/// What udhcpc runs with its answer.
pub const UDHCPC_SCRIPT: &str = r#"#!/bin/sh
case $1 in
bound | renew)
    ip addr flush dev "$interface"
    ip addr add "$ip/$mask" dev "$interface"
    for r in $router; do ip route add default via "$r" dev "$interface"; done
    for d in $dns; do echo "nameserver $d"; done > /etc/resolv.conf
    ;;
esac
"#;

fn initramfs(busybox: &[u8], modules: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut cpio = Cpio::new(GzEncoder::new(Vec::new(), Compression::new(6)));
    for dir in ["bin", "dev", "etc", "mnt", "modules", "newroot", "proc", "root", "run", "sys", "tmp"] {
        cpio.directory(dir)?;
    }
    // The kernel opens it for init before devtmpfs is there.
    cpio.device("dev/console", 0o600, (5, 1))?;
    cpio.file("bin/busybox", 0o755, busybox)?;
    cpio.symlink("bin/sh", "busybox")?;
    cpio.file("bin/udhcpc-script", 0o755, UDHCPC_SCRIPT.as_bytes())?;
    cpio.file("init", 0o755, INIT.as_bytes())?;
    let mut order = String::new();
    for (name, data) in modules {
        cpio.file(&format!("modules/{name}.ko"), 0o644, data)?;
        order += &format!("{name}\n");
    }
    cpio.file("modules/order", 0o644, order.as_bytes())?;
    let mut gzip = cpio.finish()?;
    gzip.flush()?;
    Ok(gzip.finish()?)
}

fn firmware(cache: &Path, apt: &Apt, guest: &mut Guest) -> Result<()> {
    let wanted = ["opensbi", "u-boot-qemu"];
    let packages: Vec<_> = apt.closure(&wanted)?.into_iter().filter(|p| wanted.contains(&p.name.as_str())).collect();
    let versions: Vec<_> = packages.iter().map(|p| format!("{}={}", p.name, p.version)).collect();
    let dir = cache.join("firmware").join(host::fingerprint(versions.iter().map(String::as_str)));
    if !dir.is_dir() {
        let work = tempfile::tempdir_in(cache)?;
        let tree = work.path().join("tree");
        apt::unpack(&apt.fetch(&packages)?, &tree)?;
        let made = work.path().join("made");
        fs::create_dir(&made)?;
        let opensbi = tree.join("usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin");
        fs::copy(&opensbi, made.join("fw_dynamic.bin")).context("opensbi has no generic/fw_dynamic.bin")?;
        let uboot = tree.join("usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin");
        fs::copy(&uboot, made.join("u-boot.bin")).context("u-boot-qemu has no qemu-riscv64_smode/u-boot.bin")?;
        fs::create_dir_all(dir.parent().unwrap_or(cache))?;
        fs::rename(&made, &dir).context("cannot put the firmware in its place")?;
    }
    guest.opensbi = Some(dir.join("fw_dynamic.bin"));
    guest.uboot = Some(dir.join("u-boot.bin"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_in_modinfo() {
        let module = b"\x7fELF...license=GPL\0depends=mbcache,jbd2,crc16\0name=ext4\0";
        assert_eq!(dependencies(module), ["mbcache", "jbd2", "crc16"]);
        assert!(dependencies(b"license=GPL\0depends=\0name=mbcache\0").is_empty());
    }

    #[test]
    fn modules_come_after_what_they_need() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("6.1/kernel");
        fs::create_dir_all(&kernel).unwrap();
        fs::write(kernel.join("net-a.ko"), b"x\0depends=net-b\0").unwrap();
        fs::write(kernel.join("net-b.ko"), b"x\0depends=core\0").unwrap();
        fs::write(dir.path().join("6.1/modules.builtin"), "kernel/core.ko\n").unwrap();
        let modules = Modules::index(dir.path()).unwrap();
        let names: Vec<_> = modules.load(&["net_a", "net_b"]).unwrap().into_iter().map(|(n, _)| n).collect();
        assert_eq!(names, ["net_b", "net_a"]);
        assert!(modules.load(&["other"]).is_err());
    }
}
