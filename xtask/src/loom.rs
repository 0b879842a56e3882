//! `cargo xtask loom`: explores the concurrency models of the crates that have
//! `tests/loom_*.rs`, each crate in a build of its own under `--cfg lsm_loom`.

use crate::Outcome;
use crate::ci::shown;
use crate::command::Command;
use crate::workspace::{Package, Workspace};
use clap::Args;
use std::time::{Duration, Instant};

/// How far to explore, and what.
#[derive(Args)]
pub(crate) struct Settings {
    /// Only this crate
    #[arg(value_name = "CRATE")]
    only: Option<String>,
    /// How often a thread may be preempted in one execution
    #[arg(long, value_name = "N", default_value_t = 3)]
    preemptions: u32,
    /// As far as every change must pass: two preemptions
    #[arg(long, conflicts_with = "preemptions")]
    bounded: bool,
}

/// Preemptions of a bounded run: most known bugs of this kind need no more.
const BOUNDED_PREEMPTIONS: u32 = 2;

/// The flags that turn `lsm_sync` into loom.
pub(crate) const RUSTFLAGS: &str = "--cfg lsm_loom";

impl Settings {
    /// The run that is part of `cargo xtask ci`.
    pub(crate) fn bounded() -> Self {
        Self { only: None, preemptions: BOUNDED_PREEMPTIONS, bounded: true }
    }
}

/// Explores; prints the time of each crate and the total.
pub(crate) fn run(workspace: &Workspace, settings: &Settings) -> Outcome {
    let preemptions = if settings.bounded { BOUNDED_PREEMPTIONS } else { settings.preemptions };
    let packages = with_models(workspace, settings.only.as_deref())?;
    let mut times = Vec::new();
    let mut failures = Vec::new();
    for package in &packages {
        // Built first, so that the time below is that of the exploration.
        tests(workspace, package).arg("--no-run").run()?;
        let start = Instant::now();
        let outcome = tests(workspace, package).env("LOOM_MAX_PREEMPTIONS", &preemptions.to_string()).run();
        times.push((package.name.as_str(), start.elapsed()));
        failures.extend(outcome.err());
    }
    println!("loom, at most {preemptions} preemptions:");
    for (name, time) in &times {
        println!("  {name:<16} {:>8}", shown(*time));
    }
    println!("  {:<16} {:>8}", "total", shown(times.iter().map(|(_, time)| *time).sum::<Duration>()));
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// The packages that have models, or the one asked for.
pub(crate) fn with_models<'a>(workspace: &'a Workspace, only: Option<&str>) -> Outcome<Vec<&'a Package>> {
    let candidates: Vec<&Package> = match only {
        Some(name) => vec![workspace.package(name)?],
        None => workspace.packages.iter().collect(),
    };
    let mut found = Vec::new();
    for package in candidates {
        if !package.tests(|test| test.starts_with("loom_"))?.is_empty() {
            found.push(package);
        } else if only.is_some() {
            return Err(format!("{} has no tests/loom_*.rs", package.name));
        }
    }
    Ok(found)
}

/// The command that tests the models of `package`. Its output directory is apart:
/// other flags would otherwise throw the ordinary build away each time.
pub(crate) fn tests(workspace: &Workspace, package: &Package) -> Command {
    let target = workspace.target.join("loom");
    Command::cargo(&workspace.root, "test --release")
        .arg("-p")
        .arg(&package.name)
        .arg("--test")
        .arg("loom_*")
        .arg("--target-dir")
        .arg(&target.to_string_lossy())
        .env("RUSTFLAGS", RUSTFLAGS)
}
