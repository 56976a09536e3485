//! The options themselves: names, values and the text of `-h`.

use clap::{ArgAction, Parser};

/// Every option, as clap knows it. QEMU's single dash is [`super::argv`]'s business.
#[derive(Debug, Parser)]
#[command(
    name = "vireo",
    about = "Runs RISC-V virtual machines: the board `virt`, under KVM or the built-in translator (tcg).",
    override_usage = "vireo [options]\n       vireo bench [options]   compares engines (vireo bench -h)\n       \
                      Without options the built-in demo guest starts.",
    after_help = "Most options accept `help` as their value. A comma inside a value is written `,,`.\n\
                  On the terminal: Ctrl-A X ends the machine, Ctrl-A C leads to its monitor, Ctrl-A H lists the other keys.",
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 120
)]
pub struct Options {
    // Machine
    /// The machine (-M help). Properties: accel=, aclint=on|off, aia=none|aplic|aplic-imsic, aia-guests=N, timebase=HZ, memory-backend=ID, dumpdtb=FILE, snapshots=FOLDER, pflash0=ID, pflash1=ID
    #[arg(long = "machine", alias = "M", value_name = "NAME[,PROP=VALUE...]", help_heading = "Machine")]
    pub machine: Vec<String>,
    /// The engine (-accel help): kvm[,kernel-irqchip=on|split|off][,riscv-aia=auto|emul|hwaccel][,debug-switch=on], tcg[,jit=off][,tb-size=MIB], interp; several, or a:b, are tried in order
    #[arg(long = "accel", value_name = "NAME[,PROP=VALUE...]", help_heading = "Machine")]
    pub accel: Vec<String>,
    /// Same as -accel kvm
    #[arg(long = "enable-kvm", action = ArgAction::Count, help_heading = "Machine")]
    pub enable_kvm: u8,
    /// The CPU model (-cpu help), with extensions switched by EXT=on|off, +EXT or -EXT
    #[arg(long = "cpu", value_name = "MODEL[,EXT=on|off...]", help_heading = "Machine")]
    pub cpu: Vec<String>,
    /// RAM, in MiB unless a suffix says otherwise [default: 128M; spike: 2G]
    #[arg(long = "m", value_name = "SIZE", help_heading = "Machine")]
    pub memory: Vec<String>,
    /// RAM in a file, or in a file without a name in a folder (hugetlbfs for huge pages)
    #[arg(long = "mem-path", value_name = "PATH", help_heading = "Machine")]
    pub mem_path: Vec<String>,
    /// All RAM is there before the guest starts
    #[arg(long = "mem-prealloc", action = ArgAction::Count, help_heading = "Machine")]
    pub mem_prealloc: u8,
    /// Keep the program's memory out of swap: all of it, or what has been touched
    #[arg(long = "overcommit", value_name = "mem-lock=on|off|on-fault", help_heading = "Machine")]
    pub overcommit: Vec<String>,
    /// Harts and their grouping [default: 1]; affinity=0@2:1-3@0-1+4 has hart 0 run on the host's CPU 2, 1 to 3 on 0, 1 and 4
    #[arg(long = "smp", value_name = "N[,sockets=S][,clusters=C][,cores=C][,threads=T]", help_heading = "Machine")]
    pub smp: Vec<String>,
    /// The guest's name; process=NAME and debug-threads=on name the process and its threads
    #[arg(long = "name", value_name = "NAME", help_heading = "Machine")]
    pub name: Vec<String>,
    /// What the real-time clock starts from: base=utc|localtime|2030-01-31T12:00:00
    #[arg(long = "rtc", value_name = "base=WHEN", help_heading = "Machine")]
    pub rtc: Vec<String>,
    /// A default of a device class: virtio-mmio.force-legacy=on|off
    #[arg(long = "global", value_name = "DRIVER.PROP=VALUE", help_heading = "Machine")]
    pub global: Vec<String>,

