//! `approximate_bytes` decides when to rotate, so it must be what the process really
//! pays. One test in a process of its own: it watches the resident memory.
#![cfg(all(target_os = "linux", not(lsm_loom)))]

use lsm_memtable::{IndexKind, Memtable, MemtableOptions};
use lsm_types::{InternalKey, Slice, ValueKind};

/// Resident memory of this process, in bytes, without what is mapped from files.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    assert!(kibibytes.is_some(), "the kernel says nothing about resident memory:\n{status}");
    kibibytes.unwrap_or_default() * 1024
}

fn check(name: &str, index: IndexKind, fill: impl Fn(&Memtable)) {
    let mut options = MemtableOptions::default();
    options.index = index;
    let before = resident_bytes();
    let memtable = Memtable::new(options);
    fill(&memtable);
    let real = resident_bytes() - before;
    let claimed = memtable.approximate_bytes();
    println!("{name}: {real} bytes resident, {claimed} claimed, {} an entry", claimed / memtable.len());
    let error = (claimed as f64 / real as f64 - 1.0).abs();
    assert!(error < 0.15, "{name}: a memtable claims {claimed} bytes and takes {real}");
    // Given back to nobody: the next case must not run on memory that this one paid for.
    std::mem::forget(memtable);
}

/// A key of 16 bytes that is nowhere near the one before.
fn scattered(number: u64) -> [u8; 16] {
    let high = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (u128::from(high) << 64 | u128::from(number)).to_be_bytes()
}

#[test]
fn the_bytes_claimed_are_the_bytes_taken() {
    let put = |memtable: &Memtable, key: &[u8], number: u64, value: &[u8]| {
        memtable.insert(InternalKey::new(key, number, ValueKind::Value), value);
    };
    for (name, index, count) in
        [("tree", IndexKind::Tree, 400_000), ("skip list", IndexKind::SkipMap, 150_000)]
    {
        check(&format!("{name}, random keys"), index, |memtable| {
            (0..count).for_each(|number| put(memtable, &scattered(number), number, &[7; 100]));
        });
        check(&format!("{name}, ascending keys"), index, |memtable| {
            (0..count).for_each(|number| put(memtable, &number.to_be_bytes(), number, &[7; 100]));
        });
        check(&format!("{name}, small entries"), index, |memtable| {
            (0..count).for_each(|number| put(memtable, &scattered(number)[..8], number, b"8 bytes!"));
        });
        check(&format!("{name}, large values"), index, |memtable| {
            (0..4_000).for_each(|number| put(memtable, &scattered(number), number, &[7; 10_000]));
        });
        check(&format!("{name}, shared values"), index, |memtable| {
            for number in 0..40_000 {
                let key = InternalKey::new(Slice::copy_from(&scattered(number)), number, ValueKind::Value);
                memtable.insert_shared(key, Slice::copy_from(&[7; 500]));
            }
        });
    }
}
