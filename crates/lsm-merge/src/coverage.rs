//! The range tombstones that one snapshot sees, for a walk along the keys: each
//! look-up starts where the last one ended. Used by `VisibleCursor` only.

use lsm_types::{KeySpan, RangeTombstoneSet, SeqNo};

/// A span and the number below which its entries are deleted.
#[derive(Clone, Debug)]
pub(crate) struct Covered {
    pub(crate) span: KeySpan,
    pub(crate) below: SeqNo,
}

/// Disjoint sorted spans with a remembered position.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    spans: Vec<Covered>,
    /// The first span that ends past the key of the last look-up.
    at: usize,
}

impl Coverage {
    /// Keeps of each fragment the newest tombstone that `snapshot` sees.
    pub(crate) fn new(tombstones: &RangeTombstoneSet, snapshot: SeqNo) -> Self {
        let spans = tombstones
            .fragments()
            .iter()
            .filter_map(|fragment| {
                let below = fragment.newest_below(snapshot)?;
                Some(Covered { span: fragment.span.clone(), below })
            })
            .collect();
        Self { spans, at: 0 }
    }

    /// Whether a span has keys from `low` to `high`, both included. O(log spans).
    #[inline]
    pub(crate) fn touches(&self, low: &[u8], high: &[u8]) -> bool {
        if self.spans.is_empty() {
            return false;
        }
        let first = self.spans.partition_point(|covered| covered.span.is_past_end(low));
        self.spans.get(first).is_some_and(|covered| covered.span.start.as_bytes() <= high)
    }

    /// The span that covers an entry of `key` numbered `seqno`, if any. O(1) when the
    /// key lies next to that of the last look-up, else O(log n).
    #[inline]
    pub(crate) fn over(&mut self, key: &[u8], seqno: SeqNo) -> Option<&Covered> {
        if self.spans.is_empty() {
            return None;
        }
        self.move_to(key);
        self.spans
            .get(self.at)
            .filter(|covered| seqno < covered.below && key >= covered.span.start.as_bytes())
    }

    fn move_to(&mut self, key: &[u8]) {
        for candidate in [self.at, self.at + 1, self.at.saturating_sub(1)] {
            if self.is_place_of(candidate, key) {
                self.at = candidate;
                return;
            }
        }
        self.at = self.spans.partition_point(|covered| covered.span.is_past_end(key));
    }

    /// Whether `at` is the first span that ends past `key`.
    fn is_place_of(&self, at: usize, key: &[u8]) -> bool {
        let ends_before = |index: usize| self.spans.get(index).is_some_and(|c| c.span.is_past_end(key));
        at <= self.spans.len() && !ends_before(at) && (at == 0 || ends_before(at - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_types::RangeTombstone;

    #[test]
    fn jumps_in_any_direction_answer_as_the_set_does() {
        let set = RangeTombstoneSet::new((0..20_u8).map(|i| RangeTombstone {
            span: KeySpan { start: [i * 10].into(), end: Some([i * 10 + 4 + i % 8].into()) },
            seqno: SeqNo::from(i % 7) + 1,
        }));
        for snapshot in 0..9 {
            let mut coverage = Coverage::new(&set, snapshot);
            for step in 0..3000_u32 {
                let key = [(step.wrapping_mul(2_654_435_761) >> if step % 3 == 0 { 24 } else { 28 }) as u8];
                let seqno = SeqNo::from(step % 8);
                let expected = set.newest_covering(&key, snapshot).is_some_and(|newest| seqno < newest);
                assert_eq!(coverage.over(&key, seqno).is_some(), expected, "{key:?} at {snapshot}");
                let high = [key[0].saturating_add(step as u8 % 16)];
                let touched = (key[0]..=high[0]).any(|key| coverage.over(&[key], 0).is_some());
                assert_eq!(coverage.touches(&key, &high), touched, "{key:?} to {high:?} at {snapshot}");
            }
        }
    }
}
