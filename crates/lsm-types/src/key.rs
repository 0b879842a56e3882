//! [`InternalKey`]: a user key with its sequence number and kind, as a value type.
//! Built by every write and compared by every index; it never allocates.

use crate::{MAX_SEQNO, SeqNo, Slice, UnknownKind, ValueKind};
use std::cmp::Ordering;

/// Sequence number and kind in one word: `seqno << 8 | kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Trailer(u64);

impl Trailer {
    /// Packs both; a number above [`MAX_SEQNO`] is cut down to it.
    #[must_use]
    #[inline]
    pub const fn new(seqno: SeqNo, kind: ValueKind) -> Self {
        let seqno = if seqno > MAX_SEQNO { MAX_SEQNO } else { seqno };
        Self(seqno << 8 | kind as u64)
    }

    /// Unpacks a stored word.
    ///
    /// # Errors
    /// [`UnknownKind`] when the low byte names no kind.
    #[inline]
    pub fn from_word(word: u64) -> Result<Self, UnknownKind> {
        ValueKind::try_from(word as u8)?;
        Ok(Self(word))
    }

    /// The word as it is stored.
    #[must_use]
    #[inline]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The sequence number.
    #[must_use]
    #[inline]
    pub const fn seqno(self) -> SeqNo {
        self.0 >> 8
    }

    /// The kind.
    #[must_use]
    #[inline]
    pub fn kind(self) -> ValueKind {
        // Both constructors admit only bytes that name a kind.
        ValueKind::try_from(self.0 as u8).unwrap_or(ValueKind::Value)
    }
}

/// A user key with the number and kind of one write to it.
///
/// `K` is `&[u8]` where a key is only looked at and [`Slice`] where it is kept.
/// Keys order by user key ascending, then by sequence number *descending*, so the
/// newest version of a key comes first. The kind takes no part in the order: two
/// entries of equal key and number are the same entry, and the later insert wins.
#[derive(Clone, Copy, Debug)]
pub struct InternalKey<K = Slice> {
    /// The application's key.
    pub user_key: K,
    /// Number and kind.
    pub trailer: Trailer,
}

impl<K> InternalKey<K> {
    /// A key from its parts; a number above [`MAX_SEQNO`] is cut down to it.
    #[must_use]
    #[inline]
    pub const fn new(user_key: K, seqno: SeqNo, kind: ValueKind) -> Self {
        Self { user_key, trailer: Trailer::new(seqno, kind) }
    }

    /// The number of the write.
    #[must_use]
    #[inline]
    pub const fn seqno(&self) -> SeqNo {
        self.trailer.seqno()
    }

    /// What the write says about its key.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> ValueKind {
        self.trailer.kind()
    }
}

impl<'a> InternalKey<&'a [u8]> {
    /// The place in the order before every version of `user_key` that is visible
    /// at `snapshot` and after every one that is not. `None` at snapshot 0, which
    /// sees nothing.
    #[must_use]
    #[inline]
    pub const fn seek_to(user_key: &'a [u8], snapshot: SeqNo) -> Option<Self> {
        match snapshot.checked_sub(1) {
            Some(newest) => Some(Self::new(user_key, newest, ValueKind::Value)),
            None => None,
        }
    }

    /// The place before every version of `user_key`.
    #[must_use]
    #[inline]
    pub const fn before_all(user_key: &'a [u8]) -> Self {
        Self::new(user_key, MAX_SEQNO, ValueKind::Value)
    }

    /// The place of the oldest possible version of `user_key`.
    #[must_use]
    #[inline]
    pub const fn after_all(user_key: &'a [u8]) -> Self {
        Self::new(user_key, 0, ValueKind::Value)
    }
}

impl<K: AsRef<[u8]>> InternalKey<K> {
    /// The same key, borrowed.
    #[must_use]
    #[inline]
    pub fn as_borrowed(&self) -> InternalKey<&[u8]> {
        InternalKey { user_key: self.user_key.as_ref(), trailer: self.trailer }
    }

    /// The same key with a copy of the user key.
    #[must_use]
    pub fn to_owned_key(&self) -> InternalKey<Slice> {
        InternalKey { user_key: Slice::copy_from(self.user_key.as_ref()), trailer: self.trailer }
    }
}

impl<A: AsRef<[u8]>, B: AsRef<[u8]>> PartialEq<InternalKey<B>> for InternalKey<A> {
    #[inline]
    fn eq(&self, other: &InternalKey<B>) -> bool {
        self.seqno() == other.seqno() && self.user_key.as_ref() == other.user_key.as_ref()
    }
}

impl<K: AsRef<[u8]>> Eq for InternalKey<K> {}

impl<A: AsRef<[u8]>, B: AsRef<[u8]>> PartialOrd<InternalKey<B>> for InternalKey<A> {
    #[inline]
    fn partial_cmp(&self, other: &InternalKey<B>) -> Option<Ordering> {
        Some(
            self.user_key
                .as_ref()
                .cmp(other.user_key.as_ref())
                .then_with(|| other.seqno().cmp(&self.seqno())),
        )
    }
}

impl<K: AsRef<[u8]>> Ord for InternalKey<K> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.user_key.as_ref().cmp(other.user_key.as_ref()).then_with(|| other.seqno().cmp(&self.seqno()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_version_of_a_key_comes_first() {
        let mut keys = [
            InternalKey::new(&b"b"[..], 1, ValueKind::Value),
            InternalKey::new(&b"a"[..], 1, ValueKind::Value),
            InternalKey::new(&b"a"[..], 9, ValueKind::Tombstone),
            InternalKey::new(&b""[..], 3, ValueKind::Value),
        ];
        keys.sort();
        let order: Vec<_> = keys.iter().map(|k| (k.user_key, k.seqno())).collect();
        assert_eq!(order, [(&b""[..], 3), (b"a", 9), (b"a", 1), (b"b", 1)]);
    }

    #[test]
    fn a_seek_splits_visible_from_invisible() {
        let at_5 = InternalKey::seek_to(b"k", 5).unwrap();
        assert!(InternalKey::new(&b"k"[..], 5, ValueKind::Value) < at_5, "5 is not visible at 5");
        assert!(InternalKey::new(&b"k"[..], 4, ValueKind::Value) >= at_5, "4 is visible at 5");
        assert!(InternalKey::seek_to(b"k", 0).is_none(), "snapshot 0 sees nothing");
        assert_eq!(InternalKey::seek_to(b"k", SeqNo::MAX).unwrap().seqno(), MAX_SEQNO);
    }

    #[test]
    fn a_trailer_survives_its_word() {
        for kind in ValueKind::ALL {
            for seqno in [0, 1, 255, 256, MAX_SEQNO] {
                let trailer = Trailer::from_word(Trailer::new(seqno, kind).word()).unwrap();
                assert_eq!((trailer.seqno(), trailer.kind()), (seqno, kind));
            }
        }
        assert_eq!(Trailer::from_word(0xff), Err(UnknownKind(0xff)));
        assert_eq!(Trailer::new(SeqNo::MAX, ValueKind::Value).seqno(), MAX_SEQNO);
    }
}
