//! The TFTP server: files of one directory, read only (RFC 1350; options blksize and tsize: RFC 2347 to 2349).
//!
//! Bytes in, bytes out: datagrams come from the guest and go to `Lan`; no socket. Nothing outside the directory is
//! served, wherever symbolic links lead. Files are read when their blocks are due.

use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddrV4;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::lan::{IPV4, Lan, Mac, UDP};

/// Where requests arrive.
pub const PORT: u16 = 69;
/// Transfers use ports of their own (RFC 1350, section 4), from here on.
const FIRST_PORT: u16 = 50_000;
const PORTS: u16 = 10_000;
/// Transfers at once; the one idle for longest gives way.
const TRANSFERS: usize = 16;
const BLOCK: usize = 512;
const MIN_BLOCK: usize = 8;
const RETRY: Duration = Duration::from_secs(1);
const RETRIES: u32 = 5;

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS_ACK: u16 = 6;

/// Error codes (RFC 1350, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NotFound = 1,
    Access = 2,
    Illegal = 4,
}

#[derive(Debug)]
struct Transfer {
    guest: SocketAddrV4,
    mac: Mac,
    /// Our port.
    port: u16,
    file: File,
    len: u64,
    block_size: usize,
    /// The block last sent, from 1; 0 is the acknowledgement of options.
    block: u64,
    /// What was sent last, to send again.
    packet: Vec<u8>,
    due: Instant,
    tries: u32,
}

#[derive(Debug, Default)]
pub struct Tftp {
    /// The longest idle first.
    transfers: Vec<Transfer>,
    ports_used: u16,
}

impl Tftp {
    /// Whether a datagram to the gateway belongs here.
    pub fn wants(&self, lan: &Lan, guest: SocketAddrV4, port: u16) -> bool {
        lan.config.tftp.is_some() && (port == PORT || self.transfers.iter().any(|t| t.guest == guest && t.port == port))
    }

    pub fn input(&mut self, lan: &mut Lan, mac: Mac, guest: SocketAddrV4, port: u16, message: &[u8], now: Instant) {
        let Some((&[high, low], body)) = message.split_first_chunk::<2>() else { return };
        let operation = u16::from_be_bytes([high, low]);
        if port == PORT {
            // A repeated request replaces the transfer that its loss left behind.
            self.transfers.retain(|t| t.guest != guest);
            let begun = match operation {
                READ => self.begin(lan, mac, guest, body, now),
                WRITE => Err((Refusal::Access, "the directory is read only")),
                _ => Err((Refusal::Illegal, "not a request")),
            };
            if let Err((code, text)) = begun {
                let from = SocketAddrV4::new(lan.config.host, PORT);
                lan.send_udp(mac, from, guest, &error(code, text));
            }
            return;
        }
        let Some(at) = self.transfers.iter().position(|t| t.guest == guest && t.port == port) else { return };
        let mut transfer = self.transfers.remove(at);
        match (operation, body.first_chunk::<2>()) {
            // The last block is acknowledged: the transfer ends here.
            (ACK, Some(n)) if u16::from_be_bytes(*n) == transfer.block as u16 => {
                if transfer.is_last() {
                    return;
                }
                transfer.block += 1;
                if let Err(error) = transfer.load() {
                    tracing::debug!("user network: tftp: {error}");
                    transfer.packet = self::error(Refusal::Access, "the file cannot be read");
                    return transfer.send(lan, now);
                }
                transfer.tries = 0;
                transfer.send(lan, now);
            }
            (ERROR, _) => return,
            // An old acknowledgement must not repeat a block (RFC 1123, section 4.2.3.1).
            _ => {}
        }
        self.transfers.push(transfer);
    }

