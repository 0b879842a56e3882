//! The `lsm` program: load, query, inspect and verify a database from a terminal.
//!
//! Exit codes: 0 found or done, 1 not found or a check failed, 2 usage or error.
//! Errors go to stderr in one sentence. A reader that goes away (`lsm scan db | head`)
//! ends the program quietly.
//!
//! This file holds the list of commands and hands over; each command lives in its
//! own file under `commands/`, the demo in `demo/`.

mod commands;
mod database;
mod demo;
mod escape;
mod failure;
mod input;
mod output;
mod progress;
mod records;
mod units;

use clap::Parser;
use failure::{Failure, Outcome, complain, finish};
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

/// Load, query, inspect and verify an LSM database.
#[derive(Debug, Parser)]
#[command(name = "lsm", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Load(commands::load::Args),
    Get(commands::get::Args),
    Put(commands::put::Args),
    Del(commands::del::Args),
    Scan(commands::scan::Args),
    Stats(commands::stats::Args),
    Verify(commands::verify::Args),
    Dump(commands::dump::Args),
    Compact(commands::compact::Args),
    Checkpoint(commands::checkpoint::Args),
    Demo(demo::Args),
    #[command(hide = true)]
    DemoWriter(demo::WriterArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let outcome = run(&cli.command, &mut out);
    let flushed = out.flush();
    // The command's own failure says more than a flush that failed after it.
    finish(outcome.and_then(|outcome| flushed.map(|()| outcome).map_err(Failure::from)))
}

fn run(command: &Command, out: &mut dyn Write) -> Result<Outcome, Failure> {
    match command {
        Command::Load(args) => commands::load::run(args, out),
        Command::Get(args) => commands::get::run(args, out),
        Command::Put(args) => commands::put::run(args),
        Command::Del(args) => commands::del::run(args),
        Command::Scan(args) => commands::scan::run(args, out),
        Command::Stats(args) => commands::stats::run(args, out),
        Command::Verify(args) => commands::verify::run(args, out),
        Command::Dump(args) => commands::dump::run(args, out),
        Command::Compact(args) => commands::compact::run(args, out),
        Command::Checkpoint(args) => commands::checkpoint::run(args),
        Command::Demo(args) => demo::run(args, out),
        Command::DemoWriter(args) => demo::run_writer(args, out),
    }
}

/// Prints help where it was asked for, and any misuse in one sentence.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        complain("a command is missing; 'lsm help' lists them");
        return ExitCode::from(2);
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or(&text);
    complain(&format!(
        "{}; 'lsm help' and 'lsm help <command>' explain",
        first.trim_start_matches("error: ")
    ));
    ExitCode::from(2)
}
