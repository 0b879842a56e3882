//! Gets without locality keep single entries where blocks do not fit, and every answer
//! stays right: for old snapshots, beside other tables, and when the cache changes its size.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test whose set-up fails should stop there")]

mod common;

use common::{Entry, PATH, entry, value, write};
use lsm_sstable::{Table, TableContext, TableMeta, WriterOptions, key_hash};
use lsm_types::{SeqNo, Slice, ValueKind};
use lsm_vfs::{MemFs, SplitMix64};
use std::sync::Arc;

const COUNT: u64 = 20_000;
/// A fiftieth of the table's blocks.
const CACHE_BYTES: u64 = 50_000;

fn key(i: u64) -> Vec<u8> {
    format!("key{i:08}").into_bytes()
}

fn entries() -> Vec<Entry> {
    (0..COUNT).map(|i| value(key(i), 3, [i as u8; 100])).collect()
}

fn open(entries: &[Entry], cache_bytes: u64) -> (Arc<TableContext>, Table, TableMeta) {
    let fs = Arc::new(MemFs::new());
    let meta = write(&*fs, entries, &[], &WriterOptions::default());
    let context = TableContext::new(fs, cache_bytes, 10);
    let table = Table::open(&context, PATH.into(), 1, &meta).unwrap();
    (context, table, meta)
}

fn get_at(table: &Table, i: u64, snapshot: SeqNo) -> Option<(SeqNo, ValueKind, Slice)> {
    let key = key(i);
    let found = table.get(&key, key_hash(&key), snapshot).unwrap();
    found.map(|found| (found.seqno, found.kind, found.value))
}

fn get(table: &Table, i: u64) -> Slice {
    get_at(table, i, SeqNo::MAX).unwrap().2
}

/// Gets of keys far apart, until the cache is full of what they left.
fn fill(context: &TableContext, table: &Table) {
    let mut random = SplitMix64::new(1);
    for _ in 0..COUNT {
        let i = random.below(COUNT);
        assert_eq!(get(table, i), [i as u8; 100]);
        assert!(context.stats().cached_bytes <= CACHE_BYTES, "{:?}", context.stats());
    }
}

#[test]
fn what_is_asked_for_often_is_read_once_though_its_block_is_not_cached() {
    let (context, table, _) = open(&entries(), CACHE_BYTES);
    fill(&context, &table);
    let stats = context.stats();
    assert!(stats.cached_rows > 20, "{stats:?}");
    assert!(stats.cached_blocks > 3, "rows leave blocks three quarters: {stats:?}");
    // Far apart, so that no block is asked for twice in a row.
    let favourites: Vec<u64> = (0..10).map(|i| i * COUNT / 10).collect();
    for _ in 0..20 {
        favourites.iter().for_each(|&i| assert_eq!(get(&table, i), [i as u8; 100]));
    }
    let before = context.stats();
    for _ in 0..100 {
        favourites.iter().for_each(|&i| assert_eq!(get(&table, i), [i as u8; 100]));
    }
    let after = context.stats();
    assert_eq!(before.blocks_read, after.blocks_read);
    assert_eq!(before.hits + 1000, after.hits);
    assert_eq!(after.pinned_bytes, 0);
}

#[test]
fn neighbours_come_with_their_block() {
    let (context, table, meta) = open(&entries(), CACHE_BYTES);
    fill(&context, &table);
    let before = context.stats().blocks_read;
    for i in 0..COUNT {
        assert_eq!(get(&table, i), [i as u8; 100]);
    }
    let read = context.stats().blocks_read - before;
    assert!(read <= 2 * meta.blocks, "{read} blocks were read for a walk over {} blocks", meta.blocks);
}

#[test]
fn large_entries_are_cached_with_their_blocks() {
    let entries: Vec<Entry> = (0..20).map(|i| value(key(i), 3, [i as u8; 5_000])).collect();
    let (context, table, _) = open(&entries, 30_000);
    for i in (0..20).chain(0..20) {
        assert_eq!(get(&table, i), [i as u8; 5_000]);
    }
    assert_eq!(context.stats().cached_rows, 0);
    let before = context.stats().blocks_read;
    assert_eq!(get(&table, 19), [19; 5_000]);
    assert_eq!(context.stats().blocks_read, before, "the last one is still there");
}

#[test]
fn an_old_snapshot_does_not_see_a_row_that_is_too_new() {
    let mut entries = Vec::new();
    for i in 0..COUNT {
        entries.push(match i % 3 {
            0 => entry(key(i), 9, ValueKind::Tombstone, b""),
            _ => value(key(i), 9, b"new"),
        });
        entries.push(value(key(i), 4, [i as u8; 100]));
    }
    let (context, table, _) = open(&entries, CACHE_BYTES);
    let mut random = SplitMix64::new(2);
    for _ in 0..30_000 {
        // Few enough to be met again as rows.
        let i = random.below(50) * (COUNT / 50);
        let new = match i % 3 {
            0 => (9, ValueKind::Tombstone, Slice::empty()),
            _ => (9, ValueKind::Value, Slice::copy_from(b"new")),
        };
        assert_eq!(get_at(&table, i, 10), Some(new));
        assert_eq!(get_at(&table, i, 9), Some((4, ValueKind::Value, Slice::copy_from(&[i as u8; 100]))));
        assert_eq!(get_at(&table, i, 4), None);
        // Blocks of other keys, so that these do not stay.
        get_at(&table, random.below(COUNT), 10);
    }
    assert!(context.stats().cached_rows > 0);
}

#[test]
fn rows_of_one_table_are_not_those_of_another() {
    let (context, first, meta) = open(&entries(), CACHE_BYTES);
    fill(&context, &first);
    drop(first);
    let others: Vec<Entry> = (0..COUNT).map(|i| value(key(i), 5, [!(i as u8); 100])).collect();
    context.fs().rename(PATH.as_ref(), "old.sst".as_ref()).unwrap();
    let other = write(&**context.fs(), &others, &[], &WriterOptions::default());
    let old = Table::open(&context, "old.sst".into(), 1, &meta).unwrap();
    let new = Table::open(&context, PATH.into(), 1, &other).unwrap();
    let mut random = SplitMix64::new(3);
    for _ in 0..20_000 {
        let i = random.below(200) * (COUNT / 200);
        assert_eq!(get(&new, i), [!(i as u8); 100]);
        assert_eq!(get(&old, i), [i as u8; 100]);
    }
    assert!(context.stats().cached_rows > 0);
}

#[test]
fn a_smaller_cache_keeps_fewer_rows_and_none_when_it_is_empty() {
    let (context, table, _) = open(&entries(), CACHE_BYTES);
    fill(&context, &table);
    context.set_cache_bytes(CACHE_BYTES / 2);
    let stats = context.stats();
    assert!(stats.cached_rows > 0 && stats.cached_bytes <= CACHE_BYTES / 2, "{stats:?}");
    context.set_cache_bytes(0);
    let stats = context.stats();
    assert_eq!((stats.cached_rows, stats.cached_blocks, stats.cached_bytes), (0, 0, 0));
    assert_eq!(get(&table, 7), [7; 100]);
    context.set_cache_bytes(CACHE_BYTES);
    fill(&context, &table);
    assert!(context.stats().cached_rows > 0);
}
