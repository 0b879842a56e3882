//! [`MemtableOptions`]: what the owner of a tree may choose for its memtables.

/// How a new memtable is made.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MemtableOptions {
    /// The structure that keeps entries sorted.
    pub index: IndexKind,
}

/// The structures that can keep entries sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexKind {
    /// A B+tree over an arena: inserts take turns, readers never wait, and entries
    /// cost no allocation.
    #[default]
    Tree,
    /// `crossbeam-skiplist`: threads insert at the same time, and each entry costs
    /// three allocations.
    SkipMap,
}
