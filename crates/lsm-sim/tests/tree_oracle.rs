//! Random programs against a `Tree` and its history: every write and read names
//! its sequence number, in order and out of it, twice the same, too old, below the
//! watermark. A failure prints a seed for `LSM_SEED` and a short script.

use lsm_sim::{Campaign, generate_tree, oracle_configs, run_tree_script, seed_from_env};

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
