//! `lsm compact`: writes out what is in memory and merges all tables.

use crate::database::{close, existing_keyspace, open_existing};
use crate::failure::{Failure, Outcome};
use crate::units::duration;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Merge all tables of a database, or of one keyspace
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the database
    #[arg(value_name = "DB")]
    db: PathBuf,
    /// Only this keyspace
    #[arg(long, short, value_name = "NAME")]
    keyspace: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let db = open_existing(&args.db)?;
    let names: Vec<String> = match &args.keyspace {
        Some(name) => vec![name.clone()],
        None => db.keyspace_names().iter().map(ToString::to_string).collect(),
    };
    for name in names {
        let started = Instant::now();
        let keyspace = existing_keyspace(&db, &name)?;
        keyspace.flush()?;
        keyspace.compact_range(..)?;
        db.wait_idle()?;
        writeln!(out, "{name}: merged in {}", duration(started.elapsed()))?;
    }
    close(db)?;
    Ok(Outcome::Done)
}
