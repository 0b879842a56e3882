//! `cargo xtask sim`: the deterministic simulator of `crates/lsm-sim`, in a release build:
//! the same seed twice in two processes, crashes and recoveries with fresh seeds, and every
//! operation of the disk made to fail in turn.

use crate::Outcome;
use crate::command::Command;
use crate::workspace::Workspace;
use std::hash::{BuildHasher, RandomState};

/// What to simulate.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// Replays a campaign; a fresh one by default
    #[arg(long, value_name = "SEED")]
    seed: Option<String>,
    /// Crashes to recover from
    #[arg(long, default_value_t = 10_000)]
    runs: u64,
    /// End the crashes after so many seconds, however many there were; 0 for no limit
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Only the sweep that makes every operation of the disk fail
    #[arg(long)]
    faults: bool,
    /// Let every n-th operation fail instead of each
    #[arg(long, default_value_t = 1, value_name = "N")]
    stride: u64,
    /// Run one script that was kept, and nothing else
    #[arg(long, value_name = "FILE")]
    replay: Option<String>,
}

impl Settings {
    /// The share of continuous integration: about a minute, with a fresh seed.
    pub(crate) fn bounded() -> Self {
        Self { seed: None, runs: 1_000_000, seconds: 40, faults: false, stride: 23, replay: None }
    }
}

/// Simulations that are run twice and compared.
const RUNS_TWICE: &str = "25";

/// Runs all parts, or the one that was asked for.
pub(crate) fn run(workspace: &Workspace, settings: &Settings) -> Outcome {
    let simulator = |words: &[&str]| {
        let command = Command::cargo(&workspace.root, "run --quiet --release -p lsm-sim --bin sim --");
        words.iter().fold(command, |command, word| command.arg(word))
    };
    if let Some(file) = &settings.replay {
        return simulator(&["replay", file]).run();
    }
    let faults = || simulator(&["faults", &settings.stride.to_string()]).run();
    if settings.faults {
        return faults();
    }
    let fresh = || format!("0x{:x}", RandomState::new().hash_one(std::process::id()));
    let seed = settings.seed.clone().unwrap_or_else(fresh);
    println!("sim: seed {seed}");
    let first = simulator(&["hash", &seed, RUNS_TWICE]).output()?;
    let second = simulator(&["hash", &seed, RUNS_TWICE]).output()?;
    if first != second {
        return Err(format!("seed {seed} gave two different runs:\n{first}{second}"));
    }
    println!("sim: {RUNS_TWICE} simulations gave the same trace and the same disk in two processes");
    simulator(&["crash", &seed, &settings.runs.to_string(), &settings.seconds.to_string()]).run()?;
    faults()
}
