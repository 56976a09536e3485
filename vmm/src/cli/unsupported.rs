//! Options that QEMU has and vireo does not: named, so that nobody takes them for typing errors.

/// Names without dash, and what they are about.
pub const OPTIONS: &[(&str, &str)] = &[
    ("action", "choosing actions for guest events"),
    ("add-fd", "passing descriptor sets"),
    ("audio", "sound"),
    ("audiodev", "sound"),
    ("async-teardown", "asynchronous teardown"),
    ("boot", "a boot order"),
    ("cdrom", "a CD-ROM drive"),
    ("chroot", "changing the root directory"),
    ("compat", "a compatibility policy"),
    ("cpr-exec-command", "live update"),
    ("daemonize", "running in the background"),
    ("debugcon", "a debug console"),
    ("dump-vmstate", "saving machine state"),
    ("echr", "another escape character"),
    ("enable-sync-profile", "profiling of locks"),
    ("fda", "a floppy disk"),
    ("fdb", "a floppy disk"),
    ("fsdev", "a shared directory"),
    ("full-screen", "graphics"),
    ("fw_cfg", "the fw_cfg device"),
    ("hda", "the short form of -drive file=FILE"),
    ("hdb", "the short form of -drive file=FILE"),
    ("hdc", "the short form of -drive file=FILE"),
    ("hdd", "the short form of -drive file=FILE"),
    ("iscsi", "iSCSI"),
    ("k", "a keyboard layout"),
    ("L", "a data directory"),
    ("msg", "message formats"),
    ("mtdblock", "on-board flash"),
    ("net", "the old network syntax (use -netdev and -device, or -nic)"),
    ("no-fd-bootchk", "a boot check of other boards"),
    ("no-user-config", "configuration files"),
    ("numa", "NUMA"),
    ("option-rom", "an option ROM"),
    ("parallel", "a parallel port"),
    ("pflash", "the short form of -drive if=pflash"),
    ("plugin", "TCG plugins"),
    ("portrait", "graphics"),
    ("preconfig", "starting before configuration"),
    ("qtest", "the qtest protocol"),
    ("qtest-log", "the qtest protocol"),
    ("readconfig", "configuration files"),
    ("rotate", "graphics"),
    ("run-with", "changing how the process runs"),
    ("runas", "changing the user"),
    ("sandbox", "a sandbox"),
    ("sd", "an SD card"),
    ("seed", "a seed for random numbers"),
    ("set", "changing a device's property afterwards"),
    ("shim", "a shim image"),
    ("singlestep", "single steps (use -accel tcg,one-insn-per-tb=on)"),
    ("smbios", "SMBIOS tables"),
    ("acpitable", "ACPI tables"),
    ("spice", "SPICE"),
    ("teardown", "asynchronous teardown"),
    ("tpmdev", "a TPM"),
    ("trace", "event tracing (use -d)"),
    ("usb", "USB"),
    ("usbdevice", "USB"),
    ("uuid", "a machine UUID"),
    ("vga", "graphics"),
    ("virtfs", "a shared directory"),
    ("vnc", "VNC"),
    ("watchdog-action", "a watchdog"),
    ("win2k-hack", "an option for other boards"),
    ("writeconfig", "configuration files"),
    ("xen-attach", "Xen"),
    ("xen-domid", "Xen"),
];

/// What the option is about, if QEMU has it and vireo does not.
pub fn find(name: &str) -> Option<&'static str> {
    OPTIONS.iter().find(|(n, _)| *n == name).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (i, (name, what)) in OPTIONS.iter().enumerate() {
            assert!(!what.is_empty());
            assert!(OPTIONS[i + 1..].iter().all(|(n, _)| n != name), "-{name} twice");
        }
    }
}
