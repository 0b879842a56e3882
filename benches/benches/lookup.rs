//! The parts of a get in a table, taken apart through its public face: a table of one
//! block has no index worth the name, absent keys end at the filter, and tables of more
//! and more blocks differ in their index alone while the keys asked for are few.
//!
//! `cargo bench -p lsm-benches --bench lookup`
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up its data has nothing to measure")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lsm_sstable::{Compression, Table, TableContext, TableWriter, WriterOptions, key_hash};
use lsm_types::{InternalKey, SeqNo, ValueKind};
use lsm_vfs::{MemFs, SplitMix64};
use std::path::Path;
use std::sync::Arc;

type Key = [u8; 16];
/// About one block of 4 KiB, a small table, and a usual one.
const SIZES: [usize; 3] = [30, 10_000, 500_000];

fn keys(count: usize, seed: u64) -> Vec<Key> {
    let mut random = SplitMix64::new(seed);
    let mut draw = || {
        let mut key = Key::default();
        key[..8].copy_from_slice(&random.next_u64().to_be_bytes());
        key[8..].copy_from_slice(&random.next_u64().to_be_bytes());
        key
    };
    let mut keys: Vec<Key> = (0..count).map(|_| draw()).collect();
    keys.sort_unstable();
    keys
}

/// A table of `keys`, uncompressed, with a cache that holds all of it.
fn table(keys: &[Key]) -> Table {
    let fs = Arc::new(MemFs::new());
    let options = WriterOptions { compression: Compression::None, ..WriterOptions::default() };
    let mut writer = TableWriter::create(&*fs, Path::new("t"), 1, &options).unwrap();
    for key in keys {
        writer.add(InternalKey::new(&key[..], 0, ValueKind::Value), &[7; 100]).unwrap();
    }
    let meta = writer.finish(0).unwrap();
    Table::open(&TableContext::new(fs, 1 << 30, 100), "t".into(), 1, &meta).unwrap()
}

/// Asks `table` for `keys` in turn.
fn ask(criterion: &mut Criterion, group: &str, id: BenchmarkId, table: &Table, keys: &[Key]) {
    let mut turn = keys.iter().cycle();
    criterion.benchmark_group(group).bench_function(id, |bencher| {
        bencher.iter(|| {
            let key = turn.next().unwrap();
            table.get(key, key_hash(key), SeqNo::MAX).unwrap().is_some()
        });
    });
}

fn parts(criterion: &mut Criterion) {
    for size in SIZES {
        let present = keys(size, 1);
        let table = table(&present);
        // Sixteen keys, far apart: their blocks stay in the processor's cache.
        let few: Vec<Key> = present.iter().step_by((size / 16).max(1)).copied().collect();
        ask(criterion, "lookup/hot keys: index and block", BenchmarkId::from_parameter(size), &table, &few);
        let absent = keys(100_000, 2);
        ask(criterion, "lookup/absent keys: filter", BenchmarkId::from_parameter(size), &table, &absent);
        let mut turn = absent.iter().cycle();
        criterion.benchmark_group("lookup/absent keys past the filter: index and block").bench_function(
            BenchmarkId::from_parameter(size),
            |bencher| {
                bencher.iter(|| {
                    let key = turn.next().unwrap();
                    table.get_past_filter(key, key_hash(key), SeqNo::MAX).unwrap().is_some()
                });
            },
        );
    }
}

criterion_group!(benches, parts);
criterion_main!(benches);
