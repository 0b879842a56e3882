//! What snapshots and batches isolate, and what they do not. Threads read and write
//! while flushes and compactions never stop; the history of what each saw goes to a
//! checker that knows torn reads, long forks, G-single, lost updates and write skew.
//! That the checker finds them is shown in `src/isolation.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::isolation::{Anomaly, Key, Level, Transaction, Version, check};
use lsm_sim::{Random, oracle_configs, seed_from_env};
use lsm_tree::{Database, Keyspace, Snapshot};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WRITERS: u32 = 3;
const READERS: u32 = 3;
const KEYS_PER_WRITER: u32 = 4;
const KEYS: u32 = WRITERS * KEYS_PER_WRITER;
/// The configurations in which memory fills and levels move the most.
const BUSY: [&str; 3] = ["tiny memtables", "many levels of tiny tables", "size-tiered"];
const TIME: Duration = Duration::from_millis(1_500);
/// Enough to find what there is; a checker's work grows with it.
const MOST_EACH: usize = 3_000;

struct World {
    database: Database,
    keyspaces: [Keyspace; 2],
    stop: AtomicBool,
    clock: AtomicU64,
    history: Mutex<Vec<Transaction>>,
}

fn name(key: Key) -> String {
    format!("key-{key:03}")
}

fn version(value: Option<impl AsRef<[u8]>>) -> Version {
    value.map_or(0, |bytes| u64::from_le_bytes(*bytes.as_ref().first_chunk().unwrap()))
}

