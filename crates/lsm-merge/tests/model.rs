//! Random walks over merged, concatenated and snapshot-visible cursors against a
//! sorted vector that says what must be seen.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use lsm_merge::{ConcatCursor, MergeCursor, Parts, VisibleCursor, expiry};
use lsm_types::{
    Cursor, InternalKey, KeySpan, RangeTombstone, RangeTombstoneSet, SeqNo, Slice, Stretch, ValueKind,
    VecCursor,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW_MS: u64 = 1000;

#[derive(Clone, Debug)]
struct Entry {
    key: u8,
    seqno: SeqNo,
    kind: ValueKind,
    source: usize,
    expiry_ms: u64,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    First,
    Last,
    Seek(u8, SeqNo),
    SeekForPrev(u8, SeqNo),
    Next,
    Prev,
}

#[derive(Clone, Debug)]
struct Case {
    entries: Vec<Entry>,
    tombstones: Vec<(u8, u8, SeqNo)>,
    snapshot: SeqNo,
    span: (u8, Option<u8>),
    steps: Vec<Step>,
}

const SOURCES: usize = 5;

/// Keys with a common prefix that fills the cached eight bytes for some of them.
fn key_of(number: u8) -> Slice {
    match number % 3 {
        0 => Slice::from([number]),
        1 => Slice::from([number - 1, 0]),
        _ => Slice::from([&[number - 2][..], b"abcdefgh", &[number]].concat()),
    }
}

fn case(keys: u8, seqnos: SeqNo, entries: usize) -> impl Strategy<Value = Case> {
    let kind = prop_oneof![
        6 => Just(ValueKind::Value),
        2 => Just(ValueKind::Tombstone),
        1 => Just(ValueKind::WeakTombstone),
        2 => Just(ValueKind::ExpiringValue),
        1 => Just(ValueKind::MergeOperand),
    ];
    let entry = (0..keys, 0..seqnos, kind, 0..SOURCES, NOW_MS - 1..NOW_MS + 2)
        .prop_map(|(key, seqno, kind, source, expiry_ms)| Entry { key, seqno, kind, source, expiry_ms });
    let step = prop_oneof![
        1 => Just(Step::First),
        1 => Just(Step::Last),
        2 => (0..keys, 0..seqnos).prop_map(|(key, seqno)| Step::Seek(key, seqno)),
        2 => (0..keys, 0..seqnos).prop_map(|(key, seqno)| Step::SeekForPrev(key, seqno)),
        10 => Just(Step::Next),
        10 => Just(Step::Prev),
    ];
    (
        prop::collection::vec(entry, 0..entries),
        prop::collection::vec((0..keys, 0..keys, 0..seqnos), 0..4),
        prop_oneof![3 => 0..seqnos + 1, 1 => Just(SeqNo::MAX)],
        (0..keys, prop::option::of(0..keys)),
        prop::collection::vec(step, 0..60),
    )
        .prop_map(|(entries, tombstones, snapshot, span, steps)| Case {
            entries,
            tombstones,
            snapshot,
            span,
            steps,
        })
}

type Stored = BTreeMap<InternalKey<Slice>, (InternalKey<Slice>, Slice)>;

/// Each source's entries; of one source's equal entries the last is kept.
fn sources(case: &Case) -> Vec<Stored> {
    let mut sources = vec![Stored::new(); SOURCES];
    for entry in &case.entries {
        let key = InternalKey::new(key_of(entry.key), entry.seqno, entry.kind);
        let text = format!("{}@{} of {}", entry.key, entry.seqno, entry.source);
        // Some values are long enough to be shared instead of copied.
        let text = if entry.seqno % 5 == 0 { text.repeat(100) } else { text };
        let value = match entry.kind {
            ValueKind::ExpiringValue => expiry::join(entry.expiry_ms, text.as_bytes()).into(),
            kind if kind.is_tombstone() => Slice::empty(),
            _ => Slice::from(text),
        };
        sources[entry.source].insert(key.clone(), (key, value));
    }
    sources
}

/// The union, where the newest source wins.
fn union(sources: &[Stored]) -> Vec<(InternalKey<Slice>, Slice)> {
    let mut all = Stored::new();
    for source in sources.iter().rev() {
        for (place, entry) in source {
            all.insert(place.clone(), entry.clone());
        }
    }
    all.into_values().collect()
}

/// The parts of a source: each user key's versions in one, some parts empty.
struct Split(Vec<Vec<(InternalKey<Slice>, Slice)>>, Vec<(Slice, Slice)>);

impl Split {
    fn new(source: &Stored, keys_a_part: usize) -> Self {
        let mut by_key: BTreeMap<Slice, Vec<_>> = BTreeMap::new();
        for entry in source.values() {
            by_key.entry(entry.0.user_key.clone()).or_default().push(entry.clone());
        }
        let keys: Vec<_> = by_key.into_iter().collect();
        let mut split = Self(Vec::new(), Vec::new());
        let mut chunks = keys.chunks(keys_a_part).peekable();
        while let Some(chunk) = chunks.next() {
            split.0.push(chunk.iter().flat_map(|(_, entries)| entries.clone()).collect());
            split.1.push((chunk[0].0.clone(), chunk[chunk.len() - 1].0.clone()));
            // A part with bounds but without entries, as a table of range tombstones is.
            let past = lsm_types::successor(&chunk[chunk.len() - 1].0);
            if chunks.peek().is_none_or(|next| next[0].0 > past) {
                split.0.push(Vec::new());
                split.1.push((past.clone(), past));
            }
        }
        split
    }
}

impl Parts for Split {
    type Cursor = VecCursor;
    fn len(&self) -> usize {
        self.0.len()
    }
    fn ends_before(&self, index: usize, user_key: &[u8]) -> bool {
        self.1[index].1.as_bytes() < user_key
    }
    fn starts_after(&self, index: usize, user_key: &[u8]) -> bool {
        self.1[index].0.as_bytes() > user_key
    }
    fn open(&self, index: usize) -> Result<VecCursor, std::convert::Infallible> {
        Ok(VecCursor::new(self.0[index].clone()))
    }
}

/// Walks `cursor` and compares it with `expected` after each step.
fn walk_internal<C: Cursor<Error = std::convert::Infallible>>(
    mut cursor: C,
    expected: &[(InternalKey<Slice>, Slice)],
    steps: &[Step],
) {
    let mut at: Option<usize> = None;
    assert!(!cursor.valid(), "a new cursor stands nowhere");
    for step in steps {
        let Ok(()) = match *step {
            Step::First => {
                at = Some(0);
                cursor.seek_to_first()
            }
            Step::Last => {
                at = expected.len().checked_sub(1);
                cursor.seek_to_last()
            }
            Step::Seek(key, seqno) => {
                let target = InternalKey::new(key_of(key), seqno, ValueKind::Value);
                at = Some(expected.partition_point(|(key, _)| *key < target));
                cursor.seek(target.as_borrowed())
            }
            Step::SeekForPrev(key, seqno) => {
                let target = InternalKey::new(key_of(key), seqno, ValueKind::Value);
                at = expected.partition_point(|(key, _)| *key <= target).checked_sub(1);
                cursor.seek_for_prev(target.as_borrowed())
            }
            Step::Next => {
                at = at.map(|at| at + 1);
                cursor.next()
            }
            Step::Prev => {
                at = at.and_then(|at| at.checked_sub(1));
                cursor.prev()
            }
        };
        at = at.filter(|&at| at < expected.len());
        match at.map(|at| &expected[at]) {
            None => assert!(!cursor.valid(), "after {step:?} there should be no entry"),
            Some((key, value)) => {
                assert!(cursor.valid(), "after {step:?} an entry is missing");
                assert_eq!(cursor.key(), key.as_borrowed(), "after {step:?}");
                assert_eq!(cursor.key().kind(), key.kind(), "after {step:?}");
                assert_eq!(cursor.value(), value.as_bytes(), "after {step:?}");
                assert_eq!((cursor.key_slice(), cursor.value_slice()), (key.user_key.clone(), value.clone()));
            }
        }
        for backward in [false, true] {
            let last = std::cell::RefCell::default();
            let fits = |key: &[u8]| {
                last.replace(key.to_vec());
                true
            };
            let (Some(from), Some(mut stretch)) = (at, cursor.stretch(backward, fits)) else { continue };
            let mut here = from;
            while stretch.advance() {
                here = if backward { here - 1 } else { here + 1 };
                let (key, value) = &expected[here];
                assert_eq!((stretch.key(), stretch.trailer()), (key.user_key.as_bytes(), key.trailer));
                assert_eq!(stretch.value(), value.as_bytes());
                assert_eq!(key.trailer, expected[from].0.trailer, "only what is alike is given out");
            }
            assert_eq!(stretch.key(), last.into_inner());
            if backward {
                let before = here.checked_sub(1).map(|before| &expected[before].0.user_key);
                assert!(before.is_none_or(|before| before.as_bytes() < stretch.key()), "the newest version");
            }
            if from % 2 == 0 {
                cursor.resume(stretch);
                at = Some(here);
            }
        }
    }
}

fn tombstones(case: &Case) -> RangeTombstoneSet {
    RangeTombstoneSet::new(case.tombstones.iter().map(|&(start, end, seqno)| RangeTombstone {
        span: KeySpan { start: key_of(start), end: Some(key_of(end)).filter(|_| end % 4 != 0) },
        seqno,
    }))
}

fn span(case: &Case) -> KeySpan {
    KeySpan { start: key_of(case.span.0), end: case.span.1.map(key_of) }
}

/// What the snapshot sees, by the definition and in the simplest way.
fn visible(case: &Case) -> Vec<(Slice, Slice)> {
    let tombstones = tombstones(case);
    let span = span(case);
    let mut seen: BTreeMap<Slice, Option<Slice>> = BTreeMap::new();
    for (key, value) in union(&sources(case)) {
        if key.seqno() >= case.snapshot || !span.contains(&key.user_key) {
            continue;
        }
        let deleted = key.kind().is_tombstone()
            || tombstones.iter().any(|tombstone| {
                tombstone.span.contains(&key.user_key)
                    && tombstone.seqno < case.snapshot
                    && key.seqno() < tombstone.seqno
            });
        let shown = match key.kind() {
            ValueKind::ExpiringValue => expiry::split(&value)
                .filter(|(expiry_ms, _)| *expiry_ms > NOW_MS)
                .map(|(_, value)| Slice::copy_from(value)),
            _ => Some(value),
        };
        seen.entry(key.user_key).or_insert(shown.filter(|_| !deleted));
    }
    seen.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// Answers how many steps went along what the sources give out.
fn walk_visible<C: Cursor<Error = std::convert::Infallible>>(inner: C, case: &Case) -> u64 {
    let expected = visible(case);
    let span = span(case);
    let mut cursor = VisibleCursor::new(inner, case.snapshot, &tombstones(case), NOW_MS).within(span.clone());
    let mut at: Option<usize> = None;
    let mut along = 0;
    for step in &case.steps {
        let Ok(()) = match *step {
            Step::First => {
                at = Some(0);
                cursor.seek_to_first()
            }
            Step::Last => {
                at = expected.len().checked_sub(1);
                cursor.seek_to_last()
            }
            Step::Seek(key, _) => {
                let target = key_of(key);
                at = Some(expected.partition_point(|(key, _)| *key < target));
                cursor.seek(&target)
            }
            Step::SeekForPrev(key, _) => {
                let target = key_of(key);
                at = expected.partition_point(|(key, _)| *key <= target).checked_sub(1);
                cursor.seek_for_prev(&target)
            }
            Step::Next => {
                at = at.map(|at| at + 1);
                let is_along = cursor.next_along();
                along += u64::from(is_along);
                if is_along { Ok(()) } else { cursor.next() }
            }
            Step::Prev => {
                at = at.and_then(|at| at.checked_sub(1));
                let is_along = cursor.prev_along();
                along += u64::from(is_along);
                if is_along { Ok(()) } else { cursor.prev() }
            }
        };
        at = at.filter(|&at| at < expected.len());
        let shown = cursor.valid().then(|| (cursor.key(), cursor.value()));
        let wanted = at.map(|at| &expected[at]).map(|(key, value)| (key.as_bytes(), value.as_bytes()));
        assert_eq!(shown, wanted, "after {step:?} at snapshot {} within {span:?}", case.snapshot);
        if let Some((key, value)) = wanted {
            assert_eq!((cursor.key_slice().as_bytes(), cursor.value_slice().as_bytes()), (key, value));
            assert!(cursor.seqno() < case.snapshot && !cursor.kind().is_tombstone());
        }
    }
    along
}

fn merged(case: &Case) -> MergeCursor<VecCursor> {
    let sources = sources(case).into_iter().map(|source| {
        let highest = source.keys().map(InternalKey::seqno).max().unwrap_or(0);
        (VecCursor::new(source.into_values().collect()), highest)
    });
    MergeCursor::with_highest_seqnos(sources.collect())
}

fn check_case(case: &Case) -> u64 {
    let stored = sources(case);
    walk_internal(merged(case), &union(&stored), &case.steps);
    for (index, source) in stored.iter().enumerate() {
        let expected: Vec<_> = source.values().cloned().collect();
        walk_internal(ConcatCursor::new(Split::new(source, index + 1)), &expected, &case.steps);
    }
    let concats = stored.iter().map(|source| ConcatCursor::new(Split::new(source, 8))).collect();
    walk_visible(merged(case), case) + walk_visible(MergeCursor::new(concats), case)
}

#[test]
fn walks_over_many_keys_show_what_the_model_shows() {
    common::check(3000, case(40, 30, 120), |case| {
        check_case(case);
    });
}

#[test]
fn walks_over_many_versions_of_few_keys_show_what_the_model_shows() {
    common::check(1500, case(6, 120, 300), |case| {
        check_case(case);
    });
}

/// Most entries of a source are values of one number, as in tables of the last level; walks
/// keep their direction for a while.
fn smooth_case() -> impl Strategy<Value = Case> {
    let flags = (any::<bool>(), any::<bool>());
    let turns = prop::collection::vec((any::<bool>(), 1..30_usize), 1..8);
    (case(80, 3, 150), turns, flags).prop_map(|(mut case, turns, (has_tombstones, is_whole))| {
        for (at, entry) in case.entries.iter_mut().enumerate() {
            if at % 16 != 0 {
                entry.source = usize::from(entry.key / 16 % 2);
                (entry.kind, entry.seqno) = (ValueKind::Value, entry.source as u64);
            }
        }
        if !has_tombstones {
            case.tombstones.clear();
        }
        if is_whole {
            case.span = (0, None);
        }
        let seeks = case.steps.iter().filter(|step| !matches!(step, Step::Next | Step::Prev));
        let seeks: Vec<Step> = seeks.copied().chain([Step::First, Step::Last]).collect();
        let runs: Vec<_> = turns
            .iter()
            .map(|&(forward, steps)| vec![if forward { Step::Next } else { Step::Prev }; steps])
            .collect();
        case.steps = seeks
            .into_iter()
            .zip(runs.into_iter().cycle())
            .flat_map(|(seek, run)| [vec![seek], run].concat())
            .collect();
        case
    })
}

#[test]
fn walks_along_stretches_show_what_the_model_shows() {
    let along = std::cell::Cell::new(0);
    common::check(3000, smooth_case(), |case| along.set(along.get() + check_case(case)));
    assert!(along.get() > 20_000, "only {} steps along stretches", along.get());
}

#[test]
fn a_span_that_comes_late_is_kept_to() {
    let entry = |key: u8| (InternalKey::new(Slice::from([key]), 0, ValueKind::Value), Slice::empty());
    let source = VecCursor::new((0..20).map(entry).collect());
    let mut cursor = VisibleCursor::new(source, SeqNo::MAX, &RangeTombstoneSet::default(), 0);
    let Ok(()) = cursor.seek_to_first();
    let Ok(()) = cursor.next();
    let mut cursor = cursor.within(KeySpan { start: Slice::from([0]), end: Some(Slice::from([3])) });
    let Ok(()) = cursor.next();
    assert_eq!(cursor.key(), [2]);
    let Ok(()) = cursor.next();
    assert!(!cursor.valid(), "it stands on {:?}", cursor.key());
}
