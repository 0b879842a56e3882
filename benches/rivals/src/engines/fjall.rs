//! fjall, with its defaults.

use crate::catalogue::Codec;
use crate::engine::{self, Direction, Durability, Engine, Result, Setup, Source};
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use std::path::Path;
use std::time::Duration;

pub(crate) struct Fjall {
    db: Database,
    keyspace: Keyspace,
    sync: bool,
}

/// A snapshot and the keyspace that it is read through.
pub(crate) struct Snapshot<'a>(fjall::Snapshot, &'a Keyspace);

impl Engine for Fjall {
    type Snapshot<'a> = Snapshot<'a>;

    fn open(dir: &Path, setup: &Setup) -> Result<Self> {
        let db = Database::builder(dir).cache_size(setup.cache_bytes as u64).open()?;
        let bytes = setup.write_buffer_bytes as u64;
        let compressed = setup.compression != Codec::None;
        let keyspace = db.keyspace("data", || {
            let options = KeyspaceCreateOptions::default().max_memtable_size(bytes);
            match compressed {
                true => options,
                false => options.data_block_compression_policy(CompressionPolicy::all(CompressionType::None)),
            }
        })?;
        Ok(Self { db, keyspace, sync: setup.durability == Durability::Sync })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        if self.sync {
            let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
            batch.insert(&self.keyspace, key, value);
            return Ok(batch.commit()?);
        }
        Ok(self.keyspace.insert(key, value)?)
    }

    fn put_batch(&self, entries: &mut impl Source) -> Result {
        let mut batch = self.db.batch();
        if self.sync {
            batch = batch.durability(Some(PersistMode::SyncData));
        }
        while let Some((key, value)) = entries.next() {
            batch.insert(&self.keyspace, key, value);
        }
        Ok(batch.commit()?)
    }

    fn remove(&self, key: &[u8]) -> Result {
        Ok(self.keyspace.remove(key)?)
    }

    fn get(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool> {
        Ok(self.keyspace.get(key)?.map(|value| see(&value)).is_some())
    }

    fn scan(&self, direction: Direction, see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
        match direction {
            Direction::Forward => walk(self.keyspace.iter(), see),
            Direction::Reverse => walk(self.keyspace.iter().rev(), see),
        }
    }

    fn seek(&self, from: &[u8], see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
        walk(self.keyspace.range(from..), see)
    }

    fn prefix(&self, prefix: &[u8], mut see: impl FnMut(&[u8], &[u8])) -> Result {
        walk(self.keyspace.prefix(prefix), |key, value| {
            see(key, value);
            true
        })
    }

    fn snapshot(&self) -> Result<Self::Snapshot<'_>> {
        Ok(Snapshot(self.db.snapshot(), &self.keyspace))
    }

    fn load_sorted(&self, entries: &mut impl Source) -> Result {
        let mut ingestion = self.keyspace.start_ingestion()?;
        while let Some((key, value)) = entries.next() {
            ingestion.write(key, value)?;
        }
        Ok(ingestion.finish()?)
    }

    /// It offers no such call: flushes, then waits until nothing has been compacted for
    /// a while.
    fn settle(&self) -> Result {
        self.keyspace.rotate_memtable_and_wait()?;
        let mut quiet = 0;
        let mut completed = self.db.compactions_completed();
        while quiet < 10 {
            std::thread::sleep(Duration::from_millis(10));
            let now = self.db.compactions_completed();
            let busy = self.db.outstanding_flushes() > 0 || self.db.active_compactions() > 0;
            quiet = if busy || now != completed { 0 } else { quiet + 1 };
            completed = now;
        }
        Ok(())
    }

    fn close(self) -> Result {
        Ok(self.db.persist(PersistMode::Buffer)?)
    }
}

fn walk(entries: impl Iterator<Item = Guard>, mut see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
    for entry in entries {
        let (key, value) = entry.into_inner()?;
        if !see(&key, &value) {
            break;
        }
    }
    Ok(())
}

impl engine::Snapshot for Snapshot<'_> {
    fn get(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool> {
        Ok(self.0.get(self.1, key)?.map(|value| see(&value)).is_some())
    }
}
