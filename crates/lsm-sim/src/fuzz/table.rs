//! The body for tables: any bytes as a file, its checksums put right or not; and any
//! entries, written and read back.

use super::input::Input;
use super::walk::{self, Entry, PATH};
use super::{Note, magnitude, note, repair};
use lsm_sstable::{Compression, Table, TableContext, TableWriter, WriterOptions};
use lsm_types::{InternalKey, KeySpan, RangeTombstone, ValueKind};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;
use std::sync::Arc;

const REPAIRED: u8 = 1;
const STRUCTURED: u8 = 2;
/// Entries that one input may write.
const MAX_ENTRIES: usize = 400;

/// `input := how u8 | file`, or `how u8 | choices` with [`STRUCTURED`].
pub(super) fn body(bytes: &[u8]) -> Result<Note, String> {
    let mut input = Input::new(bytes);
    let how = input.byte();
    if how & STRUCTURED != 0 {
        return round_trip(input);
    }
    let mut file = input.rest().to_vec();
    if how & REPAIRED != 0 {
        repair::table(&mut file);
    }
    let disk = walk::disk_with(&file)?;
    let context = TableContext::new(Arc::clone(&disk), 0, 4);
    let opened = Table::read_meta(&context, Path::new(PATH)).and_then(|meta| walk::open(&disk, &meta));
    match opened {
        Ok(table) => walk::everything(&table, file.len()),
        Err(error) => Ok(note(&["open", &walk::typed(&error, file.len())?])),
    }
}

/// What the choices say to write, in order and without duplicates.
pub(super) fn entries(input: &mut Input<'_>) -> (Vec<Entry>, Vec<RangeTombstone>) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut tombstones = Vec::new();
    while !input.is_empty() && entries.len() + tombstones.len() < MAX_ENTRIES {
        let (kind, seqno, key) = (input.byte(), input.number(), input.bytes());
        if kind == 255 {
            let end = Some(input.bytes()).filter(|end| !end.is_empty()).map(Into::into);
            let seqno = seqno.min(lsm_types::MAX_SEQNO);
            tombstones.push(RangeTombstone { span: KeySpan { start: key.into(), end }, seqno });
            continue;
        }
        let kinds = [ValueKind::Value, ValueKind::Tombstone, ValueKind::WeakTombstone];
        let kind = kinds.get(usize::from(kind % 16)).copied().unwrap_or(ValueKind::Value);
        let value = if kind.is_tombstone() { Vec::new() } else { input.bytes() };
        entries.push((InternalKey::new(key.into(), seqno, kind), value.into()));
    }
    let place = |(key, _): &Entry| (key.user_key.clone(), std::cmp::Reverse(key.seqno()));
    entries.sort_by_cached_key(place);
    entries.dedup_by_key(|entry| place(entry));
    (entries, tombstones)
}

fn round_trip(mut input: Input<'_>) -> Result<Note, String> {
    let choice = input.byte();
    let options = WriterOptions {
        block_bytes: 64 << (choice % 8),
        compression: match (choice & 8 == 0, choice & 16 == 0) {
            (true, true) => Compression::Lz4,
            (true, false) => Compression::Snappy,
            _ => Compression::None,
        },
        filter_bits_per_key: f32::from(choice >> 4),
    };
    let (entries, tombstones) = entries(&mut input);
    let disk = MemFs::new();
    let words = |error: lsm_sstable::Error| format!("a table cannot be written: {error}");
    let mut writer = TableWriter::create(&disk, Path::new(PATH), 9, &options).map_err(words)?;
    for (key, value) in &entries {
        writer.add(key.as_borrowed(), value).map_err(words)?;
    }
    tombstones.iter().try_for_each(|tombstone| writer.add_range_tombstone(tombstone)).map_err(words)?;
    let meta = match writer.finish(1) {
        Ok(meta) => meta,
        Err(lsm_sstable::Error::Empty { .. }) if entries.is_empty() => return Ok(note(&["empty"])),
        Err(error) => return Err(words(error)),
    };
    let disk: Arc<dyn Fs> = Arc::new(disk);
    let table = walk::open(&disk, &meta).map_err(|error| format!("a new table cannot be opened: {error}"))?;
    table.verify().map_err(|error| format!("a new table is not sound: {error}"))?;
    let found = walk::forward(&table).map_err(|error| format!("a new table cannot be read: {error}"))?;
    walk::same(entries.iter(), found.iter(), "what was written did not come back")?;
    for tombstone in tombstones.iter().filter(|tombstone| !tombstone.span.is_empty()) {
        let start = &tombstone.span.start;
        let covering = table.range_tombstones().newest_covering(start, tombstone.seqno.saturating_add(1));
        if covering.is_none_or(|seqno| seqno < tombstone.seqno) {
            return Err(format!("{tombstone:?} does not cover its own start: {covering:?}"));
        }
    }
    walk::everything(&table, meta.file_bytes as usize)?;
    Ok(note(&["written", &magnitude(entries.len()), &magnitude(tombstones.len())]))
}
