//! Which received frames a network card passes to its driver (virtio 1.3, 5.1.6.5.1 and 5.1.6.5.2).

use serde::{Deserialize, Serialize};

use crate::StateError;

/// Most addresses in each of the two tables; a longer table acts as "all of them".
const TABLE_MAX: usize = 64;

/// Receive modes and MAC tables, as the control queue sets them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RxFilter {
    pub promiscuous: bool,
    pub all_multicast: bool,
    pub all_unicast: bool,
    pub no_multicast: bool,
    pub no_unicast: bool,
    pub no_broadcast: bool,
    pub unicast: Vec<[u8; 6]>,
    pub multicast: Vec<[u8; 6]>,
    /// A table was longer than is kept.
    pub unicast_overflow: bool,
    pub multicast_overflow: bool,
}

impl Default for RxFilter {
    /// A card starts promiscuous: a driver without the control queue has no way to ask for anything.
    fn default() -> Self {
        Self {
            promiscuous: true,
            all_multicast: false,
            all_unicast: false,
            no_multicast: false,
            no_unicast: false,
            no_broadcast: false,
            unicast: Vec::new(),
            multicast: Vec::new(),
            unicast_overflow: false,
            multicast_overflow: false,
        }
    }
}

impl RxFilter {
    /// Whether a state from elsewhere is one that commands lead to.
    pub(in crate::virtio) fn check(&self) -> Result<(), StateError> {
        match self.unicast.len().max(self.multicast.len()) <= TABLE_MAX {
            true => Ok(()),
            false => Err(StateError::Unfit(format!("a table of more than {TABLE_MAX} addresses"))),
        }
    }

    /// Whether a frame to `destination` reaches a card whose own address is `mac`.
    pub fn accepts(&self, mac: &[u8; 6], destination: &[u8; 6]) -> bool {
        if self.promiscuous {
            return true;
        }
        if *destination == [0xff; 6] {
            return !self.no_broadcast;
        }
        if destination[0] & 1 != 0 {
            let listed = self.all_multicast || self.multicast_overflow || self.multicast.contains(destination);
            return !self.no_multicast && listed;
        }
        let listed =
            self.all_unicast || self.unicast_overflow || destination == mac || self.unicast.contains(destination);
        !self.no_unicast && listed
    }

    /// `VIRTIO_NET_CTRL_RX`: `command` 0 to 5 is a mode. `false` if there is no such mode.
    pub fn set_mode(&mut self, command: u8, on: bool) -> bool {
        let mode = match command {
            0 => &mut self.promiscuous,
            1 => &mut self.all_multicast,
            2 => &mut self.all_unicast,
            3 => &mut self.no_multicast,
            4 => &mut self.no_unicast,
            5 => &mut self.no_broadcast,
            _ => return false,
        };
        *mode = on;
        true
    }

    /// `VIRTIO_NET_CTRL_MAC_TABLE_SET`: two tables, each a 32-bit count and that many addresses.
    /// `false`, and no change, if they are not all there.
    pub fn set_tables(&mut self, bytes: &[u8]) -> bool {
        let Some((unicast, rest)) = table(bytes) else { return false };
        let Some((multicast, _)) = table(rest) else { return false };
        self.unicast_overflow = unicast.len() > TABLE_MAX;
        self.multicast_overflow = multicast.len() > TABLE_MAX;
        self.unicast = unicast[..unicast.len().min(TABLE_MAX)].to_vec();
        self.multicast = multicast[..multicast.len().min(TABLE_MAX)].to_vec();
        true
    }
}

fn table(bytes: &[u8]) -> Option<(&[[u8; 6]], &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(6)?;
    let (entries, rest) = rest.split_at_checked(len)?;
    Some((entries.as_chunks().0, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];
    const OTHER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 9];

    #[test]
    fn modes_and_tables_select_frames() {
        let mut f = RxFilter::default();
        assert!(f.accepts(&MAC, &OTHER));
        assert!(f.set_mode(0, false));
        assert!(!f.accepts(&MAC, &OTHER) && f.accepts(&MAC, &MAC) && f.accepts(&MAC, &[0xff; 6]));
        assert!(!f.accepts(&MAC, &GROUP));
        let mut bytes = vec![1, 0, 0, 0];
        bytes.extend(OTHER);
        bytes.extend([1, 0, 0, 0]);
        bytes.extend(GROUP);
        assert!(f.set_tables(&bytes));
        assert!(f.accepts(&MAC, &OTHER) && f.accepts(&MAC, &GROUP));
        assert!(f.set_mode(5, true) && !f.accepts(&MAC, &[0xff; 6]));
        assert!(!f.set_mode(6, true));
    }

    #[test]
    fn short_or_huge_tables_are_refused_or_widened() {
        let mut f = RxFilter { promiscuous: false, ..Default::default() };
        assert!(!f.set_tables(&[]));
        assert!(!f.set_tables(&[0xff, 0xff, 0xff, 0xff, 0, 0]));
        assert!(!f.set_tables(&[1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0]));
        let mut many = 65u32.to_le_bytes().to_vec();
        many.extend([2u8; 65 * 6]);
        many.extend([0; 4]);
        assert!(f.set_tables(&many));
        assert!(f.unicast.len() == 64 && f.accepts(&MAC, &OTHER));
    }
}
