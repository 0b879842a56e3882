//! [`Stats`]: what a database holds and has done, for people and for programs.

use crate::core::Core;
use crate::engine::Engine;
use lsm_sync::atomic::{AtomicU64, Ordering};
use serde::Serialize;
use std::fmt;

/// What a database holds and has done since it was opened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Each keyspace, by name.
    pub keyspaces: Vec<KeyspaceStats>,
    /// The block cache and the open files.
    pub cache: CacheStats,
    /// The write-ahead log.
    pub log: LogStats,
    /// Open snapshots.
    pub snapshots: usize,
    /// Background jobs that wait.
    pub queued_jobs: usize,
    /// Background jobs that run.
    pub running_jobs: usize,
    /// Every write numbered below this is visible.
    pub published_seqno: u64,
    /// Why the database is read-only, if it is.
    pub read_only_cause: Option<String>,
    /// The last failure of background work that is being tried again.
    pub background_trouble: Option<String>,
}

/// One keyspace.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KeyspaceStats {
    /// Its name.
    pub name: String,
    /// Its compaction strategy.
    pub strategy: String,
    /// Bytes in the active memtable.
    pub active_memtable_bytes: usize,
    /// Memtables that wait to be flushed.
    pub sealed_memtables: usize,
    /// Their bytes.
    pub sealed_memtable_bytes: usize,
    /// Older versions that snapshots still read.
    pub old_versions: usize,
    /// The levels, from the newest data down; empty ones at the end are left out.
    pub levels: Vec<LevelStats>,
    /// Bytes of index and filter of the tables that are open.
    pub table_memory_bytes: usize,
    /// Bytes of keys and values that were written to it.
    pub written_bytes: u64,
    /// Bytes that flushes wrote.
    pub flushed_bytes: u64,
    /// Bytes that compactions read.
    pub compaction_read_bytes: u64,
    /// Bytes that compactions wrote.
    pub compaction_written_bytes: u64,
    /// Flushes that ended.
    pub flushes: u64,
    /// Compactions that ended.
    pub compactions: u64,
    /// Nanoseconds that writers were made to wait.
    pub stalled_ns: u64,
}

/// One level of a keyspace.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LevelStats {
    /// Its number.
    pub level: usize,
    /// Sorted runs.
    pub runs: usize,
    /// Table files.
    pub tables: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Their entries, old versions and tombstones included.
    pub entries: u64,
    /// Their tombstones.
    pub tombstones: u64,
    /// Their range tombstones.
    pub range_tombstones: u64,
    /// Bytes of keys and values before compression.
    pub raw_bytes: u64,
}

/// The block cache and the open files.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Look-ups that found their block.
    pub hits: u64,
    /// Look-ups that had to read.
    pub misses: u64,
    /// Blocks in the cache.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of blocks that only slices and cursors of the application keep alive.
    pub pinned_bytes: u64,
    /// Table files that are open.
    pub open_files: u64,
}

/// The write-ahead log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LogStats {
    /// Segment files.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl KeyspaceStats {
    pub(crate) fn of(core: &Core) -> Self {
        let view = core.history.latest();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &core.counters;
        let mut levels: Vec<LevelStats> =
            (0..).zip(view.tables.levels()).map(|(level, runs)| level_stats(level, runs)).collect();
        while levels.last().is_some_and(|level| level.tables == 0) {
            levels.pop();
        }
        let open = view.tables.tables().filter(|(_, table)| table.is_open());
        Self {
            name: core.name.clone(),
            strategy: core.strategy.name().to_owned(),
            active_memtable_bytes: view.active.approximate_bytes(),
            sealed_memtables: view.sealed.len(),
            sealed_memtable_bytes: view.sealed_bytes(),
            old_versions: core.history.len() - 1,
            levels,
            table_memory_bytes: open.filter_map(|(_, table)| Some(table.table().ok()?.memory_bytes())).sum(),
            written_bytes: load(&counters.written_bytes),
            flushed_bytes: load(&counters.flushed_bytes),
            compaction_read_bytes: load(&counters.compacted_in_bytes),
            compaction_written_bytes: load(&counters.compacted_out_bytes),
            flushes: load(&counters.flushes),
            compactions: load(&counters.compactions),
            stalled_ns: load(&counters.stalls_ns),
        }
    }

    /// Bytes of all tables.
    #[must_use]
    pub fn table_bytes(&self) -> u64 {
        self.levels.iter().map(|level| level.bytes).sum()
    }

    /// Bytes written to tables for each byte the application wrote; `None` before
    /// it wrote any.
    #[must_use]
    pub fn write_amplification(&self) -> Option<f64> {
        let to_tables = self.flushed_bytes + self.compaction_written_bytes;
        (self.written_bytes > 0).then(|| to_tables as f64 / self.written_bytes as f64)
    }
}

