//! The advanced interrupt architecture: Linux with its controllers, with and without M-mode software below, and the
//! registers of harts and interrupt files against QEMU's.

use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arch::csr;
use arch::isa::Op;

use super::linux::{power_off, start};
use super::{Case, contains, equal};
use crate::differential::asm::{Code, csrr, csrw, imm, store, word};
use crate::differential::rng::Rng;
use crate::harness::vm::Machine;
use crate::harness::{Env, http, scratch};
use crate::host;

pub const CASES: &[Case] = &[
    Case { name: "AIA registers are as QEMU's", run: registers },
    Case { name: "Linux with an APLIC", run: |env| linux(env, "aplic", false) },
    Case { name: "Linux with an APLIC and IMSICs", run: |env| linux(env, "aplic-imsic,aia-guests=3", false) },
    Case { name: "OpenSBI and Linux with an APLIC", run: |env| linux(env, "aplic", true) },
    Case { name: "OpenSBI and Linux with an APLIC and IMSICs", run: |env| linux(env, "aplic-imsic", true) },
];

/// What the kernel says of the controllers, and how it names their wires.
fn signs(aia: &str) -> (&'static [&'static str], &'static str) {
    if aia.starts_with("aplic-imsic") {
        (&["providing IPIs using interrupt 1", "96 interrupts forwarded to MSI base 0x0000000028000000"], "APLIC-MSI")
    } else {
        (&["96 interrupts directly connected to 2 CPUs"], "APLIC-DIRECT")
    }
}

/// Boots, and lets interrupts of all kinds through: the console's, a disk's, a network's, and between the harts.
fn linux(env: &Env, aia: &str, opensbi: bool) -> Result<()> {
    let dir = scratch()?;
    let (image, noise) = (dir.path().join("disk.img"), dir.path().join("noise"));
    let bytes = http::noise(4 << 20);
    std::fs::write(&image, vec![0; 4 << 20])?;
    std::fs::write(&noise, &bytes)?;
    let sum = host::sha256(&noise)?;
    let server = http::Server::start(Arc::new(bytes))?;

    let board = format!("virt,aia={aia}");
    let mut machine = Machine::virt(&env.vireo, 2).args(["-M", board.as_str()]).user_net("").disk(&image, "");
    if opensbi {
        machine = machine.arg("-bios").arg(env.guest()?.opensbi.as_ref().context("there is no OpenSBI")?);
    }
    let mut vm = start(env, machine)?;
    equal("the number of harts", vm.console.check("nproc")?.as_str(), "2")?;
    let log = vm.console.check("dmesg")?;
    let (lines, chip) = signs(aia);
    for line in lines {
        contains("the kernel's log", &log, line)?;
    }
    vm.console.check(&format!("wget -q -O /tmp/noise http://10.0.2.2:{}/", server.port))?;
    vm.console.check("dd if=/tmp/noise of=/dev/vda bs=64k conv=fsync 2>&1 && echo 3 > /proc/sys/vm/drop_caches")?;
    contains("the checksum of the disk", &vm.console.check("sha256sum /dev/vda")?, &sum)?;
    let interrupts = vm.console.check("cat /proc/interrupts")?;
    for device in ["ttyS0", "virtio0", "virtio1"] {
        let line = interrupts.lines().find(|l| l.ends_with(device)).with_context(|| format!("{device} has no wire"))?;
        contains("the wire", line, chip)?;
        let counts = line.split_whitespace().skip(1).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        if counts == 0 {
            bail!("{device} never interrupted:\n{interrupts}");
        }
    }
    let errors = vm.console.check("dmesg -r | grep -E '^<[0-3]>' || true")?;
    equal("the kernel's errors", errors.as_str(), "")?;
    power_off(vm)?;
    equal("the image", host::sha256(&image)?, sum)
}

/// Registers and places of the program below.
const RAM: u64 = 0x8000_0000;
const UART: u64 = 0x1000_0000;
const FINISHER: u64 = 0x10_0000;
const IMSIC_M: u64 = 0x2400_0000;
const IMSIC_S: u64 = 0x2800_0000;
const GUESTS: u64 = 3;
/// Results go here.
const RESULTS: u64 = RAM + 0x10_0000;
const STEPS: usize = 3000;

