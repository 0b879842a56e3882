//! `lsm scan`: prints entries in key order.

use crate::database::{Target, close};
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::output::{Format, write_entry};
use lsm_types::KeySpan;
use std::ffi::OsString;
use std::io::Write;
use std::ops::Bound;

/// Print entries in key order
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// First key (included)
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    from: Option<OsString>,
    /// Where to end (excluded)
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    to: Option<OsString>,
    /// Only keys that start with this
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    prefix: Option<OsString>,
    /// From the last key to the first
    #[arg(long, short)]
    reverse: bool,
    /// At most so many entries
    #[arg(long, short = 'n', value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    /// How to print entries
    #[arg(long, value_enum, default_value = "tsv")]
    format: Format,
    /// Keys are given in hexadecimal
    #[arg(long)]
    hex: bool,
}

/// First key and end.
type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let range = wanted(args)?;
    let (db, keyspace) = args.target.open_existing()?;
    let mut entries = keyspace.range(range);
    for _ in 0..args.limit {
        let next = if args.reverse { entries.next_back() } else { entries.next() };
        let Some(entry) = next else { break };
        let (key, value) = entry?;
        write_entry(out, args.format, &key, &value)?;
    }
    drop(entries);
    close(db)?;
    Ok(Outcome::Done)
}

/// What lies between `--from` and `--to` and starts with `--prefix`.
fn wanted(args: &Args) -> Result<Bounds, Failure> {
    let read = |key: &Option<OsString>| key.as_ref().map(|key| input::argument(key, args.hex)).transpose();
    let prefix = KeySpan::prefix(&read(&args.prefix)?.unwrap_or_default());
    let from = read(&args.from)?.unwrap_or_default().max(prefix.start.to_vec());
    let ends = [read(&args.to)?, prefix.end.map(|end| end.to_vec())];
    let to = ends.into_iter().flatten().min();
    Ok((Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded)))
}
