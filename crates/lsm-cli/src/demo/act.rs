//! The demo's steps before the kill: load, overwrite and delete, read the past
//! through a snapshot, scan a prefix both ways; and, at the end, the tree's shape.

use super::dataset;
use super::model::{Entries, Model, difference};
use super::report::Report;
use super::writer;
use crate::commands::stats;
use crate::failure::Failure;
use crate::units::{bytes, duration, rate, thousands};
use lsm_tree::{Database, Keyspace};
use std::path::Path;
use std::time::Instant;

/// Entries a batch while loading.
const BATCH: usize = 1000;
/// Deleted with one write: the Braille patterns.
const ERASED: (&str, &str) = ("2800", "2900");
/// Scanned in both directions: faces.
const PREFIX: &str = "1F60";

/// The steps up to the kill; `false` at the first difference.
pub(super) fn load_change_and_read(
    path: &Path,
    model: &mut Model,
    report: &mut Report<'_>,
) -> Result<bool, Failure> {
    let (db, characters, _) = writer::open(path)?;
    load(&db, &characters, &mut model.characters, report)?;

    report.step("take a snapshot, then overwrite and delete")?;
    let past = model.characters.clone();
    let snapshot = db.snapshot();
    change(&characters, &mut model.characters, report)?;
    let started = Instant::now();
    characters.flush()?;
    characters.compact_range(..)?;
    report.line(&format!("flushed and merged in {}", duration(started.elapsed())))?;

    let now = difference(characters.iter(), model.characters.iter())?;
    let there = thousands(model.characters.len() as u64);
    if !verdict(now, &format!("now there are {there} characters"), report)? {
        return Ok(false);
    }
    let then = difference(snapshot.range(&characters, ..), past.iter())?;
    let were = thousands(past.len() as u64);
    if !verdict(then, &format!("the snapshot still sees all {were} as they were"), report)? {
        return Ok(false);
    }
    drop(snapshot);

    let sound = scan(&characters, &model.characters, report)?;
    db.close()?;
    Ok(sound)
}

fn load(
    db: &Database,
    characters: &Keyspace,
    model: &mut Entries,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    report.step(&format!("load, in batches of {}", thousands(BATCH as u64)))?;
    let entries: Vec<_> = dataset::entries().collect();
    let started = Instant::now();
    for chunk in entries.chunks(BATCH) {
        let mut batch = db.batch();
        for (key, value) in chunk {
            batch.insert(characters, key, value);
        }
        batch.commit()?;
    }
    let elapsed = started.elapsed();
    model.extend(entries.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())));
    report.line(&format!(
        "{} entries, {}, in {}: {} entries/s",
        thousands(entries.len() as u64),
        bytes(dataset::total_bytes()),
        duration(elapsed),
        rate(entries.len() as u64, elapsed),
    ))?;
    Ok(())
}

/// Overwrites each tenth character, deletes each other tenth one by one, and the
/// Braille patterns with one range.
fn change(characters: &Keyspace, model: &mut Entries, report: &mut Report<'_>) -> Result<(), Failure> {
    let keys: Vec<Vec<u8>> = model.keys().cloned().collect();
    let (mut overwritten, mut deleted) = (0, 0);
    let started = Instant::now();
    for (index, key) in keys.iter().enumerate() {
        match index % 10 {
            3 => {
                characters.insert(key, "overwritten")?;
                model.insert(key.clone(), b"overwritten".to_vec());
                overwritten += 1;
            }
            7 => {
                characters.remove(key)?;
                model.remove(key);
                deleted += 1;
            }
            _ => {}
        }
    }
    let elapsed = started.elapsed();
    characters.remove_range(ERASED.0..ERASED.1)?;
    let before = model.len();
    model.retain(|key, _| !(ERASED.0.as_bytes()..ERASED.1.as_bytes()).contains(&key.as_slice()));
    report.line(&format!(
        "{} overwritten and {} deleted one by one: {} writes/s",
        thousands(overwritten),
        thousands(deleted),
        rate(overwritten + deleted, elapsed),
    ))?;
    report.line(&format!("{} deleted by one range, {} to {}", before - model.len(), ERASED.0, ERASED.1))?;
    Ok(())
}

fn scan(characters: &Keyspace, model: &Entries, report: &mut Report<'_>) -> Result<bool, Failure> {
    report.step(&format!("scan the prefix {PREFIX} both ways"))?;
    let wanted: Vec<_> = model.iter().filter(|(key, _)| key.starts_with(PREFIX.as_bytes())).collect();
    let show = |found: Vec<String>| found.join(", ");
    let first = characters.prefix(PREFIX).take(3).map(|entry| entry.map(|(k, v)| dataset::pretty(&k, &v)));
    report.line(&format!("forward:  {} …", show(first.collect::<Result<_, _>>()?)))?;
    let last =
        characters.prefix(PREFIX).rev().take(3).map(|entry| entry.map(|(k, v)| dataset::pretty(&k, &v)));
    report.line(&format!("backward: {} …", show(last.collect::<Result<_, _>>()?)))?;
    let forward = difference(characters.prefix(PREFIX), wanted.iter().copied())?;
    let backward = difference(characters.prefix(PREFIX).rev(), wanted.iter().rev().copied())?;
    verdict(forward.or(backward), &format!("{} entries each way, in order", wanted.len()), report)
}

/// Prints the check or the fault.
fn verdict(fault: Option<String>, check: &str, report: &mut Report<'_>) -> Result<bool, Failure> {
    match &fault {
        None => report.check(check)?,
        Some(fault) => report.fault(fault)?,
    }
    Ok(fault.is_none())
}

/// Reads every character once and prints what the tree looks like; `false` when one is
/// not as it should be.
pub(super) fn read_and_show_shape(
    path: &Path,
    model: &Model,
    report: &mut Report<'_>,
) -> Result<bool, Failure> {
    let (db, characters, _) = writer::open(path)?;
    db.wait_idle()?;
    report.step("read every character by its key, deleted ones too; the shape of the tree")?;
    let mut fault = None;
    let started = Instant::now();
    for (key, _) in dataset::entries() {
        let found = characters.get(key)?;
        if found.as_deref() != model.characters.get(key.as_bytes()).map(Vec::as_slice) {
            fault.get_or_insert_with(|| format!("'{key}' is read as {found:?}"));
        }
    }
    let elapsed = started.elapsed();
    let count = dataset::entries().count() as u64;
    if !verdict(fault, &format!("{} gets: {} a second", thousands(count), rate(count, elapsed)), report)? {
        return Ok(false);
    }
    stats::write_stats(report.out(), &db.stats(), "     ")?;
    db.close()?;
    Ok(true)
}
