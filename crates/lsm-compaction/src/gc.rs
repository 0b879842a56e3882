//! [`GcStream`]: the drop rules. A flush and every compaction pass their merged
//! entries through it; it never drops what a snapshot of the rules can tell from
//! what is left.
//!
//! The snapshots that count cut the numbers into stripes (see `rules`). For each user
//! key, newest version first:
//!
//! 1. An entry that a range tombstone of its own stripe covers goes.
//! 2. Of a stripe's values only the newest stays, and above it all merge operands.
//! 3. An expired value is a tombstone.
//! 4. A tombstone waits: when an older version of the key stays, so does the
//!    tombstone; when none does, only if data below the inputs may hold the key.
//! 5. A weak tombstone and the value right below it in the same stripe go together,
//!    provided that the next older version is a tombstone or does not exist.
//! 6. A tombstone under the value of its stripe waits as well, although the value
//!    hides it: should a weak tombstone take the value away later, the versions
//!    below must not come back. For the same reason a weak tombstone that has lost
//!    its value gives way to the tombstone right below it.
//! 7. Where nothing older exists, a value's number may become 0.

use crate::rules::Stripes;
use crate::tombstones::{Covering, survivors};
use crate::{GcRules, OlderData};
use lsm_merge::expiry;
use lsm_types::{Cursor, InternalKey, RangeTombstone, RangeTombstoneSet, Trailer, ValueKind};

/// A tombstone of the current key whose fate is open.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    trailer: Trailer,
    /// No version has come after it yet.
    is_last: bool,
    /// It is weak and has met its value: both go, unless more than a tombstone follows.
    has_met_value: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// Before the first entry.
    Start,
    /// The waiting tombstone with this index.
    Waiting(usize),
    /// The entry of the cursor.
    Entry,
    End,
}

/// What survives of a sorted cursor and of the range tombstones that belong to it,
/// in order. Costs O(1) for each entry and copies each user key once.
#[derive(Debug)]
pub struct GcStream<C, O> {
    cursor: C,
    older: O,
    stripes: Stripes,
    now_ms: u64,
    zeroes: bool,
    covering: Covering,
    range_tombstones: Vec<RangeTombstone>,
    /// The user key whose versions are looked at.
    user_key: Vec<u8>,
    in_key: bool,
    stripe: Option<usize>,
    /// A value of this key and stripe stays.
    has_value: bool,
    /// The last waiting tombstone is of this stripe.
    has_tombstone: bool,
    waiting: Vec<Waiting>,
    shown: Shown,
    /// The cursor's entry is shown after the waiting tombstones.
    entry_follows: bool,
    /// Number and kind of the entry shown.
    trailer: Trailer,
}

impl<C: Cursor, O: OlderData> GcStream<C, O> {
    /// Drops from `cursor` and `tombstones`, which are all inputs of the job, what
    /// `rules` allow. Stands before the first entry.
    #[must_use]
    pub fn new(cursor: C, tombstones: RangeTombstoneSet, rules: &GcRules, older: O) -> Self {
        let stripes = Stripes::new(rules);
        let range_tombstones = survivors(&tombstones, &stripes, &older);
        Self {
            zeroes: rules.zero_seqnos && older.is_empty(),
            cursor,
            older,
            stripes,
            now_ms: rules.now_ms,
            covering: Covering::new(tombstones),
            range_tombstones,
            user_key: Vec::new(),
            in_key: false,
            stripe: None,
            has_value: false,
            has_tombstone: false,
            waiting: Vec::new(),
            shown: Shown::Start,
            entry_follows: false,
            trailer: Trailer::new(0, ValueKind::Value),
        }
    }

    /// The range tombstones that survive, in key order; their spans are disjoint or
    /// equal.
    #[must_use]
    pub fn range_tombstones(&self) -> &[RangeTombstone] {
        &self.range_tombstones
    }

    /// The entry shown; meaningful after [`advance`](Self::advance) answered true.
    #[must_use]
    #[inline]
    pub fn key(&self) -> InternalKey<&[u8]> {
        match self.shown {
            Shown::Waiting(index) => {
                let trailer = self.waiting.get(index).map_or(self.trailer, |waiting| waiting.trailer);
                InternalKey { user_key: &self.user_key, trailer }
            }
            _ => InternalKey { user_key: &self.user_key, trailer: self.trailer },
        }
    }

    /// The value of the entry shown.
    #[must_use]
    #[inline]
    pub fn value(&self) -> &[u8] {
        if self.shown == Shown::Entry { self.cursor.value() } else { &[] }
    }

