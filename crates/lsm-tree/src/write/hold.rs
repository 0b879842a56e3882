//! [`Holds`]: keys that writers leave alone for a moment, because an ingestion takes its
//! place in the order of writes. Kept under the commit lock, where every write looks;
//! ingestions add and remove them. Decides nothing about how long.

use crate::background::schedule::{Job, Scheduler};
use lsm_sync::Mutex;
use lsm_types::batch::{self, KeyspaceId};
use lsm_types::{KeySpan, SeqNo, ValueKind};
use lsm_version::Needed;

/// The spans that are held. Mostly none.
#[derive(Debug, Default)]
pub(crate) struct Holds(Vec<(KeyspaceId, KeySpan)>);

/// What a step of a write gives, unless it is refused.
pub(crate) type Admitted<T> = Result<T, Refusal>;

/// Why a write was not committed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// One of its keys is held: it may go once that is let go.
    Held,
    /// It cannot be done.
    Failed(crate::Error),
}

impl From<crate::Error> for Refusal {
    fn from(error: crate::Error) -> Self {
        Self::Failed(error)
    }
}

impl Holds {
    /// Holds `span`, which overlaps nothing that is held.
    pub(crate) fn add(&mut self, keyspace: KeyspaceId, span: KeySpan) {
        self.0.push((keyspace, span));
    }

    /// Lets it go.
    pub(crate) fn remove(&mut self, keyspace: KeyspaceId, span: &KeySpan) {
        self.0.retain(|(of, held)| *of != keyspace || held != span);
    }

    /// Whether nothing is held.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something of `span` is held.
    pub(crate) fn overlap(&self, keyspace: KeyspaceId, span: &KeySpan) -> bool {
        self.0.iter().any(|(of, held)| *of == keyspace && held.overlaps(span))
    }

    /// Refuses an entry of which something is held.
    #[inline]
    pub(crate) fn check(
        &self,
        keyspace: KeyspaceId,
        kind: ValueKind,
        key: &[u8],
        value: &[u8],
    ) -> Admitted<()> {
        let is_free = self.is_empty() || lsm_sync::mutant("tree.hold_ignored");
        if is_free || !self.is_held(keyspace, kind, key, value) { Ok(()) } else { Err(Refusal::Held) }
    }

    #[cold]
    fn is_held(&self, keyspace: KeyspaceId, kind: ValueKind, key: &[u8], value: &[u8]) -> bool {
        match kind {
            ValueKind::RangeTombstone => {
                batch::decode_range_span(key, value).is_some_and(|span| self.overlap(keyspace, &span))
            }
            _ => self.0.iter().any(|(of, held)| *of == keyspace && held.contains(key)),
        }
    }
}

/// Lets `span` go and wakes the writers that wait for that. `holds` finds them in what the
/// commit lock guards.
pub(crate) fn let_go<S, J: Job>(
    commit: &Mutex<S>,
    holds: impl FnOnce(&mut S) -> &mut Holds,
    keyspace: KeyspaceId,
    span: &KeySpan,
    scheduler: &Scheduler<J>,
) {
    holds(&mut commit.lock()).remove(keyspace, span);
    if !lsm_sync::mutant("tree.hold_let_go_in_silence") {
        scheduler.wake_waiters();
    }
}

/// The snapshots for which a version with an ingestion numbered `seqno` is right, where
/// readers see it from `bound` on: those behind it, and those of `live` before it. Those in
/// between have not seen it, and must not.
pub(crate) fn who_may_see(seqno: SeqNo, bound: SeqNo, mut live: Vec<SeqNo>) -> Needed {
    if lsm_sync::mutant("tree.ingested_for_all") {
        return Needed { published: 0, snapshots: Vec::new() };
    }
    live.retain(|snapshot| *snapshot <= seqno);
    Needed { published: bound, snapshots: live }
}
