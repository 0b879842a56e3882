//! `cargo xtask loom`: explores the models of the concurrency protocols and prints, for
//! each, how many executions there were and how long they took.

use crate::Outcome;
use crate::ci::shown;
use crate::models::{self, Explored, Model};
use crate::workspace::Workspace;
use clap::Args;
use std::time::{Duration, Instant};

/// How far to explore, and what.
#[derive(Args)]
pub(crate) struct Settings {
    /// Only this crate
    #[arg(value_name = "CRATE")]
    only: Option<String>,
    /// How often a thread may be preempted in one execution
    #[arg(long, value_name = "N", default_value_t = PREEMPTIONS)]
    preemptions: u32,
    /// As far as every change must pass: every model, with two preemptions
    #[arg(long, conflicts_with = "preemptions")]
    bounded: bool,
}

/// Nearly every bug of this kind that was ever found needs no more.
pub(crate) const PREEMPTIONS: u32 = 2;
/// Preemptions of a bounded run: no fewer, since all models together take half a minute.
const BOUNDED_PREEMPTIONS: u32 = 2;

impl Settings {
    /// The run that is part of `cargo xtask ci`.
    pub(crate) fn bounded() -> Self {
        Self { only: None, preemptions: BOUNDED_PREEMPTIONS, bounded: true }
    }
}

/// Explores every model; prints a table that `docs/concurrency.md` can take as it is.
pub(crate) fn run(workspace: &Workspace, settings: &Settings) -> Outcome {
    let preemptions = if settings.bounded { BOUNDED_PREEMPTIONS } else { settings.preemptions };
    let start = Instant::now();
    let mut all = Vec::new();
    for package in models::owners(workspace, settings.only.as_deref())? {
        all.extend(models::build(workspace, package)?);
    }
    let built = start.elapsed();
    let explored = models::in_parallel(&all, |model| {
        let explored = model.run(preemptions, None);
        if let Ok(Explored { passed: false, said, .. }) = &explored {
            eprintln!("{} failed:\n{said}", model.name);
        }
        explored
    });
    let mut failures = Vec::new();
    let mut rows = Vec::new();
    for (model, explored) in all.iter().zip(explored) {
        let explored = explored?;
        if !explored.passed {
            failures.push(model.name.as_str());
        }
        rows.push((model, explored));
    }
    print(&rows);
    let exploring = start.elapsed().saturating_sub(built);
    println!(
        "loom: {} models, at most {preemptions} preemptions, {} executions; built in {}, explored in {}",
        rows.len(),
        rows.iter().map(|(_, explored)| explored.executions).sum::<u64>(),
        shown(built),
        shown(exploring),
    );
    if failures.is_empty() {
        return Ok(());
    }
    Err(format!("these models failed:\n  {}", failures.join("\n  ")))
}

fn print(rows: &[(&Model, Explored)]) {
    let width = rows.iter().map(|(model, _)| model.name.len()).max().unwrap_or(0).max(5);
    println!("| {:<12} | {:<width$} | executions | seconds |", "crate", "model");
    println!("|{}|{}|-----------:|--------:|", "-".repeat(14), "-".repeat(width + 2));
    for (model, explored) in rows {
        let mark = if explored.passed { "" } else { " FAILED" };
        let seconds = Duration::as_secs_f64(&explored.time);
        println!(
            "| {:<12} | {:<width$} | {:>10} | {seconds:>7.2} |{mark}",
            model.package, model.name, explored.executions
        );
    }
}
