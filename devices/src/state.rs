//! What a snapshot keeps of a device: plain state in CBOR, with the version of its layout.
//!
//! Every [`MmioDevice`](crate::MmioDevice) says what it keeps. A layout changes together with its number; fields have
//! names in the encoding, so that a change without a new number is found when it is read. What is read comes from
//! a file: a device checks that the state fits before it takes any of it over.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A device's state as a snapshot has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// Of the layout.
    pub version: u32,
    pub bytes: Vec<u8>,
}

/// Why a device does not take a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("its state has version {found}, and this program knows version {known} only")]
    Version { found: u32, known: u32 },
    #[error("its state cannot be read: {0}")]
    Malformed(String),
    #[error("its state does not fit: {0}")]
    Unfit(String),
    #[error("it has no state, and the snapshot has one")]
    Stateless,
}

impl SavedState {
    /// `state` in layout `version`.
    pub fn of<T: Serialize + ?Sized>(version: u32, state: &T) -> Self {
        let mut bytes = Vec::new();
        ciborium::into_writer(state, &mut bytes).expect("plain values are written to memory");
        Self { version, bytes }
    }

    /// The state, which has to be in layout `known`.
    ///
    /// # Errors
    /// It is in another, or is none.
    pub fn read<T: DeserializeOwned>(&self, known: u32) -> Result<T, StateError> {
        if self.version != known {
            return Err(StateError::Version { found: self.version, known });
        }
        let mut rest = &self.bytes[..];
        let state = ciborium::from_reader(&mut rest).map_err(|error| StateError::Malformed(error.to_string()))?;
        match rest.len() {
            0 => Ok(state),
            n => Err(StateError::Malformed(format!("{n} bytes too many"))),
        }
    }
}

/// `Err` unless `found` is what the device has.
pub(crate) fn expect<T: PartialEq + std::fmt::Display>(what: &str, found: T, here: T) -> Result<(), StateError> {
    if found == here {
        return Ok(());
    }
    Err(StateError::Unfit(format!("{what}: the snapshot has {found}, this machine has {here}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let saved = SavedState::of(3, &(vec![1u64, 2], "x".to_owned()));
        assert_eq!(saved.read::<(Vec<u64>, String)>(3), Ok((vec![1, 2], "x".to_owned())));
        assert_eq!(saved.read::<(Vec<u64>, String)>(2), Err(StateError::Version { found: 3, known: 2 }));
        assert!(matches!(saved.read::<u64>(3), Err(StateError::Malformed(_))));
        for len in 0..saved.bytes.len() {
            let cut = SavedState { version: 3, bytes: saved.bytes[..len].to_vec() };
            assert!(matches!(cut.read::<(Vec<u64>, String)>(3), Err(StateError::Malformed(_))), "{len}");
        }
        let longer = SavedState { bytes: [&saved.bytes[..], &[0]].concat(), ..saved };
        assert_eq!(longer.read::<(Vec<u64>, String)>(3), Err(StateError::Malformed("1 bytes too many".to_owned())));
    }

    #[test]
    fn a_length_that_lies_costs_no_memory() {
        // An array, and a byte string, of 2^62 elements.
        for head in [0x9b, 0x5b] {
            let bytes = [&[head][..], &(1u64 << 62).to_be_bytes()].concat();
            let state = SavedState { version: 1, bytes };
            assert!(matches!(state.read::<Vec<u64>>(1), Err(StateError::Malformed(_))));
        }
    }
}
