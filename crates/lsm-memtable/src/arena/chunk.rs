//! [`Chunk`]: a piece of an arena's memory; and [`Spare`], the pieces of memtables that are
//! gone, kept for those to come. Knows nothing of what lies in a chunk.
//!
//! A new chunk costs more than its first bytes: the system zeroes its pages as they are
//! touched, 0.1 ms for each two megabytes, and 5 ms on a virtual machine whose host has to
//! find the memory first. So a database that writes all the time keeps what it has.

#![expect(unsafe_code, reason = "memory with a lifetime of its own; see docs/unsafe.md")]

use lsm_sync::Mutex;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// The length of the shortest chunk.
pub(super) const FIRST_CHUNK: usize = 4096;
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// Shorter chunks are not worth keeping: a keyspace that is hardly written has only such.
const WORTH_KEEPING: usize = 48 << 10;

/// Memory of its own, written through the writer and read through records.
#[derive(Debug)]
pub(crate) struct Chunk {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a chunk is plain memory that it owns. All threads share it by the rule
// that `ArenaWriter` keeps: bytes are written by the one writer before their record
// has a name, and by nobody afterwards.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// What starts are multiples of: a cache line.
    pub(crate) const ALIGN: usize = 64;

    /// Memory of so many bytes, at least [`FIRST_CHUNK`], all zeros.
    fn new(bytes: usize, on_huge_pages: bool) -> Self {
        let align = if bytes >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { Self::ALIGN };
        let Ok(layout) = Layout::from_size_align(bytes.max(FIRST_CHUNK), align) else {
            handle_alloc_error(Layout::new::<u8>())
        };
        let start = match bytes >= HUGE_PAGE_BYTES {
            true => huge::take(layout, on_huge_pages),
            // SAFETY: the layout's size is at least `FIRST_CHUNK`, hence not zero.
            false => NonNull::new(unsafe { alloc_zeroed(layout) }),
        };
        let Some(start) = start else { handle_alloc_error(layout) };
        Self { start, layout }
    }

    /// Where it starts, aligned to [`Self::ALIGN`].
    pub(crate) const fn start(&self) -> NonNull<u8> {
        self.start
    }
}

/// Memory that huge pages fit into: a flush walks records that lie all over the arena, and fewer
/// faults are taken while it fills. From the system itself: the allocator would cut aligned
/// pieces out of its heap, and keep what is given back between others that are in use.
#[cfg(all(target_os = "linux", not(miri)))]
mod huge {
    use super::{HUGE_PAGE_BYTES, Layout, NonNull};
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

    /// As `alloc_zeroed`, for a layout that is as long and as aligned as a huge page, or more.
    pub(super) fn take(layout: Layout, on_huge_pages: bool) -> Option<NonNull<u8>> {
        let bytes = layout.size();
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        let whole_bytes = bytes.checked_add(HUGE_PAGE_BYTES)?;
        // SAFETY: without an address the kernel chooses one that is free, so no memory that
        // anybody uses is replaced.
        let whole = unsafe { mmap_anonymous(std::ptr::null_mut(), whole_bytes, protection, flags) }.ok()?;
        let whole = whole.cast::<u8>();
        let before = whole.align_offset(HUGE_PAGE_BYTES).min(HUGE_PAGE_BYTES);
        // SAFETY: `before + bytes` is within the mapping. What is unmapped is what lies
        // around those bytes, which nobody knows of. Advice changes no byte, and is a
        // request that nothing depends on; what cannot be unmapped was never touched.
        unsafe {
            let start = whole.add(before);
            if before > 0 {
                let _never_touched = munmap(whole.cast(), before);
            }
            if before < HUGE_PAGE_BYTES {
                let _never_touched = munmap(start.add(bytes).cast(), HUGE_PAGE_BYTES - before);
            }
            if on_huge_pages {
                let _only_a_request = madvise(start.cast(), bytes, Advice::LinuxHugepage);
            }
            NonNull::new(start)
        }
    }

