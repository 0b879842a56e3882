//! How a read holds on to the version that it reads, alone and beside a second reader;
//! and what that adds to a read of a memtable.
//!
//! `cargo bench -p lsm-benches --bench pin`

use criterion::{Criterion, criterion_group, criterion_main};
use lsm_memtable::{Memtable, MemtableOptions};
use lsm_types::{InternalKey, SeqNo, ValueKind};
use lsm_version::{Readable, VersionHistory};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ENTRIES: u64 = 100_000;

/// A version that holds one memtable.
struct Stand {
    memtable: Memtable,
}

impl Readable for Stand {
    fn is_exact_for(&self, _: SeqNo) -> bool {
        true
    }

    fn seqno(&self) -> SeqNo {
        ENTRIES
    }
}

impl Stand {
    fn get(&self, key: &[u8]) -> Option<u8> {
        self.memtable.get(key, SeqNo::MAX, |_, _, value| value.as_bytes()[0])
    }
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

fn history() -> VersionHistory<Stand> {
    let memtable = Memtable::new(MemtableOptions::default());
    for number in 0..ENTRIES {
        memtable.insert(InternalKey::new(&key(number), number, ValueKind::Value), &[7; 100]);
    }
    VersionHistory::new(Stand { memtable })
}

/// The time of `times` calls on each of `threads` threads at once.
fn on_threads(threads: u64, times: u64, call: &(dyn Fn(u64) + Sync)) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (0..times).for_each(|time| call(time * threads + thread)));
        }
    });
    start.elapsed()
}

fn pins(criterion: &mut Criterion) {
    let history = history();
    type Call<'a> = (&'a str, Box<dyn Fn(u64) + Sync + 'a>);
    let pins: [Call<'_>; 2] = [
        ("lock and clone", Box::new(|_| drop(black_box(history.latest())))),
        ("pin", Box::new(|_| drop(black_box(history.pin())))),
    ];
    let borrowed = history.latest();
    let reads: [Call<'_>; 3] = [
        (
            "no lock",
            Box::new(|time| {
                black_box(borrowed.get(&key(time % ENTRIES)));
            }),
        ),
        (
            "lock and clone",
            Box::new(|time| {
                black_box(history.latest().get(&key(time % ENTRIES)));
            }),
        ),
        (
            "pin",
            Box::new(|time| {
                black_box(history.pin().get(&key(time % ENTRIES)));
            }),
        ),
    ];
    for (group, calls) in [("pin/hold", pins.as_slice()), ("pin/read of a memtable", &reads)] {
        let mut group = criterion.benchmark_group(group);
        for threads in [1, 2] {
            for (name, call) in calls {
                group.bench_function(format!("{name}, {threads} threads"), |bencher| {
                    bencher.iter_custom(|times| on_threads(threads, times, call));
                });
            }
        }
    }
}

criterion_group!(benches, pins);
criterion_main!(benches);
