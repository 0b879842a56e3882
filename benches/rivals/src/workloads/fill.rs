//! Workloads that only write: foreground and settled rates, amplification, CPU, memory.

use crate::cell::Cell;
use crate::data::Entries;
use crate::engine::{Engine, Result};
use crate::measure::{Meter, Outcome, Usage, disk_bytes, histogram, report_latency};
use std::time::{Duration, Instant};

/// How many entries are compared byte by byte after the clock has stopped.
const SAMPLE: u64 = 20_000;

/// Fills what other workloads read: random order, batches of 1000, settled, closed.
pub(crate) fn build<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let (layout, mut values, entries) = (cell.shape().layout, cell.values(), cell.entries());
    let batch = if values.len() > 4096 { 10 } else { 1000 };
    // Grouped keys come group after group unless they are stirred.
    let stride = coprime_stride(entries);
    let mut index = 0;
    let mut done = 0;
    while done < entries {
        let count = batch.min(entries - done);
        let first = index;
        index = (index + u128::from(count) * stride) % u128::from(entries);
        let picks =
            (0..count).map(|step| (((first + u128::from(step) * stride) % u128::from(entries)) as u64, 0));
        engine.put_batch(&mut Entries::new(layout, &mut values, picks))?;
        done += count;
    }
    engine.settle()?;
    check_sample(&engine, cell, |_| 0, entries)?;
    engine.close()?;
    Ok(Outcome::default())
}

/// A step that visits each number below `entries` once, far from its neighbours.
fn coprime_stride(entries: u64) -> u128 {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut stride = (entries as f64 * 0.618) as u64 | 1;
    while gcd(stride, entries) != 1 {
        stride += 2;
    }
    u128::from(stride)
}

/// Puts every entry once, in the order of the indexes.
pub(crate) fn fill<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let mut values = cell.values();
    let mut meter = Meter::new(1, cell.budget)?;
    for index in 0..cell.entries() {
        let key = cell.key(index);
        let value = values.make(key.as_ref(), 0);
        if !meter.time(|| engine.put(key.as_ref(), value))? {
            break;
        }
    }
    let written = meter.operations();
    finish(engine, cell, &meter, written, 1, |_| 0)
}

/// Puts random keys that exist.
pub(crate) fn overwrite<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let mut values = cell.values();
    let mut meter = Meter::new(1, cell.budget)?;
    let mut random = cell.random();
    for version in 1..=cell.entries() {
        let key = cell.key(random.below(cell.entries()));
        let value = values.make(key.as_ref(), version as u32);
        if !meter.time(|| engine.put(key.as_ref(), value))? {
            break;
        }
    }
    let mut outcome = Outcome::default();
    report_writes(&engine, cell, &meter, 1, &mut outcome)?;
    let mut versions = vec![0u32; cell.entries() as usize];
    let mut random = cell.random();
    for version in 1..=meter.operations() {
        if let Some(newest) = versions.get_mut(random.below(cell.entries()) as usize) {
            *newest = version as u32;
        }
    }
    let version = |index: u64| versions.get(index as usize).copied().unwrap_or(0);
    check_sample(&engine, cell, version, cell.entries())?;
    engine.close()?;
    Ok(outcome)
}

/// Puts every entry once, 100 in each atomic batch.
pub(crate) fn batches<E: Engine>(cell: &Cell) -> Result<Outcome> {
    const BATCH: u64 = 100;
    let engine: E = cell.open()?;
    let mut values = cell.values();
    let mut meter = Meter::new(1, cell.budget)?;
    for first in (0..cell.entries()).step_by(BATCH as usize) {
        let picks = (first..(first + BATCH).min(cell.entries())).map(|index| (index, 0));
        let mut entries = Entries::new(cell.shape().layout, &mut values, picks);
        if !meter.time(|| engine.put_batch(&mut entries))? {
            break;
        }
    }
    let written = (meter.operations() * BATCH).min(cell.entries());
    finish(engine, cell, &meter, written, BATCH, |_| 0)
}

/// Loads sorted entries by the way that the engine offers for it.
pub(crate) fn bulk_load<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let mut values = cell.values();
    let mut meter = Meter::new(1, cell.budget)?;
    let picks = (0..cell.entries()).map(|index| (index, 0));
    let mut entries = Entries::new(cell.shape().layout, &mut values, picks);
    meter.time(|| engine.load_sorted(&mut entries))?;
    finish(engine, cell, &meter, cell.entries(), cell.entries(), |_| 0)
}

