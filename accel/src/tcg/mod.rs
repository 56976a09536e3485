//! The dynamic binary translator.

pub mod helpers;
