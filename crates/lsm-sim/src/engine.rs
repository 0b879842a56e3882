//! The engine as scripts see it: every call of `lsm-tree` that the runners make
//! stands in this file, with errors as words.

use crate::answer::{Answer, Entry};
use crate::config::Config;
use crate::op::{Durability, Write};
use crate::read::{Order, Read, Step};
use crate::text::{Bounds, Value};
use lsm_tree::{Database, Keyspace, KeyspaceStats, LevelStats, RecoveryReport, Slice, Snapshot, Stats};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

/// An iterator of the engine, of whatever kind.
pub type Items = Box<dyn DoubleEndedIterator<Item = Result<Entry, lsm_tree::Error>> + Send>;

/// An open database.
#[derive(Debug)]
pub struct Engine {
    database: Database,
}

/// An open keyspace.
#[derive(Clone)]
pub struct Handle(Keyspace);

/// A snapshot.
pub struct Reader(Snapshot);

/// The tables of a keyspace, as far as its stats tell them apart.
#[derive(PartialEq)]
struct AllLevels {
    keyspace: String,
    levels: Vec<LevelStats>,
    changes: u64,
}

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

/// Why a step did not go as it should.
#[derive(Clone, Debug)]
pub enum Stop {
    /// A call of the engine returned an error.
    Failed {
        /// The call.
        call: &'static str,
        /// Its error.
        error: lsm_tree::Error,
    },
    /// The engine and the model differ, or something else is wrong, in words.
    Differs(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { call, error } => write!(f, "{call} failed: {error} ({error:?})"),
            Self::Differs(what) => f.write_str(what),
        }
    }
}

impl From<String> for Stop {
    fn from(what: String) -> Self {
        Self::Differs(what)
    }
}

