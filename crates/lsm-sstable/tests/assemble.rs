//! Tables whose blocks were laid out apart from their writer, and tables that were given
//! their number afterwards.

#![allow(clippy::unwrap_used, reason = "a test stops where things are not as they should be")]

mod common;

use common::{PATH, UID};
use lsm_sstable::{
    BlockAssembler, BuiltBlocks, Compression, Error, NotAdded, ReadOptions, Table, TableContext, TableMeta,
    TableWriter, WriterOptions, key_hash,
};
use lsm_types::{Cursor, InternalKey, SeqNo, ValueKind};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;
use std::sync::Arc;

type Entry = (Vec<u8>, Vec<u8>);

/// Keys of two lengths, values of many, one of them longer than a block.
fn entries(count: u32) -> Vec<Entry> {
    let value = |i: u32| vec![i as u8; if i == 777 { 9000 } else { (i % 90) as usize }];
    let key = |i: u32| {
        if i.is_multiple_of(3) { format!("k{i:06}x").into_bytes() } else { format!("k{i:06}").into_bytes() }
    };
    (0..count).map(|i| (key(i), value(i))).collect()
}

/// Writes `entries` by an assembler; every other load is compressed before it is appended.
fn assemble(fs: &dyn Fs, entries: &[Entry], options: &WriterOptions) -> TableMeta {
    let mut writer = TableWriter::create(fs, Path::new(PATH), UID, options).unwrap();
    let mut append = |built: &BuiltBlocks| {
        let mut at = 0;
        while writer.append(built, at).unwrap() {
            at += 1;
        }
        assert_eq!(at, built.len());
    };
    let mut front = BlockAssembler::new(options);
    let (mut spare, mut loads) = (BuiltBlocks::default(), 0);
    for (key, value) in entries {
        front.add(key, value).unwrap();
        if front.has_load() {
            let mut built = front.take(spare);
            loads += 1;
            if u32::is_multiple_of(loads, 2) {
                built.compress(options.compression);
            }
            append(&built);
            spare = built;
        }
    }
    assert!(loads > 2 || entries.len() < 1000, "one load proves little");
    append(&front.finish());
    writer.finish(0).unwrap()
}

#[test]
fn a_table_of_assembled_blocks_is_the_table_that_its_writer_makes_alone() {
    for compression in [Compression::None, Compression::Lz4] {
        for (filter_bits_per_key, count) in [(10.0, 20_000), (0.0, 20_000), (10.0, 1), (10.0, 40)] {
            let options = WriterOptions { compression, filter_bits_per_key, ..WriterOptions::default() };
            let entries = entries(count);
            let (fs, alone) = (MemFs::new(), MemFs::new());
            let meta = assemble(&fs, &entries, &options);
            let mut writer = TableWriter::create(&alone, Path::new(PATH), UID, &options).unwrap();
            for (key, value) in &entries {
                writer.add(InternalKey::new(key, 0, ValueKind::Value), value).unwrap();
            }
            assert_eq!(meta, writer.finish(0).unwrap());
            let bytes = |fs: &MemFs| fs.read_to_vec(Path::new(PATH), 1 << 30).unwrap();
            assert!(bytes(&fs) == bytes(&alone), "{compression}, {count} entries");
        }
    }
}

#[test]
fn keys_that_do_not_ascend_are_refused_and_leave_no_trace() {
    let mut front = BlockAssembler::new(&WriterOptions::default());
    front.add(b"", b"the empty key").unwrap();
    assert_eq!(front.add(b"", b""), Err(NotAdded::Order));
    front.add(b"b", b"1").unwrap();
    for wrong in [b"b".as_slice(), b"a", b""] {
        assert_eq!(front.add(wrong, b"2"), Err(NotAdded::Order));
    }
    assert!(matches!(front.add(&[b'c'; 1 << 16], b""), Err(NotAdded::Limit(_))));
    assert_eq!(front.last_key(), Some(b"b".as_slice()));
    front.add(b"c", b"3").unwrap();

    let fs = MemFs::new();
    let mut writer = TableWriter::create(&fs, Path::new(PATH), UID, &WriterOptions::default()).unwrap();
    let built = front.finish();
    assert!(writer.append(&built, 0).unwrap());
    assert!(matches!(writer.append(&built, 0), Err(Error::OutOfOrder { .. })), "the same block twice");
    assert!(!writer.append(&built, 1).unwrap());
    assert_eq!(writer.finish(0).unwrap().entries, 3);
}

#[test]
fn a_table_shows_the_number_that_it_was_given() {
    let fs = Arc::new(MemFs::new());
    let entries = entries(20_000);
    let meta = assemble(&*fs, &entries, &WriterOptions::default()).renumbered(77).unwrap();
    assert_eq!((meta.lowest_seqno, meta.highest_seqno), (77, 77));
    let context = TableContext::new(fs, 1 << 20, 10);
    let table = Arc::new(Table::open(&context, PATH.into(), 1, &meta).unwrap());
    assert_eq!(table.meta(), &meta);
    assert_eq!(table.verify().unwrap().entries, 20_000);
    for (key, value) in entries.iter().step_by(97) {
        let get = |snapshot| table.get(key, key_hash(key), snapshot).unwrap();
        assert_eq!(get(77), None, "older snapshots see nothing");
        let found = get(78).unwrap();
        assert_eq!((found.seqno, found.kind, &*found.value), (77, ValueKind::Value, value.as_slice()));
    }
    let mut cursor = table.cursor(ReadOptions::default());
    cursor.seek_to_first().unwrap();
    let mut count = 0;
    while cursor.valid() {
        assert_eq!(cursor.key().seqno(), 77);
        count += 1;
        cursor.next().unwrap();
    }
    assert_eq!(count, 20_000);
    let mut text = String::new();
    table.dump(true, &mut text).unwrap();
    assert!(text.contains("@77 ") && !text.contains("@0 "));
}

#[test]
fn only_a_table_of_values_without_numbers_can_be_given_one() {
    let one = |seqno: SeqNo, kind| {
        let fs = Arc::new(MemFs::new());
        let entries = [common::entry("a", seqno, kind, ""), common::value("b", 0, "1")];
        let meta = common::write(&*fs, &entries, &[], &WriterOptions::default());
        (fs, meta)
    };
    for (seqno, kind) in [(5, ValueKind::Value), (0, ValueKind::Tombstone)] {
        let (fs, meta) = one(seqno, kind);
        assert_eq!(meta.renumbered(9), None);
        let pretended = TableMeta { lowest_seqno: 9, highest_seqno: 9, ..meta };
        let opened = Table::open(&TableContext::new(fs, 0, 10), PATH.into(), 1, &pretended);
        assert!(matches!(opened, Err(Error::Corruption(_))), "{kind:?} at {seqno}");
    }
    // A kind that the meta does not count is noticed when the block is read.
    let (fs, meta) = one(0, ValueKind::ExpiringValue);
    let context = TableContext::new(fs, 0, 10);
    let table = Table::open(&context, PATH.into(), 1, &meta.renumbered(9).unwrap()).unwrap();
    assert!(matches!(table.get(b"a", key_hash(b"a"), SeqNo::MAX), Err(Error::Corruption(_))));
    assert!(matches!(table.verify(), Err(Error::Corruption(_))));
}
