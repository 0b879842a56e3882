//! The seam between a memtable and the structure that keeps its entries sorted.
//! Called by `Memtable` and `MemtableCursor` only. An index knows nothing of range
//! tombstones, snapshots or the numbers already published.

use crate::ValueRef;
use lsm_types::{InternalKey, Slice};
use std::fmt::Debug;

#[cfg(not(lsm_loom))]
mod skip_map;
mod tree;
#[cfg(not(lsm_loom))]
use skip_map::{SkipMapIndex, SkipMapPosition};
mod any;
pub(crate) use any::{Index, Position};
pub(crate) use tree::TreeSpare;

/// A value on its way in.
#[derive(Clone, Debug)]
pub(crate) enum NewValue<'a> {
    /// To be copied.
    Copied(&'a [u8]),
    /// To be kept as it is.
    Shared(Slice),
}

/// An entry as a position lends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryRef<'a> {
    pub(crate) key: InternalKey<&'a [u8]>,
    pub(crate) value: ValueRef<'a>,
}

/// Sorted entries that are inserted, replaced and walked, never removed.
///
/// Every method may be called from any thread at any time. An insert that happened
/// before a read is seen by it; one beside it is seen whole or not at all. An
/// entry, once seen, stays reachable for as long as the index lives.
pub(crate) trait MemtableIndex: Debug + Send + Sync {
    /// Where a cursor stands: always on an entry. It stays valid, and keeps the
    /// entry it was made from, whatever is inserted.
    type Position: Debug + Send + Sync;

    /// Adds the entry, in place of the one with equal user key and number if there
    /// is one. Returns whether the entry is a new one.
    fn insert(&self, key: InternalKey<&[u8]>, value: NewValue<'_>) -> bool;

    /// Bytes of memory in use, of the entries and of the index itself.
    fn approximate_bytes(&self) -> usize;

    /// Lends `found` the first entry at or after `target`.
    fn lookup<R>(&self, target: InternalKey<&[u8]>, found: impl FnOnce(EntryRef<'_>) -> R) -> Option<R> {
        self.at_or_after(target).map(|position| found(self.entry(&position)))
    }

    /// The entry at a position.
    fn entry<'a>(&'a self, position: &'a Self::Position) -> EntryRef<'a>;

    /// The first entry.
    fn first(&self) -> Option<Self::Position>;

    /// The last entry.
    fn last(&self) -> Option<Self::Position>;

    /// The first entry at or after `target`.
    fn at_or_after(&self, target: InternalKey<&[u8]>) -> Option<Self::Position>;

    /// The last entry at or before `target`.
    fn at_or_before(&self, target: InternalKey<&[u8]>) -> Option<Self::Position>;

    /// The entry after a position.
    fn after(&self, position: &Self::Position) -> Option<Self::Position>;

    /// The entry before a position.
    fn before(&self, position: &Self::Position) -> Option<Self::Position>;
}
