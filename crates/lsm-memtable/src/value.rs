//! [`ValueRef`]: a value as it lies in a memtable, lent to a reader.

use lsm_types::Slice;

/// A value lent by a memtable.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// The bytes lie in the memtable's own memory.
    Inline(&'a [u8]),
    /// The memtable keeps a refcounted slice.
    Shared(&'a Slice),
}

impl<'a> ValueRef<'a> {
    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        match *self {
            Self::Inline(bytes) => bytes,
            Self::Shared(slice) => slice.as_bytes(),
        }
    }

    /// The value as an owned slice: a copy of inline bytes, so that nobody pins a
    /// memtable by its values, and another reference to a shared slice.
    #[must_use]
    pub fn to_slice(&self) -> Slice {
        match *self {
            Self::Inline(bytes) => Slice::copy_from(bytes),
            Self::Shared(slice) => slice.clone(),
        }
    }
}
