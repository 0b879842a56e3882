//! [`SharedValues`]: the slices that an arena keeps instead of copies. Used by the
//! arena; holds no keys.

use lsm_types::Slice;
use std::sync::{Arc, OnceLock};

/// Slices in the first chunk; each further chunk is twice as large.
const FIRST_CHUNK: u32 = 16;
/// Enough for all numbers that a `u32` has.
const CHUNKS: usize = 28;

type Chunk = Box<[OnceLock<Slice>]>;

/// Slices by number, added by one thread at a time and read by any.
#[derive(Debug, Default)]
pub(super) struct SharedValues {
    chunks: [OnceLock<Chunk>; CHUNKS],
}

/// The right to add slices.
#[derive(Debug)]
pub(super) struct SharedValuesWriter {
    values: Arc<SharedValues>,
    used: u32,
}

impl SharedValues {
    /// The slice of a number that `push` returned.
    pub(super) fn get(&self, number: u32) -> &Slice {
        static EMPTY: Slice = Slice::empty();
        let (chunk, at) = locate(number);
        let slice = self.chunks[chunk].get().and_then(|chunk| chunk[at].get());
        debug_assert!(slice.is_some(), "shared value {number} was never added");
        slice.unwrap_or(&EMPTY)
    }
}

impl SharedValuesWriter {
    pub(super) fn new(values: Arc<SharedValues>) -> Self {
        Self { values, used: 0 }
    }

    /// Keeps the slice and returns its number.
    pub(super) fn push(&mut self, value: Slice) -> u32 {
        let number = self.used;
        self.used += 1;
        let (chunk, at) = locate(number);
        let slots = self.values.chunks[chunk].get_or_init(|| {
            std::iter::repeat_with(OnceLock::new).take((FIRST_CHUNK << chunk) as usize).collect()
        });
        let fresh = slots[at].set(value).is_ok();
        debug_assert!(fresh, "numbers are handed out once");
        number
    }

    /// What keeping a slice costs beside its bytes: its place here, and its
    /// allocations.
    pub(super) const SLICE_BYTES: usize = size_of::<OnceLock<Slice>>() + 48;
}

fn locate(number: u32) -> (usize, usize) {
    let shifted = u64::from(number) + u64::from(FIRST_CHUNK);
    let chunk = (shifted.ilog2() - FIRST_CHUNK.ilog2()) as usize;
    (chunk, (shifted - (u64::from(FIRST_CHUNK) << chunk)) as usize)
}
