//! Extensions, ISA strings and CPU models.

/// A hart's ISA: what `-cpu` chose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IsaConfig {}
