//! Every workload: what it does, on which data, with which cache, and what it is called.
//!
//! Read by the run, which makes cells of it, by the report and by the document. A new
//! workload is a row here and, if it does something new, a function in `workloads/`.

use crate::data::Layout;

/// What a workload does; each has its function in `workloads/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not measured: fills a database that reads will run on.
    Build,
    Fill,
    Overwrite,
    Batches,
    GetUniform,
    GetZipfian,
    GetMissing,
    ScanForward,
    ScanReverse,
    Seek(u64),
    Prefix,
    Ycsb(char),
    ReadBesideWrite,
    SnapshotUnderChurn,
    SyncCommits(u64),
    Queue,
    OpenClean,
    OpenKilled(u64),
    BulkLoad,
    Overload,
}

/// How the data is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// As each engine's documentation advises.
    Advised,
    /// With LZ4, where the engine has it.
    Lz4,
    None,
}

/// What the data of a workload looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Part of the name of the directory that holds it.
    pub(crate) name: &'static str,
    pub(crate) layout: Layout,
    pub(crate) value_bytes: usize,
    /// Entries are n times the first over the second.
    pub(crate) share: (u64, u64),
    pub(crate) compression: Codec,
}

impl Shape {
    pub(crate) fn entries(&self, n: u64) -> u64 {
        (n * self.share.0 / self.share.1).max(1000)
    }

    /// The bytes of all keys and values.
    pub(crate) fn raw_bytes(&self, n: u64) -> u64 {
        self.entries(n) * (self.layout.key_bytes() + self.value_bytes) as u64
    }
}

/// How large the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheSize {
    /// Twice the data and 64 MiB: everything fits, whatever it costs an entry.
    Fits,
    /// A quarter of the data.
    Quarter,
    /// 128 MiB, this engine's default.
    Default,
}

/// On which data a workload begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Empty,
    /// The settled result of filling in random order, shared by all that only read.
    Settled,
    /// A synced copy of it.
    Copy,
}

/// Who takes part beside us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    All,
    /// RocksDB and fjall.
    Logs,
}

/// One workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    pub(crate) cache: CacheSize,
    pub(crate) start: Start,
    pub(crate) field: Field,
    /// Whether the quick run has it.
    pub(crate) quick: bool,
    /// How often a full run measures it, at most.
    pub(crate) rounds: u32,
    pub(crate) about: &'static str,
}

const STANDARD: Shape = Shape {
    name: "standard",
    layout: Layout::Random,
    value_bytes: 100,
    share: (1, 1),
    compression: Codec::Advised,
};
const SEQUENTIAL: Shape = Shape { name: "sequential", layout: Layout::Sequential, ..STANDARD };
const GROUPED: Shape = Shape { name: "grouped", layout: Layout::Grouped, ..STANDARD };
const LARGE: Shape = Shape { name: "16-kib", value_bytes: 16 << 10, share: (1, 100), ..STANDARD };
const SHARED: Shape = Shape { name: "shared-prefix", layout: Layout::Shared, ..STANDARD };
const SMALL: Shape = Shape { name: "8-byte", value_bytes: 8, ..STANDARD };
const KIB: Shape = Shape { name: "1-kib", value_bytes: 1 << 10, share: (1, 4), ..STANDARD };
const RAW: Shape = Shape { name: "uncompressed", compression: Codec::None, ..STANDARD };
const LZ4: Shape = Shape { name: "lz4", compression: Codec::Lz4, ..STANDARD };
const MANY: Shape = Shape { name: "ten-million", share: (5, 1), ..STANDARD };

const fn workload(name: &'static str, kind: Kind, about: &'static str) -> Workload {
    Workload {
        name,
        kind,
        shape: STANDARD,
        cache: CacheSize::Fits,
        start: Start::Settled,
        field: Field::All,
        quick: false,
        rounds: u32::MAX,
        about,
    }
}

