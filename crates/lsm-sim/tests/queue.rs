//! Queues: what is deleted at the head costs those who look for the head nothing, and
//! whatever scans leave out for that, they find what they would have found without.
//! Numbers refer to the same list of faults as in `incumbents.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::{Random, oracle_configs, seed_from_env};
use lsm_tree::{Database, Keyspace, KeyspaceOptions, Options, Slice, Snapshot};
use lsm_vfs::MemFs;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

fn in_memory() -> Database {
    let mut options = Options::default();
    options.advanced().fs(Arc::new(MemFs::new()));
    options.open("db").unwrap()
}

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Ends within the minute or fails. Each of these takes a second or two, and several
/// minutes where looking for the head walks over all that was popped.
fn within_a_minute(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let worker = thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    let outcome = ended.recv_timeout(Duration::from_secs(60));
    assert_ne!(outcome, Err(mpsc::RecvTimeoutError::Timeout), "popping a queue becomes slower and slower");
    worker.join().unwrap();
}

/// Pops `items` one by one, as `peek` finds them and `pop` deletes them.
fn drain(items: u32, peek: fn(&Keyspace) -> Option<Slice>, pop: fn(&Database, &Keyspace, &Slice)) {
    within_a_minute(move || {
        let database = in_memory();
        let queue = database.keyspace("queue", KeyspaceOptions::default()).unwrap();
        for item in 0..items {
            queue.insert(key(item), [1; 32]).unwrap();
        }
        for item in 0..items {
            let head = peek(&queue).unwrap();
            assert_eq!(head, key(item));
            pop(&database, &queue, &head);
        }
        assert!(queue.is_empty().unwrap());
        assert_eq!(peek(&queue), None);
    });
}

fn first(queue: &Keyspace) -> Option<Slice> {
    queue.first_key_value().unwrap().map(|(head, _)| head)
}

// 18.
#[test]
fn the_head_of_a_queue_in_memory_is_found_at_once() {
    drain(100_000, first, |_, queue, head| queue.remove(head).unwrap());
}

#[test]
fn a_cursor_finds_the_head_at_once_where_weak_deletes_pop() {
    let peek = |queue: &Keyspace| {
        let mut cursor = queue.cursor();
        cursor.seek(key(0)).unwrap();
        cursor.valid().then(|| Slice::from(cursor.key()))
    };
    drain(100_000, peek, |_, queue, head| queue.remove_weak(head).unwrap());
}

#[test]
fn a_range_finds_the_head_at_once_where_range_deletes_and_batches_pop() {
    let peek = |queue: &Keyspace| queue.range(key(0)..key(u32::MAX)).next().map(|item| item.unwrap().0);
    drain(50_000, peek, |database, queue, head| {
        let mut batch = database.batch();
        if head[3] % 2 == 0 {
            batch.remove_range(queue, head..=head);
        } else {
            batch.remove(queue, head);
        }
        batch.commit().unwrap();
    });
}

#[test]
fn several_queues_of_one_keyspace_are_found_at_once() {
    const QUEUES: u8 = 6;
    within_a_minute(|| {
        let database = in_memory();
        let queues = database.keyspace("queues", KeyspaceOptions::default()).unwrap();
        let name = |queue: u8, item: u32| [&[queue], &key(item)[..]].concat();
        for round in 0..40_000 + 10 {
            for queue in 0..QUEUES {
                queues.insert(name(queue, round), "job").unwrap();
                let Some(oldest) = round.checked_sub(10) else { continue };
                let (head, _) = queues.prefix([queue]).next().unwrap().unwrap();
                assert_eq!(head, name(queue, oldest));
                queues.remove(head).unwrap();
            }
        }
    });
}

// A look at the head when nobody writes any more.
#[test]
fn what_was_popped_at_once_is_walked_over_once() {
    within_a_minute(|| {
        let database = in_memory();
        let queue = database.keyspace("queue", KeyspaceOptions::default()).unwrap();
        for item in 0..100_000 {
            queue.insert(key(item), "job").unwrap();
        }
        for item in 0..99_999 {
            queue.remove(key(item)).unwrap();
        }
        for _ in 0..20_000 {
            assert_eq!(first(&queue).unwrap(), key(99_999));
        }
    });
}

/// A queue beside what it should hold.
struct Pair {
    database: Database,
    queue: Keyspace,
    model: BTreeMap<u32, u32>,
    /// How often each key was written since it was last deleted for good.
    writes: BTreeMap<u32, u32>,
    snapshots: Vec<(Snapshot, BTreeMap<u32, u32>)>,
    random: Random,
    tail: u32,
}

