//! [`Slots`]: for each block of a table, where in the cache it is. A look-up is a load
//! here and one count in the block's frame; it takes no lock and hashes nothing.

use super::BlockCache;
use super::frame::{Block, Frame, FramePtr};
use super::memory::prefetch;
use lsm_sync::Arc;
use lsm_sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::fmt;
use std::ptr::null_mut;

/// One slot for each block of one open table.
pub(crate) struct Slots {
    slots: Box<[Slot]>,
    /// Set when the table is closed: its blocks are the first to go. Relaxed: under the
    /// cache's lock.
    is_dead: AtomicBool,
    /// Keeps the frames that slots point to.
    cache: Arc<BlockCache>,
}

#[derive(Default)]
struct Slot {
    /// The block's frame, or null. Set by who loaded the block, emptied by who evicts it.
    frame: AtomicPtr<Frame>,
    /// Where its image starts; of a block that is not cached, the [`Stamp`] of its last miss,
    /// or null. Relaxed, and perhaps of another block: only to have the lines fetched that the
    /// look-up is about to read, while the frame's own is on its way.
    image: AtomicPtr<u8>,
}

/// When a block was missed, in units of the cache's own. It comes round after 4095 of them, which
/// takes a cache some five hundred times its blocks in misses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(u16);

impl Stamp {
    /// Stamps are below, and no memory begins before this address.
    const END: u16 = 4095;

    pub(super) const fn next(self) -> Self {
        Self((self.0 + 1) % Self::END)
    }

    /// How many units ago `earlier` was.
    const fn since(self, earlier: Self) -> u16 {
        (self.0 + Self::END - earlier.0) % Self::END
    }

    const fn to_ptr(self) -> *mut u8 {
        std::ptr::without_provenance_mut(self.0 as usize + 1)
    }

    /// None for null and for the address of an image.
    fn of_ptr(ptr: *mut u8) -> Option<Self> {
        let stamp = ptr.addr().checked_sub(1).and_then(|stamp| u16::try_from(stamp).ok())?;
        (stamp < Self::END).then_some(Self(stamp))
    }
}

/// So many blocks of a table tell how much of it is cached.
const SAMPLE: usize = 256;

/// Lines at the start of an image that a look-up reads in a block of usual size.
const FIRST_LINES: usize = 2;

/// Lines at the end of an image that a walk backward needs at once.
const LAST_LINES: usize = 8;

impl Slots {
    /// Empty slots for a table of so many blocks.
    pub(crate) fn new(cache: &Arc<BlockCache>, blocks: usize) -> Arc<Self> {
        let slots = (0..blocks).map(|_| Slot::default()).collect();
        Arc::new(Self { slots, is_dead: AtomicBool::new(false), cache: Arc::clone(cache) })
    }

    /// The cache that the blocks are in.
    pub(crate) const fn cache(&self) -> &Arc<BlockCache> {
        &self.cache
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// The block, if it is cached.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<Block> {
        let slot = self.slots.get(at)?;
        loop {
            // Pairs with the Release in `set`.
            let found = FramePtr::from_slot(slot.frame.load(Ordering::Acquire))?;
            let image = slot.image.load(Ordering::Relaxed);
            for line in 0..FIRST_LINES {
                prefetch(image.wrapping_add(64 * line));
            }
            // Without a reference it is being evicted: as good as gone.
            let block = found.try_block()?;
            // The frame may have been emptied and filled with another block since it was
            // found. Then whoever emptied this slot did so before that, and the exchange in
            // `try_retain` makes it seen here; so Relaxed will do.
            let still = slot.frame.load(Ordering::Relaxed) == found.as_ptr();
            if still || lsm_sync::mutant("sstable.no_second_look") {
                found.touch();
                return Some(block);
            }
        }
    }

    /// Has the first lines fetched of a block that will be asked for soon, if it is cached.
    #[inline]
    pub(crate) fn prefetch(&self, at: usize) {
        if let Some(image) = self.prefetch_frame(at) {
            for line in 0..FIRST_LINES {
                prefetch(image.wrapping_add(64 * line));
            }
        }
    }

    /// As [`prefetch`](Self::prefetch), but the last lines of an image that has about so many
    /// bytes.
    #[inline]
    pub(crate) fn prefetch_end(&self, at: usize, image_bytes: usize) {
        if let Some(image) = self.prefetch_frame(at) {
            let end = image.wrapping_add(image_bytes);
            for line in 0..LAST_LINES {
                prefetch(end.wrapping_sub(64 * line));
            }
        }
    }

    /// Has the frame of a cached block fetched; where its image lies.
    #[inline]
    fn prefetch_frame(&self, at: usize) -> Option<*mut u8> {
        let slot = self.slots.get(at)?;
        // Relaxed: addresses to fetch, which nobody looks behind.
        let frame = slot.frame.load(Ordering::Relaxed);
        if frame.is_null() {
            return None;
        }
        prefetch(frame);
        Some(slot.image.load(Ordering::Relaxed))
    }

    /// Shows a cached block to readers; false when there is one already.
    pub(super) fn set(&self, at: usize, block: &Block) -> bool {
        let Some(slot) = self.slots.get(at) else { return false };
        // Pairs with the Acquire in `get`: the frame itself may be new. What it holds is
        // ordered by its count.
        let order = Ordering::Release;
        let is_set =
            slot.frame.compare_exchange(null_mut(), block.frame().as_ptr(), order, Ordering::Relaxed).is_ok();
        if is_set {
            slot.image.store(block.view().image().as_ptr().cast_mut(), Ordering::Relaxed);
        }
        is_set
    }

    /// Notes that a block was missed now, and returns how long ago it was before, if it was.
    /// Under the cache's lock.
    pub(super) fn note_miss(&self, at: usize, now: Stamp) -> Option<u16> {
        let slot = self.slots.get(at)?;
        let before = slot.image.load(Ordering::Relaxed);
        let missed_at = Stamp::of_ptr(before);
        if missed_at.is_some() || before.is_null() {
            // Where another thread caches it meanwhile, the address of its image stays.
            let (noted, failed) = (Ordering::Relaxed, Ordering::Relaxed);
            let _cached_meanwhile = slot.image.compare_exchange(before, now.to_ptr(), noted, failed);
        }
        missed_at.map(|missed_at| now.since(missed_at))
    }

    /// Hides a block from readers to come; for who evicts it, before its reference goes.
    pub(super) fn clear(&self, at: usize) {
        if let Some(slot) = self.slots.get(at) {
            slot.image.store(null_mut(), Ordering::Relaxed);
            // Relaxed: what comes after is ordered by the count of the frame.
            slot.frame.store(null_mut(), Ordering::Relaxed);
        }
    }

    /// The table is closed, and nobody asks for its blocks again.
    pub(crate) fn retire(&self) {
        self.cache.retire(self);
    }

    /// Says that the table is closed; under the cache's lock.
    pub(super) fn set_dead(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    /// How many blocks are cached. Relaxed: exact where nobody loads or evicts meanwhile.
    pub(super) fn count(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.frame.load(Ordering::Relaxed).is_null()).count()
    }

    /// Of some blocks, spread evenly: how many are cached, and how many there are.
    pub(crate) fn sample(&self) -> (usize, usize) {
        let step = self.slots.len().div_ceil(SAMPLE).max(1);
        let looked_at = self.slots.iter().step_by(step);
        let cached = looked_at.clone().filter(|slot| !slot.frame.load(Ordering::Relaxed).is_null());
        (cached.count(), looked_at.count())
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("blocks", &self.slots.len()).finish_non_exhaustive()
    }
}
