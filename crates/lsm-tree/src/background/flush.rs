//! Flushing: the sealed memtables of a keyspace become one run of level 0.

use crate::background::compact::are_warm;
use crate::background::schedule::Work;
use crate::core::{Core, Counters};
use crate::engine::Engine;
use crate::store::{Outputs, Store};
use crate::view::{self, Step};
use crate::write::order;
use crate::{Error, Result};
use lsm_compaction::{GcRules, GcStream, OlderTables, OutputOptions, write_tables};
use lsm_log::LogPosition;
use lsm_merge::MergeCursor;
use lsm_sstable::Admission;
use lsm_sync::atomic::{AtomicU32, Ordering};
use lsm_types::{KeySpan, RangeTombstoneSet, SeqNo};
use lsm_version::{Change, Edit, Needed, Placement, SealedMemtable, TableHandle};
use std::sync::Arc;

/// How often failed work is tried again before the database turns read-only.
const MAX_RETRIES: u32 = 5;
/// Pause before the first retry; doubles each time, up to about a second.
const FIRST_PAUSE_NS: u64 = 10_000_000;

/// Writes `sealed` (newest first) into tables, leaving out what `needed` does not
/// see. The caller holds the flush lock.
pub(crate) fn write_memtables(
    store: &Store,
    core: &Core,
    sealed: &[SealedMemtable],
    needed: &Needed,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Arc<TableHandle>>> {
    let view = core.history.latest();
    let cursors = sealed.iter().map(|sealed| sealed.memtable.cursor()).collect();
    let tombstones = needed_tombstones(sealed, needed);
    let rules = GcRules::new(needed, store.env.clock.unix_ms());
    let older = OlderTables::all(&view.tables);
    let mut stream = GcStream::new(MergeCursor::new(cursors), tombstones, &rules, older);
    // Who reads what is in tables will read what was just written as well.
    let deepest = view.tables.levels().iter().rev().find(|level| !level.runs().is_empty());
    let deepest = deepest.into_iter().flat_map(|level| level.runs()).flat_map(|run| run.tables());
    let keep = if are_warm(deepest.map(AsRef::as_ref)) { Admission::IfRoom } else { Admission::Never };
    let mut outputs = Outputs::new(store, core.options.writer(0)).keeping(keep);
    let options = OutputOptions::new(core.options.table_bytes, store.env.clock.unix_ms());
    let tables = write_tables(&mut stream, &mut outputs, &options, is_cancelled)?;
    outputs.finish(tables)
}

/// The range tombstones of `sealed` that can matter: for each key and each snapshot that
/// counts, the newest one, and all that later snapshots may tell apart. Of many that lie
/// over each other only few are, and a set of all of them would list each pair.
fn needed_tombstones(sealed: &[SealedMemtable], needed: &Needed) -> RangeTombstoneSet {
    let everything = KeySpan::all();
    let mut tombstones = Vec::new();
    for set in sealed.iter().flat_map(|sealed| sealed.memtable.range_tombstones()) {
        for &snapshot in needed.snapshots.iter().chain([&needed.published]) {
            tombstones.extend(set.visible_in(&everything, snapshot));
        }
        tombstones.extend(set.iter().filter(|tombstone| tombstone.seqno >= needed.published));
    }
    RangeTombstoneSet::new(tombstones)
}

/// Where the tables of a flush go.
pub(crate) fn flush_placement(tables: &[Arc<TableHandle>]) -> Placement {
    // File numbers grow, so the first table's number makes the newest run.
    Placement { level: 0, run: tables.first().map_or(0, |table| table.number()) }
}

/// The flush of one keyspace.
struct Flushing<'a> {
    engine: &'a Engine,
    core: &'a Arc<Core>,
}

