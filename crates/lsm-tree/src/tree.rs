//! [`Tree`]: one ordered map with explicit sequence numbers and no log, for those
//! who build a database of their own.

use crate::background::compact::tree_step;
use crate::background::flush::{discard, flush_placement, write_memtables};
use crate::core::Core;
use crate::keyspace::checked_span;
use crate::options::TreeOptions;
use crate::read::{Owner, View, point, scan};
use crate::store::Store;
use crate::view::{self, Step};
use crate::write::shared::SharedActive;
use crate::{Error, Range, Result};
use lsm_compaction::Strategy;
use lsm_memtable::Memtable;
use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_types::{InternalKey, KeyRange, KeySpan, MAX_SEQNO, RangeTombstone, SeqNo, Slice, ValueKind};
use lsm_version::{Change, Edit, Needed, SuperVersion, Version};
use std::path::Path;
use std::sync::Arc;

/// A sorted map of versioned entries in one directory.
///
/// The caller gives each write its sequence number, each read its snapshot bound,
/// and each flush and compaction the watermark below which nobody reads any more.
/// There is no log and no thread: what was not flushed is lost with the process, and
/// work is done by the calls that ask for it. Cheap to clone; `Send + Sync`.
///
/// ```
/// # fn main() -> lsm_tree::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path();
/// use lsm_tree::{SeqNo, TreeOptions};
///
/// let tree = TreeOptions::default().open(path)?;
/// tree.insert("a", "1", 0)?;
/// tree.remove("a", 1)?;
/// assert_eq!(tree.get("a", 1)?.unwrap(), "1");   // sees what is numbered below 1
/// assert_eq!(tree.get("a", SeqNo::MAX)?, None);
/// tree.flush(0)?;                                // keeps all versions
/// assert_eq!(tree.get("a", 1)?.unwrap(), "1");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Tree {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    core: Core,
    active: SharedActive<Arc<Memtable>>,
    /// The greatest number in a table, plus one; 0 for none.
    persisted: AtomicU64,
}

impl Owner for Inner {
    fn store(&self) -> &Store {
        &self.store
    }

    /// There is no next number: callers bring theirs.
    fn at_rest(&self, _: &mut dyn FnMut(SeqNo)) {}
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.store.failure().is_none()
            && let Err(error) = self.store.with_manifest(lsm_version::Manifest::close)
        {
            tracing::error!(%error, "closing a tree failed; what was flushed is there all the same");
        }
        self.store.sweep();
        self.store.unlock();
    }
}

impl Tree {
    pub(crate) fn open_with(path: &Path, options: TreeOptions) -> Result<Self> {
        let (store, core) = crate::open::open_tree(path, options)?;
        let view = core.history.latest();
        let persisted = view.tables.flushed_through();
        let active = SharedActive::new(Arc::clone(&view.active), persisted);
        let inner = Inner { store, core, active, persisted: AtomicU64::new(persisted) };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn with_active(&self, seqno: SeqNo, insert: impl FnOnce(&Memtable)) -> Result<()> {
        self.inner.store.check_usable()?;
        if seqno > MAX_SEQNO {
            return Err(Error::invalid(format!("the sequence number {seqno} is above 2^56 - 1")));
        }
        self.inner.active.insert(seqno, |active| insert(active)).map_err(|floor| {
            Error::invalid(format!(
                "the sequence number {seqno} is below {floor}, the greatest one sealed by a rotation"
            ))
        })
    }

    fn insert_entry(&self, key: &[u8], value: &[u8], seqno: SeqNo, kind: ValueKind) -> Result<()> {
        lsm_types::check_key(key)?;
        lsm_types::check_value(value)?;
        self.with_active(seqno, |active| active.insert(InternalKey::new(key, seqno, kind), value))
    }

    /// Sets `key` to `value` as of `seqno`. An entry of the same key and number is
    /// replaced.
    ///
    /// # Errors
    /// `InvalidArgument` for a number below the greatest one that was sealed, a key
    /// over 64 KiB - 1 or a value over 1 GiB; `ReadOnly` after a failure.
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, seqno: SeqNo) -> Result<()> {
        self.insert_entry(key.as_ref(), value.as_ref(), seqno, ValueKind::Value)
    }

