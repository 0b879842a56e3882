//! Random programs against a `Database` and the model: 200,000 operations and more
//! over a dozen configurations, in memory and on the real file system. A failure
//! prints a seed for `LSM_SEED` and the shortest script that still fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::{
    Campaign, Config, HookFs, Op, Profile, generate, oracle_configs, replay, run_script, seed_from_env,
};
use lsm_vfs::MemFs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Operations a configuration; the configurations together pass 200,000.
const SCRIPTS: usize = 10;
const OPS: usize = 2_000;

fn profile(config: &Config) -> Profile {
    match config.name {
        // Enough keys that no memtable holds them all.
        "many levels of tiny tables" => Profile { keys: 2_000, value_bytes: 60, ..Profile::default() },
        "small log" => Profile { reopens: 120, ..Profile::default() },
        _ => Profile::default(),
    }
}

fn check(configs: Vec<Config>, campaign: Campaign) -> usize {
    println!("LSM_SEED=0x{:x} replays this run", campaign.seed);
    let mut done = 0;
    for config in configs {
        let profile = profile(&config);
        match campaign.run(&config, |seed, len| generate(seed, len, &profile), run_script) {
            Ok(ops) => done += ops,
            Err(report) => panic!("the database differs from the model\n{report}"),
        }
    }
    done
}

/// Half of the configurations, so that two tests share the work on two cores.
fn half(which: usize) -> Vec<Config> {
    oracle_configs().into_iter().enumerate().filter(|(at, _)| at % 2 == which).map(|(_, c)| c).collect()
}

#[test]
fn databases_in_memory_answer_as_the_model_does() {
    check(half(0), Campaign { seed: seed_from_env(), scripts: SCRIPTS, ops: OPS });
}

#[test]
fn databases_in_memory_answer_as_the_model_does_second_half() {
    check(half(1), Campaign { seed: seed_from_env(), scripts: SCRIPTS, ops: OPS });
}

#[test]
fn databases_on_disk_answer_as_the_model_does() {
    let seed = seed_from_env();
    let dir = tempfile::tempdir().unwrap();
    let on_disk = oracle_configs().into_iter().map(|config| config.on_disk(dir.path())).collect();
    check(on_disk, Campaign { seed, scripts: 1, ops: OPS });
}

#[test]
fn deterministic_databases_answer_as_the_model_does() {
    let seed = seed_from_env();
    let configs = oracle_configs().into_iter().map(|config| config.deterministic(seed)).collect();
    check(configs, Campaign { seed, scripts: 2, ops: OPS });
}

/// Calls of the file system that no kept script needs: past them work goes in circles.
const BUDGET: u64 = 50_000;

/// The same on an empty disk that refuses everything past the budget, so that work
/// which never ends is a difference and not a hang.
fn with_budget(config: &Config) -> Config {
    let calls = AtomicU64::new(0);
    let fs = HookFs::new(Arc::new(MemFs::new()), move |_, _| {
        let spent = calls.fetch_add(1, Ordering::Relaxed) > BUDGET;
        if spent { Err(ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    });
    let (options, keyspace) = (config.options.clone(), config.keyspace.clone());
    Config::on(config.name, Arc::new(fs), Path::new("db"), options, keyspace)
}

/// `LSM_SCRIPT=file cargo test … kept_scripts` replays one file more.
#[test]
fn kept_scripts_show_no_difference_any_more() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let kept = std::fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.filter(|path| path.extension().is_some_and(|extension| extension == "script"));
    for path in kept.chain(std::env::var_os("LSM_SCRIPT").map(Into::into)) {
        let text = std::fs::read_to_string(&path).unwrap();
        for config in oracle_configs() {
            for config in [1, 23]
                .map(|seed| with_budget(&config).deterministic(seed))
                .into_iter()
                .chain([with_budget(&config)])
            {
                if let Err(difference) = replay::<Op>(&text, &config, run_script) {
                    panic!("{}: {difference}", path.display());
                }
            }
        }
    }
}
