//! Rates, latencies, and what a process used, from the kernel's own account.
//!
//! Called by the workloads, inside the process of one cell. Nothing here judges: it
//! fills an [`Outcome`], which becomes a line of JSON.

use crate::engine::Result;
use hdrhistogram::Histogram;
use quanta::Clock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// What one cell brought: named figures, and curves over time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) metrics: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) series: BTreeMap<String, Vec<f64>>,
    /// Whether the budget ended before the work.
    #[serde(default)]
    pub(crate) cut: bool,
}

impl Outcome {
    pub(crate) fn set(&mut self, name: &str, value: f64) {
        self.metrics.insert(name.to_owned(), value);
    }

    pub(crate) fn push(&mut self, name: &str, value: f64) {
        self.series.entry(name.to_owned()).or_default().push(value);
    }
}

/// Times operations one by one until the work or the budget is at its end.
pub(crate) struct Meter {
    clock: Clock,
    latency: Histogram<u64>,
    /// One operation of so many is timed.
    every: u64,
    budget: Duration,
    started: Instant,
    /// How long the measured part took, once it is over.
    stopped: Option<Duration>,
    operations: u64,
    cut: bool,
}

/// After how many operations the budget is looked at.
const LOOK_EVERY: u64 = 64;

impl Meter {
    /// Times one operation of `every`.
    pub(crate) fn new(every: u64, budget: Duration) -> Result<Self> {
        Ok(Self {
            clock: Clock::new(),
            latency: histogram()?,
            every,
            budget,
            started: Instant::now(),
            stopped: None,
            operations: 0,
            cut: false,
        })
    }

    /// Runs one operation. False when the budget is used up.
    #[inline]
    pub(crate) fn time(&mut self, operation: impl FnOnce() -> Result) -> Result<bool> {
        if self.operations.is_multiple_of(self.every) {
            let before = self.clock.raw();
            operation()?;
            let nanoseconds = self.clock.delta_as_nanos(before, self.clock.raw());
            self.latency.saturating_record(nanoseconds);
        } else {
            operation()?;
        }
        self.operations += 1;
        if self.operations.is_multiple_of(LOOK_EVERY) && self.started.elapsed() >= self.budget {
            self.cut = true;
        }
        Ok(!self.cut)
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// How long the measured part has taken: until now, or until it was stopped.
    pub(crate) fn elapsed(&self) -> Duration {
        self.stopped.unwrap_or_else(|| self.started.elapsed())
    }

    /// Ends the measured part: what comes after it does not count.
    pub(crate) fn stop(&mut self) {
        self.stopped = Some(self.started.elapsed());
    }

    /// What was timed since the last call; begins anew.
    pub(crate) fn take_latency(&mut self) -> Histogram<u64> {
        let taken = self.latency.clone();
        self.latency.reset();
        taken
    }

    /// Writes operations, seconds and latencies into `outcome`, under names that begin
    /// with `prefix`; the rate is called `rate`.
    pub(crate) fn report(&self, outcome: &mut Outcome, prefix: &str, rate: &str) -> f64 {
        let seconds = self.elapsed().as_secs_f64();
        outcome.set(rate, self.operations as f64 / seconds);
        outcome.set(&format!("{prefix}seconds"), seconds);
        outcome.set(&format!("{prefix}operations"), self.operations as f64);
        report_latency(&self.latency, outcome, prefix);
        outcome.cut |= self.cut;
        seconds
    }
}

/// An empty histogram for up to twenty minutes in nanoseconds, right to two digits.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 1_200_000_000_000, 2)?)
}

/// Writes the quantiles of `latency` in nanoseconds.
pub(crate) fn report_latency(latency: &Histogram<u64>, outcome: &mut Outcome, prefix: &str) {
    for (name, quantile) in [("p50_ns", 0.5), ("p99_ns", 0.99), ("p999_ns", 0.999)] {
        outcome.set(&format!("{prefix}{name}"), latency.value_at_quantile(quantile) as f64);
    }
    outcome.set(&format!("{prefix}max_ns"), latency.max() as f64);
}

/// What this process has used since it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time of all threads.
    pub(crate) cpu_seconds: f64,
    /// Bytes that went, or will go, to the disk: pages made dirty, less those that were
    /// dropped with their file before they were written.
    pub(crate) disk_bytes: f64,
    pub(crate) peak_resident_bytes: f64,
}

impl Usage {
    pub(crate) fn now() -> Result<Self> {
        let io = std::fs::read_to_string("/proc/self/io")?;
        let status = std::fs::read_to_string("/proc/self/status")?;
        Ok(Self {
            cpu_seconds: cpu_seconds()?,
            // Less what went with its file before the kernel wrote it.
            disk_bytes: number_after(&io, "write_bytes:") - number_after(&io, "cancelled_write_bytes:"),
            peak_resident_bytes: number_after(&status, "VmHWM:") * 1024.0,
        })
    }
}

/// The kernel counts in hundredths of a second, whatever its own tick is.
const TICKS_A_SECOND: f64 = 100.0;

fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program, in brackets, may hold blanks; user and system time are
    // the 12th and 13th word after it.
    let (_, rest) = stat.rsplit_once(')').ok_or("/proc/self/stat has no name")?;
    let ticks: f64 =
        rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_A_SECOND)
}

fn number_after(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

/// The bytes that the files under `path` occupy on the disk; holes count nothing.
pub(crate) fn disk_bytes(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.blocks() * 512);
    }
    let mut total = 0;
    for entry in std::fs::read_dir(path)? {
        total += disk_bytes(&entry?.path())?;
    }
    Ok(total)
}

/// Writes every dirty page of the files under `path` to the disk, so that later
/// writes to them are counted.
pub(crate) fn sync_tree(path: &Path) -> Result {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            std::fs::File::open(entry.path())?.sync_all()?;
        }
    }
    Ok(())
}
