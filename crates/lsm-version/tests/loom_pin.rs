//! Pinned versions beside installs: explored by loom, and run with real threads in
//! ordinary tests. A reader must find a version at least as new as its bound, and nothing
//! may keep an old one once its readers are done.

use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_sync::{Arc, thread};
use lsm_types::SeqNo;
use lsm_version::{Readable, SeqnoClock, VersionHistory};

/// A version that knows its number, and how many there are.
struct Numbered {
    seqno: SeqNo,
    alive: Arc<AtomicU64>,
}

impl Numbered {
    fn new(seqno: SeqNo, alive: &Arc<AtomicU64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { seqno, alive: Arc::clone(alive) }
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Readable for Numbered {
    fn is_exact_for(&self, _snapshot: SeqNo) -> bool {
        true
    }
    fn seqno(&self) -> SeqNo {
        self.seqno
    }
}

struct Store {
    clock: SeqnoClock,
    history: VersionHistory<Numbered>,
    alive: Arc<AtomicU64>,
}

impl Store {
    /// A history in which both readers have read.
    fn new() -> Arc<Self> {
        let alive = Arc::new(AtomicU64::new(0));
        let history = VersionHistory::new(Numbered::new(0, &alive));
        let store = Arc::new(Self { clock: SeqnoClock::starting_at(0), history, alive });
        for reader in [0, 0, 1] {
            assert_eq!(store.history.pin_as(reader).seqno, 0);
        }
        store
    }

    /// Installs version `seqno`, and then publishes what only it shows.
    fn install(&self, seqno: SeqNo) {
        self.history.upgrade(Vec::new, |_| Numbered::new(seqno, &self.alive));
        assert!(self.clock.publish(seqno - 1, 1));
    }

    /// The bound first, the version second.
    fn read(&self, reader: usize) {
        let snapshot = self.clock.published();
        let pin = self.history.pin_as(reader);
        assert!(pin.seqno >= snapshot, "version {} is too old for the bound {snapshot}", pin.seqno);
        assert!(self.alive.load(Ordering::Relaxed) > 0);
    }

    fn check_end(&self, newest: SeqNo) {
        let alive = self.alive.load(Ordering::Relaxed);
        assert_eq!(alive, 1, "an idle thread keeps an old version");
        for reader in [0, 1] {
            assert_eq!(self.history.pin_as(reader).seqno, newest);
        }
    }
}

#[test]
fn a_reader_beside_an_install_finds_what_is_published_and_keeps_nothing() {
    lsm_sync::model(|| {
        let store = Store::new();
        let reader = Arc::clone(&store);
        let reading = thread::spawn(move || {
            reader.read(0);
            reader.read(0);
        });
        store.install(1);
        reading.join().unwrap();
        store.check_end(1);
    });
}

#[test]
fn two_installs_beside_a_reader() {
    lsm_sync::model_at_most(2, || {
        let store = Store::new();
        let (reader, installer) = (Arc::clone(&store), Arc::clone(&store));
        let reading = thread::spawn(move || reader.read(0));
        let installing = thread::spawn(move || installer.install(1));
        // One without a publication of its own, as of a compaction.
        let after = |before: &Numbered| Numbered::new(before.seqno, &store.alive);
        store.history.upgrade(Vec::new, after);
        installing.join().unwrap();
        reading.join().unwrap();
        store.check_end(1);
    });
}

#[test]
fn readers_of_one_number_and_reads_within_reads() {
    lsm_sync::model_at_most(2, || {
        let store = Store::new();
        let reader = Arc::clone(&store);
        let reading = thread::spawn(move || {
            let outer = reader.history.pin_as(0);
            reader.read(0);
            assert!(outer.seqno <= 1);
        });
        let other = Arc::clone(&store);
        let same_number = thread::spawn(move || other.read(0));
        store.install(1);
        reading.join().unwrap();
        same_number.join().unwrap();
        store.check_end(1);
    });
}
