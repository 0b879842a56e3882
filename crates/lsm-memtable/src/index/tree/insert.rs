//! Inserting into the tree: the one writer's half of the protocol told in `mod`.
//! Everything here runs under `TreeIndex::writer`.

use super::node::{Branch, Inner, Leaf, are_alike, head};
use super::order::Order;
use super::{NewValue, TreeIndex};
use crate::arena::{ArenaWriter, RecordRef};
use lsm_sync::atomic::Ordering;
use lsm_types::InternalKey;
use std::ops::Range;

/// By how many more skipped bytes a node becomes worth making anew. Models have short
/// keys, and are to meet this case too.
const WORTHWHILE: usize = if lsm_sync::IS_MODEL { 1 } else { 6 };

/// What the thread that inserts has to itself.
#[derive(Debug)]
pub(super) struct Writer {
    records: ArenaWriter,
    /// The way to the leaf; kept for its memory.
    path: Vec<Step>,
}

/// An inner node on the way, and which of its children the way goes on to.
#[derive(Clone, Copy, Debug)]
struct Step {
    inner: u32,
    child_rank: usize,
}

/// A child that becomes two: `left` in its place, which may be the child itself, and
/// `right` after it.
#[derive(Clone, Copy, Debug)]
struct Division {
    child: u32,
    left: u32,
    /// The lowest key that belongs to `right`.
    separator: RecordRef,
    right: u32,
}

/// The records between which all keys of a node lie, where they are known: at or
/// above the first, below the second.
type Fences = (Option<RecordRef>, Option<RecordRef>);

impl Writer {
    pub(super) fn new(records: ArenaWriter) -> Self {
        Self { records, path: Vec::new() }
    }
}

impl<const N: usize> TreeIndex<N> {
    /// Adds or replaces an entry; returns whether it is a new one.
    pub(super) fn insert_entry(&self, key: InternalKey<&[u8]>, value: NewValue<'_>) -> bool {
        let mut writer = self.writer.0.lock();
        let Writer { records, path } = &mut *writer;
        let number = self.find_way(key, path);
        let leaf = self.leaves.get(number);
        let order = leaf.sorted.order();
        let place = leaf.place(order, &self.records, key);
        let record = records.push(key, value);
        self.record_bytes.0.store(records.bytes(), Ordering::Relaxed);
        if place.is_equal {
            leaf.replace(order, place.rank, record);
            return false;
        }
        if order.count() < N {
            leaf.insert(order, place.rank, key.user_key, record);
        } else {
            let (roomy, rank) = self.make_room(path, number, place.rank, record);
            let roomy = self.leaves.get(roomy);
            roomy.insert(roomy.sorted.order(), rank, key.user_key, record);
        }
        true
    }

    /// The leaf that `key` belongs into, and in `path` how to get there.
    fn find_way(&self, key: InternalKey<&[u8]>, path: &mut Vec<Step>) -> u32 {
        path.clear();
        let (height, mut node) = self.root.load();
        for _ in 0..height {
            let inner = self.inners.get(node);
            let order = inner.sorted.order();
            let child_rank = inner.child_rank(order, &self.records, key);
            path.push(Step { inner: node, child_rank });
            node = inner.child(order, child_rank);
        }
        node
    }

