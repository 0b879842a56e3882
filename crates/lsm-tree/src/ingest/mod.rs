//! [`Ingestion`]: entries in ascending order become tables beside the log, and are made
//! visible all at once. Called by applications through [`Keyspace::ingestion`]. Nothing of
//! it goes through a memtable, and until the end nobody sees anything of it.
//!
//! 1. The calling thread lays entries out as blocks; another thread compresses them and
//!    writes them into tables ([`pipeline`]). All entries have the number 0 so far.
//! 2. `finish` takes the ingestion's place in the order of writes, gives its tables that
//!    number as a whole, and installs them ([`install`]).

mod install;
mod pipeline;

use crate::{Error, Keyspace, Result};
use lsm_sstable::{BlockAssembler, NotAdded};
use lsm_types::{KeySpan, Slice};
use pipeline::{Loader, Rear};

/// A bulk load: sorted entries on their way into a keyspace, beside the log.
///
/// Several times as fast as inserting them. Nothing is visible until
/// [`finish`](Self::finish), which makes all of it visible at once; dropping it without that
/// leaves nothing behind. Memory stays within a few MiB, or a few times the largest value where
/// that is more, and eight bytes an entry of the table being written for its filter.
///
/// ```
/// # fn main() -> lsm_tree::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let db = lsm_tree::Database::open(directory.path())?;
/// # let users = db.keyspace("users", lsm_tree::KeyspaceOptions::default())?;
/// let mut ingestion = users.ingestion()?;
/// for number in 0..1000_u32 {
///     ingestion.insert(number.to_be_bytes(), "value")?;
/// }
/// assert!(users.is_empty()?);
/// ingestion.finish()?;
/// assert_eq!(users.len()?, 1000);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is there until it is finished"]
pub struct Ingestion {
    keyspace: Keyspace,
    front: BlockAssembler,
    loader: Loader,
    first_key: Option<Slice>,
    raw_bytes: u64,
    /// Why the tables cannot be written: every later call says so.
    failure: Option<Error>,
}

impl Keyspace {
    /// Begins a bulk load of entries in ascending order.
    ///
    /// # Errors
    /// `ReadOnly` after a failure, `Closed`; `InvalidArgument` when the keyspace was dropped.
    pub fn ingestion(&self) -> Result<Ingestion> {
        Ingestion::begin(self.clone())
    }
}

impl Ingestion {
    fn begin(keyspace: Keyspace) -> Result<Self> {
        let engine = &keyspace.handle.engine;
        engine.store.check_usable()?;
        keyspace.core.check_exists()?;
        // Most of a bulk load lies deep in the end, so it is written as the last level is.
        let options = keyspace.core.options.writer(lsm_version::LEVELS - 1);
        let loader = Loader::new(Rear::new(engine, &keyspace.core, options.clone()));
        let front = BlockAssembler::new(&options);
        Ok(Self { keyspace, front, loader, first_key: None, raw_bytes: 0, failure: None })
    }

    /// Adds an entry. Its key must be greater than the one before.
    ///
    /// # Errors
    /// `OutOfOrder` for a key that does not sort behind the one before, `InvalidArgument` for
    /// a key over 64 KiB - 1 or a value over 1 GiB: the entry was not added, others may
    /// follow. `Io` when the tables cannot be written, `Closed`: the ingestion is lost.
    #[inline]
    pub fn insert(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let (key, value) = (key.as_ref(), value.as_ref());
        if let Some(failure) = &self.failure {
            // What nobody will write must not pile up.
            return Err(failure.clone());
        }
        if let Err(why) = self.front.add(key, value) {
            return Err(self.refused(key, why));
        }
        self.raw_bytes += (key.len() + value.len()) as u64;
        if self.first_key.is_none() {
            self.first_key = Some(key.into());
        }
        if self.front.has_load() { self.hand_over() } else { Ok(()) }
    }

    /// Makes all entries visible at once and returns when they are durable, as everything
    /// written before. They win over everything that was written before, and lose to
    /// everything that is written from now on; snapshots that are open never see them.
    ///
    /// Writers of keys in between the first and the last one may have to wait meanwhile for
    /// one change of the manifest; others and readers do not.
    ///
    /// # Errors
    /// `Io` when the disk is full or fails, `ReadOnly` after a failure, `Closed`;
    /// `InvalidArgument` when the keyspace was dropped. Nothing of it is there then, unless
    /// the database has turned read-only: whether it is there, opening it again will tell.
    pub fn finish(self) -> Result<()> {
        let Self { keyspace, front, mut loader, first_key, raw_bytes, failure } = self;
        let engine = &keyspace.handle.engine;
        let _call = engine.begin_call()?;
        keyspace.core.check_exists()?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let (Some(first_key), Some(last_key)) = (first_key, front.last_key()) else { return Ok(()) };
        let span = KeySpan { start: first_key, end: Some(lsm_types::successor(last_key)) };
        loader.write(front.finish())?;
        let tables = loader.finish()?;
        engine.ingest(&keyspace.core, &tables, &span, raw_bytes)
    }

    #[cold]
    fn refused(&mut self, key: &[u8], why: NotAdded) -> Error {
        match why {
            NotAdded::Limit(error) => error.into(),
            NotAdded::Order => Error::OutOfOrder {
                previous: self.front.last_key().unwrap_or_default().into(),
                key: key.into(),
            },
        }
    }

    /// Gives the finished blocks to the rear half.
    fn hand_over(&mut self) -> Result<()> {
        let built = self.front.take(self.loader.spare());
        self.loader.write(built).inspect_err(|error| self.failure = Some(error.clone()))
    }
}
