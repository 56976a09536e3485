//! The ISA that is compared: all that the engines have, but for what stands here with the reason.

use arch::ext::{Ext, IsaConfig};
use arch::model;

/// Extensions that are off on both sides, and why.
pub const NOT_COMPARED: &[(Ext, &str)] = &[
    (
        Ext::Zama16b,
        "QEMU performs misaligned AMOs that leave their granule and raises an exception for bytes and halves inside it; \
         the A extension relaxes the alignment of all AMOs, and only inside the granule",
    ),
    (Ext::Zicfilp, "blocks have no landing pads"),
    (Ext::Zicfiss, "blocks have no shadow stack"),
];

/// Privileged extensions whose registers and behaviour all blocks know. Those of others would show in registers that the
/// blocks read at random: they have tests of their own.
const PRIVILEGED: &[Ext] = &[
    Ext::S,
    Ext::U,
    Ext::Ssccptr,
    Ext::Sscounterenw,
    Ext::Ssstrict,
    Ext::Sstc,
    Ext::Sstvala,
    Ext::Sstvecd,
    Ext::Ssu64xl,
    Ext::Svade,
    Ext::Svadu,
    Ext::Svinval,
    Ext::Svnapot,
    Ext::Svpbmt,
    Ext::Svvptc,
];

/// Whether all blocks set up what the extension needs. Vectors are for blocks of their own.
fn is_set_up(ext: Ext) -> bool {
    let name = ext.name();
    let privileged = name == "h" || name.len() > 1 && name.starts_with('s');
    PRIVILEGED.contains(&ext) || !(privileged || name == "v" || name.starts_with("zv"))
}

/// The ISA of the compared harts, before the reference has its say (see [`super::reference::Reference::common`]).
pub fn isa() -> IsaConfig {
    let mut isa = model::find("max").expect("a model that the program has").config();
    for ext in isa.exts.iter().filter(|ext| !is_set_up(*ext)) {
        isa.exts.remove(ext);
    }
    // The hart can be told either way by menvcfg.
    isa.exts.insert(Ext::Svade);
    NOT_COMPARED.iter().for_each(|(ext, _)| isa.exts.remove(*ext));
    isa
}

/// The same with vectors, for the blocks that set them up.
pub fn isa_with_vectors() -> IsaConfig {
    let mut isa = isa();
    let max = model::find("max").expect("a model that the program has").config();
    for ext in max.exts.iter().filter(|ext| *ext == Ext::V || ext.name().starts_with("zv")) {
        isa.exts.insert(ext);
    }
    isa
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_compared_needs_what_is_not() {
        let isa = isa();
        let mut closed = isa.exts.closure();
        // It is implied by a privileged profile alone.
        closed.remove(Ext::Za128rs);
        assert_eq!(closed.difference(&isa.exts), arch::ext::ExtSet::EMPTY);
    }
}
