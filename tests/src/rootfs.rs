//! The root disk: an ext4 image with Debian's own riscv64 programs.
//!
//! Packages are unpacked, not installed: their scripts are riscv64 programs and do not run here. The few things that
//! those scripts would have done and that matter are done by [`finish`]. `mke2fs -d` needs no privileges and no loop
//! device; whose files they are is put right in the image if we are not root.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::{self, Apt};
use crate::{guest, host};

/// What someone finds on the disk, besides what these need.
const PACKAGES: &[&str] = &[
    "base-files",
    "base-passwd",
    "bash",
    "bc",
    "binutils",
    "busybox-static",
    "bzip2",
    "ca-certificates",
    "coreutils",
    "curl",
    "dash",
    "debianutils",
    "diffutils",
    "e2fsprogs",
    "file",
    "findutils",
    "gcc",
    "grep",
    "gzip",
    "hostname",
    "iproute2",
    "iputils-ping",
    "less",
    "libc-bin",
    "libc6-dev",
    "login",
    "make",
    "mawk",
    "mount",
    "ncurses-base",
    "netbase",
    "openssl",
    "passwd",
    "perl",
    "procps",
    "python3",
    "sed",
    "sqlite3",
    "strace",
    "tar",
    "tzdata",
    "util-linux",
    "vim-tiny",
    "wget",
    "xz-utils",
    "zstd",
];

/// The image's size; sparse, so it costs what it holds.
const SIZE: &str = "3G";

/// Changes when the way an image is made does.
pub const RECIPE: &str = concat!("1", include_str!("rootfs.rs"));

/// The image, made or found in the cache. Not to be written to.
pub fn prepare(cache: &Path, apt: &Apt) -> Result<PathBuf> {
    let packages = apt.closure(PACKAGES)?;
    let versions: Vec<_> = packages.iter().map(|p| format!("{}={}", p.name, p.version)).collect();
    let name = host::fingerprint(versions.iter().map(String::as_str).chain([RECIPE]));
    let image = cache.join("disk").join(format!("{name}.img"));
    if image.is_file() {
        return Ok(image);
    }
    host::require(&[host::DPKG_DEB, host::TAR, host::MKE2FS, host::DEBUGFS, host::XZ])?;
    let files = apt.fetch(&packages)?;
    host::say(format_args!("making the root disk from {} packages", files.len()));
    fs::create_dir_all(cache.join("disk"))?;
    let work = tempfile::tempdir_in(cache)?;
    let tree = work.path().join("tree");
    apt::unpack(&files, &tree)?;
    finish(&tree).context("cannot set up the root disk")?;
    host::replace(&image, |part| make_image(&tree, part, SIZE))?;
    // Images of older packages only take room; a running guest keeps the one it has open.
    for old in fs::read_dir(cache.join("disk"))?.flatten().map(|e| e.path()) {
        if old != image && old.extension().is_some_and(|e| e == "img") {
            let _ = fs::remove_file(old);
        }
    }
    Ok(image)
}

/// Makes an ext4 image of `size` with the files of `tree`, which become root's.
pub(crate) fn make_image(tree: &Path, image: &Path, size: &str) -> Result<()> {
    let options = ["-q", "-t", "ext4", "-F", "-L", "root", "-m", "0", "-E", "root_owner=0:0"];
    host::run(host::command("mke2fs").args(options).arg("-d").arg(tree).arg(image).arg(size))?;
    if !host::is_root() {
        own_by_root(tree, image)?;
    }
    Ok(())
}

/// Gives every file in the image to root: `mke2fs` took the owner that it has here.
fn own_by_root(tree: &Path, image: &Path) -> Result<()> {
    let mut script = String::new();
    let mut folders = vec![tree.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)?.flatten() {
            let path = entry.path();
            let inside =
                path.strip_prefix(tree)?.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
            for field in ["uid", "gid"] {
                writeln!(script, "set_inode_field \"/{inside}\" {field} 0")?;
            }
            if entry.file_type()?.is_dir() {
                folders.push(path);
            }
        }
    }
    let commands = tempfile::NamedTempFile::new()?;
    fs::write(commands.path(), script)?;
    host::run(host::command("debugfs").arg("-w").arg("-f").arg(commands.path()).arg(image))?;
    Ok(())
}

