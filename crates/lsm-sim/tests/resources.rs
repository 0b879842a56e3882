//! Limits that are kept: memory, processor time when there is nothing to do, bits of
//! filters. Numbers refer to the same list of faults as in `incumbents.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::{Call, HookFs};
use lsm_tree::{Compression, Database, KeyspaceOptions, Options, Profile};
use lsm_vfs::{Fs, MemFs, OsFs};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

fn memory() -> (MemFs, Options) {
    let fs = MemFs::new();
    let mut options = Options::default();
    options.advanced().fs(Arc::new(fs.clone()));
    (fs, options)
}

fn small_tables() -> KeyspaceOptions {
    KeyspaceOptions::default().table_size(32 << 10).level_base_size(128 << 10)
}

const CHILD: &str = "LSM_SIM_MEASURED_CHILD";

/// Not a test of its own: work whose processor time or memory is measured from a
/// process that does nothing else.
#[test]
fn child_that_is_measured() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let dir = tempfile::tempdir().unwrap();
    let number = match what.as_str() {
        "idle" => {
            let database = Options::default().write_buffer_size(64 << 10).open(dir.path()).unwrap();
            let keyspace = database.keyspace("k", small_tables()).unwrap();
            for number in 0..5_000_u32 {
                keyspace.insert(number.to_be_bytes(), [7; 100]).unwrap();
            }
            database.wait_idle().unwrap();
            let before = processor_ticks();
            thread::sleep(Duration::from_millis(700));
            processor_ticks() - before
        }
        "memory" => {
            let database = Options::default().profile(Profile::SmallMemory).open(dir.path()).unwrap();
            let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
            for number in 0..600_000_u64 {
                keyspace.insert(lsm_vfs::mix64(number).to_be_bytes(), [number as u8; 100]).unwrap();
            }
            peak_resident_kib()
        }
        "beside a compaction" => ticks_beside_a_compaction(dir.path()),
        "default memory" => {
            let database = Options::default().open(dir.path()).unwrap();
            let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
            for number in 0..400_000_u64 {
                keyspace.insert(lsm_vfs::mix64(number).to_be_bytes(), [number as u8; 1000]).unwrap();
            }
            peak_resident_kib()
        }
        "old snapshot" => {
            let database = Options::default().cache_size(1 << 20).open(dir.path()).unwrap();
            let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
            keyspace.insert(0_u64.to_be_bytes(), "old").unwrap();
            let snapshot = database.snapshot();
            for round in 0..10_u8 {
                for number in 0..8_000_u64 {
                    keyspace.insert(number.to_be_bytes(), [round; 1000]).unwrap();
                }
                keyspace.flush().unwrap();
            }
            database.wait_idle().unwrap();
            assert_eq!(snapshot.get(&keyspace, 0_u64.to_be_bytes()).unwrap().unwrap(), "old");
            resident_kib("VmRSS:")
        }
        "bulk load of large values" => memory_of_a_bulk_load(dir.path()),
        "bulk load after a failure" => memory_after_a_failed_bulk_load(dir.path()),
        other => panic!("{other}"),
    };
    println!("measured: {number}");
}

fn processor_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn peak_resident_kib() -> u64 {
    resident_kib("VmHWM:")
}

fn resident_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    found.trim().trim_end_matches(" kB").parse().unwrap()
}

const LARGE_VALUE_BYTES: u64 = 8 << 20;

fn memory_of_a_bulk_load(dir: &Path) -> u64 {
    let database = Database::open(dir).unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    let value: Vec<u8> =
        (0..LARGE_VALUE_BYTES / 8).flat_map(|word| lsm_vfs::mix64(word).to_le_bytes()).collect();
    let before = resident_kib("VmRSS:");
    let mut ingestion = keyspace.ingestion().unwrap();
    for number in 0..40_u32 {
        ingestion.insert(number.to_be_bytes(), &value).unwrap();
    }
    ingestion.finish().unwrap();
    peak_resident_kib() - before
}

