//! What callers and disks should not do: keys and values beyond the limits, ranges
//! that end before they start, damaged and foreign files, newer formats, directories
//! that cannot be written or are open already. Each gets a typed error or the right
//! answer; never a panic, never a wrong answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::{Call, HookFs, Random, seed_from_env};
use lsm_tree::{
    Compression, Database, Durability, Error, Execution, Keyspace, KeyspaceOptions, Options, RecoveryMode,
    Slice,
};
use lsm_vfs::{Fs, MemFs};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

const LONGEST_KEY: usize = 65_535;

fn on(fs: &MemFs) -> Options {
    let mut options = Options::default();
    options.advanced().fs(Arc::new(fs.clone())).seed(1).execution(Execution::Deterministic { seed: 1 });
    options
}

fn open() -> (Database, Keyspace) {
    let database = on(&MemFs::new()).open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    (database, keyspace)
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::InvalidArgument(_))), "expected InvalidArgument, got {result:?}");
}

#[test]
fn the_empty_key_is_a_key() {
    let (_database, keyspace) = open();
    keyspace.insert("", "nothing").unwrap();
    keyspace.insert("a", "").unwrap();
    for flushed in [false, true] {
        if flushed {
            keyspace.flush().unwrap();
        }
        assert_eq!(keyspace.get("").unwrap().unwrap(), "nothing");
        assert_eq!(keyspace.get("a").unwrap().unwrap(), "");
        assert_eq!(keyspace.first_key_value().unwrap().unwrap().0, "");
        assert_eq!(keyspace.range(""..="").count(), 1);
        assert_eq!(keyspace.range((Bound::Excluded(""), Bound::<&str>::Unbounded)).count(), 1);
        assert_eq!(keyspace.prefix("").count(), 2);
        let mut cursor = keyspace.cursor();
        cursor.seek_for_prev("").unwrap();
        assert!(cursor.valid() && cursor.key().is_empty());
    }
    keyspace.remove("").unwrap();
    assert_eq!(keyspace.get("").unwrap(), None);
    keyspace.flush().unwrap();
    assert_eq!(keyspace.len().unwrap(), 1);
}

