//! [`SkipMapIndex`]: `crossbeam-skiplist` as the index, the simplest one. Used where
//! many threads insert at once, and as the yardstick for the other.

use super::{EntryRef, MemtableIndex, NewValue};
use crate::ValueRef;
use crossbeam_skiplist::SkipMap;
use crossbeam_skiplist::map::Entry;
use lsm_sync::RwLock;

use lsm_sync::atomic::AtomicUsize;
use lsm_sync::atomic::Ordering::Relaxed;
use lsm_types::{InternalKey, Slice, Trailer};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound;

/// What a node, its tower and its two allocations of bytes cost, as measured.
const NODE_BYTES: usize = 196;

/// Entries in a skip list.
///
/// Threads insert without waiting for each other. The lock in a node guards the
/// kind and value of that one entry; nothing else happens under it. It is there
/// for the insert of an equal key and number, which must replace both at once.
#[derive(Debug, Default)]
pub(crate) struct SkipMapIndex {
    map: SkipMap<Key, RwLock<Stored>>,
    /// `Relaxed` throughout: a statistic that orders nothing.
    bytes: AtomicUsize,
}

/// The part of an entry that a later insert may replace.
#[derive(Clone, Debug)]
struct Stored {
    trailer: Trailer,
    value: Value,
    /// Whether the insert that made the node has yet to take note of it.
    uncounted: bool,
}

#[derive(Clone, Debug)]
enum Value {
    Copied(Slice),
    Shared(Slice),
}

/// A cursor's own references to the entry it stands on.
#[derive(Debug)]
pub(crate) struct SkipMapPosition {
    key: InternalKey<Slice>,
    value: Value,
}

impl Value {
    fn len(&self) -> usize {
        match self {
            Self::Copied(slice) | Self::Shared(slice) => slice.len(),
        }
    }
}

impl SkipMapPosition {
    fn new(entry: Entry<'_, Key, RwLock<Stored>>) -> Self {
        let Stored { trailer, value, .. } = entry.value().read().clone();
        Self { key: InternalKey { user_key: entry.key().0.user_key.clone(), trailer }, value }
    }
}

/// A key of the map. `SkipMap` looks a key up by something that the key can lend,
/// and no `InternalKey<Slice>` can lend an `&InternalKey<&[u8]>`; but both can lend
/// themselves as a `dyn Lend`.
#[derive(Debug)]
struct Key(InternalKey<Slice>);

trait Lend {
    fn lend(&self) -> InternalKey<&[u8]>;
}

impl Lend for Key {
    fn lend(&self) -> InternalKey<&[u8]> {
        self.0.as_borrowed()
    }
}

impl Lend for InternalKey<&[u8]> {
    fn lend(&self) -> InternalKey<&[u8]> {
        *self
    }
}

impl<'a> Borrow<dyn Lend + 'a> for Key {
    fn borrow(&self) -> &(dyn Lend + 'a) {
        self
    }
}

impl PartialEq for dyn Lend + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.lend() == other.lend()
    }
}

impl Eq for dyn Lend + '_ {}

impl PartialOrd for dyn Lend + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Lend + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.lend().cmp(&other.lend())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl SkipMapIndex {
    fn lower_bound(&self, bound: Bound<InternalKey<&[u8]>>) -> Option<SkipMapPosition> {
        let bound = bound.as_ref().map(|target| target as &dyn Lend);
        self.map.lower_bound(bound).map(SkipMapPosition::new)
    }

    fn upper_bound(&self, bound: Bound<InternalKey<&[u8]>>) -> Option<SkipMapPosition> {
        let bound = bound.as_ref().map(|target| target as &dyn Lend);
        self.map.upper_bound(bound).map(SkipMapPosition::new)
    }
}

impl MemtableIndex for SkipMapIndex {
    type Position = SkipMapPosition;

    fn insert(&self, key: InternalKey<&[u8]>, value: NewValue<'_>) -> bool {
        let value = match value {
            NewValue::Copied(bytes) => Value::Copied(Slice::copy_from(bytes)),
            NewValue::Shared(slice) => Value::Shared(slice),
        };
        let value_bytes = value.len();
        let stored = Stored { trailer: key.trailer, value, uncounted: true };
        let entry = self.map.get_or_insert_with(Key(key.to_owned_key()), || RwLock::new(stored.clone()));
        // Whoever made the node, the later of two equal inserts replaces; and of two
        // that run at once, the one which takes the lock first counts the node.
        let replaced = std::mem::replace(&mut *entry.value().write(), Stored { uncounted: false, ..stored });
        let node_bytes = if replaced.uncounted { key.user_key.len() + NODE_BYTES } else { 0 };
        // What was there stays counted: a reader may still hold it.
        self.bytes.fetch_add(value_bytes + node_bytes, Relaxed);
        replaced.uncounted
    }

    fn approximate_bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    fn entry<'a>(&'a self, position: &'a SkipMapPosition) -> EntryRef<'a> {
        let value = match &position.value {
            Value::Copied(slice) => ValueRef::Inline(slice),
            Value::Shared(slice) => ValueRef::Shared(slice),
        };
        EntryRef { key: position.key.as_borrowed(), value }
    }

    fn first(&self) -> Option<SkipMapPosition> {
        self.map.front().map(SkipMapPosition::new)
    }

    fn last(&self) -> Option<SkipMapPosition> {
        self.map.back().map(SkipMapPosition::new)
    }

    fn at_or_after(&self, target: InternalKey<&[u8]>) -> Option<SkipMapPosition> {
        self.lower_bound(Bound::Included(target))
    }

    fn at_or_before(&self, target: InternalKey<&[u8]>) -> Option<SkipMapPosition> {
        self.upper_bound(Bound::Included(target))
    }

    fn after(&self, position: &SkipMapPosition) -> Option<SkipMapPosition> {
        self.lower_bound(Bound::Excluded(position.key.as_borrowed()))
    }

    fn before(&self, position: &SkipMapPosition) -> Option<SkipMapPosition> {
        self.upper_bound(Bound::Excluded(position.key.as_borrowed()))
    }
}
