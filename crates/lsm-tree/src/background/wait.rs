//! [`Troubles`]: failures of background work that is tried again, and how those who wait
//! for that work learn of them. Called by [`Engine`](crate::engine::Engine).

use crate::background::schedule::{Job, Scheduler};
use lsm_sync::Mutex;
use lsm_sync::atomic::{AtomicU64, Ordering};

/// Failures that are being retried. `Send + Sync`.
#[derive(Debug)]
pub(crate) struct Troubles<E> {
    /// How many there were. Raised with Release after `last`, so that who sees the
    /// count grow finds the failure.
    count: AtomicU64,
    /// The last one, until a retry succeeds. Guards itself.
    last: Mutex<Option<E>>,
}

/// Why a wait ended without what was waited for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended<E> {
    /// The work failed, and is tried again; or the engine can no longer be used.
    Failed(E),
    /// There is no work left that could bring it about.
    NothingLeft,
}

impl<E: Clone> Troubles<E> {
    /// None so far.
    pub(crate) fn new() -> Self {
        Self { count: AtomicU64::new(0), last: Mutex::new(None) }
    }

    /// Remembers a failure that is being retried, and wakes those who wait for the work.
    pub(crate) fn note<J: Job>(&self, error: E, scheduler: &Scheduler<J>) {
        if lsm_sync::mutant("tree.trouble_counted_before_it_is_noted") {
            self.count.fetch_add(1, Ordering::Release);
            *self.last.lock() = Some(error);
        } else {
            *self.last.lock() = Some(error);
            // Pairs with the Acquire in `count`.
            self.count.fetch_add(1, Ordering::Release);
        }
        if !lsm_sync::mutant("tree.trouble_wakes_nobody") {
            scheduler.wake_waiters();
        }
    }

    /// Forgets it, since the retry succeeded.
    pub(crate) fn clear(&self) {
        *self.last.lock() = None;
    }

    /// The failure that is being retried.
    pub(crate) fn last(&self) -> Option<E> {
        self.last.lock().clone()
    }

    /// How many failures there were.
    pub(crate) fn count(&self) -> u64 {
        // Pairs with the Release in `note`.
        self.count.load(Ordering::Acquire)
    }

    /// Waits until `condition` holds, or background work fails, or `check_usable` does:
    /// a waiter is told instead of kept.
    pub(crate) fn wait<J: Job>(
        &self,
        scheduler: &Scheduler<J>,
        condition: impl Fn() -> bool,
        check_usable: impl Fn() -> Result<(), E>,
        run: impl Fn(J),
    ) -> Result<(), Ended<E>> {
        loop {
            let before = self.count();
            let ended = || condition() || self.count() != before || check_usable().is_err();
            let has_ended = scheduler.wait_until(ended, &run);
            check_usable().map_err(Ended::Failed)?;
            if condition() {
                return Ok(());
            }
            if let Some(error) = self.last().filter(|_| self.count() != before) {
                return Err(Ended::Failed(error));
            }
            if !has_ended {
                return Err(Ended::NothingLeft);
            }
            // The trouble came and went.
        }
    }
}
