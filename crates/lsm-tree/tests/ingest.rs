//! Bulk ingestion: what is visible when, against memtables, level 0 and deep tables, and what
//! is left of it after failures and crashes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where things are not as they should be")]

use lsm_sync::atomic::{AtomicU32, Ordering};
use lsm_sync::thread;
use lsm_tree::{
    Compaction, Compression, Database, Durability, Error, Execution, Keyspace, KeyspaceOptions, Options,
};
use lsm_vfs::{Fault, FaultFs, Fs, MemFs};
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "db";

fn options(fs: Arc<dyn Fs>) -> Options {
    let mut options = Options::default();
    options.advanced().fs(fs);
    options
}

fn open(fs: &MemFs) -> Database {
    options(Arc::new(fs.clone())).open(DIR).unwrap()
}

fn small() -> KeyspaceOptions {
    KeyspaceOptions::default().table_size(32 << 10).level_base_size(128 << 10)
}

fn keyspace(db: &Database) -> Keyspace {
    db.keyspace("k", small()).unwrap()
}

fn key(i: u32) -> String {
    format!("key{i:06}")
}

/// Ingests the keys of `range`, each with the value `value`.
fn ingest(keyspace: &Keyspace, range: std::ops::Range<u32>, value: &str) {
    let mut ingestion = keyspace.ingestion().unwrap();
    for i in range {
        ingestion.insert(key(i), value).unwrap();
    }
    ingestion.finish().unwrap();
}

/// How many keys have which value.
fn census(keyspace: &Keyspace) -> Vec<(String, usize)> {
    let mut values: Vec<String> =
        keyspace.iter().map(|item| String::from_utf8(item.unwrap().1.to_vec()).unwrap()).collect();
    values.sort();
    let chunks = values.chunk_by(|a, b| a == b);
    chunks.map(|chunk| (chunk[0].clone(), chunk.len())).collect()
}

fn is(found: &[(String, usize)], expected: &[(&str, usize)]) -> bool {
    found.iter().map(|(value, count)| (value.as_str(), *count)).eq(expected.iter().copied())
}

fn tables(fs: &dyn Fs) -> Vec<String> {
    let names = fs.read_dir(Path::new(DIR)).unwrap().into_iter().map(|file| file.name);
    names.filter(|name| name.ends_with(".sst")).collect()
}

#[test]
fn nothing_is_visible_before_finish_and_everything_after() {
    let fs = MemFs::new();
    let db = open(&fs);
    let keyspace = keyspace(&db);
    let before = db.snapshot();
    let mut ingestion = keyspace.ingestion().unwrap();
    for i in 0..20_000 {
        ingestion.insert(key(i), "new").unwrap();
    }
    assert!(keyspace.is_empty().unwrap());
    let during = db.snapshot();
    ingestion.finish().unwrap();
    assert!(is(&census(&keyspace), &[("new", 20_000)]));
    assert_eq!(keyspace.get(key(777)).unwrap().unwrap(), "new");
    let after = db.snapshot();
    for (snapshot, count) in [(before, 0), (during, 0), (after, 20_000)] {
        assert_eq!(snapshot.len(&keyspace).unwrap(), count);
        assert_eq!(snapshot.get(&keyspace, key(3)).unwrap().is_some(), count > 0);
    }
    let stats = db.stats();
    let levels: Vec<usize> = stats.keyspaces[0].levels.iter().map(|level| level.tables).collect();
    assert!(levels[6] > 1 && levels[..6].iter().all(|&tables| tables == 0), "{levels:?}");
    db.verify().unwrap();
    // Durable without another word: the power goes.
    let db = open(&fs.power_cut(1));
    assert!(is(&census(&db.keyspace("k", small()).unwrap()), &[("new", 20_000)]));
    db.verify().unwrap();
}

