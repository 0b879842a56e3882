//! Tables against a sorted vector: whatever is written is found, in both directions,
//! at every snapshot, under every layout, compression and reading option.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test whose set-up fails should stop there")]

mod common;

use common::{Entry, entry, model_get, sorted, table, value};
use lsm_sstable::{Compression, ReadOptions, WriterOptions, key_hash};
use lsm_types::{
    Cursor, InternalKey, RangeTombstone, SeqNo, Slice, Stretch, UpperBound, ValueKind, VecCursor,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn config(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(common::seed());
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        // Few keys, so that one has many versions; keys that share prefixes; and any.
        3 => (0_u8..12).prop_map(|i| vec![i]),
        3 => (0_u32..200).prop_map(|i| format!("user/{i:06}").into_bytes()),
        2 => prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0xff), any::<u8>()], 0..12),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ]
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(b"same length".to_vec()),
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (0..3000_usize).prop_map(|len| vec![7; len]),
    ]
}

fn kinds() -> impl Strategy<Value = ValueKind> {
    prop::sample::select(
        ValueKind::ALL.into_iter().filter(|&kind| kind != ValueKind::RangeTombstone).collect::<Vec<_>>(),
    )
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let mixed = (keys(), 0..40_u64, kinds(), values()).prop_map(|(k, s, kind, v)| entry(k, s, kind, v));
    let uniform =
        (0_u64..5000, prop::collection::vec(any::<u8>(), 8)).prop_map(|(k, v)| value(k.to_be_bytes(), 0, v));
    // Most blocks are of one number, and some begin with an older version of the key before.
    let alike = (0_u64..200, 0_u64..12).prop_map(|(k, s)| value(k.to_be_bytes(), s / 11, k.to_be_bytes()));
    prop_oneof![
        prop::collection::vec(alike, 200..400).prop_map(sorted),
        prop::collection::vec(mixed, 1..300).prop_map(sorted),
        prop::collection::vec(uniform, 1..300).prop_map(sorted),
    ]
}

fn writer_options() -> impl Strategy<Value = WriterOptions> {
    let block_bytes = prop::sample::select(vec![0, 64, 256, 1024, 4096, 1 << 20]);
    let compression = prop::sample::select(vec![Compression::None, Compression::Lz4, Compression::Snappy]);
    let bits = prop::sample::select(vec![0.0_f32, 0.3, 6.5, 10.0, 30.0]);
    (block_bytes, compression, bits).prop_map(|(block_bytes, compression, filter_bits_per_key)| {
        WriterOptions { block_bytes, compression, filter_bits_per_key }
    })
}

fn read_options() -> impl Strategy<Value = ReadOptions> {
    (any::<bool>(), prop::sample::select(vec![0, 100, 5000, 1 << 20]))
        .prop_map(|(fill_cache, readahead_bytes)| ReadOptions { fill_cache, readahead_bytes })
}

#[derive(Clone, Debug)]
enum Move {
    First,
    Last,
    Seek(Vec<u8>, SeqNo),
    SeekForPrev(Vec<u8>, SeqNo),
    /// To an entry that exists, by its number.
    SeekTo(usize),
    Next(u8),
    Prev(u8),
    /// Along what the cursor gives out, at most so many steps.
    Along {
        backward: bool,
        steps: u8,
    },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        1 => Just(Move::First),
        1 => Just(Move::Last),
        2 => (keys(), 0..45_u64).prop_map(|(key, seqno)| Move::Seek(key, seqno)),
        2 => (keys(), 0..45_u64).prop_map(|(key, seqno)| Move::SeekForPrev(key, seqno)),
        2 => any::<usize>().prop_map(Move::SeekTo),
        4 => (1..60_u8).prop_map(Move::Next),
        4 => (1..60_u8).prop_map(Move::Prev),
        4 => (any::<bool>(), 1..60_u8).prop_map(|(backward, steps)| Move::Along { backward, steps }),
    ];
    prop::collection::vec(one, 1..40)
}

