//! [`Fifo`]: the oldest tables, and those that a range tombstone hides, are dropped whole;
//! nothing is ever merged. For data
//! that is only worth keeping for a while or up to a size.

use crate::covered::pick_covered;
use crate::{PickView, Plan, Strategy};
use lsm_types::KeySpan;
use lsm_version::Version;

/// Drops the oldest runs when there is too much data, or when it is too old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fifo {
    /// More than this is not kept.
    pub max_bytes: u64,
    /// Older data is not kept, counted from when its table was written; `None` keeps it
    /// for ever.
    pub max_age_ms: Option<u64>,
}

impl Strategy for Fifo {
    fn name(&self) -> &'static str {
        "fifo"
    }

    fn pick(&self, view: &PickView<'_>) -> Option<Plan> {
        if let Some(plan) = pick_covered(view) {
            return Some(plan);
        }
        let mut excess = view.version.size_bytes().saturating_sub(self.max_bytes);
        let mut tables = Vec::new();
        // Oldest first and without a gap, so that what goes is always a suffix of history.
        for run in view.version.levels().iter().rev().flat_map(|level| level.runs().iter().rev()) {
            let newest_ms = run.tables().iter().map(|table| table.meta().created_ms).max().unwrap_or(0);
            let is_old = self.max_age_ms.is_some_and(|age| newest_ms.saturating_add(age) < view.rules.now_ms);
            if (excess == 0 && !is_old) || !view.are_free(run.tables()) {
                break;
            }
            excess = excess.saturating_sub(run.size_bytes());
            tables.extend_from_slice(run.tables());
        }
        (!tables.is_empty()).then_some(Plan::Drop { tables })
    }

    /// There is nothing to merge: what is to go, goes by size and age alone.
    fn pick_range(&self, view: &PickView<'_>, _: &KeySpan) -> Option<Plan> {
        self.pick(view)
    }

    fn debt_bytes(&self, _: &Version) -> u64 {
        0
    }

    /// The age at which the oldest run goes.
    fn next_due_ms(&self, version: &Version) -> Option<u64> {
        let oldest = version.levels().iter().rev().find_map(|level| level.runs().last())?;
        let newest_ms = oldest.tables().iter().map(|table| table.meta().created_ms).max()?;
        Some(newest_ms.saturating_add(self.max_age_ms?).saturating_add(1))
    }

    fn drops_visible_data(&self) -> bool {
        true
    }

    fn waiting_runs(&self, _: &Version) -> usize {
        0
    }
}