impl World {
    fn of(config: &str) -> Self {
        let config = oracle_configs().into_iter().find(|known| known.name == config).unwrap();
        let database = config.options.open("isolation").unwrap();
        let keyspaces =
            ["left", "right"].map(|name| database.keyspace(name, config.keyspace.clone()).unwrap());
        Self {
            database,
            keyspaces,
            stop: AtomicBool::new(false),
            clock: AtomicU64::new(0),
            history: Mutex::new(Vec::new()),
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Neighbouring keys lie in different keyspaces.
    fn home(&self, key: Key) -> &Keyspace {
        &self.keyspaces[key as usize % 2]
    }

    fn read(&self, snapshot: &Snapshot, key: Key) -> (Key, Version) {
        (key, version(snapshot.get(self.home(key), name(key)).unwrap()))
    }

    /// Everything at once, by a scan in one direction or the other.
    fn scan(&self, snapshot: &Snapshot, reverse: bool) -> Vec<(Key, Version)> {
        let mut seen: Vec<(Key, Version)> = (0..KEYS).map(|key| (key, 0)).collect();
        for keyspace in &self.keyspaces {
            let items = snapshot.range(keyspace, "key-".."key.");
            let items: Vec<_> = if reverse { items.rev().collect() } else { items.collect() };
            for item in items {
                let (key, value) = item.unwrap();
                let key: usize = std::str::from_utf8(&key).unwrap()[4..].parse().unwrap();
                seen[key].1 = version(Some(value));
            }
        }
        seen
    }

    /// Writes these versions in one batch, padded so that memory fills.
    fn commit(&self, writes: &[(Key, Version)]) {
        let mut batch = self.database.batch();
        for &(key, version) in writes {
            batch.insert(self.home(key), name(key), version.to_le_bytes().repeat(6));
        }
        batch.commit().unwrap();
    }

    /// Reads some keys from a snapshot and writes some of its own: each key has one
    /// writer, so that the order of its versions is known.
    fn writer(&self, writer: u32, random: &mut Random) {
        let mut latest = [0; KEYS_PER_WRITER as usize];
        for number in 0..MOST_EACH {
            if !self.goes_on() {
                break;
            }
            let begin = self.now();
            let snapshot = self.database.snapshot();
            let reads = (0..2).map(|_| self.read(&snapshot, random.below(u64::from(KEYS)) as u32)).collect();
            let mut writes: Vec<(Key, Version)> = Vec::new();
            for own in 0..KEYS_PER_WRITER {
                if random.chance(40) {
                    latest[own as usize] += 1;
                    writes.push((writer * KEYS_PER_WRITER + own, latest[own as usize]));
                }
            }
            self.commit(&writes);
            let name = format!("writer {writer} number {number}");
            let done = Transaction { name, begin, end: self.now(), reads, writes };
            self.history.lock().unwrap().push(done);
        }
    }

    fn reader(&self, reader: u32, random: &mut Random) {
        for number in 0..MOST_EACH {
            if !self.goes_on() {
                break;
            }
            let begin = self.now();
            let snapshot = self.database.snapshot();
            let mut reads = self.scan(&snapshot, random.chance(50));
            if random.chance(30) {
                thread::yield_now();
            }
            // Asked again it says the same, whatever was flushed and merged meanwhile.
            reads.extend((0..4).map(|_| self.read(&snapshot, random.below(u64::from(KEYS)) as u32)));
            let name = format!("reader {reader} number {number}");
            let done = Transaction { name, begin, end: self.now(), reads, writes: Vec::new() };
            self.history.lock().unwrap().push(done);
        }
    }

    fn churn(&self) {
        while self.goes_on() {
            for keyspace in &self.keyspaces {
                keyspace.flush().unwrap();
            }
            self.keyspaces[0].compact_range(..).unwrap();
        }
    }

    /// Runs the bodies beside flushes and compactions; the history.
    fn run(self, bodies: Vec<Body>) -> Vec<Transaction> {
        thread::scope(|scope| {
            scope.spawn(|| self.churn());
            let threads: Vec<_> = bodies
                .into_iter()
                .map(|body| {
                    let world = &self;
                    scope.spawn(move || body(world))
                })
                .collect();
            let end = Instant::now() + TIME;
            while Instant::now() < end && !threads.iter().all(|thread| thread.is_finished()) {
                thread::sleep(Duration::from_millis(10));
            }
            self.stop.store(true, Ordering::Relaxed);
        });
        self.history.into_inner().unwrap()
    }
}

type Body = Box<dyn FnOnce(&World) + Send>;

#[test]
fn snapshots_beside_batches_are_isolated() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x}");
    for config in BUSY {
        let mut bodies: Vec<Body> = Vec::new();
        for writer in 0..WRITERS {
            let mut random = Random::new(seed ^ u64::from(writer));
            bodies.push(Box::new(move |world| world.writer(writer, &mut random)));
        }
        for reader in 0..READERS {
            let mut random = Random::new(seed ^ u64::from(reader) << 32);
            bodies.push(Box::new(move |world| world.reader(reader, &mut random)));
        }
        let history = World::of(config).run(bodies);
        println!("{config}: {} transactions", history.len());
        assert!(history.len() > 50, "{config}: next to nothing happened");
        check(&history, Level::Snapshot).unwrap_or_else(|anomaly| panic!("{config}: {anomaly}"));
    }
}

