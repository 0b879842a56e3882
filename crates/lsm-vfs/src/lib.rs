//! Every byte to or from disk passes here.
//!
//! [`Fs`] and [`File`] are what the layers above see. `OsFs` is the real thing,
//! `MemFs` lives in memory and forgets what was not synced when its power is cut,
//! `FaultFs` fails on request.
//!
//! Architecture invariant: this crate knows nothing of logs, tables or databases.

mod error;
pub use error::{Corruption, IoError};
mod fs;
pub use fs::{DirEntry, File, Fs, LockGuard};