impl order::Flush for Flushing<'_> {
    /// Newest first, and not empty.
    type Sealed = Arc<[SealedMemtable]>;
    type Tables = Vec<Arc<TableHandle>>;
    type Error = Error;

    fn sealed(&self) -> Result<Option<Self::Sealed>> {
        if self.core.is_dropped() {
            return Ok(None);
        }
        self.engine.store.check_usable()?;
        let sealed = Arc::clone(&self.core.history.latest().sealed);
        Ok((!sealed.is_empty()).then_some(sealed))
    }

    fn needed(&self) -> Needed {
        self.engine.snapshots.needed(&self.engine.clock)
    }

    fn write(&self, sealed: &Self::Sealed, needed: &Needed) -> Result<Self::Tables> {
        let is_cancelled = || self.engine.scheduler.is_closing() || self.core.is_dropped();
        write_memtables(&self.engine.store, self.core, sealed, needed, &is_cancelled)
    }

    fn sync_log(&self, sealed: &Self::Sealed) -> Result<()> {
        let Some(newest) = sealed.first() else { return Ok(()) };
        if self.engine.is_flushed_through(newest.sealed_at, self.core) {
            return Ok(());
        }
        self.engine.sync_log(LogPosition(newest.log_end))
    }

    fn install(&self, sealed: &Self::Sealed, tables: Self::Tables, needed: Needed) -> Result<()> {
        let Some(newest) = sealed.first() else { return Ok(()) };
        let bytes: u64 = tables.iter().map(|table| table.size_bytes()).sum();
        let (rotation, through) = (newest.rotation, newest.sealed_at);
        self.engine.install_flush(self.core, tables, needed, rotation, through)?;
        Counters::add(&self.core.counters.flushed_bytes, bytes);
        Counters::add(&self.core.counters.flushes, 1);
        Ok(())
    }
}

impl Engine {
    /// Flushes the sealed memtables of `core`, if there are any.
    pub(crate) fn flush(&self, core: &Arc<Core>) -> Result<()> {
        if order::flush(&core.flush_lock, &Flushing { engine: self, core })? {
            self.refresh_pressure(core);
            self.compact_soon(core);
            self.scheduler.submit(Work::ReleaseLog);
        }
        Ok(())
    }

    /// Whether every keyspace but `except` has all it holds below `seqno` in tables that
    /// the manifest names. It stays so: what is written from now on has greater numbers.
    ///
    /// Then the log need not be durable before tables of `except` are installed that hold
    /// all below `seqno`: whatever power loss leaves of the log, the tables hold a prefix of
    /// the order of commits. RocksDB leaves that sync out where there is one column family.
    fn is_flushed_through(&self, seqno: SeqNo, except: &Core) -> bool {
        let is_flushed = |core: &Arc<Core>| {
            core.id == except.id
                || core.history.latest().oldest_unflushed().is_none_or(|oldest| oldest >= seqno)
        };
        self.cores().iter().all(is_flushed)
    }

    fn install_flush(
        &self,
        core: &Arc<Core>,
        tables: Vec<Arc<TableHandle>>,
        needed: Needed,
        rotation: u64,
        through: SeqNo,
    ) -> Result<()> {
        let placement = flush_placement(&tables);
        let published = needed.published;
        let numbers: Vec<_> = tables.iter().map(Arc::clone).collect();
        let change = Change {
            added: tables.into_iter().map(|table| (placement, table)).collect(),
            needed: Some(needed),
            flushed_through: Some(through),
            ..Change::default()
        };
        let more_edits = vec![
            Edit::Log { first_segment: 0, first_base: 0, durable_through: self.log_sync.synced_through().0 },
            Edit::Counters { next_file: 0, next_seqno: through, next_keyspace: 0 },
        ];
        let step = Step::Tables { change, flushed_rotation: rotation, more_edits };
        let installed = view::install(&self.store, core, step, published, || self.snapshots.live(), None);
        if installed.is_err() {
            discard(&self.store, &numbers);
        }
        installed
    }

    /// Runs a flush as a background job.
    pub(crate) fn run_flush(&self, core: &Arc<Core>) {
        match self.flush(core) {
            Ok(()) => {
                core.flush_retry.reset();
                self.clear_trouble();
            }
            Err(error) => self.retry(core, &core.flush_retry, error, Work::Flush(core.id)),
        }
    }
}

/// Counts the attempts of one kind of background work.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    /// Attempts that failed since the last success. Relaxed: only a bound.
    failed: AtomicU32,
}

impl Retry {
    /// An attempt failed with `error`: how long to pause before the next one, or
    /// `None` when there is to be none. A full disk is waited for without a bound.
    pub(crate) fn pause_ns(&self, error: &Error) -> Option<u64> {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed);
        let may_pass = error.is_disk_full() || (matches!(error, Error::Io(_)) && failed < MAX_RETRIES);
        may_pass.then_some(FIRST_PAUSE_NS << failed.min(7))
    }

    /// An attempt succeeded.
    pub(crate) fn reset(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }
}

/// Files of tables that were written but are in no version: they go with their
/// handles. After a failed manifest nothing is deleted, since it may name them.
pub(crate) fn discard(store: &Store, tables: &[Arc<TableHandle>]) {
    if store.failure().is_none() {
        for table in tables {
            table.mark_obsolete();
        }
    }
}
