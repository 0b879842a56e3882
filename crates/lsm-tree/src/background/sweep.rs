//! Sweeping: old versions that no snapshot maps to, table files whose last reader
//! is gone, and log segments whose records are all in tables.

use crate::Result;
use crate::background::schedule::Work;
use crate::engine::Engine;
use crate::write::commit::CommitState;
use lsm_sync::atomic::{Ordering, fence};
use lsm_types::SeqNo;
use lsm_version::Edit;

/// With so many bytes in it, a segment whose records are all in tables is left for a new
/// one, instead of being kept until it is full.
const WORTH_LEAVING_BYTES: u64 = 1 << 20;

impl Engine {
    /// One sweep.
    pub(crate) fn sweep(&self) {
        for core in self.all_cores() {
            core.history.collect(|| self.snapshots.live());
        }
        self.store.sweep();
    }

    /// Makes what the log will need next, so that no commit has to.
    pub(crate) fn prepare_log(&self) {
        if let Err(error) = self.log_preparer.prepare_wished() {
            tracing::debug!(%error, "the next log segment will be made by a commit");
        }
    }

    /// [`release_log`](Self::release_log) as a background job: what it leaves is removed
    /// after the next flush.
    pub(crate) fn run_release_log(&self) {
        if let Err(error) = self.release_log() {
            tracing::warn!(%error, "log segments that are not needed stay for now");
        }
    }

    /// A snapshot closed: what only it needed may go. When no table has changed since
    /// it was opened, nothing was kept for it.
    pub(crate) fn snapshot_closed(&self, changes_before: u64) {
        if self.table_changes() == changes_before {
            return;
        }
        for core in self.cores() {
            self.compact_soon(&core);
        }
        if self.all_cores().iter().any(|core| core.history.len() > 1) {
            self.scheduler.submit(Work::Sweep);
        }
    }

    /// Removes the log segments whose records are all in tables. The manifest
    /// forgets them first: a segment that it names and that is missing is damage.
    pub(crate) fn release_log(&self) -> Result<()> {
        let store = &self.store;
        let only_one_removes = store.log_removal.try_lock().or_else(|| {
            // Whoever removes now may have looked before what became free: it is told to have
            // another look taken. A checkpoint that copies segments does that in any case.
            store.release_again.store(true, Ordering::Relaxed);
            // Pairs with the one below: either the mark is seen there, or that the lock is
            // free is seen here.
            fence(Ordering::SeqCst);
            store.log_removal.try_lock()
        });
        let Some(only_one_removes) = only_one_removes else { return Ok(()) };
        let outcome = self.release_log_alone();
        drop(only_one_removes);
        // Pairs with the one above.
        fence(Ordering::SeqCst);
        if store.release_again.swap(false, Ordering::Relaxed) {
            self.scheduler.submit(Work::ReleaseLog);
        }
        outcome
    }

    /// As [`release_log`](Self::release_log), for who holds the lock of removals.
    fn release_log_alone(&self) -> Result<()> {
        let (has_something, first_segment, first_base, next_seqno) = {
            let mut state = self.commit.lock();
            if !state.log.has_begun() {
                // Nothing is written yet; what can go does so when something is.
                return Ok(());
            }
            let oldest = state
                .active
                .values()
                .filter_map(|active| active.core.history.latest().oldest_unflushed())
                .min()
                .unwrap_or(state.next_seqno);
            self.leave_covered_segment(&mut state, oldest)?;
            let full_before = state.full_segments.len();
            while state.full_segments.pop_front_if(|(_, end)| *end <= oldest).is_some() {}
            let has_freed = state.full_segments.len() < full_before;
            let segments = state.log.segments();
            let first_needed = state.full_segments.front().map(|(number, _)| *number);
            let first = segments.iter().find(|segment| Some(segment.number) == first_needed);
            let Some(first) = first.or(segments.last()) else { return Ok(()) };
            // Also what an earlier release could not remove, or not make the manifest forget.
            let has_something = has_freed || !state.log.removable_below(first.number).is_empty();
            (has_something, first.number, first.base.0, state.next_seqno)
        };
        if !has_something {
            return Ok(());
        }
        // A keyspace can also run empty because it was dropped, so the log may hold
        // the newest numbers: they must not be given out again.
        let durable_through = self.log_sync.synced_through().0;
        self.store.with_manifest(|manifest| {
            let counters = Edit::Counters { next_file: 0, next_seqno, next_keyspace: 0 };
            let log = Edit::Log { first_segment, first_base, durable_through };
            self.store.commit_edits(manifest, vec![log, counters])
        })?;
        let released = self.commit.lock().log.removable_below(first_segment);
        let (fs, directory) = (self.store.env.fs.as_ref(), &self.store.directory);
        match lsm_log::remove_segments(fs, directory, &released) {
            Ok(()) => self.commit.lock().log.forget_segments(&released),
            Err(error) => tracing::warn!(%error, "log segments that are not needed stay for now"),
        }
        Ok(())
    }

    /// When all of the log is in tables, which hold everything below `oldest`, goes on in a
    /// new segment: then the present one can go too, and the next open reads next to nothing.
    fn leave_covered_segment(&self, state: &mut CommitState, oldest: SeqNo) -> Result<()> {
        let current = state.log.current_segment().filter(|current| current.bytes >= WORTH_LEAVING_BYTES);
        let Some(current) = current.filter(|_| oldest >= state.next_seqno) else { return Ok(()) };
        match state.log.roll() {
            Ok(()) => {}
            Err(error) if error.is_disk_full() => return Err(error.into()),
            Err(error) => return Err(self.store.fail(error.into())),
        }
        if state.log.current_segment().is_some_and(|next| next.number != current.number) {
            state.full_segments.push_back((current.number, oldest));
        }
        Ok(())
    }
}
