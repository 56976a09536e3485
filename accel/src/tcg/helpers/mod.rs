//! What generated code and the IR interpreter call when an operation is more than a few host instructions.
//!
//! `softfloat` and `crypto` are plain functions over plain values; `system` and `vector` work on the hart. Either way the
//! interpreter and every backend get the same answer.

pub mod crypto;
pub mod semihost;
pub mod softfloat;
pub mod system;
pub mod vector;
