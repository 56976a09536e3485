//! Logs that are switched at run time, and profiles: of a program whose shares are known, and of Linux by its own symbols.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use arch::isa::{Op, Operands, encode};

use super::linux::start;
use super::snapshot::Monitor;
use super::{Case, contains, equal};
use crate::elf;
use crate::harness::vm::{Machine, Vm};
use crate::harness::{Env, scratch};

pub const CASES: &[Case] = &[
    Case { name: "profile: shares of a bare program", run: |env| shares(env, "tcg") },
    Case { name: "profile: the same on the interpreter", run: |env| shares(env, "interp") },
    Case { name: "profile: a machine is recorded by its QMP socket", run: attached },
    Case { name: "profile: Linux by its own symbols", run: linux },
    Case { name: "profile: bad input gets one line", run: bad_input },
    Case { name: "a log is switched while the guest runs", run: switched },
];

const BASE: u64 = 0x8000_0000;
/// Rounds of the loops of `hot` and `warm`.
const ROUNDS: [i32; 2] = [1500, 500];
/// How long samples may take to come.
const PATIENCE: Duration = Duration::from_secs(240);

fn word(op: Op, rd: u8, rs1: u8, rs2: u8, imm: i32) -> Result<u32> {
    encode(op, &Operands { rd, rs1, rs2, imm, ..Operands::default() }).context("an instruction of the test")
}

/// `main` calls `outer` for ever, which calls `hot`, `warm` and `many`; all have frames as C compilers make them. The loops of
/// `hot` and `warm` are the same, and that of `many` calls a leaf without a frame. It begins at `base`.
pub(super) fn program(base: u64) -> Result<Vec<u8>> {
    let mut words = Vec::new();
    let mut symbols = vec![("main", base)];
    let address = |words: &Vec<u32>| base + 4 * words.len() as u64;
    // The stack, and no frame above.
    words.extend([word(Op::Auipc, 2, 0, 0, 0)?, word(Op::Addi, 2, 2, 0, 2032)?, word(Op::Addi, 8, 0, 0, 0)?]);
    let calls = words.len();
    words.extend([0, word(Op::Jal, 0, 0, 0, -4)?]);
    let enter = [
        word(Op::Addi, 2, 2, 0, -16)?,
        word(Op::Sd, 0, 2, 1, 8)?,
        word(Op::Sd, 0, 2, 8, 0)?,
        word(Op::Addi, 8, 2, 0, 16)?,
    ];
    let leave = [
        word(Op::Ld, 1, 2, 0, 8)?,
        word(Op::Ld, 8, 2, 0, 0)?,
        word(Op::Addi, 2, 2, 0, 16)?,
        word(Op::Jalr, 0, 1, 0, 0)?,
    ];
    let call = |from: usize, to: u64| word(Op::Jal, 1, 0, 0, to.wrapping_sub(base + 4 * from as u64) as i32);

    let leaf = address(&words);
    symbols.push(("leaf", leaf));
    words.extend([word(Op::Addi, 6, 6, 0, 1)?, word(Op::Jalr, 0, 1, 0, 0)?]);
    let mut callees = Vec::new();
    for (name, rounds) in [("hot", ROUNDS[0]), ("warm", ROUNDS[1]), ("many", 10)] {
        callees.push(address(&words));
        symbols.push((name, address(&words)));
        words.extend(enter);
        words.push(word(Op::Addi, 5, 0, 0, rounds)?);
        let head = words.len();
        if name == "many" {
            words.push(call(head, leaf)?);
        }
        words.push(word(Op::Addi, 5, 5, 0, -1)?);
        words.push(word(Op::Bne, 0, 5, 0, (head as i32 - words.len() as i32) * 4)?);
        words.extend(leave);
    }
    let outer = address(&words);
    symbols.push(("outer", outer));
    words.extend(enter);
    for callee in callees {
        words.push(call(words.len(), callee)?);
    }
    words.extend(leave);
    words[calls] = call(calls, outer)?;
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    bytes.resize(2048, 0);
    Ok(elf::program(base, &bytes, &symbols))
}

fn profile(env: &Env, args: &[&str]) -> Result<Output> {
    Command::new(&env.vireo).arg("profile").args(args).output().context("cannot run vireo profile")
}

