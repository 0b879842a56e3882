//! The inputs of a job as cursors: a run is a chain of tables, a job the merge of its
//! runs. Opens tables only when the walk reaches them.

use lsm_merge::{ConcatCursor, MergeCursor, Parts};
use lsm_sstable::{ReadOptions, TableCursor};
use lsm_types::RangeTombstoneSet;
use lsm_version::{Placement, TableHandle};
use std::sync::Arc;

/// The tables of one run as parts of a [`ConcatCursor`].
#[derive(Clone, Debug)]
pub struct RunParts {
    tables: Arc<[Arc<TableHandle>]>,
    options: ReadOptions,
}

impl RunParts {
    /// Sorted, disjoint tables, to be read with `options`.
    #[must_use]
    pub const fn new(tables: Arc<[Arc<TableHandle>]>, options: ReadOptions) -> Self {
        Self { tables, options }
    }
}

impl Parts for RunParts {
    type Cursor = TableCursor;

    fn len(&self) -> usize {
        self.tables.len()
    }

    fn ends_before(&self, index: usize, user_key: &[u8]) -> bool {
        self.tables.get(index).is_some_and(|table| table.meta().upper.is_below(user_key))
    }

    fn starts_after(&self, index: usize, user_key: &[u8]) -> bool {
        self.tables.get(index).is_some_and(|table| table.span().start.as_bytes() > user_key)
    }

    fn open(&self, index: usize) -> Result<TableCursor, lsm_sstable::Error> {
        // `index` is below `len` by the trait's contract.
        Ok(self.tables[index].table()?.cursor(self.options))
    }
}

/// Tables of one run that a job reads.
#[derive(Clone, Debug)]
pub struct InputRun {
    /// Where they stand.
    pub placement: Placement,
    /// In key order.
    pub tables: Vec<Arc<TableHandle>>,
}

impl InputRun {
    /// A cursor over all of them.
    #[must_use]
    pub fn cursor(&self, options: ReadOptions) -> ConcatCursor<RunParts> {
        ConcatCursor::new(RunParts::new(self.tables.as_slice().into(), options))
    }
}

/// The merge over `runs`, newest first.
#[must_use]
pub fn merge_runs(runs: &[InputRun], options: ReadOptions) -> MergeCursor<ConcatCursor<RunParts>> {
    MergeCursor::new(runs.iter().map(|run| run.cursor(options)).collect())
}

/// All range tombstones of `tables`, cut into fragments.
///
/// # Errors
/// Those of opening the tables that have some.
pub fn range_tombstones_of<'a>(
    tables: impl IntoIterator<Item = &'a Arc<TableHandle>>,
) -> Result<RangeTombstoneSet, lsm_sstable::Error> {
    let mut all = Vec::new();
    for table in tables {
        if table.meta().range_tombstones > 0 {
            all.extend(table.table()?.range_tombstones().iter());
        }
    }
    Ok(RangeTombstoneSet::new(all))
}
