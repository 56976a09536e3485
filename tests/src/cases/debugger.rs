//! A real gdb at the gdb server: bare programs and Linux by their symbols.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arch::isa::{Op, Operands, encode};

use super::{Case, contains, equal, linux};
use crate::elf;
use crate::harness::gdb::Session;
use crate::harness::vm::{Machine, Vm};
use crate::harness::{Env, scratch};
use crate::host;

pub const CASES: &[Case] = &[
    Case { name: "gdb: a bare program", run: |env| bare(env, "tcg") },
    Case { name: "gdb: a bare program on the interpreter", run: |env| bare(env, "interp") },
    Case { name: "gdb: QEMU's own packets", run: packets },
    Case { name: "gdb: Linux by its symbols", run: kernel },
    Case { name: "gdb: one hart of two", run: one_hart },
    Case { name: "gdb: a dump of the guest's memory", run: dump },
];

const BASE: u64 = 0x8000_0000;
const DATA: u64 = 0x100;

fn word(op: Op, rd: u8, rs1: u8, rs2: u8, imm: i32) -> Result<u32> {
    encode(op, &Operands { rd, rs1, rs2, imm, ..Operands::default() }).context("an instruction of the test")
}

/// Calls `bump` for ever, which counts at `counter`. It begins at `base`.
pub(super) fn program(base: u64) -> Result<Vec<u8>> {
    let words = [
        word(Op::Auipc, 8, 0, 0, 0)?,
        word(Op::Addi, 8, 8, 0, DATA as i32)?,
        // again:
        word(Op::Jal, 1, 0, 0, 8)?,
        word(Op::Jal, 0, 0, 0, -4)?,
        // bump:
        word(Op::Ld, 5, 8, 0, 0)?,
        word(Op::Addi, 5, 5, 0, 1)?,
        word(Op::Sd, 0, 8, 5, 0)?,
        word(Op::Jalr, 0, 1, 0, 0)?,
    ];
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    bytes.resize(DATA as usize + 8, 0);
    let symbols = [("_start", base), ("again", base + 8), ("bump", base + 16), ("counter", base + DATA)];
    Ok(elf::program(base, &bytes, &symbols))
}

/// A machine that waits with that program, and gdb at it.
fn start_bare(env: &Env, dir: &Path, args: &[&str]) -> Result<(Vm, Session)> {
    let (file, socket) = (dir.join("program"), dir.join("gdb"));
    fs::write(&file, program(BASE)?)?;
    let server = format!("unix:{},server=on,wait=off", socket.display());
    let machine = Machine::new(&env.vireo).args(["-S", "-bios", "none", "-gdb", &server, "-kernel"]).arg(&file);
    let vm = machine.args(args).start()?;
    wait_for(&socket);
    Ok((vm, Session::attach(env.gdb()?, &file, &socket)?))
}

