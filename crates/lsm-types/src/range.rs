//! Key ranges: what callers write ([`KeyRange`]) and what the engine computes with
//! ([`KeySpan`]: inclusive start, exclusive end).

use crate::Slice;
use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// The smallest byte string greater than `key`: the key with a zero byte appended.
#[must_use]
pub fn successor(key: &[u8]) -> Slice {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Slice::from(next)
}

/// Any of Rust's ranges over anything that is bytes: `..`, `a..b`, `a..=b`, `a..`,
/// `..b`, `..=b` and pairs of [`Bound`]. A reversed range is empty.
pub trait KeyRange {
    /// The bounds as written.
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>);

    /// The bounds as an inclusive start and an exclusive end.
    fn to_span(&self) -> KeySpan {
        let (start, end) = self.bounds();
        KeySpan {
            start: match start {
                Bound::Included(key) => Slice::copy_from(key),
                Bound::Excluded(key) => successor(key),
                Bound::Unbounded => Slice::empty(),
            },
            end: match end {
                Bound::Included(key) => Some(successor(key)),
                Bound::Excluded(key) => Some(Slice::copy_from(key)),
                Bound::Unbounded => None,
            },
        }
    }
}

impl KeyRange for RangeFull {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

impl<K: AsRef<[u8]>> KeyRange for Range<K> {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Included(self.start.as_ref()), Bound::Excluded(self.end.as_ref()))
    }
}

impl<K: AsRef<[u8]>> KeyRange for RangeInclusive<K> {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Included(self.start().as_ref()), Bound::Included(self.end().as_ref()))
    }
}

impl<K: AsRef<[u8]>> KeyRange for RangeFrom<K> {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Included(self.start.as_ref()), Bound::Unbounded)
    }
}

impl<K: AsRef<[u8]>> KeyRange for RangeTo<K> {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Unbounded, Bound::Excluded(self.end.as_ref()))
    }
}

impl<K: AsRef<[u8]>> KeyRange for RangeToInclusive<K> {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Unbounded, Bound::Included(self.end.as_ref()))
    }
}

impl<A: AsRef<[u8]>, B: AsRef<[u8]>> KeyRange for (Bound<A>, Bound<B>) {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.0.as_ref().map(AsRef::as_ref), self.1.as_ref().map(AsRef::as_ref))
    }
}

impl<R: KeyRange + ?Sized> KeyRange for &R {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (**self).bounds()
    }
}

/// All keys from `start` (included) to `end` (excluded; `None`: no end).
///
/// Every range of byte strings has this form, since the successor of a key is the
/// key with a zero byte appended. Empty when `start >= end`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeySpan {
    /// The first key that may be inside.
    pub start: Slice,
    /// The first key that is past the end.
    pub end: Option<Slice>,
}

impl KeySpan {
    /// All keys.
    #[must_use]
    pub const fn all() -> Self {
        Self { start: Slice::empty(), end: None }
    }

    /// All keys that start with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let keep = prefix.iter().rposition(|&byte| byte != u8::MAX);
        let end = keep.and_then(|last| {
            let mut end = prefix.get(..=last)?.to_vec();
            *end.last_mut()? += 1;
            Some(Slice::from(end))
        });
        Self { start: Slice::copy_from(prefix), end }
    }

    /// Whether no key can be inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *self.start >= **end)
    }

    /// Whether `key` is inside.
    #[must_use]
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_bytes() && !self.is_past_end(key)
    }

    /// Whether `key` lies at or past the end.
    #[must_use]
    #[inline]
    pub fn is_past_end(&self, key: &[u8]) -> bool {
        // Comparing with no bytes is slow where they lie nowhere.
        self.end
            .as_ref()
            .is_some_and(|end| if key.is_empty() { end.is_empty() } else { key >= end.as_bytes() })
    }

    /// Whether some key may lie in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.is_empty()
            && !other.is_empty()
            && !self.is_past_end(&other.start)
            && !other.is_past_end(&self.start)
    }
}

