//! [`Owner`]: how a [`Slice`](crate::Slice) keeps memory alive that somebody else counts
//! and frees. For the block cache; everybody else makes slices from `Bytes` or vectors.
//! Counts nothing itself, so that atomics stay with the protocol that they belong to.

#![expect(unsafe_code, reason = "memory that its owner counts is lent by pointer; see docs/unsafe.md")]

use std::fmt;
use std::ptr::NonNull;

/// What stands first in an object that counts references to its memory: how to add one
/// and how to give one back.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Owner {
    functions: &'static OwnerFunctions,
}

/// What an [`Owner`] does when slices are cloned and dropped. Both get the pointer that
/// the slice was made with, and may be called from any thread.
#[derive(Clone, Copy)]
pub struct OwnerFunctions {
    /// Adds a reference beside one that the caller has.
    pub retain: unsafe fn(NonNull<Owner>),
    /// Gives one back; the last one may free the memory, the owner included.
    pub release: unsafe fn(NonNull<Owner>),
}

impl Owner {
    /// An owner with these functions.
    #[must_use]
    pub const fn new(functions: &'static OwnerFunctions) -> Self {
        Self { functions }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owner")
    }
}

/// Bytes, and one reference to what keeps them.
pub(crate) struct Owned {
    start: NonNull<u8>,
    len: usize,
    owner: NonNull<Owner>,
}

// SAFETY: `Owned::new` asks for bytes that nobody writes and for functions that may be
// called from any thread.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Owned {
    /// # Safety
    /// `start..start + len` must be readable and unchanging, and `owner` must point to an
    /// [`Owner`], from now until the reference that goes over to the result, and all that
    /// are added beside it, are released; from whichever thread.
    #[inline]
    pub(crate) const unsafe fn new(start: NonNull<u8>, len: usize, owner: NonNull<Owner>) -> Self {
        Self { start, len, owner }
    }

    #[inline]
    pub(crate) const fn as_bytes(&self) -> &[u8] {
        // SAFETY: `new` asked for readable, unchanging bytes while this reference lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The part from `start` to `end`, or nothing when it does not lie within.
    #[inline]
    pub(crate) fn cut(&self, start: usize, end: usize) -> Option<Self> {
        let part = NonNull::from(self.as_bytes().get(start..end)?);
        let whole = self.clone();
        let cut = Self { start: part.cast(), len: part.len(), owner: whole.owner };
        // The clone's reference is the cut's.
        std::mem::forget(whole);
        Some(cut)
    }
}

impl Clone for Owned {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: the owner lives at least as long as this reference to it.
        unsafe { (self.owner.as_ref().functions.retain)(self.owner) }
        Self { start: self.start, len: self.len, owner: self.owner }
    }
}

impl Drop for Owned {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as in `clone`; this is the one release of this reference.
        unsafe { (self.owner.as_ref().functions.release)(self.owner) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Slice;
    use std::sync::Arc;

    /// Bytes that an `Arc` counts.
    #[repr(C)]
    struct Counted {
        owner: Owner,
        bytes: [u8; 5],
        _alive: Arc<()>,
    }

    static FUNCTIONS: OwnerFunctions = OwnerFunctions { retain, release };

    unsafe fn retain(owner: NonNull<Owner>) {
        // SAFETY: the pointer came from `Arc::into_raw`, and the caller has a reference.
        unsafe { Arc::increment_strong_count(owner.cast::<Counted>().as_ptr()) }
    }

    unsafe fn release(owner: NonNull<Owner>) {
        // SAFETY: as in `retain`; the caller gives up its reference.
        unsafe { Arc::decrement_strong_count(owner.cast::<Counted>().as_ptr()) }
    }

    fn slice(alive: &Arc<()>) -> Slice {
        let counted = Counted { owner: Owner::new(&FUNCTIONS), bytes: *b"hello", _alive: Arc::clone(alive) };
        let counted = Arc::into_raw(Arc::new(counted)).cast_mut();
        // SAFETY: the bytes stand in what the `Arc` counts, and the owner stands first.
        unsafe {
            let start = NonNull::new_unchecked(&raw mut (*counted).bytes).cast();
            Slice::from_owner(start, 5, NonNull::new_unchecked(counted).cast())
        }
    }

    #[test]
    fn memory_goes_with_the_last_slice() {
        fn moves<T: Send + Sync>(value: T) -> T {
            value
        }
        let alive = Arc::new(());
        let whole = moves(slice(&alive));
        let part = whole.get_slice(1..3).unwrap();
        let bytes = whole.clone().into_bytes();
        assert_eq!((part.as_bytes(), &bytes[..]), (&b"el"[..], &b"hello"[..]));
        assert_eq!(bytes.as_ptr(), whole.as_ptr(), "the same memory");
        assert_eq!(whole.get_slice(4..9), None);
        drop((whole, part));
        assert_eq!(Arc::strong_count(&alive), 2, "still held as bytes");
        let again = Slice::from(bytes);
        assert_eq!(again.detach(), "hello");
        drop(again);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
