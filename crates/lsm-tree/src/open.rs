//! The recovery story: lock the directory, read the manifest, take up the tables,
//! replay the log, make its cut durable, start a new segment, remove what nobody
//! names. Only then is a write accepted.

use crate::core::Core;
use crate::core::new_memtable;
use crate::engine::Engine;
use crate::env::Env;
use crate::options::{KeyspaceOptions, Options, TreeOptions};
use crate::store::Store;
use crate::view::{self, Step};
use crate::write::commit::{Active, CommitState, apply};
use crate::{Error, Result};
use lsm_log::{
    Cut, LogOptions, LogPosition, LogWriter, RecoverOptions, Recovered, RecoveryMode, SegmentId, SegmentIds,
};
use lsm_sstable::TableContext;
use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_types::SeqNo;
use lsm_types::batch::{BatchReader, KeyspaceId};
use lsm_version::{
    Edit, Exactness, FileNumber, KeyspaceState, MANIFEST_NAME, MANIFEST_NEW_NAME, Manifest, ManifestState,
    StoreKind, Version, table_file_name,
};
use lsm_vfs::{Corruption, DirEntry};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

/// The file whose lock stands for the directory.
const LOCK_NAME: &str = "LOCK";
/// Where salvage puts what nobody names.
const LOST_NAME: &str = "lost";

/// What opening a database found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Batches replayed from the log.
    pub replayed_batches: u64,
    /// Where the log was cut, because it ended in the middle of a write: file,
    /// offset, and why. Nothing that was acknowledged as durable lay behind.
    pub log_cut: Option<String>,
    /// Damage in the log that salvage mode passed over.
    pub log_damage_skipped: Vec<String>,
    /// Files of ours that the manifest does not name: removed, or in salvage mode moved
    /// to `lost/`.
    pub removed_files: Vec<String>,
    /// Names that are not ours; they were left alone.
    pub foreign_files: Vec<String>,
}

/// A locked directory with its manifest read.
struct Found {
    store: Store,
    state: ManifestState,
    entries: Vec<DirEntry>,
}

/// What a name in the directory stands for.
enum FileName {
    Ours,
    Table(FileNumber),
    Segment(u64),
    Foreign,
}

fn classify(name: &str) -> FileName {
    if [MANIFEST_NAME, MANIFEST_NEW_NAME, LOCK_NAME, LOST_NAME].contains(&name) {
        return FileName::Ours;
    }
    if let Some(number) = lsm_log::segment_number(name) {
        return FileName::Segment(number);
    }
    match name.strip_suffix(".sst").and_then(|stem| stem.parse().ok()) {
        Some(number) if table_file_name(number) == name => FileName::Table(number),
        _ => FileName::Foreign,
    }
}

/// Locks the directory and reads or creates the manifest.
fn find(path: &Path, options: Options, kind: StoreKind) -> Result<Found> {
    let advanced = &options.advanced;
    let env = Env::new(Arc::clone(&advanced.fs), Arc::clone(&advanced.clock), advanced.seed);
    let fs = Arc::clone(&env.fs);
    if !fs.exists(path)? {
        if !options.create_if_missing {
            return Err(Error::invalid(format!("{} does not exist", path.display())));
        }
        fs.create_dir_durably(path)?;
    }
    let entries = fs.read_dir(path)?;
    let has_manifest = entries.iter().any(|entry| entry.name == MANIFEST_NAME);
    if !has_manifest {
        check_may_create(path, &entries, options.create_if_missing)?;
    }
    let Some(lock) = fs.try_lock(&path.join(LOCK_NAME))? else {
        return Err(Error::Locked { path: path.to_path_buf() });
    };
    // Read again under the lock: another process may have been at work until now.
    let entries = fs.read_dir(path)?;
    let manifest = match Manifest::open(fs.as_ref(), path)? {
        Some(manifest) => manifest,
        None => {
            let mut manifest = Manifest::new(path);
            let created = Edit::Created { kind, uid: env.new_uid() };
            manifest.commit(fs.as_ref(), &[created], || env.new_uid())?;
            manifest
        }
    };
    let state = manifest.state().clone();
    if state.kind != Some(kind) {
        return Err(Error::invalid(format!(
            "{} holds a {}: open it as one",
            path.display(),
            if kind == StoreKind::Tree { "database" } else { "tree" }
        )));
    }
    let on_disk = entries.iter().filter_map(|entry| match classify(&entry.name) {
        FileName::Table(number) => Some(number + 1),
        _ => None,
    });
    let next_file = on_disk.chain([state.next_file, 1]).max().unwrap_or(1);
    let tables = TableContext::new(fs, options.cache_bytes, options.max_open_files);
    let store = Store::new(env, path, options, manifest, tables, next_file, lock);
    Ok(Found { store, state, entries })
}

