//! The body for batches: any payload decoded and encoded again, and replayed from the
//! log of a database, which then answers the same whatever it flushes and however often
//! it is opened.

use super::{Note, magnitude, note};
use lsm_log::{LogOptions, LogWriter, RecoverOptions, SegmentId, recover, segment_number};
use lsm_tree::{Compression, Database, Error, Execution, KeyspaceOptions, Options, Slice};
use lsm_types::batch::{
    BatchEntry, BatchError, BatchReader, decode_range_span, encode_range_end, header, put_entry,
};
use lsm_types::{SeqNo, ValueKind};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;
use std::sync::{Arc, OnceLock};

const DIR: &str = "db";
const KEYSPACES: [&str; 2] = ["a", "b"];

/// `input := payload of one record of the log`.
pub(super) fn body(payload: &[u8]) -> Result<Note, String> {
    let decoded = decode(payload);
    if let Ok(entries) = &decoded {
        encodes_again(payload, entries)?;
    }
    let how = match &decoded {
        Ok(entries) => magnitude(entries.len()),
        Err(error) => error.to_string(),
    };
    // A weak delete of a key that was written twice shows what it may: nothing is
    // promised then but that nothing breaks.
    let is_weak = |(_, entry): &(SeqNo, BatchEntry<'_>)| entry.kind == ValueKind::WeakTombstone;
    let promised = decoded.as_ref().is_ok_and(|entries| !entries.iter().any(is_weak));
    let replayed = replay(payload, promised)?;
    if decoded.is_err() && replayed.is_ok() {
        return Err(format!("a payload that is no batch ({how}) was replayed"));
    }
    let replayed = replayed.map_or_else(|error| error, magnitude);
    Ok(note(&["batch", &how, &replayed]))
}

type Entries<'a> = Vec<(SeqNo, BatchEntry<'a>)>;

fn decode(payload: &[u8]) -> Result<Entries<'_>, BatchError> {
    BatchReader::new(payload)?.iter().collect()
}

fn encodes_again(payload: &[u8], entries: &Entries<'_>) -> Result<(), String> {
    let reader = BatchReader::new(payload).map_err(|error| error.to_string())?;
    if entries.len() as u64 != u64::from(reader.count()) {
        return Err(format!("{} entries of {}", entries.len(), reader.count()));
    }
    let mut again = header(reader.base_seqno(), reader.count()).to_vec();
    for (_, entry) in entries {
        put_entry(&mut again, *entry);
        if entry.kind == ValueKind::RangeTombstone
            && let Some(span) = decode_range_span(entry.key, entry.value)
            && encode_range_end(span.end.as_deref()) != entry.value
        {
            return Err(format!("the end of {span:?} is stored otherwise than {:?}", entry.value));
        }
    }
    match decode(&again) {
        Ok(found) if &found == entries => Ok(()),
        found => Err(format!("encoded again it reads {found:?}")),
    }
}

fn options(fs: &MemFs) -> Options {
    let mut options = Options::default().write_buffer_size(64 << 10).cache_size(64 << 10);
    let advanced = options.advanced().fs(Arc::new(fs.clone())).seed(1).log_segment_size(4096);
    advanced.execution(Execution::Deterministic { seed: 1 });
    options
}

/// A closed database with two keyspaces and a little in them.
fn template() -> Result<MemFs, String> {
    static TEMPLATE: OnceLock<Result<MemFs, String>> = OnceLock::new();
    let make = || -> Result<MemFs, Error> {
        let fs = MemFs::new();
        let database = options(&fs).open(DIR)?;
        let keyspace_options = KeyspaceOptions::default().block_size(64).compression(Compression::None);
        for name in KEYSPACES {
            let keyspace = database.keyspace(name, keyspace_options.clone())?;
            for key in ["", "a", "b", "k1", "k2"] {
                keyspace.insert(key, "old")?;
            }
            keyspace.flush()?;
            keyspace.insert("k2", "newer")?;
        }
        database.close()?;
        Ok(fs)
    };
    let made = TEMPLATE.get_or_init(|| make().map_err(|error| error.to_string()));
    made.clone().map(|fs| fs.process_kill())
}