    /// As [`insert`](Self::insert), keeping the slices instead of copying them.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_shared(&self, key: impl Into<Slice>, value: impl Into<Slice>, seqno: SeqNo) -> Result<()> {
        let (key, value) = (key.into(), value.into());
        lsm_types::check_key(&key)?;
        lsm_types::check_value(&value)?;
        self.with_active(seqno, |active| {
            active.insert_shared(InternalKey::new(key, seqno, ValueKind::Value), value);
        })
    }

    /// Deletes `key` as of `seqno`.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove(&self, key: impl AsRef<[u8]>, seqno: SeqNo) -> Result<()> {
        self.insert_entry(key.as_ref(), &[], seqno, ValueKind::Tombstone)
    }

    /// Deletes `key`, inserted at most once since it was last deleted.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove_weak(&self, key: impl AsRef<[u8]>, seqno: SeqNo) -> Result<()> {
        self.insert_entry(key.as_ref(), &[], seqno, ValueKind::WeakTombstone)
    }

    /// Deletes every key of `range` that was written below `seqno`.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove_range(&self, range: impl KeyRange, seqno: SeqNo) -> Result<()> {
        let span = checked_span(&range)?;
        self.with_active(seqno, |active| {
            if !span.is_empty() {
                active.insert_range_tombstone(RangeTombstone { span, seqno });
            }
        })
    }

    fn view(&self, snapshot: SeqNo) -> Result<View> {
        let version = self.version_for_snapshot(snapshot)?;
        let now_ms = self.inner.store.env.clock.unix_ms();
        let owner = Arc::clone(&self.inner) as Arc<dyn Owner>;
        Ok(View { version, snapshot, now_ms, dead: None, owner })
    }

    /// The super version that a read at `snapshot` looks at.
    ///
    /// # Errors
    /// `SnapshotTooOld` when a flush or compaction with a greater watermark dropped
    /// what the read would need.
    pub fn version_for_snapshot(&self, snapshot: SeqNo) -> Result<lsm_sync::Arc<SuperVersion>> {
        let version = self.inner.core.history.version_for_snapshot(snapshot);
        version.ok_or(Error::SnapshotTooOld { seqno: snapshot })
    }

    /// The value of `key` at `snapshot`: the newest entry numbered below it.
    ///
    /// # Errors
    /// `SnapshotTooOld`; `Corruption` or `Io` when a block cannot be read.
    pub fn get(&self, key: impl AsRef<[u8]>, snapshot: SeqNo) -> Result<Option<Slice>> {
        let version = self.version_for_snapshot(snapshot)?;
        let clock = &self.inner.store.env.clock;
        point::get(&version, key.as_ref(), snapshot, || clock.unix_ms())
    }

    /// Whether `key` has a value at `snapshot`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains_key(&self, key: impl AsRef<[u8]>, snapshot: SeqNo) -> Result<bool> {
        self.get(key, snapshot).map(|value| value.is_some())
    }

    /// The entries of `range` at `snapshot` in key order, from either end.
    pub fn range(&self, range: impl KeyRange, snapshot: SeqNo) -> Range {
        Range::new(self.view(snapshot), range.to_span())
    }

    /// The entries whose keys start with `prefix` at `snapshot`.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>, snapshot: SeqNo) -> Range {
        Range::new(self.view(snapshot), KeySpan::prefix(prefix.as_ref()))
    }

    /// All entries at `snapshot`.
    #[must_use]
    pub fn iter(&self, snapshot: SeqNo) -> Range {
        Range::new(self.view(snapshot), KeySpan::all())
    }

    /// A cursor over all entries at `snapshot`.
    #[must_use]
    pub fn cursor(&self, snapshot: SeqNo) -> crate::Cursor {
        crate::Cursor::new(self.view(snapshot))
    }

    /// The entry with the smallest key at `snapshot`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn first_key_value(&self, snapshot: SeqNo) -> Result<Option<(Slice, Slice)>> {
        self.iter(snapshot).next().transpose()
    }

    /// The entry with the greatest key at `snapshot`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn last_key_value(&self, snapshot: SeqNo) -> Result<Option<(Slice, Slice)>> {
        self.iter(snapshot).next_back().transpose()
    }

    /// How many keys there are at `snapshot`. O(n).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn len(&self, snapshot: SeqNo) -> Result<usize> {
        scan::count(self.view(snapshot)?)
    }

    /// Whether there is no key at `snapshot`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn is_empty(&self, snapshot: SeqNo) -> Result<bool> {
        self.first_key_value(snapshot).map(|first| first.is_none())
    }

    /// Seals the active memtable, unless it is empty. Says whether it did.
    pub fn rotate(&self) -> bool {
        let install = |fresh, highest| {
            let step = Step::Rotate { fresh, sealed_at: highest + 1, log_end: 0 };
            let (store, core) = (&self.inner.store, &self.inner.core);
            let installed = view::install(store, core, step, highest + 1, Vec::new, None);
            debug_assert!(installed.is_ok(), "a rotation writes nothing that could fail");
        };
        let fresh = || Arc::new(self.inner.core.history.latest().active.successor());
        self.inner.active.seal(|active| active.highest_seqno(), fresh, install)
    }

    /// Seals the active memtable and writes all sealed ones into tables. What no
    /// snapshot at or past `gc_watermark` can see may go; 0 keeps everything.
    ///
    /// # Errors
    /// `Io` when a table cannot be written (the memtables stay, so it can be tried
    /// again), `ReadOnly` after a failure of the manifest.
    pub fn flush(&self, gc_watermark: SeqNo) -> Result<()> {
        let (store, core) = (&self.inner.store, &self.inner.core);
        store.check_usable()?;
        self.rotate();
        let _one_flush_at_a_time = core.flush_lock.lock();
        let view = core.history.latest();
        let Some(newest) = view.sealed.first() else { return Ok(()) };
        let through = view.sealed.iter().map(|sealed| sealed.sealed_at).max().unwrap_or(0);
        let needed = Needed::from_watermark(gc_watermark);
        let tables = write_memtables(store, core, &view.sealed, &needed, &|| false)?;
        let placement = flush_placement(&tables);
        let written: Vec<_> = tables.iter().map(Arc::clone).collect();
        let change = Change {
            added: tables.into_iter().map(|table| (placement, table)).collect(),
            needed: Some(needed),
            flushed_through: Some(through),
            ..Change::default()
        };
        let counters = Edit::Counters { next_file: 0, next_seqno: through, next_keyspace: 0 };
        let step = Step::Tables { change, flushed_rotation: newest.rotation, more_edits: vec![counters] };
        if let Err(error) = view::install(store, core, step, through, Vec::new, None) {
            discard(store, &written);
            return Err(error);
        }
        // One operation where a loop of exchanges would retry; pairs with the Acquire
        // in `highest_persisted_seqno`.
        self.inner.persisted.fetch_max(through, Ordering::AcqRel);
        store.sweep();
        Ok(())
    }

    /// Compacts as `strategy` wants, until it wants nothing more. What no snapshot at
    /// or past `gc_watermark` can see may go.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn compact(&self, strategy: &dyn Strategy, gc_watermark: SeqNo) -> Result<()> {
        self.inner.store.check_usable()?;
        let needed = Needed::from_watermark(gc_watermark);
        while tree_step(&self.inner.store, &self.inner.core, &needed, |view| strategy.pick(view))? {}
        self.inner.store.sweep();
        Ok(())
    }

    /// Merges all tables into one run of the last level.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn major_compact(&self, gc_watermark: SeqNo) -> Result<()> {
        self.inner.store.check_usable()?;
        let needed = Needed::from_watermark(gc_watermark);
        let strategy = &self.inner.core.strategy;
        while tree_step(&self.inner.store, &self.inner.core, &needed, |view| strategy.pick_major(view))? {}
        self.inner.store.sweep();
        Ok(())
    }

    /// The greatest number inserted, flushed or not.
    #[must_use]
    pub fn highest_seqno(&self) -> Option<SeqNo> {
        self.inner.active.highest_seqno()
    }

    /// The greatest number in a table: what survives the process.
    #[must_use]
    pub fn highest_persisted_seqno(&self) -> Option<SeqNo> {
        // Pairs with the AcqRel in `flush`.
        self.inner.persisted.load(Ordering::Acquire).checked_sub(1)
    }

    fn tables(&self) -> Arc<Version> {
        Arc::clone(&self.inner.core.history.latest().tables)
    }

    /// How many tables there are.
    #[must_use]
    pub fn table_count(&self) -> usize {
        self.tables().table_count()
    }

    /// How many tables each level has, from the newest data down.
    #[must_use]
    pub fn level_table_counts(&self) -> Vec<usize> {
        self.tables().levels().iter().map(lsm_version::Level::table_count).collect()
    }

    /// How many sealed memtables wait to be flushed.
    #[must_use]
    pub fn sealed_memtable_count(&self) -> usize {
        self.inner.core.history.latest().sealed.len()
    }

    /// Bytes of all tables.
    #[must_use]
    pub fn disk_space(&self) -> u64 {
        self.tables().size_bytes()
    }

    /// Bytes in memtables.
    #[must_use]
    pub fn memtable_bytes(&self) -> usize {
        self.inner.core.history.latest().memtable_bytes()
    }
}
