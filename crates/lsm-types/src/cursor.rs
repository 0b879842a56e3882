//! [`Cursor`]: the one shape in which sorted entries are walked, from a memtable
//! or a block up to the merge over a whole tree.

use crate::{InternalKey, KeySpan, SeqNo, Slice, Trailer, ValueKind};
use std::cmp::Ordering;
use std::sync::Arc;

/// A position in a sorted sequence of entries, or none.
///
/// A cursor starts without a position. `key` and `value` borrow from the source:
/// walking neither allocates nor counts references of entries. After an error the cursor has
/// no position until the next seek.
pub trait Cursor {
    /// What can go wrong while moving.
    type Error;

    /// What [`stretch`](Self::stretch) gives out; [`NoStretch`] if that is never anything.
    type Stretch: Stretch;

    /// Whether the cursor stands on an entry.
    fn valid(&self) -> bool;

    /// The entry's key; an empty key when the cursor stands nowhere.
    fn key(&self) -> InternalKey<&[u8]>;

    /// The entry's value; empty when the cursor stands nowhere.
    fn value(&self) -> &[u8];

    /// The user key as an owned slice, sharing memory where the source can.
    fn key_slice(&self) -> Slice {
        Slice::copy_from(self.key().user_key)
    }

    /// The value as an owned slice, sharing memory where the source can.
    fn value_slice(&self) -> Slice {
        Slice::copy_from(self.value())
    }

    /// Moves to the first entry.
    ///
    /// # Errors
    /// Those of the source, on a failed or damaged read.
    fn seek_to_first(&mut self) -> Result<(), Self::Error>;

    /// Moves to the last entry.
    ///
    /// # Errors
    /// Those of the source, on a failed or damaged read.
    fn seek_to_last(&mut self) -> Result<(), Self::Error>;

    /// Moves to the first entry at or after `target`.
    ///
    /// # Errors
    /// Those of the source, on a failed or damaged read.
    fn seek(&mut self, target: InternalKey<&[u8]>) -> Result<(), Self::Error>;

    /// Moves to the last entry at or before `target`.
    ///
    /// # Errors
    /// Those of the source, on a failed or damaged read.
    fn seek_for_prev(&mut self, target: InternalKey<&[u8]>) -> Result<(), Self::Error>;

    /// Moves to the next entry; without a position does nothing.
    ///
    /// # Errors
    /// Those of the source, on a failed or damaged read.
    fn next(&mut self) -> Result<(), Self::Error>;

    /// Moves to the previous entry; without a position does nothing.
    ///
    /// # Errors
    /// Those of the source, on a failed or damaged read.
    fn prev(&mut self) -> Result<(), Self::Error>;

    /// Whether the entry is the first of its user key, hence the newest version in this
    /// cursor; `None` when that cannot be told without moving. Spares a walk backward from
    /// keeping a copy of what may be shown.
    fn is_first_of_key(&self) -> Option<bool> {
        None
    }

    /// Hints that entries of keys inside `span` with numbers below `below` are of no
    /// interest: in the direction of the last move the cursor may pass over as many
    /// of them as it likes, and over nothing else. Answers whether it moved.
    ///
    /// # Errors
    /// Those of the source, on a failed or damaged read.
    fn skip_covered(&mut self, span: &KeySpan, below: SeqNo) -> Result<bool, Self::Error> {
        let _ = (span, below);
        Ok(false)
    }

    /// Gives out the entries from the one under the cursor on, in one direction, to walk over
    /// without the cursor: the next that it would show, one after the other, as far as they are
    /// alike ([`Stretch`]) and `fits` takes their user keys. Going backward, of each user key the
    /// newest version in this cursor. `None` where there are none such, or too few to be worth
    /// it, and from a cursor that walks the other way or stands nowhere.
    ///
    /// `fits` refuses whatever comes after a key that it has refused; it is asked about some of
    /// the keys past the one under the cursor. The cursor stays on its entry. To go on behind the
    /// stretch, [`resume`](Self::resume).
    fn stretch(&self, backward: bool, fits: impl Fn(&[u8]) -> bool) -> Option<Self::Stretch> {
        let (_, _) = (backward, fits);
        None
    }

    /// Moves to the entry where `stretch` stands: the last one that this cursor has given out,
    /// and it was not moved since.
    fn resume(&mut self, stretch: Self::Stretch);
}

/// Entries that lie side by side in memory: values of one number, hence of distinct user
/// keys. Owned; keeps their memory; stands on an entry, always.
///
/// Walking over them skips all that a merge has to ask at each step.
pub trait Stretch: std::fmt::Debug {
    /// The user key.
    fn key(&self) -> &[u8];

