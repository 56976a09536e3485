//! `-chardev` and `-serial`: where bytes of consoles go.

use std::path::PathBuf;
use std::time::Duration;

use devices::chardev::{BackendConfig, ChardevConfig, IpVersion, SocketAddress};

use super::drive::check_id;
use super::error::{CliError, Result};
use super::optlist::{OptList, VALUE_MAX};

/// For `-chardev help`.
pub const TYPES: &[(&str, &str)] = &[
    ("null", "swallows output, has no input"),
    ("stdio", "the terminal: mux=, signal="),
    ("file", "a file: path=, append=, input-path="),
    ("pipe", "named pipes PATH.in and PATH.out: path="),
    ("pty", "a new pseudo terminal: path="),
    ("socket", "TCP (host=, port=, ipv4=, ipv6=) or Unix (path=): server=, wait=, reconnect=, nodelay=, telnet="),
    ("ringbuf", "memory: size="),
];

const ELSEWHERE: &[&str] = &[
    "udp",
    "msmouse",
    "vc",
    "wctablet",
    "spicevmc",
    "spiceport",
    "braille",
    "serial",
    "parallel",
    "testdev",
    "dbus",
    "qemu-vdagent",
    "hub",
    "memory",
    "console",
    "tty",
    "mouse",
];

/// What a `-serial` or a `-monitor` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serial {
    /// None, or nobody at it.
    None,
    /// A device made for it.
    New(ChardevConfig),
    /// One of `-chardev`.
    Existing(String),
}

pub fn parse_chardev(text: &str) -> Result<ChardevConfig> {
    let mut o = OptList::parse("-chardev", text)?;
    let kind = o.head("backend")?.ok_or_else(|| o.error("needs a type; -chardev help lists them"))?;
    let id = o.text("id")?;
    let id = check_id(&o, id)?.ok_or_else(|| o.error("needs id=ID"))?;
    let mux = o.flag("mux")?.unwrap_or(false);
    let backend = match kind.as_str() {
        "null" => BackendConfig::Null,
        "stdio" => BackendConfig::Stdio { signal: o.flag("signal")?.unwrap_or(!mux) },
        "file" => BackendConfig::File {
            path: path(&mut o)?,
            append: o.flag("append")?.unwrap_or(false),
            input: o.text("input-path")?.map(PathBuf::from),
        },
        "pipe" => BackendConfig::Pipe { path: path(&mut o)? },
        "pty" => BackendConfig::Pty { link: o.text("path")?.map(PathBuf::from) },
        "socket" => socket(&mut o)?,
        "ringbuf" => {
            let size = o.size("size", 1)?.unwrap_or(65536);
            if !size.is_power_of_two() || size > 1 << 30 {
                return Err(o.error(format!("size={size}: must be a power of two up to 1G")));
            }
            BackendConfig::RingBuf { size: size as usize }
        }
        k if ELSEWHERE.contains(&k) => return Err(o.error(format!("type '{k}' is not supported by vireo yet"))),
        k => {
            let hint = super::error::did_you_mean(k, TYPES.iter().map(|(n, _)| *n));
            return Err(o.error(format!("unknown type '{k}'{hint}; -chardev help lists them")));
        }
    };
    let logfile = o.text("logfile")?.map(PathBuf::from);
    let logappend = o.flag("logappend")?.unwrap_or(false);
    o.finish()?;
    Ok(ChardevConfig { id, backend, mux, logfile, logappend })
}

fn path(o: &mut OptList) -> Result<PathBuf> {
    let path = o.text("path")?.filter(|p| !p.is_empty());
    path.map(PathBuf::from).ok_or_else(|| o.error("needs path=PATH"))
}

fn socket(o: &mut OptList) -> Result<BackendConfig> {
    o.unsupported(&["tn3270", "websocket", "tls-creds", "tls-authz", "fd", "abstract", "tight", "to"])?;
    let address = match (o.text("path")?, o.text("host")?, o.text("port")?) {
        (Some(path), None, None) if !path.is_empty() => SocketAddress::Unix(path.into()),
        (None, host, Some(port)) => tcp(o, host.unwrap_or_default(), &port)?,
        _ => return Err(o.error("needs path=PATH, or port=PORT and host=HOST")),
    };
    let telnet = o.flag("telnet")?.unwrap_or(false);
    socket_options(o, address, telnet)
}