impl Workload {
    const fn on(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    const fn of(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    const fn cache(mut self, cache: CacheSize) -> Self {
        self.cache = cache;
        self
    }

    const fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    /// Bytes of cache at `n`.
    pub(crate) fn cache_bytes(&self, n: u64) -> usize {
        let raw = self.shape.raw_bytes(n) as usize;
        match self.cache {
            CacheSize::Fits => 2 * raw + (64 << 20),
            CacheSize::Quarter => raw / 4,
            CacheSize::Default => 128 << 20,
        }
    }
}

/// The workload called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Workload> {
    WORKLOADS.iter().find(|workload| workload.name == name)
}

/// All workloads in the order of a run; those of one shape stand together, so that its
/// data can be removed after the last of them.
pub(crate) const WORKLOADS: &[Workload] = &[
    workload("fill-sequential", Kind::Fill, "n puts with rising keys into an empty database; then until it has settled")
        .of(SEQUENTIAL).on(Start::Empty).cache(CacheSize::Default).quick(),
    workload("bulk-load", Kind::BulkLoad, "n sorted entries by the way the engine offers for it: ingestion, one appending transaction, or sorted batches")
        .of(SEQUENTIAL).on(Start::Empty).cache(CacheSize::Default),
    workload("fill-random", Kind::Fill, "n puts of new keys in random order into an empty database; then until it has settled")
        .on(Start::Empty).cache(CacheSize::Default).quick(),
    workload("overwrite", Kind::Overwrite, "n puts of random keys that exist; then until it has settled")
        .on(Start::Copy).cache(CacheSize::Default).quick(),
    workload("batches-100", Kind::Batches, "n new keys in random order, 100 in each atomic batch, into an empty database; counted in entries")
        .on(Start::Empty).cache(CacheSize::Default),
    workload("get-cached", Kind::GetUniform, "random keys that exist; the cache holds everything, and is warm").quick(),
    workload("get-zipfian", Kind::GetZipfian, "keys in a zipfian distribution (0.99), data 4 times the cache").cache(CacheSize::Quarter),
    workload("get-uncached", Kind::GetUniform, "random keys that exist, data 4 times the cache; the page cache holds everything").cache(CacheSize::Quarter),
    workload("get-missing", Kind::GetMissing, "random keys that do not exist").quick(),
    workload("scan-forward", Kind::ScanForward, "all entries from the first to the last; counted in entries").quick(),
    workload("scan-reverse", Kind::ScanReverse, "all entries from the last to the first; counted in entries").quick(),
    workload("seek-10", Kind::Seek(10), "a new iterator, a seek to a random place and 10 entries; counted in seeks").quick(),
    workload("seek-100", Kind::Seek(100), "a new iterator, a seek to a random place and 100 entries; counted in seeks"),
    workload("ycsb-a", Kind::Ycsb('a'), "YCSB A: half reads, half updates, zipfian").on(Start::Copy),
    workload("ycsb-b", Kind::Ycsb('b'), "YCSB B: 95 % reads, 5 % updates, zipfian").on(Start::Copy),
    workload("ycsb-c", Kind::Ycsb('c'), "YCSB C: reads, zipfian").on(Start::Copy),
    workload("ycsb-d", Kind::Ycsb('d'), "YCSB D: 95 % reads of recent keys, 5 % inserts").on(Start::Copy),
    workload("ycsb-e", Kind::Ycsb('e'), "YCSB E: 95 % scans of 1 to 100 entries, 5 % inserts").on(Start::Copy),
    workload("ycsb-f", Kind::Ycsb('f'), "YCSB F: half reads, half reads followed by a write of the same key, zipfian").on(Start::Copy),
    workload("read-beside-write", Kind::ReadBesideWrite, "one thread gets random keys while another overwrites random keys at full speed").on(Start::Copy),
    workload("snapshot-churn", Kind::SnapshotUnderChurn, "one thread gets random keys at one snapshot while another overwrites random keys at full speed").on(Start::Copy),
    workload("open-clean", Kind::OpenClean, "open the settled database after it was closed; median of 11"),
    workload("prefix", Kind::Prefix, "all 256 entries of a random prefix; counted in prefixes").of(GROUPED),
    workload("sync-1", Kind::SyncCommits(1), "one thread commits one entry at a time, each on stable storage when the call returns").on(Start::Empty),
    workload("sync-4", Kind::SyncCommits(4), "the same with four threads").on(Start::Empty),
    workload("queue", Kind::Queue, "1000 entries wait; push one at the tail, look at the head, remove it; all of it is one operation").of(SEQUENTIAL).on(Start::Empty),
    workload("open-killed", Kind::OpenKilled(211_000), "open after the process was killed with 211,000 entries in the log").on(Start::Empty),
    workload("open-killed-64m", Kind::OpenKilled(580_000), "open after the process was killed with 64 MiB in the log, under a write buffer of 256 MiB").on(Start::Empty),
    workload("large-fill", Kind::Fill, "n/100 values of 16 KiB under new random keys into an empty database").of(LARGE).on(Start::Empty),
    workload("large-get", Kind::GetUniform, "random keys of values of 16 KiB; the cache holds everything").of(LARGE),
    workload("shared-fill", Kind::Fill, "fill-random with keys of 64 bytes of which 40 are the same").of(SHARED).on(Start::Empty).cache(CacheSize::Default),
    workload("shared-get", Kind::GetUniform, "get-cached with such keys").of(SHARED),
    workload("shared-scan", Kind::ScanForward, "scan-forward with such keys").of(SHARED),
    workload("small-fill", Kind::Fill, "fill-random with values of 8 bytes").of(SMALL).on(Start::Empty).cache(CacheSize::Default),
    workload("small-get", Kind::GetUniform, "get-cached with values of 8 bytes").of(SMALL),
    workload("small-scan", Kind::ScanForward, "scan-forward with values of 8 bytes").of(SMALL),
    workload("kib-fill", Kind::Fill, "fill-random with n/4 values of 1 KiB").of(KIB).on(Start::Empty).cache(CacheSize::Default),
    workload("kib-get", Kind::GetUniform, "get-cached with values of 1 KiB").of(KIB),
    workload("kib-scan", Kind::ScanForward, "scan-forward with values of 1 KiB").of(KIB),
    workload("raw-fill", Kind::Fill, "fill-random without compression").of(RAW).on(Start::Empty).cache(CacheSize::Default),
    workload("raw-get", Kind::GetUniform, "get-cached without compression").of(RAW),
    workload("raw-scan", Kind::ScanForward, "scan-forward without compression").of(RAW),
    workload("lz4-fill", Kind::Fill, "fill-random with LZ4 for all that have it").of(LZ4).on(Start::Empty).cache(CacheSize::Default),
    workload("lz4-get", Kind::GetUniform, "get-cached with LZ4").of(LZ4),
    workload("lz4-scan", Kind::ScanForward, "scan-forward with LZ4").of(LZ4),
    workload("many-fill", Kind::Fill, "fill-random with 5n entries").of(MANY).on(Start::Empty).cache(CacheSize::Default),
    workload("many-get", Kind::GetUniform, "get-uncached with 5n entries").of(MANY).cache(CacheSize::Quarter),
    workload("many-scan", Kind::ScanForward, "scan-forward with 5n entries").of(MANY).cache(CacheSize::Quarter),
    Workload {
        field: Field::Logs,
        rounds: 1,
        ..workload("overload", Kind::Overload, "five minutes of puts at full speed over 10n random keys; latency and rate of each second")
            .on(Start::Empty).cache(CacheSize::Default)
    },
];

/// What builds the data that the workloads of `shape` read.
pub(crate) fn build(shape: Shape) -> Workload {
    workload("build", Kind::Build, "").of(shape).on(Start::Empty).cache(CacheSize::Default)
}
