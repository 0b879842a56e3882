//! Opening what was closed cleanly changes nothing until something is to be changed, and
//! then loses nothing, whenever the process or the power goes. And a long log, which two
//! readers share, comes back whole or not at all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use lsm_sim::{Call, HookFs};
use lsm_tree::{Database, Durability, Error, Execution, KeyspaceOptions, Options, RecoveryMode};
use lsm_vfs::{Fs, MemFs, OsFs};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DIR: &str = "db";

fn options(fs: Arc<dyn Fs>, is_threaded: bool) -> Options {
    let mut options = Options::default();
    let advanced = options.advanced().fs(fs).seed(1).log_segment_size(8 << 10);
    if !is_threaded {
        advanced.execution(Execution::Deterministic { seed: 1 });
    }
    options
}

fn open(disk: &MemFs) -> Result<Database, Error> {
    options(Arc::new(disk.clone()), false).open(DIR)
}

/// A disk whose every change is told to `on_change` before it happens.
fn watched(disk: &MemFs, on_change: impl Fn(Call, &Path) + Send + Sync + 'static) -> Arc<dyn Fs> {
    Arc::new(HookFs::new(Arc::new(disk.clone()), move |call, path| {
        // The lock is taken by an open that changes nothing as well.
        if call != Call::Read && path != Path::new("db/LOCK") {
            on_change(call, path);
        }
        Ok(())
    }))
}

/// A database that was closed cleanly, with entries in tables and in the log.
fn closed() -> MemFs {
    let disk = MemFs::new();
    let database = open(&disk).unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    for key in 0..60_u8 {
        keyspace.insert([key], [key; 100]).unwrap();
        if key == 30 {
            keyspace.flush().unwrap();
        }
    }
    database.wait_idle().unwrap();
    database.close().unwrap();
    disk
}

fn contents(disk: &MemFs) -> Vec<(String, Vec<u8>)> {
    let entries = disk.read_dir(Path::new(DIR)).unwrap();
    let read = |name: &str| disk.read_to_vec(&Path::new(DIR).join(name), u64::MAX).unwrap();
    entries.iter().map(|entry| (entry.name.clone(), read(&entry.name))).collect()
}

#[test]
fn who_only_reads_a_closed_database_changes_no_file() {
    for is_threaded in [false, true] {
        let disk = closed();
        let before = contents(&disk);
        // Not even room is needed.
        disk.set_capacity(disk.used_bytes());
        let changes: Arc<Mutex<Vec<String>>> = Arc::default();
        for _ in 0..3 {
            let fs = {
                let changes = Arc::clone(&changes);
                watched(&disk, move |call, path| changes.lock().unwrap().push(format!("{call:?} {path:?}")))
            };
            let database = options(fs, is_threaded).open(DIR).unwrap();
            let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
            assert_eq!(keyspace.len().unwrap(), 60);
            assert_eq!(keyspace.get([7]).unwrap().unwrap(), [7; 100]);
            database.persist(Durability::Sync).unwrap();
            database.wait_idle().unwrap();
            database.close().unwrap();
        }
        assert!(changes.lock().unwrap().is_empty(), "{:?}", changes.lock().unwrap());
        assert!(contents(&disk) == before, "a file has changed");
    }
}

/// A database that was closed cleanly while two runs of the same keys were in level 0, which
/// would be merged at rest.
fn closed_before_it_rested() -> MemFs {
    let disk = MemFs::new();
    let database = open(&disk).unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    for round in 0..2_u8 {
        for key in 0..60_u8 {
            keyspace.insert([key], [round; 100]).unwrap();
        }
        keyspace.flush().unwrap();
    }
    database.close().unwrap();
    disk
}

