//! The simulator: kept scripts, the same run twice, fresh seeds, a share of the fault
//! sweep; and its teeth, on disks that lie.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where things are not as they should be")]

use lsm_sim::sim::{FaultSweep, Lie, Mix, SimCampaign, SimOp, generate_sim, run_sim};
use lsm_sim::{Script, seed_from_env};
use lsm_tree::{Execution, KeyspaceOptions, Options};
use lsm_vfs::MemFs;
use std::path::Path;
use std::sync::Arc;

/// `LSM_SIM_SCRIPT=file cargo test … kept_simulations` replays one file more.
#[test]
fn kept_simulations_show_nothing_any_more() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/sim");
    let kept = std::fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path());
    for path in kept.chain(std::env::var_os("LSM_SIM_SCRIPT").map(Into::into)) {
        let script: Script<SimOp> = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        if let Err(found) = run_sim(&script, None) {
            panic!("{}: {found}", path.display());
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run_byte_for_byte() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} replays this run");
    let mut traces = std::collections::BTreeSet::new();
    for number in 0..12 {
        let script = generate_sim(seed ^ number, &Mix::default());
        let read: Script<SimOp> = script.to_string().parse().unwrap();
        assert_eq!(read, script, "a script changes on its way through text");
        let first = run_sim(&script, None).unwrap_or_else(|found| panic!("{found}\n{script}"));
        let second = run_sim(&read, None).unwrap_or_else(|found| panic!("{found}\n{script}"));
        assert_eq!(first, second, "a seed gave two runs\n{script}");
        assert!(first.steps > 0 && first.image != 0);
        traces.insert(first.trace);
    }
    assert_eq!(traces.len(), 12, "different seeds gave the same run");
}

#[test]
fn simulations_with_fresh_seeds_find_nothing() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} replays this run");
    let campaign = SimCampaign::new(seed, 300);
    let (runs, sum) = campaign.run().unwrap_or_else(|failure| panic!("seed 0x{seed:x}\n{failure}"));
    println!("{runs} simulations, {} crashes, {} in recovery", sum.crashes, sum.in_recovery);
    assert!(sum.crashes >= 300 && sum.in_recovery > 0 && sum.faults > 0);
}

#[test]
fn a_share_of_the_fault_sweep_finds_nothing() {
    let sweep = FaultSweep { stride: 61, threads: 2 };
    let (count, ways, _) = sweep.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert!(count as usize > ways, "only {count} operations failed in {ways} ways");
}

/// The campaign has to notice a disk that tells `lie`, with a script of at most `longest`
/// steps.
fn notices(lie: Lie, longest: usize) {
    let mut campaign = SimCampaign::new(0x7ee7, 20_000);
    campaign.lie = Some(lie);
    campaign.mix = Mix { faulty: 0, ..Mix::default() };
    let Err(failure) = campaign.run() else { panic!("nobody noticed {lie:?}") };
    println!("{lie:?}\n{failure}");
    assert!(failure.script.ops.len() <= longest, "not shrunk:\n{failure}");
    let kept: Script<SimOp> = failure.script.to_string().parse().unwrap();
    assert!(run_sim(&kept, Some(lie)).is_err(), "the kept script does not fail");
    assert!(run_sim(&kept, None).is_ok(), "the script fails on an honest disk too");
}

#[test]
fn a_disk_that_ignores_syncs_of_the_log_is_noticed() {
    notices(Lie::SyncOf(".log"), 12);
}

#[test]
fn a_disk_that_ignores_syncs_of_tables_is_noticed() {
    notices(Lie::SyncOf(".sst"), 20);
}

#[test]
fn a_disk_that_ignores_syncs_of_directories_is_noticed() {
    notices(Lie::SyncOfDirectories, 12);
}

#[test]
fn a_disk_that_ignores_syncs_of_the_manifest_is_noticed() {
    // A new manifest is written under another name.
    notices(Lie::SyncOf("MANIFEST.new"), 20);
}

/// After a kill opening makes a new segment of the log, so it needs a little room; without,
/// it says so and changes nothing. After a clean close it needs none before the first write.
#[test]
fn opening_on_a_full_disk_says_so_and_loses_nothing() {
    let open = |disk: &MemFs| {
        let mut options = Options::default();
        let execution = Execution::Deterministic { seed: 1 };
        options.advanced().fs(Arc::new(disk.clone())).seed(1).execution(execution);
        options.open("db")
    };
    let closed = MemFs::new();
    let database = open(&closed).unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    for number in 0..100_u32 {
        keyspace.insert(number.to_be_bytes(), "value").unwrap();
    }
    keyspace.flush().unwrap();
    keyspace.insert("last", "value").unwrap();
    let killed = closed.process_kill();
    drop((database, keyspace));
    for _ in 0..3 {
        killed.set_capacity(killed.used_bytes());
        let error = open(&killed).expect_err("it opened without room for a segment of the log");
        assert!(error.is_disk_full(), "{error:?}");
        closed.set_capacity(closed.used_bytes());
        let database = open(&closed).unwrap();
        let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
        assert_eq!(keyspace.len().unwrap(), 101);
        let error = keyspace.insert("new", "value").expect_err("it wrote without room");
        assert!(error.is_disk_full(), "{error:?}");
    }
    for disk in [killed, closed] {
        disk.set_capacity(u64::MAX);
        let database = open(&disk).unwrap();
        let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
        assert_eq!(keyspace.len().unwrap(), 101);
        keyspace.insert("new", "value").unwrap();
    }
}
