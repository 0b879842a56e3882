//! [`History`]: one keyspace with all its versions, as plain ordered maps. It is
//! the meaning that the engine is held to, so it is simple before it is fast.

use lsm_types::{KeySpan, RangeTombstone, SeqNo, Slice};
use std::collections::BTreeMap;

/// The versions of one key.
#[derive(Clone, Debug, Default)]
struct Versions {
    /// By number; `None` is a deletion.
    by_seqno: BTreeMap<SeqNo, Option<Slice>>,
    /// How often it was written since it was last deleted.
    writes_since_deletion: u32,
}

/// A sorted multi-version map. Numbers may come in any order; equal key and number
/// replace.
#[derive(Clone, Debug, Default)]
pub struct History {
    keys: BTreeMap<Slice, Versions>,
    tombstones: Vec<RangeTombstone>,
}

impl History {
    /// Writes one version; `None` deletes. Whether one of the same number was replaced.
    pub fn put(&mut self, key: Slice, seqno: SeqNo, value: Option<Slice>) -> bool {
        let versions = self.keys.entry(key).or_default();
        versions.writes_since_deletion =
            if value.is_some() { versions.writes_since_deletion.saturating_add(1) } else { 0 };
        versions.by_seqno.insert(seqno, value).is_some()
    }

    /// Deletes every key of `span` written before `seqno`, also what comes later
    /// under a smaller number.
    pub fn remove_range(&mut self, span: KeySpan, seqno: SeqNo) {
        self.tombstones.push(RangeTombstone { span, seqno });
    }

    /// Turns range tombstones into deletions of keys, which is the same as long as
    /// no smaller number comes later.
    pub fn fold(&mut self) {
        for tombstone in std::mem::take(&mut self.tombstones) {
            if tombstone.span.is_empty() {
                continue;
            }
            let inside = self
                .keys
                .range_mut(tombstone.span.start.clone()..)
                .take_while(|(key, _)| !tombstone.span.is_past_end(key));
            for (_, versions) in inside {
                let older = versions.by_seqno.range(..tombstone.seqno).next_back();
                if older.is_some_and(|(_, value)| value.is_some()) {
                    versions.by_seqno.entry(tombstone.seqno).or_insert(None);
                }
                let newest = versions.by_seqno.last_key_value();
                if newest.is_some_and(|(_, value)| value.is_none()) {
                    versions.writes_since_deletion = 0;
                }
            }
        }
    }

    /// What a reader at `snapshot` sees of `key`.
    #[must_use]
    pub fn get(&self, key: &[u8], snapshot: SeqNo) -> Option<&Slice> {
        self.visible(key, self.keys.get(key)?, snapshot)
    }

