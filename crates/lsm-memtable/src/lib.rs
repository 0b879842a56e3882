//! Sorted multi-version writes in memory.
//!
//! A [`Memtable`] takes every write of a tree until it is sealed and flushed. It
//! keeps all versions of a key, newest first, and range tombstones beside them.
//! Threads insert and read at the same time; readers never wait for a writer.
//!
//! ```
//! use lsm_memtable::{Memtable, MemtableOptions};
//! use lsm_types::{Cursor, InternalKey, SeqNo, ValueKind};
//! use std::sync::Arc;
//!
//! let memtable = Arc::new(Memtable::new(MemtableOptions::default()));
//! memtable.insert(InternalKey::new(b"alice", 0, ValueKind::Value), b"1");
//! memtable.insert(InternalKey::new(b"alice", 7, ValueKind::Value), b"2");
//!
//! // An entry is visible at snapshot S when its number is below S.
//! let value = |snapshot| memtable.get(b"alice", snapshot, |_, _, value| value.to_slice());
//! assert_eq!(value(7).unwrap(), "1");
//! assert_eq!(value(SeqNo::MAX).unwrap(), "2");
//! assert_eq!(value(0), None);
//!
//! let mut cursor = memtable.cursor();
//! let Ok(()) = cursor.seek_to_first();
//! assert_eq!((cursor.key().seqno(), cursor.value()), (7, &b"2"[..]));
//! ```
//!
//! Architecture invariants: this crate allocates and publishes no sequence number,
//! knows no log and no file, and never decides what a reader may see beyond
//! comparing numbers.

mod options;
pub use options::{IndexKind, MemtableOptions};
mod memtable;
pub use memtable::Memtable;
mod value;
pub use value::ValueRef;
mod cursor;
pub use cursor::MemtableCursor;
mod arena;
mod filter;
mod index;
mod tombstones;
