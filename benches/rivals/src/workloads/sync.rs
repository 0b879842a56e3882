//! Commits that are on stable storage when the call returns, and the raw loop of
//! append and fdatasync that says what the disk allows.

use crate::cell::Cell;
use crate::engine::{Engine, Result};
use crate::measure::{Meter, Outcome, histogram, report_latency};
use std::io::Write;
use std::time::{Duration, Instant};

/// For how long commits are counted, if the budget allows.
const DURATION: Duration = Duration::from_secs(5);

/// Each thread puts entries of its own, one at a time.
pub(crate) fn commits<E: Engine>(cell: &Cell, threads: u64) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let start = Instant::now();
    let meters: Vec<Meter> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn({
                    let engine = &engine;
                    move || commit_loop(engine, cell, thread, threads)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| "a committing thread panicked")?)
            .collect::<Result<_>>()
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let commits: u64 = meters.iter().map(Meter::operations).sum();
    for (thread, meter) in meters.iter().enumerate() {
        check(&engine, cell, thread as u64, threads, meter.operations())?;
    }
    engine.close()?;
    outcome(meters, commits as f64 / seconds)
}

fn commit_loop<E: Engine>(engine: &E, cell: &Cell, thread: u64, threads: u64) -> Result<Meter> {
    let mut values = cell.values();
    let mut meter = Meter::new(1, Duration::MAX)?;
    while meter.elapsed() < DURATION.min(cell.budget) {
        let key = cell.key(meter.operations() * threads + thread);
        let value = values.make(key.as_ref(), 0);
        meter.time(|| engine.put(key.as_ref(), value))?;
    }
    meter.stop();
    Ok(meter)
}

fn check<E: Engine>(engine: &E, cell: &Cell, thread: u64, threads: u64, commits: u64) -> Result {
    let mut values = cell.values();
    (0..commits).try_for_each(|commit| {
        let key = cell.key(commit * threads + thread);
        let mut verdict = Err(format!("the commit {commit} of thread {thread} is missing").into());
        engine.get(key.as_ref(), |value| verdict = values.check(key.as_ref(), value, 0))?;
        verdict
    })
}

fn outcome(meters: Vec<Meter>, rate: f64) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut latency = histogram()?;
    for mut meter in meters {
        latency.add(meter.take_latency())?;
    }
    report_latency(&latency, &mut outcome, "");
    outcome.set("rate", rate);
    Ok(outcome)
}

/// Appends a record as long as an engine's to a plain file and syncs it, again and again.
pub(crate) fn raw_log(cell: &Cell) -> Result<Outcome> {
    std::fs::create_dir_all(&cell.order.dir)?;
    let mut file = std::fs::File::create(cell.order.dir.join("log"))?;
    let mut values = cell.values();
    let mut meter = Meter::new(1, Duration::MAX)?;
    let mut record = Vec::new();
    while meter.elapsed() < DURATION.min(cell.budget) {
        let key = cell.key(meter.operations());
        record.clear();
        record.extend_from_slice(key.as_ref());
        record.extend_from_slice(values.make(key.as_ref(), 0));
        meter.time(|| {
            file.write_all(&record)?;
            Ok(file.sync_data()?)
        })?;
    }
    let rate = meter.operations() as f64 / meter.elapsed().as_secs_f64();
    outcome(vec![meter], rate)
}
