//! [`Engine`]: what every engine must be able to do to be measured.
//!
//! Implemented once for each rival in `engines/`, called only by `workloads/`. The
//! calls are as narrow as the workloads need, so that each engine can answer them in
//! the way its own documentation advises: values are lent to a closure, never copied
//! unless the engine itself copies.

use crate::catalogue::Codec;
use std::error::Error;
use std::path::Path;

/// Whatever an engine or the harness has to complain about.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;
/// A result of the harness.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// What has happened to a write when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// In the operating system's hands: survives a killed process.
    Buffered,
    /// On stable storage.
    Sync,
}

/// What is the same for every engine of a cell.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) cache_bytes: usize,
    pub(crate) write_buffer_bytes: usize,
    pub(crate) durability: Durability,
    pub(crate) compression: Codec,
}

/// Which way a scan walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Reverse,
}

/// Entries that are lent one after another.
pub(crate) trait Source {
    /// The next key and value.
    fn next(&mut self) -> Option<(&[u8], &[u8])>;
}

/// One engine, open on one directory, shared by the threads of a workload.
pub(crate) trait Engine: Sized + Sync {
    /// A view that later writes do not change.
    type Snapshot<'a>: Snapshot
    where
        Self: 'a;

    /// Opens the database in `dir`, creating it if there is none.
    fn open(dir: &Path, setup: &Setup) -> Result<Self>;

    /// Writes one entry; on return it is as durable as the setup asks.
    fn put(&self, key: &[u8], value: &[u8]) -> Result;

    /// Writes all entries at once: all are there afterwards, or none.
    fn put_batch(&self, entries: &mut impl Source) -> Result;

    /// Deletes one entry.
    fn remove(&self, key: &[u8]) -> Result;

    /// Lends the newest value of `key` to `see`; false if there is none.
    fn get(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool>;

    /// Walks all entries from one end, until `see` returns false.
    fn scan(&self, direction: Direction, see: impl FnMut(&[u8], &[u8]) -> bool) -> Result;

    /// Walks forward from the first key not below `from`, until `see` returns false.
    fn seek(&self, from: &[u8], see: impl FnMut(&[u8], &[u8]) -> bool) -> Result;

    /// Walks all entries whose keys start with `prefix`.
    fn prefix(&self, prefix: &[u8], see: impl FnMut(&[u8], &[u8])) -> Result;

    /// The database as it is now.
    fn snapshot(&self) -> Result<Self::Snapshot<'_>>;

    /// Loads entries in key order into an empty database, by the way that the engine
    /// offers for it.
    fn load_sorted(&self, entries: &mut impl Source) -> Result;

    /// Waits until flushes and compactions have nothing left to do.
    fn settle(&self) -> Result;

    /// Closes the database in good order.
    fn close(self) -> Result;
}

/// A view that later writes do not change.
pub(crate) trait Snapshot {
    /// As [`Engine::get`], at the snapshot.
    fn get(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool>;
}
