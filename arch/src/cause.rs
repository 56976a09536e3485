//! Trap causes: the codes of `mcause` and `scause` (privileged specification, table "Machine cause register values
//! after trap") and what the exception delegation registers may delegate.

macro_rules! causes {
    ($(#[$meta:meta])* $kind:ident { $($id:ident = $code:literal $name:literal)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $kind {
            $(#[doc = concat!("Code ", stringify!($code), ": ", $name, ".")] $id = $code,)*
        }

        impl $kind {
            pub const ALL: &[$kind] = &[$($kind::$id),*];

            pub const fn code(self) -> u64 {
                self as u64
            }

            pub const fn from_code(code: u64) -> Option<Self> {
                match code {
                    $($code => Some(Self::$id),)*
                    _ => None,
                }
            }

            /// As the specification words it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)*
                }
            }

            /// The cause's bit in `medeleg`, or in `mip`, `mie` and `mideleg`.
            pub const fn bit(self) -> u64 {
                1 << self as u64
            }
        }
    };
}

causes! {
    /// A synchronous trap.
    Exception {
        InstructionAddressMisaligned = 0 "instruction address misaligned"
        InstructionAccessFault = 1 "instruction access fault"
        IllegalInstruction = 2 "illegal instruction"
        Breakpoint = 3 "breakpoint"
        LoadAddressMisaligned = 4 "load address misaligned"
        LoadAccessFault = 5 "load access fault"
        StoreAddressMisaligned = 6 "store/AMO address misaligned"
        StoreAccessFault = 7 "store/AMO access fault"
        EcallFromU = 8 "environment call from U-mode or VU-mode"
        EcallFromS = 9 "environment call from S-mode"
        EcallFromVs = 10 "environment call from VS-mode"
        EcallFromM = 11 "environment call from M-mode"
        InstructionPageFault = 12 "instruction page fault"
        LoadPageFault = 13 "load page fault"
        StorePageFault = 15 "store/AMO page fault"
        DoubleTrap = 16 "double trap"
        SoftwareCheck = 18 "software check"
        HardwareError = 19 "hardware error"
        InstructionGuestPageFault = 20 "instruction guest-page fault"
        LoadGuestPageFault = 21 "load guest-page fault"
        VirtualInstruction = 22 "virtual instruction"
        StoreGuestPageFault = 23 "store/AMO guest-page fault"
    }
}

causes! {
    /// An interrupt.
    Interrupt {
        SupervisorSoftware = 1 "supervisor software interrupt"
        VirtualSupervisorSoftware = 2 "virtual supervisor software interrupt"
        MachineSoftware = 3 "machine software interrupt"
        SupervisorTimer = 5 "supervisor timer interrupt"
        VirtualSupervisorTimer = 6 "virtual supervisor timer interrupt"
        MachineTimer = 7 "machine timer interrupt"
        SupervisorExternal = 9 "supervisor external interrupt"
        VirtualSupervisorExternal = 10 "virtual supervisor external interrupt"
        MachineExternal = 11 "machine external interrupt"
        SupervisorGuestExternal = 12 "supervisor guest external interrupt"
        CounterOverflow = 13 "counter-overflow interrupt"
    }
}

/// Every interrupt number below 64, highest default priority first (AIA, "Defined major interrupts and default
/// priorities", with the order planned for the local interrupts that are reserved). Numbers for custom use come last.
pub const DEFAULT_ORDER: [u8; 64] = [
    47, 23, 46, 45, 22, 44, 43, 21, 42, 41, 20, 40, // above the machine's
    11, 3, 7, 9, 1, 5, 12, 10, 2, 6, 13, 14, // the privileged architecture's
    39, 19, 38, 37, 18, 36, 35, 17, 34, 33, 16, 32, // below
    15, 8, 4, 0, // of no meaning yet
    31, 30, 29, 28, 27, 26, 25, 24, 63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, // custom
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csr::mip;

    #[test]
    fn codes_go_both_ways() {
        assert!(Exception::ALL.iter().all(|cause| Exception::from_code(cause.code()) == Some(*cause)));
        assert_eq!(Exception::from_code(14), None);
        assert_eq!(Exception::StorePageFault.bit(), 1 << 15);
    }

    #[test]
    fn interrupts_agree_with_the_bits_of_mip() {
        assert_eq!(Interrupt::SupervisorExternal.bit(), mip::SEIP);
        assert_eq!(Interrupt::MachineTimer.bit(), mip::MTIP);
        assert_eq!(Interrupt::CounterOverflow.bit(), mip::LCOFIP);
    }

    #[test]
    fn every_interrupt_has_one_place_in_the_order() {
        let mut sorted = DEFAULT_ORDER;
        sorted.sort_unstable();
        assert!(sorted.iter().enumerate().all(|(i, code)| i == usize::from(*code)));
        let at = |i: Interrupt| DEFAULT_ORDER.iter().position(|c| u64::from(*c) == i.code());
        let by_name = [
            Interrupt::MachineExternal,
            Interrupt::MachineSoftware,
            Interrupt::MachineTimer,
            Interrupt::SupervisorExternal,
            Interrupt::SupervisorSoftware,
            Interrupt::SupervisorTimer,
            Interrupt::SupervisorGuestExternal,
            Interrupt::VirtualSupervisorExternal,
            Interrupt::VirtualSupervisorSoftware,
            Interrupt::VirtualSupervisorTimer,
            Interrupt::CounterOverflow,
        ];
        assert!(by_name.is_sorted_by_key(|i| at(*i)));
    }
}