/// Writes that mean the same on both sides, by register: the bits that are written, random ones.
const WRITES: &[(u16, u64)] = &[
    (csr::MTOPEI, 0),
    (csr::STOPEI, 0),
    (csr::VSTOPEI, 0),
    (csr::MVIP, LOCAL | 0x202),
    (csr::MIE, 0x1eee),
    (csr::MIP, 0x222),
    (csr::SIE, LOCAL | 0x222),
    (csr::SIP, 0x2),
    (csr::HSTATUS, GUESTS << 12),
    // QEMU loses VSTIP and VSEIP of hvip when mip is written.
    (csr::HVIP, 0x4),
    (csr::HIDELEG, 0x444),
    (csr::HVIEN, LOCAL),
    // Without DPR, which QEMU does not hold, and never with IID 9, see `same`.
    (csr::HVICTL, 0x4ff6_01ff),
    (csr::HVIPRIO1, u64::MAX),
    (csr::HVIPRIO2, u64::MAX),
    (csr::VSIE, 0x222),
];

/// Registers of [`WRITES`] that are not read, and why.
const UNREAD: &[(u16, &str)] = &[
    (csr::HVIP, "QEMU shows MTIP in it; privileged, \"hvip\": bits but VSEIP, VSTIP and VSSIP are read-only zeros"),
    (csr::MVIP, "QEMU shows the signal in bit 9; AIA: it is an alias of the software-writable bit 9 of mip"),
];

/// Local interrupts that neither side gives a meaning.
const LOCAL: u64 = 0x7fff << 32;

/// Registers that are only read.
const READS: &[u16] = &[
    csr::MISELECT,
    csr::SISELECT,
    csr::VSISELECT,
    csr::MTOPI,
    csr::STOPI,
    csr::VSTOPI,
    csr::MTOPEI,
    csr::STOPEI,
    csr::VSTOPEI,
    csr::MIP,
    csr::SIP,
    csr::SIE,
    csr::VSIP,
    csr::VSIE,
    csr::HGEIP,
    csr::HIP,
    csr::MIREG,
    csr::SIREG,
    csr::VSIREG,
];

/// The select numbers behind which something is, and some others. Not those of identities beyond 255: the bits of such
/// registers are read-only zeros (AIA, "External interrupt-pending registers"), and those of 0x71 and 0x73 to 0x7f read
/// zero ("CSRs for external interrupts via an IMSIC"); QEMU raises exceptions.
const SELECTS: &[u64] = &[0x70, 0x72, 0x80, 0x82, 0x84, 0x86, 0xc0, 0xc2, 0xc4, 0xc6, 0x81, 0x40];

/// A program in M-mode that does all kinds of things to the registers of the AIA, remembers what it reads or, if that is
/// illegal, the cause, and prints it at the end. Returns what each number is of.
fn program(seed: u64) -> (Vec<u8>, Vec<String>) {
    const VALUE: u8 = 6;
    const RESULT: u8 = 7;
    const NEXT: u8 = 8;
    const ADDRESS: u8 = 9;
    let mut rng = Rng::new(seed);
    let mut c = Code::default();
    let mut what = Vec::new();
    // The trap handler stands at the start, behind a jump over it: the cause in place of a value.
    let (begin, print) = (c.label(), c.label());
    c.branch(Op::Jal, 0, 0, begin);
    c.push(csrr(RESULT, csr::MEPC));
    c.push(imm(Op::Addi, RESULT, RESULT, 4));
    c.push(csrw(csr::MEPC, RESULT));
    c.push(csrr(RESULT, csr::MCAUSE));
    c.push(imm(Op::Addi, RESULT, RESULT, 0x700));
    c.push(word(Op::Mret, 0, 0, 0, 0));
    c.bind(begin);
    c.li(RESULT, RAM + 4);
    c.push(csrw(csr::MTVEC, RESULT));
    // Every interrupt has a priority of its own: reset leaves what it likes, and QEMU does not break ties by the default
    // order (AIA, "Configuring priorities of major interrupts at machine level").
    for number in (0x30_u64..0x40).step_by(2) {
        let priorities = std::array::from_fn(|i| ((number & 0xf) * 4 + i as u64) as u8 * 3 + 1);
        for (select, alias) in [(csr::MISELECT, csr::MIREG), (csr::SISELECT, csr::SIREG)] {
            c.li(VALUE, number);
            c.push(csrw(select, VALUE));
            constant(&mut c, [VALUE, RESULT], u64::from_le_bytes(priorities));
            c.push(csrw(alias, VALUE));
        }
    }
    // Which priorities can be set at all is for either side to choose.
    c.li(VALUE, 0x40);
    c.push(csrw(csr::MISELECT, VALUE));
    c.push(csrw(csr::SISELECT, VALUE));
    // mideleg and mvien stay: a change may leave anything in bits of mvip and sie, and QEMU holds back bits of mvip that
    // mvien has not or mideleg has (AIA, "Interrupt filtering and virtual interrupts for supervisor level").
    c.li(VALUE, if seed % 4 < 2 { 0x222 } else { 0 });
    c.push(csrw(csr::MIDELEG, VALUE));
    c.li(VALUE, LOCAL >> 16);
    c.push(imm(Op::Slli, VALUE, VALUE, 16));
    c.push(imm(Op::Addi, VALUE, VALUE, if seed % 4 == 3 { 0x202 } else { 0 }));
    c.push(csrw(csr::MVIEN, VALUE));
    c.push(csrw(csr::HVIPRIO1, 0));
    c.push(csrw(csr::HVIPRIO2, 0));
    c.li(NEXT, RESULTS);
    for _ in 0..STEPS {
        step(&mut rng, &mut c, &mut what, [VALUE, RESULT, ADDRESS]);
        c.push(store(Op::Sd, RESULT, NEXT, 0));
        c.push(imm(Op::Addi, NEXT, NEXT, 8));
    }
    c.bind(print);
    print_all(&mut c, [VALUE, RESULT, NEXT, ADDRESS]);
    (c.finish(), what)
}

