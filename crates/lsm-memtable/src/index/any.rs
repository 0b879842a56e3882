//! [`Index`]: whichever index a memtable was made with, chosen when it is made.

use super::tree::{FAN_OUT, TreeIndex, TreePosition, TreeSpare};
use super::{EntryRef, MemtableIndex, NewValue};
#[cfg(not(lsm_loom))]
use super::{SkipMapIndex, SkipMapPosition};
use crate::{IndexKind, MemtableOptions};
use lsm_types::InternalKey;

/// The index that a memtable was made with.
#[derive(Debug)]
#[cfg_attr(
    not(lsm_loom),
    expect(clippy::large_enum_variant, reason = "there is one for each memtable, and none is ever moved")
)]
pub(crate) enum Index {
    Tree(TreeIndex<{ FAN_OUT }>),
    #[cfg(not(lsm_loom))]
    SkipMap(SkipMapIndex),
}

/// A position of the index of the same name.
#[derive(Debug)]
pub(crate) enum Position {
    Tree(TreePosition),
    #[cfg(not(lsm_loom))]
    SkipMap(SkipMapPosition),
}

/// Calls the same method of whichever index it is.
macro_rules! each {
    ($index:expr, $inner:ident => $call:expr) => {
        match $index {
            Index::Tree($inner) => $call.map(Position::Tree),
            #[cfg(not(lsm_loom))]
            Index::SkipMap($inner) => $call.map(Position::SkipMap),
        }
    };
}

/// Calls the same method of whichever index it is, with a position of its own.
macro_rules! each_at {
    ($index:expr, $position:expr, $inner:ident, $at:ident => $call:expr) => {
        match ($index, $position) {
            (Index::Tree($inner), Position::Tree($at)) => $call.map(Position::Tree),
            #[cfg(not(lsm_loom))]
            (Index::SkipMap($inner), Position::SkipMap($at)) => $call.map(Position::SkipMap),
            #[cfg(not(lsm_loom))]
            _ => foreign(),
        }
    };
}

/// A cursor keeps to the memtable that made it, so its position fits.
#[cfg(not(lsm_loom))]
fn foreign() -> ! {
    unreachable!("a position was given to an index that did not make it")
}

impl Index {
    pub(crate) fn new(options: &MemtableOptions, spare: &TreeSpare) -> Self {
        match options.index {
            IndexKind::Tree => Self::Tree(TreeIndex::new(spare)),
            #[cfg(not(lsm_loom))]
            IndexKind::SkipMap => Self::SkipMap(SkipMapIndex::default()),
            #[cfg(lsm_loom)]
            IndexKind::SkipMap => Self::Tree(TreeIndex::new(spare)),
        }
    }
}

impl MemtableIndex for Index {
    type Position = Position;

    #[inline]
    fn insert(&self, key: InternalKey<&[u8]>, value: NewValue<'_>) -> bool {
        match self {
            Self::Tree(index) => index.insert(key, value),
            #[cfg(not(lsm_loom))]
            Self::SkipMap(index) => index.insert(key, value),
        }
    }

    fn approximate_bytes(&self) -> usize {
        match self {
            Self::Tree(index) => index.approximate_bytes(),
            #[cfg(not(lsm_loom))]
            Self::SkipMap(index) => index.approximate_bytes(),
        }
    }

    #[inline]
    fn lookup<R>(&self, target: InternalKey<&[u8]>, found: impl FnOnce(EntryRef<'_>) -> R) -> Option<R> {
        match self {
            Self::Tree(index) => index.lookup(target, found),
            #[cfg(not(lsm_loom))]
            Self::SkipMap(index) => index.lookup(target, found),
        }
    }

    #[inline]
    fn entry<'a>(&'a self, position: &'a Position) -> EntryRef<'a> {
        match (self, position) {
            (Self::Tree(index), Position::Tree(at)) => index.entry(at),
            #[cfg(not(lsm_loom))]
            (Self::SkipMap(index), Position::SkipMap(at)) => index.entry(at),
            #[cfg(not(lsm_loom))]
            _ => foreign(),
        }
    }

    fn first(&self) -> Option<Position> {
        each!(self, index => index.first())
    }

    fn last(&self) -> Option<Position> {
        each!(self, index => index.last())
    }

    fn at_or_after(&self, target: InternalKey<&[u8]>) -> Option<Position> {
        each!(self, index => index.at_or_after(target))
    }

    fn at_or_before(&self, target: InternalKey<&[u8]>) -> Option<Position> {
        each!(self, index => index.at_or_before(target))
    }

    #[inline]
    fn after(&self, position: &Position) -> Option<Position> {
        each_at!(self, position, index, at => index.after(at))
    }

    #[inline]
    fn before(&self, position: &Position) -> Option<Position> {
        each_at!(self, position, index, at => index.before(at))
    }
}
