//! [`DeadRanges`]: where in a keyspace nothing is visible any more, so that a scan that
//! starts there goes on behind it. What is deleted at the head of a queue stays in the
//! sources until a compaction drops it; without this each look at the head would walk over
//! all of it again. Called by scans and, before they publish, by writers. Reads no data
//! and decides no visibility: it only repeats what a scan has seen.
//!
//! 1. A scan at snapshot S that passed many hidden keys reports where it walked. If no value
//!    was inserted there under a number from S on, nothing there is visible at S or later.
//! 2. Whether one was, is known because writers note the lowest key that they insert, from
//!    some number on. A report from before that number is of no use; the next one is.
//! 3. A writer that inserts a value into a dead range cuts it at that key before the value is
//!    published. A reader takes its bound before it looks at the ranges: so every value below
//!    its bound has cut them. Tombstones cut nothing.
//! 4. Snapshots from before the report do not use it.

use lsm_sync::RwLock;
use lsm_sync::atomic::{AtomicBool, Ordering};
use lsm_types::{KeySpan, SeqNo, Slice};

/// More are not kept: the oldest gives way.
const MAX_RANGES: usize = 8;

/// After so many hidden keys in one seek a scan reports them.
pub(crate) const WORTH_REPORTING: u32 = 8;

/// What a keyspace knows of where nothing is visible. `Send + Sync`.
#[derive(Debug)]
pub(crate) struct DeadRanges {
    /// Whether there are any; changed under the lock below. Relaxed: readers take it for a
    /// hint. A writer that misses the first range has begun before the noting, whose first
    /// number is taken under the commit lock by somebody who has seen the range; writers
    /// after that see it as well.
    is_watched: AtomicBool,
    /// Guards the ranges alone; nothing is called under it. Only writers, one at a time,
    /// make a range smaller.
    ranges: RwLock<Vec<Watched>>,
}

/// What a scan that starts at some key may leave out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    Nothing,
    /// All before this key.
    To(Slice),
    Everything,
}

#[derive(Debug)]
struct Watched {
    /// No key inside is visible at `since` or later. May be empty.
    dead: KeySpan,
    since: SeqNo,
    /// Values numbered from here on have been noted.
    noted_since: Option<SeqNo>,
    /// The lowest key, from the start of `dead` on, of those noted; never inside of `dead`.
    lowest_noted: Option<Slice>,
}

impl DeadRanges {
    pub(crate) fn new() -> Self {
        Self { is_watched: AtomicBool::new(false), ranges: RwLock::new(Vec::new()) }
    }

    /// What a scan at `snapshot` that starts at `target` may leave out. The snapshot was
    /// taken before.
    pub(crate) fn skip(&self, target: &[u8], snapshot: SeqNo) -> Skip {
        if !self.is_watched.load(Ordering::Relaxed) {
            return Skip::Nothing;
        }
        let ranges = self.ranges.read();
        let is_of_use = |range: &&Watched| {
            let is_old_enough = range.since <= snapshot || lsm_sync::mutant("tree.dead_since_ignored");
            is_old_enough && range.dead.contains(target)
        };
        match ranges.iter().find(is_of_use).map(|range| &range.dead.end) {
            None => Skip::Nothing,
            Some(None) => Skip::Everything,
            Some(Some(end)) => Skip::To(end.clone()),
        }
    }

    /// A scan at `snapshot` met no visible key in `walked`, which begins where it started or
    /// where it was told to [`skip`](Self::skip) to. `at_rest` calls back with the number of
    /// the next entry, while no writer is under way; or does nothing when one is.
    pub(crate) fn report(
        &self,
        walked: &KeySpan,
        snapshot: SeqNo,
        at_rest: impl FnOnce(&mut dyn FnMut(SeqNo)),
    ) {
        if !self.grow(walked, snapshot) {
            at_rest(&mut |next_seqno| {
                for range in self.ranges.write().iter_mut() {
                    range.noted_since.get_or_insert(next_seqno);
                }
                self.grow(walked, snapshot);
            });
        }
    }

