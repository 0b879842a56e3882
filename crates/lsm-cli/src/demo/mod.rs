//! `lsm demo`: the engine on real data, step by step, ending with a process that is
//! killed while it writes. This file is the story; every claim it prints was checked
//! against [`model::Model`], a plain sorted map beside the database.

mod act;
mod changes;
mod crash;
mod dataset;
mod model;
mod report;
mod writer;

pub(crate) use writer::{WriterArgs, run_writer};

use crate::failure::{Failure, Outcome};
use report::Report;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Show the engine at work on real data, and prove that a killed process loses nothing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Work below this directory instead of the system's temporary one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the database there, to look at it
    #[arg(long)]
    keep: bool,
    /// Decides what is written and when the writer is killed [default: from the clock]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How often to kill the writer
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    kills: u8,
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&parent).map_err(Failure::read(&parent))?;
    let place =
        tempfile::Builder::new().prefix("lsm-demo-").tempdir_in(&parent).map_err(Failure::read(&parent))?;
    let path = place.path().join("db");
    let started = Instant::now();
    let mut report = Report::new(out);
    let outcome = tell(args, &path, &mut report);
    // After a fault there is something to look at; when nobody reads on there is not.
    if args.keep || !matches!(outcome, Ok(Outcome::Done) | Err(Failure::OutputClosed)) {
        let place = place.keep();
        report.note(&format!("the database is kept in {}", place.join("db").display()))?;
    }
    if matches!(outcome, Ok(Outcome::Done)) {
        report.end(started.elapsed())?;
    }
    outcome
}

/// The steps. Ends at the first difference, which the report has printed by then.
fn tell(args: &Args, path: &Path, report: &mut Report<'_>) -> Result<Outcome, Failure> {
    let seed = args.seed.unwrap_or_else(clock_seed);
    report.head(path, seed)?;
    let mut model = model::Model::default();
    let sound = act::load_change_and_read(path, &mut model, report)?
        && crash::kill_and_compare(path, seed, args.kills, &mut model, report)?
        && act::read_and_show_shape(path, &model, report)?;
    Ok(if sound { Outcome::Done } else { Outcome::Negative })
}

/// A seed that differs from run to run; the report prints it, `--seed` replays it.
fn clock_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| lsm_vfs::mix64(now.as_nanos() as u64) % 1_000_000)
}
