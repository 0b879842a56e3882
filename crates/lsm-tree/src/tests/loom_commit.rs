//! Commit, rotation and flush: writers of single entries and batches, a lock-free reader,
//! snapshots and flushes at the same time, over the real sequences of `write/order.rs`, and
//! the real clock, registry and history of versions.
//!
//! The keyspace is a row of numbered slots: a write sets the slots of its numbers in the
//! active memtable. Whoever reads at S must find every number below S.

use crate::write::order::{self, Flush, Numbered, Seal, Write};
use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_sync::{Arc, Mutex, thread};
use lsm_types::SeqNo;
use lsm_version::{Exactness, Needed, Readable, SeqnoClock, SnapshotRegistry, VersionHistory};

/// Numbers that a model may use.
const SLOTS: usize = 4;

/// Slot i is 1 once entry i is inserted.
type Memtable = Arc<[AtomicU64; SLOTS]>;

fn new_memtable() -> Memtable {
    Arc::new(std::array::from_fn(|_| AtomicU64::new(0)))
}

/// The numbers in `memtable`, each its own bit.
fn bits(memtable: &Memtable) -> u64 {
    // Relaxed on purpose: it is the protocol's own steps that must carry the inserts.
    (0..SLOTS).map(|slot| memtable[slot].load(Ordering::Relaxed) << slot).sum()
}

/// Every number below `bound`.
fn below(bound: SeqNo) -> u64 {
    (1 << bound) - 1
}

/// What a reader looks at.
#[derive(Clone)]
struct View {
    active: Memtable,
    /// Newest first, each with the number below which all is sealed, and the log's end.
    sealed: Vec<(Memtable, SeqNo, u64)>,
    /// The numbers in each table, newest table first.
    tables: Vec<u64>,
    seqno: SeqNo,
    exact: Exactness,
}

impl Readable for View {
    fn is_exact_for(&self, snapshot: SeqNo) -> bool {
        self.exact.holds_for(snapshot)
    }
    fn seqno(&self) -> SeqNo {
        self.seqno
    }
}

impl View {
    fn check(&self, snapshot: SeqNo) {
        let sealed = self.sealed.iter().map(|(memtable, ..)| bits(memtable));
        let found =
            sealed.chain(self.tables.iter().copied()).fold(bits(&self.active), |all, part| all | part);
        assert_eq!(found & below(snapshot), below(snapshot), "a read at {snapshot} misses a number");
    }
}

/// What the commit lock guards.
struct State {
    next_seqno: SeqNo,
    active: Memtable,
    log_end: u64,
}

impl Numbered for State {
    fn next_seqno(&mut self) -> &mut SeqNo {
        &mut self.next_seqno
    }
}

struct Store {
    commit: Mutex<State>,
    clock: SeqnoClock,
    registry: SnapshotRegistry,
    history: VersionHistory<View>,
    flush_lock: Mutex<()>,
    /// How far the log is durable. Written by flushes alone, under their lock.
    log_durable: AtomicU64,
}

impl Store {
    fn new() -> Arc<Self> {
        let active = new_memtable();
        let first = View {
            active: Arc::clone(&active),
            sealed: vec![],
            tables: vec![],
            seqno: 0,
            exact: Exactness::everything(),
        };
        Arc::new(Self {
            commit: Mutex::new(State { next_seqno: 0, active, log_end: 0 }),
            clock: SeqnoClock::starting_at(0),
            registry: SnapshotRegistry::new(),
            history: VersionHistory::new(first),
            flush_lock: Mutex::new(()),
            log_durable: AtomicU64::new(0),
        })
    }

    /// Writes `count` entries as one batch, and seals the memtable behind it if `rotates`.
    fn write(&self, count: u64, rotates: bool) {
        let mut write = Entries { store: self, count, rotates };
        let (end, _) = order::commit(&self.commit, &self.clock, &mut write).unwrap();
        assert!(self.clock.published() >= end, "a write returned and is not published");
    }

    fn rotate(&self) {
        order::seal(&Sealing(self), &mut self.commit.lock());
    }

    fn flush(&self) {
        order::flush(&self.flush_lock, &Flushing(self)).unwrap();
    }

