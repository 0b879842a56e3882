//! Everything that can be asked of an open table, whatever it is made of. Called by the
//! bodies for blocks and tables.

use super::{magnitude, note};
use lsm_sstable::{Error, ReadOptions, Table, TableContext, TableCursor, TableMeta, key_hash};
use lsm_types::{Cursor, InternalKey, Slice, Stretch};
use lsm_vfs::{Fs, MemFs};
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::Arc;

pub(super) const PATH: &str = "table.sst";

/// More entries than a file of an input's size can hold.
const MAX_ENTRIES: usize = 1 << 20;
/// How many of the entries are looked for one by one.
const PROBES: usize = 40;

pub(super) type Entry = (InternalKey<Slice>, Slice);

/// A disk with one table on it.
pub(super) fn disk_with(file: &[u8]) -> Result<Arc<dyn Fs>, String> {
    let disk = MemFs::new();
    let words = |error: lsm_vfs::IoError| error.to_string();
    let handle = disk.create_new(Path::new(PATH)).map_err(words)?;
    handle.write_all_at(file, 0).map_err(words)?;
    Ok(Arc::new(disk))
}

/// Opens the table, without a cache.
pub(super) fn open(disk: &Arc<dyn Fs>, meta: &TableMeta) -> Result<Arc<Table>, Error> {
    let context = TableContext::new(Arc::clone(disk), 0, 4);
    Table::open(&context, PATH.into(), 1, meta).map(Arc::new)
}

/// Whether damage may be told so; `len` is that of the file.
pub(super) fn typed(error: &Error, len: usize) -> Result<String, String> {
    match error {
        Error::Corruption(damage) if damage.file != Path::new(PATH) => {
            Err(format!("damage is blamed on another file: {damage}"))
        }
        Error::Corruption(damage) if damage.offset > len as u64 => {
            Err(format!("damage is said to lie past the end of {len} bytes: {damage}"))
        }
        Error::Corruption(damage) => Ok(format!("{} {}", damage.expected, damage.got)),
        Error::Incompatible { .. } => Ok("incompatible".into()),
        Error::UnsupportedCompression { .. } => Ok("unsupported".into()),
        other => Err(format!("damage was reported as {other:?}")),
    }
}

/// Walks from one end to the other; reading ahead, along what the cursor gives out.
fn walk(table: &Arc<Table>, readahead_bytes: usize, forward: bool) -> Result<Vec<Entry>, Error> {
    let mut cursor = table.cursor(ReadOptions { fill_cache: false, readahead_bytes });
    let mut entries = Vec::new();
    if forward {
        cursor.seek_to_first()?
    } else {
        cursor.seek_to_last()?
    }
    while cursor.valid() && entries.len() < MAX_ENTRIES {
        entries.push((cursor.key().to_owned_key(), cursor.value_slice()));
        let along = if readahead_bytes > 0 { cursor.stretch(!forward, |_| true) } else { None };
        if let Some(mut along) = along {
            while along.advance() {
                let key = InternalKey { user_key: along.key_slice(), trailer: along.trailer() };
                entries.push((key, along.value_slice()));
            }
            cursor.resume(along);
        }
        if forward { cursor.next()? } else { cursor.prev()? }
    }
    Ok(entries)
}

/// Reads the table in every way. `file_len` bounds what errors may say.
///
/// Both directions give the same, what `verify` accepts is in order and found by every
/// key, and all else is a typed error.
pub(super) fn everything(table: &Arc<Table>, file_len: usize) -> Result<super::Note, String> {
    let forward = walk(table, 0, true);
    let ahead = walk(table, 1 << 16, true);
    let backward = walk(table, 0, false);
    let verified = table.verify();
    table.dump(true, &mut Nowhere).or_else(|error| typed(&error, file_len).map(|_| ()))?;
    let entries = match (&forward, &ahead, &backward) {
        (Ok(forward), Ok(ahead), Ok(backward)) => {
            same(forward.iter(), ahead.iter(), "reading ahead gives something else")?;
            same(forward.iter(), backward.iter().rev(), "backwards gives something else")?;
            if forward.len() >= MAX_ENTRIES {
                return Err(format!("a table of {file_len} bytes never ends"));
            }
            forward
        }
        _ => {
            let mut words = Vec::new();
            for outcome in [&forward, &ahead, &backward] {
                let Err(error) = outcome else { continue };
                words.push(typed(error, file_len)?);
            }
            if verified.is_ok() {
                return Err(format!("verify accepts what cannot be read: {words:?}"));
            }
            return Ok(note(&words.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    };
    let is_sound = match &verified {
        Ok(report) if report.entries != entries.len() as u64 => {
            return Err(format!("verify counts {} of {} entries", report.entries, entries.len()));
        }
        Ok(_) => "sound".to_owned(),
        Err(error) => typed(error, file_len)?,
    };
    probe(table, entries, verified.is_ok(), file_len)?;
    Ok(note(&["read", &magnitude(entries.len()), &is_sound]))
}

/// The entries from the first to the last.
pub(super) fn forward(table: &Arc<Table>) -> Result<Vec<Entry>, Error> {
    walk(table, 0, true)
}

/// Whether both give the same.
pub(super) fn same<'a>(
    a: impl Iterator<Item = &'a Entry>,
    b: impl Iterator<Item = &'a Entry>,
    otherwise: &str,
) -> Result<(), String> {
    let plain = |(key, value): &'a Entry| (&key.user_key, key.trailer, value);
    if a.map(plain).eq(b.map(plain)) { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// Looks for some of the entries by key.
fn probe(table: &Arc<Table>, entries: &[Entry], is_sound: bool, file_len: usize) -> Result<(), String> {
    let mut cursor = table.cursor(ReadOptions { fill_cache: true, readahead_bytes: 0 });
    let step = entries.len() / PROBES + 1;
    for (key, value) in entries.iter().step_by(step) {
        let user_key = key.user_key.as_bytes();
        match table.get(user_key, key_hash(user_key), key.seqno() + 1) {
            Ok(Some(found)) if is_sound => {
                if (found.seqno, found.kind, &found.value) != (key.seqno(), key.kind(), value) {
                    return Err(format!("get finds another entry for {key:?}: {found:?}"));
                }
            }
            Ok(None) if is_sound => return Err(format!("get does not find {key:?}")),
            Ok(_) => {}
            Err(error) => drop(typed(&error, file_len)?),
        }
        seek_both_ways(&mut cursor, key, is_sound, file_len)?;
    }
    Ok(())
}

fn seek_both_ways(
    cursor: &mut TableCursor,
    key: &InternalKey<Slice>,
    is_sound: bool,
    file_len: usize,
) -> Result<(), String> {
    for forward in [true, false] {
        let target = key.as_borrowed();
        let outcome = if forward { cursor.seek(target) } else { cursor.seek_for_prev(target) };
        if let Err(error) = outcome {
            typed(&error, file_len)?;
            if cursor.valid() {
                return Err("a cursor that failed stands somewhere".into());
            }
            continue;
        }
        let here = cursor.key();
        if is_sound
            && (!cursor.valid() || here.user_key != key.user_key.as_bytes() || here.seqno() != key.seqno())
        {
            return Err(format!("seek (forward: {forward}) does not find {key:?}"));
        }
    }
    Ok(())
}

/// Takes a text and forgets it.
struct Nowhere;

impl Write for Nowhere {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        Ok(())
    }
}
