//! A result for people.

pub mod compare;
pub mod html;
pub mod operations;
pub mod table;

mod cost;
mod svg;
mod units;
