//! The manifest on disk: what is committed comes back, what is damaged is told, and the
//! bytes stay as they are.
#![expect(
    clippy::unwrap_used,
    clippy::field_reassign_with_default,
    reason = "a test fails by panicking; the type is non-exhaustive"
)]

use lsm_sstable::TableMeta;
use lsm_types::UpperBound;
use lsm_version::{Edit, Error, MANIFEST_NAME, Manifest, ManifestState, Placement, StoreKind};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;

const DIRECTORY: &str = "/db";

fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

fn table(keyspace: u32, number: u64, level: u8) -> Edit {
    let mut meta = TableMeta::default();
    meta.uid = 7000 + number;
    meta.file_bytes = 4096;
    meta.entries = 10;
    meta.smallest = "a".into();
    meta.upper = UpperBound::Included("z".into());
    meta.highest_seqno = 99;
    Edit::TableAdded { keyspace, number, placement: Placement { level, run: number }, meta }
}

/// Commits that touch every kind of edit.
fn commits() -> Vec<Vec<Edit>> {
    let keyspace = |id, name: &str| Edit::KeyspaceCreated { id, name: name.into(), options: vec![1, 2] };
    vec![
        vec![Edit::Created { kind: StoreKind::Database, uid: 42 }],
        vec![keyspace(0, "users")],
        vec![keyspace(1, "posts")],
        vec![
            table(0, 3, 0),
            Edit::FlushedThrough { keyspace: 0, seqno: 100 },
            Edit::ExactFrom { keyspace: 0, seqno: 90 },
            Edit::Counters { next_file: 9, next_seqno: 100, next_keyspace: 2 },
            Edit::Log { first_segment: 2, first_base: 4000, durable_through: 5000 },
        ],
        vec![table(0, 4, 6), Edit::TableRemoved { keyspace: 0, number: 3 }],
        vec![Edit::TableMoved { keyspace: 0, number: 4, placement: Placement { level: 5, run: 0 } }],
        vec![Edit::KeyspaceDropped { id: 1 }],
    ]
}

fn write(fs: &MemFs, close: bool) -> ManifestState {
    fs.create_dir_all(directory()).unwrap();
    let mut manifest = Manifest::new(directory());
    for edits in commits() {
        manifest.commit(fs, &edits, || 0x1234_5678_9abc_def0).unwrap();
    }
    if close {
        manifest.close().unwrap();
    }
    manifest.state().clone()
}

fn read(fs: &MemFs) -> Result<ManifestState, Error> {
    Manifest::open(fs, directory()).map(|manifest| manifest.unwrap().state().clone())
}

fn contents(fs: &MemFs) -> Vec<u8> {
    fs.read_to_vec(&directory().join(MANIFEST_NAME), 1 << 20).unwrap()
}

fn holding(contents: &[u8]) -> MemFs {
    let fs = MemFs::new();
    fs.create_dir_all(directory()).unwrap();
    let file = fs.create_new(&directory().join(MANIFEST_NAME)).unwrap();
    file.write_all_at(contents, 0).unwrap();
    fs
}

#[test]
fn the_state_comes_back_and_goes_on_in_a_new_file() {
    let fs = MemFs::new();
    assert!(Manifest::open(&fs, directory()).map_or(true, |found| found.is_none()));
    let state = write(&fs, true);
    assert_eq!(read(&fs).unwrap(), state);
    let mut manifest = Manifest::open(&fs, directory()).unwrap().unwrap();
    manifest.commit(&fs, &[table(0, 11, 0)], || 5).unwrap();
    assert_eq!(&read(&fs).unwrap(), manifest.state());
    assert_eq!(manifest.state().next_file, 12);
}

#[test]
fn a_contradiction_is_refused_before_it_is_written() {
    let fs = MemFs::new();
    write(&fs, true);
    let mut manifest = Manifest::open(&fs, directory()).unwrap().unwrap();
    let other = Edit::KeyspaceCreated { id: 2, name: "other".into(), options: vec![] };
    manifest.commit(&fs, &[other], || 1).unwrap();
    let before = manifest.state().clone();
    let wrong = [
        Edit::TableRemoved { keyspace: 0, number: 77 },
        Edit::KeyspaceDropped { id: 1 },
        Edit::KeyspaceCreated { id: 9, name: "users".into(), options: vec![] },
        table(0, 4, 0),
        table(2, 4, 0),
        table(5, 6, 0),
        table(0, 60, 200),
        Edit::Created { kind: StoreKind::Tree, uid: 1 },
    ];
    for edit in wrong {
        let outcome = manifest.commit(&fs, std::slice::from_ref(&edit), || 1);
        assert!(matches!(outcome, Err(Error::Contradiction(_))), "{edit:?}");
    }
    assert_eq!(manifest.state(), &before);
    manifest.commit(&fs, &[table(0, 60, 2)], || 1).unwrap();
}

#[test]
fn power_loss_at_any_commit_leaves_that_state_or_the_one_before() {
    for power_cut_after in 0..commits().len() {
        let fs = MemFs::new();
        fs.create_dir_all(directory()).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        let mut manifest = Manifest::new(directory());
        for edits in commits().into_iter().take(power_cut_after + 1) {
            manifest.commit(&fs, &edits, || 77).unwrap();
        }
        for seed in 0..20 {
            let survived = fs.power_cut(seed);
            assert_eq!(&read(&survived).unwrap(), manifest.state(), "seed {seed}: a commit was durable");
        }
    }
}

#[test]
fn every_flipped_byte_of_a_closed_manifest_is_told() {
    let fs = MemFs::new();
    let state = write(&fs, true);
    let sound = contents(&fs);
    for at in 0..sound.len() {
        for bit in 0..8 {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << bit;
            match read(&holding(&damaged)) {
                Ok(found) => assert_eq!(found, state, "byte {at} bit {bit}"),
                Err(Error::Log(lsm_log::Error::Corruption(damage)) | Error::Corruption(damage)) => {
                    assert!(damage.file.ends_with(MANIFEST_NAME), "byte {at}: {damage}");
                }
                Err(Error::Log(lsm_log::Error::Incompatible { .. })) => {}
                Err(other) => panic!("byte {at} bit {bit}: {other}"),
            }
        }
    }
}

#[test]
fn every_truncation_is_told_or_leaves_an_earlier_state() {
    let fs = MemFs::new();
    write(&fs, false);
    let sound = contents(&fs);
    let mut states = vec![];
    let mut state = ManifestState::default();
    for edits in commits() {
        state.apply(&edits).unwrap();
        states.push(state.clone());
    }
    for len in 0..sound.len() {
        match read(&holding(&sound[..len])) {
            Ok(found) => assert!(states.contains(&found), "cut at {len}"),
            Err(Error::Log(_) | Error::Corruption(_)) => {}
            Err(other) => panic!("cut at {len}: {other}"),
        }
    }
}

#[test]
fn a_manifest_of_thousands_of_changes_stays_small() {
    let fs = MemFs::new();
    write(&fs, true);
    let mut manifest = Manifest::open(&fs, directory()).unwrap().unwrap();
    for number in 100..10_000 {
        let removed = Edit::TableRemoved { keyspace: 0, number: number - 1 };
        let edits =
            if number == 100 { vec![table(0, number, 0)] } else { vec![table(0, number, 0), removed] };
        manifest.commit(&fs, &edits, || number).unwrap();
    }
    assert!(contents(&fs).len() < 2 << 20, "{} bytes", contents(&fs).len());
    assert_eq!(&read(&fs).unwrap(), manifest.state());
}
