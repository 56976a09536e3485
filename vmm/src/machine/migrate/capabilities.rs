//! What can be switched on for moves; the names are QEMU's.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Programs at QMP hear how moves go (`MIGRATION`, `MIGRATION_PASS`).
    Events,
    /// Files get RAM that can be mapped.
    MappedRam,
}

impl Capability {
    pub const ALL: [Self; 2] = [Self::Events, Self::MappedRam];

    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::MappedRam => "mapped-ram",
        }
    }

    /// # Errors
    /// There is none of that name.
    pub fn find(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|capability| capability.name() == name);
        found.ok_or_else(|| format!("'{name}' is no capability; {} are", Self::ALL.map(Self::name).join(" and ")))
    }
}

/// Which are on. All are off at first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Capabilities([bool; Capability::ALL.len()]);

impl Capabilities {
    pub fn has(self, capability: Capability) -> bool {
        self.0[capability as usize]
    }

    pub fn set(&mut self, capability: Capability, on: bool) {
        self.0[capability as usize] = on;
    }
}