fn apply<C: Cursor>(cursor: &mut C, step: &Move, entries: &[Entry]) -> Result<(), C::Error> {
    match step {
        Move::First => cursor.seek_to_first(),
        Move::Last => cursor.seek_to_last(),
        Move::Seek(key, seqno) => cursor.seek(InternalKey::new(key, *seqno, ValueKind::Value)),
        Move::SeekForPrev(key, seqno) => {
            cursor.seek_for_prev(InternalKey::new(key, *seqno, ValueKind::Value))
        }
        Move::SeekTo(index) => cursor.seek(entries[index % entries.len()].0.as_borrowed()),
        Move::Next(_) => cursor.next(),
        Move::Prev(_) => cursor.prev(),
        Move::Along { backward: false, .. } => cursor.next(),
        Move::Along { backward: true, .. } => cursor.prev(),
    }
}

/// Goes along what `cursor` gives out up to the key that is `steps` away, while `model` takes
/// steps, and says how many.
fn go_along(cursor: &mut impl Cursor, model: &mut VecCursor, backward: bool, steps: u8) -> usize {
    let mut end = model.clone();
    for _ in 0..steps {
        let Ok(()) = if backward { end.prev() } else { end.next() };
    }
    let end = end.valid().then(|| end.key_slice());
    let last = std::cell::RefCell::default();
    let fits = |key: &[u8]| {
        let fits = end.as_ref().is_none_or(|end| if backward { key >= &**end } else { key <= &**end });
        if fits {
            last.replace(key.to_vec());
        }
        fits
    };
    let Some(mut stretch) = cursor.stretch(backward, fits) else { return 0 };
    assert!(cursor.stretch(backward, |_| false).is_none(), "what does not fit is not given out");
    let mut taken = 0;
    while stretch.advance() {
        let before = model.key_slice();
        let Ok(()) = if backward { model.prev() } else { model.next() };
        assert_ne!(model.key_slice(), before, "each step is to another key");
        assert_eq!((stretch.key(), stretch.trailer()), (model.key().user_key, model.key().trailer));
        assert_eq!(stretch.value(), model.value());
        assert_eq!((stretch.key_slice(), stretch.value_slice()), (model.key_slice(), model.value_slice()));
        taken += 1;
    }
    assert!(taken > 0, "a stretch goes somewhere");
    if backward {
        assert_eq!(model.is_first_of_key(), Some(true), "no version of the key comes before");
    }
    assert_eq!(last.into_inner(), stretch.key(), "it ends with the last that fits");
    cursor.resume(stretch);
    taken
}

