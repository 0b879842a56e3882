//! [`run_tree_script`]: does what a tree script says, to a `Tree` and to a [`History`],
//! and compares. Every call of `lsm_tree::Tree` by scripts stands in this file.

use crate::answer::{Answer, difference};
use crate::config::Config;
use crate::engine::{BadItems, Items, Stop, take_items, with_range};
use crate::history::History;
use crate::read::{Order, Read};
use crate::runner::{Difference, guarded};
use crate::text::Bounds;
use crate::tree_op::TreeOp;
use lsm_tree::{Error, Leveled, Tree, TreeOptions};
use lsm_types::{KeySpan, SeqNo, Slice};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Runs `ops` against a fresh tree; the number of operations done.
///
/// # Errors
/// The first difference; a panic of the engine is one too.
pub fn run_tree_script(config: &Config, ops: &[TreeOp]) -> Result<usize, Difference> {
    guarded(ops, |at| {
        config.start_afresh().map_err(|stop| stop.to_string())?;
        let mut runner = TreeRunner {
            config,
            tree: None,
            history: History::default(),
            flushed: History::default(),
            highest: None,
            rotated: None,
            persisted: None,
            watermark: 0,
            weak_floors: BTreeMap::new(),
            replaced: BTreeSet::new(),
        };
        runner.reopen()?;
        for (index, op) in ops.iter().enumerate() {
            *at = index;
            runner.step(op)?;
        }
        *at = ops.len();
        runner.verify()?;
        runner.flush(runner.watermark)?;
        runner.reopen()?;
        runner.verify()?;
        Ok(ops.len())
    })
}

/// One tree under one script.
struct TreeRunner<'a> {
    config: &'a Config,
    tree: Option<Tree>,
    /// All writes.
    history: History,
    /// Those that were flushed and survive a reopen.
    flushed: History,
    /// The greatest number written, and that of the last rotation and flush.
    highest: Option<SeqNo>,
    rotated: Option<SeqNo>,
    persisted: Option<SeqNo>,
    /// Below it, answers may be refused.
    watermark: SeqNo,
    /// Keys under a weak tombstone take no older numbers any more.
    weak_floors: BTreeMap<Slice, SeqNo>,
    /// Keys of which one number was written twice.
    replaced: BTreeSet<Slice>,
}

fn words(error: Error) -> String {
    format!("{error} ({error:?})")
}

impl<'a> TreeRunner<'a> {
    fn tree(&self) -> Result<&Tree, String> {
        self.tree.as_ref().ok_or_else(|| "the tree is not open".into())
    }

    fn step(&mut self, op: &TreeOp) -> Result<(), String> {
        match op {
            TreeOp::Insert { key, value, seqno } => {
                let (shared, value) = (value.tag % 2 == 0, value.bytes());
                self.put(key, *seqno, Some(value.clone()), |tree| {
                    if shared {
                        tree.insert_shared(key.clone(), value, *seqno)
                    } else {
                        tree.insert(key, value, *seqno)
                    }
                })
            }
            TreeOp::Remove { key, seqno } => {
                self.put(key, *seqno, None, |tree| tree.remove(key, *seqno).map(drop))
            }
            TreeOp::RemoveWeak { key, seqno } => self.remove_weak(key, *seqno),
            // Whether an empty range uses up its number is nobody's business.
            TreeOp::RemoveRange { bounds, .. } if bounds.span().is_empty() => Ok(()),
            TreeOp::RemoveRange { bounds, seqno } => {
                let done = with_range!(bounds, |range| self.tree()?.remove_range(range, *seqno).map(drop));
                if self.accepted(*seqno, done)? {
                    self.history.remove_range(bounds.span(), *seqno);
                    self.highest = self.highest.max(Some(*seqno));
                }
                Ok(())
            }
            TreeOp::Get { key, snapshot } => {
                let expected = Answer::Value(self.history.get(key, *snapshot).cloned());
                self.check(*snapshot, &expected, self.tree()?.get(key, *snapshot).map(Answer::Value))?;
                let expected = Answer::Flag(self.history.get(key, *snapshot).is_some());
                self.check(*snapshot, &expected, self.tree()?.contains_key(key, *snapshot).map(Answer::Flag))
            }
            TreeOp::Range { bounds, order, snapshot } => self.range(bounds, *order, *snapshot),
            TreeOp::Prefix { prefix, order, snapshot } => {
                let items = Box::new(self.tree()?.prefix(prefix, *snapshot));
                self.items(&KeySpan::prefix(prefix), *order, *snapshot, items)
            }
            TreeOp::First { snapshot } => self.ends(*snapshot),
            TreeOp::Len { snapshot } => self.count(*snapshot),
            TreeOp::Version { snapshot } => match self.tree()?.version_for_snapshot(*snapshot) {
                Err(Error::SnapshotTooOld { .. }) if *snapshot < self.watermark => Ok(()),
                Err(error) => Err(words(error)),
                Ok(_) => Ok(()),
            },
            TreeOp::Rotate => {
                self.tree()?.rotate();
                self.note_rotation();
                Ok(())
            }
            TreeOp::Flush { watermark } => self.flush(*watermark),
            TreeOp::Compact { watermark } => {
                self.raise(*watermark);
                self.tree()?.compact(&Leveled::default(), *watermark).map_err(words)?;
                Ok(())
            }
            TreeOp::Major { watermark } => {
                self.raise(*watermark);
                self.tree()?.major_compact(*watermark).map_err(words)?;
                Ok(())
            }
            TreeOp::Reopen => self.reopen(),
            TreeOp::Verify => self.verify(),
        }
    }