    /// A plain read: the bound first, the version second, both again when they do not fit.
    fn read(&self) {
        loop {
            let snapshot = self.clock.published();
            let view = self.history.latest();
            if view.is_exact_for(snapshot) {
                return view.check(snapshot);
            }
            thread::yield_now();
        }
    }

    /// All that was written is there, in memtables and again once all is in tables.
    fn check_whole(&self, written: SeqNo) {
        assert_eq!(self.clock.published(), written);
        self.read();
        self.rotate();
        self.flush();
        let view = self.history.latest();
        assert!(view.sealed.is_empty());
        assert_eq!(view.tables.iter().sum::<u64>(), below(written), "the tables lack or repeat a number");
    }
}

struct Entries<'a> {
    store: &'a Store,
    count: u64,
    rotates: bool,
}

impl Write for Entries<'_> {
    type State = State;
    type Appended = SeqNo;
    type Target = Memtable;
    type Error = ();

    fn count(&self) -> u64 {
        self.count
    }

    fn check(&self, _: &mut State) -> Result<(), ()> {
        Ok(())
    }

    fn append(&mut self, state: &mut State, base: SeqNo) -> Result<SeqNo, ()> {
        assert_eq!(state.log_end, base, "the order of the log is not that of the numbers");
        state.log_end += self.count;
        Ok(base + self.count)
    }

    fn pin(&self, state: &State) -> Memtable {
        Arc::clone(&state.active)
    }

    fn insert(&mut self, _: &State, target: Memtable, base: SeqNo) -> Result<(), ()> {
        for slot in base..base + self.count {
            target[slot as usize].store(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn rotate_full(&mut self, state: &mut State) -> bool {
        self.rotates && order::seal(&Sealing(self.store), state)
    }
}

struct Sealing<'a>(&'a Store);

impl Seal for Sealing<'_> {
    type State = State;
    type Memtable = Memtable;

    fn fresh(&self, state: &State) -> Option<Memtable> {
        (bits(&state.active) != 0).then(new_memtable)
    }

    fn activate(&self, state: &mut State, fresh: Memtable) {
        state.active = fresh;
    }

    fn install(&self, state: &State, fresh: Memtable, sealed_at: SeqNo) {
        let install = |view: &View| {
            let sealed = (Arc::clone(&view.active), sealed_at, state.log_end);
            let mut next = View { active: fresh, seqno: sealed_at, ..view.clone() };
            next.sealed.insert(0, sealed);
            next
        };
        self.0.history.upgrade(|| self.0.registry.live(), install);
    }
}

struct Flushing<'a>(&'a Store);

impl Flush for Flushing<'_> {
    type Sealed = Vec<(Memtable, SeqNo, u64)>;
    type Tables = u64;
    type Error = ();

    fn sealed(&self) -> Result<Option<Self::Sealed>, ()> {
        let sealed = self.0.history.latest().sealed.clone();
        Ok((!sealed.is_empty()).then_some(sealed))
    }

    fn needed(&self) -> Needed {
        let clock = &self.0.clock;
        if lsm_sync::mutant("tree.flush_takes_a_number") {
            let _past_whom = clock.publish(clock.published(), 1);
        }
        self.0.registry.needed(clock)
    }

    fn write(&self, sealed: &Self::Sealed, needed: &Needed) -> Result<u64, ()> {
        let through = sealed.iter().map(|(_, sealed_at, _)| *sealed_at).max().unwrap();
        assert!(needed.published >= through, "a flush began before all that it holds was published");
        Ok(sealed.iter().map(|(memtable, ..)| bits(memtable)).sum())
    }

    fn sync_log(&self, sealed: &Self::Sealed) -> Result<(), ()> {
        self.0.log_durable.fetch_max(sealed[0].2, Ordering::Relaxed);
        Ok(())
    }

    fn install(&self, sealed: &Self::Sealed, tables: u64, needed: Needed) -> Result<(), ()> {
        let durable = self.0.log_durable.load(Ordering::Relaxed);
        assert!(durable >= sealed[0].2, "tables hold what the log could still lose");
        let live = || self.0.registry.live();
        let without_memtables = |view: &View| {
            let mut next = View { exact: view.exact.after_job(&needed), ..view.clone() };
            next.sealed.retain(|(_, sealed_at, _)| *sealed_at > sealed[0].1);
            next
        };
        let with_tables = |mut next: View| {
            assert!(next.tables.iter().all(|table| table & tables == 0), "tables repeat a number");
            next.tables.insert(0, tables);
            next
        };
        if lsm_sync::mutant("tree.installed_in_two_steps") {
            self.0.history.upgrade(live, without_memtables);
            self.0.history.upgrade(live, |view| with_tables(view.clone()));
        } else {
            self.0.history.upgrade(live, |view| with_tables(without_memtables(view)));
        }
        Ok(())
    }
}

