//! `cargo xtask mutants`: plants each bug that the code names with
//! `lsm_sync::mutant("…")` or `lsm_sync::weaken("…", …)` and expects a model of its crate
//! to fail. A mutation that survives means that the models prove nothing about that line;
//! a model that catches none may prove nothing at all. Both are failures. One build serves
//! all: a mutation is chosen when the model runs.

use crate::Outcome;
use crate::ci::shown;
use crate::loom;
use crate::models::{self, Model};
use crate::workspace::{Package, Workspace, read};
use clap::Args;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Which crates to mutate.
#[derive(Args)]
pub(crate) struct Settings {
    /// Only this crate
    #[arg(value_name = "CRATE")]
    only: Option<String>,
    /// How often a thread may be preempted in one execution
    #[arg(long, value_name = "N", default_value_t = loom::PREEMPTIONS)]
    preemptions: u32,
}

/// A model, how long it explores, and the mutation that it was seen to catch.
struct Judge {
    model: Model,
    time: Duration,
    has_caught: Option<String>,
}

/// Plants every mutation in turn; fails when one survives, or a model catches none.
pub(crate) fn run(workspace: &Workspace, settings: &Settings) -> Outcome {
    let start = Instant::now();
    let (mut faults, mut mutants, mut judges) = (Vec::new(), 0, 0);
    for package in workspace.packages.iter().filter(|package| package.is_crate()) {
        // lsm-sync's own documentation names mutations as examples.
        if package.name == "lsm-sync" || settings.only.as_ref().is_some_and(|only| *only != package.name) {
            continue;
        }
        let names = mutations(workspace, package)?;
        if names.is_empty() {
            continue;
        }
        mutants += names.len();
        let mut models = judges_of(workspace, package, settings.preemptions)?;
        judges += models.len();
        faults.extend(judge(&mut models, &names, settings.preemptions)?);
    }
    println!(
        "mutants: {mutants} mutations, {judges} models, {} faults, {}",
        faults.len(),
        shown(start.elapsed())
    );
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// The models of `package`, each of which passes while nothing is planted: else a failure
/// would mean nothing.
fn judges_of(workspace: &Workspace, package: &Package, preemptions: u32) -> Outcome<Vec<Judge>> {
    let models = match models::owners(workspace, Some(&package.name)) {
        Ok(_) => models::build(workspace, package)?,
        Err(_) => Vec::new(),
    };
    let explored = models::in_parallel(&models, |model| model.run(preemptions, None));
    let mut judges = Vec::new();
    for (model, explored) in models.into_iter().zip(explored) {
        let explored = explored?;
        if !explored.passed {
            return Err(format!("{} fails without a mutation:\n{}", model.name, explored.said));
        }
        judges.push(Judge { model, time: explored.time, has_caught: None });
    }
    Ok(judges)
}

/// Tries each mutation until a model catches it, then each model that has caught none.
fn judge(judges: &mut [Judge], names: &BTreeSet<String>, preemptions: u32) -> Outcome<Vec<String>> {
    let mut faults = Vec::new();
    for name in names {
        let start = Instant::now();
        // Those that still have to prove themselves first, and of those the quick ones.
        judges.sort_by_key(|judge| (judge.has_caught.is_some(), judge.time));
        let mut catcher = None;
        for pair in judges.chunks_mut(2) {
            let fates = models::in_parallel(pair, |judge| judge.model.run(preemptions, Some(name)));
            for (judge, fate) in pair.iter_mut().zip(fates) {
                if !fate?.passed {
                    judge.has_caught.get_or_insert_with(|| name.clone());
                    catcher = Some(judge.model.name.clone());
                }
            }
            if catcher.is_some() {
                break;
            }
        }
        let took = shown(start.elapsed());
        match catcher {
            Some(model) => println!("{name:<40} caught by {model} ({took})"),
            None => {
                println!("{name:<40} SURVIVED ({took})");
                faults.push(format!("no model notices the mutation {name}"));
            }
        }
    }
    let names: Vec<&String> = names.iter().collect();
    for judge in judges.iter_mut().filter(|judge| judge.has_caught.is_none()) {
        for pair in names.chunks(2) {
            let fates = models::in_parallel(pair, |name| judge.model.run(preemptions, Some(name)));
            for (name, fate) in pair.iter().zip(fates) {
                if !fate?.passed {
                    judge.has_caught.get_or_insert_with(|| (*name).clone());
                }
            }
            if judge.has_caught.is_some() {
                break;
            }
        }
        match &judge.has_caught {
            Some(name) => println!("{name:<40} caught by {} too", judge.model.name),
            None => faults.push(format!("the model {} catches no mutation", judge.model.name)),
        }
    }
    Ok(faults)
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
