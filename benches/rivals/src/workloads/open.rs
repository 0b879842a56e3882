//! Opening: after a close, and after the process was killed with much in the log.

use crate::cell::Cell;
use crate::engine::{Engine, Result};
use crate::measure::{Outcome, Usage};
use crate::workloads::read::get_one;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What the child says when everything is written.
const READY: &str = "ready";

/// Opens the settled database several times; the median.
pub(crate) fn clean<E: Engine>(cell: &Cell) -> Result<Outcome> {
    const OPENS: u64 = 11;
    let values = cell.values();
    let (mut opens, mut first_gets) = (Vec::new(), Vec::new());
    for index in 0..OPENS {
        let start = Instant::now();
        let engine: E = cell.open()?;
        opens.push(start.elapsed().as_secs_f64());
        get_one(&engine, cell, &values, index)?;
        first_gets.push(start.elapsed().as_secs_f64());
        engine.close()?;
    }
    let mut outcome = Outcome::default();
    outcome.set("milliseconds", median(opens) * 1e3);
    outcome.set("first_get_milliseconds", median(first_gets) * 1e3);
    Ok(outcome)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Opens what a killed process left behind; everything it acknowledged must be there.
pub(crate) fn killed<E: Engine>(cell: &Cell, entries: u64) -> Result<Outcome> {
    let entries = entries.min(cell.entries());
    if cell.order.victim {
        return wait_to_be_killed::<E>(cell, entries);
    }
    let mut order = cell.order.clone();
    order.victim = true;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("cell")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(serde_json::to_string(&order)?.as_bytes())?;
    }
    let mut said = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut said)?;
    }
    // SIGKILL, whatever it has said.
    child.kill()?;
    child.wait()?;
    if said.trim() != READY {
        return Err(format!("the process to be killed failed: {said}").into());
    }
    let start = Instant::now();
    let engine: E = cell.open()?;
    let seconds = start.elapsed().as_secs_f64();
    let mut outcome = Outcome::default();
    outcome.set("milliseconds", seconds * 1e3);
    outcome.set("entries", entries as f64);
    outcome.set("peak_resident_bytes", Usage::now()?.peak_resident_bytes);
    let values = cell.values();
    let lost = (0..entries).filter(|index| get_one(&engine, cell, &values, *index).is_err()).count();
    engine.close()?;
    match lost {
        0 => Ok(outcome),
        lost => Err(format!("lost {lost} of {entries} acknowledged entries").into()),
    }
}

/// The child: writes, says so, and waits.
fn wait_to_be_killed<E: Engine>(cell: &Cell, entries: u64) -> Result<Outcome> {
    let engine: E = cell.open()?;
    let mut values = cell.values();
    for index in 0..entries {
        let key = cell.key(index);
        engine.put(key.as_ref(), values.make(key.as_ref(), 0))?;
    }
    println!("{READY}");
    std::io::stdout().flush()?;
    std::thread::sleep(std::time::Duration::from_secs(600));
    Err("nobody killed the process".into())
}