/// Runs `body` in a thread over `store`.
fn beside(store: &Arc<Store>, body: fn(&Store)) -> thread::JoinHandle<()> {
    let store = Arc::clone(store);
    thread::spawn(move || body(&store))
}

#[test]
fn a_lock_free_reader_beside_a_single_write_and_a_batch() {
    lsm_sync::model(|| {
        let store = Store::new();
        let reader = {
            // No lock on this path, whose own order could hide a weakened one.
            let (store, memtable) = (Arc::clone(&store), Arc::clone(&store.commit.lock().active));
            thread::spawn(move || {
                let snapshot = store.clock.published();
                assert!([0, 1, 3].contains(&snapshot), "half a batch is published");
                assert_eq!(bits(&memtable) & below(snapshot), below(snapshot), "a read misses a number");
            })
        };
        store.write(1, false);
        store.write(2, false);
        reader.join().unwrap();
        store.check_whole(3);
    });
}

#[test]
fn two_writers_beside_a_lock_free_reader() {
    lsm_sync::model(|| {
        let store = Store::new();
        let memtable = Arc::clone(&store.commit.lock().active);
        let other = beside(&store, |store| store.write(2, false));
        let reader = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                let snapshot = store.clock.published();
                assert_eq!(bits(&memtable) & below(snapshot), below(snapshot), "a read misses a number");
            })
        };
        store.write(1, false);
        other.join().unwrap();
        reader.join().unwrap();
        store.check_whole(3);
    });
}

#[test]
fn three_writers_lose_nothing_to_a_rotation_of_one() {
    lsm_sync::model_at_most(2, || {
        let store = Store::new();
        let others =
            [beside(&store, |store| store.write(2, true)), beside(&store, |store| store.write(1, false))];
        store.write(1, false);
        for other in others {
            other.join().unwrap();
        }
        store.check_whole(4);
    });
}

#[test]
fn a_writer_beside_a_rotation_and_a_flush_loses_nothing() {
    lsm_sync::model(|| {
        let store = Store::new();
        let rotating = beside(&store, |store| {
            store.rotate();
            store.flush();
        });
        store.write(1, false);
        store.write(2, false);
        rotating.join().unwrap();
        store.check_whole(3);
    });
}

#[test]
fn a_plain_reader_beside_a_write_that_rotates_and_a_flush() {
    lsm_sync::model(|| {
        let store = Store::new();
        let reader = beside(&store, |store| {
            store.read();
            store.read();
        });
        let flushing = beside(&store, Store::flush);
        store.write(1, true);
        store.write(1, false);
        reader.join().unwrap();
        flushing.join().unwrap();
        store.check_whole(2);
    });
}

#[test]
fn a_snapshot_opened_beside_a_batch_and_a_flush_reads_the_same_twice() {
    lsm_sync::model(|| {
        let store = Store::new();
        let opener = beside(&store, |store| {
            let snapshot = store.registry.open(&store.clock);
            assert!([0, 2, 3].contains(&snapshot.seqno()), "a snapshot sees half a batch");
            for _ in 0..2 {
                let view = store.history.version_for_snapshot(snapshot.seqno());
                view.expect("an open snapshot finds its version").check(snapshot.seqno());
            }
        });
        store.write(2, true);
        store.flush();
        store.write(1, false);
        opener.join().unwrap();
        store.check_whole(3);
    });
}

#[test]
fn two_flushes_write_each_memtable_once() {
    lsm_sync::model(|| {
        let store = Store::new();
        store.write(1, true);
        let other = beside(&store, Store::flush);
        store.write(1, true);
        store.flush();
        other.join().unwrap();
        store.check_whole(2);
    });
}
