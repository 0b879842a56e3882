//! What tables share: memory and open files stay within their bounds and are counted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test whose set-up fails should stop there")]

mod common;

use common::{Entry, PATH, UID, value, write};
use lsm_sstable::{
    Admission, Compression, Error, ReadOptions, Table, TableContext, TableWriter, WriterOptions, key_hash,
};
use lsm_types::{Cursor, InternalKey, KeyRange, RangeTombstone, SeqNo, ValueKind};
use lsm_vfs::{MemFs, SplitMix64};
use std::path::Path;
use std::sync::Arc;

fn entries(count: u32) -> Vec<Entry> {
    (0..count).map(|i| value(format!("key{i:08}"), 3, [i as u8; 100])).collect()
}

fn open(count: u32, cache_bytes: u64) -> (Arc<TableContext>, Arc<Table>) {
    let fs = Arc::new(MemFs::new());
    let meta = write(&*fs, &entries(count), &[], &WriterOptions::default());
    let context = TableContext::new(fs, cache_bytes, 10);
    let table = Arc::new(Table::open(&context, PATH.into(), 42, &meta).unwrap());
    (context, table)
}

fn get(table: &Table, i: u64) -> lsm_types::Slice {
    let key = format!("key{i:08}").into_bytes();
    table.get(&key, key_hash(&key), SeqNo::MAX).unwrap().unwrap().value
}

#[test]
fn the_cache_stays_within_its_bound() {
    let (context, table) = open(20_000, 200_000);
    let mut random = SplitMix64::new(1);
    for _ in 0..20_000 {
        get(&table, random.below(20_000));
        assert!(context.stats().cached_bytes <= 200_000);
    }
    let stats = context.stats();
    assert!(stats.hits > 0 && stats.misses > 0 && stats.cached_blocks > 10);
    assert_eq!(stats.misses, stats.blocks_read);
    assert_eq!(stats.pinned_bytes, 0, "nothing is held");
    context.set_cache_bytes(0);
    get(&table, 1);
    assert_eq!(context.stats().cached_blocks, 0);
}

#[test]
fn a_value_pins_its_block_and_the_pin_is_counted() {
    let (context, table) = open(2_000, 0);
    let value = get(&table, 7);
    let pinned = context.stats().pinned_bytes;
    assert!((4000..5000).contains(&pinned), "{pinned} bytes are pinned by one block");
    let detached = value.detach();
    drop(value);
    assert_eq!(context.stats().pinned_bytes, 0);
    assert_eq!(detached, [7; 100]);
}

#[test]
fn a_table_outlives_nothing_but_its_slices() {
    let (context, table) = open(100, 1 << 20);
    let value = get(&table, 9);
    let mut cursor = table.cursor(ReadOptions::default());
    cursor.seek_to_last().unwrap();
    drop(table);
    assert_eq!(cursor.key().user_key, b"key00000099");
    assert_eq!(context.stats().open_files, 1);
    drop(cursor);
    assert_eq!(context.stats().open_files, 0, "the file of a dropped table is closed");
    assert_eq!(value, [9; 100]);
}

#[test]
fn open_files_stay_within_their_bound_and_reopen_by_themselves() {
    let fs = Arc::new(MemFs::new());
    let context = TableContext::new(Arc::<MemFs>::clone(&fs), 0, 3);
    let tables: Vec<_> = (0..12_u64)
        .map(|number| {
            let path = format!("{number}.sst");
            let options = WriterOptions::default();
            let mut writer = TableWriter::create(&*fs, Path::new(&path), number, &options).unwrap();
            writer.add(InternalKey::new(b"k", number, ValueKind::Value), b"v").unwrap();
            let meta = writer.finish(0).unwrap();
            Table::open(&context, path.into(), number, &meta).unwrap()
        })
        .collect();
    for _ in 0..3 {
        for table in &tables {
            let found = table.get(b"k", key_hash(b"k"), SeqNo::MAX).unwrap().unwrap();
            assert_eq!(found.seqno, table.number());
            assert!(context.stats().open_files <= 3);
        }
    }
}

fn read_on_a_thread(table: &Arc<Table>, seed: u64) {
    let mut random = SplitMix64::new(seed);
    for _ in 0..3_000 {
        let i = random.below(5_000);
        assert_eq!(get(table, i), [i as u8; 100]);
    }
    let mut cursor = table.cursor(ReadOptions::default());
    cursor.seek_to_first().unwrap();
    let mut count = 0;
    while cursor.valid() {
        count += 1;
        cursor.next().unwrap();
    }
    assert_eq!(count, 5_000);
}

