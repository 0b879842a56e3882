//! Reading: one key ([`point`]), many keys ([`scan`]), where there are none ([`dead`]), and
//! the view all start from.

pub(crate) mod dead;
pub(crate) mod point;
pub(crate) mod scan;

use crate::read::dead::{DeadRanges, Skip};
use crate::store::Store;
use crate::{Error, Result};
use lsm_sync::Arc;
use lsm_types::SeqNo;
use lsm_version::SuperVersion;

/// Keeps the store open while somebody reads.
pub(crate) trait Owner: Send + Sync + std::fmt::Debug {
    /// The store below.
    fn store(&self) -> &Store;

    /// Calls `go` with the number of the next entry, while no write is under way. Does
    /// nothing when one is: a reader never waits for writers.
    fn at_rest(&self, go: &mut dyn FnMut(SeqNo));
}

/// What one read looks at: a super version, exact for the snapshot. `Send + Sync`.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) version: Arc<SuperVersion>,
    pub(crate) snapshot: SeqNo,
    pub(crate) now_ms: u64,
    /// Where a scan need not look; none where numbers come from the caller.
    pub(crate) dead: Option<std::sync::Arc<DeadRanges>>,
    /// Dropped last.
    pub(crate) owner: std::sync::Arc<dyn Owner>,
}

impl View {
    pub(crate) fn check_open(&self) -> Result<()> {
        self.owner.store().check_open()
    }

    /// What a scan that starts at `target` may leave out.
    pub(crate) fn skip(&self, target: &[u8]) -> Skip {
        self.dead.as_ref().map_or(Skip::Nothing, |dead| dead.skip(target, self.snapshot))
    }
}

/// Turns the kinds that nothing writes yet into an error instead of a wrong answer.
pub(crate) fn unsupported_kind(kind: lsm_types::ValueKind) -> Error {
    Error::invalid(format!("an entry of kind {kind:?} needs a keyspace option that is not set"))
}
