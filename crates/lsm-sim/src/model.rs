//! [`Model`]: what a `Database` means, in maps. The runner asks it after each
//! operation; it knows nothing of memtables, tables, logs or threads.

use crate::history::History;
use crate::op::Write;
use lsm_types::{KeySpan, SeqNo, Slice};
use std::collections::BTreeMap;

/// The number of a keyspace's life: dropping and creating again gives another.
pub type Incarnation = usize;

/// A database in memory. One write at a time; a batch is one call.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// All seqnos below this one have been written.
    next: SeqNo,
    names: BTreeMap<u8, Incarnation>,
    histories: Vec<History>,
}

/// What a reader sees: a point in time and the keyspaces that lived then.
#[derive(Clone, Debug)]
pub struct ModelSnapshot {
    seqno: SeqNo,
    names: BTreeMap<u8, Incarnation>,
}

impl Model {
    /// An empty database.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the keyspace, or finds it.
    pub fn create(&mut self, keyspace: u8) -> Incarnation {
        if let Some(&found) = self.names.get(&keyspace) {
            return found;
        }
        self.histories.push(History::default());
        let made = self.histories.len() - 1;
        self.names.insert(keyspace, made);
        made
    }

    /// Drops the keyspace; snapshots still see it.
    pub fn drop_keyspace(&mut self, keyspace: u8) {
        self.names.remove(&keyspace);
    }

    /// Whether the keyspace lives.
    #[must_use]
    pub fn has(&self, keyspace: u8) -> bool {
        self.names.contains_key(&keyspace)
    }

    /// The living keyspaces in order.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<u8> {
        self.names.keys().copied().collect()
    }

    /// Applies a batch whole; a write to a keyspace that does not live is skipped.
    pub fn apply(&mut self, writes: &[Write]) {
        for write in writes {
            let seqno = self.next;
            self.next += 1;
            let Some(history) =
                self.names.get(&write.keyspace()).and_then(|&life| self.histories.get_mut(life))
            else {
                continue;
            };
            match write {
                Write::Insert { key, value, .. } | Write::InsertShared { key, value, .. } => {
                    history.put(key.clone(), seqno, Some(value.bytes()));
                }
                Write::Remove { key, .. } | Write::RemoveWeak { key, .. } => {
                    history.put(key.clone(), seqno, None);
                }
                Write::RemoveRange { bounds, .. } => {
                    history.remove_range(bounds.span(), seqno);
                    history.fold();
                }
            }
        }
    }

    /// Removes every key.
    pub fn clear(&mut self, keyspace: u8) {
        let seqno = self.next;
        self.next += 1;
        if let Some(history) = self.names.get(&keyspace).and_then(|&life| self.histories.get_mut(life)) {
            history.remove_range(KeySpan::all(), seqno);
            history.fold();
        }
    }

    /// Whether `remove_weak` keeps its contract now: the key was written at
    /// most once since its last deletion.
    #[must_use]
    pub fn may_remove_weak(&self, keyspace: u8, key: &[u8]) -> bool {
        let history = self.names.get(&keyspace).and_then(|&life| self.histories.get(life));
        history.is_some_and(|history| history.writes_since_deletion(key) <= 1)
    }

    /// The number behind the last commit.
    #[must_use]
    pub const fn end(&self) -> SeqNo {
        self.next
    }

    /// The moment behind the commit that ended at `end`, with the keyspaces of now.
    #[must_use]
    pub fn at(&self, end: SeqNo) -> ModelSnapshot {
        ModelSnapshot { seqno: end, names: self.names.clone() }
    }

    /// Undoes all commits behind `end`, as a crash has done. `unsure` is the end of the
    /// earliest commit whose state looked the same.
    pub fn rewind(&mut self, end: SeqNo, unsure: SeqNo) {
        for history in &mut self.histories {
            history.rewind(end, unsure);
        }
    }

    /// The present moment, to be read again later.
    #[must_use]
    pub fn snapshot(&self) -> ModelSnapshot {
        ModelSnapshot { seqno: self.next, names: self.names.clone() }
    }

    /// One value at `snapshot`.
    #[must_use]
    pub fn get(&self, snapshot: &ModelSnapshot, keyspace: u8, key: &[u8]) -> Option<Slice> {
        self.history(snapshot, keyspace)?.get(key, snapshot.seqno).cloned()
    }

    /// The entries of `span` at `snapshot`, in key order.
    #[must_use]
    pub fn range(&self, snapshot: &ModelSnapshot, keyspace: u8, span: &KeySpan) -> Vec<(Slice, Slice)> {
        let history = self.history(snapshot, keyspace);
        let shown = history.into_iter().flat_map(|history| history.range(span, snapshot.seqno));
        shown.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn history(&self, snapshot: &ModelSnapshot, keyspace: u8) -> Option<&History> {
        self.histories.get(*snapshot.names.get(&keyspace)?)
    }

    /// Forgets what none of the `held` snapshots and no later reader can see.
    pub fn forget<'a>(&mut self, held: impl IntoIterator<Item = &'a ModelSnapshot>) {
        let oldest = held.into_iter().map(|held| held.seqno).min().unwrap_or(self.next);
        for history in &mut self.histories {
            history.forget_below(oldest);
        }
    }
}

impl ModelSnapshot {
    /// The living keyspaces of that time.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<u8> {
        self.names.keys().copied().collect()
    }

    /// Which life of the keyspace it sees.
    #[must_use]
    pub fn incarnation(&self, keyspace: u8) -> Option<Incarnation> {
        self.names.get(&keyspace).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Value;

    fn insert(keyspace: u8, key: &str, tag: u64) -> Write {
        Write::Insert { keyspace, key: key.into(), value: Value { tag, len: 8 } }
    }

    #[test]
    fn a_dropped_keyspace_lives_on_in_snapshots_only() {
        let mut model = Model::new();
        model.create(0);
        model.apply(&[insert(0, "a", 1)]);
        let before = model.snapshot();
        model.drop_keyspace(0);
        assert!(!model.has(0));
        model.create(0);
        model.forget([&before]);
        assert!(model.get(&model.snapshot(), 0, b"a").is_none(), "the new one starts empty");
        assert!(model.get(&before, 0, b"a").is_some());
    }

    #[test]
    fn clear_hides_everything_but_from_snapshots() {
        let mut model = Model::new();
        model.create(0);
        model.apply(&[insert(0, "a", 1), insert(0, "b", 2), insert(1, "c", 3)]);
        let before = model.snapshot();
        model.clear(0);
        assert!(model.range(&model.snapshot(), 0, &KeySpan::all()).is_empty());
        assert_eq!(model.range(&before, 0, &KeySpan::all()).len(), 2);
        assert!(model.may_remove_weak(0, b"a"));
        model.apply(&[insert(0, "a", 4), insert(0, "a", 5)]);
        assert!(!model.may_remove_weak(0, b"a"), "written twice");
    }
}