fn memory_after_a_failed_bulk_load(dir: &Path) -> u64 {
    let database = Database::open(dir).unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    let mut ingestion = keyspace.ingestion().unwrap();
    database.close().unwrap();
    let before = resident_kib("VmRSS:");
    let mut refused = 0;
    for number in 0..100_000_u32 {
        refused += u32::from(ingestion.insert(number.to_be_bytes(), [7; 1000]).is_err());
    }
    assert!(refused > 90_000, "{refused}");
    resident_kib("VmRSS:") - before
}

/// Processor time while one compaction hangs in the file system, level 0 has too many
/// runs, and nobody else can do anything about it.
fn ticks_beside_a_compaction(dir: &Path) -> u64 {
    let hangs = Arc::new(AtomicBool::new(false));
    let arrived = Arc::new(AtomicBool::new(false));
    let (stuck, seen) = (Arc::clone(&hangs), Arc::clone(&arrived));
    let fs = HookFs::new(Arc::new(OsFs), move |call, path| {
        let is_new_table = call == Call::Name && path.extension().is_some_and(|extension| extension == "sst");
        while is_new_table && stuck.load(Ordering::SeqCst) {
            seen.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let mut options = Options::default();
    options.advanced().fs(Arc::new(fs));
    let database = options.open(dir).unwrap();
    let keyspace = database.keyspace("k", small_tables()).unwrap();
    for round in 0..3_u8 {
        for number in 0..500_u32 {
            keyspace.insert(number.to_be_bytes(), [round; 100]).unwrap();
        }
        keyspace.flush().unwrap();
    }
    database.wait_idle().unwrap();
    hangs.store(true, Ordering::SeqCst);
    let (compacting, flushing) = (keyspace.clone(), keyspace.clone());
    let compaction = thread::spawn(move || compacting.compact_range(..));
    while !arrived.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(1));
    }
    keyspace.insert("more", "to do").unwrap();
    let flush = thread::spawn(move || flushing.flush());
    let before = processor_ticks();
    thread::sleep(Duration::from_millis(700));
    let ticks = processor_ticks() - before;
    hangs.store(false, Ordering::SeqCst);
    compaction.join().unwrap().unwrap();
    flush.join().unwrap().unwrap();
    ticks
}

fn measure(what: &str) -> u64 {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["child_that_is_measured", "--exact", "--nocapture"])
        .env(CHILD, what)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let output = String::from_utf8(child.stdout).unwrap();
    let number = output.lines().find_map(|line| line.split("measured: ").nth(1));
    number.unwrap_or_else(|| panic!("{output}")).parse().unwrap()
}

// 10
#[test]
fn an_idle_database_does_not_spin() {
    let ticks = measure("idle");
    assert!(ticks < 20, "an idle database used {ticks} of 70 ticks");
}

// 10
#[test]
fn nobody_spins_beside_a_compaction_that_hangs() {
    let ticks = measure("beside a compaction");
    assert!(ticks < 20, "beside a compaction that hangs {ticks} of 70 ticks were used");
}

// 7
#[test]
fn sixteen_thousand_tables_are_no_burden_on_each_change() {
    // Changes that look at each pair of tables take minutes for this, at 3 s each.
    const TABLES: u64 = 16_000;
    const CHANGES: u64 = 60;
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let (_fs, mut options) = memory();
        options.advanced().log_segment_size(1 << 20);
        let database = options.clone().open("db").unwrap();
        let tiny = KeyspaceOptions::default()
            .table_size(1024)
            .level_base_size(1 << 40)
            .compression(Compression::None);
        let keyspace = database.keyspace("k", tiny).unwrap();
        let value = |number: u64| number.to_le_bytes().repeat(140);
        for number in 0..TABLES {
            keyspace.insert(number.to_be_bytes(), value(number)).unwrap();
        }
        keyspace.flush().unwrap();
        let tables: usize = database.stats().keyspaces[0].levels.iter().map(|level| level.tables).sum();
        assert!(tables as u64 >= TABLES / 2, "the test wants many tables, there are {tables}");
        for number in 0..CHANGES {
            keyspace.insert((TABLES + number).to_be_bytes(), value(number)).unwrap();
            keyspace.flush().unwrap();
            assert_eq!(keyspace.get((number * 200).to_be_bytes()).unwrap().unwrap(), value(number * 200));
        }
        database.wait_idle().unwrap();
        database.close().unwrap();
        drop(keyspace);
        let database = options.open("db").unwrap();
        let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
        assert_eq!(keyspace.iter().count() as u64, TABLES + CHANGES);
        let _ = done.send(());
    });
    let patience = Duration::from_secs(100);
    assert!(
        ended.recv_timeout(patience).is_ok(),
        "{CHANGES} changes at {TABLES} tables did not end, or failed"
    );
}

