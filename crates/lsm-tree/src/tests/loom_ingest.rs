//! An ingestion takes its place beside a writer of the same key and a reader: nobody sees a
//! later write and not yet the ingestion, no snapshot changes its mind, and who waits for the
//! key wakes. Over the real holds, order of a commit, clock, registry, history and scheduler.

use crate::background::schedule::{Job, Scheduler};
use crate::options::Execution;
use crate::write::hold::{self, Admitted, Holds, Refusal};
use crate::write::order::{self, Numbered, Write};
use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_sync::{Arc, Mutex, thread};
use lsm_types::{KeySpan, SeqNo, ValueKind};
use lsm_version::{Exactness, Readable, SeqnoClock, SnapshotRegistry, VersionHistory};

const KEY: &[u8] = b"key";

/// No job is ever queued: writers wait for the ingestion alone.
#[derive(Debug, Clone, PartialEq)]
struct Nothing;

impl Job for Nothing {
    fn is_long(&self) -> bool {
        false
    }
}

/// The number of the entry, plus 1; 0 while there is none.
type Memtable = Arc<AtomicU64>;

/// What a reader looks at, newest first.
#[derive(Clone)]
struct View {
    active: Memtable,
    ingested: Option<SeqNo>,
    flushed: Option<SeqNo>,
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

/// What the commit lock guards.
struct State {
    next_seqno: SeqNo,
    active: Memtable,
    holds: Holds,
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
    scheduler: Scheduler<Nothing>,
    /// The number of the ingestion, plus 1. Written under the commit lock.
    place: AtomicU64,
}

struct Entry;

impl Write for Entry {
    type State = State;
    type Appended = ();
    type Target = Memtable;
    type Error = Refusal;

    fn count(&self) -> u64 {
        1
    }
    fn check(&self, state: &mut State) -> Admitted<()> {
        state.holds.check(0, ValueKind::Value, KEY, b"")
    }
    fn append(&mut self, _: &mut State, _: SeqNo) -> Admitted<()> {
        Ok(())
    }
    fn pin(&self, state: &State) -> Memtable {
        Arc::clone(&state.active)
    }
    fn insert(&mut self, _: &State, memtable: Memtable, base: SeqNo) -> Admitted<()> {
        // Relaxed on purpose: publication must carry it.
        memtable.store(base + 1, Ordering::Relaxed);
        Ok(())
    }
    fn rotate_full(&mut self, _: &mut State) -> bool {
        false
    }
}

impl Store {
    fn new() -> Arc<Self> {
        let active = Arc::new(AtomicU64::new(0));
        let exact = Exactness::everything();
        let first = View { active: Arc::clone(&active), ingested: None, flushed: None, seqno: 0, exact };
        Arc::new(Self {
            commit: Mutex::new(State { next_seqno: 0, active, holds: Holds::default() }),
            clock: SeqnoClock::starting_at(0),
            registry: SnapshotRegistry::new(),
            history: VersionHistory::new(first),
            scheduler: Scheduler::new(Execution::Threads(2)),
            place: AtomicU64::new(0),
        })
    }

    /// As `Engine::commit` does.
    fn write(&self) {
        let mut entry = Entry;
        while order::commit(&self.commit, &self.clock, &mut entry).is_err() {
            let is_free = || entry.check(&mut self.commit.lock()).is_ok();
            let run = |_| unreachable!("there is no job");
            assert!(self.scheduler.wait_until(is_free, run), "nobody closes the scheduler");
        }
    }

