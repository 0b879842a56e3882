//! [`Slice`]: the refcounted byte string that is handed out and passed in.
//! It never allocates to be cloned or cut.

use crate::owner::{Owned, Owner};
use bytes::Bytes;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Bound, Deref, RangeBounds};
use std::ptr::NonNull;

/// Immutable bytes, cheap to clone and to cut (one refcount).
///
/// A slice that came from a table shares the memory of its block and keeps that
/// one block alive; [`detach`](Self::detach) copies it out. `Send + Sync`.
#[derive(Clone)]
pub struct Slice(Repr);

/// Where the bytes are counted.
#[derive(Clone)]
enum Repr {
    /// By the `bytes` crate, or nowhere.
    Bytes(Bytes),
    /// By the block that they lie in.
    Owned(Owned),
}

const _: () = assert!(size_of::<Slice>() == size_of::<Bytes>());

impl Slice {
    /// The empty slice; does not allocate.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Repr::Bytes(Bytes::new()))
    }

    /// Bytes of the program itself; does not allocate.
    #[must_use]
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self(Repr::Bytes(Bytes::from_static(bytes)))
    }

    /// Copies `bytes` into memory of its own.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(Repr::Bytes(Bytes::copy_from_slice(bytes)))
    }

    /// Bytes within memory that `owner` counts. One reference goes over to the slice;
    /// neither this nor cloning or cutting it allocates.
    ///
    /// # Safety
    /// `start..start + len` must be readable and unchanging, and `owner` must point to an
    /// [`Owner`], from now until the reference that goes over, and all that are added
    /// beside it, are released; from whichever thread.
    #[expect(unsafe_code, reason = "the promise of whoever counts; see docs/unsafe.md")]
    #[must_use]
    #[inline]
    pub const unsafe fn from_owner(start: NonNull<u8>, len: usize, owner: NonNull<Owner>) -> Self {
        // SAFETY: the caller's promise.
        Self(Repr::Owned(unsafe { Owned::new(start, len, owner) }))
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Bytes(bytes) => bytes,
            Repr::Owned(owned) => owned.as_bytes(),
        }
    }

    /// A part of this slice that shares its memory, or `None` when `range` does
    /// not lie within it.
    #[must_use]
    pub fn get_slice(&self, range: impl RangeBounds<usize>) -> Option<Self> {
        let start = match range.start_bound() {
            Bound::Included(&at) => at,
            Bound::Excluded(&at) => at.checked_add(1)?,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&at) => at.checked_add(1)?,
            Bound::Excluded(&at) => at,
            Bound::Unbounded => self.len(),
        };
        match &self.0 {
            Repr::Bytes(bytes) => {
                let fits = start <= end && end <= bytes.len();
                fits.then(|| Self(Repr::Bytes(bytes.slice(start..end))))
            }
            Repr::Owned(owned) => owned.cut(start, end).map(|cut| Self(Repr::Owned(cut))),
        }
    }

    /// A copy in memory of its own, which pins no block.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self::copy_from(self)
    }

    /// The `bytes` crate's view of the same memory. Allocates a count of its own for a
    /// slice that shares the memory of a block.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Bytes(bytes) => bytes,
            Repr::Owned(owned) => Bytes::from_owner(Self(Repr::Owned(owned))),
        }
    }
}

impl Default for Slice {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Slice {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Slice {}

impl PartialOrd for Slice {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slice {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Slice {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Deref for Slice {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for Slice {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Borrow<[u8]> for Slice {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Prints text as text and the rest escaped, as in `b"a\0"`.
impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("b\"")?;
        for &byte in self.as_bytes() {
            match byte {
                0 => f.write_str("\\0")?,
                b'\'' => f.write_str("'")?,
                _ => write!(f, "{}", byte.escape_ascii())?,
            }
        }
        f.write_str("\"")
    }
}

impl From<Bytes> for Slice {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Slice {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Repr::Bytes(Bytes::from(bytes)))
    }
}

impl From<String> for Slice {
    fn from(text: String) -> Self {
        Self(Repr::Bytes(Bytes::from(text)))
    }
}

impl From<&[u8]> for Slice {
    fn from(bytes: &[u8]) -> Self {
        Self::copy_from(bytes)
    }
}

impl From<&str> for Slice {
    fn from(text: &str) -> Self {
        Self::copy_from(text.as_bytes())
    }
}

impl<const N: usize> From<[u8; N]> for Slice {
    fn from(bytes: [u8; N]) -> Self {
        Self::copy_from(&bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Slice {
    fn from(bytes: &[u8; N]) -> Self {
        Self::copy_from(bytes)
    }
}

impl PartialEq<[u8]> for Slice {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_bytes() == other
    }
}

impl PartialEq<&[u8]> for Slice {
    fn eq(&self, other: &&[u8]) -> bool {
        self.as_bytes() == *other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Slice {
    fn eq(&self, other: &[u8; N]) -> bool {
        self.as_bytes() == other
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Slice {
    fn eq(&self, other: &&[u8; N]) -> bool {
        self.as_bytes() == *other
    }
}

impl PartialEq<str> for Slice {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Slice {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<Vec<u8>> for Slice {
    fn eq(&self, other: &Vec<u8>) -> bool {
        self.as_bytes() == other.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_share_memory_and_detach_does_not() {
        let whole = Slice::from("hello world");
        let part = whole.get_slice(6..).unwrap();
        assert_eq!(part, "world");
        assert_eq!(part.as_ptr(), whole[6..].as_ptr());
        assert_ne!(part.detach().as_ptr(), part.as_ptr());
    }

    #[test]
    fn a_cut_outside_is_none_and_not_a_panic() {
        let whole = Slice::from("abc");
        assert_eq!(whole.get_slice(2..5), None);
        #[expect(clippy::reversed_empty_ranges, reason = "the reversed range is the case under test")]
        let reversed = whole.get_slice(2..1);
        assert_eq!(reversed, None);
        assert_eq!(whole.get_slice(3..).unwrap(), "");
        assert_eq!(whole.get_slice(..=usize::MAX), None);
    }
}
