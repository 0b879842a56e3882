//! [`Batch`]: writes to any keyspaces of a database that take effect at once.

use crate::core::Core;
use crate::engine::Handle;
use crate::keyspace::{Keyspace, checked_span};
use crate::options::Durability;
use crate::write::commit::put_entry;
use crate::{Error, Result};
use lsm_types::{KeyRange, ValueKind, batch};
use std::sync::Arc;

/// Writes that become visible and durable all at once, or not at all.
///
/// Later entries win over earlier ones. Setters copy what they are given and report
/// nothing: what is wrong with an entry is reported by [`commit`](Self::commit),
/// which then writes nothing.
#[derive(Debug)]
pub struct Batch {
    handle: Arc<Handle>,
    /// The wire form without its header.
    entries: Vec<u8>,
    count: u32,
    /// The keyspaces that the entries name.
    cores: Vec<Arc<Core>>,
    durability: Durability,
    /// The first thing that was wrong.
    failure: Option<Error>,
}

impl Batch {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        let durability = handle.engine.store.options.durability;
        Self { handle, entries: Vec::new(), count: 0, cores: Vec::new(), durability, failure: None }
    }

    /// How durable the batch is when `commit` returns; as the database's options say
    /// by default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sets `key` to `value` in `keyspace`.
    pub fn insert(
        &mut self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        self.add(keyspace, ValueKind::Value, key.as_ref(), value.as_ref())
    }

    /// Deletes `key` from `keyspace`.
    pub fn remove(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> &mut Self {
        self.add(keyspace, ValueKind::Tombstone, key.as_ref(), &[])
    }

    /// Deletes `key`, inserted at most once since it was last deleted; see
    /// [`Keyspace::remove_weak`].
    pub fn remove_weak(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> &mut Self {
        self.add(keyspace, ValueKind::WeakTombstone, key.as_ref(), &[])
    }

    /// Deletes every key of `range` from `keyspace`.
    pub fn remove_range(&mut self, keyspace: &Keyspace, range: impl KeyRange) -> &mut Self {
        match checked_span(&range) {
            Ok(span) if span.is_empty() => self.name(keyspace),
            Ok(span) => {
                let end = batch::encode_range_end(span.end.as_deref());
                self.add_checked(keyspace, ValueKind::RangeTombstone, &span.start, &end)
            }
            Err(error) => self.fail(error),
        }
    }

    fn add(&mut self, keyspace: &Keyspace, kind: ValueKind, key: &[u8], value: &[u8]) -> &mut Self {
        let checked = lsm_types::check_key(key).and_then(|()| lsm_types::check_value(value));
        match checked {
            Ok(()) => self.add_checked(keyspace, kind, key, value),
            Err(error) => self.fail(error.into()),
        }
    }

    fn add_checked(&mut self, keyspace: &Keyspace, kind: ValueKind, key: &[u8], value: &[u8]) -> &mut Self {
        self.name(keyspace);
        match self.count.checked_add(1) {
            Some(count) => self.count = count,
            None => return self.fail(Error::invalid("a batch has at most 4,294,967,295 entries")),
        }
        if self.failure.is_none() {
            put_entry(&mut self.entries, keyspace.core.id, kind, key, value);
        }
        self
    }

    /// Notes that the batch writes to `keyspace`.
    fn name(&mut self, keyspace: &Keyspace) -> &mut Self {
        if !Arc::ptr_eq(&self.handle, &keyspace.handle) {
            let name = keyspace.name();
            return self.fail(Error::invalid(format!("the keyspace {name:?} belongs to another database")));
        }
        if !self.cores.iter().any(|core| Arc::ptr_eq(core, &keyspace.core)) {
            self.cores.push(Arc::clone(&keyspace.core));
        }
        self
    }

    fn fail(&mut self, error: Error) -> &mut Self {
        self.failure.get_or_insert(error);
        self
    }

    /// Writes the batch.
    ///
    /// # Errors
    /// `InvalidArgument` for the first entry that cannot be written (too long, of
    /// another database, of a dropped keyspace) or when the batch is over 4 GiB - 1;
    /// otherwise as any write. After an error nothing of the batch is there; only
    /// after a failed sync its fate is unknown until the database is reopened.
    pub fn commit(self) -> Result<()> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        if u32::try_from(self.entries.len() + batch::HEADER_BYTES).is_err() {
            return Err(Error::invalid("a batch has at most 4 GiB - 1"));
        }
        self.handle.engine.write_batch(&self.cores, &self.entries, self.count, self.durability)
    }
}
