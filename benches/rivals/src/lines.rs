//! The lines of JSON that a run leaves: one for each cell. They are the state from
//! which a run goes on after it was interrupted, and what reports are made of.

use crate::engine::Result;
use crate::measure::Outcome;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

/// One cell: one engine under one workload in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) engine: String,
    pub(crate) workload: String,
    pub(crate) n: u64,
    pub(crate) round: u32,
    /// Of the harness and of our engine.
    pub(crate) commit: String,
    /// Seconds since 1970.
    pub(crate) time: u64,
    /// How long the whole cell took, its process and its checks included.
    pub(crate) cell_seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// The file that holds them.
pub(crate) struct Lines {
    path: PathBuf,
    pub(crate) all: Vec<Line>,
}

impl Lines {
    /// Reads what an earlier run has left, or nothing.
    pub(crate) fn open(path: &Path, fresh: bool) -> Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        if fresh && path.exists() {
            std::fs::remove_file(path)?;
        }
        let text = if path.exists() { std::fs::read_to_string(path)? } else { String::new() };
        // A run that was killed may have left half a line at the end.
        let all = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(Self { path: path.to_owned(), all })
    }

    pub(crate) fn add(&mut self, line: Line) -> Result {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
        writeln!(file, "{}", serde_json::to_string(&line)?)?;
        self.all.push(line);
        Ok(())
    }

    /// Whether the cell was measured and did not fail.
    pub(crate) fn has(&self, engine: &str, workload: &str, n: u64, round: u32) -> bool {
        self.all.iter().any(|line| {
            line.failure.is_none()
                && (line.engine.as_str(), line.workload.as_str()) == (engine, workload)
                && (line.n, line.round) == (n, round)
        })
    }
}

/// The lines of one `n`, as a report sees them.
pub(crate) struct Figures<'a> {
    pub(crate) n: u64,
    lines: Vec<&'a Line>,
}

impl<'a> Figures<'a> {
    pub(crate) fn new(lines: &'a [Line], n: u64) -> Self {
        Self { n, lines: lines.iter().filter(|line| line.n == n).collect() }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &'a Line> + '_ {
        self.lines.iter().copied()
    }

    fn of(&self, engine: &str, workload: &str) -> impl Iterator<Item = &'a Line> {
        let matches = |line: &&&Line| line.engine == engine && line.workload == workload;
        self.lines.iter().filter(matches).copied().collect::<Vec<_>>().into_iter()
    }

    /// The median over the rounds that did not fail.
    pub(crate) fn median(&self, engine: &str, workload: &str, metric: &str) -> Option<f64> {
        let good = self.of(engine, workload).filter(|line| line.failure.is_none());
        let mut found: Vec<f64> = good.filter_map(|line| line.outcome.metrics.get(metric).copied()).collect();
        found.sort_by(f64::total_cmp);
        let upper = *found.get(found.len() / 2)?;
        let lower = *found.get((found.len() - 1) / 2)?;
        Some((upper + lower) / 2.0)
    }

    /// Why the last attempt failed, if no round went well.
    pub(crate) fn failure(&self, engine: &str, workload: &str) -> Option<&'a str> {
        let lines: Vec<_> = self.of(engine, workload).collect();
        if lines.iter().any(|line| line.failure.is_none()) {
            return None;
        }
        lines.last().and_then(|line| line.failure.as_deref())
    }

    /// Whether the budget ended before the work in any round.
    pub(crate) fn was_cut(&self, engine: &str, workload: &str) -> bool {
        self.of(engine, workload).any(|line| line.outcome.cut)
    }

    /// A curve of the last round that has it.
    pub(crate) fn series(&self, engine: &str, workload: &str, name: &str) -> Option<&'a [f64]> {
        self.of(engine, workload).filter_map(|line| line.outcome.series.get(name)).last().map(Vec::as_slice)
    }
}
