//! [`Nodes`]: where nodes of one type live until the memtable goes. Used by `mod`.

use lsm_sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

/// Nodes in the first level; each further level has twice as many. Models pay for
/// every node that is made.
const FIRST_LEVEL: u32 = if lsm_sync::IS_MODEL { 4 } else { 16 };
/// Enough for all numbers that a `u32` has.
const LEVELS: usize = 30;
/// The most nodes that are allocated, and zeroed, at once: few enough for no insert
/// to be held up by it.
const CHUNK: u32 = 16;

/// A type that is ready for use when its memory is all zeros.
pub(super) trait Zeroed: Sized {
    /// `count` of them, all zeros.
    fn zeroed(count: usize) -> Box<[Self]>;
}

type Chunk<T> = OnceLock<Box<[T]>>;

/// Nodes by number. A node is never moved and never given back, so a number that was
/// once handed out is good for as long as this lives. Any thread may read; one at a
/// time may allocate.
#[derive(Debug)]
pub(super) struct Nodes<T> {
    /// Level k has the numbers from `FIRST_LEVEL * (2^k - 1)`, in chunks. A number that
    /// reaches another thread does so through a `Release` store made after its chunk was.
    levels: [OnceLock<Box<[Chunk<T>]>>; LEVELS],
    /// How many numbers were handed out. `Relaxed`: only the writer changes it, and
    /// others read it for statistics.
    used: AtomicU32,
}

/// Where a number's node lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    level: usize,
    chunk: usize,
    at: usize,
}

impl Spot {
    #[inline]
    fn of(number: u32) -> Self {
        let shifted = u64::from(number) + u64::from(FIRST_LEVEL);
        let level = shifted.ilog2() - FIRST_LEVEL.ilog2();
        let in_level = (shifted - (u64::from(FIRST_LEVEL) << level)) as u32;
        Self { level: level as usize, chunk: (in_level / CHUNK) as usize, at: (in_level % CHUNK) as usize }
    }
}

impl<T: Zeroed> Nodes<T> {
    pub(super) fn new() -> Self {
        // Number 0 stays unused: it means "none".
        Self { levels: [const { OnceLock::new() }; LEVELS], used: AtomicU32::new(1) }
    }

    /// A node that nobody has used yet, and its number. To be called by one thread at
    /// a time.
    pub(super) fn allocate(&self) -> (u32, &T) {
        let number = self.used.load(Ordering::Relaxed);
        self.used.store(number + 1, Ordering::Relaxed);
        let Spot { level, chunk, at } = Spot::of(number);
        let in_level = u64::from(FIRST_LEVEL) << level;
        let chunks = self.levels[level].get_or_init(|| {
            let count = in_level.div_ceil(u64::from(CHUNK)) as usize;
            std::iter::repeat_with(OnceLock::new).take(count).collect()
        });
        let nodes = chunks[chunk].get_or_init(|| T::zeroed(in_level.min(u64::from(CHUNK)) as usize));
        (number, &nodes[at])
    }

    /// The node of a number that was handed out.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &T {
        let Spot { level, chunk, at } = Spot::of(number);
        match self.levels[level].get().and_then(|chunks| chunks[chunk].get()) {
            Some(nodes) => &nodes[at],
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
        assert_eq!(last, Spot { level: 0, chunk: 0, at: 0 });
        for number in 1..100_000 {
            let spot = Spot::of(number);
            let follows = [
                Spot { at: last.at + 1, ..last },
                Spot { chunk: last.chunk + 1, at: 0, ..last },
                Spot { level: last.level + 1, chunk: 0, at: 0 },
            ];
            assert!(follows.contains(&spot) && spot.at < CHUNK as usize, "{last:?}, then {spot:?}");
            last = spot;
        }
        assert!(Spot::of(u32::MAX).level < LEVELS);
    }
}
