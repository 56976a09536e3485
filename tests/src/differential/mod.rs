//! Our translator against a [`reference`] (QEMU, Spike): the same random bare-metal program on both, compared block by
//! block.
//!
//! [`coverage`] says for which ISA, [`block`] makes blocks from the instruction table, [`guest`] is the program around
//! them, [`image`] places them in memory, [`engine`] and the reference run the image, [`compare`] finds blocks that end
//! differently and makes them small.
//! Where the two differ for a reason it stands in [`known`], one by one.

pub mod asm;
pub mod block;
pub mod compare;
pub mod coverage;
pub mod engine;
pub mod guest;
pub mod hyper;
pub mod image;
pub mod known;
pub mod paging;
pub mod privileged;
pub mod qemu;
pub mod reference;
pub mod registers;
pub mod rng;
pub mod spike;
pub mod vector;
