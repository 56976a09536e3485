//! The monitors: where people look into a running machine and steer it.
//!
//! A [`Port`] joins one session to its character device. Input, events and room for output come on the main thread and
//! only set the port's flag; [`Monitors::serve`] then runs the commands there, between two turns of the event loop, with the
//! machine in hand. A session whose far end does not read its answers is not read either, so that nothing piles up.

pub mod event;
mod fixed;
pub(crate) mod hmp;
mod qmp;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use devices::chardev::{Chardev, ChardevClient, ChardevError, ChardevEvent, Endpoint};

use crate::config::{MonitorConfig, MonitorMode};
use crate::control::Control;
use crate::gdb::Gdb;
use crate::machine::{Ending, Machine};
use event::Event;

/// Bytes fetched from a character device at once.
const CHUNK: usize = 4096;
/// Whoever waits gives up.
const CTRL_C: u8 = 3;
/// Bytes of output for somebody who does not read, behind which events are lost.
const BACKLOG_MAX: usize = 64 << 10;

/// What speaks at a port.
pub(crate) trait Session: Send {
    /// Somebody is at the far end now.
    fn opened(&mut self, machine: &mut Machine, out: &mut Vec<u8>);
    /// Nobody is there any more: half a command is forgotten.
    fn closed(&mut self, machine: &mut Machine);
    /// The device, which others share, gives its input to this session, or to another one.
    fn focus(&mut self, _has: bool, _out: &mut Vec<u8>) {}
    /// Takes bytes up to the end of the first command in them: returns how many, at least one.
    fn input(&mut self, bytes: &[u8], machine: &mut Machine, out: &mut Vec<u8>) -> usize;
    /// Whether the last command is not done yet: what follows waits. Once it is, its end is told.
    fn waits(&mut self, _machine: &mut Machine, _out: &mut Vec<u8>) -> bool {
        false
    }
    /// Whoever waits does not want to wait any longer: what is under way is to be given up, if that can be.
    fn give_up(&mut self, _machine: &mut Machine, _out: &mut Vec<u8>) {}
    /// What the last input caused has happened, and was told.
    fn settle(&mut self, _out: &mut Vec<u8>) {}
    /// Whether [`Session::event`] would say something.
    fn tells(&self, _event: &Event) -> bool {
        false
    }
    fn event(&mut self, _event: &Event, _at: SystemTime, _machine: &mut Machine, _out: &mut Vec<u8>) {}
    /// The program ends.
    fn ended(&mut self, _ending: Ending, _out: &mut Vec<u8>) {}
}

/// A session at its character device.
struct Port {
    endpoint: Endpoint,
    mode: MonitorMode,
    control: Arc<Control>,
    /// There may be something to do.
    due: AtomicBool,
    /// The session's last command is under way.
    waits: AtomicBool,
    /// What came before the bytes that the device still holds.
    queue: Mutex<VecDeque<Item>>,
    talk: Mutex<Talk>,
}

/// Input and events, in their order.
#[derive(PartialEq, Eq)]
enum Item {
    Input(Vec<u8>),
    Event(ChardevEvent),
}

struct Talk {
    session: Box<dyn Session>,
    /// Input that was fetched and not looked at: as much as a device holds, at most.
    input: VecDeque<u8>,
    /// Output that the device had no room for.
    output: Vec<u8>,
    /// Events were lost, as the log tells once.
    lossy: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ChardevClient for Port {
    fn input_ready(&self) {
        self.call();
    }

    fn output_ready(&self) {
        // Also at the end, when nobody serves monitors any more.
        if let Ok(mut talk) = self.talk.try_lock() {
            self.flush(&mut talk);
        }
        self.call();
    }

    fn event(&self, event: ChardevEvent) {
        let mut queue = locked(&self.queue);
        if event == ChardevEvent::Closed {
            // All that the device holds came from who has gone.
            let input = std::iter::from_fn(|| Some(self.fetch()).filter(|chunk| !chunk.is_empty()));
            queue.extend(input.map(Item::Input));
        }
        queue.push_back(Item::Event(event));
        drop(queue);
        self.call();
    }
}

impl Port {
    fn open(config: &MonitorConfig, chardev: &Arc<Chardev>, control: &Arc<Control>) -> Result<Arc<Self>, ChardevError> {
        let session: Box<dyn Session> = match config.mode {
            MonitorMode::Readline => Box::new(hmp::Hmp::new(chardev.is_shared(), chardev.is_terminal())),
            MonitorMode::Control { pretty } => Box::new(qmp::Qmp::new(pretty)),
            MonitorMode::Gdb => Box::<Gdb>::default(),
        };
        let port = Arc::new(Self {
            endpoint: chardev.endpoint()?,
            mode: config.mode,
            control: Arc::clone(control),
            due: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            queue: Mutex::default(),
            talk: Mutex::new(Talk { session, input: VecDeque::new(), output: Vec::new(), lossy: false }),
        });
        let client: Weak<Self> = Arc::downgrade(&port);
        port.endpoint.connect(client);
        Ok(port)
    }

