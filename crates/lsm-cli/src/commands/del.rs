//! `lsm del`: deletes keys, or a range of them with one write.

use crate::database::{Target, close};
use crate::failure::{Failure, Outcome};
use crate::input;
use std::ffi::OsString;

/// Delete keys, or a whole range at once; a key that is not there is no error
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The keys, with \xNN for bytes that are not text
    #[arg(required_unless_present = "range", conflicts_with = "range", allow_hyphen_values = true)]
    keys: Vec<OsString>,
    /// Delete every key from FROM (included) to TO (excluded)
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    range: Option<Vec<OsString>>,
    /// Keys are given in hexadecimal
    #[arg(long)]
    hex: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let read = |key: &OsString| input::argument(key, args.hex);
    let keys = args.keys.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let range = match args.range.as_deref() {
        Some([from, to]) => Some((read(from)?, read(to)?)),
        _ => None,
    };
    let (db, keyspace) = args.target.open_existing()?;
    if let Some((from, to)) = range {
        keyspace.remove_range(from..to)?;
    }
    if !keys.is_empty() {
        let mut batch = db.batch();
        for key in keys {
            batch.remove(&keyspace, key);
        }
        batch.commit()?;
    }
    close(db)?;
    Ok(Outcome::Done)
}
