//! Every byte to or from disk passes here.
//!
//! [`Fs`] and [`File`] are what the layers above see. [`OsFs`] is the real thing,
//! [`MemFs`] lives in memory and forgets what was not synced when its power is cut,
//! [`FaultFs`] fails on request.
//!
//! ```
//! use lsm_vfs::{Fs, MemFs};
//! use std::path::Path;
//!
//! let disk = MemFs::new();
//! let file = disk.create_new(Path::new("greeting"))?;
//! file.write_all_at(b"hello", 0)?;
//! file.sync_data()?;
//! disk.sync_dir(Path::new(""))?;
//! file.write_all_at(b"HELLO", 0)?;
//!
//! // Whatever the seed, the synced state or a later one is found again.
//! let after = disk.power_cut(42);
//! let found = after.read_to_vec(Path::new("greeting"), 1 << 20)?;
//! assert!(found == b"hello" || found == b"HELLO");
//! # Ok::<(), lsm_vfs::IoError>(())
//! ```
//!
//! Architecture invariant: this crate knows nothing of logs, tables or databases.

mod error;
pub use error::{Corruption, IoError};
mod fs;
pub use fs::{DirEntry, File, Fs, LockGuard};
mod os;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod os_map;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod os_no_map;
#[cfg(target_os = "linux")]
mod os_writeback;
pub use os::{OsFs, give_way};
#[cfg(any(target_os = "linux", target_os = "android"))]
mod os_mapped;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use os_mapped::MappedFs;
mod mem;
pub use mem::MemFs;
mod fault;
pub use fault::{Fault, FaultFs};
mod random;
pub use random::{SplitMix64, mix64};
