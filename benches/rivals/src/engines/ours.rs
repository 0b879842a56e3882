//! This repository's engine, with its default options, and tables read through mapped
//! memory, as LMDB's are.

use crate::catalogue::Codec;
use crate::engine::{self, Direction, Durability, Engine, Result, Setup, Source};
use lsm_tree::{Compression, Cursor, Database, Keyspace, KeyspaceOptions, MappedFs, Options};
use std::path::Path;
use std::sync::Arc;

pub(crate) struct Ours {
    db: Database,
    keyspace: Keyspace,
}

/// A snapshot and the keyspace that it is read through.
pub(crate) struct Snapshot<'a>(lsm_tree::Snapshot, &'a Keyspace);

impl Engine for Ours {
    type Snapshot<'a> = Snapshot<'a>;

    fn open(dir: &Path, setup: &Setup) -> Result<Self> {
        let durability = match setup.durability {
            Durability::Buffered => lsm_tree::Durability::Buffered,
            Durability::Sync => lsm_tree::Durability::Sync,
        };
        let mut options = Options::default()
            .cache_size(setup.cache_bytes as u64)
            .write_buffer_size(setup.write_buffer_bytes)
            .durability(durability);
        options.advanced().fs(Arc::new(MappedFs));
        let db = options.open(dir)?;
        let mut options = KeyspaceOptions::default();
        match setup.compression {
            Codec::Advised => {}
            Codec::Lz4 => options = options.compression(Compression::Lz4),
            Codec::None => options = options.compression(Compression::None),
        }
        let keyspace = db.keyspace("data", options)?;
        Ok(Self { db, keyspace })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        Ok(self.keyspace.insert(key, value)?)
    }

    fn put_batch(&self, entries: &mut impl Source) -> Result {
        let mut batch = self.db.batch();
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

    fn scan(&self, direction: Direction, mut see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
        let mut cursor = self.keyspace.cursor();
        match direction {
            Direction::Forward => {
                cursor.seek_to_first()?;
                walk(cursor, see)
            }
            Direction::Reverse => {
                cursor.seek_to_last()?;
                while cursor.valid() && see(cursor.key(), cursor.value()) {
                    cursor.prev()?;
                }
                Ok(())
            }
        }
    }

    fn seek(&self, from: &[u8], see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
        let mut cursor = self.keyspace.cursor();
        cursor.seek(from)?;
        walk(cursor, see)
    }

    fn prefix(&self, prefix: &[u8], mut see: impl FnMut(&[u8], &[u8])) -> Result {
        self.seek(prefix, |key, value| {
            let inside = key.starts_with(prefix);
            if inside {
                see(key, value);
            }
            inside
        })
    }

    fn snapshot(&self) -> Result<Self::Snapshot<'_>> {
        Ok(Snapshot(self.db.snapshot(), &self.keyspace))
    }

    /// One ingestion beside the log.
    fn load_sorted(&self, entries: &mut impl Source) -> Result {
        let mut ingestion = self.keyspace.ingestion()?;
        while let Some((key, value)) = entries.next() {
            ingestion.insert(key, value)?;
        }
        Ok(ingestion.finish()?)
    }

    fn settle(&self) -> Result {
        self.keyspace.flush()?;
        Ok(self.db.wait_idle()?)
    }

    fn close(self) -> Result {
        Ok(self.db.close()?)
    }
}

fn walk(mut cursor: Cursor, mut see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
    while cursor.valid() && see(cursor.key(), cursor.value()) {
        cursor.next()?;
    }
    Ok(())
}

impl engine::Snapshot for Snapshot<'_> {
    fn get(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool> {
        Ok(self.0.get(self.1, key)?.map(|value| see(&value)).is_some())
    }
}
