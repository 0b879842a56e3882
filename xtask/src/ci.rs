//! `cargo xtask ci`: all that a change must pass, in one order, with the time of each
//! step. Called by `.ci/run`. A failing step does not hide the later ones.

use crate::command::Command;
use crate::workspace::Workspace;
use crate::{Outcome, check, docs, fuzz, golden, layers, loom, sim, tidy};
use std::time::{Duration, Instant};

/// The commands that the README shows to a newcomer; they run here as they stand there.
const README_TEST: &str = "test --workspace";
const README_FIRST: &str = "run --release -p lsm-cli -- demo";

type Step = fn(&Workspace) -> Outcome;

const STEPS: &[(&str, Step)] = &[
    ("cargo test --workspace", |workspace| Command::cargo(&workspace.root, README_TEST).run()),
    ("fmt", check::format),
    ("clippy", check::clippy),
    ("layers", layers::run),
    ("tidy", tidy::run),
    ("docs", |workspace| docs::run(workspace, false)),
    ("loom --bounded", |workspace| loom::run(workspace, &loom::Settings::bounded())),
    ("sim", |workspace| sim::run(workspace, &sim::Settings::bounded())),
    ("fuzz", |workspace| fuzz::run(workspace, &fuzz::Settings::bounded())),
    ("golden", |workspace| golden::run(workspace, false)),
    ("lsm demo", |workspace| Command::cargo(&workspace.root, README_FIRST).run()),
];

/// Runs every step; fails when one did.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let start = Instant::now();
    let mut table = String::new();
    let mut failures = 0;
    for (name, step) in STEPS {
        eprintln!("\n== {name}");
        let step_start = Instant::now();
        let outcome = step(workspace);
        let mark = if outcome.is_ok() { "ok" } else { "FAILED" };
        let took = shown(step_start.elapsed());
        eprintln!("== {name}: {mark} in {took}");
        table.push_str(&format!("  {name:<24} {took:>8}  {mark}\n"));
        if let Err(failure) = outcome {
            eprintln!("error: {failure}");
            failures += 1;
        }
    }
    println!("\n{table}  {:<24} {:>8}", "total", shown(start.elapsed()));
    if failures > 0 { Err(format!("{failures} of {} steps failed", STEPS.len())) } else { Ok(()) }
}

/// A duration for people: `3m08s` or `4.2s`.
pub(crate) fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1}s", duration.as_secs_f64())
    } else {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_shows_the_commands_that_ci_runs() {
        let readme = include_str!("../../README.md");
        for command in [README_TEST, README_FIRST] {
            assert!(readme.contains(&format!("cargo {command}\n")), "README.md lacks `cargo {command}`");
        }
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(shown(Duration::from_millis(4_230)), "4.2s");
        assert_eq!(shown(Duration::from_secs(188)), "3m08s");
    }
}
