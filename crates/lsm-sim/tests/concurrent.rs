//! Eight threads write while others read, and flushes and compactions never stop:
//! no reader sees half a batch, and a snapshot says the same whenever it is asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::{Random, oracle_configs, seed_from_env};
use lsm_tree::{Database, Keyspace, KeyspaceOptions, Options, Snapshot};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WRITERS: u64 = 8;
const TIME: Duration = Duration::from_secs(3);

struct World {
    database: Database,
    left: Keyspace,
    right: Keyspace,
    stop: AtomicBool,
}

impl World {
    fn new(options: Options, keyspace: KeyspaceOptions) -> Self {
        let database = options.open("concurrent").unwrap();
        let left = database.keyspace("left", keyspace.clone()).unwrap();
        let right = database.keyspace("right", keyspace).unwrap();
        Self { database, left, right, stop: AtomicBool::new(false) }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Runs the bodies until the time is up or one of them panics.
    fn run(&self, bodies: Vec<Box<dyn FnOnce() + Send + '_>>) {
        struct StopOnDrop<'a>(&'a AtomicBool);
        impl Drop for StopOnDrop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        thread::scope(|scope| {
            for body in bodies {
                scope.spawn(move || {
                    let _stop_the_others = StopOnDrop(&self.stop);
                    body();
                });
            }
            let end = Instant::now() + TIME;
            while Instant::now() < end && self.goes_on() {
                thread::sleep(Duration::from_millis(10));
            }
            self.stop.store(true, Ordering::Relaxed);
        });
    }

    /// Flushes and compacts without a pause.
    fn churn(&self) {
        while self.goes_on() {
            self.left.flush().unwrap();
            self.right.flush().unwrap();
            self.left.compact_range(..).unwrap();
            self.right.compact_range("5"..).unwrap();
        }
    }
}

/// The configurations with which memory fills and levels move the most.
fn worlds() -> Vec<(&'static str, World)> {
    let busy = ["small memtables", "tiny memtables", "many levels of tiny tables", "size-tiered"];
    let configs = oracle_configs().into_iter().filter(|config| busy.contains(&config.name));
    configs.map(|config| (config.name, World::new(config.options, config.keyspace))).collect()
}

const ACCOUNTS: u64 = 12;
const START: u64 = 1_000;

fn account(writer: u64, number: u64) -> String {
    format!("{writer}-account-{number:02}")
}

fn amount(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("an amount has eight bytes"))
}

/// Moves money between the accounts of one writer, which lie in both keyspaces. An
/// empty account is removed.
fn transfer(world: &World, writer: u64, random: &mut Random) {
    let mut amounts = vec![START; ACCOUNTS as usize];
    let keyspace = |number: usize| if number.is_multiple_of(2) { &world.left } else { &world.right };
    while world.goes_on() {
        let (from, to) = (random.index(amounts.len()), random.index(amounts.len()));
        let moved = if random.chance(30) { amounts[from] } else { random.below(amounts[from] + 1) };
        amounts[from] -= moved;
        amounts[to] += moved;
        let mut batch = world.database.batch();
        for number in [from, to] {
            let key = account(writer, number as u64);
            match amounts[number] {
                0 => batch.remove(keyspace(number), key),
                amount => batch.insert(keyspace(number), key, amount.to_le_bytes()),
            };
        }
        batch.commit().unwrap();
    }
}

type Book = BTreeMap<Vec<u8>, u64>;

fn by_scan(world: &World, snapshot: &Snapshot, reverse: bool) -> Book {
    let mut book = Book::new();
    for keyspace in [&world.left, &world.right] {
        let items = snapshot.range(keyspace, ..);
        let items: Vec<_> = if reverse { items.rev().collect() } else { items.collect() };
        for item in items {
            let (key, value) = item.unwrap();
            assert!(book.insert(key.to_vec(), amount(&value)).is_none(), "{key:?} came twice");
        }
    }
    book
}

fn by_get(world: &World, snapshot: &Snapshot) -> Book {
    let mut book = Book::new();
    for writer in 0..WRITERS {
        for number in 0..ACCOUNTS {
            let keyspace = if number.is_multiple_of(2) { &world.left } else { &world.right };
            let key = account(writer, number);
            if let Some(value) = snapshot.get(keyspace, &key).unwrap() {
                book.insert(key.into_bytes(), amount(&value));
            }
        }
    }
    book
}

fn by_cursor(world: &World, snapshot: &Snapshot) -> Book {
    let mut book = Book::new();
    for keyspace in [&world.left, &world.right] {
        let mut cursor = snapshot.cursor(keyspace);
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            book.insert(cursor.key().to_vec(), amount(cursor.value()));
            cursor.next().unwrap();
        }
    }
    book
}

