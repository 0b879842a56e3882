//! Merging sorted sources: 100,000 entries in 1 to 16 memtables, spread evenly or in
//! streaks of 100 from one source, as levelled tables have them.
//!
//! `cargo bench -p lsm-benches --bench merge`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lsm_memtable::{Memtable, MemtableCursor, MemtableOptions};
use lsm_merge::MergeCursor;
use lsm_types::{Cursor, InternalKey, SeqNo, ValueKind};
use std::sync::Arc;

const ENTRIES: u64 = 100_000;
const VALUE: [u8; 100] = [7; 100];

/// `count` memtables, each with every `count`-th streak of entries.
fn sources(count: u64, streak: u64) -> Vec<Arc<Memtable>> {
    let sources: Vec<_> = (0..count).map(|_| Arc::new(Memtable::new(MemtableOptions::default()))).collect();
    for number in 0..ENTRIES {
        let key = [number.to_be_bytes(), *b"-padding"].concat();
        let source = &sources[(number / streak % count) as usize];
        source.insert(InternalKey::new(&key, number, ValueKind::Value), &VALUE);
    }
    sources
}

fn merge(sources: &[Arc<Memtable>]) -> MergeCursor<MemtableCursor> {
    MergeCursor::new(sources.iter().map(Memtable::cursor).collect())
}

fn walk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge/walk, per entry");
    group.throughput(Throughput::Elements(ENTRIES)).sample_size(10);
    for (shape, streak) in [("even", 1), ("streaks of 100", 100)] {
        for count in [1, 2, 4, 8, 16] {
            let sources = sources(count, streak);
            group.bench_function(BenchmarkId::new(format!("{shape}, forward"), count), |bencher| {
                bencher.iter(|| {
                    let (mut cursor, mut sum) = (merge(&sources), 0);
                    let Ok(()) = cursor.seek_to_first();
                    while cursor.valid() {
                        sum += cursor.key().user_key.len() + usize::from(cursor.value()[0]);
                        let Ok(()) = cursor.next();
                    }
                    sum
                });
            });
            group.bench_function(BenchmarkId::new(format!("{shape}, backward"), count), |bencher| {
                bencher.iter(|| {
                    let (mut cursor, mut sum) = (merge(&sources), 0);
                    let Ok(()) = cursor.seek_to_last();
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

fn seek(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge/seek");
    for count in [1, 4, 16] {
        let sources = sources(count, 1);
        let mut cursor = merge(&sources);
        let mut number = 1_u64;
        group.bench_function(BenchmarkId::new("even", count), |bencher| {
            bencher.iter(|| {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = [((number >> 32) % ENTRIES).to_be_bytes(), *b"-padding"].concat();
                let Ok(()) = cursor.seek(InternalKey::new(key.as_slice(), SeqNo::MAX >> 8, ValueKind::Value));
                usize::from(cursor.value().first().copied().unwrap_or(0))
            });
        });
    }
}

criterion_group!(benches, walk, seek);
criterion_main!(benches);
