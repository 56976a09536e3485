//! What a user network looks like: plain data, its defaults, and the text forms of its options.
//!
//! Defaults follow the convention of QEMU's `-netdev user`: 10.0.2.0/24, gateway 10.0.2.2, name server 10.0.2.3, first
//! lease 10.0.2.15. Nothing here opens a socket.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// Why a user network cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum UserNetError {
    #[error("-netdev user: '{key}={value}': {allowed}")]
    BadValue { key: String, value: String, allowed: String },
    #[error("-netdev user: unknown option '{key}'; known are {}", OPTIONS.join(", "))]
    UnknownOption { key: String },
    #[error("-netdev user: option '{key}' is not supported by vireo yet")]
    Unsupported { key: String },
    #[error("-netdev user: {what} {address} is not usable in network {net}: {why}")]
    BadAddress { what: &'static str, address: Ipv4Addr, net: Ipv4Net, why: &'static str },
    #[error("cannot forward host port: hostfwd={rule}")]
    Listen { rule: String, source: std::io::Error },
    #[error("cannot start user network: {what}")]
    Setup { what: &'static str, source: std::io::Error },
}

/// Every option [`UserNetConfig::set`] takes.
const OPTIONS: [&str; 16] = [
    "ipv4",
    "ipv6",
    "restrict",
    "net",
    "host",
    "dns",
    "dhcpstart",
    "hostname",
    "domainname",
    "dnssearch",
    "hostfwd",
    "guestfwd",
    "tftp",
    "tftp-server-name",
    "bootfile",
    "mtu",
];

/// Options QEMU has that this network does not take.
const UNSUPPORTED: [&str; 6] = ["smb", "smbserver", "ipv6-net", "ipv6-prefix", "ipv6-host", "ipv6-dns"];

/// An IPv4 network: address with the host part zero, and prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Net {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl Ipv4Net {
    /// The network `address` lies in.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Self {
        Self { address: Ipv4Addr::from_bits(address.to_bits() & mask(prefix)), prefix }
    }

    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix))
    }

    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        ip.to_bits() & mask(self.prefix) == self.address.to_bits()
    }

    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !mask(self.prefix))
    }

    /// The address with these low bits, as far as the prefix leaves room for them.
    fn with_host_bits(&self, bits: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | (bits & !mask(self.prefix)))
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Ipv4Net {
    type Err = String;

    /// `ADDR`, `ADDR/PREFIX` or `ADDR/MASK`. Without a mask the address class decides, as in QEMU.
    fn from_str(s: &str) -> Result<Self, String> {
        let allowed = || "ADDR[/PREFIX] or ADDR/MASK, prefix 4 to 29, e.g. 10.0.2.0/24".to_owned();
        let (address, mask_text) = s.split_once('/').map_or((s, None), |(a, m)| (a, Some(m)));
        let address: Ipv4Addr = address.parse().map_err(|_| allowed())?;
        let prefix = match mask_text {
            None => match address.octets()[0] {
                0..=127 => 8,
                128..=191 => 16,
                _ => 24,
            },
            Some(m) => match (m.parse::<u8>(), m.parse::<Ipv4Addr>()) {
                (Ok(prefix), _) => prefix,
                (_, Ok(m)) if m.to_bits().leading_ones() == 32 - m.to_bits().trailing_zeros() => {
                    m.to_bits().leading_ones() as u8
                }
                _ => return Err(allowed()),
            },
        };
        // Fewer than three host bits leave no room for gateway, name server and a guest.
        if !(4..=29).contains(&prefix) {
            return Err(allowed());
        }
        Ok(Self::containing(address, prefix))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// Transport of a forwarding rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

/// `hostfwd=[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport`: a host port that leads into the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFwd {
    pub transport: Transport,
    /// Where to listen; port 0 lets the host choose (see `UserNet::forwarded`).
    pub host: SocketAddrV4,
    /// `None`: the first DHCP address.
    pub guest_addr: Option<Ipv4Addr>,
    pub guest_port: u16,
}

impl fmt::Display for HostFwd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        let guest = self.guest_addr.map(|a| a.to_string()).unwrap_or_default();
        write!(f, "{transport}:{}:{}-{guest}:{}", self.host.ip(), self.host.port(), self.guest_port)
    }
}

