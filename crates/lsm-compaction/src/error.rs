//! The crate's one error.

/// Why a job did not finish. Files that it created are the caller's to remove.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A table could not be read or written.
    #[error(transparent)]
    Table(#[from] lsm_sstable::Error),
    /// The caller asked the job to stop.
    #[error("the compaction was cancelled")]
    Cancelled,
}

/// A memtable's cursor cannot fail.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