    /// As `Engine::try_ingest` does; what stands in memtables is flushed in one step.
    fn ingest(&self) {
        let live = || self.registry.live();
        let seqno = {
            let mut state = self.commit.lock();
            let written = state.active.load(Ordering::Relaxed).checked_sub(1);
            if written.is_some() && !lsm_sync::mutant("tree.place_over_a_memtable") {
                state.active = Arc::new(AtomicU64::new(0));
                let active = Arc::clone(&state.active);
                self.history.upgrade(live, |view| View { active, flushed: written, ..view.clone() });
            }
            state.holds.add(0, KeySpan::all());
            let seqno = state.next_seqno;
            self.place.store(seqno + 1, Ordering::Relaxed);
            order::publish(&self.clock, &mut *state, seqno, 1);
            seqno
        };
        // Here the manifest is written.
        order::burn(&self.commit, &self.clock, &self.registry, |_, bound| {
            let needed = hold::who_may_see(seqno, bound, live());
            self.history.upgrade(live, |view| {
                let exact = view.exact.after_job(&needed);
                View { ingested: Some(seqno), exact, seqno: bound - 1, ..view.clone() }
            });
        });
        self.history.collect(live);
        hold::let_go(&self.commit, |state| &mut state.holds, 0, &KeySpan::all(), &self.scheduler);
    }

    /// The number of the entry that a reader at `snapshot` finds, by place.
    fn find(&self, view: &View, snapshot: SeqNo) -> Option<SeqNo> {
        let visible = |seqno: &SeqNo| *seqno < snapshot;
        let newer = view.active.load(Ordering::Relaxed).checked_sub(1).filter(visible);
        let ingested = view.ingested.filter(visible);
        let place = self.place.load(Ordering::Relaxed).checked_sub(1);
        if let (Some(newer), Some(place)) = (newer, place) {
            assert!(newer < place || ingested.is_some(), "{newer} is seen, and not the ingestion at {place}");
            assert!(newer > place || ingested.is_none(), "{newer} hides the later ingestion at {place}");
        }
        newer.or(ingested).or(view.flushed.filter(visible))
    }

    /// Opens a snapshot, and reads twice.
    fn read(&self) {
        let snapshot = self.registry.open(&self.clock);
        let read = || {
            let view = self.history.version_for_snapshot(snapshot.seqno()).unwrap();
            self.find(&view, snapshot.seqno())
        };
        let first = read();
        assert_eq!(first, read(), "a snapshot at {} changed its mind", snapshot.seqno());
    }
}

fn beside(store: &Arc<Store>, act: impl FnOnce(&Store) + Send + 'static) -> thread::JoinHandle<()> {
    let store = Arc::clone(store);
    thread::spawn(move || act(&store))
}

#[test]
fn an_ingestion_beside_a_writer_of_the_same_key_and_a_reader() {
    lsm_sync::model(|| {
        let store = Store::new();
        let writer = beside(&store, Store::write);
        let ingester = beside(&store, Store::ingest);
        store.read();
        writer.join().unwrap();
        ingester.join().unwrap();
        let view = store.history.latest();
        let end = store.clock.published();
        assert!(view.is_exact_for(end));
        let place = store.place.load(Ordering::Relaxed) - 1;
        let newest = store.find(&view, end).unwrap();
        let written = view.flushed.or(view.active.load(Ordering::Relaxed).checked_sub(1));
        assert_eq!(newest, place.max(written.unwrap()), "the newest of both wins");
    });
}

#[test]
fn a_snapshot_beside_an_ingestion_reads_the_same_twice() {
    lsm_sync::model(|| {
        let store = Store::new();
        store.write();
        let ingester = beside(&store, Store::ingest);
        store.read();
        ingester.join().unwrap();
        store.read();
        assert_eq!(store.find(&store.history.latest(), store.clock.published()), Some(1));
    });
}

#[test]
fn a_sweep_beside_an_ingestion_leaves_a_snapshot_its_view() {
    lsm_sync::model(|| {
        let store = Store::new();
        let ingester = beside(&store, Store::ingest);
        let sweeper = beside(&store, |store| {
            // As `Engine::sweep` does, for whatever snapshot closes just then.
            store.history.collect(|| store.registry.live());
        });
        store.read();
        ingester.join().unwrap();
        sweeper.join().unwrap();
    });
}
