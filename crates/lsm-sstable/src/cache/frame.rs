//! [`Frame`]: what the cache knows of one block, and the count of who reads it; and
//! [`Block`], one such reference. Frames are never given back to the allocator while the
//! cache lives, so that a reader may try to take a reference through a pointer that has
//! become stale: a count of zero stays zero for it.

#![expect(unsafe_code, reason = "blocks are counted by hand; see docs/unsafe.md")]

use super::BlockCache;
use super::memory::{HUGE_BYTES, Memory};
use super::slab::Place;
use super::slots::Slots;
use crate::block::{Layout, View};
use lsm_sync::Arc;
use lsm_sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use lsm_sync::cell::UnsafeCell;
use lsm_types::{Owner, OwnerFunctions, Slice};
use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;

/// A frame gives out no more references than half of what can be counted, so that a count
/// never comes round to zero, however many slices a program forgets.
const MAX_REFERENCES: usize = usize::MAX / 2;

/// A look-up adds one use up to here, each pass of the clock takes one away.
pub(super) const MAX_USES: u8 = 3;

/// What a frame holds while its count is above zero. Written before the count is, and
/// taken out after it has come back to zero; in between nobody writes it.
#[repr(C)]
pub(super) struct Contents {
    pub(super) image: Place,
    pub(super) layout: Layout,
    /// Keeps the frames, this one included.
    pub(super) cache: Arc<BlockCache>,
}

/// Where a cached block is found.
pub(super) struct Home {
    pub(super) slots: Arc<Slots>,
    pub(super) at: usize,
    pub(super) image_bytes: usize,
}

/// The place of one block in the cache. All that a look-up needs of it stands in its
/// first line.
#[repr(C, align(128))]
pub(super) struct Frame {
    /// First, so that a slice's owner is its frame.
    owner: Owner,
    /// References: one of the cache while the block is cached, one of each [`Block`] and
    /// slice. 0: the frame is free.
    count: AtomicUsize,
    /// How often the block was used of late, roughly. Relaxed: a hint for the clock.
    uses: AtomicU8,
    /// Whether the cache has a reference and `home` is set.
    is_cached: AtomicBool,
    contents: UnsafeCell<Option<Contents>>,
    /// Written by who caches the block, before `is_cached`, and taken out under the
    /// cache's lock by who evicts it, after.
    home: UnsafeCell<Option<Home>>,
}

#[cfg(not(lsm_loom))]
const _: () = assert!(size_of::<Frame>() == 128);

// SAFETY: the atomics are shared; `contents` is written only by who has the frame for
// itself, since its count is zero, and `home` as its doc says.
unsafe impl Send for Frame {}
// SAFETY: as above.
unsafe impl Sync for Frame {}

static FUNCTIONS: OwnerFunctions = OwnerFunctions { retain, release };

/// # Safety
/// `owner` must come from a [`Block`], whose reference the caller has.
unsafe fn retain(owner: NonNull<Owner>) {
    // SAFETY: a block's owner is its frame, kept alive by the caller's reference.
    let frame = unsafe { owner.cast::<Frame>().as_ref() };
    // Relaxed: the caller's own reference keeps the block meanwhile.
    if frame.count.fetch_add(1, Ordering::Relaxed) > MAX_REFERENCES {
        // As `Arc` does: nothing can be said that would keep what follows sound.
        std::process::abort();
    }
}

/// # Safety
/// As [`retain`]; the reference is given up.
#[inline]
unsafe fn release(owner: NonNull<Owner>) {
    let frame = owner.cast::<Frame>();
    // SAFETY: as in `retain`. Only the count is borrowed: once it is lower, another thread
    // may free the cache with the frame in it before this call is back.
    let count = unsafe { &(*frame.as_ptr()).count };
    if count_down(count) && !lsm_sync::mutant("sstable.last_one_keeps_it") {
        free(frame);
    }
}

/// Gives up a reference; true when it was the last one, and the caller is alone.
#[inline]
fn count_down(count: &AtomicUsize) -> bool {
    // Release for the uses of the block before; Acquire, for the last one, of all others'.
    // Pairs with itself.
    count.fetch_sub(1, lsm_sync::weaken("sstable.give_up", Ordering::AcqRel)) == 1
}

/// Empties a frame that nobody has a reference to, and gives all back to the cache.
#[cold]
fn free(frame: NonNull<Frame>) {
    // SAFETY: the frame stays at least until `contents`, which keeps the cache, is dropped.
    let contents = unsafe { frame.as_ref() }.take_contents();
    if let Some(Contents { image, cache, .. }) = contents {
        cache.reclaim(FramePtr(frame), image);
        // Maybe the last reference to the cache, and with it the frame's end.
        drop(cache);
    }
}

