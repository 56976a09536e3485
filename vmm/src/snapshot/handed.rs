//! What devices have of the host's and give along to a program on the same host: sections of states, and descriptors.
//!
//! A section is named after its device; those of one kind have a descriptor each, which come in the same order over the
//! socket. Where descriptors are lost on the way (a Unix socket may lead to another host) nothing of it is taken.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use devices::SavedState;
use devices::backend::net::Handed;

use super::error::SnapshotError;
use super::format::Section;

/// Before the device's name.
const WITH: &str = "socket.";
const WITHOUT: &str = "network.";
/// More than any machine has; and bytes in all.
const PARTS_MAX: usize = 1 << 14;
const BYTES_MAX: usize = 512 << 20;

/// By the names of their devices' sections.
pub type Shared = BTreeMap<String, Vec<Handed>>;

/// The section of a part, by its device.
pub fn section_name(device: &str, part: &Handed) -> String {
    format!("{}{device}", if part.socket.is_some() { WITH } else { WITHOUT })
}

/// Parts as they come in, in their order: the device's name, the state, and whether a descriptor belongs to it.
#[derive(Debug, Default)]
pub struct Arrived {
    parts: Vec<(String, SavedState, bool)>,
    bytes: usize,
}

impl Arrived {
    /// Takes a section if it is such a one; otherwise it comes back.
    pub fn take(&mut self, section: Section, devices: &[String]) -> Result<Option<Section>, SnapshotError> {
        let named = [(WITH, true), (WITHOUT, false)];
        let part = named.iter().find_map(|(kind, with)| Some((section.name.strip_prefix(kind)?.to_owned(), *with)));
        let Some((device, with)) = part else { return Ok(Some(section)) };
        if !devices.contains(&device) {
            return Err(SnapshotError::Unknown(section.name));
        }
        self.bytes += section.body.len();
        if self.parts.len() == PARTS_MAX || self.bytes > BYTES_MAX {
            return Err(SnapshotError::Malformed("more connections come along than there can be".to_owned()));
        }
        self.parts.push((device, SavedState { version: section.version, bytes: section.body }, with));
        Ok(None)
    }

    /// All of it with its descriptors; `None` if these were lost on the way.
    pub fn with(self, descriptors: Vec<OwnedFd>) -> Result<Option<Shared>, SnapshotError> {
        let wanted = self.parts.iter().filter(|(.., with)| *with).count();
        if descriptors.is_empty() && wanted > 0 {
            return Ok(None);
        }
        if descriptors.len() != wanted {
            let found = descriptors.len();
            return Err(SnapshotError::Malformed(format!("{found} descriptors came, for {wanted} that are in use")));
        }
        let mut descriptors = descriptors.into_iter();
        let mut all = Shared::new();
        for (device, state, with) in self.parts {
            let socket = if with { descriptors.next().map(Arc::new) } else { None };
            all.entry(device).or_default().push(Handed { state, socket });
        }
        Ok(Some(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_find_their_parts() {
        let fd = || -> OwnedFd { std::fs::File::open("/dev/null").unwrap().into() };
        let arrived = || {
            let mut arrived = Arrived::default();
            let devices = ["a@1".to_owned()];
            for (name, known) in [("network.a@1", true), ("socket.a@1", true), ("socket.b@1", false)] {
                let section = Section { name: name.to_owned(), version: 1, body: vec![] };
                assert_eq!(arrived.take(section, &devices).is_ok(), known, "{name}");
            }
            let other = Section { name: "ram".to_owned(), version: 1, body: vec![] };
            assert_eq!(arrived.take(other.clone(), &devices).unwrap(), Some(other));
            arrived
        };
        let shared = arrived().with(vec![fd()]).unwrap().unwrap();
        let parts: Vec<_> = shared["a@1"].iter().map(|part| section_name("a@1", part)).collect();
        assert_eq!(parts, ["network.a@1", "socket.a@1"]);
        assert!(arrived().with(Vec::new()).unwrap().is_none());
        assert!(arrived().with(vec![fd(), fd()]).is_err());
    }
}
