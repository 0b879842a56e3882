//! [`SeqnoClock`]: which sequence numbers are visible.
//!
//! The holder of the commit lock allocates numbers, writes them to log and memtable
//! and publishes them here, in order. Readers only look.

use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_types::SeqNo;

/// The published bound: every entry numbered below it is applied whole.
///
/// Invariant: moves from `base` to `base + n` only while it stands at `base`. A
/// `fetch_max` would let a later batch publish an earlier one that is still being
/// applied, and readers would see the hole.
#[derive(Debug)]
pub struct SeqnoClock {
    published: AtomicU64,
}

impl SeqnoClock {
    /// A clock at which all numbers below `seqno` are visible.
    #[must_use]
    pub fn starting_at(seqno: SeqNo) -> Self {
        Self { published: AtomicU64::new(seqno) }
    }

    /// The bound of what is visible now: a reader at it sees all entries below.
    #[must_use]
    #[inline]
    pub fn published(&self) -> SeqNo {
        // Pairs with the Release in `publish`: who sees the bound sees the entries.
        self.published.load(lsm_sync::weaken("version.published_relaxed", Ordering::Acquire))
    }

    /// Makes the `count` entries from `base` visible. Their memtable inserts must
    /// have happened before. Returns false, and changes nothing, when an earlier
    /// batch is not published yet.
    #[must_use]
    #[inline]
    pub fn publish(&self, base: SeqNo, count: u64) -> bool {
        if lsm_sync::mutant("version.publish_by_max") {
            self.published.fetch_max(base + count, Ordering::AcqRel);
            return true;
        }
        // Release pairs with the Acquire in `published`. The failure order is Relaxed,
        // since nothing is read through a failed exchange.
        let release = lsm_sync::weaken("version.publish_relaxed", Ordering::Release);
        self.published.compare_exchange(base, base + count, release, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_published_in_order_only() {
        let clock = SeqnoClock::starting_at(10);
        assert!(!clock.publish(12, 1), "10 and 11 are still missing");
        assert!(clock.publish(10, 2));
        assert!(clock.publish(12, 1));
        assert_eq!(clock.published(), 13);
    }
}
