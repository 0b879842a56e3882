//! The rows of the report, and what each must show: the yardstick as data.

/// How a figure is written, and whether more or less of it is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Operations or entries a second, shown in thousands; more is better.
    Rate,
    /// Megabytes a second; more is better.
    Megabytes,
    Milliseconds,
    /// Stored in nanoseconds, shown in microseconds.
    Microseconds,
    Seconds,
    /// Stored in bytes, shown in MiB.
    Mebibytes,
    /// A ratio of which less is better.
    Amplification,
    /// A ratio of which more is better.
    Share,
}

impl Unit {
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Self::Rate | Self::Megabytes | Self::Share)
    }
}

/// What our figure must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// So many times as good as the best rival with a log-structured tree and a log.
    BestLog(f64),
    /// So many times as good as LMDB.
    Lmdb(f64),
    /// So many times as good as this engine's figure of this workload.
    Of(&'static str, &'static str, f64),
    AtMost(f64),
    AtLeast(f64),
    /// At most so many times another figure of our own in the same workload.
    AtMostTimes(&'static str, f64),
}

/// The rivals that [`Target::BestLog`] means.
pub(crate) const LOG_RIVALS: &[&str] = &["rocksdb", "fjall"];

/// One row of the report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) workload: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) unit: Unit,
    pub(crate) targets: &'static [Target],
}

use Target::{AtLeast, AtMost, AtMostTimes, BestLog, Lmdb, Of};
use Unit::{Amplification, Mebibytes, Megabytes, Microseconds, Milliseconds, Rate, Seconds, Share};

const fn row(
    title: &'static str,
    workload: &'static str,
    metric: &'static str,
    unit: Unit,
    targets: &'static [Target],
) -> Row {
    Row { title, workload, metric, unit, targets }
}

/// At least as good as the best log-structured rival.
const NO_LOSS: &[Target] = &[BestLog(1.0)];

