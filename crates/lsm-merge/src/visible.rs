//! [`VisibleCursor`]: what one snapshot sees of an internal cursor. The scan path of
//! reads ends here; it never sees half of a version and never resolves merge
//! operands or blob pointers, which it shows as they are.
//!
//! Going forward the inner cursor stands on the entry shown, which is lent without a
//! copy. Going backward versions of a key come oldest first, so the newest visible
//! one is known only when the inner cursor has passed it: it is kept in buffers that
//! are reused, and the inner cursor stands somewhere before all that the snapshot
//! sees of the shown key. Where the inner cursor can tell that no newer version comes,
//! as for most entries of a table, it stays on the entry, which is lent as above.
//!
//! Where all that follows for a while is to be seen, the inner cursor gives it out as a
//! [`Stretch`], along which the walk goes alone: in a table, what follows in a block whose entries
//! are values of one number, as most are in the last level. The inner cursor stays where the
//! stretch began, and is told where the walk has come to before it is asked to move on.

mod along;

use self::along::Patience;
use crate::coverage::Coverage;
use crate::expiry;
use crate::kept::Kept;
use lsm_types::{Cursor, InternalKey, KeySpan, RangeTombstoneSet, SeqNo, Slice, Stretch, Trailer, ValueKind};

/// After so many steps over entries of no interest, a seek is tried instead.
const STEPS_BEFORE_SEEK: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// The inner cursor stands on the entry shown.
    Forward,
    /// Going backward, the inner cursor stands on the entry shown, and the one before it
    /// is of another key.
    BackwardInPlace,
    /// The entry shown is that of the stretch; the inner cursor stands where it began.
    AlongForward,
    /// The same, going backward; no entry of the stretch has newer versions.
    AlongBackward,
    /// The entry shown is kept; the inner cursor stands before it, or nowhere.
    Backward,
    Nowhere,
}

impl Position {
    /// Whether the inner cursor stands on the entry shown.
    #[inline]
    const fn is_in_place(self) -> bool {
        matches!(self, Self::Forward | Self::BackwardInPlace)
    }
}

/// Walks the user keys that a snapshot sees, in both directions, showing of each the
/// newest visible version unless that is a tombstone, covered by a visible range
/// tombstone, or expired.
///
/// Walking allocates nothing, and counts references of blocks, never of entries. After an
/// error, and past either end, the cursor has no position until the next seek.
#[derive(Debug)]
pub struct VisibleCursor<C: Cursor> {
    inner: C,
    position: Position,
    /// There while the position is along it.
    stretch: Option<C::Stretch>,
    patience: Patience,
    snapshot: SeqNo,
    now_ms: u64,
    /// The walk stays inside.
    span: KeySpan,
    coverage: Coverage,
    /// Going forward, the key whose remaining versions are passed over; going
    /// backward, the key shown.
    key: Vec<u8>,
    kept: Kept,
    /// What the last seek forward has passed.
    hidden_keys: u32,
    may_return: bool,
}

impl<C: Cursor> VisibleCursor<C> {
    /// What `snapshot` sees of `inner` under `tombstones`, at `now_ms` milliseconds
    /// since the Unix epoch. Stands nowhere.
    #[must_use]
    pub fn new(inner: C, snapshot: SeqNo, tombstones: &RangeTombstoneSet, now_ms: u64) -> Self {
        Self {
            inner,
            position: Position::Nowhere,
            stretch: None,
            patience: Patience::default(),
            snapshot,
            now_ms,
            span: KeySpan::all(),
            coverage: Coverage::new(tombstones, snapshot),
            key: Vec::new(),
            kept: Kept::default(),
            hidden_keys: 0,
            may_return: false,
        }
    }

    /// Keeps the walk inside `span`: every seek is moved into it, and a step that
    /// would leave it ends the walk without looking at what lies beyond.
    #[must_use]
    pub fn within(mut self, span: KeySpan) -> Self {
        self.end_stretch();
        self.span = span;
        self
    }

    /// Whether the cursor stands on an entry.
    #[must_use]
    #[inline]
    pub const fn valid(&self) -> bool {
        !matches!(self.position, Position::Nowhere)
    }

    /// The user key; empty when the cursor stands nowhere.
    #[must_use]
    #[inline]
    pub fn key(&self) -> &[u8] {
        if self.position.is_in_place() {
            return self.inner.key().user_key;
        }
        match &self.stretch {
            Some(stretch) => stretch.key(),
            None if self.position == Position::Backward => &self.key,
            None => &[],
        }
    }

