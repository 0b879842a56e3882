//! Sealing: the active memtable of a keyspace stops taking writes and a fresh one
//! takes its place, under the commit lock, so that no write lands in a sealed one.

use crate::background::schedule::Work;
use crate::core::Core;
use crate::engine::Engine;
use crate::view::{self, Step};
use crate::write::commit::{Active, CommitState};
use crate::write::order::{self, Seal};
use lsm_memtable::Memtable;
use lsm_types::SeqNo;
use std::sync::Arc;

/// The active memtables of all keyspaces together hold about this many write buffers
/// at most, however many keyspaces there are.
const MAX_FULL_MEMTABLES: usize = 4;

/// Memtables are sealed at three eighths of a write buffer while nothing waits to be flushed:
/// two such fit into it, and what is written while the flush of one is late.
const fn early_limit(write_buffer_bytes: usize) -> usize {
    write_buffer_bytes - write_buffer_bytes / 8 * 5
}

/// The sealing of one keyspace's active memtable.
struct Sealing<'a> {
    engine: &'a Engine,
    core: &'a Core,
}

impl Seal for Sealing<'_> {
    type State = CommitState;
    type Memtable = Arc<Memtable>;

    fn fresh(&self, state: &CommitState) -> Option<Arc<Memtable>> {
        let active = state.active.get(&self.core.id)?;
        (!active.memtable.is_empty()).then(|| Arc::new(active.memtable.successor()))
    }

    fn activate(&self, state: &mut CommitState, fresh: Arc<Memtable>) {
        if let Some(active) = state.active.get_mut(&self.core.id) {
            active.memtable = fresh;
        }
    }

    fn install(&self, state: &CommitState, fresh: Arc<Memtable>, sealed_at: SeqNo) {
        let step = Step::Rotate { fresh, sealed_at, log_end: state.log.end().0 };
        let live = || self.engine.snapshots.live();
        let installed = view::install(&self.engine.store, self.core, step, sealed_at, live, None);
        debug_assert!(installed.is_ok(), "a rotation writes nothing that could fail");
    }
}

impl Engine {
    /// Seals the active memtable of `core`, unless it is empty. Says whether it did.
    pub(crate) fn rotate_locked(&self, state: &mut CommitState, core: &Arc<Core>) -> bool {
        order::seal(&Sealing { engine: self, core }, state)
    }

    /// After a write of `bytes` into `cores`, seals those of their memtables that are
    /// full, and the largest of all when together they hold too much. Says whether it
    /// sealed any.
    pub(crate) fn rotate_full(&self, state: &mut CommitState, cores: &[Arc<Core>], bytes: usize) -> bool {
        let limit = self.store.options.write_buffer_bytes;
        let size_of = |state: &CommitState, core: &Core| {
            state.active.get(&core.id).map_or(0, |active| active.memtable.approximate_bytes())
        };
        let mut has_rotated = false;
        for core in cores {
            // Early while nothing waits to be flushed: the rest of the buffer is for what is
            // written during the flush, which then need not be waited for.
            let (size, has_sealed) = (size_of(state, core), core.has_sealed());
            let early = early_limit(limit);
            if has_sealed && size >= early && !core.is_slowed() {
                // The flush is late: from now on writers are paced by it, so that they leave
                // it a processor and memory stays near the buffer.
                core.set_slowed(true);
            }
            let limit = if has_sealed { limit } else { early };
            has_rotated |= size >= limit && self.rotate_locked(state, core);
        }
        state.unsummed_bytes += bytes;
        // Few keyspaces cannot hold too much: each is sealed when it is full.
        if state.unsummed_bytes < limit / 4 || state.active.len() <= MAX_FULL_MEMTABLES {
            return has_rotated;
        }
        state.unsummed_bytes = 0;
        let sizes = state.active.values().map(|active| active.memtable.approximate_bytes());
        if sizes.sum::<usize>() > limit * MAX_FULL_MEMTABLES {
            let largest = state.active.values().max_by_key(|active| active.memtable.approximate_bytes());
            if let Some(core) = largest.map(|active| Arc::clone(&active.core)) {
                has_rotated |= self.rotate_locked(state, &core);
            }
        }
        has_rotated
    }

    /// Seals the active memtable of `core` and has all sealed ones flushed.
    pub(crate) fn rotate(&self, core: &Arc<Core>) {
        self.rotate_locked(&mut self.commit.lock(), core);
        self.flush_soon();
    }

    /// Queues a flush of every keyspace with sealed memtables.
    pub(crate) fn flush_soon(&self) {
        for core in self.cores() {
            if !core.history.latest().sealed.is_empty() {
                self.scheduler.submit(Work::Flush(core.id));
            }
        }
    }

    /// Past the cap on log bytes, flushes every keyspace that has records in the segments
    /// that must go, so that an idle keyspace does not pin the log. Past twice the cap the
    /// writer waits until flushes have caught up.
    pub(crate) fn cap_log(&self) {
        let mut state = self.commit.lock();
        let files = state.log_files();
        let total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        let mut excess = total.saturating_sub(self.store.options.max_log_bytes);
        let mut through = 0;
        for &(segment, end) in &state.full_segments {
            if excess == 0 {
                break;
            }
            let bytes = files.iter().find(|(number, _)| *number == segment).map_or(0, |(_, bytes)| *bytes);
            excess = excess.saturating_sub(bytes);
            through = end;
        }
        let is_pinning = |active: &Active| {
            active.core.history.latest().oldest_unflushed().is_some_and(|oldest| oldest < through)
        };
        let pinning: Vec<_> =
            state.active.values().filter(|active| is_pinning(active)).map(|a| Arc::clone(&a.core)).collect();
        for core in &pinning {
            self.rotate_locked(&mut state, core);
        }
        drop(state);
        if !pinning.is_empty() {
            self.flush_soon();
        }
        let hard_cap = self.store.options.max_log_bytes.saturating_mul(2);
        if total > hard_cap {
            self.scheduler.submit(Work::ReleaseLog);
            // The write is done: when the wait fails, the next one will say why.
            let _told_later = self.wait_for_work(|| self.commit.lock().log_bytes() <= hard_cap);
        }
    }
}