fn audit(world: &World, name: &str, random: &mut Random) {
    let mut held: Vec<(Snapshot, Book)> = Vec::new();
    let mut audits = 0;
    while world.goes_on() {
        let snapshot = world.database.snapshot();
        let book = match random.below(3) {
            0 => by_scan(world, &snapshot, random.chance(50)),
            1 => by_get(world, &snapshot),
            _ => by_cursor(world, &snapshot),
        };
        let sum: u64 = book.values().sum();
        assert_eq!(sum, WRITERS * ACCOUNTS * START, "{name}: a snapshot saw half of a transfer: {book:?}");
        held.push((snapshot, book));
        if held.len() > 8 {
            let (snapshot, book) = held.swap_remove(random.index(held.len()));
            let again = match random.below(3) {
                0 => by_scan(world, &snapshot, random.chance(50)),
                1 => by_get(world, &snapshot),
                _ => by_cursor(world, &snapshot),
            };
            assert_eq!(book, again, "{name}: a snapshot changed its mind");
        }
        audits += 1;
    }
    println!("{name}: {audits} audits");
}

#[test]
fn no_snapshot_sees_half_of_a_transfer_and_none_changes_its_mind() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} makes the same choices again");
    for (name, world) in worlds() {
        let mut batch = world.database.batch();
        for writer in 0..WRITERS {
            for number in 0..ACCOUNTS {
                let keyspace = if number.is_multiple_of(2) { &world.left } else { &world.right };
                batch.insert(keyspace, account(writer, number), START.to_le_bytes());
            }
        }
        batch.commit().unwrap();
        let world = &world;
        let mut bodies: Vec<Box<dyn FnOnce() + Send>> = vec![Box::new(|| world.churn())];
        for writer in 0..WRITERS {
            bodies.push(Box::new(move || transfer(world, writer, &mut Random::new(seed ^ writer))));
        }
        for reader in 0..2 {
            bodies.push(Box::new(move || audit(world, name, &mut Random::new(seed ^ reader << 32))));
        }
        world.run(bodies);
    }
}

/// Each batch writes the same counter under two keys; single gets, one after the
/// other in either order, must never see the second one behind the first.
fn count_up(world: &World, writer: u64) {
    let (ahead, behind) = (format!("{writer}-a"), format!("{writer}-z"));
    for count in 1_u64.. {
        if !world.goes_on() {
            return;
        }
        let mut batch = world.database.batch();
        batch.insert(&world.left, &ahead, count.to_le_bytes());
        batch.insert(&world.right, &behind, count.to_le_bytes());
        batch.insert(&world.left, &behind, count.to_le_bytes());
        batch.commit().unwrap();
    }
}

fn watch_counters(world: &World, name: &str, random: &mut Random) {
    let get = |keyspace: &Keyspace, key: &str| keyspace.get(key).unwrap().map_or(0, |value| amount(&value));
    let mut highest = BTreeMap::new();
    while world.goes_on() {
        let writer = random.below(WRITERS);
        let (ahead, behind) = (format!("{writer}-a"), format!("{writer}-z"));
        let mut places = [(&world.left, &ahead), (&world.right, &behind), (&world.left, &behind)];
        places.rotate_left(random.index(3));
        let seen = places.map(|(keyspace, key)| get(keyspace, key));
        assert!(seen.is_sorted(), "{name}: later gets saw older halves of a batch: {seen:?}");
        let before = highest.insert(writer, seen[2]).unwrap_or(0);
        assert!(before <= seen[0], "{name}: a get went back from {before} to {}", seen[0]);
        if random.chance(5) {
            // One moment of one keyspace: both keys of a batch, by iterator and multi_get.
            let pair: Vec<_> = world.left.prefix(format!("{writer}-")).map(|item| item.unwrap().1).collect();
            assert!(pair.windows(2).all(|two| two[0] == two[1]), "{name}: an iterator saw half a batch");
            let pair = world.left.multi_get([&ahead, &behind]).unwrap();
            assert_eq!(pair[0], pair[1], "{name}: multi_get saw half a batch");
        }
    }
}

#[test]
fn plain_gets_never_see_half_a_batch() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} makes the same choices again");
    for (name, world) in worlds() {
        let world = &world;
        let mut bodies: Vec<Box<dyn FnOnce() + Send>> = vec![Box::new(|| world.churn())];
        for writer in 0..WRITERS {
            bodies.push(Box::new(move || count_up(world, writer)));
        }
        for reader in 0..3 {
            bodies.push(Box::new(move || watch_counters(world, name, &mut Random::new(seed ^ reader << 32))));
        }
        world.run(bodies);
    }
}