fn position<C: Cursor>(cursor: &C) -> Option<(Vec<u8>, SeqNo, ValueKind, Vec<u8>)> {
    let key = cursor.key();
    cursor.valid().then(|| (key.user_key.to_vec(), key.seqno(), key.kind(), cursor.value().to_vec()))
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn a_get_finds_the_newest_visible_version(
        entries in entries(),
        options in writer_options(),
        cache_bytes in prop::sample::select(vec![0_u64, 10_000, 1 << 20]),
        probes in prop::collection::vec((keys(), 0..45_u64), 0..30),
    ) {
        let table = table(&entries, &[], &options, cache_bytes);
        let own = entries.iter().map(|(key, _)| (key.user_key.to_vec(), key.seqno() + 1));
        let infinite = entries.iter().map(|(key, _)| (key.user_key.to_vec(), SeqNo::MAX));
        for (key, snapshot) in own.chain(infinite).chain(probes) {
            let expected = model_get(&entries, &key, snapshot);
            let found = table.get(&key, key_hash(&key), snapshot).unwrap();
            prop_assert_eq!(
                found.map(|found| (found.seqno, found.kind, found.value)),
                expected.map(|(k, v)| (k.seqno(), k.kind(), v.clone())),
                "key {:?} at {}", key, snapshot,
            );
        }
        let report = table.verify().unwrap();
        prop_assert_eq!(report.entries, entries.len() as u64);
    }

    #[test]
    fn a_cursor_moves_as_one_over_a_vector_does(
        entries in entries(),
        options in writer_options(),
        reading in read_options(),
        cache_bytes in prop::sample::select(vec![0_u64, 10_000, 1 << 20]),
        moves in moves(),
    ) {
        let table = table(&entries, &[], &options, cache_bytes);
        let mut cursor = table.cursor(reading);
        let mut model = VecCursor::new(entries.clone());
        prop_assert!(!cursor.valid());
        for step in &moves {
            let times = match step {
                Move::Next(times) | Move::Prev(times) => *times,
                Move::Along { .. } => 0,
                _ => 1,
            };
            if let Move::Along { backward, steps } = *step {
                go_along(&mut cursor, &mut model, backward, steps);
                prop_assert_eq!(position(&cursor), position(&model), "after {:?}", step);
            }
            for _ in 0..times {
                apply(&mut cursor, step, &entries).unwrap();
                apply(&mut model, step, &entries).unwrap();
                prop_assert_eq!(position(&cursor), position(&model), "after {:?}", step);
                if cursor.valid() {
                    prop_assert_eq!(cursor.key_slice(), model.key_slice());
                    prop_assert_eq!(cursor.value_slice(), model.value_slice());
                }
            }
        }
    }

    #[test]
    fn the_meta_tells_what_was_added(
        entries in entries(),
        spans in prop::collection::vec((keys(), prop::option::of(keys()), 0..50_u64), 0..6),
        options in writer_options(),
    ) {
        let tombstones: Vec<_> = spans
            .into_iter()
            .map(|(start, end, seqno)| RangeTombstone {
                span: lsm_types::KeySpan { start: start.into(), end: end.map(Slice::from) },
                seqno,
            })
            .filter(|tombstone| !tombstone.span.is_empty())
            .collect();
        let table = table(&entries, &tombstones, &options, 0);
        let meta = table.meta();
        let seqnos = || entries.iter().map(|(k, _)| k.seqno()).chain(tombstones.iter().map(|t| t.seqno));
        prop_assert_eq!(meta.lowest_seqno, seqnos().min().unwrap());
        prop_assert_eq!(meta.highest_seqno, seqnos().max().unwrap());
        prop_assert_eq!(meta.entries, entries.len() as u64);
        let mut user_keys: Vec<_> = entries.iter().map(|(k, _)| k.user_key.clone()).collect();
        user_keys.dedup();
        prop_assert_eq!(meta.user_keys, user_keys.len() as u64);
        let smallest = user_keys.iter().chain(tombstones.iter().map(|t| &t.span.start)).min();
        prop_assert_eq!(Some(&meta.smallest), smallest);
        let mut upper = UpperBound::Included(user_keys.last().unwrap().clone());
        for tombstone in &tombstones {
            upper = upper.max(tombstone.span.end.clone().map_or(UpperBound::Unbounded, UpperBound::Excluded));
        }
        prop_assert_eq!(&meta.upper, &upper);
        let set = lsm_types::RangeTombstoneSet::new(tombstones.iter().cloned());
        prop_assert_eq!(table.range_tombstones(), &set);
        table.verify().unwrap();
        let mut encoded = Vec::new();
        meta.encode(&mut encoded);
        let decoded = lsm_sstable::TableMeta::decode(&mut encoded.as_slice());
        prop_assert_eq!(decoded.as_ref(), Some(meta));
    }
}

