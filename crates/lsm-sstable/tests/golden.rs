//! The bytes of a table are a promise. `LSM_GOLDEN=write` rewrites the files, which
//! only a new format version may do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test whose set-up fails should stop there")]

mod common;

use common::{Entry, PATH, entry, value, write};
use lsm_sstable::{Compression, ReadOptions, Table, TableContext, WriterOptions};
use lsm_types::{Cursor, KeyRange, RangeTombstone, RangeTombstoneSet, ValueKind};
use lsm_vfs::{Fs, MemFs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = (0..30_u8).map(|i| value(format!("fixed{i:03}"), 0, [i; 20])).collect();
    for (at, kind) in ValueKind::ALL.into_iter().filter(|&k| k != ValueKind::RangeTombstone).enumerate() {
        let seqno = 100 - at as u64;
        entries.push(entry("kinds", seqno, kind, if kind.is_tombstone() { &[][..] } else { b"12345678v" }));
    }
    entries.extend((1..40).rev().map(|seqno| value("versions", seqno, vec![b'v'; seqno as usize])));
    entries.push(value("wide", 7, vec![b'w'; 70_000]));
    entries.push(value("wider", 7, ""));
    entries
}

fn tombstones() -> Vec<RangeTombstone> {
    vec![
        RangeTombstone { span: ("a".."c").to_span(), seqno: 50 },
        RangeTombstone { span: ("x"..).to_span(), seqno: 60 },
    ]
}

fn check(name: &str, compression: Compression, same_bytes: bool) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let options = WriterOptions { block_bytes: 512, compression, filter_bits_per_key: 10.0 };
    let fs = MemFs::new();
    write(&fs, &entries(), &tombstones(), &options);
    let written = fs.read_to_vec(Path::new(PATH), 1 << 20).unwrap();
    if std::env::var("LSM_GOLDEN").is_ok_and(|mode| mode == "write") {
        std::fs::write(&path, &written).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    if same_bytes {
        assert!(golden == written, "{name}: the writer no longer writes the bytes of version 1");
    }

    let fs = MemFs::new();
    fs.create_new(Path::new(PATH)).unwrap().write_all_at(&golden, 0).unwrap();
    let context = TableContext::new(Arc::new(fs), 0, 1);
    let meta = Table::read_meta(&context, Path::new(PATH)).unwrap();
    let table = Arc::new(Table::open(&context, PATH.into(), 1, &meta).unwrap());
    table.verify().unwrap();
    assert_eq!(table.range_tombstones(), &RangeTombstoneSet::new(tombstones()));
    let mut cursor = table.cursor(ReadOptions::default());
    cursor.seek_to_first().unwrap();
    for (key, value) in entries() {
        let (got, kind) = (cursor.key(), cursor.key().kind());
        assert_eq!((got, kind, cursor.value()), (key.as_borrowed(), key.kind(), value.as_bytes()));
        cursor.next().unwrap();
    }
    assert!(!cursor.valid());
}

#[test]
fn version_1_is_written_and_read_as_ever() {
    check("v1-plain.sst", Compression::None, true);
}

#[test]
fn version_1_with_lz4_is_read_as_ever() {
    // What the compressor makes of the same bytes is not part of the promise.
    check("v1-lz4.sst", Compression::Lz4, false);
}

#[test]
fn version_1_with_snappy_is_read_as_ever() {
    check("v1-snappy.sst", Compression::Snappy, false);
}
