//! What people get wrong: one clear line that names it, exit code 1, and nothing else.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Case;
use crate::harness::vm::Machine;
use crate::harness::{Env, scratch};

pub const CASES: &[Case] = &[
    Case { name: "a missing kernel", run: |env| refused(env, &["-kernel", "/nowhere/Image"], &["/nowhere/Image"]) },
    Case { name: "a kernel that is a folder", run: |env| refused(env, &["-kernel", "/"], &["/"]) },
    Case { name: "a kernel that may not be read", run: unreadable_kernel },
    Case { name: "kernels cut short", run: truncated_kernels },
    Case { name: "a kernel for another machine", run: |env| refused(env, &["-kernel", "/bin/sh"], &["/bin/sh"]) },
    Case { name: "an initrd larger than RAM", run: large_initrd },
    Case { name: "a kernel larger than RAM", run: large_kernel },
    Case { name: "a missing initrd", run: missing_initrd },
    Case { name: "a missing firmware", run: |env| refused(env, &["-bios", "/nowhere/fw.bin"], &["/nowhere/fw.bin"]) },
    Case { name: "a missing disk", run: |env| refused(env, &["-drive", "file=/nowhere/d.img,format=raw"], &["d.img"]) },
    Case { name: "two writers on one disk", run: overlapping_drives },
    Case { name: "-m 0", run: |env| refused(env, &["-m", "0"], &["-m"]) },
    Case { name: "-m 1T", run: |env| refused(env, &["-m", "1T"], &["1T"]) },
    Case { name: "-m abc", run: |env| refused(env, &["-m", "abc"], &["abc"]) },
    Case { name: "-m 99999999999999999999G", run: |env| refused(env, &["-m", "99999999999999999999G"], &["-m"]) },
    Case { name: "-m -1", run: |env| refused(env, &["-m", "-1"], &["-1"]) },
    Case {
        name: "RAM in a file that cannot be made",
        run: |env| refused(env, &["-mem-path", "/nowhere/ram"], &["/nowhere/ram"]),
    },
    Case {
        name: "RAM in a device",
        run: |env| refused(env, &["-mem-path", "/dev/null"], &["/dev/null", "neither a regular file nor a folder"]),
    },
    Case {
        name: "a memory backend larger than RAM",
        run: |env| {
            let object = "memory-backend-ram,id=m,size=128M";
            refused(env, &["-m", "64M", "-M", "memory-backend=m", "-object", object], &["64M", "128M"])
        },
    },
    Case {
        name: "huge pages that the host does not know",
        run: |env| backend(env, "memfd,hugetlb=on,hugetlbsize=8K", &["no huge pages of 8K"]),
    },
    Case {
        name: "RAM on a NUMA node that is not there",
        run: |env| backend(env, "ram,policy=bind,host-nodes=1023", &["NUMA"]),
    },
    Case {
        name: "a memory backend that nothing uses",
        run: |env| refused(env, &["-object", "memory-backend-ram,id=m,size=64M"], &["nothing uses it"]),
    },
    Case {
        name: "a memory backend that is not there",
        run: |env| refused(env, &["-M", "virt,memory-backend=m"], &["memory-backend=m"]),
    },
    Case { name: "-smp 0", run: |env| refused(env, &["-smp", "0"], &["-smp"]) },
    Case { name: "-smp 100000", run: |env| refused(env, &["-smp", "100000"], &["100000"]) },
    Case { name: "-smp two", run: |env| refused(env, &["-smp", "two"], &["two"]) },
    Case {
        name: "a hart on a CPU that is not there",
        run: |env| refused(env, &["-smp", "2,affinity=1@1023"], &["hart 1", "CPU 1023"]),
    },
    Case { name: "-smp that does not multiply", run: |env| refused(env, &["-smp", "4,cores=3,threads=1"], &["-smp"]) },
    Case {
        name: "an unknown device names the nearest",
        run: |env| refused(env, &["-device", "virtio-blk-devcie"], &["virtio-blk-devcie", "virtio-blk-device"]),
    },
    Case {
        name: "a device without its drive",
        run: |env| refused(env, &["-device", "virtio-blk-device,drive=no"], &["no"]),
    },
    Case {
        name: "an unknown option names the nearest",
        run: |env| refused(env, &["-kernal", "x"], &["-kernal", "-kernel"]),
    },
    Case { name: "an unknown machine", run: |env| refused(env, &["-M", "vrit"], &["vrit", "virt"]) },
    Case { name: "an unknown CPU", run: |env| refused(env, &["-cpu", "rv46"], &["rv46"]) },
    Case { name: "an unknown extension", run: |env| refused(env, &["-cpu", "rv64,zzz=on"], &["zzz"]) },
    Case { name: "an unknown accelerator", run: |env| refused(env, &["-accel", "tgc"], &["tgc", "tcg"]) },
    Case {
        name: "a QEMU option that is not here yet",
        run: |env| refused(env, &["-vnc", ":0"], &["-vnc", "not supported by vireo yet"]),
    },
    Case { name: "-accel kvm where there is none", run: no_kvm },
    Case { name: "a device tree of garbage", run: |env| device_tree(env, b"garbage") },
    Case { name: "an empty device tree", run: |env| device_tree(env, b"") },
    Case { name: "a device tree cut short", run: corrupted_device_tree },
    Case { name: "a port in use", run: port_in_use },
    Case {
        name: "a serial port that cannot be opened",
        run: |env| refused(env, &["-serial", "file:/nowhere/log"], &["/nowhere/log"]),
    },
    Case { name: "a word too many", run: |env| refused(env, &["image.iso"], &["image.iso"]) },
    Case { name: "an option without its value", run: |env| refused(env, &["-kernel"], &["-kernel"]) },
];