/// What the pair is asked at one moment.
struct Asked<'a> {
    model: &'a BTreeMap<u32, u32>,
    snapshot: Option<&'a Snapshot>,
    queue: &'a Keyspace,
}

impl Asked<'_> {
    /// Asks from `start` to `end` and compares; with `whole`, all there is.
    fn check(&self, start: u32, end: u32, whole: bool) {
        let (from, to) = (key(start), key(end));
        let range = || match self.snapshot {
            Some(snapshot) => snapshot.range(self.queue, from..to),
            None => self.queue.range(from..to),
        };
        let item = |item: Option<lsm_tree::Result<(Slice, Slice)>>| item.map(|item| item.unwrap().0);
        let inside = || self.model.range(start..end.max(start)).map(|(at, _)| Slice::from(&key(*at)[..]));
        assert_eq!(item(range().next()), inside().next(), "from {start} to {end}");
        let mut cursor = match self.snapshot {
            Some(snapshot) => snapshot.cursor(self.queue),
            None => self.queue.cursor(),
        };
        cursor.seek_to_first().unwrap();
        let head = self.model.keys().next().map(|at| key(*at));
        assert_eq!(cursor.valid().then(|| cursor.key()), head.as_ref().map(|head| &head[..]));
        cursor.seek(from).unwrap();
        let at_or_after = self.model.range(start..).next().map(|(at, _)| key(*at));
        assert_eq!(cursor.valid().then(|| cursor.key()), at_or_after.as_ref().map(|at| &at[..]), "{start}");
        if cursor.valid() {
            cursor.prev().unwrap();
            let before = self.model.range(..start).next_back().map(|(at, _)| key(*at));
            assert_eq!(cursor.valid().then(|| cursor.key()), before.as_ref().map(|at| &at[..]));
        }
        if whole {
            let all: Vec<Slice> = range().map(|item| item.unwrap().0).collect();
            assert_eq!(all, inside().collect::<Vec<_>>());
            let mut both = range();
            let (mut front, mut back) = (Vec::new(), Vec::new());
            while let Some(at) = item(both.next()) {
                front.push(at);
                back.extend(item(both.next_back()));
            }
            front.extend(back.into_iter().rev());
            assert_eq!(front, all, "from both ends");
        }
    }
}

impl Pair {
    fn put(&mut self, at: u32) {
        let value = self.random.next() as u32;
        if self.random.chance(20) {
            // A batch, in which a key may come, go and come again.
            let mut batch = self.database.batch();
            batch.insert(&self.queue, key(at), "first").remove(&self.queue, key(at));
            batch.insert(&self.queue, key(at), key(value)).remove(&self.queue, key(u32::MAX));
            batch.commit().unwrap();
            self.writes.insert(at, 1);
        } else {
            self.queue.insert(key(at), key(value)).unwrap();
            *self.writes.entry(at).or_default() += 1;
        }
        self.model.insert(at, value);
    }

    fn pop(&mut self) {
        let Some((head, value)) = self.model.pop_first() else { return };
        let writes = self.writes.remove(&head);
        let found = self.queue.first_key_value().unwrap().unwrap();
        assert_eq!(found, (Slice::from(&key(head)[..]), Slice::from(&key(value)[..])));
        match self.random.below(4) {
            0 if writes == Some(1) => self.queue.remove_weak(key(head)).unwrap(),
            1 => self.queue.remove_range(..=key(head)).unwrap(),
            2 => {
                let mut batch = self.database.batch();
                batch.remove(&self.queue, key(head));
                batch.commit().unwrap();
            }
            _ => self.queue.remove(key(head)).unwrap(),
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            // Rarely alone: a stretch is worth noting when it is long enough.
            0..40 => (0..self.random.below(40)).for_each(|_| self.pop()),
            40..70 => {
                for _ in 0..self.random.below(40) {
                    self.tail += 1 + self.random.below(3) as u32;
                    self.put(self.tail);
                }
            }
            // Somewhere before the head, where all is dead.
            70..78 => {
                let at = self.random.below(u64::from(self.tail) + 1) as u32;
                self.put(at);
            }
            78..84 if self.snapshots.len() < 4 => {
                self.snapshots.push((self.database.snapshot(), self.model.clone()));
            }
            78..88 => {
                let at = self.random.index(self.snapshots.len());
                if at < self.snapshots.len() {
                    self.snapshots.swap_remove(at);
                }
            }
            88..92 => self.queue.flush().unwrap(),
            92..94 => self.queue.compact_range(..).unwrap(),
            94 => {
                self.queue.clear().unwrap();
                self.model.clear();
                self.writes.clear();
            }
            _ => {
                let from = self.random.below(u64::from(self.tail) + 1) as u32;
                let to = from + self.random.below(50) as u32;
                self.queue.remove_range(key(from)..key(to)).unwrap();
                self.model.retain(|at, _| !(from..to).contains(at));
                self.writes.retain(|at, _| !(from..to).contains(at));
            }
        }
    }

