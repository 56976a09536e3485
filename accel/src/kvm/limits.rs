//! What the host's kernel has to have, and how much of it there is: decided here, so that each refusal can be tested on
//! any host.
//!
//! Linux, Documentation/virt/kvm/api.rst, "KVM_CHECK_EXTENSION".

/// Answers to `KVM_CHECK_EXTENSION`: 0 for what there is not, else how many or at least 1.
pub trait Capabilities {
    fn capability(&self, number: u64) -> u64;
}

/// Numbers of capabilities.
const USER_MEMORY: u64 = 3;
const NR_VCPUS: u64 = 9;
const NR_MEMSLOTS: u64 = 10;
const MP_STATE: u64 = 14;
const SET_GUEST_DEBUG: u64 = 23;
const MAX_VCPUS: u64 = 66;
const ONE_REG: u64 = 70;
const MAX_VCPU_ID: u64 = 128;
const IMMEDIATE_EXIT: u64 = 136;

/// Capabilities that every machine needs, by the names of the kernel's documentation.
const NEEDED: [(u64, &str); 4] = [
    (USER_MEMORY, "KVM_CAP_USER_MEMORY"),
    (ONE_REG, "KVM_CAP_ONE_REG"),
    (MP_STATE, "KVM_CAP_MP_STATE"),
    (IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"),
];

/// The only version of the interface that there has ever been since it is stable.
const VERSION: i32 = 12;

/// Why this kernel's KVM cannot be used.
pub fn problem(version: i32, kernel: &impl Capabilities) -> Option<String> {
    if version != VERSION {
        return Some(format!("the host's kernel has version {version} of KVM's interface, not {VERSION}"));
    }
    let missing: Vec<_> =
        NEEDED.iter().filter(|(number, _)| kernel.capability(*number) == 0).map(|(_, name)| *name).collect();
    (!missing.is_empty()).then(|| format!("the host's kernel is too old: it lacks {}", missing.join(" and ")))
}

/// Whether a machine may have so many harts. The error says what it may not; the advice is for more than there are
/// CPUs for.
pub fn harts(wanted: u32, kernel: &impl Capabilities) -> Result<Option<String>, String> {
    let wanted = u64::from(wanted);
    // A kernel that does not answer has the limit of the one before, and 4 at last.
    let number = |capability, or: u64| match kernel.capability(capability) {
        0 => or,
        number => number,
    };
    let advised = number(NR_VCPUS, 4);
    let most = number(MAX_VCPUS, advised);
    let most = most.min(number(MAX_VCPU_ID, most));
    if wanted > most {
        return Err(format!("{wanted} harts: this host runs at most {most}"));
    }
    Ok((wanted > advised).then(|| format!("{wanted} harts are more than the {advised} that this host runs well")))
}

/// Whether there are slots for so many regions of memory.
pub fn memory(regions: usize, kernel: &impl Capabilities) -> Result<(), String> {
    // Without an answer there are 32.
    let slots = match kernel.capability(NR_MEMSLOTS) {
        0 => 32,
        slots => slots,
    };
    match regions as u64 > slots {
        true => Err(format!("{regions} regions of memory: this host has {slots} slots for them")),
        false => Ok(()),
    }
}

/// Whether a debugger can stop harts.
pub fn debugging(kernel: &impl Capabilities) -> Result<(), String> {
    match kernel.capability(SET_GUEST_DEBUG) {
        0 => {
            Err("breakpoints and steps: the host's kernel lacks KVM_CAP_SET_GUEST_DEBUG (Linux has it since 6.10)"
                .into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct Kernel(HashMap<u64, u64>);

    impl Kernel {
        /// One that has all that is needed, and these.
        fn with(more: &[(u64, u64)]) -> Self {
            Self(NEEDED.iter().map(|(number, _)| (*number, 1)).chain(more.iter().copied()).collect())
        }
    }

    impl Capabilities for Kernel {
        fn capability(&self, number: u64) -> u64 {
            self.0.get(&number).copied().unwrap_or(0)
        }
    }

    #[test]
    fn what_an_old_kernel_lacks_is_named() {
        assert_eq!(problem(12, &Kernel::with(&[])), None);
        let mut old = Kernel::with(&[]);
        old.0.remove(&IMMEDIATE_EXIT);
        let reason = problem(12, &old).unwrap();
        assert_eq!(reason, "the host's kernel is too old: it lacks KVM_CAP_IMMEDIATE_EXIT");
        old.0.insert(ONE_REG, 0);
        assert!(problem(12, &old).unwrap().ends_with("KVM_CAP_ONE_REG and KVM_CAP_IMMEDIATE_EXIT"));
        let reason = problem(11, &Kernel::with(&[])).unwrap();
        assert_eq!(reason, "the host's kernel has version 11 of KVM's interface, not 12");
    }

    #[test]
    fn harts_have_a_limit_and_an_advice() {
        let host = Kernel::with(&[(NR_VCPUS, 4), (MAX_VCPUS, 1024)]);
        assert_eq!(harts(4, &host), Ok(None));
        assert_eq!(harts(5, &host).unwrap().unwrap(), "5 harts are more than the 4 that this host runs well");
        assert!(harts(1024, &host).is_ok());
        assert_eq!(harts(1025, &host).unwrap_err(), "1025 harts: this host runs at most 1024");
        let ids = Kernel::with(&[(NR_VCPUS, 64), (MAX_VCPUS, 64), (MAX_VCPU_ID, 16)]);
        assert_eq!(harts(17, &ids).unwrap_err(), "17 harts: this host runs at most 16");
        assert_eq!(harts(5, &Kernel::with(&[])).unwrap_err(), "5 harts: this host runs at most 4");
    }

    #[test]
    fn a_debugger_needs_the_breakpoints_exits() {
        assert_eq!(debugging(&Kernel::with(&[(SET_GUEST_DEBUG, 1)])), Ok(()));
        let reason = debugging(&Kernel::with(&[])).unwrap_err();
        assert!(reason.contains("the host's kernel lacks KVM_CAP_SET_GUEST_DEBUG"), "{reason}");
    }

    #[test]
    fn memory_has_slots() {
        assert_eq!(memory(2, &Kernel::with(&[(NR_MEMSLOTS, 2)])), Ok(()));
        let error = memory(3, &Kernel::with(&[(NR_MEMSLOTS, 2)])).unwrap_err();
        assert_eq!(error, "3 regions of memory: this host has 2 slots for them");
        assert_eq!(memory(32, &Kernel::with(&[])), Ok(()));
        assert!(memory(33, &Kernel::with(&[])).is_err());
    }
}
