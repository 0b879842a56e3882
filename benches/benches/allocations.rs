//! Allocations for each insert and each get, counted: owned strings in ordered maps, the
//! memtable with slices, and a whole database. Prints a table; it times nothing.
//!
//! `cargo bench -p lsm-benches --bench allocations`
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up its data has nothing to measure")]

use crossbeam_skiplist::SkipMap;
use lsm_memtable::{IndexKind, Memtable, MemtableOptions};
use lsm_tree::{Database, KeyspaceOptions};
use lsm_types::{InternalKey, SeqNo, ValueKind};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::collections::BTreeMap;
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const VALUE: [u8; 100] = [7; 100];

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Calls `call` for each of `count` keys and prints what each call allocated.
fn count(what: &str, count: u64, mut call: impl FnMut(u64, &[u8])) {
    let region = Region::new(ALLOCATOR);
    (0..count).for_each(|number| call(number, &key(number)));
    let change = region.change();
    let a_call = |total: usize| total as f64 / count as f64;
    println!(
        "{what:<50} {:>8.3} allocations {:>9.1} bytes",
        a_call(change.allocations + change.reallocations),
        a_call(change.bytes_allocated)
    );
}

fn memtable(name: &str, index: IndexKind, entries: u64) {
    let mut options = MemtableOptions::default();
    options.index = index;
    let memtable = Memtable::new(options);
    count(&format!("{name}: insert"), entries, |number, key| {
        memtable.insert(InternalKey::new(key, number, ValueKind::Value), &VALUE);
    });
    count(&format!("{name}: get, borrowed"), entries, |_, key| {
        black_box(memtable.get(key, SeqNo::MAX, |_, _, value| value.as_bytes()[0]));
    });
}

fn main() {
    // Cargo passes `--test` when it only asks whether the bench runs.
    let entries = if std::env::args().any(|argument| argument == "--test") { 1000 } else { 200_000 };
    let mut tree = BTreeMap::new();
    count("owned strings, BTreeMap: insert", entries, |_, key| {
        tree.insert(key.to_vec(), VALUE.to_vec());
    });
    count("owned strings, BTreeMap: get, owned", entries, |_, key| {
        black_box(tree.get(key).cloned());
    });
    let skip = SkipMap::new();
    count("owned strings, SkipMap: insert", entries, |_, key| {
        skip.insert(key.to_vec(), VALUE.to_vec());
    });
    count("owned strings, SkipMap: get, owned", entries, |_, key| {
        black_box(skip.get(key).map(|entry| entry.value().clone()));
    });
    memtable("slices, SkipMap", IndexKind::SkipMap, entries);
    memtable("slices, tree over an arena", IndexKind::Tree, entries);

    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path()).unwrap();
    let keyspace = db.keyspace("data", KeyspaceOptions::default()).unwrap();
    count("database: insert", entries, |_, key| keyspace.insert(key, VALUE).unwrap());
    count("database: get from the memtable", entries, |_, key| {
        assert!(keyspace.get(key).unwrap().is_some());
    });
    keyspace.flush().unwrap();
    db.wait_idle().unwrap();
    // The first pass loads blocks into the cache.
    (0..entries).for_each(|number| assert!(keyspace.get(key(number)).unwrap().is_some()));
    count("database: get from a table, cached", entries, |_, key| {
        assert!(keyspace.get(key).unwrap().is_some());
    });
    let mut cursor = keyspace.cursor();
    cursor.seek_to_first().unwrap();
    count("database: step of a cursor", entries, |_, _| {
        black_box(cursor.value());
        cursor.next().unwrap();
    });
    db.close().unwrap();
}
