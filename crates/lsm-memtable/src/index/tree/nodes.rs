//! [`Nodes`]: where nodes of one type live until the memtable goes. Used by `mod`.

use lsm_sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

/// Nodes in the first chunk; each further chunk is twice as large. Models pay for
/// every node that is made.
const FIRST_CHUNK: u32 = if lsm_sync::IS_MODEL { 4 } else { 16 };
/// Enough for all numbers that a `u32` has.
const CHUNKS: usize = 30;

/// A type that is ready for use when its memory is all zeros.
pub(super) trait Zeroed: Sized {
    /// `count` of them, all zeros. The memory is not touched where the allocator has
    /// zeroed pages, so that half-used chunks cost no memory.
    fn zeroed(count: usize) -> Box<[Self]>;
}

/// Nodes by number. A node is never moved and never given back, so a number that was
/// once handed out is good for as long as this lives. Any thread may read; one at a
/// time may allocate.
#[derive(Debug)]
pub(super) struct Nodes<T> {
    /// Chunk k has the numbers from `FIRST_CHUNK * (2^k - 1)`. A number that reaches
    /// another thread does so through a `Release` store made after its chunk was.
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
    /// How many numbers were handed out. `Relaxed`: only the writer changes it, and
    /// others read it for statistics.
    used: AtomicU32,
}

impl<T: Zeroed> Nodes<T> {
    pub(super) fn new() -> Self {
        // Number 0 stays unused: it means "none".
        Self { chunks: [const { OnceLock::new() }; CHUNKS], used: AtomicU32::new(1) }
    }

    /// A node that nobody has used yet, and its number. To be called by one thread at
    /// a time.
    pub(super) fn allocate(&self) -> (u32, &T) {
        let number = self.used.load(Ordering::Relaxed);
        self.used.store(number + 1, Ordering::Relaxed);
        let (chunk, at) = Self::locate(number);
        let chunk = self.chunks[chunk].get_or_init(|| T::zeroed((FIRST_CHUNK << chunk) as usize));
        (number, &chunk[at])
    }

    /// The node of a number that was handed out.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &T {
        let (chunk, at) = Self::locate(number);
        match self.chunks[chunk].get() {
            Some(chunk) => &chunk[at],
            None => unreachable!("node {number} was never handed out"),
        }
    }

    /// Bytes of the nodes handed out.
    pub(super) fn bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed) as usize * size_of::<T>()
    }

    #[inline]
    fn locate(number: u32) -> (usize, usize) {
        let shifted = u64::from(number) + u64::from(FIRST_CHUNK);
        let chunk = (shifted.ilog2() - FIRST_CHUNK.ilog2()) as usize;
        (chunk, (shifted - (u64::from(FIRST_CHUNK) << chunk)) as usize)
    }
}
