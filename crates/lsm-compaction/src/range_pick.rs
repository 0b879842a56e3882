//! What manual compactions of all strategies share: the rewrite of a run that lies
//! where it should, but holds deleted data that nobody can see any more.

use crate::older::sheds_all_tombstones;
use crate::{InputRun, MergePlan, OlderData, OlderTables, PickView, Plan};
use lsm_sstable::TableMeta;
use lsm_types::KeySpan;
use lsm_version::{Placement, Run, TableHandle};
use std::sync::Arc;

/// How many full tables one rewrite takes in at most.
const MAX_REWRITTEN_TABLES: u64 = 8;

/// Whether a rewrite of the table, with nothing older below, makes it smaller.
pub(crate) fn is_worth_rewriting(view: &PickView<'_>, table: &TableHandle) -> bool {
    let meta = table.meta();
    view.is_free(table)
        && (meta.tombstones > 0 || meta.range_tombstones > 0 || superseded(meta) > 0)
        && sheds_all_tombstones(table, view.rules)
}

/// Entries that are there for snapshots alone: newer ones have the same keys. A table with
/// merge operands, which nobody can write yet, would have to tell how many it has: they stay
/// though they share keys, and it would be rewritten for ever.
pub(crate) const fn superseded(meta: &TableMeta) -> u64 {
    meta.entries.saturating_sub(meta.user_keys)
}

/// Rewrites the tables of the only run inside `span` that hold tombstones or old versions
/// for nobody.
pub(crate) fn pick_whole(
    view: &PickView<'_>,
    placement: Placement,
    run: &Run,
    span: &KeySpan,
    table_bytes: u64,
) -> Option<Plan> {
    // Tables reach beyond the span, and so must the look at what is older: else their
    // tombstones would stay, and the rewrite would be picked again for ever.
    let older = OlderTables::below(view.version, placement);
    let tables = run.overlapping(span).iter();
    rewrite_first(view, placement, tables, table_bytes, |table| {
        is_worth_rewriting(view, table) && !older.overlaps(table.span())
    })
}

/// Merges the first neighbours among `tables` that `want` selects with nothing, in
/// their place. Only neighbours, since outputs may span the gaps between inputs.
pub(crate) fn rewrite_first<'a>(
    view: &PickView<'_>,
    placement: Placement,
    tables: impl Iterator<Item = &'a Arc<TableHandle>>,
    table_bytes: u64,
    want: impl Fn(&TableHandle) -> bool,
) -> Option<Plan> {
    let mut bytes = 0;
    let tables: Vec<Arc<TableHandle>> = tables
        .skip_while(|table| !want(table))
        .take_while(|table| {
            let has_room = bytes < table_bytes.saturating_mul(MAX_REWRITTEN_TABLES);
            bytes += table.size_bytes();
            has_room && want(table)
        })
        .cloned()
        .collect();
    if tables.is_empty() {
        return None;
    }
    let inputs = vec![InputRun { placement, tables }];
    view.admit(Plan::Merge(MergePlan { inputs, output: placement, table_bytes }))
}
