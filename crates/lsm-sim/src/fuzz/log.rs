//! The body for logs: any bytes as the segments of one, recovered in every mode, made
//! durable, gone on with and recovered again.

use super::input::Input;
use super::{Note, magnitude, note, repair};
use lsm_log::{
    Error, LogOptions, LogWriter, RecoverOptions, Recovered, RecoveryMode, SegmentId, recover, segment_path,
};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;
use std::sync::Arc;

const REPAIRED: u8 = 1;
const DIR: &str = "log";
/// What is written after a recovery.
const LAST: &[u8] = b"after recovery";
/// No log gets this far.
const MAX_POSITION: u64 = 1 << 61;
/// An answer must not take more than the input could hold, by far.
const MAX_RECORDS: usize = 1 << 16;

type Payloads = Vec<Vec<u8>>;

/// `input := how u8 | (length u16 LE | segment)*`: the segments 1, 2, …; the last one
/// takes the rest.
pub(super) fn body(bytes: &[u8]) -> Result<Note, String> {
    let mut input = Input::new(bytes);
    let how = input.byte();
    let disk = MemFs::new();
    let io = |error: lsm_vfs::IoError| error.to_string();
    disk.create_dir_all(Path::new(DIR)).map_err(io)?;
    let mut numbers = Vec::new();
    for number in 1..=1 + u64::from(how >> 1) % 4 {
        let len = usize::from(input.short());
        let mut segment = input.take(len).to_vec();
        if how & REPAIRED != 0 {
            repair::segment(&mut segment);
        }
        let file = disk.create_new(&segment_path(Path::new(DIR), number)).map_err(io)?;
        file.write_all_at(&segment, 0).map_err(io)?;
        numbers.push(number);
    }
    let mut words = Vec::new();
    let strict = read(&disk, &numbers, RecoveryMode::Strict, &mut words)?;
    let torn = read(&disk, &numbers, RecoveryMode::TornTail, &mut words)?;
    let salvaged = read(&disk, &numbers, RecoveryMode::Salvage, &mut words)?;
    if let Some((payloads, _)) = &strict
        && torn.as_ref().is_none_or(|(other, _)| other != payloads)
    {
        return Err("a log that is whole is read otherwise where a torn end is allowed".into());
    }
    if let Some((payloads, _)) = &torn
        && salvaged.as_ref().is_none_or(|(other, _)| !other.starts_with(payloads))
    {
        return Err("salvage lost records that are read without it".into());
    }
    for (payloads, recovered) in torn.iter().chain(&salvaged) {
        if recovered.end.0 > MAX_POSITION {
            // A record that claims so much was made durable leaves no room to go on in.
            continue;
        }
        words.push(magnitude(payloads.len()));
        words.push(go_on(&disk.process_kill(), &numbers, payloads, recovered)?);
    }
    Ok(note(&words.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// The payloads and what recovery says, or `None` after an error, whose class goes to
/// `words`.
fn read(
    disk: &MemFs,
    numbers: &[u64],
    mode: RecoveryMode,
    words: &mut Vec<String>,
) -> Result<Option<(Payloads, Recovered)>, String> {
    let mut payloads = Payloads::new();
    let options = RecoverOptions { mode, ..RecoverOptions::default() };
    let outcome = recover::<Error>(disk, Path::new(DIR), numbers, options, &mut |_, payload| {
        payloads.push(payload.to_vec());
        Ok(())
    });
    if payloads.len() > MAX_RECORDS {
        return Err(format!("{} records in a short log", payloads.len()));
    }
    match outcome {
        Ok(recovered) if recovered.records != payloads.len() as u64 => {
            Err(format!("{mode:?}: {} records are counted, {} were given", recovered.records, payloads.len()))
        }
        Ok(recovered) => Ok(Some((payloads, recovered))),
        Err(Error::Corruption(damage)) => {
            if !damage.file.starts_with(DIR) {
                return Err(format!("damage is blamed on another file: {damage}"));
            }
            words.push(format!("{} {}", damage.expected, damage.got));
            Ok(None)
        }
        Err(Error::Incompatible { .. }) => {
            words.push("incompatible".into());
            Ok(None)
        }
        Err(error) => Err(format!("{mode:?}: damage was reported as {error:?}")),
    }
}

/// Goes on with what was recovered: the old records and the new one are found again.
fn go_on(
    disk: &MemFs,
    numbers: &[u64],
    payloads: &Payloads,
    recovered: &Recovered,
) -> Result<String, String> {
    recovered.make_durable(disk, Path::new(DIR)).map_err(|error| format!("make_durable: {error}"))?;
    let number = recovered.highest_number.max(numbers.len() as u64) + 1;
    let ids = Arc::new(move || SegmentId { number, uid: number * 77 });
    let options = LogOptions { segment_bytes: 1 << 12 };
    let log = LogWriter::start(Arc::new(disk.clone()), DIR.into(), options, ids, recovered);
    let mut log = match log {
        Ok(log) => log,
        Err(error) => return Err(format!("the log cannot go on: {error:?}")),
    };
    log.stage(&[LAST]).map_err(|error| format!("stage: {error}"))?;
    let end = log.write_staged().map_err(|error| format!("write: {error}"))?;
    log.group_sync().sync_through(end).map_err(|error| format!("sync: {error}"))?;
    drop(log);
    lsm_log::remove_segments(disk, Path::new(DIR), &recovered.discarded_segments)
        .map_err(|error| format!("removing discarded segments: {error}"))?;
    let left: Vec<u64> = numbers
        .iter()
        .copied()
        .filter(|number| !recovered.discarded_segments.contains(number))
        .chain([number])
        .collect();
    if !recovered.skipped.is_empty() {
        // Damage in the middle stays where it is, and so does the error.
        return Ok("damage stays".into());
    }
    let again = read(disk, &left, RecoveryMode::TornTail, &mut Vec::new())?;
    let expected: Payloads = payloads.iter().cloned().chain([LAST.to_vec()]).collect();
    match again {
        Some((found, _)) if found == expected => Ok("goes on".into()),
        Some((found, _)) => Err(format!("{} records became {}", expected.len(), found.len())),
        None => Err("the log that went on cannot be recovered".into()),
    }
}
