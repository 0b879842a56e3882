//! The arena of models: each record is a cell whose accesses loom watches, so that
//! a reader who gets a name without its bytes is found out. Same face as `real`.

#![expect(unsafe_code, reason = "the very accesses that the models watch")]

use super::RecordRef;
use crate::ValueRef;
use crate::index::NewValue;
use lsm_sync::cell::UnsafeCell;
use lsm_types::{InternalKey, Slice};
use std::sync::Arc;

/// More than any model inserts.
const RECORDS: usize = 32;

#[derive(Debug)]
struct Record {
    key: InternalKey<Slice>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Copied(Vec<u8>),
    Shared(Slice),
}

#[derive(Debug)]
struct Records(Vec<UnsafeCell<Option<Record>>>);

/// Reads records.
#[derive(Debug)]
pub(crate) struct Arena(Arc<Records>);

/// The right to add records.
#[derive(Debug)]
pub(crate) struct ArenaWriter {
    records: Arc<Records>,
    used: usize,
}

// SAFETY: a cell is written once, by the one writer, before its name is handed out;
// that readers come after is what loom checks at each access.
unsafe impl Send for Records {}
// SAFETY: as above.
unsafe impl Sync for Records {}

/// Models keep nothing for later.
#[derive(Debug)]
pub(crate) struct Spare;

impl Spare {
    pub(crate) fn new(_: bool) -> Self {
        Self
    }

    pub(crate) fn clear(&self) {}

    pub(crate) fn is_wanted(&self) -> bool {
        false
    }

    pub(crate) fn bytes(&self) -> usize {
        0
    }
}

/// An empty arena and the one writer it will ever have.
pub(crate) fn new(_: &Arc<Spare>) -> (Arena, ArenaWriter) {
    let records = Arc::new(Records((0..RECORDS).map(|_| UnsafeCell::new(None)).collect()));
    (Arena(Arc::clone(&records)), ArenaWriter { records, used: 0 })
}

impl ArenaWriter {
    pub(crate) fn push(&mut self, key: InternalKey<&[u8]>, value: NewValue<'_>) -> RecordRef {
        let value = match value {
            NewValue::Copied(bytes) => Value::Copied(bytes.to_vec()),
            NewValue::Shared(slice) => Value::Shared(slice),
        };
        let record = Record { key: key.to_owned_key(), value };
        // SAFETY: the cell was never handed out; loom checks that nobody is in it.
        self.records.0[self.used].with_mut(|cell| unsafe { *cell = Some(record) });
        // Name 0 is left to slots that nobody stored to.
        self.used += 1;
        RecordRef(self.used as u32)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.used
    }
}

impl Arena {
    /// # Safety
    /// None in a model: loom checks what `real` relies on.
    pub(crate) unsafe fn key(&self, record: RecordRef) -> InternalKey<&[u8]> {
        self.record(record).key.as_borrowed()
    }

    /// # Safety
    /// None in a model: loom checks what `real` relies on.
    pub(crate) unsafe fn value(&self, record: RecordRef) -> ValueRef<'_> {
        match &self.record(record).value {
            Value::Copied(bytes) => ValueRef::Inline(bytes),
            Value::Shared(slice) => ValueRef::Shared(slice),
        }
    }

    /// Nothing to do in a model.
    pub(crate) fn bring_in(&self, _record: RecordRef) {}

    fn record(&self, RecordRef(name): RecordRef) -> &Record {
        assert_ne!(name, 0, "a slot was read before a record was stored there");
        // SAFETY: the cell was written before its name was handed out, or loom stops here.
        let record = self.0.0[name as usize - 1].with(|cell| unsafe { &*cell });
        match record {
            Some(record) => record,
            None => unreachable!("record {name} was never written"),
        }
    }
}