    /// The value.
    fn value(&self) -> &[u8];

    /// The user key as an owned slice that shares memory.
    fn key_slice(&self) -> Slice;

    /// The value as an owned slice that shares memory.
    fn value_slice(&self) -> Slice;

    /// Number and kind of all of them: [`ValueKind::Value`].
    fn trailer(&self) -> Trailer;

    /// Steps to the next entry in the direction of the walk; false, and no step, on the
    /// last one.
    fn advance(&mut self) -> bool;
}

/// The stretch of cursors that give out none.
#[derive(Clone, Copy, Debug)]
pub enum NoStretch {}

impl Stretch for NoStretch {
    fn key(&self) -> &[u8] {
        match *self {}
    }
    fn value(&self) -> &[u8] {
        match *self {}
    }
    fn key_slice(&self) -> Slice {
        match *self {}
    }
    fn value_slice(&self) -> Slice {
        match *self {}
    }
    fn trailer(&self) -> Trailer {
        match *self {}
    }
    fn advance(&mut self) -> bool {
        match *self {}
    }
}

/// A cursor over a sorted vector: for tests, and for sources that are small.
#[derive(Clone, Debug, Default)]
pub struct VecCursor {
    entries: Arc<[(InternalKey<Slice>, Slice)]>,
    /// Index of the entry, or `entries.len()` when there is no position.
    at: usize,
}

impl VecCursor {
    /// Sorts `entries` and stands nowhere.
    #[must_use]
    pub fn new(mut entries: Vec<(InternalKey<Slice>, Slice)>) -> Self {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let at = entries.len();
        Self { entries: entries.into(), at }
    }
}

/// Entries of a [`VecCursor`].
#[derive(Clone, Debug)]
pub struct VecStretch {
    entries: Arc<[(InternalKey<Slice>, Slice)]>,
    at: usize,
    last: usize,
}

impl VecStretch {
    fn entry(&self, at: usize) -> Option<&(InternalKey<Slice>, Slice)> {
        self.entries.get(at)
    }
}

impl Stretch for VecStretch {
    fn key(&self) -> &[u8] {
        self.entry(self.at).map_or(&[], |(key, _)| key.user_key.as_bytes())
    }

    fn value(&self) -> &[u8] {
        self.entry(self.at).map_or(&[], |(_, value)| value.as_bytes())
    }

    fn key_slice(&self) -> Slice {
        self.entry(self.at).map(|(key, _)| key.user_key.clone()).unwrap_or_default()
    }

    fn value_slice(&self) -> Slice {
        self.entry(self.at).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    fn trailer(&self) -> Trailer {
        self.entry(self.at).map_or(Trailer::new(0, ValueKind::Value), |(key, _)| key.trailer)
    }

    fn advance(&mut self) -> bool {
        match self.at.cmp(&self.last) {
            Ordering::Less => self.at += 1,
            Ordering::Equal => return false,
            Ordering::Greater => self.at -= 1,
        }
        true
    }
}

impl Cursor for VecCursor {
    type Error = std::convert::Infallible;
    type Stretch = VecStretch;

    fn valid(&self) -> bool {
        self.at < self.entries.len()
    }

    fn key(&self) -> InternalKey<&[u8]> {
        match self.entries.get(self.at) {
            Some((key, _)) => key.as_borrowed(),
            None => InternalKey { user_key: &[], trailer: Trailer::new(0, crate::ValueKind::Value) },
        }
    }

    fn value(&self) -> &[u8] {
        self.entries.get(self.at).map_or(&[], |(_, value)| value.as_bytes())
    }

    fn is_first_of_key(&self) -> Option<bool> {
        let (key, _) = self.entries.get(self.at)?;
        let before = self.at.checked_sub(1).and_then(|before| self.entries.get(before));
        Some(before.is_none_or(|(before, _)| before.user_key != key.user_key))
    }

    fn seek_to_first(&mut self) -> Result<(), Self::Error> {
        self.at = 0;
        Ok(())
    }

    fn seek_to_last(&mut self) -> Result<(), Self::Error> {
        // On an empty vector this wraps to `usize::MAX`, which is no position either.
        self.at = self.entries.len().wrapping_sub(1);
        Ok(())
    }

    fn seek(&mut self, target: InternalKey<&[u8]>) -> Result<(), Self::Error> {
        self.at = self.entries.partition_point(|(key, _)| key.as_borrowed() < target);
        Ok(())
    }

