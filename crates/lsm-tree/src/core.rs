//! [`Core`]: one keyspace as the engine sees it, below the handles of applications.

use crate::background::flush::Retry;
use crate::keyspace_options::KeyspaceOptions;
use crate::read::dead::DeadRanges;
use crate::{Error, Result};
use lsm_compaction::{Busy, Strategy};
use lsm_memtable::{Memtable, MemtableOptions};
use lsm_sync::Mutex;
use lsm_sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use lsm_types::SeqNo;
use lsm_types::batch::KeyspaceId;
use lsm_version::{SuperVersion, Version, VersionHistory};
use std::sync::Arc;

/// The state of one keyspace. Shared by `Arc`; `Send + Sync`.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: KeyspaceId,
    pub(crate) name: String,
    pub(crate) options: KeyspaceOptions,
    pub(crate) strategy: Arc<dyn Strategy>,
    /// What reads look at.
    pub(crate) history: VersionHistory<SuperVersion>,
    /// Where scans find nothing. Shared with views; a `Tree` does not use it.
    pub(crate) dead: Arc<DeadRanges>,
    /// Serialises flushes: held over the whole of one, I/O included. Taken before
    /// the manifest's lock. Nobody who reads or writes data takes it.
    pub(crate) flush_lock: Mutex<()>,
    /// What running compactions need for themselves. Picking a plan and entering it is
    /// one step under it, in which tables may be opened; only compactions take it.
    pub(crate) busy: Mutex<Busy>,
    is_dropped: AtomicBool,
    /// Whether runs, debt or late flushes slow writers down. Relaxed: late by a write is fine.
    is_slowed: AtomicBool,
    /// Sealed memtables of the newest view; changed with it by `view::install`.
    sealed_memtables: AtomicUsize,
    /// Nanoseconds of delay that were too short to sleep.
    owed_delay_ns: AtomicU64,
    /// What was written when somebody last looked whether the keyspace rests. Relaxed:
    /// the look is the only one who uses it.
    pub(crate) written_before: AtomicU64,
    /// Jobs that have claimed tables.
    jobs: AtomicUsize,
    /// Jobs that have given them back.
    ended_jobs: AtomicU64,
    pub(crate) flush_retry: Retry,
    pub(crate) compaction_retry: Retry,
    pub(crate) counters: Counters,
}

/// What a keyspace has done since it was opened. All Relaxed: they are only shown.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) written_bytes: AtomicU64,
    pub(crate) flushed_bytes: AtomicU64,
    pub(crate) compacted_in_bytes: AtomicU64,
    pub(crate) compacted_out_bytes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) stalls_ns: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

impl Core {
    pub(crate) fn new(
        id: KeyspaceId,
        name: &str,
        options: KeyspaceOptions,
        tables: Version,
        seqno: SeqNo,
    ) -> Self {
        let strategy = options.strategy();
        let first = SuperVersion::new(new_memtable(), Arc::new(tables), seqno);
        Self {
            id,
            name: name.to_owned(),
            options,
            strategy,
            history: VersionHistory::new(first),
            dead: Arc::new(DeadRanges::new()),
            flush_lock: Mutex::new(()),
            busy: Mutex::new(Busy::new()),
            is_dropped: AtomicBool::new(false),
            is_slowed: AtomicBool::new(false),
            sealed_memtables: AtomicUsize::new(0),
            owed_delay_ns: AtomicU64::new(0),
            written_before: AtomicU64::new(0),
            jobs: AtomicUsize::new(0),
            ended_jobs: AtomicU64::new(0),
            flush_retry: Retry::default(),
            compaction_retry: Retry::default(),
            counters: Counters::default(),
        }
    }

    /// Whether the keyspace was dropped. Decisive under the commit or the manifest
    /// lock, a hint elsewhere.
    pub(crate) fn is_dropped(&self) -> bool {
        // Pairs with the Release in `mark_dropped`.
        self.is_dropped.load(Ordering::Acquire)
    }

    /// Refuses what can only be done to a keyspace that exists.
    pub(crate) fn check_exists(&self) -> Result<()> {
        if self.is_dropped() {
            return Err(Error::invalid(format!("the keyspace {:?} was dropped", self.name)));
        }
        Ok(())
    }

    /// Whether writers must look at the pressure before they go on: two loads for those
    /// who need not.
    #[inline]
    pub(crate) fn is_behind(&self, max_sealed: usize) -> bool {
        self.is_slowed.load(Ordering::Relaxed) || self.sealed_memtables.load(Ordering::Relaxed) >= max_sealed
    }

    /// Whether sealed memtables wait to be flushed. A hint, late by a moment.
    pub(crate) fn has_sealed(&self) -> bool {
        self.sealed_memtables.load(Ordering::Relaxed) > 0
    }

    /// Whether runs, debt or late flushes slow writers down.
    pub(crate) fn is_slowed(&self) -> bool {
        self.is_slowed.load(Ordering::Relaxed)
    }

    pub(crate) fn set_slowed(&self, is_slowed: bool) {
        self.is_slowed.store(is_slowed, Ordering::Relaxed);
    }

    /// A view with one more sealed memtable was installed.
    pub(crate) fn count_sealed(&self) {
        self.sealed_memtables.fetch_add(1, Ordering::Relaxed);
    }

    /// A view with `count` fewer sealed memtables was installed.
    pub(crate) fn count_flushed(&self, count: usize) {
        self.sealed_memtables.fetch_sub(count, Ordering::Relaxed);
    }

    /// Adds to the delay that writers owe. The nanoseconds to sleep now, when they
    /// have come to at least `shortest_ns`.
    pub(crate) fn owe_delay(&self, delay_ns: u64, shortest_ns: u64) -> Option<u64> {
        // Relaxed: only a sum, and losing the exact moment changes nothing.
        let owed_ns = self.owed_delay_ns.fetch_add(delay_ns, Ordering::Relaxed) + delay_ns;
        (owed_ns >= shortest_ns).then(|| self.owed_delay_ns.swap(0, Ordering::Relaxed))
    }

    /// A job claimed tables. Called under the lock of `busy`.
    pub(crate) fn begin_job(&self) {
        self.jobs.fetch_add(1, Ordering::AcqRel);
    }

    /// A job gave its tables back. Called under the lock of `busy`.
    pub(crate) fn end_job(&self) {
        // Both pair with the loads below: who sees the job gone sees its result.
        self.jobs.fetch_sub(1, Ordering::AcqRel);
        self.ended_jobs.fetch_add(1, Ordering::AcqRel);
    }

    /// How many jobs have given their tables back so far.
    pub(crate) fn ended_jobs(&self) -> u64 {
        self.ended_jobs.load(Ordering::Acquire)
    }

    /// Whether some job has claimed tables.
    pub(crate) fn has_jobs(&self) -> bool {
        self.jobs.load(Ordering::Acquire) > 0
    }

    /// Called under the commit and the manifest lock.
    pub(crate) fn mark_dropped(&self) {
        self.is_dropped.store(true, Ordering::Release);
    }
}

/// An empty memtable.
pub(crate) fn new_memtable() -> Arc<Memtable> {
    Arc::new(Memtable::new(MemtableOptions::default()))
}