/// The server listens soon after the program has started. gdb says it if it never does.
fn wait_for(socket: &Path) {
    for _ in 0..6000 {
        if socket.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for the end. Standard error has the server's address.
fn ends(vm: Vm) -> Result<()> {
    let end = vm.wait()?;
    equal("whether the exit code is 0", end.status.success(), true)
}

fn bare(env: &Env, engine: &str) -> Result<()> {
    let dir = scratch()?;
    let (vm, mut gdb) = start_bare(env, dir.path(), &["-accel", engine])?;
    equal("the first pc", gdb.value("$pc")?, 0x1000)?;
    gdb.check("info registers priv", "[Machine]")?;

    gdb.check("break *bump", "at 0x80000010")?;
    gdb.check("continue", "Breakpoint 1, 0x0000000080000010 in bump ()")?;
    contains("the code", &gdb.ask("x/2i $pc")?, "<bump>:\tld\tt0,0(s0)")?;
    for pc in [BASE + 20, BASE + 24] {
        gdb.ask("stepi")?;
        equal("the pc of a step", gdb.value("$pc")?, pc)?;
    }
    equal("what was loaded", gdb.value("$t0")?, 1)?;
    gdb.check("finish", "in again ()")?;
    equal("the counter", gdb.value("*(long *)&counter")?, 1)?;
    gdb.ask("delete")?;

    // What it was and is, whatever the order of instructions.
    let watched = gdb.ask("watch *(long *)&counter")?;
    contains("the watchpoint", &watched, "Hardware watchpoint 2")?;
    for old in 1..4 {
        let stop = gdb.ask("continue")?;
        contains("the stop", &stop, "Hardware watchpoint 2: *(long *)&counter")?;
        contains("the stop", &stop, &format!("Old value = {old}\nNew value = {}\n", old + 1))?;
        equal("the pc behind the store", gdb.value("$pc")?, BASE + 28)?;
    }
    gdb.ask("delete")?;
    gdb.check("rwatch *(long *)&counter", "Hardware read watchpoint 3")?;
    gdb.check("continue", "Value = 4\n")?;
    equal("the pc behind the load", gdb.value("$pc")?, BASE + 20)?;
    gdb.ask("delete")?;
    gdb.check("awatch *(long *)&counter", "Hardware access (read/write) watchpoint 4")?;
    gdb.check("continue", "Old value = 4\nNew value = 5\n")?;
    gdb.check("continue", "Value = 5\n")?;
    gdb.ask("delete")?;

    // What is written counts.
    gdb.ask("set var *(long *)&counter = 1000")?;
    gdb.ask("set var $pc = bump")?;
    gdb.ask("set var $s1 = 0x123456789abcdef0")?;
    gdb.check("hbreak *0x8000001c", "Hardware assisted breakpoint 5")?;
    gdb.check("continue", "Breakpoint 5")?;
    equal("the counter", gdb.value("*(long *)&counter")?, 1001)?;
    equal("another register", gdb.value("$s1")?, 0x1234_5678_9abc_def0)?;
    gdb.ask("kill")?;
    ends(vm)
}

/// What a live gdb sees another one sees in the file.
fn dump(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let core = dir.path().join("core");
    let (vm, mut gdb) = start_bare(env, dir.path(), &["-smp", "2", "-m", "64M"])?;
    gdb.ask("break *bump if *(long *)&counter == 7")?;
    gdb.check("continue", "in bump ()")?;
    gdb.ask("set var $s1 = 0x123456789abcdef0")?;
    let hart = gdb.value("$_thread")?;
    gdb.ask(&format!("monitor dump-guest-memory {}", core.display()))?;
    let asked = ["info threads", "p/x $pc", "p *(long *)&counter", "p/x $s1", "x/i $pc", "p/x *(long *)0x83fffff8"];
    let mut reader = env.gdb()?.command();
    reader.arg("-batch").arg(dir.path().join("program")).arg(&core).args(["-ex", &format!("thread {hart}")]);
    reader.args(asked.iter().flat_map(|command| ["-ex", command]));
    let said = host::run(&mut reader)?;
    for part in ["LWP 1", "LWP 2", "= 0x80000010", "= 7\n", "= 0x123456789abcdef0", "<bump>:\tld\tt0,0(s0)", "= 0x0\n"]
    {
        contains("what gdb says of the core file", &said, part)?;
    }
    gdb.ask("kill")?;
    ends(vm)
}

fn packets(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let (vm, mut gdb) = start_bare(env, dir.path(), &[])?;
    for (packet, answer) in [
        ("qqemu.sstepbits", "ENABLE=1,NOIRQ=2,NOTIMER=4"),
        ("qqemu.sstep", "0x7"),
        ("Qqemu.sstep=5", "OK"),
        ("qqemu.sstep", "0x5"),
        ("Qqemu.PhyMemMode:1", "OK"),
        ("qqemu.PhyMemMode", "1"),
    ] {
        gdb.check(&format!("maintenance packet {packet}"), &format!("received: \"{answer}\""))?;
    }
    gdb.check("monitor info status", "VM status: paused (prelaunch)")?;
    gdb.check("monitor frobnicate", "unknown command: 'frobnicate'")?;
    gdb.check("monitor quit", "")?;
    ends(vm)
}

/// Functions of the kernel that the tests look for.
const FUNCTIONS: &[&str] = &["ksys_sync", "vfs_write", "do_idle"];

/// Linux at its prompt with a gdb server, and a file with symbols of its kernel.
fn start_linux(env: &Env, dir: &Path) -> Result<(Vm, PathBuf, PathBuf)> {
    let (file, socket) = (dir.join("symbols"), dir.join("gdb"));
    let server = format!("unix:{},server=on,wait=off", socket.display());
    let mut vm = linux::start(env, Machine::virt(&env.vireo, 2).args(["-gdb", &server]))?;
    write_symbols(&mut vm, &file)?;
    Ok((vm, file, socket))
}

/// In a shell: a file with symbols of the kernel.
pub(super) fn write_symbols(vm: &mut Vm, file: &Path) -> Result<()> {
    let names = [&["_stext", "_etext"], FUNCTIONS].concat();
    let lines = vm.console.check(&format!("grep -wE '[tTrRdDA] ({})' /proc/kallsyms", names.join("|")))?;
    let mut symbols = Vec::new();
    for line in lines.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), _, Some(name)) = (words.next(), words.next(), words.next()) else { continue };
        if names.contains(&name) {
            let address = u64::from_str_radix(address, 16).with_context(|| format!("no address: {line}"))?;
            symbols.push((name, address));
        }
    }
    let at = |name| symbols.iter().find(|s| s.0 == name).map(|s| s.1).with_context(|| format!("no symbol {name}"));
    let (start, end) = (at("_stext")?, at("_etext")?);
    Ok(fs::write(file, elf::symbol_file(start, end - start, &symbols))?)
}

