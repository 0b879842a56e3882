//! `lsm put`: writes one entry.

use crate::database::{Target, close};
use crate::failure::{Failure, Outcome};
use crate::input;
use lsm_tree::Durability;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

/// Write one entry; the database is created if it is not there
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The key, with \xNN for bytes that are not text
    #[arg(allow_hyphen_values = true)]
    key: OsString,
    /// The value, spelled as the key is; left out: the bytes of the standard input
    #[arg(allow_hyphen_values = true)]
    value: Option<OsString>,
    /// Key and value are given in hexadecimal
    #[arg(long)]
    hex: bool,
    /// Return only when the entry is on stable storage
    #[arg(long)]
    sync: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let key = input::argument(&args.key, args.hex)?;
    let value = match &args.value {
        Some(value) => input::argument(value, args.hex)?,
        None => read_value()?,
    };
    let (db, keyspace) = args.target.open_or_create()?;
    keyspace.insert(&key, &value)?;
    if args.sync {
        db.persist(Durability::Sync)?;
    }
    close(db)?;
    Ok(Outcome::Done)
}

/// The standard input to its end; what is longer than a value can be is read one
/// byte too far, so that the engine refuses it.
fn read_value() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let limit = lsm_types::MAX_VALUE_BYTES as u64 + 1;
    let input = std::io::stdin().lock();
    input.take(limit).read_to_end(&mut value).map_err(Failure::read(Path::new("the standard input")))?;
    Ok(value)
}
