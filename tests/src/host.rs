//! The machine we run on: its programs, the packages that bring them, and commands with readable errors.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program, or another file by its whole path, and the Debian or Ubuntu package that has it.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    pub program: &'static str,
    pub package: &'static str,
}

pub const DPKG_DEB: Tool = Tool { program: "dpkg-deb", package: "dpkg" };
pub const TAR: Tool = Tool { program: "tar", package: "tar" };
pub const MKE2FS: Tool = Tool { program: "mke2fs", package: "e2fsprogs" };
pub const DEBUGFS: Tool = Tool { program: "debugfs", package: "e2fsprogs" };
pub const E2FSCK: Tool = Tool { program: "e2fsck", package: "e2fsprogs" };
pub const XZ: Tool = Tool { program: "xz", package: "xz-utils" };
pub const ZSTD: Tool = Tool { program: "zstd", package: "zstd" };

/// One line for the person who waits.
pub fn say(message: impl std::fmt::Display) {
    eprintln!("kit: {message}");
}

/// Whether this process may install packages.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where `program` is. The administrator's folders count too: they are not in everyone's `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|p: PathBuf| p.join(program)).find(|p| p.is_file())
}

/// A command for `program`, wherever it is.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Sees to it that every tool is there: root installs the packages, others are told the command.
pub fn require(tools: &[Tool]) -> Result<()> {
    let missing =
        |tools: &[Tool]| -> Vec<Tool> { tools.iter().copied().filter(|t| find(t.program).is_none()).collect() };
    let lacking = missing(tools);
    if lacking.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<_> = lacking.iter().map(|t| t.package).collect();
    packages.sort_unstable();
    packages.dedup();
    install(&packages)?;
    if let Some(tool) = missing(tools).first() {
        bail!("package {} was installed, but there is still no {}", tool.package, tool.program);
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if find("apt-get").is_none() {
        bail!("this machine lacks what these Debian packages hold, and has no apt-get to install them: {list}");
    }
    if !is_root() {
        bail!("packages are missing; run: sudo apt-get install -y {list}");
    }
    say(format_args!("installing {list}"));
    let apt_get = |words: &[&str]| {
        let mut apt = command("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(words);
        apt
    };
    let words = [&["install", "-y", "--no-install-recommends"], packages].concat();
    // A fresh container has no package lists, an old one stale lists: both are cured by one update.
    if run(&mut apt_get(&words)).is_err() {
        run(&mut apt_get(&["update"])).context("cannot bring apt's package lists up to date")?;
        run(&mut apt_get(&words)).with_context(|| format!("cannot install {list}"))?;
    }
    Ok(())
}

/// Runs to the end; what it printed is in the error if it fails. Its standard output otherwise.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command_name(command);
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<_> = all.lines().filter(|l| !l.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n  ");
        bail!("{name} failed ({}):\n  {tail}", output.status);
    }
    Ok(text)
}

fn command_name(command: &Command) -> String {
    let name = |s: &OsStr| Path::new(s).file_name().unwrap_or(s).to_string_lossy().into_owned();
    let first = command.get_args().find(|a| !a.to_string_lossy().starts_with('-'));
    match first {
        Some(word) if !word.to_string_lossy().contains('/') => {
            format!("{} {}", name(command.get_program()), word.to_string_lossy())
        }
        _ => name(command.get_program()),
    }
}

/// Runs `producer | consumer`.
pub fn pipe(mut producer: Command, mut consumer: Command) -> Result<()> {
    let name = command_name(&producer);
    let mut first = producer.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {name}"))?;
    let stdout = first.stdout.take().context("no pipe from a child")?;
    let second = run(consumer.stdin(stdout));
    let status = first.wait()?;
    second?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// The hexadecimal SHA-256 of `data`, by coreutils.
pub fn sha256(path: &Path) -> Result<String> {
    let text = run(command("sha256sum").arg("-b").arg(path))?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

/// The root of the checkout that this program was built from.
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Cargo, the same that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).stdin(Stdio::null());
    command
}

/// What runs a test program: one that hangs must not hold up everything after it. Many times what the slowest takes
/// (a minute); cargo reports the end by force as a failure of that program.
pub const TEST_RUNNER: &[&str] = &["timeout", "--foreground", "--kill-after=10", "900"];

/// `cargo test`, with [`TEST_RUNNER`] for programs of targets that have no runner of their own.
pub fn cargo_test() -> Command {
    let mut command = cargo();
    command.args(["test", "--config", &format!("target.'cfg(all())'.runner={TEST_RUNNER:?}")]);
    command
}

/// Where cargo puts what it builds.
pub fn target_dir() -> Result<PathBuf> {
    let text = run(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let (_, rest) = text.split_once("\"target_directory\":\"").context("cargo metadata names no target directory")?;
    let (dir, _) = rest.split_once('"').context("cargo metadata is cut short")?;
    Ok(dir.into())
}

/// Where downloads and images are kept: `$VIREO_CACHE`, else the user's cache, else under the target directory.
pub fn cache_dir() -> Result<PathBuf> {
    let dir = ::bench::linux::cache_dir().map_or_else(|| target_dir().map(|dir| dir.join("kit")), Ok)?;
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make the cache folder {}", dir.display()))?;
    // Some of what we run is told paths and changes its folder.
    dir.canonicalize().with_context(|| format!("cannot find the cache folder {}", dir.display()))
}

/// Replaces `to` by what `write` makes, in one step: whoever is stopped half way leaves no half file.
pub fn replace(to: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let part = to.with_extension(format!("part{}", std::process::id()));
    let done = write(&part)
        .and_then(|()| std::fs::rename(&part, to).with_context(|| format!("cannot put {} in its place", to.display())));
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    done
}

/// A short name for any number of texts; changes when one of them does.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    // FNV-1a: stable between versions of Rust, unlike the hashers of std.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_hold_what_the_program_said() {
        let error = run(command("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("out") && error.contains("err") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_pipe_fails_if_either_end_does() {
        let sh = |script: &str| {
            let mut c = command("sh");
            c.args(["-c", script]);
            c
        };
        assert!(pipe(sh("echo a"), sh("grep -q a")).is_ok());
        assert!(pipe(sh("echo a"), sh("grep -q b")).is_err());
        assert!(pipe(sh("echo a; exit 1"), sh("grep -q a")).is_err());
    }

    #[test]
    fn fingerprints_keep_parts_apart() {
        assert_ne!(fingerprint(["ab", "c"]), fingerprint(["a", "bc"]));
        assert_eq!(fingerprint(["ab", "c"]), fingerprint(["ab", "c"]));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "old").unwrap();
        let failed = replace(&file, |part| {
            std::fs::write(part, "half")?;
            bail!("stopped")
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
