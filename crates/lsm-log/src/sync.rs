//! [`GroupSync`]: many threads that need the log durable share each `fdatasync`. Called
//! by every Sync commit after it has left the commit lock, and by flushes; it never
//! writes, and never holds its lock over I/O.
//!
//! 1. The writer stores the end of what it has written in `written`.
//! 2. Whoever needs a position durable takes the lock. Is it durable: done. Has the log
//!    failed: the cause. Does somebody sync already: wait and look again.
//! 3. Else it becomes the leader: it reads `written`, notes which segments hold bytes up
//!    to there that are not durable, and leaves the lock.
//! 4. It syncs those segments, the oldest first.
//! 5. Under the lock again it publishes the position, or latches the failure, and wakes all.

use crate::{Error, LogPosition};
use lsm_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use lsm_sync::{Condvar, Mutex, MutexGuard};
use lsm_vfs::{File, IoError};
use std::sync::Arc;

/// How far a log is written and durable, and whether it has failed. Thread-safe.
///
/// Invariants: `synced <= written`; both only grow; once failed, `synced` grows at most
/// by a sync that was under way.
#[derive(Debug)]
pub struct GroupSync {
    state: Mutex<State>,
    /// Woken after every sync and every failure.
    changed: Condvar,
    /// Stored with Release by [`wrote`](Self::wrote) after the write, loaded with Acquire
    /// by the leader before its sync, so that the sync covers the write.
    written: AtomicU64,
    /// Stored with Release by the leader after its sync, loaded with Acquire by everyone
    /// who relies on it.
    synced: AtomicU64,
    /// Set with Release under the lock once `failure` is; loaded with Acquire by writers,
    /// who then take the lock for the cause.
    has_failed: AtomicBool,
}

/// Guarded by the lock of [`GroupSync`], under which no I/O happens.
#[derive(Debug, Default)]
struct State {
    /// The segments that may hold bytes that are not durable, oldest first.
    segments: Vec<Unsynced>,
    /// The base of the newest segment whose header is durable.
    newest_durable_base: LogPosition,
    /// Whether some thread is the leader.
    syncing: bool,
    failure: Option<Arc<IoError>>,
}

#[derive(Debug)]
struct Unsynced {
    file: Arc<dyn File>,
    base: LogPosition,
    /// `None` for the one that is being written.
    end: Option<LogPosition>,
    /// Whether some sync has made its header durable.
    begun_durably: bool,
}

impl GroupSync {
    /// A log that is durable through `start` and goes on in `file`, whose header is durable.
    #[must_use]
    pub fn new(file: Arc<dyn File>, start: LogPosition) -> Self {
        let sync = Self::resting(start);
        sync.begin(file, start);
        sync
    }

