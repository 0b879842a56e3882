//! [`Exactness`]: for which snapshots a version gives the right answer.

use crate::Needed;
use lsm_types::SeqNo;
use std::sync::Arc;

/// The snapshots for which a version is exact: all from `from` on, and those in
/// `also`. Every job that drops old entries narrows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exactness {
    from: SeqNo,
    /// Ascending, each below `from`.
    also: Arc<[SeqNo]>,
}

impl Exactness {
    /// Exact for every snapshot: nothing was ever dropped.
    #[must_use]
    pub fn everything() -> Self {
        Self { from: 0, also: Arc::from([]) }
    }

    /// Exact for the snapshots from `seqno` on: what a recovered version promises,
    /// since no snapshot survives a restart.
    #[must_use]
    pub fn from_seqno(seqno: SeqNo) -> Self {
        Self { from: seqno, also: Arc::from([]) }
    }

    /// Whether a read at `snapshot` is answered as if nothing had been dropped.
    #[must_use]
    #[inline]
    pub fn holds_for(&self, snapshot: SeqNo) -> bool {
        snapshot >= self.from || self.also.binary_search(&snapshot).is_ok()
    }

    /// What is left after a job that kept only what is `needed`.
    #[must_use]
    pub fn after_job(&self, needed: &Needed) -> Self {
        let by_job = Self { from: needed.published, also: Arc::from(needed.snapshots.as_slice()) };
        let from = self.from.max(by_job.from);
        let mut also: Vec<SeqNo> = self
            .also
            .iter()
            .chain(by_job.also.iter())
            .copied()
            .filter(|&snapshot| snapshot < from && self.holds_for(snapshot) && by_job.holds_for(snapshot))
            .collect();
        also.sort_unstable();
        also.dedup();
        Self { from, also: Arc::from(also) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_jobs_leave_the_intersection() {
        let needed = |published, snapshots: &[SeqNo]| Needed { published, snapshots: snapshots.to_vec() };
        let first = Exactness::everything().after_job(&needed(10, &[3, 7]));
        // The snapshot at 7 closed meanwhile, one at 12 opened.
        let second = first.after_job(&needed(20, &[3, 12]));
        let exact: Vec<SeqNo> = (0..25).filter(|&s| second.holds_for(s)).collect();
        assert_eq!(exact, [3, 12, 20, 21, 22, 23, 24]);
        assert!(!second.holds_for(7), "the second job dropped what 7 needs");
    }
}
