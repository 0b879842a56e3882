//! [`WrittenBlocks`]: blocks of a table that is being written, in the cache before anybody
//! can read the table, so that a compaction does not empty the cache of what it rewrites.
//! Filled by the table writer; an open table takes them over. Never reads a file.

use crate::block::Layout;
use crate::cache::{Admission, BlockCache, Draft};
use std::fmt;

/// Blocks that were kept while a table was written; dropped, they leave the cache.
#[derive(Default)]
pub struct WrittenBlocks {
    keeper: Option<Keeper>,
    /// Each with its place in the table.
    blocks: Vec<(usize, Draft, Layout)>,
}

/// Where blocks are kept.
struct Keeper {
    cache: lsm_sync::Arc<BlockCache>,
    admission: Admission,
    /// Bytes of the blocks, and how many those of all tables being written may have.
    bytes: u64,
    limit_bytes: u64,
}

impl WrittenBlocks {
    /// Keeps blocks in `cache`: at most half of it, since what is kept cannot be evicted
    /// before it has a table.
    pub(crate) fn new(cache: &lsm_sync::Arc<BlockCache>, admission: Admission) -> Self {
        let limit_bytes = cache.capacity_bytes() / 2;
        let cache = lsm_sync::Arc::clone(cache);
        Self { keeper: Some(Keeper { cache, admission, bytes: 0, limit_bytes }), blocks: Vec::new() }
    }

    /// Keeps the block `at`, if it may be.
    pub(crate) fn add(&mut self, at: usize, image: &[u8]) {
        let Some(Keeper { cache, admission, bytes, limit_bytes }) = &mut self.keeper else { return };
        let Ok(image_bytes) = u32::try_from(image.len()) else { return };
        if cache.unclaimed_bytes().saturating_add(u64::from(image_bytes)) > *limit_bytes {
            return;
        }
        let mut draft = Draft::new(cache, image_bytes, *admission);
        if !draft.is_cached() {
            return;
        }
        draft.image().copy_from_slice(image);
        // The same check as of what is read, so that what is wrong is not cached.
        if let Ok(layout) = Layout::check(draft.image()) {
            self.blocks.push((at, draft, layout));
            cache.add_unclaimed(u64::from(image_bytes));
            *bytes += u64::from(image_bytes);
        }
    }

    /// The blocks, for the table that takes them over.
    pub(crate) fn take(&mut self) -> Vec<(usize, Draft, Layout)> {
        std::mem::take(&mut self.blocks)
    }

    /// Whether none was kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How many were kept.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.blocks.len()
    }
}

impl Drop for WrittenBlocks {
    fn drop(&mut self) {
        if let Some(Keeper { cache, bytes, .. }) = &self.keeper {
            cache.remove_unclaimed(*bytes);
        }
    }
}

impl fmt::Debug for WrittenBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrittenBlocks").field("blocks", &self.blocks.len()).finish_non_exhaustive()
    }
}