/// Settles, reports, checks and closes after a fill.
fn finish<E: Engine>(
    engine: E,
    cell: &Cell,
    meter: &Meter,
    written: u64,
    entries_an_operation: u64,
    version: impl Fn(u64) -> u32,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    report_writes(&engine, cell, meter, entries_an_operation, &mut outcome)?;
    check_sample(&engine, cell, version, written)?;
    check_count(&engine, written)?;
    engine.close()?;
    let raw = written as f64 / cell.entries() as f64 * cell.shape().raw_bytes(cell.order.n) as f64;
    outcome.set("space_amplification", disk_bytes(&cell.order.dir)? as f64 / raw);
    Ok(outcome)
}

/// The foreground figures, then, once the engine has settled, the settled ones.
fn report_writes<E: Engine>(
    engine: &E,
    cell: &Cell,
    meter: &Meter,
    entries_an_operation: u64,
    outcome: &mut Outcome,
) -> Result {
    let foreground = meter.report(outcome, "", "rate");
    let before = Instant::now();
    engine.settle()?;
    let seconds = foreground + before.elapsed().as_secs_f64();
    let entries = meter.operations() as f64 * entries_an_operation as f64;
    let entry_bytes = (cell.shape().layout.key_bytes() + cell.shape().value_bytes) as f64;
    let usage = Usage::now()?;
    outcome.set("rate", entries / foreground);
    outcome.set("settled_rate", entries / seconds);
    outcome.set("megabytes_a_second", entries * entry_bytes / foreground / 1e6);
    outcome.set("write_amplification", usage.disk_bytes / (entries * entry_bytes));
    outcome.set("cpu_seconds", usage.cpu_seconds);
    outcome.set("peak_resident_bytes", usage.peak_resident_bytes);
    Ok(())
}

/// Compares entries at random, byte by byte.
fn check_sample<E: Engine>(engine: &E, cell: &Cell, version: impl Fn(u64) -> u32, entries: u64) -> Result {
    let mut values = cell.values();
    let mut random = cell.random();
    for _ in 0..SAMPLE.min(entries) {
        let index = random.below(entries);
        let key = cell.key(index);
        let mut verdict = Err(format!("the entry {index} of {entries} is missing").into());
        engine.get(key.as_ref(), |value| {
            verdict = values.check(key.as_ref(), value, version(index));
        })?;
        verdict?;
    }
    Ok(())
}

fn check_count<E: Engine>(engine: &E, expected: u64) -> Result {
    let mut found = 0;
    engine.scan(crate::engine::Direction::Forward, |_, _| {
        found += 1;
        true
    })?;
    if found == expected && expected > 0 {
        return Ok(());
    }
    Err(format!("{found} entries are there instead of {expected}").into())
}

/// Puts at full speed for minutes; what each second was like.
pub(crate) fn overload<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let mut values = cell.values();
    let mut meter = Meter::new(1, cell.budget)?;
    let mut outcome = Outcome::default();
    let mut random = cell.random();
    let mut all = histogram()?;
    let mut second = Instant::now();
    let mut before = 0;
    loop {
        let key = cell.key(random.below(10 * cell.entries()));
        let value = values.make(key.as_ref(), 0);
        let go_on = meter.time(|| engine.put(key.as_ref(), value))?;
        if !go_on || (meter.operations().is_multiple_of(64) && second.elapsed() >= Duration::from_secs(1)) {
            let latency = meter.take_latency();
            outcome.push("rate", (meter.operations() - before) as f64 / second.elapsed().as_secs_f64());
            for (name, quantile) in [("p50_ns", 0.5), ("p99_ns", 0.99), ("p999_ns", 0.999)] {
                outcome.push(name, latency.value_at_quantile(quantile) as f64);
            }
            outcome.push("max_ns", latency.max() as f64);
            all.add(latency)?;
            (before, second) = (meter.operations(), Instant::now());
        }
        if !go_on {
            break;
        }
    }
    report_writes(&engine, cell, &meter, 1, &mut outcome)?;
    report_latency(&all, &mut outcome, "");
    // Its budget is its length.
    outcome.cut = false;
    engine.close()?;
    Ok(outcome)
}