#[test]
fn it_wins_over_what_is_older_and_loses_to_what_is_newer_wherever_that_lies() {
    let fs = MemFs::new();
    let db = open(&fs);
    let keyspace = keyspace(&db);
    for i in 0..4000 {
        keyspace.insert(key(i), "deep").unwrap();
    }
    keyspace.compact_range(..).unwrap();
    for i in 1000..4000 {
        keyspace.insert(key(i), "level 0").unwrap();
    }
    keyspace.flush().unwrap();
    for i in 2000..4000 {
        keyspace.insert(key(i), "memtable").unwrap();
    }
    keyspace.remove_range(key(3900)..).unwrap();
    let before = db.snapshot();
    ingest(&keyspace, 500..3950, "ingested");
    let at_finish = db.snapshot();
    for i in 3000..3500 {
        keyspace.insert(key(i), "newer").unwrap();
    }
    keyspace.remove_range(key(3400)..key(3500)).unwrap();
    ingest(&keyspace, 3450..3460, "again");
    let expected = [("again", 10), ("deep", 500), ("ingested", 2950), ("newer", 400)];
    for round in 0..3 {
        assert!(is(&census(&keyspace), &expected), "round {round}: {:?}", census(&keyspace));
        assert_eq!(keyspace.get(key(3459)).unwrap().unwrap(), "again");
        assert_eq!(keyspace.get(key(3460)).unwrap(), None);
        assert_eq!(before.len(&keyspace).unwrap(), 3900);
        assert_eq!(before.get(&keyspace, key(2500)).unwrap().unwrap(), "memtable");
        assert_eq!(at_finish.len(&keyspace).unwrap(), 3950);
        assert_eq!(at_finish.get(&keyspace, key(3459)).unwrap().unwrap(), "ingested");
        match round {
            0 => keyspace.flush().unwrap(),
            _ => keyspace.compact_range(..).unwrap(),
        }
    }
    db.verify().unwrap();
    drop((before, at_finish, keyspace, db));
    let db = open(&fs);
    assert!(is(&census(&db.keyspace("k", small()).unwrap()), &expected));
}

#[test]
fn clear_then_ingest_then_reopen_keeps_every_row() {
    for flushed in [false, true] {
        let fs = MemFs::new();
        let db = open(&fs);
        let keyspace = keyspace(&db);
        for i in 0..1000 {
            keyspace.insert(key(i), "old").unwrap();
        }
        if flushed {
            keyspace.compact_range(..).unwrap();
        }
        keyspace.clear().unwrap();
        ingest(&keyspace, 100..900, "new");
        assert!(is(&census(&keyspace), &[("new", 800)]));
        for power in [false, true] {
            let fs = if power { fs.power_cut(7) } else { fs.process_kill() };
            let db = open(&fs);
            let keyspace = db.keyspace("k", small()).unwrap();
            assert!(is(&census(&keyspace), &[("new", 800)]), "{flushed} {power}");
            keyspace.compact_range(..).unwrap();
            assert!(is(&census(&keyspace), &[("new", 800)]), "{flushed} {power}");
        }
    }
}

