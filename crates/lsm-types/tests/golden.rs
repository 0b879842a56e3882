//! The bytes of a batch must not change by accident: `LSM_GOLDEN=write` rewrites the file
//! after a deliberate change, which also needs a new version and docs/format/.

use lsm_types::ValueKind;
use lsm_types::batch::{BatchEntry, BatchReader, encode_range_end, header, put_entry};
use std::path::Path;

#[test]
fn the_bytes_of_a_batch_are_those_of_the_golden_file() {
    let end = encode_range_end(Some(b"m"));
    let endless = encode_range_end(None);
    let entries = [
        BatchEntry { keyspace: 0, kind: ValueKind::Value, key: b"alice", value: b"1" },
        BatchEntry { keyspace: 300, kind: ValueKind::ExpiringValue, key: b"bob", value: &[7; 9] },
        BatchEntry { keyspace: 0, kind: ValueKind::Tombstone, key: b"", value: b"" },
        BatchEntry { keyspace: 1, kind: ValueKind::WeakTombstone, key: b"carol", value: b"" },
        BatchEntry { keyspace: 1, kind: ValueKind::MergeOperand, key: b"hits", value: b"+1" },
        BatchEntry { keyspace: 0, kind: ValueKind::RangeTombstone, key: b"a", value: &end },
        BatchEntry { keyspace: 0, kind: ValueKind::RangeTombstone, key: b"", value: &endless },
        BatchEntry { keyspace: 2, kind: ValueKind::BlobPointer, key: b"dave", value: &[0xff; 20] },
    ];
    let mut wire = header(0x0102_0304_0506, entries.len() as u32).to_vec();
    for entry in entries {
        put_entry(&mut wire, entry);
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/batch.bin");
    if std::env::var("LSM_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&golden, &wire).unwrap();
    }
    let stored = std::fs::read(&golden).unwrap();
    assert_eq!(wire, stored, "the wire form of a batch changed");
    let read: Vec<_> = BatchReader::new(&stored).unwrap().iter().map(|entry| entry.unwrap().1).collect();
    assert_eq!(read, entries);
}
