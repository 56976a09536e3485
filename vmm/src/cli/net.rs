//! `-netdev` and `-nic`: the host's side of networks.

use super::drive::check_id;
use super::error::{CliError, Result};
use super::optlist::OptList;
use crate::config::{NetBackendConfig, NetdevConfig, TapConfig};

/// A parsed `-nic`.
#[derive(Debug)]
pub struct Nic {
    pub netdev: NetdevConfig,
    pub mac: Option<[u8; 6]>,
}

/// For `-netdev help`.
pub const TYPES: &[(&str, &str)] = &[
    ("user", "a network inside vireo, no privileges needed: NAT, DHCP, DNS, hostfwd="),
    ("tap", "a TAP interface of the host: ifname=, fd=, script=, downscript=, vnet_hdr="),
];

const ELSEWHERE: &[&str] =
    &["socket", "stream", "dgram", "hubport", "l2tpv3", "vde", "bridge", "vhost-user", "vhost-vdpa", "af-xdp", "passt"];

pub fn parse_netdev(text: &str) -> Result<NetdevConfig> {
    let mut o = OptList::parse("-netdev", text)?;
    let kind = o.head("type")?.ok_or_else(|| o.error("needs a type: user or tap"))?;
    let id = o.text("id")?;
    let id = check_id(&o, id)?.ok_or_else(|| o.error("needs id=ID"))?;
    let backend = backend(&kind, &id, &mut o)?;
    o.finish()?;
    Ok(NetdevConfig { id, backend })
}

/// One `-nic`; `None` for `-nic none`. `number` counts them and makes up ids.
pub fn parse_nic(text: &str, number: usize) -> Result<Option<Nic>> {
    let mut o = OptList::parse("-nic", text)?;
    let kind = o.head("type")?.unwrap_or_else(|| "user".to_owned());
    if kind == "none" {
        o.finish()?;
        return Ok(None);
    }
    let id = o.text("id")?;
    let id = check_id(&o, id)?.unwrap_or_else(|| format!("nic{number}"));
    if let Some(model) = o.text("model")?
        && !["virtio", "virtio-net", "virtio-net-device"].contains(&model.as_str())
    {
        return Err(o.error(format!("model={model}: must be virtio-net-device; others are not supported by vireo yet")));
    }
    let mac = match o.text("mac")? {
        Some(text) => Some(parse_mac(&text).ok_or_else(|| mac_error(&o, &text))?),
        None => None,
    };
    let backend = backend(&kind, &id, &mut o)?;
    o.finish()?;
    Ok(Some(Nic { netdev: NetdevConfig { id, backend }, mac }))
}

fn backend(kind: &str, id: &str, o: &mut OptList) -> Result<NetBackendConfig> {
    match kind {
        "user" => user(id, o),
        "tap" => tap(o),
        k if ELSEWHERE.contains(&k) => {
            Err(o.error(format!("type '{k}' is not supported by vireo yet; use user or tap")))
        }
        k => Err(o.error(format!("unknown type '{k}': must be user or tap"))),
    }
}