#[test]
fn a_key_that_does_not_ascend_is_named_and_costs_nothing_else() {
    let db = open(&MemFs::new());
    let keyspace = keyspace(&db);
    let mut ingestion = keyspace.ingestion().unwrap();
    ingestion.insert("b", "1").unwrap();
    for wrong in ["b", "a", ""] {
        match ingestion.insert(wrong, "2") {
            Err(Error::OutOfOrder { previous, key }) => {
                assert_eq!((&*previous, &*key), (&b"b"[..], wrong.as_bytes()))
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(ingestion.insert("a", "").unwrap_err().to_string().contains("\"b\""));
    assert!(matches!(ingestion.insert(vec![b'c'; 1 << 16], ""), Err(Error::InvalidArgument(_))));
    ingestion.insert("c", "3").unwrap();
    ingestion.finish().unwrap();
    assert!(is(&census(&keyspace), &[("1", 1), ("3", 1)]));
}

#[test]
fn one_that_is_dropped_or_empty_leaves_nothing_behind() {
    let fs = MemFs::new();
    let db = open(&fs);
    let keyspace = keyspace(&db);
    keyspace.ingestion().unwrap().finish().unwrap();
    for count in [0, 10, 50_000] {
        let mut ingestion = keyspace.ingestion().unwrap();
        for i in 0..count {
            ingestion.insert(key(i), "x").unwrap();
        }
        drop(ingestion);
        db.wait_idle().unwrap();
        assert!(keyspace.is_empty().unwrap());
        assert_eq!(tables(&fs), [""; 0], "{count}");
    }
}

#[test]
fn values_of_all_lengths_arrive_though_few_of_the_long_ones_may_wait() {
    let db = open(&MemFs::new());
    let keyspace = keyspace(&db);
    let length = |i: u32| 10_usize << (i * 7 % 19);
    let mut ingestion = keyspace.ingestion().unwrap();
    for i in 0..400 {
        ingestion.insert(key(i), vec![i as u8; length(i)]).unwrap();
    }
    ingestion.finish().unwrap();
    for (i, item) in (0..).zip(keyspace.iter()) {
        let (found, value) = item.unwrap();
        assert_eq!((&*found, value.len()), (key(i).as_bytes(), length(i)));
        assert!(value.iter().all(|&byte| byte == i as u8), "key {i} has another one's value");
    }
    assert_eq!(keyspace.len().unwrap(), 400);
}

#[test]
fn a_kill_or_a_power_cut_before_finish_leaves_nothing() {
    let fs = MemFs::new();
    let db = open(&fs);
    let keyspace = keyspace(&db);
    keyspace.insert("z", "old").unwrap();
    db.persist(Durability::Sync).unwrap();
    let mut ingestion = keyspace.ingestion().unwrap();
    for i in 0..50_000 {
        ingestion.insert(key(i), "x").unwrap();
    }
    for left in [fs.process_kill(), fs.power_cut(3)] {
        let db = open(&left);
        let keyspace = db.keyspace("k", small()).unwrap();
        db.wait_idle().unwrap();
        assert!(is(&census(&keyspace), &[("old", 1)]));
        assert_eq!(tables(&left), [""; 0]);
    }
    ingestion.finish().unwrap();
    assert_eq!(keyspace.len().unwrap(), 50_001);
}

#[test]
fn other_strategies_take_it_as_their_newest_run() {
    let fifo = Compaction::Fifo { max_bytes: 300 << 10, max_age_ms: u64::MAX };
    for (compaction, expected) in [(Compaction::SizeTiered, 6), (fifo, 2)] {
        let fs = MemFs::new();
        let db = open(&fs);
        let options = small().compaction(compaction).compression(Compression::None);
        let keyspace = db.keyspace("k", options.clone()).unwrap();
        for round in 0..6_u32 {
            let mut ingestion = keyspace.ingestion().unwrap();
            for i in round * 1000..(round + 1) * 1000 {
                ingestion.insert(key(i), [b'a' + round as u8; 100]).unwrap();
            }
            ingestion.finish().unwrap();
            db.wait_idle().unwrap();
        }
        assert_eq!(keyspace.len().unwrap(), expected * 1000, "{compaction:?}");
        assert_eq!(keyspace.get(key(5999)).unwrap().unwrap(), [b'f'; 100]);
        assert_eq!(keyspace.get(key(0)).unwrap().is_some(), expected == 6);
        drop((keyspace, db));
        let keyspace = open(&fs).keyspace("k", options).unwrap();
        assert_eq!(keyspace.len().unwrap(), expected * 1000, "{compaction:?}");
    }
}

/// Writes until there is a key "stop"; counts the rounds.
fn write_until_stopped(db: &Database, keyspace: &Keyspace, count: &AtomicU32) -> u32 {
    let mut written = 0_u32;
    while keyspace.get("stop").unwrap().is_none() {
        written += 1;
        count.store(written, Ordering::Relaxed);
        // One key inside of the span is only ever written here, and goes up alone.
        keyspace.insert(key(50) + "x", format!("{written:09}")).unwrap();
        let mut batch = db.batch();
        batch.insert(keyspace, key(50) + "y", format!("{written:09}"));
        batch.insert(keyspace, "b", format!("{written:09}"));
        batch.commit().unwrap();
        if written.is_multiple_of(64) {
            keyspace.remove_range(key(10)..key(20)).unwrap();
        }
    }
    written
}

/// Reads until there is a key "stop": every ingestion whole, and time never goes back.
fn read_until_stopped(db: &Database, keyspace: &Keyspace) {
    let mut last = Vec::new();
    while keyspace.get("stop").unwrap().is_none() {
        let snapshot = db.snapshot();
        let read = || -> Vec<_> { (20..100).map(|i| snapshot.get(keyspace, key(i)).unwrap()).collect() };
        let seen = read();
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "half of an ingestion: {seen:?}");
        assert!(last <= seen, "time went back");
        let inside = snapshot.get(keyspace, key(50) + "y").unwrap();
        assert_eq!(inside, snapshot.get(keyspace, "b").unwrap(), "half of a batch");
        assert_eq!(seen, read(), "a snapshot changed its mind");
        last = seen;
    }
}

#[test]
fn a_writer_of_the_same_keys_beside_it_neither_loses_nor_resurrects_anything() {
    let db = Arc::new(open(&MemFs::new()));
    let keyspace = keyspace(&db);
    let count = Arc::new(AtomicU32::new(0));
    let (own, of, counted) = (Arc::clone(&db), keyspace.clone(), Arc::clone(&count));
    let writer = thread::spawn(move || write_until_stopped(&own, &of, &counted));
    let (own, of) = (Arc::clone(&db), keyspace.clone());
    let reader = thread::spawn(move || read_until_stopped(&own, &of));
    let mut rounds = 0_u32;
    while rounds < 40 || count.load(Ordering::Relaxed) < 400 {
        ingest(&keyspace, 0..100, &format!("{rounds:06}"));
        for i in [30, 99] {
            assert_eq!(keyspace.get(key(i)).unwrap().unwrap(), *format!("{rounds:06}"));
        }
        rounds += 1;
    }
    keyspace.insert("stop", "").unwrap();
    let written = writer.join().unwrap();
    reader.join().unwrap();
    println!("{rounds} ingestions beside {written} rounds of writes");
    for inside in [key(50) + "x", key(50) + "y", "b".to_owned()] {
        assert_eq!(keyspace.get(inside).unwrap().unwrap(), *format!("{written:09}"));
    }
    keyspace.compact_range(..).unwrap();
    assert_eq!(keyspace.get(key(30)).unwrap().unwrap(), *format!("{:06}", rounds - 1));
}

#[test]
fn it_goes_on_beside_compactions_of_the_same_levels() {
    let db = open(&MemFs::new());
    let keyspace = keyspace(&db);
    let of = keyspace.clone();
    let writer = thread::spawn(move || {
        for i in 0..60_000_u32 {
            of.insert(format!("{:06}", i * 7919 % 50_000), [b'w'; 40]).unwrap();
        }
    });
    for round in 0..30_u32 {
        // Gaps between what is written, so that places in deep levels are found and lost.
        let mut ingestion = keyspace.ingestion().unwrap();
        for i in 0..200 {
            ingestion.insert(format!("{:06}+{i:03}", round * 1500), "ingested").unwrap();
        }
        ingestion.finish().unwrap();
    }
    writer.join().unwrap();
    for finished in 0..2 {
        let found = keyspace.iter().filter(|item| item.as_ref().unwrap().1 == "ingested").count();
        assert_eq!(found, 30 * 200);
        assert_eq!(keyspace.len().unwrap(), 30 * 200 + 50_000, "{finished}");
        keyspace.compact_range(..).unwrap();
    }
    db.verify().unwrap();
}

/// Every operation of the disk fails once, in one run after another.
#[test]
fn after_any_fault_the_ingestion_is_there_or_it_is_not() {
    for fault in [Fault::DiskFull, Fault::Error(std::io::ErrorKind::Other)] {
        let mut finished = 0;
        for at in 0..200 {
            let disk = MemFs::new();
            let faults = FaultFs::new(disk.clone());
            let mut options = options(Arc::new(faults.clone()));
            options.advanced().execution(Execution::Deterministic { seed: at });
            let db = options.clone().open(DIR).unwrap();
            let keyspace = db.keyspace("k", small()).unwrap();
            ingest(&keyspace, 0..3000, "old");
            keyspace.insert(key(1), "memtable").unwrap();
            faults.fail_at(faults.operations() + at, fault);
            let outcome = keyspace.ingestion().and_then(|mut ingestion| {
                for i in 0..3000 {
                    ingestion.insert(key(i), "new")?;
                }
                ingestion.finish()
            });
            faults.heal();
            let is_latched = db.stats().read_only_cause.is_some();
            match &outcome {
                Ok(()) => assert!(is(&census(&keyspace), &[("new", 3000)]), "operation {at}"),
                Err(Error::Io(_) | Error::ReadOnly { .. }) => {
                    assert!(is(&census(&keyspace), &[("memtable", 1), ("old", 2999)]), "operation {at}");
                }
                Err(other) => panic!("operation {at}: {other}"),
            }
            finished += u32::from(outcome.is_ok());
            if !is_latched && fault == Fault::DiskFull {
                db.wait_idle().unwrap();
                let named: usize = db.stats().keyspaces[0].levels.iter().map(|level| level.tables).sum();
                assert_eq!(tables(&disk).len(), named, "operation {at} left files behind");
                ingest(&keyspace, 0..3000, "third");
                assert!(is(&census(&keyspace), &[("third", 3000)]), "operation {at}");
            }
            drop((keyspace, db));
            let found = census(&options.open(DIR).unwrap().keyspace("k", small()).unwrap());
            let (old, new) = ([("memtable", 1), ("old", 2999)], [("new", 3000)]);
            let fits = match outcome {
                Ok(()) => is(&found, &new) || is(&found, &[("third", 3000)]),
                Err(_) if is_latched => is(&found, &old) || is(&found, &new),
                Err(_) => is(&found, &old) || is(&found, &[("third", 3000)]),
            };
            assert!(fits, "operation {at}, {outcome:?}: {found:?}");
        }
        assert!(finished > 20, "the faults must end before the operations do: {finished}");
    }
}

#[test]
fn closing_and_dropping_end_it() {
    let fs = MemFs::new();
    let db = open(&fs);
    let keyspace = keyspace(&db);
    let mut ingestion = keyspace.ingestion().unwrap();
    ingestion.insert("a", "1").unwrap();
    db.drop_keyspace("k").unwrap();
    assert!(matches!(ingestion.finish(), Err(Error::InvalidArgument(_))));
    assert!(matches!(keyspace.ingestion(), Err(Error::InvalidArgument(_))));

    let keyspace = db.keyspace("k", small()).unwrap();
    let mut ingestion = keyspace.ingestion().unwrap();
    for i in 0..20_000 {
        ingestion.insert(key(i), "x").unwrap();
    }
    db.close().unwrap();
    let late = (20_000..100_000).find_map(|i| ingestion.insert(key(i), "x").err());
    assert!(matches!(late, Some(Error::Closed)), "{late:?}");
    assert!(matches!(ingestion.finish(), Err(Error::Closed)));
    assert!(matches!(keyspace.ingestion(), Err(Error::Closed)));
    drop(keyspace);
    let db = open(&fs);
    assert!(db.keyspace("k", small()).unwrap().is_empty().unwrap());
    db.wait_idle().unwrap();
    assert_eq!(tables(&fs), [""; 0]);
}

#[test]
fn a_checkpoint_and_a_scan_over_dead_ranges_know_of_it() {
    let fs = MemFs::new();
    let db = open(&fs);
    let keyspace = keyspace(&db);
    for i in 0..200 {
        keyspace.insert(key(i), "x").unwrap();
        keyspace.remove(key(i)).unwrap();
    }
    for _ in 0..3 {
        // The scans remember that nothing is there.
        assert_eq!(keyspace.first_key_value().unwrap(), None);
    }
    ingest(&keyspace, 50..60, "new");
    assert_eq!(keyspace.first_key_value().unwrap().unwrap().0, *key(50));
    assert_eq!(keyspace.len().unwrap(), 10);
    db.checkpoint("copy").unwrap();
    let copy = options(Arc::new(fs)).open("copy").unwrap();
    assert!(is(&census(&copy.keyspace("k", small()).unwrap()), &[("new", 10)]));
    copy.verify().unwrap();
}
