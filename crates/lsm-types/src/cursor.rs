//! [`Cursor`]: the one shape in which sorted entries are walked, from a memtable
//! or a block up to the merge over a whole tree.

use crate::{InternalKey, KeySpan, SeqNo, Slice, Trailer};

/// A position in a sorted sequence of entries, or none.
///
/// A cursor starts without a position. `key` and `value` borrow from the source:
/// walking neither allocates nor counts references. After an error the cursor has
/// no position until the next seek.
pub trait Cursor {
    /// What can go wrong while moving.
    type Error;

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
}

/// A cursor over a sorted vector: for tests, and for sources that are small.
#[derive(Clone, Debug, Default)]
pub struct VecCursor {
    entries: Vec<(InternalKey<Slice>, Slice)>,
    /// Index of the entry, or `entries.len()` when there is no position.
    at: usize,
}

impl VecCursor {
    /// Sorts `entries` and stands nowhere.
    #[must_use]
    pub fn new(mut entries: Vec<(InternalKey<Slice>, Slice)>) -> Self {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let at = entries.len();
        Self { entries, at }
    }
}

impl Cursor for VecCursor {
    type Error = std::convert::Infallible;

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
}
