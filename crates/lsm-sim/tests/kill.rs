//! A process that writes numbered batches is killed with SIGKILL at random moments,
//! more than a hundred times: what it acknowledged is there, and no batch is half
//! there. The child is this test binary itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::{Numbered, Random, seed_from_env};
use lsm_tree::{Durability, KeyspaceOptions, Options};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const DIR: &str = "LSM_SIM_KILL_DIR";
const KIND: &str = "LSM_SIM_KILL_KIND";
const KILLS_PER_KIND: usize = 18;

/// How one kind of child writes.
struct Kind {
    name: &'static str,
    options: Options,
    keyspace: KeyspaceOptions,
    writers: u64,
    /// Every so many batches are Sync; the others Buffered.
    sync_every: u64,
}

fn kinds() -> Vec<Kind> {
    let small = || Options::default().write_buffer_size(16 << 10).cache_size(1 << 20);
    let tables = || KeyspaceOptions::default().table_size(16 << 10).level_base_size(64 << 10);
    let mut rolling = Options::default().write_buffer_size(64 << 10).max_log_size(64 << 10);
    rolling.advanced().log_segment_size(8 << 10);
    let kind =
        |name, options, keyspace, writers, sync_every| Kind { name, options, keyspace, writers, sync_every };
    vec![
        kind("defaults", Options::default(), KeyspaceOptions::default(), 1, 7),
        kind("small memtables", small(), tables(), 1, 10),
        kind("all sync", small(), tables(), 2, 1),
        kind("all buffered", small(), tables(), 1, u64::MAX),
        kind("rolling log", rolling, tables(), 1, 5),
        kind("three writers", small(), tables(), 3, 20),
    ]
}

/// Not a test of its own: what the killed process does. Without the variable it
/// does nothing.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let kind = kinds().remove(std::env::var(KIND).unwrap().parse().unwrap());
    let database = kind.options.open(dir).unwrap();
    let numbered = Numbered::open(database, &kind.keyspace).unwrap();
    let lasts = numbered.check(kind.writers).expect("the state at the start is whole");
    std::thread::scope(|scope| {
        for (writer, last) in lasts.into_iter().enumerate() {
            let numbered = &numbered;
            scope.spawn(move || {
                for number in last + 1.. {
                    let sync = number.is_multiple_of(kind.sync_every);
                    let durability = if sync { Durability::Sync } else { Durability::Buffered };
                    numbered.write(writer as u64, number, durability).unwrap();
                    // One write(2) a line; no buffer that could die with the process.
                    let line = format!("ack {writer} {number}\n");
                    std::io::stderr().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

/// Lets a child live for a while, and returns the last number it acknowledged for
/// each writer, and whatever else it said.
fn live_and_die(kind: usize, dir: &Path, life: Duration, writers: u64) -> (Vec<u64>, Vec<String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_that_writes_until_it_is_killed", "--exact", "--nocapture"])
        .env(DIR, dir)
        .env(KIND, kind.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut acknowledged = vec![0; writers as usize];
        let mut other = Vec::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["ack", writer, number] => {
                    acknowledged[writer.parse::<usize>().unwrap()] = number.parse().unwrap();
                }
                _ => other.push(line),
            }
        }
        (acknowledged, other)
    });
    std::thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

fn kill_again_and_again(index: usize, random: &mut Random) -> u64 {
    let kind = kinds().remove(index);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("db");
    let mut known = vec![0; kind.writers as usize];
    for round in 0..KILLS_PER_KIND {
        // Some die while they open the database, some while they have written a lot.
        let life =
            Duration::from_millis(if random.chance(20) { random.below(15) } else { random.below(220) });
        let (acknowledged, other) = live_and_die(index, &dir, life, kind.writers);
        assert!(other.is_empty(), "{}: in round {round} the child said: {}", kind.name, other.join("\n"));
        let database = kind.options.clone().open(&dir);
        let database = database
            .unwrap_or_else(|error| panic!("{}: cannot be opened after kill {round}: {error:?}", kind.name));
        let numbered = Numbered::open(database, &kind.keyspace).unwrap();
        let lasts = numbered.check(kind.writers).unwrap_or_else(|why| {
            panic!("{}: after kill {round} (acknowledged {acknowledged:?}): {why}", kind.name)
        });
        for (writer, &last) in lasts.iter().enumerate() {
            let promised = known[writer].max(acknowledged[writer]);
            assert!(
                last >= promised,
                "{}: writer {writer} was promised batch {promised}, but after kill {round} the last one is {last}",
                kind.name
            );
        }
        known = lasts;
    }
    assert!(known.iter().sum::<u64>() > 0, "{}: no child ever wrote anything", kind.name);
    known.iter().sum()
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} chooses the same moments again");
    let halves: Vec<_> = (0..2)
        .map(|half| {
            std::thread::spawn(move || {
                let mine = (0..kinds().len()).filter(|index| index % 2 == half);
                mine.map(|index| kill_again_and_again(index, &mut Random::new(seed ^ index as u64)))
                    .sum::<u64>()
            })
        })
        .collect();
    let batches: u64 = halves.into_iter().map(|half| half.join().unwrap()).sum();
    println!("{} kills, {batches} batches", KILLS_PER_KIND * kinds().len());
}