#[test]
fn the_longest_key_works_and_a_longer_one_is_refused() {
    let (database, keyspace) = open();
    let longest = vec![0xff; LONGEST_KEY];
    let mut before = longest.clone();
    before[LONGEST_KEY - 1] = 0xfe;
    keyspace.insert(&longest, "last").unwrap();
    keyspace.insert(&before, "before").unwrap();
    keyspace.flush().unwrap();
    assert_eq!(keyspace.get(&longest).unwrap().unwrap(), "last");
    assert_eq!(keyspace.last_key_value().unwrap().unwrap().0, longest);
    assert_eq!(keyspace.range((Bound::Excluded(&before), Bound::Included(&longest))).count(), 1);
    keyspace.remove_range((Bound::Excluded(&before), Bound::Included(&longest))).unwrap();
    assert_eq!(keyspace.len().unwrap(), 1);
    keyspace.flush().unwrap();
    keyspace.compact_range(..).unwrap();
    assert_eq!(keyspace.len().unwrap(), 1);

    let too_long = vec![b'x'; LONGEST_KEY + 1];
    assert_invalid(keyspace.insert(&too_long, "v"));
    assert_invalid(keyspace.insert_shared(too_long.clone(), "v"));
    assert_invalid(keyspace.remove(&too_long));
    assert_invalid(keyspace.remove_weak(&too_long));
    assert_invalid(keyspace.remove_range(&too_long..));
    assert_invalid(keyspace.remove_range(..=&too_long));
    // A read can simply say that there is no such key.
    assert!(matches!(keyspace.get(&too_long), Ok(None) | Err(Error::InvalidArgument(_))));
    assert_eq!(keyspace.range(&too_long..).count(), 1);

    let mut batch = database.batch();
    batch.insert(&keyspace, "good", "v");
    batch.insert(&keyspace, &too_long, "v");
    assert_invalid(batch.commit());
    assert_eq!(keyspace.get("good").unwrap(), None, "half of a refused batch was written");
    keyspace.insert("after", "v").unwrap();
    assert_eq!(keyspace.get("after").unwrap().unwrap(), "v");
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_value_over_one_gibibyte_is_refused_without_being_copied() {
    let (database, keyspace) = open();
    // Zeroed memory of this size is mapped and not touched, so it costs nothing.
    let value = vec![0_u8; (1 << 30) + 1];
    let before = resident_bytes();
    assert_invalid(keyspace.insert("k", &value));
    let mut batch = database.batch();
    batch.insert(&keyspace, "good", "v");
    batch.insert(&keyspace, "k", &value);
    assert_invalid(batch.commit());
    assert_invalid(keyspace.insert_shared("k", Slice::from(value)));
    assert!(resident_bytes() < before + (300 << 20), "the value was copied before it was refused");
    assert_eq!(keyspace.len().unwrap(), 0);
}

#[test]
fn reversed_ranges_are_empty() {
    let (database, keyspace) = open();
    for key in ["a", "b", "c"] {
        keyspace.insert(key, key).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(keyspace.range("c".."a").count(), 0);
        assert_eq!(keyspace.range("c"..="a").rev().count(), 0);
        assert_eq!(keyspace.range("b".."b").count(), 0);
        assert_eq!(keyspace.range((Bound::Excluded("b"), Bound::Excluded("b"))).count(), 0);
        assert_eq!(keyspace.range((Bound::Excluded("b"), Bound::Included("b"))).count(), 0);
        assert_eq!(database.snapshot().range(&keyspace, "c".."a").count(), 0);
        keyspace.remove_range("c".."a").unwrap();
        keyspace.remove_range((Bound::Excluded("b"), Bound::Excluded("b"))).unwrap();
        let mut batch = database.batch();
        batch.remove_range(&keyspace, "c".."a");
        batch.commit().unwrap();
        keyspace.compact_range("c".."a").unwrap();
        assert_eq!(keyspace.len().unwrap(), 3);
        keyspace.flush().unwrap();
    }
}

#[test]
fn batches_and_snapshots_know_their_own_database() {
    let (database, keyspace) = open();
    let (_other, foreign) = open();
    let mut batch = database.batch();
    batch.insert(&keyspace, "a", "1");
    batch.insert(&foreign, "b", "2");
    assert_invalid(batch.commit());
    assert_eq!(keyspace.len().unwrap() + foreign.len().unwrap(), 0);
    assert!(database.snapshot().get(&foreign, "a").is_err());

    let dropped = database.keyspace("dropped", KeyspaceOptions::default()).unwrap();
    database.drop_keyspace("dropped").unwrap();
    let mut batch = database.batch();
    batch.insert(&keyspace, "a", "1");
    batch.insert(&dropped, "b", "2");
    assert_invalid(batch.commit());
    assert_eq!(keyspace.len().unwrap(), 0, "half of a refused batch was written");
    assert_invalid(database.drop_keyspace("dropped"));
    assert_invalid(database.keyspace("", KeyspaceOptions::default()));
    assert!(dropped.get("b").is_err());
}

#[test]
fn after_close_everything_says_closed() {
    let fs = MemFs::new();
    let database = on(&fs).open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    keyspace.insert("a", "1").unwrap();
    keyspace.insert("b", "2").unwrap();
    let snapshot = database.snapshot();
    let mut items = keyspace.iter();
    items.next().unwrap().unwrap();
    let mut cursor = keyspace.cursor();
    cursor.seek_to_first().unwrap();
    database.clone().close().unwrap();
    assert!(matches!(keyspace.get("a"), Err(Error::Closed)));
    assert!(matches!(keyspace.insert("a", "1"), Err(Error::Closed)));
    assert!(matches!(snapshot.get(&keyspace, "a"), Err(Error::Closed)));
    assert!(matches!(items.next(), Some(Err(Error::Closed))));
    assert!(items.next().is_none(), "an iterator yields its error once");
    assert!(matches!(cursor.next(), Err(Error::Closed)));
    assert!(matches!(database.batch().commit(), Err(Error::Closed)));
    assert!(matches!(database.persist(Durability::Sync), Err(Error::Closed)));
    assert!(matches!(database.wait_idle(), Err(Error::Closed)));
    assert!(matches!(database.keyspace("new", KeyspaceOptions::default()), Err(Error::Closed)));
    let _ = database.stats();
    // Old handles still exist, but the directory is free.
    let again = on(&fs).open("db").unwrap();
    assert_eq!(again.keyspace("k", KeyspaceOptions::default()).unwrap().len().unwrap(), 2);
    drop(keyspace);
    drop(snapshot);
    assert_eq!(again.keyspace_names(), ["k"]);
}

#[test]
fn the_lock_goes_with_the_last_handle() {
    let fs = MemFs::new();
    let database = on(&fs).open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    keyspace.insert("a", "1").unwrap();
    let items = keyspace.iter();
    drop(database);
    drop(keyspace);
    assert!(matches!(on(&fs).open("db"), Err(Error::Locked { .. })), "an iterator still reads");
    assert_eq!(items.count(), 1);
    on(&fs).open("db").unwrap();
}

// Damage.

const ENTRIES: usize = 400;

fn value(number: usize) -> Vec<u8> {
    format!("{:0width$}", number * 7, width = 10 + number % 90).into_bytes()
}

/// A database whose tables lie on two levels and whose log holds the last third.
fn damaged_victim(close: bool) -> MemFs {
    let fs = MemFs::new();
    let mut options = on(&fs).write_buffer_size(1 << 20);
    options.advanced().log_segment_size(8 << 10);
    let database = options.open("db").unwrap();
    let tables = KeyspaceOptions::default().compression(Compression::Lz4).block_size(1024);
    let keyspace = database.keyspace("k", tables).unwrap();
    for number in 0..ENTRIES {
        keyspace.insert(format!("{number:05}"), value(number)).unwrap();
        if number == ENTRIES / 3 {
            keyspace.compact_range(..).unwrap();
            keyspace.remove_range("x".."y").unwrap();
        }
        if number == ENTRIES / 3 * 2 {
            keyspace.flush().unwrap();
        }
    }
    database.wait_idle().unwrap();
    if close {
        database.close().unwrap();
        fs
    } else {
        database.persist(Durability::Sync).unwrap();
        fs.process_kill()
    }
}

/// Reads everything in every way; the number of entries, all of which are right.
fn read_all(fs: &MemFs, mode: RecoveryMode) -> Result<usize, Error> {
    let mut options = on(fs).recovery_mode(mode);
    options.advanced().execution(Execution::Deterministic { seed: 3 });
    let database = options.open("db")?;
    if !database.keyspace_names().contains(&"k".to_owned()) {
        return Ok(0);
    }
    let keyspace = database.keyspace("k", KeyspaceOptions::default())?;
    let mut count = 0;
    for (number, item) in keyspace.iter().enumerate() {
        let (key, found) = item?;
        assert_eq!(key, format!("{number:05}").as_bytes(), "a wrong key");
        assert_eq!(found, value(number), "a wrong value");
        count += 1;
    }
    let mut backwards = 0;
    for item in keyspace.iter().rev() {
        item?;
        backwards += 1;
    }
    assert_eq!(backwards, count, "reading backwards gave another number of entries");
    for number in 0..ENTRIES {
        let found = keyspace.get(format!("{number:05}"))?;
        assert_eq!(found.is_some(), number < count, "get and iter differ at {number}");
        assert!(found.is_none_or(|found| found == value(number)), "a wrong value");
    }
    Ok(count)
}

fn files(fs: &MemFs) -> Vec<(PathBuf, u64)> {
    let files = fs.read_dir(Path::new("db")).unwrap();
    let files = files.into_iter().filter(|file| !file.is_dir && file.name != "LOCK");
    files.map(|file| (Path::new("db").join(file.name), file.len_bytes)).collect()
}

/// Opens and reads after `damage`; `Some(count)` for right answers, `None` for an
/// error that names the file.
fn survive(
    fs: &MemFs,
    file: &Path,
    what: &str,
    clean: bool,
    damage: impl Fn(&dyn lsm_vfs::File),
) -> Option<usize> {
    let may_name_another = !clean;
    let fs = fs.process_kill();
    damage(&*fs.open_write(file).unwrap());
    let outcome = catch_unwind(AssertUnwindSafe(|| read_all(&fs, RecoveryMode::TornTail)));
    let at = format!("{} with {what}", file.display());
    match outcome {
        Err(_) => panic!("{at}: a panic or a wrong answer, see above"),
        Ok(Ok(count)) => Some(count),
        Ok(Err(Error::Corruption { file: named, .. } | Error::Incompatible { file: named, .. })) => {
            // After an unclean stop the end of a damaged manifest or segment is taken for
            // torn, and what it said is missed in the file that it spoke of.
            let by_name = named.file_name() == file.file_name();
            assert!(by_name || may_name_another, "{at}: the error names {}", named.display());
            None
        }
        Ok(Err(error)) => panic!("{at}: expected Corruption with file and offset, got {error:?}"),
    }
}

/// Calls `check` for single-bit flips and truncations all over each file.
fn damage_everywhere(fs: &MemFs, seed: u64, clean: bool, check: impl Fn(&Path, &str, Option<usize>)) {
    let mut random = Random::new(seed);
    let all = files(fs);
    for kind in ["MANIFEST", ".sst", ".log"] {
        assert!(
            all.iter().any(|(path, len)| path.to_string_lossy().ends_with(kind) && *len > 0),
            "no {kind}"
        );
    }
    for (path, len) in all {
        let dense = 96.min(len);
        let heads = (0..dense).chain(len.saturating_sub(96).max(dense)..len);
        let sampled: Vec<u64> = (0..120).map(|_| random.below(len)).collect();
        for offset in heads.chain(sampled) {
            let bit = random.below(8);
            let what = format!("bit {bit} of byte {offset} of {len} flipped");
            let outcome = survive(fs, &path, &what, clean, |file| {
                let mut byte = [0];
                file.read_exact_at(&mut byte, offset).unwrap();
                file.write_all_at(&[byte[0] ^ 1 << bit], offset).unwrap();
            });
            check(&path, &what, outcome);
        }
        for _ in 0..60 {
            let cut = random.below(len);
            let what = format!("{cut} of {len} bytes left");
            check(&path, &what, survive(fs, &path, &what, clean, |file| file.set_len(cut).unwrap()));
        }
    }
}

#[test]
fn after_a_clean_close_damage_is_reported_or_harmless() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} damages the same places again");
    let fs = damaged_victim(true);
    assert_eq!(read_all(&fs.process_kill(), RecoveryMode::Strict).unwrap(), ENTRIES);
    damage_everywhere(&fs, seed, true, |path, what, outcome| {
        if let Some(count) = outcome {
            let path = path.display();
            assert_eq!(count, ENTRIES, "{path} with {what}: entries are gone without a word");
        }
    });
}

