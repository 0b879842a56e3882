//! The table: medians, ratios, and a mark where a row misses its target. As text for a
//! terminal and as Markdown for the document; the same rows for both.

use crate::engines::CONFIGURATIONS;
use crate::lines::{Figures, Line};
use crate::run::STANDARD_N;
use crate::targets::{LOG_RIVALS, ROWS, Row, Target, Unit};
use std::fmt::Write;

/// One row, ready to be printed.
struct Printed {
    title: String,
    /// One for each engine.
    figures: Vec<String>,
    log_ratio: String,
    lmdb_ratio: String,
    /// What was asked, each with whether it was met.
    targets: Vec<(String, bool)>,
}

fn engines(figures: &Figures<'_>) -> Vec<&'static str> {
    let known = CONFIGURATIONS.iter().map(|(name, _)| *name).chain(["raw"]);
    known.filter(|engine| figures.lines().any(|line| line.engine == *engine)).collect()
}

/// How good `ours` is beside `rival`: above 1 is better.
fn ratio(unit: Unit, ours: f64, rival: f64) -> f64 {
    if unit.more_is_better() { ours / rival } else { rival / ours }
}

fn best_log(figures: &Figures<'_>, row: &Row) -> Option<f64> {
    let found = LOG_RIVALS.iter().filter_map(|engine| figures.median(engine, row.workload, row.metric));
    match row.unit.more_is_better() {
        true => found.max_by(f64::total_cmp),
        false => found.min_by(f64::total_cmp),
    }
}

/// What `target` asks, and whether `ours` reaches it; `None` when it cannot be told.
fn judge(figures: &Figures<'_>, row: &Row, target: &Target, ours: f64) -> Option<(String, bool)> {
    let against = |name: &str, rival: Option<f64>, factor: f64| {
        rival.map(|rival| (format!("≥ {factor}x {name}"), ratio(row.unit, ours, rival) >= factor))
    };
    match *target {
        Target::BestLog(factor) => against("log", best_log(figures, row), factor),
        Target::Lmdb(factor) => against("LMDB", figures.median("lmdb", row.workload, row.metric), factor),
        Target::Of(engine, workload, factor) => {
            let name =
                if workload == row.workload { engine.to_owned() } else { format!("{engine} {workload}") };
            against(&name, figures.median(engine, workload, row.metric), factor)
        }
        // CPU time grows with n: its bound is one for the n of the published figures.
        Target::AtMost(_) if row.unit == Unit::Seconds && figures.n != STANDARD_N => None,
        Target::AtMost(bound) => Some((format!("≤ {}", shown(row.unit, bound)), ours <= bound)),
        Target::AtLeast(bound) => Some((format!("≥ {}", shown(row.unit, bound)), ours >= bound)),
        Target::AtMostTimes(metric, factor) => {
            let other = figures.median("ours", row.workload, metric)?;
            Some((format!("≤ {factor}x {}", metric.trim_end_matches("_ns")), ours <= factor * other))
        }
    }
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Rate => "k/s",
        Unit::Megabytes => "MB/s",
        Unit::Milliseconds => "ms",
        Unit::Microseconds => "µs",
        Unit::Seconds => "s",
        Unit::Mebibytes => "MiB",
        Unit::Amplification | Unit::Share => "x",
    }
}

