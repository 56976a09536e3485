//! Extensions, sets of them, and the ISA of a hart.

mod config;
mod set;
mod table;

pub use config::{IsaConfig, SatpMode, VectorChoices};
pub use set::ExtSet;
pub use table::{EXTENSIONS, Ext, ExtRow, Status};

impl Ext {
    pub fn row(self) -> &'static ExtRow {
        &EXTENSIONS[self as usize]
    }

    /// Lower case, as in `riscv,isa-extensions`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Finds an extension by its name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        EXTENSIONS.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.ext)
    }

    pub fn is_ready(self) -> bool {
        self.row().status == Status::Ready
    }
}
