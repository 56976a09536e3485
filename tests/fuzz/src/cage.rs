//! A thread that can do no harm: what is fed to a monitor may be a command that writes to a file, starts a program or
//! connects to somebody.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError,
};

/// From now on this thread and those that it starts read what they like, write in `folder` alone, start no programs, and,
/// where the kernel can forbid it, neither listen nor connect by TCP.
///
/// # Panics
/// The kernel has no Landlock: such inputs are not to be tried there.
pub fn enter(folder: &Path) {
    let done = restrict(folder);
    done.unwrap_or_else(|error| panic!("no cage for dangerous inputs; Landlock (Linux 6.2) is needed: {error}"));
}

fn restrict(folder: &Path) -> Result<(), RulesetError> {
    let abi = ABI::V3;
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessNet::from_all(ABI::V4))?
        .create()?;
    let open = |path: &Path| PathFd::new(path).unwrap_or_else(|error| panic!("{error}"));
    rules
        .add_rule(PathBeneath::new(open(Path::new("/")), AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rule(PathBeneath::new(open(folder), AccessFs::from_all(abi) & !AccessFs::Execute))?
        .restrict_self()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_written_outside_and_nothing_started() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let caged = std::thread::spawn(move || {
            super::enter(inside.path());
            std::fs::write(inside.path().join("file"), "x").unwrap();
            assert!(std::fs::write(outside.path().join("file"), "x").is_err());
            assert!(std::process::Command::new("/bin/sh").arg("-c").arg(":").spawn().is_err());
            (inside, outside)
        });
        caged.join().unwrap();
    }
}
