//! One table of 64 MiB: 500,000 entries of 16-byte random keys and 100-byte values
//! that compress to a half.
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up its data has nothing to measure")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lsm_sstable::{
    Compression, ReadOptions, Table, TableContext, TableMeta, TableWriter, WriterOptions, key_hash,
};
use lsm_types::{Cursor, InternalKey, SeqNo, ValueKind};
use lsm_vfs::{Fs, MemFs, OsFs, SplitMix64};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

const ENTRIES: usize = 500_000;
type Key = [u8; 16];

/// Sorted random keys, and as many that are absent.
fn keys() -> &'static (Vec<Key>, Vec<Key>) {
    static KEYS: OnceLock<(Vec<Key>, Vec<Key>)> = OnceLock::new();
    KEYS.get_or_init(draw_keys)
}

fn draw_keys() -> (Vec<Key>, Vec<Key>) {
    let mut random = SplitMix64::new(1);
    let mut draw = || {
        let mut key = Key::default();
        key[..8].copy_from_slice(&random.next_u64().to_be_bytes());
        key[8..].copy_from_slice(&random.next_u64().to_be_bytes());
        key
    };
    let mut present: Vec<_> = (0..ENTRIES).map(|_| draw()).collect();
    present.sort_unstable();
    (present, (0..ENTRIES).map(|_| draw()).collect())
}

/// The keys in random order.
fn shuffled(keys: &[Key]) -> Vec<Key> {
    let mut random = SplitMix64::new(2);
    let mut keys = keys.to_vec();
    for at in (1..keys.len()).rev() {
        keys.swap(at, random.below(at as u64 + 1) as usize);
    }
    keys
}

fn write(fs: &dyn Fs, path: &Path, keys: &[Key], compression: Compression) -> TableMeta {
    let options = WriterOptions { compression, ..WriterOptions::default() };
    let mut writer = TableWriter::create(fs, path, 1, &options).unwrap();
    let mut random = SplitMix64::new(3);
    let mut value = [0_u8; 100];
    for key in keys {
        value[..50].chunks_mut(8).for_each(|chunk| {
            let noise = random.next_u64().to_le_bytes();
            chunk.copy_from_slice(&noise[..chunk.len()]);
        });
        writer.add(InternalKey::new(&key[..], 0, ValueKind::Value), &value).unwrap();
    }
    writer.finish(0).unwrap()
}

fn open(fs: Arc<dyn Fs>, path: PathBuf, meta: &TableMeta, cache_bytes: u64) -> Arc<Table> {
    let context = TableContext::new(fs, cache_bytes, 100);
    Arc::new(Table::open(&context, path, 1, meta).unwrap())
}

fn get(table: &Table, key: &[u8]) -> bool {
    black_box(table.get(key, key_hash(key), SeqNo::MAX).unwrap()).is_some()
}

/// Calls `each` with the keys in turn, for ever.
fn cycle<'a>(keys: &'a [Key]) -> impl FnMut() -> &'a Key {
    let mut turn = keys.iter().cycle();
    move || turn.next().unwrap()
}

fn gets(criterion: &mut Criterion) {
    let (present, absent) = keys();
    let fs = Arc::new(MemFs::new());
    let meta = write(&*fs, Path::new("t"), present, Compression::None);
    let table = open(fs, "t".into(), &meta, 256 << 20);
    let order = shuffled(present);
    assert!(order.iter().all(|key| get(&table, key)), "each key is there, and now cached");
    let mut group = criterion.benchmark_group("sstable/get");

    let mut next = cycle(&order);
    group.bench_function("hit, all cached", |bench| bench.iter(|| get(&table, next())));
    let mut next = cycle(&order[..200]);
    group.bench_function("hit, hot 200 keys", |bench| bench.iter(|| get(&table, next())));
    let mut next = cycle(absent);
    group.bench_function("absent", |bench| bench.iter(|| get(&table, next())));
    let mut next = cycle(absent);
    group.bench_function("absent, past the filter", |bench| {
        bench.iter(|| {
            let key = next();
            black_box(table.get_past_filter(key, key_hash(key), SeqNo::MAX).unwrap()).is_some()
        });
    });
    group.bench_function("hit, all cached, 2 threads (wall time for each pair)", |bench| {
        bench.iter_custom(|iterations| {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for keys in order.chunks(ENTRIES / 2) {
                    let table = &table;
                    scope.spawn(move || {
                        let mut next = cycle(keys);
                        (0..iterations).for_each(|_| {
                            get(table, next());
                        });
                    });
                }
            });
            start.elapsed()
        });
    });
}