impl FromStr for HostFwd {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let syntax = || "expected [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport, e.g. tcp::2222-:22".to_owned();
        let (transport, rest) = s.split_once(':').ok_or_else(syntax)?;
        let transport = match transport {
            "" | "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            other => return Err(format!("transport '{other}' is neither tcp nor udp")),
        };
        let (host, guest) = rest.split_once('-').ok_or_else(syntax)?;
        let (host_addr, host_port) = host.split_once(':').ok_or_else(syntax)?;
        let (guest_addr, guest_port) = guest.split_once(':').ok_or_else(syntax)?;
        let addr = |text: &str| -> Result<Option<Ipv4Addr>, String> {
            match text {
                "" => Ok(None),
                "localhost" => Ok(Some(Ipv4Addr::LOCALHOST)),
                _ => text.parse().map(Some).map_err(|_| format!("'{text}' is not an IPv4 address")),
            }
        };
        let port = |text: &str| text.parse::<u16>().map_err(|_| format!("'{text}' is not a port (0 to 65535)"));
        let guest_port = port(guest_port)?;
        if guest_port == 0 {
            return Err("the guest's port cannot be 0".to_owned());
        }
        Ok(Self {
            transport,
            host: SocketAddrV4::new(addr(host_addr)?.unwrap_or(Ipv4Addr::UNSPECIFIED), port(host_port)?),
            guest_addr: addr(guest_addr)?,
            guest_port,
        })
    }
}

/// `guestfwd=tcp:server:port-tcp:host:port`: an address inside the network that leads to a TCP service outside.
/// Works under `restrict=on`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFwd {
    pub server: SocketAddrV4,
    pub target: SocketAddr,
}

impl FromStr for GuestFwd {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let syntax =
            || "expected [tcp]:server:port-tcp:host:port, e.g. tcp:10.0.2.100:6667-tcp:127.0.0.1:6667".to_owned();
        let (server, target) = s.split_once('-').ok_or_else(syntax)?;
        let server = server.strip_prefix("tcp:").or_else(|| server.strip_prefix(':')).ok_or_else(syntax)?;
        let server: SocketAddrV4 = server.parse().map_err(|_| format!("'{server}' is not ADDR:PORT"))?;
        let target = target
            .strip_prefix("tcp:")
            .ok_or_else(|| format!("target '{target}' is not supported by vireo yet: only tcp:HOST:PORT"))?;
        let resolved = target.to_socket_addrs().ok().and_then(|mut all| all.next());
        let target = resolved.ok_or_else(|| format!("'{target}' is not HOST:PORT of a host that can be found"))?;
        Ok(Self { server, target })
    }
}

/// Where the name-server relay sends queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolvers {
    /// A file like `/etc/resolv.conf`; read again when it changes.
    File(PathBuf),
    Fixed(Vec<SocketAddr>),
}

/// Bounds on what one guest can make the host hold. The defaults leave room within the usual limit of 1024 descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections; the one idle for longest is reset to make room.
    pub tcp_flows: usize,
    /// UDP sockets (one for each guest port in use), forwarded ports not counted.
    pub udp_flows: usize,
    /// Outstanding name-server queries' sockets.
    pub dns_flows: usize,
    /// ICMP echo identifiers.
    pub ping_flows: usize,
    /// Bytes buffered over all TCP connections before new buffers stay small.
    pub tcp_buffer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tcp_flows: 512, udp_flows: 192, dns_flows: 64, ping_flows: 16, tcp_buffer: 64 << 20 }
    }
}

/// One user network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserNetConfig {
    /// The netdev's id: names the thread and log lines.
    pub id: String,
    pub net: Ipv4Net,
    /// Gateway; the host's loopback as the guest sees it.
    pub host: Ipv4Addr,
    /// The name-server relay's address.
    pub dns: Ipv4Addr,
    /// First of sixteen leases.
    pub dhcp_start: Ipv4Addr,
    pub hostname: Option<String>,
    pub domain_name: Option<String>,
    pub dns_search: Vec<String>,
    /// The guest reaches nothing outside; forwarding rules still work.
    pub restrict: bool,
    /// `false` leaves the link without any IPv4 service.
    pub ipv4: bool,
    pub host_fwd: Vec<HostFwd>,
    pub guest_fwd: Vec<GuestFwd>,
    /// Directory served read-only by TFTP at the gateway's address.
    pub tftp: Option<PathBuf>,
    pub tftp_server_name: Option<String>,
    pub bootfile: Option<String>,
    pub resolvers: Resolvers,
    /// Largest IP packet on the link, 576 to 65535.
    pub mtu: u16,
    pub limits: Limits,
}

impl Default for UserNetConfig {
    fn default() -> Self {
        let mut config = Self {
            id: "net0".to_owned(),
            net: Ipv4Net { address: Ipv4Addr::new(10, 0, 2, 0), prefix: 24 },
            host: Ipv4Addr::UNSPECIFIED,
            dns: Ipv4Addr::UNSPECIFIED,
            dhcp_start: Ipv4Addr::UNSPECIFIED,
            hostname: None,
            domain_name: None,
            dns_search: Vec::new(),
            restrict: false,
            ipv4: true,
            host_fwd: Vec::new(),
            guest_fwd: Vec::new(),
            tftp: None,
            tftp_server_name: None,
            bootfile: None,
            resolvers: Resolvers::File(PathBuf::from("/etc/resolv.conf")),
            mtu: 1500,
            limits: Limits::default(),
        };
        config.set_net(config.net);
        config
    }
}

