//! The rounds of the block ciphers and hash functions that instructions perform, as functions of plain values.
//!
//! One file an algorithm. Scalar and vector instructions share these: what an instruction adds is where its operands
//! come from. A group of elements is an array with element 0 first; words are as they stand in registers, least
//! significant byte first, unless a function says otherwise.
//!
//! Tables are indexed with data, so the time of a round depends on the host's caches: the specification's promise of
//! data-independent latency is one that a translator cannot make.

pub mod aes;
pub mod ghash;
pub mod scalar;
pub mod sha2;
pub mod sm3;
pub mod sm4;