#[test]
fn who_only_reads_does_not_tidy_what_others_have_left() {
    let disk = closed_before_it_rested();
    let before = contents(&disk);
    let runs = |database: &Database| database.stats().keyspaces[0].levels[0].runs;
    let database = options(Arc::new(disk.clone()), true).open(DIR).unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    assert_eq!(runs(&database), 2);
    for _ in 0..10 {
        assert_eq!(keyspace.len().unwrap(), 60);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(contents(&disk) == before, "a file has changed");
    // Once something is written, rest is as good as ever.
    keyspace.insert([0], "new").unwrap();
    let mut looks = 0;
    while runs(&database) > 1 {
        looks += 1;
        assert!(looks < 500, "what others have left is never tidied");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(keyspace.len().unwrap(), 60);
}

/// What is done first to a database that was opened after a clean close.
type First = fn(&Database) -> Result<(), Error>;

const FIRSTS: [(&str, First); 6] = [
    ("a write that is synced", |database| {
        let keyspace = database.keyspace("k", KeyspaceOptions::default())?;
        keyspace.insert("new", "1")?;
        database.persist(Durability::Sync)
    }),
    ("a new keyspace", |database| {
        let keyspace = database.keyspace("other", KeyspaceOptions::default())?;
        keyspace.insert("new", "1")?;
        database.persist(Durability::Sync)
    }),
    ("a keyspace dropped", |database| {
        database.keyspace("passing", KeyspaceOptions::default())?;
        database.drop_keyspace("passing")
    }),
    ("a flush of what the log held", |database| {
        database.keyspace("k", KeyspaceOptions::default())?.flush()?;
        database.wait_idle()
    }),
    ("a compaction", |database| {
        database.keyspace("k", KeyspaceOptions::default())?.compact_range(..)?;
        database.wait_idle()
    }),
    ("a checkpoint", |database| database.checkpoint("copy")),
];

fn check(disk: &MemFs, is_done: bool, what: &str) {
    let database = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    for key in 0..60_u8 {
        assert_eq!(keyspace.get([key]).unwrap().unwrap(), [key; 100], "{what}");
    }
    if is_done {
        let names = database.keyspace_names();
        let keyspaces = names.iter().map(|name| database.keyspace(name, KeyspaceOptions::default()).unwrap());
        let found = keyspaces.filter(|keyspace| keyspace.get("new").unwrap().is_some()).count();
        assert!(found == 1, "{what}: what was synced is lost");
    }
    database.close().unwrap();
}

#[test]
fn the_first_change_after_a_clean_open_survives_a_crash_at_every_step() {
    for (name, first) in FIRSTS {
        let disk = closed();
        let found: Arc<Mutex<Vec<(String, MemFs)>>> = Arc::default();
        let fs = {
            let (disk, found) = (disk.clone(), Arc::clone(&found));
            watched(&disk.clone(), move |call, path| {
                found.lock().unwrap().push((format!("{call:?} {path:?}"), disk.process_kill()));
            })
        };
        let database = options(fs, false).open(DIR).unwrap();
        first(&database).unwrap();
        let is_synced = name.contains("synced") || name.contains("new");
        let done = disk.process_kill();
        database.close().unwrap();
        for seed in 0..20 {
            check(&done.power_cut(seed), is_synced, &format!("{name}, done, then a power cut"));
        }
        let found = std::mem::take(&mut *found.lock().unwrap());
        assert!(found.len() > 4, "{name} changed nothing");
        for (at, (step, disk)) in found.iter().enumerate() {
            for seed in 0..6 {
                check(
                    &disk.power_cut(seed),
                    false,
                    &format!("{name}: power cut {seed} before {step} ({at})"),
                );
            }
            check(&disk.process_kill(), false, &format!("{name}: killed before {step} ({at})"));
            // Killed, opened, changed again, closed; then the power goes.
            let again = disk.process_kill();
            let database = open(&again).unwrap();
            first(&database)
                .or_else(|error| if name == "a checkpoint" { Ok(()) } else { Err(error) })
                .unwrap();
            let cut_open = again.power_cut(7);
            database.close().unwrap();
            let what = format!("{name}: killed before {step} ({at}), then again");
            check(&cut_open, is_synced, &what);
            check(&again.power_cut(8), is_synced, &what);
        }
    }
}

#[test]
fn a_full_disk_refuses_the_first_write_and_takes_it_when_there_is_room() {
    let disk = closed();
    let database = open(&disk).unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    disk.set_capacity(disk.used_bytes());
    for _ in 0..3 {
        assert!(keyspace.insert("new", "1").unwrap_err().is_disk_full());
        assert_eq!(keyspace.len().unwrap(), 60);
    }
    disk.set_capacity(u64::MAX);
    keyspace.insert("new", "1").unwrap();
    database.persist(Durability::Sync).unwrap();
    drop((keyspace, database));
    check(&disk.power_cut(1), true, "after a full disk");
}

#[test]
fn a_checkpoint_of_a_database_at_rest_is_one() {
    let disk = closed();
    let database = open(&disk).unwrap();
    let before = contents(&disk);
    database.checkpoint("copy").unwrap();
    for copy in [disk.process_kill(), disk.power_cut(3)] {
        let copied = options(Arc::new(copy), false).open("copy").unwrap();
        let keyspace = copied.keyspace("k", KeyspaceOptions::default()).unwrap();
        assert_eq!(keyspace.len().unwrap(), 60);
        keyspace.insert("new", "1").unwrap();
        copied.close().unwrap();
    }
    database.close().unwrap();
    assert!(contents(&disk) == before, "a checkpoint has changed its source");
}

#[test]
fn a_close_whose_mark_was_not_synced_is_not_relied_upon() {
    let disk = closed();
    let found: Arc<Mutex<Vec<MemFs>>> = Arc::default();
    let fs = {
        let (disk, found) = (disk.clone(), Arc::clone(&found));
        watched(&disk.clone(), move |_, _| found.lock().unwrap().push(disk.process_kill()))
    };
    let database = options(fs, false).open(DIR).unwrap();
    database.keyspace("k", KeyspaceOptions::default()).unwrap().insert("new", "1").unwrap();
    found.lock().unwrap().clear();
    database.close().unwrap();
    for killed in found.lock().unwrap().drain(..) {
        let database = open(&killed).unwrap();
        check(&killed.power_cut(3), false, "killed while closing, opened, then a power cut");
        database.keyspace("k", KeyspaceOptions::default()).unwrap().insert("more", "2").unwrap();
        database.persist(Durability::Sync).unwrap();
        for seed in 0..10 {
            check(&killed.power_cut(seed), true, "killed while closing, opened, written, then a power cut");
        }
    }
}

/// Writes more than one reader alone would be given, in records of several keyspaces.
fn fill(database: &Database, entries: u32) {
    let keyspaces = ["a", "b", "c"].map(|name| database.keyspace(name, KeyspaceOptions::default()).unwrap());
    for entry in 0..entries {
        let mut batch = database.batch();
        for keyspace in &keyspaces {
            batch.insert(keyspace, (entry * 7919 % entries).to_be_bytes(), [entry as u8; 60]);
        }
        batch.commit().unwrap();
    }
}

#[test]
fn a_long_log_comes_back_whole_from_two_readers() {
    for write_buffer in [64 << 20, 300 << 10] {
        let disk = MemFs::new();
        let long = |disk: &MemFs| {
            let mut options = options(Arc::new(disk.clone()), true).write_buffer_size(64 << 20);
            options.advanced().log_segment_size(512 << 10);
            options
        };
        let database = long(&disk).open(DIR).unwrap();
        fill(&database, 8_000);
        let killed = disk.process_kill();
        drop(database);
        for round in 0..2 {
            let database = long(&killed).write_buffer_size(write_buffer).open(DIR).unwrap();
            for name in ["a", "b", "c"] {
                let keyspace = database.keyspace(name, KeyspaceOptions::default()).unwrap();
                assert_eq!(keyspace.len().unwrap(), 8_000, "round {round}");
            }
            if round == 0 {
                assert_eq!(database.recovery_report().replayed_batches, 8_000);
            }
            // What was recovered is durable by now.
            let cut = killed.power_cut(5);
            let database = long(&cut).open(DIR).unwrap();
            assert_eq!(database.keyspace("b", KeyspaceOptions::default()).unwrap().len().unwrap(), 8_000);
        }
    }
}

#[test]
fn damage_in_a_long_log_is_reported_before_anything_is_changed() {
    let disk = MemFs::new();
    let mut long = options(Arc::new(disk.clone()), true);
    long.advanced().log_segment_size(4 << 20);
    let database = long.clone().open(DIR).unwrap();
    fill(&database, 8_000);
    database.persist(Durability::Sync).unwrap();
    fill(&database, 10);
    let killed = disk.process_kill();
    drop(database);
    let log = killed.read_dir(Path::new(DIR)).unwrap();
    let log = log.iter().find(|entry| entry.name.ends_with(".log")).unwrap();
    killed.open_write(&Path::new(DIR).join(&log.name)).unwrap().write_all_at(&[0xee], 1 << 20).unwrap();
    let before = contents(&killed);
    let mut on_damaged = options(Arc::new(killed.clone()), true);
    on_damaged.advanced().log_segment_size(4 << 20);
    assert!(matches!(on_damaged.clone().open(DIR), Err(Error::Corruption { .. })));
    assert!(contents(&killed) == before, "a file has changed");
    let salvaged = on_damaged.recovery_mode(RecoveryMode::Salvage).open(DIR).unwrap();
    assert_eq!(salvaged.recovery_report().log_damage_skipped.len(), 1);
}

#[test]
fn a_log_on_disk_comes_back_whatever_room_it_has_reserved() {
    // With and without a thread beside, over reserved room that was never written to.
    for is_threaded in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let mut options = options(Arc::new(OsFs), is_threaded);
        options.advanced().log_segment_size(8 << 20);
        let database = options.clone().open(directory.path()).unwrap();
        let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
        for key in 0..20_000_u32 {
            keyspace.insert(key.to_be_bytes(), [1; 100]).unwrap();
        }
        // As a killed process leaves it.
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let again = options.open(copy.path()).unwrap();
        assert_eq!(again.keyspace("k", KeyspaceOptions::default()).unwrap().len().unwrap(), 20_000);
    }
}
