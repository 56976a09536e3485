//! Guests under test: started, talked to over their serial console, and ended whatever happens.
//!
//! No test here measures time. The limits are watchdogs for a guest that hangs, far above what a loaded machine needs.

pub mod console;
pub mod gdb;
pub mod http;
pub mod vm;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::guest::Guest;
use crate::tools::{Gdb, Tools};

/// What the cases run with.
pub struct Env {
    pub vireo: PathBuf,
    /// The same program for riscv64 hosts, static; or why there is none.
    pub riscv_vireo: Result<PathBuf, String>,
    /// The engine's tests for riscv64 hosts with KVM, likewise.
    pub kvm_test: Result<PathBuf, String>,
    /// Why there is no guest, if there is none: cases that need it fail with that.
    pub guest: Result<Guest, String>,
    pub tools: Result<Tools, String>,
    pub gdb: Result<Gdb, String>,
}

impl Env {
    pub fn guest(&self) -> Result<&Guest> {
        self.guest.as_ref().map_err(|e| anyhow::anyhow!("no Linux guest: {e}"))
    }

    pub fn gdb(&self) -> Result<&Gdb> {
        self.gdb.as_ref().map_err(|e| anyhow::anyhow!("no gdb: {e}"))
    }

    pub fn riscv_vireo(&self) -> Result<&Path> {
        self.riscv_vireo.as_deref().map_err(|e| anyhow::anyhow!("no riscv64 program: {e}"))
    }

    pub fn disk(&self) -> Result<&Path> {
        self.guest()?.disk.as_deref().context("the guest has no root disk")
    }
}

/// A folder of a test's own, gone when dropped.
pub fn scratch() -> Result<TempDir> {
    tempfile::Builder::new().prefix("vireo-test-").tempdir().context("no temporary folder")
}
