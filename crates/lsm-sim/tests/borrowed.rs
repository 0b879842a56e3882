//! What reads borrow: slices outlive the database that they came from, reads may come
//! within reads and at the end of threads, and idle threads keep nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use lsm_tree::{Compression, Database, Keyspace, KeyspaceOptions, Options, Slice};
use lsm_vfs::{Fs, MemFs, SplitMix64};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;

const KEYS: u64 = 2_000;

fn key(number: u64) -> [u8; 8] {
    lsm_vfs::mix64(number).to_be_bytes()
}

fn value(number: u64, round: u64) -> Vec<u8> {
    vec![(number ^ round) as u8; 20 + (number % 400) as usize]
}

fn open(fs: &MemFs, cache_bytes: u64) -> (Database, Keyspace) {
    let mut options = Options::default().cache_size(cache_bytes).write_buffer_size(64 << 10);
    options.advanced().fs(Arc::new(fs.clone()));
    let database = options.open("db").unwrap();
    let tables = KeyspaceOptions::default().table_size(16 << 10).compression(Compression::None);
    let keyspace = database.keyspace("k", tables).unwrap();
    (database, keyspace)
}

fn write(keyspace: &Keyspace, round: u64) {
    (0..KEYS).for_each(|number| keyspace.insert(key(number), value(number, round)).unwrap());
}

fn check(keyspace: &Keyspace, number: u64, rounds: std::ops::RangeInclusive<u64>) -> Slice {
    let found = keyspace.get(key(number)).unwrap().unwrap();
    assert!(
        rounds.into_iter().any(|round| found == value(number, round)),
        "the value of another key or time"
    );
    found
}

#[test]
fn slices_outlive_database_thread_and_cache() {
    let mut held = Vec::new();
    // Many databases in one thread, with caches of all sizes.
    for (round, cache_bytes) in
        [0, 1, 5_000, 100_000, 16 << 20, u64::MAX].into_iter().cycle().take(18).enumerate()
    {
        let (round, fs) = (round as u64, MemFs::new());
        let (database, keyspace) = open(&fs, cache_bytes);
        write(&keyspace, round);
        keyspace.flush().unwrap();
        let others = (0..3_u64).map(|seed| {
            let keyspace = keyspace.clone();
            thread::spawn(move || {
                let mut random = SplitMix64::new(seed);
                let numbers = (0..500).map(|_| random.below(KEYS));
                numbers.map(|number| (number, check(&keyspace, number, round..=round))).collect::<Vec<_>>()
            })
        });
        let others: Vec<_> = others.collect();
        for thread in others {
            held.extend(thread.join().unwrap().into_iter().map(|(number, slice)| (number, round, slice)));
        }
        if round % 2 == 0 {
            database.close().unwrap();
            assert!(keyspace.get(key(1)).is_err());
        }
        if round % 3 == 2 {
            // Let go on another thread, beside this one that lets go as well.
            let half = held.split_off(held.len() / 2);
            let other = thread::spawn(move || drop(half));
            held.truncate(held.len() / 2);
            other.join().unwrap();
        }
        held.iter().for_each(|(number, round, slice)| assert_eq!(*slice, value(*number, *round)));
    }
    let bytes = held.pop().map(|(number, round, slice)| (slice.clone().into_bytes(), value(number, round)));
    held.into_iter().rev().for_each(|(number, round, slice)| {
        assert_eq!(slice.get_slice(1..).unwrap(), value(number, round)[1..])
    });
    bytes.into_iter().for_each(|(bytes, value)| assert_eq!(bytes, value));
}

#[test]
fn reads_within_reads_and_panics_within_reads() {
    let fs = MemFs::new();
    let (database, keyspace) = open(&fs, 50_000);
    write(&keyspace, 0);
    for round in 1..30 {
        let keys = (0..50).map(|number| {
            check(&keyspace, number, round - 1..=round);
            if number == 20 {
                write(&keyspace, round);
                keyspace.flush().unwrap();
                assert_eq!(keyspace.get(key(7)).unwrap().unwrap(), value(7, round), "what was just written");
            }
            assert!(number < 40 || round % 3 != 0, "as the caller's iterator may");
            key(number)
        });
        let found = catch_unwind(AssertUnwindSafe(|| keyspace.multi_get(keys).unwrap()));
        assert_eq!(found.is_err(), round % 3 == 0);
        for (number, value_then) in found.into_iter().flatten().enumerate() {
            assert_eq!(value_then.unwrap(), value(number as u64, round - 1), "one moment");
        }
        check(&keyspace, 7, round..=round);
    }
    database.close().unwrap();
}

/// Reads once more when its thread ends.
struct Last(Keyspace);

impl Drop for Last {
    fn drop(&mut self) {
        check(&self.0, 3, 0..=9);
    }
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

fn table_files(fs: &MemFs) -> usize {
    let files = fs.read_dir(Path::new("db")).unwrap();
    files.iter().filter(|file| file.name.ends_with(".sst")).count()
}

#[test]
fn idle_threads_keep_no_table_and_no_memtable() {
    let fs = MemFs::new();
    let (database, keyspace) = open(&fs, 50_000);
    write(&keyspace, 0);
    let idle = 70;
    let (have_read, may_end) = (Arc::new(Barrier::new(idle + 1)), Arc::new(Barrier::new(idle + 1)));
    let threads = (0..idle as u64).map(|number| {
        let (keyspace, have_read, may_end) = (keyspace.clone(), Arc::clone(&have_read), Arc::clone(&may_end));
        thread::spawn(move || {
            LAST.with(|last| *last.borrow_mut() = Some(Last(keyspace.clone())));
            check(&keyspace, number, 0..=0);
            check(&keyspace, number, 0..=0);
            have_read.wait();
            may_end.wait();
        })
    });
    let threads: Vec<_> = threads.collect();
    have_read.wait();
    for round in 1..=9 {
        write(&keyspace, round);
        keyspace.flush().unwrap();
    }
    keyspace.compact_range(..).unwrap();
    database.wait_idle().unwrap();
    let stats = database.stats();
    let counted: usize = stats.keyspaces[0].levels.iter().map(|level| level.tables).sum();
    assert_eq!(table_files(&fs), counted, "an idle thread keeps an obsolete table");
    may_end.wait();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    check(&keyspace, 1, 9..=9);
    database.close().unwrap();
}

#[test]
fn values_larger_than_the_cache_and_caches_of_a_byte() {
    for cache_bytes in [0, 1, 143, 5_000, 300_000] {
        let fs = MemFs::new();
        let (database, keyspace) = open(&fs, cache_bytes);
        let large = |number: u64| vec![number as u8; 1 + (number as usize % 9) * 70_000];
        (0..40).for_each(|number| keyspace.insert(key(number), large(number)).unwrap());
        keyspace.flush().unwrap();
        database.wait_idle().unwrap();
        let threads = (0..4_u64).map(|seed| {
            let keyspace = keyspace.clone();
            thread::spawn(move || {
                let mut random = SplitMix64::new(seed);
                for _ in 0..300 {
                    let number = random.below(40);
                    assert_eq!(keyspace.get(key(number)).unwrap().unwrap(), large(number));
                }
            })
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        let cached = database.stats().cache.bytes;
        assert!(cached <= cache_bytes, "{cached} bytes in a cache of {cache_bytes}");
        database.close().unwrap();
    }
}
