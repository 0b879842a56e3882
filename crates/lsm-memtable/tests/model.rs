//! The memtable against a sorted map that does the same in the obvious way.
#![cfg(not(lsm_loom))]

use lsm_memtable::{IndexKind, Memtable, MemtableOptions};
use lsm_types::{
    Cursor, InternalKey, KeySpan, RangeTombstone, RangeTombstoneSet, SeqNo, Slice, Trailer, ValueKind,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::sync::Arc;

const INDEXES: &[IndexKind] = &[IndexKind::Tree, IndexKind::SkipMap];

fn memtable(index: IndexKind) -> Arc<Memtable> {
    let mut options = MemtableOptions::default();
    options.index = index;
    Arc::new(Memtable::new(options))
}

#[derive(Clone, Debug)]
enum Op {
    Insert { key: Vec<u8>, seqno: SeqNo, kind: ValueKind, value: Vec<u8>, shared: bool },
    RemoveRange { start: Vec<u8>, end: Option<Vec<u8>>, seqno: SeqNo },
    Get { key: Vec<u8>, snapshot: SeqNo },
    Seek { key: Vec<u8>, seqno: SeqNo },
    SeekForPrev { key: Vec<u8>, seqno: SeqNo },
    SeekToFirst,
    SeekToLast,
    Next,
    Prev,
}

/// Keys that are near each other: short, with long shared prefixes, with zeros.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0_u8), Just(1), Just(b'a'), Just(255)];
    prop_oneof![
        prop::collection::vec(byte.clone(), 0..4),
        prop::collection::vec(byte, 0..4).prop_map(|end| [&b"a shared prefix "[..], &end].concat()),
        any::<[u8; 2]>().prop_map(|key| key.to_vec()),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let seqno = || prop_oneof![0..12_u64, Just(lsm_types::MAX_SEQNO)];
    let kind = prop::sample::select(vec![
        ValueKind::Value,
        ValueKind::Tombstone,
        ValueKind::WeakTombstone,
        ValueKind::MergeOperand,
    ]);
    let value = prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (4000..70_000_usize).prop_map(|len| vec![7; len]),
    ];
    prop_oneof![
        8 => (key(), seqno(), kind, value, any::<bool>()).prop_map(|(key, seqno, kind, value, shared)| {
            Op::Insert { key, seqno, kind, value, shared }
        }),
        1 => (key(), prop::option::of(key()), seqno())
            .prop_map(|(start, end, seqno)| Op::RemoveRange { start, end, seqno }),
        3 => (key(), 0..14_u64).prop_map(|(key, snapshot)| Op::Get { key, snapshot }),
        1 => (key(), seqno()).prop_map(|(key, seqno)| Op::Seek { key, seqno }),
        1 => (key(), seqno()).prop_map(|(key, seqno)| Op::SeekForPrev { key, seqno }),
        1 => Just(Op::SeekToFirst),
        1 => Just(Op::SeekToLast),
        6 => Just(Op::Next),
        6 => Just(Op::Prev),
    ]
}

/// The obvious implementation: keys sorted with their numbers counted backwards.
#[derive(Default)]
struct Model {
    entries: BTreeMap<(Vec<u8>, SeqNo), (Trailer, Vec<u8>)>,
    tombstones: Vec<RangeTombstone>,
    at: Option<(Vec<u8>, SeqNo)>,
}

fn model_key(key: &[u8], seqno: SeqNo) -> (Vec<u8>, SeqNo) {
    (key.to_vec(), SeqNo::MAX - seqno)
}

impl Model {
    fn seqnos(&self) -> impl Iterator<Item = SeqNo> {
        let points = self.entries.values().map(|(trailer, _)| trailer.seqno());
        points.chain(self.tombstones.iter().map(|tombstone| tombstone.seqno))
    }
}