/// The user network checks its options itself.
fn user(id: &str, o: &mut OptList) -> Result<NetBackendConfig> {
    let mut pairs = vec![("id".to_owned(), id.to_owned())];
    for (key, value) in o.rest() {
        match (value, key.strip_prefix("no")) {
            (Some(value), _) => pairs.push((key, value)),
            (None, Some(key)) if ["restrict", "ipv4", "ipv6"].contains(&key) => {
                pairs.push((key.to_owned(), "off".to_owned()))
            }
            (None, _) => pairs.push((key, "on".to_owned())),
        }
    }
    let config = devices::netuser::UserNetConfig::from_options(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    let config = config.map_err(|e| {
        // The library's messages name the option themselves.
        let text = e.to_string();
        CliError::new(o.context(), text.strip_prefix("-netdev user: ").unwrap_or(&text))
    })?;
    Ok(NetBackendConfig::User(Box::new(config)))
}

fn tap(o: &mut OptList) -> Result<NetBackendConfig> {
    o.unsupported(&[
        "vhost",
        "vhostfd",
        "vhostfds",
        "vhostforce",
        "queues",
        "fds",
        "helper",
        "br",
        "sndbuf",
        "poll-us",
    ])?;
    let script = |text: Option<String>| text.filter(|t| t != "no").map(Into::into);
    let config = TapConfig {
        ifname: o.text("ifname")?,
        fd: o.number("fd", 3..=i32::MAX)?,
        script: script(o.text("script")?),
        downscript: script(o.text("downscript")?),
        vnet_hdr: o.flag("vnet_hdr")?.unwrap_or(true),
    };
    if let Some(name) = &config.ifname
        && (name.is_empty() || name.len() > 15 || name.contains(['/', ' ', ':']))
    {
        return Err(o.error(format!("ifname={name}: must be 1 to 15 characters without '/', ':' or spaces")));
    }
    if config.fd.is_some() && (config.ifname.is_some() || config.script.is_some() || config.downscript.is_some()) {
        return Err(o.error("fd= excludes ifname=, script= and downscript="));
    }
    Ok(NetBackendConfig::Tap(config))
}

/// `52:54:00:12:34:56`; group addresses are no addresses of a card.
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|p| (1..=2).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}

pub fn mac_error(o: &OptList, text: &str) -> CliError {
    o.error(format!("mac={text}: must be an address such as 52:54:00:12:34:56, not a group address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs() {
        assert_eq!(parse_mac("52:54:00:12:34:56"), Some([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        assert_eq!(parse_mac("2:0:0:0:0:a"), Some([2, 0, 0, 0, 0, 10]));
        for bad in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "53:54:00:12:34:56",
            "x:54:00:12:34:56",
            "+2:0:0:0:0:0",
            "524:0:0:0:0:0",
        ] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }

    #[test]
    fn netdevs() {
        let n = parse_netdev("user,id=n0,hostfwd=tcp::2222-:22,hostfwd=udp::53-:53,restrict").unwrap();
        let NetBackendConfig::User(user) = n.backend else { panic!("not a user network") };
        assert_eq!((user.id.as_str(), user.host_fwd.len(), user.restrict), ("n0", 2, true));
        let n = parse_netdev("tap,id=t,ifname=tap0,script=no,downscript=no,vnet_hdr=off").unwrap();
        let NetBackendConfig::Tap(tap) = n.backend else { panic!("not a TAP") };
        assert_eq!(tap, TapConfig { ifname: Some("tap0".into()), vnet_hdr: false, ..TapConfig::default() });
    }

    #[test]
    fn bad_netdevs() {
        for (text, what) in [
            ("", "needs a type"),
            ("user", "needs id="),
            ("id=a", "needs a type"),
            ("usr,id=a", "unknown type"),
            ("stream,id=a", "not supported by vireo yet"),
            ("user,id=a,hostfwd=tcp::99999-:22", "99999"),
            ("user,id=a,hostfw=x", "hostfw"),
            ("user,id=a,net=10.0.0.0/99", "net=10.0.0.0/99"),
            ("tap,id=a,ifname=", "1 to 15"),
            ("tap,id=a,fd=x", "fd=x"),
            ("tap,id=a,fd=3,ifname=t", "excludes"),
            ("tap,id=a,vhost=on", "not supported by vireo yet"),
        ] {
            let e = parse_netdev(text).expect_err(text).to_string();
            assert!(e.starts_with("-netdev") && e.contains(what), "{text}: {e}");
        }
        assert!(parse_nic("user,model=e1000", 0).is_err());
        assert!(parse_nic("user,mac=ff:ff:ff:ff:ff:ff", 0).unwrap_err().to_string().contains("group"));
        assert!(parse_nic("none", 0).unwrap().is_none());
        assert_eq!(parse_nic("user,mac=52:54:00:00:00:01", 4).unwrap().unwrap().netdev.id, "nic4");
        assert_eq!(parse_nic("", 0).unwrap().unwrap().netdev.id, "nic0");
    }
}