    /// The value, without its expiry if it has one; empty when the cursor stands
    /// nowhere. What it means depends on [`kind`](Self::kind).
    #[must_use]
    #[inline]
    pub fn value(&self) -> &[u8] {
        let stored = match &self.stretch {
            _ if self.position.is_in_place() => self.inner.value(),
            Some(stretch) => return stretch.value(),
            None if self.position == Position::Backward => self.kept.value(),
            None => return &[],
        };
        if self.kind() == ValueKind::ExpiringValue {
            expiry::split(stored).map_or(&[], |(_, value)| value)
        } else {
            stored
        }
    }

    /// The user key as an owned slice, sharing memory where the source can.
    #[must_use]
    pub fn key_slice(&self) -> Slice {
        match &self.stretch {
            _ if self.position.is_in_place() => self.inner.key_slice(),
            Some(stretch) => stretch.key_slice(),
            None => Slice::copy_from(self.key()),
        }
    }

    /// The value as an owned slice, sharing memory where the source can.
    #[must_use]
    pub fn value_slice(&self) -> Slice {
        let stored = match &self.stretch {
            _ if self.position.is_in_place() => self.inner.value_slice(),
            Some(stretch) => return stretch.value_slice(),
            None if self.position == Position::Backward => self.kept.value_slice(),
            None => return Slice::empty(),
        };
        if self.kind() == ValueKind::ExpiringValue {
            stored.get_slice(8..).unwrap_or_default()
        } else {
            stored
        }
    }

