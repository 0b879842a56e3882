//! Promises of the facade that need a certain sequence of events to be put to the test.

use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_tree::{Compaction, Compression, Durability, KeyspaceOptions, Options};
use lsm_vfs::{DirEntry, File, Fs, IoError, LockGuard, OsFs};
use std::path::Path;
use std::sync::Arc;

fn key(i: u32) -> String {
    format!("key{i:06}")
}

#[test]
fn an_idle_keyspace_does_not_pin_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::default().max_log_size(256 << 10);
    options.advanced().log_segment_size(32 << 10);
    {
        let db = options.clone().open(directory.path()).unwrap();
        let idle = db.keyspace("idle", KeyspaceOptions::default()).unwrap();
        let busy = db.keyspace("busy", KeyspaceOptions::default()).unwrap();
        idle.insert("once", "1").unwrap();
        for i in 0..20_000 {
            busy.insert(key(i % 100), [7; 100]).unwrap();
        }
        db.wait_idle().unwrap();
        let log = db.stats().log;
        assert!(log.bytes < (256 + 128) << 10, "{} bytes of log past a cap of 256 KiB", log.bytes);
    }
    let db = options.open(directory.path()).unwrap();
    let idle = db.keyspace("idle", KeyspaceOptions::default()).unwrap();
    assert_eq!(idle.get("once").unwrap().unwrap(), "1");
}

#[test]
fn a_snapshot_keeps_what_fifo_drops() {
    let directory = tempfile::tempdir().unwrap();
    let db = Options::default().open(directory.path()).unwrap();
    let fifo = Compaction::Fifo { max_bytes: 100 << 10, max_age_ms: u64::MAX };
    let options = KeyspaceOptions::default().compaction(fifo).compression(Compression::None);
    let keyspace = db.keyspace("k", options).unwrap();
    let write = |from: u32| {
        for i in from..from + 500 {
            keyspace.insert(key(i), [7; 100]).unwrap();
        }
        keyspace.flush().unwrap();
    };
    write(0);
    let snapshot = db.snapshot();
    for round in 1..10 {
        write(round * 500);
        db.wait_idle().unwrap();
        assert_eq!(snapshot.len(&keyspace).unwrap(), 500, "round {round}");
        assert_eq!(snapshot.get(&keyspace, key(3)).unwrap().unwrap(), [7; 100]);
    }
    assert_eq!(keyspace.get(key(3)).unwrap(), None, "the oldest table is gone for new readers");
    assert!(keyspace.get(key(4_999)).unwrap().is_some());
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    let before = files();
    drop(snapshot);
    db.wait_idle().unwrap();
    assert!(files() < before, "the table that only the snapshot read is still there");
}