    /// A log that ends at `start`, where it was closed, and is not written to yet.
    pub(crate) fn resting(start: LogPosition) -> Self {
        Self {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            written: AtomicU64::new(start.0),
            synced: AtomicU64::new(start.0),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Says that the log, durable through `start`, goes on in `file`, whose header is
    /// durable. Called once by the one writer, before it writes there.
    pub(crate) fn begin(&self, file: Arc<dyn File>, start: LogPosition) {
        let mut state = self.state.lock();
        state.segments.push(Unsynced { file, base: start, end: None, begun_durably: true });
        state.newest_durable_base = start;
    }

    /// How far the log is durable. One load.
    #[must_use]
    pub fn synced_through(&self) -> LogPosition {
        LogPosition(self.synced.load(Ordering::Acquire))
    }

    /// How far the log is written. One load.
    #[must_use]
    pub fn written_through(&self) -> LogPosition {
        LogPosition(self.written.load(Ordering::Acquire))
    }

    /// The failure that closed the log, if any. One load while there is none.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn check(&self) -> Result<(), Error> {
        if self.has_failed.load(Ordering::Acquire) { failure(&self.state.lock()) } else { Ok(()) }
    }

    /// Says that the log goes on in `file` from `base`. Called by the one writer before
    /// it writes there, and before the [`wrote`](Self::wrote) that says so.
    pub fn add_segment(&self, file: Arc<dyn File>, base: LogPosition) {
        let mut state = self.state.lock();
        if let Some(last) = state.segments.last_mut() {
            last.end = Some(base);
        }
        state.segments.push(Unsynced { file, base, end: None, begun_durably: false });
    }

    /// Says that the segments before `base` are gone: no sync need write them any more.
    /// Whoever waits for a position in them gets what it would have with them.
    pub fn forget_before(&self, base: LogPosition) {
        self.state.lock().segments.retain(|segment| segment.end.is_none_or(|end| end > base));
    }

    /// Says that everything before `end` is written. Called by the one writer.
    pub fn wrote(&self, end: LogPosition) {
        self.written.store(end.0, lsm_sync::weaken("log.written", Ordering::Release));
    }

    /// Closes the log to writes; only the first cause is kept. Wakes all who wait.
    pub fn fail(&self, cause: Arc<IoError>) {
        self.latch(&mut self.state.lock(), cause);
        self.changed.notify_all();
    }

    fn latch(&self, state: &mut State, cause: Arc<IoError>) {
        if !lsm_sync::mutant("log.failure_not_latched") {
            state.failure.get_or_insert(cause);
            self.has_failed.store(true, Ordering::Release);
        }
    }

    /// Returns once everything before `position` is durable, or everything written if
    /// that is less. Waits for at most two syncs of the segments not yet durable.
    ///
    /// # Errors
    /// [`Error::Failed`]: a sync or a write has failed, now or before, and what is not
    /// durable by now will never be known to be.
    pub fn sync_through(&self, position: LogPosition) -> Result<(), Error> {
        if self.synced_through() >= position {
            return Ok(());
        }
        let state = self.state.lock();
        let position = position.min(self.written_through());
        self.sync_until(state, |_| self.synced_through() >= position)
    }

    /// Returns once the header of every segment added so far is durable, so that the
    /// segments before the newest may be removed.
    ///
    /// # Errors
    /// As [`sync_through`](Self::sync_through).
    pub fn sync_begun(&self) -> Result<(), Error> {
        let state = self.state.lock();
        let newest = state.segments.last().map_or(LogPosition::ZERO, |segment| segment.base);
        self.sync_until(state, |state| state.newest_durable_base >= newest)
    }

    /// The base of the newest segment whose header is durable: a power cut now leaves a
    /// log that begins at or before it.
    #[must_use]
    pub fn begun_durably(&self) -> LogPosition {
        self.state.lock().newest_durable_base
    }

    /// Waits for the syncs of others, or leads one, until `done`.
    fn sync_until(
        &self,
        mut state: MutexGuard<'_, State>,
        done: impl Fn(&State) -> bool,
    ) -> Result<(), Error> {
        while !done(&state) {
            failure(&state)?;
            if !state.syncing {
                return self.lead(state);
            }
            self.changed.wait(&mut state);
            if lsm_sync::mutant("log.waiter_does_not_look_again") {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Syncs everything written when it begins, which covers what the caller needs.
    fn lead(&self, mut state: MutexGuard<'_, State>) -> Result<(), Error> {
        state.syncing = true;
        // Read under the lock: a segment is added before `written` moves into it.
        let mut target = self.written_through();
        let unsynced =
            state.segments.iter().filter(|segment| segment.base < target || !segment.begun_durably);
        let (mut files, bases): (Vec<_>, Vec<_>) =
            unsynced.map(|segment| (Arc::clone(&segment.file), segment.base)).unzip();
        drop(state);

        if lsm_sync::mutant("log.only_the_newest_segment_synced") {
            files.drain(..files.len().saturating_sub(1));
        }
        let outcome = files.iter().try_for_each(|file| file.sync_data());
        if lsm_sync::mutant("log.target_read_after_the_sync") {
            target = self.written_through();
        }

        let mut state = self.state.lock();
        state.syncing = false;
        let outcome = match outcome {
            Ok(()) => {
                self.synced.store(target.0, Ordering::Release);
                let newest = bases.last().copied().unwrap_or_default();
                state.newest_durable_base = state.newest_durable_base.max(newest);
                for segment in &mut state.segments {
                    segment.begun_durably |= segment.base <= newest;
                }
                state.segments.retain(|segment| segment.end.is_none_or(|end| end > target));
                Ok(())
            }
            Err(cause) => {
                let cause = Arc::new(cause);
                self.latch(&mut state, Arc::clone(&cause));
                Err(Error::Failed(cause))
            }
        };
        drop(state);
        self.changed.notify_all();
        outcome
    }
}

fn failure(state: &State) -> Result<(), Error> {
    state.failure.as_ref().map_or(Ok(()), |cause| Err(Error::Failed(Arc::clone(cause))))
}
