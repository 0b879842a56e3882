//! The recovery story: lock the directory, read the manifest, take up the tables,
//! replay the log, make its cut durable, start a new segment, remove what nobody
//! names. Only then is a write accepted.
//!
//! After a clean close there is nothing to make durable and nothing to remove, and all but
//! the reading is left to the first write or other change (`Engine::begin_log`): who only
//! reads changes no file, unless a compaction is due.

use crate::core::Core;
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace_options::KeyspaceOptions;
use crate::options::{Options, TreeOptions};
use crate::replay::{
    Replay, blame_manifest, check_manifest_closed, continue_log, log_was_closed, read_log, remove_discarded,
    rest_log,
};
use crate::store::Store;
use crate::write::commit::{Active, CommitState};
use crate::write::hold::Holds;
use crate::{Error, Result};
use lsm_log::{Recovered, RecoveryMode};
use lsm_sstable::TableContext;
use lsm_version::{
    Edit, Exactness, FileNumber, KeyspaceState, MANIFEST_NAME, MANIFEST_NEW_NAME, Manifest, ManifestState,
    StoreKind, Version, table_file_name,
};
use lsm_vfs::{Corruption, DirEntry};
use std::collections::{BTreeMap, BTreeSet};
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
    /// There was no manifest before.
    is_new: bool,
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
        // Greater numbers were never given out, and the next ones must fit.
        Some(number) if number < 1 << 63 && table_file_name(number) == name => FileName::Table(number),
        _ => FileName::Foreign,
    }
}

/// Locks the directory and reads or creates the manifest.
fn find(path: &Path, options: Options, kind: StoreKind) -> Result<Found> {
    let advanced = &options.advanced;
    let env = Env::new(Arc::clone(&advanced.fs), Arc::clone(&advanced.clock), advanced.seed);
    let fs = Arc::clone(&env.fs);
    if !fs.exists(&path.join(MANIFEST_NAME))? {
        if !fs.exists(path)? {
            if !options.create_if_missing {
                return Err(Error::invalid(format!("{} does not exist", path.display())));
            }
            fs.create_dir_all(path)?;
        }
        let entries = fs.read_dir(path)?;
        // Another process may have made one since the first look.
        if !entries.iter().any(|entry| entry.name == MANIFEST_NAME) {
            check_may_create(path, &entries, options.create_if_missing)?;
            // Who made the directory may have been killed before its name was durable.
            fs.create_dir_durably(path)?;
        }
    }
    let Some(lock) = fs.try_lock(&path.join(LOCK_NAME))? else {
        return Err(Error::Locked { path: path.to_path_buf() });
    };
    // Under the lock: another process may have been at work until now.
    let entries = fs.read_dir(path)?;
    let (manifest, is_new) = match Manifest::open(fs.as_ref(), path)? {
        Some(manifest) => (manifest, false),
        None => {
            let mut manifest = Manifest::new(path);
            let created = Edit::Created { kind, uid: env.new_uid() };
            manifest.commit(fs.as_ref(), &[created], || env.new_uid())?;
            (manifest, true)
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
    Ok(Found { store, state, entries, is_new })
}

/// Makes the manifest as it was found durable, before anything is done that relies on it.
fn make_manifest_durable(found: &Found) -> Result<()> {
    let fs = found.store.env.fs.as_ref();
    match found.is_new {
        true => Ok(()),
        false => Ok(found.store.with_manifest(|manifest| manifest.make_durable(fs))?),
    }
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

/// Lists the files of ours that nobody names, and those that are not ours.
fn account_for(found: &Found, report: &mut RecoveryReport) -> Result<()> {
    let named: BTreeSet<FileNumber> =
        found.state.keyspaces.values().flat_map(|keyspace| keyspace.tables.keys().copied()).collect();
    for entry in &found.entries {
        let is_orphan = match classify(&entry.name) {
            // It may have become the manifest since the names were read.
            FileName::Ours => {
                entry.name == MANIFEST_NEW_NAME
                    && found.store.env.fs.exists(&found.store.directory.join(MANIFEST_NEW_NAME))?
            }
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
        }
    }
    Ok(())
}

/// Has the files that nobody names removed, or in salvage mode, where they may be worth a
/// look, moved to `lost/`.
fn set_aside_all(store: &Store, report: &RecoveryReport) -> Result<()> {
    report.removed_files.iter().try_for_each(|name| set_aside(store, name))
}

fn set_aside(store: &Store, name: &str) -> Result<()> {
    let path = store.directory.join(name);
    if store.options.recovery_mode != RecoveryMode::Salvage {
        if name == MANIFEST_NEW_NAME {
            // At once: later the name may stand for the next manifest.
            return Ok(store.env.fs.remove_file(&path)?);
        }
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
    make_manifest_durable(&found)?;
    let store = &found.store;
    set_aside_all(store, &report)?;
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
    let replay = |fills: bool| Replay::new(&cores, &found.state, store, fills);
    let begin = |replayed: &Replay<'_>, recovered: &Recovered| {
        if log_was_closed(recovered) {
            check_manifest_closed(store)?;
        }
        report.note(replayed, recovered);
        if may_rest(store, &report, recovered) {
            return Ok(rest_log(store, recovered));
        }
        make_manifest_durable(&found)?;
        set_aside_all(store, &report)?;
        continue_log(store, recovered)
    };
    let log_bytes = found.entries.iter().filter(|entry| is_segment(entry)).map(|entry| entry.len_bytes).sum();
    let (mut log, recovered, next_seqno) = read_log(store, &segments, log_bytes, replay, begin)?;
    if log.has_begun() {
        remove_discarded(store, &mut log);
    }
    // Which numbers each holds is not kept, so they go together.
    let full_segments = recovered.segments.iter().map(|segment| (segment.number, next_seqno)).collect();
    let active = cores
        .iter()
        .map(|(&id, core)| {
            let memtable = Arc::clone(&core.history.latest().active);
            (id, Active { memtable, core: Arc::clone(core) })
        })
        .collect();
    let commit = CommitState {
        log,
        next_seqno,
        active,
        holds: Holds::default(),
        full_segments,
        unsummed_bytes: 0,
        scratch: Vec::new(),
    };
    Ok(Arc::new(Engine::new(found.store, commit, cores.into_values().collect(), report)))
}

/// Whether the log may be left as it was closed until something is written: nothing has to
/// be made durable and nothing to be removed.
fn may_rest(store: &Store, report: &RecoveryReport, recovered: &Recovered) -> bool {
    log_was_closed(recovered)
        && store.with_manifest(|manifest| manifest.is_closed())
        && report.removed_files.is_empty()
        && recovered.discarded_segments.is_empty()
        && recovered.skipped.is_empty()
}

fn is_segment(entry: &DirEntry) -> bool {
    matches!(classify(&entry.name), FileName::Segment(_))
}

fn segments_in(entries: &[DirEntry]) -> Vec<u64> {
    let numbers = entries.iter().filter_map(|entry| match classify(&entry.name) {
        FileName::Segment(number) => Some(number),
        _ => None,
    });
    numbers.collect()
}
