//! Owned strings in ordered maps against slices in the memtable: insert and look-up of
//! 100,000 entries of 16 + 100 bytes. What they allocate is counted by `allocations`.
//!
//! `cargo bench -p lsm-benches --bench slices`

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_skiplist::SkipMap;
use lsm_memtable::{IndexKind, Memtable, MemtableOptions};
use lsm_types::{InternalKey, SeqNo, Slice, ValueKind};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{PoisonError, RwLock};

const ENTRIES: u64 = 100_000;
const VALUE: [u8; 100] = [7; 100];
type Key = [u8; 16];

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// What an ordered map must do here.
trait Map {
    fn empty() -> Self;
    fn insert(&self, number: u64, key: &[u8], value: &[u8]);
    /// The first byte of the value.
    fn get(&self, key: &[u8]) -> Option<u8>;
}

/// Owned strings behind one lock.
struct Tree(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Map for Tree {
    fn empty() -> Self {
        Self(RwLock::default())
    }

    fn insert(&self, _: u64, key: &[u8], value: &[u8]) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key.to_vec(), value.to_vec());
    }

    fn get(&self, key: &[u8]) -> Option<u8> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // A caller that owns what it gets.
        map.get(key).cloned().map(|value| value[0])
    }
}

/// Owned strings in a concurrent skip list.
struct Skip(SkipMap<Vec<u8>, Vec<u8>>);

impl Map for Skip {
    fn empty() -> Self {
        Self(SkipMap::new())
    }

    fn insert(&self, _: u64, key: &[u8], value: &[u8]) {
        self.0.insert(key.to_vec(), value.to_vec());
    }

    fn get(&self, key: &[u8]) -> Option<u8> {
        self.0.get(key).map(|entry| entry.value().clone()[0])
    }
}

/// The memtable with slices: of its arena, or counted ones under a skip list.
struct Slices<const SKIP: bool>(Memtable);

impl<const SKIP: bool> Map for Slices<SKIP> {
    fn empty() -> Self {
        let mut options = MemtableOptions::default();
        options.index = if SKIP { IndexKind::SkipMap } else { IndexKind::Tree };
        Self(Memtable::new(options))
    }

    fn insert(&self, number: u64, key: &[u8], value: &[u8]) {
        self.0.insert(InternalKey::new(key, number, ValueKind::Value), value);
    }

    fn get(&self, key: &[u8]) -> Option<u8> {
        self.0.get(key, SeqNo::MAX, |_, _, value| value.as_bytes()[0])
    }
}

fn filled<M: Map>() -> M {
    let map = M::empty();
    (0..ENTRIES).for_each(|number| map.insert(number, &key(number), &VALUE));
    map
}

fn measure<M: Map>(criterion: &mut Criterion, name: &str) {
    let mut group = criterion.benchmark_group("slices/insert");
    group.throughput(Throughput::Elements(ENTRIES)).sample_size(10);
    group.bench_function(name, |bencher| {
        bencher.iter_batched(|| (), |()| filled::<M>(), BatchSize::PerIteration);
    });
    group.finish();
    let (map, mut number) = (filled::<M>(), 0_u64);
    criterion.benchmark_group("slices/get").bench_function(name, |bencher| {
        bencher.iter(|| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            map.get(&key((number >> 32) % ENTRIES))
        });
    });
}

fn maps(criterion: &mut Criterion) {
    measure::<Tree>(criterion, "owned strings, BTreeMap under a lock");
    measure::<Skip>(criterion, "owned strings, SkipMap");
    measure::<Slices<true>>(criterion, "slices, SkipMap");
    measure::<Slices<false>>(criterion, "slices, tree over an arena");
}

/// What handing out costs: a copy into a new string, into a slice, and one more slice of
/// the same bytes.
fn handing_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slices/hand out 100 bytes");
    let (string, slice) = (VALUE.to_vec(), Slice::copy_from(&VALUE));
    group.bench_function("clone of an owned string", |bencher| bencher.iter(|| black_box(string.clone())));
    group.bench_function("copy into a slice", |bencher| bencher.iter(|| black_box(Slice::copy_from(&VALUE))));
    group.bench_function("clone of a slice", |bencher| bencher.iter(|| black_box(slice.clone())));
    group.bench_function("borrow", |bencher| bencher.iter(|| black_box(slice.as_bytes())));
}

criterion_group!(benches, maps, handing_out);
criterion_main!(benches);
