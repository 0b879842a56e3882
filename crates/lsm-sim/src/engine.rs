//! The engine as scripts see it: every call of `lsm-tree` that the runners make
//! stands in this file, with errors as words.

use crate::answer::{Answer, Entry};
use crate::config::Config;
use crate::op::{Durability, Write};
use crate::read::{Order, Read, Step};
use crate::text::Bounds;
use lsm_tree::{Database, Keyspace, Slice, Snapshot};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

/// An iterator of the engine, of whatever kind.
pub type Items = Box<dyn DoubleEndedIterator<Item = Result<Entry, lsm_tree::Error>> + Send>;

/// An open database.
#[derive(Debug)]
pub struct Engine {
    database: Database,
    keyspace_options: lsm_tree::KeyspaceOptions,
}

/// An open keyspace.
#[derive(Clone)]
pub struct Handle(Keyspace);

/// A snapshot.
pub struct Reader(Snapshot);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// Names the call that failed.
fn failed(call: &str) -> impl FnOnce(lsm_tree::Error) -> String + '_ {
    move |error| format!("{call} failed: {error} ({error:?})")
}

const fn durability(durability: Durability) -> lsm_tree::Durability {
    match durability {
        Durability::Buffered => lsm_tree::Durability::Buffered,
        Durability::Sync => lsm_tree::Durability::Sync,
    }
}

/// A range in the form that a caller would write it.
macro_rules! with_range {
    ($bounds:expr, |$range:ident| $body:expr) => {
        match (&$bounds.start, &$bounds.end) {
            (Bound::Unbounded, Bound::Unbounded) => {
                let $range = ..;
                $body
            }
            (Bound::Included(a), Bound::Excluded(b)) => {
                let $range = a..b;
                $body
            }
            (Bound::Included(a), Bound::Included(b)) => {
                let $range = a..=b;
                $body
            }
            (Bound::Included(a), Bound::Unbounded) => {
                let $range = a..;
                $body
            }
            (Bound::Unbounded, Bound::Excluded(b)) => {
                let $range = ..b;
                $body
            }
            (Bound::Unbounded, Bound::Included(b)) => {
                let $range = ..=b;
                $body
            }
            (a @ Bound::Excluded(_), b) => {
                let $range = (a.as_ref(), b.as_ref());
                $body
            }
        }
    };
}
pub(crate) use with_range;

/// What an iterator did instead of giving items.
#[derive(Debug)]
pub(crate) enum BadItems {
    /// It yielded an error.
    Failed(lsm_tree::Error),
    /// It gave an item after its end.
    WentOn,
}

impl From<BadItems> for String {
    fn from(bad: BadItems) -> Self {
        match bad {
            BadItems::Failed(error) => failed("the iterator")(error),
            BadItems::WentOn => "an iterator that had ended went on".into(),
        }
    }
}

/// Takes up to `count` items from the ends that `order` says, and checks that an
/// iterator which has ended stays ended.
///
/// # Errors
/// The first that the iterator yields.
pub(crate) fn take_items(items: &mut Items, count: usize, order: Order) -> Result<Vec<Entry>, BadItems> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let back = order.from_back(taken.len());
        match if back { items.next_back() } else { items.next() } {
            Some(item) => taken.push(item.map_err(BadItems::Failed)?),
            None if items.next().is_some() || items.next_back().is_some() => {
                return Err(BadItems::WentOn);
            }
            None => break,
        }
    }
    Ok(taken)
}

/// Steps through a cursor (they differ in type, not in methods).
macro_rules! walk {
    ($cursor:expr, $steps:expr) => {{
        let mut cursor = $cursor;
        let mut positions = Vec::new();
        for step in $steps {
            match step {
                Step::First => cursor.seek_to_first(),
                Step::Last => cursor.seek_to_last(),
                Step::Seek(key) => cursor.seek(key),
                Step::SeekForPrev(key) => cursor.seek_for_prev(key),
                Step::Next => cursor.next(),
                Step::Prev => cursor.prev(),
            }
            .map_err(failed("the cursor"))?;
            positions.push(
                cursor.valid().then(|| (Slice::copy_from(cursor.key()), Slice::copy_from(cursor.value()))),
            );
        }
        Answer::Positions(positions)
    }};
}

impl Engine {
    /// Opens the database of `config`, or makes it.
    ///
    /// # Errors
    /// The engine's.
    pub fn open(config: &Config) -> Result<Self, String> {
        let database = config.options.clone().open(config.dir()).map_err(failed("open"))?;
        Ok(Self { database, keyspace_options: config.keyspace.clone() })
    }

