//! Rot: in each file of a small database that was closed cleanly every byte is changed, one
//! bit of it and all of it, and in a large one bytes at random. Reading gives the right
//! answer or an error that names file and offset, verification finds each change that is
//! not met on the way, and memory stays bounded.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where things are not as they should be")]

use lsm_sim::{Random, seed_from_env};
use lsm_tree::{Compaction, Compression, Database, Error, Execution, KeyspaceOptions, Options};
use lsm_vfs::{Fs, MemFs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What nobody may need more of: the databases here are far smaller.
const MEMORY_LIMIT_BYTES: u64 = 600 << 20;

fn open(fs: &MemFs, segment_bytes: u64) -> Result<Database, Error> {
    let mut options = Options::default().cache_size(1 << 20);
    let execution = Execution::Deterministic { seed: 1 };
    options.advanced().fs(Arc::new(fs.clone())).seed(1).execution(execution).log_segment_size(segment_bytes);
    options.open("db")
}

fn value(number: usize) -> Vec<u8> {
    format!("{:0width$}", number * 7, width = 8 + number % 40).into_bytes()
}

fn keyspaces(database: &Database) -> Result<[lsm_tree::Keyspace; 3], Error> {
    let small = KeyspaceOptions::default().block_size(256);
    Ok([
        database.keyspace("lz4", small.clone().compression(Compression::Lz4))?,
        database.keyspace(
            "plain",
            small.clone().compression(Compression::None).compaction(Compaction::SizeTiered),
        )?,
        database.keyspace("no filter", small.filter_bits_per_key(0.0))?,
    ])
}

/// Tables on two levels with filters and range tombstones, two segments of the log that
/// are needed, a manifest of several records; closed.
fn victim(entries: usize) -> MemFs {
    let fs = MemFs::new();
    let segment_bytes = 4 << 10;
    let database = open(&fs, segment_bytes).unwrap();
    let keyspaces = keyspaces(&database).unwrap();
    for number in 0..entries {
        for keyspace in &keyspaces {
            keyspace.insert(format!("{number:06}"), value(number)).unwrap();
        }
        if number == entries / 4 {
            keyspaces.iter().for_each(|keyspace| keyspace.compact_range(..).unwrap());
            keyspaces.iter().for_each(|keyspace| keyspace.remove_range("x".."y").unwrap());
        }
        if number == entries / 2 {
            keyspaces.iter().for_each(|keyspace| keyspace.flush().unwrap());
        }
    }
    database.close().unwrap();
    fs
}

/// What came of reading a damaged database.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// All answers were right, and verification finds nothing.
    Nothing,
    /// All answers were right, but verification found it.
    ByVerifying,
    /// All answers were right, but opening reported that the end of the log was cut: the
    /// mark of the clean close is gone.
    ByReport,
    /// Opening or reading said what is wrong where.
    ByReading,
}

fn read_all(fs: &MemFs, entries: usize) -> Result<Found, Error> {
    let database = open(fs, 4 << 10)?;
    assert_eq!(database.keyspace_names(), ["lz4", "no filter", "plain"], "a keyspace is gone");
    for keyspace in &keyspaces(&database)? {
        let mut count = 0;
        for item in keyspace.iter() {
            let (key, found) = item?;
            assert_eq!((key.as_ref(), found.as_ref()), (format!("{count:06}").as_bytes(), &value(count)[..]));
            count += 1;
        }
        assert_eq!(count, entries, "entries of {:?} are gone without a word", keyspace.name());
        for number in (0..entries + 2).step_by(3) {
            let found = keyspace.get(format!("{number:06}"))?;
            assert_eq!(found.is_some(), number < entries, "get and iter differ at {number}");
        }
    }
    match database.verify() {
        Ok(_) if database.recovery_report().log_cut.is_some() => Ok(Found::ByReport),
        Ok(_) => Ok(Found::Nothing),
        Err(Error::Corruption { .. } | Error::Incompatible { .. }) => Ok(Found::ByVerifying),
        Err(other) => panic!("verify says {other:?}"),
    }
}

