//! What happens to a table that is not what was written: never a wrong answer, never
//! a panic, always the name of the file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test whose set-up fails should stop there")]

mod common;

use common::{Entry, PATH, UID, sorted, value, write};
use lsm_sstable::{
    Compression, Error, ReadOptions, Table, TableContext, TableMeta, TableWriter, WriterOptions, key_hash,
};
use lsm_types::{Cursor, InternalKey, KeyRange, RangeTombstone, SeqNo, ValueKind};
use lsm_vfs::{Fault, FaultFs, Fs, MemFs, SplitMix64};
use std::path::Path;
use std::sync::Arc;

struct Sample {
    bytes: Vec<u8>,
    meta: TableMeta,
    entries: Vec<Entry>,
}

fn sample(compression: Compression) -> Sample {
    let mut entries: Vec<_> =
        (0..14_u8).map(|i| value(format!("key{i:02}"), u64::from(i) + 1, vec![i % 3; 30])).collect();
    entries.extend((20..24).map(|seqno| value("many", seqno, "v")));
    let entries = sorted(entries);
    let tombstone = RangeTombstone { span: ("key03".."key05").to_span(), seqno: 9 };
    let fs = MemFs::new();
    let options = WriterOptions { block_bytes: 200, compression, filter_bits_per_key: 10.0 };
    let meta = write(&fs, &entries, &[tombstone], &options);
    let bytes = fs.read_to_vec(Path::new(PATH), 1 << 20).unwrap();
    assert!(meta.blocks >= 3);
    Sample { bytes, meta, entries }
}

/// Opens the bytes as a table and reads everything in every way; what is answered
/// must be right. Returns whether everything was, and checks each error.
fn read_all(sample: &Sample, bytes: &[u8]) -> bool {
    let fs = MemFs::new();
    let file = fs.create_new(Path::new(PATH)).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    let context = TableContext::new(Arc::new(fs), 0, 1);
    let table = match Table::open(&context, PATH.into(), 1, &sample.meta) {
        Ok(table) => Arc::new(table),
        Err(error) => return check_error(&error, bytes.len()),
    };
    let mut all_right = true;
    for (key, value) in &sample.entries {
        match table.get(&key.user_key, key_hash(&key.user_key), key.seqno() + 1) {
            Ok(found) => assert_eq!(found.unwrap().value, *value, "a wrong value"),
            Err(error) => all_right = check_error(&error, bytes.len()),
        }
    }
    for readahead_bytes in [0, 1 << 16] {
        let mut cursor = table.cursor(ReadOptions { fill_cache: false, readahead_bytes });
        all_right &= walk(&mut cursor, sample.entries.iter(), true, bytes.len());
        all_right &= walk(&mut cursor, sample.entries.iter().rev(), false, bytes.len());
    }
    match table.verify() {
        Ok(_) => all_right,
        Err(error) => check_error(&error, bytes.len()),
    }
}

fn walk<'a, C: Cursor<Error = Error>>(
    cursor: &mut C,
    expected: impl Iterator<Item = &'a Entry>,
    forward: bool,
    len: usize,
) -> bool {
    let mut outcome = if forward { cursor.seek_to_first() } else { cursor.seek_to_last() };
    for (key, value) in expected {
        if let Err(error) = outcome {
            assert!(!cursor.valid(), "a cursor that failed stands nowhere");
            return check_error(&error, len);
        }
        assert!(cursor.valid(), "an entry is missing");
        assert_eq!((cursor.key(), cursor.value()), (key.as_borrowed(), value.as_bytes()));
        outcome = if forward { cursor.next() } else { cursor.prev() };
    }
    assert!(!cursor.valid());
    outcome.map_or_else(|error| check_error(&error, len), |()| true)
}

/// Whether the error is one that damage should cause; always answers false.
fn check_error(error: &Error, len: usize) -> bool {
    match error {
        Error::Corruption(corruption) => {
            assert_eq!(corruption.file, Path::new(PATH));
            assert!(corruption.offset <= len as u64, "{corruption}");
        }
        other => panic!("damage was reported as {other}"),
    }
    false
}

#[test]
fn every_flipped_bit_is_found() {
    for compression in [Compression::None, Compression::Lz4, Compression::Snappy] {
        let sample = sample(compression);
        assert!(read_all(&sample, &sample.bytes), "the whole table is right");
        for bit in 0..sample.bytes.len() * 8 {
            let mut bytes = sample.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!read_all(&sample, &bytes), "bit {bit} was flipped and nobody noticed");
        }
    }
}

#[test]
fn every_truncation_and_extension_is_found() {
    let sample = sample(Compression::Lz4);
    for len in 0..sample.bytes.len() {
        assert!(!read_all(&sample, &sample.bytes[..len]), "cut at {len} and nobody noticed");
    }
    for extra in 1..100 {
        let longer = [sample.bytes.as_slice(), &vec![0; extra]].concat();
        assert!(!read_all(&sample, &longer));
    }
}

