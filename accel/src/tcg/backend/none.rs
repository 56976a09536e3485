//! Hosts without a backend: a type nobody can make.

use crate::tcg::HostSimd;
use crate::tcg::code_cache::places::Home;
use crate::tcg::code_cache::{CodeCache, LinkSite};
use crate::tcg::hart::{Exit, Hart};
use crate::tcg::helpers::vector::VectorUnit;
use crate::tcg::ir::IrBlock;
use crate::tcg::observe::Mark;
use crate::tcg::region::Region;

/// Uninhabited.
pub enum Backend {}

impl Backend {
    pub fn new(_code: &mut CodeCache, _smp: bool, _unit: VectorUnit, _simd: HostSimd) -> Option<Self> {
        None
    }

    pub fn searches(&self, _total_order: bool) -> bool {
        match *self {}
    }

    pub fn assume_vectors(&mut self, _word: u32) {
        match *self {}
    }

    pub fn compile(&mut self, _block: &IrBlock, _scattered: bool, _code: &mut CodeCache) -> &[u8] {
        match *self {}
    }

    pub fn compiled(&self) -> &[u8] {
        match *self {}
    }

    pub fn thunks(&self) -> Vec<(String, u64, usize)> {
        match *self {}
    }

    pub fn keep_marks(&mut self, _on: bool) {
        match *self {}
    }

    pub fn all_marks(&self) -> Box<[Mark]> {
        match *self {}
    }

    pub fn home(&self, _x: u8, _region: bool) -> Home {
        match *self {}
    }

    pub fn show_calls(&mut self, _on: bool, _code: &mut CodeCache) {
        match *self {}
    }

    pub fn marks(&self) -> &[Mark] {
        match *self {}
    }

    pub fn compile_region(&mut self, _region: &Region, _code: &mut CodeCache) -> Option<(&[u8], u64)> {
        match *self {}
    }

    pub fn profile(&mut self, _on: bool) {
        match *self {}
    }

    pub fn links(&self) -> &[LinkSite] {
        match *self {}
    }

    pub fn enter(&self, _hart: &mut Hart, _code: u64) -> Exit {
        match *self {}
    }
}
