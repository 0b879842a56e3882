//! [`ConcatCursor`]: the tables of one run as one cursor, each opened only when the
//! walk reaches it. Used by reads and compactions; it never looks at a part that a
//! seek can rule out by its bounds.

use lsm_types::{Cursor, InternalKey, Slice, ValueKind};

/// Disjoint sorted parts, in key order; all versions of a user key lie in one part.
pub trait Parts {
    /// A cursor over one part.
    type Cursor: Cursor;

    /// How many parts there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all keys of the part are below `user_key`.
    fn ends_before(&self, index: usize, user_key: &[u8]) -> bool;

    /// Whether all keys of the part are above `user_key`.
    fn starts_after(&self, index: usize, user_key: &[u8]) -> bool;

    /// A cursor over the part; `index` is below [`len`](Self::len).
    ///
    /// # Errors
    /// Those of the source, when it cannot be opened.
    fn open(&self, index: usize) -> Result<Self::Cursor, <Self::Cursor as Cursor>::Error>;
}

/// A cursor over all parts in turn. A seek costs O(log parts) plus one seek in one
/// part (more only where parts hold no entry, as with range tombstones alone).
#[derive(Debug)]
pub struct ConcatCursor<P: Parts> {
    parts: P,
    /// The part that is open, and its cursor.
    current: Option<(usize, P::Cursor)>,
}

impl<P: Parts> ConcatCursor<P> {
    /// Stands nowhere and opens nothing yet.
    pub const fn new(parts: P) -> Self {
        Self { parts, current: None }
    }

    /// The parts.
    pub const fn parts(&self) -> &P {
        &self.parts
    }

    /// The open part `index`, opening it when another one is open.
    fn part(&mut self, index: usize) -> Result<&mut P::Cursor, <P::Cursor as Cursor>::Error> {
        // The old part is closed first, so that at most one is open.
        let cursor = match self.current.take() {
            Some((open, cursor)) if open == index => cursor,
            _ => self.parts.open(index)?,
        };
        Ok(&mut self.current.insert((index, cursor)).1)
    }

    /// While the open part has no position, goes to the first entry of the next one.
    fn skip_forward(&mut self) -> Result<(), <P::Cursor as Cursor>::Error> {
        while let Some((index, cursor)) = &self.current
            && !cursor.valid()
        {
            let next = index + 1;
            if next >= self.parts.len() {
                self.current = None;
                break;
            }
            self.part(next)?.seek_to_first()?;
        }
        Ok(())
    }

    /// While the open part has no position, goes to the last entry of the previous one.
    fn skip_backward(&mut self) -> Result<(), <P::Cursor as Cursor>::Error> {
        while let Some((index, cursor)) = &self.current
            && !cursor.valid()
        {
            let Some(previous) = index.checked_sub(1) else {
                self.current = None;
                break;
            };
            self.part(previous)?.seek_to_last()?;
        }
        Ok(())
    }

    /// The first part for which `beyond` does not hold, by bisection.
    fn first_not(&self, beyond: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high) = (0, self.parts.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if beyond(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Runs a move; after an error the cursor has no position.
    fn guard(
        &mut self,
        go: impl FnOnce(&mut Self) -> Result<(), <P::Cursor as Cursor>::Error>,
    ) -> Result<(), <P::Cursor as Cursor>::Error> {
        let outcome = go(self);
        if outcome.is_err() {
            self.current = None;
        }
        outcome
    }
}

impl<P: Parts> Cursor for ConcatCursor<P> {
    type Error = <P::Cursor as Cursor>::Error;
    type Stretch = <P::Cursor as Cursor>::Stretch;

    #[inline]
    fn valid(&self) -> bool {
        self.current.as_ref().is_some_and(|(_, cursor)| cursor.valid())
    }

    #[inline]
    fn key(&self) -> InternalKey<&[u8]> {
        match &self.current {
            Some((_, cursor)) => cursor.key(),
            None => InternalKey::new(&[], 0, ValueKind::Value),
        }
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.current.as_ref().map_or(&[], |(_, cursor)| cursor.value())
    }

    fn key_slice(&self) -> Slice {
        self.current.as_ref().map(|(_, cursor)| cursor.key_slice()).unwrap_or_default()
    }

    fn value_slice(&self) -> Slice {
        self.current.as_ref().map(|(_, cursor)| cursor.value_slice()).unwrap_or_default()
    }

    fn seek_to_first(&mut self) -> Result<(), Self::Error> {
        if self.parts.is_empty() {
            return Ok(());
        }
        self.guard(|this| {
            this.part(0)?.seek_to_first()?;
            this.skip_forward()
        })
    }

    fn seek_to_last(&mut self) -> Result<(), Self::Error> {
        let Some(last) = self.parts.len().checked_sub(1) else { return Ok(()) };
        self.guard(|this| {
            this.part(last)?.seek_to_last()?;
            this.skip_backward()
        })
    }

    fn seek(&mut self, target: InternalKey<&[u8]>) -> Result<(), Self::Error> {
        let index = self.first_not(|index| self.parts.ends_before(index, target.user_key));
        if index >= self.parts.len() {
            self.current = None;
            return Ok(());
        }
        self.guard(|this| {
            this.part(index)?.seek(target)?;
            this.skip_forward()
        })
    }

    fn seek_for_prev(&mut self, target: InternalKey<&[u8]>) -> Result<(), Self::Error> {
        let after = self.first_not(|index| !self.parts.starts_after(index, target.user_key));
        let Some(index) = after.checked_sub(1) else {
            self.current = None;
            return Ok(());
        };
        self.guard(|this| {
            this.part(index)?.seek_for_prev(target)?;
            this.skip_backward()
        })
    }

    #[inline]
    fn is_first_of_key(&self) -> Option<bool> {
        self.current.as_ref().and_then(|(_, cursor)| cursor.is_first_of_key())
    }

    #[inline]
    fn stretch(&self, backward: bool, fits: impl Fn(&[u8]) -> bool) -> Option<Self::Stretch> {
        self.current.as_ref().and_then(|(_, cursor)| cursor.stretch(backward, fits))
    }

    #[inline]
    fn resume(&mut self, stretch: Self::Stretch) {
        if let Some((_, cursor)) = &mut self.current {
            cursor.resume(stretch);
        }
    }

    #[inline]
    fn next(&mut self) -> Result<(), Self::Error> {
        let Some((_, cursor)) = &mut self.current else { return Ok(()) };
        let outcome = cursor.next();
        if outcome.is_ok() && cursor.valid() {
            return Ok(());
        }
        self.guard(|this| outcome.and_then(|()| this.skip_forward()))
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Self::Error> {
        let Some((_, cursor)) = &mut self.current else { return Ok(()) };
        let outcome = cursor.prev();
        if outcome.is_ok() && cursor.valid() {
            return Ok(());
        }
        self.guard(|this| outcome.and_then(|()| this.skip_backward()))
    }
}
