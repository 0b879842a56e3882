//! [`Snapshot`]: all keyspaces as they were at one moment.

use crate::engine::Handle;
use crate::keyspace::Keyspace;
use crate::read::{View, point, scan};
use crate::{Cursor, Error, Range, Result};
use lsm_types::{KeyRange, KeySpan, SeqNo, Slice};
use lsm_version::LiveSnapshot;
use std::sync::Arc;

/// All keyspaces as they were when the snapshot was taken, whatever is written,
/// flushed, compacted, cleared or dropped since.
///
/// Cheap to clone; `Send + Sync`. Space that only the snapshot needs is given back
/// after the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Snapshot {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Taken out on drop, before the sweep that it enables.
    live: Option<LiveSnapshot>,
    seqno: SeqNo,
    /// How often tables had changed when it was opened.
    changes_before: u64,
    handle: Arc<Handle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.live.take());
        self.handle.engine.snapshot_closed(self.changes_before);
    }
}

impl Snapshot {
    pub(crate) fn open(handle: Arc<Handle>) -> Self {
        let changes_before = handle.engine.table_changes();
        let live = handle.engine.snapshots.open(&handle.engine.clock);
        let seqno = live.seqno();
        Self { shared: Arc::new(Shared { live: Some(live), seqno, changes_before, handle }) }
    }

    /// The bound of the snapshot: it sees every write numbered below.
    #[must_use]
    pub fn seqno(&self) -> SeqNo {
        self.shared.seqno
    }

    fn view(&self, keyspace: &Keyspace) -> Result<View> {
        let version = self.version(keyspace)?;
        Ok(self.shared.handle.view(&keyspace.core, version, self.shared.seqno))
    }

    fn version(&self, keyspace: &Keyspace) -> Result<lsm_sync::Arc<lsm_version::SuperVersion>> {
        let handle = &self.shared.handle;
        if !Arc::ptr_eq(handle, &keyspace.handle) {
            let name = keyspace.name();
            return Err(Error::invalid(format!("the keyspace {name:?} belongs to another database")));
        }
        handle.engine.snapshot_view(&keyspace.core, self.shared.seqno)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn get(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        let version = self.version(keyspace)?;
        let clock = &self.shared.handle.engine.store.env.clock;
        point::get(&version, key.as_ref(), self.shared.seqno, || clock.unix_ms())
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn contains_key(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<bool> {
        self.get(keyspace, key).map(|value| value.is_some())
    }

    /// The values of several keys.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Slice>>> {
        let view = self.view(keyspace)?;
        keys.into_iter()
            .map(|key| point::get(&view.version, key.as_ref(), view.snapshot, || view.now_ms))
            .collect()
    }

    /// The entries of `range` in key order, from either end.
    pub fn range(&self, keyspace: &Keyspace, range: impl KeyRange) -> Range {
        Range::new(self.view(keyspace), range.to_span())
    }

    /// The entries whose keys start with `prefix`.
    pub fn prefix(&self, keyspace: &Keyspace, prefix: impl AsRef<[u8]>) -> Range {
        Range::new(self.view(keyspace), KeySpan::prefix(prefix.as_ref()))
    }

    /// All entries.
    #[must_use]
    pub fn iter(&self, keyspace: &Keyspace) -> Range {
        Range::new(self.view(keyspace), KeySpan::all())
    }

    /// A cursor over all entries.
    #[must_use]
    pub fn cursor(&self, keyspace: &Keyspace) -> Cursor {
        Cursor::new(self.view(keyspace))
    }

    /// The entry with the smallest key.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn first_key_value(&self, keyspace: &Keyspace) -> Result<Option<(Slice, Slice)>> {
        self.iter(keyspace).next().transpose()
    }

    /// The entry with the greatest key.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn last_key_value(&self, keyspace: &Keyspace) -> Result<Option<(Slice, Slice)>> {
        self.iter(keyspace).next_back().transpose()
    }

    /// How many keys there are. O(n).
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn len(&self, keyspace: &Keyspace) -> Result<usize> {
        scan::count(self.view(keyspace)?)
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn is_empty(&self, keyspace: &Keyspace) -> Result<bool> {
        self.first_key_value(keyspace).map(|first| first.is_none())
    }
}
