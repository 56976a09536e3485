//! Image locks: two machines must not write one image.
//!
//! Open-file-description locks on single bytes of the image, at the places and with the meaning that QEMU gives
//! them, so that the two programs keep each other out. Byte 100 + p: someone uses permission p. Byte 200 + p: someone
//! does not share it. To open, lock what we use and what we do not share, then check that no one holds the opposite.
//! The kernel drops the locks when the file is closed, however the program ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const USED: i64 = 100;
const UNSHARED: i64 = 200;

/// Permissions, by number.
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// Takes the locks of a reader (`write` false: others may read, none may write) or of the only writer.
/// `Ok(false)`: somebody else's use conflicts. An error means that this file system has no such locks.
pub fn lock(file: &File, write: bool) -> io::Result<bool> {
    let uses: &[i64] = if write { &[CONSISTENT_READ, WRITE] } else { &[CONSISTENT_READ] };
    let keeps: &[i64] = &[WRITE, RESIZE];
    for at in uses.iter().map(|p| USED + p).chain(keeps.iter().map(|p| UNSHARED + p)) {
        // A shared lock; only a check holds exclusive ones, and for an instant in older programs.
        set(file, at, libc::F_RDLCK)?;
    }
    let opposite = uses.iter().map(|p| UNSHARED + p).chain(keeps.iter().map(|p| USED + p));
    for at in opposite {
        if is_locked_by_others(file, at)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn byte_lock(at: i64, kind: libc::c_int) -> libc::flock {
    // SAFETY: `flock` is a plain C struct; all zeroes is a value of it.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = at;
    lock.l_len = 1;
    lock
}

fn set(file: &File, at: i64, kind: libc::c_int) -> io::Result<()> {
    let lock = byte_lock(at, kind);
    // SAFETY: the descriptor is open and `lock` outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn is_locked_by_others(file: &File, at: i64) -> io::Result<bool> {
    let mut lock = byte_lock(at, libc::F_WRLCK);
    // SAFETY: as above; the kernel writes the answer into `lock`.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock.l_type != libc::F_UNLCK as libc::c_short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_or_many_readers() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(image.path()).unwrap();
        let (a, b) = (open(), open());
        assert!(lock(&a, false).unwrap());
        assert!(lock(&b, false).unwrap(), "readers share");
        let c = open();
        assert!(!lock(&c, true).unwrap(), "a writer finds readers");
        drop(c);
        drop((a, b));
        let writer = open();
        assert!(lock(&writer, true).unwrap(), "closing frees");
        assert!(!lock(&open(), true).unwrap(), "a second writer");
        assert!(!lock(&open(), false).unwrap(), "a reader finds the writer");
        drop(writer);
        assert!(lock(&open(), true).unwrap());
    }
}
