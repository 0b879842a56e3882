//! [`SnapshotRegistry`]: the snapshots that are open, and what they still need.
//! Opening one and computing what a job may drop exclude each other.

use crate::SeqnoClock;
use lsm_sync::{Arc, Mutex};
use lsm_types::SeqNo;
use std::collections::BTreeMap;

/// The open snapshots of one database. Shared by `Arc`; `Send + Sync`.
#[derive(Debug, Clone, Default)]
pub struct SnapshotRegistry {
    /// Bound of each open snapshot and how many share it. Nothing blocks, and no
    /// other lock is taken, while this one is held; it orders "load the bound and
    /// register it" against "compute what is needed".
    live: Arc<Mutex<BTreeMap<SeqNo, usize>>>,
}

/// What a job must keep readable: every snapshot at or past `published`, and each
/// of `snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needed {
    /// P: the published bound at the moment of asking; later snapshots are not below it.
    pub published: SeqNo,
    /// L: the bounds of the open snapshots, ascending, without repeats.
    pub snapshots: Vec<SeqNo>,
}

impl Needed {
    /// Keeps every snapshot at or past `watermark` readable, and nothing else.
    #[must_use]
    pub const fn from_watermark(watermark: SeqNo) -> Self {
        Self { published: watermark, snapshots: Vec::new() }
    }
}

/// An open snapshot; closes on drop.
#[derive(Debug)]
pub struct LiveSnapshot {
    registry: SnapshotRegistry,
    seqno: SeqNo,
}

impl SnapshotRegistry {
    /// A registry without snapshots.
    #[must_use]
    pub fn new() -> Self {
        Self { live: Arc::new(Mutex::new(BTreeMap::new())) }
    }

    /// Opens a snapshot at the published bound. Loading the bound and registering it
    /// is one step: between the two, a job could drop what the snapshot needs.
    #[must_use]
    pub fn open(&self, clock: &SeqnoClock) -> LiveSnapshot {
        let loaded_early = lsm_sync::mutant("version.snapshot_two_steps").then(|| clock.published());
        let mut live = self.live.lock();
        let seqno = loaded_early.unwrap_or_else(|| clock.published());
        *live.entry(seqno).or_insert(0) += 1;
        drop(live);
        LiveSnapshot { registry: self.clone(), seqno }
    }

    /// What a job that starts now must keep readable.
    #[must_use]
    pub fn needed(&self, clock: &SeqnoClock) -> Needed {
        let live = self.live.lock();
        Needed { published: clock.published(), snapshots: live.keys().copied().collect() }
    }

    /// The bounds of the open snapshots, ascending.
    #[must_use]
    pub fn live(&self) -> Vec<SeqNo> {
        self.live.lock().keys().copied().collect()
    }

    /// How many snapshots are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.live.lock().values().sum()
    }
}

impl LiveSnapshot {
    /// The snapshot sees every entry numbered below this bound.
    #[must_use]
    pub const fn seqno(&self) -> SeqNo {
        self.seqno
    }
}

impl Drop for LiveSnapshot {
    fn drop(&mut self) {
        let mut live = self.registry.live.lock();
        if let Some(count) = live.get_mut(&self.seqno) {
            *count -= 1;
            if *count == 0 && !lsm_sync::mutant("version.closed_snapshot_stays") {
                live.remove(&self.seqno);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_needed_until_its_last_snapshot_closes() {
        let clock = SeqnoClock::starting_at(5);
        let registry = SnapshotRegistry::new();
        let (first, second) = (registry.open(&clock), registry.open(&clock));
        assert!(clock.publish(5, 5));
        drop(first);
        assert_eq!(registry.needed(&clock), Needed { published: 10, snapshots: vec![5] });
        drop(second);
        assert_eq!(registry.needed(&clock), Needed { published: 10, snapshots: vec![] });
    }
}
