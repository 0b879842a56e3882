//! Range tombstones: one write that deletes every key of a span, and the set of
//! disjoint fragments that answers "which is the newest one over this key?".

use crate::{KeySpan, SeqNo, Slice};

/// The deletion of every key of `span` that was written before `seqno`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeTombstone {
    /// The keys that are deleted.
    pub span: KeySpan,
    /// Covers entries with a number below this one.
    pub seqno: SeqNo,
}

impl RangeTombstone {
    /// The part inside `span`, or `None` when there is none.
    #[must_use]
    pub fn clip(&self, span: &KeySpan) -> Option<Self> {
        let start = Slice::max(self.span.start.clone(), span.start.clone());
        let end = match (&self.span.end, &span.end) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (Some(end), None) | (None, Some(end)) => Some(end.clone()),
            (None, None) => None,
        };
        let span = KeySpan { start, end };
        (!span.is_empty()).then_some(Self { span, seqno: self.seqno })
    }
}

/// A span that all of its tombstones cover whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The keys.
    pub span: KeySpan,
    /// The numbers of the tombstones over them, newest first, never empty.
    pub seqnos: Vec<SeqNo>,
}

/// Range tombstones cut into disjoint, sorted fragments.
///
/// Immutable, so shared freely between threads. Building costs O(n log n) plus the
/// number of fragment-tombstone pairs, a look-up O(log n).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeTombstoneSet {
    fragments: Vec<Fragment>,
}

impl RangeTombstoneSet {
    /// Cuts `tombstones`, given in any order, into fragments; empty ones vanish.
    #[must_use]
    pub fn new(tombstones: impl IntoIterator<Item = RangeTombstone>) -> Self {
        let mut pending: Vec<RangeTombstone> =
            tombstones.into_iter().filter(|tombstone| !tombstone.span.is_empty()).collect();
        pending.sort_by(|a, b| a.span.start.cmp(&b.span.start));

        // A sweep over starts and ends; `open` holds those that cover the position.
        let mut fragments: Vec<Fragment> = Vec::with_capacity(pending.len());
        let mut open: Vec<RangeTombstone> = Vec::new();
        let mut pending = pending.into_iter().peekable();
        let mut position = Slice::empty();
        while let Some(start) = Self::next_start(&open, &mut pending, &position) {
            position = start;
            while let Some(next) = pending.next_if(|next| next.span.start <= position) {
                open.push(next);
            }
            let end = open
                .iter()
                .filter_map(|tombstone| tombstone.span.end.clone())
                .chain(pending.peek().map(|next| next.span.start.clone()))
                .min();
            let mut seqnos: Vec<SeqNo> = open.iter().map(|tombstone| tombstone.seqno).collect();
            seqnos.sort_unstable_by(|a, b| b.cmp(a));
            seqnos.dedup();
            fragments.push(Fragment { span: KeySpan { start: position.clone(), end: end.clone() }, seqnos });
            let Some(end) = end else { break };
            open.retain(|tombstone| !tombstone.span.is_past_end(&end));
            position = end;
        }
        Self { fragments }
    }

    /// Where the next fragment starts: here while something is open, else at the
    /// next tombstone.
    fn next_start(
        open: &[RangeTombstone],
        pending: &mut std::iter::Peekable<std::vec::IntoIter<RangeTombstone>>,
        position: &Slice,
    ) -> Option<Slice> {
        if open.is_empty() {
            pending.peek().map(|next| next.span.start.clone())
        } else {
            Some(position.clone())
        }
    }

    /// Whether there is none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// The fragments in key order.
    #[must_use]
    pub fn fragments(&self) -> &[Fragment] {
        &self.fragments
    }

    /// The index of the first fragment that ends past `key`; it covers `key` if it
    /// starts at or before it.
    #[must_use]
    pub fn fragment_at_or_after(&self, key: &[u8]) -> usize {
        self.fragments.partition_point(|fragment| fragment.span.is_past_end(key))
    }

    /// The number of the newest tombstone over `key` that is visible at `snapshot`.
    /// An entry of `key` with a number below it is deleted.
    #[must_use]
    #[inline]
    pub fn newest_covering(&self, key: &[u8], snapshot: SeqNo) -> Option<SeqNo> {
        if self.fragments.is_empty() {
            return None;
        }
        let fragment = self.fragments.get(self.fragment_at_or_after(key))?;
        if !fragment.span.contains(key) {
            return None;
        }
        fragment.newest_below(snapshot)
    }

