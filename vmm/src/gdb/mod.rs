//! The gdb server: gdb looks into the machine and steers it through the remote serial protocol.
//!
//! [`Gdb`] is a session at a character device, as the monitors are. It takes packets apart and checks them; what they say
//! is the stub's business (the crate `gdbstub`), which knows the machine as [`Debuggee`]. What needs the machine in hand
//! is done here: stopping, going on, the monitor's commands. Others may let the machine go on behind gdb's back; it is stopped
//! again as soon as gdb asks for something.

mod check;
mod description;
mod packet;
mod registers;
mod target;

use std::convert::Infallible;
use std::time::SystemTime;

use accel::debug::{self, DebugStop};
use gdbstub::common::Signal;
use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, MultiThreadStopReason};
use gdbstub::target::ext::breakpoints::WatchKind;

use crate::control::Request;
use crate::machine::{Ending, Machine, RunState};
use crate::monitor::event::{Cause, Event};
use crate::monitor::{Session, hmp};
use check::{Does, Named};
use packet::{Input, Packets};
pub use target::Parts;
use target::{Debuggee, Sstep, Unarmed, thread_of};

/// The answer to a packet with an argument that cannot be: `EINVAL`, as the stub says it.
const INVALID: &str = "E16";
/// The answer to a packet that the stub does not understand, or that is longer than any that makes sense.
const REFUSED: &str = "E01";
const INTERRUPT: u8 = 3;

/// Where the stub's answers gather.
#[derive(Default)]
struct Answers(Vec<u8>);

impl Connection for Answers {
    type Error = Infallible;

