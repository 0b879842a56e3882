//! [`VersionHistory`]: the super versions that somebody may still read.
//!
//! Written by `view::install` of the facade, read by every read. The protocol is
//! explored by `tests/loom_history.rs`.

use crate::Pin;
use crate::pin::{self, Pins};
use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_sync::{Arc, RwLock};
use lsm_types::SeqNo;
use std::collections::VecDeque;

/// What the history asks of a version; a stand-in implements it in the models.
pub trait Readable {
    /// Whether a read at `snapshot` is answered right.
    fn is_exact_for(&self, snapshot: SeqNo) -> bool;
    /// The published bound when the version was installed.
    fn seqno(&self) -> SeqNo;
}

/// The versions of one keyspace: the newest, and older ones that are still read.
///
/// `version_for_snapshot(S)` is the newest version that is exact for `S`. A version
/// that is not the newest stays only while an open snapshot maps to it, so that an
/// old snapshot does not pin every version since.
#[derive(Debug)]
pub struct VersionHistory<V> {
    /// Guards the deque. Readers hold it to clone one `Arc`, `upgrade` to push and
    /// pop; nothing blocks, allocates much or is dropped under it.
    versions: RwLock<Versions<V>>,
    /// The newest version's seqno, for those who only ask how far the tree is.
    latest_seqno: AtomicU64,
    /// What readers keep. Empty but for the newest version, and those of reads under way.
    pins: Pins<V>,
}

#[derive(Debug)]
struct Versions<V> {
    newest: Arc<V>,
    /// Oldest first.
    older: VecDeque<Arc<V>>,
}

impl<V: Readable> Versions<V> {
    fn newest_exact_for(&self, snapshot: SeqNo) -> Option<&Arc<V>> {
        std::iter::once(&self.newest)
            .chain(self.older.iter().rev())
            .find(|version| version.is_exact_for(snapshot))
    }

    /// Takes out every older version to which no snapshot of `live` maps. O(versions ·
    /// snapshots) questions at worst, and as a rule one for each snapshot, since the
    /// newest version answers for nearly all of them.
    fn retire(&mut self, live: &[SeqNo]) -> Vec<Arc<V>> {
        if self.older.is_empty() {
            return Vec::new();
        }
        let mut needed = vec![false; self.older.len()];
        for &snapshot in live.iter().filter(|&&snapshot| !self.newest.is_exact_for(snapshot)) {
            let maps_to = self.older.iter().rposition(|version| version.is_exact_for(snapshot));
            if let Some(slot) = maps_to.and_then(|index| needed.get_mut(index)) {
                *slot = true;
            }
        }
        let (mut kept, mut dropped) = (VecDeque::with_capacity(self.older.len()), Vec::new());
        for (version, needed) in self.older.drain(..).zip(needed) {
            if needed { kept.push_back(version) } else { dropped.push(version) }
        }
        self.older = kept;
        dropped
    }
}

impl<V: Readable> VersionHistory<V> {
    /// A history of one version.
    #[must_use]
    pub fn new(first: V) -> Self {
        let seqno = first.seqno();
        Self {
            versions: RwLock::new(Versions { newest: Arc::new(first), older: VecDeque::new() }),
            latest_seqno: AtomicU64::new(seqno),
            pins: Pins::new(),
        }
    }