    /// What `snapshot` sees of the set inside `span`: disjoint tombstones in key order, of
    /// which neighbours differ. O(fragments inside).
    pub fn visible_in<'a>(
        &'a self,
        span: &'a KeySpan,
        snapshot: SeqNo,
    ) -> impl Iterator<Item = RangeTombstone> + 'a {
        let first = self.fragment_at_or_after(&span.start);
        let mut inside = self
            .fragments
            .get(first..)
            .unwrap_or(&[])
            .iter()
            .take_while(|fragment| !span.is_past_end(&fragment.span.start))
            .filter_map(move |fragment| {
                let seqno = fragment.newest_below(snapshot)?;
                Some(RangeTombstone { span: fragment.span.clone(), seqno })
            })
            .peekable();
        std::iter::from_fn(move || {
            let mut joined = inside.next()?;
            while let Some(next) = inside.next_if(|next| {
                next.seqno == joined.seqno && joined.span.end.as_ref() == Some(&next.span.start)
            }) {
                joined.span.end = next.span.end;
            }
            Some(joined)
        })
    }

    /// One tombstone for each pair of fragment and number, in key order.
    pub fn iter(&self) -> impl Iterator<Item = RangeTombstone> + '_ {
        self.fragments.iter().flat_map(|fragment| {
            fragment.seqnos.iter().map(|&seqno| RangeTombstone { span: fragment.span.clone(), seqno })
        })
    }
}

impl Fragment {
    /// The newest of its tombstones that is visible at `snapshot`.
    #[must_use]
    pub fn newest_below(&self, snapshot: SeqNo) -> Option<SeqNo> {
        let first_visible = self.seqnos.partition_point(|&seqno| seqno >= snapshot);
        self.seqnos.get(first_visible).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyRange;

    fn tombstone(range: impl KeyRange, seqno: SeqNo) -> RangeTombstone {
        RangeTombstone { span: range.to_span(), seqno }
    }

    #[test]
    fn overlapping_tombstones_are_cut_at_each_edge() {
        let set = RangeTombstoneSet::new([
            tombstone("a".."m", 5),
            tombstone("g".., 3),
            tombstone("c".."d", 9),
            tombstone("x".."b", 99),
        ]);
        let drawn: Vec<_> = set
            .fragments()
            .iter()
            .map(|f| format!("{:?}..{:?} {:?}", f.span.start, f.span.end, f.seqnos))
            .collect();
        assert_eq!(
            drawn,
            [
                r#"b"a"..Some(b"c") [5]"#,
                r#"b"c"..Some(b"d") [9, 5]"#,
                r#"b"d"..Some(b"g") [5]"#,
                r#"b"g"..Some(b"m") [5, 3]"#,
                r#"b"m"..None [3]"#,
            ]
        );
        assert_eq!(set.newest_covering(b"c", 9), Some(5), "9 is not visible at 9");
        assert_eq!(set.newest_covering(b"c", 10), Some(9));
        assert_eq!(set.newest_covering(b"zz", SeqNo::MAX), Some(3));
        assert_eq!(set.newest_covering(b"", SeqNo::MAX), None);
    }

    #[test]
    fn a_set_answers_as_a_list_does() {
        // All pairs of a small universe, in a fixed pseudo-random order (seed 7).
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let list: Vec<_> = (0..random(12))
                .map(|_| {
                    let (a, b) = (random(10) as u8, random(10) as u8);
                    let seqno = random(20);
                    if random(8) == 0 { tombstone([a].., seqno) } else { tombstone([a]..[b], seqno) }
                })
                .collect();
            let set = RangeTombstoneSet::new(list.iter().cloned());
            for key in 0..11_u8 {
                for snapshot in 0..22 {
                    let expected = list
                        .iter()
                        .filter(|t| t.span.contains(&[key]) && t.seqno < snapshot)
                        .map(|t| t.seqno)
                        .max();
                    assert_eq!(set.newest_covering(&[key], snapshot), expected, "{list:?} at {key}");
                }
            }
            assert_eq!(RangeTombstoneSet::new(set.iter()), set, "cutting twice changes nothing");
            for snapshot in 0..22 {
                let span = ([2_u8]..[8_u8]).to_span();
                let visible = RangeTombstoneSet::new(set.visible_in(&span, snapshot));
                for key in 2..8_u8 {
                    let expected = set.newest_covering(&[key], snapshot);
                    assert_eq!(visible.newest_covering(&[key], SeqNo::MAX), expected, "{list:?} at {key}");
                }
            }
        }
    }

    #[test]
    fn a_clip_keeps_only_the_inside() {
        let whole = tombstone("c".., 4);
        assert_eq!(whole.clip(&("a".."f").to_span()).unwrap(), tombstone("c".."f", 4));
        assert_eq!(whole.clip(&("a".."c").to_span()), None);
        assert_eq!(whole.clip(&KeySpan::all()).unwrap(), whole);
    }
}
