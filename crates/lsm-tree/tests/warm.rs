//! What is read stays cached though flushes and compactions write it anew; what nobody
//! reads stays out of the cache.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test whose set-up fails should stop there")]

use lsm_tree::{Database, Keyspace, KeyspaceOptions, Options};

const COUNT: u32 = 20_000;

fn key(number: u32) -> [u8; 4] {
    // Far apart, so that neighbours in time are none in the order of keys.
    number.wrapping_mul(0x9e37_79b1).to_be_bytes()
}

fn write(keyspace: &Keyspace, mark: u8) {
    for number in 0..COUNT {
        keyspace.insert(key(number), [mark; 100]).unwrap();
    }
    keyspace.flush().unwrap();
}

fn read(keyspace: &Keyspace, mark: u8) {
    for number in 0..COUNT {
        assert_eq!(keyspace.get(key(number)).unwrap().as_deref(), Some(&[mark; 100][..]));
    }
}

fn open(directory: &std::path::Path, cache_bytes: u64) -> (Database, Keyspace) {
    let db = Options::default().cache_size(cache_bytes).open(directory).unwrap();
    let keyspace = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    (db, keyspace)
}

fn misses(db: &Database) -> u64 {
    db.stats().cache.misses
}

#[test]
fn a_compaction_does_not_empty_the_cache_of_what_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (db, keyspace) = open(directory.path(), 32 << 20);
    write(&keyspace, 1);
    keyspace.compact_range(..).unwrap();
    read(&keyspace, 1);
    let before = misses(&db);
    assert!(before > 0, "the first reads found nothing cached");
    for mark in 2..30 {
        // The old blocks go as fast as new ones come, or the cache would be full of them.
        write(&keyspace, mark);
        read(&keyspace, mark);
        keyspace.compact_range(..).unwrap();
        db.wait_idle().unwrap();
        read(&keyspace, mark);
    }
    let missed = misses(&db) - before;
    assert!(missed < before, "{missed} blocks were read again, of {before}");
    assert!(db.stats().cache.bytes <= 32 << 20);
}

#[test]
fn what_nobody_reads_stays_out_of_the_cache() {
    let directory = tempfile::tempdir().unwrap();
    let (db, keyspace) = open(directory.path(), 32 << 20);
    for mark in 0..3 {
        write(&keyspace, mark);
        keyspace.compact_range(..).unwrap();
    }
    assert_eq!(db.stats().cache.blocks, 0);
}

#[test]
fn a_small_cache_stays_small() {
    let directory = tempfile::tempdir().unwrap();
    let (db, keyspace) = open(directory.path(), 100_000);
    for mark in 0..5 {
        write(&keyspace, mark);
        keyspace.compact_range(..).unwrap();
        read(&keyspace, mark);
        assert!(db.stats().cache.bytes <= 100_000, "{:?}", db.stats().cache);
    }
}