    /// Divides a full leaf for the sake of `record`, which belongs at `rank`. Returns
    /// the leaf that takes it, and the rank there.
    ///
    /// The record itself goes in afterwards, when every way leads to the new leaves:
    /// so nobody sees it on one way and misses it on another.
    fn make_room(&self, path: &[Step], full: u32, rank: usize, record: RecordRef) -> (u32, usize) {
        let fences = self.fences(path);
        let leaf = self.leaves.get(full);
        if rank == N && !self.skips_too_little(leaf.sorted.skip(), (fences.0, Some(record))) {
            return (self.append_leaf(path, full, record, fences), 0);
        }
        let order = leaf.sorted.order();
        // Writes that come in order fill their leaves whole, and those that come in
        // descending order fill theirs but for one.
        let middle = match rank {
            0 => 1,
            rank if rank == N => N,
            _ => N / 2,
        };
        let separator = if middle == N { record } else { leaf.record(order, middle) };
        let left = self.copy_leaf(leaf, 0..middle, (fences.0, Some(separator)));
        let right = self.copy_leaf(leaf, middle..N, (Some(separator), fences.1));
        let (left_leaf, right_leaf) = (self.leaves.get(left), self.leaves.get(right));
        left_leaf.set_prev(leaf.prev());
        left_leaf.set_next(right);
        right_leaf.set_prev(left);
        right_leaf.set_next(leaf.next());

        if lsm_sync::mutant("memtable.replaced_too_early") {
            leaf.sorted.publish(order.replaced());
        }
        self.divide_child(path, Division { child: full, left, separator, right });
        self.set_next_of(leaf.prev(), left);
        self.set_prev_of(leaf.next(), right);
        if !lsm_sync::mutant("memtable.not_marked_replaced") {
            leaf.sorted.publish(order.replaced());
        }
        // The separator is the lowest key on the right, so what belongs before it
        // belongs to the left; the record itself may be the separator.
        if rank <= middle && rank < N { (left, rank) } else { (right, rank - middle) }
    }

    /// Adds an empty leaf for `record` after a leaf that is full and stays.
    fn append_leaf(&self, path: &[Step], full: u32, record: RecordRef, fences: Fences) -> u32 {
        let leaf = self.leaves.get(full);
        let next = leaf.next();
        let (right, right_leaf) = self.leaves.allocate();
        right_leaf.sorted.set_skip(self.common_prefix((Some(record), fences.1)));
        right_leaf.set_prev(full);
        right_leaf.set_next(next);
        self.divide_child(path, Division { child: full, left: full, separator: record, right });
        self.set_prev_of(next, right);
        leaf.set_next(right);
        right
    }

    fn copy_leaf(&self, from: &Leaf<N>, ranks: Range<usize>, fences: Fences) -> u32 {
        let (number, leaf) = self.leaves.allocate();
        let count = ranks.len();
        let old_skip = from.sorted.skip();
        let skip = if from.hardly_tells_apart(ranks.clone(), WORTHWHILE) {
            self.common_prefix(fences)
        } else {
            // Narrower fences share at least as much. The old heads stay right, and no
            // record need be looked at, each of which would be a cache miss.
            old_skip
        };
        leaf.sorted.set_skip(skip);
        let order = from.sorted.order();
        for (slot, rank) in ranks.enumerate() {
            let record = from.record(order, rank);
            if skip == old_skip {
                leaf.copy_slot(slot, from.head(order, rank), record);
            } else {
                leaf.copy_slot(slot, self.head(record, skip), record);
            }
        }
        leaf.sorted.publish(Order::ascending(count));
        number
    }

    fn set_next_of(&self, leaf: u32, next: u32) {
        if leaf != 0 {
            self.leaves.get(leaf).set_next(next);
        }
    }

    fn set_prev_of(&self, leaf: u32, prev: u32) {
        if leaf != 0 {
            self.leaves.get(leaf).set_prev(prev);
        }
    }

    /// Makes a division known to the parent, which is the last step of `path`.
    fn divide_child(&self, path: &[Step], division: Division) {
        let Division { child, left, separator, right } = division;
        let Some((&Step { inner: number, child_rank }, above)) = path.split_last() else {
            let branch = Branch { head: self.head(separator, 0), separator, child: right };
            let root = self.build_inner(left, &mut [branch], 0, (None, None));
            let (height, _) = self.root.load();
            return self.root.store(height + 1, root);
        };
        let inner = self.inners.get(number);
        let order = inner.sorted.order();
        if order.count() == N {
            return self.divide_inner(above, number, child_rank, division);
        }
        if lsm_sync::mutant("memtable.child_first") {
            inner.set_child(order, child_rank, left);
        }
        inner.insert(order, child_rank, self.records.key(separator).user_key, separator, right);
        if left != child {
            // Only now, when readers who look at the order again will find the right half.
            inner.set_child(order, child_rank, left);
        }
    }

