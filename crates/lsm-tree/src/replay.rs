//! Replaying the log: its records go into the memtables of their keyspaces, what was
//! recovered is made durable, and a new segment is begun. Called by `open` alone.

use crate::core::{Core, new_memtable};
use crate::open::RecoveryReport;
use crate::options::Execution;
use crate::store::Store;
use crate::view::{self, Step};
use crate::write::commit::apply;
use crate::{Error, Result};
use lsm_log::{
    Cut, LogOptions, LogPosition, LogWriter, RecoverOptions, Recovered, RecoveryMode, SegmentId, SegmentIds,
};
use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_types::batch::{BatchReader, KeyspaceId};
use lsm_types::{MAX_SEQNO, SeqNo};
use lsm_version::{MANIFEST_NAME, ManifestState, SuperVersion};
use lsm_vfs::Corruption;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A log of at least so many bytes is worth a second reader.
const LONG_LOG_BYTES: u64 = 1 << 20;

/// Whether the log ends with the mark of a clean close. A segment that was begun and
/// has no record yet has no mark either.
pub(crate) fn log_was_closed(recovered: &Recovered) -> bool {
    let has_records = recovered.last_segment.is_some_and(|end| end.offset > lsm_log::SEGMENT_HEADER_BYTES);
    recovered.closed_cleanly && has_records
}

/// The log is closed after the manifest: where the log was and the manifest was not,
/// the end of the manifest is lost.
pub(crate) fn check_manifest_closed(store: &Store) -> Result<()> {
    let is_closed = store.with_manifest(|manifest| manifest.is_closed());
    if is_closed || store.options.recovery_mode == RecoveryMode::Salvage {
        return Ok(());
    }
    let path = store.directory.join(MANIFEST_NAME);
    let len = store.env.fs.open_read(&path).and_then(|file| file.len())?;
    Err(Corruption::new(&path, len, "the mark of a clean close, which the log has", "the end of the file")
        .into())
}

/// A table or a part of the log that the manifest names and that is not there: if the
/// manifest has lost its end, it names what was removed since, and is to blame.
pub(crate) fn blame_manifest(store: &Store, segments: &[u64], error: Error) -> Error {
    let Some(newest) = segments.iter().max() else { return error };
    let path = lsm_log::segment_path(&store.directory, *newest);
    let read = lsm_log::read_segment::<lsm_log::Error>(
        store.env.fs.as_ref(),
        &path,
        lsm_log::LOG_MAGIC,
        RecoverOptions::default(),
        &mut |_, _| Ok(()),
    );
    match read {
        Ok(read) if read.closed_cleanly && read.end_offset > lsm_log::SEGMENT_HEADER_BYTES => {
            check_manifest_closed(store).err().unwrap_or(error)
        }
        _ => error,
    }
}

/// Reads the log into memtables, and calls `then` with what was found once it is known to
/// be readable to its end. Returns also the next number.
///
/// A log that is not short is read twice at once: filling memtables takes most of the
/// time, and meanwhile another reader checks the log and has `then` make it durable. The
/// two see the same bytes: `then` may write them over themselves, but remove no segment.
pub(crate) fn read_log<'a, T>(
    store: &Store,
    segments: &[u64],
    log_bytes: u64,
    replay: impl Fn(bool) -> Replay<'a> + Sync,
    then: impl FnOnce(&Replay<'a>, &Recovered) -> Result<T>,
) -> Result<(T, Recovered, SeqNo)> {
    let read = |mut replay: Replay<'a>| {
        let recovered = replay.run(segments).map_err(|error| blame_manifest(store, segments, error))?;
        Ok::<_, Error>((replay, recovered))
    };
    let has_threads = matches!(store.options.advanced.execution, Execution::Threads(_));
    if !has_threads || log_bytes < LONG_LOG_BYTES {
        let (replay, recovered) = read(replay(true))?;
        return Ok((then(&replay, &recovered)?, recovered, replay.next_seqno));
    }
    let fill = || read(replay(true)).map(|(_, recovered)| recovered);
    let check = || {
        let (replay, recovered) = read(replay(false))?;
        Ok::<_, Error>((then(&replay, &recovered)?, recovered, replay.next_seqno))
    };
    let (filled, checked) = lsm_sync::thread::join(fill, check);
    let (begun, recovered, next_seqno) = checked?;
    let filled = filled?;
    if (filled.end, filled.records) != (recovered.end, recovered.records) {
        let expected = format!("{} records, as a moment ago", recovered.records);
        return Err(
            Corruption::new(&store.directory, 0, expected, format!("{} records", filled.records)).into()
        );
    }
    Ok((begun, recovered, next_seqno))
}