fn uncached(criterion: &mut Criterion) {
    let (present, _) = keys();
    let order = shuffled(present);
    let directory = tempfile::tempdir().unwrap();
    let mut group = criterion.benchmark_group("sstable/uncached, page cache warm");
    for compression in [Compression::None, Compression::Lz4, Compression::Snappy] {
        let path = directory.path().join(format!("{compression}"));
        let meta = write(&OsFs, &path, present, compression);
        let table = open(Arc::new(OsFs), path, &meta, 0);
        let mut next = cycle(&order);
        group.bench_function(format!("get, {compression} compression"), |bench| {
            bench.iter(|| get(&table, next()));
        });
        let options = ReadOptions { fill_cache: false, readahead_bytes: 128 << 10 };
        let mut cursor = table.cursor(options);
        group.bench_function(format!("next, {compression} compression"), |bench| {
            bench.iter(|| step(&mut cursor, true));
        });
    }
}

/// One step of a walk that starts over at its end.
fn step<C: Cursor<Error: std::fmt::Debug>>(cursor: &mut C, forward: bool) {
    match (cursor.valid(), forward) {
        (true, true) => cursor.next(),
        (true, false) => cursor.prev(),
        (false, true) => cursor.seek_to_first(),
        (false, false) => cursor.seek_to_last(),
    }
    .unwrap();
    black_box((cursor.key().user_key.first(), cursor.value().first()));
}

fn scans(criterion: &mut Criterion) {
    let (present, _) = keys();
    let fs = Arc::new(MemFs::new());
    let meta = write(&*fs, Path::new("t"), present, Compression::None);
    let table = open(fs, "t".into(), &meta, 256 << 20);
    let mut cursor = table.cursor(ReadOptions::default());
    let mut group = criterion.benchmark_group("sstable/cursor, all cached");
    for (name, forward) in [("next", true), ("prev", false)] {
        group.bench_function(name, |bench| bench.iter(|| step(&mut cursor, forward)));
    }
    let order = shuffled(present);
    let mut next = cycle(&order);
    group.bench_function("seek", |bench| {
        bench.iter(|| {
            cursor.seek(InternalKey::before_all(next())).unwrap();
            black_box(cursor.key().user_key.first().copied())
        });
    });
}

fn writes(criterion: &mut Criterion) {
    let (present, _) = keys();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    let mut group = criterion.benchmark_group("sstable/write, per entry");
    group.throughput(Throughput::Elements(ENTRIES as u64)).sample_size(10);
    for compression in [Compression::None, Compression::Lz4, Compression::Snappy] {
        group.bench_function(format!("{compression} compression"), |bench| {
            bench.iter(|| {
                let meta = write(&OsFs, &path, present, compression);
                std::fs::remove_file(&path).unwrap();
                meta.file_bytes
            });
        });
    }
    let meta = write(&OsFs, &path, present, Compression::None);
    group.throughput(Throughput::Elements(1));
    group.bench_function("open", |bench| {
        bench.iter(|| open(Arc::new(OsFs), path.clone(), &meta, 0).memory_bytes());
    });
}

criterion_group!(benches, gets, scans, uncached, writes);
criterion_main!(benches);
