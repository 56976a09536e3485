//! `cargo linux`, `cargo verify` and `cargo kit`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use tests::{bench, exits, fuzz, guest, linux, riscv_host, soak, suite, tools, verify};

/// What the project's own commands do: cargo linux, cargo verify, cargo kit.
#[derive(Parser)]
#[command(name = "cargo kit", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot Debian on vireo, everything that it needs included
    Linux(Linux),
    /// Run every test of the project
    Verify(Verify),
    /// Run -accel kvm on emulated RISC-V hosts: guests of vireo and of QEMU
    KvmLane(KvmLane),
    /// Run the unit tests on an emulated RISC-V host
    UnitRiscv64(UnitRiscv64),
    /// Make the Linux guest and say where its files are
    Fetch(Fetch),
    /// Run the random tests for hours, from new seeds all the time
    Soak(Soak),
    /// Feed a target of tests/fuzz what libFuzzer makes, guided by the code that is reached
    Fuzz(Fuzz),
    /// Switch a Linux guest from engine to engine while it works, as often as asked
    SwitchEngines(SwitchEngines),
    /// Run vireo bench with all it takes: every suite and the Debian guest, on vireo and on the distribution's QEMU
    Bench(Bench),
    /// Boot and run the same guest on vireo and on QEMU by turns, and compare
    BenchBoot(BenchBoot),
    /// Count the exits of KVM guests on vireo and on QEMU, in an emulated RISC-V host
    KvmExits(KvmExits),
    /// Run the ELF programs of a test suite, and say which pass
    Suite(Suite),
}

#[derive(Args)]
struct Linux {
    /// Boot this kernel instead of the distribution's
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// With this initial RAM disk
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// With this root disk (raw)
    #[arg(long, value_name = "FILE", conflicts_with = "no_disk")]
    disk: Option<PathBuf>,
    /// Without a root disk: the initramfs alone
    #[arg(long)]
    no_disk: bool,
    /// Forget what earlier runs wrote to the root disk
    #[arg(long)]
    fresh: bool,
    /// Look for newer packages
    #[arg(long)]
    update: bool,
    /// Fetch packages from this address
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Run the guest on QEMU instead, to compare
    #[arg(long)]
    qemu: bool,
    /// Further arguments of vireo
    #[arg(last = true)]
    extra: Vec<String>,
}

