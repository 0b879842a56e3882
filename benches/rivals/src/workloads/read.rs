//! Point reads on the settled result of a random fill.

use crate::cell::Cell;
use crate::data::zipfian;
use crate::engine::{Engine, Result};
use crate::measure::{Meter, Outcome, Usage};

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

/// Random gets of a quarter of the entries, enough to touch every block.
fn warm<E: Engine>(engine: &E, cell: &Cell) -> Result {
    let values = cell.values();
    let mut random = crate::data::Random::new(7);
    let count = (cell.entries() / 4).clamp(1000, 500_000);
    (0..count).try_for_each(|_| get_one(engine, cell, &values, random.below(cell.entries())))
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
    warm(&engine, cell)?;
    let values = cell.values();
    let mut meter = Meter::new(TIMED_READS, cell.budget)?;
    for index in picks.take(gets(cell) as usize) {
        if !meter.time(|| get_one(&engine, cell, &values, index))? {
            break;
        }
    }
    report(engine, &meter)
}

/// Random keys that do not exist.
pub(crate) fn get_missing<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let engine: E = cell.open()?;
    warm(&engine, cell)?;
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
    report(engine, &meter)
}

/// The outcome of a workload that only reads.
pub(crate) fn report<E: Engine>(engine: E, meter: &Meter) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    meter.report(&mut outcome, "", "rate");
    let usage = Usage::now()?;
    outcome.set("cpu_seconds", usage.cpu_seconds);
    outcome.set("peak_resident_bytes", usage.peak_resident_bytes);
    engine.close()?;
    Ok(outcome)
}
