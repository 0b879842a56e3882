//! Scans on the settled result of a random fill: whole, from a random place, by prefix.

use crate::cell::Cell;
use crate::data::{GROUP, Layout, Values, fingerprint, head};
use crate::engine::{Direction, Engine, Result};
use crate::measure::{Meter, Outcome, Usage};
use crate::workloads::read;
use std::time::Instant;

/// Checks that entries come in order and belong to their keys.
pub(crate) struct Order<'a> {
    values: &'a Values,
    direction: Direction,
    last: Option<u64>,
    pub(crate) seen: u64,
    wrong: u64,
    /// All fingerprints together: the same for the same entries.
    sum: u64,
}

impl<'a> Order<'a> {
    pub(crate) fn new(values: &'a Values, direction: Direction) -> Self {
        Self { values, direction, last: None, seen: 0, wrong: 0, sum: 0 }
    }

    /// Sees one entry. Touches its key and its value, as a caller would.
    #[inline]
    pub(crate) fn see(&mut self, key: &[u8], value: &[u8]) {
        let head = head(key);
        let in_order = match (self.last, self.direction) {
            (None, _) => true,
            (Some(last), Direction::Forward) => last <= head,
            (Some(last), Direction::Reverse) => last >= head,
        };
        self.last = Some(head);
        self.seen += 1;
        self.wrong += u64::from(!in_order || !self.values.belongs(key, value));
        self.sum = self.sum.wrapping_add(fingerprint(key));
    }

    pub(crate) fn verdict(&self) -> Result {
        match self.wrong {
            0 => Ok(()),
            wrong => Err(format!("{wrong} of {} entries are out of order or wrong", self.seen).into()),
        }
    }
}

pub(crate) fn forward<E: Engine>(cell: &Cell) -> Result<Outcome> {
    whole::<E>(cell, Direction::Forward)
}

pub(crate) fn reverse<E: Engine>(cell: &Cell) -> Result<Outcome> {
    whole::<E>(cell, Direction::Reverse)
}

/// Two scans of everything, after one that is not counted.
fn whole<E: Engine>(cell: &Cell, direction: Direction) -> Result<Outcome> {
    const SCANS: u32 = 2;
    let engine: E = cell.open()?;
    let values = cell.values();
    let expected =
        (0..cell.entries()).map(|index| fingerprint(cell.key(index).as_ref())).fold(0, u64::wrapping_add);
    let mut seconds = Vec::new();
    for _ in 0..=SCANS {
        let mut order = Order::new(&values, direction);
        let start = Instant::now();
        engine.scan(direction, |key, value| {
            order.see(key, value);
            true
        })?;
        seconds.push(start.elapsed().as_secs_f64());
        order.verdict()?;
        if (order.seen, order.sum) != (cell.entries(), expected) {
            return Err(format!("a scan saw {} entries of {}", order.seen, cell.entries()).into());
        }
    }
    let mut outcome = Outcome::default();
    let counted: f64 = seconds.iter().skip(1).sum();
    outcome.set("rate", f64::from(SCANS) * cell.entries() as f64 / counted);
    outcome.set("first_rate", cell.entries() as f64 / seconds.first().copied().unwrap_or(f64::NAN));
    outcome.set("seconds", counted);
    outcome.set("peak_resident_bytes", Usage::now()?.peak_resident_bytes);
    engine.close()?;
    Ok(outcome)
}

/// `count` entries from a random key that exists.
pub(crate) fn seek<E: Engine>(cell: &Cell, count: u64) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let values = cell.values();
    let seek_one = |index: u64| -> Result {
        let key = cell.key(index);
        let mut order = Order::new(&values, Direction::Forward);
        let mut is_first = true;
        engine.seek(key.as_ref(), |found, value| {
            is_first = is_first && (order.seen > 0 || found == key.as_ref());
            order.see(found, value);
            order.seen < count
        })?;
        match is_first && order.seen > 0 {
            true => order.verdict(),
            false => Err(format!("a seek did not find the entry {index}").into()),
        }
    };
    let seeks = (cell.entries() * 2 / count).clamp(20_000, 400_000);
    let mut random = cell.random();
    let start = Instant::now();
    for _ in 0..seeks / 4 {
        seek_one(random.below(cell.entries()))?;
    }
    let first_rate = (seeks / 4) as f64 / start.elapsed().as_secs_f64();
    read::fill_cache(&engine, cell)?;
    let mut meter = Meter::new(read::TIMED_READS, cell.budget)?;
    for _ in 0..seeks {
        let index = random.below(cell.entries());
        if !meter.time(|| seek_one(index))? {
            break;
        }
    }
    read::report(engine, &meter, first_rate)
}

/// All entries of a random prefix.
pub(crate) fn prefix<E: Engine>(cell: &Cell) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let values = cell.values();
    let prefix_one = |group: u64| -> Result {
        let mut order = Order::new(&values, Direction::Forward);
        engine.prefix(&Layout::group(group), |key, value| order.see(key, value))?;
        match order.seen {
            GROUP => order.verdict(),
            seen => Err(format!("the prefix {group} has {seen} entries instead of {GROUP}").into()),
        }
    };
    // The last group may not be full.
    let groups = cell.entries() / GROUP;
    let mut random = cell.random();
    let first = groups.min(20_000);
    let start = Instant::now();
    for _ in 0..first {
        prefix_one(random.below(groups))?;
    }
    let first_rate = first as f64 / start.elapsed().as_secs_f64();
    read::fill_cache(&engine, cell)?;
    let mut meter = Meter::new(read::TIMED_READS, cell.budget)?;
    for _ in 0..100_000 {
        let group = random.below(groups);
        if !meter.time(|| prefix_one(group))? {
            break;
        }
    }
    read::report(engine, &meter, first_rate)
}
