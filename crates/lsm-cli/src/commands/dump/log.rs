//! A segment of the write-ahead log as text: each record, and each entry on request.

use super::{options, shown, summary};
use crate::failure::Failure;
use lsm_log::{LOG_MAGIC, LogPosition};
use lsm_types::ValueKind;
use lsm_types::batch::{BatchEntry, BatchError, BatchReader, decode_range_span};
use lsm_vfs::OsFs;
use std::io::{self, Write};
use std::path::Path;

/// Why reading stopped.
enum Stop {
    Log(lsm_log::Error),
    Output(io::Error),
}

impl From<lsm_log::Error> for Stop {
    fn from(error: lsm_log::Error) -> Self {
        Self::Log(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Prints the segment `path`.
pub(super) fn dump(path: &Path, entries: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let read = lsm_log::read_segment(&OsFs, path, LOG_MAGIC, options(), &mut |end, payload| {
        record(end, payload, entries, out).map_err(Stop::from)
    });
    let read = read.map_err(|stop| match stop {
        Stop::Log(error) => Failure::Other(error.to_string()),
        Stop::Output(error) => error.into(),
    })?;
    summary(path, &read, out)?;
    let header = &read.header;
    let before = match &header.predecessor {
        Some(end) => format!("after segment {}, which ends at byte {}", end.number, end.offset),
        None => "without a predecessor".to_owned(),
    };
    writeln!(out, "  log segment {}, begins at log position {}, {before}", header.number, header.base)?;
    Ok(())
}

fn record(end: LogPosition, payload: &[u8], entries: bool, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "record before log position {end}: {} bytes, ", payload.len())?;
    let batch = match BatchReader::new(payload) {
        Ok(batch) => batch,
        Err(error) => return writeln!(out, "{error}"),
    };
    writeln!(out, "a batch of {} entries from seqno {} on", batch.count(), batch.base_seqno())?;
    if entries {
        batch.iter().try_for_each(|item| entry(item, out))?;
    }
    Ok(())
}

fn entry(item: Result<(u64, BatchEntry<'_>), BatchError>, out: &mut dyn Write) -> io::Result<()> {
    let (seqno, entry) = match item {
        Ok(item) => item,
        Err(error) => return writeln!(out, "  {error}"),
    };
    let key = shown(entry.key);
    write!(out, "  seqno {seqno} keyspace {} {:?} {key}", entry.keyspace, entry.kind)?;
    match entry.kind {
        kind if kind.is_tombstone() => writeln!(out),
        ValueKind::RangeTombstone => match decode_range_span(entry.key, entry.value).map(|span| span.end) {
            Some(Some(end)) => writeln!(out, " to {}", shown(&end)),
            Some(None) => writeln!(out, " to the end"),
            None => writeln!(out, " to an end that cannot be read"),
        },
        _ => writeln!(out, " = {}", shown(entry.value)),
    }
}