/// Money moves between accounts that all writers share, one transfer at a time because
/// the application takes a lock; every snapshot is one of the moments in between.
#[test]
fn a_bank_under_a_lock_is_serializable_and_its_sum_never_changes() {
    const START: u64 = 1_000;
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x}");
    let world = World::of("tiny memtables");
    let sums = world.database.keyspace("amounts", lsm_tree::KeyspaceOptions::default()).unwrap();
    let mut batch = world.database.batch();
    for key in 0..KEYS {
        batch.insert(&sums, name(key), START.to_le_bytes());
    }
    batch.commit().unwrap();
    let bank: &'static Mutex<()> = Box::leak(Box::default());
    let mut bodies: Vec<Body> = Vec::new();
    for writer in 0..WRITERS {
        let (mut random, sums) = (Random::new(seed ^ u64::from(writer)), sums.clone());
        bodies.push(Box::new(move |world| {
            for number in 0..MOST_EACH {
                if !world.goes_on() {
                    break;
                }
                let from = random.below(u64::from(KEYS)) as Key;
                let to = (from + 1 + random.below(u64::from(KEYS) - 1) as Key) % KEYS;
                let begin = world.now();
                let _bank = bank.lock().unwrap();
                let reads = [from, to].map(|key| (key, version(world.home(key).get(name(key)).unwrap())));
                let writes = reads.map(|(key, version)| (key, version + 1));
                let [old_from, old_to] = [from, to].map(|key| version(sums.get(name(key)).unwrap()));
                let moved = random.below(old_from + 1);
                let mut batch = world.database.batch();
                for (key, version) in writes {
                    batch.insert(world.home(key), name(key), version.to_le_bytes());
                }
                batch.insert(&sums, name(from), (old_from - moved).to_le_bytes());
                batch.insert(&sums, name(to), (old_to + moved).to_le_bytes());
                batch.commit().unwrap();
                let name = format!("transfer {writer}/{number}");
                let done = Transaction {
                    name,
                    begin,
                    end: world.now(),
                    reads: reads.to_vec(),
                    writes: writes.to_vec(),
                };
                world.history.lock().unwrap().push(done);
            }
        }));
    }
    for reader in 0..READERS {
        let (mut random, sums) = (Random::new(seed ^ u64::from(reader) << 32), sums.clone());
        bodies.push(Box::new(move |world| {
            for number in 0..MOST_EACH {
                if !world.goes_on() {
                    break;
                }
                let begin = world.now();
                let snapshot = world.database.snapshot();
                let reads = world.scan(&snapshot, random.chance(50));
                let amounts = snapshot.iter(&sums).map(|item| version(Some(item.unwrap().1)));
                assert_eq!(amounts.sum::<u64>(), START * u64::from(KEYS), "money came or went");
                let name = format!("audit {reader}/{number}");
                let done = Transaction { name, begin, end: world.now(), reads, writes: Vec::new() };
                world.history.lock().unwrap().push(done);
            }
        }));
    }
    let history = world.run(bodies);
    println!("{} transactions", history.len());
    check(&history, Level::Serializable).unwrap_or_else(|anomaly| panic!("{anomaly}"));
}

/// Two that read from a snapshot and then write a batch each, at the same time.
fn side_by_side(world: &World, first: (&[Key], Key), second: (&[Key], Key)) -> Vec<Transaction> {
    let snapshots = [world.database.snapshot(), world.database.snapshot()];
    let mut versions = [0; KEYS as usize];
    let mut history = Vec::new();
    for ((reads, write), snapshot) in [first, second].into_iter().zip(snapshots) {
        let reads = reads.iter().map(|&key| world.read(&snapshot, key)).collect();
        versions[write as usize] += 1;
        let writes = vec![(write, versions[write as usize])];
        world.commit(&writes);
        // They overlap: both snapshots are older than both batches.
        history.push(Transaction { name: format!("writer of {write}"), begin: 0, end: 100, reads, writes });
    }
    history
}

/// Not promised: a batch does not notice what changed since the snapshot it is based on.
#[test]
fn write_skew_is_possible_with_snapshots_and_plain_batches() {
    let world = World::of("tiny memtables");
    let history = side_by_side(&world, (&[1, 2], 1), (&[1, 2], 2));
    assert_eq!(check(&history, Level::Snapshot), Ok(()), "snapshots are as they should be");
    assert!(matches!(check(&history, Level::Serializable), Err(Anomaly::Cycle(_))), "and yet it is a skew");
}

/// Not promised either: who reads, changes and writes a key needs a lock of its own.
#[test]
fn a_lost_update_is_possible_with_snapshots_and_plain_batches() {
    let world = World::of("tiny memtables");
    let history = side_by_side(&world, (&[1], 1), (&[1], 1));
    assert!(matches!(check(&history, Level::Snapshot), Err(Anomaly::Cycle(_))), "one update is lost");
}