    /// Both ends, and whether there are any.
    fn ends(&self, snapshot: SeqNo) -> Result<(), String> {
        let entry = |(key, value): (&Slice, &Slice)| (key.clone(), value.clone());
        let everything = KeySpan::all();
        let all = || self.history.range(&everything, snapshot);
        let tree = self.tree()?;
        let (first, last) = (all().next().map(entry), all().next_back().map(entry));
        let is_empty = Answer::Flag(first.is_none());
        self.check(snapshot, &Answer::Entry(first), tree.first_key_value(snapshot).map(Answer::Entry))?;
        self.check(snapshot, &Answer::Entry(last), tree.last_key_value(snapshot).map(Answer::Entry))?;
        self.check(snapshot, &is_empty, tree.is_empty(snapshot).map(Answer::Flag))
    }

    /// The number of keys, counted in three ways.
    fn count(&self, snapshot: SeqNo) -> Result<(), String> {
        let expected = Answer::Count(self.history.range(&KeySpan::all(), snapshot).count() as u64);
        let tree = self.tree()?;
        let walked = || {
            let mut cursor = tree.cursor(snapshot);
            let mut count = 0;
            cursor.seek_to_first()?;
            while cursor.valid() {
                count += 1;
                cursor.next()?;
            }
            Ok(count)
        };
        let iterated = tree.iter(snapshot).try_fold(0, |count, item| item.map(|_| count + 1));
        self.check(snapshot, &expected, tree.len(snapshot).map(|len| Answer::Count(len as u64)))?;
        self.check(snapshot, &expected, iterated.map(Answer::Count))?;
        self.check(snapshot, &expected, walked().map(Answer::Count))
    }

    /// What the tree says about itself fits together.
    fn check_counters(&self) -> Result<(), String> {
        let tree = self.tree()?;
        let by_level: usize = tree.level_table_counts().iter().sum();
        let sealed = tree.sealed_memtable_count();
        let fits = by_level == tree.table_count()
            && (tree.table_count() == 0) == (tree.disk_space() == 0)
            && (sealed == 0 || tree.memtable_bytes() > 0);
        if fits {
            return Ok(());
        }
        Err(format!("{by_level} tables by level, {} in all, {sealed} sealed memtables", tree.table_count()))
    }

    fn raise(&mut self, watermark: SeqNo) {
        self.watermark = self.watermark.max(watermark);
    }

    fn note_rotation(&mut self) {
        self.rotated = self.highest;
        self.history.fold();
    }

    /// Whether the write was taken, and rightly so.
    fn accepted(&self, seqno: SeqNo, done: Result<(), Error>) -> Result<bool, String> {
        let too_old = self.rotated.is_some_and(|rotated| seqno < rotated);
        match done {
            Ok(()) if too_old => {
                Err(format!("a write at {seqno}, below the last rotation's {:?}, was taken", self.rotated))
            }
            Ok(()) => Ok(true),
            Err(Error::InvalidArgument(_)) if too_old => Ok(false),
            Err(error) => Err(words(error)),
        }
    }