/// What it wrote to standard output.
fn reported(env: &Env, args: &[&str]) -> Result<String> {
    let out = profile(env, args)?;
    if !out.status.success() {
        bail!("vireo profile {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8(out.stdout)?)
}

/// Counts of folded stacks.
pub(super) struct Stacks<'a>(BTreeMap<&'a str, u64>);

impl<'a> Stacks<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self> {
        let count = |count: &str| count.parse().context("a count");
        let line = |line: &'a str| line.rsplit_once(' ').context("no count").and_then(|(s, n)| Ok((s, count(n)?)));
        Ok(Self(text.lines().map(line).collect::<Result<_>>()?))
    }

    /// Of one stack.
    pub(super) fn count(&self, stack: &str) -> u64 {
        self.0.get(stack).copied().unwrap_or_default()
    }

    /// Of those with wanted frames, the outermost first.
    pub(super) fn samples(&self, wanted: impl Fn(&[&str]) -> bool) -> u64 {
        let wanted = self.0.iter().filter(|(stack, _)| wanted(&stack.split(';').collect::<Vec<_>>()));
        wanted.map(|(_, count)| count).sum()
    }

    pub(super) fn all(&self) -> u64 {
        self.0.values().sum()
    }

    /// In functions that the kernel's list names.
    pub(super) fn in_kernel(&self) -> u64 {
        self.samples(|stack| stack.len() > 1 && !stack.last().is_some_and(|f| f.starts_with('[')))
    }
}

