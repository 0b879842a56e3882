//! Appending to the log on a real file: one record a write, a group of 32 records a
//! write, and one record a sync.
//!
//! `cargo bench -p lsm-benches --bench log`
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up its data has nothing to measure")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lsm_log::{LogOptions, LogWriter, Recovered, SegmentId};
use lsm_vfs::OsFs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Records of one small put, of a batch, and of one large value.
const LENGTHS: [usize; 3] = [130, 4096, 65536];
const GROUP: u64 = 32;
/// So much may be written before old segments are removed.
const KEPT_BYTES: u64 = 256 << 20;

struct Log {
    writer: LogWriter,
    directory: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let writer = start(directory.path());
        Self { writer, directory }
    }

    fn append(&mut self, payload: &[u8], records: u64) {
        (0..records).for_each(|_| self.writer.stage(&[payload]).unwrap());
        self.writer.write_staged().unwrap();
        if self.writer.segments().len() as u64 * LogOptions::default().segment_bytes > KEPT_BYTES {
            *self = Self::new();
        }
    }

    fn append_durably(&mut self, payload: &[u8]) {
        self.writer.stage(&[payload]).unwrap();
        let end = self.writer.write_staged().unwrap();
        self.writer.group_sync().sync_through(end).unwrap();
        assert!(self.directory.path().exists(), "the log is still there");
    }
}

fn start(directory: &Path) -> LogWriter {
    let number = AtomicU64::new(0);
    let ids = Arc::new(move || {
        // Relaxed: the number alone is what is shared.
        let number = number.fetch_add(1, Ordering::Relaxed) + 1;
        SegmentId { number, uid: number ^ 0xabcd }
    });
    LogWriter::start(Arc::new(OsFs), directory.to_owned(), LogOptions::default(), ids, &Recovered::default())
        .unwrap()
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/append");
    for length in LENGTHS {
        let payload = vec![7; length];
        for (name, records) in [("1 record a write", 1), ("32 records a write", GROUP)] {
            let mut log = Log::new();
            group.throughput(Throughput::Bytes(records * length as u64));
            group.bench_function(BenchmarkId::new(name, length), |bencher| {
                bencher.iter(|| log.append(&payload, records));
            });
        }
    }
}

fn sync(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/append and sync");
    for length in LENGTHS {
        let (mut log, payload) = (Log::new(), vec![7; length]);
        group.bench_function(BenchmarkId::new("1 record", length), |bencher| {
            bencher.iter(|| log.append_durably(&payload));
        });
    }
}

criterion_group!(benches, append, sync);
criterion_main!(benches);
