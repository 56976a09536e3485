//! Why a loop that was taken often is not compiled as a region, for the counters of a hart (`-d stats`).

/// What kept a region from being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No block of one page begins where the jump leads.
    NoBlock,
    /// It leads to a region, from outside.
    Known,
    /// The way back leads through an instruction that regions do not have.
    Barred,
    /// The way back leads through another page or a jump to a register.
    NoLoop,
    /// More instructions than a region may have.
    TooLong,
    /// More host code than a region may have.
    TooLarge,
}

impl Refused {
    pub const ALL: [Self; 6] = [Self::NoBlock, Self::Known, Self::Barred, Self::NoLoop, Self::TooLong, Self::TooLarge];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoBlock => "no block at the target",
            Self::Known => "already one",
            Self::Barred => "instruction not for them",
            Self::NoLoop => "no way back in the page",
            Self::TooLong => "too many instructions",
            Self::TooLarge => "too much host code",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_their_order() {
        assert!(Refused::ALL.iter().enumerate().all(|(i, &r)| r as usize == i));
    }
}
