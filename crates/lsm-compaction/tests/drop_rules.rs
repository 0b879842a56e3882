//! The drop rules against a model: whatever a job drops, every snapshot that counts
//! reads the same before and after, job after job; and nothing is kept that no
//! snapshot and no older data needs.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use lsm_compaction::{GcRules, GcStream, NothingOlder, OlderData};
use lsm_merge::{MergeCursor, expiry};
use lsm_types::{
    InternalKey, KeySpan, RangeTombstone, RangeTombstoneSet, SeqNo, Slice, ValueKind, VecCursor,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const KEYS: u8 = 5;

#[derive(Clone, Debug)]
enum Write {
    Put(u8),
    PutUntil(u8, u64),
    Remove(u8),
    /// Becomes a plain one where the key was not written exactly once since its last
    /// deletion, as the contract of weak deletes demands.
    RemoveWeak(u8),
    RemoveRange(u8, u8),
    Merge(u8),
}

#[derive(Clone, Debug)]
struct Job {
    /// Which runs, as fractions of their number.
    from: u8,
    count: u8,
    published: SeqNo,
    snapshots: Vec<SeqNo>,
    /// Keys of which the older data is said to hold something though it does not.
    false_alarms: BTreeSet<u8>,
    hours_later: u64,
    zero_seqnos: bool,
}

type Entry = (InternalKey<Slice>, Slice);

#[derive(Clone, Debug, Default)]
struct Run {
    entries: Vec<Entry>,
    tombstones: Vec<RangeTombstone>,
}

fn key(number: u8) -> Slice {
    Slice::from([b'a' + number])
}

fn span(from: u8, to: u8) -> KeySpan {
    // The last key as an end means no end.
    KeySpan { start: key(from), end: (to < KEYS).then(|| key(to)) }
}

/// One run for each stretch of writes, oldest first; write i has number i.
fn history(writes: &[Write], cuts: &BTreeSet<usize>) -> Vec<Run> {
    let mut runs = vec![Run::default()];
    let mut writes_since_deletion: BTreeMap<u8, u32> = BTreeMap::new();
    for (index, write) in writes.iter().enumerate() {
        if cuts.contains(&index) {
            runs.push(Run::default());
        }
        let Some(run) = runs.last_mut() else { unreachable!("there is always one") };
        let seqno = index as SeqNo;
        let value = Slice::from(format!("v{index}"));
        let mut add = |number: u8, kind, value| {
            run.entries.push((InternalKey::new(key(number), seqno, kind), value));
            let count = writes_since_deletion.entry(number).or_insert(0);
            *count = if kind.is_tombstone() { 0 } else { *count + 1 };
        };
        match *write {
            Write::Put(number) => add(number, ValueKind::Value, value),
            Write::Merge(number) => add(number, ValueKind::MergeOperand, value),
            Write::PutUntil(number, expiry_ms) => {
                add(number, ValueKind::ExpiringValue, expiry::join(expiry_ms, &value).into());
            }
            Write::Remove(number) => add(number, ValueKind::Tombstone, Slice::empty()),
            Write::RemoveWeak(number) => {
                let was_written_once = writes_since_deletion.get(&number) == Some(&1);
                let kind = if was_written_once { ValueKind::WeakTombstone } else { ValueKind::Tombstone };
                let count = writes_since_deletion.entry(number).or_insert(0);
                *count = 0;
                run.entries.push((InternalKey::new(key(number), seqno, kind), Slice::empty()));
            }
            Write::RemoveRange(from, to) => {
                let span = span(from, to);
                for number in (0..KEYS).filter(|&number| span.contains(&key(number))) {
                    writes_since_deletion.insert(number, 0);
                }
                run.tombstones.push(RangeTombstone { span, seqno });
            }
        }
    }
    runs
}

/// What a snapshot reads of a key: the values down to and with the base; none when it
/// is absent.
fn read(runs: &[Run], number: u8, snapshot: SeqNo, now_ms: u64) -> Vec<Slice> {
    let key = key(number);
    let covering = runs
        .iter()
        .flat_map(|run| &run.tombstones)
        .filter(|tombstone| tombstone.seqno < snapshot && tombstone.span.contains(&key))
        .map(|tombstone| tombstone.seqno)
        .max();
    let mut versions: Vec<&Entry> = runs
        .iter()
        .flat_map(|run| &run.entries)
        .filter(|(entry, _)| entry.user_key == key && entry.seqno() < snapshot)
        .collect();
    versions.sort_by(|a, b| a.0.cmp(&b.0));
    let mut seen = Vec::new();
    for (entry, value) in versions {
        let expired = entry.kind() == ValueKind::ExpiringValue && expiry::is_expired(value, now_ms);
        if entry.kind().is_tombstone() || expired || covering.is_some_and(|covering| entry.seqno() < covering)
        {
            break;
        }
        seen.push(value.clone());
        if entry.kind() != ValueKind::MergeOperand {
            break;
        }
    }
    seen
}

/// Older runs, and keys about which it raises false alarms.
struct Older<'a>(&'a [Run], &'a BTreeSet<u8>);

impl OlderData for Older<'_> {
    fn may_hold(&self, user_key: &[u8]) -> bool {
        self.1.iter().any(|&number| key(number) == *user_key)
            || self.0.iter().flat_map(|run| &run.entries).any(|(entry, _)| entry.user_key == *user_key)
    }
    fn overlaps(&self, span: &KeySpan) -> bool {
        self.1.iter().any(|&number| span.contains(&key(number)))
            || self.0.iter().any(|run| {
                run.entries.iter().any(|(entry, _)| span.contains(&entry.user_key))
                    || run.tombstones.iter().any(|tombstone| tombstone.span.overlaps(span))
            })
    }
    fn is_empty(&self) -> bool {
        self.0.is_empty() && self.1.is_empty()
    }
}

