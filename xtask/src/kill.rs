//! `cargo xtask kill`: kills writing processes on the real file system, a thousand times
//! by default, and compares what is left with what they were promised.

use crate::Outcome;
use crate::command::Command;
use crate::workspace::Workspace;
use clap::Args;

/// How often and how.
#[derive(Args)]
pub(crate) struct Settings {
    /// How many processes die
    #[arg(long, value_name = "N", default_value_t = 1000)]
    kills: u64,
    /// Decides options and moments; printed when not given
    #[arg(long, value_name = "S")]
    seed: Option<String>,
    /// Also cut the power of a small ext4 of its own after each kill; needs root
    #[arg(long)]
    power: bool,
}

/// Runs the campaign.
pub(crate) fn run(workspace: &Workspace, settings: &Settings) -> Outcome {
    let kills = settings.kills.to_string();
    let mut command = Command::cargo(&workspace.root, "run -p lsm-sim --example kill -- --kills").arg(&kills);
    if let Some(seed) = &settings.seed {
        command = command.arg("--seed").arg(seed);
    }
    if settings.power {
        command = command.arg("--power");
    }
    command.run()
}
