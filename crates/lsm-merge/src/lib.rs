//! Many sorted cursors into one.
//!
//! - [`MergeCursor`] merges overlapping sources, newest first.
//! - [`ConcatCursor`] chains disjoint sorted parts and opens each only when reached.
//! - [`VisibleCursor`] shows what one snapshot sees: the newest visible version of
//!   each user key, unless it is deleted, covered by a range tombstone or expired.
//!
//! ```
//! use lsm_merge::{MergeCursor, VisibleCursor};
//! use lsm_types::{InternalKey, RangeTombstoneSet, SeqNo, Slice, ValueKind, VecCursor};
//!
//! let entry = |key: &str, seqno, kind, value: &str| {
//!     (InternalKey::new(Slice::from(key), seqno, kind), Slice::from(value))
//! };
//! let older = VecCursor::new(vec![
//!     entry("a", 1, ValueKind::Value, "one"),
//!     entry("b", 2, ValueKind::Value, "two"),
//! ]);
//! let newer = VecCursor::new(vec![entry("a", 3, ValueKind::Tombstone, "")]);
//!
//! let merged = MergeCursor::new(vec![newer, older]);
//! let mut cursor = VisibleCursor::new(merged, SeqNo::MAX, &RangeTombstoneSet::default(), 0);
//! cursor.seek_to_first()?;
//! assert_eq!((cursor.key(), cursor.value()), (&b"b"[..], &b"two"[..]));
//! cursor.next()?;
//! assert!(!cursor.valid());
//! # Ok::<(), std::convert::Infallible>(())
//! ```
//!
//! Architecture invariant: no lock, no I/O, no thread, and no allocation for an
//! entry that is walked over; a cursor is as `Send` as its sources and their stretches.

mod merge;
pub use merge::MergeCursor;
mod concat;
pub use concat::{ConcatCursor, Parts};
mod visible;
pub use visible::VisibleCursor;
mod coverage;
pub mod expiry;
mod kept;
