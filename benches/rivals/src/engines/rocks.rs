//! RocksDB, as its tuning guide and the documentation of the crate advise.

use crate::catalogue::Codec;
use crate::engine::{self, Direction, Durability, Engine, Result, Setup, Source};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, IngestExternalFileOptions, Options,
    SstFileWriter, WaitForCompactOptions, WriteBatch, WriteOptions,
};
use std::path::Path;

pub(crate) struct Rocks {
    db: DB,
    options: Options,
    write: WriteOptions,
}

/// A snapshot of the database.
pub(crate) struct Snapshot<'a>(rocksdb::Snapshot<'a>);

fn options(setup: &Setup) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(setup.cache_bytes));
    table.set_bloom_filter(10.0, false);
    table.set_format_version(5);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.increase_parallelism(cores());
    options.set_write_buffer_size(setup.write_buffer_bytes);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_bytes_per_sync(1 << 20);
    options.set_compression_type(match setup.compression != Codec::None {
        true => DBCompressionType::Lz4,
        false => DBCompressionType::None,
    });
    options
}

fn cores() -> i32 {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    i32::try_from(cores).unwrap_or(i32::MAX)
}

impl Engine for Rocks {
    type Snapshot<'a> = Snapshot<'a>;

    fn open(dir: &Path, setup: &Setup) -> Result<Self> {
        let options = options(setup);
        let db = DB::open(&options, dir)?;
        let mut write = WriteOptions::default();
        write.set_sync(setup.durability == Durability::Sync);
        Ok(Self { db, options, write })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        Ok(self.db.put_opt(key, value, &self.write)?)
    }

    fn put_batch(&self, entries: &mut impl Source) -> Result {
        let mut batch = WriteBatch::default();
        while let Some((key, value)) = entries.next() {
            batch.put(key, value);
        }
        Ok(self.db.write_opt(batch, &self.write)?)
    }

    fn remove(&self, key: &[u8]) -> Result {
        Ok(self.db.delete_opt(key, &self.write)?)
    }

    fn get(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool> {
        Ok(self.db.get_pinned(key)?.map(|value| see(&value)).is_some())
    }

    fn scan(&self, direction: Direction, mut see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
        let mut iterator = self.db.raw_iterator();
        match direction {
            Direction::Forward => {
                iterator.seek_to_first();
                walk(iterator, see)
            }
            Direction::Reverse => {
                iterator.seek_to_last();
                while let Some((key, value)) = iterator.item()
                    && see(key, value)
                {
                    iterator.prev();
                }
                Ok(iterator.status()?)
            }
        }
    }

    fn seek(&self, from: &[u8], see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
        let mut iterator = self.db.raw_iterator();
        iterator.seek(from);
        walk(iterator, see)
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
        Ok(Snapshot(self.db.snapshot()))
    }

    /// One external table beside the database, moved into it.
    fn load_sorted(&self, entries: &mut impl Source) -> Result {
        let path = self.db.path().with_extension("ingest");
        let mut writer = SstFileWriter::create(&self.options);
        writer.open(&path)?;
        while let Some((key, value)) = entries.next() {
            writer.put(key, value)?;
        }
        writer.finish()?;
        let mut ingest = IngestExternalFileOptions::default();
        ingest.set_move_files(true);
        Ok(self.db.ingest_external_file_opts(&ingest, vec![path])?)
    }

    fn settle(&self) -> Result {
        self.db.flush()?;
        Ok(self.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    fn close(self) -> Result {
        drop(self.db);
        Ok(())
    }
}

fn walk(mut iterator: DBRawIterator<'_>, mut see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
    while let Some((key, value)) = iterator.item()
        && see(key, value)
    {
        iterator.next();
    }
    Ok(iterator.status()?)
}

impl engine::Snapshot for Snapshot<'_> {
    fn get(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool> {
        Ok(self.0.get_pinned(key)?.map(|value| see(&value)).is_some())
    }
}
