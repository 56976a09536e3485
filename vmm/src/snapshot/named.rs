//! The folder of snapshots with names.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::load;
use crate::machine::Named;

/// Of files that hold a snapshot.
const SUFFIX: &str = ".vireo";
const NAME_MAX: usize = 100;
const NO_FOLDER: &str = "there is no place for snapshots: -machine snapshots=FOLDER names one";

/// Whether a folder for snapshots is there.
///
/// # Errors
/// It is not, or it is something else.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    match std::fs::metadata(folder)?.is_dir() {
        true => Ok(()),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}

/// The file of the snapshot `name` in `folder`.
///
/// # Errors
/// There is no folder, or the name is not allowed.
pub fn named(folder: Option<&Path>, name: &str) -> Result<PathBuf, String> {
    let folder = folder.ok_or(NO_FOLDER)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || name.starts_with('.') || !name.chars().all(plain) {
        let shown = name.escape_debug();
        let what = "letters, digits, '.', '_' and '-' are allowed, at most 100, and no '.' at the start";
        return Err(format!("'{shown}' is no name of a snapshot: {what}"));
    }
    Ok(folder.join(format!("{name}{SUFFIX}")))
}

/// All snapshots in `folder`, by name.
///
/// # Errors
/// It cannot be read, or there is none.
pub fn list(folder: Option<&Path>) -> Result<Vec<Named>, String> {
    let folder = folder.ok_or(NO_FOLDER)?;
    let failed = |error| format!("cannot read '{}': {error}", folder.display());
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let (Some(name), Ok(meta)) = (name.strip_suffix(SUFFIX), entry.metadata())
            && named(Some(folder), name).is_ok()
        {
            let made = meta.modified().map_err(failed)?;
            let time = crate::files::open(&entry.path()).ok().and_then(|file| load::time(&file).ok());
            all.push(Named { name: name.to_owned(), bytes: meta.blocks() * 512, made, time });
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        let folder = Some(Path::new("/f"));
        assert_eq!(named(folder, "a-1.b_C"), Ok("/f/a-1.b_C.vireo".into()));
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "a b", "a\n", &"x".repeat(101)] {
            assert!(named(folder, name).is_err(), "{name:?}");
        }
        assert!(named(None, "a").unwrap_err().contains("-machine snapshots="));
    }
}
