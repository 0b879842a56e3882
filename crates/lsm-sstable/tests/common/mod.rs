//! What the tests of this crate share: tables from lists of entries, and seeds.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails should stop there")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use lsm_sstable::{Table, TableContext, TableMeta, TableWriter, WriterOptions};
use lsm_types::{InternalKey, RangeTombstone, SeqNo, Slice, ValueKind};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;
use std::sync::Arc;

pub(crate) const PATH: &str = "00000000000000000001.sst";
pub(crate) const UID: u64 = 0x1234_5678_9abc_def0;

pub(crate) type Entry = (InternalKey<Slice>, Slice);

pub(crate) fn entry(key: impl AsRef<[u8]>, seqno: SeqNo, kind: ValueKind, value: impl AsRef<[u8]>) -> Entry {
    let key = InternalKey::new(Slice::copy_from(key.as_ref()), seqno, kind);
    (key, Slice::copy_from(value.as_ref()))
}

pub(crate) fn value(key: impl AsRef<[u8]>, seqno: SeqNo, value: impl AsRef<[u8]>) -> Entry {
    entry(key, seqno, ValueKind::Value, value)
}

/// Sorts the entries and drops all but the first of equal ones.
pub(crate) fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries.dedup_by(|a, b| a.0 == b.0);
    entries
}

pub(crate) fn write(
    fs: &dyn Fs,
    entries: &[Entry],
    tombstones: &[RangeTombstone],
    options: &WriterOptions,
) -> TableMeta {
    let mut writer = TableWriter::create(fs, Path::new(PATH), UID, options).unwrap();
    for tombstone in tombstones {
        writer.add_range_tombstone(tombstone).unwrap();
    }
    for (key, value) in entries {
        writer.add(key.as_borrowed(), value).unwrap();
    }
    writer.finish(1_700_000_000_000).unwrap()
}

/// A table in memory with a cache of `cache_bytes`.
pub(crate) fn table(
    entries: &[Entry],
    tombstones: &[RangeTombstone],
    options: &WriterOptions,
    cache_bytes: u64,
) -> Arc<Table> {
    let fs = Arc::new(MemFs::new());
    let meta = write(&*fs, entries, tombstones, options);
    let context = TableContext::new(fs, cache_bytes, 10);
    Arc::new(Table::open(&context, PATH.into(), 1, &meta).unwrap())
}

/// The newest entry of `key` below `snapshot`, by looking at all.
pub(crate) fn model_get<'a>(entries: &'a [Entry], key: &[u8], snapshot: SeqNo) -> Option<&'a Entry> {
    entries.iter().find(|(k, _)| k.user_key == key && k.seqno() < snapshot)
}

/// The seed of this run: `LSM_SEED`, or a fresh one. Printed, so that a failure can
/// be replayed.
pub(crate) fn seed() -> u64 {
    let fresh = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        lsm_vfs::mix64(now.as_nanos() as u64)
    };
    let seed = std::env::var("LSM_SEED").map_or_else(|_| fresh(), |text| text.parse().unwrap());
    println!("replay with LSM_SEED={seed}");
    seed
}