    fn call(&self) {
        self.due.store(true, Ordering::Release);
        self.control.attend();
    }

    fn fetch(&self) -> Vec<u8> {
        let mut chunk = [0; CHUNK];
        let n = self.endpoint.read(&mut chunk);
        chunk[..n].to_vec()
    }

    /// Whether all output is on its way.
    fn flush(&self, talk: &mut Talk) -> bool {
        // Commands of somebody who has gone meanwhile are done, and their answers are not for whoever came next.
        if locked(&self.queue).contains(&Item::Event(ChardevEvent::Closed)) {
            talk.output.clear();
        }
        let taken = self.endpoint.write(&talk.output);
        talk.output.drain(..taken);
        talk.output.is_empty()
    }

    /// Does one thing that is to do, a command or less: whether there was one.
    fn step(&self, machine: &mut Machine) -> bool {
        let mut talk = locked(&self.talk);
        let talk = &mut *talk;
        // The event loop does what is asked of it before it comes here.
        talk.session.settle(&mut talk.output);
        let mut waits = talk.session.waits(machine, &mut talk.output);
        if waits {
            self.hear_waiting(talk, machine);
            // Who has asked for that has gone, and asked for nothing else: it goes on, and whoever comes next is served.
            let has_gone = locked(&self.queue).front() == Some(&Item::Event(ChardevEvent::Closed));
            waits = !(has_gone && talk.input.is_empty());
        }
        self.waits.store(waits, Ordering::Relaxed);
        if !self.flush(talk) || waits {
            return false;
        }
        if talk.input.is_empty() {
            return self.next_item(talk, machine);
        }
        let Talk { session, input, output, .. } = talk;
        let taken = machine
            .for_speaker(self.endpoint.chardev(), |machine| session.input(input.make_contiguous(), machine, output));
        talk.input.drain(..taken);
        self.flush(talk);
        true
    }

    /// What matters to a session while its command is under way: whether it is seen, and Ctrl-C.
    fn hear_waiting(&self, talk: &mut Talk, machine: &mut Machine) {
        let is_focus = |item: &Item| matches!(item, Item::Event(ChardevEvent::FocusIn | ChardevEvent::FocusOut));
        let (focus, is_last) = {
            let mut queue = locked(&self.queue);
            let (focus, others) = queue.drain(..).partition::<VecDeque<_>, _>(is_focus);
            *queue = others;
            (focus, queue.is_empty())
        };
        for item in focus {
            talk.session.focus(item == Item::Event(ChardevEvent::FocusIn), &mut talk.output);
        }
        if is_last && talk.input.len() < CHUNK {
            talk.input.extend(self.fetch());
        }
        if let Some(at) = talk.input.iter().position(|byte| *byte == CTRL_C) {
            talk.input.drain(..=at);
            talk.session.give_up(machine, &mut talk.output);
        }
    }

    /// Takes what came next; whether there was anything.
    fn next_item(&self, talk: &mut Talk, machine: &mut Machine) -> bool {
        let item = locked(&self.queue).pop_front().unwrap_or_else(|| Item::Input(self.fetch()));
        match item {
            Item::Input(chunk) => {
                talk.input.extend(&chunk);
                return !chunk.is_empty();
            }
            Item::Event(ChardevEvent::Opened) => talk.session.opened(machine, &mut talk.output),
            Item::Event(ChardevEvent::Closed) => {
                talk.output.clear();
                talk.session.closed(machine);
            }
            Item::Event(ChardevEvent::FocusIn) => talk.session.focus(true, &mut talk.output),
            Item::Event(ChardevEvent::FocusOut) => talk.session.focus(false, &mut talk.output),
            Item::Event(ChardevEvent::Break) => {}
        }
        true
    }

