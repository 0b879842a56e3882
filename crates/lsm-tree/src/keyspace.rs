//! [`Keyspace`]: one ordered map of a database, and how keyspaces come and go.

use crate::background::schedule::Work;
use crate::core::Core;
use crate::engine::{Engine, Handle};
use crate::keyspace_options::KeyspaceOptions;
use crate::read::{point, scan};
use crate::write::commit::{Active, Single};
use crate::{Cursor, Error, Range, Result, view};
use lsm_types::{KeyRange, KeySpan, Slice, ValueKind, batch};
use lsm_version::{Edit, Version};
use std::sync::Arc;

/// One ordered map from keys to values.
///
/// Cheap to clone; `Send + Sync`. Every read sees one moment in the order of writes,
/// never half a batch.
#[derive(Debug, Clone)]
pub struct Keyspace {
    pub(crate) core: Arc<Core>,
    pub(crate) handle: Arc<Handle>,
}

impl Keyspace {
    fn engine(&self) -> &Engine {
        &self.handle.engine
    }

    fn write(&self, kind: ValueKind, key: &[u8], value: &[u8]) -> Result<()> {
        let entry = Single { kind, key, value, shared: None };
        self.engine().write_one(&self.core, entry, self.engine().store.options.durability)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Sets `key` to `value`. Both are copied once, into the memtable.
    ///
    /// # Errors
    /// `InvalidArgument` for a key over 64 KiB - 1 or a value over 1 GiB, `Io` when
    /// the disk is full, `ReadOnly` after a failure, `Closed`.
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.write(ValueKind::Value, key.as_ref(), value.as_ref())
    }

    /// As [`insert`](Self::insert), keeping the slices instead of copying them: for
    /// large values.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_shared(&self, key: impl Into<Slice>, value: impl Into<Slice>) -> Result<()> {
        let (key, value) = (key.into(), value.into());
        let entry = Single {
            kind: ValueKind::Value,
            key: &key.clone(),
            value: &value.clone(),
            shared: Some((key, value)),
        };
        self.engine().write_one(&self.core, entry, self.engine().store.options.durability)
    }

    /// Deletes `key`, whether or not it exists.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.write(ValueKind::Tombstone, key.as_ref(), &[])
    }

    /// Deletes `key`, which was inserted at most once since it was last deleted: the
    /// two vanish as soon as a compaction sees both. If it was inserted more often,
    /// an older value may come back.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove_weak(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.write(ValueKind::WeakTombstone, key.as_ref(), &[])
    }

    /// Deletes every key of `range` with one entry, however many there are. A
    /// reversed range is empty.
    ///
    /// # Errors
    /// As [`insert`](Self::insert); the bounds are limited as keys are.
    pub fn remove_range(&self, range: impl KeyRange) -> Result<()> {
        let span = checked_span(&range)?;
        if span.is_empty() {
            return self.engine().store.check_usable();
        }
        let end = batch::encode_range_end(span.end.as_deref());
        let entry = Single { kind: ValueKind::RangeTombstone, key: &span.start, value: &end, shared: None };
        self.engine().write_range(&self.core, entry)
    }

    /// Deletes every key. Space is given back as soon as no snapshot needs it.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn clear(&self) -> Result<()> {
        self.remove_range(..)?;
        self.engine().rotate(&self.core);
        Ok(())
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// `Corruption` or `Io` when a block cannot be read, `Closed`.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        let (version, snapshot) = self.engine().pinned_view(&self.core)?;
        let clock = &self.engine().store.env.clock;
        point::get(&version, key.as_ref(), snapshot, || clock.unix_ms())
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.get(key).map(|value| value.is_some())
    }

    /// The values of several keys, all as of one moment.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Option<Slice>>> {
        let (version, snapshot) = self.engine().pinned_view(&self.core)?;
        let clock = &self.engine().store.env.clock;
        keys.into_iter().map(|key| point::get(&version, key.as_ref(), snapshot, || clock.unix_ms())).collect()
    }

    /// The entries of `range` in key order, as of now, from either end.
    pub fn range(&self, range: impl KeyRange) -> Range {
        Range::new(self.handle.latest_view(&self.core), range.to_span())
    }

    /// The entries whose keys start with `prefix`, as of now.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range {
        Range::new(self.handle.latest_view(&self.core), KeySpan::prefix(prefix.as_ref()))
    }

    /// All entries, as of now.
    #[must_use]
    pub fn iter(&self) -> Range {
        Range::new(self.handle.latest_view(&self.core), KeySpan::all())
    }

    /// A cursor over all entries, as of now.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.handle.latest_view(&self.core))
    }

    /// The entry with the smallest key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn first_key_value(&self) -> Result<Option<(Slice, Slice)>> {
        self.iter().next().transpose()
    }

    /// The entry with the greatest key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn last_key_value(&self) -> Result<Option<(Slice, Slice)>> {
        self.iter().next_back().transpose()
    }

    /// How many keys there are. O(n): walks all of them.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn len(&self) -> Result<usize> {
        scan::count(self.handle.latest_view(&self.core)?)
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn is_empty(&self) -> Result<bool> {
        self.first_key_value().map(|first| first.is_none())
    }

    /// About how many entries there are, old versions and tombstones included. O(1)
    /// in the number of keys.
    #[must_use]
    pub fn approximate_len(&self) -> usize {
        let view = self.core.history.latest();
        let sealed: usize = view.sealed.iter().map(|sealed| sealed.memtable.len()).sum();
        let tables: u64 = view.tables.tables().map(|(_, table)| table.meta().entries).sum();
        view.active.len() + sealed + tables as usize
    }

    /// Writes the memtables into tables, and returns when it is done.
    ///
    /// # Errors
    /// As any write, and what the flush met.
    pub fn flush(&self) -> Result<()> {
        self.engine().flush_and_wait(&self.core)
    }

    /// Flushes, then merges everything in `range` down to the last level, and
    /// returns when it is done.
    ///
    /// # Errors
    /// As any write, and what the compaction met.
    pub fn compact_range(&self, range: impl KeyRange) -> Result<()> {
        self.engine().flush_and_wait(&self.core)?;
        self.engine().compact_span(&self.core, &range.to_span())
    }
}