fn level_stats(level: usize, runs: &lsm_version::Level) -> LevelStats {
    let sum = |of: fn(&lsm_sstable::TableMeta) -> u64| runs.tables().map(|table| of(table.meta())).sum();
    LevelStats {
        level,
        runs: runs.runs().len(),
        tables: runs.table_count(),
        bytes: runs.size_bytes(),
        entries: sum(|meta| meta.entries),
        tombstones: sum(|meta| meta.tombstones),
        range_tombstones: sum(|meta| meta.range_tombstones),
        raw_bytes: sum(|meta| meta.raw_key_bytes + meta.raw_value_bytes),
    }
}

impl Engine {
    pub(crate) fn stats(&self) -> Stats {
        let cache = self.store.tables.stats();
        let (queued_jobs, running_jobs) = self.scheduler.counts();
        let log = {
            let state = self.commit.lock();
            LogStats { segments: state.log_files().len(), bytes: state.log_bytes() }
        };
        Stats {
            keyspaces: self.cores().iter().map(|core| KeyspaceStats::of(core)).collect(),
            cache: CacheStats {
                hits: cache.hits,
                misses: cache.misses,
                blocks: cache.cached_blocks,
                bytes: cache.cached_bytes,
                pinned_bytes: cache.pinned_bytes,
                open_files: cache.open_files,
            },
            log,
            snapshots: self.snapshots.count(),
            queued_jobs,
            running_jobs,
            published_seqno: self.clock.published(),
            read_only_cause: self.store.failure().map(|cause| cause.to_string()),
            background_trouble: self.trouble().map(|error| error.to_string()),
        }
    }
}

/// Bytes as people read them.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut amount = self.0 as f64;
        let mut unit = 0;
        while amount >= 1024.0 && unit + 1 < UNITS.len() {
            amount /= 1024.0;
            unit += 1;
        }
        let text = if unit == 0 {
            format!("{} B", self.0)
        } else {
            format!("{amount:.1} {}", UNITS.get(unit).copied().unwrap_or_default())
        };
        f.pad(&text)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for keyspace in &self.keyspaces {
            writeln!(f, "{keyspace}")?;
        }
        let cache = &self.cache;
        let lookups = (cache.hits + cache.misses).max(1);
        writeln!(
            f,
            "cache      {} in {} blocks, {:.1} % hits, {} pinned, {} files open",
            Bytes(cache.bytes),
            cache.blocks,
            cache.hits as f64 * 100.0 / lookups as f64,
            Bytes(cache.pinned_bytes),
            cache.open_files
        )?;
        writeln!(f, "log        {} in {} segments", Bytes(self.log.bytes), self.log.segments)?;
        write!(
            f,
            "background {} jobs queued, {} running, {} snapshots open",
            self.queued_jobs, self.running_jobs, self.snapshots
        )?;
        if let Some(cause) = &self.read_only_cause {
            write!(f, "\nREAD-ONLY  {cause}")?;
        }
        if let Some(trouble) = &self.background_trouble {
            write!(f, "\nretrying   {trouble}")?;
        }
        Ok(())
    }
}

impl fmt::Display for KeyspaceStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "keyspace {:?} ({} compaction)", self.name, self.strategy)?;
        writeln!(
            f,
            "  memtables  {} active, {} in {} sealed",
            Bytes(self.active_memtable_bytes as u64),
            Bytes(self.sealed_memtable_bytes as u64),
            self.sealed_memtables
        )?;
        if !self.levels.is_empty() {
            writeln!(f, "  level  runs  tables       bytes     entries  tombstones  bytes/raw")?;
        }
        for level in self.levels.iter().filter(|level| level.tables > 0) {
            writeln!(
                f,
                "  {:>5}  {:>4}  {:>6}  {:>10}  {:>10}  {:>10}  {:>9.2}",
                level.level,
                level.runs,
                level.tables,
                Bytes(level.bytes),
                level.entries,
                level.tombstones + level.range_tombstones,
                level.bytes as f64 / level.raw_bytes.max(1) as f64
            )?;
        }
        write!(
            f,
            "  written    {} by the application, {} by {} flushes, {} by {} compactions",
            Bytes(self.written_bytes),
            Bytes(self.flushed_bytes),
            self.flushes,
            Bytes(self.compaction_written_bytes),
            self.compactions
        )?;
        if let Some(amplification) = self.write_amplification() {
            write!(f, ", write amplification {amplification:.2}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well() {
        let texts: Vec<_> = [0, 1023, 1024, 1 << 20, u64::MAX].map(|n| Bytes(n).to_string()).into();
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "16777216.0 TiB"]);
    }
}
