//! What a power cut may and may not do to the disk in memory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lsm_vfs::{Fault, FaultFs, Fs, MemFs};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

const FILE: &str = "file";

fn read(fs: &MemFs, name: &str) -> Option<Vec<u8>> {
    fs.read_to_vec(Path::new(name), 1 << 30).ok()
}

/// All that 2000 power cuts leave of `name`.
fn outcomes(fs: &MemFs, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..2000).map(|seed| read(&fs.power_cut(seed), name)).collect()
}

fn with_file(contents: &[u8]) -> (MemFs, std::sync::Arc<dyn lsm_vfs::File>) {
    let fs = MemFs::new();
    let file = fs.create_new(Path::new(FILE)).unwrap();
    file.write_all_at(contents, 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    (fs, file)
}

#[test]
fn what_was_synced_stays() {
    let (fs, file) = with_file(b"kept");
    file.write_all_at(b"more", 4).unwrap();
    let found = outcomes(&fs, FILE);
    let expected: [&[u8]; 3] = [b"kept", b"kept\0\0\0\0", b"keptmore"];
    assert_eq!(found, expected.map(|bytes| Some(bytes.to_vec())).into(), "lost, a length only, or whole");
    assert_eq!(read(&fs, FILE).unwrap(), b"keptmore", "the disk itself goes on");
}

#[test]
fn later_writes_may_survive_without_earlier_ones_and_synced_pages_may_be_overwritten() {
    let (fs, file) = with_file(b"....");
    file.write_all_at(b"a", 0).unwrap();
    file.write_all_at(b"b", 1).unwrap();
    let found = outcomes(&fs, FILE);
    let expected: [&[u8]; 4] = [b"....", b"a...", b".b..", b"ab.."];
    assert_eq!(found, expected.map(|bytes| Some(bytes.to_vec())).into());
}

#[test]
fn a_large_write_tears_at_sectors() {
    let (fs, file) = with_file(&[0; 1536]);
    file.write_all_at(&[1; 1000], 100).unwrap();
    let mut sectors = BTreeSet::new();
    for contents in outcomes(&fs, FILE).into_iter().flatten() {
        let of = |range: std::ops::Range<usize>| {
            let part = &contents[range];
            assert!(part.iter().all(|byte| *byte == part[0]), "a sector is never torn");
            part[0]
        };
        sectors.insert((of(100..512), of(512..1024), of(1024..1100)));
    }
    assert_eq!(sectors.len(), 8, "each sector by itself");
}

#[test]
fn a_reservation_or_a_cut_may_be_lost() {
    let (fs, file) = with_file(b"12");
    file.preallocate(4).unwrap();
    file.sync_data().unwrap();
    file.set_len(1).unwrap();
    let expected: [&[u8]; 2] = [b"1", b"12\0\0"];
    assert_eq!(outcomes(&fs, FILE), expected.map(|bytes| Some(bytes.to_vec())).into());
}

#[test]
fn a_name_needs_its_directory_synced() {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("d")).unwrap();
    let file = fs.create_new(Path::new("d/f")).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    assert!(outcomes(&fs, "d/f").contains(&None), "neither name was synced");
    fs.sync_dir(Path::new("d")).unwrap();
    assert!(outcomes(&fs, "d/f").contains(&None), "the directory's own name was not");
    fs.sync_dir(Path::new("")).unwrap();
    assert_eq!(outcomes(&fs, "d/f"), BTreeSet::from([Some(b"x".to_vec())]));
}

#[test]
fn a_rename_is_whole_or_not_there() {
    let (fs, _) = with_file(b"old");
    let new = fs.create_new(Path::new("new")).unwrap();
    new.write_all_at(b"new", 0).unwrap();
    new.sync_data().unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    fs.rename(Path::new("new"), Path::new(FILE)).unwrap();
    let expected: [&[u8]; 2] = [b"new", b"old"];
    assert_eq!(outcomes(&fs, FILE), expected.map(|bytes| Some(bytes.to_vec())).into());
}

