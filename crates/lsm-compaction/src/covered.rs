//! Tables that lie whole under a range tombstone: they are dropped without being
//! read. Used by every strategy.

use crate::rules::Stripes;
use crate::{PickView, Plan};
use lsm_types::{RangeTombstoneSet, SeqNo};
use lsm_version::TableHandle;
use std::sync::Arc;

/// Drops every free table that no snapshot can see anything of, because a newer range
/// tombstone that all of them see covers its whole span. O(tables log fragments), and
/// nothing at all where no table has range tombstones.
pub(crate) fn pick_covered(view: &PickView<'_>) -> Option<Plan> {
    let mut all = Vec::new();
    for (_, table) in view.version.tables() {
        if table.meta().range_tombstones > 0
            && let Some(set) = (view.range_tombstones)(table)
        {
            all.extend(set.iter());
        }
    }
    if all.is_empty() {
        return None;
    }
    let set = RangeTombstoneSet::new(all);
    let stripes = Stripes::new(view.rules);
    let is_covered = |table: &TableHandle| view.is_free(table) && is_covered(table, &set, &stripes);
    let tables: Vec<Arc<TableHandle>> =
        view.version.tables().map(|(_, table)| table).filter(|table| is_covered(table)).cloned().collect();
    (!tables.is_empty()).then_some(Plan::Drop { tables })
}

/// Whether everything in the table, its own tombstones included, is older than a
/// tombstone over it and of the same stripe: whoever sees any of it sees that
/// tombstone too.
fn is_covered(table: &TableHandle, set: &RangeTombstoneSet, stripes: &Stripes) -> bool {
    let meta = table.meta();
    let Some(stripe) = stripes.of(meta.lowest_seqno) else { return false };
    let covers = |seqno: Option<SeqNo>| seqno.is_some_and(|seqno| seqno > meta.highest_seqno);
    let span = table.span();
    let mut reached = span.start.clone();
    for fragment in set.fragments().iter().skip(set.fragment_at_or_after(&span.start)) {
        if fragment.span.start > reached || !covers(fragment.newest_below(stripes.end_of(stripe))) {
            return false;
        }
        match (&fragment.span.end, &span.end) {
            (None, _) => return true,
            (Some(end), Some(last)) if end >= last => return true,
            (Some(end), _) => reached = end.clone(),
        }
    }
    false
}
