//! The one place where what exists is swapped for something else.
//!
//! Rotation, flush, compaction, dropping: each makes a new super version here, in
//! one step that readers see whole. What is durable is written before the swap,
//! under the manifest's lock, which no reader takes.

use crate::core::Core;
use crate::store::Store;
use crate::{Error, Result};
use lsm_memtable::Memtable;
use lsm_types::SeqNo;
use lsm_version::{Change, Edit, Needed, SuperVersion, Version};
use std::collections::HashSet;
use std::sync::Arc;

/// A change of a keyspace's view.
pub(crate) enum Step {
    /// The active memtable is sealed and `fresh` takes its place. The caller holds
    /// the lock under which writers pin the active memtable.
    Rotate {
        /// The new active memtable.
        fresh: Arc<Memtable>,
        /// All entries in the sealed one and before are numbered below this.
        sealed_at: SeqNo,
        /// The position in the log behind the last of them.
        log_end: u64,
    },
    /// Tables come, go or move.
    Tables {
        /// Which.
        change: Change,
        /// All memtables up to this rotation are in tables now; 0 for none.
        flushed_rotation: u64,
        /// More edits for the same record of the manifest.
        more_edits: Vec<Edit>,
    },
}

/// Runs a swap under the commit lock at a sequence number of its own: the swap is told for
/// which snapshots before that number and behind it the new view is right, and the number is
/// published right after.
pub(crate) type AtNewSeqno<'a> = &'a dyn Fn(&mut dyn FnMut(Needed));

/// Makes the next view of `core`. `published` is the bound to stamp it with and
/// `live` the open snapshots. A change that removes what snapshots so far see, or adds what
/// they must not see, is swapped in `at_new_seqno`: older snapshots keep the view before,
/// newer ones are past that number, and there are none between.
pub(crate) fn install(
    store: &Store,
    core: &Core,
    step: Step,
    published: SeqNo,
    live: impl Fn() -> Vec<SeqNo>,
    at_new_seqno: Option<AtNewSeqno<'_>>,
) -> Result<()> {
    match step {
        Step::Rotate { fresh, sealed_at, log_end } => {
            core.history.upgrade(&live, |view| view.rotated(fresh, sealed_at, log_end));
            core.count_sealed();
            Ok(())
        }
        Step::Tables { change, flushed_rotation, more_edits } => store.with_manifest(|manifest| {
            if core.is_dropped() {
                return Err(Error::invalid(format!("the keyspace {:?} was dropped", core.name)));
            }
            let before = core.history.latest();
            let next = before
                .tables
                .apply(&change)
                .map_err(|why| Error::InvalidArgument(format!("refused to install: {why}")))?;
            let mut edits = edits_of(core, &change);
            edits.extend(more_edits);
            store.commit_edits(manifest, edits)?;
            let mut flushed = 0;
            let mut swap = |next: Version| {
                let next = Arc::new(next);
                core.history.upgrade(&live, |view| {
                    let after = view.with_tables(next, flushed_rotation, published);
                    flushed = view.sealed.len() - after.sealed.len();
                    after
                });
            };
            match at_new_seqno {
                None => swap(next),
                Some(run) => {
                    run(&mut |needed| swap(next.narrowed(&needed)));
                    // What was kept for a snapshot that did not open.
                    core.history.collect(&live);
                }
            }
            core.count_flushed(flushed);
            mark_obsolete(&before.tables, &change);
            Ok(())
        }),
    }
}

/// Empties the view of a dropped keyspace, for snapshots past `published` alone, so
/// that older ones keep what they see. The manifest's edit was written before.
pub(crate) fn install_dropped(core: &Core, published: SeqNo, live: impl FnOnce() -> Vec<SeqNo>) {
    let before = core.history.latest();
    let everything = Change {
        // A snapshot at `published` may be from before the drop.
        needed: Some(Needed::from_watermark(published + 1)),
        removed: before.tables.tables().map(|(_, table)| table.number()).collect(),
        ..Change::default()
    };
    let Ok(empty) = before.tables.apply(&everything) else { return };
    let empty = Arc::new(empty);
    core.history.upgrade(live, |_| SuperVersion::new(crate::core::new_memtable(), empty, published));
    mark_obsolete(&before.tables, &everything);
}

fn edits_of(core: &Core, change: &Change) -> Vec<Edit> {
    let keyspace = core.id;
    let removed = change.removed.iter().map(|&number| Edit::TableRemoved { keyspace, number });
    let moved =
        change.moved.iter().map(|&(number, placement)| Edit::TableMoved { keyspace, number, placement });
    let added = change.added.iter().map(|(placement, table)| Edit::TableAdded {
        keyspace,
        number: table.number(),
        placement: *placement,
        meta: table.meta().clone(),
    });
    let flushed = change.flushed_through.map(|seqno| Edit::FlushedThrough { keyspace, seqno });
    let exact = change.needed.as_ref().map(|needed| Edit::ExactFrom { keyspace, seqno: needed.published });
    removed.chain(moved).chain(added).chain(flushed).chain(exact).collect()
}

/// From now on the files of the removed tables go with their last reader.
fn mark_obsolete(before: &Version, change: &Change) {
    if change.removed.is_empty() {
        return;
    }
    let removed: HashSet<u64> = change.removed.iter().copied().collect();
    for (_, table) in before.tables().filter(|(_, table)| removed.contains(&table.number())) {
        table.mark_obsolete();
    }
}
