//! What a killed process or a failed removal leaves in the directory does not get into the
//! way of who comes after: half a manifest, a damaged log that was salvaged, segments whose
//! removal failed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where things are not as they should be")]

use lsm_sim::sim::SimClock;
use lsm_sim::{Call, HookFs};
use lsm_tree::{Database, Durability, Error, Execution, KeyspaceOptions, Options, RecoveryMode};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const HALF_MANIFEST: &str = "db/MANIFEST.new";

fn options(fs: Arc<dyn Fs>, mode: RecoveryMode) -> Options {
    let mut options = Options::default().recovery_mode(mode);
    let advanced = options.advanced().fs(fs).seed(1).log_segment_size(4096);
    advanced.clock(Arc::new(SimClock::default())).execution(Execution::Deterministic { seed: 1 });
    options
}

fn open(disk: &MemFs, mode: RecoveryMode) -> Result<Database, Error> {
    options(Arc::new(disk.clone()), mode).open("db")
}

#[test]
fn half_a_manifest_is_never_removed_while_the_next_one_is_written() {
    let disk = MemFs::new();
    drop(open(&disk, RecoveryMode::TornTail).unwrap());
    disk.create_new(Path::new(HALF_MANIFEST)).unwrap();
    // The removal of the old file under this name, if there is one in the background, is
    // held back until the new file is about to get its name; and this until the other is over.
    let (renaming, removed) = (AtomicBool::new(false), AtomicBool::new(false));
    let main = std::thread::current().id();
    let patiently = |flag: &AtomicBool| {
        let begun = Instant::now();
        while !flag.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_millis(300) {
            std::thread::yield_now();
        }
    };
    let fs = HookFs::new(Arc::new(disk), move |call, path| {
        let here = std::thread::current().id() == main;
        if call == Call::Name && path == Path::new("db/MANIFEST") && here {
            renaming.store(true, Ordering::SeqCst);
            patiently(&removed);
        } else if call == Call::Name && path == Path::new(HALF_MANIFEST) && !here {
            patiently(&renaming);
        } else if call == Call::Name && !here {
            removed.store(true, Ordering::SeqCst);
        }
        Ok(())
    });
    let mut options = Options::default();
    options.advanced().fs(Arc::new(fs)).seed(1);
    let database = options.open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    keyspace.insert("a", "b").unwrap();
}

#[test]
fn salvage_goes_on_where_only_half_a_manifest_was_written() {
    for mode in [RecoveryMode::Strict, RecoveryMode::TornTail, RecoveryMode::Salvage] {
        let disk = MemFs::new();
        disk.create_dir_all(Path::new("db")).unwrap();
        disk.create_new(Path::new(HALF_MANIFEST)).unwrap();
        drop(open(&disk, mode).unwrap_or_else(|error| panic!("{mode:?}: {error}")));
        drop(open(&disk, RecoveryMode::TornTail).unwrap());
    }
}

#[test]
fn once_salvaged_a_database_opens_in_every_mode() {
    for keyspaces in [1, 3] {
        let disk = MemFs::new();
        let database = open(&disk, RecoveryMode::TornTail).unwrap();
        for keyspace in 0..keyspaces {
            let keyspace = database.keyspace(&format!("k{keyspace}"), KeyspaceOptions::default()).unwrap();
            for key in 0..20_u8 {
                keyspace.insert([key], [key; 40]).unwrap();
            }
        }
        database.persist(Durability::Sync).unwrap();
        drop(database);
        let log = disk.read_dir(Path::new("db")).unwrap();
        let log = log.iter().find(|entry| entry.name.ends_with(".log")).unwrap();
        let file = disk.open_write(&Path::new("db").join(&log.name)).unwrap();
        file.write_all_at(&[0xee], 200).unwrap();
        assert!(matches!(open(&disk, RecoveryMode::TornTail), Err(Error::Corruption { .. })));
        // Opened and closed, and nothing waited for.
        let salvaged = open(&disk, RecoveryMode::Salvage).unwrap();
        assert!(!salvaged.recovery_report().log_damage_skipped.is_empty());
        salvaged.close().unwrap();
        let database = open(&disk, RecoveryMode::Strict).unwrap();
        let keyspace = database.keyspace("k0", KeyspaceOptions::default()).unwrap();
        assert_eq!(keyspace.len().unwrap(), 19, "all but the damaged record");
    }
}

#[test]
fn segments_whose_removal_failed_are_removed_later_and_do_not_spoil_checkpoints() {
    let fs = MemFs::new();
    let failing = Arc::new(Mutex::new(None));
    let hooked = {
        let (fs, failing) = (fs.clone(), Arc::clone(&failing));
        // The sync of the directory after the first removal of a segment fails.
        HookFs::new(Arc::new(fs), move |call, path| {
            let mut failing = failing.lock().unwrap();
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            match (*failing, call) {
                (Some(false), Call::Name) if is_log => *failing = Some(true),
                (Some(true), Call::SyncDir) => {
                    *failing = None;
                    return Err(std::io::Error::other("the directory cannot be synced"));
                }
                _ => {}
            }
            Ok(())
        })
    };
    let database = options(Arc::new(hooked), RecoveryMode::TornTail).open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    for key in 0..200_u8 {
        keyspace.insert([key], [key; 100]).unwrap();
    }
    *failing.lock().unwrap() = Some(false);
    keyspace.flush().unwrap();
    database.wait_idle().unwrap();
    assert!(failing.lock().unwrap().is_none(), "no removal failed");
    let first = database.checkpoint("copy1");
    database.wait_idle().unwrap();
    database.checkpoint("copy2").unwrap_or_else(|error| panic!("{error}, and before: {first:?}"));
    let logs = fs.read_dir(Path::new("db")).unwrap();
    let logs = logs.iter().filter(|entry| entry.name.ends_with(".log") && entry.len_bytes > 0).count();
    assert!(logs <= 2, "{logs} segments");
}

#[test]
fn a_kill_while_closing_and_a_power_cut_after_the_next_close_lose_no_mark() {
    let disk = MemFs::new();
    let killed: Arc<Mutex<Vec<MemFs>>> = Arc::default();
    let fs = {
        let (disk, killed) = (disk.clone(), Arc::clone(&killed));
        HookFs::new(Arc::new(disk.clone()), move |call, _| {
            if call != Call::Read {
                killed.lock().unwrap().push(disk.process_kill());
            }
            Ok(())
        })
    };
    let database = options(Arc::new(fs), RecoveryMode::TornTail).open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    keyspace.insert("a", "b").unwrap();
    killed.lock().unwrap().clear();
    database.close().unwrap();
    let killed = std::mem::take(&mut *killed.lock().unwrap());
    assert!(killed.len() > 4, "closing wrote nothing");
    for (at, disk) in killed.into_iter().enumerate() {
        open(&disk, RecoveryMode::TornTail).unwrap().close().unwrap();
        for seed in 0..24 {
            let opened = open(&disk.power_cut(seed), RecoveryMode::TornTail);
            let database = opened.unwrap_or_else(|error| panic!("killed before operation {at}: {error}"));
            let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
            assert_eq!(keyspace.len().unwrap(), 1);
        }
    }
}
