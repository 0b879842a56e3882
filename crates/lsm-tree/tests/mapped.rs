//! A database that reads its tables through mapped memory answers as any other: from a small
//! cache, over flushes and compactions, after reopening, and where files are damaged.
#![cfg(any(target_os = "linux", target_os = "android"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test whose set-up fails should stop there")]

use lsm_tree::{Database, Error, Keyspace, KeyspaceOptions, MappedFs, Options};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

fn open(directory: &Path) -> (Database, Keyspace) {
    // Next to no cache, so that nearly every get reads.
    let mut options = Options::default().cache_size(20_000).write_buffer_size(64 << 10).max_open_files(4);
    options.advanced().fs(Arc::new(MappedFs));
    let db = options.open(directory).unwrap();
    let keyspace = db.keyspace("k", KeyspaceOptions::default().table_size(256 << 10)).unwrap();
    (db, keyspace)
}

fn check(keyspace: &Keyspace, expected: &BTreeMap<u32, u32>) {
    for (key, value) in expected {
        let found = keyspace.get(key.to_be_bytes()).unwrap();
        assert_eq!(found.as_deref(), Some(&value.to_be_bytes().repeat(20)[..]), "the key {key}");
    }
    let all: Vec<u32> = keyspace
        .iter()
        .map(|item| u32::from_be_bytes(item.unwrap().0.as_ref().try_into().unwrap()))
        .collect();
    assert!(all.iter().eq(expected.keys()), "a walk over all keys");
}

#[test]
fn mapped_tables_answer_as_others_do() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = BTreeMap::new();
    for life in 0..3_u32 {
        let (db, keyspace) = open(directory.path());
        for step in 0..4_000_u32 {
            let key = (life * 1_000 + step).wrapping_mul(2_654_435_761) % 5_000;
            if step % 7 == 0 {
                keyspace.remove(key.to_be_bytes()).unwrap();
                expected.remove(&key);
            } else {
                keyspace.insert(key.to_be_bytes(), step.to_be_bytes().repeat(20)).unwrap();
                expected.insert(key, step);
            }
        }
        keyspace.flush().unwrap();
        check(&keyspace, &expected);
        let snapshot = db.snapshot();
        keyspace.compact_range(..).unwrap();
        db.wait_idle().unwrap();
        check(&keyspace, &expected);
        let (key, value) = expected.first_key_value().unwrap();
        let old = snapshot.get(&keyspace, key.to_be_bytes()).unwrap().unwrap();
        assert_eq!(old, value.to_be_bytes().repeat(20));
        db.verify().unwrap();
        db.checkpoint(directory.path().join(format!("copy{life}"))).unwrap();
        db.close().unwrap();
        let (copy, keyspace) = open(&directory.path().join(format!("copy{life}")));
        check(&keyspace, &expected);
        copy.close().unwrap();
    }
}

#[test]
fn damage_in_a_mapped_table_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let (db, keyspace) = open(directory.path());
    for key in 0..2_000_u32 {
        keyspace.insert(key.to_be_bytes(), key.to_be_bytes().repeat(20)).unwrap();
    }
    keyspace.compact_range(..).unwrap();
    db.close().unwrap();
    let mut tables = 0;
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            let mut bytes = std::fs::read(&path).unwrap();
            // In a block that is read when so many others were that the table is mapped.
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            tables += 1;
        }
    }
    assert!(tables > 0);
    let (_db, keyspace) = open(directory.path());
    let mut gets = (0..2_000_u32).map(|key| (key, keyspace.get(key.to_be_bytes())));
    let (key, failed) = gets.find_map(|(key, found)| Some((key, found.err()?))).unwrap();
    assert!(key > 800, "no more than 50 keys lie in a block, and 16 reads go by before it is mapped");
    assert!(matches!(failed, Error::Corruption { .. }), "{failed}");
    assert!(failed.to_string().contains(".sst"), "{failed}");
}