/// `ipv4=` and `ipv6=`: one of them alone leaves the other out, and both are what there is without them.
fn tcp(o: &mut OptList, host: String, port: &str) -> Result<SocketAddress> {
    let only = match (o.flag("ipv4")?, o.flag("ipv6")?) {
        (Some(false), Some(false)) => return Err(o.error("ipv4=off and ipv6=off leave no address")),
        (Some(true), None | Some(false)) | (None, Some(false)) => Some(IpVersion::V4),
        (None | Some(false), Some(true)) | (Some(false), None) => Some(IpVersion::V6),
        (None, None) | (Some(true), Some(true)) => None,
    };
    Ok(SocketAddress::Tcp { host, port: tcp_port(o, port)?, only })
}

fn socket_options(o: &mut OptList, address: SocketAddress, telnet: bool) -> Result<BackendConfig> {
    let server = o.flag("server")?.unwrap_or(false);
    let wait = o.flag("wait")?;
    // QEMU also takes milliseconds.
    let seconds = o.number("reconnect", 0..=86400u64)?;
    let millis = o.number("reconnect-ms", 0..=86_400_000u64)?;
    let reconnect = seconds.map(Duration::from_secs).or(millis.map(Duration::from_millis)).filter(|d| !d.is_zero());
    if !server && wait.is_some() {
        return Err(o.error("wait= needs server=on"));
    }
    if server && reconnect.is_some() {
        return Err(o.error("reconnect= is for clients, not with server=on"));
    }
    let nodelay = o.flag("nodelay")?.or(o.flag("delay")?.map(|d| !d)).unwrap_or(false);
    Ok(BackendConfig::Socket { address, server, wait: wait.unwrap_or(server), reconnect, nodelay, telnet })
}

fn tcp_port(o: &OptList, text: &str) -> Result<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| o.error(format!("port '{text}' must be a number from 0 to 65535")))
}

