//! A checksummed append log with group commit, used by the write-ahead log and by the manifest.
