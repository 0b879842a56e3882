//! Finding a position and stepping from one to the next: the readers' half of the
//! protocol told in `mod`. Stores nothing.

use super::{LeafView, TreeIndex, TreePosition};
use lsm_types::InternalKey;
use std::cmp;

/// A step met a leaf that changed meanwhile; the way must be found from the root.
struct Changed;

impl<const N: usize> TreeIndex<N> {
    /// The first entry after `target`, or at it unless `beyond`.
    #[inline]
    pub(super) fn position_from(&self, target: InternalKey<&[u8]>, beyond: bool) -> Option<TreePosition> {
        loop {
            let view = self.leaf_of(target);
            let place = self.leaves.get(view.leaf).place(view.order, &self.records, target);
            let rank = place.rank + usize::from(place.is_equal && beyond);
            if rank < view.order.count() {
                return Some(self.position(view, rank));
            }
            // A leaf added after this one may have taken over the keys around `target`;
            // then the entry after this leaf need not be the one sought.
            match self.step_forward(view) {
                Ok(Some(position)) if self.is_before(&position, target, beyond) => {}
                Ok(position) => return position,
                Err(Changed) => {}
            }
        }
    }

    /// The last entry before `target`, or at it unless `below`.
    pub(super) fn position_up_to(&self, target: InternalKey<&[u8]>, below: bool) -> Option<TreePosition> {
        loop {
            let view = self.leaf_of(target);
            let place = self.leaves.get(view.leaf).place(view.order, &self.records, target);
            let end = place.rank + usize::from(place.is_equal && !below);
            if let Some(rank) = end.checked_sub(1) {
                return Some(self.position(view, rank));
            }
            if let Ok(position) = self.step_back(view) {
                return position;
            }
        }
    }

    pub(super) fn first_position(&self) -> Option<TreePosition> {
        loop {
            let view = self.descend(|_, _| 0);
            if view.order.count() > 0 {
                return Some(self.position(view, 0));
            }
            if let Ok(position) = self.step_forward(view) {
                return position;
            }
        }
    }

    pub(super) fn last_position(&self) -> Option<TreePosition> {
        loop {
            let view = self.descend(|_, order| order.count());
            if let Some(rank) = view.order.count().checked_sub(1) {
                return Some(self.position(view, rank));
            }
            if let Ok(position) = self.step_back(view) {
                return position;
            }
        }
    }

    #[inline]
    pub(super) fn position_after(&self, from: &TreePosition) -> Option<TreePosition> {
        if let Some((view, rank)) = self.current(from) {
            if rank + 1 < view.order.count() {
                return Some(self.position(view, rank + 1));
            }
            if let Ok(position) = self.step_forward(view) {
                if let Some(position) = &position {
                    self.bring_in(position.view);
                }
                return position;
            }
        }
        self.position_from(self.records.key(from.record), true)
    }

    #[inline]
    pub(super) fn position_before(&self, from: &TreePosition) -> Option<TreePosition> {
        if let Some((view, rank)) = self.current(from) {
            if let Some(rank) = rank.checked_sub(1) {
                return Some(self.position(view, rank));
            }
            if let Ok(position) = self.step_back(view) {
                return position;
            }
        }
        self.position_up_to(self.records.key(from.record), true)
    }

    /// Has the processor fetch the records of a leaf that a walk has come to: they lie
    /// scattered, and waiting for them together costs little more than for one.
    fn bring_in(&self, view: LeafView) {
        let leaf = self.leaves.get(view.leaf);
        for rank in 0..view.order.count() {
            self.records.bring_in(leaf.record(view.order, rank));
        }
    }

    /// Whether the entry lies before `target`, or at it although what is `beyond` is sought.
    fn is_before(&self, position: &TreePosition, target: InternalKey<&[u8]>, beyond: bool) -> bool {
        if lsm_sync::mutant("memtable.unchecked_leaf") {
            return false;
        }
        match self.records.key(position.record).cmp(&target) {
            cmp::Ordering::Less => true,
            cmp::Ordering::Equal => beyond,
            cmp::Ordering::Greater => false,
        }
    }

    #[inline]
    fn position(&self, view: LeafView, rank: usize) -> TreePosition {
        let record = self.leaves.get(view.leaf).record(view.order, rank);
        TreePosition { view, rank: rank as u32, record }
    }

    /// The position's leaf as it is now and the rank that the entry has there, unless
    /// the leaf was replaced.
    #[inline]
    fn current(&self, position: &TreePosition) -> Option<(LeafView, usize)> {
        let TreePosition { view: LeafView { leaf, order: seen }, rank, .. } = *position;
        let rank = rank as usize;
        let order = self.leaves.get(leaf).sorted.order();
        if order.is_replaced() {
            return None;
        }
        // An entry never changes its slot.
        let rank = if order == seen { rank } else { order.rank_of(seen.slot(rank))? };
        Some((LeafView { leaf, order }, rank))
    }

    /// The first entry of the leaves after `near`.
    fn step_forward(&self, mut near: LeafView) -> Result<Option<TreePosition>, Changed> {
        loop {
            let next = self.leaves.get(near.leaf).next();
            let far = self.view(next);
            if self.leaves.get(near.leaf).next() != next {
                return Err(Changed);
            }
            self.check_step(near, far)?;
            match far {
                None => return Ok(None),
                Some(far) if far.order.count() > 0 => return Ok(Some(self.position(far, 0))),
                // A leaf whose first entry is under way.
                Some(far) => near = far,
            }
        }
    }

    /// The last entry of the leaves before `near`.
    fn step_back(&self, mut near: LeafView) -> Result<Option<TreePosition>, Changed> {
        loop {
            let prev = self.leaves.get(near.leaf).prev();
            let far = self.view(prev);
            if self.leaves.get(near.leaf).prev() != prev {
                return Err(Changed);
            }
            self.check_step(near, far)?;
            match far.map(|far| (far, far.order.count().checked_sub(1))) {
                None => return Ok(None),
                Some((far, Some(rank))) => return Ok(Some(self.position(far, rank))),
                Some((far, None)) => near = far,
            }
        }
    }

    /// A leaf as it is now; 0 is none.
    #[inline]
    fn view(&self, leaf: u32) -> Option<LeafView> {
        (leaf != 0).then(|| LeafView { leaf, order: self.leaves.get(leaf).sorted.order() })
    }

    /// Whether, when `far` was looked at, `near` was still as it had been, and neither
    /// was replaced. Then nothing lay between the two.
    fn check_step(&self, near: LeafView, far: Option<LeafView>) -> Result<(), Changed> {
        let unchanged = self.leaves.get(near.leaf).sorted.order() == near.order;
        let replaced = near.order.is_replaced() || far.is_some_and(|far| far.order.is_replaced());
        if (unchanged && !replaced) || lsm_sync::mutant("memtable.unchecked_step") {
            Ok(())
        } else {
            Err(Changed)
        }
    }
}
