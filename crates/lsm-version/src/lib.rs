//! What exists, and who still looks at it.
//!
//! [`Version`] is the set of tables of one keyspace at one moment, [`Manifest`] the
//! durable log of how it changed, [`SuperVersion`] a version together with the
//! memtables above it, and [`VersionHistory`] the super versions that somebody may
//! still read, newest last. [`SeqnoClock`] and [`SnapshotRegistry`] say which
//! sequence numbers are visible and which are still needed.
//!
//! ```
//! use lsm_version::{Exactness, SeqnoClock, SnapshotRegistry};
//!
//! let clock = SeqnoClock::starting_at(0);
//! let registry = SnapshotRegistry::new();
//! assert!(clock.publish(0, 3));             // a batch of three became visible
//! let snapshot = registry.open(&clock);     // sees 0, 1 and 2
//! assert!(clock.publish(3, 1));
//!
//! // A job may drop what neither P nor any live snapshot can see …
//! let needed = registry.needed(&clock);
//! assert_eq!((needed.published, needed.snapshots.as_slice()), (4, &[3][..]));
//! // … and its result answers exactly for those readers, and for all later ones.
//! let exact = Exactness::everything().after_job(&needed);
//! assert!(exact.holds_for(snapshot.seqno()) && exact.holds_for(4) && !exact.holds_for(1));
//! ```
//!
//! Architecture invariant: nothing here starts a thread or decides what to compact,
//! and no lock that a reader takes is held over I/O.

mod error;
pub use error::Error;
mod seqno;
pub use seqno::SeqnoClock;
mod snapshots;
pub use snapshots::{LiveSnapshot, Needed, SnapshotRegistry};
mod exact;
pub use exact::Exactness;
mod life;
pub use life::{FileLife, Graveyard};
mod table;
pub use table::{FileNumber, TableHandle, table_file_name};
mod run;
pub use run::{Level, Placement, Run};
mod version;
pub use version::{Change, LEVELS, Version};
mod super_version;
pub use super_version::{SealedMemtable, SuperVersion};
mod pin;
pub use pin::Pin;
mod history;
pub use history::{Readable, VersionHistory};
mod edit;
pub use edit::{Edit, StoreKind};
mod state;
pub use state::{KeyspaceState, ManifestState};
mod manifest;
pub use manifest::{MANIFEST_NAME, MANIFEST_NEW_NAME, Manifest};
mod inspect;
pub use inspect::{MANIFEST_MAGIC, read_manifest};
