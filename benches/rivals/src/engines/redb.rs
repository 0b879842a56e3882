//! redb: one copy-on-write B+tree, a transaction for each call.

use crate::engine::{self, Direction, Engine, Result, Setup, Source};
use redb::{AccessGuard, Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// After so many commits that nobody synced one is: redb gives no page back between
/// two that are.
const SYNC_EVERY: u64 = 10_000;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("data");

pub(crate) struct Redb {
    db: Database,
    durability: Durability,
    commits: AtomicU64,
}

/// The table as it was at one moment.
pub(crate) struct Snapshot(ReadOnlyTable<&'static [u8], &'static [u8]>);

type Entry<'a> = (AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>);

impl Redb {
    fn table(&self) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>> {
        Ok(self.db.begin_read()?.open_table(TABLE)?)
    }

    fn write(
        &self,
        body: impl FnOnce(&mut redb::Table<'_, &'static [u8], &'static [u8]>) -> Result,
    ) -> Result {
        let mut transaction = self.db.begin_write()?;
        // Relaxed: it only counts.
        let is_turn = self.commits.fetch_add(1, Ordering::Relaxed) % SYNC_EVERY == SYNC_EVERY - 1;
        transaction.set_durability(if is_turn { Durability::Immediate } else { self.durability })?;
        body(&mut transaction.open_table(TABLE)?)?;
        Ok(transaction.commit()?)
    }
}

impl Engine for Redb {
    type Snapshot<'a> = Snapshot;

    fn open(dir: &Path, setup: &Setup) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let durability = match setup.durability {
            engine::Durability::Buffered => Durability::None,
            engine::Durability::Sync => Durability::Immediate,
        };
        let db = Database::builder().set_cache_size(setup.cache_bytes).create(dir.join("data.redb"))?;
        let transaction = db.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        Ok(Self { db, durability, commits: AtomicU64::new(0) })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        self.write(|table| {
            table.insert(key, value)?;
            Ok(())
        })
    }

    fn put_batch(&self, entries: &mut impl Source) -> Result {
        self.write(|table| {
            while let Some((key, value)) = entries.next() {
                table.insert(key, value)?;
            }
            Ok(())
        })
    }

    fn remove(&self, key: &[u8]) -> Result {
        self.write(|table| {
            table.remove(key)?;
            Ok(())
        })
    }

    fn get(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool> {
        Ok(self.table()?.get(key)?.map(|value| see(value.value())).is_some())
    }

    fn scan(&self, direction: Direction, see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
        let entries = self.table()?.range::<&[u8]>(..)?;
        match direction {
            Direction::Forward => walk(entries, see),
            Direction::Reverse => walk(entries.rev(), see),
        }
    }

    fn seek(&self, from: &[u8], see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
        walk(self.table()?.range(from..)?, see)
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
        Ok(Snapshot(self.table()?))
    }

    /// One transaction.
    fn load_sorted(&self, entries: &mut impl Source) -> Result {
        self.put_batch(entries)
    }

    /// Nothing runs in the background; the commits that nobody synced are.
    fn settle(&self) -> Result {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction.commit()?)
    }

    fn close(self) -> Result {
        drop(self.db);
        Ok(())
    }
}

fn walk<'a>(
    entries: impl Iterator<Item = std::result::Result<Entry<'a>, redb::StorageError>>,
    mut see: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result {
    for entry in entries {
        let (key, value) = entry?;
        if !see(key.value(), value.value()) {
            break;
        }
    }
    Ok(())
}

impl engine::Snapshot for Snapshot {
    fn get(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool> {
        Ok(self.0.get(key)?.map(|value| see(value.value())).is_some())
    }
}