fn shown(unit: Unit, value: f64) -> String {
    let value = match unit {
        Unit::Rate | Unit::Microseconds => value / 1e3,
        Unit::Mebibytes => value / f64::from(1 << 20),
        _ => value,
    };
    match value {
        value if value >= 99.5 => format!("{value:.0}"),
        value if value >= 9.95 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn print_row(figures: &Figures<'_>, row: &Row, engines: &[&str]) -> Option<Printed> {
    let cell = |engine: &&str| match figures.median(engine, row.workload, row.metric) {
        Some(value) if figures.was_cut(engine, row.workload) => shown(row.unit, value) + " (cut)",
        Some(value) => shown(row.unit, value),
        None if figures.failure(engine, row.workload).is_some() => "failed".to_owned(),
        None => "–".to_owned(),
    };
    let shown_figures: Vec<String> = engines.iter().map(cell).collect();
    if shown_figures.iter().all(|text| text == "–") {
        return None;
    }
    let ours = figures.median("ours", row.workload, row.metric);
    let against = |rival: Option<f64>| match (ours, rival) {
        (Some(ours), Some(rival)) => format!("{:.2}", ratio(row.unit, ours, rival)),
        _ => "–".to_owned(),
    };
    Some(Printed {
        title: format!("{}, {}", row.title, unit_name(row.unit)),
        figures: shown_figures,
        log_ratio: against(best_log(figures, row)),
        lmdb_ratio: against(figures.median("lmdb", row.workload, row.metric)),
        targets: match ours {
            Some(ours) => row.targets.iter().filter_map(|target| judge(figures, row, target, ours)).collect(),
            None => Vec::new(),
        },
    })
}

fn rows(figures: &Figures<'_>) -> (Vec<&'static str>, Vec<Printed>) {
    let engines = engines(figures);
    let rows = ROWS.iter().filter_map(|row| print_row(figures, row, &engines)).collect();
    (engines, rows)
}

/// Met targets are ticked; a missed one is what a reader must find at once.
fn marks(targets: &[(String, bool)]) -> String {
    let marks: Vec<String> = targets
        .iter()
        .map(|(text, met)| if *met { format!("✓ {text}") } else { format!("✗ MISSES {text}") })
        .collect();
    marks.join(", ")
}

/// Which cells failed, and why; one line each.
pub(crate) fn failures(figures: &Figures<'_>) -> Vec<String> {
    let mut found: Vec<String> = figures
        .lines()
        .filter_map(|line| {
            let failure = figures.failure(&line.engine, &line.workload)?;
            Some(format!("{} under {}: {failure}", line.engine, line.workload))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Every mark of every row that misses.
fn count_marks(rows: &[Printed]) -> (usize, usize) {
    let all = rows.iter().flat_map(|row| &row.targets);
    let missed = all.clone().filter(|(_, met)| !met).count();
    (missed, all.count())
}

/// The table for a terminal.
pub(crate) fn terminal(figures: &Figures<'_>) -> String {
    let (engines, rows) = rows(figures);
    let mut text = format!("\n{:<42}", format!("n = {}", figures.n));
    for engine in engines.iter().copied().chain(["x log", "x LMDB"]) {
        let _ = write!(text, "{engine:>12}");
    }
    text.push('\n');
    for row in &rows {
        let _ = write!(text, "{:<42}", row.title);
        for figure in row.figures.iter().chain([&row.log_ratio, &row.lmdb_ratio]) {
            let _ = write!(text, "{figure:>12}");
        }
        let _ = writeln!(text, "  {}", marks(&row.targets));
    }
    let (missed, all) = count_marks(&rows);
    let _ = writeln!(text, "{missed} of {all} targets missed");
    for failure in failures(figures) {
        let _ = writeln!(text, "FAILED: {failure}");
    }
    text
}

/// The same as Markdown.
pub(crate) fn markdown(figures: &Figures<'_>) -> String {
    let (engines, rows) = rows(figures);
    let mut text = format!("| workload | {} | x best log | x LMDB | asked |\n", engines.join(" | "));
    let _ = writeln!(text, "|---|{}---|---|---|", "---|".repeat(engines.len()));
    for row in &rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.title,
            row.figures.join(" | "),
            row.log_ratio,
            row.lmdb_ratio,
            marks(&row.targets)
        );
    }
    let (missed, all) = count_marks(&rows);
    let _ = writeln!(text, "\n{missed} of {all} targets are missed.");
    for failure in failures(figures) {
        let _ = writeln!(text, "- Failed: {failure}.");
    }
    text
}

/// What is said of a cell when it has ended.
pub(crate) fn progress(line: &Line) -> String {
    let mut text =
        format!("[{}] {:<18} {:<8} {:>6.1} s  ", line.round, line.workload, line.engine, line.cell_seconds);
    if let Some(failure) = &line.failure {
        return text + "FAILED: " + failure;
    }
    for row in ROWS.iter().filter(|row| row.workload == line.workload) {
        if let Some(value) = line.outcome.metrics.get(row.metric) {
            let name = row.metric.trim_end_matches("_ns");
            let _ = write!(text, "{name} {} {}  ", shown(row.unit, *value), unit_name(row.unit));
        }
    }
    if line.outcome.cut {
        text.push_str("(cut: the budget ended before the work)");
    }
    text
}