impl UserNetConfig {
    /// Moves the network; gateway, name server and first lease follow it.
    pub fn set_net(&mut self, net: Ipv4Net) {
        self.net = net;
        self.host = net.with_host_bits(0x0202);
        self.dns = net.with_host_bits(0x0203);
        // In networks too small for x.x.x.15 the lowest address behind the name server takes its place.
        self.dhcp_start = net.with_host_bits(if net.prefix <= 27 { 0x020f } else { 0x0204 });
    }

    /// Takes one `key=value` of the command line. `net` moves the other addresses: [`Self::from_options`] sees it first.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), UserNetError> {
        let bad = |allowed: String| UserNetError::BadValue { key: key.to_owned(), value: value.to_owned(), allowed };
        let addr = || value.parse::<Ipv4Addr>().map_err(|_| bad("expected an IPv4 address".to_owned()));
        let flag = || match value {
            "on" | "yes" | "y" | "true" => Ok(true),
            "off" | "no" | "n" | "false" => Ok(false),
            _ => Err(bad("expected on or off".to_owned())),
        };
        match key {
            "id" => self.id = value.to_owned(),
            "net" => self.set_net(value.parse().map_err(bad)?),
            "host" => self.host = addr()?,
            "dns" => self.dns = addr()?,
            "dhcpstart" => self.dhcp_start = addr()?,
            "hostname" => self.hostname = Some(dhcp_text(value).map_err(bad)?),
            "domainname" => self.domain_name = Some(dhcp_text(value).map_err(bad)?),
            "dnssearch" => self.dns_search.push(domain(value).map_err(bad)?),
            "restrict" => self.restrict = flag()?,
            "ipv4" => self.ipv4 = flag()?,
            "ipv6" if flag()? => return Err(UserNetError::Unsupported { key: "ipv6=on".to_owned() }),
            "ipv6" => {}
            "hostfwd" => self.host_fwd.push(value.parse().map_err(bad)?),
            "guestfwd" => self.guest_fwd.push(value.parse().map_err(bad)?),
            "tftp" => {
                if !std::path::Path::new(value).is_dir() {
                    return Err(bad("is not a directory that can be read".to_owned()));
                }
                self.tftp = Some(PathBuf::from(value));
            }
            "tftp-server-name" => self.tftp_server_name = Some(dhcp_text(value).map_err(bad)?),
            // The BOOTP header has 128 bytes for it, the last one zero (RFC 2131, section 2).
            "bootfile" if value.len() > 127 => return Err(bad("longer than 127 bytes".to_owned())),
            "bootfile" => self.bootfile = Some(value.to_owned()),
            "mtu" => {
                let mtu = value.parse().ok().filter(|mtu| *mtu >= 576);
                self.mtu = mtu.ok_or_else(|| bad("expected 576 to 65535".to_owned()))?;
            }
            _ if UNSUPPORTED.contains(&key) => return Err(UserNetError::Unsupported { key: key.to_owned() }),
            _ => return Err(UserNetError::UnknownOption { key: key.to_owned() }),
        }
        Ok(())
    }

    /// A network from the command line's `key=value` list, in any order, checked.
    pub fn from_options<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, UserNetError> {
        let mut config = Self::default();
        let (net, rest): (Vec<_>, Vec<_>) = options.into_iter().partition(|(key, _)| *key == "net");
        for (key, value) in net.into_iter().chain(rest) {
            config.set(key, value)?;
        }
        config.validate()?;
        Ok(config)
    }

    /// Checks that the addresses make sense together.
    pub fn validate(&self) -> Result<(), UserNetError> {
        let check = |what, address: Ipv4Addr| {
            let why = if !self.net.contains(address) {
                "it lies outside"
            } else if address == self.net.address || address == self.net.broadcast() {
                "it is the network's own or its broadcast address"
            } else {
                return Ok(());
            };
            Err(UserNetError::BadAddress { what, address, net: self.net, why })
        };
        let clash = |what, address, why| Err(UserNetError::BadAddress { what, address, net: self.net, why });
        check("host", self.host)?;
        check("dns", self.dns)?;
        check("dhcpstart", self.dhcp_start)?;
        if self.host == self.dns {
            return clash("dns", self.dns, "it is the same as host");
        }
        if self.dhcp_start == self.host || self.dhcp_start == self.dns {
            return clash("dhcpstart", self.dhcp_start, "it is the same as host or dns");
        }
        for rule in &self.host_fwd {
            check("the guest's address in hostfwd", self.guest_of(rule))?;
        }
        for rule in &self.guest_fwd {
            check("the server in guestfwd", *rule.server.ip())?;
        }
        Ok(())
    }

    /// The guest address a forwarding rule leads to.
    pub fn guest_of(&self, rule: &HostFwd) -> Ipv4Addr {
        rule.guest_addr.unwrap_or(self.dhcp_start)
    }

    /// Whether this end of the link owns the address (and answers ARP for it).
    pub fn is_ours(&self, ip: Ipv4Addr) -> bool {
        ip == self.host || ip == self.dns || self.guest_fwd.iter().any(|rule| *rule.server.ip() == ip)
    }
}

