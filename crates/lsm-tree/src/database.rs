//! [`Database`]: the handle that applications hold.

use crate::batch::Batch;
use crate::engine::Handle;
use crate::keyspace::Keyspace;
use crate::keyspace_options::KeyspaceOptions;
use crate::options::{Durability, Options};
use crate::snapshot::Snapshot;
use crate::stats::Stats;
use crate::{RecoveryReport, Result};
use std::path::Path;
use std::sync::Arc;

/// An open database: many keyspaces, one log, one order of writes.
///
/// Cheap to clone; `Send + Sync`. The database closes when the last handle, be it a
/// keyspace, a snapshot or an iterator, is dropped, or at [`close`](Self::close).
///
/// ```
/// # fn main() -> lsm_tree::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path();
/// use lsm_tree::{Database, KeyspaceOptions};
///
/// let db = Database::open(path)?;
/// let users = db.keyspace("users", KeyspaceOptions::default())?;
/// users.insert("alice", "1")?;
/// assert_eq!(users.get("alice")?.unwrap(), "1");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) handle: Arc<Handle>,
}

impl Database {
    /// Opens the database in the directory `path`, or creates it there, with options
    /// that need no tuning.
    ///
    /// Replays the log: everything acknowledged before a crash is there again (see
    /// the table of guarantees in the README).
    ///
    /// # Errors
    /// `Locked` when it is open elsewhere, `Corruption` when a file is damaged,
    /// `Incompatible` when it was written by a newer version, `InvalidArgument` when
    /// the directory holds something else, `Io` when the file system refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), Options::default())
    }

    pub(crate) fn open_with(path: &Path, options: Options) -> Result<Self> {
        let engine = crate::open::open_database(path, options)?;
        let handle = Arc::new(Handle { engine });
        handle.engine.start()?;
        Ok(Self { handle })
    }

    /// Opens the keyspace `name`, creating it with `options` if it does not exist.
    /// An existing one keeps the options that it was created with.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is empty or over 255 bytes, or for options
    /// that this build cannot serve; otherwise as any write.
    pub fn keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<Keyspace> {
        let core = self.handle.engine.open_keyspace(name, options)?;
        Ok(Keyspace { core, handle: Arc::clone(&self.handle) })
    }

    /// The names of all keyspaces, sorted.
    #[must_use]
    pub fn keyspace_names(&self) -> Vec<String> {
        self.handle.engine.keyspaces.read().by_name.keys().cloned().collect()
    }

    /// Drops a keyspace with all its data. Handles to it answer `InvalidArgument`;
    /// snapshots from before still read it.
    ///
    /// # Errors
    /// `InvalidArgument` when it does not exist; otherwise as any write.
    pub fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.handle.engine.drop_keyspace(name)
    }

    /// An empty batch: what it is given becomes visible, and durable, all at once.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.handle))
    }

    /// A snapshot of all keyspaces as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::open(Arc::clone(&self.handle))
    }

    /// Makes every write acknowledged so far as durable as asked.
    ///
    /// # Errors
    /// `Io` when the log cannot be synced; the database is read-only then.
    pub fn persist(&self, durability: Durability) -> Result<()> {
        self.handle.engine.persist(durability)
    }

    /// Blocks until flushes and compactions have nothing left to do.
    ///
    /// What would be done once nobody has written for a while is done now: as a rule level
    /// 0 of each keyspace is merged into the level below, so that reads look into fewer runs.
    ///
    /// # Errors
    /// `ReadOnly` with its cause when background work failed, `Closed`.
    pub fn wait_idle(&self) -> Result<()> {
        self.handle.engine.wait_idle()
    }

    /// Writes a copy of the database as of now into the directory `path`, which must
    /// not exist or be empty. Tables are hard-linked where the file system can, so
    /// the copy is cheap; it opens as a database of its own.
    ///
    /// # Errors
    /// `InvalidArgument` when `path` holds something, `Io`.
    pub fn checkpoint(&self, path: impl AsRef<Path>) -> Result<()> {
        self.handle.engine.checkpoint(path.as_ref())
    }

    /// What the database holds and has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.engine.stats()
    }

    /// Reads every block of every table and checks it. Slow: as long as reading all
    /// files takes.
    ///
    /// # Errors
    /// The first damage, with file and offset.
    pub fn verify(&self) -> Result<crate::VerifyReport> {
        self.handle.engine.verify()
    }

    /// What opening the database found in the log.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.handle.engine.recovery
    }

    /// Closes the database: every handle, iterator and snapshot answers `Closed`
    /// from now on, and the directory may be opened again. Does not flush memtables:
    /// the log holds them.
    ///
    /// # Errors
    /// `Io` when the final marks of log and manifest cannot be written; nothing that
    /// was acknowledged is lost by that.
    pub fn close(self) -> Result<()> {
        self.handle.engine.close()
    }
}
