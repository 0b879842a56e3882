//! `lsm dump`: any file of ours, annotated for people. What kind of file it is its
//! first bytes say. Takes no lock and changes nothing; the form is not meant for programs.

mod log;
mod manifest;

use crate::escape::escaped;
use crate::failure::{Failure, Outcome};
use crate::units::thousands;
use lsm_log::{Cut, LOG_MAGIC, ReadSegment, RecoverOptions, RecoveryMode};
use lsm_sstable::{Table, TableContext};
use lsm_version::MANIFEST_MAGIC;
use lsm_vfs::{Fs, OsFs};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Print what a table, a log segment or a manifest holds
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print each entry of tables and logs as well
    #[arg(long, short)]
    entries: bool,
}

/// What a table starts with.
const TABLE_MAGIC: [u8; 8] = *b"LSMTABLE";

/// Damage is passed over, so that what lies behind it can be seen as well.
fn options() -> RecoverOptions {
    RecoverOptions { mode: RecoveryMode::Salvage, ..RecoverOptions::default() }
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let path = args.file.as_path();
    let file = OsFs.open_read(path)?;
    let mut magic = [0; 8];
    if file.len()? >= 8 {
        file.read_exact_at(&mut magic, 0)?;
    }
    match magic {
        LOG_MAGIC => log::dump(path, args.entries, out)?,
        MANIFEST_MAGIC => manifest::dump(path, out)?,
        TABLE_MAGIC => table(path, args.entries, out)?,
        _ => {
            let path = path.display();
            let sentence =
                format!("{path} is no file of ours: give a table (.sst), a log segment (.log) or a MANIFEST");
            return Err(Failure::Other(sentence));
        }
    }
    Ok(Outcome::Done)
}

fn table(path: &Path, entries: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let failed = |error: lsm_sstable::Error| Failure::Other(error.to_string());
    let context = TableContext::new(Arc::new(OsFs), 0, 1);
    let meta = Table::read_meta(&context, path).map_err(failed)?;
    let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).unwrap_or(0);
    let table = Table::open(&context, path.to_path_buf(), number, &meta).map_err(failed)?;
    let mut text = Text { out, failure: None };
    let dumped = table.dump(entries, &mut text);
    match text.failure {
        Some(error) => Err(error.into()),
        None => dumped.map_err(failed),
    }
}

/// Text into bytes, keeping the error that [`fmt::Error`] cannot carry.
struct Text<'a> {
    out: &'a mut dyn Write,
    failure: Option<io::Error>,
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.write_all(text.as_bytes()).map_err(|error| {
            self.failure = Some(error);
            fmt::Error
        })
    }
}

/// Prints the header of a segment and what its records add up to.
fn summary(path: &Path, read: &ReadSegment, out: &mut dyn Write) -> io::Result<()> {
    let header = &read.header;
    writeln!(out, "{}: uid {:#018x}, {} records", path.display(), header.uid, thousands(read.records))?;
    let cuts = read.skipped.iter().chain(&read.cut);
    for Cut { offset, discarded_bytes, reason, .. } in cuts {
        writeln!(out, "  at byte {offset}: {reason}; {} bytes passed over", thousands(*discarded_bytes))?;
    }
    let clean = if read.closed_cleanly { "closed cleanly" } else { "not closed" };
    writeln!(out, "  ends at byte {}, {clean}", read.end_offset)
}

/// Bytes for people: escaped, in quotes, and cut when they are long.
fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 80;
    match bytes.get(..LONGEST) {
        Some(start) if bytes.len() > LONGEST => {
            format!("'{}'… ({} bytes)", escaped(start), thousands(bytes.len() as u64))
        }
        _ => format!("'{}'", escaped(bytes)),
    }
}
