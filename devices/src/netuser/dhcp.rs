//! The DHCP server (RFC 2131, RFC 2132), which also answers BOOTP. Bytes in, bytes out: no socket.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode, UnknownOption};
use dhcproto::{Decodable, Decoder, Encodable};

use super::config::UserNetConfig;
use super::lan::Mac;

pub const SERVER_PORT: u16 = 67;
pub const CLIENT_PORT: u16 = 68;

/// Addresses given out, from `dhcp_start` on.
const LEASES: u32 = 16;
const LEASE_SECONDS: u32 = 24 * 60 * 60;
/// What follows the fixed header is padded to this, as BOOTP clients expect (RFC 1542, section 2.1).
const MIN_MESSAGE: usize = 300;

/// An answer and where it goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub message: Vec<u8>,
    pub to: Ipv4Addr,
    pub mac: Mac,
}

/// Who has which address.
#[derive(Debug, Default)]
pub struct DhcpServer {
    /// `(address, owner)`, the longest unused first.
    leases: Vec<(Ipv4Addr, Mac)>,
}

impl DhcpServer {
    pub fn leases(&self) -> &[(Ipv4Addr, Mac)] {
        &self.leases
    }

    /// Leases of another program's, as far as there may be such here.
    pub fn set_leases(&mut self, leases: Vec<(Ipv4Addr, Mac)>, config: &UserNetConfig) {
        let first = config.dhcp_start.to_bits();
        self.leases.clear();
        for (ip, mac) in leases {
            let taken = self.leases.iter().any(|lease| lease.0 == ip || lease.1 == mac);
            if (first..first.saturating_add(LEASES)).contains(&ip.to_bits()) && !taken {
                self.leases.push((ip, mac));
            }
        }
    }

