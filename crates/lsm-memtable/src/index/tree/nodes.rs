//! [`Nodes`]: where nodes of one type live until the memtable goes. Used by `mod`.

#[cfg(not(lsm_loom))]
use super::level::Level;
use crate::arena::Spare;
use lsm_sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Nodes in the first level; each further level has twice as many. Models pay for
/// every node that is made.
const FIRST_LEVEL: u32 = if lsm_sync::IS_MODEL { 4 } else { 16 };
/// Enough for all numbers that a `u32` has.
const LEVELS: usize = 30;

/// A type whose memory need not be cleared before it is used again.
#[cfg(not(lsm_loom))]
pub(super) trait Node: zerocopy::FromBytes {
    /// Makes it empty, whatever it was.
    fn reset(&self);
}

/// In models, a type that is made anew each time.
#[cfg(lsm_loom)]
pub(super) trait Node {
    /// An empty one.
    fn empty() -> Self;
    /// Nothing to do.
    fn reset(&self) {}
}

/// Nodes that are made anew: loom's atomics are no plain bytes.
#[cfg(lsm_loom)]
#[derive(Debug)]
struct Level<T>(Box<[T]>);

#[cfg(lsm_loom)]
impl<T: Node> Level<T> {
    fn new(count: usize, _: &Arc<Spare>) -> Self {
        Self(std::iter::repeat_with(T::empty).take(count).collect())
    }

    fn get(&self, at: usize) -> Option<&T> {
        self.0.get(at)
    }
}

/// Nodes by number. A node is never moved and never given back, so a number that was
/// once handed out is good for as long as this lives. Any thread may read; one at a
/// time may allocate.
#[derive(Debug)]
pub(super) struct Nodes<T> {
    /// Level k has the numbers from `FIRST_LEVEL * (2^k - 1)`. A number that reaches
    /// another thread does so through a `Release` store made after its node was reset.
    levels: [OnceLock<Level<T>>; LEVELS],
    /// How many numbers were handed out. `Relaxed`: only the writer changes it, and
    /// others read it for statistics.
    used: AtomicU32,
    spare: Arc<Spare>,
}

/// Where a number's node lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    level: usize,
    at: usize,
}

impl Spot {
    #[inline]
    fn of(number: u32) -> Self {
        let shifted = u64::from(number) + u64::from(FIRST_LEVEL);
        let level = shifted.ilog2() - FIRST_LEVEL.ilog2();
        let in_level = (shifted - (u64::from(FIRST_LEVEL) << level)) as u32;
        Self { level: level as usize, at: in_level as usize }
    }
}

impl<T: Node> Nodes<T> {
    pub(super) fn new(spare: &Arc<Spare>) -> Self {
        let levels = [const { OnceLock::new() }; LEVELS];
        // Number 0 stays unused: it means "none".
        Self { levels, used: AtomicU32::new(1), spare: Arc::clone(spare) }
    }

    /// A node that nobody has used yet, and its number. To be called by one thread at
    /// a time.
    pub(super) fn allocate(&self) -> (u32, &T) {
        let number = self.used.load(Ordering::Relaxed);
        self.used.store(number + 1, Ordering::Relaxed);
        let Spot { level, at } = Spot::of(number);
        let nodes =
            self.levels[level].get_or_init(|| Level::new((FIRST_LEVEL as usize) << level, &self.spare));
        let Some(node) = nodes.get(at) else { unreachable!("{number} is not in level {level}") };
        node.reset();
        (number, node)
    }

    /// The node of a number that was handed out.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &T {
        let Spot { level, at } = Spot::of(number);
        match self.levels[level].get().and_then(|nodes| nodes.get(at)) {
            Some(node) => node,
            None => unreachable!("node {number} was never handed out"),
        }
    }

    /// Bytes of the nodes handed out.
    pub(super) fn bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed) as usize * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_spot_of_its_own() {
        let mut last = Spot::of(0);
        assert_eq!(last, Spot { level: 0, at: 0 });
        for number in 1..100_000 {
            let spot = Spot::of(number);
            let follows = [Spot { at: last.at + 1, ..last }, Spot { level: last.level + 1, at: 0 }];
            assert!(follows.contains(&spot), "{last:?}, then {spot:?}");
            last = spot;
        }
        assert!(Spot::of(u32::MAX).level < LEVELS);
    }
}