    fn begin(
        &mut self,
        lan: &mut Lan,
        mac: Mac,
        guest: SocketAddrV4,
        body: &[u8],
        now: Instant,
    ) -> Result<(), (Refusal, &'static str)> {
        let Some(root) = &lan.config.tftp else { return Ok(()) };
        let body = body.strip_suffix(&[0]).ok_or((Refusal::Illegal, "not a request"))?;
        let mut words = body.split(|b| *b == 0);
        let (name, mode) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !mode.eq_ignore_ascii_case(b"octet") {
            return Err((Refusal::Illegal, "only mode octet is supported"));
        }
        let (file, len) = open_below(root, name)?;
        let (mut block_size, mut options) = (BLOCK, Vec::new());
        while let (Some(option), Some(value)) = (words.next(), words.next()) {
            let value = std::str::from_utf8(value).ok().and_then(|v| v.parse::<usize>().ok());
            let accepted = if option.eq_ignore_ascii_case(b"blksize") {
                // Whole packets: the answer may name less than was asked for.
                let largest = usize::from(lan.config.mtu) - IPV4 - UDP - 4;
                value.filter(|v| *v >= MIN_BLOCK).map(|v| v.min(largest).min(65_464)).inspect(|v| block_size = *v)
            } else if option.eq_ignore_ascii_case(b"tsize") {
                value.map(|_| len as usize)
            } else {
                None
            };
            if let Some(accepted) = accepted {
                options.extend_from_slice(&option.to_ascii_lowercase());
                options.push(0);
                options.extend_from_slice(accepted.to_string().as_bytes());
                options.push(0);
            }
        }
        let port = FIRST_PORT + self.ports_used;
        self.ports_used = (self.ports_used + 1) % PORTS;
        let packet = [&OPTIONS_ACK.to_be_bytes()[..], &options].concat();
        let mut transfer = Transfer { guest, mac, port, file, len, block_size, block: 0, packet, due: now, tries: 0 };
        if options.is_empty() {
            transfer.block = 1;
            transfer.load().map_err(|_| (Refusal::Access, "the file cannot be read"))?;
        }
        transfer.send(lan, now);
        if self.transfers.len() == TRANSFERS {
            self.transfers.remove(0);
        }
        self.transfers.push(transfer);
        Ok(())
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.transfers.iter().map(|t| t.due).min()
    }

    /// Repeats what was not acknowledged in time.
    pub fn on_timers(&mut self, lan: &mut Lan, now: Instant) {
        self.transfers.retain_mut(|transfer| {
            if transfer.due <= now {
                transfer.tries += 1;
                transfer.send(lan, now);
            }
            transfer.tries <= RETRIES
        });
    }
}

impl Transfer {
    /// A block that is not full ends the file, if need be an empty one.
    fn is_last(&self) -> bool {
        self.block > self.len / self.block_size as u64
    }

    /// Makes the packet of the current block.
    fn load(&mut self) -> std::io::Result<()> {
        let start = (self.block - 1) * self.block_size as u64;
        let n = (self.len - start).min(self.block_size as u64) as usize;
        self.packet = vec![0; 4 + n];
        self.packet[..2].copy_from_slice(&DATA.to_be_bytes());
        self.packet[2..4].copy_from_slice(&(self.block as u16).to_be_bytes());
        self.file.read_exact_at(&mut self.packet[4..], start)
    }

    fn send(&mut self, lan: &mut Lan, now: Instant) {
        self.due = now + RETRY;
        let from = SocketAddrV4::new(lan.config.host, self.port);
        lan.send_udp(self.mac, from, self.guest, &self.packet);
    }
}

/// Opens a regular file below `root` by the name a guest gave.
fn open_below(root: &Path, name: &[u8]) -> Result<(File, u64), (Refusal, &'static str)> {
    let missing = |_| (Refusal::NotFound, "no such file");
    let name = Path::new(OsStr::from_bytes(name));
    let root = root.canonicalize().map_err(missing)?;
    let path = root.join(name.strip_prefix("/").unwrap_or(name)).canonicalize().map_err(missing)?;
    // After all links are followed; only the host could change them in between.
    if !path.starts_with(&root) {
        return Err((Refusal::Access, "outside the directory"));
    }
    // Opening anything else, a pipe for one, might block.
    if !path.is_file() {
        return Err((Refusal::Access, "not a file"));
    }
    let file = File::open(path).map_err(|_| (Refusal::Access, "the file cannot be opened"))?;
    let len = file.metadata().map_err(missing)?.len();
    Ok((file, len))
}

