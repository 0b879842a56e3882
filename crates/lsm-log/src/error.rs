//! [`Error`]: what can go wrong with a log.

use lsm_vfs::{Corruption, IoError};
use std::path::PathBuf;
use std::sync::Arc;

/// What can go wrong with a log.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation failed and nothing is latched: a full disk while writing, or any
    /// failure while reading.
    #[error(transparent)]
    Io(Arc<IoError>),
    /// A sync or a write failed earlier, or just now; the log takes no more writes.
    #[error("the log takes no more writes: {0}")]
    Failed(Arc<IoError>),
    /// Bytes that were durable are not what was written.
    #[error(transparent)]
    Corruption(#[from] Corruption),
    /// The file was written by a newer version.
    #[error("{} has version {found}; this program reads up to {supported}", file.display())]
    Incompatible {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// A payload longer than a record can hold.
    #[error("a record of {bytes} bytes is too long; the limit is {limit} bytes", limit = crate::MAX_PAYLOAD_BYTES)]
    RecordTooLarge {
        /// Its length.
        bytes: u64,
    },
    /// The caller's numbers must grow from segment to segment.
    #[error("the new segment's number {number} is not above {highest}")]
    NumberNotAscending {
        /// The number it gave.
        number: u64,
        /// The greatest number that is taken.
        highest: u64,
    },
    /// Records were staged together with one that could not be staged; none is written.
    #[error("nothing was written, because another record of the group could not be")]
    GroupDiscarded,
    /// The segment has seen as many failed writes as it can tell apart; go on in another.
    #[error("too many writes to this segment have failed")]
    SegmentExhausted,
}

impl From<IoError> for Error {
    fn from(cause: IoError) -> Self {
        Self::Io(Arc::new(cause))
    }
}

impl Error {
    /// Whether the cause is a full disk (or quota): the one failure that goes away by itself.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io(cause) if cause.is_disk_full())
    }
}
