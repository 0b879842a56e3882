//! `cargo xtask mutants`: plants each bug that the code names with
//! `lsm_sync::mutant("…")` or `lsm_sync::weaken("…", …)` and expects the models of
//! its crate to fail. A mutation that survives means that a model proves nothing
//! about that line. One build serves all: a mutation is chosen when the model runs.

use crate::Outcome;
use crate::ci::shown;
use crate::loom;
use crate::workspace::{Package, Workspace, read};
use clap::Args;
use std::collections::BTreeSet;
use std::time::Instant;

/// Which crates to mutate.
#[derive(Args)]
pub(crate) struct Settings {
    /// Only this crate
    #[arg(value_name = "CRATE")]
    only: Option<String>,
    /// How often a thread may be preempted in one execution
    #[arg(long, value_name = "N", default_value_t = 3)]
    preemptions: u32,
}

/// Plants every mutation in turn; fails when one survives.
pub(crate) fn run(workspace: &Workspace, settings: &Settings) -> Outcome {
    let preemptions = settings.preemptions.to_string();
    let mut survivors = Vec::new();
    for package in
        workspace.packages.iter().filter(|package| package.is_crate() && package.name != "lsm-sync")
    {
        if settings.only.as_ref().is_some_and(|only| *only != package.name) {
            continue;
        }
        let names = mutations(workspace, package)?;
        if names.is_empty() {
            continue;
        }
        if package.tests(|test| test.starts_with("loom_"))?.is_empty() {
            survivors
                .extend(names.into_iter().map(|name| format!("{name} ({} has no models)", package.name)));
            continue;
        }
        let models = || loom::tests(workspace, package).env("LOOM_MAX_PREEMPTIONS", &preemptions);
        // Without a mutation the models pass; else a failure below would mean nothing.
        models().run()?;
        for name in names {
            let start = Instant::now();
            let (passed, _) = models().env("LSM_MUTANT", &name).succeeds()?;
            let fate = if passed { "SURVIVED" } else { "caught" };
            println!("{name:<44} {fate:<8} {:>8}", shown(start.elapsed()));
            if passed {
                survivors.push(name);
            }
        }
    }
    if survivors.is_empty() {
        return Ok(());
    }
    Err(format!("no model notices these mutations:\n  {}", survivors.join("\n  ")))
}

/// The names in the sources of `package`, sorted.
fn mutations(workspace: &Workspace, package: &Package) -> Outcome<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for path in workspace.files("rs")? {
        if ["src", "tests"].iter().any(|folder| path.starts_with(package.directory.join(folder))) {
            names.extend(named_in(&read(&path)?));
        }
    }
    Ok(names)
}

/// The first arguments of `mutant(` and `weaken(` in `text`, comments left out.
fn named_in(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.starts_with("//")).collect();
    let code = code.concat();
    let calls = ["mutant(\"", "weaken(\""].into_iter();
    let names = calls.flat_map(|call| code.match_indices(call).map(|(at, call)| at + call.len()));
    names.filter_map(|at| code.get(at..)?.split_once('"').map(|(name, _)| name.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_mutations_are_found_where_they_are_used() {
        let text = "if lsm_sync::mutant(\"log.skip_sync\") {}\n// mutant(\"not.this\")\nx.load(lsm_sync::weaken(\n    \"log.through\",\n    Acquire))";
        assert_eq!(named_in(text), ["log.skip_sync", "log.through"]);
    }
}