#[test]
fn a_removed_file_may_come_back_whole_and_links_share_their_fate() {
    let (fs, file) = with_file(b"x");
    fs.hard_link(Path::new(FILE), Path::new("link")).unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    file.write_all_at(b"y", 0).unwrap();
    for seed in 0..200 {
        let after = fs.power_cut(seed);
        assert_eq!(read(&after, FILE), read(&after, "link"));
    }
    drop(file);
    fs.remove_file(Path::new(FILE)).unwrap();
    fs.remove_file(Path::new("link")).unwrap();
    assert_eq!(fs.used_bytes(), 0, "its room is free at once");
    let expected = [None, Some(b"x".to_vec()), Some(b"y".to_vec())];
    assert_eq!(outcomes(&fs, "link"), expected.into());
    fs.sync_dir(Path::new("")).unwrap();
    assert_eq!(outcomes(&fs, "link"), [None].into());
}

#[test]
fn a_killed_process_loses_nothing_but_its_handles_and_locks() {
    let (fs, file) = with_file(b"1");
    file.write_all_at(b"2", 0).unwrap();
    let lock = fs.try_lock(Path::new("LOCK")).unwrap();
    let killed = fs.process_kill();
    assert_eq!(read(&killed, FILE).unwrap(), b"2");
    assert!(killed.try_lock(Path::new("LOCK")).unwrap().is_some());
    assert!(outcomes(&killed, FILE).contains(&Some(b"1".to_vec())), "not synced by the kill");
    drop(lock);
}

#[test]
fn after_a_failed_sync_a_later_success_means_nothing() {
    let mut lost = 0;
    for round in 0..64_u32 {
        let fs = FaultFs::new(MemFs::new());
        let file = fs.create_new(Path::new(FILE)).unwrap();
        for byte in 0..8 {
            file.write_all_at(&[(round >> byte) as u8 | 1], byte).unwrap();
        }
        fs.sync_dir(Path::new("")).unwrap();
        fs.fail_at(0, Fault::FailedSync);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        let mut cached = [0; 8];
        file.read_exact_at(&mut cached, 0).unwrap();
        assert!(cached.iter().all(|byte| byte & 1 == 1), "reads still see the new bytes");
        let after = read(&fs.inner().power_cut(u64::from(round)), FILE).unwrap();
        lost += u32::from(after != cached);
    }
    assert!(lost > 32, "only {lost} of 64 lost something");
}

#[test]
fn a_full_disk_takes_what_fits_and_gives_room_back() {
    let fs = MemFs::new();
    fs.set_capacity(10);
    let file = fs.create_new(Path::new(FILE)).unwrap();
    file.preallocate(6).unwrap();
    let error = file.write_all_at(b"12345678901", 0).unwrap_err();
    assert!(error.is_disk_full());
    assert_eq!(read(&fs, FILE).unwrap(), b"1234567890");
    assert!(fs.create_new(Path::new("b")).unwrap().write_all_at(b"x", 0).is_err());
    file.write_all_at(b"x", 9).unwrap();
    assert!(file.set_len(11).unwrap_err().is_disk_full() && file.preallocate(11).is_err());
    fs.remove_file(Path::new(FILE)).unwrap();
    assert_eq!(fs.used_bytes(), 10, "a handle still holds it");
    drop(file);
    assert_eq!(fs.used_bytes(), 0);
}

#[test]
fn faults_come_when_asked_for() {
    let fs = FaultFs::new(MemFs::new());
    let file = fs.create_new(Path::new(FILE)).unwrap();
    fs.fail_at(2, Fault::ShortWrite);
    file.write_all_at(b"0", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(file.write_all_at(b"abcd", 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 2, "half was written");
    file.write_all_at(b"abcd", 0).unwrap();
    fs.fail_on("other", 0, Fault::Error(ErrorKind::PermissionDenied), true);
    file.write_all_at(b"abcd", 0).unwrap();
    assert!(fs.exists(Path::new("other")).is_err() && fs.create_new(Path::new("other")).is_err());
    fs.heal();
    fs.fail_from(0, Fault::DiskFull);
    assert!(file.preallocate(9).is_err() && file.write_all_at(b"x", 0).is_err());
    assert_eq!(file.len().unwrap(), 4);
    assert_eq!((fs.operations(), fs.injected()), (12, 5));
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let (fs, file) = with_file(&[0; 4096]);
    for at in 0..40_u64 {
        file.write_all_at(&[at as u8 + 1; 700], at * 100).unwrap();
    }
    for seed in 0..20 {
        assert_eq!(read(&fs.power_cut(seed), FILE), read(&fs.power_cut(seed), FILE));
    }
}