/// A directory without a manifest becomes a database only when nothing in it could
/// be somebody's data.
fn check_may_create(path: &Path, entries: &[DirEntry], create_if_missing: bool) -> Result<()> {
    if !create_if_missing {
        return Err(Error::invalid(format!("{} holds no database", path.display())));
    }
    for entry in entries {
        match classify(&entry.name) {
            FileName::Ours => {}
            FileName::Table(_) | FileName::Segment(_) => {
                let file = path.join(MANIFEST_NAME);
                let expected = format!("a manifest beside {}", entry.name);
                return Err(Corruption::new(&file, 0, expected, "no such file").into());
            }
            FileName::Foreign => {
                return Err(Error::invalid(format!(
                    "{} is not a database: it holds {:?}; choose an empty directory",
                    path.display(),
                    entry.name
                )));
            }
        }
    }
    Ok(())
}

/// The version of a keyspace as the manifest knows it. No file is opened, but each
/// must be there with the length that it was written with.
fn version_of(
    store: &Store,
    keyspace: &KeyspaceState,
    lengths: &BTreeMap<FileNumber, u64>,
    exact: Exactness,
) -> Result<Version> {
    let mut tables = Vec::with_capacity(keyspace.tables.len());
    for (&number, (placement, meta)) in &keyspace.tables {
        let path = store.table_path(number);
        match lengths.get(&number) {
            Some(&len) if len == meta.file_bytes => {}
            Some(len) => {
                let expected = format!("a table of {} bytes", meta.file_bytes);
                return Err(Corruption::new(&path, *len, expected, format!("{len} bytes")).into());
            }
            None => return Err(Corruption::new(&path, 0, "a table", "no such file").into()),
        }
        tables.push((*placement, store.handle(number, meta.clone())));
    }
    Version::from_tables(tables, exact, keyspace.flushed_through).map_err(|why| {
        Corruption::new(&store.directory.join(MANIFEST_NAME), 0, "tables that fit together", why).into()
    })
}

fn table_lengths(entries: &[DirEntry]) -> BTreeMap<FileNumber, u64> {
    let lengths = entries.iter().filter_map(|entry| match classify(&entry.name) {
        FileName::Table(number) => Some((number, entry.len_bytes)),
        _ => None,
    });
    lengths.collect()
}

/// Sets aside the files of ours that nobody names, and lists the others.
fn account_for(found: &Found, report: &mut RecoveryReport) -> Result<()> {
    let named: BTreeSet<FileNumber> =
        found.state.keyspaces.values().flat_map(|keyspace| keyspace.tables.keys().copied()).collect();
    for entry in &found.entries {
        let is_orphan = match classify(&entry.name) {
            FileName::Ours => entry.name == MANIFEST_NEW_NAME,
            FileName::Table(number) if named.contains(&number) => false,
            FileName::Table(_) => {
                let path = found.store.directory.join(&entry.name);
                let is_ours = lsm_sstable::may_be_table(found.store.env.fs.as_ref(), &path)?;
                if !is_ours {
                    report.foreign_files.push(entry.name.clone());
                }
                is_ours
            }
            // Recovery says which of them go.
            FileName::Segment(_) => false,
            FileName::Foreign => {
                report.foreign_files.push(entry.name.clone());
                false
            }
        };
        if is_orphan {
            report.removed_files.push(entry.name.clone());
            set_aside(&found.store, &entry.name)?;
        }
    }
    Ok(())
}

/// Has a file removed, or in salvage mode, where it may be worth a look, moved to
/// `lost/`.
fn set_aside(store: &Store, name: &str) -> Result<()> {
    let path = store.directory.join(name);
    if store.options.recovery_mode != RecoveryMode::Salvage {
        store.graveyard.bury(path);
        return Ok(());
    }
    let lost = store.directory.join(LOST_NAME);
    store.env.fs.create_dir_all(&lost)?;
    store.env.fs.rename(&path, &lost.join(name))?;
    Ok(store.env.fs.sync_dir(&lost)?)
}

