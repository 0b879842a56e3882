//! LMDB through heed: one mapped B+tree, a transaction for each call.

use crate::engine::{self, Direction, Durability, Engine, Result, Setup, Source};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithTls};
use std::ops::Bound;
use std::path::Path;

/// How far the map may grow; the file stays sparse.
const MAP_BYTES: usize = 48 << 30;

type Table = Database<'static, Bytes, Bytes>;

pub(crate) struct Lmdb {
    env: Env<WithTls>,
    table: Table,
}

/// A read transaction and the table that it reads.
pub(crate) struct Snapshot<'a>(RoTxn<'a, WithTls>, Table);

impl Engine for Lmdb {
    type Snapshot<'a> = Snapshot<'a>;

    fn open(dir: &Path, setup: &Setup) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut flags = EnvFlags::WRITE_MAP;
        if setup.durability == Durability::Buffered {
            flags |= EnvFlags::NO_SYNC;
        }
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        #[expect(unsafe_code, reason = "heed asks for it: see the two comments")]
        // SAFETY: the map's flags are sound as long as no stray write hits the map, and
        // the harness is safe code otherwise.
        unsafe {
            options.flags(flags);
        }
        #[expect(unsafe_code, reason = "heed asks for it: see the comment")]
        // SAFETY: the directory belongs to this one process, which opens it once at a
        // time and truncates nothing in it.
        let env = unsafe { options.open(dir)? };
        let transaction = env.write_txn()?;
        let created = env.create_databases_and_commit(transaction, |opener, transaction| {
            let table = opener.create_database::<Bytes, Bytes>(transaction, None);
            table.map(CommitOrAbort::<_, ()>::Commit)
        })?;
        match created {
            CommitOrAbort::Commit(table) => Ok(Self { env, table }),
            CommitOrAbort::Abort(()) => Err("the table was not made".into()),
        }
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        let mut transaction = self.env.write_txn()?;
        self.table.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }

    fn put_batch(&self, entries: &mut impl Source) -> Result {
        let mut transaction = self.env.write_txn()?;
        while let Some((key, value)) = entries.next() {
            self.table.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    fn remove(&self, key: &[u8]) -> Result {
        let mut transaction = self.env.write_txn()?;
        self.table.delete(&mut transaction, key)?;
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool> {
        let transaction = self.env.read_txn()?;
        Ok(self.table.get(&transaction, key)?.map(see).is_some())
    }

    fn scan(&self, direction: Direction, see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
        let transaction = self.env.read_txn()?;
        match direction {
            Direction::Forward => walk(self.table.iter(&transaction)?, see),
            Direction::Reverse => walk(self.table.rev_iter(&transaction)?, see),
        }
    }

    fn seek(&self, from: &[u8], see: impl FnMut(&[u8], &[u8]) -> bool) -> Result {
        let transaction = self.env.read_txn()?;
        let range = (Bound::Included(from), Bound::Unbounded);
        walk(self.table.range(&transaction, &range)?, see)
    }

    fn prefix(&self, prefix: &[u8], mut see: impl FnMut(&[u8], &[u8])) -> Result {
        let transaction = self.env.read_txn()?;
        walk(self.table.prefix_iter(&transaction, prefix)?, |key, value| {
            see(key, value);
            true
        })
    }

    fn snapshot(&self) -> Result<Self::Snapshot<'_>> {
        Ok(Snapshot(self.env.read_txn()?, self.table))
    }

    /// One transaction that appends.
    fn load_sorted(&self, entries: &mut impl Source) -> Result {
        let mut transaction = self.env.write_txn()?;
        while let Some((key, value)) = entries.next() {
            self.table.put_with_flags(&mut transaction, PutFlags::APPEND, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    /// Nothing runs in the background.
    fn settle(&self) -> Result {
        Ok(())
    }

    fn close(self) -> Result {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

fn walk<'t>(
    entries: impl Iterator<Item = heed::Result<(&'t [u8], &'t [u8])>>,
    mut see: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result {
    for entry in entries {
        let (key, value) = entry?;
        if !see(key, value) {
            break;
        }
    }
    Ok(())
}

impl engine::Snapshot for Snapshot<'_> {
    fn get(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool> {
        Ok(self.1.get(&self.0, key)?.map(see).is_some())
    }
}
