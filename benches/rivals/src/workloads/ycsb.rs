//! The six core workloads of YCSB, one thread, on a copy of the settled data.

use crate::cell::Cell;
use crate::data::{Random, Values, mix, zipfian, zipfian_ranks};
use crate::engine::{Direction, Engine, Result};
use crate::measure::{Meter, Outcome};
use crate::workloads::read::{TIMED_READS, get_one, report};
use crate::workloads::scan::Order;
use std::time::Instant;

/// What one operation does.
#[derive(Clone, Copy)]
enum Step {
    Read,
    Update,
    Insert,
    Scan,
    ReadModifyWrite,
}

/// Draws steps in the proportions of the workload called `letter`.
fn steps(letter: char) -> Result<impl Fn(&mut Random) -> Step> {
    let (mostly, percent, otherwise) = match letter {
        'a' => (Step::Read, 50, Step::Update),
        'b' => (Step::Read, 95, Step::Update),
        'c' => (Step::Read, 100, Step::Read),
        'd' => (Step::Read, 95, Step::Insert),
        'e' => (Step::Scan, 95, Step::Insert),
        'f' => (Step::Read, 50, Step::ReadModifyWrite),
        other => return Err(format!("YCSB has no workload {other:?}").into()),
    };
    Ok(move |random: &mut Random| if random.below(100) < percent { mostly } else { otherwise })
}

/// The data as the workload changes it.
struct Client<'a, E> {
    engine: &'a E,
    cell: &'a Cell,
    values: Values,
    writable: Values,
    /// How many entries there are by now.
    entries: u64,
    version: u32,
}

impl<E: Engine> Client<'_, E> {
    fn put(&mut self, index: u64) -> Result {
        self.version += 1;
        let key = self.cell.key(index);
        self.engine.put(key.as_ref(), self.writable.make(key.as_ref(), self.version))
    }

    fn scan(&self, index: u64, count: u64) -> Result {
        let mut order = Order::new(&self.values, Direction::Forward);
        self.engine.seek(self.cell.key(index).as_ref(), |key, value| {
            order.see(key, value);
            order.seen < count
        })?;
        match order.seen {
            0 => Err(format!("a scan from the entry {index} saw nothing").into()),
            _ => order.verdict(),
        }
    }

    fn step(&mut self, step: Step, index: u64, length: u64) -> Result {
        match step {
            Step::Read => get_one(self.engine, self.cell, &self.values, index),
            Step::Update => self.put(index),
            Step::Insert => {
                self.put(self.entries)?;
                self.entries += 1;
                Ok(())
            }
            Step::Scan => self.scan(index, length),
            Step::ReadModifyWrite => {
                get_one(self.engine, self.cell, &self.values, index)?;
                self.put(index)
            }
        }
    }
}

/// Runs the workload called `letter`.
pub(crate) fn run<E: Engine>(cell: &Cell, letter: char) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let operations = if letter == 'e' { cell.entries() / 10 } else { cell.entries() / 2 };
    let operations = operations.max(10_000);
    let latest = letter == 'd';
    let picks = match latest {
        true => zipfian_ranks(cell.entries(), operations, cell.seed()),
        false => zipfian(cell.entries(), operations, cell.seed()),
    };
    let draw = steps(letter)?;
    let mut client = Client {
        engine: &engine,
        cell,
        values: cell.values(),
        writable: cell.values(),
        entries: cell.entries(),
        version: 0,
    };
    let mut random = cell.random();
    let first = (cell.entries() / 4).clamp(1000, 500_000);
    let start = Instant::now();
    for _ in 0..first {
        let index = random.below(cell.entries());
        get_one(&engine, cell, &client.values, index)?;
    }
    let first_rate = first as f64 / start.elapsed().as_secs_f64();
    let mut meter = Meter::new(TIMED_READS, cell.budget)?;
    for pick in picks.into_iter().map(u64::from) {
        let index = if latest { client.entries - 1 - pick } else { pick };
        let length = 1 + mix(random.next()) % 100;
        let step = draw(&mut random);
        if !meter.time(|| client.step(step, index, length))? {
            break;
        }
    }
    meter.stop();
    let added = client.entries;
    let values = cell.values();
    (cell.entries()..added).try_for_each(|index| get_one(&engine, cell, &values, index))?;
    report(engine, &meter, first_rate)
}
