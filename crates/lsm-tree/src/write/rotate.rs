//! Sealing: the active memtable of a keyspace stops taking writes and a fresh one
//! takes its place, under the commit lock, so that no write lands in a sealed one.

use crate::background::schedule::Work;
use crate::core::{Core, new_memtable};
use crate::engine::Engine;
use crate::view::{self, Step};
use crate::write::commit::CommitState;
use std::sync::Arc;

impl Engine {
    /// Seals the active memtable of `core`, unless it is empty. Says whether it did.
    pub(crate) fn rotate_locked(&self, state: &mut CommitState, core: &Arc<Core>) -> bool {
        let (sealed_at, log_end) = (state.next_seqno, state.log.end().0);
        let Some(active) = state.active.get_mut(&core.id) else { return false };
        if active.memtable.is_empty() {
            return false;
        }
        let fresh = new_memtable();
        active.memtable = Arc::clone(&fresh);
        let step = Step::Rotate { fresh, sealed_at, log_end };
        let installed = view::install(&self.store, core, step, sealed_at, || self.snapshots.live());
        debug_assert!(installed.is_ok(), "a rotation writes nothing that could fail");
        true
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

    /// Past the cap on log bytes, flushes the keyspace that holds the oldest record,
    /// so that an idle keyspace does not pin the log.
    pub(crate) fn cap_log(&self) {
        let mut state = self.commit.lock();
        if state.log_bytes() <= self.store.options.max_log_bytes {
            return;
        }
        let oldest = state
            .active
            .values()
            .filter_map(|active| Some((active.core.history.latest().oldest_unflushed()?, &active.core)))
            .min_by_key(|(seqno, _)| *seqno)
            .map(|(_, core)| Arc::clone(core));
        if let Some(core) = oldest {
            self.rotate_locked(&mut state, &core);
            drop(state);
            self.flush_soon();
        }
    }
}
