//! Point reads on the settled result of a random fill.

use crate::catalogue::CacheSize;
use crate::cell::Cell;
use crate::data::zipfian;
use crate::engine::{Direction, Engine, Result};
use crate::measure::{Meter, Outcome, Usage};
use std::time::Instant;

/// One read in so many is timed by itself.
pub(crate) const TIMED_READS: u64 = 8;

/// Gets `index`; it must be there with its value. What is checked under the clock is
/// the length and the fingerprint.
pub(crate) fn get_one<E: Engine>(
    engine: &E,
    cell: &Cell,
    values: &crate::data::Values,
    index: u64,
) -> Result {
    let key = cell.key(index);
    let mut belongs = false;
    let found = engine.get(key.as_ref(), |value| belongs = values.belongs(key.as_ref(), value))?;
    match (found, belongs) {
        (true, true) => Ok(()),
        (true, false) => Err(format!("the entry {index} has another entry's value").into()),
        (false, _) => Err(format!("the entry {index} is missing").into()),
    }
}

/// Random gets of a quarter of the entries in a database that was just opened, whose rate
/// is returned; then, where the cache holds everything, a walk over everything, so that it
/// does.
fn warm<E: Engine>(engine: &E, cell: &Cell) -> Result<f64> {
    let values = cell.values();
    let mut random = crate::data::Random::new(7);
    let count = (cell.entries() / 4).clamp(1000, 500_000);
    let start = Instant::now();
    (0..count).try_for_each(|_| get_one(engine, cell, &values, random.below(cell.entries())))?;
    let first_rate = count as f64 / start.elapsed().as_secs_f64();
    fill_cache(engine, cell)?;
    Ok(first_rate)
}

/// Walks over everything, where the cache can hold it.
pub(crate) fn fill_cache<E: Engine>(engine: &E, cell: &Cell) -> Result {
    if cell.workload.cache != CacheSize::Fits {
        return Ok(());
    }
    let mut seen = 0;
    engine.scan(Direction::Forward, |_, value| {
        seen += u64::from(!value.is_empty());
        true
    })?;
    match seen == cell.entries() {
        true => Ok(()),
        false => Err(format!("a walk saw {seen} entries of {}", cell.entries()).into()),
    }
}

/// How many gets are measured.
fn gets(cell: &Cell) -> u64 {
    cell.entries().clamp(100_000, 2_000_000)
}

/// Random keys that exist.
pub(crate) fn get_uniform<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let mut random = cell.random();
    get_picks::<E>(cell, std::iter::repeat_with(|| random.below(cell.entries())))
}

/// Keys that exist, some much more often than others.
pub(crate) fn get_zipfian<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let picks = zipfian(cell.entries(), gets(cell), cell.seed());
    get_picks::<E>(cell, picks.into_iter().map(u64::from))
}

fn get_picks<E: Engine>(cell: &Cell, picks: impl Iterator<Item = u64>) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let first_rate = warm(&engine, cell)?;
    let values = cell.values();
    let mut meter = Meter::new(TIMED_READS, cell.budget)?;
    for index in picks.take(gets(cell) as usize) {
        if !meter.time(|| get_one(&engine, cell, &values, index))? {
            break;
        }
    }
    report(engine, &meter, first_rate)
}

/// Random keys that do not exist.
pub(crate) fn get_missing<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let first_rate = warm(&engine, cell)?;
    let mut random = cell.random();
    let mut meter = Meter::new(TIMED_READS, cell.budget)?;
    for _ in 0..gets(cell) {
        let key = cell.key(cell.entries() + random.below(cell.entries()));
        let mut found = false;
        if !meter.time(|| engine.get(key.as_ref(), |_| found = true).map(|_| ()))? {
            break;
        }
        if found {
            return Err("a key that was never written has a value".into());
        }
    }
    report(engine, &meter, first_rate)
}

/// The outcome of a workload that only reads, and whose first reads after the opening came
/// at `first_rate`.
pub(crate) fn report<E: Engine>(engine: E, meter: &Meter, first_rate: f64) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    outcome.set("first_rate", first_rate);
    meter.report(&mut outcome, "", "rate");
    let usage = Usage::now()?;
    outcome.set("cpu_seconds", usage.cpu_seconds);
    outcome.set("peak_resident_bytes", usage.peak_resident_bytes);
    engine.close()?;
    Ok(outcome)
}