/// Adds a record to the log of a closed database, as a process would that was killed
/// right after.
fn append(fs: &MemFs, payload: &[u8]) -> Result<(), lsm_log::Error> {
    let dir = Path::new(DIR);
    let names = fs.read_dir(dir)?;
    let numbers: Vec<u64> = names.iter().filter_map(|file| segment_number(&file.name)).collect();
    let recovered =
        recover::<lsm_log::Error>(fs, dir, &numbers, RecoverOptions::default(), &mut |_, _| Ok(()))?;
    let number = recovered.highest_number + 100;
    let ids = Arc::new(move || SegmentId { number, uid: 4711 });
    let mut log = LogWriter::start(
        Arc::new(fs.clone()),
        dir.into(),
        LogOptions { segment_bytes: 4096 },
        ids,
        &recovered,
    )?;
    log.stage(&[payload])?;
    let end = log.write_staged()?;
    log.group_sync().sync_through(end)
}

/// How many entries there are after a replay, or how it was refused.
fn replay(payload: &[u8], promised: bool) -> Result<Result<usize, String>, String> {
    let fs = template()?;
    append(&fs, payload).map_err(|error| format!("the record cannot be appended: {error}"))?;
    let database = match options(&fs).open(DIR) {
        Ok(database) => database,
        Err(Error::Corruption { expected, got, .. }) => return Ok(Err(format!("{expected} {got}"))),
        Err(error @ Error::InvalidArgument(_)) => return Ok(Err(error.to_string())),
        Err(error) => return Err(format!("a strange batch was reported as {error:?}")),
    };
    let first = contents(&database)?;
    let expect_same = |after: &Contents, what: &str| {
        if !promised || &first == after {
            Ok(())
        } else {
            Err(format!("{what} changed {first:?} to {after:?}"))
        }
    };
    for name in KEYSPACES {
        let keyspace = keyspace(&database, name)?;
        keyspace.flush().map_err(|error| format!("flush of what was replayed: {error:?}"))?;
    }
    expect_same(&contents(&database)?, "a flush")?;
    for name in KEYSPACES {
        let keyspace = keyspace(&database, name)?;
        keyspace.compact_range(..).map_err(|error| format!("compaction of what was replayed: {error:?}"))?;
    }
    expect_same(&contents(&database)?, "a compaction")?;
    drop(database);
    let database = options(&fs).open(DIR).map_err(|error| format!("it cannot be opened twice: {error:?}"))?;
    expect_same(&contents(&database)?, "opening again")?;
    Ok(Ok(first.len()))
}

fn keyspace(database: &Database, name: &str) -> Result<lsm_tree::Keyspace, String> {
    database.keyspace(name, KeyspaceOptions::default()).map_err(|error| error.to_string())
}

type Contents = Vec<Result<(Slice, Slice), String>>;

/// What a scan of all keyspaces gives; backwards and by key it is the same.
fn contents(database: &Database) -> Result<Contents, String> {
    let mut all = Contents::new();
    for name in KEYSPACES {
        let keyspace = keyspace(database, name)?;
        let words = |error: Error| error.to_string();
        let forward: Contents = keyspace.iter().map(|item| item.map_err(words)).collect();
        let mut backward: Contents = keyspace.iter().rev().map(|item| item.map_err(words)).collect();
        backward.reverse();
        if forward.iter().all(Result::is_ok) && forward != backward {
            return Err(format!("backwards {name} reads otherwise: {forward:?} and {backward:?}"));
        }
        for (key, value) in forward.iter().flatten() {
            let got = keyspace.get(key).map_err(words)?;
            if got.as_ref() != Some(value) {
                return Err(format!("the scan of {name} has {key:?} = {value:?}, get says {got:?}"));
            }
        }
        all.extend(forward);
    }
    Ok(all)
}
