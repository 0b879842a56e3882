//! [`BlockCache`]: who may be evicted, how much there is, and where there is room.
//! Taken under one lock by those who load blocks and by the last to let go of one; a
//! look-up that finds its block never comes here.

use super::frame::{Block, Contents, FrameChunk, FramePtr, Home, MAX_USES};
use super::slab::{Place, Slab};
use super::slots::{Slots, Stamp};
use crate::block::Layout;
use lsm_sync::atomic::{AtomicU64, Ordering::Relaxed};
use lsm_sync::{Arc, Mutex};

/// The cached blocks of all tables of a context, and those that are only held.
pub(crate) struct BlockCache {
    /// Guards frames, images and their sums. A leaf: under it nothing is read, called or
    /// waited for; memory is taken from the allocator.
    store: Mutex<Store>,
    /// Bytes of blocks that are kept for tables still being written. Relaxed: a sum, which
    /// may pass its bound by a block for each writer.
    unclaimed_bytes: AtomicU64,
}

/// Figures for people.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Bytes and number of blocks in the cache.
    pub(crate) cached_bytes: u64,
    pub(crate) cached_blocks: u64,
    /// Bytes of all blocks that anything refers to.
    pub(crate) live_bytes: u64,
}

struct Store {
    capacity_bytes: u64,
    held: Held,
    slab: Slab,
    is_large: bool,
    chunks: Vec<FrameChunk>,
    free: Vec<FramePtr>,
    /// The frame that the hand of the clock points to: its chunk, and where therein.
    hand: (usize, usize),
    /// Cached blocks whose tables are closed; less than there are where blocks were loaded
    /// while their table was closed.
    orphans: u64,
    /// Blocks that were missed while there was no room.
    misses: u64,
    /// The time by which it is told how long ago a block was missed, and the misses so far in
    /// this unit of it.
    now: Stamp,
    misses_now: u64,
}

/// From this size on, images and frames lie on huge pages.
const LARGE_CACHE_BYTES: u64 = 16 << 20;
const FIRST_FRAMES: usize = 16;
/// What a block costs beside its image: frame and slot.
const OVERHEAD_BYTES: usize = 144;
/// Frames that are looked at for one block in search of orphans.
const ORPHAN_STEPS: usize = 64;
/// The hand passes a block that is much used so many times, at most.
const MAX_ROUNDS: usize = MAX_USES as usize + 2;
/// A unit of time has as many misses as this part of the cached blocks.
const UNIT_PART: u64 = 8;
/// A block that was missed so many units ago is asked for again.
const AGAIN_WITHIN: u16 = 4;
/// One in so many blocks that are missed for the first time is taken in.
const ONE_IN: u64 = 16;

/// What a block with an image of this length takes up.
const fn weight_of(image_bytes: usize) -> u64 {
    (Slab::bytes_for(image_bytes) + OVERHEAD_BYTES) as u64
}

impl BlockCache {
    /// A cache of up to `capacity_bytes`.
    pub(crate) fn new(capacity_bytes: u64) -> Arc<Self> {
        let is_large = capacity_bytes >= LARGE_CACHE_BYTES;
        let mut store = Store {
            capacity_bytes,
            held: Held::default(),
            slab: Slab::new(),
            is_large,
            chunks: Vec::new(),
            free: Vec::new(),
            hand: (0, 0),
            orphans: 0,
            misses: 0,
            now: Stamp::default(),
            misses_now: 0,
        };
        store.set_capacity_bytes(capacity_bytes);
        Arc::new(Self { store: Mutex::new(store), unclaimed_bytes: AtomicU64::new(0) })
    }

    /// How many bytes it holds at most.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.store.lock().capacity_bytes
    }

    /// Bytes of blocks that are kept for tables still being written.
    pub(crate) fn unclaimed_bytes(&self) -> u64 {
        self.unclaimed_bytes.load(Relaxed)
    }

    /// More of them.
    pub(crate) fn add_unclaimed(&self, bytes: u64) {
        self.unclaimed_bytes.fetch_add(bytes, Relaxed);
    }

    /// Fewer of them.
    pub(crate) fn remove_unclaimed(&self, bytes: u64) {
        self.unclaimed_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Gives the cache a new size, evicting what no longer fits.
    pub(crate) fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.store.lock().set_capacity_bytes(capacity_bytes);
    }

    /// Evicts everything: cached blocks keep the cache.
    pub(crate) fn clear(&self) {
        let mut store = self.store.lock();
        let capacity_bytes = store.capacity_bytes;
        store.set_capacity_bytes(0);
        store.set_capacity_bytes(capacity_bytes);
    }

    /// What there is now.
    pub(crate) fn held(&self) -> Held {
        self.store.lock().held
    }

    /// Bytes of huge pages that images lie on.
    #[cfg(all(test, not(lsm_loom)))]
    pub(super) fn chunk_bytes(&self) -> usize {
        self.store.lock().slab.chunk_bytes()
    }

    /// Takes back frame and image of a block that nobody refers to.
    pub(super) fn reclaim(&self, frame: FramePtr, image: Place) {
        self.store.lock().reclaim(frame, image);
    }

    /// Has the blocks of a closed table go before all others. They are only counted here:
    /// hunting them down would make whoever closes the table wait.
    pub(super) fn retire(&self, slots: &Slots) {
        let mut store = self.store.lock();
        store.orphans += slots.count() as u64;
        slots.set_dead();
    }

    /// A block turned out not to be cached after all.
    fn uncache(&self, image_bytes: usize) {
        self.store.lock().count_evicted(image_bytes);
    }
}

