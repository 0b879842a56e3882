//! Faults of today's engines, each reproduced there and none of them welcome here.
//! What concerns speed alone is measured in the benches instead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::{Call, HookFs};
use lsm_tree::{
    Clock, Compaction, Compression, Durability, Error, Execution, KeyspaceOptions, Leveled, Options,
    RecoveryMode, SeqNo, SystemClock, TreeOptions,
};
use lsm_vfs::{Fs, MemFs, OsFs};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// Longer than anything takes that does not wait for the disk.
const PATIENCE: Duration = Duration::from_secs(10);

fn on(fs: Arc<dyn Fs>) -> Options {
    let mut options = Options::default();
    options.advanced().fs(fs);
    options
}

fn memory() -> (MemFs, Options) {
    let fs = MemFs::new();
    (fs.clone(), on(Arc::new(fs)))
}

fn small_tables() -> KeyspaceOptions {
    KeyspaceOptions::default().table_size(32 << 10).level_base_size(128 << 10)
}

fn table_files(fs: &dyn Fs) -> (usize, u64) {
    let tables = fs.read_dir(Path::new("db")).unwrap();
    let tables = tables.iter().filter(|file| file.name.ends_with(".sst"));
    tables.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.len_bytes))
}

/// A door that operations on some files have to pass, and that can be shut.
#[derive(Debug, Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicU64,
}

