//! The files that a result goes to. Measuring takes minutes: what cannot be written is found out before. A file is whole,
//! or as it was.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use tempfile::NamedTempFile;

use crate::BenchError;

/// A file to write.
#[derive(Debug)]
pub struct Output {
    /// Such as `--json`, for messages.
    option: &'static str,
    /// As given.
    pub path: PathBuf,
    place: Place,
}

#[derive(Debug, PartialEq)]
enum Place {
    /// Replaced as a whole; links are followed.
    File(PathBuf),
    /// A device, a pipe, or what a descriptor is open on: nothing of it can be replaced.
    Stream,
}

impl Output {
    /// Fails if `path` cannot be written. Leaves no trace.
    pub fn find(option: &'static str, path: &Path) -> Result<Self, BenchError> {
        let place = place(path).map_err(|source| cannot_write(path, source))?;
        Ok(Self { option, path: path.to_owned(), place })
    }

    /// Whether it replaces a file, which is worth a line.
    pub fn is_file(&self) -> bool {
        self.place != Place::Stream
    }

    pub fn write(&self, text: &str) -> Result<(), BenchError> {
        let written = match &self.place {
            Place::File(file) => replace(file, text),
            Place::Stream => {
                File::options().append(true).open(&self.path).and_then(|mut f| f.write_all(text.as_bytes()))
            }
        };
        written.map_err(|source| cannot_write(&self.path, source))
    }
}

/// Keeps in `folder` what could not be written where it should be.
pub fn rescue(text: &str, folder: &Path) -> Result<PathBuf, BenchError> {
    let kept = tempfile::Builder::new().prefix("vireo-bench-").suffix(".json").tempfile_in(folder);
    let kept = kept.and_then(|mut file| {
        file.as_file_mut().write_all(text.as_bytes())?;
        Ok(file.keep()?.1)
    });
    kept.map_err(|source| cannot_write(folder, source))
}

/// Fails if two outputs are one file, or one of them is the file that is shown.
pub fn check_distinct(outputs: &[Output], shown: Option<&Path>) -> Result<(), BenchError> {
    for (i, output) in outputs.iter().enumerate().filter(|(_, o)| o.is_file()) {
        if let Some(other) = outputs[..i].iter().find(|o| o.place == output.place) {
            let (one, two, path) = (other.option, output.option, output.path.display());
            return Err(BenchError::Argument(format!("{one} and {two} both name '{path}'; each needs its own file")));
        }
        let shown = shown.and_then(|path| fs::canonicalize(path).ok());
        if shown.is_some_and(|shown| output.place == Place::File(shown)) {
            let (option, path) = (output.option, output.path.display());
            return Err(BenchError::Argument(format!("{option} {path}: is the result that --show shows")));
        }
    }
    Ok(())
}

fn cannot_write(path: &Path, source: io::Error) -> BenchError {
    BenchError::File { doing: "write", path: path.to_owned(), source }
}

fn place(path: &Path) -> io::Result<Place> {
    let descriptor = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"].iter().any(|at| path.starts_with(at));
    let file = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(meta) if descriptor || !meta.is_file() => {
            access(path, Access::WRITE_OK)?;
            return Ok(Place::Stream);
        }
        Ok(_) => {
            let file = fs::canonicalize(path)?;
            File::options().write(true).open(&file)?;
            file
        }
        // A link to nowhere, or a folder that is not there.
        Err(e) if path.is_symlink() || path.as_os_str().as_bytes().ends_with(b"/") => return Err(e),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(e) };
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            fs::canonicalize(folder)?.join(name)
        }
        Err(e) => return Err(e),
    };
    beside(&file)?;
    Ok(Place::File(file))
}

/// A new file in the same folder, which goes unless it takes the other's place.
fn beside(file: &Path) -> io::Result<NamedTempFile> {
    let folder = file.parent().ok_or(io::ErrorKind::NotFound)?;
    // What the user's mask leaves of it, as of any new file.
    let permissions = Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix(".vireo-bench-").permissions(permissions).tempfile_in(folder)
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut new = beside(file)?;
    if let Ok(old) = fs::metadata(file) {
        new.as_file().set_permissions(old.permissions())?;
    }
    new.as_file_mut().write_all(text.as_bytes())?;
    // A full disk may show only now.
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_cannot_be_written_is_found_out_and_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
        for bad in [at("none/x.json"), at("none/"), at("link"), dir.path().to_owned(), PathBuf::new()] {
            let error = Output::find("--json", &bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot write '{}': ", bad.display())), "{error}");
        }
        Output::find("--json", &at("x.json")).unwrap();
        assert_eq!(names(dir.path()), ["link"]);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("old"), "a long text").unwrap();
        fs::set_permissions(at("old"), Permissions::from_mode(0o640)).unwrap();
        // Who has the old file open keeps it: it was never cut off.
        fs::hard_link(at("old"), at("kept")).unwrap();
        std::os::unix::fs::symlink(at("old"), at("link")).unwrap();
        Output::find("--json", &at("link")).unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(at("old")).unwrap(), "new");
        assert_eq!(fs::read_to_string(at("kept")).unwrap(), "a long text");
        assert_eq!(fs::metadata(at("old")).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(at("link").is_symlink());
        assert_eq!(names(dir.path()), ["kept", "link", "old"]);
    }

    #[test]
    fn a_device_is_written_to_and_a_full_one_is_told() {
        Output::find("--json", Path::new("/dev/null")).unwrap().write("text").unwrap();
        let full = Output::find("--json", Path::new("/dev/full")).unwrap();
        assert!(full.write("text").unwrap_err().to_string().starts_with("cannot write '/dev/full': No space"));
    }

    #[test]
    fn outputs_are_different_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = |option, name: &str| Output::find(option, &dir.path().join(name)).unwrap();
        let error = |outputs: &[Output]| check_distinct(outputs, None).unwrap_err().to_string();
        assert!(error(&[file("--json", "a"), file("--svg", "./a")]).starts_with("--json and --svg both name '"));
        check_distinct(&[file("--json", "a"), file("--svg", "b")], None).unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        let shown = dir.path().join("a");
        let error = check_distinct(&[file("--html", "a")], Some(&shown)).unwrap_err().to_string();
        assert!(error.ends_with("is the result that --show shows"), "{error}");
    }
}