    fn tell(&self, event: &Event, at: SystemTime, machine: &mut Machine) {
        let mut talk = locked(&self.talk);
        let talk = &mut *talk;
        if talk.output.len() < BACKLOG_MAX {
            talk.lossy = false;
            talk.session.event(event, at, machine, &mut talk.output);
            self.flush(talk);
        } else if talk.session.tells(event) && !std::mem::replace(&mut talk.lossy, true) {
            tracing::warn!(?event, "a monitor that nobody reads loses events");
        }
    }

    fn settle(&self) {
        let mut talk = locked(&self.talk);
        let talk = &mut *talk;
        talk.session.settle(&mut talk.output);
        self.flush(talk);
    }

    fn end(&self, ending: Ending) {
        let mut talk = locked(&self.talk);
        let talk = &mut *talk;
        talk.session.ended(ending, &mut talk.output);
        self.flush(talk);
    }
}

/// Whether either monitor has a command with this name.
#[cfg(test)]
fn is_command(name: &str) -> bool {
    hmp::has(name) || qmp::has(name)
}

/// All monitors of a machine.
pub struct Monitors {
    /// Those that were there when the machine started, and one for gdb that may come and go.
    ports: Mutex<Vec<Arc<Port>>>,
}

impl Monitors {
    /// The character devices were checked: every one that is named is there.
    pub fn open<'a>(
        configs: &[MonitorConfig],
        chardevs: impl Fn(&str) -> &'a Arc<Chardev>,
        control: &Arc<Control>,
    ) -> Result<Self, ChardevError> {
        let port = |config: &MonitorConfig| Port::open(config, chardevs(&config.chardev), control);
        Ok(Self { ports: Mutex::new(configs.iter().map(port).collect::<Result<_, _>>()?) })
    }

    /// One more.
    pub fn add(
        &self,
        config: &MonitorConfig,
        chardev: &Arc<Chardev>,
        control: &Arc<Control>,
    ) -> Result<(), ChardevError> {
        let port = Port::open(config, chardev, control)?;
        locked(&self.ports).push(port);
        Ok(())
    }

    /// One less; whoever speaks there has gone.
    pub fn remove(&self, chardev: &str, mode: MonitorMode, machine: &mut Machine) {
        let is_it = |port: &Arc<Port>| port.mode == mode && port.endpoint.chardev().id() == chardev;
        let gone = locked(&self.ports).extract_if(.., |port| is_it(port)).collect::<Vec<_>>();
        gone.iter().for_each(|port| locked(&port.talk).session.closed(machine));
    }

    fn ports(&self) -> Vec<Arc<Port>> {
        locked(&self.ports).clone()
    }

    /// Runs what was asked for, and tells every session what happened to the machine. On the main thread.
    pub fn serve(&self, machine: &mut Machine) {
        self.announce(machine);
        for port in self.ports() {
            // What a session waits for calls for attention, but not for its own.
            let due = port.due.swap(false, Ordering::AcqRel) || port.waits.load(Ordering::Relaxed);
            if due && port.step(machine) {
                self.announce(machine);
                if !machine.has_requested() {
                    port.settle();
                }
                // What the command asked for comes before the next command, and others have their turn.
                port.call();
            }
        }
    }

    /// The last that they hear; no more commands are taken.
    pub fn finish(&self, machine: &mut Machine, ending: Option<&Ending>) {
        self.announce(machine);
        let ports = self.ports();
        ports.iter().for_each(|port| port.settle());
        if let Some(ending) = ending {
            ports.iter().for_each(|port| port.end(*ending));
        }
    }

    fn announce(&self, machine: &mut Machine) {
        for event in machine.take_events() {
            let now = SystemTime::now();
            self.ports().iter().for_each(|port| port.tell(&event, now, machine));
        }
    }
}
