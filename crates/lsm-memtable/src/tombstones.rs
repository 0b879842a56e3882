//! [`Tombstones`]: the range tombstones of a memtable. Called by `Memtable`; knows
//! nothing of point entries.

use lsm_sync::atomic::{AtomicUsize, Ordering};
use lsm_sync::{Mutex, RwLock};
use lsm_types::{RangeTombstone, RangeTombstoneSet, SeqNo};
use std::sync::Arc;

/// What a tombstone costs beside its keys: its place in the list, its fragments
/// and their numbers, as a rule of thumb for few overlaps.
const TOMBSTONE_BYTES: usize = 320;

/// How many tombstones the fragments of a set may list for each tombstone in it.
const MAX_LISTED: usize = 16;

/// Range tombstones in sets of doubling sizes, like the digits of a binary counter.
///
/// A set answers quickly but cannot grow. A new tombstone therefore starts a set of
/// its own, and sets of about equal size merge: n inserts cut O(n log n) tombstones
/// in all, a look-up asks O(log n) sets.
///
/// A set lists for each of its fragments every tombstone over it, which for n nested
/// ones is n² / 2 in all. So sets whose tombstones lie over each other too deeply stay
/// apart: memory stays linear, and a look-up asks up to n / 32 sets.
///
/// Threads insert one at a time and read whenever they like; while there is no
/// tombstone, a read is one load.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    /// Serialises inserts; sets are merged under it.
    inserting: Mutex<()>,
    /// Guards the list of sets; held to read it or to swap it, never while merging.
    sets: RwLock<Vec<CountedSet>>,
    /// How many tombstones `sets` holds: raised after the swap, `Release` for the
    /// `Acquire` in `count`, so that whoever finds the number finds the set.
    count: AtomicUsize,
    /// `Relaxed` throughout: a statistic that orders nothing.
    bytes: AtomicUsize,
}

/// A set with the tombstones it was cut from, which merge without piling up cuts.
#[derive(Clone, Debug)]
struct CountedSet {
    tombstones: Arc<[RangeTombstone]>,
    set: Arc<RangeTombstoneSet>,
}

impl CountedSet {
    fn new(tombstones: Vec<RangeTombstone>) -> Self {
        let set = Arc::new(RangeTombstoneSet::new(tombstones.iter().cloned()));
        Self { tombstones: tombstones.into(), set }
    }

    /// Whether fragments list so many tombstones that a greater set would cost more
    /// than two.
    fn is_too_deep(&self) -> bool {
        let listed: usize = self.set.fragments().iter().map(|fragment| fragment.seqnos.len()).sum();
        listed > MAX_LISTED * self.tombstones.len()
    }
}

impl Tombstones {
    /// Adds a tombstone; one over no key is counted and covers nothing.
    pub(crate) fn insert(&self, tombstone: RangeTombstone) {
        let bytes = tombstone.span.start.len()
            + tombstone.span.end.as_ref().map_or(0, |end| end.len())
            + TOMBSTONE_BYTES;
        let _inserting = self.inserting.lock();
        // Only this thread changes the list, so it does not go stale in between.
        let mut sets = self.sets.read().clone();
        let mut newest = CountedSet::new(vec![tombstone]);
        while let Some(last) = sets.pop_if(|last| last.tombstones.len() <= newest.tombstones.len()) {
            let both = newest.tombstones.iter().chain(last.tombstones.iter()).cloned();
            let merged = CountedSet::new(both.collect());
            if merged.is_too_deep() {
                sets.push(last);
                break;
            }
            newest = merged;
        }
        sets.push(newest);
        let replaced = std::mem::replace(&mut *self.sets.write(), sets);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Release);
        drop(replaced);
    }

    /// The newest tombstone over `key` that is visible at `snapshot`.
    #[inline]
    pub(crate) fn newest_over(&self, key: &[u8], snapshot: SeqNo) -> Option<SeqNo> {
        if self.count() == 0 {
            return None;
        }
        self.sets.read().iter().filter_map(|sets| sets.set.newest_covering(key, snapshot)).max()
    }

    /// The sets as they are now.
    pub(crate) fn sets(&self) -> Vec<Arc<RangeTombstoneSet>> {
        if self.count() == 0 {
            return Vec::new();
        }
        self.sets.read().iter().map(|sets| Arc::clone(&sets.set)).collect()
    }

    /// The tombstones as they were inserted, in no order.
    pub(crate) fn list(&self) -> Vec<RangeTombstone> {
        self.sets.read().iter().flat_map(|sets| sets.tombstones.iter().cloned()).collect()
    }

    /// How many were inserted.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Bytes of memory in use.
    pub(crate) fn approximate_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(lsm_loom)))]
mod tests {
    use super::*;
    use lsm_types::KeyRange;

    #[test]
    fn nested_range_deletes_take_linear_memory() {
        let tombstones = Tombstones::default();
        for seqno in 1..=4000_u64 {
            let span = ([0_u8; 8]..seqno.to_be_bytes()).to_span();
            tombstones.insert(RangeTombstone { span, seqno });
        }
        let fragments = tombstones.sets();
        let listed: usize = fragments.iter().flat_map(|set| set.fragments()).map(|f| f.seqnos.len()).sum();
        assert!(listed <= MAX_LISTED * 4000, "{listed} listed for 4000 tombstones");
        assert_eq!(tombstones.newest_over(&[0; 8], SeqNo::MAX), Some(4000));
        assert_eq!(tombstones.newest_over(&17_u64.to_be_bytes(), 100), Some(99));
        assert_eq!(tombstones.newest_over(&4000_u64.to_be_bytes(), SeqNo::MAX), None);
    }

    #[test]
    fn many_range_deletes_stay_in_few_sets() {
        let tombstones = Tombstones::default();
        for seqno in 0..1000_u64 {
            let start = seqno.to_be_bytes();
            let end = (seqno + 1).to_be_bytes();
            tombstones.insert(RangeTombstone { span: (start..end).to_span(), seqno });
        }
        assert!(tombstones.sets().len() <= 10, "{} sets for 1000 tombstones", tombstones.sets().len());
        assert_eq!((tombstones.count(), tombstones.list().len()), (1000, 1000));
        for seqno in 0..1000_u64 {
            assert_eq!(tombstones.newest_over(&seqno.to_be_bytes(), SeqNo::MAX), Some(seqno));
            assert_eq!(tombstones.newest_over(&seqno.to_be_bytes(), seqno), None, "not visible yet");
        }
    }
}
