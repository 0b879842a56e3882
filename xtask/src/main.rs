//! The chores of the project: `cargo xtask <command>`.
//!
//! Called by people and by `.ci/run`. Nothing here downloads anything, except that
//! cargo fetches the rivals for `bench`, or starts a shell: every step is one `cargo` command, a test program that cargo made, or a check
//! written in this crate.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod bench;
mod check;
mod ci;
mod command;
mod crates;
mod docs;
mod fuzz;
mod golden;
mod kill;
mod layers;
mod links;
mod loom;
mod models;
mod mutants;
mod nightly;
mod sim;
mod tidy;
mod workspace;

/// What a chore returns: nothing, or the sentence that says what failed.
type Outcome<T = ()> = Result<T, String>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of the project")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// All that a change must pass, with the time of each step
    Ci,
    /// Measure the engine beside others
    #[command(subcommand)]
    Bench(bench::Bench),
    /// The quick part: fmt --check, clippy, layers, tidy
    Check,
    /// Rules of the source that no compiler knows
    Tidy,
    /// No dependency points up
    Layers,
    /// Explore the concurrency models of every crate, or of one
    Loom(loom::Settings),
    /// Plant each named mutation; its crate's models must fail
    Mutants(mutants::Settings),
    /// Feed any bytes to the parts that must bear them, and any script to the whole
    Fuzz(fuzz::Settings),
    /// Kill writing processes and compare what is left with what was promised
    Kill(kill::Settings),
    /// Simulate whole databases: crashes, recoveries and faults, from seeds
    Sim(sim::Settings),
    /// Compare the files of every on-disk format with the stored ones
    Golden {
        /// Rewrite the stored files instead
        #[arg(long)]
        write: bool,
    },
    /// Build the documentation without warnings and check its links
    Docs {
        /// Also fail when a document names a path that does not exist
        #[arg(long)]
        strict: bool,
    },
    /// Test each crate alone, as somebody who depends on only that one sees it
    Crates,
    /// Run the tests of the crates with unsafe code under Miri, where a nightly has it
    Miri,
    /// Run the tests under AddressSanitizer, where a nightly is installed
    Asan,
    /// Run the tests under ThreadSanitizer, where a nightly is installed
    Tsan,
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Outcome {
    let workspace = workspace::Workspace::load()?;
    match chore {
        Chore::Ci => ci::run(&workspace),
        Chore::Bench(bench) => bench::run(&workspace, &bench),
        Chore::Check => check::run(&workspace),
        Chore::Tidy => tidy::run(&workspace),
        Chore::Layers => layers::run(&workspace),
        Chore::Loom(settings) => loom::run(&workspace, &settings),
        Chore::Mutants(settings) => mutants::run(&workspace, &settings),
        Chore::Fuzz(settings) => fuzz::run(&workspace, &settings),
        Chore::Kill(settings) => kill::run(&workspace, &settings),
        Chore::Sim(settings) => sim::run(&workspace, &settings),
        Chore::Golden { write } => golden::run(&workspace, write),
        Chore::Docs { strict } => docs::run(&workspace, strict),
        Chore::Crates => crates::run(&workspace),
        Chore::Miri => nightly::miri(&workspace),
        Chore::Asan => nightly::sanitize(&workspace, nightly::Sanitizer::Address),
        Chore::Tsan => nightly::sanitize(&workspace, nightly::Sanitizer::Thread),
    }
}