fn apply(
    memtable: &Memtable,
    cursor: &mut impl Cursor<Error = std::convert::Infallible>,
    model: &mut Model,
    op: Op,
) {
    let after = |model: &Model, at: &(Vec<u8>, SeqNo)| {
        let beyond = (std::ops::Bound::Excluded(at.clone()), std::ops::Bound::Unbounded);
        model.entries.range(beyond).next().map(|(key, _)| key.clone())
    };
    let before = |model: &Model, at: &(Vec<u8>, SeqNo)| {
        model.entries.range(..at.clone()).next_back().map(|(key, _)| key.clone())
    };
    match op {
        Op::Insert { key, seqno, kind, value, shared } => {
            let value = if kind.is_tombstone() { Vec::new() } else { value };
            if shared {
                let key = InternalKey::new(Slice::copy_from(&key), seqno, kind);
                memtable.insert_shared(key, Slice::copy_from(&value));
            } else {
                memtable.insert(InternalKey::new(&key, seqno, kind), &value);
            }
            model.entries.insert(model_key(&key, seqno), (Trailer::new(seqno, kind), value));
        }
        Op::RemoveRange { start, end, seqno } => {
            let span = KeySpan { start: start.into(), end: end.map(Slice::from) };
            let tombstone = RangeTombstone { span, seqno };
            memtable.insert_range_tombstone(tombstone.clone());
            model.tombstones.push(tombstone);
        }
        Op::Get { key, snapshot } => {
            let got = memtable.get(&key, snapshot, |seqno, kind, value| {
                assert_eq!(value.as_bytes(), value.to_slice().as_bytes());
                (seqno, kind, value.as_bytes().to_vec())
            });
            let expected = (0..snapshot).rev().chain([]).find_map(|seqno| {
                let (trailer, value) = model.entries.get(&model_key(&key, seqno))?;
                Some((trailer.seqno(), trailer.kind(), value.clone()))
            });
            assert_eq!(got, expected, "get {key:?} at {snapshot}");
            let expected = model
                .tombstones
                .iter()
                .filter(|tombstone| tombstone.span.contains(&key) && tombstone.seqno < snapshot)
                .map(|tombstone| tombstone.seqno)
                .max();
            assert_eq!(
                memtable.range_tombstone_over(&key, snapshot),
                expected,
                "range tombstone over {key:?}"
            );
            let sets = memtable.range_tombstones();
            let over = sets.iter().filter_map(|set| set.newest_covering(&key, snapshot)).max();
            assert_eq!(over, expected, "the sets know another tombstone over {key:?}");
        }
        Op::Seek { key, seqno } => {
            let Ok(()) = cursor.seek(InternalKey::new(&key, seqno, ValueKind::Value));
            model.at = model.entries.range(model_key(&key, seqno)..).next().map(|(key, _)| key.clone());
        }
        Op::SeekForPrev { key, seqno } => {
            let Ok(()) = cursor.seek_for_prev(InternalKey::new(&key, seqno, ValueKind::Value));
            model.at = model.entries.range(..=model_key(&key, seqno)).next_back().map(|(key, _)| key.clone());
        }
        Op::SeekToFirst => {
            let Ok(()) = cursor.seek_to_first();
            model.at = model.entries.keys().next().cloned();
        }
        Op::SeekToLast => {
            let Ok(()) = cursor.seek_to_last();
            model.at = model.entries.keys().next_back().cloned();
        }
        Op::Next => {
            let Ok(()) = cursor.next();
            model.at = model.at.as_ref().and_then(|at| after(model, at));
        }
        Op::Prev => {
            let Ok(()) = cursor.prev();
            model.at = model.at.as_ref().and_then(|at| before(model, at));
        }
    }
}

/// Compares where the two stand. A cursor that stands on an entry which was since
/// replaced may show the one or the other.
fn compare(cursor: &impl Cursor, model: &Model) {
    assert_eq!(cursor.valid(), model.at.is_some(), "the cursor fell off, or did not");
    if let Some(at) = &model.at {
        assert_eq!((cursor.key().user_key, SeqNo::MAX - cursor.key().seqno()), (at.0.as_slice(), at.1));
        assert_eq!(cursor.value_slice(), cursor.value());
    }
}

fn walk(cursor: &mut impl Cursor<Error = std::convert::Infallible>, model: &Model) {
    let Ok(()) = cursor.seek_to_first();
    for ((key, _), (trailer, value)) in &model.entries {
        assert_eq!((cursor.key().user_key, cursor.key().trailer), (key.as_slice(), *trailer));
        assert_eq!(cursor.value(), value);
        let Ok(()) = cursor.next();
    }
    assert!(!cursor.valid(), "entries that nobody inserted");
    let Ok(()) = cursor.seek_to_last();
    for ((key, _), (trailer, value)) in model.entries.iter().rev() {
        assert_eq!((cursor.key().user_key, cursor.key().trailer), (key.as_slice(), *trailer));
        assert_eq!(cursor.value(), value);
        let Ok(()) = cursor.prev();
    }
    assert!(!cursor.valid(), "entries that nobody inserted");
}

