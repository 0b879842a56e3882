//! [`Chunk`]: a piece of an arena's memory; and [`Spare`], the pieces of memtables that are
//! gone, kept for those to come. Knows nothing of what lies in a chunk.
//!
//! A new chunk costs more than its first bytes: the system zeroes its pages as they are
//! touched, 0.1 ms for each two megabytes, and 5 ms on a virtual machine whose host has to
//! find the memory first. So a database that writes all the time keeps what it has.

#![expect(unsafe_code, reason = "memory with a lifetime of its own; see docs/unsafe.md")]

use lsm_sync::Mutex;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// The length of the shortest chunk.
pub(super) const FIRST_CHUNK: usize = 4096;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Memory of its own, written through the writer and read through records.
#[derive(Debug)]
pub(super) struct Chunk {
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
    /// Memory of so many bytes, at least [`FIRST_CHUNK`], with any contents.
    fn new(bytes: usize) -> Self {
        let align = if bytes >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { align_of::<u32>() };
        let Ok(layout) = Layout::from_size_align(bytes.max(FIRST_CHUNK), align) else {
            handle_alloc_error(Layout::new::<u8>())
        };
        // SAFETY: the layout's size is at least `FIRST_CHUNK`, hence not zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        if bytes >= HUGE_PAGE_BYTES {
            advise_huge_pages(start, bytes);
        }
        Self { start, layout }
    }

    /// Where it starts, aligned to four bytes.
    pub(super) const fn start(&self) -> NonNull<u8> {
        self.start
    }
}

/// Asks for huge pages: a flush walks records that lie all over the arena, and fewer
/// faults are taken while it fills. A request; nothing depends on it.
#[cfg(all(target_os = "linux", not(miri)))]
fn advise_huge_pages(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the memory is allocated, and the advice changes no byte of it.
    let _only_a_request =
        unsafe { rustix::mm::madvise(start.as_ptr().cast(), bytes, rustix::mm::Advice::LinuxHugepage) };
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn advise_huge_pages(_start: NonNull<u8>, _bytes: usize) {}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc` with this layout, and is freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Chunks of memtables that are gone. Shared by a memtable and its successors.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    /// Guards itself; a leaf. At most one chunk of each length, so no more than the largest
    /// memtable had.
    chunks: Mutex<Vec<Chunk>>,
}

impl Spare {
    /// A chunk of so many bytes.
    pub(super) fn take(&self, bytes: usize) -> Chunk {
        let kept = {
            let mut chunks = self.chunks.lock();
            let at = chunks.iter().position(|chunk| chunk.layout.size() == bytes);
            at.map(|at| chunks.swap_remove(at))
        };
        kept.unwrap_or_else(|| Chunk::new(bytes))
    }

    /// Keeps a chunk that nobody reads any more, if it is worth it.
    pub(super) fn give(&self, chunk: Chunk) {
        let bytes = chunk.layout.size();
        let mut chunks = self.chunks.lock();
        if bytes >= HUGE_PAGE_BYTES && chunks.iter().all(|other| other.layout.size() != bytes) {
            chunks.push(chunk);
        } else {
            // Freeing takes a while; nobody should wait for it.
            drop(chunks);
            drop(chunk);
        }
    }

    /// Gives all back to the system.
    pub(crate) fn clear(&self) {
        let chunks = std::mem::take(&mut *self.chunks.lock());
        drop(chunks);
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.lock().iter().map(|chunk| chunk.layout.size()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_large_chunk_of_each_length_is_kept() {
        let spare = Spare::default();
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
}