fn merge<O: OlderData>(inputs: &[Run], rules: &GcRules, older: O) -> Run {
    let newest_first = inputs.iter().rev().map(|run| VecCursor::new(run.entries.clone())).collect();
    let tombstones = RangeTombstoneSet::new(inputs.iter().flat_map(|run| run.tombstones.clone()));
    let mut stream = GcStream::new(MergeCursor::new(newest_first), tombstones, rules, older);
    let mut output = Run { entries: Vec::new(), tombstones: stream.range_tombstones().to_vec() };
    while {
        let Ok(more) = stream.advance();
        more
    } {
        output.entries.push((stream.key().to_owned_key(), Slice::copy_from(stream.value())));
    }
    assert!(output.entries.is_sorted_by(|a, b| a.0 < b.0), "the output is out of order: {output:?}");
    output
}

/// Every tombstone of the output has something left to hide.
fn check_tombstones_are_needed(output: &Run, rules: &GcRules, older: &Older<'_>) {
    for (index, (entry, _)) in output.entries.iter().enumerate() {
        let next = output.entries.get(index + 1).map(|(next, _)| &next.user_key);
        let is_needed =
            !entry.kind().is_tombstone() || next == Some(&entry.user_key) || older.may_hold(&entry.user_key);
        assert!(is_needed, "{entry:?} hides nothing and was kept");
    }
    // Whoever sees one of two tombstones of a stripe sees the other too.
    let stripe = |seqno: SeqNo| {
        let ends = rules.snapshots.iter().chain([&rules.published]);
        ends.filter(|&&end| seqno < end && end <= rules.published).min().copied()
    };
    for pair in output.entries.windows(2) {
        let [(newer, _), (older, _)] = pair else { continue };
        let are_tombstones = newer.kind().is_tombstone() && older.kind().is_tombstone();
        let are_of_one_stripe = stripe(older.seqno()).is_some_and(|end| Some(end) == stripe(newer.seqno()));
        assert!(
            !(newer.user_key == older.user_key && are_tombstones && are_of_one_stripe),
            "{older:?} under {newer:?} hides nothing and was kept"
        );
    }
    for tombstone in &output.tombstones {
        let is_needed = tombstone.seqno >= rules.oldest_boundary() || older.overlaps(&tombstone.span);
        assert!(is_needed, "{tombstone:?} hides nothing and was kept");
    }
}