    /// Answers a client's message; `None` for what is none or wants no answer.
    pub fn answer(&mut self, config: &UserNetConfig, message: &[u8]) -> Option<Reply> {
        let request = Message::decode(&mut Decoder::new(message)).ok()?;
        if request.opcode() != Opcode::BootRequest || request.hlen() != 6 {
            return None;
        }
        let mac: Mac = request.chaddr().get(..6)?.try_into().ok()?;
        let options = request.opts();
        let server = match options.get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(server)) => Some(*server),
            _ => None,
        };
        let wanted = match options.get(OptionCode::RequestedIpAddress) {
            Some(DhcpOption::RequestedIpAddress(ip)) => Some(*ip),
            _ => None,
        };
        let kind = options.msg_type();
        if server.is_some_and(|server| server != config.host) {
            return None;
        }
        match kind {
            None => Some(Self::reply(config, &request, None, self.lease(config, mac, wanted)?, mac)),
            Some(MessageType::Discover) => {
                let ip = self.lease(config, mac, wanted)?;
                Some(Self::reply(config, &request, Some(MessageType::Offer), ip, mac))
            }
            Some(MessageType::Request) => {
                // Selecting and rebooting clients name the address in the option, renewing ones in the header.
                let wanted = wanted.unwrap_or(request.ciaddr());
                let ip = self.lease(config, mac, Some(wanted));
                let (kind, ip) = match ip {
                    Some(ip) if ip == wanted => (MessageType::Ack, ip),
                    _ => (MessageType::Nak, Ipv4Addr::UNSPECIFIED),
                };
                Some(Self::reply(config, &request, Some(kind), ip, mac))
            }
            Some(MessageType::Inform) => {
                Some(Self::reply(config, &request, Some(MessageType::Ack), Ipv4Addr::UNSPECIFIED, mac))
            }
            Some(MessageType::Release | MessageType::Decline) => {
                self.leases.retain(|lease| lease.1 != mac);
                None
            }
            Some(_) => None,
        }
    }

    /// The client's address: its own, the one it wants, the first free one, or the one unused for longest.
    fn lease(&mut self, config: &UserNetConfig, mac: Mac, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let start = config.dhcp_start.to_bits();
        let pool = (0..LEASES).map(|i| Ipv4Addr::from_bits(start.wrapping_add(i)));
        let usable = |ip: &Ipv4Addr| config.net.contains(*ip) && *ip != config.net.broadcast() && !config.is_ours(*ip);
        let owner = |ip: Ipv4Addr| self.leases.iter().find(|lease| lease.0 == ip).map(|lease| lease.1);
        let mine = self.leases.iter().find(|lease| lease.1 == mac).map(|lease| lease.0);
        let free = |ip: &Ipv4Addr| owner(*ip).is_none_or(|owner| owner == mac);
        let mut pool = pool.filter(usable);
        let wanted = wanted.filter(|ip| pool.clone().any(|candidate| candidate == *ip) && free(ip));
        let ip = wanted.or(mine).or_else(|| pool.find(free)).or_else(|| self.leases.first().map(|lease| lease.0))?;
        self.leases.retain(|lease| lease.0 != ip && lease.1 != mac);
        self.leases.push((ip, mac));
        Some(ip)
    }

    fn reply(config: &UserNetConfig, request: &Message, kind: Option<MessageType>, ip: Ipv4Addr, mac: Mac) -> Reply {
        let mut reply = Message::default();
        reply.set_opcode(Opcode::BootReply).set_htype(request.htype()).set_xid(request.xid());
        reply.set_flags(request.flags()).set_chaddr(&mac).set_yiaddr(ip);
        let nak = kind == Some(MessageType::Nak);
        if !nak {
            reply.set_ciaddr(request.ciaddr()).set_siaddr(config.host);
            if let Some(file) = &config.bootfile {
                reply.set_fname_str(file);
            }
        }
        let options = reply.opts_mut();
        if let Some(kind) = kind {
            options.insert(DhcpOption::MessageType(kind));
            options.insert(DhcpOption::ServerIdentifier(config.host));
        }
        if !nak {
            if kind.is_some() && !ip.is_unspecified() {
                options.insert(DhcpOption::AddressLeaseTime(LEASE_SECONDS));
            }
            for option in Self::network_options(config) {
                options.insert(option);
            }
        }
        let mut message = dhcproto::v4::Message::to_vec(&reply).unwrap_or_default();
        if message.len() < MIN_MESSAGE {
            message.resize(MIN_MESSAGE, 0);
        }
        // A client that renews has its address; one that asks first hears what is sent to its card (RFC 2131, 4.1).
        let to = if nak || request.ciaddr().is_unspecified() { Ipv4Addr::BROADCAST } else { request.ciaddr() };
        let mac = if nak || request.flags().broadcast() { super::lan::BROADCAST } else { mac };
        Reply { message, to, mac }
    }

    /// What every client is told of the network. A restricted one has no way out, so no router and no name server.
    fn network_options(config: &UserNetConfig) -> Vec<DhcpOption> {
        let mut options = vec![DhcpOption::SubnetMask(config.net.mask())];
        if !config.restrict {
            options.push(DhcpOption::Router(vec![config.host]));
            options.push(DhcpOption::DomainNameServer(vec![config.dns]));
        }
        options.extend(config.hostname.clone().map(DhcpOption::Hostname));
        options.extend(config.domain_name.clone().map(DhcpOption::DomainName));
        if !config.dns_search.is_empty() {
            options.push(DhcpOption::Unknown(UnknownOption::new(
                OptionCode::DomainSearch,
                search_list(&config.dns_search),
            )));
        }
        options.extend(config.tftp_server_name.clone().map(|name| DhcpOption::TFTPServerName(name.into_bytes())));
        options.extend(config.bootfile.clone().map(|file| DhcpOption::BootfileName(file.into_bytes())));
        if config.mtu != 1500 {
            options.push(DhcpOption::InterfaceMtu(config.mtu));
        }
        options
    }
}

