//! A mix of what small programs do: a linked list is searched, reversed and sorted, a matrix of short numbers is
//! multiplied, and a state machine reads numbers from text. All of it goes into one check sum.

use super::{Kernel, Random, mix_in, take};

const NODES: usize = 128;
const ORDER: usize = 16;
const TEXT: usize = 1024;
const MEMORY: usize = 2 * 4 * NODES + 3 * 4 * ORDER * ORDER + TEXT + 64;

/// The end of the list.
const NONE: u32 = u32::MAX;

/// A list in arrays: values, and who is next.
struct List<'a> {
    values: &'a mut [u32],
    next: &'a mut [u32],
    head: u32,
}

impl List<'_> {
    fn fill(&mut self, seed: u32) {
        let mut random = Random(seed);
        // The order in memory is not the order of the list.
        for i in 0..NODES {
            let place = i * 37 % NODES;
            self.values[place] = random.below(10_000);
            self.next[place] = if i + 1 == NODES { NONE } else { ((i + 1) * 37 % NODES) as u32 };
        }
        self.head = 0;
    }

    /// How far a value is from the head, or the length.
    fn find(&self, value: u32) -> u64 {
        let (mut at, mut steps) = (self.head, 0);
        while at != NONE && self.values[at as usize] != value {
            at = self.next[at as usize];
            steps += 1;
        }
        steps
    }

    fn reverse(&mut self) {
        let (mut at, mut before) = (self.head, NONE);
        while at != NONE {
            let after = core::mem::replace(&mut self.next[at as usize], before);
            before = at;
            at = after;
        }
        self.head = before;
    }

    /// Merge sort from the bottom: runs of 1, 2, 4 ...
    fn sort(&mut self) {
        let mut run = 1;
        while run < NODES {
            let mut rest = self.head;
            let (mut first, mut last) = (NONE, NONE);
            while rest != NONE {
                let (mut a, mut b) = (rest, self.skip(rest, run));
                rest = self.skip(b, run);
                let (end_a, end_b) = (b, rest);
                while a != end_a || b != end_b {
                    let take_a = b == end_b || a != end_a && self.values[a as usize] <= self.values[b as usize];
                    let from = if take_a { &mut a } else { &mut b };
                    let node = *from;
                    *from = self.next[node as usize];
                    if last == NONE {
                        first = node;
                    } else {
                        self.next[last as usize] = node;
                    }
                    last = node;
                }
                self.next[last as usize] = rest;
            }
            self.head = first;
            run *= 2;
        }
    }

    fn skip(&self, mut at: u32, count: usize) -> u32 {
        for _ in 0..count {
            if at == NONE {
                break;
            }
            at = self.next[at as usize];
        }
        at
    }

    fn sum(&self) -> u64 {
        let (mut at, mut sum) = (self.head, 0);
        while at != NONE {
            sum = mix_in(sum, u64::from(self.values[at as usize]));
            at = self.next[at as usize];
        }
        sum
    }
}

fn matrix(memory: &mut &mut [u64]) -> u64 {
    let a = take::<i16>(memory, ORDER * ORDER);
    let b = take::<i16>(memory, ORDER * ORDER);
    let c = take::<i32>(memory, ORDER * ORDER);
    let mut random = Random(6);
    a.fill_with(|| random.below(200) as i16 - 100);
    b.fill_with(|| random.below(200) as i16 - 100);
    for row in 0..ORDER {
        for column in 0..ORDER {
            c[row * ORDER + column] =
                (0..ORDER).map(|k| i32::from(a[row * ORDER + k]) * i32::from(b[k * ORDER + column])).sum();
        }
    }
    c.iter().fold(0, |sum, value| mix_in(sum, *value as u64))
}

/// Where the reader is in a number.
#[derive(Clone, Copy)]
enum State {
    Start,
    Sign,
    Whole,
    Point,
    Fraction,
    Exponent,
    Power,
    Invalid,
}

/// Counts the numbers by the state in which they end.
fn numbers(memory: &mut &mut [u64]) -> u64 {
    const LETTERS: &[u8; 16] = b"0123456789,,-.e+";
    let text = take::<u8>(memory, TEXT);
    let mut random = Random(7);
    text.fill_with(|| LETTERS[random.below(16) as usize]);
    let mut counts = [0u64; 8];
    let mut state = State::Start;
    for &letter in text.iter() {
        if letter == b',' {
            counts[state as usize] += 1;
            state = State::Start;
            continue;
        }
        state = match (state, letter) {
            (State::Start | State::Sign | State::Whole, b'0'..=b'9') => State::Whole,
            (State::Start, b'-' | b'+') => State::Sign,
            (State::Start | State::Sign | State::Whole, b'.') => State::Point,
            (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
            (State::Whole | State::Fraction, b'e') => State::Exponent,
            (State::Exponent | State::Power, b'0'..=b'9') => State::Power,
            (State::Exponent, b'-' | b'+') => State::Exponent,
            _ => State::Invalid,
        };
    }
    counts.into_iter().fold(0, mix_in)
}

fn run(mut memory: &mut [u64]) -> u64 {
    let (values, next) = (take::<u32>(&mut memory, NODES), take::<u32>(&mut memory, NODES));
    let mut list = List { values, next, head: 0 };
    list.fill(5);
    let mut sum = (0..32).fold(0, |sum, i| mix_in(sum, list.find(i * 300)));
    list.reverse();
    sum = mix_in(sum, list.sum());
    list.sort();
    sum = mix_in(sum, list.sum());
    sum = mix_in(sum, matrix(&mut memory));
    mix_in(sum, numbers(&mut memory))
}

pub const KERNEL: Kernel = Kernel {
    name: "mix",
    unit: "op",
    per: 1,
    what: "a list of 128 is searched, reversed and sorted, 16x16 matrices multiplied, 1 KiB of numbers read",
    bytes: MEMORY,
    run,
    want: 0x25ef_3990_7050_bc7a,
};