fn check_jobs((writes, cuts, jobs): &(Vec<Write>, BTreeSet<usize>, Vec<Job>)) {
    let original = history(writes, cuts);
    let mut runs = original.clone();
    let past_all = writes.len() as SeqNo + 2;
    let mut exact: BTreeSet<SeqNo> = (0..=past_all).collect();
    let mut now_ms = 0;
    for job in jobs {
        let from = usize::from(job.from) % runs.len();
        let count = 1 + usize::from(job.count) % (runs.len() - from);
        now_ms += job.hours_later;
        let rules = GcRules {
            published: job.published,
            snapshots: job.snapshots.clone(),
            now_ms,
            zero_seqnos: job.zero_seqnos,
        };
        let (older, rest) = runs.split_at(from);
        let (inputs, newer) = rest.split_at(count);
        let older_data = Older(older, &job.false_alarms);
        let output = merge(inputs, &rules, Older(older, &job.false_alarms));
        check_tombstones_are_needed(&output, &rules, &older_data);
        let merged = [older, &[output], newer].concat();

        exact.retain(|&snapshot| snapshot >= job.published || job.snapshots.contains(&snapshot));
        for &snapshot in &exact {
            for number in 0..KEYS {
                assert_eq!(
                    read(&merged, number, snapshot, now_ms),
                    read(&original, number, snapshot, now_ms),
                    "key {:?} at snapshot {snapshot} after {job:?} on {inputs:?} gave {merged:?}",
                    key(number),
                );
            }
        }
        runs = merged;
    }
    // With no snapshot left and nothing older, only what is visible remains.
    let last = GcRules { published: past_all, snapshots: vec![], now_ms, zero_seqnos: true };
    let output = merge(&runs, &last, NothingOlder);
    assert_eq!(output.tombstones, [], "a range tombstone outlived everything below it");
    for number in 0..KEYS {
        let left: Vec<_> = output.entries.iter().filter(|(entry, _)| entry.user_key == key(number)).collect();
        let visible = read(&original, number, past_all, now_ms);
        assert_eq!(left.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>(), visible);
        for (entry, _) in left.iter().filter(|(entry, _)| entry.kind() == ValueKind::Value) {
            assert_eq!(entry.seqno(), 0, "a value of the last level keeps a number of its own");
        }
    }
}

fn inputs(writes: usize) -> impl Strategy<Value = (Vec<Write>, BTreeSet<usize>, Vec<Job>)> {
    let key = || 0..KEYS;
    let write = prop_oneof![
        5 => key().prop_map(Write::Put),
        2 => (key(), 0..20_u64).prop_map(|(key, expiry)| Write::PutUntil(key, expiry)),
        2 => key().prop_map(Write::Remove),
        4 => key().prop_map(Write::RemoveWeak),
        1 => (key(), 0..=KEYS).prop_map(|(from, to)| Write::RemoveRange(from, to)),
        1 => key().prop_map(Write::Merge),
    ];
    let seqno = 0..writes as SeqNo + 3;
    let job = (
        any::<u8>(),
        any::<u8>(),
        prop_oneof![2 => seqno.clone(), 3 => Just(writes as SeqNo)],
        prop::collection::vec(seqno, 0..4),
        prop::collection::btree_set(key(), 0..2),
        0..6_u64,
        any::<bool>(),
    )
        .prop_map(|(from, count, published, snapshots, false_alarms, hours_later, zero_seqnos)| Job {
            from,
            count,
            published,
            snapshots,
            false_alarms,
            hours_later,
            zero_seqnos,
        });
    (
        prop::collection::vec(write, 0..writes),
        prop::collection::btree_set(0..writes, 0..6),
        prop::collection::vec(job, 0..6),
    )
}

#[test]
fn every_needed_snapshot_reads_the_same_after_any_jobs() {
    common::check(20_000, inputs(30), check_jobs);
}

#[test]
fn long_histories_read_the_same_after_any_jobs() {
    common::check(2_000, inputs(200), check_jobs);
}

fn run(entries: &[(u8, SeqNo, ValueKind)]) -> Run {
    let entry = |&(number, seqno, kind): &(u8, SeqNo, ValueKind)| {
        let value = if kind.is_tombstone() { Slice::empty() } else { Slice::from(format!("v{seqno}")) };
        (InternalKey::new(key(number), seqno, kind), value)
    };
    Run { entries: entries.iter().map(entry).collect(), tombstones: Vec::new() }
}

fn left(run: &Run) -> Vec<(SeqNo, ValueKind)> {
    run.entries.iter().map(|(entry, _)| (entry.seqno(), entry.kind())).collect()
}

use ValueKind::{Tombstone, Value, WeakTombstone};