/// The span of a range whose bounds are within the limits of keys.
pub(crate) fn checked_span(range: &impl KeyRange) -> Result<KeySpan> {
    let (start, end) = range.bounds();
    for bound in [start, end] {
        if let std::ops::Bound::Included(key) | std::ops::Bound::Excluded(key) = bound {
            lsm_types::check_key(key)?;
        }
    }
    Ok(range.to_span())
}

impl Engine {
    /// Writes a range tombstone.
    fn write_range(&self, core: &Arc<Core>, entry: Single<'_>) -> Result<()> {
        // The span's start may be a key of the greatest length with a zero byte behind
        // it, so the bounds were checked before they became a span.
        self.write_checked(core, entry, self.store.options.durability)
    }

    pub(crate) fn open_keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<Arc<Core>> {
        self.store.check_open()?;
        if name.is_empty() || name.len() > 255 {
            return Err(Error::invalid("the name of a keyspace has 1 to 255 bytes"));
        }
        if let Some(core) = self.keyspaces.read().by_name.get(name) {
            return Ok(Arc::clone(core));
        }
        options.validate()?;
        self.store.with_manifest(|manifest| {
            if let Some(core) = self.keyspaces.read().by_name.get(name) {
                return Ok(Arc::clone(core));
            }
            let id = manifest.state().next_keyspace;
            let (name, stored) = (name.to_owned(), options.encode());
            let created = Edit::KeyspaceCreated { id, name: name.clone(), options: stored };
            // Durable before the first record that names it.
            self.store.commit_edits(manifest, vec![created])?;
            let core = Arc::new(Core::new(id, &name, options, Version::empty(), self.clock.published()));
            let active =
                Active { memtable: Arc::clone(&core.history.latest().active), core: Arc::clone(&core) };
            self.commit.lock().active.insert(id, active);
            self.keyspaces.write().by_name.insert(name, Arc::clone(&core));
            Ok(core)
        })
    }

    pub(crate) fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.store.check_usable()?;
        self.store.with_manifest(|manifest| {
            let Some(core) = self.keyspaces.read().by_name.get(name).map(Arc::clone) else {
                return Err(Error::invalid(format!("there is no keyspace {name:?}")));
            };
            self.store.commit_edits(manifest, vec![Edit::KeyspaceDropped { id: core.id }])?;
            let dropped_at = {
                let mut state = self.commit.lock();
                core.mark_dropped();
                state.active.remove(&core.id);
                state.next_seqno
            };
            view::install_dropped(&core, dropped_at, || self.snapshots.live());
            let mut keyspaces = self.keyspaces.write();
            keyspaces.by_name.remove(name);
            keyspaces.dropped.retain(|core| core.strong_count() > 0);
            keyspaces.dropped.push(Arc::downgrade(&core));
            Ok(())
        })?;
        self.count_table_change();
        self.scheduler.submit(Work::Sweep);
        self.scheduler.submit(Work::ReleaseLog);
        self.scheduler.wake_waiters();
        Ok(())
    }

    /// Seals the active memtable and waits until all sealed ones are in tables.
    pub(crate) fn flush_and_wait(&self, core: &Arc<Core>) -> Result<()> {
        self.store.check_usable()?;
        let target = {
            let mut state = self.commit.lock();
            self.rotate_locked(&mut state, core);
            core.history.latest().rotations
        };
        self.flush_soon();
        let is_flushed = || {
            let view = core.history.latest();
            core.is_dropped() || view.sealed.iter().all(|sealed| sealed.rotation > target)
        };
        self.wait_for_work(is_flushed)?;
        if core.is_dropped() {
            return Err(Error::invalid(format!("the keyspace {:?} was dropped", core.name)));
        }
        Ok(())
    }
}