    /// The name that scripts' keyspace has in the engine.
    #[must_use]
    pub fn name(keyspace: u8) -> String {
        format!("keyspace-{keyspace}")
    }

    /// Opens a keyspace, or makes it.
    ///
    /// # Errors
    /// The engine's.
    pub fn keyspace(&self, keyspace: u8) -> Result<Handle, String> {
        let options = self.keyspace_options.clone();
        self.database.keyspace(&Self::name(keyspace), options).map(Handle).map_err(failed("keyspace"))
    }

    /// The names of all keyspaces, sorted.
    #[must_use]
    pub fn keyspace_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.database.keyspace_names();
        names.sort();
        names
    }

    /// Drops a keyspace.
    ///
    /// # Errors
    /// The engine's.
    pub fn drop_keyspace(&self, keyspace: u8) -> Result<(), String> {
        self.database.drop_keyspace(&Self::name(keyspace)).map_err(failed("drop_keyspace"))
    }

    /// Commits `writes` as one batch.
    ///
    /// # Errors
    /// The engine's.
    pub fn commit(
        &self,
        handles: &BTreeMap<u8, Handle>,
        writes: &[Write],
        lasting: Option<Durability>,
    ) -> Result<(), String> {
        let mut batch = self.database.batch();
        if let Some(lasting) = lasting {
            batch = batch.durability(durability(lasting));
        }
        for write in writes {
            let Some(Handle(keyspace)) = handles.get(&write.keyspace()) else { continue };
            match write {
                Write::Insert { key, value, .. } => {
                    batch.insert(keyspace, key, value.bytes());
                }
                Write::InsertShared { key, value, .. } => {
                    batch.insert(keyspace, key.clone(), value.bytes());
                }
                Write::Remove { key, .. } => {
                    batch.remove(keyspace, key);
                }
                Write::RemoveWeak { key, .. } => {
                    batch.remove_weak(keyspace, key);
                }
                Write::RemoveRange { bounds, .. } => {
                    with_range!(bounds, |range| {
                        batch.remove_range(keyspace, range);
                    });
                }
            }
        }
        batch.commit().map_err(failed("commit"))?;
        Ok(())
    }

    /// Takes a snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Reader {
        Reader(self.database.snapshot())
    }

    /// Waits until background work has settled.
    ///
    /// # Errors
    /// The engine's.
    pub fn wait_idle(&self) -> Result<(), String> {
        self.database.wait_idle().map_err(failed("wait_idle"))
    }

    /// Makes all writes so far last.
    ///
    /// # Errors
    /// The engine's.
    pub fn persist(&self, lasting: Durability) -> Result<(), String> {
        self.database.persist(durability(lasting)).map_err(failed("persist"))
    }

    /// Makes a checkpoint where `copy` lies.
    ///
    /// # Errors
    /// The engine's.
    pub fn checkpoint(&self, copy: &Config) -> Result<(), String> {
        copy.start_afresh()?;
        self.database.checkpoint(copy.dir()).map_err(failed("checkpoint"))?;
        Ok(())
    }

    /// Closes the database.
    ///
    /// # Errors
    /// The engine's.
    pub fn close(self) -> Result<(), String> {
        self.database.close().map_err(failed("close"))
    }
}

impl Handle {
    /// One write by its own call.
    ///
    /// # Errors
    /// The engine's.
    pub fn write(&self, write: &Write) -> Result<(), String> {
        let done = match write {
            Write::Insert { key, value, .. } => self.0.insert(key, value.bytes()),
            Write::InsertShared { key, value, .. } => self.0.insert_shared(key.clone(), value.bytes()),
            Write::Remove { key, .. } => self.0.remove(key),
            Write::RemoveWeak { key, .. } => self.0.remove_weak(key),
            Write::RemoveRange { bounds, .. } => with_range!(bounds, |range| self.0.remove_range(range)),
        };
        done.map_err(failed("the write"))?;
        Ok(())
    }

    /// Checks that a handle of a dropped keyspace does not pretend to write.
    ///
    /// # Errors
    /// It does.
    pub fn refuses_writes(&self) -> Result<(), String> {
        match self.0.insert("written too late", "") {
            Ok(_) => Err("a write to a dropped keyspace was acknowledged".into()),
            Err(_) => Ok(()),
        }
    }

