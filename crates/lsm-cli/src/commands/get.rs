//! `lsm get`: prints one value.

use crate::database::{Target, close};
use crate::failure::{Failure, Outcome, complain};
use crate::output::{Format, write_value};
use crate::{escape, input};
use std::ffi::OsString;
use std::io::Write;

/// Print the value of a key; exit code 1 when it is not there
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The key, with \xNN for bytes that are not text
    #[arg(allow_hyphen_values = true)]
    key: OsString,
    /// The key is given in hexadecimal
    #[arg(long)]
    hex: bool,
    /// How to print the value
    #[arg(long, value_enum, default_value = "tsv")]
    format: Format,
    /// Print exactly the bytes of the value, without a line feed
    #[arg(long, conflicts_with = "format")]
    raw: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let key = input::argument(&args.key, args.hex)?;
    let (db, keyspace) = args.target.open_existing()?;
    let value = keyspace.get(&key)?;
    let outcome = match &value {
        Some(value) => {
            if args.raw {
                out.write_all(value)?;
            } else {
                write_value(out, args.format, value)?;
            }
            Outcome::Done
        }
        None => {
            complain(&format!("there is no key '{}' in '{}'", escape::escaped(&key), args.target.keyspace));
            Outcome::Negative
        }
    };
    drop(value);
    close(db)?;
    Ok(outcome)
}
