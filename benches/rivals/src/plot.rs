//! Plots as SVG: bars of our ratio to each rival, and curves over time.

use crate::engine::{Failure, Result};
use crate::lines::Figures;
use crate::targets::{ROWS, Row, Unit};
use plotters::prelude::*;
use std::path::Path;

/// The colour of each engine, the same in every plot.
const COLOURS: &[(&str, RGBColor)] = &[
    ("ours", RGBColor(0, 95, 175)),
    ("rocksdb", RGBColor(200, 120, 0)),
    ("fjall", RGBColor(0, 140, 90)),
    ("lmdb", RGBColor(170, 50, 60)),
    ("redb", RGBColor(120, 90, 160)),
];

/// The bar charts: a name for the file, a title, and the workloads in it.
const CHARTS: &[(&str, &str, &[&str])] = &[
    ("writes", "writes, thousands a second", &["fill-sequential", "fill-random", "overwrite", "batches-100"]),
    (
        "gets",
        "point reads, thousands a second",
        &["get-cached", "get-zipfian", "get-uncached", "get-missing"],
    ),
    ("scans", "scans, thousands of entries a second", &["scan-forward", "scan-reverse"]),
    ("seeks", "seeks and prefixes, thousands a second", &["seek-10", "seek-100", "prefix"]),
    ("ycsb", "YCSB, thousands a second", &["ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f"]),
    ("mixed", "a reader beside a writer, thousands a second", &["read-beside-write", "snapshot-churn"]),
    ("sync", "durable commits, thousands a second", &["sync-1", "sync-4"]),
];

/// Draws every plot for which there are figures; the names of the files.
pub(crate) fn draw(figures: &Figures<'_>, directory: &Path) -> Result<Vec<(String, String)>> {
    std::fs::create_dir_all(directory)?;
    let mut drawn = Vec::new();
    for (name, title, workloads) in CHARTS {
        let rows: Vec<&Row> = ROWS
            .iter()
            .filter(|row| row.unit == Unit::Rate && workloads.contains(&row.workload))
            .filter(|row| figures.median("ours", row.workload, row.metric).is_some())
            .collect();
        if !rows.is_empty() {
            bars(figures, title, &rows, &directory.join(format!("{name}.svg")))?;
            drawn.push(((*name).to_owned(), (*title).to_owned()));
        }
    }
    let curves = [
        ("queue", "queue", "rate", "queue: operations a second over time"),
        ("overload", "overload", "rate", "overload: puts a second, each second"),
        ("overload-p99", "overload", "p99_ns", "overload: p99 of each second, nanoseconds"),
        ("overload-worst", "overload", "max_ns", "overload: worst put of each second, nanoseconds"),
    ];
    for (name, workload, series, title) in curves {
        if figures.series("ours", workload, series).is_some() {
            curve(figures, workload, series, title, &directory.join(format!("{name}.svg")))?;
            drawn.push((name.to_owned(), title.to_owned()));
        }
    }
    Ok(drawn)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    format!("cannot draw: {error}").into()
}

/// One group of bars for each row, one bar for each engine; the scale is linear from
/// zero, so that lengths can be compared.
fn bars(figures: &Figures<'_>, title: &str, rows: &[&Row], path: &Path) -> Result {
    let value =
        |engine: &str, row: &Row| figures.median(engine, row.workload, row.metric).map(|rate| rate / 1e3);
    let all = COLOURS.iter().flat_map(|(engine, _)| rows.iter().filter_map(move |row| value(engine, row)));
    let most = all.fold(0.0, f64::max);
    let root = SVGBackend::new(path, (900, 360)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..rows.len() as f64, 0.0..most * 1.1)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * rows.len() + 1)
        .x_label_formatter(&|at| {
            let is_middle = (at.fract() - 0.5).abs() < 0.01;
            let row = rows.get(at.floor() as usize).filter(|_| is_middle);
            row.map_or(String::new(), |row| row.title.to_owned())
        })
        .draw()
        .map_err(failed)?;
    let width = 0.8 / COLOURS.len() as f64;
    for (place, (engine, colour)) in COLOURS.iter().enumerate() {
        let bars = rows.iter().enumerate().filter_map(|(index, row)| {
            let left = index as f64 + 0.1 + place as f64 * width;
            let high = value(engine, row)?;
            Some(Rectangle::new([(left, 0.0), (left + 0.9 * width, high)], colour.filled()))
        });
        chart
            .draw_series(bars)
            .map_err(failed)?
            .label(*engine)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()));
    }
    legend(chart)?;
    root.present().map_err(failed)
}

/// One line for each engine; the scale is logarithmic, since engines differ by powers
/// of ten.
fn curve(figures: &Figures<'_>, workload: &str, series: &str, title: &str, path: &Path) -> Result {
    let points = |engine: &str| -> Vec<(f64, f64)> {
        let values = figures.series(engine, workload, series).unwrap_or_default();
        let seconds = figures.series(engine, workload, "seconds");
        let at = |index: usize| seconds.and_then(|seconds| seconds.get(index).copied());
        let time = |index: usize| at(index).unwrap_or(index as f64 + 1.0);
        values.iter().enumerate().map(|(index, value)| (time(index), value.max(1.0))).collect()
    };
    let all: Vec<(f64, f64)> = COLOURS.iter().flat_map(|(engine, _)| points(engine)).collect();
    let last = all.iter().map(|point| point.0).fold(1e-3, f64::max);
    let least = all.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let most = all.iter().map(|point| point.1).fold(1.0, f64::max);
    let root = SVGBackend::new(path, (900, 360)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(84)
        .build_cartesian_2d(0.0..last, (least * 0.8..most * 1.25).log_scale())
        .map_err(failed)?;
    chart.configure_mesh().x_desc("seconds").draw().map_err(failed)?;
    for (engine, colour) in COLOURS {
        let points = points(engine);
        if !points.is_empty() {
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))
                .map_err(failed)?
                .label(*engine)
                .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()));
        }
    }
    legend(chart)?;
    root.present().map_err(failed)
}

/// Says which colour is which engine.
fn legend<'a, X: Ranged<ValueType = f64>, Y: Ranged<ValueType = f64>>(
    mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
) -> Result {
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .position(SeriesLabelPosition::UpperRight)
        .draw()
        .map_err(failed)
}