#[test]
fn after_a_kill_damage_is_reported_or_cuts_the_end() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} damages the same places again");
    let fs = damaged_victim(false);
    assert_eq!(read_all(&fs.process_kill(), RecoveryMode::TornTail).unwrap(), ENTRIES);
    damage_everywhere(&fs, seed, false, |path, what, outcome| {
        // `read_all` has checked that what is left is a prefix.
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let path = path.display();
        if !is_log && let Some(count) = outcome {
            assert_eq!(count, ENTRIES, "{path} with {what}: entries are gone without a word");
        }
        if let Some(count) = outcome {
            assert!(count > ENTRIES / 3 * 2, "{path} with {what}: flushed entries are gone");
        }
    });
}

#[test]
fn missing_files_are_reported() {
    let fs = damaged_victim(true);
    for (path, _) in files(&fs) {
        let fs = fs.process_kill();
        fs.remove_file(&path).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| read_all(&fs, RecoveryMode::TornTail)));
        match outcome.unwrap_or_else(|_| panic!("without {}: a panic", path.display())) {
            Ok(count) => {
                assert_eq!(count, ENTRIES, "without {}: entries are gone without a word", path.display())
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn salvage_saves_what_can_be_read() {
    let fs = damaged_victim(true);
    let (log, len) =
        files(&fs).into_iter().rfind(|(path, _)| path.to_string_lossy().ends_with(".log")).unwrap();
    let file = fs.open_write(&log).unwrap();
    file.write_all_at(&[0xa5; 64], len.min(4096) / 2).unwrap();
    drop(file);
    assert!(matches!(read_all(&fs.process_kill(), RecoveryMode::TornTail), Err(Error::Corruption { .. })));
    let mut options = on(&fs).recovery_mode(RecoveryMode::Salvage);
    options.advanced().execution(Execution::Deterministic { seed: 3 });
    let database = options.open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    assert!(keyspace.len().unwrap() > ENTRIES / 3 * 2, "salvage lost what was flushed");
}

// Directories.

fn write(fs: &MemFs, path: &str, bytes: &[u8]) {
    fs.create_dir_all(Path::new("db")).unwrap();
    fs.create_new(Path::new(path)).unwrap().write_all_at(bytes, 0).unwrap();
}

#[test]
fn foreign_files_in_our_directory_stay() {
    let fs = MemFs::new();
    on(&fs).open("db").unwrap().close().unwrap();
    write(&fs, "db/README.txt", b"hands off");
    write(&fs, "db/00000000000000000777.sst", b"not a table of ours");
    for _ in 0..2 {
        let database = on(&fs).open("db").unwrap();
        database.keyspace("k", KeyspaceOptions::default()).unwrap().insert("a", "1").unwrap();
    }
    assert_eq!(fs.read_to_vec(Path::new("db/README.txt"), 100).unwrap(), b"hands off");
    let table = fs.read_to_vec(Path::new("db/00000000000000000777.sst"), 100).unwrap();
    assert_eq!(table, b"not a table of ours", "a file with our kind of name but not our magic was removed");
}

#[test]
fn a_directory_of_somebody_else_does_not_become_a_database() {
    let fs = MemFs::new();
    write(&fs, "db/holiday.jpg", b"sunset");
    assert_invalid(on(&fs).open("db"));
    assert_eq!(fs.read_dir(Path::new("db")).unwrap().len(), 1, "something was created in it");
}

#[test]
fn a_manifest_that_is_not_ours_is_an_error() {
    for bytes in [&b""[..], b"#!/bin/sh\necho hello\n", &[0; 4096], &[0xff; 100]] {
        let fs = MemFs::new();
        write(&fs, "db/MANIFEST", bytes);
        let outcome = on(&fs).open("db");
        let is_typed = matches!(
            outcome,
            Err(Error::Corruption { .. } | Error::Incompatible { .. } | Error::InvalidArgument(_))
        );
        assert!(is_typed, "a manifest of {} foreign bytes: {outcome:?}", bytes.len());
        let left = fs.read_to_vec(Path::new("db/MANIFEST"), 10_000).unwrap();
        assert_eq!(left, bytes, "it was overwritten");
    }
}

#[test]
fn a_path_that_is_a_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let outcome = Database::open(&path);
    assert!(matches!(outcome, Err(Error::Io(_) | Error::InvalidArgument(_))), "{outcome:?}");
    let none = Options::default().create_if_missing(false).open(dir.path().join("nothing"));
    assert!(none.is_err(), "create_if_missing(false) made a database");
    assert!(!dir.path().join("nothing/MANIFEST").exists());
}

/// In each kind of file the version stands behind the eight bytes of the magic.
#[test]
fn a_newer_format_is_told_apart_from_damage() {
    let fs = damaged_victim(true);
    for (path, _) in files(&fs) {
        let fs = fs.process_kill();
        let file = fs.open_write(&path).unwrap();
        let mut head = [0; 16];
        file.read_exact_at(&mut head, 0).unwrap();
        let version = u32::from_le_bytes(head[8..12].try_into().unwrap());
        assert!((1..100).contains(&version), "{}: no version at byte 8", path.display());
        file.write_all_at(&(version + 1).to_le_bytes(), 8).unwrap();
        let mut outcome = read_all(&fs, RecoveryMode::TornTail);
        if let Err(Error::Corruption { offset, expected, got, .. }) = &outcome {
            // The checksum does not fit the new version: put in the one that does.
            let stored = u32::from_le_bytes(head[12..16].try_into().unwrap());
            let sums = [expected, got].map(|sum| {
                let hex = sum.split("0x").nth(1).unwrap_or_default();
                let hex = hex.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default();
                u32::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("no checksum in {outcome:?}"))
            });
            let fitting = sums.into_iter().find(|&sum| sum != stored).unwrap();
            file.write_all_at(&fitting.to_le_bytes(), *offset).unwrap();
            outcome = read_all(&fs, RecoveryMode::TornTail);
        }
        match outcome {
            Err(Error::Incompatible { found, supported, file }) => {
                assert_eq!((found, supported), (version + 1, version), "{}", path.display());
                assert_eq!(file.file_name(), path.file_name());
            }
            other => panic!("{} of version {}: {other:?}", path.display(), version + 1),
        }
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_and_stays_as_it_is() {
    let fs = damaged_victim(true);
    let before = files(&fs);
    let read_only = HookFs::new(Arc::new(fs.clone()), |call, _| match call {
        Call::Read => Ok(()),
        _ => Err(std::io::ErrorKind::ReadOnlyFilesystem.into()),
    });
    let mut options = Options::default();
    options.advanced().fs(Arc::new(read_only));
    let outcome = options.open("db");
    assert!(matches!(outcome, Err(Error::Io(_))), "{outcome:?}");
    assert_eq!(files(&fs), before);
    assert_eq!(read_all(&fs, RecoveryMode::Strict).unwrap(), ENTRIES);
}

#[test]
fn a_second_open_in_the_same_process_is_locked_out() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).unwrap();
    for _ in 0..2 {
        let second = Database::open(dir.path());
        assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
    }
    database.close().unwrap();
    Database::open(dir.path()).unwrap();
}

const LOCKED_DIR: &str = "LSM_SIM_LOCKED_DIR";

/// Not a test of its own: what the second process does.
#[test]
fn child_that_finds_the_directory_locked() {
    let Ok(dir) = std::env::var(LOCKED_DIR) else { return };
    match Database::open(dir) {
        Err(Error::Locked { .. }) => std::process::exit(42),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_process_is_locked_out_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).unwrap();
    let second = Command::new(std::env::current_exe().unwrap())
        .args(["child_that_finds_the_directory_locked", "--exact"])
        .env(LOCKED_DIR, dir.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(second.code(), Some(42), "the second process was not told that the directory is locked");
    drop(database);
}
