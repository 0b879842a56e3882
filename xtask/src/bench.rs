//! `cargo xtask bench rivals`: builds the harness of `benches/rivals` and runs it. The
//! harness is a workspace of its own, so that nothing else here compiles its rivals.
//!
//! A full run, with nothing left out and the usual number of entries, publishes what it
//! found in `docs/benchmarks.md` and `docs/benchmarks/`. Anything else only prints.

use crate::Outcome;
use crate::command::Command;
use crate::workspace::Workspace;
use clap::{Args, Subcommand};

/// The harness, from the root of the repository.
const MANIFEST: &str = "benches/rivals/Cargo.toml";
/// Where the lines of a published run stand, so that it can go on and be read again.
const STATE: &str = "docs/benchmarks/rivals.jsonl";

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The engine beside other engines
    Rivals(Settings),
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Eight workloads, four engines, one round: under ten minutes
    #[arg(long)]
    quick: bool,
    /// Only these workloads: names or beginnings of names, with commas
    #[arg(long, value_name = "W")]
    only: Option<String>,
    /// Only these engines, with commas
    #[arg(long, value_name = "E")]
    engines: Option<String>,
    /// How many entries; 2,000,000 unless said
    #[arg(long)]
    n: Option<u64>,
    /// How often each cell is measured
    #[arg(long)]
    rounds: Option<u32>,
    /// Where databases are made and removed
    #[arg(long)]
    dir: Option<String>,
    /// Measure what an earlier run has measured again
    #[arg(long)]
    fresh: bool,
    /// Seconds after which a cell is cut; 60 unless said, 20 in a quick run
    #[arg(long)]
    budget: Option<f64>,
    /// Keep what is measured with a full run's figures, and publish it, though not every
    /// engine takes part
    #[arg(long)]
    publish: bool,
    /// Measure nothing; print and publish what an earlier full run has left
    #[arg(long)]
    report_only: bool,
}

impl Settings {
    /// Whether the figures are those of the document.
    fn is_full(&self) -> bool {
        !self.quick && self.n.is_none() && (self.publish || self.engines.is_none())
    }
}

/// Builds the harness and measures.
pub(crate) fn run(workspace: &Workspace, bench: &Bench) -> Outcome {
    let Bench::Rivals(settings) = bench;
    let mut command =
        Command::cargo(&workspace.root, &format!("run --release --manifest-path {MANIFEST} -- run"));
    for (name, value) in [
        ("--only", settings.only.clone()),
        ("--engines", settings.engines.clone()),
        ("--n", settings.n.map(|n| n.to_string())),
        ("--rounds", settings.rounds.map(|rounds| rounds.to_string())),
        ("--dir", settings.dir.clone()),
        ("--budget", settings.budget.map(|seconds| seconds.to_string())),
    ] {
        if let Some(value) = value {
            command = command.arg(name).arg(&value);
        }
    }
    for (name, given) in [
        ("--quick", settings.quick),
        // A quick run is of now: it goes on from nothing.
        ("--fresh", settings.fresh || settings.quick),
        ("--report-only", settings.report_only),
    ] {
        if given {
            command = command.arg(name);
        }
    }
    if settings.is_full() {
        command = command.arg("--state").arg(STATE).arg("--publish").arg("docs");
    }
    command.run()
}