/// Everything that is reported, in the order of the document.
pub(crate) const ROWS: &[Row] = &[
    row("fill sequential", "fill-sequential", "rate", Rate, &[BestLog(2.3), Lmdb(1.25)]),
    row("fill sequential, settled", "fill-sequential", "settled_rate", Rate, &[BestLog(2.3), Lmdb(1.25)]),
    row("fill random", "fill-random", "rate", Rate, &[BestLog(2.8), Lmdb(1.6)]),
    row("fill random, settled", "fill-random", "settled_rate", Rate, &[BestLog(2.8), Lmdb(1.6)]),
    row("overwrite", "overwrite", "rate", Rate, &[BestLog(2.8), Lmdb(2.0)]),
    row("overwrite, settled", "overwrite", "settled_rate", Rate, &[BestLog(2.8), Lmdb(2.0)]),
    row("batches of 100 (entries)", "batches-100", "rate", Rate, &[BestLog(2.9), Lmdb(2.9)]),
    row("bulk load", "bulk-load", "rate", Rate, &[BestLog(1.9), Lmdb(1.7)]),
    row("get uniform, cached", "get-cached", "rate", Rate, &[BestLog(3.3), Lmdb(1.4)]),
    row("get uniform, cached, p50", "get-cached", "p50_ns", Microseconds, &[]),
    row("get uniform, cached, p99", "get-cached", "p99_ns", Microseconds, &[]),
    row("get zipfian, data 4x the cache", "get-zipfian", "rate", Rate, &[BestLog(2.7), Lmdb(0.85)]),
    row("get uniform, data 4x the cache", "get-uncached", "rate", Rate, &[BestLog(2.4), Lmdb(0.7)]),
    row("get missing", "get-missing", "rate", Rate, &[BestLog(1.8), Lmdb(5.0)]),
    row("scan forward (entries)", "scan-forward", "rate", Rate, &[BestLog(2.0), Lmdb(1.3)]),
    row("scan reverse (entries)", "scan-reverse", "rate", Rate, &[BestLog(3.3), Lmdb(1.1)]),
    row("seek + 10", "seek-10", "rate", Rate, &[BestLog(2.6), Lmdb(1.1)]),
    row("seek + 100", "seek-100", "rate", Rate, &[BestLog(2.2), Lmdb(1.4)]),
    row("get uniform, just opened", "get-cached", "first_rate", Rate, NO_LOSS),
    row("seek + 10, just opened", "seek-10", "first_rate", Rate, NO_LOSS),
    row("seek + 100, just opened", "seek-100", "first_rate", Rate, NO_LOSS),
    row("prefix of 256", "prefix", "rate", Rate, &[BestLog(2.2), Lmdb(1.4)]),
    row("YCSB A", "ycsb-a", "rate", Rate, &[BestLog(2.4), Lmdb(1.1)]),
    row("YCSB B", "ycsb-b", "rate", Rate, &[BestLog(2.4), Lmdb(1.1)]),
    row("YCSB C", "ycsb-c", "rate", Rate, &[BestLog(3.3), Lmdb(1.4)]),
    row("YCSB D", "ycsb-d", "rate", Rate, &[BestLog(2.4), Lmdb(1.1)]),
    row("YCSB E", "ycsb-e", "rate", Rate, &[BestLog(2.4), Lmdb(1.1)]),
    row("YCSB F", "ycsb-f", "rate", Rate, &[BestLog(2.4), Lmdb(1.1)]),
    row("reader beside a writer: reads", "read-beside-write", "read_rate", Rate, &[BestLog(1.9), Lmdb(0.75)]),
    row(
        "reader beside a writer: writes",
        "read-beside-write",
        "write_rate",
        Rate,
        &[BestLog(1.9), Lmdb(1.5)],
    ),
    row("reader beside a writer: read p50", "read-beside-write", "read_p50_ns", Microseconds, &[]),
    row("reader beside a writer: read p99", "read-beside-write", "read_p99_ns", Microseconds, &[]),
    row(
        "reader beside a writer: read p99.9",
        "read-beside-write",
        "read_p999_ns",
        Microseconds,
        &[AtMost(10e3)],
    ),
    row(
        "reader beside a writer: worst read",
        "read-beside-write",
        "read_max_ns",
        Microseconds,
        &[AtMost(5e6)],
    ),
    row("reader beside a writer: worst write", "read-beside-write", "write_max_ns", Microseconds, &[]),
    row("snapshot under churn: reads", "snapshot-churn", "read_rate", Rate, &[BestLog(2.2), Lmdb(0.65)]),
    row("snapshot under churn: writes", "snapshot-churn", "write_rate", Rate, &[BestLog(1.5), Lmdb(10.0)]),
    row("fsync a commit, 1 thread", "sync-1", "rate", Rate, &[Of("raw", "sync-1", 0.8), Lmdb(3.0)]),
    row(
        "fsync a commit, 4 threads",
        "sync-4",
        "rate",
        Rate,
        &[Of("ours", "sync-1", 1.8), BestLog(1.3), Lmdb(5.0)],
    ),
    row("queue", "queue", "rate", Rate, &[BestLog(90.0), Lmdb(0.5)]),
    row("queue: last rate over first", "queue", "last_over_first", Share, &[AtLeast(0.8)]),
    row("values of 16 KiB: fill", "large-fill", "megabytes_a_second", Megabytes, &[BestLog(1.7), Lmdb(1.2)]),
    row("values of 16 KiB: get", "large-get", "rate", Rate, &[BestLog(1.7), Lmdb(0.75)]),
    row("values of 16 KiB: get, just opened", "large-get", "first_rate", Rate, NO_LOSS),
    row("open, clean", "open-clean", "milliseconds", Milliseconds, &[BestLog(3.0)]),
    row("open, clean, and get", "open-clean", "first_get_milliseconds", Milliseconds, &[]),
    row("open, 211,000 entries in the log", "open-killed", "milliseconds", Milliseconds, &[BestLog(3.6)]),
    row("open, 64 MiB in the log", "open-killed-64m", "milliseconds", Milliseconds, NO_LOSS),
    row("fill random: p50", "fill-random", "p50_ns", Microseconds, &[]),
    row("fill random: p99", "fill-random", "p99_ns", Microseconds, &[]),
    row("fill random: p99.9", "fill-random", "p999_ns", Microseconds, &[AtMostTimes("p50_ns", 10.0)]),
    row("fill random: worst put", "fill-random", "max_ns", Microseconds, &[AtMost(50e6)]),
    row("overwrite: p99.9", "overwrite", "p999_ns", Microseconds, &[AtMostTimes("p50_ns", 10.0)]),
    row("overwrite: worst put", "overwrite", "max_ns", Microseconds, &[AtMost(50e6)]),
    row(
        "fill random: write amplification",
        "fill-random",
        "write_amplification",
        Amplification,
        &[AtMost(2.0)],
    ),
    row(
        "fill random: space over raw bytes",
        "fill-random",
        "space_amplification",
        Amplification,
        &[AtMost(0.65)],
    ),
    row("fill random: CPU", "fill-random", "cpu_seconds", Seconds, &[AtMost(4.0)]),
    row(
        "fill random: peak memory",
        "fill-random",
        "peak_resident_bytes",
        Mebibytes,
        &[Of("rocksdb", "fill-random", 1.0)],
    ),
    row("64-byte keys, 40 shared: fill", "shared-fill", "rate", Rate, NO_LOSS),
    row("64-byte keys, 40 shared: get", "shared-get", "rate", Rate, NO_LOSS),
    row("64-byte keys, 40 shared: scan", "shared-scan", "rate", Rate, NO_LOSS),
    row("values of 8 bytes: fill", "small-fill", "rate", Rate, NO_LOSS),
    row("values of 8 bytes: get", "small-get", "rate", Rate, NO_LOSS),
    row("values of 8 bytes: scan", "small-scan", "rate", Rate, NO_LOSS),
    row("values of 1 KiB: fill", "kib-fill", "rate", Rate, NO_LOSS),
    row("values of 1 KiB: get", "kib-get", "rate", Rate, NO_LOSS),
    row("values of 1 KiB: scan", "kib-scan", "rate", Rate, NO_LOSS),
    row("without compression: fill", "raw-fill", "rate", Rate, NO_LOSS),
    row("without compression: get", "raw-get", "rate", Rate, NO_LOSS),
    row("without compression: scan", "raw-scan", "rate", Rate, NO_LOSS),
    row("with LZ4: fill", "lz4-fill", "rate", Rate, NO_LOSS),
    row("with LZ4: get", "lz4-get", "rate", Rate, NO_LOSS),
    row("with LZ4: scan", "lz4-scan", "rate", Rate, NO_LOSS),
    row("5n entries: fill", "many-fill", "rate", Rate, NO_LOSS),
    row("5n entries: fill, settled", "many-fill", "settled_rate", Rate, NO_LOSS),
    row("5n entries: get, data 4x the cache", "many-get", "rate", Rate, NO_LOSS),
    row("5n entries: scan", "many-scan", "rate", Rate, NO_LOSS),
    row("overload: puts", "overload", "rate", Rate, NO_LOSS),
    row("overload: p99", "overload", "p99_ns", Microseconds, &[]),
    row("overload: p99.9", "overload", "p999_ns", Microseconds, &[]),
    row("overload: worst put", "overload", "max_ns", Microseconds, &[]),
];
