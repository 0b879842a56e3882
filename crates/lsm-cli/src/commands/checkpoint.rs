//! `lsm checkpoint`: makes a directory that opens as an independent database.

use crate::database::{close, open_existing};
use crate::failure::{Failure, Outcome};
use std::path::PathBuf;

/// Make a consistent copy of a database, by hard links where the disk allows
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the database
    #[arg(value_name = "DB")]
    db: PathBuf,
    /// Directory to make; must not exist
    #[arg(value_name = "DEST")]
    destination: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let db = open_existing(&args.db)?;
    db.checkpoint(&args.destination)?;
    close(db)?;
    Ok(Outcome::Done)
}