/// Does what the packages' own scripts would have done.
fn finish(tree: &Path) -> Result<()> {
    for dir in ["dev", "etc/ssl/certs", "home", "mnt", "proc", "root", "run", "sys", "tmp", "var/tmp", "var/log"] {
        fs::create_dir_all(tree.join(dir))?;
    }
    for dir in ["tmp", "var/tmp"] {
        fs::set_permissions(tree.join(dir), fs::Permissions::from_mode(0o1777))?;
    }
    // A tree that cannot be entered or removed by us is no use either.
    fs::set_permissions(tree.join("root"), fs::Permissions::from_mode(0o700))?;
    for (from, to) in [
        ("usr/share/base-passwd/passwd.master", "etc/passwd"),
        ("usr/share/base-passwd/group.master", "etc/group"),
        ("usr/share/base-files/profile", "etc/profile"),
        ("usr/share/base-files/dot.profile", "root/.profile"),
        ("etc/skel/.bashrc", "root/.bashrc"),
    ] {
        fs::copy(tree.join(from), tree.join(to)).with_context(|| format!("no {from}"))?;
    }
    // Root logs in without a password: on the serial line of a guest there is nobody to keep out.
    let passwd = fs::read_to_string(tree.join("etc/passwd"))?;
    fs::write(tree.join("etc/passwd"), passwd.replacen("root:*:", "root::", 1))?;
    for (link, target) in [
        ("usr/bin/sh", "dash"),
        ("usr/bin/awk", "mawk"),
        ("usr/bin/cc", "gcc"),
        ("usr/bin/which", "which.debianutils"),
        ("usr/bin/pager", "less"),
        ("usr/bin/vi", "vim.tiny"),
        ("usr/bin/editor", "vim.tiny"),
        ("usr/bin/nc", "busybox"),
        ("etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
    ] {
        if tree.join(link).symlink_metadata().is_err() {
            symlink(target, tree.join(link))?;
        }
    }
    certificates(tree)?;
    for (file, mode, text) in [
        ("etc/hostname", 0o644, "vireo\n"),
        ("etc/hosts", 0o644, "127.0.0.1 localhost vireo\n::1 localhost\n"),
        ("etc/fstab", 0o644, "/dev/vda / ext4 defaults 0 1\n"),
        ("etc/udhcpc-script", 0o755, guest::UDHCPC_SCRIPT),
        ("usr/sbin/init", 0o755, INIT),
        ("usr/sbin/poweroff", 0o755, STOP),
        ("usr/sbin/reboot", 0o755, STOP),
        ("usr/sbin/halt", 0o755, STOP),
    ] {
        let path = tree.join(file);
        let _ = fs::remove_file(&path);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The list of certificate authorities in one file, as programs look for it.
fn certificates(tree: &Path) -> Result<()> {
    let folder = tree.join("usr/share/ca-certificates/mozilla");
    let mut files: Vec<_> = fs::read_dir(&folder)?.flatten().map(|e| e.path()).collect();
    files.sort();
    let mut all = String::new();
    for file in files {
        all += &fs::read_to_string(file)?;
    }
    if all.is_empty() {
        bail!("ca-certificates has no certificates");
    }
    Ok(fs::write(tree.join("etc/ssl/certs/ca-certificates.crt"), all)?)
}

/// The first program of the root disk: a shell on the console, over and over, until the machine stops.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root USER=root TERM=${TERM:-vt220} LANG=C.UTF-8
mount -o remount,rw /
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /dev/pts /dev/shm && mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm
hostname "$(cat /etc/hostname)"
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    busybox udhcpc -i eth0 -n -q -t 10 -T 1 -s /etc/udhcpc-script > /run/udhcpc.log 2>&1 ||
        echo "init: no answer to DHCP on eth0"
fi
read -r up idle < /proc/uptime
echo "init: the system is up after $up s"
tty=$(cat /sys/class/tty/console/active)
tty=/dev/${tty##* }
cd /root
while :; do
    if [ -e /run/stopping ]; then sleep 60; continue; fi
    setsid --wait --ctty bash --login < "$tty" > "$tty" 2>&1
done
"#;

/// `poweroff`, `reboot` and `halt`, by the name they are called: everything is ended, then the disk is clean.
const STOP: &str = r#"#!/bin/sh
# A session of its own, so that the end of the shell that called is not the end of this.
[ "$1" = now ] || exec setsid "$0" now
trap '' TERM HUP
touch /run/stopping
kill -TERM -1; sleep 0.2; kill -KILL -1
sync
mount -o remount,ro / || echo "stop: the root disk is busy"
exec busybox "${0##*/}" -f
"#;
