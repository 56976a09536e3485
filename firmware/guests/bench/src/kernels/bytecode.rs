//! An interpreter of a small stack machine, which looks for the longest Collatz sequence: loads that depend on each
//! other, and for each instruction a jump that is hard to foresee.

use super::Kernel;

/// Starts below this are tried.
const LIMIT: i64 = 300;
/// Instructions that the program has executed at its end.
const EXECUTED: u64 = 184_729;

#[derive(Clone, Copy)]
enum Op {
    Push,
    Load,
    Store,
    Increment,
    TripleAndOne,
    Half,
    IsOdd,
    Equal,
    Less,
    Jump,
    JumpIf,
    Halt,
}

/// Variables: where the sequence started, where it is, its length, the greatest length, the best start.
const START: i64 = 0;
const AT: i64 = 1;
const LEN: i64 = 2;
const LONGEST: i64 = 3;
const BEST: i64 = 4;

/// Places in the program.
const OUTER: i64 = 2;
const INNER: i64 = 6;
const ODD: i64 = 17;
const STEP: i64 = 20;
const DONE: i64 = 22;
const BETTER: i64 = 27;
const NEXT: i64 = 31;

const PROGRAM: &[(Op, i64)] = &[
    (Op::Push, 1),
    (Op::Store, START),
    // OUTER
    (Op::Load, START),
    (Op::Store, AT),
    (Op::Push, 1),
    (Op::Store, LEN),
    // INNER
    (Op::Load, AT),
    (Op::Push, 1),
    (Op::Equal, 0),
    (Op::JumpIf, DONE),
    (Op::Load, AT),
    (Op::IsOdd, 0),
    (Op::JumpIf, ODD),
    (Op::Load, AT),
    (Op::Half, 0),
    (Op::Store, AT),
    (Op::Jump, STEP),
    // ODD
    (Op::Load, AT),
    (Op::TripleAndOne, 0),
    (Op::Store, AT),
    // STEP
    (Op::Increment, LEN),
    (Op::Jump, INNER),
    // DONE
    (Op::Load, LONGEST),
    (Op::Load, LEN),
    (Op::Less, 0),
    (Op::JumpIf, BETTER),
    (Op::Jump, NEXT),
    // BETTER
    (Op::Load, LEN),
    (Op::Store, LONGEST),
    (Op::Load, START),
    (Op::Store, BEST),
    // NEXT
    (Op::Increment, START),
    (Op::Load, START),
    (Op::Push, LIMIT),
    (Op::Less, 0),
    (Op::JumpIf, OUTER),
    (Op::Halt, 0),
];

/// What a run of a program leaves.
pub struct End {
    pub longest: i64,
    pub best: i64,
    pub executed: u64,
}

/// Runs a program that is known to be sound: jumps and the stack are checked all the same, by Rust.
fn interpret(program: &[(Op, i64)]) -> End {
    let (mut stack, mut top) = ([0i64; 16], 0);
    let mut variables = [0i64; 8];
    let (mut at, mut executed) = (0, 0);
    loop {
        let (op, argument) = program[at];
        at += 1;
        executed += 1;
        match op {
            Op::Push => {
                stack[top] = argument;
                top += 1;
            }
            Op::Load => {
                stack[top] = variables[argument as usize];
                top += 1;
            }
            Op::Store => {
                top -= 1;
                variables[argument as usize] = stack[top];
            }
            Op::Increment => variables[argument as usize] += 1,
            Op::TripleAndOne => stack[top - 1] = 3 * stack[top - 1] + 1,
            Op::Half => stack[top - 1] /= 2,
            Op::IsOdd => stack[top - 1] &= 1,
            Op::Equal | Op::Less => {
                top -= 1;
                let (a, b) = (stack[top - 1], stack[top]);
                stack[top - 1] = i64::from(if matches!(op, Op::Equal) { a == b } else { a < b });
            }
            Op::Jump => at = argument as usize,
            Op::JumpIf => {
                top -= 1;
                if stack[top] != 0 {
                    at = argument as usize;
                }
            }
            Op::Halt => break,
        }
    }
    End { longest: variables[LONGEST as usize], best: variables[BEST as usize], executed }
}

fn run(_: &mut [u64]) -> u64 {
    let end = interpret(core::hint::black_box(PROGRAM));
    end.executed << 32 | (end.best as u64) << 16 | end.longest as u64
}

pub const KERNEL: Kernel = Kernel {
    name: "bytecode",
    unit: "op",
    per: EXECUTED,
    what: "an instruction of an interpreted stack machine that looks for Collatz sequences",
    bytes: 0,
    run,
    want: EXECUTED << 32 | 231 << 16 | 128,
};
