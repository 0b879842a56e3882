//! [`Latch`]: the first failure that cannot be recovered from, kept for ever. Set by
//! [`Store::fail`](crate::store::Store::fail), looked at by each write.

use lsm_sync::OnceLock;
use lsm_sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A cause `T` that is set once. `Send + Sync`.
///
/// Invariant: who sees the flag finds the cause.
#[derive(Debug)]
pub(crate) struct Latch<T> {
    cause: OnceLock<Arc<T>>,
    is_set: AtomicBool,
}

impl<T> Latch<T> {
    /// An open one.
    pub(crate) fn new() -> Self {
        Self { cause: OnceLock::new(), is_set: AtomicBool::new(false) }
    }

    /// Sets the cause; only the first one counts.
    pub(crate) fn set(&self, cause: T) {
        if lsm_sync::mutant("tree.latch_flag_before_cause") {
            self.is_set.store(true, Ordering::Release);
        }
        let _first_wins = self.cause.set(Arc::new(cause));
        // Pairs with the Acquire in `cause`.
        self.is_set.store(true, lsm_sync::weaken("tree.latch_set_relaxed", Ordering::Release));
    }

    /// Whether it is set: the only cost to those who find it open.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // Pairs with the Release in `set`.
        self.is_set.load(lsm_sync::weaken("tree.latch_read_relaxed", Ordering::Acquire))
    }

    /// The first cause.
    pub(crate) fn cause(&self) -> Option<Arc<T>> {
        self.cause.get().map(Arc::clone)
    }
}
