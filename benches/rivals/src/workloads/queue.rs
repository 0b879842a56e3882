//! A queue: push at the tail, look at the head, remove it. Tombstones pile up before
//! the head, which is where many engines grow slower and slower.

use crate::cell::Cell;
use crate::engine::{Direction, Engine, Result};
use crate::measure::{Meter, Outcome, Usage};
use std::time::Duration;

/// How many entries wait in the queue.
const WAITING: u64 = 1000;
/// How many points the curve over time has.
const POINTS: u64 = 40;
/// The longest that it runs.
const DURATION: Duration = Duration::from_secs(20);

pub(crate) fn run<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let mut values = cell.values();
    for index in 0..WAITING {
        let key = cell.key(index);
        engine.put(key.as_ref(), values.make(key.as_ref(), 0))?;
    }
    let operations = cell.entries() / 2;
    let mut meter = Meter::new(1, DURATION.min(cell.budget))?;
    let mut outcome = Outcome::default();
    let mut point = (0, 0.0);
    let step = DURATION.min(cell.budget).as_secs_f64() / POINTS as f64;
    for head in 0..operations {
        let go_on = meter.time(|| turn(&engine, cell, &mut values, head))?;
        let now = meter.elapsed().as_secs_f64();
        let is_point = head % 64 == 0 && (now - point.1 >= step || (head + 1) % (operations / POINTS) < 64);
        if is_point && now - point.1 > 0.005 {
            outcome.push("seconds", now);
            outcome.push("rate", (meter.operations() - point.0) as f64 / (now - point.1));
            point = (meter.operations(), now);
        }
        if !go_on {
            break;
        }
    }
    meter.report(&mut outcome, "", "rate");
    if let Some([first, .., last]) = outcome.series.get("rate").map(Vec::as_slice) {
        outcome.set("last_over_first", last / first);
    }
    outcome.set("peak_resident_bytes", Usage::now()?.peak_resident_bytes);
    engine.close()?;
    Ok(outcome)
}

/// Pushes one entry, and pops the one that must be the head.
fn turn<E: Engine>(engine: &E, cell: &Cell, values: &mut crate::data::Values, head: u64) -> Result {
    let tail = cell.key(head + WAITING);
    engine.put(tail.as_ref(), values.make(tail.as_ref(), 0))?;
    let expected = cell.key(head);
    let mut is_right = false;
    engine.scan(Direction::Forward, |key, value| {
        is_right = key == expected.as_ref() && values.belongs(key, value);
        false
    })?;
    if !is_right {
        return Err(format!("the head of the queue is not the entry {head}").into());
    }
    engine.remove(expected.as_ref())
}
