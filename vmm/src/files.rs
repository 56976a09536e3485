//! Files that users name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.file_type().is_fifo())
}

/// Refuses a named pipe: to open one takes until somebody opens its other end, and meanwhile nobody would be heard.
///
/// # Errors
/// It is one.
pub fn refuse_pipe(path: &Path) -> io::Result<()> {
    match is_pipe(path) {
        true => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, and no file")),
        false => Ok(()),
    }
}

/// Opens a file to read it.
///
/// # Errors
/// It cannot be opened, or is a pipe.
pub fn open(path: &Path) -> io::Result<File> {
    refuse_pipe(path)?;
    File::open(path)
}

/// Removes a file. A large one's blocks take a while to be given back: a thread does that.
///
/// # Errors
/// It is not there, or cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    // Who has it open last gives them back.
    let last = open(path).ok();
    fs::remove_file(path)?;
    if let Err(error) = std::thread::Builder::new().name("remove".to_owned()).spawn(move || drop(last)) {
        tracing::debug!(%error, "no thread gives the blocks of '{}' back", path.display());
    }
    Ok(())
}

/// Refuses what a new file must not take the place of: devices, pipes and sockets.
///
/// # Errors
/// It is there, and no file.
pub fn refuse_special(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(data) if !data.is_file() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file, and is not replaced by one"))
        }
        _ => Ok(()),
    }
}

/// A file that is there as a whole or not at all: written beside its place, and moved there when it is on the disk.
pub struct AtomicFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// For nobody else to read.
    ///
    /// # Errors
    /// The folder cannot be written to, or what is there is no regular file.
    pub fn new(path: &Path) -> io::Result<Self> {
        Self::with_mode(path, 0o600)
    }

    /// For whom could read it before, or whom the user's umask lets.
    ///
    /// # Errors
    /// The same.
    pub fn shared(path: &Path) -> io::Result<Self> {
        let mut file = Self::with_mode(path, 0o666)?;
        if let Ok(before) = fs::metadata(&file.path) {
            file.file().set_permissions(before.permissions())?;
        }
        Ok(file)
    }

    fn with_mode(path: &Path, mode: u32) -> io::Result<Self> {
        // A link is followed: what it names is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        refuse_special(&path)?;
        let mut options = tempfile::Builder::new();
        options.prefix(".vireo-").suffix(".part").permissions(fs::Permissions::from_mode(mode));
        Ok(Self { file: options.tempfile_in(folder(&path)).map_err(without_path)?, path })
    }

    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// The file is whole.
    ///
    /// # Errors
    /// It cannot be put on the disk, or moved to its place.
    pub fn commit(self) -> io::Result<()> {
        let Self { file, path } = self;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        // The name, too; file systems that cannot do that have done it already.
        if let Err(error) = File::open(folder(&path)).and_then(|folder| folder.sync_all()) {
            tracing::debug!(%error, "cannot sync the folder of '{}'", path.display());
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Makes a file hold what `write` writes, or leaves it as it was. What is no file is written to.
///
/// # Errors
/// Those of `write`, and of the file.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|data| !data.is_file()) {
        let mut to = BufWriter::new(File::create(path)?);
        write(&mut to)?;
        return to.flush();
    }
    let mut file = AtomicFile::shared(path)?;
    let mut to = BufWriter::new(&mut file);
    write(&mut to)?;
    to.flush()?;
    drop(to);
    file.commit()
}

/// Without the name beside the file's place, which is nobody's business.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((text, _)) => io::Error::new(error.kind(), text),
        None => error,
    }
}

/// Where a file is, or will be.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (file, socket, pipe) = (path("file"), path("socket"), path("pipe"));
        fs::write(&file, "precious").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for special in [&pipe, &socket, Path::new("/dev/null")] {
            assert!(refuse_special(special).is_err(), "{}", special.display());
        }
        refuse_special(&file).unwrap();
        refuse_special(&path("nothing")).unwrap();
        assert!(open(&pipe).is_err() && open(&file).is_ok());
        // What is there goes, whatever it is.
        for path in [&file, &pipe] {
            remove(path).unwrap();
            assert_eq!(remove(path).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let write = |mut file: AtomicFile| {
            file.write_all(b"new").unwrap();
            file
        };
        drop(write(AtomicFile::new(&path).unwrap()));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write(AtomicFile::new(&link).unwrap()).commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let error = AtomicFile::new(&dir.path().join("none/file")).err().expect("there is no folder");
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn a_file_is_replaced_or_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (old, new) = (path("old"), path("new"));
        fs::write(&old, "precious").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
        let late = replace(&old, |to| to.write_all(&[1; 100_000]).and(Err(io::Error::other("no more"))));
        assert_eq!(
            (late.unwrap_err().to_string().as_str(), fs::read(&old).unwrap()),
            ("no more", b"precious".to_vec())
        );
        replace(&old, |to| to.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"new");
        assert_eq!(fs::metadata(&old).unwrap().permissions().mode() & 0o777, 0o640);
        // As any other file that a program writes.
        File::create(path("plain")).unwrap();
        replace(&new, |_| Ok(())).unwrap();
        assert_eq!(fs::metadata(&new).unwrap().permissions(), fs::metadata(path("plain")).unwrap().permissions());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left over");
        assert!(replace(Path::new("/dev/full"), |to| to.write_all(b"new")).is_err());
        replace(Path::new("/dev/null"), |_| Ok(())).unwrap();
    }
}
