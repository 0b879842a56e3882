//! A whole directory as an earlier build wrote it must stay readable. `LSM_GOLDEN=write`
//! writes it anew, which is right only before the first tagged release.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lsm_tree::{Compaction, Compression, Database, KeyspaceOptions, Options};
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/database-v1")
}

fn write(path: &Path) {
    let mut options = Options::default();
    options.advanced().log_segment_size(4096);
    let db = options.open(path).unwrap();
    let options = KeyspaceOptions::default().compression(Compression::None).block_size(256);
    let plain = db.keyspace("plain", options).unwrap();
    let squeezed = db.keyspace("squeezed", KeyspaceOptions::default()).unwrap();
    let tiered = KeyspaceOptions::default().compaction(Compaction::SizeTiered);
    let empty = db.keyspace("empty", tiered).unwrap();
    for i in 0..100 {
        plain.insert(format!("key{i:03}"), format!("plain value {i}")).unwrap();
        squeezed.insert(format!("key{i:03}"), "squeezed ".repeat(i % 7 + 1)).unwrap();
    }
    plain.flush().unwrap();
    squeezed.compact_range(..).unwrap();
    plain.remove_range("key010".."key020").unwrap();
    plain.remove("key050").unwrap();
    plain.flush().unwrap();
    // These stay in the log.
    let mut batch = db.batch();
    batch.insert(&plain, "late", "1").insert(&empty, "late", "2").remove_range(&squeezed, "key090"..);
    batch.commit().unwrap();
    db.close().unwrap();
}

fn check(path: &Path) {
    let db = Database::open(path).unwrap();
    assert_eq!(db.keyspace_names(), ["empty", "plain", "squeezed"]);
    let open = |name| db.keyspace(name, KeyspaceOptions::default()).unwrap();
    let (plain, squeezed, empty) = (open("plain"), open("squeezed"), open("empty"));
    assert_eq!(plain.len().unwrap(), 90);
    assert_eq!(plain.get("key009").unwrap().unwrap(), "plain value 9");
    assert_eq!(plain.get("key015").unwrap(), None);
    assert_eq!(plain.get("key050").unwrap(), None);
    assert_eq!(plain.get("late").unwrap().unwrap(), "1");
    assert_eq!(squeezed.len().unwrap(), 90);
    assert_eq!(squeezed.get("key006").unwrap().unwrap(), "squeezed ".repeat(7).as_str());
    assert_eq!(empty.get("late").unwrap().unwrap(), "2");
    db.verify().unwrap();
}

#[test]
fn a_directory_of_version_1_opens() {
    if std::env::var("LSM_GOLDEN").as_deref() == Ok("write") {
        let _nothing_there = std::fs::remove_dir_all(golden());
        write(&golden());
        let _empty = std::fs::remove_file(golden().join("LOCK"));
    }
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    check(copy.path());
    // And again, after this build has written to it.
    check(copy.path());
}
