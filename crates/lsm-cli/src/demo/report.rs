//! What the demo prints: numbered steps, indented facts, checks that passed, faults.

use super::dataset;
use crate::units::{duration, thousands};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// Writes the report, line by line so that it can be followed.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    steps: u32,
    checks: u32,
}

impl<'a> Report<'a> {
    /// An empty report.
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, steps: 0, checks: 0 }
    }

    /// What follows, where, and how to repeat it.
    pub(super) fn head(&mut self, path: &Path, seed: u64) -> io::Result<()> {
        let count = thousands(dataset::entries().count() as u64);
        writeln!(
            self.out,
            "{count} characters of Unicode {} in {} (seed {seed})",
            dataset::VERSION,
            path.display()
        )?;
        self.out.flush()
    }

    /// Opens a step.
    pub(super) fn step(&mut self, title: &str) -> io::Result<()> {
        self.steps += 1;
        writeln!(self.out, "\n{}  {title}", self.steps)?;
        self.out.flush()
    }

    /// A fact within a step.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "     {text}")?;
        self.out.flush()
    }

    /// Something that was compared with the model and is as it should be.
    pub(super) fn check(&mut self, text: &str) -> io::Result<()> {
        self.checks += 1;
        writeln!(self.out, "  ok {text}")?;
        self.out.flush()
    }

    /// Something that is not as it should be.
    pub(super) fn fault(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "  !! {text}")?;
        self.out.flush()
    }

    /// A line outside the steps.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "\n{text}")?;
        self.out.flush()
    }

    /// The verdict.
    pub(super) fn end(&mut self, elapsed: Duration) -> io::Result<()> {
        writeln!(
            self.out,
            "\n{} checks passed in {}: nothing was lost and nothing is half there",
            self.checks,
            duration(elapsed)
        )?;
        self.out.flush()
    }

    /// Where tables and the like can be written.
    pub(super) fn out(&mut self) -> &mut dyn Write {
        self.out
    }
}