/// Waits until a machine has so many samples.
pub(super) fn wait_for_samples(monitor: &mut Monitor, count: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = monitor.ask("profile status")?;
        let samples = status.split("running: ").nth(1).and_then(|s| s.split(' ').next()?.parse::<u64>().ok());
        if samples.with_context(|| format!("no number of samples: {status}"))? >= count {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("samples do not come: {status}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn start_bare(env: &Env, dir: &Path, args: &[&str]) -> Result<Vm> {
    fs::write(dir.join("program"), program(BASE)?)?;
    Machine::new(&env.vireo).args(["-bios", "none", "-kernel"]).arg(dir.join("program")).args(args).start()
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// Whether the picture is XML in which all that is opened is closed.
fn check_svg(file: &Path, names: &[&str]) -> Result<()> {
    let text = fs::read_to_string(file)?;
    contains("the picture", &text, "<svg")?;
    names.iter().try_for_each(|name| contains("the picture", &text, name))?;
    let mut open = Vec::new();
    let mut rest = text.as_str();
    while let Some((_, tag)) = rest.split_once('<') {
        let (tag, behind) = match tag.strip_prefix("![CDATA[") {
            Some(data) => ("!", data.split_once("]]>").context("data without an end")?.1),
            None => tag.split_once('>').context("a tag without an end")?,
        };
        match tag.as_bytes() {
            [b'?' | b'!', ..] | [.., b'/'] => {}
            [b'/', name @ ..] => {
                equal("what is closed", Some(String::from_utf8_lossy(name).into_owned()), open.pop())?;
            }
            _ => open.push(tag.split_whitespace().next().unwrap_or_default().to_owned()),
        }
        rest = behind;
    }
    equal("what stays open", open, Vec::new())
}

/// Shares are those of instructions, and stacks are what calls what.
fn shares(env: &Env, engine: &str) -> Result<()> {
    let dir = scratch()?;
    let (socket, recording) = (dir.path().join("monitor"), dir.path().join("recording"));
    let monitor = Monitor::option(&socket);
    let vm = start_bare(env, dir.path(), &["-accel", engine, &monitor[0], &monitor[1]])?;
    let mut monitor = Monitor::at(&socket)?;
    contains("the status", &monitor.ask("profile status")?, "nothing has been sampled")?;
    contains("a stop before the start", &monitor.ask("profile stop")?, "Error: nothing has been sampled")?;
    monitor.ask("profile start hz=1999")?;
    contains("a second start", &monitor.ask("profile start")?, "Error: the harts are being sampled")?;
    wait_for_samples(&mut monitor, 1000)?;
    contains("the end", &monitor.ask("profile stop")?, "profile stop file=PATH writes it")?;
    let said = monitor.ask(&format!("profile stop file={}", recording.display()))?;
    contains("what the monitor says", &said, "written to '")?;
    let _ = monitor.ask("quit");
    equal("the exit code", vm.wait()?.status.code(), Some(0))?;

    let (program, picture) = (dir.path().join("program"), dir.path().join("picture.svg"));
    let common = [path(&recording)?, "--elf", path(&program)?];
    let text = reported(env, &[&common[..], &["--folded", "-", "--top", "0", "--svg", path(&picture)?]].concat())?;
    let stacks = Stacks::parse(&text)?;
    let all = stacks.all();
    let of = |stack: &str| stacks.count(&format!("[no paging];main;outer;{stack}"));
    // Three to one, as their instructions are, and `many` is little beside them.
    let (hot, warm) = (of("hot"), of("warm"));
    if 10 * hot < 22 * warm || 10 * hot > 41 * warm || warm == 0 {
        bail!("hot and warm are not three to one:\n{text}");
    }
    // Nearly all stacks are whole: a few are from the first instructions of `main`.
    if 100 * (hot + warm + of("many") + of("many;leaf")) < 90 * all {
        bail!("too few of {all} stacks are whole:\n{text}");
    }
    check_svg(&picture, &["hot", "outer"])?;
    let table = reported(env, &common)?;
    contains("the table", &table, "idle 0.0 %")?;
    contains("the table", table.lines().nth(4).unwrap_or_default(), " hot")
}

fn attached(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let (socket, kept) = (dir.path().join("qmp"), dir.path().join("kept"));
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    let vm = start_bare(env, dir.path(), &["-smp", "2", "-qmp", &qmp])?;
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (place, program) = (format!("unix:{}", socket.display()), dir.path().join("program"));
    let args = ["--qmp", &place, "--seconds", "1", "--elf", path(&program)?, "--save", path(&kept)?, "--by-hart"];
    let text = reported(env, &[&args[..], &["--folded", "-", "--top", "0"]].concat())?;
    contains("the stacks", &text, "hart 0;[no paging];main;outer;hot ")?;
    contains("the stacks", &text, "hart 1;[no paging];main;outer;hot ")?;
    equal(
        "the kept recording's stacks",
        reported(env, &[path(&kept)?, "--by-hart", "--elf", path(&program)?, "--folded", "-", "--top", "0"])?,
        text,
    )?;
    let refused = profile(env, &["--qmp", &place, "--harts", "7"])?;
    contains("the refusal", &String::from_utf8_lossy(&refused.stderr), "there is no hart 7")?;
    drop(vm);
    let gone = profile(env, &["--qmp", &place])?;
    equal("the exit code", gone.status.code(), Some(1))?;
    contains("the refusal", &String::from_utf8_lossy(&gone.stderr), "cannot connect to unix:")
}

/// System calls of a process, by the kernel's own list of symbols, which comes out on a disk.
fn linux(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let (socket, image) = (dir.path().join("monitor"), dir.path().join("disk"));
    fs::File::create(&image)?.set_len(32 << 20)?;
    let machine = Machine::virt(&env.vireo, 2).disk(&image, "").args(Monitor::option(&socket));
    let mut vm = start(env, machine)?;
    vm.console.check("grep -E ' [tTwW] ' /proc/kallsyms > /tmp/k && cat /tmp/k > /dev/vda && sync")?;
    let lines: u64 = vm.console.check("wc -l < /tmp/k")?.trim().parse()?;
    let mut monitor = Monitor::at(&socket)?;
    let recording = dir.path().join("recording");
    monitor.ask(&format!("profile start file={}", recording.display()))?;
    vm.console.check("dd if=/dev/zero of=/dev/null bs=1 count=1500000 2>/dev/null; sleep 1")?;
    wait_for_samples(&mut monitor, 500)?;
    // A machine that ends writes what it has been told to keep.
    vm.console.send("poweroff -f\n")?;
    equal("the exit code", vm.wait()?.status.code(), Some(0))?;
    let mut symbols = fs::read(&image)?;
    symbols.truncate(symbols.iter().position(|b| *b == 0).context("the list has no end")?);
    let symbols = String::from_utf8(symbols)?;
    equal("the lines of the list", symbols.lines().count() as u64, lines)?;
    let list = dir.path().join("kallsyms");
    fs::write(&list, symbols)?;
    let args = [path(&recording)?, "--kallsyms", path(&list)?];
    let text = reported(env, &[&args[..], &["--folded", "-", "--top", "0"]].concat())?;
    let stacks = Stacks::parse(&text)?;
    let (all, kernel) = (stacks.all(), stacks.in_kernel());
    let reads =
        stacks.samples(|stack| stack.contains(&"dd") && stack.windows(2).any(|f| f == ["ksys_read", "vfs_read"]));
    if 20 * reads < all {
        bail!("{reads} of {all} samples read for dd:\n{text}");
    }
    if 2 * kernel < all {
        bail!("only {kernel} of {all} samples are in functions of the kernel:\n{text}");
    }
    let idle = reported(env, &[&args[..], &["--folded", "-", "--top", "0", "--idle", "--by-hart"]].concat())?;
    contains("the stacks with waiting", &idle, "hart 0;[idle] ")
}

fn bad_input(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let file = dir.path().join(name);
        fs::write(&file, text)?;
        Ok(path(&file)?.to_owned())
    };
    let good = file("good", "vireo-profile 1\nhz 10\ns 1 0 S guest 0 - 1000 0\nend 1 1\n")?;
    let cut = file("cut", "vireo-profile 1\nhz 10\ns 1 0 S guest 0 - 1000 0\n")?;
    let garbage = file("garbage", "what is this?\n")?;
    let empty = file("empty", "vireo-profile 1\nhz 10\nend 0 0\n")?;
    equal(
        "a good file's stack",
        reported(env, &[&good, "--folded", "-", "--top", "0"])?.as_str(),
        "[no paging];0x1000 1\n",
    )?;
    let help = reported(env, &["--help"])?;
    contains("the help", &help, "--system-map <FILE[@ADDRESS]>")?;
    equal("help without dashes", reported(env, &["help"])?, help)?;
    let none = path(&dir.path().join("none"))?.to_owned();
    let rows: &[(&[&str], &str)] = &[
        (&[], "required"),
        (&[&none], "No such file"),
        (&[&cut], "is cut off"),
        (&[&garbage], "is no recording of vireo"),
        (&[&empty], "has no samples"),
        (&[&good, "--system-map", &garbage], "--system-map '"),
        (&[&good, "--system-map", &none], "No such file"),
        (&[&good, "--kallsyms", &garbage], "line 1 is no symbol"),
        (&[&good, "--vmlinux", &garbage], "is no ELF file"),
        (&[&good, "--elf", &garbage], "is no ELF file"),
        (&[&good, "--elf", "x@y"], "is no address"),
        (&[&good, "--svg", "/nonexistent/x.svg"], "cannot write '/nonexistent/x.svg'"),
        (&[&good, "--frobnicate"], "unexpected argument"),
        (&["--qmp", "nowhere"], "neither unix:PATH nor tcp:HOST:PORT"),
        (&["--qmp", "unix:/nonexistent", "--seconds", "-1"], "unexpected argument"),
        (&["--qmp", "unix:/nonexistent", "--seconds=0"], "must be above 0"),
        (&["--qmp", "unix:/nonexistent", "--hz", "0"], "must be 1 to 10000"),
        (&["--qmp", "unix:/nonexistent"], "cannot connect to unix:/nonexistent"),
    ];
    for (args, part) in rows {
        let out = profile(env, args)?;
        let text = String::from_utf8_lossy(&out.stderr);
        equal(&format!("the exit code of {args:?}"), out.status.code(), Some(1))?;
        contains(&format!("the error of {args:?}"), &text, part)?;
        if text.lines().count() != 1 || !text.starts_with("vireo profile: ") {
            bail!("{args:?} should get one line, but gets:\n{text}");
        }
    }
    Ok(())
}

/// `log` and `trace` take effect at once, on code that was translated long ago.
fn switched(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let (socket, file) = (dir.path().join("monitor"), dir.path().join("log"));
    let monitor = Monitor::option(&socket);
    let range = format!("{:#x}+2048", BASE);
    let vm = start_bare(env, dir.path(), &["-dfilter", &range, "-D", path(&file)?, &monitor[0], &monitor[1]])?;
    let mut monitor = Monitor::at(&socket)?;
    contains("what is logged", &monitor.ask("trace")?, "none dfilter=0x80000000..0x800007ff")?;
    let wait = |what: &str| -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(&file)?;
            if text.contains(what) {
                return Ok(text);
            }
            if Instant::now() > deadline {
                bail!("'{what}' does not come: {} bytes are there", text.len());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    equal("what is there before", fs::read_to_string(&file)?.as_str(), "")?;
    monitor.ask("log exec,in_asm,hart=0")?;
    // Names are those of the program.
    let text = wait("<leaf>, host 0x")?;
    monitor.ask("log none")?;
    contains("the listing", &text, "<hot")?;
    let size = fs::metadata(&file)?.len();
    contains("what is logged", &monitor.ask("trace")?, "none dfilter=0x80000000..0x800007ff hart=0-0")?;
    monitor.ask("trace cpu on")?;
    wait(" x31/t6   ")?;
    monitor.ask("trace cpu off")?;
    monitor.ask("trace hart=all")?;
    if fs::metadata(&file)?.len() <= size {
        bail!("nothing came by trace");
    }
    let size = fs::metadata(&file)?.len();
    std::thread::sleep(Duration::from_millis(50));
    equal("what comes while nothing is logged", fs::metadata(&file)?.len() - size, 0)?;
    for (command, error) in [
        ("log exek", "unknown item 'exek', did you mean 'exec'?"),
        ("log exec,hart=x", "'x' is no list of harts"),
        ("trace exec maybe", "trace takes ITEM on|off"),
        ("trace dfilter=1", "is no range"),
    ] {
        let said = monitor.ask(command)?;
        contains("the answer", &said, "Error: ")?;
        contains("the answer", &said, error.split(", did").next().unwrap_or_default())?;
    }
    contains("the list", &monitor.ask("log")?, "page walks")?;
    let _ = monitor.ask("quit");
    equal("the exit code", vm.wait()?.status.code(), Some(0))
}
