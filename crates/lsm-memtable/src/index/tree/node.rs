//! [`Leaf`] and [`Inner`]: the nodes of the tree, and the search within one. Used by
//! `mod` (readers) and `insert` (the one writer); decides nothing about the tree.

use super::nodes::Node;
use super::order::{MAX_SLOTS, Order};
use super::records::Records;
use crate::arena::{RecordRef, RecordSlot};
use lsm_sync::atomic::{AtomicU32, AtomicU64, Ordering};
use lsm_sync::weaken;
use lsm_types::InternalKey;
use std::cmp;
use std::ops::{Deref, DerefMut, Range};

/// What leaves and inner nodes share: sorted keys, of which the first bytes lie
/// here. Two cache lines at full fan-out.
///
/// A slot is written once, before the order that takes it is published; so whoever
/// loads an order (`Acquire`) may read all slots it takes with `Relaxed`.
#[cfg_attr(not(lsm_loom), derive(zerocopy::FromBytes))]
#[repr(C)]
#[derive(Debug)]
pub(super) struct Sorted<const N: usize> {
    /// An [`Order`]. Stored with `Release` in `publish`, loaded with `Acquire` in `order`.
    order: AtomicU64,
    /// The eight bytes of each slot's key that follow the skipped ones.
    heads: [AtomicU64; N],
    /// How many bytes at the start of the key all keys that belong into this node
    /// share. Set while the node is private.
    skip: AtomicU32,
    /// A leaf's next leaf, an inner node's first child; see there.
    link: AtomicU32,
}

/// A node of entries. Three cache lines at full fan-out.
#[cfg_attr(not(lsm_loom), derive(zerocopy::FromBytes))]
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Leaf<const N: usize> {
    pub(super) sorted: Sorted<N>,
    /// The entries. The record of a taken slot changes when an equal key and number
    /// is inserted again, and at no other time.
    records: [RecordSlot; N],
    /// The leaf before this one, or 0.
    prev: AtomicU32,
}

/// A node of nodes. Four cache lines at full fan-out.
///
/// A child changes when it is split: first the order takes a slot for the right
/// half, then the child is replaced by the left half. A reader may therefore pair an
/// old order with a new child, and must look at the order again after the child.
#[cfg_attr(not(lsm_loom), derive(zerocopy::FromBytes))]
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Inner<const N: usize> {
    pub(super) sorted: Sorted<N>,
    /// The separators: each is at or before every key below its slot's child, and
    /// after every key below the child of the rank before.
    pub(super) separators: [RecordSlot; N],
    children: [AtomicU32; N],
}

/// A separator with its head, and the child on its right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch {
    pub(super) head: u64,
    pub(super) separator: RecordRef,
    pub(super) child: u32,
}

/// The branches of an inner node, and one more.
#[derive(Debug)]
pub(super) struct Branches {
    branches: [Branch; MAX_SLOTS + 1],
    count: usize,
}

impl Deref for Branches {
    type Target = [Branch];

    fn deref(&self) -> &[Branch] {
        &self.branches[..self.count]
    }
}

impl DerefMut for Branches {
    fn deref_mut(&mut self) -> &mut [Branch] {
        &mut self.branches[..self.count]
    }
}

/// Whether keys whose heads lie from the first to the last share `bytes` bytes or more of
/// them.
pub(super) const fn are_alike(first: u64, last: u64, bytes: usize) -> bool {
    (first ^ last).leading_zeros() as usize / 8 >= bytes
}

/// The first eight bytes after `skip`, as a number that orders as they do; shorter
/// keys are filled up with zeros.
#[inline]
pub(super) fn head(user_key: &[u8], skip: usize) -> u64 {
    let rest = user_key.get(skip..).unwrap_or_default();
    match rest.first_chunk() {
        Some(chunk) => u64::from_be_bytes(*chunk),
        None => rest.iter().rev().fold(0, |head, &byte| head >> 8 | u64::from(byte) << 56),
    }
}

/// Where a key belongs in a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// How many keys are before it.
    pub(super) rank: usize,
    /// Whether the key at `rank` is equal to it.
    pub(super) is_equal: bool,
}

impl<const N: usize> Sorted<N> {
    const FITS: () = assert!(N >= 2 && N <= MAX_SLOTS, "the order of the slots must fit one word");

    #[cfg(lsm_loom)]
    fn empty() -> Self {
        Self {
            order: AtomicU64::new(0),
            heads: std::array::from_fn(|_| AtomicU64::new(0)),
            skip: AtomicU32::new(0),
            link: AtomicU32::new(0),
        }
    }