#[test]
fn a_tombstone_leaves_with_the_last_thing_that_it_hides() {
    let rules = GcRules { published: 100, ..GcRules::default() };
    let nobody = BTreeSet::new();
    let older = [run(&[(0, 1, Value)])];
    let inputs = [run(&[(0, 5, Tombstone), (1, 6, Tombstone)])];
    let output = merge(&inputs, &rules, Older(&older, &nobody));
    assert_eq!(left(&output), [(5, Tombstone)], "only the first key has an older value");
    assert_eq!(left(&merge(&[older[0].clone(), output], &rules, NothingOlder)), []);

    // A snapshot that still sees the value keeps both; once it is gone, both go.
    let all = [older[0].clone(), inputs[0].clone()];
    let held = GcRules { snapshots: vec![3], ..rules.clone() };
    let output = merge(&all, &held, NothingOlder);
    assert_eq!(left(&output), [(5, Tombstone), (1, Value)]);
    assert_eq!(left(&merge(&[output], &rules, NothingOlder)), []);
}

#[test]
fn a_range_tombstone_leaves_with_the_last_thing_that_it_hides() {
    let rules = GcRules { published: 100, ..GcRules::default() };
    let nobody = BTreeSet::new();
    let mut newer = run(&[]);
    newer.tombstones.push(RangeTombstone { span: span(0, 2), seqno: 9 });
    let older = [run(&[(1, 1, Value)])];
    let output = merge(&[newer.clone()], &rules, Older(&older, &nobody));
    assert_eq!(output.tombstones, newer.tombstones, "the older value would come back");
    let output = merge(&[newer.clone()], &rules, Older(&[run(&[(3, 1, Value)])], &nobody));
    assert_eq!(output.tombstones, [], "the only older key is not in its span");
    let output = merge(&[older[0].clone(), newer], &rules, NothingOlder);
    assert_eq!((output.tombstones, output.entries.len()), (vec![], 0));
}

#[test]
fn a_weak_tombstone_and_its_value_leave_though_older_data_may_hold_the_key() {
    let rules = GcRules { published: 100, ..GcRules::default() };
    let alarm = BTreeSet::from([0]);
    let pair = [run(&[(0, 5, WeakTombstone), (0, 4, Value)])];
    assert_eq!(left(&merge(&pair, &rules, Older(&[], &alarm))), []);
    let held = GcRules { snapshots: vec![5], ..rules };
    assert_eq!(left(&merge(&pair, &held, Older(&[], &alarm))).len(), 2, "the snapshot at 5 sees the value");
}

#[test]
fn a_second_weak_delete_does_not_bring_back_what_the_first_one_hid() {
    // 1: put, 2: weak delete, 3: put, 4: weak delete; they meet in the worst order.
    let rules = GcRules { published: 100, ..GcRules::default() };
    let nobody = BTreeSet::new();
    let oldest = [run(&[(0, 1, Value)])];
    let middle = merge(&[run(&[(0, 3, Value), (0, 2, WeakTombstone)])], &rules, Older(&oldest, &nobody));
    let upper = merge(&[middle, run(&[(0, 4, WeakTombstone)])], &rules, Older(&oldest, &nobody));
    let seen = read(&[oldest[0].clone(), upper.clone()], 0, 100, 0);
    assert_eq!(seen, Vec::<Slice>::new(), "the value of 1 came back: {upper:?}");
    assert_eq!(left(&merge(&[oldest[0].clone(), upper], &rules, NothingOlder)), []);
}

#[test]
fn a_weak_delete_of_a_key_written_twice_brings_nothing_back_where_all_meet() {
    // Against the contract, so only what one merge sees can be kept right.
    let nobody = BTreeSet::new();
    let oldest = [run(&[(0, 1, Value)])];
    for snapshots in [vec![], vec![2], vec![3]] {
        let rules = GcRules { published: 100, snapshots, ..GcRules::default() };
        let newer = run(&[(0, 4, WeakTombstone), (0, 3, Value), (0, 2, Value)]);
        let output = merge(&[newer], &rules, Older(&oldest, &nobody));
        let seen = read(&[oldest[0].clone(), output.clone()], 0, 100, 0);
        assert_eq!(seen, Vec::<Slice>::new(), "{rules:?} gave {output:?}");
    }
}
