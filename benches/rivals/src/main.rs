//! The engine beside its rivals: one harness, every answer checked.
//!
//! `rivals run` measures every engine under every workload, each in a process of its
//! own, and prints a table; `rivals report` prints it again from the lines that a run
//! has left. `cargo xtask bench rivals` calls both. See `docs/benchmarks.md`.

use crate::engine::Result;
use clap::{Parser, Subcommand};
use std::io::Read;
use std::process::ExitCode;

mod catalogue;
mod cell;
mod data;
mod engine;
mod engines;
mod lines;
mod measure;
mod plot;
mod publish;

mod report;
mod run;
mod targets;
mod workloads;

#[derive(Parser)]
#[command(name = "rivals", about = "The engine beside its rivals, every answer checked")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure, and print the table
    Run(run::Settings),
    /// Print the workloads and the engines
    List,
    /// One engine under one workload, as standard input says; called by `run`
    #[command(hide = true)]
    Cell,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Run(settings) => run::run(&settings),
        Task::List => list(),
        Task::Cell => cell(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result {
    for workload in catalogue::WORKLOADS {
        println!("{:<20} {}", workload.name, workload.about);
    }
    println!();
    for (engine, configuration) in engines::CONFIGURATIONS {
        println!("{engine:<20} {configuration}");
    }
    Ok(())
}

fn cell() -> Result {
    let mut order = String::new();
    std::io::stdin().read_to_string(&mut order)?;
    let outcome = cell::run(serde_json::from_str(&order)?)?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}