    /// Shows the next entry that survives; false when there is none.
    ///
    /// # Errors
    /// Those of the cursor; the stream must not be used on.
    pub fn advance(&mut self) -> Result<bool, C::Error> {
        match self.shown {
            Shown::Start => self.cursor.seek_to_first()?,
            Shown::End => return Ok(false),
            Shown::Entry => self.cursor.next()?,
            Shown::Waiting(index) if index + 1 < self.waiting.len() => {
                self.shown = Shown::Waiting(index + 1);
                return Ok(true);
            }
            Shown::Waiting(_) => {
                self.waiting.clear();
                if self.entry_follows {
                    self.shown = Shown::Entry;
                    return Ok(true);
                }
            }
        }
        while self.cursor.valid() {
            if !self.in_key || self.cursor.key().user_key != self.user_key {
                if self.ends_with_tombstones() {
                    return Ok(true);
                }
                self.begin_key();
            }
            if self.keeps_entry() {
                self.entry_follows = true;
                self.shown = if self.waiting.is_empty() { Shown::Entry } else { Shown::Waiting(0) };
                return Ok(true);
            }
            self.cursor.next()?;
        }
        if self.ends_with_tombstones() {
            return Ok(true);
        }
        self.shown = Shown::End;
        Ok(false)
    }

    fn begin_key(&mut self) {
        self.user_key.clear();
        self.user_key.extend_from_slice(self.cursor.key().user_key);
        self.in_key = true;
        self.stripe = None;
        self.has_value = false;
        self.has_tombstone = false;
    }

    /// Ends the current key: the tombstones that still wait have nothing of the inputs
    /// below them. Whether some are to be shown.
    fn ends_with_tombstones(&mut self) -> bool {
        self.in_key = false;
        self.waiting.pop_if(|last| last.has_met_value);
        if self.waiting.is_empty() {
            return false;
        }
        if !self.older.may_hold(&self.user_key) {
            self.waiting.clear();
            return false;
        }
        self.entry_follows = false;
        self.shown = Shown::Waiting(0);
        true
    }

    /// Whether the cursor's entry stays. A tombstone never stays at once: it waits.
    fn keeps_entry(&mut self) -> bool {
        let key = self.cursor.key();
        let (seqno, mut kind) = (key.seqno(), key.kind());
        let stripe = self.stripes.of(seqno);
        if let Some(stripe) = stripe
            && self.covering.covers(&self.user_key, seqno, self.stripes.end_of(stripe))
        {
            return false;
        }
        if stripe.is_none() || stripe != self.stripe {
            self.stripe = stripe;
            self.has_value = false;
            self.has_tombstone = false;
        }
        if kind == ValueKind::ExpiringValue && expiry::is_expired(self.cursor.value(), self.now_ms) {
            kind = ValueKind::Tombstone;
        }
        self.trailer = Trailer::new(seqno, kind);
        match kind {
            ValueKind::Tombstone | ValueKind::WeakTombstone => {
                self.await_fate();
                false
            }
            ValueKind::MergeOperand => !self.is_hidden(false),
            ValueKind::Value | ValueKind::ExpiringValue | ValueKind::BlobPointer => {
                let stays = !self.is_hidden(true);
                self.has_value |= stays;
                if stays && self.zeroes && stripe == Some(0) && kind == ValueKind::Value {
                    self.trailer = Trailer::new(0, kind);
                }
                stays
            }
            // Never among point entries; nothing is known of what it would hide.
            ValueKind::RangeTombstone => true,
        }
    }

    /// Lets the tombstone `self.trailer` wait, unless one of its stripe hides it.
    fn await_fate(&mut self) {
        let waiting = Waiting { trailer: self.trailer, is_last: true, has_met_value: false };
        match self.waiting.last_mut() {
            // The pair above is followed by a tombstone, so it can go; or a weak one that
            // has no value gives way, lest it take one that is not its own.
            Some(last)
                if last.has_met_value
                    || (self.has_tombstone && last.trailer.kind() == ValueKind::WeakTombstone) =>
            {
                *last = waiting;
            }
            Some(_) if self.has_tombstone => {}
            _ => self.waiting.push(waiting),
        }
        self.has_tombstone = true;
    }

    /// Whether a newer version of the same stripe hides an entry that is no tombstone.
    fn is_hidden(&mut self, is_value: bool) -> bool {
        let Some(last) = self.waiting.last_mut() else { return self.has_value };
        let is_own_value =
            is_value && self.has_tombstone && last.is_last && last.trailer.kind() == ValueKind::WeakTombstone;
        last.is_last = false;
        // A pair that is followed by anything else than a tombstone stays a tombstone.
        last.has_met_value = is_own_value;
        self.has_tombstone || self.has_value
    }
}
