//! Publishing, pinning and retiring versions while snapshots open and close: explored
//! by loom, and run with real threads in ordinary tests.
//!
//! The keyspace is one key. Each write appends an entry to a log of atomics, which
//! stands in for the memtable; a job installs a version that keeps, of the entries so
//! far, what `Needed` asks for. A reader must find exactly the newest entry below its
//! bound, and a version that never holds it is the bug that these tests look for.

use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_sync::{Arc, thread};
use lsm_types::SeqNo;
use lsm_version::{Exactness, Needed, Readable, SeqnoClock, SnapshotRegistry, VersionHistory};

/// Entries that a job has left, oldest first, over the active log.
struct Kept {
    seqno: SeqNo,
    /// Every entry below is in `entries`, or was dropped.
    through: SeqNo,
    entries: Vec<SeqNo>,
    exact: Exactness,
    /// Where its memtable ends, once that is sealed: later entries go elsewhere.
    sealed_at: AtomicU64,
}

impl Readable for Kept {
    fn is_exact_for(&self, snapshot: SeqNo) -> bool {
        self.exact.holds_for(snapshot)
    }
    fn seqno(&self) -> SeqNo {
        self.seqno
    }
}

struct Store {
    clock: SeqnoClock,
    registry: SnapshotRegistry,
    history: VersionHistory<Kept>,
    /// Slot i is 1 once entry i is inserted: the memtable.
    memtable: [AtomicU64; 4],
}

impl Store {
    fn new(written: SeqNo) -> Self {
        let memtable = [0, 1, 2, 3].map(|slot| AtomicU64::new(u64::from(slot < written)));
        let first = Kept {
            seqno: 0,
            through: 0,
            entries: vec![],
            exact: Exactness::everything(),
            sealed_at: AtomicU64::new(SeqNo::MAX),
        };
        let (registry, history) = (SnapshotRegistry::new(), VersionHistory::new(first));
        Self { clock: SeqnoClock::starting_at(written), registry, history, memtable }
    }

    /// The one writer: insert, then publish.
    fn write(&self, seqno: SeqNo) {
        if lsm_sync::mutant("version.publish_before_insert") {
            assert!(self.clock.publish(seqno, 1));
        }
        // Relaxed on purpose: the Release of the publication must carry it.
        self.memtable[seqno as usize].store(1, Ordering::Relaxed);
        if !lsm_sync::mutant("version.publish_before_insert") {
            assert!(self.clock.publish(seqno, 1));
        }
    }

    /// A flush of everything published that keeps what is needed.
    fn flush(&self) {
        let needed = self.registry.needed(&self.clock);
        let through = needed.published;
        self.history.upgrade(
            || self.registry.live(),
            |before| Kept {
                seqno: through,
                through,
                entries: visible_bounds(&needed).filter_map(|bound| bound.checked_sub(1)).collect(),
                exact: before.exact.after_job(&needed),
                sealed_at: AtomicU64::new(SeqNo::MAX),
            },
        );
    }

    /// The writer itself seals the memtable and flushes it: what it writes next is
    /// found through the new version only.
    fn rotate_and_flush(&self) {
        let before = self.history.latest();
        before.sealed_at.store(self.clock.published(), Ordering::Relaxed);
        self.flush();
    }

    /// The newest entry below `snapshot`, as a reader of `version` sees it.
    fn read(&self, version: &Kept, snapshot: SeqNo) -> Option<SeqNo> {
        let end = version.sealed_at.load(Ordering::Relaxed).min(snapshot);
        let in_memtable = (version.through..end.min(4)).rev().find(|&seqno| {
            // Relaxed on purpose: the Acquire of the published bound must carry it.
            self.memtable[seqno as usize].load(Ordering::Relaxed) == 1
        });
        in_memtable.or_else(|| version.entries.iter().rev().copied().find(|&seqno| seqno < snapshot))
    }

    fn check(&self, version: &Kept, snapshot: SeqNo) {
        assert_eq!(self.read(version, snapshot), snapshot.checked_sub(1), "at snapshot {snapshot}");
    }

    /// A plain read: the bound first, the version second, both again when they do not fit.
    fn plain_read(&self) {
        loop {
            let early = lsm_sync::mutant("version.version_before_seqno").then(|| self.history.latest());
            let snapshot = self.clock.published();
            let version = early.unwrap_or_else(|| self.history.latest());
            if version.is_exact_for(snapshot) || lsm_sync::mutant("version.no_retry") {
                return self.check(&version, snapshot);
            }
            thread::yield_now();
        }
    }
}

/// Runs `body` in a thread. What writes is the first thread of a model: loom compares an
/// access with the last one to the same atomic only, and a writer's own would hide those of
/// readers that came first.
fn beside(store: &Arc<Store>, body: fn(&Store)) -> thread::JoinHandle<()> {
    let store = Arc::clone(store);
    thread::spawn(move || body(&store))
}

