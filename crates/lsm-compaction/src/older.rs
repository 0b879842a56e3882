//! [`OlderData`]: what lies below the inputs of a job. The drop rules ask it before
//! a tombstone goes; it may answer "perhaps", never a wrong "no".

use crate::GcRules;
use lsm_sstable::key_hash;
use lsm_types::KeySpan;
use lsm_version::{Placement, TableHandle, Version};
use std::cell::Cell;
use std::sync::Arc;

/// The data that is older than all inputs of a job and not among them: deeper runs,
/// and for a flush also older memtables that are not flushed with it.
pub trait OlderData {
    /// Whether an older entry of `user_key` may exist.
    fn may_hold(&self, user_key: &[u8]) -> bool;

    /// Whether an older entry or range tombstone may exist inside `span`.
    fn overlaps(&self, span: &KeySpan) -> bool;

    /// Whether there is no older data at all.
    fn is_empty(&self) -> bool {
        false
    }
}

/// No older data: the job takes in everything from some level down.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingOlder;

impl OlderData for NothingOlder {
    fn may_hold(&self, _: &[u8]) -> bool {
        false
    }

    fn overlaps(&self, _: &KeySpan) -> bool {
        false
    }

    fn is_empty(&self) -> bool {
        true
    }
}

/// Tables below a job, asked by their bounds and, where a table is open, its filter;
/// never opens one.
///
/// `Send`, not `Sync`: it remembers where the last question was answered, since a
/// merge asks for ascending keys. Such a question costs O(1), any other O(log n).
#[derive(Debug)]
pub struct OlderTables {
    runs: Vec<OlderRun>,
}

#[derive(Debug)]
struct OlderRun {
    tables: Arc<[Arc<TableHandle>]>,
    /// The first table that does not end before the key of the last question.
    at: Cell<usize>,
}

impl OlderTables {
    /// Every table of `version`: what is older than a memtable.
    #[must_use]
    pub fn all(version: &Version) -> Self {
        Self::select(version, |_| true)
    }

    /// The tables of all runs older than the one at `placement`.
    #[must_use]
    pub fn below(version: &Version, placement: Placement) -> Self {
        Self::select(version, |run| {
            run.level > placement.level || (run.level == placement.level && run.run < placement.run)
        })
    }

    fn select(version: &Version, is_older: impl Fn(Placement) -> bool) -> Self {
        let mut runs = Vec::new();
        for (level, content) in version.levels().iter().enumerate() {
            for run in content.runs() {
                if is_older(Placement { level: level as u8, run: run.id() }) {
                    runs.push(OlderRun { tables: run.shared_tables(), at: Cell::new(0) });
                }
            }
        }
        Self { runs }
    }
}

impl OlderRun {
    /// The only table whose bounds admit `user_key`.
    fn find(&self, user_key: &[u8]) -> Option<&Arc<TableHandle>> {
        let ends_before = |table: &Arc<TableHandle>| table.meta().upper.is_below(user_key);
        let mut at = self.at.get();
        let is_too_far = at > 0 && self.tables.get(at - 1).is_some_and(|table| !ends_before(table));
        if is_too_far {
            at = self.tables.partition_point(ends_before);
        } else {
            while self.tables.get(at).is_some_and(ends_before) {
                at += 1;
            }
        }
        self.at.set(at);
        self.tables.get(at).filter(|table| table.span().start.as_bytes() <= user_key)
    }
}

impl OlderData for OlderTables {
    fn may_hold(&self, user_key: &[u8]) -> bool {
        let mut hash = None;
        self.runs.iter().any(|run| {
            let Some(handle) = run.find(user_key) else { return false };
            if !handle.is_open() {
                return true;
            }
            let hash = *hash.get_or_insert_with(|| key_hash(user_key));
            handle.table().map_or(true, |table| table.may_contain(hash))
        })
    }

    fn overlaps(&self, span: &KeySpan) -> bool {
        self.runs.iter().any(|run| {
            let first = run.tables.partition_point(|table| table.span().is_past_end(&span.start));
            run.tables.get(first).is_some_and(|table| table.span().overlaps(span))
        })
    }

    fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// Whether all that the table's tombstones hide is seen by nobody: with nothing older
/// below, a rewrite leaves none of them.
pub(crate) fn sheds_all_tombstones(table: &TableHandle, rules: &GcRules) -> bool {
    table.meta().highest_seqno < rules.oldest_boundary()
}
