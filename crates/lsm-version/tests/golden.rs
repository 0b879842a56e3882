//! The bytes of a manifest must not change by accident: `LSM_GOLDEN=write` rewrites the
//! file after a deliberate change, which also needs a new version and docs/format/.
#![expect(
    clippy::unwrap_used,
    clippy::field_reassign_with_default,
    reason = "a test fails by panicking; the type is non-exhaustive"
)]

use lsm_version::{Edit, MANIFEST_NAME, Manifest, Placement, StoreKind};
use lsm_vfs::{Fs, MemFs};
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/manifest.bin")
}

fn written() -> Vec<u8> {
    let (fs, directory) = (MemFs::new(), Path::new("/db"));
    fs.create_dir_all(directory).unwrap();
    let mut manifest = Manifest::new(directory);
    let mut meta = lsm_sstable::TableMeta::default();
    meta.uid = 99;
    meta.file_bytes = 4096;
    meta.entries = 3;
    meta.smallest = "a".into();
    meta.upper = lsm_types::UpperBound::Excluded("m".into());
    meta.highest_seqno = 12;
    let created = Edit::KeyspaceCreated { id: 0, name: "users".into(), options: vec![1, 0] };
    let placement = Placement { level: 0, run: 5 };
    let commits = [
        vec![Edit::Created { kind: StoreKind::Database, uid: 42 }],
        vec![created],
        vec![
            Edit::TableAdded { keyspace: 0, number: 5, placement, meta },
            Edit::FlushedThrough { keyspace: 0, seqno: 13 },
            Edit::ExactFrom { keyspace: 0, seqno: 13 },
            Edit::Counters { next_file: 6, next_seqno: 13, next_keyspace: 1 },
            Edit::Log { first_segment: 1, first_base: 64, durable_through: 640 },
        ],
        vec![Edit::TableMoved { keyspace: 0, number: 5, placement: Placement { level: 6, run: 0 } }],
        vec![Edit::TableRemoved { keyspace: 0, number: 5 }],
        vec![Edit::KeyspaceDropped { id: 0 }],
    ];
    for edits in commits {
        manifest.commit(&fs, &edits, || 0x0102_0304_0506_0708).unwrap();
    }
    manifest.close().unwrap();
    fs.read_to_vec(&directory.join(MANIFEST_NAME), 1 << 20).unwrap()
}

#[test]
fn the_golden_file_is_what_is_written_and_still_read() {
    if std::env::var("LSM_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(golden(), written()).unwrap();
    }
    assert_eq!(written(), std::fs::read(golden()).unwrap(), "the format of the manifest changed");
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("/db")).unwrap();
    let file = fs.create_new(&Path::new("/db").join(MANIFEST_NAME)).unwrap();
    file.write_all_at(&std::fs::read(golden()).unwrap(), 0).unwrap();
    let manifest = Manifest::open(&fs, Path::new("/db")).unwrap().unwrap();
    assert_eq!(manifest.state().uid, 42);
    assert_eq!(manifest.state().next_seqno, 13);
    assert!(manifest.state().keyspaces.is_empty());
}
