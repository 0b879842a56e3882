//! How a [`VisibleCursor`] goes along what its inner cursor gives out, and comes back to it.

use super::{Position, VisibleCursor};
use lsm_types::{Cursor, Stretch};

/// After the inner cursor had no stretch to give, so many steps go by before it is asked again.
const STEPS_BEFORE_ASKING: u32 = 8;

impl<C: Cursor> VisibleCursor<C> {
    /// Moves to the next key if it lies in the stretch along which the walk goes forward; says
    /// whether it did. The first thing that [`next`](Self::next) does; cannot fail.
    #[inline]
    pub fn next_along(&mut self) -> bool {
        self.position == Position::AlongForward && self.stretch.as_mut().is_some_and(Stretch::advance)
    }

    /// As [`next_along`](Self::next_along), for [`prev`](Self::prev).
    #[inline]
    pub fn prev_along(&mut self) -> bool {
        self.position == Position::AlongBackward && self.stretch.as_mut().is_some_and(Stretch::advance)
    }

    /// With the inner cursor on the entry shown, goes along what it gives out, if all of that is
    /// to be seen.
    #[inline]
    pub(super) fn ask_for_stretch(&mut self, backward: bool) {
        let wanted = if backward { Position::BackwardInPlace } else { Position::Forward };
        if self.steps_before_asking > 0 || self.position != wanted {
            self.steps_before_asking = self.steps_before_asking.saturating_sub(1);
            return;
        }
        // All of it has the number of the entry shown, so the snapshot sees it.
        let (span, coverage, shown) = (&self.span, &self.coverage, self.inner.key().user_key);
        self.stretch = self.inner.stretch(backward, |last| match backward {
            false => !span.is_past_end(last) && !coverage.touches(shown, last),
            true => last >= span.start.as_bytes() && !coverage.touches(last, shown),
        });
        match (&self.stretch, backward) {
            (None, _) => self.steps_before_asking = STEPS_BEFORE_ASKING,
            (Some(_), false) => self.position = Position::AlongForward,
            (Some(_), true) => self.position = Position::AlongBackward,
        }
    }

    /// Tells the inner cursor where the walk along the stretch has come to.
    #[inline]
    pub(super) fn end_stretch(&mut self) {
        let Some(stretch) = self.stretch.take() else { return };
        self.inner.resume(stretch);
        self.position = match self.position {
            Position::AlongForward => Position::Forward,
            Position::AlongBackward => Position::BackwardInPlace,
            other => other,
        };
    }
}