/// Reads the records of the log, checks them, and may put them into the memtables of their
/// keyspaces.
pub(crate) struct Replay<'a> {
    cores: &'a BTreeMap<KeyspaceId, Arc<Core>>,
    state: &'a ManifestState,
    store: &'a Store,
    /// Whether memtables are filled.
    fills: bool,
    /// The newest view of each keyspace that was met.
    views: BTreeMap<KeyspaceId, lsm_sync::Arc<SuperVersion>>,
    /// The keyspaces of the record at hand.
    touched: Vec<KeyspaceId>,
    pub(crate) next_seqno: SeqNo,
    /// The number after the last record: the next one's are not below.
    log_seqno: SeqNo,
    batches: u64,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(
        cores: &'a BTreeMap<KeyspaceId, Arc<Core>>,
        state: &'a ManifestState,
        store: &'a Store,
        fills: bool,
    ) -> Self {
        Self {
            cores,
            state,
            store,
            fills,
            views: BTreeMap::new(),
            touched: Vec::new(),
            next_seqno: state.next_seqno,
            log_seqno: 0,
            batches: 0,
        }
    }

    pub(crate) fn run(&mut self, segments: &[u64]) -> Result<Recovered> {
        let options = RecoverOptions {
            mode: self.store.options.recovery_mode,
            durable_through: LogPosition(self.state.log_durable_through),
            oldest_needed: self.state.first_segment,
            needed_from: LogPosition(self.state.log_first_base),
        };
        let (fs, directory) = (self.store.env.fs.as_ref(), &self.store.directory);
        let recovered =
            lsm_log::recover(fs, directory, segments, options, &mut |end, record| self.apply(end, record))?;
        self.check_begin(&recovered, segments)?;
        Ok(recovered)
    }

    /// The log must begin where the manifest says. Its first segment may have no header:
    /// all before it is in tables, and of what it held nothing was durable.
    fn check_begin(&self, recovered: &Recovered, segments: &[u64]) -> Result<()> {
        let (first, base) = (self.state.first_segment, LogPosition(self.state.log_first_base));
        let is_whole = match recovered.segments.first() {
            _ if self.store.options.recovery_mode == RecoveryMode::Salvage => true,
            Some(oldest) => oldest.number == first || oldest.base == base,
            None => first == 0 || segments.contains(&first),
        };
        if is_whole {
            return Ok(());
        }
        let missing = lsm_log::segment_path(&self.store.directory, first.max(1));
        Err(Corruption::new(&missing, 0, "the oldest log segment", "no such file").into())
    }

    /// Applies one batch, but for what is in tables already.
    fn apply(&mut self, end: LogPosition, record: &[u8]) -> Result<()> {
        let damaged = |why: String| -> Error {
            let expected = format!("a batch before log position {end}");
            Corruption::new(&self.store.directory, 0, expected, why).into()
        };
        let batch = BatchReader::new(record).map_err(|error| damaged(error.to_string()))?;
        let base = batch.base_seqno();
        let through = base.saturating_add(u64::from(batch.count()));
        // Two entries of one key and number would have no order. Salvage takes them.
        let goes_back = base < self.log_seqno && self.store.options.recovery_mode != RecoveryMode::Salvage;
        if goes_back || through > MAX_SEQNO {
            return Err(damaged(format!("one numbered from {base} on after number {}", self.log_seqno)));
        }
        self.log_seqno = through;
        self.touched.clear();
        for entry in batch.iter() {
            let (seqno, entry) = entry.map_err(|error| damaged(error.to_string()))?;
            let Some(core) = self.cores.get(&entry.keyspace) else {
                if entry.keyspace >= self.state.next_keyspace {
                    return Err(damaged(format!("keyspace {}, which never existed", entry.keyspace)));
                }
                // It was dropped.
                continue;
            };
            if !self.fills {
                continue;
            }
            if !self.touched.contains(&entry.keyspace) {
                self.touched.push(entry.keyspace);
            }
            let view = self.views.entry(entry.keyspace).or_insert_with(|| core.history.latest());
            if seqno >= view.tables.flushed_through() {
                apply(&view.active, seqno, entry.kind, entry.key, entry.value);
            }
        }
        self.batches += 1;
        self.next_seqno = self.next_seqno.max(through);
        self.rotate_full(end, through)
    }

    /// Seals the memtables that the replay has filled, to be flushed once it is over.
    /// They hold what is numbered below `through`: the manifest may know of greater
    /// numbers, whose records are yet to come.
    fn rotate_full(&mut self, end: LogPosition, through: SeqNo) -> Result<()> {
        for id in &self.touched {
            let (Some(view), Some(core)) = (self.views.get_mut(id), self.cores.get(id)) else { continue };
            if view.active.approximate_bytes() >= self.store.options.write_buffer_bytes {
                let step = Step::Rotate { fresh: new_memtable(), sealed_at: through, log_end: end.0 };
                view::install(self.store, core, step, through, Vec::new, None)?;
                *view = core.history.latest();
            }
        }
        Ok(())
    }
}