impl Store {
    fn set_capacity_bytes(&mut self, capacity_bytes: u64) {
        self.capacity_bytes = capacity_bytes;
        self.make_room(0);
        // Behind the evictions, so that what they left empty goes.
        self.slab.set_capacity_bytes(if self.is_large { capacity_bytes } else { 0 });
    }

    fn take_frame(&mut self) -> FramePtr {
        loop {
            if let Some(frame) = self.free.pop() {
                return frame;
            }
            let frames = FIRST_FRAMES << self.chunks.len().min(10);
            let chunk = FrameChunk::new(self.is_large, frames);
            // The first frames are the first to be used.
            self.free.extend((0..chunk.len()).rev().filter_map(|at| chunk.get(at)));
            self.chunks.push(chunk);
        }
    }

    /// Counts a block as cached, if it may be.
    fn admit(&mut self, image_bytes: usize, admission: Admission) -> bool {
        let weight = weight_of(image_bytes);
        let is_cached = match admission {
            Admission::Always => self.make_room(weight),
            Admission::IfRoom => self.has_room(weight) || self.evict_orphans(weight),
            Admission::Never => false,
        };
        if is_cached {
            self.count_cached(weight);
        }
        is_cached
    }

    /// Counts a block that was missed as cached, if it may be: where there is room, and else
    /// when it was missed a while ago already. Of the others a few are taken in as well, or
    /// what nobody uses any more would stay where nothing is asked for twice.
    fn admit_missed(&mut self, slots: &Slots, at: usize, image_bytes: usize) -> bool {
        let weight = weight_of(image_bytes);
        let mut is_cached = self.has_room(weight) || self.evict_orphans(weight);
        if !is_cached {
            self.pass_time();
            let age = slots.note_miss(at, self.now);
            let is_asked_for = age.is_some_and(|age| age <= AGAIN_WITHIN);
            is_cached = (is_asked_for || self.misses.is_multiple_of(ONE_IN)) && self.make_room(weight);
            // What was being loaded while the cache was made smaller still goes.
            self.evict_down_to(self.capacity_bytes);
        }
        if is_cached {
            self.count_cached(weight);
        }
        is_cached
    }

    fn pass_time(&mut self) {
        self.misses += 1;
        self.misses_now += 1;
        if self.misses_now > self.held.cached_blocks / UNIT_PART {
            (self.misses_now, self.now) = (0, self.now.next());
        }
    }

    fn count_cached(&mut self, weight: u64) {
        self.held.cached_bytes += weight;
        self.held.cached_blocks += 1;
    }

    /// Frames there are, in use or not.
    fn frames(&self) -> usize {
        self.chunks.iter().map(FrameChunk::len).sum()
    }

    fn reclaim(&mut self, frame: FramePtr, image: Place) {
        self.held.live_bytes -= weight_of(image.bytes().len());
        self.slab.give_back(image);
        self.free.push(frame);
    }

    fn count_evicted(&mut self, image_bytes: usize) {
        self.held.cached_bytes -= weight_of(image_bytes);
        self.held.cached_blocks -= 1;
    }

    /// Whether so many bytes more may be cached as it is.
    const fn has_room(&self, bytes: u64) -> bool {
        self.held.cached_bytes.saturating_add(bytes) <= self.capacity_bytes
    }

    /// Evicts until so many bytes more may be cached; false when they cannot be.
    fn make_room(&mut self, bytes: u64) -> bool {
        match self.capacity_bytes.checked_sub(bytes) {
            Some(limit) => self.evict_down_to(limit),
            None => {
                // What was being loaded while the cache was made smaller still goes.
                self.evict_down_to(self.capacity_bytes);
                false
            }
        }
    }

    fn evict_down_to(&mut self, limit: u64) -> bool {
        let mut steps = self.frames() * MAX_ROUNDS;
        while self.held.cached_bytes > limit {
            if steps == 0 {
                // Blocks that are being loaded are counted and cannot be evicted.
                return false;
            }
            steps -= 1;
            let Some(frame) = self.turn() else { return false };
            if frame.is_cached() && (!frame.spend_use() || frame.is_orphan()) {
                self.evict(frame);
            }
        }
        true
    }

