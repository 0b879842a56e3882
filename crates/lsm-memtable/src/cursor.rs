//! [`MemtableCursor`]: the [`Cursor`] over a memtable. Used by scans and by the
//! flush; never shows range tombstones.

use crate::Memtable;
use crate::index::{EntryRef, MemtableIndex, Position};
use crate::memtable::NOWHERE;
use lsm_types::{Cursor, InternalKey, NoStretch, Slice};
use std::convert::Infallible;
use std::sync::Arc;

/// Walks a memtable's point entries in order, all versions of a key, newest first.
///
/// It owns a reference to the memtable, so it may outlive every other one, and move
/// to another thread. Each move sees every entry that was inserted before it.
#[derive(Debug)]
pub struct MemtableCursor {
    memtable: Arc<Memtable>,
    /// Made by this memtable's index, and handed to no other.
    position: Option<Position>,
}

impl MemtableCursor {
    pub(crate) fn new(memtable: Arc<Memtable>) -> Self {
        Self { memtable, position: None }
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        self.position.as_ref().map(|position| self.memtable.index.entry(position))
    }
}

impl Cursor for MemtableCursor {
    type Error = Infallible;
    type Stretch = NoStretch;

    fn resume(&mut self, stretch: NoStretch) {
        match stretch {}
    }

    #[inline]
    fn valid(&self) -> bool {
        self.position.is_some()
    }

    #[inline]
    fn key(&self) -> InternalKey<&[u8]> {
        self.entry().map_or(NOWHERE, |entry| entry.key)
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.entry().map_or(&[], |entry| entry.value.as_bytes())
    }

    fn value_slice(&self) -> Slice {
        self.entry().map_or_else(Slice::empty, |entry| entry.value.to_slice())
    }

    fn seek_to_first(&mut self) -> Result<(), Infallible> {
        self.position = self.memtable.index.first();
        Ok(())
    }

    fn seek_to_last(&mut self) -> Result<(), Infallible> {
        self.position = self.memtable.index.last();
        Ok(())
    }

    fn seek(&mut self, target: InternalKey<&[u8]>) -> Result<(), Infallible> {
        self.position = self.memtable.index.at_or_after(target);
        Ok(())
    }

    fn seek_for_prev(&mut self, target: InternalKey<&[u8]>) -> Result<(), Infallible> {
        self.position = self.memtable.index.at_or_before(target);
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<(), Infallible> {
        if let Some(position) = &self.position {
            self.position = self.memtable.index.after(position);
        }
        Ok(())
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Infallible> {
        if let Some(position) = &self.position {
            self.position = self.memtable.index.before(position);
        }
        Ok(())
    }
}