impl Gate {
    fn pass(&self) {
        let mut is_shut = self.is_shut.lock().unwrap();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *is_shut {
            is_shut = self.opened.wait(is_shut).unwrap();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn shut(&self) {
        *self.is_shut.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.is_shut.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn wait_for_somebody(&self) {
        while self.waiting.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A memory file system whose syncs of files that contain `name` pass the gate.
fn gated(name: &'static str) -> (Arc<Gate>, Options) {
    let gate = Arc::new(Gate::default());
    let door = Arc::clone(&gate);
    let fs = HookFs::new(Arc::new(MemFs::new()), move |call, path| {
        let is_sync = matches!(call, Call::Sync | Call::SyncDir);
        if is_sync && path.to_string_lossy().contains(name) {
            door.pass();
        }
        Ok(())
    });
    (gate, on(Arc::new(fs)))
}

/// Runs `work` in a thread; whether it ended within the patience.
fn ends(work: impl FnOnce() + Send + 'static) -> bool {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    ended.recv_timeout(PATIENCE).is_ok()
}

// 1
#[test]
fn a_tree_with_300_overlapping_runs_opens_again() {
    let fs = MemFs::new();
    let open = || {
        let mut options = TreeOptions::default();
        options.advanced().fs(Arc::new(fs.clone()));
        options.open("db").unwrap()
    };
    let tree = open();
    for round in 0..300_u64 {
        tree.insert("same", round.to_le_bytes(), round * 2).unwrap();
        tree.insert(format!("own-{round:03}"), "x", round * 2 + 1).unwrap();
        tree.flush(0).unwrap();
    }
    assert_eq!(tree.level_table_counts()[0], 300);
    drop(tree);
    let tree = open();
    assert_eq!(tree.table_count(), 300);
    assert_eq!(tree.len(SeqNo::MAX).unwrap(), 301);
    assert_eq!(tree.get("same", 21).unwrap().unwrap(), 10_u64.to_le_bytes());
    tree.major_compact(600).unwrap();
    assert_eq!(tree.len(SeqNo::MAX).unwrap(), 301);
    assert_eq!(tree.get("same", SeqNo::MAX).unwrap().unwrap(), 299_u64.to_le_bytes());
}

// 2
#[test]
fn what_is_written_after_clear_is_there_after_reopening() {
    let (_fs, options) = memory();
    for flushed in [false, true] {
        let database = options.clone().open("db").unwrap();
        let keyspace = database.keyspace("k", small_tables()).unwrap();
        keyspace.insert("before", "x").unwrap();
        keyspace.clear().unwrap();
        for number in 0..1000 {
            keyspace.insert(format!("{number:04}"), "x").unwrap();
        }
        if flushed {
            keyspace.flush().unwrap();
        }
        drop((keyspace, database));
        let database = options.clone().open("db").unwrap();
        let keyspace = database.keyspace("k", small_tables()).unwrap();
        assert_eq!(keyspace.len().unwrap(), 1000, "flushed: {flushed}");
        assert_eq!(keyspace.get("before").unwrap(), None);
    }
}

// 3 and 4: with more threads and for longer in `concurrent.rs`.
#[test]
fn snapshots_and_gets_during_flushes_are_whole() {
    let (_fs, options) = memory();
    let database = options.open("db").unwrap();
    let keyspace = database.keyspace("k", small_tables()).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0_u64.. {
                let mut batch = database.batch();
                batch.insert(&keyspace, "a", number.to_be_bytes());
                batch.insert(&keyspace, "z", number.to_be_bytes());
                batch.commit().unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                keyspace.flush().unwrap();
            }
        });
        for _ in 0..3_000 {
            let snapshot = database.snapshot();
            let (a, z) = (snapshot.get(&keyspace, "a").unwrap(), snapshot.get(&keyspace, "z").unwrap());
            assert_eq!(a, z, "a snapshot taken during a flush is torn");
            assert_eq!(a, snapshot.get(&keyspace, "a").unwrap(), "a snapshot is not repeatable");
            let first = keyspace.get("a").unwrap();
            let second = keyspace.get("z").unwrap();
            assert!(first <= second, "a plain get saw half a batch");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

// 5
#[test]
fn ten_flushes_under_an_old_snapshot_do_not_pin_ten_memtables() {
    let (_fs, options) = memory();
    let database = options.open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    keyspace.insert("k", "old").unwrap();
    let snapshot = database.snapshot();
    for round in 0..10 {
        for number in 0..200 {
            keyspace.insert(format!("{number}"), [round; 100]).unwrap();
        }
        keyspace.insert("k", [round]).unwrap();
        keyspace.flush().unwrap();
    }
    database.wait_idle().unwrap();
    let stats = database.stats();
    let keyspace_stats = &stats.keyspaces[0];
    assert_eq!(keyspace_stats.sealed_memtables, 0);
    assert!(
        keyspace_stats.old_versions <= 1,
        "{} versions are kept for one snapshot",
        keyspace_stats.old_versions
    );
    assert_eq!(snapshot.get(&keyspace, "k").unwrap().unwrap(), "old");
    assert_eq!(snapshot.range(&keyspace, ..).count(), 1);
    drop(snapshot);
    database.wait_idle().unwrap();
    assert_eq!(database.stats().keyspaces[0].old_versions, 0, "versions stay after the last snapshot");
}

// 6
#[test]
fn a_get_does_not_wait_for_a_manifest_sync() {
    let (gate, options) = gated("MANIFEST");
    let database = options.open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    keyspace.insert("k", "v").unwrap();
    gate.shut();
    let flushing = keyspace.clone();
    let flush = thread::spawn(move || flushing.flush());
    gate.wait_for_somebody();
    let (reading, all) = (keyspace.clone(), database.clone());
    let reads_end = ends(move || {
        assert_eq!(reading.get("k").unwrap().unwrap(), "v");
        assert_eq!(reading.iter().count(), 1);
        assert_eq!(all.snapshot().get(&reading, "k").unwrap().unwrap(), "v");
        reading.insert("k2", "v").unwrap();
    });
    gate.open();
    assert!(reads_end, "a read or a buffered write waited for the manifest to be synced");
    flush.join().unwrap().unwrap();
}

// 6: whichever sync hangs, of a table, of names, of the log or of the manifest.
#[test]
fn reads_wait_for_no_sync_at_all() {
    for name in ["", ".sst", ".log", "MANIFEST"] {
        let (gate, options) = gated(name);
        let database = options.open("db").unwrap();
        let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
        keyspace.insert("a", "1").unwrap();
        keyspace.flush().unwrap();
        keyspace.insert("b", "2").unwrap();
        let snapshot = database.snapshot();
        gate.shut();
        let (flushing, syncing) = (keyspace.clone(), database.clone());
        let flush = thread::spawn(move || flushing.flush());
        let sync = thread::spawn(move || syncing.persist(Durability::Sync));
        gate.wait_for_somebody();
        let (reading, all) = (keyspace.clone(), database.clone());
        let reads_end = ends(move || {
            assert_eq!((reading.get("a").unwrap().unwrap(), reading.iter().rev().count()), ("1".into(), 2));
            assert_eq!(snapshot.get(&reading, "b").unwrap().unwrap(), "2");
            assert_eq!(all.snapshot().range(&reading, "a"..).count(), 2);
        });
        gate.open();
        assert!(reads_end, "a read waited for a sync of {name:?}");
        flush.join().unwrap().unwrap();
        sync.join().unwrap().unwrap();
    }
}

// 8
#[test]
fn clear_gives_the_space_back_without_reopening() {
    let (fs, options) = memory();
    let database = options.write_buffer_size(64 << 10).open("db").unwrap();
    let keyspace = database.keyspace("k", small_tables().compression(Compression::None)).unwrap();
    for number in 0..5_000_u32 {
        keyspace.insert(number.to_be_bytes(), [7; 200]).unwrap();
    }
    keyspace.flush().unwrap();
    database.wait_idle().unwrap();
    assert!(table_files(&fs).1 > 1_000_000);
    keyspace.clear().unwrap();
    database.wait_idle().unwrap();
    keyspace.flush().unwrap();
    database.wait_idle().unwrap();
    let (count, bytes) = table_files(&fs);
    assert!(bytes < 10_000, "after clear {count} tables with {bytes} bytes are left");
    drop(database);
}

// 8
#[test]
fn drop_keyspace_gives_the_space_back_without_reopening() {
    let (fs, options) = memory();
    let database = options.write_buffer_size(64 << 10).open("db").unwrap();
    let keyspace = database.keyspace("k", small_tables()).unwrap();
    for number in 0..5_000_u32 {
        keyspace.insert(number.to_be_bytes(), [7; 200]).unwrap();
    }
    keyspace.flush().unwrap();
    database.drop_keyspace("k").unwrap();
    drop(keyspace);
    database.wait_idle().unwrap();
    assert_eq!(table_files(&fs).0, 0, "tables of a dropped keyspace are left");
}

// 9
#[test]
fn a_read_below_the_watermark_is_refused_and_does_not_panic() {
    let mut options = TreeOptions::default();
    options.advanced().fs(Arc::new(MemFs::new()));
    let tree = options.open("db").unwrap();
    for seqno in 0..20 {
        tree.insert("", seqno.to_string(), seqno).unwrap();
    }
    tree.flush(10).unwrap();
    tree.major_compact(15).unwrap();
    assert!(matches!(tree.version_for_snapshot(3), Err(Error::SnapshotTooOld { seqno: 3 })));
    assert!(matches!(tree.get("", 3), Err(Error::SnapshotTooOld { .. })));
    let mut items = tree.range(.., 3);
    assert!(matches!(items.next(), Some(Err(Error::SnapshotTooOld { .. }))));
    assert!(items.next().is_none());
    assert_eq!(tree.get("", 15).unwrap().unwrap(), "14");
    assert_eq!(tree.get("", SeqNo::MAX).unwrap().unwrap(), "19");
    tree.compact(&Leveled::default(), SeqNo::MAX).unwrap();
    assert_eq!(tree.get("", SeqNo::MAX).unwrap().unwrap(), "19");
}

// 11
#[test]
fn a_buffered_write_does_not_wait_for_the_sync_of_another_one() {
    let (gate, options) = gated(".log");
    let database = options.open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    gate.shut();
    let (syncing, writing) = (database.clone(), keyspace.clone());
    let sync = thread::spawn(move || {
        let mut batch = syncing.batch().durability(Durability::Sync);
        batch.insert(&writing, "durable", "v");
        batch.commit()
    });
    gate.wait_for_somebody();
    let writing = keyspace.clone();
    let ended = ends(move || {
        for number in 0..100_u32 {
            writing.insert(number.to_be_bytes(), "v").unwrap();
        }
        assert_eq!(writing.get("durable").unwrap().unwrap(), "v", "published before its sync returns");
    });
    gate.open();
    assert!(ended, "buffered writes waited for somebody else's sync");
    sync.join().unwrap().unwrap();
}

// 11
#[test]
fn sync_writes_that_wait_together_share_their_syncs() {
    let syncs = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&syncs);
    let fs = HookFs::new(Arc::new(MemFs::new()), move |call, path| {
        if call == Call::Sync && path.to_string_lossy().ends_with(".log") {
            count.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    });
    let database = on(Arc::new(fs)).durability(Durability::Sync).open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    syncs.store(0, Ordering::Relaxed);
    thread::scope(|scope| {
        for writer in 0..8_u8 {
            let keyspace = &keyspace;
            scope.spawn(move || {
                for number in 0..50_u8 {
                    keyspace.insert([writer, number], "v").unwrap();
                }
            });
        }
    });
    let syncs = syncs.load(Ordering::Relaxed);
    assert!(syncs < 250, "400 sync writes of eight threads took {syncs} syncs");
}

// 12 and 13
#[test]
fn a_damaged_record_in_the_middle_of_the_log_is_never_skipped_in_silence() {
    let fs = MemFs::new();
    let options = |mode| on(Arc::new(fs.clone())).recovery_mode(mode);
    let database = options(RecoveryMode::TornTail).open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    for number in 0..100_u8 {
        keyspace.insert([number], [number; 50]).unwrap();
    }
    database.close().unwrap();
    drop(keyspace);
    let log = fs.read_dir(Path::new("db")).unwrap();
    let log = log.iter().rfind(|file| file.name.ends_with(".log")).unwrap();
    let file = fs.open_write(&Path::new("db").join(&log.name)).unwrap();
    let whole = fs.read_to_vec(&Path::new("db").join(&log.name), 1 << 30).unwrap();
    let at = whole.windows(50).position(|window| window == [50; 50]).unwrap();
    file.write_all_at(&[0xee; 10], at as u64).unwrap();
    for mode in [RecoveryMode::Strict, RecoveryMode::TornTail] {
        let opened = options(mode).open("db");
        let Err(Error::Corruption { file, offset, .. }) = &opened else { panic!("{mode:?}: {opened:?}") };
        assert!(file.ends_with(&log.name));
        assert!(offset.abs_diff(at as u64) < 200, "the damage is at {at}, the error says {offset}");
    }
    let database = options(RecoveryMode::Salvage).open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    assert!(keyspace.len().unwrap() >= 50, "salvage was asked for and gave up too early");
}

// 14
#[test]
fn a_flush_takes_at_most_four_syncs() {
    let syncs = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&syncs);
    let fs = HookFs::new(Arc::new(MemFs::new()), move |call, path| {
        if matches!(call, Call::Sync | Call::SyncDir) {
            list.lock().unwrap().push(format!("{call:?} {}", path.display()));
        }
        Ok(())
    });
    let mut options = on(Arc::new(fs));
    options.advanced().execution(Execution::Deterministic { seed: 1 });
    let database = options.open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    // The first flush may have to create things.
    for round in 0..3 {
        keyspace.insert("k", "v").unwrap();
        database.wait_idle().unwrap();
        syncs.lock().unwrap().clear();
        keyspace.flush().unwrap();
        let syncs = syncs.lock().unwrap();
        // The table, the directory, the log below it, the manifest.
        assert!(round == 0 || syncs.len() <= 4, "a flush took {} syncs: {syncs:?}", syncs.len());
    }
}

/// A clock that notes how long it was asked to sleep.
#[derive(Debug, Default)]
struct NotingClock {
    real: SystemClock,
    longest_ns: AtomicU64,
}

impl Clock for NotingClock {
    fn unix_ms(&self) -> u64 {
        self.real.unix_ms()
    }
    fn monotonic_ns(&self) -> u64 {
        self.real.monotonic_ns()
    }
    fn sleep(&self, duration: Duration) {
        self.longest_ns.fetch_max(duration.as_nanos() as u64, Ordering::Relaxed);
        self.real.sleep(duration);
    }
}

// 16
#[test]
fn writers_are_slowed_in_small_steps() {
    let clock = Arc::new(NotingClock::default());
    let (_fs, options) = memory();
    let mut options = options.write_buffer_size(16 << 10);
    options.advanced().clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let database = options.open("db").unwrap();
    let keyspace = database.keyspace("k", small_tables()).unwrap();
    for number in 0..30_000_u64 {
        keyspace.insert(lsm_vfs::mix64(number).to_be_bytes(), [1; 100]).unwrap();
    }
    let longest = Duration::from_nanos(clock.longest_ns.load(Ordering::Relaxed));
    assert!(longest < Duration::from_millis(10), "a writer was made to sleep for {longest:?} at once");
}

// 17
#[test]
fn a_full_disk_passes_by_itself_when_there_is_room_again() {
    let (fs, options) = memory();
    let mut options = options.write_buffer_size(64 << 10).max_log_size(256 << 10);
    options.advanced().log_segment_size(64 << 10);
    let database = options.clone().open("db").unwrap();
    let keyspace = database.keyspace("k", small_tables().compression(Compression::None)).unwrap();
    let value = [3; 1000];
    let mut written = 0_u32;
    for _ in 0..500 {
        keyspace.insert(written.to_be_bytes(), value).unwrap();
        written += 1;
    }
    fs.set_capacity(fs.used_bytes() + (300 << 10));
    let mut refused = None;
    for _ in 0..5_000 {
        match keyspace.insert(written.to_be_bytes(), value) {
            Ok(()) => written += 1,
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("5 MB went onto a disk with room for 0.3 MB");
    assert!(refused.is_disk_full(), "the error does not say that the disk is full: {refused:?}");
    assert!(
        !matches!(refused, Error::ReadOnly { .. }),
        "a full disk made the database read-only: {refused:?}"
    );
    for number in 0..written {
        assert!(keyspace.get(number.to_be_bytes()).unwrap().is_some(), "reads fail on a full disk");
    }
    assert_eq!(
        keyspace.len().unwrap(),
        written as usize,
        "a refused write is there, or one that was accepted is not"
    );

    fs.set_capacity(u64::MAX);
    for _ in 0..2_000 {
        keyspace.insert(written.to_be_bytes(), value).unwrap();
        written += 1;
    }
    keyspace.flush().unwrap();
    keyspace.compact_range(..).unwrap();
    database.wait_idle().unwrap();
    assert_eq!(keyspace.len().unwrap(), written as usize);
    drop((keyspace, database));
    let keyspace = options.open("db").unwrap().keyspace("k", small_tables()).unwrap();
    assert_eq!(keyspace.len().unwrap(), written as usize, "after reopening");
}

// 17
#[test]
fn a_flush_on_a_full_disk_says_so_instead_of_waiting_for_room() {
    let (fs, options) = memory();
    let database = options.open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    for number in 0..2_000_u64 {
        keyspace.insert(number.to_be_bytes(), lsm_vfs::mix64(number).to_be_bytes()).unwrap();
    }
    fs.set_capacity(fs.used_bytes());
    let flushing = keyspace.clone();
    let ended = ends(move || {
        let error = flushing.flush().expect_err("there is no room for a table");
        assert!(error.is_disk_full(), "{error:?}");
    });
    fs.set_capacity(u64::MAX);
    assert!(ended, "flush neither returned nor failed while the disk was full");
    keyspace.flush().unwrap();
    assert_eq!(keyspace.len().unwrap(), 2_000);
}

// 18
#[test]
fn the_head_of_a_queue_is_found_without_walking_over_what_was_popped() {
    let dir = tempfile::tempdir().unwrap();
    let reads = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&reads);
    let fs = HookFs::new(Arc::new(OsFs), move |call, _| {
        count.fetch_add(u64::from(call == Call::Read), Ordering::Relaxed);
        Ok(())
    });
    // Without a cache every block that is touched is one read.
    let options = on(Arc::new(fs)).cache_size(0).write_buffer_size(64 << 10);
    let database = options.open(dir.path()).unwrap();
    let queue = database.keyspace("queue", small_tables()).unwrap();
    let (mut head, mut tail) = (0_u32, 0_u32);
    for _ in 0..20_000 {
        queue.insert(tail.to_be_bytes(), [1; 64]).unwrap();
        tail += 1;
        if tail > 1_000 {
            queue.remove(head.to_be_bytes()).unwrap();
            head += 1;
        }
    }
    database.wait_idle().unwrap();
    let before = reads.load(Ordering::Relaxed);
    for _ in 0..20 {
        assert_eq!(queue.first_key_value().unwrap().unwrap().0, head.to_be_bytes());
    }
    let reads = (reads.load(Ordering::Relaxed) - before) / 20;
    assert!(reads < 100, "finding the head of a queue reads {reads} blocks");
}

/// Tables pile up under fifo, and nothing merges them: that is no reason to stop.
#[test]
fn a_fifo_keyspace_takes_more_tables_than_the_limit_of_other_styles() {
    let (_fs, mut options) = memory();
    options.advanced().execution(Execution::Deterministic { seed: 1 });
    let database = options.open("db").unwrap();
    let fifo = Compaction::Fifo { max_bytes: u64::MAX, max_age_ms: u64::MAX };
    let keyspace = database.keyspace("k", KeyspaceOptions::default().compaction(fifo)).unwrap();
    for number in 0..60_u32 {
        keyspace.insert(number.to_be_bytes(), "v").unwrap();
        keyspace.flush().unwrap();
    }
    assert_eq!(keyspace.len().unwrap(), 60);
}
