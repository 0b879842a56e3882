//! [`Memory`]: raw memory from the allocator, on huge pages where it is large; and the
//! hint to fetch a line of it. Called by the slab and for frames; knows no block.

#![expect(unsafe_code, reason = "memory that is cut into parts by hand; see docs/unsafe.md")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// The size of a huge page, and of the pieces in which memory for them is taken.
pub(super) const HUGE_BYTES: usize = 2 << 20;

/// Memory without contents. Freed when dropped; what is in it is not.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it is plain memory that it owns; who reads and writes it is up to its users.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// So many bytes, at least one; aligned, and meant for huge pages when they are
    /// [`HUGE_BYTES`].
    pub(super) fn new(bytes: usize, align: usize) -> Self {
        let is_huge = bytes == HUGE_BYTES;
        let align = if is_huge { HUGE_BYTES } else { align };
        let Ok(layout) = Layout::from_size_align(bytes.max(1), align) else {
            handle_alloc_error(Layout::new::<u8>())
        };
        // SAFETY: the size is not zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        if is_huge {
            advise_huge_pages(start, bytes);
        }
        Self { start, layout }
    }

    pub(super) const fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) const fn len(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc` with this layout, and is freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Asks for pages of two megabytes: a look-up of a block that is in no cache of the
/// processor then waits for one line instead of for the page tables as well. A request;
/// nothing depends on it.
#[cfg(all(target_os = "linux", not(miri)))]
fn advise_huge_pages(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the memory is allocated and the advice changes no contents.
    let _only_a_request =
        unsafe { rustix::mm::madvise(start.as_ptr().cast(), bytes, rustix::mm::Advice::LinuxHugepage) };
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn advise_huge_pages(_start: NonNull<u8>, _bytes: usize) {}

/// Has the line at `address` fetched. A hint: the address need not be valid.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    // SAFETY: prefetching touches no memory that a program could notice, whatever the address.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
