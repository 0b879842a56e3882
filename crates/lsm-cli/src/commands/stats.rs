//! `lsm stats`: what the tree looks like and what it costs.

use crate::database::{close, open_existing};
use crate::failure::{Failure, Outcome};
use crate::output::TextTable;
use crate::units::{bytes, count, thousands};
use lsm_tree::{KeyspaceStats, LevelStats, Stats};
use std::io::{self, Write};
use std::path::PathBuf;

/// Print levels, tables, amplification and cache of a database
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the database
    #[arg(value_name = "DB")]
    db: PathBuf,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let db = open_existing(&args.db)?;
    let stats = db.stats();
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &stats).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    } else {
        write_stats(out, &stats, "")?;
    }
    close(db)?;
    Ok(Outcome::Done)
}

/// Prints the statistics for people, each line after `indent`.
pub(crate) fn write_stats(out: &mut dyn Write, stats: &Stats, indent: &str) -> io::Result<()> {
    for keyspace in &stats.keyspaces {
        write_keyspace(out, keyspace, indent)?;
    }
    let log = &stats.log;
    writeln!(
        out,
        "{indent}log    {} in {}",
        bytes(log.bytes),
        count(log.segments as u64, "segment", "segments")
    )?;
    let cache = &stats.cache;
    write!(out, "{indent}cache  {} in {}", bytes(cache.bytes), count(cache.blocks, "block", "blocks"))?;
    let lookups = cache.hits + cache.misses;
    if lookups > 0 {
        write!(out, ", {:.1} % of {} found", cache.hits as f64 * 100.0 / lookups as f64, thousands(lookups))?;
    }
    writeln!(out)?;
    for trouble in [&stats.read_only_cause, &stats.background_trouble].into_iter().flatten() {
        writeln!(out, "{indent}TROUBLE  {trouble}")?;
    }
    Ok(())
}

fn write_keyspace(out: &mut dyn Write, keyspace: &KeyspaceStats, indent: &str) -> io::Result<()> {
    writeln!(out, "{indent}keyspace '{}', {}", keyspace.name, keyspace.strategy)?;
    let levels: Vec<&LevelStats> = keyspace.levels.iter().filter(|level| level.tables > 0).collect();
    if !levels.is_empty() {
        let mut table = TextTable::default();
        table.row(["level", "runs", "tables", "bytes", "entries", "deletions", "bytes/raw"]);
        for level in &levels {
            table.row([
                level.level.to_string(),
                thousands(level.runs as u64),
                thousands(level.tables as u64),
                bytes(level.bytes),
                thousands(level.entries),
                thousands(level.tombstones + level.range_tombstones),
                format!("{:.2}", level.bytes as f64 / level.raw_bytes.max(1) as f64),
            ]);
        }
        table.write(out, &format!("{indent}  "))?;
    }
    let memory = keyspace.active_memtable_bytes + keyspace.sealed_memtable_bytes;
    let memtables = 1 + keyspace.sealed_memtables as u64;
    writeln!(out, "{indent}  {} in {}", bytes(memory as u64), count(memtables, "memtable", "memtables"))?;
    writeln!(out, "{indent}  {}", amplification(keyspace, &levels, memtables))
}

/// What reading, keeping and writing cost beyond the data itself.
fn amplification(keyspace: &KeyspaceStats, levels: &[&LevelStats], memtables: u64) -> String {
    let runs: u64 = levels.iter().map(|level| level.runs as u64).sum();
    let mut text = format!("amplification: a read asks up to {}", count(runs + memtables, "run", "runs"));
    // Nearly all of the last level is live; what lies above it is newer, or in its place.
    if let Some(last) = levels.last().filter(|last| last.bytes > 0) {
        let ratio = keyspace.table_bytes() as f64 / last.bytes as f64;
        text.push_str(&format!(", {ratio:.2} bytes kept for each of the last level"));
    }
    if let Some(ratio) = keyspace.write_amplification() {
        text.push_str(&format!(", {ratio:.2} bytes written to tables for each one put since the start"));
    }
    text
}
