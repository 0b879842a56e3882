//! A process that writes is killed with SIGKILL at random moments, more than a hundred
//! times: what it acknowledged is there, and no batch is half there. The child is this
//! test binary itself. `cargo xtask kill` does the same a thousand times.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::kill::{Killable, Kind, OnError, kill_again_and_again};
use lsm_sim::{Random, seed_from_env};
use std::process::Command;

const DIR: &str = "LSM_SIM_KILL_DIR";
const KIND: &str = "LSM_SIM_KILL_KIND";
const LIFE: &str = "LSM_SIM_KILL_LIFE";
const KINDS: u64 = 12;
const KILLS_PER_KIND: u64 = 9;

/// Not a test of its own: what the killed process does. Without the variable it
/// does nothing.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let number = |name| std::env::var(name).unwrap().parse().unwrap();
    let kind = Kind::new(number(KIND));
    let killable = Killable::open(&kind, dir.as_ref(), number(LIFE)).unwrap();
    let from = killable.check(kind.writers).expect("the state at the start is whole");
    killable.write_for_ever(&kind, &from, OnError::Tell);
}

fn kill_kind(seed: u64) -> u64 {
    let kind = Kind::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("db");
    let command = |life: u64| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["child_that_writes_until_it_is_killed", "--exact", "--nocapture"])
            .env(DIR, &dir)
            .env(KIND, seed.to_string())
            .env(LIFE, life.to_string());
        command
    };
    kill_again_and_again(&kind, &dir, KILLS_PER_KIND, &mut Random::new(!seed), command)
        .unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} chooses the same options and moments again");
    let halves: Vec<_> = (0..2)
        .map(|half| {
            std::thread::spawn(move || {
                let kinds = (0..KINDS).filter(|kind| kind % 2 == half);
                kinds.map(|kind| kill_kind(lsm_vfs::mix64(seed.wrapping_add(kind)))).sum::<u64>()
            })
        })
        .collect();
    let writes: u64 = halves.into_iter().map(|half| half.join().unwrap()).sum();
    assert!(writes > 0, "no child ever wrote anything");
    println!("{} kills, {writes} writes", KILLS_PER_KIND * KINDS);
}
