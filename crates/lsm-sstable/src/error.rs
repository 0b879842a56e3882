//! [`Error`]: everything that can go wrong with a table, told apart by what the
//! caller can do about it.

use crate::Compression;
use lsm_types::LimitError;
use lsm_vfs::{Corruption, IoError};
use std::path::PathBuf;

/// Why an entry was not added; all is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// Its key does not sort behind the one before.
    #[error("the key does not sort behind the one before")]
    Order,
    /// Its key or its value is too long.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// What went wrong with a table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The bytes are not what was written.
    #[error(transparent)]
    Corruption(#[from] Corruption),
    /// A newer version of the format.
    #[error("{} has table format {found}; this version reads up to {supported}", file.display())]
    Incompatible {
        /// The table.
        file: PathBuf,
        /// The version in its header.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// This build cannot compress or decompress so.
    #[error("{} needs {compression} compression, which this build lacks", file.display())]
    UnsupportedCompression {
        /// The table.
        file: PathBuf,
        /// The compression that is missing.
        compression: Compression,
    },
    /// An entry was added that does not sort after the one before.
    #[error("an entry for {} does not sort after the entry before it", file.display())]
    OutOfOrder {
        /// The table being written.
        file: PathBuf,
    },
    /// A range tombstone was added as if it were an entry.
    #[error("a range tombstone for {} was added as a point entry", file.display())]
    NotAPointEntry {
        /// The table being written.
        file: PathBuf,
    },
    /// A table without any entry or range tombstone was to be finished.
    #[error("{} would hold neither an entry nor a range tombstone", file.display())]
    Empty {
        /// The table being written.
        file: PathBuf,
    },
    /// A key or a value is too long.
    #[error(transparent)]
    Limit(#[from] LimitError),
}
