//! The facade's one error: coarse kinds that tell an application what to do.

use lsm_types::Slice;
use lsm_vfs::{Corruption, IoError};
use std::path::PathBuf;
use std::sync::Arc;

/// The result of most calls.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, by what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused. Retry, or make room on the disk.
    #[error(transparent)]
    Io(Arc<IoError>),
    /// A file is damaged. Restore it from a checkpoint, or open in salvage mode.
    #[error("{} is damaged at byte {offset}: expected {expected}, got {got}", file.display())]
    Corruption {
        /// The damaged file.
        file: PathBuf,
        /// Where in it, in bytes from its start.
        offset: u64,
        /// What should stand there.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// Another process, or another handle of this one, has the directory open.
    #[error("{} is open elsewhere: close the other handle, or share it", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A transaction read what another one has changed since. Run it again.
    #[error("a concurrent commit changed what this transaction read: run it again")]
    Conflict,
    /// An earlier failure made the database read-only. Reopen it to recover.
    #[error("the database is read-only until it is reopened, because: {cause}")]
    ReadOnly {
        /// The failure.
        cause: Arc<Error>,
    },
    /// The call cannot be right; nothing was done.
    #[error("{0}")]
    InvalidArgument(String),
    /// An ingestion takes its keys in ascending order, each once.
    #[error("an ingestion takes ascending keys, but {key:?} came after {previous:?}")]
    OutOfOrder {
        /// The greatest key so far.
        previous: Slice,
        /// The key that was refused.
        key: Slice,
    },
    /// The directory was written by a newer version.
    #[error("{} has format version {found}, and this build reads up to {supported}: use a newer version", file.display())]
    Incompatible {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this build reads.
        supported: u32,
    },
    /// What a read at this sequence number needs was dropped already.
    #[error("the snapshot at {seqno} is too old: what it needs is gone")]
    SnapshotTooOld {
        /// The bound of the read.
        seqno: u64,
    },
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
}

impl Error {
    /// An [`InvalidArgument`](Self::InvalidArgument) that says what is wrong.
    pub(crate) fn invalid(sentence: impl Into<String>) -> Self {
        Self::InvalidArgument(sentence.into())
    }

    /// Whether the disk is full: the one failure that goes away by itself.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io(error) => error.is_disk_full(),
            Self::ReadOnly { cause } => cause.is_disk_full(),
            _ => false,
        }
    }
}

impl From<IoError> for Error {
    fn from(error: IoError) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<Corruption> for Error {
    fn from(damage: Corruption) -> Self {
        let Corruption { file, offset, expected, got } = damage;
        Self::Corruption { file, offset, expected, got }
    }
}

impl From<lsm_types::LimitError> for Error {
    fn from(error: lsm_types::LimitError) -> Self {
        Self::InvalidArgument(error.to_string())
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<lsm_sstable::Error> for Error {
    fn from(error: lsm_sstable::Error) -> Self {
        use lsm_sstable::Error as Table;
        match error {
            Table::Io(error) => error.into(),
            Table::Corruption(damage) => damage.into(),
            Table::Incompatible { file, found, supported } => Self::Incompatible { file, found, supported },
            other => Self::InvalidArgument(other.to_string()),
        }
    }
}

impl From<lsm_log::Error> for Error {
    fn from(error: lsm_log::Error) -> Self {
        use lsm_log::Error as Log;
        match error {
            Log::Io(error) | Log::Failed(error) => Self::Io(error),
            Log::Corruption(damage) => damage.into(),
            Log::Incompatible { file, found, supported } => Self::Incompatible { file, found, supported },
            other => Self::InvalidArgument(other.to_string()),
        }
    }
}

impl From<lsm_version::Error> for Error {
    fn from(error: lsm_version::Error) -> Self {
        use lsm_version::Error as Version;
        match error {
            Version::Io(error) => error.into(),
            Version::Corruption(damage) => damage.into(),
            Version::Incompatible { file, found, supported } => Self::Incompatible { file, found, supported },
            Version::Log(error) => error.into(),
            Version::Table(error) => error.into(),
            other => Self::InvalidArgument(other.to_string()),
        }
    }
}

impl From<lsm_compaction::Error> for Error {
    fn from(error: lsm_compaction::Error) -> Self {
        match error {
            lsm_compaction::Error::Table(error) => error.into(),
            lsm_compaction::Error::Cancelled => Self::Closed,
            other => Self::InvalidArgument(other.to_string()),
        }
    }
}