#[derive(Args)]
struct KvmLane {
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// The host's emulator, instead of a vireo built for it
    #[arg(long, value_name = "FILE")]
    vireo: Option<PathBuf>,
    /// Fetch packages from this address
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

#[derive(Args)]
struct UnitRiscv64 {
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Fetch packages from this address
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

#[derive(Args)]
struct Verify {
    /// Only stages whose name contains this (those that others need run anyway)
    #[arg(long, value_name = "TEXT")]
    stage: Option<String>,
    /// Only guest tests whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Test this program instead of building one
    #[arg(long, value_name = "FILE")]
    vireo: Option<PathBuf>,
    /// Fetch packages from this address
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

#[derive(Args)]
struct Fetch {
    /// Fetch packages from this address
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Look for newer packages
    #[arg(long)]
    update: bool,
    /// The QEMU, Spike, binutils and gdb to test with, too
    #[arg(long)]
    tools: bool,
}

#[derive(Args)]
struct Soak {
    /// Begin no round after so many minutes
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    minutes: u64,
    /// The first seed; the same seeds make the same programs
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(..=1 << 62))]
    seed: u64,
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Compare with this QEMU instead of the fetched programs; several take turns
    #[arg(long = "qemu", value_name = "FILE")]
    qemus: Vec<PathBuf>,
    /// Compare with this Spike instead of the fetched programs; it and QEMUs take turns
    #[arg(long = "spike", value_name = "FILE")]
    spikes: Vec<PathBuf>,
    /// Fetch packages from this address
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

#[derive(Args)]
struct Fuzz {
    /// The target; they are listed if there is none
    target: Option<String>,
    /// End after so many minutes
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    minutes: u64,
    /// Further options of libFuzzer's
    #[arg(last = true)]
    extra: Vec<String>,
}

#[derive(Args)]
struct SwitchEngines {
    /// How often
    #[arg(long, value_name = "N", default_value_t = 200)]
    switches: u32,
    /// Of the moments and of the data
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Test this program instead of building one
    #[arg(long, value_name = "FILE")]
    vireo: Option<PathBuf>,
    /// Fetch packages from this address
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

#[derive(Args)]
struct Bench {
    /// Fetch packages from this address
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Compare with the newest QEMU of the distribution's suites, too
    #[arg(long)]
    newest: bool,
    /// Further arguments of vireo bench, such as --runs 3
    #[arg(last = true)]
    extra: Vec<String>,
}

#[derive(Args)]
struct BenchBoot {
    /// Pairs of runs
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Fetch packages from this address
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Compare with this QEMU
    #[arg(long, value_name = "FILE")]
    qemu: Option<PathBuf>,
    /// Measure this program instead of building one
    #[arg(long, value_name = "FILE")]
    vireo: Option<PathBuf>,
}

#[derive(Args)]
struct KvmExits {
    /// The guests' interrupt controllers in the kernel
    #[arg(long)]
    aia: bool,
    /// The host's emulator, instead of a vireo built for it
    #[arg(long, value_name = "FILE")]
    vireo: Option<PathBuf>,
    /// Fetch packages from this address
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

#[derive(Args)]
struct Suite {
    /// A folder of programs, or one program
    path: PathBuf,
    /// The board: spike or virt, with options of -M if need be
    #[arg(long, value_name = "BOARD", default_value = "spike")]
    board: String,
    /// The model, as -cpu takes it
    #[arg(long, value_name = "MODEL", default_value = "max")]
    cpu: String,
    /// Only programs whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Seconds a program may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Programs that run at a time
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Write each program's signature to a file there
    #[arg(long, value_name = "DIR")]
    signatures: Option<PathBuf>,
    /// Run them on QEMU, too
    #[arg(long)]
    reference: bool,
    /// Compare with this QEMU
    #[arg(long, value_name = "FILE")]
    qemu: Option<PathBuf>,
    /// Test this program instead of building one
    #[arg(long, value_name = "FILE")]
    vireo: Option<PathBuf>,
    /// Fetch packages from this address
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Further arguments of vireo
    #[arg(last = true)]
    extra: Vec<String>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::Linux(o) => {
            let options = linux::Options {
                mirror: o.mirror,
                kernel: o.kernel,
                initrd: o.initrd,
                disk: o.disk,
                no_disk: o.no_disk,
                fresh: o.fresh,
                update: o.update,
                qemu: o.qemu,
                extra: o.extra,
            };
            match linux::run(&options)? {}
        }
        Command::Verify(o) => verify::run(&verify::Options {
            mirror: o.mirror,
            stage: o.stage,
            filter: o.filter,
            vireo: o.vireo,
            kvm_lane: false,
        }),
        Command::KvmLane(o) => verify::run(&verify::Options {
            mirror: o.mirror,
            filter: o.filter,
            vireo: o.vireo,
            kvm_lane: true,
            ..verify::Options::default()
        }),
        Command::UnitRiscv64(o) => {
            let options = riscv_host::Options { mirror: o.mirror, filter: o.filter, names: true };
            let (passed, failed) = riscv_host::run(&options)?;
            println!("{passed} passed, {failed} failed");
            Ok(failed == 0)
        }
        Command::Fetch(o) => {
            let options =
                guest::Options { mirror: o.mirror.clone(), disk: true, firmware: true, kvm: false, update: o.update };
            println!("{:#?}", guest::prepare(&options)?);
            if o.tools {
                println!("{:#?}", tools::prepare(o.mirror.as_deref())?);
                if let Some(qemu) = tools::newest_qemu(o.mirror.as_deref())? {
                    println!("the newest QEMU: {}", qemu.display());
                }
                println!("Spike: {}", tools::spike()?.display());
                println!("{:#?}", tools::gdb(o.mirror.as_deref())?);
            }
            Ok(true)
        }
        Command::Suite(o) => suite::run(&suite::Options {
            path: o.path,
            board: o.board,
            cpu: o.cpu,
            filter: o.filter,
            timeout: o.timeout,
            jobs: o.jobs,
            signatures: o.signatures,
            reference: o.reference,
            vireo: o.vireo,
            qemu: o.qemu,
            mirror: o.mirror,
            extra: o.extra,
        }),
        Command::Soak(o) => soak::run(&soak::Options {
            minutes: o.minutes,
            seed: o.seed,
            only: o.only,
            qemus: o.qemus,
            spikes: o.spikes,
            mirror: o.mirror,
        }),
        Command::Fuzz(o) => fuzz::run(&fuzz::Options { target: o.target, minutes: o.minutes, extra: o.extra }),
        Command::SwitchEngines(o) => {
            let SwitchEngines { switches, seed, vireo, mirror } = o;
            soak::engines(vireo, mirror, switches, seed).map(|()| true)
        }
        Command::KvmExits(o) => {
            exits::run(&exits::Options { mirror: o.mirror, vireo: o.vireo, aia: o.aia }).map(|()| true)
        }
        Command::Bench(o) => bench::whole(o.mirror.as_deref(), o.newest, &o.extra).map(|never| match never {}),
        Command::BenchBoot(o) => {
            bench::run(&bench::Options { runs: o.runs, mirror: o.mirror, qemu: o.qemu, vireo: o.vireo }).map(|()| true)
        }
    }
}
