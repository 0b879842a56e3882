//! [`Records`]: the arena, as the tree's own nodes may use it. Vouches for
//! them with `unsafe`; `docs/unsafe.md` has the argument.

#![expect(unsafe_code, reason = "the tree vouches for the records in its slots; see docs/unsafe.md")]

use crate::ValueRef;
use crate::arena::{Arena, ArenaWriter, RecordRef, Spare};
use lsm_types::InternalKey;
use std::sync::Arc;

/// Reads the records of one tree.
///
/// Within a tree, every [`RecordRef`] was made by the writer that `new` returns: the
/// tree keeps that writer, its nodes and its positions to itself, and a position is
/// only ever given back to the tree that made it. From thread to thread they travel
/// in record slots, in positions (which whoever sends them synchronises), or under the
/// writer's lock. That is what the arena asks for.
#[derive(Debug)]
pub(super) struct Records(Arena);

impl Records {
    /// No records, and the one writer there will be for them.
    pub(super) fn new(spare: &Arc<Spare>) -> (Self, ArenaWriter) {
        let (arena, writer) = crate::arena::new(spare);
        (Self(arena), writer)
    }

    /// The key of a record of this tree.
    #[inline]
    pub(super) fn key(&self, record: RecordRef) -> InternalKey<&[u8]> {
        // SAFETY: the record is one of this tree's, as told above.
        unsafe { self.0.key(record) }
    }

    /// Has the processor fetch a record that will be asked for.
    #[inline]
    pub(super) fn bring_in(&self, record: RecordRef) {
        self.0.bring_in(record);
    }

    /// The value of a record of this tree.
    #[inline]
    pub(super) fn value(&self, record: RecordRef) -> ValueRef<'_> {
        // SAFETY: the record is one of this tree's, as told above.
        unsafe { self.0.value(record) }
    }
}
