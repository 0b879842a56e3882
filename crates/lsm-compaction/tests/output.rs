//! Cutting a stream into real tables: range tombstones at the cuts, tables of
//! tombstones alone, cancelling, a full disk.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;
#[path = "common/engine.rs"]
mod engine;

use engine::Engine;
use lsm_compaction::{Error, GcRules, GcStream, NothingOlder, OutputOptions, write_tables};
use lsm_sstable::{TableWriter, WriterOptions};
use lsm_types::{
    InternalKey, KeySpan, RangeTombstone, RangeTombstoneSet, SeqNo, Slice, ValueKind, VecCursor,
};
use lsm_vfs::MemFs;
use std::path::Path;

fn key(number: u32) -> Slice {
    Slice::from(format!("{number:06}"))
}

fn entries(count: u32) -> Vec<(InternalKey<Slice>, Slice)> {
    let entry = |number| {
        (InternalKey::new(key(number), SeqNo::from(number) + 10, ValueKind::Value), Slice::from(vec![7; 200]))
    };
    (0..count).map(entry).collect()
}

/// Keeps everything: nothing is published yet.
fn keep_all() -> GcRules {
    GcRules::default()
}

#[test]
fn a_range_tombstone_over_all_tables_is_in_each_and_they_do_not_overlap() {
    let mut engine = Engine::new(16 << 10);
    engine.rules = keep_all();
    let tombstones = vec![
        RangeTombstone { span: KeySpan::all(), seqno: 5 },
        RangeTombstone { span: KeySpan { start: key(100), end: Some(key(900)) }, seqno: 7 },
    ];
    engine.flush(entries(1000), tombstones.clone());
    // `Run::new` has checked that the tables are disjoint.
    let [run] = engine.version.level(0).runs() else { panic!("one flush is one run") };
    assert!(run.tables().len() > 10);
    let mut all = Vec::new();
    let mut reached = Some(Slice::empty());
    for table in run.tables() {
        assert_eq!(Some(&table.span().start), reached.as_ref(), "a key between two tables is not deleted");
        reached.clone_from(&table.span().end);
        let set = table.table().expect("it opens").range_tombstones().clone();
        for part in set.iter() {
            assert!(part.clip(table.span()).as_ref() == Some(&part), "{part:?} leaves its table");
            all.push(part);
        }
    }
    assert_eq!(reached, None, "the last key is deleted too");
    let (parts, whole) = (RangeTombstoneSet::new(all), RangeTombstoneSet::new(tombstones));
    for number in 0..1000 {
        for snapshot in [0, 6, 8] {
            let key = key(number);
            assert_eq!(parts.newest_covering(&key, snapshot), whole.newest_covering(&key, snapshot));
        }
    }
}

#[test]
fn range_tombstones_alone_make_a_table_and_nothing_makes_none() {
    let mut engine = Engine::new(16 << 10);
    engine.rules = keep_all();
    engine.flush(vec![], vec![]);
    assert_eq!(engine.version.table_count(), 0);
    engine.flush(vec![], vec![RangeTombstone { span: KeySpan::prefix(b"a"), seqno: 5 }]);
    assert_eq!(engine.version.table_count(), 1);
}

#[test]
fn all_versions_of_a_key_lie_in_one_table() {
    let mut engine = Engine::new(4 << 10);
    engine.rules = keep_all();
    let version = |seqno| (InternalKey::new(key(1), seqno, ValueKind::Value), Slice::from(vec![7; 200]));
    let mut all = entries(100);
    all.extend((1000..1500).map(version));
    engine.flush(all, vec![]);
    let holders = engine.version.tables().filter(|(_, table)| table.span().contains(&key(1))).count();
    assert_eq!(holders, 1);
}

/// Writes onto `fs`; every file there is one that the caller has to remove.
fn write(fs: &MemFs, cancelled: &dyn Fn() -> bool) -> Result<usize, Error> {
    let mut stream =
        GcStream::new(VecCursor::new(entries(5000)), RangeTombstoneSet::default(), &keep_all(), NothingOlder);
    let mut number = 0;
    let mut sink = || {
        number += 1;
        let path = format!("{number}");
        Ok((number, TableWriter::create(fs, Path::new(&path), number, &WriterOptions::default())?))
    };
    Ok(write_tables(&mut stream, &mut sink, &OutputOptions::new(16 << 10, 0), cancelled)?.len())
}

#[test]
fn a_cancelled_job_ends_soon() {
    let asked = std::cell::Cell::new(0);
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 2
    };
    assert!(matches!(write(&MemFs::new(), &cancelled), Err(Error::Cancelled)));
    assert_eq!(asked.get(), 3);
}

#[test]
fn a_full_disk_is_reported_as_such() {
    let fs = MemFs::new();
    fs.set_capacity(20 << 10);
    match write(&fs, &|| false) {
        Err(Error::Table(lsm_sstable::Error::Io(error))) => assert!(error.is_disk_full()),
        other => panic!("{other:?}"),
    }
}
