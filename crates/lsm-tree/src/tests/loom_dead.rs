//! Dead ranges: whatever a scan leaves out, it finds what it would have found without. The
//! ranges and the order of a commit are the real ones; the data is a row of atomics.

use crate::read::dead::{DeadRanges, Skip};
use crate::write::order::{self, Numbered, Write};
use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_sync::{Arc, Mutex, mutant, thread};
use lsm_types::{KeySpan, SeqNo, Slice};
use lsm_version::SeqnoClock;

struct State {
    next_seqno: SeqNo,
}

impl Numbered for State {
    fn next_seqno(&mut self) -> &mut SeqNo {
        &mut self.next_seqno
    }
}

/// A keyspace of one-byte keys below `KEYS`.
struct Queue {
    commit: Mutex<State>,
    clock: SeqnoClock,
    /// Entry i is the one numbered i: 0 while it is not there, else the key, doubled, plus
    /// two for a tombstone and three for a value. Relaxed on purpose.
    entries: [AtomicU64; 6],
    dead: DeadRanges,
}

const KEYS: u8 = 4;

struct Entry<'a> {
    queue: &'a Queue,
    key: u8,
    is_value: bool,
    seqno: SeqNo,
}

impl Write for Entry<'_> {
    type State = State;
    type Appended = ();
    type Target = ();
    type Error = ();

    fn count(&self) -> u64 {
        1
    }
    fn check(&self, _: &mut State) -> Result<(), ()> {
        Ok(())
    }
    fn append(&mut self, _: &mut State, base: SeqNo) -> Result<(), ()> {
        self.seqno = base;
        Ok(())
    }
    fn pin(&self, _: &State) {}
    fn insert(&mut self, _: &State, (): (), base: SeqNo) -> Result<(), ()> {
        if self.is_value && !mutant("tree.dead_noted_after_publication") {
            self.queue.dead.inserting(base, &[self.key]);
        }
        let entry = u64::from(self.key) * 2 + 2 + u64::from(self.is_value);
        self.queue.entries[base as usize].store(entry, Ordering::Relaxed);
        Ok(())
    }
    fn rotate_full(&mut self, _: &mut State) -> bool {
        if self.is_value && mutant("tree.dead_noted_after_publication") {
            self.queue.dead.inserting(self.seqno, &[self.key]);
        }
        false
    }
}

impl Queue {
    /// One in which key 1 came and went before key 3 came: 3 is the bound.
    fn new() -> Arc<Self> {
        let queue = Arc::new(Self {
            commit: Mutex::new(State { next_seqno: 0 }),
            clock: SeqnoClock::starting_at(0),
            entries: std::array::from_fn(|_| AtomicU64::new(0)),
            dead: DeadRanges::new(),
        });
        queue.write(1, true);
        queue.write(1, false);
        queue.write(3, true);
        queue
    }

    fn write(&self, key: u8, is_value: bool) {
        let mut entry = Entry { queue: self, key, is_value, seqno: 0 };
        order::commit(&self.commit, &self.clock, &mut entry).unwrap();
    }

    /// The first visible key from `start` on, and whether a hidden one was passed.
    fn walk(&self, start: u8, snapshot: SeqNo) -> (Option<u8>, bool) {
        let mut newest = [0; KEYS as usize];
        for entry in &self.entries[..snapshot as usize] {
            let entry = entry.load(Ordering::Relaxed);
            assert!(entry > 0, "published, and not there");
            newest[(entry / 2 - 1) as usize] = entry;
        }
        let found = (start..KEYS).find(|&key| newest[key as usize] % 2 == 1);
        let end = found.unwrap_or(KEYS);
        (found, (start..end).any(|key| newest[key as usize] > 0))
    }

    /// Looks for the head at `snapshot`, as a scan does, and compares.
    fn peek(&self, snapshot: SeqNo, reports: bool) {
        let start = match self.dead.skip(&[0], snapshot) {
            Skip::Nothing => 0,
            Skip::To(end) => end.first().copied().unwrap_or(0),
            Skip::Everything => KEYS,
        };
        let (found, has_passed) = self.walk(start, snapshot);
        let expected = self.walk(0, snapshot).0;
        assert_eq!(found, expected, "the head at {snapshot} was looked for from {start} on");
        if has_passed && reports {
            let end = found.map(|key| Slice::copy_from(&[key]));
            let walked = KeySpan { start: Slice::copy_from(&[start]), end };
            self.dead.report(&walked, snapshot, |go| {
                if let Some(state) = self.commit.try_lock() {
                    go(state.next_seqno);
                }
            });
        }
    }
}

#[test]
fn what_is_inserted_into_a_dead_range_is_found() {
    lsm_sync::model(|| {
        let queue = Queue::new();
        queue.peek(queue.clock.published(), true);
        assert_eq!(queue.dead.skip(&[0], 3), Skip::To(Slice::copy_from(&[3])));
        let reader = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.peek(queue.clock.published(), false))
        };
        queue.write(2, true);
        reader.join().unwrap();
        queue.peek(queue.clock.published(), false);
    });
}

#[test]
fn a_report_beside_an_insert_hides_nothing() {
    lsm_sync::model(|| {
        let queue = Queue::new();
        let reporter = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.peek(queue.clock.published(), true))
        };
        queue.write(2, true);
        queue.peek(queue.clock.published(), true);
        reporter.join().unwrap();
        queue.peek(queue.clock.published(), false);
    });
}

#[test]
fn an_older_snapshot_sees_what_died_later() {
    lsm_sync::model(|| {
        let queue = Queue::new();
        let reader = {
            // Key 1 is still there.
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                queue.peek(1, true);
                queue.peek(1, false);
            })
        };
        queue.peek(queue.clock.published(), true);
        reader.join().unwrap();
        queue.peek(1, false);
    });
}

#[test]
fn two_reporters_beside_a_key_that_comes_and_goes() {
    lsm_sync::model(|| {
        let queue = Queue::new();
        let reporters: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.peek(queue.clock.published(), true))
            })
            .collect();
        queue.write(2, true);
        queue.write(2, false);
        for reporter in reporters {
            reporter.join().unwrap();
        }
        for snapshot in 1..=5 {
            queue.peek(snapshot, false);
        }
    });
}

#[test]
fn a_report_beside_an_ingestion_hides_nothing_that_is_written_later() {
    lsm_sync::model(|| {
        let queue = Queue::new();
        let reporter = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.peek(queue.clock.published(), true))
        };
        {
            // As `Engine::install_ingested` does, with key 2.
            let mut state = queue.commit.lock();
            queue.dead.forget();
            let base = *state.next_seqno();
            queue.entries[base as usize].store(2 * 2 + 2 + 1, Ordering::Relaxed);
            order::publish(&queue.clock, &mut *state, base, 1);
        }
        reporter.join().unwrap();
        queue.peek(queue.clock.published(), true);
        queue.write(1, true);
        // Some other scan, elsewhere in the keyspace.
        let elsewhere = KeySpan { start: Slice::copy_from(&[9]), end: Some(Slice::copy_from(&[10])) };
        queue.dead.report(&elsewhere, queue.clock.published(), |_| {});
        queue.peek(queue.clock.published(), false);
    });
}