#[test]
fn readers_on_many_threads_get_right_answers() {
    let (context, table) = open(5_000, 60_000);
    let threads = (0..4).map(|seed| {
        let table = Arc::clone(&table);
        lsm_sync::thread::spawn(move || read_on_a_thread(&table, seed))
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(context.stats().pinned_bytes, 0);
}

#[test]
fn a_large_cache_gives_right_answers_while_it_evicts_shrinks_and_loses_tables() {
    // Large enough for huge pages, and smaller than the two tables together.
    let (context, first) = open(90_000, 16 << 20);
    let path = Path::new("second.sst");
    let mut writer = TableWriter::create(&**context.fs(), path, 9, &WriterOptions::default()).unwrap();
    for (key, value) in entries(90_000) {
        writer.add(key.as_borrowed(), &value).unwrap();
    }
    let meta = writer.finish(0).unwrap();
    let second = Arc::new(Table::open(&context, path.into(), 43, &meta).unwrap());
    let threads = (0..4_u64).map(|seed| {
        let tables = [Arc::clone(&first), Arc::clone(&second)];
        lsm_sync::thread::spawn(move || {
            let mut random = SplitMix64::new(seed);
            let mut held = Vec::new();
            for round in 0..30_000 {
                let i = random.below(90_000);
                let value = get(&tables[random.below(2) as usize], i);
                assert_eq!(value, [i as u8; 100]);
                if round % 100 == 0 {
                    held.push((i, value));
                }
            }
            held.into_iter().for_each(|(i, value)| assert_eq!(value, [i as u8; 100], "what is held stays"));
        })
    });
    let threads: Vec<_> = threads.collect();
    context.set_cache_bytes(4 << 20);
    context.set_cache_bytes(16 << 20);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(first);
    (0..90_000).step_by(7).for_each(|i| assert_eq!(get(&second, i), [i as u8; 100]));
    let stats = context.stats();
    assert!(stats.cached_bytes <= 16 << 20 && stats.cached_blocks > 1000, "{stats:?}");
    assert_eq!(stats.pinned_bytes, 0);
}

#[test]
fn reading_ahead_needs_few_reads_and_short_scans_read_little() {
    let (context, table) = open(20_000, 0);
    let mut cursor = table.cursor(ReadOptions { fill_cache: false, readahead_bytes: 128 << 10 });
    cursor.seek(InternalKey::before_all(b"key00000100")).unwrap();
    for _ in 0..50 {
        cursor.next().unwrap();
    }
    assert!(context.stats().bytes_read < 64 << 10, "{:?}", context.stats());
    while cursor.valid() {
        cursor.next().unwrap();
    }
    let stats = context.stats();
    assert!(stats.bytes_read <= table.meta().data_bytes, "nothing is read twice: {stats:?}");
}

#[test]
fn the_writer_refuses_what_would_not_be_found_again() {
    let fs = MemFs::new();
    let mut writer = TableWriter::create(&fs, Path::new("t"), 1, &WriterOptions::default()).unwrap();
    assert!(writer.is_empty());
    let key = |key: &'static str, seqno| InternalKey::new(key.as_bytes(), seqno, ValueKind::Value);
    writer.add(key("b", 5), b"").unwrap();
    for wrong in [key("a", 9), key("b", 5), key("b", 6), key("", 0)] {
        assert!(matches!(writer.add(wrong, b""), Err(Error::OutOfOrder { .. })), "{wrong:?}");
    }
    let range = InternalKey::new(&b"c"[..], 1, ValueKind::RangeTombstone);
    assert!(matches!(writer.add(range, b""), Err(Error::NotAPointEntry { .. })));
    let long = vec![b'z'; lsm_types::MAX_KEY_BYTES + 1];
    assert!(matches!(writer.add(InternalKey::new(&long, 1, ValueKind::Value), b""), Err(Error::Limit(_))));
    writer.add(key("b", 4), b"").unwrap();
    assert_eq!(writer.finish(0).unwrap().entries, 2, "a refused entry leaves no trace");

    let writer = TableWriter::create(&fs, Path::new("empty"), 1, &WriterOptions::default()).unwrap();
    assert!(matches!(writer.finish(0), Err(Error::Empty { .. })));
    if !Compression::Zstd.is_supported() {
        let options = WriterOptions { compression: Compression::Zstd, ..WriterOptions::default() };
        let refused = TableWriter::create(&fs, Path::new("zstd"), 1, &options);
        assert!(matches!(refused, Err(Error::UnsupportedCompression { .. })));
    }
}

#[test]
fn a_table_of_range_tombstones_alone_works() {
    let tombstones = [
        RangeTombstone { span: ("c".."f").to_span(), seqno: 4 },
        RangeTombstone { span: ("b".."d").to_span(), seqno: 9 },
    ];
    let table = common::table(&[], &tombstones, &WriterOptions::default(), 0);
    assert_eq!(table.meta().span(), ("b".."f").to_span());
    assert_eq!((table.meta().lowest_seqno, table.meta().highest_seqno), (4, 9));
    assert_eq!(table.range_tombstones().newest_covering(b"c", SeqNo::MAX), Some(9));
    assert_eq!(table.get(b"c", key_hash(b"c"), SeqNo::MAX).unwrap(), None);
    let mut cursor = table.cursor(ReadOptions::default());
    cursor.seek_to_first().unwrap();
    assert!(!cursor.valid());
    cursor.seek_for_prev(InternalKey::before_all(b"z")).unwrap();
    assert!(!cursor.valid());
    table.verify().unwrap();
}

#[test]
fn offsets_grow_with_keys() {
    let (_, table) = open(5_000, 0);
    let offsets: Vec<_> =
        (0..5_000).map(|i| table.approximate_offset(format!("key{i:08}").as_bytes())).collect();
    assert!(offsets.is_sorted());
    assert_eq!(table.approximate_offset(b"zzz"), offsets[0] + table.meta().data_bytes);
    let mut text = String::new();
    table.dump(true, &mut text).unwrap();
    assert!(text.contains("b\"key00004999\" @3 Value"), "each entry is shown");
}

#[test]
fn blocks_that_were_kept_while_writing_are_found_by_the_first_readers() {
    for (admission, cache_bytes) in [
        (Admission::Always, 1 << 20),
        (Admission::IfRoom, 1 << 20),
        (Admission::IfRoom, 60_000),
        (Admission::Always, 60_000),
        (Admission::Never, 1 << 20),
    ] {
        let fs = Arc::new(MemFs::new());
        let context = TableContext::new(Arc::<MemFs>::clone(&fs), cache_bytes, 10);
        let mut writer = TableWriter::create(&*fs, Path::new(PATH), UID, &WriterOptions::default()).unwrap();
        writer.keep_blocks(&context, admission);
        for (key, value) in entries(2_000) {
            writer.add(key.as_borrowed(), &value).unwrap();
        }
        let (meta, kept) = writer.finish_with_blocks(0).unwrap();
        assert!(context.stats().cached_bytes <= cache_bytes);
        assert_eq!(context.stats().cached_blocks, kept.len() as u64);
        let expected = match (admission, cache_bytes) {
            (Admission::Never, _) => 0..1,
            // Half of the cache.
            (_, 60_000) => 5..8,
            _ => meta.blocks as usize..meta.blocks as usize + 1,
        };
        assert!(expected.contains(&kept.len()), "{} blocks of {} were kept", kept.len(), meta.blocks);
        let count = kept.len() as u64;
        let table = Table::open(&context, PATH.into(), 1, &meta).unwrap();
        table.adopt(kept);
        for i in 0..2_000 {
            assert_eq!(get(&table, i), [i as u8; 100]);
        }
        let read = context.stats().blocks_read;
        assert!(read + count >= meta.blocks, "{read} blocks were read");
        if count == meta.blocks {
            assert_eq!(read, 0);
        }
    }
}

#[test]
fn blocks_that_were_kept_for_a_table_that_never_comes_leave_the_cache() {
    let fs = Arc::new(MemFs::new());
    let context = TableContext::new(Arc::<MemFs>::clone(&fs), 1 << 20, 10);
    let other = TableContext::new(Arc::<MemFs>::clone(&fs), 1 << 20, 10);
    let mut writer = TableWriter::create(&*fs, Path::new(PATH), UID, &WriterOptions::default()).unwrap();
    writer.keep_blocks(&context, Admission::Always);
    for (key, value) in entries(1_000) {
        writer.add(key.as_borrowed(), &value).unwrap();
    }
    let (meta, kept) = writer.finish_with_blocks(0).unwrap();
    assert!(!kept.is_empty());
    // A table of another cache has no place for them.
    let table = Table::open(&other, PATH.into(), 1, &meta).unwrap();
    table.adopt(kept);
    let stats = context.stats();
    assert_eq!((stats.cached_blocks, stats.cached_bytes, stats.pinned_bytes), (0, 0, 0));
    assert_eq!(get(&table, 7), [7; 100]);
    assert_eq!(other.stats().blocks_read, 1);
}

#[test]
fn blocks_of_closed_tables_make_room_for_others() {
    let fs = Arc::new(MemFs::new());
    let meta = write(&*fs, &entries(2_000), &[], &WriterOptions::default());
    // Room for one table's blocks, not for two.
    let context = TableContext::new(Arc::<MemFs>::clone(&fs), 400_000, 10);
    for round in 0..5 {
        let table = Table::open(&context, PATH.into(), round, &meta).unwrap();
        (0..2_000).for_each(|i| assert_eq!(get(&table, i), [i as u8; 100]));
        let before = context.stats().blocks_read;
        assert_eq!(before, (round + 1) * meta.blocks, "each block of a new table is read once");
        (0..2_000).for_each(|i| assert_eq!(get(&table, i), [i as u8; 100]));
        assert_eq!(context.stats().blocks_read, before, "and found then: what is gone made way");
    }
}