impl Frame {
    pub(super) fn new() -> Self {
        Self {
            owner: Owner::new(&FUNCTIONS),
            count: AtomicUsize::new(0),
            uses: AtomicU8::new(0),
            is_cached: AtomicBool::new(false),
            contents: UnsafeCell::new(None),
            home: UnsafeCell::new(None),
        }
    }

    /// Fills a free frame and gives out `references` to it.
    fn fill(&self, contents: Contents, references: usize) {
        // SAFETY: the caller took the frame from the list of free ones: it is alone with
        // it, since the count is zero and readers leave frames of that count alone.
        self.contents.with_mut(|slot| unsafe { *slot = Some(contents) });
        self.uses.store(0, Ordering::Relaxed);
        // Pairs with the exchange in `try_retain`, for readers that come with a pointer
        // from before: they must see the contents, and whatever emptied their slot.
        self.count.store(references, lsm_sync::weaken("sstable.frame_filled", Ordering::Release));
    }

    /// Adds a reference unless there is none, or far too many. The caller must then make sure that the
    /// frame still holds what it came for.
    #[inline]
    pub(super) fn try_retain(&self) -> bool {
        let mut count = self.count.load(Ordering::Relaxed);
        loop {
            // One comparison for both: zero wraps.
            let is_fine = count.wrapping_sub(1) < MAX_REFERENCES;
            if !is_fine && !lsm_sync::mutant("sstable.retain_from_zero") {
                return false;
            }
            // Pairs with the Release in `fill`.
            let order = lsm_sync::weaken("sstable.retain", Ordering::Acquire);
            match self.count.compare_exchange_weak(count, count + 1, order, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => count = now,
            }
        }
    }

    /// As [`count_down`], for who keeps the cache.
    pub(super) fn give_up(&self) -> bool {
        count_down(&self.count)
    }

    /// Counts a use.
    #[inline]
    pub(super) fn touch(&self) {
        let uses = self.uses.load(Ordering::Relaxed);
        if uses < MAX_USES {
            // Lost now and then between threads, which is fine.
            self.uses.store(uses + 1, Ordering::Relaxed);
        }
    }

    /// Takes a use away; false when there was none.
    pub(super) fn spend_use(&self) -> bool {
        let uses = self.uses.load(Ordering::Relaxed);
        self.uses.store(uses.saturating_sub(1), Ordering::Relaxed);
        uses > 0
    }

    pub(super) fn is_cached(&self) -> bool {
        // Pairs with the Release in `set_cached`.
        self.is_cached.load(Ordering::Acquire)
    }

    /// Says that `home` may be taken out by who evicts.
    pub(super) fn set_cached(&self, is_cached: bool) {
        // Pairs with the Acquire in `is_cached`.
        self.is_cached.store(is_cached, lsm_sync::weaken("sstable.cached", Ordering::Release));
    }

    /// Sets where the block is found, for who fills the frame and has not shown it.
    pub(super) fn set_home(&self, home: Option<Home>) {
        // SAFETY: the block is not cached yet, so nobody else looks here.
        self.home.with_mut(|slot| unsafe { *slot = home });
    }

    /// Takes out where the block was found; for who evicts it, under the cache's lock.
    pub(super) fn take_home(&self) -> Option<Home> {
        // SAFETY: the block was cached, so who set this is done, and the lock keeps out
        // others who evict.
        self.home.with_mut(|slot| unsafe { (*slot).take() })
    }

    /// Whether the table of a cached block is gone; under the cache's lock.
    pub(super) fn is_orphan(&self) -> bool {
        // SAFETY: as in `take_home`.
        self.home.with(|home| unsafe { (*home).as_ref().is_some_and(|home| home.slots.is_dead()) })
    }

    /// Empties the frame, for the caller that gave up the last reference.
    pub(super) fn take_contents(&self) -> Option<Contents> {
        // SAFETY: the count is zero, so nobody else has a reference or will get one.
        self.contents.with_mut(|slot| unsafe { (*slot).take() })
    }
}

/// A frame of a cache that whoever holds this keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FramePtr(NonNull<Frame>);

// SAFETY: frames are shared between threads.
unsafe impl Send for FramePtr {}
// SAFETY: as above.
unsafe impl Sync for FramePtr {}

impl Deref for FramePtr {
    type Target = Frame;
    #[inline]
    fn deref(&self) -> &Frame {
        // SAFETY: frames live as long as their cache. A pointer to one stands in the lists
        // and slots of that cache, or beside a reference to it.
        unsafe { self.0.as_ref() }
    }
}

impl FramePtr {
    pub(super) const fn as_ptr(self) -> *mut Frame {
        self.0.as_ptr()
    }