    // Boot
    /// default (built-in SBI, S-mode entry), none (M-mode entry), or M-mode firmware (tcg only)
    #[arg(long = "bios", value_name = "default|none|FILE", help_heading = "Boot")]
    pub bios: Vec<String>,
    /// Kernel: raw Image, ELF, gzip of these, or EFI zboot image
    #[arg(long = "kernel", value_name = "FILE", help_heading = "Boot")]
    pub kernel: Vec<String>,
    /// Initial RAM disk
    #[arg(long = "initrd", value_name = "FILE", help_heading = "Boot")]
    pub initrd: Vec<String>,
    /// The kernel's command line
    #[arg(long = "append", value_name = "TEXT", help_heading = "Boot")]
    pub append: Vec<String>,
    /// A device tree to use instead of the machine's own
    #[arg(long = "dtb", value_name = "FILE", help_heading = "Boot")]
    pub dtb: Vec<String>,

    // Disks
    /// A disk image: file=, if=virtio|none|pflash, format=raw, id=, readonly=on, snapshot=on, cache=, aio=, discard=
    #[arg(long = "drive", value_name = "file=FILE[,PROP=VALUE...]", help_heading = "Disks and devices")]
    pub drive: Vec<String>,
    /// A block node: driver=file|raw, node-name=, filename= or file=NODE, read-only=on
    #[arg(long = "blockdev", value_name = "driver=DRIVER,node-name=ID[,...]", help_heading = "Disks and devices")]
    pub blockdev: Vec<String>,
    /// Writes to all disks are forgotten at exit
    #[arg(long = "snapshot", action = ArgAction::Count, help_heading = "Disks and devices")]
    pub snapshot: u8,
    /// A device (-device help, -device NAME,help)
    #[arg(long = "device", value_name = "NAME[,PROP=VALUE...]", help_heading = "Disks and devices")]
    pub device: Vec<String>,
    /// A helper object (-object help, -object TYPE,help): memory-backend-ram|memfd|file, rng-random, rng-builtin
    #[arg(long = "object", value_name = "TYPE,id=ID[,...]", help_heading = "Disks and devices")]
    pub object: Vec<String>,
    /// No serial port on the terminal unless asked for
    #[arg(long = "nodefaults", action = ArgAction::Count, help_heading = "Disks and devices")]
    pub nodefaults: u8,

    // Network
    /// A network's host side (-netdev help): user[,hostfwd=tcp::2222-:22] or tap[,ifname=NAME]
    #[arg(long = "netdev", value_name = "TYPE,id=ID[,...]", help_heading = "Network")]
    pub netdev: Vec<String>,
    /// A network with its card in one option: user[,...], tap[,...] or none
    #[arg(long = "nic", value_name = "TYPE[,mac=MAC][,...]", help_heading = "Network")]
    pub nic: Vec<String>,

    // Console
    /// A character device (-chardev help)
    #[arg(long = "chardev", value_name = "TYPE,id=ID[,...]", help_heading = "Console")]
    pub chardev: Vec<String>,
    /// What the serial port is connected to: stdio, mon:stdio, null, none, pty, file:PATH, pipe:PATH,
    /// unix:PATH[,server=on][,wait=off], tcp:HOST:PORT[,server=on][,wait=off], chardev:ID
    #[arg(long = "serial", value_name = "DEV", help_heading = "Console")]
    pub serial: Vec<String>,
    /// A monitor, which shows and steers the machine: values as of -serial [default: shares the terminal, Ctrl-A C]
    #[arg(long = "monitor", value_name = "DEV", help_heading = "Console")]
    pub monitor: Vec<String>,
    /// The same at a -chardev
    #[arg(long = "mon", value_name = "[chardev=]ID[,mode=readline|control][,pretty=on]", help_heading = "Console")]
    pub mon: Vec<String>,
    /// A monitor for programs, which speaks QMP: values as of -serial
    #[arg(long = "qmp", value_name = "DEV", help_heading = "Console")]
    pub qmp: Vec<String>,
    /// The same with answers that span lines
    #[arg(long = "qmp-pretty", value_name = "DEV", help_heading = "Console")]
    pub qmp_pretty: Vec<String>,
    /// gdb connects here: tcp:[HOST]:PORT (a server that does not wait), unix:PATH,server=on,wait=off, stdio, chardev:ID
    #[arg(long = "gdb", value_name = "DEV", help_heading = "Console")]
    pub gdb: Vec<String>,
    /// Same as -gdb tcp::1234
    #[arg(long = "s", action = ArgAction::Count, help_heading = "Console")]
    pub gdb_default: u8,
    /// There are no displays; without -serial this also takes the serial port off the terminal
    #[arg(long = "display", value_name = "none", help_heading = "Console")]
    pub display: Vec<String>,
    /// Serial port on the terminal, Ctrl-A as the escape key (the default here)
    #[arg(long = "nographic", action = ArgAction::Count, help_heading = "Console")]
    pub nographic: u8,

