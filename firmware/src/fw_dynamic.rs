//! The `fw_dynamic_info` structure: how OpenSBI is told what runs after it (OpenSBI `docs/firmware/fw_dynamic.md`).

/// `OSBI`.
const MAGIC: u64 = 0x4942_534f;
const VERSION: u64 = 2;

/// Privilege mode to enter the next stage in, as `next_mode` encodes it.
const NEXT_MODE_S: u64 = 1;

/// What runs after the firmware, in S-mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FwDynamicInfo {
    /// Guest physical address; 0 if there is nothing.
    pub next_address: u64,
}

impl FwDynamicInfo {
    /// Bytes of the structure on a 64-bit hart.
    pub const LEN: usize = 48;

    /// As it stands in memory: six 64-bit fields (magic, version, next_addr, next_mode, options, boot_hart).
    /// Boot hart 0 leaves the choice to nobody: hart 0 goes on, the others wait.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let fields = [MAGIC, VERSION, self.next_address, NEXT_MODE_S, 0, 0];
        for (chunk, field) in bytes.chunks_exact_mut(8).zip(fields) {
            chunk.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_fields() {
        let bytes = FwDynamicInfo { next_address: 0x8020_0000 }.to_bytes();
        assert_eq!(&bytes[..4], b"OSBI");
        let fields: Vec<u64> = bytes.as_chunks().0.iter().map(|c| u64::from_le_bytes(*c)).collect();
        assert_eq!(fields, [0x4942_534f, 2, 0x8020_0000, 1, 0, 0]);
    }
}
