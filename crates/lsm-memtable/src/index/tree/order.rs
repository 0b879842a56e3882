//! [`Order`]: which slots of a node are taken and how they sort, in one word. Used
//! by `node`; it knows nothing of what the slots hold.

/// The order of a node's slots, published by one store.
///
/// Four bits of count, then four bits for each rank: the slot that has it. Slots are
/// taken in turn and never given back, so slots `0..count` are the taken ones. The
/// top bit says that the node was replaced by others and will not change again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order(u64);

/// The most slots a node may have: 60 bits of them and four flags.
pub(super) const MAX_SLOTS: usize = 14;

const REPLACED: u64 = 1 << 63;
const SLOT_BITS: u32 = 4;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

impl Order {
    pub(super) const EMPTY: Self = Self(0);

    #[inline]
    pub(super) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline]
    pub(super) const fn word(self) -> u64 {
        self.0
    }

    /// How many slots are taken.
    #[inline]
    pub(super) const fn count(self) -> usize {
        (self.0 & SLOT_MASK) as usize
    }

    /// The slot at `rank`, which must be below `count`.
    #[inline]
    pub(super) const fn slot(self, rank: usize) -> usize {
        debug_assert!(rank < self.count());
        (self.0 >> Self::shift(rank) & SLOT_MASK) as usize
    }

    /// The rank of a taken slot.
    #[inline]
    pub(super) fn rank_of(self, slot: usize) -> Option<usize> {
        (0..self.count()).find(|&rank| self.slot(rank) == slot)
    }

    /// The order after the next free slot, `count`, was put at `rank`.
    #[inline]
    pub(super) const fn with_next_slot_at(self, rank: usize) -> Self {
        debug_assert!(rank <= self.count() && self.count() < MAX_SLOTS && !self.is_replaced());
        let below = self.0 & ((1 << Self::shift(rank)) - 1);
        let above = (self.0 ^ below) << SLOT_BITS;
        // The last step counts the slot.
        Self((above | (self.count() as u64) << Self::shift(rank) | below) + 1)
    }

    /// The order of `count` slots that are sorted as they stand.
    pub(super) fn ascending(count: usize) -> Self {
        (0..count).fold(Self::EMPTY, Self::with_next_slot_at)
    }

    /// The same order of a node that was replaced.
    #[inline]
    pub(super) const fn replaced(self) -> Self {
        Self(self.0 | REPLACED)
    }

    /// Whether the node was replaced.
    #[inline]
    pub(super) const fn is_replaced(self) -> bool {
        self.0 & REPLACED != 0
    }

    #[inline]
    const fn shift(rank: usize) -> u32 {
        SLOT_BITS * (rank as u32 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_vector_with_insert() {
        // Every way to fill a node whose ranks follow one of many pseudo-random walks.
        for seed in 0..2000_usize {
            let mut order = Order::EMPTY;
            let mut vector = Vec::new();
            for slot in 0..MAX_SLOTS {
                let rank = (seed * 31 + slot * slot * 7 + seed / (slot + 1)) % (slot + 1);
                order = order.with_next_slot_at(rank);
                vector.insert(rank, slot);
                let slots: Vec<_> = (0..order.count()).map(|rank| order.slot(rank)).collect();
                assert_eq!(slots, vector, "seed {seed}");
                assert_eq!(order.rank_of(slot), Some(rank));
            }
            let replaced = order.replaced();
            assert!(replaced.is_replaced() && !order.is_replaced());
            assert_eq!((replaced.count(), replaced.slot(13)), (order.count(), order.slot(13)));
        }
        assert_eq!(
            Order::ascending(3),
            Order::EMPTY.with_next_slot_at(0).with_next_slot_at(1).with_next_slot_at(2)
        );
    }
}