/// Loads a number but for its bits 31 and 63.
fn constant(c: &mut Code, [value, scratch]: [u8; 2], v: u64) {
    c.li(value, v >> 32 & !(1 << 31));
    c.push(imm(Op::Slli, value, value, 32));
    c.li(scratch, v & 0xffff_ffff & !(1 << 31));
    c.push(word(Op::Or, value, value, scratch, 0));
}

fn step(rng: &mut Rng, c: &mut Code, what: &mut Vec<String>, [value, result, address]: [u8; 3]) {
    let constant = |c: &mut Code, v| constant(c, [value, result], v);
    let op = rng.pick(&[Op::Csrrw, Op::Csrrs, Op::Csrrc]);
    match rng.below(10) {
        0 => {
            let n = rng.pick(READS);
            c.push(csrr(result, n));
            what.push(format!("read {}", name(n)));
        }
        1 | 2 => {
            // An MSI, often to somebody who listens.
            let page = rng.below(GUESTS + 3);
            let base = if page == GUESTS + 2 { IMSIC_M } else { IMSIC_S + page * 0x1000 };
            let identity = if rng.one_in(8) { rng.below(300) } else { 1 + rng.below(255) };
            c.li(address, base + if rng.one_in(20) { 4 } else { 0 });
            constant(c, identity);
            c.push(imm(Op::Addi, result, 0, 0));
            c.push(store(Op::Sw, value, address, 0));
            what.push(format!("MSI {identity} to {base:#x}"));
        }
        3..=5 => {
            let (n, mask) = rng.pick(WRITES);
            let v = rng.bits() & rng.integer() & mask;
            // Setting no bit of *topei claims: it is a write of the register all the same (unprivileged, "Zicsr"). QEMU
            // takes it for none.
            let op = if mask == 0 { Op::Csrrw } else { op };
            constant(c, v);
            if UNREAD.iter().any(|(unread, _)| *unread == n) {
                c.push(csrw(n, value));
                c.push(imm(Op::Addi, result, 0, 0));
                what.push(format!("write {} {v:#x}", name(n)));
            } else {
                c.push(word(op, result, value, 0, n.into()));
                what.push(format!("{op:?} {} {v:#x}", name(n)));
            }
        }
        _ => {
            let (select, alias) =
                rng.pick(&[(csr::MISELECT, csr::MIREG), (csr::SISELECT, csr::SIREG), (csr::VSISELECT, csr::VSIREG)]);
            let number = rng.pick(SELECTS);
            constant(c, number);
            c.push(csrw(select, value));
            let v = match number {
                0x70 => u64::from(!rng.one_in(4)),
                0x72 => {
                    if rng.one_in(2) {
                        0
                    } else {
                        rng.below(256)
                    }
                }
                _ => rng.bits(),
            };
            constant(c, v);
            c.push(word(op, result, value, 0, alias.into()));
            what.push(format!("{op:?} {} {v:#x} ({number:#x})", name(alias)));
        }
    }
}

fn name(n: u16) -> &'static str {
    csr::by_number(n).map_or("?", |csr| csr.name)
}