    fn check(&mut self) {
        let whole = self.random.chance(10);
        let start = self.random.below(u64::from(self.tail) + 20) as u32;
        let start = if self.random.chance(40) { 0 } else { start };
        let end = start + self.random.below(200) as u32;
        let end = if self.random.chance(40) { u32::MAX } else { end };
        Asked { model: &self.model, snapshot: None, queue: &self.queue }.check(start, end, whole);
        for (snapshot, model) in &self.snapshots {
            Asked { model, snapshot: Some(snapshot), queue: &self.queue }.check(start, end, whole);
        }
    }
}

#[test]
fn a_queue_answers_as_a_map_does() {
    const STEPS: usize = 600;
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} replays this run");
    for (at, config) in oracle_configs().into_iter().enumerate() {
        let mut options = config.options;
        options.advanced().fs(Arc::new(MemFs::new()));
        let database = options.open("db").unwrap();
        let queue = database.keyspace("queue", config.keyspace).unwrap();
        let random = Random::new(seed.wrapping_add(at as u64));
        let (model, writes, snapshots) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut pair = Pair { database, queue, model, writes, snapshots, random, tail: 0 };
        for _ in 0..STEPS {
            pair.step();
            pair.check();
        }
    }
}

/// Keys that were acknowledged and not yet popped, and those popped before that.
#[derive(Default)]
struct Known {
    waiting: BTreeSet<[u8; 8]>,
    popped_early: BTreeSet<[u8; 8]>,
}

/// Two threads push at the tail, one anywhere before it, one pops and two only look.
fn run_side_by_side(database: &Database, queue: &Keyspace, seed: u64) {
    const PUSHES: u32 = 8_000;
    let known = Mutex::new(Known::default());
    let pushing = AtomicUsize::new(3);
    let push = |priority: u32, unique: u32| {
        let item: [u8; 8] = [key(priority), key(unique)].concat().try_into().unwrap();
        queue.insert(item, "job").unwrap();
        let mut known = known.lock().unwrap();
        if !known.popped_early.remove(&item) {
            known.waiting.insert(item);
        }
    };
    let pop = || -> Option<()> {
        let floor = known.lock().unwrap().waiting.first().copied();
        let head = first(queue);
        let is_right = floor.is_none_or(|floor| head.as_ref().is_some_and(|head| **head <= floor[..]));
        assert!(is_right, "{floor:?} waits, and the head is {head:?}");
        let head: [u8; 8] = head?[..].try_into().unwrap();
        queue.remove(head).unwrap();
        let mut known = known.lock().unwrap();
        if !known.waiting.remove(&head) {
            assert!(known.popped_early.insert(head), "popped twice");
        }
        Some(())
    };
    let mut popped = 0;
    thread::scope(|scope| {
        for pusher in 0..3 {
            let (push, pushing) = (&push, &pushing);
            let mut random = Random::new(seed.wrapping_add(pusher));
            scope.spawn(move || {
                for unique in 0..PUSHES {
                    let is_rare = pusher == 2 && unique % 16 != 0;
                    let below = random.below(u64::from(unique) + 1) as u32;
                    push(if pusher == 2 && !is_rare { below } else { unique }, unique * 3 + pusher as u32);
                }
                pushing.fetch_sub(1, Ordering::Relaxed);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while pushing.load(Ordering::Relaxed) > 0 {
                    let snapshot = database.snapshot();
                    let forward = snapshot.first_key_value(queue).unwrap();
                    let backward = snapshot.iter(queue).rev().last().transpose().unwrap();
                    assert_eq!(forward, backward, "the head, looked for from either end");
                }
            });
        }
        while pushing.load(Ordering::Relaxed) > 0 {
            popped += u32::from(pop().is_some());
        }
    });
    while pop().is_some() {
        popped += 1;
    }
    assert_eq!(popped, 3 * PUSHES);
}

#[test]
fn what_is_pushed_is_popped_once_and_in_order_by_many_threads() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} replays this run");
    let tiny = oracle_configs().into_iter().find(|config| config.name == "tiny memtables").unwrap();
    let mut options = tiny.options;
    options.advanced().fs(Arc::new(MemFs::new()));
    let worlds = [(in_memory(), KeyspaceOptions::default()), (options.open("tiny").unwrap(), tiny.keyspace)];
    for (database, keyspace) in worlds {
        let queue = database.keyspace("queue", keyspace).unwrap();
        run_side_by_side(&database, &queue, seed);
    }
}