    fn write(&mut self, byte: u8) -> Result<(), Infallible> {
        self.0.push(byte);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

type Stub = GdbStubStateMachine<'static, Debuggee, Answers>;
type StubError = GdbStubError<String, Infallible>;
type StopReason = MultiThreadStopReason<u64>;

/// gdb at the far end of a character device.
#[derive(Default)]
pub struct Gdb {
    packets: Packets,
    talk: Option<Talk>,
    /// What was sent last, in case it was garbled.
    sent: Vec<u8>,
    agreed: Agreed,
    /// The hart of the monitor's commands, and how they show memory.
    hart: u32,
    shown: hmp::Format,
    /// Such a command that is not done: what it has said, and what it waits for.
    waits: Option<(String, hmp::Waits)>,
}

/// Packets that a stub which starts anew has to hear again, empty where gdb has not sent one: a stub is lost with what it
/// refuses.
#[derive(Default)]
struct Agreed {
    /// `qSupported`.
    hello: Vec<u8>,
    /// `Hg`: the hart of registers and memory.
    general: Vec<u8>,
    /// `Hc`: the harts of `c` and `s`.
    resumed: Vec<u8>,
}

impl Agreed {
    fn packets(&self) -> impl Iterator<Item = &[u8]> {
        [&self.hello, &self.general, &self.resumed].into_iter().filter(|p| !p.is_empty()).map(Vec::as_slice)
    }

    /// The stub means this hart by itself when it has told of a stop.
    fn stopped(&mut self, reason: &StopReason) {
        let (StopReason::SignalWithThread { tid, .. } | StopReason::SwBreak(tid) | StopReason::Watch { tid, .. }) =
            reason
        else {
            return;
        };
        self.general = format!("Hg{tid:x}").into_bytes();
        self.resumed = format!("Hc{tid:x}").into_bytes();
    }

    /// The hart that `c` and `s` with an address mean.
    fn resumed_hart(&self, harts: u32) -> u32 {
        let id = self.resumed.strip_prefix(b"Hc").unwrap_or_default();
        match check::named(id, harts) {
            Some(Named::One(hart)) => hart,
            Some(Named::Any | Named::All) | None => 0,
        }
    }
}

/// A stub and what it is about.
struct Talk {
    stub: Stub,
    debuggee: Debuggee,
}

fn new_stub(debuggee: &mut Debuggee) -> Stub {
    let stub = GdbStub::new(Answers::default());
    stub.run_state_machine(debuggee).unwrap_or_else(|_| unreachable!("breakpoints are supported"))
}

impl Talk {
    fn new(machine: &Machine) -> Self {
        let mut debuggee = Debuggee::new(machine.parts());
        Self { stub: new_stub(&mut debuggee), debuggee }
    }

    /// Gives the stub something to do.
    fn with_stub(
        self,
        f: impl FnOnce(Stub, &mut Debuggee) -> Result<Stub, StubError>,
    ) -> (Self, Result<(), StubError>) {
        let Self { stub, mut debuggee } = self;
        match f(stub, &mut debuggee) {
            Ok(stub) => (Self { stub, debuggee }, Ok(())),
            // The stub is lost with its error.
            Err(error) => (Self { stub: new_stub(&mut debuggee), debuggee }, Err(error)),
        }
    }

    /// Passes one byte, or does what has to be done before the next one.
    fn pump(stub: Stub, debuggee: &mut Debuggee, byte: u8) -> Result<Stub, StubError> {
        match stub {
            GdbStubStateMachine::Idle(stub) => stub.incoming_data(debuggee, byte),
            GdbStubStateMachine::Running(stub) => stub.incoming_data(debuggee, byte),
            other => Ok(other),
        }
    }

    /// Passes a packet.
    fn feed(self, packet: &[u8]) -> (Self, Result<(), StubError>) {
        self.with_stub(|stub, debuggee| packet.iter().try_fold(stub, |stub, byte| Self::pump(stub, debuggee, *byte)))
    }

    fn is_running(&self) -> bool {
        matches!(self.stub, GdbStubStateMachine::Running(_))
    }

    /// Says why the machine has stopped, if gdb waits for that.
    fn report(self, reason: StopReason) -> Self {
        let reported = self.with_stub(|stub, debuggee| match stub {
            GdbStubStateMachine::Running(stub) => stub.report_stop(debuggee, reason),
            other => Ok(other),
        });
        reported.0
    }

    fn take_answers(&mut self) -> Vec<u8> {
        let answers = match &mut self.stub {
            GdbStubStateMachine::Idle(stub) => stub.borrow_conn(),
            GdbStubStateMachine::Running(stub) => stub.borrow_conn(),
            GdbStubStateMachine::CtrlCInterrupt(stub) => stub.borrow_conn(),
            GdbStubStateMachine::Disconnected(stub) => stub.borrow_conn(),
        };
        std::mem::take(&mut answers.0)
    }
}

fn signal(hart: u32, signal: Signal) -> StopReason {
    StopReason::SignalWithThread { tid: thread_of(hart), signal }
}

/// Why a machine that others have stopped stands.
fn why(machine: &Machine) -> Signal {
    match machine.run_state() {
        RunState::Shutdown => Signal::SIGQUIT,
        RunState::Debug => Signal::SIGTRAP,
        _ => Signal::SIGINT,
    }
}

/// The answer to one of QEMU's own packets.
fn qemu(body: &[u8], debuggee: &mut Debuggee) -> Option<String> {
    Some(match body {
        b"qqemu.Supported" => "sstepbits;sstep;PhyMemMode".to_owned(),
        b"qqemu.sstepbits" => {
            format!("ENABLE={:x},NOIRQ={:x},NOTIMER={:x}", Sstep::ENABLE, Sstep::NOIRQ, Sstep::NOTIMER)
        }
        b"qqemu.sstep" => format!("{:#x}", debuggee.sstep.0),
        b"qqemu.PhyMemMode" => u8::from(debuggee.physical).to_string(),
        _ if let Some(bits) = body.strip_prefix(b"Qqemu.sstep=") => {
            let digits = bits.strip_prefix(b"0x").unwrap_or(bits);
            let bits = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let Some(bits) = bits.filter(|bits| bits & !Sstep::ALL == 0) else { return Some(INVALID.to_owned()) };
            debuggee.sstep = Sstep(bits);
            "OK".to_owned()
        }
        _ if let Some(mode) = body.strip_prefix(b"Qqemu.PhyMemMode:") => {
            debuggee.physical = match mode {
                b"0" => false,
                b"1" => true,
                _ => return Some(INVALID.to_owned()),
            };
            "OK".to_owned()
        }
        _ => return None,
    })
}

/// Tells the engine what stops the harts. One that does not support that gives way to the translator, if it may, and has the
/// guest back when it does.
fn arm(debuggee: &Debuggee, machine: &mut Machine) -> Result<(), String> {
    let mut armed = debuggee.arm();
    // For a step gdb takes all else away for a moment; it may be made of a breakpoint behind the instruction.
    if armed.is_ok() && machine.is_away() && debuggee.goes_on_whole() {
        let need = debuggee.need(machine.debuggers_need());
        if machine.debugger_needs(need) {
            armed = debuggee.arm();
        }
    }
    if let Err(Unarmed::Lacking(need, message)) = armed {
        machine.go_for(need, message)?;
        armed = debuggee.arm();
    }
    armed.map_err(|(Unarmed::Lacking(_, message) | Unarmed::Failed(message))| message)
}

impl Gdb {
    fn send(&mut self, answers: Vec<u8>, out: &mut Vec<u8>) {
        if !answers.is_empty() {
            out.extend(&answers);
            self.sent = answers;
        }
    }

    fn answer(&mut self, text: &[u8], out: &mut Vec<u8>) {
        out.push(b'+');
        self.send(packet::framed(text), out);
    }

    /// What one of gdb's packets asks for.
    fn packet(&mut self, body: &[u8], machine: &mut Machine, out: &mut Vec<u8>) {
        let mut talk = self.talk.take().unwrap_or_else(|| Talk::new(machine));
        // gdb has to interrupt a machine before it asks; whatever it says does so.
        if talk.is_running() {
            out.push(b'+');
            self.talk = Some(talk);
            return self.interrupt(machine, out);
        }
        // Somebody else may have let it go on.
        machine.interrupt(RunState::Debug);
        if let Some(answer) = qemu(body, &mut talk.debuggee) {
            self.talk = Some(talk);
            return self.answer(answer.as_bytes(), out);
        }
        let goes_on_at = matches!(check::check(body, talk.debuggee.hart_count()), Some(Does::GoesOnAt(_)));
        if (goes_on_at || matches!(body.first(), Some(b'M' | b'X' | b'G' | b'P')))
            && let Some(why) = machine.is_held()
        {
            tracing::info!("gdb writes nothing now: {why}");
            self.talk = Some(talk);
            return self.answer(REFUSED.as_bytes(), out);
        }
        if let Some(command) = body.strip_prefix(b"qRcmd,") {
            self.talk = Some(talk);
            return self.monitor(command, machine, out);
        }
        let (talk, refusal) = self.pass(talk, body);
        if let Some(answer) = refusal {
            self.talk = Some(talk);
            return self.answer(answer.as_bytes(), out);
        }
        self.passed(talk, body, machine, out);
    }

    /// Gives a packet to the stub. What it cannot be given, and what it refuses, has an answer of its own, which is returned.
    fn pass(&mut self, talk: Talk, body: &[u8]) -> (Talk, Option<&'static str>) {
        let Some(does) = check::check(body, talk.debuggee.hart_count()) else {
            tracing::debug!("gdb's packet '{}' makes no sense", body.escape_ascii());
            return (talk, Some(INVALID));
        };
        let mut passed = body;
        if let Does::GoesOnAt(pc) = does {
            let hart = self.agreed.resumed_hart(talk.debuggee.hart_count());
            if let Err(message) = talk.debuggee.set_pc(hart, pc) {
                tracing::debug!("{message}");
                return (talk, Some(REFUSED));
            }
            passed = &body[..1];
        }
        let (mut talk, result) = talk.feed(&packet::framed(passed));
        if let Err(error) = result {
            tracing::debug!(%error, "gdb's packet is refused");
            for agreed in self.agreed.packets() {
                talk = talk.feed(&packet::framed(agreed)).0;
            }
            talk.take_answers();
            return (talk, Some(REFUSED));
        }
        match does {
            Does::ChoosesGeneral => self.agreed.general = body.to_vec(),
            Does::ChoosesResumed => self.agreed.resumed = body.to_vec(),
            _ if body.starts_with(b"qSupported") => self.agreed.hello = body.to_vec(),
            Does::Nothing | Does::GoesOnAt(_) => {}
        }
        (talk, None)
    }

    /// Does what a packet has asked for, apart from its answer.
    fn passed(&mut self, mut talk: Talk, body: &[u8], machine: &mut Machine, out: &mut Vec<u8>) {
        self.send(talk.take_answers(), out);
        if std::mem::take(&mut talk.debuggee.goes_on) {
            talk = self.resume(talk, machine, out);
        }
        let GdbStubStateMachine::Disconnected(stub) = talk.stub else {
            self.talk = Some(talk);
            return;
        };
        match stub.get_reason() {
            DisconnectReason::Kill => {
                if body.starts_with(b"vKill") {
                    out.extend(packet::framed(b"OK"));
                }
                machine.request(Request::Quit(Cause::Monitor));
            }
            _ => {
                talk.debuggee.disarm();
                machine.debugger_needs(None);
                if let Err(message) = machine.cont() {
                    tracing::debug!("gdb is gone: {message}");
                }
            }
        }
        // Whoever comes next finds nothing of this one.
        self.agreed = Agreed::default();
    }

    /// Lets the machine go on, as gdb has said.
    fn resume(&mut self, talk: Talk, machine: &mut Machine, out: &mut Vec<u8>) -> Talk {
        let gone_on = arm(&talk.debuggee, machine).and_then(|()| machine.cont_with(!talk.debuggee.holds_time()));
        match gone_on {
            Ok(()) => talk,
            Err(message) => {
                out.extend(packet::console(&format!("{message}\n")));
                self.halt(talk, signal(0, why(machine)), out)
            }
        }
    }

    /// Tells gdb that the machine has stopped. What it was to do is over.
    fn halt(&mut self, mut talk: Talk, reason: StopReason, out: &mut Vec<u8>) -> Talk {
        talk.debuggee.halt();
        self.agreed.stopped(&reason);
        let mut talk = talk.report(reason);
        self.send(talk.take_answers(), out);
        talk
    }

    /// `monitor COMMAND`.
    fn monitor(&mut self, command: &[u8], machine: &mut Machine, out: &mut Vec<u8>) {
        let Some(line) = packet::unhex(command) else {
            return self.answer(INVALID.as_bytes(), out);
        };
        let (mut text, mut waits) = (String::new(), None);
        let (hart, shown) = (&mut self.hart, &mut self.shown);
        let mut context = hmp::Context { machine, hart, shown, out: &mut text, waits: &mut waits, is_person: false };
        hmp::execute(&String::from_utf8_lossy(&line), &mut context);
        out.push(b'+');
        match waits {
            Some(waits) => self.waits = Some((text, waits)),
            None => self.say(&text, out),
        }
    }

    /// What a command of the monitor's has said.
    fn say(&mut self, text: &str, out: &mut Vec<u8>) {
        let mut answer = packet::console(text);
        answer.extend(packet::framed(b"OK"));
        self.send(answer, out);
    }

    /// Ctrl-C.
    fn interrupt(&mut self, machine: &mut Machine, out: &mut Vec<u8>) {
        if let Some(talk) = self.talk.take_if(|talk| talk.is_running()) {
            machine.interrupt(RunState::Debug);
            self.talk = Some(self.halt(talk, signal(0, Signal::SIGINT), out));
        }
    }
}

impl Session for Gdb {
    fn opened(&mut self, machine: &mut Machine, _: &mut Vec<u8>) {
        *self = Self::default();
        machine.interrupt(RunState::Debug);
        self.talk = Some(Talk::new(machine));
    }

    /// The machine stays as it is: who comes back goes on from there.
    fn closed(&mut self, machine: &mut Machine) {
        if let Some(mut talk) = self.talk.take() {
            machine.with_harts_stopped(|machine| {
                talk.debuggee.disarm();
                // A hart may have come to a breakpoint meanwhile; nobody is there to hear of it.
                machine.forget_debug_stops();
            });
            machine.debugger_needs(None);
            machine.let_time_pass();
        }
        *self = Self::default();
    }

    fn input(&mut self, bytes: &[u8], machine: &mut Machine, out: &mut Vec<u8>) -> usize {
        for (i, byte) in bytes.iter().enumerate() {
            match self.packets.take(*byte) {
                Input::Nothing => continue,
                Input::Again => out.extend(&self.sent),
                Input::Interrupt => self.interrupt(machine, out),
                Input::Garbled => out.push(b'-'),
                Input::TooLong => self.answer(REFUSED.as_bytes(), out),
                Input::Packet(body) => self.packet(&body, machine, out),
            }
            return i + 1;
        }
        bytes.len()
    }

    fn waits(&mut self, machine: &mut Machine, out: &mut Vec<u8>) -> bool {
        let Some((said, waits)) = self.waits.take() else { return false };
        match waits.end(machine) {
            Some(end) => {
                self.say(&(said + &end), out);
                false
            }
            None => {
                self.waits = Some((said, waits));
                true
            }
        }
    }

    fn tells(&self, _: &Event) -> bool {
        self.talk.as_ref().is_some_and(Talk::is_running)
    }

    fn event(&mut self, event: &Event, _: SystemTime, machine: &mut Machine, out: &mut Vec<u8>) {
        if let Some(news) = event.news().filter(|_| self.tells(event)) {
            out.extend(packet::console(&format!("{news}\n")));
        }
        // Of a machine that goes on again there is nothing else to tell.
        let stands = !matches!(machine.run_state(), RunState::Running | RunState::SaveVm | RunState::RestoreVm);
        let Some(talk) = self.talk.take_if(|talk| stands && talk.is_running()) else { return };
        let reason = match *event {
            Event::Debug { hart, stop: DebugStop::Breakpoint } => Some(StopReason::SwBreak(thread_of(hart))),
            Event::Debug { hart, stop: DebugStop::Watchpoint { address, kind } } => {
                let kind = match kind {
                    debug::WatchKind::Read => WatchKind::Read,
                    debug::WatchKind::Write => WatchKind::Write,
                    debug::WatchKind::Access => WatchKind::ReadWrite,
                };
                Some(StopReason::Watch { tid: thread_of(hart), kind, addr: address })
            }
            Event::Debug { hart, stop: DebugStop::Step } => Some(signal(hart, Signal::SIGTRAP)),
            // What stopped for a debugger says so itself.
            Event::Stop | Event::Stands if machine.run_state() != RunState::Debug => Some(signal(0, why(machine))),
            Event::Stop
            | Event::Stands
            | Event::Resume
            | Event::Reset(_)
            | Event::Shutdown(_)
            | Event::NoReboot(_)
            | Event::Switched(_)
            | Event::Stays(_)
            | Event::Powerdown
            | Event::JobStatus { .. }
            | Event::Move(_)
            | Event::MovePass(_)
            | Event::Dumped { .. }
            | Event::BlockIoError(_) => None,
        };
        self.talk = Some(match reason {
            Some(reason) => self.halt(talk, reason, out),
            None => talk,
        });
    }

    fn ended(&mut self, ending: Ending, out: &mut Vec<u8>) {
        let reason = match ending {
            Ending::Code(code) => StopReason::Exited(code),
            Ending::Signal(number) => StopReason::Terminated(Signal(number as u8)),
        };
        if let Some(talk) = self.talk.take() {
            let mut talk = talk.report(reason);
            self.send(talk.take_answers(), out);
        }
    }
}
