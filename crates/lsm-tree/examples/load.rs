//! Loads random entries, reads them back at random, walks them in both directions, and
//! prints rates and resident memory: `cargo run --release -p lsm-tree --example load -- 10000000`.

use lsm_tree::{Database, KeyspaceOptions, Result};
use std::time::Instant;

/// The key of the entry `index`: 16 bytes that look random and differ for each index.
fn key(index: u64) -> [u8; 16] {
    let mut mixed = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mixed.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

/// A value of 100 bytes, half of them compressible.
fn value(index: u64) -> [u8; 100] {
    let mut value = [b'v'; 100];
    let mut state = index.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
    for chunk in value[..50].chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    value
}

/// Peak and present resident memory, from the kernel's own account.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    format!("{}  {}", line("VmHWM"), line("VmRSS"))
}

fn report(what: &str, count: u64, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    println!("{what:<24} {:>10.0} a second, {seconds:.1} s; {}", count as f64 / seconds, memory());
}

fn main() -> Result<()> {
    let count: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let path = std::env::args().nth(2).unwrap_or_else(|| "load.db".to_owned());
    let db = Database::open(&path)?;
    let entries = db.keyspace("entries", KeyspaceOptions::default())?;

    let start = Instant::now();
    for index in 0..count {
        entries.insert(key(index), value(index))?;
    }
    report("fill random", count, start);
    entries.flush()?;
    db.wait_idle()?;
    report("fill random, settled", count, start);
    println!("{}", db.stats());

    let reads = count.min(1_000_000);
    let start = Instant::now();
    for step in 0..reads {
        let index = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count;
        assert!(
            entries.get(key(index))?.is_some_and(|found| found == value(index)),
            "entry {index} is wrong"
        );
    }
    report("get", reads, start);
    let start = Instant::now();
    for step in 0..reads {
        assert_eq!(entries.get(key(count + step))?, None);
    }
    report("get missing", reads, start);

    let mut cursor = entries.cursor();
    let (mut forward, mut backward) = (0, 0);
    let start = Instant::now();
    cursor.seek_to_first()?;
    while cursor.valid() {
        forward += 1;
        cursor.next()?;
    }
    report("scan forward", forward, start);
    let start = Instant::now();
    cursor.seek_to_last()?;
    while cursor.valid() {
        backward += 1;
        cursor.prev()?;
    }
    report("scan reverse", backward, start);
    assert_eq!((forward, backward), (count, count));
    println!("{}", db.stats());
    db.close()
}