/// What still runs after so long was not refused.
const ACCEPTED: Duration = Duration::from_secs(60);

/// vireo must refuse `args`: exit code 1, one line on standard error that has `words`, nothing on standard output.
fn refused(env: &Env, args: &[&str], words: &[&str]) -> Result<()> {
    let end = Machine::new(&env.vireo).args(args).start()?.wait_within(ACCEPTED)?;
    let shown = format!("vireo {}: exit {:?}, {:?}", args.join(" "), end.status.code(), end.errors);
    if end.status.code() != Some(1) {
        bail!("exit code 1 expected; {shown}");
    }
    if end.errors.trim_end().lines().count() != 1 || !end.errors.starts_with("vireo: ") {
        bail!("one line expected on standard error; {shown}");
    }
    if end.errors.contains("panicked") {
        bail!("it panicked; {shown}");
    }
    if let Some(word) = words.iter().find(|w| !end.errors.contains(*w)) {
        bail!("the line does not say {word:?}; {shown}");
    }
    if !end.output.is_empty() {
        bail!("nothing expected on standard output, got {:?}; {shown}", end.output);
    }
    Ok(())
}

/// 64 MiB of RAM by `-object memory-backend-...`.
fn backend(env: &Env, object: &str, words: &[&str]) -> Result<()> {
    let object = format!("memory-backend-{object},id=m,size=64M");
    refused(env, &["-M", "virt,memory-backend=m", "-object", &object, "-m", "64M"], words)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a temporary folder's name is UTF-8")
}

fn unreadable_kernel(env: &Env) -> Result<()> {
    // Root may read everything, so what cannot be read for it is a device that has no data.
    if crate::host::is_root() {
        return refused(env, &["-kernel", "/proc/self/mem"], &["/proc/self/mem"]);
    }
    let dir = scratch()?;
    let kernel = dir.path().join("Image");
    fs::write(&kernel, "x")?;
    fs::set_permissions(&kernel, std::os::unix::fs::PermissionsExt::from_mode(0o000))?;
    refused(env, &["-kernel", text(&kernel)?], &["Image", "ermission denied"])
}

fn truncated_kernels(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let whole = fs::read(&env.guest()?.kernel)?;
    let kernel = dir.path().join("Image");
    // Nothing, within the header, and the header alone: it says how long the rest is.
    for length in [0, 40, 64] {
        fs::write(&kernel, &whole[..length])?;
        refused(env, &["-kernel", text(&kernel)?], &["Image"]).with_context(|| format!("{length} bytes"))?;
    }
    for (name, head) in [("elf", &b"\x7fELF\x02\x01\x01"[..]), ("gzip", &b"\x1f\x8b\x08\0\0\0\0\0\0\x03abc"[..])] {
        fs::write(&kernel, head)?;
        refused(env, &["-kernel", text(&kernel)?], &["Image"]).with_context(|| name.to_owned())?;
    }
    Ok(())
}

fn sparse(path: &Path, length: u64) -> Result<()> {
    Ok(File::create(path)?.set_len(length)?)
}

fn large_initrd(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let initrd = dir.path().join("initrd");
    sparse(&initrd, 200 << 20)?;
    let kernel = text(&env.guest()?.kernel)?;
    refused(env, &["-m", "128M", "-kernel", kernel, "-initrd", text(&initrd)?], &["initrd"])
}

fn large_kernel(env: &Env) -> Result<()> {
    let kernel = text(&env.guest()?.kernel)?;
    refused(env, &["-m", "16M", "-kernel", kernel], &["Image"])
}

fn missing_initrd(env: &Env) -> Result<()> {
    let kernel = text(&env.guest()?.kernel)?;
    refused(env, &["-kernel", kernel, "-initrd", "/nowhere/initrd"], &["/nowhere/initrd"])
}

fn overlapping_drives(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let disk = dir.path().join("disk.img");
    sparse(&disk, 1 << 20)?;
    let drive = format!("file={},format=raw,if=virtio", text(&disk)?);
    refused(env, &["-drive", &drive, "-drive", &drive], &["disk.img"])?;
    // Another name of the same file is no other file.
    let link = dir.path().join("link.img");
    std::os::unix::fs::symlink(&disk, &link)?;
    refused(env, &["-drive", &drive, "-drive", &format!("file={},format=raw,if=virtio", text(&link)?)], &["link.img"])
}

fn no_kvm(env: &Env) -> Result<()> {
    if cfg!(target_arch = "riscv64") {
        return Ok(());
    }
    refused(env, &["-accel", "kvm"], &["kvm"])
}

fn device_tree(env: &Env, content: &[u8]) -> Result<()> {
    let dir = scratch()?;
    let dtb = dir.path().join("board.dtb");
    fs::write(&dtb, content)?;
    refused(env, &["-dtb", text(&dtb)?], &["board.dtb"])
}

fn corrupted_device_tree(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let dtb = dir.path().join("good.dtb");
    let dump = format!("virt,dumpdtb={}", text(&dtb)?);
    let end = Machine::new(&env.vireo).arg("-M").arg(dump).start()?.wait()?;
    if !end.status.success() {
        bail!("dumpdtb failed: {}", end.errors);
    }
    let good = fs::read(&dtb)?;
    device_tree(env, &good[..good.len() / 2]).context("half of it")?;
    let mut bad = good.clone();
    // The offset of the structure block points far outside.
    bad[8..12].fill(0xff);
    device_tree(env, &bad).context("an offset outside")
}

fn port_in_use(env: &Env) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let net = format!("user,id=n,hostfwd=tcp:127.0.0.1:{port}-:80");
    refused(env, &["-netdev", &net, "-device", "virtio-net-device,netdev=n"], &[&port.to_string()])
}