fn check(index: IndexKind, ops: Vec<Op>) {
    let memtable = memtable(index);
    let mut cursor = memtable.cursor();
    let mut model = Model::default();
    for op in ops {
        apply(&memtable, &mut cursor, &mut model, op);
        compare(&cursor, &model);
    }
    walk(&mut cursor, &model);
    assert_eq!(memtable.len(), model.entries.len() + model.tombstones.len(), "entries counted");
    assert_eq!(memtable.is_empty(), model.seqnos().next().is_none());
    assert_eq!(memtable.highest_seqno(), model.seqnos().max(), "highest seqno");
    assert_eq!(memtable.lowest_seqno(), model.seqnos().min(), "lowest seqno");
    assert_eq!(
        RangeTombstoneSet::new(memtable.range_tombstone_list()),
        RangeTombstoneSet::new(model.tombstones),
        "range tombstones listed for a flush"
    );
}

/// The seed of this run: that of `LSM_SEED`, or a new one.
fn seed() -> u64 {
    let given = std::env::var("LSM_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0))
}

#[test]
fn a_memtable_does_what_a_sorted_map_does() {
    let seed = seed();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&prop::collection::vec(op(), 1..400), |ops| {
        INDEXES.iter().for_each(|&index| check(index, ops.clone()));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("replay with LSM_SEED={seed}\n{error}"));
}

#[test]
fn an_insert_of_an_equal_key_and_seqno_replaces_whatever_the_kind() {
    for &index in INDEXES {
        let memtable = memtable(index);
        memtable.insert(InternalKey::new(b"k", 3, ValueKind::Value), b"first");
        let mut cursor = memtable.cursor();
        let Ok(()) = cursor.seek_to_first();
        memtable.insert(InternalKey::new(b"k", 3, ValueKind::Tombstone), b"");
        let kind = memtable.get(b"k", 4, |_, kind, value| (kind, value.to_slice())).unwrap();
        assert_eq!(kind, (ValueKind::Tombstone, Slice::empty()), "{index:?}");
        assert_eq!(cursor.value(), b"first", "a cursor shows the entry it stood on, whole");
        assert_eq!(memtable.len(), 1);
    }
}

#[test]
fn a_cursor_outlives_its_memtable_handle_and_moves_between_threads() {
    for &index in INDEXES {
        let memtable = memtable(index);
        for key in 0..1000_u32 {
            memtable.insert(InternalKey::new(&key.to_be_bytes(), 1, ValueKind::Value), b"value");
        }
        let mut cursor = memtable.cursor();
        drop(memtable);
        let Ok(()) = cursor.seek_to_first();
        let seen = lsm_sync::thread::spawn(move || {
            let mut seen = 0_u32;
            while cursor.valid() {
                assert_eq!(cursor.key().user_key, seen.to_be_bytes());
                seen += 1;
                let Ok(()) = cursor.next();
            }
            seen
        });
        assert_eq!(seen.join().unwrap(), 1000);
    }
}

#[test]
fn a_cursor_meets_entries_inserted_ahead_of_it() {
    for &index in INDEXES {
        let memtable = memtable(index);
        let insert =
            |key: u32| memtable.insert(InternalKey::new(&key.to_be_bytes(), 1, ValueKind::Value), b"");
        insert(0);
        let mut cursor = memtable.cursor();
        let Ok(()) = cursor.seek_to_first();
        for key in 1..500_u32 {
            insert(1000 - key);
            insert(key);
            let Ok(()) = cursor.next();
            assert_eq!(cursor.key().user_key, key.to_be_bytes(), "{index:?} skipped a new entry");
        }
    }
}

#[test]
fn a_shared_value_is_not_copied() {
    for &index in INDEXES {
        let memtable = memtable(index);
        let value = Slice::copy_from(&[7; 100]);
        memtable.insert_shared(InternalKey::new("k".into(), 1, ValueKind::Value), value.clone());
        let got = memtable.get(b"k", 2, |_, _, found| found.to_slice()).unwrap();
        assert_eq!(got.as_ptr(), value.as_ptr());
        let mut cursor = memtable.cursor();
        let Ok(()) = cursor.seek_to_first();
        assert_eq!(cursor.value_slice().as_ptr(), value.as_ptr());
        assert!(memtable.approximate_bytes() >= 100, "a shared value counts");
    }
}
