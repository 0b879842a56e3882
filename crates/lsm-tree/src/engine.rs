//! [`Engine`]: an open database below its handles: the commit lock, the published
//! bound, the snapshots, the keyspaces and the background work on them.

use crate::background::schedule::{Lane, Scheduler, Work};
use crate::background::wait::{Ended, Troubles};
use crate::calls::{Call, Calls};
use crate::core::Core;
use crate::open::RecoveryReport;
use crate::read::{Owner, View};
use crate::store::Store;
use crate::write::commit::CommitState;
use crate::{Error, Result};
use lsm_log::{GroupSync, SegmentPreparer};
use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_sync::{Mutex, RwLock};
use lsm_types::SeqNo;
use lsm_types::batch::KeyspaceId;
use lsm_version::{Edit, Readable, SeqnoClock, SnapshotRegistry};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

/// With more log segments than this found at opening, all memtables are flushed.
const MAX_RECOVERED_SEGMENTS: usize = 8;

/// An open database. Shared by the handles of applications and by the threads.
///
/// Lock order: closing, flush lock, manifest, commit lock, keyspaces, history, snapshot
/// registry. The scheduler's lock comes last: it may be taken under any of them, when the
/// last holder of a table goes, and nothing is called under it.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) store: Store,
    pub(crate) clock: SeqnoClock,
    pub(crate) snapshots: SnapshotRegistry,
    /// See [`CommitState`] for what it protects and what may be held under it.
    pub(crate) commit: Mutex<CommitState>,
    pub(crate) log_sync: Arc<GroupSync>,
    pub(crate) log_preparer: SegmentPreparer,
    /// Guards the maps alone.
    pub(crate) keyspaces: RwLock<Keyspaces>,
    pub(crate) scheduler: Scheduler<Work>,
    pub(crate) recovery: RecoveryReport,
    /// Failures of background work that are being retried.
    troubles: Troubles<Error>,
    /// Long calls of applications that write files.
    calls: Calls,
    /// Held over the whole of closing, so that a second closer waits for the first.
    closing: Mutex<()>,
    /// Flushes and compactions that ended. Relaxed: compared for change only.
    table_changes: AtomicU64,
}

/// The keyspaces that exist, and those that were dropped and are still read.
#[derive(Debug, Default)]
pub(crate) struct Keyspaces {
    pub(crate) by_name: BTreeMap<String, Arc<Core>>,
    pub(crate) dropped: Vec<Weak<Core>>,
}

impl Engine {
    pub(crate) fn new(
        store: Store,
        commit: CommitState,
        cores: Vec<Arc<Core>>,
        recovery: RecoveryReport,
    ) -> Self {
        let scheduler = Scheduler::new(store.options.advanced.execution);
        scheduler.keep_time(Arc::clone(&store.env.clock));
        let by_name = cores.into_iter().map(|core| (core.name.clone(), core)).collect();
        Self {
            clock: SeqnoClock::starting_at(commit.next_seqno),
            snapshots: SnapshotRegistry::new(),
            log_sync: Arc::clone(commit.log.group_sync()),
            log_preparer: commit.log.preparer(),
            store,
            commit: Mutex::new(commit),
            keyspaces: RwLock::new(Keyspaces { by_name, dropped: Vec::new() }),
            scheduler,
            recovery,
            troubles: Troubles::new(),
            calls: Calls::default(),
            closing: Mutex::new(()),
            table_changes: AtomicU64::new(0),
        }
    }

    /// Starts the threads and queues what recovery left to do.
    pub(crate) fn start(self: &Arc<Self>) -> Result<()> {
        let engine = Arc::downgrade(self);
        self.store.graveyard.on_burial(Box::new(move || {
            if let Some(engine) = engine.upgrade() {
                engine.scheduler.submit(Work::Sweep);
            }
        }));
        let engine = Arc::downgrade(self);
        self.store.before_each_change(move || match engine.upgrade() {
            Some(engine) => engine.begin_log(&mut engine.commit.lock()),
            None => Ok(()),
        });
        let started = self.scheduler.start(|lane| {
            let engine = Arc::clone(self);
            move || {
                if lane == Lane::Heavy {
                    // The writers that it would hold up wait for it long before.
                    lsm_vfs::give_way();
                }
                let now_ns = || engine.store.env.clock.monotonic_ns();
                engine.scheduler.run_until_closed(lane, now_ns, |work| engine.run(work));
            }
        });
        started.map_err(|source| {
            Error::from(lsm_vfs::IoError::new("start a thread for", &self.store.directory, source))
        })?;
        let (segments, has_begun) = {
            let state = self.commit.lock();
            (state.full_segments.len(), state.log.has_begun())
        };
        if !self.recovery.log_damage_skipped.is_empty() || segments > MAX_RECOVERED_SEGMENTS {
            // Damage stays in the old segments, and a process that is killed again and
            // again leaves one each time: their records move into tables.
            for core in self.cores() {
                self.rotate(&core);
            }
        }
        self.flush_soon();
        for core in self.cores() {
            self.refresh_pressure(&core);
            self.compact_soon(&core);
        }
        if !self.store.graveyard.is_empty() {
            self.scheduler.submit(Work::Sweep);
        }
        if has_begun {
            self.scheduler.submit(Work::PrepareLog);
        }
        if has_begun && segments > 1 {
            self.scheduler.submit(Work::ReleaseLog);
        }
        if !self.recovery.log_damage_skipped.is_empty() {
            self.leave_damage_behind();
        }
        Ok(())
    }

