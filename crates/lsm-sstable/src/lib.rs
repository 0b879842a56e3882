//! The immutable sorted file: blocks, index, filter, range tombstones, writer,
//! reader, block cache.
//!
//! A [`TableWriter`] writes entries in order, once; a [`BlockAssembler`] does half of its work
//! elsewhere. A [`Table`] answers [`get`]s and
//! hands out [`TableCursor`]s; what tables share (cache, open files) is a
//! [`TableContext`]. Values and keys handed out share the memory of their block.
//!
//! ```
//! use lsm_sstable::{Table, TableContext, TableWriter, WriterOptions, key_hash};
//! use lsm_types::{InternalKey, SeqNo, ValueKind};
//! use lsm_vfs::{Fs, MemFs};
//! use std::{path::Path, sync::Arc};
//!
//! let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
//! let mut writer = TableWriter::create(&*fs, Path::new("1.sst"), 77, &WriterOptions::default())?;
//! writer.add(InternalKey::new(b"alice", 7, ValueKind::Value), b"1")?;
//! writer.add(InternalKey::new(b"bob", 8, ValueKind::Tombstone), b"")?;
//! let meta = writer.finish(0)?;
//!
//! let context = TableContext::new(fs, 1 << 20, 100);
//! let table = Table::open(&context, "1.sst".into(), 1, &meta)?;
//! let found = table.get(b"alice", key_hash(b"alice"), SeqNo::MAX)?.unwrap();
//! assert_eq!(found.value, "1");
//! assert_eq!(table.verify()?.entries, 2);
//! # Ok::<(), lsm_sstable::Error>(())
//! ```
//!
//! Architecture invariant: this crate knows nothing of levels, versions or the log.
//! It applies no range tombstone and drops no entry; it only stores and finds them.
//!
//! [`get`]: Table::get

mod error;
pub use error::{Error, NotAdded};
mod compression;
pub use compression::Compression;
mod hash;
pub use hash::key_hash;
mod meta;
pub use meta::TableMeta;

mod block;
mod block_builder;
mod cache;
pub use cache::Admission;
mod filter;
mod format;
pub use format::may_be_table;
mod index;
mod tombstones;

mod assemble;
pub use assemble::{BlockAssembler, BuiltBlocks};
mod written;
pub use written::WrittenBlocks;
mod writer;
pub use writer::{TableWriter, WriterOptions};
mod context;
pub use context::{CacheStats, TableContext};
mod source;
mod table;
pub use table::{Found, Table};
mod cursor;
pub use cursor::{BlockStretch, ReadOptions, TableCursor};
mod verify;
pub use verify::VerifyReport;
mod dump;