    /// As `dealloc`.
    ///
    /// # Safety
    /// `start` came from `take` with this layout, and is used no more.
    pub(super) unsafe fn give_back(start: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise: the range is that mapping.
        let _nothing_to_do_about_it = unsafe { munmap(start.as_ptr().cast(), layout.size()) };
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod huge {
    use super::{Layout, NonNull, alloc_zeroed, dealloc};

    pub(super) fn take(layout: Layout, _: bool) -> Option<NonNull<u8>> {
        // SAFETY: the layout is that of a long chunk.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    }

    /// # Safety
    /// As for `dealloc`.
    pub(super) unsafe fn give_back(start: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { dealloc(start.as_ptr(), layout) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: `start` came from `huge::take` or `alloc_zeroed`, by the same condition, with
        // this layout, and is freed only here.
        unsafe {
            if self.layout.size() >= HUGE_PAGE_BYTES {
                huge::give_back(self.start, self.layout);
            } else {
                dealloc(self.start.as_ptr(), self.layout);
            }
        }
    }
}

/// Chunks of memtables that are gone. Shared by a memtable and its successors.
#[derive(Debug)]
pub(crate) struct Spare {
    /// Guards itself; a leaf.
    kept: Mutex<Kept>,
    /// Whether long chunks should be on huge pages, of which the last is there as a whole
    /// though hardly touched.
    on_huge_pages: bool,
}

#[derive(Debug, Default)]
struct Kept {
    /// At most one of each length, so no more than the largest memtable had.
    chunks: Vec<Chunk>,
    /// Whether chunks are kept: from the taking of one that is worth it until all are given
    /// back. Who held a memtable for long may let go of it when nobody writes any more.
    is_wanted: bool,
}

impl Spare {
    /// Keeps nothing yet.
    pub(crate) fn new(on_huge_pages: bool) -> Self {
        Self { kept: Mutex::default(), on_huge_pages }
    }

    /// A chunk of so many bytes, with any contents.
    pub(crate) fn take(&self, bytes: usize) -> Chunk {
        let kept = {
            let mut kept = self.kept.lock();
            kept.is_wanted |= bytes >= WORTH_KEEPING;
            let at = kept.chunks.iter().position(|chunk| chunk.layout.size() == bytes.max(FIRST_CHUNK));
            at.map(|at| kept.chunks.swap_remove(at))
        };
        kept.unwrap_or_else(|| Chunk::new(bytes, self.on_huge_pages))
    }

    /// Keeps a chunk that nobody reads any more, if it is worth it.
    pub(crate) fn give(&self, chunk: Chunk) {
        let bytes = chunk.layout.size();
        let mut kept = self.kept.lock();
        let is_new = || kept.chunks.iter().all(|other| other.layout.size() != bytes);
        if bytes >= WORTH_KEEPING && kept.is_wanted && is_new() {
            kept.chunks.push(chunk);
        } else {
            // Freeing takes a while; nobody should wait for it.
            drop(kept);
            drop(chunk);
        }
    }

    /// Gives all back to the system, and what comes later as well, until somebody writes so
    /// much that he takes a chunk worth keeping.
    pub(crate) fn clear(&self) {
        let kept = std::mem::take(&mut *self.kept.lock());
        drop(kept);
    }

    /// Whether something is kept, or will be once a memtable is gone.
    pub(crate) fn is_wanted(&self) -> bool {
        self.kept.lock().is_wanted
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.lock().chunks.iter().map(|chunk| chunk.layout.size()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_large_chunk_of_each_length_is_kept() {
        let spare = Spare::new(true);
        let first = spare.take(HUGE_PAGE_BYTES);
        let place = first.start();
        let second = spare.take(HUGE_PAGE_BYTES);
        assert_ne!(second.start(), place);
        spare.give(spare.take(FIRST_CHUNK));
        assert_eq!(spare.bytes(), 0, "small ones come and go");
        spare.give(first);
        spare.give(second);
        assert_eq!(spare.bytes(), HUGE_PAGE_BYTES);
        assert_eq!(spare.take(HUGE_PAGE_BYTES).start(), place);
        spare.give(spare.take(2 * HUGE_PAGE_BYTES));
        assert_eq!(spare.bytes(), 2 * HUGE_PAGE_BYTES);
        spare.clear();
        assert_eq!(spare.bytes(), 0);
    }

    #[test]
    fn what_comes_back_after_all_was_given_back_is_not_kept() {
        let spare = Spare::new(true);
        assert!(!spare.is_wanted());
        let [early, late] = [(); 2].map(|()| spare.take(HUGE_PAGE_BYTES));
        assert!(spare.is_wanted());
        spare.clear();
        spare.give(early);
        spare.give(spare.take(FIRST_CHUNK));
        assert_eq!(spare.bytes(), 0, "nobody writes much");
        spare.give(spare.take(2 * HUGE_PAGE_BYTES));
        spare.give(late);
        assert_eq!(spare.bytes(), 3 * HUGE_PAGE_BYTES);
    }
}