// 15
#[test]
fn the_write_buffer_is_a_limit_and_not_a_wish() {
    let (_fs, options) = memory();
    let mut options = options.write_buffer_size(256 << 10);
    options.advanced().max_sealed_memtables(2);
    let database = options.open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    for number in 0..40_000_u64 {
        keyspace.insert(lsm_vfs::mix64(number).to_be_bytes(), [1; 100]).unwrap();
        if number % 500 == 0 {
            let stats = &database.stats().keyspaces[0];
            let bytes = stats.active_memtable_bytes + stats.sealed_memtable_bytes;
            assert!(
                bytes < 4 * (256 << 10),
                "{bytes} bytes in {} sealed memtables and the active one, under a limit of 3 x 256 KiB",
                stats.sealed_memtables
            );
        }
    }
}

// 15
#[test]
fn fractions_of_filter_bits_count() {
    let size = |bits| {
        let (fs, options) = memory();
        let database = options.open("db").unwrap();
        let keyspace = database.keyspace("k", KeyspaceOptions::default().filter_bits_per_key(bits)).unwrap();
        for number in 0..20_000_u32 {
            keyspace.insert(number.to_be_bytes(), "").unwrap();
        }
        keyspace.flush().unwrap();
        database.close().unwrap();
        let tables = fs.read_dir(Path::new("db")).unwrap();
        tables.iter().filter(|file| file.name.ends_with(".sst")).map(|file| file.len_bytes).sum::<u64>()
    };
    let (ten, more, eleven) = (size(10.0), size(10.6), size(11.0));
    assert!(ten + 500 < more && more + 500 < eleven, "tables of {ten}, {more} and {eleven} bytes");
}

// 19
#[test]
fn memory_stays_near_what_was_asked_for() {
    // 4 MiB of write buffer and 8 MiB of cache were asked for; 65 MB are written.
    let kib = measure("memory");
    assert!(kib < 80 << 10, "the process reached {} MiB", kib >> 10);
}

// 19
#[test]
fn memory_of_the_defaults_is_what_they_say() {
    // Four memtables of 64 MiB and a cache of 128 MiB may be there; 400 MB are written.
    let kib = measure("default memory");
    assert!(kib < 450 << 10, "the process reached {} MiB", kib >> 10);
}

// 5
#[test]
fn an_old_snapshot_does_not_keep_ten_memtables_in_memory() {
    // Each of ten rounds has 8 MB.
    let kib = measure("old snapshot");
    assert!(kib < 60 << 10, "{} MiB are in memory after ten flushes", kib >> 10);
}

#[test]
fn a_bulk_load_of_large_values_does_not_queue_them_in_memory() {
    let mib = measure("bulk load of large values") >> 10;
    // One each is laid out, waits and is written, with what it is laid out in and compressed to.
    assert!(mib < 12 * (LARGE_VALUE_BYTES >> 20), "{mib} MiB more, with values of 8 MiB");
}

#[test]
fn who_goes_on_with_a_bulk_load_that_failed_does_not_fill_the_memory() {
    let mib = measure("bulk load after a failure") >> 10;
    assert!(mib < 30, "{mib} MiB for entries that were refused");
}

#[test]
fn defaults_open_without_any_option() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path().join("some/new/place")).unwrap();
    database.keyspace("k", KeyspaceOptions::default()).unwrap().insert("a", "1").unwrap();
}