    /// From what a slot holds: null, or what [`as_ptr`](Self::as_ptr) gave.
    #[inline]
    pub(super) fn from_slot(frame: *mut Frame) -> Option<Self> {
        NonNull::new(frame).map(Self)
    }

    /// A reference, if the frame has any.
    #[inline]
    pub(super) fn try_block(self) -> Option<Block> {
        self.try_retain().then(|| Block(self.0))
    }

    /// Fills a free frame; a reference for the caller, and one for the cache if `cached`.
    pub(super) fn fill_new(self, contents: Contents, home: Option<Home>) -> Block {
        let references = 1 + usize::from(home.is_some());
        self.set_home(home);
        self.fill(contents, references);
        Block(self.0)
    }
}

/// Frames side by side, which stay where they are.
pub(super) struct FrameChunk {
    memory: Memory,
    frames: usize,
}

impl FrameChunk {
    /// As many empty frames as fit into a huge page, or so many.
    pub(super) fn new(is_large: bool, frames: usize) -> Self {
        let bytes = if is_large { HUGE_BYTES } else { frames * size_of::<Frame>() };
        let memory = Memory::new(bytes, align_of::<Frame>());
        let frames = memory.len() / size_of::<Frame>();
        let start = memory.start().cast::<Frame>();
        for at in 0..frames {
            // SAFETY: the memory is large enough, aligned, and nobody else has it.
            unsafe { start.add(at).write(Frame::new()) }
        }
        Self { memory, frames }
    }

    pub(super) const fn len(&self) -> usize {
        self.frames
    }

    pub(super) fn get(&self, at: usize) -> Option<FramePtr> {
        // SAFETY: within the frames that `new` made.
        (at < self.frames).then(|| FramePtr(unsafe { self.memory.start().cast::<Frame>().add(at) }))
    }
}

impl Drop for FrameChunk {
    fn drop(&mut self) {
        let frames = NonNull::slice_from_raw_parts(self.memory.start().cast::<Frame>(), self.frames);
        // SAFETY: `new` made so many, and the cache that has this is going: nobody is left
        // with a reference to one of them, since each would keep the cache.
        unsafe { frames.drop_in_place() }
    }
}

/// A checked block: one reference to a frame and its image. Immutable, cheap to clone
/// (one refcount), `Send + Sync`.
pub(crate) struct Block(NonNull<Frame>);

// SAFETY: what a block lends is never written while the block exists, and the count is
// an atomic.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    #[inline]
    pub(super) const fn frame(&self) -> FramePtr {
        FramePtr(self.0)
    }

    #[inline]
    fn contents(&self) -> &Contents {
        // SAFETY: the contents, which this reference keeps, keep the frame. `fill` wrote them
        // the reference was given out, and nobody writes them while it is there.
        let contents = unsafe { self.0.as_ref() }.contents.with(|contents| unsafe { (*contents).as_ref() });
        match contents {
            Some(contents) => contents,
            None => unreachable!("a reference to an empty frame"),
        }
    }

    /// Image and layout.
    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        let contents = self.contents();
        View::new(contents.image.bytes(), &contents.layout)
    }

    /// A part of the image as a slice that shares its memory.
    pub(crate) fn slice(&self, range: Range<usize>) -> Slice {
        self.clone().into_slice(range)
    }

    /// As [`slice`](Self::slice), handing over this block's own reference: costs no
    /// refcount.
    #[inline]
    pub(crate) fn into_slice(self, range: Range<usize>) -> Slice {
        let Some(part) = self.view().image().get(range) else { return Slice::empty() };
        let (start, len, frame) = (NonNull::from(part).cast(), part.len(), self.0);
        std::mem::forget(self);
        // SAFETY: this block's reference goes over to the slice; the image does not change
        // as long as there is one, and the frame's owner stands first in it.
        unsafe { Slice::from_owner(start, len, frame.cast()) }
    }
}

impl Clone for Block {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: this block's own reference is the one that `retain` asks for.
        unsafe { retain(self.0.cast()) }
        Self(self.0)
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this block's own reference is given up.
        unsafe { release(self.0.cast()) }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("bytes", &self.view().image().len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(lsm_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_count_never_comes_round_to_zero() {
        let frame = Frame::new();
        assert!(!frame.try_retain(), "nobody has a reference to a free frame");
        frame.count.store(MAX_REFERENCES, Ordering::Relaxed);
        assert!(frame.try_retain());
        assert!(!frame.try_retain(), "the last references are kept for those that are counted anyway");
        frame.count.store(usize::MAX, Ordering::Relaxed);
        assert!(!frame.try_retain());
    }
}
