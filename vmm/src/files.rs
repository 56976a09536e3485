//! Files that users name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

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

/// Removes a socket that nobody listens at any more, and nothing else.
///
/// # Errors
/// Something else is there.
pub fn remove_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(data) if !data.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists and is no socket"))
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_err() => fs::remove_file(path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_replaced_and_only_sockets_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (file, socket, pipe) = (path("file"), path("socket"), path("pipe"));
        fs::write(&file, "precious").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for special in [&pipe, &socket, Path::new("/dev/null")] {
            assert!(refuse_special(special).is_err(), "{}", special.display());
        }
        refuse_special(&file).unwrap();
        refuse_special(&path("nothing")).unwrap();
        assert!(open(&pipe).is_err() && open(&file).is_ok());

        assert!(remove_socket(&file).is_err() && remove_socket(&pipe).is_err());
        remove_socket(&path("nothing")).unwrap();
        remove_socket(&socket).unwrap();
        assert!(socket.exists(), "somebody listens");
        drop(listener);
        remove_socket(&socket).unwrap();
        assert!(!socket.exists() && file.exists() && pipe.exists());
    }
}
