//! [`Slots`]: for each block of a table, where in the cache it is. A look-up is a load
//! here and one count in the block's frame; it takes no lock and hashes nothing.

use super::BlockCache;
use super::frame::{Block, Frame, FramePtr, MAX_USES};
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
    /// Where its image starts; of a block that is not cached, its [`Heat`]. Relaxed, and
    /// perhaps of another block: only to have the lines fetched that the look-up is about to
    /// read, while the frame's own is on its way.
    image: AtomicPtr<u8>,
}

/// How often a block that is not cached was asked for of late, and in which epoch that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heat {
    uses: u8,
    epoch: u8,
}

impl Heat {
    /// No memory is below this address.
    const END: usize = 1 << 11;

    fn to_ptr(self) -> *mut u8 {
        std::ptr::without_provenance_mut(usize::from(self.epoch) << 3 | usize::from(self.uses & 7))
    }

    /// None for what is the address of an image.
    fn of_ptr(ptr: *mut u8) -> Option<Self> {
        let word = ptr.addr();
        (word < Self::END).then_some(Self { uses: (word & 7) as u8, epoch: (word >> 3) as u8 })
    }

    /// Halved for each epoch since.
    fn in_epoch(self, epoch: u8) -> Self {
        let passed = u32::from(epoch.wrapping_sub(self.epoch));
        Self { uses: self.uses.checked_shr(passed).unwrap_or(0), epoch }
    }

    const fn with_one_more(self) -> Self {
        Self { uses: if self.uses < MAX_USES { self.uses + 1 } else { MAX_USES }, epoch: self.epoch }
    }
}

const _: () = assert!(MAX_USES == 7, "uses are kept in three bits");

/// So many blocks of a table tell how much of it is cached.
const SAMPLE: usize = 256;

/// Lines at the start of an image that a look-up reads in a block of usual size.
const FIRST_LINES: usize = 2;

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
        let Some(slot) = self.slots.get(at) else { return };
        // Relaxed: addresses to fetch, which nobody looks behind.
        let frame = slot.frame.load(Ordering::Relaxed);
        if frame.is_null() {
            return;
        }
        prefetch(frame);
        let image = slot.image.load(Ordering::Relaxed);
        for line in 0..FIRST_LINES {
            prefetch(image.wrapping_add(64 * line));
        }
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

    /// Counts that a block was asked for and is not cached, and returns how often that was
    /// of late. Under the cache's lock.
    pub(super) fn count_miss(&self, at: usize, epoch: u8) -> u8 {
        let Some(slot) = self.slots.get(at) else { return 0 };
        let before = slot.image.load(Ordering::Relaxed);
        // Where another thread has cached it meanwhile, its heat is in the frame.
        let Some(heat) = Heat::of_ptr(before) else { return 0 };
        let heat = heat.in_epoch(epoch).with_one_more();
        // Or caches it now: the address of an image must stay.
        let (counted, failed) = (Ordering::Relaxed, Ordering::Relaxed);
        let _cached_meanwhile = slot.image.compare_exchange(before, heat.to_ptr(), counted, failed);
        heat.uses
    }

    /// Hides a block that was used so often of late from readers to come; for who evicts it,
    /// before its reference goes.
    pub(super) fn clear(&self, at: usize, uses: u8, epoch: u8) {
        if let Some(slot) = self.slots.get(at) {
            slot.image.store(Heat { uses, epoch }.to_ptr(), Ordering::Relaxed);
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
