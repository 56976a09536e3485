//! For tests: registers of harts, to whom one whose registers are lost is a failed test, and random numbers.

mod random;

pub use random::{Rng, number};

use crate::{HartState, Vcpu};

/// [`Vcpu`]'s access to registers without errors.
pub trait Registers: Vcpu {
    /// [`Vcpu::try_state`], which works.
    fn state(&mut self) -> HartState {
        self.try_state().expect("the engine gives the registers")
    }

    /// [`Vcpu::try_set_state`], which works.
    fn set_state(&mut self, state: &HartState) {
        self.try_set_state(state).expect("the engine takes the registers");
    }

    /// [`Vcpu::try_change`], which works.
    fn change(&mut self, change: &mut dyn FnMut(&mut HartState)) {
        self.try_change(change).expect("the engine changes the registers");
    }
}

impl<V: Vcpu + ?Sized> Registers for V {}
