//! [`Memtable`]: entries and range tombstones of one tree since its last rotation.
//! Written by the commit path, read by every read path and by the flush.

use crate::filter::{self, KeyFilter};
use crate::index::{EntryRef, Index, MemtableIndex, NewValue, TreeSpare};
use crate::tombstones::Tombstones;
use crate::{MemtableCursor, MemtableOptions, ValueRef};
use lsm_sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use lsm_types::{
    InternalKey, MAX_SEQNO, RangeTombstone, RangeTombstoneSet, SeqNo, Slice, Trailer, ValueKind, key_hash,
};
use std::sync::Arc;

/// The sorted writes of one tree that are not on disk yet.
///
/// Every method may be called from any thread at any time. An insert that happened
/// before a read is seen by it; one beside it is seen whole or not at all. Nothing
/// is ever removed: the memory goes with the last reference to the whole.
#[derive(Debug)]
pub struct Memtable {
    pub(crate) index: Index,
    options: MemtableOptions,
    spare: TreeSpare,
    tombstones: Tombstones,
    filter: KeyFilter,
    /// Point entries; `Relaxed`, since it orders nothing.
    entries: AtomicUsize,
    /// One above the highest number inserted, 0 when there is none. Raised before
    /// the entry can be seen, so it is never below what a reader has met. `AcqRel`
    /// pairs with the `Acquire` in [`Memtable::highest_seqno`].
    above_highest: AtomicU64,
    /// The lowest number inserted, `u64::MAX` when there is none; as `above_highest`.
    lowest: AtomicU64,
}

impl Memtable {
    /// An empty memtable.
    #[must_use]
    pub fn new(options: MemtableOptions) -> Self {
        Self::with_spare(options, TreeSpare::default())
    }

