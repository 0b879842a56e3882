//! The hidden command `demo-writer`: commits numbered batches without end, reporting
//! each on its standard output once it is acknowledged, until it is killed.

use super::changes::{Batches, Change};
use crate::failure::{Failure, Outcome};
use lsm_tree::{Database, Durability, Keyspace, KeyspaceOptions, Options};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Keyspace of the characters.
pub(super) const CHARACTERS: &str = "unicode";
/// Keyspace of the batches.
pub(super) const JOURNAL: &str = "journal";

/// One batch in so many waits for stable storage.
const SYNC_EVERY: u64 = 64;

/// Where nobody kills it, the writer ends here: nothing runs for ever.
const LAST_BATCH: u64 = 2_000_000;

/// Commit numbered batches until killed (used by demo)
#[derive(Debug, clap::Args)]
pub(crate) struct WriterArgs {
    db: PathBuf,
    seed: u64,
    first: u64,
}

/// The demo's database. The write buffer is small, so that a short run flushes and
/// merges often and a kill meets these at work.
pub(super) fn open(path: &Path) -> Result<(Database, Keyspace, Keyspace), Failure> {
    let db = Options::default().write_buffer_size(1 << 20).open(path)?;
    let characters = db.keyspace(CHARACTERS, KeyspaceOptions::default())?;
    let journal = db.keyspace(JOURNAL, KeyspaceOptions::default())?;
    Ok((db, characters, journal))
}

/// Runs the command.
pub(crate) fn run_writer(args: &WriterArgs, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let (db, characters, journal) = open(&args.db)?;
    let batches = Batches::new(args.seed);
    for number in args.first..=LAST_BATCH {
        let mut batch = db.batch();
        for change in batches.batch(number) {
            match change {
                Change::Put(key, value) => batch.insert(&characters, key, value),
                Change::Delete(key) => batch.remove(&characters, key),
                Change::Log(key, value) => batch.insert(&journal, key, value),
            };
        }
        let sync = number.is_multiple_of(SYNC_EVERY);
        batch.durability(if sync { Durability::Sync } else { Durability::Buffered }).commit()?;
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(Outcome::Done)
}
