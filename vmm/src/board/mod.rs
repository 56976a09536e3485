//! Boards: which machines there are, what they consist of, and what joins their chips to the engine.

pub mod assembly;
pub mod engine_chips;
pub mod imsics;
pub mod io_events;
pub mod memory;
pub mod spike;
pub mod virt;
pub mod wires;

/// Where RAM begins on every board; its size is the machine's.
pub const RAM_BASE: u64 = 0x8000_0000;

/// Which board is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoardKind {
    Virt,
    Spike,
}

/// A machine that `-M` names.
#[derive(Debug)]
pub struct MachineType {
    /// With its version, so that a guest can keep the machine it was installed on.
    pub name: &'static str,
    /// Other names; an unversioned one means the newest version.
    pub aliases: &'static [&'static str],
    pub description: &'static str,
    pub board: BoardKind,
    /// Bytes of RAM without `-m`.
    pub ram_size: u64,
    pub default: bool,
}

impl MachineType {
    /// Every name it answers to.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name].into_iter().chain(self.aliases.iter().copied())
    }
}

/// All machines.
pub static MACHINES: &[MachineType] = &[
    MachineType {
        name: "virt-1.0",
        aliases: &["virt"],
        description: "RISC-V VirtIO board",
        board: BoardKind::Virt,
        ram_size: 128 << 20,
        default: true,
    },
    MachineType {
        name: "spike-1.0",
        aliases: &["spike"],
        description: "RISC-V Spike board: HTIF, CLINT, PLIC and UART, for bare programs and test suites",
        board: BoardKind::Spike,
        // As the simulator has it: its test programs reach that far.
        ram_size: 2 << 30,
        default: false,
    },
];

/// The machine when `-M` is not given.
pub fn default_machine() -> &'static MachineType {
    MACHINES.iter().find(|m| m.default).expect("one machine is the default")
}

pub fn find_machine(name: &str) -> Option<&'static MachineType> {
    MACHINES.iter().find(|m| m.names().any(|n| n == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_one_is_the_default() {
        let names: Vec<_> = MACHINES.iter().flat_map(MachineType::names).collect();
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{name} twice");
        }
        assert_eq!(MACHINES.iter().filter(|m| m.default).count(), 1);
        assert_eq!(find_machine("virt").map(|m| m.name), Some("virt-1.0"));
    }
}
