//! [`GcRules`]: which snapshots a job must keep exact, and the stripes that follow
//! from them. Made by the caller under the snapshot registry's mutex; never asks
//! a clock itself.

use lsm_types::SeqNo;
use lsm_version::Needed;

/// What a job may drop: its output answers exactly for every snapshot at or past
/// `published` and for each of `snapshots`, at any time from `now_ms` on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GcRules {
    /// P: no snapshot opened from now on is below it.
    pub published: SeqNo,
    /// L: the open snapshots, in any order.
    pub snapshots: Vec<SeqNo>,
    /// Milliseconds since the Unix epoch; values that expired by then go.
    pub now_ms: u64,
    /// Whether a value's number may become 0 where nothing older exists, so that all
    /// entries of a last level share one trailer. Only where numbers mean nothing to
    /// the application.
    pub zero_seqnos: bool,
}

impl GcRules {
    /// Rules that keep what is `needed`, with numbers as they are.
    #[must_use]
    pub fn new(needed: &Needed, now_ms: u64) -> Self {
        Self { published: needed.published, snapshots: needed.snapshots.clone(), now_ms, zero_seqnos: false }
    }

    /// Entries numbered below this bound are visible to every snapshot that counts:
    /// of each key only the newest of them is needed. 0 when there is no such bound.
    #[must_use]
    pub fn oldest_boundary(&self) -> SeqNo {
        self.snapshots.iter().copied().filter(|&snapshot| snapshot > 0).fold(self.published, SeqNo::min)
    }
}

/// The numbers below P, cut at each snapshot. All snapshots that count see either all
/// of a stripe or nothing of it, so of a key's entries in one stripe only the newest
/// matters.
#[derive(Clone, Debug)]
pub(crate) struct Stripes {
    /// Ascending, without repeats, never 0; the last one is P.
    boundaries: Vec<SeqNo>,
}

impl Stripes {
    pub(crate) fn new(rules: &GcRules) -> Self {
        // A snapshot at 0 sees nothing; one past P is a snapshot like any other past P.
        let counts = |&bound: &SeqNo| 0 < bound && bound <= rules.published;
        let mut boundaries: Vec<SeqNo> =
            rules.snapshots.iter().copied().chain([rules.published]).filter(counts).collect();
        boundaries.sort_unstable();
        boundaries.dedup();
        Self { boundaries }
    }

    /// The stripe of `seqno`, 0 being the oldest one; `None` at or past P, where each
    /// entry is its own stripe.
    #[inline]
    pub(crate) fn of(&self, seqno: SeqNo) -> Option<usize> {
        let index = match self.boundaries.as_slice() {
            [only] => usize::from(seqno >= *only),
            boundaries => boundaries.partition_point(|&bound| bound <= seqno),
        };
        (index < self.boundaries.len()).then_some(index)
    }

    /// The end of a stripe: its entries are numbered below.
    #[inline]
    pub(crate) fn end_of(&self, stripe: usize) -> SeqNo {
        self.boundaries.get(stripe).copied().unwrap_or(SeqNo::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_lie_between_the_snapshots() {
        let rules = GcRules { published: 20, snapshots: vec![10, 0, 5, 10, 30], ..GcRules::default() };
        let stripes = Stripes::new(&rules);
        let found: Vec<_> = [0, 4, 5, 9, 10, 19, 20, 99].map(|seqno| stripes.of(seqno)).to_vec();
        assert_eq!(found, [Some(0), Some(0), Some(1), Some(1), Some(2), Some(2), None, None]);
        assert_eq!((stripes.end_of(0), stripes.end_of(2)), (5, 20));
        assert_eq!(rules.oldest_boundary(), 5);
        assert_eq!(Stripes::new(&GcRules::default()).of(0), None, "nothing is published");
    }
}
