//! What generated code and the IR interpreter call when an operation is more than a few host instructions.
//!
//! A helper is a plain function over plain values: it touches no hart, no memory and no translator state,
//! so that the interpreter and every backend get the same answer from it.

pub mod softfloat;
