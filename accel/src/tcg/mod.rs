//! The dynamic binary translator.
