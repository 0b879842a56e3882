//! `cargo xtask fuzz`: runs the fuzz bodies of `lsm-sim` with its own loop, on the stable
//! toolchain. The compiler is told to count edges, so that inputs which reach something
//! new are kept; overflow checks and debug assertions are on. The same bodies run under
//! libFuzzer from `crates/lsm-sim/fuzz` where `cargo fuzz` is installed.

use crate::Outcome;
use crate::command::Command;
use crate::workspace::Workspace;
use clap::Args;
use std::path::PathBuf;

/// What to run and for how long.
#[derive(Args)]
pub(crate) struct Settings {
    /// Only this target
    #[arg(value_name = "TARGET", required_unless_present = "all")]
    target: Option<String>,
    /// Every target, one after the other
    #[arg(long, conflicts_with = "target")]
    all: bool,
    /// How long, for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Decides the inputs; printed when not given
    #[arg(long, value_name = "S")]
    seed: Option<String>,
    /// Runs the input in this file, and nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    replay: Option<PathBuf>,
    /// Writes a small corpus into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "all")]
    make_corpus: Option<PathBuf>,
}

impl Settings {
    /// The share of continuous integration: each target for a few seconds, freshly seeded.
    pub(crate) fn bounded() -> Self {
        Self { target: None, all: true, seconds: 5, seed: None, replay: None, make_corpus: None }
    }
}

/// The bodies' names, in the order in which they are run.
const TARGETS: &[&str] = &["block", "table", "log", "manifest", "batch", "api"];

/// Counts edges with eight bits each; flags that a stable compiler passes on.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
                         -Cllvm-args=-sanitizer-coverage-inline-8bit-counters";

/// Builds the loop once, then runs each target; fails when an input fails.
pub(crate) fn run(workspace: &Workspace, settings: &Settings) -> Outcome {
    let program = build(workspace)?;
    let chosen: Vec<&str> = match &settings.target {
        Some(target) => vec![target],
        None => TARGETS.to_vec(),
    };
    let mut failures = Vec::new();
    for target in chosen {
        let corpus = workspace.root.join("crates/lsm-sim/fuzz/corpus").join(target);
        let mut command = Command::program(&program, &workspace.root)
            .arg(target)
            .arg("--seconds")
            .arg(&settings.seconds.to_string())
            .arg("--corpus")
            .arg(&corpus.to_string_lossy())
            .arg("--save")
            .arg(&workspace.target.join("fuzz/failures").to_string_lossy());
        for (option, value) in [("--replay", &settings.replay), ("--make-corpus", &settings.make_corpus)] {
            if let Some(path) = value {
                command = command.arg(option).arg(&path.to_string_lossy());
            }
        }
        if let Some(seed) = &settings.seed {
            command = command.arg("--seed").arg(seed);
        }
        failures.extend(command.run().err());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// Where the loop stands after building it. Naming the target keeps the flags away from
/// build scripts and macros.
fn build(workspace: &Workspace) -> Outcome<PathBuf> {
    let host = host(&Command::cargo(&workspace.root, "-vV").output()?)?;
    let directory = workspace.target.join("fuzz");
    Command::cargo(&workspace.root, "build --release -p lsm-sim --example fuzz --target")
        .arg(&host)
        .arg("--target-dir")
        .arg(&directory.to_string_lossy())
        .env("RUSTFLAGS", RUSTFLAGS)
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true")
        .run()?;
    Ok(directory.join(host).join("release/examples/fuzz"))
}

/// The target that `cargo -vV` names as its own.
fn host(version: &str) -> Outcome<String> {
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "cargo does not say which target it runs on".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_named_by_cargo() {
        assert_eq!(
            host("cargo 1.95.0\nhost: x86_64-unknown-linux-gnu\nos: x\n").unwrap(),
            "x86_64-unknown-linux-gnu"
        );
        assert!(host("cargo 1.95.0").is_err());
    }

    #[test]
    fn every_target_has_a_corpus_and_a_libfuzzer_binary() {
        let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/lsm-sim/fuzz");
        for target in TARGETS {
            assert!(fuzz.join("corpus").join(target).is_dir(), "{target} has no corpus");
            assert!(fuzz.join(format!("fuzz_targets/{target}.rs")).is_file(), "{target}");
        }
    }
}