fn kernel(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let (mut vm, file, socket) = start_linux(env, dir.path())?;
    let mut gdb = Session::attach(env.gdb()?, &file, &socket)?;
    let threads = gdb.ask("info threads")?;
    contains("the threads", &threads, "(hart 0)")?;
    contains("the threads", &threads, "(hart 1)")?;
    gdb.check("break *ksys_sync", "Breakpoint 1")?;
    gdb.send("continue")?;
    vm.console.send("sync; echo sync-$((40 + 2))\n")?;
    contains("the stop", &gdb.stops()?, "hit Breakpoint 1, 0x")?;
    equal("the function", gdb.value("$pc")?, gdb_symbol(&mut gdb, "ksys_sync")?)?;
    gdb.check("info registers priv", "[Supervisor]")?;
    let code = gdb.ask("x/3i $pc")?;
    contains("the code", &code, "<ksys_sync>:")?;
    // Its own instructions one by one: no interrupt comes between them.
    let mut pc = gdb.value("$pc")?;
    for _ in 0..3 {
        gdb.ask("stepi")?;
        let next = gdb.value("$pc")?;
        equal("whether a step is an instruction on", [2, 4].contains(&next.wrapping_sub(pc)), true)?;
        pc = next;
    }
    gdb.ask("delete")?;
    gdb.check("info symbol $pc", "ksys_sync + ")?;
    gdb.send("continue")?;
    vm.console.expect("sync-42")?;
    vm.console.expect(linux::PROMPT)?;
    gdb.interrupt()?;
    contains("the stop", &gdb.stops()?, "SIGINT")?;

    gdb.check("hbreak *ksys_sync", "Hardware assisted breakpoint 2")?;
    gdb.send("continue")?;
    vm.console.send("sync; echo sync-$((40 + 3))\n")?;
    contains("the stop", &gdb.stops()?, "hit Breakpoint 2")?;
    let back = gdb.value("$ra")?;
    gdb.check("finish", "Run till exit")?;
    equal("where it returns to", gdb.value("$pc")?, back)?;
    gdb.ask("delete")?;
    gdb.check("detach", "detached")?;
    vm.console.expect("sync-43")?;

    // Others come back, by address this time, and leave without a word.
    let mut gdb = Session::attach(env.gdb()?, &file, &socket)?;
    let address = gdb_symbol(&mut gdb, "ksys_sync")?;
    gdb.check(&format!("hbreak *{address:#x}"), "Hardware assisted breakpoint 1")?;
    gdb.send("continue")?;
    vm.console.send("sync; echo sync-$((40 + 4))\n")?;
    contains("the stop", &gdb.stops()?, "hit Breakpoint 1")?;
    drop(gdb);
    let mut gdb = Session::attach(env.gdb()?, &file, &socket)?;
    gdb.check("detach", "detached")?;
    vm.console.expect("sync-44")?;
    vm.console.expect(linux::PROMPT)?;
    equal("the number of harts", vm.console.check("nproc")?.as_str(), "2")?;
    Session::attach(env.gdb()?, &file, &socket)?.ask("kill")?;
    ends(vm)
}

pub(super) fn gdb_symbol(gdb: &mut Session, name: &str) -> Result<u64> {
    gdb.value(&format!("(long)&{name}"))
}

/// Makes a thread the current one.
fn pc_of(gdb: &mut Session, thread: u32) -> Result<u64> {
    gdb.ask(&format!("thread {thread}"))?;
    gdb.value("$pc")
}

fn one_hart(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let (mut vm, file, socket) = start_linux(env, dir.path())?;
    let mut gdb = Session::attach(env.gdb()?, &file, &socket)?;
    gdb.ask("set scheduler-locking on")?;
    let (first, second) = (pc_of(&mut gdb, 1)?, pc_of(&mut gdb, 2)?);
    // WFI is stepped over, too.
    for _ in 0..20 {
        gdb.ask("stepi")?;
    }
    equal("the pc of the hart that waits", pc_of(&mut gdb, 1)?, first)?;
    if pc_of(&mut gdb, 2)? == second {
        bail!("the second hart did not go on from {second:#x}");
    }
    gdb.ask("set scheduler-locking off")?;
    gdb.check("detach", "detached")?;
    equal("the number of harts", vm.console.check("nproc")?.as_str(), "2")?;
    vm.console.send("poweroff -f\n")?;
    ends(vm)
}
