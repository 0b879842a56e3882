//! The two things that files do to us: an operation fails ([`IoError`]), or the
//! bytes are not what was written ([`Corruption`]). Both say where.

use std::io;
use std::path::{Path, PathBuf};

/// A file-system operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct IoError {
    /// What was tried, as a verb: "read", "sync", "rename".
    pub operation: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// The operating system's answer.
    pub source: io::Error,
}

impl IoError {
    /// Names the operation and the file of an `io::Error`.
    #[must_use]
    pub fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self { operation, path: path.to_path_buf(), source }
    }

    /// The kind of the operating system's answer.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Whether the disk (or a quota on it) is full: the one error that goes away by itself.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Bytes on disk that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset}: expected {expected}, got {got}", file.display())]
pub struct Corruption {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in it, in bytes from its start.
    pub offset: u64,
    /// What should stand there.
    pub expected: String,
    /// What stands there.
    pub got: String,
}

impl Corruption {
    /// Says what is wrong where.
    #[must_use]
    pub fn new(file: &Path, offset: u64, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { file: file.to_path_buf(), offset, expected: expected.into(), got: got.into() }
    }
}