    fn visible<'a>(&self, key: &[u8], versions: &'a Versions, snapshot: SeqNo) -> Option<&'a Slice> {
        let (&seqno, value) = versions.by_seqno.range(..snapshot).next_back()?;
        let covered = |tombstone: &RangeTombstone| {
            seqno < tombstone.seqno && tombstone.seqno < snapshot && tombstone.span.contains(key)
        };
        value.as_ref().filter(|_| !self.tombstones.iter().any(covered))
    }

    /// What a reader at `snapshot` sees of `span`, in key order.
    pub fn range(
        &self,
        span: &KeySpan,
        snapshot: SeqNo,
    ) -> impl DoubleEndedIterator<Item = (&Slice, &Slice)> + '_ {
        use std::ops::Bound;
        let (start, end) = if span.is_empty() {
            (Bound::Included(Slice::empty()), Bound::Excluded(Slice::empty()))
        } else {
            let end = span.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
            (Bound::Included(span.start.clone()), end)
        };
        self.keys
            .range((start, end))
            .filter_map(move |(key, versions)| Some((key, self.visible(key, versions, snapshot)?)))
    }

    /// How often `key` was written since it was last deleted (in order of calls).
    #[must_use]
    pub fn writes_since_deletion(&self, key: &[u8]) -> u32 {
        self.keys.get(key).map_or(0, |versions| versions.writes_since_deletion)
    }

    /// The same in order of numbers, for histories that forget nothing.
    #[must_use]
    pub fn writes_since_newest_deletion(&self, key: &[u8]) -> usize {
        let Some(versions) = self.keys.get(key) else { return 0 };
        let covered = self.tombstones.iter().filter(|t| t.span.contains(key)).map(|t| t.seqno).max();
        let newest_first = versions.by_seqno.iter().rev();
        newest_first.take_while(|&(&seqno, value)| value.is_some() && covered <= Some(seqno)).count()
    }

    /// The greatest number among the versions of `key`, or of a deletion that
    /// covers it.
    #[must_use]
    pub fn newest_seqno(&self, key: &[u8]) -> Option<SeqNo> {
        let point = self.keys.get(key).and_then(|versions| versions.by_seqno.last_key_value());
        let over = self.tombstones.iter().filter(|t| t.span.contains(key)).map(|t| t.seqno).max();
        point.map(|(&seqno, _)| seqno).max(over)
    }

    /// Forgets everything numbered `end` or above: a crash has undone it. Counts of
    /// writes come from what is left, except that a key which changed from `unsure` on
    /// counts as written often: which of several equal states was found is unknown.
    /// Tombstones must have been folded, and nothing forgotten.
    pub fn rewind(&mut self, end: SeqNo, unsure: SeqNo) {
        for versions in self.keys.values_mut() {
            drop(versions.by_seqno.split_off(&end));
            let newest_first = versions.by_seqno.values().rev();
            let writes = newest_first.take_while(|value| value.is_some()).count();
            let is_unsure = versions.by_seqno.range(unsure..).next().is_some();
            versions.writes_since_deletion = if is_unsure && writes > 0 { 2 } else { writes as u32 };
        }
        self.keys.retain(|_, versions| !versions.by_seqno.is_empty());
    }

    /// Forgets versions that no reader at `oldest_snapshot` or later sees.
    /// Tombstones must have been folded.
    pub fn forget_below(&mut self, oldest_snapshot: SeqNo) {
        self.keys.retain(|_, versions| {
            if let Some((&kept, _)) = versions.by_seqno.range(..oldest_snapshot).next_back() {
                versions.by_seqno = versions.by_seqno.split_off(&kept);
            }
            versions.by_seqno.len() > 1 || versions.by_seqno.values().any(Option::is_some)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_types::KeyRange;

    fn visible(history: &History, snapshot: SeqNo) -> Vec<String> {
        let shown = history.range(&KeySpan::all(), snapshot);
        shown.map(|(k, v)| format!("{}={}", String::from_utf8_lossy(k), String::from_utf8_lossy(v))).collect()
    }

    #[test]
    fn a_snapshot_sees_what_was_written_below_it() {
        let mut history = History::default();
        history.put("a".into(), 1, Some("1".into()));
        history.put("b".into(), 2, Some("2".into()));
        history.put("a".into(), 3, None);
        history.remove_range(("b"..).to_span(), 4);
        history.put("b".into(), 5, Some("5".into()));
        assert_eq!(visible(&history, 1), [""; 0]);
        assert_eq!(visible(&history, 3), ["a=1", "b=2"]);
        assert_eq!(visible(&history, 4), ["b=2"]);
        assert_eq!(visible(&history, 5), [""; 0]);
        assert_eq!(visible(&history, 6), ["b=5"]);
    }

    #[test]
    fn folding_and_forgetting_change_no_answer() {
        let mut random = crate::Random::new(5);
        for _ in 0..200 {
            let mut history = History::default();
            for _ in 0..20 {
                let key = Slice::from([random.below(5) as u8]);
                let seqno = random.below(15);
                match random.below(4) {
                    0 => drop(history.put(key, seqno, None)),
                    1 => {
                        let end = [random.below(7) as u8];
                        history.remove_range((key..end.into()).to_span(), seqno);
                    }
                    _ => drop(history.put(key, seqno, Some([random.next() as u8].into()))),
                }
            }
            let mut folded = history.clone();
            folded.fold();
            let mut forgotten = folded.clone();
            forgotten.forget_below(9);
            for snapshot in 0..17 {
                assert_eq!(visible(&history, snapshot), visible(&folded, snapshot), "at {snapshot}");
                if snapshot >= 9 {
                    assert_eq!(visible(&history, snapshot), visible(&forgotten, snapshot), "at {snapshot}");
                }
            }
        }
    }

    #[test]
    fn writes_are_counted_since_the_last_deletion() {
        let mut history = History::default();
        history.put("a".into(), 1, Some("1".into()));
        history.put("a".into(), 2, Some("2".into()));
        assert_eq!(history.writes_since_deletion(b"a"), 2);
        history.remove_range(("a".."b").to_span(), 3);
        history.fold();
        assert_eq!(history.writes_since_deletion(b"a"), 0);
        history.put("a".into(), 4, Some("4".into()));
        assert_eq!(history.writes_since_deletion(b"a"), 1);
        assert_eq!(history.newest_seqno(b"a"), Some(4));
    }
}
