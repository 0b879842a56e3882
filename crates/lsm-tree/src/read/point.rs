//! One key: active memtable, sealed memtables, then the levels, newest data first.

use super::unsupported_kind;
use crate::{Error, Result};
use lsm_memtable::{Memtable, ValueRef};
use lsm_merge::expiry;
use lsm_sstable::{Found, key_hash};
use lsm_types::{SeqNo, Slice, ValueKind};
use lsm_version::{Level, SuperVersion, TableHandle};

/// In so many runs the table is looked up before the memtables are searched.
const NEAR_RUNS: usize = 6;

/// What the newest visible entry says.
enum Answer<T> {
    Value(T),
    Deleted,
}

/// The value of `key` at `snapshot`. The caller made sure that `version` is exact
/// for it.
pub(crate) fn get(
    version: &SuperVersion,
    key: &[u8],
    snapshot: SeqNo,
    now_ms: impl Fn() -> u64,
) -> Result<Option<Slice>> {
    let take = |kind, value: ValueRef<'_>| -> Result<Answer<Slice>> {
        match kind {
            ValueKind::Value => Ok(Answer::Value(value.to_slice())),
            _ => uncommon(kind, value.as_bytes(), now_ms(), Slice::copy_from),
        }
    };
    let hash = key_hash(key);
    let runs = version.tables.levels().iter().flat_map(Level::runs);
    // What was written after an old snapshot is passed over whole.
    let is_old_enough = |table: &&TableHandle| table.meta().lowest_seqno < snapshot;
    let mut candidates = runs.filter_map(|run| run.find(key)).map(AsRef::as_ref).filter(is_old_enough);
    // While the memtables are searched, the filters' lines are on their way.
    let near: [_; NEAR_RUNS] = std::array::from_fn(|_| {
        let table = candidates.next()?;
        table.opened().inspect(|table| table.prefetch(hash));
        Some(table)
    });
    let mut deleted_below: SeqNo = 0;
    let sealed = version.sealed.iter().map(|sealed| &sealed.memtable);
    let memtables = std::iter::once(&version.active).chain(sealed);
    for memtable in memtables.filter(|memtable| memtable.may_show(snapshot)) {
        match in_memtable(memtable, key, hash, snapshot, &mut deleted_below, take)? {
            Some(Answer::Value(value)) => return Ok(Some(value)),
            Some(Answer::Deleted) => return Ok(None),
            None => {}
        }
    }
    for table in near.into_iter().flatten().chain(candidates) {
        if let Some(found) = in_table(table, key, hash, snapshot, &mut deleted_below)? {
            return from_table(found, deleted_below, now_ms);
        }
    }
    Ok(None)
}

fn in_memtable<T>(
    memtable: &Memtable,
    key: &[u8],
    hash: u64,
    snapshot: SeqNo,
    deleted_below: &mut SeqNo,
    take: impl Fn(ValueKind, ValueRef<'_>) -> Result<Answer<T>>,
) -> Result<Option<Answer<T>>> {
    if let Some(seqno) = memtable.range_tombstone_over(key, snapshot) {
        *deleted_below = (*deleted_below).max(seqno);
    }
    if !memtable.may_hold(hash) {
        return Ok(None);
    }
    let bound = *deleted_below;
    let found =
        memtable.get(
            key,
            snapshot,
            |seqno, kind, value| {
                if seqno < bound { Ok(Answer::Deleted) } else { take(kind, value) }
            },
        );
    found.transpose()
}

fn in_table(
    table: &TableHandle,
    key: &[u8],
    hash: u64,
    snapshot: SeqNo,
    deleted_below: &mut SeqNo,
) -> Result<Option<Found>> {
    if table.meta().highest_seqno < *deleted_below {
        // All of it is older than a range tombstone over the key.
        return Ok(None);
    }
    let has_range_tombstones = table.meta().range_tombstones > 0;
    let table = table.table()?;
    if has_range_tombstones && let Some(seqno) = table.range_tombstones().newest_covering(key, snapshot) {
        *deleted_below = (*deleted_below).max(seqno);
    }
    Ok(table.get(key, hash, snapshot)?)
}

fn from_table(found: Found, deleted_below: SeqNo, now_ms: impl Fn() -> u64) -> Result<Option<Slice>> {
    if found.seqno < deleted_below {
        return Ok(None);
    }
    if found.kind == ValueKind::Value {
        return Ok(Some(found.value));
    }
    let shared = |bytes: &[u8]| {
        let start = found.value.len() - bytes.len();
        found.value.get_slice(start..).unwrap_or_default()
    };
    match uncommon(found.kind, &found.value, now_ms(), shared)? {
        Answer::Value(value) => Ok(Some(value)),
        Answer::Deleted => Ok(None),
    }
}

/// All kinds but `Value`. `take` gets the application's part of the stored bytes,
/// which is their end.
fn uncommon<T>(
    kind: ValueKind,
    stored: &[u8],
    now_ms: u64,
    take: impl FnOnce(&[u8]) -> T,
) -> Result<Answer<T>> {
    match kind {
        ValueKind::Tombstone | ValueKind::WeakTombstone => Ok(Answer::Deleted),
        ValueKind::ExpiringValue => match expiry::split(stored) {
            Some((expires_ms, value)) if expires_ms > now_ms => Ok(Answer::Value(take(value))),
            Some(_) => Ok(Answer::Deleted),
            None => Err(Error::invalid("an expiring value is shorter than its expiry")),
        },
        ValueKind::Value => Ok(Answer::Value(take(stored))),
        ValueKind::MergeOperand | ValueKind::RangeTombstone | ValueKind::BlobPointer => {
            Err(unsupported_kind(kind))
        }
    }
}
