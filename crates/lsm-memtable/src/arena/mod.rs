//! The memory in which the tree's entries lie: written once, then only read, and
//! freed as a whole. Used by the tree index; sorts nothing.
//!
//! [`new`] makes an [`ArenaWriter`], which alone can add records, and an [`Arena`],
//! through which any thread reads them. A [`RecordRef`] travels between threads in
//! a [`RecordSlot`], whose orderings make the record's bytes visible with it.

use lsm_sync::atomic::{AtomicU32, Ordering};
use lsm_sync::weaken;

#[cfg(not(lsm_loom))]
mod chunk;
#[cfg(not(lsm_loom))]
mod real;
#[cfg(not(lsm_loom))]
pub(crate) use chunk::{Chunk, Spare};
#[cfg(not(lsm_loom))]
pub(crate) use real::{Arena, ArenaWriter, new};

#[cfg(lsm_loom)]
mod modelled;
#[cfg(lsm_loom)]
pub(crate) use modelled::{Arena, ArenaWriter, Spare, new};

#[cfg(not(lsm_loom))]
mod shared;

/// The longest value that is copied into the arena itself, in bytes; a longer one
/// becomes a slice of its own, so that handing it out need not copy it again. Fresh memory
/// costs several times what a copy does, and the arena's is used again.
#[cfg(not(lsm_loom))]
pub(crate) const MAX_INLINE_BYTES: usize = 32 << 10;

/// Names a record of one arena. Only that arena's writer makes one, and nothing else
/// turns a number into one, but for a [`RecordSlot`] that holds what was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordRef(u32);

/// A [`RecordRef`] that one thread stores and others load.
#[cfg_attr(not(lsm_loom), derive(zerocopy::FromBytes))]
#[repr(transparent)]
#[derive(Debug, Default)]
pub(crate) struct RecordSlot(AtomicU32);

impl RecordSlot {
    /// `Release`, for the `Acquire` in `load`: whoever finds the name finds the bytes.
    #[inline]
    pub(crate) fn store(&self, record: RecordRef) {
        self.0.store(record.0, weaken("memtable.record", Ordering::Release));
    }

    /// The record stored last. To be called only after a store happened.
    #[inline]
    pub(crate) fn load(&self) -> RecordRef {
        RecordRef(self.0.load(weaken("memtable.record_load", Ordering::Acquire)))
    }
}