    /// An empty memtable of the same kind. It takes the memory of predecessors that are
    /// gone, so that a tree that is written all the time need not ask for new.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self::with_spare(self.options.clone(), self.spare.clone())
    }

    /// Gives back what is kept for successors, and what would be of memtables that are held:
    /// until much is written again.
    pub fn release_spare(&self) {
        self.spare.clear();
    }

    /// Whether memory is kept for successors, or will be once a memtable is gone.
    #[must_use]
    pub fn keeps_spare(&self) -> bool {
        self.spare.is_wanted()
    }

    /// Bytes that are kept for successors: no more than the largest memtable had.
    #[must_use]
    pub fn spare_bytes(&self) -> usize {
        self.spare.bytes()
    }

    fn with_spare(options: MemtableOptions, spare: TreeSpare) -> Self {
        Self {
            index: Index::new(&options, &spare),
            options,
            spare,
            tombstones: Tombstones::default(),
            filter: KeyFilter::default(),
            entries: AtomicUsize::new(0),
            above_highest: AtomicU64::new(0),
            lowest: AtomicU64::new(u64::MAX),
        }
    }

    /// Adds an entry, copying key and value once. An entry of equal user key and
    /// number is replaced, whatever the two kinds. O(log n).
    ///
    /// The key is at most [`MAX_KEY_BYTES`](lsm_types::MAX_KEY_BYTES) long: whoever takes
    /// keys from applications has checked that, and what is beyond would be cut off.
    #[inline]
    pub fn insert(&self, key: InternalKey<&[u8]>, value: &[u8]) {
        self.insert_value(key, NewValue::Copied(value));
    }

    /// As [`insert`](Self::insert), but keeps `value` itself instead of a copy: for
    /// large values.
    pub fn insert_shared(&self, key: InternalKey<Slice>, value: Slice) {
        self.insert_value(key.as_borrowed(), NewValue::Shared(value));
    }

    /// Deletes all keys of a span that were written before. Amortised
    /// O(log² n) in the number of range tombstones.
    pub fn insert_range_tombstone(&self, tombstone: RangeTombstone) {
        self.widen(tombstone.seqno.min(MAX_SEQNO));
        self.tombstones.insert(tombstone);
    }

    #[inline]
    fn insert_value(&self, key: InternalKey<&[u8]>, value: NewValue<'_>) {
        debug_assert!(lsm_types::check_key(key.user_key).is_ok(), "the key is too long");
        self.widen(key.seqno());
        let add = || self.filter.add(key_hash(key.user_key), self.entries.load(Ordering::Relaxed));
        // First, so that whoever meets the entry finds it by its key as well.
        if !lsm_sync::mutant("memtable.filter_late") {
            add();
        }
        if self.index.insert(key, value) {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        if lsm_sync::mutant("memtable.filter_late") {
            add();
        }
    }

    /// Takes a number into the bounds. One operation each: a load and a store would
    /// lose the higher of two numbers inserted at once.
    #[inline]
    fn widen(&self, seqno: SeqNo) {
        if lsm_sync::mutant("memtable.fetch_max") {
            let highest = self.above_highest.load(Ordering::Acquire);
            self.above_highest.store(highest.max(seqno + 1), Ordering::Release);
        } else {
            self.above_highest.fetch_max(seqno + 1, Ordering::AcqRel);
        }
        // Numbers mostly rise, so a look saves most of the second operation.
        if self.lowest.load(Ordering::Relaxed) > seqno {
            self.lowest.fetch_min(seqno, Ordering::AcqRel);
        }
    }

    /// Lends `found` the newest entry of `user_key` that is visible at `snapshot`,
    /// be it a tombstone. Range tombstones are not looked at. O(log n).
    #[inline]
    pub fn get<R>(
        &self,
        user_key: &[u8],
        snapshot: SeqNo,
        found: impl FnOnce(SeqNo, ValueKind, ValueRef<'_>) -> R,
    ) -> Option<R> {
        let target = InternalKey::seek_to(user_key, snapshot)?;
        self.index.lookup(target, |EntryRef { key, value }| {
            (key.user_key == user_key).then(|| found(key.seqno(), key.kind(), value))
        })?
    }

    /// Whether a user key with this [`key_hash`] may be inside: always when it is, seldom when
    /// not. A few cache lines, where [`get`](Self::get) walks down the whole index; range
    /// tombstones are not looked at.
    #[must_use]
    #[inline]
    pub fn may_hold(&self, hash: u64) -> bool {
        self.filter.may_hold(hash)
    }

    /// The number of the newest range tombstone over `user_key` that is visible at
    /// `snapshot`; entries of that key with a lower number are deleted. One load
    /// while there is none, else O(log² n).
    #[must_use]
    #[inline]
    pub fn range_tombstone_over(&self, user_key: &[u8], snapshot: SeqNo) -> Option<SeqNo> {
        self.tombstones.newest_over(user_key, snapshot)
    }

    /// The range tombstones as they are now, in at most about log n sets that
    /// together hold each of them once.
    #[must_use]
    pub fn range_tombstones(&self) -> Vec<Arc<RangeTombstoneSet>> {
        self.tombstones.sets()
    }

    /// The range tombstones as they were inserted, in no order: for a flush, which
    /// cuts them anew.
    #[must_use]
    pub fn range_tombstone_list(&self) -> Vec<RangeTombstone> {
        self.tombstones.list()
    }

    /// A cursor over all point entries, which keeps the memtable alive. It sees
    /// every entry that was inserted before it moves, and may see later ones.
    #[must_use]
    pub fn cursor(self: &Arc<Self>) -> MemtableCursor {
        MemtableCursor::new(Arc::clone(self))
    }

    /// The highest number inserted, range tombstones included. Raised before the
    /// entry can be seen: never below the number of an entry that a reader met.
    #[must_use]
    pub fn highest_seqno(&self) -> Option<SeqNo> {
        self.above_highest.load(Ordering::Acquire).checked_sub(1)
    }

    /// The lowest number inserted, range tombstones included.
    #[must_use]
    pub fn lowest_seqno(&self) -> Option<SeqNo> {
        Some(self.lowest.load(Ordering::Acquire)).filter(|&lowest| lowest != u64::MAX)
    }

    /// Whether anything in it may be numbered below `snapshot`. One load.
    #[must_use]
    #[inline]
    pub fn may_show(&self, snapshot: SeqNo) -> bool {
        // Pairs with the `AcqRel` in `widen`. Empty, it is `u64::MAX`, which no snapshot is.
        self.lowest.load(Ordering::Acquire) < snapshot
    }

    /// How many entries there are; a range tombstone counts as one, and an entry
    /// that replaced another does not count again.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed) + self.tombstones.count()
    }

    /// Whether nothing was inserted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory in use, the index and what was replaced included: what
    /// decides when to rotate. Shared values count by their length. O(1).
    #[must_use]
    pub fn approximate_bytes(&self) -> usize {
        let entries = self.entries.load(Ordering::Relaxed);
        let filter_bytes = if entries == 0 { 0 } else { filter::bytes_for(entries) };
        self.index.approximate_bytes() + self.tombstones.approximate_bytes() + filter_bytes
    }
}

/// What a cursor shows while it stands nowhere.
pub(crate) const NOWHERE: InternalKey<&[u8]> =
    InternalKey { user_key: &[], trailer: Trailer::new(0, ValueKind::Value) };