/// Domains as labels with lengths (RFC 3397), without compression; as many as one option holds.
fn search_list(domains: &[String]) -> Vec<u8> {
    let mut list = Vec::new();
    for domain in domains {
        let before = list.len();
        for label in domain.split('.') {
            list.push(label.len() as u8);
            list.extend_from_slice(label.as_bytes());
        }
        list.push(0);
        if list.len() > 255 {
            list.truncate(before);
            tracing::warn!("user network: dnssearch={domain} and what follows does not fit in a DHCP option");
            break;
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn request(kind: Option<MessageType>, mac: Mac, wanted: Option<Ipv4Addr>) -> Vec<u8> {
        let mut m = Message::default();
        m.set_chaddr(&mac).set_xid(77);
        if let Some(kind) = kind {
            m.opts_mut().insert(DhcpOption::MessageType(kind));
        }
        if let Some(ip) = wanted {
            m.opts_mut().insert(DhcpOption::RequestedIpAddress(ip));
        }
        m.to_vec().unwrap()
    }

    fn ask(server: &mut DhcpServer, config: &UserNetConfig, message: &[u8]) -> Message {
        let reply = server.answer(config, message).expect("an answer");
        Message::decode(&mut Decoder::new(&reply.message)).unwrap()
    }

    #[test]
    fn offers_and_grants_the_first_address() {
        let (mut server, mut config) = (DhcpServer::default(), UserNetConfig::default());
        config.hostname = Some("guest".into());
        config.bootfile = Some("boot.img".into());
        config.dns_search = vec!["a.example".into()];
        let offer = ask(&mut server, &config, &request(Some(MessageType::Discover), MAC, None));
        assert_eq!(
            (offer.opts().msg_type(), offer.yiaddr(), offer.xid()),
            (Some(MessageType::Offer), config.dhcp_start, 77)
        );
        let ack = ask(&mut server, &config, &request(Some(MessageType::Request), MAC, Some(offer.yiaddr())));
        assert_eq!(
            (ack.opts().msg_type(), ack.yiaddr(), ack.siaddr()),
            (Some(MessageType::Ack), config.dhcp_start, config.host)
        );
        let option = |code| ack.opts().get(code).cloned();
        assert_eq!(option(OptionCode::Router), Some(DhcpOption::Router(vec![config.host])));
        assert_eq!(option(OptionCode::DomainNameServer), Some(DhcpOption::DomainNameServer(vec![config.dns])));
        assert_eq!(option(OptionCode::SubnetMask), Some(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0))));
        assert_eq!(option(OptionCode::Hostname), Some(DhcpOption::Hostname("guest".into())));
        let Some(DhcpOption::DomainSearch(names)) = option(OptionCode::DomainSearch) else { panic!("no search list") };
        assert_eq!(names[0].to_string().trim_end_matches('.'), "a.example");
        assert_eq!(ack.fname_str().unwrap().unwrap().trim_end_matches('\0'), "boot.img");
    }

    #[test]
    fn wrong_requests_are_refused_and_leases_recycled() {
        let (mut server, config) = (DhcpServer::default(), UserNetConfig::default());
        let nak =
            ask(&mut server, &config, &request(Some(MessageType::Request), MAC, Some(Ipv4Addr::new(192, 168, 1, 5))));
        assert_eq!(nak.opts().msg_type(), Some(MessageType::Nak));
        let mut seen = Vec::new();
        for i in 0..40u8 {
            let mac = [2, 0, 0, 0, 0, i];
            seen.push(ask(&mut server, &config, &request(Some(MessageType::Discover), mac, None)).yiaddr());
        }
        assert!(seen.iter().all(|ip| config.net.contains(*ip)));
        assert_eq!(server.leases.len(), LEASES as usize);
        assert_eq!(ask(&mut server, &config, &request(None, [2, 0, 0, 0, 0, 39], None)).yiaddr(), seen[39]);
    }

    #[test]
    fn restricted_clients_learn_no_way_out() {
        let (mut server, config) = (DhcpServer::default(), UserNetConfig { restrict: true, ..Default::default() });
        let offer = ask(&mut server, &config, &request(Some(MessageType::Discover), MAC, None));
        assert!(offer.opts().get(OptionCode::Router).is_none());
        assert!(offer.opts().get(OptionCode::DomainNameServer).is_none());
    }

    #[test]
    fn garbage_has_no_answer() {
        let (mut server, config) = (DhcpServer::default(), UserNetConfig::default());
        let good = request(Some(MessageType::Discover), MAC, None);
        let mut x = 1u32;
        for round in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..1 + round % 8 {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (x >> 8) as usize % bytes.len();
                bytes[at] = (x >> 3) as u8;
            }
            bytes.truncate((x >> 12) as usize % (bytes.len() + 1));
            let _ = server.answer(&config, &bytes);
        }
        assert!(server.leases.len() <= LEASES as usize);
        assert_eq!(server.answer(&config, &[]), None);
    }
}
