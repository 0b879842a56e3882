//! Pure decisions and pure merging.
//!
//! - [`Strategy`] decides what to compact next: [`Leveled`] (the default),
//!   [`SizeTiered`], [`Fifo`]. It sees a [`PickView`] and answers a [`Plan`].
//! - [`GcStream`] holds the drop rules: what [`GcRules`] allow to forget, given what
//!   [`OlderData`] says lies below.
//! - [`write_tables`] turns what is left into tables.
//!
//! A flush uses the last two, a compaction all three:
//!
//! ```
//! use lsm_compaction::{GcRules, GcStream, NothingOlder};
//! use lsm_types::{InternalKey, RangeTombstoneSet, Slice, ValueKind, VecCursor};
//!
//! let entry = |key: &str, seqno, kind| (InternalKey::new(Slice::from(key), seqno, kind), Slice::from("v"));
//! let merged = VecCursor::new(vec![
//!     entry("a", 1, ValueKind::Value),
//!     entry("a", 2, ValueKind::Value),
//!     entry("a", 7, ValueKind::Value),
//!     entry("b", 3, ValueKind::Value),
//!     entry("b", 4, ValueKind::Tombstone),
//! ]);
//! // A snapshot at 3 is open; new ones see everything below 10.
//! let rules = GcRules { published: 10, snapshots: vec![3], ..GcRules::default() };
//! let mut stream = GcStream::new(merged, RangeTombstoneSet::default(), &rules, NothingOlder);
//! let mut left = Vec::new();
//! while stream.advance()? {
//!     left.push((stream.key().user_key.to_vec(), stream.key().seqno()));
//! }
//! assert_eq!(left, [(b"a".to_vec(), 7), (b"a".to_vec(), 2)], "and nothing of b");
//! # Ok::<(), std::convert::Infallible>(())
//! ```
//!
//! Architecture invariant: no thread, no lock, no clock, no file name. Whoever calls
//! decides when, where and under which number.

mod error;
pub use error::Error;
mod plan;
pub use plan::{MergePlan, PickView, Plan, Strategy};
mod busy;
pub use busy::Busy;
mod leveled;
pub use leveled::Leveled;
mod covered;
mod shape;
mod size_tiered;
pub use size_tiered::SizeTiered;
mod fifo;
pub use fifo::Fifo;
mod range_pick;
mod rules;
pub use rules::GcRules;
mod older;
pub use older::{NothingOlder, OlderData, OlderTables};
mod input;
pub use input::{InputRun, RunParts, merge_runs, range_tombstones_of};
mod gc;
pub use gc::GcStream;
mod output;
mod tombstones;
pub use output::{OutputOptions, TableSink, write_tables};