    /// Divides a full inner node for the sake of a division of its child. The node
    /// itself is not changed: whoever reads it finds the children as they were.
    fn divide_inner(&self, above: &[Step], number: u32, child_rank: usize, division: Division) {
        let inner = self.inners.get(number);
        let fences = self.fences(above);
        let Division { child, left, separator, right } = division;
        let is_last = child_rank == N;
        let closed = (fences.0, Some(separator));
        if is_last && left == child && !self.skips_too_little(inner.sorted.skip(), closed) {
            let right = self.build_inner(right, &mut [], 0, (Some(separator), fences.1));
            let division = Division { child: number, left: number, separator, right };
            return self.divide_child(above, division);
        }
        let skip = inner.sorted.skip();
        let branch = Branch { head: self.head(separator, skip), separator, child: right };
        let (mut first_child, mut branches) = inner.contents_with(child_rank, branch);
        match child_rank.checked_sub(1).and_then(|before| branches.get_mut(before)) {
            Some(before) => before.child = left,
            None => first_child = left,
        }
        let middle = if is_last { N } else { branches.len() / 2 };
        let (left, right) = branches.split_at_mut(middle);
        let Some((&mut Branch { separator, child, .. }, right)) = right.split_first_mut() else { return };
        let left = self.build_inner(first_child, left, skip, (fences.0, Some(separator)));
        let right = self.build_inner(child, right, skip, (Some(separator), fences.1));
        self.divide_child(above, Division { child: number, left, separator, right });
    }

    /// A node of a first child and of branches whose heads are those after `skip` bytes.
    fn build_inner(&self, first_child: u32, branches: &mut [Branch], skip: usize, fences: Fences) -> u32 {
        let (number, inner): (u32, &Inner<N>) = self.inners.allocate();
        // As with leaves, separators that the heads tell apart are not looked at.
        let is_worthwhile = match &*branches {
            [first, .., last] => are_alike(first.head, last.head, WORTHWHILE),
            _ => true,
        };
        let new_skip = if is_worthwhile { self.common_prefix(fences) } else { skip };
        inner.sorted.set_skip(new_skip);
        if new_skip != skip {
            branches.iter_mut().for_each(|branch| branch.head = self.head(branch.separator, new_skip));
        }
        inner.fill(first_child, branches);
        number
    }

    fn head(&self, record: RecordRef, skip: usize) -> u64 {
        head(self.records.key(record).user_key, skip)
    }

    /// Between which separators the node lies that `path` leads to.
    fn fences(&self, path: &[Step]) -> Fences {
        path.iter().fold((None, None), |(low, high), step| {
            let inner = self.inners.get(step.inner);
            let order = inner.sorted.order();
            let separator =
                |rank: usize| (rank < order.count()).then(|| inner.separators[order.slot(rank)].load());
            (step.child_rank.checked_sub(1).and_then(separator).or(low), separator(step.child_rank).or(high))
        })
    }

    /// Whether a node should be made anew between these fences: it was made before its
    /// upper fence was known, and skips so much less than it might that the eight bytes
    /// of its heads hardly tell its keys apart. So it is with all nodes when keys come
    /// in order behind a shared prefix.
    fn skips_too_little(&self, skip: usize, fences: Fences) -> bool {
        self.common_prefix(fences) >= skip + WORTHWHILE
    }

    /// How many bytes all user keys between the fences have in common.
    fn common_prefix(&self, fences: Fences) -> usize {
        let (Some(low), Some(high)) = fences else { return 0 };
        let (low, high) = (self.records.key(low).user_key, self.records.key(high).user_key);
        low.iter().zip(high).take_while(|(low, high)| low == high).count()
    }
}
