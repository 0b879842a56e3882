//! [`SharedActive`]: the active memtable of a tree whose callers number their writes. Many
//! insert at once, and a rotation waits for all of them. Used by
//! [`Tree`](crate::Tree); knows nothing of what a memtable is.

use lsm_sync::RwLock;
use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_types::SeqNo;

/// The active memtable `M`, and the numbers around it. `Send + Sync`.
#[derive(Debug)]
pub(crate) struct SharedActive<M> {
    /// Writers hold it shared while they insert, a rotation holds it alone while it
    /// swaps the memtable: no entry lands in a sealed one. Nothing blocks under it.
    writing: RwLock<Writing<M>>,
    /// The greatest number inserted, plus one; 0 for none.
    next_seqno: AtomicU64,
}

#[derive(Debug)]
struct Writing<M> {
    active: M,
    /// The greatest number that was sealed; what is inserted must not be below.
    floor: SeqNo,
}

impl<M: Clone> SharedActive<M> {
    /// `active` over data that holds every number below `next_seqno`.
    pub(crate) fn new(active: M, next_seqno: SeqNo) -> Self {
        let writing = Writing { active, floor: next_seqno.saturating_sub(1) };
        Self { writing: RwLock::new(writing), next_seqno: AtomicU64::new(next_seqno) }
    }

    /// Has `insert` put an entry numbered `seqno` into the active memtable. `Err` with the
    /// greatest number that was sealed when `seqno` is below it.
    pub(crate) fn insert(&self, seqno: SeqNo, insert: impl FnOnce(&M)) -> Result<(), SeqNo> {
        let writing = self.writing.read();
        if seqno < writing.floor {
            return Err(writing.floor);
        }
        if lsm_sync::mutant("tree.inserted_outside_the_lock") {
            let active = writing.active.clone();
            drop(writing);
            insert(&active);
        } else {
            insert(&writing.active);
        }
        // One operation where a loop of exchanges would retry. Release publishes the
        // insert to whoever reads the number in `highest_seqno`.
        if lsm_sync::mutant("tree.highest_by_load_and_store") {
            let before = self.next_seqno.load(Ordering::Acquire);
            self.next_seqno.store(before.max(seqno + 1), Ordering::Release);
        } else {
            let order = lsm_sync::weaken("tree.highest_raised_relaxed", Ordering::AcqRel);
            self.next_seqno.fetch_max(seqno + 1, order);
        }
        Ok(())
    }

    /// Seals the active memtable, unless `highest` says that it holds no number:
    /// `install` is told the `fresh` one that takes its place and the greatest number
    /// sealed, while nobody inserts. Says whether it did.
    pub(crate) fn seal(
        &self,
        highest: impl FnOnce(&M) -> Option<SeqNo>,
        fresh: impl FnOnce() -> M,
        install: impl FnOnce(M, SeqNo),
    ) -> bool {
        let mut writing = self.writing.write();
        let Some(highest) = highest(&writing.active) else { return false };
        let fresh = fresh();
        writing.active = fresh.clone();
        writing.floor = writing.floor.max(highest);
        install(fresh, highest);
        true
    }

    /// The greatest number inserted, flushed or not.
    pub(crate) fn highest_seqno(&self) -> Option<SeqNo> {
        // Pairs with the AcqRel in `insert`.
        self.next_seqno.load(lsm_sync::weaken("tree.highest_read_relaxed", Ordering::Acquire)).checked_sub(1)
    }
}