    /// Evicts blocks of closed tables, until so many bytes more may be cached: looks at some
    /// frames only, and takes no use of any other block away.
    fn evict_orphans(&mut self, bytes: u64) -> bool {
        for _ in 0..ORPHAN_STEPS {
            if self.orphans == 0 || self.has_room(bytes) {
                break;
            }
            let Some(frame) = self.turn() else { break };
            if frame.is_cached() && frame.is_orphan() {
                self.evict(frame);
            }
        }
        self.has_room(bytes)
    }

    /// The frame at the hand, which goes on to the next.
    fn turn(&mut self) -> Option<FramePtr> {
        let (chunk_at, at) = self.hand;
        let chunk = self.chunks.get(chunk_at)?;
        let frame = chunk.get(at);
        self.hand = match at + 1 < chunk.len() {
            true => (chunk_at, at + 1),
            false if chunk_at + 1 < self.chunks.len() => (chunk_at + 1, 0),
            false => (0, 0),
        };
        frame
    }

    fn evict(&mut self, frame: FramePtr) {
        frame.set_cached(false);
        if let Some(Home { slots, at, image_bytes }) = frame.take_home() {
            slots.clear(at);
            self.count_evicted(image_bytes);
            self.orphans = self.orphans.saturating_sub(u64::from(slots.is_dead()));
        }
        if frame.give_up()
            && let Some(Contents { image, cache, .. }) = frame.take_contents()
        {
            self.reclaim(frame, image);
            // Not the last reference: whoever evicts has one.
            drop(cache);
        }
    }
}

/// Whether a block that is being loaded or written is to be cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Others are evicted for it. Where that makes no room, it is not cached.
    Always,
    /// Only where no block of an open table has to be evicted for it.
    IfRoom,
    /// Not at all.
    Never,
}

/// Memory for an image that is being loaded.
pub(crate) struct Draft {
    cache: Arc<BlockCache>,
    frame: FramePtr,
    /// There until `finish`.
    image: Option<Place>,
    is_cached: bool,
}

impl Draft {
    /// Memory for an image of so many bytes.
    pub(crate) fn new(cache: &Arc<BlockCache>, image_bytes: u32, admission: Admission) -> Self {
        Self::admitted(cache, image_bytes, |store| store.admit(image_bytes as usize, admission))
    }

    /// The same for a block that was missed, and is cached if it is worth it.
    pub(crate) fn of_missed(slots: &Slots, at: usize, image_bytes: u32, fill_cache: bool) -> Self {
        if !fill_cache {
            return Self::new(slots.cache(), image_bytes, Admission::Never);
        }
        Self::admitted(slots.cache(), image_bytes, |store| {
            store.admit_missed(slots, at, image_bytes as usize)
        })
    }

    fn admitted(cache: &Arc<BlockCache>, image_bytes: u32, admit: impl FnOnce(&mut Store) -> bool) -> Self {
        let mut store = cache.store.lock();
        let is_cached = admit(&mut store);
        store.held.live_bytes += weight_of(image_bytes as usize);
        let image = Some(store.slab.take(image_bytes));
        let frame = store.take_frame();
        drop(store);
        Self { cache: Arc::clone(cache), frame, image, is_cached }
    }

    /// Whether it will be cached.
    pub(crate) const fn is_cached(&self) -> bool {
        self.is_cached
    }

    /// Whether it is of this cache.
    pub(crate) fn is_of(&self, cache: &Arc<BlockCache>) -> bool {
        Arc::ptr_eq(&self.cache, cache)
    }

    /// The image, to be written: initialised, with any contents.
    pub(crate) fn image(&mut self) -> &mut [u8] {
        self.image.as_mut().map_or(&mut [], Place::bytes_mut)
    }

    /// The block, now that the image is there and checked. It is found in its slot unless
    /// another thread was faster, or the draft was not to be cached.
    pub(crate) fn finish(mut self, layout: Layout, slots: &Arc<Slots>, at: usize) -> Block {
        let Some(image) = self.image.take() else {
            unreachable!("a draft has an image until it is finished")
        };
        let image_bytes = image.bytes().len();
        let contents = Contents { image, layout, cache: Arc::clone(&self.cache) };
        let home = self.is_cached.then(|| Home { slots: Arc::clone(slots), at, image_bytes });
        let block = self.frame.fill_new(contents, home);
        if self.is_cached {
            self.is_cached = false;
            if slots.set(at, &block) || lsm_sync::mutant("sstable.cached_twice") {
                self.frame.set_cached(true);
            } else {
                // The cache's reference, which nobody has seen.
                drop(self.frame.take_home());
                self.frame.give_up();
                self.cache.uncache(image_bytes);
            }
        }
        block
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some(image) = self.image.take() else { return };
        let mut store = self.cache.store.lock();
        if self.is_cached {
            store.count_evicted(image.bytes().len());
        }
        store.reclaim(self.frame, image);
    }
}