fn files(fs: &MemFs) -> Vec<(PathBuf, u64)> {
    let files = fs.read_dir(Path::new("db")).unwrap().into_iter().filter(|file| !file.is_dir);
    files.map(|file| (Path::new("db").join(file.name), file.len_bytes)).collect()
}

/// Changes one byte and reads everything.
fn rot(fs: &MemFs, path: &Path, offset: u64, change: u8, entries: usize) -> Found {
    let fs = fs.process_kill();
    let file = fs.open_write(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ change], offset).unwrap();
    drop(file);
    let at = format!("{} with byte {offset} changed by {change:#04x}", path.display());
    match catch_unwind(AssertUnwindSafe(|| read_all(&fs, entries))) {
        Err(_) => panic!("{at}: a panic or a wrong answer, see above"),
        Ok(Ok(found)) => found,
        Ok(Err(Error::Corruption { file, .. } | Error::Incompatible { file, .. })) => {
            assert_eq!(file.file_name(), path.file_name(), "{at}: the error names another file");
            Found::ByReading
        }
        Ok(Err(error)) => panic!("{at}: expected Corruption with file and offset, got {error:?}"),
    }
}

/// Whether a byte lies in the room that was reserved behind the last record of a segment
/// that has a successor: nobody reads what stands there.
fn is_unused_room(fs: &MemFs, path: &Path, offset: u64) -> bool {
    let newest = files(fs).into_iter().rfind(|(path, _)| path.to_string_lossy().ends_with(".log"));
    let is_old_segment =
        path.to_string_lossy().ends_with(".log") && newest.is_some_and(|(newest, _)| newest != path);
    let contents = fs.read_to_vec(path, 1 << 30).unwrap();
    is_old_segment && contents[offset as usize..].iter().all(|byte| *byte == 0)
}

fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn every_changed_byte_of_a_small_database_is_found() {
    let entries = 40;
    let fs = victim(entries);
    assert_eq!(read_all(&fs.process_kill(), entries).unwrap(), Found::Nothing);
    let all = files(&fs);
    for kind in ["MANIFEST", ".sst", ".log"] {
        assert!(all.iter().any(|(path, _)| path.to_string_lossy().ends_with(kind)), "no {kind}");
    }
    let (mut changed, mut unnoticed) = (0_u64, Vec::new());
    for (path, len) in &all {
        for offset in 0..*len {
            for change in [1 << (offset % 8), 0xff] {
                changed += 1;
                let found = rot(&fs, path, offset, change, entries);
                if found == Found::Nothing && !is_unused_room(&fs, path, offset) {
                    unnoticed.push(format!("{} at {offset} by {change:#04x}", path.display()));
                }
            }
        }
    }
    println!("{changed} changes in {} files, {} unnoticed", all.len(), unnoticed.len());
    assert!(
        unnoticed.is_empty(),
        "{} of {changed} unnoticed: {:?}",
        unnoticed.len(),
        &unnoticed[..unnoticed.len().min(20)]
    );
    assert!(peak_memory_bytes() < MEMORY_LIMIT_BYTES, "memory: {}", peak_memory_bytes());
}

#[test]
fn changed_bytes_of_a_large_database_are_found() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} changes the same bytes again");
    let mut random = Random::new(seed);
    let entries = 3_000;
    let fs = victim(entries);
    let all: Vec<_> = files(&fs).into_iter().filter(|(_, len)| *len > 0).collect();
    for _ in 0..150 {
        let (path, len) = &all[random.index(all.len())];
        let (offset, change) = (random.below(*len), 1 + random.below(255) as u8);
        let found = rot(&fs, path, offset, change, entries);
        let is_found = found != Found::Nothing || is_unused_room(&fs, path, offset);
        assert!(is_found, "{} at {offset} by {change:#04x}", path.display());
    }
    assert!(peak_memory_bytes() < MEMORY_LIMIT_BYTES, "memory: {}", peak_memory_bytes());
}