    fn seek_for_prev(&mut self, target: InternalKey<&[u8]>) -> Result<(), Self::Error> {
        self.at = self.entries.partition_point(|(key, _)| key.as_borrowed() <= target).wrapping_sub(1);
        Ok(())
    }

    fn next(&mut self) -> Result<(), Self::Error> {
        if self.valid() {
            self.at += 1;
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<(), Self::Error> {
        if self.valid() {
            self.at = self.at.wrapping_sub(1);
        }
        Ok(())
    }

    /// At most eight entries.
    fn stretch(&self, backward: bool, fits: impl Fn(&[u8]) -> bool) -> Option<VecStretch> {
        let (shown, _) = self.entries.get(self.at)?;
        let is_alike = |at: usize| self.entries.get(at).is_some_and(|(key, _)| key.trailer == shown.trailer);
        let fits = |&at: &usize| self.entries.get(at).is_some_and(|(key, _)| fits(&key.user_key));
        let last = match backward {
            false => (self.at + 1..).take(7).take_while(|&at| is_alike(at)).take_while(fits).last()?,
            true => {
                // What comes before may be a newer version, unless it is alike.
                let is_newest = |at: &usize| is_alike(*at) && at.checked_sub(1).is_some_and(is_alike);
                (0..self.at).rev().take(7).take_while(is_newest).take_while(fits).last()?
            }
        };
        let (entries, at) = (Arc::clone(&self.entries), self.at);
        (shown.kind() == ValueKind::Value).then_some(VecStretch { entries, at, last })
    }

    fn resume(&mut self, stretch: VecStretch) {
        self.at = stretch.at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ValueKind;

    #[test]
    fn a_walk_visits_each_entry_once_in_both_directions() {
        let entry = |key: &str, seqno| {
            (InternalKey::new(Slice::from(key), seqno, ValueKind::Value), Slice::from(key))
        };
        let mut cursor = VecCursor::new(vec![entry("b", 1), entry("a", 1), entry("b", 2)]);
        assert!(!cursor.valid(), "a new cursor stands nowhere");
        let Ok(()) = cursor.seek_to_first();
        let mut seen = Vec::new();
        while cursor.valid() {
            seen.push((cursor.key_slice(), cursor.key().seqno()));
            let Ok(()) = cursor.next();
        }
        assert_eq!(seen, [("a".into(), 1), ("b".into(), 2), ("b".into(), 1)]);

        let Ok(()) = cursor.seek_for_prev(InternalKey::new(b"b", 2, ValueKind::Value));
        assert_eq!(cursor.key().seqno(), 2);
        let Ok(()) = cursor.prev();
        assert_eq!(cursor.key().user_key, b"a");
        let Ok(()) = cursor.prev();
        assert!(!cursor.valid());

        let mut empty = VecCursor::new(Vec::new());
        let Ok(()) = empty.seek_to_last();
        assert!(!empty.valid());
    }

    #[test]
    fn what_is_alike_is_given_out_in_both_directions() {
        let entry =
            |key: &str, seqno, kind| (InternalKey::new(Slice::from(key), seqno, kind), Slice::empty());
        let mut entries: Vec<_> = ["b", "c", "d"].map(|key| entry(key, 3, ValueKind::Value)).into();
        entries.extend([entry("a", 4, ValueKind::Value), entry("e", 3, ValueKind::Tombstone)]);
        let mut cursor = VecCursor::new(entries);
        assert!(cursor.stretch(false, |_| true).is_none(), "from nowhere");
        let Ok(()) = cursor.seek_to_first();
        assert!(cursor.stretch(false, |_| true).is_none(), "the next one has another number");
        let Ok(()) = cursor.next();
        let mut stretch = cursor.stretch(false, |_| true).unwrap();
        assert_eq!((stretch.key(), stretch.trailer().seqno()), (&b"b"[..], 3));
        let mut short = cursor.stretch(false, |key| key != b"d").unwrap();
        assert!(short.advance() && !short.advance() && short.key() == b"c", "as far as it fits");
        assert!(stretch.advance() && stretch.advance() && !stretch.advance());
        cursor.resume(stretch);
        assert_eq!(cursor.key().user_key, b"d");
        let mut stretch = cursor.stretch(true, |_| true).unwrap();
        assert!(stretch.advance() && !stretch.advance(), "b may be an older version of something");
        cursor.resume(stretch);
        assert_eq!(cursor.key().user_key, b"c");
    }
}
