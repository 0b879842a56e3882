//! [`TreeIndex`]: a B+tree of our own over an arena, for one writer at a time and any
//! number of readers who never wait. Used by `Memtable`; decides nothing about
//! visibility.
//!
//! The protocol, in six sentences:
//!
//! 1. A node takes slots in turn, and one word, its order, says which are taken and
//!    how they sort; storing that word (`Release`) is the moment of an insert.
//! 2. A full leaf is never changed: two new leaves replace it, or one is added after
//!    it, first in the chain of leaves and in the parent, and then the entry goes in.
//! 3. In the parent, the order takes a slot for the right half before the left half
//!    replaces the child; a reader who looks at the order again after the child
//!    (`Acquire`) cannot have been sent to the wrong half.
//! 4. A leaf that was replaced says so in its order, last; until then nothing was
//!    inserted into those that replace it, so it was still complete.
//! 5. A step from leaf to leaf holds when, after looking at the far one, the near one
//!    has not changed, and neither was replaced; else the reader starts from the root.
//!    An entry found so may still lie before the sought key, when a leaf was added in
//!    between; it is compared, and the reader starts over.
//! 6. Nodes and records are never freed before the whole, so whatever a reader holds
//!    stays readable; and a writer that sleeps in the middle holds nobody up.

mod insert;
#[cfg(not(lsm_loom))]
mod level;
mod node;
mod nodes;
mod order;
mod records;
mod walk;

#[cfg(test)]
mod tests;

use super::{EntryRef, MemtableIndex, NewValue};
use crate::arena::{RecordRef, Spare};
use insert::Writer;
use lsm_sync::Mutex;
use lsm_sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use lsm_types::InternalKey;
use node::{Inner, Leaf};
use nodes::Nodes;
use order::Order;
use records::Records;
use std::sync::Arc;

/// How many entries or separators a node takes.
#[cfg(not(lsm_loom))]
pub(crate) const FAN_OUT: usize = order::MAX_SLOTS;
/// Small enough that models split nodes on several levels.
#[cfg(lsm_loom)]
pub(crate) const FAN_OUT: usize = 2;

/// A sorted set of records with a fan-out of `N`.
///
/// Any thread may insert; inserts take turns. Any thread may read at any time:
/// readers take no lock, and a read is repeated only when an insert got on meanwhile.
#[derive(Debug)]
pub(crate) struct TreeIndex<const N: usize> {
    root: Root,
    leaves: Nodes<Leaf<N>>,
    inners: Nodes<Inner<N>>,
    records: Records,
    /// The right to insert: the only way to new records, and held for each change of
    /// a node. Nothing but memory is waited for while it is held.
    writer: Apart<Mutex<Writer>>,
    /// Bytes of records. `Relaxed`: stored under `writer`, read for statistics.
    record_bytes: Apart<AtomicUsize>,
}

/// Memory of trees that are gone, kept for those to come. Clones share it. One for each
/// kind, since of each length one chunk is kept.
#[derive(Clone, Debug)]
pub(crate) struct TreeSpare {
    records: Arc<Spare>,
    leaves: Arc<Spare>,
    inners: Arc<Spare>,
}

impl Default for TreeSpare {
    fn default() -> Self {
        // Nodes gain nothing by huge pages that could be measured.
        let [records, leaves, inners] = [true, false, false].map(|huge| Arc::new(Spare::new(huge)));
        Self { records, leaves, inners }
    }
}

impl TreeSpare {
    /// Gives all back to the system, and what comes later as well, until much is written.
    pub(crate) fn clear(&self) {
        [&self.records, &self.leaves, &self.inners].into_iter().for_each(|spare| spare.clear());
    }

