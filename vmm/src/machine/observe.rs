//! What a machine shows of itself while it runs: the engine's part of the log.

use std::sync::Arc;

use accel::trace::{Symbols, TraceConfig};
use accel::{AccelError, Vcpu};

use super::{Machine, MachineError};
use crate::config::{LogConfig, MachineConfig};
use crate::log;
use crate::profile::symbols::SymbolTable;

/// The engine's part of the log.
///
/// # Errors
/// A file of symbols that is none.
fn trace_config(log: &LogConfig, config: &MachineConfig) -> Result<Arc<TraceConfig>, String> {
    let filter = log.filter.clone();
    let mut symbols = SymbolTable::default();
    if !log.items.is_empty() {
        // A kernel or firmware that is no ELF file has no names.
        let own = config.boot.bios.file().into_iter().chain(config.boot.kernel.as_deref());
        own.for_each(|path| {
            let _ = symbols.add_elf(path, None);
        });
        for path in &filter.symbols {
            symbols.add_any(path)?;
        }
    }
    let symbols = (!symbols.is_empty()).then(|| Arc::new(symbols) as Arc<dyn Symbols>);
    let (ranges, harts, modes) = (filter.ranges, filter.harts, filter.modes);
    Ok(Arc::new(TraceConfig { items: log.items, ranges, harts, modes, symbols }))
}

/// Has new vCPUs show what the configuration asks for.
pub(super) fn trace(config: &MachineConfig, vcpus: &mut [Box<dyn Vcpu>]) -> Result<(), MachineError> {
    if config.log.items.is_empty() {
        return Ok(());
    }
    let trace = trace_config(&config.log, config).map_err(|m| MachineError::Failed(format!("-d symbols=: {m}")))?;
    vcpus.iter_mut().try_for_each(|vcpu| vcpu.set_trace(&trace)).map_err(MachineError::Accel)
}

impl Machine {
    /// What is logged.
    pub fn log(&self) -> &LogConfig {
        &self.config.log
    }

    /// Logs that from now on.
    ///
    /// # Errors
    /// The engine cannot show it, or a file has no symbols; then all stays as it was.
    pub fn set_log(&mut self, new: LogConfig) -> Result<(), String> {
        let trace = trace_config(&new, &self.config)?;
        self.with_harts_stopped(|machine| {
            for hart in 0..machine.hart_count() {
                let trace = Arc::clone(&trace);
                let done = machine.harts.on(hart, move |vcpu| vcpu.set_trace(&trace));
                done.ok_or_else(|| format!("hart {hart} has failed"))?
                    .map_err(|error: AccelError| crate::error_chain(&error))?;
            }
            log::switch(&new)
        })?;
        self.config.log = new;
        Ok(())
    }
}
