//! [`Busy`]: what the jobs under way keep for themselves. Kept by whoever starts jobs,
//! under its own lock; strategies only look.

use crate::Plan;
use lsm_types::KeySpan;
use lsm_version::{FileNumber, Placement};
use std::collections::HashSet;

/// The tables that jobs under way read, and the places where they will add some.
///
/// The second is needed as well: an output may span a gap between its inputs, where
/// another job must not put a table meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Busy {
    tables: HashSet<FileNumber>,
    outputs: Vec<(Placement, KeySpan)>,
}

impl Busy {
    /// Nothing is under way.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A job starts to carry out `plan`.
    pub fn begin(&mut self, plan: &Plan) {
        self.tables.extend(plan.tables().map(|table| table.number()));
        self.outputs.extend(plan.output());
    }

    /// The job that carried out `plan` has ended, whatever came of it.
    pub fn end(&mut self, plan: &Plan) {
        for table in plan.tables() {
            self.tables.remove(&table.number());
        }
        if let Some(output) = plan.output()
            && let Some(at) = self.outputs.iter().position(|other| *other == output)
        {
            self.outputs.swap_remove(at);
        }
    }

    /// Whether a job needs the table.
    #[must_use]
    pub fn has_table(&self, number: FileNumber) -> bool {
        !self.tables.is_empty() && self.tables.contains(&number)
    }

    /// Whether a job may add a table to the run at `placement` inside `span`.
    #[must_use]
    pub fn adds_to(&self, placement: Placement, span: &KeySpan) -> bool {
        self.outputs.iter().any(|(place, output)| *place == placement && output.overlaps(span))
    }

    /// Whether no job is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tables.is_empty()
    }
}
