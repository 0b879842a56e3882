//! One script over the real file system, the one in memory and the one that can
//! fail: whoever tests on one must find the same on the others.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lsm_vfs::{FaultFs, Fs, MemFs, OsFs};
use std::io::ErrorKind;
use std::path::Path;

fn check(fs: &dyn Fs, root: &Path) {
    let at = |name: &str| root.join(name);
    let kind = |outcome: Result<(), lsm_vfs::IoError>| outcome.unwrap_err().kind();
    fs.create_dir_all(&at("deep/er")).unwrap();
    fs.create_dir_all(&at("deep/er")).unwrap();

    let file = fs.create_new(&at("a")).unwrap();
    assert_eq!(kind(fs.create_new(&at("a")).map(drop)), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.open_read(&at("none")).map(drop)), ErrorKind::NotFound);
    assert!(file.is_empty().unwrap());

    file.write_all_at(b"world", 5000).unwrap();
    file.write_all_at(b"hello", 4094).unwrap();
    let mut bytes = [9; 8];
    file.read_exact_at(&mut bytes, 4093).unwrap();
    assert_eq!(&bytes, b"\0hello\0\0", "a hole reads as zeros, a write crosses pages");
    assert_eq!(kind(file.read_exact_at(&mut bytes, 4998)), ErrorKind::UnexpectedEof);
    assert_eq!(file.len().unwrap(), 5005);

    file.set_len(4096).unwrap();
    file.set_len(5005).unwrap();
    file.read_exact_at(&mut bytes, 4092).unwrap();
    assert_eq!(&bytes, b"\0\0he\0\0\0\0", "what was cut does not come back");
    file.preallocate(100).unwrap();
    assert_eq!(file.len().unwrap(), 5005, "a reservation never cuts");
    file.preallocate(9000).unwrap();
    assert_eq!(file.len().unwrap(), 9000);
    file.sync_data().unwrap();

    fs.hard_link(&at("a"), &at("b")).unwrap();
    assert_eq!(kind(fs.hard_link(&at("a"), &at("b"))), ErrorKind::AlreadyExists);
    fs.open_write(&at("b")).unwrap().write_all_at(b"J", 4094).unwrap();
    file.read_exact_at(&mut bytes, 4092).unwrap();
    assert_eq!(&bytes, b"\0\0Je\0\0\0\0", "a link is the same file");
    assert!(fs.open_read(&at("b")).unwrap().write_all_at(b"x", 0).is_err(), "opened for reading only");

    fs.create_new(&at("deep/c")).unwrap().write_all_at(b"old", 0).unwrap();
    fs.rename(&at("a"), &at("deep/c")).unwrap();
    assert_eq!(fs.read_to_vec(&at("deep/c"), 9000).unwrap().len(), 9000);
    assert_eq!(fs.read_to_vec(&at("deep/c"), 8999).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(kind(fs.rename(&at("a"), &at("x"))), ErrorKind::NotFound);
    fs.sync_dir(&at("deep")).unwrap();
    fs.sync_dir(root).unwrap();

    let names = |path: &Path| {
        let entries = fs.read_dir(path).unwrap();
        entries.into_iter().map(|entry| (entry.name, entry.is_dir, entry.len_bytes)).collect::<Vec<_>>()
    };
    assert_eq!(names(root), [("b".into(), false, 9000), ("deep".into(), true, 0)]);
    assert_eq!(names(&at("deep")), [("c".into(), false, 9000), ("er".into(), true, 0)]);

    fs.remove_file(&at("b")).unwrap();
    fs.remove_file(&at("deep/c")).unwrap();
    assert_eq!(kind(fs.remove_file(&at("b"))), ErrorKind::NotFound);
    file.read_exact_at(&mut bytes, 4092).unwrap();
    assert!(!fs.exists(&at("b")).unwrap() && fs.exists(&at("deep")).unwrap());
    assert!(!fs.exists(&at("no/such/place")).unwrap());

    let lock = fs.try_lock(&at("LOCK")).unwrap();
    assert!(lock.is_some());
    assert!(fs.try_lock(&at("LOCK")).unwrap().is_none(), "one process may not lock twice");
    drop(lock);
    assert!(fs.try_lock(&at("LOCK")).unwrap().is_some(), "free again after the drop");
}

#[test]
fn the_operating_systems() {
    let dir = tempfile::tempdir().unwrap();
    check(&OsFs, dir.path());
}

#[test]
fn in_memory() {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("/root")).unwrap();
    check(&fs, Path::new("/root"));
    check(&MemFs::new(), Path::new(""));
}

#[test]
fn through_faults_that_do_not_come() {
    check(&FaultFs::new(MemFs::new()), Path::new(""));
}