    /// Waits until what salvage has read out of a damaged log is in tables, and the damaged
    /// segments are gone: the next open, in whatever mode, does not meet them again.
    fn leave_damage_behind(&self) {
        let flushed = self.cores().iter().try_for_each(|core| self.flush_and_wait(core));
        if let Err(error) = flushed.and_then(|()| self.release_log()) {
            tracing::warn!(%error, "damage stays in the log: only salvage can open this database again");
        }
    }

    /// Runs one background job. A panic in it, which would be a bug, must neither hang
    /// those who wait for the job nor let the database write on.
    pub(crate) fn run(&self, work: Work) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run_unguarded(work)));
        if outcome.is_err() {
            self.store.fail(Error::invalid(format!("the background job {work:?} panicked: this is a bug")));
        }
    }

    fn run_unguarded(&self, work: Work) {
        match work {
            Work::Flush(id) => {
                if let Some(core) = self.core(id) {
                    self.run_flush(&core);
                }
            }
            Work::Compact(id) => {
                if let Some(core) = self.core(id) {
                    self.run_compaction(&core);
                }
            }
            Work::LookForRest(id) => {
                if let Some(core) = self.core(id) {
                    self.look_for_rest(&core);
                }
            }
            Work::Tidy(id) => {
                if let Some(core) = self.core(id) {
                    self.run_tidying(&core);
                }
            }
            Work::PrepareLog => self.prepare_log(),
            Work::ReleaseLog => self.run_release_log(),
            Work::Sweep => self.sweep(),
        }
    }

    /// How often a flush or a compaction has changed the tables.
    pub(crate) fn table_changes(&self) -> u64 {
        self.table_changes.load(Ordering::Relaxed)
    }

    /// Counts such a change.
    pub(crate) fn count_table_change(&self) {
        self.table_changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets other work come between, in deterministic execution.
    pub(crate) fn interleave(&self) {
        self.scheduler.interleave(|work| self.run(work));
    }

    /// Every keyspace that exists.
    pub(crate) fn cores(&self) -> Vec<Arc<Core>> {
        self.keyspaces.read().by_name.values().map(Arc::clone).collect()
    }

    /// Every keyspace that exists or is still read.
    pub(crate) fn all_cores(&self) -> Vec<Arc<Core>> {
        let keyspaces = self.keyspaces.read();
        let dropped = keyspaces.dropped.iter().filter_map(Weak::upgrade);
        keyspaces.by_name.values().map(Arc::clone).chain(dropped).collect()
    }

    fn core(&self, id: KeyspaceId) -> Option<Arc<Core>> {
        self.keyspaces.read().by_name.values().find(|core| core.id == id).map(Arc::clone)
    }

    /// Remembers a failure that is being retried, and wakes those who wait for the work.
    pub(crate) fn note_trouble(&self, error: &Error) {
        self.troubles.note(error.clone(), &self.scheduler);
    }

    /// Forgets it, since the retry succeeded.
    pub(crate) fn clear_trouble(&self) {
        self.troubles.clear();
    }

    /// The failure that is being retried.
    pub(crate) fn trouble(&self) -> Option<Error> {
        self.troubles.last()
    }

    /// Waits until `condition` holds, or background work fails, or the store can no
    /// longer be written; answers accordingly.
    pub(crate) fn wait_for_work(&self, condition: impl Fn() -> bool) -> Result<()> {
        let check_usable = || self.store.check_usable();
        let waited = self.troubles.wait(&self.scheduler, condition, check_usable, |work| self.run(work));
        waited.map_err(|ended| match ended {
            Ended::Failed(error) => error,
            Ended::NothingLeft => Error::invalid("the wait is for background work, and none is left to do"),
        })
    }

    /// Blocks until nothing is left to do in the background, nor what else would be done
    /// at rest: who waits says that now is the time.
    pub(crate) fn wait_idle(&self) -> Result<()> {
        self.wait_until_idle()?;
        for core in self.cores() {
            self.scheduler.submit(Work::Tidy(core.id));
        }
        self.wait_until_idle()
    }

    fn wait_until_idle(&self) -> Result<()> {
        self.store.check_usable()?;
        loop {
            let before = self.troubles.count();
            let has_failed = || self.troubles.count() != before || self.store.check_usable().is_err();
            self.scheduler.wait_idle_unless(has_failed, |work| self.run(work));
            self.store.check_usable()?;
            match self.trouble() {
                _ if self.troubles.count() == before => return Ok(()),
                Some(error) => return Err(error),
                // The trouble came and went.
                None => {}
            }
        }
    }

    /// Begins a call that closing must wait for.
    pub(crate) fn begin_call(&self) -> Result<Call<'_>> {
        self.calls.begin(|| self.store.check_usable())
    }

    /// What a plain read of `core` looks at: the published bound first, the newest
    /// version second. The other way round, a flush between the two could drop what
    /// the bound needs; and when the version is too new for the bound, both are
    /// taken afresh.
    pub(crate) fn latest_view(
        &self,
        core: &Core,
    ) -> Result<(lsm_sync::Arc<lsm_version::SuperVersion>, SeqNo)> {
        self.exact_view(core, || core.history.latest())
    }

    /// As [`latest_view`](Self::latest_view), for a read that ends before its call does.
    #[inline]
    pub(crate) fn pinned_view<'a>(
        &self,
        core: &'a Core,
    ) -> Result<(lsm_version::Pin<'a, lsm_version::SuperVersion>, SeqNo)> {
        self.exact_view(core, || core.history.pin())
    }

    #[inline]
    fn exact_view<V: std::ops::Deref<Target = lsm_version::SuperVersion>>(
        &self,
        core: &Core,
        newest: impl Fn() -> V,
    ) -> Result<(V, SeqNo)> {
        self.store.check_open()?;
        loop {
            if core.is_dropped() {
                return Err(Error::invalid(format!("the keyspace {:?} was dropped", core.name)));
            }
            let snapshot = self.clock.published();
            let version = newest();
            if version.is_exact_for(snapshot) {
                return Ok((version, snapshot));
            }
        }
    }

    /// What a read of `core` at an open snapshot looks at.
    pub(crate) fn snapshot_view(
        &self,
        core: &Core,
        snapshot: SeqNo,
    ) -> Result<lsm_sync::Arc<lsm_version::SuperVersion>> {
        self.store.check_open()?;
        core.history.version_for_snapshot(snapshot).ok_or_else(|| match core.is_dropped() {
            true => Error::invalid(format!("the keyspace {:?} was dropped", core.name)),
            false => Error::SnapshotTooOld { seqno: snapshot },
        })
    }

    /// Ends everything: nothing is accepted any more, running jobs end, the log and
    /// the manifest get their final marks, the directory is unlocked.
    pub(crate) fn close(&self) -> Result<()> {
        let _only_one_closes = self.closing.lock();
        if !self.store.close() {
            return Ok(());
        }
        self.scheduler.wake_waiters();
        self.scheduler.close();
        self.calls.wait();
        // Who closes a database that could not keep what it was given has to hear of it.
        let marked = match self.store.failure() {
            None => self.write_final_marks(),
            Some(cause) => Err(Error::ReadOnly { cause }),
        };
        self.store.sweep();
        self.store.unlock();
        marked
    }
}

