//! [`Slice`]: the refcounted byte string that is handed out and passed in.
//! It never allocates to be cloned or cut.

use bytes::Bytes;
use std::borrow::Borrow;
use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};

/// Immutable bytes, cheap to clone and to cut (one refcount).
///
/// A slice that came from a table shares the memory of its block and keeps that
/// one block alive; [`detach`](Self::detach) copies it out. `Send + Sync`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Slice(Bytes);

impl Slice {
    /// The empty slice; does not allocate.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Bytes::new())
    }

    /// Bytes of the program itself; does not allocate.
    #[must_use]
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self(Bytes::from_static(bytes))
    }

    /// Copies `bytes` into memory of its own.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
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
            Bound::Unbounded => self.0.len(),
        };
        (start <= end && end <= self.0.len()).then(|| Self(self.0.slice(start..end)))
    }

    /// A copy in memory of its own, which pins no block.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self::copy_from(&self.0)
    }

    /// The `bytes` crate's view of the same memory.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Slice {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Slice {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Slice {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Prints text as text and the rest escaped, as in `b"a\x00"`.
impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<Bytes> for Slice {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<Vec<u8>> for Slice {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::from(bytes))
    }
}

impl From<String> for Slice {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
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
