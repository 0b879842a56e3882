//! Random programs against a `Tree` and its history: every write and read names
//! its sequence number, in order and out of it, twice the same, too old, below the
//! watermark. A failure prints a seed for `LSM_SEED` and a short script.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::{Campaign, TreeOp, generate_tree, oracle_configs, replay, run_tree_script, seed_from_env};
use std::path::Path;

#[test]
fn trees_answer_as_their_history_does() {
    let campaign = Campaign { seed: seed_from_env(), scripts: 6, ops: 1_500 };
    println!("LSM_SEED=0x{:x} replays this run", campaign.seed);
    for config in oracle_configs() {
        if let Err(report) = campaign.run(&config, generate_tree, run_tree_script) {
            panic!("the tree differs from its history\n{report}");
        }
    }
}

/// `LSM_TREE_SCRIPT=file cargo test … kept_tree_scripts` replays one file more.
#[test]
fn kept_tree_scripts_show_no_difference_any_more() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/tree");
    let kept = std::fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path());
    for path in kept.chain(std::env::var_os("LSM_TREE_SCRIPT").map(Into::into)) {
        let text = std::fs::read_to_string(&path).unwrap();
        for config in oracle_configs() {
            if let Err(difference) = replay::<TreeOp>(&text, &config, run_tree_script) {
                panic!("{}: {difference}", path.display());
            }
        }
    }
}