impl Engine {
    /// Ends the manifest and then the log, each with a mark that vouches for all of it.
    /// The manifest says where the log ends, and a log that was closed says that the
    /// manifest was: so the loss of the end of either is noticed.
    fn write_final_marks(&self) -> Result<()> {
        let mut state = self.commit.lock();
        if !state.log.has_begun() {
            // Nothing was changed since both were closed.
            return Ok(());
        }
        let end = state.log.end();
        self.log_sync.sync_through(end)?;
        drop(state);
        self.store.with_manifest(|manifest| {
            if end.0 > manifest.state().log_durable_through || !manifest.is_closed() {
                let durable = Edit::Log { first_segment: 0, first_base: 0, durable_through: end.0 };
                manifest.commit(self.store.env.fs.as_ref(), &[durable], || self.store.env.new_uid())?;
            }
            manifest.close()
        })?;
        state = self.commit.lock();
        Ok(state.log.finish()?)
    }
}

/// What the handles of applications share. The engine closes when the last one goes;
/// background threads hold the engine, never this.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) engine: Arc<Engine>,
}

impl Handle {
    /// The view for an iterator over the newest state.
    pub(crate) fn latest_view(self: &Arc<Self>, core: &Core) -> Result<View> {
        let (version, snapshot) = self.engine.latest_view(core)?;
        Ok(self.view(core, version, snapshot))
    }

    pub(crate) fn view(
        self: &Arc<Self>,
        core: &Core,
        version: lsm_sync::Arc<lsm_version::SuperVersion>,
        snapshot: SeqNo,
    ) -> View {
        let now_ms = self.engine.store.env.clock.unix_ms();
        let dead = Some(Arc::clone(&core.dead));
        View { version, snapshot, now_ms, dead, owner: Arc::clone(self) as Arc<dyn Owner> }
    }
}

impl Owner for Handle {
    fn store(&self) -> &Store {
        &self.engine.store
    }

    fn at_rest(&self, go: &mut dyn FnMut(SeqNo)) {
        if let Some(state) = self.engine.commit.try_lock() {
            go(state.next_seqno);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.engine.close() {
            tracing::error!(%error, "closing a database failed; recovery will find what was acknowledged");
        }
    }
}