    /// Removes every key.
    ///
    /// # Errors
    /// The engine's.
    pub fn clear(&self) -> Result<(), String> {
        self.0.clear().map_err(failed("clear"))?;
        Ok(())
    }

    /// Writes the memtables out.
    ///
    /// # Errors
    /// The engine's.
    pub fn flush(&self) -> Result<(), String> {
        self.0.flush().map_err(failed("flush"))
    }

    /// Compacts a range.
    ///
    /// # Errors
    /// The engine's.
    pub fn compact(&self, bounds: &Bounds) -> Result<(), String> {
        with_range!(bounds, |range| self.0.compact_range(range)).map_err(failed("compact_range"))
    }

    /// The range as an iterator, now or at a snapshot.
    #[must_use]
    pub fn range(&self, reader: Option<&Reader>, bounds: &Bounds) -> Items {
        self.range_at(reader.map(|Reader(snapshot)| snapshot), bounds)
    }

    fn range_at(&self, snapshot: Option<&Snapshot>, bounds: &Bounds) -> Items {
        match snapshot {
            None => with_range!(bounds, |range| Box::new(self.0.range(range))),
            Some(snapshot) => with_range!(bounds, |range| Box::new(snapshot.range(&self.0, range))),
        }
    }

    /// Answers a read, now or at a snapshot.
    ///
    /// # Errors
    /// The engine's.
    pub fn read(&self, reader: Option<&Reader>, read: &Read) -> Result<Answer, String> {
        match reader {
            None => self.read_live(read),
            Some(Reader(snapshot)) => self.read_at(snapshot, read),
        }
    }

    fn read_live(&self, read: &Read) -> Result<Answer, String> {
        let keyspace = &self.0;
        Ok(match read {
            Read::Get(key) => Answer::Value(keyspace.get(key).map_err(failed("get"))?),
            Read::ContainsKey(key) => {
                Answer::Flag(keyspace.contains_key(key).map_err(failed("contains_key"))?)
            }
            Read::MultiGet(keys) => Answer::Values(keyspace.multi_get(keys).map_err(failed("multi_get"))?),
            Read::First => Answer::Entry(keyspace.first_key_value().map_err(failed("first_key_value"))?),
            Read::Last => Answer::Entry(keyspace.last_key_value().map_err(failed("last_key_value"))?),
            Read::Len => Answer::Count(keyspace.len().map_err(failed("len"))? as u64),
            Read::IsEmpty => Answer::Flag(keyspace.is_empty().map_err(failed("is_empty"))?),
            Read::Iter(order) => entries(Box::new(keyspace.iter()), *order)?,
            Read::Range(bounds, order) => entries(self.range(None, bounds), *order)?,
            Read::Prefix(prefix, order) => entries(Box::new(keyspace.prefix(prefix)), *order)?,
            Read::Walk(steps) => walk!(keyspace.cursor(), steps),
        })
    }

    fn read_at(&self, snapshot: &Snapshot, read: &Read) -> Result<Answer, String> {
        let keyspace = &self.0;
        let get = |key: &Slice| snapshot.get(keyspace, key).map_err(failed("get at a snapshot"));
        let all = || -> Items { Box::new(snapshot.range(keyspace, ..)) };
        Ok(match read {
            Read::Get(key) => Answer::Value(get(key)?),
            Read::ContainsKey(key) => Answer::Flag(get(key)?.is_some()),
            Read::MultiGet(keys) => Answer::Values(keys.iter().map(get).collect::<Result<_, _>>()?),
            Read::First => Answer::Entry(take_items(&mut all(), 1, Order::Forward)?.pop()),
            Read::Last => Answer::Entry(take_items(&mut all(), 1, Order::Reverse)?.pop()),
            Read::Len => Answer::Count(take_items(&mut all(), usize::MAX, Order::Forward)?.len() as u64),
            Read::IsEmpty => Answer::Flag(take_items(&mut all(), 1, Order::Forward)?.is_empty()),
            Read::Iter(order) => entries(all(), *order)?,
            Read::Range(bounds, order) => entries(self.range_at(Some(snapshot), bounds), *order)?,
            Read::Prefix(prefix, order) => entries(Box::new(snapshot.prefix(keyspace, prefix)), *order)?,
            Read::Walk(steps) => walk!(snapshot.cursor(keyspace), steps),
        })
    }
}

fn entries(mut items: Items, order: Order) -> Result<Answer, String> {
    Ok(Answer::Entries(take_items(&mut items, usize::MAX, order)?))
}
