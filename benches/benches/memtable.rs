//! The memtable's two indexes: inserts, look-ups and steps over a million entries of
//! 16 + 100 bytes, and over keys that share a long prefix.
//!
//! `cargo bench -p lsm-benches --bench memtable`

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lsm_memtable::{IndexKind, Memtable, MemtableOptions};
use lsm_types::{Cursor, InternalKey, SeqNo, ValueKind};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ENTRIES: u64 = 1_000_000;
const VALUE: [u8; 100] = [7; 100];
const INDEXES: [IndexKind; 2] = [IndexKind::Tree, IndexKind::SkipMap];

/// Turns a number into a key.
type KeyOf = fn(u64) -> Vec<u8>;

/// A bijection that scatters numbers (the end of splitmix64).
fn scatter(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn random_key(number: u64) -> Vec<u8> {
    [scatter(number + 1).to_be_bytes(), number.to_be_bytes()].concat()
}

fn sequential_key(number: u64) -> Vec<u8> {
    format!("{number:016}").into_bytes()
}

fn prefixed_key(number: u64) -> Vec<u8> {
    format!("tenant/0042/orders/{:012}", scatter(number + 1) % 1_000_000_000_000).into_bytes()
}

const SHAPES: [(&str, KeyOf); 3] =
    [("random", random_key), ("sequential", sequential_key), ("prefixed", prefixed_key)];

fn empty(index: IndexKind) -> Arc<Memtable> {
    let mut options = MemtableOptions::default();
    options.index = index;
    Arc::new(Memtable::new(options))
}

fn keys(key_of: KeyOf) -> Vec<Vec<u8>> {
    (0..ENTRIES).map(key_of).collect()
}

fn filled(index: IndexKind, keys: &[Vec<u8>]) -> Arc<Memtable> {
    let memtable = empty(index);
    for (seqno, key) in keys.iter().enumerate() {
        memtable.insert(InternalKey::new(key, seqno as SeqNo, ValueKind::Value), &VALUE);
    }
    memtable
}

fn insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memtable/insert");
    group.throughput(Throughput::Elements(ENTRIES)).sample_size(10).measurement_time(Duration::from_secs(12));
    for (shape, key_of) in SHAPES {
        let keys = keys(key_of);
        for index in INDEXES {
            group.bench_function(BenchmarkId::new(format!("{index:?}"), shape), |bencher| {
                bencher.iter_batched(|| (), |()| filled(index, &keys), BatchSize::PerIteration);
            });
        }
    }
}

/// Asks for keys that come in another scattered order than they were inserted in.
fn get(criterion: &mut Criterion) {
    for (shape, key_of) in SHAPES {
        let keys = keys(key_of);
        let missing: Vec<_> = keys.iter().map(|key| [key.as_slice(), b"!"].concat()).collect();
        let mut group = criterion.benchmark_group("memtable/get");
        for index in INDEXES {
            let memtable = filled(index, &keys);
            for (name, asked) in [("hit", &keys), ("miss", &missing)] {
                let mut number = 0;
                group.bench_function(BenchmarkId::new(format!("{index:?}/{name}"), shape), |bencher| {
                    bencher.iter(|| {
                        number += 1;
                        let key = &asked[(scatter(number) % ENTRIES) as usize];
                        memtable.get(key, SeqNo::MAX, |_, _, value| black_box(value.as_bytes()[0]))
                    });
                });
            }
        }
    }
}

fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memtable/scan");
    group.throughput(Throughput::Elements(ENTRIES)).sample_size(10);
    for (shape, key_of) in SHAPES {
        let keys = keys(key_of);
        for index in INDEXES {
            let memtable = filled(index, &keys);
            group.bench_function(BenchmarkId::new(format!("{index:?}/forward"), shape), |bencher| {
                bencher.iter(|| {
                    let mut cursor = memtable.cursor();
                    let Ok(()) = cursor.seek_to_first();
                    let mut sum = 0;
                    while cursor.valid() {
                        sum += cursor.key().user_key.len() + usize::from(cursor.value()[0]);
                        let Ok(()) = cursor.next();
                    }
                    sum
                });
            });
            group.bench_function(BenchmarkId::new(format!("{index:?}/backward"), shape), |bencher| {
                bencher.iter(|| {
                    let mut cursor = memtable.cursor();
                    let Ok(()) = cursor.seek_to_last();
                    let mut sum = 0;
                    while cursor.valid() {
                        sum += cursor.key().user_key.len() + usize::from(cursor.value()[0]);
                        let Ok(()) = cursor.prev();
                    }
                    sum
                });
            });
        }
    }
}

/// What it costs to let a memtable go.
fn release(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memtable/drop");
    group.throughput(Throughput::Elements(ENTRIES)).sample_size(10);
    let keys = keys(random_key);
    for index in INDEXES {
        group.bench_function(format!("{index:?}"), |bencher| {
            bencher.iter_custom(|times| {
                let drop_one = |_| {
                    let memtable = filled(index, &keys);
                    let start = Instant::now();
                    drop(memtable);
                    start.elapsed()
                };
                (0..times).map(drop_one).sum()
            });
        });
    }
}

criterion_group!(benches, insert, get, scan, release);
criterion_main!(benches);
