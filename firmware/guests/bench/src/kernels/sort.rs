//! Quicksort of numbers in no order.

use super::{Kernel, Random, take};

const LEN: usize = 8192;

/// Below this many, insertion is faster.
const FEW: usize = 16;

fn insertion(data: &mut [u32]) {
    for end in 1..data.len() {
        let value = data[end];
        let mut at = end;
        while at > 0 && data[at - 1] > value {
            data[at] = data[at - 1];
            at -= 1;
        }
        data[at] = value;
    }
}

/// Hoare's partition about the middle of three.
fn partition(data: &mut [u32]) -> usize {
    let (middle, last) = (data.len() / 2, data.len() - 1);
    if data[middle] < data[0] {
        data.swap(0, middle);
    }
    if data[last] < data[0] {
        data.swap(0, last);
    }
    if data[last] < data[middle] {
        data.swap(middle, last);
    }
    let pivot = data[middle];
    let (mut low, mut high) = (0, last);
    loop {
        while data[low] < pivot {
            low += 1;
        }
        while data[high] > pivot {
            high -= 1;
        }
        if low >= high {
            return low;
        }
        data.swap(low, high);
        low += 1;
        high -= 1;
    }
}

pub fn quicksort(mut data: &mut [u32]) {
    while data.len() > FEW {
        let at = partition(data);
        let (left, right) = data.split_at_mut(at);
        let (small, large) = if left.len() < right.len() { (left, right) } else { (right, left) };
        quicksort(small);
        data = large;
    }
    insertion(data);
}

fn run(mut memory: &mut [u64]) -> u64 {
    let data = take::<u32>(&mut memory, LEN);
    let mut random = Random(2);
    data.fill_with(|| random.next());
    quicksort(data);
    data.iter().zip(1u64..).fold(0, |sum, (value, place)| sum.wrapping_add(u64::from(*value) * place))
}

pub const KERNEL: Kernel = Kernel {
    name: "sort",
    unit: "op",
    per: 1,
    what: "8192 random numbers, made and quicksorted",
    bytes: 4 * LEN,
    run,
    want: 0x0154_e0da_dff3_1f8e,
};
