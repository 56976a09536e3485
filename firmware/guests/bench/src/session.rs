//! How a benchmark is described, run and reported. The records it prints: `guests/README.md`.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use runtime::hart::Trap;
use runtime::memory::{self, Global, PAGE};
use runtime::{csr, csr_clear, csr_set, csr_write, hart, harts, irq, machine, page_table, println, trap};

use crate::kernels::Kernel;
use crate::options::Options;

/// A suite: one file.
pub struct Suite {
    pub name: &'static str,
    pub rows: &'static [Row],
}

/// A benchmark.
pub struct Row {
    pub name: &'static str,
    /// What is counted: `op`, `byte`, `flop` or `request`.
    pub unit: &'static str,
    pub points: Points,
    /// What a unit is, in one line.
    pub what: &'static str,
    pub work: Work,
}

/// How a benchmark is done.
pub enum Work {
    /// Prepares what it needs, and calls [`Session::measure`] once.
    Code(fn(&Session) -> Outcome),
    Kernel(&'static Kernel),
    /// The kernel on as many harts at once as the point says.
    OnHarts(&'static Kernel),
}

/// Whether a benchmark is a number or a curve, and of what.
#[derive(Clone, Copy)]
pub enum Points {
    One,
    /// The name of the axis, and the places on it.
    At(&'static str, &'static [u64]),
    /// 1, 2, 3 ... harts.
    Harts,
}

impl Row {
    pub const fn kernel(kernel: &'static Kernel) -> Self {
        let Kernel { name, unit, what, .. } = *kernel;
        Self { name, unit, points: Points::One, what, work: Work::Kernel(kernel) }
    }
}

/// Why there is no number.
pub enum Problem {
    /// The machine gives no ground for it.
    Skip(&'static str),
    /// It should work and does not.
    Fail(&'static str),
    /// It needs so many bytes of RAM more.
    NeedsRam(usize),
    /// An exception ended it.
    Trap(Trap),
}

pub type Outcome = Result<(), Problem>;

/// What came out of a round, and what should have.
#[derive(Clone, Copy)]
pub struct Check {
    got: u64,
    want: u64,
}

impl Check {
    pub fn new(got: u64, want: u64) -> Self {
        Self { got, want }
    }

    fn ok(self) -> bool {
        self.got == self.want
    }
}

/// Rounds shorter than a quarter of the wanted time are doubled; more doublings mean that the clock stands.
const DOUBLINGS_MAX: u32 = 48;

/// Where benchmarks put code that they write.
static CODE: Global<CodePages> = Global::new(CodePages([0; CODE_LEN]));
static CODE_TAKEN: AtomicUsize = AtomicUsize::new(0);
const CODE_LEN: usize = 16 * PAGE;

#[repr(C, align(4096))]
struct CodePages([u8; CODE_LEN]);

/// One benchmark at one point, while it runs.
pub struct Session {
    suite: &'static str,
    row: &'static Row,
    /// Where on the axis; 0 without one.
    pub point: u64,
    /// The round must take as many ticks at least.
    min_ticks: u64,
    spoil: bool,
    bad: core::cell::Cell<bool>,
}

impl Session {
    /// Measures: `round(k)` does `k` times `per` units and checks the result. First one as a warm-up, then more and
    /// more, then a round of the wanted length between `@begin` and `@end`.
    #[inline(never)]
    pub fn measure(&self, per: u64, round: &mut dyn FnMut(u64) -> Check) -> Outcome {
        let mut wrong: Option<Check> = None;
        let total = core::cell::Cell::new(0);
        let mut timed = |k: u64| {
            total.set(total.get() + k * per);
            let start = irq::time();
            let check = round(k);
            let ticks = irq::time() - start;
            wrong = wrong.or((!check.ok()).then_some(check));
            (ticks, wrong)
        };
        timed(1);
        let times = self.times(&mut timed)?;
        println!("@begin {self}");
        let (ticks, wrong) = timed(times);
        let check = match wrong {
            Some(check) => Some(check),
            None if self.spoil => Some(Check::new(1, 0)),
            None => None,
        };
        let (n, total) = (times * per, total.get());
        if let Some(Check { got, want }) = check {
            self.bad.set(true);
            println!("@end {self} n={n} total={total} ticks={ticks} check=bad got={got:#x} want={want:#x}");
        } else {
            println!("@end {self} n={n} total={total} ticks={ticks} check=ok");
        }
        Ok(())
    }

    /// How many times make a round of the wanted length: doubled until the round would take a quarter of it. That is
    /// reckoned by the best round so far, as in any of them the host may have done something else.
    fn times(&self, timed: &mut dyn FnMut(u64) -> (u64, Option<Check>)) -> Result<u64, Problem> {
        // How many times take as long as wanted, if so many took so long.
        let wanted = |times: u64, ticks: u64| {
            let scaled = (u128::from(times) * u128::from(self.min_ticks)).div_ceil(u128::from(ticks) + 1);
            u64::try_from(scaled).unwrap_or(u64::MAX).max(1)
        };
        let (mut times, mut spent, mut best) = (1, 0, 1);
        for _ in 0..DOUBLINGS_MAX {
            let (ticks, wrong) = timed(times);
            if wrong.is_some() {
                return Ok(times);
            }
            best = best.max(wanted(times, ticks));
            spent += ticks;
            if 4 * times >= best {
                return Ok(best);
            }
            // Not for ever, if one round was much better than all others.
            if spent >= 2 * self.min_ticks {
                return Ok(wanted(times, ticks));
            }
            times *= 2;
        }
        Err(Problem::Fail("the clock stands"))
    }

    /// Memory for this benchmark, page aligned, with anything in it.
    pub fn memory(&self, bytes: usize) -> Result<usize, Problem> {
        memory::take(bytes, PAGE).ok_or(Problem::NeedsRam(bytes.saturating_sub(memory::left())))
    }

    /// Pages for code. They are never used for anything else: translators keep watch over pages that code ran from,
    /// and stores to them are slow.
    pub fn code(&self, bytes: usize) -> Result<usize, Problem> {
        let start = CODE_TAKEN.fetch_add(bytes.next_multiple_of(PAGE), Ordering::Relaxed);
        if start + bytes > CODE_LEN {
            return Err(Problem::Fail("too much code is written"));
        }
        Ok(CODE.pointer() as usize + start)
    }

    /// A slice of numbers, all `T::default()`.
    pub fn slice<T: Copy + Default>(&self, len: usize) -> Result<&'static mut [T], Problem> {
        let start = self.memory(len * size_of::<T>())? as *mut T;
        // SAFETY: fresh memory that nobody else was given; it is taken back when the benchmark has ended.
        unsafe {
            for i in 0..len {
                start.add(i).write(T::default());
            }
            Ok(core::slice::from_raw_parts_mut(start, len))
        }
    }

    /// Runs a benchmark at all its points. Says whether all is well.
    pub fn run_row(suite: &'static str, row: &'static Row, options: &Options) -> bool {
        let axis = match row.points {
            Points::One => "",
            Points::At(axis, _) => axis,
            Points::Harts => "harts",
        };
        let (space, key) = if axis.is_empty() { ("", "") } else { (" axis=", axis) };
        println!("@bench {suite}/{} unit={}{space}{key} what={}", row.name, row.unit, row.what);
        let mut good = true;
        let mut at = |point: u64| {
            let mut session = Self {
                suite,
                row,
                point,
                min_ticks: (options.min_ms * machine().timebase / 1000).max(1),
                spoil: false,
                bad: core::cell::Cell::new(false),
            };
            session.spoil = session.is_called(options.spoil);
            good &= session.run();
        };
        match row.points {
            Points::One => at(0),
            Points::At(_, points) => points.iter().for_each(|p| at(*p)),
            Points::Harts => {
                let count = 1 + harts::others().count() as u64;
                // Every number of them while they are few.
                (1..=count).filter(|k| *k <= 8 || k.is_power_of_two() || *k == count).for_each(at);
            }
        }
        good
    }

    fn kernel(&self, kernel: &Kernel) -> Outcome {
        let memory = self.slice::<u64>(kernel.bytes / 8)?;
        self.measure(kernel.per, &mut |k| Check::new(kernel.repeat(memory, k), kernel.want))
    }

    fn run(&self) -> bool {
        let mark = memory::mark();
        let mut outcome = Ok(());
        let ended = trap::attempt(&mut || {
            outcome = match self.row.work {
                Work::Code(run) => run(self),
                Work::Kernel(kernel) => self.kernel(kernel),
                Work::OnHarts(kernel) => crate::smp::on_harts(self, kernel),
            }
        });
        memory::release(mark);
        if let Err(trap) = ended {
            put_right();
            outcome = Err(Problem::Trap(trap));
        }
        match outcome {
            Ok(()) => return !self.bad.get(),
            Err(Problem::Skip(why)) => {
                println!("@skip {self} reason={why}");
                return true;
            }
            Err(Problem::Fail(why)) => println!("@fail {self} reason={why}"),
            Err(Problem::Trap(Trap { cause, epc, tval })) => {
                println!("@fail {self} reason=exception {cause} at {epc:#x}, stval {tval:#x}");
            }
            Err(Problem::NeedsRam(bytes)) => {
                println!("@fail {self} reason=the machine needs {} MiB of RAM more", bytes.div_ceil(1 << 20));
            }
        }
        false
    }

    /// Whether `name` is `suite/name` of this benchmark, or `suite/name@point`.
    fn is_called(&self, name: &str) -> bool {
        let (base, point) = match name.split_once('@') {
            Some((base, point)) => (base, Some(point)),
            None => (name, None),
        };
        base.split_once('/') == Some((self.suite, self.row.name))
            && point.is_none_or(|p| p.parse() == Ok(self.point) && !matches!(self.row.points, Points::One))
    }
}

/// Makes the hart what it is between benchmarks, after one that an exception ended.
fn put_right() {
    csr_write!("satp", 0);
    page_table::fence();
    trap::init(hart::this());
    trap::set_handler(None);
    irq::set_handler(None);
    irq::disarm_timer();
    csr_clear!("sstatus", csr::VS | csr::SUM | csr::MXR);
    csr_set!("sstatus", csr::SIE);
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.suite, self.row.name)?;
        if matches!(self.row.points, Points::One) { Ok(()) } else { write!(f, "@{}", self.point) }
    }
}