#[test]
fn a_table_of_one_number_gives_out_whole_blocks() {
    let entries = sorted((0..2000_u32).map(|number| value(number.to_be_bytes(), 0, [7; 50])).collect());
    let table = table(&entries, &[], &WriterOptions::default(), 1 << 20);
    let (blocks, mut cursor) = (table.meta().blocks as usize, table.cursor(ReadOptions::default()));
    for backward in [false, true] {
        let mut model = VecCursor::new(entries.clone());
        let start = if backward { Move::Last } else { Move::First };
        let step = if backward { Move::Prev(1) } else { Move::Next(1) };
        apply(&mut cursor, &start, &entries).unwrap();
        apply(&mut model, &start, &entries).unwrap();
        let mut along = 0;
        while cursor.valid() {
            along += go_along(&mut cursor, &mut model, backward, u8::MAX);
            assert_eq!(position(&cursor), position(&model));
            apply(&mut cursor, &step, &entries).unwrap();
            apply(&mut model, &step, &entries).unwrap();
        }
        assert!(!model.valid());
        for steps in 16..25 {
            apply(&mut cursor, &start, &entries).unwrap();
            apply(&mut model, &start, &entries).unwrap();
            let taken = go_along(&mut cursor, &mut model, backward, steps);
            assert_eq!(taken, usize::from(steps), "as far as fits");
        }
        assert!(along + 3 * blocks >= entries.len(), "{along} steps along {blocks} blocks");
    }
}

#[test]
fn what_begins_a_block_may_be_an_older_version() {
    let older = (0..1000_u32).map(|number| value(number.to_be_bytes(), 0, [7; 8]));
    let newer = (0..1000_u32).step_by(5).map(|number| value(number.to_be_bytes(), 1, [8; 8]));
    let entries = sorted(older.chain(newer).collect());
    for block_bytes in 90..150 {
        let table = table(&entries, &[], &WriterOptions { block_bytes, ..WriterOptions::default() }, 1 << 20);
        let (mut cursor, mut model) = (table.cursor(ReadOptions::default()), VecCursor::new(entries.clone()));
        apply(&mut cursor, &Move::Last, &entries).unwrap();
        apply(&mut model, &Move::Last, &entries).unwrap();
        while cursor.valid() {
            go_along(&mut cursor, &mut model, true, u8::MAX);
            assert_eq!(position(&cursor), position(&model));
            apply(&mut cursor, &Move::Prev(1), &entries).unwrap();
            apply(&mut model, &Move::Prev(1), &entries).unwrap();
        }
        assert!(!model.valid());
    }
}

#[test]
fn a_key_with_thousands_of_versions_is_found_at_each_of_them() {
    let mut entries: Vec<_> = (0..4000).map(|seqno| value("hot", seqno * 2, seqno.to_le_bytes())).collect();
    entries.push(value("a", 1, ""));
    entries.push(value("z", 1, ""));
    let entries = sorted(entries);
    let table =
        table(&entries, &[], &WriterOptions { block_bytes: 512, ..WriterOptions::default() }, 1 << 20);
    assert!(table.meta().blocks > 50);
    table.verify().unwrap();
    for seqno in 0..8000 {
        let found = table.get(b"hot", key_hash(b"hot"), seqno + 1).unwrap().unwrap();
        assert_eq!(found.seqno, seqno / 2 * 2);
    }
    let stats_before = table.get(b"hot", key_hash(b"hot"), 0).unwrap();
    assert_eq!(stats_before, None, "snapshot 0 sees nothing");
}

#[test]
fn huge_and_empty_values_live_side_by_side() {
    let entries = sorted(vec![
        value("", 5, ""),
        value("a", 5, vec![1; 3 << 20]),
        value("b", 5, ""),
        value(vec![b'k'; lsm_types::MAX_KEY_BYTES], 5, "v"),
    ]);
    for compression in [Compression::None, Compression::Lz4, Compression::Snappy] {
        let options = WriterOptions { compression, ..WriterOptions::default() };
        let table = table(&entries, &[], &options, 1 << 20);
        for (key, value) in &entries {
            let found = table.get(&key.user_key, key_hash(&key.user_key), 6).unwrap().unwrap();
            assert_eq!(&found.value, value);
        }
        table.verify().unwrap();
    }
}
