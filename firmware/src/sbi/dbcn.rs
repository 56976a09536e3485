//! Debug console extension (spec chapter "Debug Console Extension").

use sbi_spec::dbcn as spec;

use super::{Extension, SbiError, SbiHost, SbiOutcome, SbiRequest};

/// The most bytes moved by one call. Both calls may be partial by their definition; the limit keeps a guest
/// from holding its vCPU thread (and a buffer) for gigabytes.
const TRANSFER_MAX: u64 = 64 << 10;

/// Bytes moved through the stack at a time.
const CHUNK: usize = 1024;

/// The `num_bytes`, `base_addr_lo`, `base_addr_hi` range, cut to [`TRANSFER_MAX`]: its start and length.
fn range(call: &SbiRequest, host: &dyn SbiHost) -> Result<(u64, u64), SbiError> {
    let [len, lo, hi, ..] = call.args;
    // The whole range has to be memory, not only the part that one call moves.
    if hi != 0 || lo.checked_add(len).is_none() || (len != 0 && !host.is_ram(lo, len)) {
        return Err(SbiError::InvalidParam);
    }
    Ok((lo, len.min(TRANSFER_MAX)))
}

fn write(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let (start, len) = range(call, host)?;
    let mut done = 0;
    while done < len {
        let mut buf = [0; CHUNK];
        let chunk = &mut buf[..CHUNK.min((len - done) as usize)];
        if !host.read_guest(start + done, chunk) {
            return Err(SbiError::InvalidParam);
        }
        match host.console_write(chunk) {
            Ok(taken) => {
                done += taken.min(chunk.len()) as u64;
                if taken < chunk.len() {
                    break;
                }
            }
            // What was written before the error counts; the next call meets the error again.
            Err(_) if done > 0 => break,
            Err(_) => return Err(SbiError::Failed),
        }
    }
    Ok(done)
}

fn read(call: &SbiRequest, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let (start, len) = range(call, host)?;
    let mut done = 0;
    while done < len {
        let mut buf = [0; CHUNK];
        let chunk = &mut buf[..CHUNK.min((len - done) as usize)];
        let room = chunk.len();
        match host.console_read(chunk) {
            Ok(0) => break,
            Ok(got) => {
                let got = got.min(room);
                if !host.write_guest(start + done, &chunk[..got]) {
                    return Err(SbiError::InvalidParam);
                }
                done += got as u64;
                if got < room {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(_) => return Err(SbiError::Failed),
        }
    }
    Ok(done)
}

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    const WRITE: u64 = spec::CONSOLE_WRITE as u64;
    const READ: u64 = spec::CONSOLE_READ as u64;
    const WRITE_BYTE: u64 = spec::CONSOLE_WRITE_BYTE as u64;
    match call.fid {
        WRITE => write(call, host),
        READ => read(call, host),
        WRITE_BYTE => host.console_write_byte(call.args[0] as u8).map(|()| 0).map_err(|_| SbiError::Failed),
        _ => Err(SbiError::NotSupported),
    }
    .into()
}

pub const EXTENSION: Extension =
    Extension { name: "DBCN", eids: spec::EID_DBCN as u64..=spec::EID_DBCN as u64, probe: |_| 1, handle };

#[cfg(test)]
mod tests {
    use super::super::mock::{MockHost, RAM, call};
    use super::*;
    use crate::sbi::handle;

    const EID: u64 = 0x4442_434e;

    #[test]
    fn writes_come_from_guest_memory() {
        let host = MockHost::new(1);
        let text: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
        assert!(host.write_guest(RAM.start + 7, &text));
        assert_eq!(handle(&call(EID, 0, &[3000, RAM.start + 7, 0]), &host), SbiOutcome::success(3000));
        assert_eq!(host.output(), text);
        assert_eq!(handle(&call(EID, 0, &[0, 0, 0]), &host), SbiOutcome::success(0));
        assert_eq!(handle(&call(EID, 2, &[0x141]), &host), SbiOutcome::success(0));
        assert_eq!(host.output().last(), Some(&0x41));
    }

    #[test]
    fn a_busy_console_takes_a_part() {
        let host = MockHost::new(1);
        host.set_console_room(1500);
        assert_eq!(handle(&call(EID, 0, &[3000, RAM.start, 0]), &host), SbiOutcome::success(1500));
        assert_eq!(handle(&call(EID, 0, &[3000, RAM.start, 0]), &host), SbiOutcome::success(0));
    }

    #[test]
    fn a_long_write_is_partial() {
        let host = MockHost::new(1);
        let outcome = handle(&call(EID, 0, &[RAM.end - RAM.start, RAM.start, 0]), &host);
        assert_eq!(outcome, SbiOutcome::success(TRANSFER_MAX));
    }

    #[test]
    fn reads_go_to_guest_memory() {
        let host = MockHost::new(1);
        assert_eq!(handle(&call(EID, 1, &[16, RAM.start, 0]), &host), SbiOutcome::success(0));
        host.type_in(b"hello");
        assert_eq!(handle(&call(EID, 1, &[3, RAM.start, 0]), &host), SbiOutcome::success(3));
        assert_eq!(handle(&call(EID, 1, &[16, RAM.start + 3, 0]), &host), SbiOutcome::success(2));
        let mut got = [0; 5];
        assert!(host.read_guest(RAM.start, &mut got));
        assert_eq!(&got, b"hello");
    }

    #[test]
    fn bad_ranges_are_refused_before_anything_moves() {
        let host = MockHost::new(1);
        host.type_in(b"x");
        let bad = [[1, 0, 0], [2, RAM.end - 1, 0], [1, RAM.start, 1], [u64::MAX, RAM.start, 0], [1, u64::MAX, 0]];
        for args in bad {
            for fid in [0, 1] {
                let outcome = handle(&call(EID, fid, &args), &host);
                assert_eq!(outcome, SbiOutcome::error(SbiError::InvalidParam), "{fid} {args:x?}");
            }
        }
        assert_eq!(host.output(), b"");
        assert_eq!(handle(&call(EID, 1, &[1, RAM.start, 0]), &host), SbiOutcome::success(1), "input was not lost");
    }

    #[test]
    fn a_broken_console_fails() {
        let host = MockHost::new(1);
        host.break_console();
        for (fid, args) in [(0, [1, RAM.start, 0]), (1, [1, RAM.start, 0]), (2, [1, 0, 0])] {
            assert_eq!(handle(&call(EID, fid, &args), &host), SbiOutcome::error(SbiError::Failed), "{fid}");
        }
    }
}