fn error(code: Refusal, text: &str) -> Vec<u8> {
    [&ERROR.to_be_bytes()[..], &(code as u16).to_be_bytes(), text.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::config::UserNetConfig;
    use super::super::poller::Poller;
    use super::*;

    const GUEST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 15), 3000);

    struct Bench {
        lan: Lan,
        tftp: Tftp,
        dir: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let config = UserNetConfig { tftp: Some(dir.path().to_owned()), ..Default::default() };
        Bench { lan: Lan::new(config, Poller::new().unwrap()), tftp: Tftp::default(), dir }
    }

    impl Bench {
        /// Sends to a port; returns the answer's port and message.
        fn say(&mut self, port: u16, message: &[u8]) -> Option<(u16, Vec<u8>)> {
            assert!(self.tftp.wants(&self.lan, GUEST, port));
            self.tftp.input(&mut self.lan, [2; 6], GUEST, port, message, Instant::now());
            self.answer()
        }

        fn answer(&mut self) -> Option<(u16, Vec<u8>)> {
            let (_, frame) = self.lan.pop()?;
            assert!(self.lan.pop().is_none());
            Some((u16::from_be_bytes([frame[34], frame[35]]), frame[42..].to_vec()))
        }

        /// Fetches a file, acknowledging every block.
        fn fetch(&mut self, request: &[u8]) -> Vec<u8> {
            let (port, mut packet) = self.say(PORT, request).unwrap();
            let mut all = Vec::new();
            loop {
                let ack = match packet[..2] {
                    [0, 6] => [0, 4, 0, 0],
                    [0, 3] => [0, 4, packet[2], packet[3]],
                    _ => panic!("{packet:?}"),
                };
                all.extend_from_slice(packet.get(4..).filter(|_| packet[1] == 3).unwrap_or_default());
                match self.say(port, &ack) {
                    Some(next) => packet = next.1,
                    None => return all,
                }
            }
        }
    }

    #[test]
    fn files_of_all_lengths_arrive() {
        let mut b = bench();
        for len in [0usize, 1, 511, 512, 513, 1024, 100_000] {
            let data: Vec<u8> = (0..len).map(|i| ((i * 7) >> 3) as u8).collect();
            std::fs::write(b.dir.path().join("f"), &data).unwrap();
            assert!(b.fetch(b"\0\x01f\0octet\0") == data, "{len}");
            assert!(b.fetch(b"\0\x01/f\0OCTET\0blksize\x001468\0tsize\x000\0") == data, "{len}");
            assert!(b.tftp.transfers.is_empty());
        }
    }

    #[test]
    fn more_blocks_than_the_counter_has() {
        let mut b = bench();
        let data: Vec<u8> = (0..8 * 66_000u32).map(|i| (i >> 5) as u8).collect();
        std::fs::write(b.dir.path().join("f"), &data).unwrap();
        assert!(b.fetch(b"\0\x01f\0octet\0blksize\x008\0".as_slice()) == data);
    }

    #[test]
    fn options_are_answered() {
        let mut b = bench();
        std::fs::write(b.dir.path().join("f"), [0; 9000]).unwrap();
        let (_, oack) = b.say(PORT, b"\0\x01f\0octet\0tsize\x000\0blksize\x009000\0other\x001\0").unwrap();
        assert_eq!(oack, b"\0\x06tsize\x009000\0blksize\x001468\0");
    }

    #[test]
    fn nothing_outside_and_nothing_written() {
        let mut b = bench();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), b.dir.path().join("link")).unwrap();
        std::fs::create_dir(b.dir.path().join("sub")).unwrap();
        let name = outside.path().file_name().unwrap().to_str().unwrap().to_owned();
        for (name, code) in [
            ("link/secret".to_owned(), 2),
            (format!("../{name}/secret"), 2),
            ("sub".to_owned(), 2),
            ("missing".to_owned(), 1),
        ] {
            let (_, reply) = b.say(PORT, format!("\0\x01{name}\0octet\0").as_bytes()).unwrap();
            assert_eq!(reply[..4], [0, 5, 0, code], "{name}");
        }
        assert_eq!(b.say(PORT, b"\0\x02f\0octet\0").unwrap().1[..4], [0, 5, 0, 2]);
        for bad in [&b"\0\x01"[..], b"\0\x01f", b"\0\x01f\0netascii\0", b"\0\x09", b""] {
            let reply = b.say(PORT, bad);
            assert!(reply.is_none_or(|(_, r)| r[..4] == [0, 5, 0, 4]), "{bad:?}");
        }
    }

    #[test]
    fn lost_blocks_are_repeated_for_a_while() {
        let mut b = bench();
        std::fs::write(b.dir.path().join("f"), "hello").unwrap();
        let (port, first) = b.say(PORT, b"\0\x01f\0octet\0").unwrap();
        let mut now = Instant::now();
        for _ in 0..=RETRIES {
            now += RETRY * 2;
            b.tftp.on_timers(&mut b.lan, now);
            assert_eq!(b.answer(), Some((port, first.clone())));
        }
        assert!(b.tftp.deadline().is_none());
        for i in 0..100u16 {
            let noise = [&[0, 1][..], &(0..i).flat_map(|n| (n * 37 + i).to_be_bytes()).collect::<Vec<_>>()].concat();
            b.tftp.input(&mut b.lan, [2; 6], GUEST, PORT, &noise, now);
            let guest = SocketAddrV4::new(*GUEST.ip(), i + 1);
            b.tftp.input(&mut b.lan, [2; 6], guest, PORT, b"\0\x01f\0octet\0", now);
        }
        assert_eq!(b.tftp.transfers.len(), TRANSFERS);
    }
}
