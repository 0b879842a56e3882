//! How a [`VisibleCursor`] goes along what its inner cursor gives out, and comes back to it.

use super::{Position, VisibleCursor};
use lsm_types::{Cursor, Stretch};

/// When to ask the inner cursor for a stretch: after it had none to give, at the next step, and
/// then after twice as many steps each time, up to 32. Turns are not counted.
#[derive(Debug, Default)]
pub(super) struct Patience {
    steps_to_go: u32,
    steps_next_time: u32,
}

impl Patience {
    const MOST_STEPS: u32 = 31;

    /// Whether it is time, at one more step.
    #[inline]
    fn is_over(&mut self) -> bool {
        let is_over = self.steps_to_go == 0;
        self.steps_to_go = self.steps_to_go.saturating_sub(1);
        is_over
    }

    /// It was asked in vain.
    fn grow(&mut self) {
        self.steps_to_go = self.steps_next_time;
        self.steps_next_time = (2 * self.steps_next_time + 1).min(Self::MOST_STEPS);
    }
}

impl<C: Cursor> VisibleCursor<C> {
    /// Whether the walk goes along a stretch.
    #[inline]
    pub const fn is_along(&self) -> bool {
        matches!(self.position, Position::AlongForward | Position::AlongBackward)
    }

    /// Moves to the next key if it lies in the stretch along which the walk goes forward; says
    /// whether it did. What [`next`](Self::next) tries first; cannot fail.
    #[inline]
    pub fn next_along(&mut self) -> bool {
        self.position == Position::AlongForward && self.stretch.as_mut().is_some_and(Stretch::advance)
    }

    /// As [`next_along`](Self::next_along), for [`prev`](Self::prev).
    #[inline]
    pub fn prev_along(&mut self) -> bool {
        self.position == Position::AlongBackward && self.stretch.as_mut().is_some_and(Stretch::advance)
    }

    /// With the inner cursor on the entry shown, goes along what it gives out, as far as all of
    /// that is to be seen.
    #[inline]
    pub(super) fn ask_for_stretch(&mut self, backward: bool) {
        let wanted = if backward { Position::BackwardInPlace } else { Position::Forward };
        if self.patience.is_over() && self.position == wanted {
            self.ask(backward);
        }
    }

    /// Out of line, so that a step without a stretch stays as short as it was.
    #[inline(never)]
    fn ask(&mut self, backward: bool) {
        // All of it has the number of the entry shown, so the snapshot sees it.
        let (span, coverage, shown) = (&self.span, &self.coverage, self.inner.key().user_key);
        self.stretch = self.inner.stretch(backward, |last| match backward {
            false => !span.is_past_end(last) && !coverage.touches(shown, last),
            true => last >= span.start.as_bytes() && !coverage.touches(last, shown),
        });
        if self.stretch.is_none() {
            self.patience.grow();
            return;
        }
        self.patience = Patience::default();
        self.position = if backward { Position::AlongBackward } else { Position::AlongForward };
    }

    /// Tells the inner cursor where the walk along the stretch has come to.
    #[inline(never)]
    pub(super) fn end_stretch(&mut self) {
        let Some(stretch) = self.stretch.take() else { return };
        self.position = match self.position {
            Position::AlongForward => Position::Forward,
            Position::AlongBackward => Position::BackwardInPlace,
            other => other,
        };
        self.inner.resume(stretch);
    }
}

#[cfg(test)]
mod tests {
    use super::Patience;

    #[test]
    fn questions_in_vain_become_rare() {
        let mut patience = Patience::default();
        let mut asked = Vec::new();
        for step in 0..100 {
            if patience.is_over() {
                asked.push(step);
                patience.grow();
            }
        }
        assert_eq!(asked, [0, 1, 3, 7, 15, 31, 63, 95]);
    }
}
