//! The words that all layers share.
//!
//! [`Slice`] (refcounted bytes), [`InternalKey`] (user key, [`SeqNo`] and
//! [`ValueKind`] as one value type over borrowed or refcounted bytes), the
//! [`Cursor`] trait, key ranges, range tombstones and the wire form of a batch.
//!
//! ```
//! use lsm_types::{InternalKey, Slice, ValueKind};
//!
//! // A key is a value: it borrows where it can and owns where it must.
//! let borrowed = InternalKey::new(&b"alice"[..], 7, ValueKind::Value);
//! let owned: InternalKey<Slice> = borrowed.to_owned_key();
//! assert_eq!(owned.as_borrowed(), borrowed);
//!
//! // Entries sort by user key ascending, then by sequence number descending.
//! let newer = InternalKey::new(&b"alice"[..], 8, ValueKind::Tombstone);
//! assert!(newer < borrowed);
//! ```
//!
//! Architecture invariant: no lock, no I/O, no dependency on another layer.

mod owner;
pub use owner::{Owner, OwnerFunctions};
mod slice;
pub use slice::Slice;
mod seqno;
pub use seqno::{MAX_SEQNO, SeqNo};
mod kind;
pub use kind::{UnknownKind, ValueKind};
mod key;
pub use key::{InternalKey, Trailer};
mod hash;
pub use hash::key_hash;
mod limits;
pub use limits::{LimitError, MAX_KEY_BYTES, MAX_VALUE_BYTES, check_key, check_value};
mod range;
pub use range::{KeyRange, KeySpan, UpperBound, successor};
mod tombstone;
pub use tombstone::{Fragment, RangeTombstone, RangeTombstoneSet};
mod cursor;
pub use cursor::{Cursor, NoStretch, Stretch, VecCursor, VecStretch};
pub mod batch;
pub mod coding;