/// Prints a character when the one before has left.
fn put(c: &mut Code, value: u8, uart: u8) {
    const STATUS: u8 = 14;
    let busy = c.label();
    c.bind(busy);
    c.push(imm(Op::Lbu, STATUS, uart, 5));
    c.push(imm(Op::Andi, STATUS, STATUS, 0x20));
    c.branch(Op::Beq, STATUS, 0, busy);
    c.push(store(Op::Sb, value, uart, 0));
}

/// Prints every result as a line of sixteen digits, and switches off.
fn print_all(c: &mut Code, [value, result, next, uart]: [u8; 4]) {
    const END: u8 = 11;
    const SHIFT: u8 = 12;
    const TEN: u8 = 13;
    c.li(END, RESULTS + 8 * STEPS as u64);
    c.li(next, RESULTS);
    c.li(uart, UART);
    c.push(imm(Op::Addi, TEN, 0, 10));
    let (line, digit, small) = (c.label(), c.label(), c.label());
    c.bind(line);
    c.push(imm(Op::Ld, result, next, 0));
    c.push(imm(Op::Addi, SHIFT, 0, 60));
    c.bind(digit);
    c.push(word(Op::Srl, value, result, SHIFT, 0));
    c.push(imm(Op::Andi, value, value, 15));
    c.branch(Op::Blt, value, TEN, small);
    c.push(imm(Op::Addi, value, value, i32::from(b'a' - b'0') - 10));
    c.bind(small);
    c.push(imm(Op::Addi, value, value, b'0'.into()));
    put(c, value, uart);
    c.push(imm(Op::Addi, SHIFT, SHIFT, -4));
    c.branch(Op::Bge, SHIFT, 0, digit);
    c.push(imm(Op::Addi, value, 0, b'\n'.into()));
    put(c, value, uart);
    c.push(imm(Op::Addi, next, next, 8));
    c.branch(Op::Bltu, next, END, line);
    c.li(value, 0x5555);
    c.li(uart, FINISHER);
    c.push(store(Op::Sw, value, uart, 0));
    let wait = c.label();
    c.bind(wait);
    c.branch(Op::Jal, 0, 0, wait);
}

/// Whether both sides mean the same. For QEMU an external interrupt of machine or supervisor level is the strongest
/// whatever its identity, with IPRIO 0; in the AIA ("Configuring priorities of major interrupts at machine level") it has
/// the priority number that the controller gives, among those of the others. QEMU has no DPR, which decides over an
/// injected interrupt with the priority number zero ("Virtual supervisor top interrupt CSR"), and takes a guest's
/// external interrupt for pending whatever vsip and vsie say (there, too).
fn same(what: &str, ours: u64, theirs: u64) -> bool {
    ours == theirs
        || match what {
            "read mtopi" => theirs == 11 << 16,
            "read stopi" => theirs == 9 << 16,
            "read vstopi" if theirs >> 16 == 9 => ours >> 16 != 9,
            "read vstopi" => ours >> 16 == theirs >> 16 && ours & 0xff == 0 && theirs & 0xff == 0xff,
            _ => false,
        }
}

fn registers(env: &Env) -> Result<()> {
    let tools = env.tools.as_ref().map_err(|e| anyhow::anyhow!("there is no QEMU to compare with: {e}"))?;
    let dir = scratch()?;
    let image = dir.path().join("image");
    for seed in 1..=4 {
        let (code, what) = program(seed);
        std::fs::write(&image, code)?;
        let run = |program: &std::path::Path, cpu: &str| -> Result<Vec<u64>> {
            let board = format!("virt,aia=aplic-imsic,aia-guests={GUESTS}");
            let machine = Machine::new(program).args(["-M", &board, "-cpu", cpu, "-bios", "none", "-kernel"]);
            let output = machine.arg(&image).start()?.wait()?.output;
            let numbers = output.lines().map(|l| u64::from_str_radix(l.trim(), 16)).collect::<Result<Vec<_>, _>>();
            let numbers = numbers.with_context(|| format!("{} printed:\n{output}", program.display()))?;
            equal("the number of results", numbers.len(), STEPS)?;
            Ok(numbers)
        };
        let (ours, theirs) = (run(&env.vireo, "rv64,h=on")?, run(&tools.qemu, "rv64")?);
        if let Some(i) = (0..STEPS).find(|&i| !same(&what[i], ours[i], theirs[i])) {
            let mut text = format!("seed {seed}, step {i}: {:#x} here, {:#x} in QEMU, after\n", ours[i], theirs[i]);
            for j in i.saturating_sub(40)..=i {
                writeln!(text, "  {j}: {} -> {:#x}", what[j], theirs[j])?;
            }
            bail!("{text}");
        }
    }
    Ok(())
}