/// Names the call that failed.
fn failed(call: &'static str) -> impl FnOnce(lsm_tree::Error) -> Stop {
    move |error| Stop::Failed { call, error }
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

impl From<BadItems> for Stop {
    fn from(bad: BadItems) -> Self {
        match bad {
            BadItems::Failed(error) => failed("the iterator")(error),
            BadItems::WentOn => Self::Differs("an iterator that had ended went on".into()),
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
    pub fn open(config: &Config) -> Result<Self, Stop> {
        let database = config.options.clone().open(config.dir()).map_err(failed("open"))?;
        Ok(Self { database })
    }

    /// The name that scripts' keyspace has in the engine.
    #[must_use]
    pub fn name(keyspace: u8) -> String {
        format!("keyspace-{keyspace}")
    }

    /// Opens a keyspace, or makes it with `options`.
    ///
    /// # Errors
    /// The engine's.
    pub fn keyspace(&self, keyspace: u8, options: lsm_tree::KeyspaceOptions) -> Result<Handle, Stop> {
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
    pub fn drop_keyspace(&self, keyspace: u8) -> Result<(), Stop> {
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
    ) -> Result<(), Stop> {
        let mut batch = self.database.batch();
        if let Some(lasting) = lasting {
            batch = batch.durability(durability(lasting));
        }
        for write in writes {
            let Some(Handle(keyspace)) = handles.get(&write.keyspace()) else { continue };
            match write {
                Write::Insert { key, value, .. } | Write::InsertShared { key, value, .. } => {
                    batch.insert(keyspace, key, value.bytes());
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
        if batch.len() > writes.len() || batch.is_empty() != batch.len().eq(&0) {
            return Err(Stop::Differs(format!("a batch of {} writes has {}", writes.len(), batch.len())));
        }
        batch.commit().map_err(failed("commit"))
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
    pub fn wait_idle(&self) -> Result<(), Stop> {
        self.database.wait_idle().map_err(failed("wait_idle"))
    }

    /// Makes all writes so far last.
    ///
    /// # Errors
    /// The engine's.
    pub fn persist(&self, lasting: Durability) -> Result<(), Stop> {
        self.database.persist(durability(lasting)).map_err(failed("persist"))
    }

    /// Makes a checkpoint where `copy` lies.
    ///
    /// # Errors
    /// The engine's.
    pub fn checkpoint(&self, copy: &Config) -> Result<(), Stop> {
        copy.start_afresh()?;
        self.database.checkpoint(copy.dir()).map_err(failed("checkpoint"))
    }

    /// Reads and checks every table.
    ///
    /// # Errors
    /// The engine's.
    pub fn check_tables(&self) -> Result<(), Stop> {
        let mut before = self.all_levels();
        loop {
            let report = self.database.verify().map_err(failed("verify"))?;
            let after = self.all_levels();
            if before != after {
                // A flush or a compaction ended meanwhile, and the two tell of different
                // moments. Nobody writes, so the background comes to rest.
                before = after;
                continue;
            }
            let counted =
                after.iter().flat_map(|of| &of.levels).map(|level| level.tables as u64).sum::<u64>();
            if report.tables == counted {
                return Ok(());
            }
            let what = format!("{} tables were verified, the stats count {counted}", report.tables);
            return Err(Stop::Differs(what));
        }
    }

    /// What tables there are, and how much work has changed them.
    fn all_levels(&self) -> Vec<AllLevels> {
        let of = |of: KeyspaceStats| AllLevels {
            keyspace: of.name,
            levels: of.levels,
            changes: of.flushes + of.compactions,
        };
        self.stats().keyspaces.into_iter().map(of).collect()
    }

    /// What the database says about itself.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.database.stats()
    }

    /// What opening found.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        self.database.recovery_report()
    }

    /// Asks for all that the database says about itself, and compares it with itself.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn check_stats(&self, handles: &BTreeMap<u8, Handle>, at: Option<&Reader>) -> Result<(), Stop> {
        // Each question is answered at its own moment. Nobody writes, so the background
        // comes to rest and all of them tell of the same tables.
        let (lengths, stats) = loop {
            let before = self.all_levels();
            let lengths: BTreeMap<u8, usize> =
                handles.iter().map(|(&of, Handle(handle))| (of, handle.approximate_len())).collect();
            let stats = self.stats();
            if before == self.all_levels() {
                break (lengths, stats);
            }
        };
        let differs = |what: String| Err(Stop::Differs(format!("{what}\n{stats}")));
        for (keyspace, Handle(handle)) in handles {
            let Some(of) = stats.keyspaces.iter().find(|of| of.name == handle.name()) else {
                return differs(format!("the stats lack keyspace {keyspace}"));
            };
            let in_tables: u64 = of.levels.iter().map(|level| level.entries).sum();
            let length = lengths.get(keyspace).map_or(0, |&entries| entries as u64);
            if length < in_tables {
                return differs(format!("approximate_len of keyspace {keyspace} is below what tables hold"));
            }
            if of.strategy == "leveled" && of.levels.iter().any(|level| level.level > 0 && level.runs > 1) {
                return differs(format!("a level of keyspace {keyspace} has several runs"));
            }
            let amplification = of.write_amplification();
            if amplification.is_some_and(|times| times.is_nan() || times < 0.0) {
                return differs(format!(
                    "keyspace {keyspace} has a write amplification of {amplification:?}"
                ));
            }
            let by_levels: u64 = of.levels.iter().map(|level| level.bytes).sum();
            if of.table_bytes() != by_levels {
                return differs(format!("the levels of keyspace {keyspace} do not add up"));
            }
        }
        match at {
            Some(Reader(snapshot)) if snapshot.seqno() > stats.published_seqno => {
                differs(format!("a snapshot at {}, past what is published", snapshot.seqno()))
            }
            _ => Ok(()),
        }
    }

    /// Closes the database.
    ///
    /// # Errors
    /// The engine's.
    pub fn close(self) -> Result<(), Stop> {
        self.database.close().map_err(failed("close"))
    }
}

impl Handle {
    /// One write by its own call.
    ///
    /// # Errors
    /// The engine's.
    pub fn write(&self, write: &Write) -> Result<(), Stop> {
        let done = match write {
            Write::Insert { key, value, .. } => self.0.insert(key, value.bytes()),
            Write::InsertShared { key, value, .. } => self.0.insert_shared(key.clone(), value.bytes()),
            Write::Remove { key, .. } => self.0.remove(key),
            Write::RemoveWeak { key, .. } => self.0.remove_weak(key),
            Write::RemoveRange { bounds, .. } => with_range!(bounds, |range| self.0.remove_range(range)),
        };
        done.map_err(failed("the write"))
    }

    /// Checks that a handle of a dropped keyspace does not pretend to write.
    ///
    /// # Errors
    /// It does.
    pub fn refuses_writes(&self) -> Result<(), Stop> {
        match self.0.insert("written too late", "") {
            Ok(_) => Err(Stop::Differs("a write to a dropped keyspace was acknowledged".into())),
            Err(_) => Ok(()),
        }
    }

    /// Removes every key.
    ///
    /// # Errors
    /// The engine's.
    pub fn clear(&self) -> Result<(), Stop> {
        self.0.clear().map_err(failed("clear"))
    }

    /// Loads sorted entries beside the log; or nearly, and lets go of them.
    ///
    /// # Errors
    /// The engine's.
    pub fn ingest(&self, entries: &[(Slice, Value)], is_finished: bool) -> Result<(), Stop> {
        let load = || {
            let mut ingestion = self.0.ingestion()?;
            for (key, value) in entries {
                ingestion.insert(key, value.bytes())?;
            }
            if is_finished { ingestion.finish() } else { Ok(()) }
        };
        load().map_err(failed("the ingestion"))
    }

    /// Writes the memtables out.
    ///
    /// # Errors
    /// The engine's.
    pub fn flush(&self) -> Result<(), Stop> {
        self.0.flush().map_err(failed("flush"))
    }

    /// Compacts a range.
    ///
    /// # Errors
    /// The engine's.
    pub fn compact(&self, bounds: &Bounds) -> Result<(), Stop> {
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
    pub fn read(&self, reader: Option<&Reader>, read: &Read) -> Result<Answer, Stop> {
        match reader {
            None => self.read_live(read),
            Some(Reader(snapshot)) => self.read_at(snapshot, read),
        }
    }

    fn read_live(&self, read: &Read) -> Result<Answer, Stop> {
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

    fn read_at(&self, snapshot: &Snapshot, read: &Read) -> Result<Answer, Stop> {
        let keyspace = &self.0;
        Ok(match read {
            Read::Get(key) => {
                Answer::Value(snapshot.get(keyspace, key).map_err(failed("get at a snapshot"))?)
            }
            Read::ContainsKey(key) => {
                Answer::Flag(snapshot.contains_key(keyspace, key).map_err(failed("contains_key"))?)
            }
            Read::MultiGet(keys) => {
                Answer::Values(snapshot.multi_get(keyspace, keys).map_err(failed("multi_get"))?)
            }
            Read::First => {
                Answer::Entry(snapshot.first_key_value(keyspace).map_err(failed("first_key_value"))?)
            }
            Read::Last => Answer::Entry(snapshot.last_key_value(keyspace).map_err(failed("last_key_value"))?),
            Read::Len => Answer::Count(snapshot.len(keyspace).map_err(failed("len"))? as u64),
            Read::IsEmpty => Answer::Flag(snapshot.is_empty(keyspace).map_err(failed("is_empty"))?),
            Read::Iter(order) => entries(Box::new(snapshot.iter(keyspace)), *order)?,
            Read::Range(bounds, order) => entries(self.range_at(Some(snapshot), bounds), *order)?,
            Read::Prefix(prefix, order) => entries(Box::new(snapshot.prefix(keyspace, prefix)), *order)?,
            Read::Walk(steps) => walk!(snapshot.cursor(keyspace), steps),
        })
    }
}

fn entries(mut items: Items, order: Order) -> Result<Answer, Stop> {
    Ok(Answer::Entries(take_items(&mut items, usize::MAX, order)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Value;
    use crate::{Call, HookFs};
    use lsm_vfs::MemFs;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    fn write_a_table(handle: &Handle, tag: u64) {
        let value = Value { tag, len: 10 };
        handle.write(&Write::Insert { keyspace: 0, key: Slice::from(tag.to_be_bytes()), value }).unwrap();
        handle.flush().unwrap();
    }

    #[test]
    fn a_flush_between_verifying_and_counting_is_no_difference() {
        let late = Arc::new(Mutex::new(None::<Handle>));
        let armed = Arc::clone(&late);
        let fs = HookFs::new(Arc::new(MemFs::new()), move |call, path| {
            let is_table = path.extension().is_some_and(|extension| extension == "sst");
            let handle = (call == Call::Read && is_table).then(|| armed.lock().unwrap().take()).flatten();
            // While the first table is being verified.
            handle.iter().for_each(|handle| write_a_table(handle, 2));
            Ok(())
        });
        let options = (lsm_tree::Options::default(), lsm_tree::KeyspaceOptions::default());
        let config = Config::on("hooked", Arc::new(fs), Path::new("db"), options.0, options.1);
        let engine = Engine::open(&config).unwrap();
        let handle = engine.keyspace(0, lsm_tree::KeyspaceOptions::default()).unwrap();
        write_a_table(&handle, 1);
        *late.lock().unwrap() = Some(handle);
        engine.check_tables().unwrap();
        assert!(late.lock().unwrap().is_none(), "the flush did not come between");
    }
}