    /// What the entry shown says: never a tombstone.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> ValueKind {
        self.trailer().kind()
    }

    /// The number of the entry shown.
    #[must_use]
    #[inline]
    pub fn seqno(&self) -> SeqNo {
        self.trailer().seqno()
    }

    #[inline]
    fn trailer(&self) -> Trailer {
        match &self.stretch {
            _ if self.position.is_in_place() => self.inner.key().trailer,
            Some(stretch) => stretch.trailer(),
            None if self.position == Position::Backward => self.kept.trailer(),
            None => self.inner.key().trailer,
        }
    }

    /// How many keys the last [`seek`](Self::seek) has passed that will stay hidden from all
    /// later snapshots as well, as long as nobody writes them again. None when one of those
    /// passed may return by itself: it has expired, and the clock may be set back; or a weak
    /// tombstone hides more values than one.
    #[must_use]
    pub const fn hidden_for_good(&self) -> u32 {
        if self.may_return { 0 } else { self.hidden_keys }
    }

    /// Gives up the position.
    pub fn leave(&mut self) {
        self.position = Position::Nowhere;
        self.stretch = None;
        self.patience = Patience::default();
    }

    /// Moves to the first key.
    ///
    /// # Errors
    /// Those of the inner cursor.
    pub fn seek_to_first(&mut self) -> Result<(), C::Error> {
        self.seek(&[])
    }

    /// Moves to the last key.
    ///
    /// # Errors
    /// Those of the inner cursor.
    pub fn seek_to_last(&mut self) -> Result<(), C::Error> {
        self.leave();
        self.guard(|this| {
            match &this.span.end {
                None => this.inner.seek_to_last()?,
                Some(end) => this.inner.seek_for_prev(InternalKey::before_all(end))?,
            }
            this.find_backward()
        })
    }

    /// Moves to the first key at or after `target`.
    ///
    /// # Errors
    /// Those of the inner cursor.
    pub fn seek(&mut self, target: &[u8]) -> Result<(), C::Error> {
        self.leave();
        self.guard(|this| {
            let start = this.span.start.as_bytes();
            let from = if start.is_empty() { target } else { target.max(start) };
            (this.hidden_keys, this.may_return) = (0, false);
            let Some(place) = InternalKey::seek_to(from, this.snapshot) else { return Ok(()) };
            this.inner.seek(place)?;
            this.find_forward(false)
        })
    }

    /// Moves to the last key at or before `target`.
    ///
    /// # Errors
    /// Those of the inner cursor.
    pub fn seek_for_prev(&mut self, target: &[u8]) -> Result<(), C::Error> {
        if self.span.is_past_end(target) {
            return self.seek_to_last();
        }
        self.leave();
        self.guard(|this| {
            this.inner.seek_for_prev(InternalKey::after_all(target))?;
            this.find_backward()
        })
    }

    /// Moves to the next key; without a position does nothing.
    ///
    /// # Errors
    /// Those of the inner cursor.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "it lends entries, which an iterator cannot")]
    pub fn next(&mut self) -> Result<(), C::Error> {
        if self.is_along() {
            if self.next_along() {
                return Ok(());
            }
            self.end_stretch();
        }
        match self.position {
            Position::Nowhere | Position::AlongForward | Position::AlongBackward => Ok(()),
            Position::Forward | Position::BackwardInPlace => self.guard(|this| {
                this.key.clear();
                this.key.extend_from_slice(this.inner.key().user_key);
                this.inner.next()?;
                this.find_forward(true)?;
                this.ask_for_stretch(false);
                Ok(())
            }),
            Position::Backward => self.guard(|this| {
                this.inner.seek(InternalKey::after_all(&this.key))?;
                this.find_forward(true)
            }),
        }
    }

    /// Moves to the previous key; without a position does nothing.
    ///
    /// # Errors
    /// Those of the inner cursor.
    #[inline]
    pub fn prev(&mut self) -> Result<(), C::Error> {
        if self.is_along() {
            if self.prev_along() {
                return Ok(());
            }
            self.end_stretch();
        }
        match self.position {
            Position::Nowhere | Position::AlongForward | Position::AlongBackward => Ok(()),
            Position::Forward => self.guard(|this| {
                this.key.clear();
                this.key.extend_from_slice(this.inner.key().user_key);
                this.leave_backward()?;
                this.find_backward()
            }),
            Position::Backward => self.guard(Self::find_backward),
            Position::BackwardInPlace => self.guard(|this| {
                this.inner.prev()?;
                this.find_backward()?;
                this.ask_for_stretch(true);
                Ok(())
            }),
        }
    }

    /// Runs a move that sets the position when it finds an entry.
    #[inline]
    fn guard(&mut self, go: impl FnOnce(&mut Self) -> Result<(), C::Error>) -> Result<(), C::Error> {
        self.position = Position::Nowhere;
        go(self)
    }

    /// From the inner cursor's entry on, shows the first one to be seen. With
    /// `passing`, entries of `self.key` are passed over.
    #[inline]
    fn find_forward(&mut self, mut passing: bool) -> Result<(), C::Error> {
        let (mut steps, mut covered_entries) = (0, 0);
        // Under a weak tombstone: how many values may still follow.
        let mut values_left = None;
        while self.inner.valid() {
            let key = self.inner.key();
            let (seqno, kind) = (key.seqno(), key.kind());
            if passing && key.user_key == self.key {
                if values_left.is_some() {
                    values_left = self.look_under_weak(kind, steps, values_left);
                }
                self.step_past_older(&mut steps)?;
                continue;
            }
            if self.span.is_past_end(key.user_key) {
                break;
            }
            if seqno >= self.snapshot || kind == ValueKind::RangeTombstone {
                passing = false;
                self.step_to_visible(&mut steps)?;
                continue;
            }
            let mut covered = None;
            let is_hidden = match kind {
                ValueKind::Tombstone | ValueKind::WeakTombstone => true,
                ValueKind::ExpiringValue if expiry::is_expired(self.inner.value(), self.now_ms) => {
                    self.may_return = true;
                    true
                }
                _ => {
                    covered = self.coverage.over(key.user_key, seqno);
                    covered.is_some()
                }
            };
            if !is_hidden {
                self.position = Position::Forward;
                return Ok(());
            }
            self.key.clear();
            self.key.extend_from_slice(key.user_key);
            (passing, steps) = (true, 0);
            self.hidden_keys = self.hidden_keys.wrapping_add(1);
            values_left = (kind == ValueKind::WeakTombstone).then_some(1);
            covered_entries += u32::from(covered.is_some());
            match covered {
                Some(covered) if covered_entries % STEPS_BEFORE_SEEK == 0 => {
                    if !self.inner.skip_covered(&covered.span, covered.below)? {
                        self.inner.next()?;
                    }
                }
                _ => self.inner.next()?,
            }
        }
        Ok(())
    }

    /// With the inner cursor on an older version under a weak tombstone, how many values may
    /// still follow before one could return; `None` when no more are to be counted.
    fn look_under_weak(&mut self, kind: ValueKind, steps: u32, values_left: Option<u32>) -> Option<u32> {
        if kind == ValueKind::Tombstone {
            return None;
        }
        let left =
            if kind.is_tombstone() { values_left } else { values_left.and_then(|left| left.checked_sub(1)) };
        self.may_return |= left.is_none() || steps >= STEPS_BEFORE_SEEK;
        left
    }

    /// Steps over a version of `self.key`, or over all that are left of it.
    fn step_past_older(&mut self, steps: &mut u32) -> Result<(), C::Error> {
        *steps += 1;
        if *steps <= STEPS_BEFORE_SEEK {
            return self.inner.next();
        }
        *steps = 0;
        let oldest = InternalKey::after_all(&self.key);
        self.inner.seek(oldest)?;
        if self.inner.valid() && self.inner.key() == oldest { self.inner.next() } else { Ok(()) }
    }

    /// Steps over a version that is too new, or over all such of its key.
    fn step_to_visible(&mut self, steps: &mut u32) -> Result<(), C::Error> {
        *steps += 1;
        let key = self.inner.key();
        if *steps <= STEPS_BEFORE_SEEK || key.seqno() < self.snapshot {
            return self.inner.next();
        }
        *steps = 0;
        self.key.clear();
        self.key.extend_from_slice(key.user_key);
        match InternalKey::seek_to(&self.key, self.snapshot) {
            Some(place) => self.inner.seek(place),
            None => self.inner.next(),
        }
    }

    /// From the inner cursor's entry back, shows the first key to be seen.
    fn find_backward(&mut self) -> Result<(), C::Error> {
        let (mut steps, mut covered_entries) = (0, 0);
        while self.inner.valid() {
            let key = self.inner.key();
            // Comparing with no bytes is slow where they lie nowhere.
            if !self.span.start.is_empty() && key.user_key < self.span.start.as_bytes() {
                break;
            }
            let is_of_interest = key.seqno() < self.snapshot
                && key.kind() != ValueKind::RangeTombstone
                && !self.span.is_past_end(key.user_key);
            if !is_of_interest {
                steps += 1;
                if steps > STEPS_BEFORE_SEEK {
                    steps = 0;
                    self.key.clear();
                    self.key.extend_from_slice(key.user_key);
                    self.leave_backward()?;
                } else {
                    self.inner.prev()?;
                }
                continue;
            }
            steps = 0;
            let is_in_place = self.inner.is_first_of_key() == Some(true);
            let (trailer, is_expired) = if is_in_place {
                (key.trailer, Self::is_expired(key.kind(), self.inner.value(), self.now_ms))
            } else {
                self.key.clear();
                self.key.extend_from_slice(key.user_key);
                self.keep_newest_visible()?;
                let trailer = self.kept.trailer();
                (trailer, Self::is_expired(trailer.kind(), self.kept.value(), self.now_ms))
            };
            let mut covered = None;
            let is_hidden = trailer.kind().is_tombstone() || is_expired || {
                let user_key = if is_in_place { self.inner.key().user_key } else { &self.key };
                covered = self.coverage.over(user_key, trailer.seqno());
                covered.is_some()
            };
            if !is_hidden {
                self.position = if is_in_place { Position::BackwardInPlace } else { Position::Backward };
                return Ok(());
            }
            covered_entries += u32::from(covered.is_some());
            let has_moved = match covered {
                Some(covered) if covered_entries % STEPS_BEFORE_SEEK == 0 => {
                    self.inner.skip_covered(&covered.span, covered.below)?
                }
                _ => false,
            };
            if is_in_place && !has_moved {
                self.inner.prev()?;
            }
        }
        Ok(())
    }

    fn is_expired(kind: ValueKind, stored: &[u8], now_ms: u64) -> bool {
        kind == ValueKind::ExpiringValue && expiry::is_expired(stored, now_ms)
    }

    /// With the inner cursor on the oldest version of `self.key`, keeps the newest
    /// visible one and moves to an entry before it that cannot be seen or belongs to
    /// another key.
    fn keep_newest_visible(&mut self) -> Result<(), C::Error> {
        for _ in 0..STEPS_BEFORE_SEEK {
            self.kept.keep(&self.inner);
            self.inner.prev()?;
            if !self.stands_on_visible_version() {
                return Ok(());
            }
        }
        if let Some(place) = InternalKey::seek_to(&self.key, self.snapshot) {
            self.inner.seek(place)?;
            if self.stands_on_visible_version() {
                self.kept.keep(&self.inner);
            }
        }
        self.inner.seek_for_prev(InternalKey::before_all(&self.key))?;
        // That place is itself a version, of the greatest number.
        if self.inner.valid() && self.inner.key().user_key == self.key {
            self.inner.prev()?;
        }
        Ok(())
    }

    #[inline]
    fn stands_on_visible_version(&self) -> bool {
        let key = self.inner.key();
        self.inner.valid()
            && key.user_key == self.key
            && key.seqno() < self.snapshot
            && key.kind() != ValueKind::RangeTombstone
    }

    /// Moves the inner cursor before all versions of `self.key`.
    fn leave_backward(&mut self) -> Result<(), C::Error> {
        let mut steps = 0;
        while self.inner.valid() && self.inner.key().user_key == self.key {
            if steps == STEPS_BEFORE_SEEK {
                self.inner.seek_for_prev(InternalKey::before_all(&self.key))?;
            } else {
                self.inner.prev()?;
            }
            steps += 1;
        }
        Ok(())
    }
}