fn stored_options(store: &Store, keyspace: &KeyspaceState) -> Result<KeyspaceOptions> {
    let options = KeyspaceOptions::decode(&keyspace.options).ok_or_else(|| Error::Incompatible {
        file: store.directory.join(MANIFEST_NAME),
        found: 2,
        supported: 1,
    })?;
    options.validate()?;
    Ok(options)
}

/// Opens a tree: no log, one keyspace.
pub(crate) fn open_tree(path: &Path, options: TreeOptions) -> Result<(Store, Core)> {
    options.keyspace.validate()?;
    let found = find(path, options.store, StoreKind::Tree)?;
    let mut report = RecoveryReport::default();
    account_for(&found, &mut report)?;
    let store = &found.store;
    let core = match found.state.keyspaces.first_key_value() {
        Some((&id, keyspace)) => {
            // What a watermark let go stays gone: reads below it are refused, as before.
            let exact = Exactness::from_seqno(keyspace.exact_from);
            let version = version_of(store, keyspace, &table_lengths(&found.entries), exact)?;
            let seqno = version.flushed_through();
            Core::new(id, &keyspace.name, options.keyspace, version, seqno)
        }
        None => {
            let stored = options.keyspace.encode();
            let created = Edit::KeyspaceCreated { id: 0, name: "tree".to_owned(), options: stored };
            store.with_manifest(|manifest| store.commit_edits(manifest, vec![created]))?;
            Core::new(0, "tree", options.keyspace, Version::empty(), 0)
        }
    };
    store.sweep();
    Ok((found.store, core))
}

/// Opens a database, up to but without its threads.
pub(crate) fn open_database(path: &Path, options: Options) -> Result<Arc<Engine>> {
    let found = find(path, options, StoreKind::Database)?;
    let mut report = RecoveryReport::default();
    account_for(&found, &mut report)?;
    let store = &found.store;
    let lengths = table_lengths(&found.entries);
    let mut cores = BTreeMap::new();
    let segments = segments_in(&found.entries);
    for (&id, keyspace) in &found.state.keyspaces {
        let options = stored_options(store, keyspace)?;
        // No snapshot survives a restart, so there is none that could be too old.
        let version = version_of(store, keyspace, &lengths, Exactness::everything())
            .map_err(|error| blame_manifest(store, &segments, error))?;
        let seqno = found.state.next_seqno;
        cores.insert(id, Arc::new(Core::new(id, &keyspace.name, options, version, seqno)));
    }
    let mut replay = Replay::new(&cores, &found.state, store);
    let recovered = replay.run(&segments).map_err(|error| blame_manifest(store, &segments, error))?;
    if log_was_closed(&recovered) {
        check_manifest_closed(store)?;
    }
    report.note(&replay, &recovered);
    let next_seqno = replay.next_seqno;
    let (log, full_segments) = continue_log(store, &recovered, next_seqno)?;
    let active = cores
        .iter()
        .map(|(&id, core)| {
            let memtable = Arc::clone(&core.history.latest().active);
            (id, Active { memtable, core: Arc::clone(core) })
        })
        .collect();
    let commit = CommitState { log, next_seqno, active, full_segments };
    Ok(Arc::new(Engine::new(found.store, commit, cores.into_values().collect(), report)))
}

fn segments_in(entries: &[DirEntry]) -> Vec<u64> {
    let numbers = entries.iter().filter_map(|entry| match classify(&entry.name) {
        FileName::Segment(number) => Some(number),
        _ => None,
    });
    numbers.collect()
}

/// Whether the log ends with the mark of a clean close. A segment that was begun and
/// has no record yet has no mark either.
fn log_was_closed(recovered: &Recovered) -> bool {
    let has_records = recovered.last_segment.is_some_and(|end| end.offset > lsm_log::SEGMENT_HEADER_BYTES);
    recovered.closed_cleanly && has_records
}