    /// Whether something is kept, or will be once a memtable is gone.
    pub(crate) fn is_wanted(&self) -> bool {
        [&self.records, &self.leaves, &self.inners].into_iter().any(|spare| spare.is_wanted())
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> usize {
        [&self.records, &self.leaves, &self.inners].into_iter().map(|spare| spare.bytes()).sum()
    }
}

/// A value on cache lines of its own, so that who reads its neighbours does not wait
/// for who writes it.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

/// The root and how many levels of inner nodes there are, in one word.
#[derive(Debug)]
struct Root(AtomicU64);

impl Root {
    #[inline]
    fn load(&self) -> (u32, u32) {
        let word = self.0.load(lsm_sync::weaken("memtable.root_load", Ordering::Acquire));
        ((word >> 32) as u32, word as u32)
    }

    /// `Release`, for the `Acquire` in `load`: whoever finds the root finds its slots.
    fn store(&self, height: u32, node: u32) {
        let word = u64::from(height) << 32 | u64::from(node);
        self.0.store(word, lsm_sync::weaken("memtable.root", Ordering::Release));
    }
}

/// A leaf as it was at one moment.
#[derive(Clone, Copy, Debug)]
struct LeafView {
    leaf: u32,
    order: Order,
}

/// An entry, and where it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreePosition {
    view: LeafView,
    rank: u32,
    record: RecordRef,
}

impl<const N: usize> TreeIndex<N> {
    pub(crate) fn new(spare: &TreeSpare) -> Self {
        let (records, writer) = Records::new(&spare.records);
        let leaves = Nodes::new(&spare.leaves);
        let (first, _) = leaves.allocate();
        let root = Root(AtomicU64::new(0));
        root.store(0, first);
        Self {
            root,
            leaves,
            inners: Nodes::new(&spare.inners),
            records,
            writer: Apart(Mutex::new(Writer::new(writer))),
            record_bytes: Apart(AtomicUsize::new(0)),
        }
    }

    /// The leaf that `target` belongs into, at a moment since the call.
    #[inline]
    fn leaf_of(&self, target: InternalKey<&[u8]>) -> LeafView {
        self.descend(|inner, order| inner.child_rank(order, &self.records, target))
    }

    /// Walks down to a leaf, by the child that `choose` ranks.
    #[inline]
    fn descend(&self, choose: impl Fn(&Inner<N>, Order) -> usize) -> LeafView {
        let (height, mut node) = self.root.load();
        for _ in 0..height {
            let inner = self.inners.get(node);
            node = loop {
                let order = inner.sorted.order();
                let child = inner.child(order, choose(inner, order));
                // The child may be newer than the order, hence the half of a split
                // that `choose` knew nothing of. Then this order is newer too.
                if inner.sorted.order() == order || lsm_sync::mutant("memtable.no_second_look") {
                    break child;
                }
            };
        }
        LeafView { leaf: node, order: self.leaves.get(node).sorted.order() }
    }
}

impl<const N: usize> MemtableIndex for TreeIndex<N> {
    type Position = TreePosition;

    #[inline]
    fn insert(&self, key: InternalKey<&[u8]>, value: NewValue<'_>) -> bool {
        self.insert_entry(key, value)
    }

    fn approximate_bytes(&self) -> usize {
        self.record_bytes.0.load(Ordering::Relaxed)
            + self.leaves.bytes()
            + self.inners.bytes()
            + size_of::<Self>()
    }

    #[inline]
    fn entry<'a>(&'a self, position: &'a TreePosition) -> EntryRef<'a> {
        EntryRef { key: self.records.key(position.record), value: self.records.value(position.record) }
    }

    fn first(&self) -> Option<TreePosition> {
        self.first_position()
    }

    fn last(&self) -> Option<TreePosition> {
        self.last_position()
    }

    #[inline]
    fn at_or_after(&self, target: InternalKey<&[u8]>) -> Option<TreePosition> {
        self.position_from(target, false)
    }

    fn at_or_before(&self, target: InternalKey<&[u8]>) -> Option<TreePosition> {
        self.position_up_to(target, false)
    }

    #[inline]
    fn after(&self, position: &TreePosition) -> Option<TreePosition> {
        self.position_after(position)
    }

    #[inline]
    fn before(&self, position: &TreePosition) -> Option<TreePosition> {
        self.position_before(position)
    }
}