    /// Takes up a report. Says no when a range waits for its noting to begin.
    fn grow(&self, walked: &KeySpan, snapshot: SeqNo) -> bool {
        let mut ranges = self.ranges.write();
        if let Some(range) = ranges.iter_mut().find(|range| range.reaches(&walked.start)) {
            return range.grow(walked, snapshot);
        }
        if ranges.len() == MAX_RANGES {
            ranges.remove(0);
        }
        ranges.push(Watched {
            dead: KeySpan { start: walked.start.clone(), end: Some(walked.start.clone()) },
            since: snapshot,
            noted_since: None,
            lowest_noted: None,
        });
        self.is_watched.store(true, Ordering::Relaxed);
        false
    }

    /// A value numbered `seqno` comes to stand at `key`. Called under the commit lock, before
    /// the number is published.
    #[inline]
    pub(crate) fn inserting(&self, seqno: SeqNo, key: &[u8]) {
        if self.is_watched.load(Ordering::Relaxed) {
            self.note(seqno, key);
        }
    }

    /// Values come to stand anywhere. Called under the commit lock, before they are published:
    /// what a scan reports that did not see them comes too late, as nothing is noted yet.
    pub(crate) fn forget(&self) {
        let mut ranges = self.ranges.write();
        ranges.clear();
        // Else a scan could report in between, and its range would stand unwatched.
        let _still_locked = (!lsm_sync::mutant("tree.dead_unwatched_outside_the_lock")).then_some(ranges);
        self.is_watched.store(false, Ordering::Relaxed);
    }

    #[cold]
    fn note(&self, seqno: SeqNo, key: &[u8]) {
        // A range that is reported or grows between the two looks does not reach the key
        // either: the report is older than this value, which is noted or not asked for.
        if !self.ranges.read().iter().any(|range| range.minds(key)) {
            return;
        }
        let mut ranges = self.ranges.write();
        ranges.retain_mut(|range| range.cut(seqno, key));
        if ranges.is_empty() {
            self.is_watched.store(false, Ordering::Relaxed);
        }
    }
}

impl Watched {
    /// Whether a walk from `key` on continues the range.
    fn reaches(&self, key: &[u8]) -> bool {
        key >= &*self.dead.start && self.dead.end.as_deref().is_none_or(|end| key <= end)
    }

    /// Takes up a report of a walk that begins in the range or at its end. Says no when the
    /// noting is yet to begin, or to begin anew since what was noted stands in the way.
    fn grow(&mut self, walked: &KeySpan, snapshot: SeqNo) -> bool {
        let is_blind = lsm_sync::mutant("tree.dead_reported_without_noting");
        match self.noted_since {
            None if !is_blind => return false,
            Some(noted_since) if noted_since > snapshot && !is_blind => return true,
            _ => {}
        }
        let is_cut = is_lower(self.lowest_noted.as_ref(), walked.end.as_ref());
        let end = if is_cut { &self.lowest_noted } else { &walked.end };
        if is_lower(self.dead.end.as_ref(), end.as_ref()) {
            self.dead.end.clone_from(end);
            self.since = self.since.max(snapshot);
        }
        if is_cut {
            (self.noted_since, self.lowest_noted) = (None, None);
        }
        !is_cut
    }

    /// Whether a value at `key` changes anything.
    fn minds(&self, key: &[u8]) -> bool {
        let is_lowest = || self.lowest_noted.as_deref().is_none_or(|lowest| key < lowest);
        self.noted_since.is_none() || (key >= &*self.dead.start && is_lowest())
    }

    /// Notes a value at `key`. Says no when nothing is left of the range.
    fn cut(&mut self, seqno: SeqNo, key: &[u8]) -> bool {
        self.noted_since.get_or_insert(seqno);
        if key >= &*self.dead.start && self.lowest_noted.as_deref().is_none_or(|lowest| key < lowest) {
            self.lowest_noted = Some(Slice::copy_from(key));
            if !self.dead.is_past_end(key) {
                self.dead.end.clone_from(&self.lowest_noted);
            }
        }
        key != &*self.dead.start
    }
}

/// Whether the exclusive end `one` lies before `other`; none lies behind all keys.
fn is_lower(one: Option<&Slice>, other: Option<&Slice>) -> bool {
    match (one, other) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(one), Some(other)) => **one < **other,
    }
}