    fn put(
        &mut self,
        key: &Slice,
        seqno: SeqNo,
        value: Option<Slice>,
        write: impl FnOnce(&Tree) -> Result<(), Error>,
    ) -> Result<(), String> {
        if self.weak_floors.get(key).is_some_and(|&floor| seqno <= floor) {
            return Ok(());
        }
        if self.accepted(seqno, write(self.tree()?))? {
            if self.history.put(key.clone(), seqno, value) {
                self.replaced.insert(key.clone());
            }
            self.highest = self.highest.max(Some(seqno));
        }
        Ok(())
    }

    fn remove_weak(&mut self, key: &Slice, seqno: SeqNo) -> Result<(), String> {
        let newest = self.history.newest_seqno(key).is_none_or(|newest| newest < seqno);
        // A replaced entry may still lie in an older source: the key was written twice.
        let once = self.history.writes_since_newest_deletion(key) <= 1 && !self.replaced.contains(key);
        let legal = newest && once;
        if !legal {
            return Ok(());
        }
        self.put(key, seqno, None, |tree| tree.remove_weak(key, seqno).map(drop))?;
        self.weak_floors.insert(key.clone(), seqno);
        Ok(())
    }

    fn range(&self, bounds: &Bounds, order: Order, snapshot: SeqNo) -> Result<(), String> {
        let tree = self.tree()?;
        let items: Items = with_range!(bounds, |range| Box::new(tree.range(range, snapshot)));
        self.items(&bounds.span(), order, snapshot, items)
    }

    fn items(&self, span: &KeySpan, order: Order, snapshot: SeqNo, items: Items) -> Result<(), String> {
        let entries: Vec<_> =
            self.history.range(span, snapshot).map(|(key, value)| (key.clone(), value.clone())).collect();
        let expected = Answer::expected(&entries, &Read::Iter(order));
        let mut items = items;
        match take_items(&mut items, usize::MAX, order).map(Answer::Entries) {
            Ok(got) => self.check(snapshot, &expected, Ok(got)),
            Err(BadItems::Failed(error)) => self.check(snapshot, &expected, Err(error)),
            Err(bad) => Err(Stop::from(bad).to_string()),
        }
    }

    /// Right answers only; below the watermark a refusal is right too.
    fn check(&self, snapshot: SeqNo, expected: &Answer, got: Result<Answer, Error>) -> Result<(), String> {
        match got {
            Ok(got) if got == *expected => Ok(()),
            Ok(got) => Err(format!("at {snapshot}: {}", difference(expected, &got))),
            Err(Error::SnapshotTooOld { .. }) if snapshot < self.watermark => Ok(()),
            Err(error) => Err(words(error)),
        }
    }

    fn flush(&mut self, watermark: SeqNo) -> Result<(), String> {
        self.tree()?.rotate();
        self.note_rotation();
        self.raise(watermark);
        self.tree()?.flush(watermark).map_err(words)?;
        self.flushed = self.history.clone();
        self.persisted = self.highest;
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), String> {
        self.tree = None;
        let options = TreeOptions::default().tables(self.config.keyspace.clone());
        let mut options = options.cache_size(1 << 20).max_open_files(8);
        options.advanced().fs(std::sync::Arc::clone(self.config.fs()));
        self.tree = Some(options.open(self.config.dir()).map_err(words)?);
        self.history = self.flushed.clone();
        (self.highest, self.rotated) = (self.persisted, self.persisted);
        Ok(())
    }

    /// Compares everything at every snapshot that may differ, and the counters.
    fn verify(&self) -> Result<(), String> {
        let tree = self.tree()?;
        if tree.highest_seqno() != self.highest {
            return Err(format!(
                "highest_seqno: expected {:?}, got {:?}",
                self.highest,
                tree.highest_seqno()
            ));
        }
        if tree.highest_persisted_seqno() != self.persisted {
            return Err(format!(
                "highest_persisted_seqno: expected {:?}, got {:?}",
                self.persisted,
                tree.highest_persisted_seqno()
            ));
        }
        self.check_counters()?;
        let highest = self.highest.unwrap_or(0);
        let first = highest.saturating_sub(30);
        for snapshot in (first..=highest + 2).chain([0, self.watermark, SeqNo::MAX]) {
            self.range(&Bounds::all(), Order::Forward, snapshot)?;
            self.range(&Bounds::all(), Order::Reverse, snapshot)?;
        }
        Ok(())
    }
}
