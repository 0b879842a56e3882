//! [`SuperVersion`]: all that a read of one keyspace looks at, in one value.

use crate::{Readable, Version};
use lsm_memtable::Memtable;
use lsm_types::SeqNo;
use std::sync::Arc;

/// A memtable that takes no more writes and waits to be flushed.
#[derive(Debug, Clone)]
pub struct SealedMemtable {
    /// The memtable.
    pub memtable: Arc<Memtable>,
    /// Counts the rotations of the keyspace; greater is newer.
    pub rotation: u64,
    /// Every entry of the keyspace numbered below this is in this memtable, in an
    /// older one, or in a table.
    pub sealed_at: SeqNo,
    /// The position in the log behind the memtable's last record; 0 without a log.
    pub log_end: u64,
}

/// Active memtable, sealed memtables, tables, and the published bound when it was
/// made. Immutable but for what is written into the active memtable; `Send + Sync`.
#[derive(Debug, Clone)]
pub struct SuperVersion {
    /// Takes the writes.
    pub active: Arc<Memtable>,
    /// Wait to be flushed, newest first.
    pub sealed: Arc<[SealedMemtable]>,
    /// The tables below.
    pub tables: Arc<Version>,
    /// The published bound when this super version was installed.
    pub seqno: SeqNo,
    /// How often the active memtable was sealed.
    pub rotations: u64,
}

impl SuperVersion {
    /// A super version with an empty active memtable over `tables`.
    #[must_use]
    pub fn new(active: Arc<Memtable>, tables: Arc<Version>, seqno: SeqNo) -> Self {
        Self { active, sealed: Arc::from([]), tables, seqno, rotations: 0 }
    }

    /// The next one after the active memtable was sealed and replaced by `fresh`.
    #[must_use]
    pub fn rotated(&self, fresh: Arc<Memtable>, sealed_at: SeqNo, log_end: u64) -> Self {
        let rotation = self.rotations + 1;
        let sealed = SealedMemtable { memtable: Arc::clone(&self.active), rotation, sealed_at, log_end };
        Self {
            active: fresh,
            sealed: std::iter::once(sealed).chain(self.sealed.iter().cloned()).collect(),
            tables: Arc::clone(&self.tables),
            seqno: self.seqno.max(sealed_at),
            rotations: rotation,
        }
    }

    /// The next one over `tables`, which hold all memtables up to the rotation
    /// `flushed` (0: none); those leave.
    #[must_use]
    pub fn with_tables(&self, tables: Arc<Version>, flushed: u64, seqno: SeqNo) -> Self {
        let sealed = self.sealed.iter().filter(|sealed| sealed.rotation > flushed).cloned().collect();
        let seqno = self.seqno.max(seqno);
        Self { active: Arc::clone(&self.active), sealed, tables, seqno, rotations: self.rotations }
    }

    /// The smallest number that lives only in a memtable: what the log must keep.
    #[must_use]
    pub fn oldest_unflushed(&self) -> Option<SeqNo> {
        let sealed = self.sealed.iter().filter_map(|sealed| sealed.memtable.lowest_seqno());
        sealed.chain(self.active.lowest_seqno()).min()
    }

    /// Bytes in memtables.
    #[must_use]
    pub fn memtable_bytes(&self) -> usize {
        self.active.approximate_bytes() + self.sealed_bytes()
    }

    /// Bytes in sealed memtables.
    #[must_use]
    pub fn sealed_bytes(&self) -> usize {
        self.sealed.iter().map(|sealed| sealed.memtable.approximate_bytes()).sum()
    }
}

impl Readable for SuperVersion {
    fn is_exact_for(&self, snapshot: SeqNo) -> bool {
        self.tables.exact().holds_for(snapshot)
    }

    fn seqno(&self) -> SeqNo {
        self.seqno
    }
}
