//! `lsm stats`: what the tree looks like and what it costs.

use crate::database::{close, open_existing};
use crate::failure::{Failure, Outcome};
use lsm_tree::Stats;
use std::io::{self, Write};
use std::path::PathBuf;

/// Print levels, tables, amplification and cache of a database
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the database
    #[arg(value_name = "DB")]
    db: PathBuf,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let db = open_existing(&args.db)?;
    let stats = db.stats();
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &stats).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    } else {
        write_stats(out, &stats, "")?;
    }
    close(db)?;
    Ok(Outcome::Done)
}

/// Prints the statistics for people, each line after `indent`.
pub(crate) fn write_stats(out: &mut dyn Write, stats: &Stats, indent: &str) -> io::Result<()> {
    for line in stats.to_string().lines() {
        writeln!(out, "{}", format!("{indent}{line}").trim_end())?;
    }
    Ok(())
}