    /// For a node that nobody else can reach yet.
    #[cfg(not(lsm_loom))]
    fn reset(&self) {
        self.order.store(0, Ordering::Relaxed);
        self.skip.store(0, Ordering::Relaxed);
        self.link.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn order(&self) -> Order {
        Order::from_word(self.order.load(weaken("memtable.order_load", Ordering::Acquire)))
    }

    /// Makes visible what was written to the slots before.
    #[inline]
    pub(super) fn publish(&self, order: Order) {
        self.order.store(order.word(), weaken("memtable.publish", Ordering::Release));
    }

    /// For a node that nobody else can reach yet.
    pub(super) fn set_skip(&self, skip: usize) {
        self.skip.store(skip as u32, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn skip(&self) -> usize {
        self.skip.load(Ordering::Relaxed) as usize
    }

    /// How many heads of taken slots are below and how many equal to `head`. Looks at
    /// all of them: no branch depends on the keys, so none is mispredicted.
    #[inline]
    fn count_heads(&self, order: Order, head: u64) -> (usize, usize) {
        let count = order.count();
        let (mut below, mut equal) = (0, 0);
        for (slot, other) in self.heads.iter().enumerate() {
            let other = other.load(Ordering::Relaxed);
            below += usize::from(slot < count && other < head);
            equal += usize::from(slot < count && other == head);
        }
        (below, equal)
    }

    /// Where `target` belongs among the keys of `slots`.
    #[inline]
    fn place(
        &self,
        order: Order,
        slots: &[RecordSlot; N],
        records: &Records,
        target: InternalKey<&[u8]>,
    ) -> Place {
        let (below, ties) = self.count_heads(order, head(target.user_key, self.skip()));
        if ties == 0 {
            Place { rank: below, is_equal: false }
        } else {
            Self::place_among(order, slots, records, target, below, ties)
        }
    }

    /// As `place`, among `ties` keys of equal heads, the first of which has rank `low`.
    #[inline]
    fn place_among(
        order: Order,
        slots: &[RecordSlot; N],
        records: &Records,
        target: InternalKey<&[u8]>,
        mut low: usize,
        ties: usize,
    ) -> Place {
        let mut high = low + ties;
        while low < high {
            let middle = low.midpoint(high);
            match records.key(slots[order.slot(middle)].load()).cmp(&target) {
                cmp::Ordering::Less => low = middle + 1,
                cmp::Ordering::Equal => return Place { rank: middle, is_equal: true },
                cmp::Ordering::Greater => high = middle,
            }
        }
        Place { rank: low, is_equal: false }
    }

    /// Writes the next free slot, which the published order does not take yet.
    #[inline]
    fn fill(&self, slot: usize, user_key: &[u8], record_slot: &RecordSlot, record: RecordRef) {
        let () = Self::FITS;
        self.heads[slot].store(head(user_key, self.skip()), Ordering::Relaxed);
        record_slot.store(record);
    }
}

impl<const N: usize> Leaf<N> {
    #[inline]
    pub(super) fn place(&self, order: Order, records: &Records, target: InternalKey<&[u8]>) -> Place {
        self.sorted.place(order, &self.records, records, target)
    }

    /// The record at a rank.
    #[inline]
    pub(super) fn record(&self, order: Order, rank: usize) -> RecordRef {
        self.records[order.slot(rank)].load()
    }

    /// Adds a record at `rank` to a leaf with a free slot, visible at once.
    #[inline]
    pub(super) fn insert(&self, order: Order, rank: usize, user_key: &[u8], record: RecordRef) {
        let slot = order.count();
        if lsm_sync::mutant("memtable.publish_first") {
            self.sorted.publish(order.with_next_slot_at(rank));
        }
        self.sorted.fill(slot, user_key, &self.records[slot], record);
        self.sorted.publish(order.with_next_slot_at(rank));
    }

    /// The head of the key at a rank.
    pub(super) fn head(&self, order: Order, rank: usize) -> u64 {
        self.sorted.heads[order.slot(rank)].load(Ordering::Relaxed)
    }

    /// Whether the keys of `ranks` share `bytes` bytes or more of their heads.
    pub(super) fn hardly_tells_apart(&self, ranks: Range<usize>, bytes: usize) -> bool {
        let order = self.sorted.order();
        let (Some(first), Some(last)) = (ranks.clone().next(), ranks.last()) else { return false };
        are_alike(self.head(order, first), self.head(order, last), bytes)
    }

    /// Fills a slot of a leaf that nobody else can reach yet and whose order does not
    /// take it yet.
    pub(super) fn copy_slot(&self, slot: usize, head: u64, record: RecordRef) {
        self.sorted.heads[slot].store(head, Ordering::Relaxed);
        self.records[slot].store(record);
    }

    /// Puts another record of an equal key at a taken rank, visible at once.
    pub(super) fn replace(&self, order: Order, rank: usize, record: RecordRef) {
        self.records[order.slot(rank)].store(record);
    }

    /// The leaf after this one, or 0. The `Acquire` pairs with the `Release` in
    /// `set_next`, so that the leaf's slots are seen.
    #[inline]
    pub(super) fn next(&self) -> u32 {
        self.sorted.link.load(Ordering::Acquire)
    }

    pub(super) fn set_next(&self, leaf: u32) {
        self.sorted.link.store(leaf, weaken("memtable.next", Ordering::Release));
    }

    /// The leaf before this one, or 0. Pairs with `set_prev` as `next` does.
    #[inline]
    pub(super) fn prev(&self) -> u32 {
        self.prev.load(Ordering::Acquire)
    }

    pub(super) fn set_prev(&self, leaf: u32) {
        self.prev.store(leaf, weaken("memtable.prev", Ordering::Release));
    }
}

impl<const N: usize> Inner<N> {
    /// Which child `target` belongs to, counted from the first: as many separators
    /// are at or before it.
    #[inline]
    pub(super) fn child_rank(&self, order: Order, records: &Records, target: InternalKey<&[u8]>) -> usize {
        let place = self.sorted.place(order, &self.separators, records, target);
        place.rank + usize::from(place.is_equal)
    }

    /// The child of a rank. The `Acquire` pairs with the `Release` in `set_child`, so
    /// that the child's slots are seen, and the order that was published before it.
    #[inline]
    pub(super) fn child(&self, order: Order, rank: usize) -> u32 {
        self.child_link(order, rank).load(weaken("memtable.child_load", Ordering::Acquire))
    }

    pub(super) fn set_child(&self, order: Order, rank: usize, child: u32) {
        self.child_link(order, rank).store(child, weaken("memtable.child", Ordering::Release));
    }

    #[inline]
    fn child_link(&self, order: Order, rank: usize) -> &AtomicU32 {
        match rank.checked_sub(1) {
            None => &self.sorted.link,
            Some(separator) => &self.children[order.slot(separator)],
        }
    }

    /// The first child, and the others behind their separators, with one more at a rank.
    pub(super) fn contents_with(&self, rank: usize, one_more: Branch) -> (u32, Branches) {
        let order = self.sorted.order();
        let mut branches = Branches { branches: [one_more; MAX_SLOTS + 1], count: order.count() + 1 };
        for other in 0..order.count() {
            let slot = order.slot(other);
            branches[other + usize::from(other >= rank)] = Branch {
                head: self.sorted.heads[slot].load(Ordering::Relaxed),
                separator: self.separators[slot].load(),
                child: self.child(order, other + 1),
            };
        }
        (self.child(order, 0), branches)
    }

    /// Fills a node that nobody else can reach yet.
    pub(super) fn fill(&self, first_child: u32, branches: &[Branch]) {
        self.sorted.link.store(first_child, Ordering::Release);
        for (slot, branch) in branches.iter().enumerate() {
            self.sorted.heads[slot].store(branch.head, Ordering::Relaxed);
            self.separators[slot].store(branch.separator);
            self.children[slot].store(branch.child, Ordering::Release);
        }
        self.sorted.publish(Order::ascending(branches.len()));
    }

    /// Adds a separator at `rank` and the child on its right to a node with a free
    /// slot, visible at once.
    pub(super) fn insert(
        &self,
        order: Order,
        rank: usize,
        user_key: &[u8],
        separator: RecordRef,
        child: u32,
    ) {
        let slot = order.count();
        self.children[slot].store(child, Ordering::Release);
        self.sorted.fill(slot, user_key, &self.separators[slot], separator);
        self.sorted.publish(order.with_next_slot_at(rank));
    }
}

/// The slots keep what they had: the empty order takes none of them.
#[cfg(not(lsm_loom))]
impl<const N: usize> Node for Leaf<N> {
    fn reset(&self) {
        self.sorted.reset();
        self.prev.store(0, Ordering::Relaxed);
    }
}

#[cfg(not(lsm_loom))]
impl<const N: usize> Node for Inner<N> {
    fn reset(&self) {
        self.sorted.reset();
    }
}

#[cfg(lsm_loom)]
impl<const N: usize> Node for Leaf<N> {
    fn empty() -> Self {
        Self {
            sorted: Sorted::empty(),
            records: std::array::from_fn(|_| RecordSlot::default()),
            prev: AtomicU32::new(0),
        }
    }
}

#[cfg(lsm_loom)]
impl<const N: usize> Node for Inner<N> {
    fn empty() -> Self {
        Self {
            sorted: Sorted::empty(),
            separators: std::array::from_fn(|_| RecordSlot::default()),
            children: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_order_as_the_bytes_do() {
        let keys: [&[u8]; 7] = [b"", b"\0", b"a", b"a\0", b"ab", b"abcdefgh", b"b"];
        for pair in keys.windows(2) {
            assert!(head(pair[0], 0) <= head(pair[1], 0), "{pair:?}");
        }
        assert_eq!(head(b"xxab", 2), u64::from_be_bytes(*b"ab\0\0\0\0\0\0"));
        assert_eq!(head(b"x", 2), 0);
    }

    #[cfg(not(lsm_loom))]
    #[test]
    fn nodes_fill_cache_lines() {
        assert_eq!((size_of::<Leaf<14>>(), size_of::<Inner<14>>()), (192, 256));
        assert_eq!(std::mem::offset_of!(Leaf<14>, records), 128);
    }
}
