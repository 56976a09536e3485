//! The committed guests are what their source builds to, byte for byte.
//!
//! The bytes depend on the compiler, so this is checked with the toolchain that `guests/prebuilt/TOOLCHAIN` names
//! and skipped, with a message, with any other. `DEMO_BLESS=1 cargo test -p firmware --test demo_rebuild` builds
//! the guests anew and commits them to the prebuilt files, with whatever toolchain is in use.

use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "riscv64gc-unknown-none-elf";

/// The programs, each with its image `prebuilt/NAME.bin`.
const GUESTS: &[&str] = &["demo", "bench"];

/// Flags besides those in `guests/Cargo.toml`; the linker writes the flat image itself.
const FLAGS: &[&str] = &[
    "-Crelocation-model=pie",
    "-Clinker=rust-lld",
    "-Clink-arg=-Tlink.ld",
    "-Clink-arg=-pie",
    "-Clink-arg=--no-dynamic-linker",
    "-Clink-arg=--no-undefined",
    "-Clink-arg=--pack-dyn-relocs=relr",
    "-Clink-arg=--oformat=binary",
];

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guests")
}

/// The compiler's commit and LLVM: what the generated code depends on.
fn toolchain() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8(output.stdout).expect("rustc prints text");
    let wanted = ["release: ", "commit-hash: ", "LLVM version: "];
    let lines: Vec<&str> = text.lines().filter(|line| wanted.iter().any(|w| line.starts_with(w))).collect();
    lines.join("\n") + "\n"
}

fn has_target() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let path = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    path.is_ok_and(|path| Path::new(&path).is_dir())
}

/// Builds the guests from a copy of their source in `at`, so that a path that got into them would show. Returns the
/// folder of the images.
fn build(at: &Path) -> PathBuf {
    let source = at.join("guests");
    copy_tree(&guests(), &source);
    let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    flags.push(format!("--remap-path-prefix={}=guests", source.display()));
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&source)
        .args(["build", "--release", "--offline", "--locked", "--quiet", "--target", TARGET])
        .env("CARGO_TARGET_DIR", at.join("target"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_RUSTFLAGS")
        .env_remove("CARGO_PROFILE_RELEASE_DEBUG")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the guests do not build:\n{}", String::from_utf8_lossy(&output.stderr));
    at.join("target").join(TARGET).join("release")
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        match entry.file_type().unwrap().is_dir() {
            true if name == "target" || name == "prebuilt" => {}
            true => copy_tree(&entry.path(), &to.join(name)),
            false => drop(std::fs::copy(entry.path(), to.join(name)).unwrap()),
        }
    }
}

#[test]
fn the_prebuilt_guests_are_what_the_source_builds() {
    let prebuilt = guests().join("prebuilt");
    let bless = std::env::var_os("DEMO_BLESS").is_some();
    let (ours, theirs) = (toolchain(), std::fs::read_to_string(prebuilt.join("TOOLCHAIN")).unwrap_or_default());
    if !bless && ours != theirs {
        eprintln!("not checked: the guests were built with\n{theirs}and this is\n{ours}");
        return;
    }
    if !has_target() {
        assert!(!bless, "the target is missing: rustup target add {TARGET}");
        eprintln!("not checked: the target is missing (rustup target add {TARGET})");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let images = build(dir.path());
    if bless {
        std::fs::write(prebuilt.join("TOOLCHAIN"), &ours).unwrap();
    }
    for guest in GUESTS {
        let built = std::fs::read(images.join(guest)).expect("cargo leaves the image");
        let file = prebuilt.join(guest).with_extension("bin");
        if bless {
            std::fs::write(&file, &built).unwrap();
        }
        let committed = std::fs::read(&file).unwrap();
        let differ = built.iter().zip(&committed).position(|(a, b)| a != b);
        assert!(
            built == committed,
            "guests/prebuilt/{guest}.bin ({} bytes) is not what guests/{guest} builds to ({} bytes; first difference at \
             {differ:x?}); if the source was changed on purpose: DEMO_BLESS=1 cargo test -p firmware --test demo_rebuild",
            committed.len(),
            built.len(),
        );
    }
}