/// Where the keys of a table or run end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpperBound {
    /// The greatest key inside.
    Included(Slice),
    /// All keys are below this one (the clipped end of a range tombstone).
    Excluded(Slice),
    /// A range tombstone reaches to the end of the keyspace.
    Unbounded,
}

impl UpperBound {
    /// Whether `key` lies past the bound.
    #[must_use]
    #[inline]
    pub fn is_below(&self, key: &[u8]) -> bool {
        match self {
            _ if key.is_empty() => matches!(self, Self::Excluded(end) if end.is_empty()),
            Self::Included(last) => last.as_bytes() < key,
            Self::Excluded(end) => end.as_bytes() <= key,
            Self::Unbounded => false,
        }
    }

    /// The bound as an exclusive end, as in [`KeySpan`].
    #[must_use]
    pub fn to_exclusive(&self) -> Option<Slice> {
        match self {
            Self::Included(last) => Some(successor(last)),
            Self::Excluded(end) => Some(end.clone()),
            Self::Unbounded => None,
        }
    }

    /// The bound that reaches farther.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        use UpperBound::{Excluded, Included, Unbounded};
        let other_is_farther = match (&self, &other) {
            (Unbounded, _) => false,
            (_, Unbounded) => true,
            (Included(a), Included(b)) | (Excluded(a), Excluded(b)) | (Excluded(a), Included(b)) => b >= a,
            (Included(a), Excluded(b)) => b > a,
        };
        if other_is_farther { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_range_becomes_a_span() {
        let check = |range: &dyn KeyRange, inside: &[&str], outside: &[&str]| {
            let span = range.to_span();
            for key in inside {
                assert!(span.contains(key.as_bytes()), "{key:?} belongs to {span:?}");
            }
            for key in outside {
                assert!(!span.contains(key.as_bytes()), "{key:?} is not in {span:?}");
            }
        };
        check(&(..), &["", "a", "\u{ff}"], &[]);
        check(&("b".."d"), &["b", "c", "c\0"], &["", "a", "d"]);
        check(&("b"..="d"), &["b", "d"], &["a", "d\0"]);
        check(&("b"..), &["b", "z"], &["a"]);
        check(&(.."b"), &["", "a"], &["b"]);
        check(&(..="b"), &["", "b"], &["b\0"]);
        check(&(Bound::Excluded("b"), Bound::<&str>::Unbounded), &["b\0", "c"], &["b"]);
        check(&("d".."b"), &[], &["b", "c", "d"]);
        assert!(("d".."b").to_span().is_empty());
    }

    #[test]
    fn a_prefix_ends_where_the_next_one_starts() {
        assert_eq!(KeySpan::prefix(b"ab").end.unwrap(), "ac");
        assert_eq!(KeySpan::prefix(b"a\xff").end.unwrap(), "b");
        assert_eq!(KeySpan::prefix(b"\xff\xff").end, None);
        assert_eq!(KeySpan::prefix(b""), KeySpan::all());
    }

    #[test]
    fn the_farther_bound_wins() {
        let included = UpperBound::Included("k".into());
        let excluded = UpperBound::Excluded("k".into());
        assert_eq!(included.clone().max(excluded.clone()), included);
        assert_eq!(excluded.clone().max(included.clone()), included);
        assert_eq!(UpperBound::Unbounded.max(included.clone()), UpperBound::Unbounded);
        assert!(excluded.is_below(b"k") && !included.is_below(b"k"));
    }

    #[test]
    fn overlap_is_symmetric_and_exact() {
        let span = |a: &str, b: &str| (a..b).to_span();
        assert!(span("a", "c").overlaps(&span("b", "d")));
        assert!(!span("a", "b").overlaps(&span("b", "c")));
        assert!(KeySpan::all().overlaps(&span("x", "y")));
        assert!(!span("c", "a").overlaps(&KeySpan::all()));
    }
}
