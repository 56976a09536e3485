//! How far the measuring is, on standard error.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::session::Watch;

/// A bar on a terminal; elsewhere a line a step.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    pub fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(0);
        let style = "{bar:24} {pos}/{len} {msg} {prefix:.dim}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a template of ours"));
        Self(Some(bar))
    }

    pub fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Progress {
    fn step(&self, done: usize, all: usize, what: &str) {
        match &self.0 {
            Some(bar) => {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
                bar.set_prefix("");
                bar.set_message(what.to_owned());
            }
            None => eprintln!("[{}/{all}] {what}", done + 1),
        }
    }

    fn benchmark(&self, name: &str) {
        if let Some(bar) = &self.0 {
            bar.set_prefix(name.to_owned());
            bar.tick();
        }
    }

    fn tell(&self, line: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| eprintln!("vireo bench: {line}")),
            None => eprintln!("vireo bench: {line}"),
        }
    }
}