/// The bounds whose newest entry a job must keep, ascending.
fn visible_bounds(needed: &Needed) -> impl Iterator<Item = SeqNo> + '_ {
    needed.snapshots.iter().copied().chain([needed.published])
}

#[test]
fn a_lock_free_reader_sees_what_is_published() {
    lsm_sync::model(|| {
        let store = Arc::new(Store::new(0));
        // No lock on this path, whose own order could hide a weakened one.
        let reader = beside(&store, |store| {
            let snapshot = store.clock.published();
            for seqno in 0..snapshot {
                let slot = store.memtable[seqno as usize].load(Ordering::Relaxed);
                assert_eq!(slot, 1, "entry {seqno} is published and not there");
            }
        });
        store.write(0);
        store.write(1);
        reader.join().unwrap();
    });
}

#[test]
fn two_batches_are_never_published_over_a_hole() {
    lsm_sync::model(|| {
        let store = Arc::new(Store::new(0));
        let other = Arc::clone(&store);
        // Two writers without a commit lock: each publishes only behind the other.
        let second = thread::spawn(move || {
            other.memtable[1].store(1, Ordering::Relaxed);
            while !other.clock.publish(1, 1) {
                thread::yield_now();
            }
        });
        let reader = beside(&store, |store| {
            let snapshot = store.clock.published();
            let holes = (0..snapshot).filter(|&at| store.memtable[at as usize].load(Ordering::Relaxed) == 0);
            assert_eq!(holes.count(), 0, "the bound is {snapshot} over a hole");
        });
        store.memtable[0].store(1, Ordering::Relaxed);
        assert!(store.clock.publish(0, 1), "entry 1 was published before entry 0");
        second.join().unwrap();
        reader.join().unwrap();
        assert_eq!(store.clock.published(), 2);
    });
}

#[test]
fn a_plain_reader_beside_a_writer_and_a_flush() {
    lsm_sync::model(|| {
        let store = Arc::new(Store::new(1));
        let reading = beside(&store, Store::plain_read);
        let flushing = beside(&store, Store::flush);
        store.write(1);
        reading.join().unwrap();
        flushing.join().unwrap();
        store.plain_read();
    });
}

#[test]
fn a_plain_reader_beside_a_writer_that_rotates() {
    lsm_sync::model(|| {
        let store = Arc::new(Store::new(1));
        let reading = beside(&store, Store::plain_read);
        store.rotate_and_flush();
        store.write(1);
        reading.join().unwrap();
        store.plain_read();
    });
}

#[test]
fn a_snapshot_opens_and_reads_twice_while_flushes_run() {
    lsm_sync::model(|| {
        let store = Arc::new(Store::new(1));
        let opening = beside(&store, |store| {
            let snapshot = store.registry.open(&store.clock);
            for _ in 0..3 {
                let version = store.history.version_for_snapshot(snapshot.seqno());
                store.check(&version.expect("an open snapshot finds its version"), snapshot.seqno());
            }
        });
        store.write(1);
        store.flush();
        store.write(2);
        store.flush();
        opening.join().unwrap();
    });
}

#[test]
fn closing_a_snapshot_lets_old_versions_go() {
    lsm_sync::model(|| {
        let store = Arc::new(Store::new(1));
        let snapshot = store.registry.open(&store.clock);
        let closing = thread::spawn(move || drop(snapshot));
        store.write(1);
        store.flush();
        closing.join().unwrap();
        assert_eq!(
            store.registry.needed(&store.clock).snapshots,
            [],
            "a closed snapshot still holds data back"
        );
        store.history.collect(|| store.registry.live());
        assert_eq!(store.history.len(), 1, "nobody reads the old version");
        store.plain_read();
    });
}

#[test]
fn two_upgraders_keep_what_a_snapshot_needs() {
    lsm_sync::model(|| {
        let store = Arc::new(Store::new(1));
        let sweeper = Arc::clone(&store);
        let sweeping = thread::spawn(move || {
            let stale = lsm_sync::mutant("version.live_before_lock").then(|| sweeper.registry.live());
            sweeper.history.collect(|| stale.unwrap_or_else(|| sweeper.registry.live()));
        });
        let snapshot = store.registry.open(&store.clock);
        // A drop of everything: exact for later snapshots alone.
        assert!(store.clock.publish(1, 1));
        store.history.upgrade(
            || store.registry.live(),
            |before| Kept {
                seqno: 2,
                through: 2,
                entries: vec![],
                exact: before.exact.after_job(&Needed::from_watermark(2)),
                sealed_at: AtomicU64::new(SeqNo::MAX),
            },
        );
        sweeping.join().unwrap();
        let version = store.history.version_for_snapshot(snapshot.seqno());
        store.check(&version.expect("an open snapshot finds its version"), snapshot.seqno());
    });
}
