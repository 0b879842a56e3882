//! One thread that reads beside one that overwrites at full speed.

use crate::cell::Cell;
use crate::data::{Random, Values};
use crate::engine::{Engine, Result, Snapshot};
use crate::measure::{Meter, Outcome, Usage};
use crate::workloads::read::get_one;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// For how long both run, if the budget allows.
const DURATION: Duration = Duration::from_secs(10);

/// Random gets of the newest values.
pub(crate) fn latest<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let values = cell.values();
    let outcome = run(&engine, cell, || Ok(|index| get_one(&engine, cell, &values, index)))?;
    engine.close()?;
    Ok(outcome)
}

/// Random gets at a snapshot from before the first write: every value must be the one
/// that the fill wrote.
pub(crate) fn snapshot<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let outcome = run(&engine, cell, || {
        let snapshot = engine.snapshot()?;
        let mut values: Values = cell.values();
        Ok(move |index| {
            let key = cell.key(index);
            let mut verdict = Err(format!("the entry {index} is missing in the snapshot").into());
            snapshot.get(key.as_ref(), |value| verdict = values.check(key.as_ref(), value, 0))?;
            verdict
        })
    })?;
    engine.close()?;
    Ok(outcome)
}

/// Runs what `reader` makes on this thread and a writer on another, for a while.
fn run<E: Engine, R: FnMut(u64) -> Result>(
    engine: &E,
    cell: &Cell,
    reader: impl FnOnce() -> Result<R>,
) -> Result<Outcome> {
    let duration = DURATION.min(cell.budget);
    // Made before the writer starts, so that a snapshot has nothing of it.
    let mut read = reader()?;
    // Tells the writer to stop; it publishes nothing else, so Relaxed is enough.
    let stop = AtomicBool::new(false);
    let mut outcome = Outcome::default();
    let mut reads = Meter::new(1, duration)?;
    let (read_result, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(engine, cell, &stop));
        let mut random = cell.random();
        let result = loop {
            match reads.time(|| read(random.below(cell.entries()))) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(failure) => break Err(failure),
            }
        };
        reads.stop();
        stop.store(true, Ordering::Relaxed);
        (result, writer.join())
    });
    read_result?;
    let writes = written.map_err(|_| "the writer panicked")??;
    reads.report(&mut outcome, "read_", "read_rate");
    writes.report(&mut outcome, "write_", "write_rate");
    outcome.set("peak_resident_bytes", Usage::now()?.peak_resident_bytes);
    // Their budget is their length.
    outcome.cut = false;
    if writes.operations() == 0 {
        return Err("nothing was written beside the reader".into());
    }
    Ok(outcome)
}

/// Overwrites random keys until told to stop.
fn write<E: Engine>(engine: &E, cell: &Cell, stop: &AtomicBool) -> Result<Meter> {
    let mut values = cell.values();
    let mut random = Random::new(cell.seed() ^ 1);
    let mut meter = Meter::new(1, Duration::MAX)?;
    let mut version = 0;
    while !stop.load(Ordering::Relaxed) {
        version += 1;
        let key = cell.key(random.below(cell.entries()));
        let value = values.make(key.as_ref(), version);
        meter.time(|| engine.put(key.as_ref(), value))?;
    }
    meter.stop();
    Ok(meter)
}
