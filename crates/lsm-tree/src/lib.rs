//! An embeddable, multi-keyspace, multi-version LSM storage engine.
//!
//! ```
//! # fn main() -> lsm_tree::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path();
//! use lsm_tree::{Database, KeyspaceOptions};
//!
//! let db = Database::open(path)?;
//! let users = db.keyspace("users", KeyspaceOptions::default())?;
//! let mut batch = db.batch();
//! batch.insert(&users, "alice", "1").insert(&users, "bob", "2");
//! batch.commit()?;                                   // both or none
//!
//! let before = db.snapshot();
//! users.remove_range("a".."b")?;
//! assert_eq!(users.get("alice")?, None);
//! assert_eq!(before.get(&users, "alice")?.unwrap(), "1");
//! for item in users.range("b"..).rev() {
//!     let (key, value) = item?;
//!     assert_eq!((key, value), ("bob".into(), "2".into()));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Database`] is what applications use: durable, atomic, snapshot-isolated,
//! self-maintaining. [`Tree`] is the same engine without log, threads and sequence
//! numbers of its own, for those who build a database themselves.
//!
//! Architecture invariant: this crate wires the layers below to threads; it holds no
//! format and no algorithm. All changes of what exists cross `view::install`.

mod options;
pub use lsm_log::RecoveryMode;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use lsm_vfs::MappedFs;
pub use options::{Advanced, Durability, Execution, Options, Profile, TreeOptions};
mod keyspace_options;
pub use keyspace_options::{Compaction, KeyspaceOptions};
pub use lsm_sstable::Compression;
mod error;
pub use error::{Error, Result};
mod env;
pub use env::{Clock, SystemClock};
mod core;
mod latch;
mod open;
mod store;
pub use open::RecoveryReport;
mod calls;
mod database;
mod engine;
mod replay;
mod view;
pub use database::Database;
mod keyspace;
pub use keyspace::Keyspace;
mod ingest;
pub use ingest::Ingestion;
mod batch;
pub use batch::Batch;
mod snapshot;
pub use snapshot::Snapshot;
mod tree;
pub use tree::Tree;
mod read;
mod write;
pub use read::scan::{Cursor, Range};
mod background;
mod checkpoint;
mod stats;
pub use stats::{CacheStats, KeyspaceStats, LevelStats, LogStats, Stats};
mod verify;
pub use verify::VerifyReport;

pub use lsm_compaction::{Fifo, Leveled, SizeTiered, Strategy};
pub use lsm_types::{KeyRange, SeqNo, Slice};

/// The README's program must compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ReadmeDoctests;

#[cfg(test)]
mod tests;
