//! Kills a writer in the middle of its work and judges what is left: every
//! acknowledged batch whole, at most the one under way besides, nothing in part.

use super::changes::{Batches, journal_number};
use super::model::{Model, difference};
use super::report::Report;
use super::writer;
use crate::failure::Failure;
use crate::units::{count, duration, rate, thousands};
use lsm_vfs::SplitMix64;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The last acknowledged batch and how long the writer lived.
struct Killed {
    last_acknowledged: u64,
    elapsed: Duration,
}

/// Kills `kills` writers, one after the other; `false` when something was lost.
pub(super) fn kill_and_compare(
    path: &Path,
    seed: u64,
    kills: u8,
    model: &mut Model,
    report: &mut Report<'_>,
) -> Result<bool, Failure> {
    report.step("kill -9 a process that writes batches over two keyspaces as fast as it can")?;
    let batches = Batches::new(seed);
    let mut random = SplitMix64::new(seed);
    let mut last = 0;
    for _ in 0..kills {
        let until = last + 1000 + random.below(4000);
        let killed = write_until_killed(path, seed, last + 1, until)?;
        let acknowledged = killed.last_acknowledged - last;
        report.line(&format!(
            "{} batches acknowledged in {} ({} writes/s), then killed",
            thousands(acknowledged),
            duration(killed.elapsed),
            rate(acknowledged * Batches::WRITES, killed.elapsed),
        ))?;
        match judge(path, &batches, last, &killed, model, report)? {
            Some(found) => last = found,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Opens what a killed writer left, compares it whole with the model, and returns the
/// last batch that is there; `None` after a fault. Before, batch `last` was the last.
fn judge(
    path: &Path,
    batches: &Batches,
    last: u64,
    killed: &Killed,
    model: &mut Model,
    report: &mut Report<'_>,
) -> Result<Option<u64>, Failure> {
    let started = Instant::now();
    let (db, characters, journal) = writer::open(path)?;
    let reopened = started.elapsed();
    let found = match journal.last_key_value()? {
        Some((key, _)) => journal_number(&key).unwrap_or(0),
        None => 0,
    };
    if found < killed.last_acknowledged {
        let reported = killed.last_acknowledged;
        report.fault(&format!("batch {reported} was acknowledged, and the last one there is {found}"))?;
        return Ok(None);
    }
    // One batch may have been written whose report the kill cut off; no more than one.
    let unreported = found - killed.last_acknowledged;
    if unreported > 1 {
        report.fault(&format!("{unreported} batches are there that were never acknowledged"))?;
        return Ok(None);
    }
    for number in last + 1..=found {
        model.apply(&batches.batch(number));
    }
    let fault = match difference(characters.iter(), model.characters.iter())? {
        Some(fault) => Some(fault),
        None => difference(journal.iter().rev(), model.journal.iter().rev())?,
    };
    if let Some(fault) = fault {
        report.fault(&format!("after batch {found}: {fault}"))?;
        return Ok(None);
    }
    report.check(&format!(
        "reopened in {} ({} replayed): all are there and whole{}; {} entries compared",
        duration(reopened),
        count(db.recovery_report().replayed_batches, "batch", "batches"),
        if unreported == 1 { ", and one more that was under way" } else { "" },
        thousands((model.characters.len() + model.journal.len()) as u64),
    ))?;
    db.close()?;
    Ok(Some(found))
}

/// Starts a writer at batch `first` and kills it once it has acknowledged `until`.
fn write_until_killed(path: &Path, seed: u64, first: u64, until: u64) -> Result<Killed, Failure> {
    let program = std::env::current_exe().map_err(Failure::read(Path::new("this program's own path")))?;
    let started = Instant::now();
    let mut child = Command::new(&program)
        .arg("demo-writer")
        .arg(path)
        .args([seed.to_string(), first.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::read(&program))?;
    let outcome = follow(&mut child, until);
    // Whatever happened, no writer stays behind.
    let _ = child.kill();
    let _ = child.wait();
    match outcome.map_err(Failure::read(Path::new("the writer's reports")))? {
        Some(last_acknowledged) => Ok(Killed { last_acknowledged, elapsed: started.elapsed() }),
        None => Err(Failure::Other("the writer ended by itself; its own message says why".to_owned())),
    }
}

/// Reads the writer's reports up to `until`, kills it, and reads on to the end: what
/// it had acknowledged meanwhile counts as well. `None` when it ended by itself.
fn follow(child: &mut Child, until: u64) -> std::io::Result<Option<u64>> {
    let Some(stdout) = child.stdout.take() else { return Ok(None) };
    let mut reports = BufReader::new(stdout);
    let mut line = String::new();
    let (mut last, mut killed) = (0, false);
    loop {
        line.clear();
        let read = reports.read_line(&mut line)?;
        // A report without its line feed was cut off and does not count.
        if read == 0 || !line.ends_with('\n') {
            return Ok(killed.then_some(last));
        }
        last = line.trim_end().parse().unwrap_or(last);
        if last >= until && !killed {
            child.kill()?;
            killed = true;
        }
    }
}