/// The short forms that `-serial` and its likes take. `context` is the option as it was given; `id` names the device it makes.
pub fn parse_short(context: &str, text: &str, id: &str) -> Result<Serial> {
    if text.len() > VALUE_MAX {
        let option = context.split(' ').next().unwrap_or_default();
        return Err(CliError::new(option, format!("the value is longer than {VALUE_MAX} bytes")));
    }
    let error = |message: &str| CliError::new(context, message);
    let (mux, short) = match text.strip_prefix("mon:") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if let Some(id) = short.strip_prefix("chardev:") {
        return if id.is_empty() || mux {
            Err(error("must be chardev:ID"))
        } else {
            Ok(Serial::Existing(id.to_owned()))
        };
    }
    let (kind, rest) = short.split_once(':').map_or((short, None), |(k, r)| (k, Some(r)));
    let need = |what: &str| match rest.filter(|r| !r.is_empty()) {
        Some(rest) => Ok(rest),
        None => Err(error(&format!("must be {kind}:{what}"))),
    };
    let backend = match kind {
        "none" if rest.is_none() && !mux => return Ok(Serial::None),
        "null" if rest.is_none() => BackendConfig::Null,
        "stdio" if rest.is_none() => BackendConfig::Stdio { signal: !mux },
        "pty" => BackendConfig::Pty { link: rest.filter(|r| !r.is_empty()).map(PathBuf::from) },
        "file" => BackendConfig::File { path: need("PATH")?.into(), append: false, input: None },
        "pipe" => BackendConfig::Pipe { path: need("PATH")?.into() },
        "unix" => {
            let mut o = OptList::parse_part(context, need("PATH[,server=on][,wait=off]")?)?;
            let path = o.head("path")?.ok_or_else(|| error("must be unix:PATH[,server=on][,wait=off]"))?;
            let backend = socket_options(&mut o, SocketAddress::Unix(path.into()), false)?;
            o.finish()?;
            backend
        }
        "tcp" | "telnet" => {
            let form = "[HOST]:PORT[,server=on][,wait=off]";
            let mut o = OptList::parse_part(context, need(form)?)?;
            let address = o.head("address")?.ok_or_else(|| error(&format!("must be {kind}:{form}")))?;
            let (host, port) = address.rsplit_once(':').ok_or_else(|| error(&format!("must be {kind}:{form}")))?;
            let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).to_owned();
            let address = tcp(&mut o, host, port)?;
            let backend = socket_options(&mut o, address, kind == "telnet")?;
            o.finish()?;
            backend
        }
        "vc" | "udp" | "websocket" | "con" | "msmouse" | "braille" => {
            return Err(error(&format!("'{kind}' is not supported by vireo yet")));
        }
        _ if kind.starts_with("/dev/") => {
            return Err(error("host serial ports are not supported by vireo yet"));
        }
        _ => {
            return Err(error(
                "must be one of none, null, stdio, mon:stdio, pty, file:PATH, pipe:PATH, unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT, chardev:ID",
            ));
        }
    };
    Ok(Serial::New(ChardevConfig { mux, ..ChardevConfig::new(id, backend) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(text: &str) -> ChardevConfig {
        match parse_short(&format!("-serial {text}"), text, "serial0").unwrap() {
            Serial::New(c) => c,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn serials() {
        assert_eq!(serial("stdio").backend, BackendConfig::Stdio { signal: true });
        let mon = serial("mon:stdio");
        assert_eq!((mon.mux, mon.backend), (true, BackendConfig::Stdio { signal: false }));
        assert_eq!(serial("pty").backend, BackendConfig::Pty { link: None });
        assert_eq!(
            serial("file:/a,b").backend,
            BackendConfig::File { path: "/a,b".into(), append: false, input: None }
        );
        assert_eq!(
            serial("unix:/s,server=on,wait=off").backend,
            BackendConfig::Socket {
                address: SocketAddress::Unix("/s".into()),
                server: true,
                wait: false,
                reconnect: None,
                nodelay: false,
                telnet: false
            }
        );
        assert_eq!(
            serial("tcp::4444,server,nowait").backend,
            BackendConfig::Socket {
                address: SocketAddress::Tcp { host: String::new(), port: 4444, only: None },
                server: true,
                wait: false,
                reconnect: None,
                nodelay: false,
                telnet: false
            }
        );
        assert!(matches!(
            serial("tcp:[::1]:1,reconnect=5").backend,
            BackendConfig::Socket { address: SocketAddress::Tcp { ref host, port: 1, only: None }, .. } if host == "::1"
        ));
        let only = |text: &str| match serial(text).backend {
            BackendConfig::Socket { address: SocketAddress::Tcp { only, .. }, telnet, .. } => (only, telnet),
            other => panic!("{other:?}"),
        };
        assert_eq!(only("telnet:localhost:1,server=on,wait=off"), (None, true));
        assert_eq!(only("tcp:localhost:1,ipv4=on"), (Some(IpVersion::V4), false));
        assert_eq!(only("tcp:localhost:1,ipv4=off"), (Some(IpVersion::V6), false));
        assert_eq!(only("tcp:localhost:1,ipv4,ipv6"), (None, false));
        assert_eq!(parse_short("-serial", "none", "s").unwrap(), Serial::None);
        assert_eq!(parse_short("-serial", "chardev:c0", "s").unwrap(), Serial::Existing("c0".into()));
    }

    #[test]
    fn bad_serials() {
        for text in [
            "",
            "-",
            "foo",
            "stdio:x",
            "null:",
            "file:",
            "pipe:",
            "unix:",
            "unix:,server=on",
            "tcp:",
            "tcp:host",
            "tcp:h:99999",
            "tcp:h:+1",
            "tcp:h:1,wait=off",
            "chardev:",
            "mon:chardev:x",
            "mon:",
            "mon:none",
            "/dev/ttyS0",
            "vc",
            "telnet:",
            "telnet:h",
            "tcp:h:1,ipv4=off,ipv6=off",
            "unix:/s,foo=1",
        ] {
            let given = format!("-serial {text}");
            let e = parse_short(&given, text, "s").expect_err(text).to_string();
            // What was given, as it was given.
            assert!(e.starts_with(&format!("{given}: ")), "{text}: {e}");
        }
    }

    #[test]
    fn chardevs() {
        let c = parse_chardev("stdio,id=c,mux=on,logfile=/l").unwrap();
        assert_eq!((c.mux, c.backend), (true, BackendConfig::Stdio { signal: false }));
        assert_eq!(c.logfile.as_deref(), Some(std::path::Path::new("/l")));
        assert!(matches!(
            parse_chardev("socket,id=c,path=/s,server=on").unwrap().backend,
            BackendConfig::Socket { wait: true, .. }
        ));
        for text in [
            "stdio",
            "stdio,id=",
            "stdoi,id=a",
            "file,id=a",
            "socket,id=a",
            "socket,id=a,path=/x,port=1",
            "ringbuf,id=a,size=3",
            "udp,id=a",
            "pty,id=a,foo=1",
            "socket,id=a,port=70000",
            "null,id=9",
            "socket,id=a,path=/x,reconnect=5,server=on",
        ] {
            let e = parse_chardev(text).expect_err(text).to_string();
            assert!(e.starts_with("-chardev"), "{text}: {e}");
        }
    }
}
