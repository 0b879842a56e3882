//! [`Run`] and [`Level`]: sorted, disjoint tables, and the runs of one level.

use crate::TableHandle;
use lsm_types::KeySpan;
use std::sync::Arc;

/// Where in a version a table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placement {
    /// The level, from 0 (newest data) down.
    pub level: u8,
    /// The run within the level; a greater one holds newer data.
    pub run: u64,
}

/// Tables that follow each other in key order without overlapping.
///
/// Cheap to clone, immutable, `Send + Sync`.
#[derive(Debug, Clone)]
pub struct Run {
    id: u64,
    tables: Arc<[Arc<TableHandle>]>,
    size_bytes: u64,
}

impl Run {
    /// Sorts `tables` into a run. `Err` names two that overlap.
    ///
    /// # Errors
    /// A sentence naming the overlapping tables.
    pub fn new(id: u64, mut tables: Vec<Arc<TableHandle>>) -> Result<Self, String> {
        tables.sort_by(|a, b| a.span().start.cmp(&b.span().start));
        for pair in tables.windows(2) {
            if let [left, right] = pair
                && !left.span().is_past_end(&right.span().start)
            {
                return Err(format!("tables {} and {} of run {id} overlap", left.number(), right.number()));
            }
        }
        let size_bytes = tables.iter().map(|table| table.size_bytes()).sum();
        Ok(Self { id, tables: tables.into(), size_bytes })
    }

    /// Its number within the level; greater is newer.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The tables in key order.
    #[must_use]
    #[inline]
    pub fn tables(&self) -> &[Arc<TableHandle>] {
        &self.tables
    }

    /// The same tables, to be kept.
    #[must_use]
    pub fn shared_tables(&self) -> Arc<[Arc<TableHandle>]> {
        Arc::clone(&self.tables)
    }

    /// The sum of the file lengths.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The one table whose span contains `user_key`, if any. O(log n).
    #[must_use]
    #[inline]
    pub fn find(&self, user_key: &[u8]) -> Option<&Arc<TableHandle>> {
        let index = self.tables.partition_point(|table| table.meta().upper.is_below(user_key));
        self.tables.get(index).filter(|table| table.span().start.as_bytes() <= user_key)
    }

    /// The tables that overlap `span`, which are neighbours.
    #[must_use]
    pub fn overlapping(&self, span: &KeySpan) -> &[Arc<TableHandle>] {
        let first = self.tables.partition_point(|table| table.span().is_past_end(&span.start));
        let past = self.tables.partition_point(|table| !span.is_past_end(&table.span().start));
        self.tables.get(first..past).unwrap_or(&[])
    }
}

/// The runs of one level, newest first.
#[derive(Debug, Clone, Default)]
pub struct Level {
    runs: Vec<Run>,
}

impl Level {
    /// A level without runs.
    pub(crate) const NONE: Self = Self { runs: Vec::new() };

    /// A level from its runs, in any order.
    #[must_use]
    pub fn new(mut runs: Vec<Run>) -> Self {
        runs.retain(|run| !run.tables().is_empty());
        runs.sort_by_key(|run| std::cmp::Reverse(run.id()));
        Self { runs }
    }

    /// The runs, newest first.
    #[must_use]
    #[inline]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// All tables, run by run.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableHandle>> {
        self.runs.iter().flat_map(Run::tables)
    }

    /// The sum of the file lengths.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.runs.iter().map(Run::size_bytes).sum()
    }

    /// How many tables there are.
    #[must_use]
    pub fn table_count(&self) -> usize {
        self.runs.iter().map(|run| run.tables().len()).sum()
    }
}
