//! Limits that are kept: memory, processor time when there is nothing to do, bits of
//! filters. Numbers refer to the same list of faults as in `incumbents.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_tree::{KeyspaceOptions, Options, Profile};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

fn memory() -> (MemFs, Options) {
    let fs = MemFs::new();
    let mut options = Options::default();
    options.advanced().fs(Arc::new(fs.clone()));
    (fs, options)
}

fn small_tables() -> KeyspaceOptions {
    KeyspaceOptions::default().table_size(32 << 10).level_base_size(128 << 10)
}

const CHILD: &str = "LSM_SIM_MEASURED_CHILD";

/// Not a test of its own: work whose processor time or memory is measured from a
/// process that does nothing else.
#[test]
fn child_that_is_measured() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let dir = tempfile::tempdir().unwrap();
    let number = match what.as_str() {
        "idle" => {
            let database = Options::default().write_buffer_size(64 << 10).open(dir.path()).unwrap();
            let keyspace = database.keyspace("k", small_tables()).unwrap();
            for number in 0..5_000_u32 {
                keyspace.insert(number.to_be_bytes(), [7; 100]).unwrap();
            }
            database.wait_idle().unwrap();
            let before = processor_ticks();
            thread::sleep(Duration::from_millis(700));
            processor_ticks() - before
        }
        "memory" => {
            let database = Options::default().profile(Profile::SmallMemory).open(dir.path()).unwrap();
            let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
            for number in 0..600_000_u64 {
                keyspace.insert(lsm_vfs::mix64(number).to_be_bytes(), [number as u8; 100]).unwrap();
            }
            peak_resident_kib()
        }
        other => panic!("{other}"),
    };
    println!("measured: {number}");
}

fn processor_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn peak_resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

fn measure(what: &str) -> u64 {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["child_that_is_measured", "--exact", "--nocapture"])
        .env(CHILD, what)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let output = String::from_utf8(child.stdout).unwrap();
    let number = output.lines().find_map(|line| line.split("measured: ").nth(1));
    number.unwrap_or_else(|| panic!("{output}")).parse().unwrap()
}

// 10
#[test]
fn an_idle_database_does_not_spin() {
    let ticks = measure("idle");
    assert!(ticks < 20, "an idle database used {ticks} of 70 ticks");
}

// 15
#[test]
fn the_write_buffer_is_a_limit_and_not_a_wish() {
    let (_fs, options) = memory();
    let mut options = options.write_buffer_size(256 << 10);
    options.advanced().max_sealed_memtables(2);
    let database = options.open("db").unwrap();
    let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
    for number in 0..40_000_u64 {
        keyspace.insert(lsm_vfs::mix64(number).to_be_bytes(), [1; 100]).unwrap();
        if number % 500 == 0 {
            let stats = &database.stats().keyspaces[0];
            let bytes = stats.active_memtable_bytes + stats.sealed_memtable_bytes;
            assert!(
                bytes < 4 * (256 << 10),
                "{bytes} bytes in {} sealed memtables and the active one, under a limit of 3 x 256 KiB",
                stats.sealed_memtables
            );
        }
    }
}

// 15
#[test]
fn fractions_of_filter_bits_count() {
    let size = |bits| {
        let (fs, options) = memory();
        let database = options.open("db").unwrap();
        let keyspace = database.keyspace("k", KeyspaceOptions::default().filter_bits_per_key(bits)).unwrap();
        for number in 0..20_000_u32 {
            keyspace.insert(number.to_be_bytes(), "").unwrap();
        }
        keyspace.flush().unwrap();
        database.close().unwrap();
        let tables = fs.read_dir(Path::new("db")).unwrap();
        tables.iter().filter(|file| file.name.ends_with(".sst")).map(|file| file.len_bytes).sum::<u64>()
    };
    let (ten, more, eleven) = (size(10.0), size(10.6), size(11.0));
    assert!(ten + 500 < more && more + 500 < eleven, "tables of {ten}, {more} and {eleven} bytes");
}

// 19
#[test]
fn memory_stays_near_what_was_asked_for() {
    // 4 MiB of write buffer and 8 MiB of cache were asked for; 65 MB are written.
    let kib = measure("memory");
    assert!(kib < 80 << 10, "the process reached {} MiB", kib >> 10);
}
