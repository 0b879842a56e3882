//! The crate's one error.

use lsm_vfs::{Corruption, IoError};
use std::path::PathBuf;

/// What can go wrong with the manifest or with opening a table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A file is damaged.
    #[error(transparent)]
    Corruption(#[from] Corruption),
    /// A file was written by a newer version of this engine.
    #[error("{} has format version {found}, and this build reads up to {supported}: open it with a newer version", file.display())]
    Incompatible {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this build reads.
        supported: u32,
    },
    /// The log under the manifest failed.
    #[error(transparent)]
    Log(#[from] lsm_log::Error),
    /// A table failed.
    #[error(transparent)]
    Table(#[from] lsm_sstable::Error),
    /// An earlier failure left the manifest's state on disk unknown.
    #[error("the manifest failed earlier and takes no more changes until the database is reopened: {0}")]
    Latched(String),
    /// An edit contradicts the state: a bug of the caller, caught before it is written.
    #[error("refused a contradictory change of the manifest: {0}")]
    Contradiction(String),
}