    // Running
    /// The guest starts when a monitor or gdb says so (`cont`)
    #[arg(long = "S", action = ArgAction::Count, help_heading = "Running")]
    pub stopped: u8,
    /// The guest comes from elsewhere: a file that `migrate` has made, a program's output, or another vireo; defer: a monitor says from where
    #[arg(
        long = "incoming",
        value_name = "file:PATH[,map=on]|exec:COMMAND|unix:PATH|tcp:HOST:PORT|fd:NUMBER|defer",
        help_heading = "Running"
    )]
    pub incoming: Vec<String>,
    /// Only devices that can be saved and moved, which all are
    #[arg(long = "only-migratable", action = ArgAction::Count, help_heading = "Running")]
    pub only_migratable: u8,
    /// The guest goes on from this snapshot in the folder of -machine snapshots=
    #[arg(long = "loadvm", value_name = "NAME", help_heading = "Running")]
    pub loadvm: Vec<String>,
    /// A guest's reboot ends the program
    #[arg(long = "no-reboot", action = ArgAction::Count, help_heading = "Running")]
    pub no_reboot: u8,
    /// A guest's power-off stops the machine but not the program
    #[arg(long = "no-shutdown", action = ArgAction::Count, help_heading = "Running")]
    pub no_shutdown: u8,
    /// Instructions are the guest's clock: each takes 2^N nanoseconds; one hart only
    #[arg(long = "icount", value_name = "[shift=]N", help_heading = "Machine")]
    pub icount: Vec<String>,
    /// Bare programs may call the host: RISC-V Semihosting
    #[arg(long = "semihosting", action = ArgAction::Count, help_heading = "Running")]
    pub semihosting: u8,
    /// The same with enable=on|off, target=native|auto, chardev=ID, userspace=on|off, arg=WORD (may be repeated)
    #[arg(long = "semihosting-config", value_name = "PROP=VALUE[,...]", help_heading = "Running")]
    pub semihosting_config: Vec<String>,
    /// Name translated code for `perf report`, in /tmp/perf-PID.map
    #[arg(long = "perfmap", action = ArgAction::Count, help_heading = "Running")]
    pub perfmap: u8,
    /// The same with the code itself, in jit-PID.dump: for `perf inject -j` after `perf record -k 1`
    #[arg(long = "jitdump", action = ArgAction::Count, help_heading = "Running")]
    pub jitdump: u8,
    /// Write the process id here
    #[arg(long = "pidfile", value_name = "FILE", help_heading = "Running")]
    pub pidfile: Vec<String>,
    /// What to log (-d help)
    #[arg(long = "d", value_name = "ITEM[,...]", help_heading = "Running")]
    pub log: Vec<String>,
    /// Of which code to log in_asm, op, out_asm, exec and cpu: FIRST..LAST, START+BYTES, END-BYTES
    #[arg(long = "dfilter", value_name = "RANGE[,...]", help_heading = "Running")]
    pub log_filter: Vec<String>,
    /// Where to log [default: standard error]
    #[arg(long = "D", value_name = "FILE", help_heading = "Running")]
    pub log_file: Vec<String>,

    /// This text
    #[arg(long = "help", alias = "h", action = ArgAction::Count, help_heading = "Information")]
    pub help: u8,
    /// The version
    #[arg(long = "version", action = ArgAction::Count, help_heading = "Information")]
    pub version: u8,
}