/// The log is closed after the manifest: where the log was and the manifest was not,
/// the end of the manifest is lost.
fn check_manifest_closed(store: &Store) -> Result<()> {
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
fn blame_manifest(store: &Store, segments: &[u64], error: Error) -> Error {
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

/// Puts the records of the log into the memtables of their keyspaces.
struct Replay<'a> {
    cores: &'a BTreeMap<KeyspaceId, Arc<Core>>,
    state: &'a ManifestState,
    store: &'a Store,
    next_seqno: SeqNo,
    batches: u64,
}

impl<'a> Replay<'a> {
    fn new(cores: &'a BTreeMap<KeyspaceId, Arc<Core>>, state: &'a ManifestState, store: &'a Store) -> Self {
        Self { cores, state, store, next_seqno: state.next_seqno, batches: 0 }
    }

    fn run(&mut self, segments: &[u64]) -> Result<Recovered> {
        let options = RecoverOptions {
            mode: self.store.options.recovery_mode,
            durable_through: LogPosition(self.state.log_durable_through),
            oldest_needed: self.state.first_segment,
        };
        let (fs, directory) = (self.store.env.fs.as_ref(), &self.store.directory);
        let recovered =
            lsm_log::recover(fs, directory, segments, options, &mut |end, record| self.apply(end, record))?;
        self.check_begin(&recovered)?;
        Ok(recovered)
    }

    /// The log must begin where the manifest says, or at its very beginning.
    fn check_begin(&self, recovered: &Recovered) -> Result<()> {
        let first = self.state.first_segment;
        let is_whole = match recovered.segments.first() {
            _ if self.store.options.recovery_mode == RecoveryMode::Salvage => true,
            Some(oldest) if first == 0 => oldest.base == LogPosition::ZERO,
            Some(oldest) => oldest.number == first,
            None => first == 0,
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
        for entry in batch.iter() {
            let (seqno, entry) = entry.map_err(|error| damaged(error.to_string()))?;
            let Some(core) = self.cores.get(&entry.keyspace) else {
                if entry.keyspace >= self.state.next_keyspace {
                    return Err(damaged(format!("keyspace {}, which never existed", entry.keyspace)));
                }
                // It was dropped.
                continue;
            };
            let view = core.history.latest();
            if seqno >= view.tables.flushed_through() {
                apply(&view.active, seqno, entry.kind, entry.key, entry.value);
            }
        }
        self.batches += 1;
        let through = batch.base_seqno().saturating_add(u64::from(batch.count()));
        self.next_seqno = self.next_seqno.max(through);
        self.rotate_full(end, through)
    }

    /// Seals the memtables that the replay has filled, to be flushed once it is over.
    /// They hold what is numbered below `through`: the manifest may know of greater
    /// numbers, whose records are yet to come.
    fn rotate_full(&self, end: LogPosition, through: SeqNo) -> Result<()> {
        for core in self.cores.values() {
            let view = core.history.latest();
            if view.active.approximate_bytes() >= self.store.options.write_buffer_bytes {
                let step = Step::Rotate { fresh: new_memtable(), sealed_at: through, log_end: end.0 };
                view::install(self.store, core, step, through, Vec::new)?;
            }
        }
        Ok(())
    }
}

impl RecoveryReport {
    fn note(&mut self, replay: &Replay<'_>, recovered: &Recovered) {
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
fn continue_log(
    store: &Store,
    recovered: &Recovered,
    next_seqno: SeqNo,
) -> Result<(LogWriter, VecDeque<(u64, SeqNo)>)> {
    let next_number = AtomicU64::new(recovered.highest_number + 1);
    let new_uid = store.env.uid_source();
    let ids: SegmentIds = Arc::new(move || {
        // Relaxed: the number itself is all that is shared.
        SegmentId { number: next_number.fetch_add(1, Ordering::Relaxed), uid: new_uid() }
    });
    let options = LogOptions { segment_bytes: store.options.advanced.log_segment_bytes };
    let fs = Arc::clone(&store.env.fs);
    let mut log = LogWriter::start(fs, store.directory.clone(), options, ids, recovered)?;
    let discarded = log.releasable_below(0);
    match lsm_log::remove_segments(store.env.fs.as_ref(), &store.directory, &discarded) {
        Ok(()) => log.forget_segments(&discarded),
        Err(error) => tracing::warn!(%error, "log segments that recovery discarded stay for now"),
    }
    // Which numbers each holds is not kept, so they go together.
    let full = recovered.segments.iter().map(|segment| (segment.number, next_seqno)).collect();
    Ok((log, full))
}