#[test]
fn blocks_of_zeros_and_swapped_blocks_are_found() {
    let sample = sample(Compression::None);
    for start in (0..sample.bytes.len()).step_by(64) {
        let mut bytes = sample.bytes.clone();
        let end = (start + 64).min(bytes.len());
        bytes[start..end].fill(0);
        assert!(bytes == sample.bytes || !read_all(&sample, &bytes), "zeros at {start}");
    }
}

#[test]
fn a_table_cut_while_it_is_open_is_damage() {
    let sample = sample(Compression::None);
    let fs = Arc::new(MemFs::new());
    let file = fs.create_new(Path::new(PATH)).unwrap();
    file.write_all_at(&sample.bytes, 0).unwrap();
    let context = TableContext::new(Arc::<MemFs>::clone(&fs), 0, 1);
    let table = Table::open(&context, PATH.into(), 1, &sample.meta).unwrap();
    file.set_len(40).unwrap();
    let error = table.get(b"key00", key_hash(b"key00"), SeqNo::MAX).unwrap_err();
    assert!(matches!(error, Error::Corruption(_)), "{error}");
}

#[test]
fn another_table_under_the_same_name_is_refused() {
    let sample = sample(Compression::None);
    let fs = MemFs::new();
    let mut writer = TableWriter::create(&fs, Path::new(PATH), UID + 1, &WriterOptions::default()).unwrap();
    for (key, value) in &sample.entries {
        writer.add(key.as_borrowed(), value).unwrap();
    }
    let other = writer.finish(1).unwrap();
    let context = TableContext::new(Arc::new(fs), 0, 1);
    assert!(matches!(Table::open(&context, PATH.into(), 1, &sample.meta), Err(Error::Corruption(_))));
    assert_eq!(Table::read_meta(&context, Path::new(PATH)).unwrap(), other);
    let mut pretended = other.clone();
    pretended.uid = UID;
    assert!(matches!(Table::open(&context, PATH.into(), 1, &pretended), Err(Error::Corruption(_))));
    pretended.uid = other.uid;
    pretended.entries += 1;
    assert!(matches!(Table::open(&context, PATH.into(), 1, &pretended), Err(Error::Corruption(_))));
}

#[test]
fn a_failing_disk_fails_the_writer_and_never_panics() {
    for fault in
        [Fault::DiskFull, Fault::ShortWrite, Fault::FailedSync, Fault::Error(std::io::ErrorKind::Other)]
    {
        let mut failures = 0;
        for at in 0..8 {
            let fs = FaultFs::new(MemFs::new());
            fs.fail_at(at, fault);
            failures += usize::from(try_to_write(&fs).is_err());
        }
        assert!(failures > 0, "{fault:?} never hit the writer");
    }
}

fn try_to_write(fs: &dyn Fs) -> Result<TableMeta, Error> {
    let mut writer = TableWriter::create(fs, Path::new(PATH), UID, &WriterOptions::default())?;
    let mut random = SplitMix64::new(5);
    for i in 0..2000_u32 {
        let user_key = i.to_be_bytes();
        let noise: Vec<u8> = (0..1000).map(|_| random.next_u64() as u8).collect();
        writer.add(InternalKey::new(&user_key, 1, ValueKind::Value), &noise)?;
    }
    writer.finish(0)
}

#[test]
fn a_read_error_leaves_the_cursor_nowhere_and_goes_away() {
    let sample = sample(Compression::None);
    let fs = Arc::new(FaultFs::new(MemFs::new()));
    fs.create_new(Path::new(PATH)).unwrap().write_all_at(&sample.bytes, 0).unwrap();
    let context = TableContext::new(Arc::<FaultFs<MemFs>>::clone(&fs), 0, 4);
    let table = Arc::new(Table::open(&context, PATH.into(), 1, &sample.meta).unwrap());
    let mut cursor = table.cursor(ReadOptions { fill_cache: true, readahead_bytes: 0 });
    cursor.seek_to_first().unwrap();
    fs.fail_from(fs.operations(), Fault::Error(std::io::ErrorKind::Other));
    let mut steps = 0;
    let error = loop {
        match cursor.next() {
            Ok(()) => steps += 1,
            Err(error) => break error,
        }
    };
    assert!(steps < sample.entries.len() && matches!(error, Error::Io(_)), "{error}");
    assert!(!cursor.valid());
    assert!(table.get(b"key09", key_hash(b"key09"), SeqNo::MAX).is_err());
    fs.heal();
    cursor.seek_to_first().unwrap();
    assert!(cursor.valid());
}