impl RecoveryReport {
    pub(crate) fn note(&mut self, replay: &Replay<'_>, recovered: &Recovered) {
        self.replayed_batches = replay.batches;
        let describe = |cut: &Cut| {
            format!(
                "{} at byte {}: {}; {} bytes with {} readable records were left out",
                cut.file.display(),
                cut.offset,
                cut.reason,
                cut.discarded_bytes,
                cut.discarded_records
            )
        };
        self.log_cut = recovered.cut.as_ref().map(describe);
        self.log_damage_skipped = recovered.skipped.iter().map(describe).collect();
        if let Some(cut) = &self.log_cut {
            tracing::warn!(cut, "the log ended in the middle of a write and was cut there");
        }
    }
}

/// Makes durable what was recovered and where it ends, and starts a new segment. Old
/// ones are never appended to.
pub(crate) fn continue_log(store: &Store, recovered: &Recovered) -> Result<LogWriter> {
    let (fs, directory) = (Arc::clone(&store.env.fs), store.directory.clone());
    let ids = segment_ids(store, recovered);
    Ok(LogWriter::start(fs, directory, log_options(store), ids, recovered)?)
}

/// Removes the segments that recovery has discarded, once nobody reads them any more.
pub(crate) fn remove_discarded(store: &Store, log: &mut LogWriter) {
    let discarded = log.releasable_below(0);
    match lsm_log::remove_segments(store.env.fs.as_ref(), &store.directory, &discarded) {
        Ok(()) => log.forget_segments(&discarded),
        Err(error) => tracing::warn!(%error, "log segments that recovery discarded stay for now"),
    }
}

/// Leaves a log that was closed as it is, until something is to be written.
pub(crate) fn rest_log(store: &Store, recovered: &Recovered) -> LogWriter {
    let (fs, directory) = (Arc::clone(&store.env.fs), store.directory.clone());
    LogWriter::resting(fs, directory, log_options(store), segment_ids(store, recovered), recovered)
}

fn log_options(store: &Store) -> LogOptions {
    LogOptions { segment_bytes: store.options.advanced.log_segment_bytes }
}

fn segment_ids(store: &Store, recovered: &Recovered) -> SegmentIds {
    let next_number = AtomicU64::new(recovered.highest_number + 1);
    let new_uid = store.env.uid_source();
    Arc::new(move || {
        // Relaxed: the number itself is all that is shared.
        SegmentId { number: next_number.fetch_add(1, Ordering::Relaxed), uid: new_uid() }
    })
}