/// A DHCP option's text: one option holds 255 bytes.
fn dhcp_text(value: &str) -> Result<String, String> {
    if value.is_empty() || value.len() > 255 {
        return Err("expected 1 to 255 bytes".to_owned());
    }
    Ok(value.to_owned())
}

/// A domain name as labels of 1 to 63 bytes (RFC 1035, section 2.3.4).
fn domain(value: &str) -> Result<String, String> {
    let name = value.trim_end_matches('.');
    if name.len() > 253 || name.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err("expected a domain name".to_owned());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_usual_ones() {
        let c = UserNetConfig::default();
        assert_eq!(c.host, Ipv4Addr::new(10, 0, 2, 2));
        assert_eq!(c.dns, Ipv4Addr::new(10, 0, 2, 3));
        assert_eq!(c.dhcp_start, Ipv4Addr::new(10, 0, 2, 15));
        c.validate().unwrap();
    }

    #[test]
    fn net_moves_the_rest_whatever_the_order() {
        let c = UserNetConfig::from_options([("dns", "192.168.7.9"), ("net", "192.168.7.0/24")]).unwrap();
        assert_eq!((c.host, c.dns), (Ipv4Addr::new(192, 168, 7, 2), Ipv4Addr::new(192, 168, 7, 9)));
        let c = UserNetConfig::from_options([("net", "10.9.0.0/255.255.0.0")]).unwrap();
        assert_eq!((c.net.prefix, c.host), (16, Ipv4Addr::new(10, 9, 2, 2)));
        let c = UserNetConfig::from_options([("net", "10.1.1.8/29")]).unwrap();
        assert_eq!(c.dhcp_start, Ipv4Addr::new(10, 1, 1, 12));
        for bad in ["", "10.0.2", "10.0.2.0/30", "10.0.2.0/33", "10.0.2.0/255.0.255.0", "fec0::/64"] {
            assert!(UserNetConfig::from_options([("net", bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn forwarding_rules_in_all_their_forms() {
        let rule = |s: &str| s.parse::<HostFwd>();
        let r = rule("tcp::2222-:22").unwrap();
        assert_eq!(r.host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 2222));
        assert_eq!((r.guest_addr, r.guest_port, r.transport), (None, 22, Transport::Tcp));
        let r = rule("udp:127.0.0.1:5353-10.0.2.20:53").unwrap();
        assert_eq!((r.guest_addr, r.transport), (Some(Ipv4Addr::new(10, 0, 2, 20)), Transport::Udp));
        assert_eq!(r.to_string(), "udp:127.0.0.1:5353-10.0.2.20:53");
        assert_eq!(rule("::80-:80").unwrap().transport, Transport::Tcp);
        for bad in ["", "tcp", "tcp::22", "tcp:22-:22", "tcp::x-:22", "sctp::1-:2", "tcp::1-:0", "tcp::70000-:1"] {
            assert!(rule(bad).is_err(), "{bad}");
        }
        let g: GuestFwd = "tcp:10.0.2.100:6667-tcp:127.0.0.1:70".parse().unwrap();
        assert_eq!(g.target, "127.0.0.1:70".parse().unwrap());
        assert!("tcp:10.0.2.100:6667-cmd:cat".parse::<GuestFwd>().unwrap_err().contains("not supported"));
    }

    #[test]
    fn errors_name_the_value() {
        let text = |k, v| UserNetConfig::from_options([(k, v)]).unwrap_err().to_string();
        assert!(text("restrict", "maybe").contains("restrict=maybe"));
        assert!(text("hostfwd", "tcp:22").contains("tcp:22"));
        assert!(text("hostnam", "x").contains("hostname"));
        assert!(text("smb", "/x").contains("not supported"));
        assert!(text("host", "10.0.3.2").contains("10.0.3.2"));
        assert!(text("dhcpstart", "10.0.2.2").contains("same as host"));
        assert!(text("hostfwd", "tcp::1-10.9.9.9:1").contains("10.9.9.9"));
        assert!(text("dns", "10.0.2.255").contains("broadcast"));
        assert!(text("mtu", "100").contains("576"));
    }
}
