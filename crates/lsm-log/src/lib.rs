//! A checksummed append log with group commit, used by the write-ahead log and by the
//! manifest.
//!
//! A log is a sequence of segments, a segment a sequence of records, a record one opaque
//! payload that is found again whole or not at all. [`LogWriter`] appends,
//! [`GroupSync`] makes durable, [`recover`] reads after a clean end or a crash. A file
//! that stands alone has [`SegmentWriter`] and [`read_segment`].
//!
//! ```
//! use lsm_log::{Error, LogOptions, LogWriter, RecoverOptions, Recovered, SegmentId, recover};
//! use lsm_vfs::{Fs, MemFs};
//! use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
//!
//! let disk = MemFs::new();
//! let numbers = AtomicU64::new(1);
//! let ids = Arc::new(move || SegmentId { number: numbers.fetch_add(1, Ordering::Relaxed), uid: 77 });
//!
//! let fs: Arc<dyn Fs> = Arc::new(disk.clone());
//! let mut log = LogWriter::start(fs, "".into(), LogOptions::default(), ids, &Recovered::default())?;
//! log.stage(&[b"first ", b"batch"])?;
//! log.stage(&[b"second batch"])?;
//! let end = log.write_staged()?;              // one write(2) for both
//! log.group_sync().sync_through(end)?;        // shared by all threads that wait for it
//!
//! let after = disk.power_cut(1);
//! let mut payloads = Vec::new();
//! let found = recover::<Error>(&after, "".as_ref(), &[1], RecoverOptions::default(), &mut |_, payload| {
//!     payloads.push(payload.to_vec());
//!     Ok(())
//! })?;
//! assert_eq!(payloads, [&b"first batch"[..], b"second batch"]);
//! assert_eq!(found.end, end);
//! # Ok::<(), Error>(())
//! ```
//!
//! Architecture invariant: this crate knows nothing of keys, batches or tables. An old
//! segment is never appended to; recovery changes no byte of it.

mod error;
pub use error::Error;
mod position;
pub use position::LogPosition;
mod record;
pub use record::MAX_PAYLOAD_BYTES;
mod segment;
pub use segment::{
    LOG_MAGIC, SEGMENT_HEADER_BYTES, SegmentEnd, SegmentHeader, VERSION, remove_segments, segment_number,
    segment_path,
};
mod segment_writer;
pub use segment_writer::SegmentWriter;
mod prepare;
pub use prepare::{SegmentId, SegmentIds, SegmentPreparer};
mod sync;
pub use sync::GroupSync;
mod writer;
pub use writer::{LogOptions, LogWriter};
mod chain;
mod recover;
mod scan;
mod walk;
mod window;
pub use recover::{Cut, OnRecord, RecoverOptions, Recovered, RecoveryMode, SegmentInfo, recover};
mod read;
pub use read::{ReadSegment, read_segment};