#[test]
fn fifo_forgets_by_age_though_nobody_writes() {
    let directory = tempfile::tempdir().unwrap();
    let db = Options::default().open(directory.path()).unwrap();
    let fifo = Compaction::Fifo { max_bytes: u64::MAX, max_age_ms: 50 };
    let keyspace = db.keyspace("k", KeyspaceOptions::default().compaction(fifo)).unwrap();
    keyspace.insert("old", "1").unwrap();
    keyspace.flush().unwrap();
    db.wait_idle().unwrap();
    let mut looks = 0;
    while !keyspace.is_empty().unwrap() {
        looks += 1;
        assert!(looks < 500, "what is past its age is still there");
        lsm_sync::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Fills a keyspace with overlapping flushes, too few to be compacted for their number.
fn write_runs(keyspace: &lsm_tree::Keyspace, runs: u32) -> Result<(), lsm_tree::Error> {
    for run in 0..runs {
        for i in 0..2_000 {
            keyspace.insert(key(i * 3 + run), [run as u8; 100])?;
        }
        keyspace.flush()?;
    }
    Ok(())
}

fn runs_of(db: &lsm_tree::Database) -> usize {
    db.stats().keyspaces[0].levels.iter().map(|level| level.runs).sum()
}

#[test]
fn a_database_at_rest_is_tidied_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let db = Options::default().open(directory.path()).unwrap();
    let keyspace = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    write_runs(&keyspace, 3).unwrap();
    let mut looks = 0;
    while runs_of(&db) > 1 {
        looks += 1;
        assert!(looks < 500, "{}", db.stats());
        lsm_sync::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(keyspace.len().unwrap(), 6_000);
    assert_eq!(keyspace.get(key(4)).unwrap().unwrap(), [1; 100]);
}

#[test]
fn who_waits_for_rest_gets_one_run_and_a_short_log() {
    let directory = tempfile::tempdir().unwrap();
    let db = Options::default().open(directory.path()).unwrap();
    let keyspace = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    for round in 0..3_u8 {
        for i in 0..10_000 {
            keyspace.insert(key(i), [round; 100]).unwrap();
        }
        keyspace.flush().unwrap();
    }
    db.wait_idle().unwrap();
    assert_eq!(runs_of(&db), 1, "{}", db.stats());
    assert!(db.stats().log.bytes < 64 << 10, "{}", db.stats());
    keyspace.insert("one", "more").unwrap();
    drop((keyspace, db));
    let log: u64 = std::fs::read_dir(directory.path())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(log < 64 << 10, "{log} bytes of log stay behind");
    let db = Options::default().open(directory.path()).unwrap();
    let keyspace = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    assert_eq!(keyspace.get("one").unwrap().unwrap(), "more");
    assert_eq!(keyspace.len().unwrap(), 10_001);
}

/// Counts the syncs of log segments, each of which takes a while.
#[derive(Debug)]
struct CountingFs {
    inner: OsFs,
    syncs: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingFile {
    inner: Arc<dyn File>,
    syncs: Arc<AtomicU64>,
}

impl File for CountingFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        self.inner.read_exact_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), IoError> {
        self.inner.write_all_at(bytes, offset)
    }
    fn sync_data(&self) -> Result<(), IoError> {
        if self.inner.path().extension().is_some_and(|extension| extension == "log") {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            lsm_sync::thread::sleep(std::time::Duration::from_millis(2));
        }
        self.inner.sync_data()
    }
    fn preallocate(&self, len_bytes: u64) -> Result<(), IoError> {
        self.inner.preallocate(len_bytes)
    }
    fn set_len(&self, len_bytes: u64) -> Result<(), IoError> {
        self.inner.set_len(len_bytes)
    }
    fn len(&self) -> Result<u64, IoError> {
        self.inner.len()
    }
    fn path(&self) -> &Path {
        self.inner.path()
    }
}

impl CountingFs {
    fn counted(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(CountingFile { inner, syncs: Arc::clone(&self.syncs) })
    }
}

impl Fs for CountingFs {
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.inner.create_new(path).map(|file| self.counted(file))
    }
    fn open_read(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.inner.open_read(path)
    }
    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.inner.open_write(path)
    }
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        self.inner.create_dir_all(path)
    }
    fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        self.inner.read_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.inner.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        self.inner.remove_file(path)
    }
    fn hard_link(&self, original: &Path, link: &Path) -> Result<(), IoError> {
        self.inner.hard_link(original, link)
    }
    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        self.inner.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> Result<bool, IoError> {
        self.inner.exists(path)
    }
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>, IoError> {
        self.inner.try_lock(path)
    }
}

#[test]
fn concurrent_sync_writers_share_a_sync() {
    let directory = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicU64::new(0));
    let mut options = Options::default().durability(Durability::Sync);
    options.advanced().fs(Arc::new(CountingFs { inner: OsFs, syncs: Arc::clone(&syncs) }));
    let db = options.open(directory.path()).unwrap();
    let keyspace = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    let before = syncs.load(Ordering::Relaxed);
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let keyspace = keyspace.clone();
            lsm_sync::thread::spawn(move || {
                for i in 0..25 {
                    keyspace.insert(key(thread * 100 + i), "1").unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let spent = syncs.load(Ordering::Relaxed) - before;
    assert!(spent <= 120, "{spent} syncs for 200 concurrent commits");
    assert!(spent >= 25, "{spent} syncs cannot have covered 25 commits one after the other");
}