    /// The newest version for one read on this thread, as [`latest`](Self::latest) but
    /// without a lock or a count that other readers share. The same order holds: the
    /// snapshot bound is taken before.
    #[must_use]
    #[inline]
    pub fn pin(&self) -> Pin<'_, V> {
        self.pin_as(pin::own_number())
    }

    /// As [`pin`](Self::pin) for a reader that numbers itself. Readers of one number may
    /// read at once, and only are slower then.
    #[must_use]
    #[inline]
    pub fn pin_as(&self, reader: usize) -> Pin<'_, V> {
        self.pins.pin(reader, || self.latest())
    }

    /// The newest version.
    ///
    /// A reader takes its snapshot bound *before* it calls this: the other way
    /// round, a flush between the two could drop what the bound needs.
    #[must_use]
    #[inline]
    pub fn latest(&self) -> Arc<V> {
        Arc::clone(&self.versions.read().newest)
    }

    /// The newest version that is exact for `snapshot`, or `None` when what it
    /// needs is gone. O(number of versions kept), which is small.
    #[must_use]
    pub fn version_for_snapshot(&self, snapshot: SeqNo) -> Option<Arc<V>> {
        self.versions.read().newest_exact_for(snapshot).map(Arc::clone)
    }

    /// The newest version's seqno.
    #[must_use]
    pub fn latest_seqno(&self) -> SeqNo {
        // Pairs with the Release in `upgrade`.
        self.latest_seqno.load(Ordering::Acquire)
    }

    /// How many versions are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.versions.read().older.len() + 1
    }

    /// Never: a history holds at least its newest version.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Installs the version that `next` makes of the newest one, in one step, and
    /// drops every older version to which no snapshot of `live` maps. Returns the
    /// installed version.
    ///
    /// Both run under the lock that readers take: `next` must only assemble, and `live`
    /// only ask the registry. Asked before, it could miss a snapshot for which another
    /// upgrade has kept a version meanwhile.
    pub fn upgrade(&self, live: impl FnOnce() -> Vec<SeqNo>, next: impl FnOnce(&V) -> V) -> Arc<V> {
        let mut versions = self.versions.write();
        let installed = Arc::new(next(&versions.newest));
        let replaced = std::mem::replace(&mut versions.newest, Arc::clone(&installed));
        versions.older.push_back(replaced);
        let dropped = versions.retire(&live());
        // Relaxed would do for the value; Release pairs with the Acquire in
        // `latest_seqno`, so that a reader of it finds the version as well.
        self.latest_seqno.fetch_max(installed.seqno(), Ordering::AcqRel);
        drop(versions);
        // Outside the lock: these may be the last holders of whole memtables.
        drop(dropped);
        // Behind the change, and before the caller publishes what only it shows.
        self.pins.sweep();
        installed
    }

    /// Drops what no snapshot of `live` maps to, without installing anything. `live` is
    /// asked under the lock, as in [`upgrade`](Self::upgrade).
    pub fn collect(&self, live: impl FnOnce() -> Vec<SeqNo>) {
        if self.versions.read().older.is_empty() {
            return;
        }
        let dropped = {
            let mut versions = self.versions.write();
            versions.retire(&live())
        };
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        seqno: SeqNo,
        exact_from: SeqNo,
    }

    impl Readable for Fake {
        fn is_exact_for(&self, snapshot: SeqNo) -> bool {
            snapshot >= self.exact_from
        }
        fn seqno(&self) -> SeqNo {
            self.seqno
        }
    }

    #[test]
    fn a_snapshot_reads_the_newest_version_that_is_exact_for_it() {
        let history = VersionHistory::new(Fake { seqno: 0, exact_from: 0 });
        history.upgrade(|| vec![5, 15], |_| Fake { seqno: 10, exact_from: 10 });
        history.upgrade(|| vec![5, 15], |_| Fake { seqno: 20, exact_from: 20 });
        let read_at = |s| history.version_for_snapshot(s).map(|v| v.seqno);
        assert_eq!((read_at(5), read_at(15), read_at(20)), (Some(0), Some(10), Some(20)));
        assert_eq!(history.latest_seqno(), 20);

        history.collect(|| vec![5]);
        assert_eq!(history.len(), 2, "nobody maps to the version of 10 any more");
        history.collect(Vec::new);
        assert_eq!((history.len(), read_at(15)), (1, None), "too old now");
    }

    #[test]
    fn an_old_snapshot_does_not_pin_the_versions_since() {
        let history = VersionHistory::new(Fake { seqno: 0, exact_from: 0 });
        for seqno in 1..=10 {
            // Each flush keeps what the snapshot at 1 needs, so each version is exact for it.
            history.upgrade(|| vec![1], |_| Fake { seqno, exact_from: 0 });
        }
        assert_eq!(history.len(), 1);
    }

    #[test]
    fn the_list_of_snapshots_is_asked_for_under_the_lock() {
        let history = VersionHistory::new(Fake { seqno: 5, exact_from: 0 });
        let registry = crate::SnapshotRegistry::new();
        let clock = crate::SeqnoClock::starting_at(5);
        // The list is asked for when the collection runs, so what opened before counts.
        let collect = || history.collect(|| registry.live());
        let snapshot = registry.open(&clock);
        assert!(clock.publish(5, 1));
        history.upgrade(|| registry.live(), |_| Fake { seqno: 6, exact_from: 6 });
        collect();
        assert!(history.version_for_snapshot(snapshot.seqno()).is_some());
    }
}
