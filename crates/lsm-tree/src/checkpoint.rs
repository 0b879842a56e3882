//! Checkpoints: a second directory that opens as an independent database.
//!
//! Under the commit lock the published bound, the super versions and the end of the
//! log are taken together; tables are immutable and linked, the log is copied up to
//! that end, and a fresh manifest names what was taken.

use crate::background::schedule::Work;
use crate::engine::Engine;
use crate::{Error, Result};
use lsm_sync::Arc;
use lsm_types::batch::KeyspaceId;
use lsm_version::{KeyspaceState, Manifest, ManifestState, StoreKind, SuperVersion, table_file_name};
use lsm_vfs::{File, Fs, IoError};
use std::path::Path;

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// What a checkpoint holds, taken at one moment.
struct Moment {
    views: Vec<(KeyspaceId, KeyspaceState, Arc<SuperVersion>)>,
    /// Log segments and how many bytes of each count.
    segments: Vec<(u64, u64)>,
    first_segment: u64,
    log_first_base: u64,
    log_end: u64,
    next_seqno: u64,
    next_keyspace: KeyspaceId,
    next_file: u64,
}

impl Engine {
    pub(crate) fn checkpoint(&self, target: &Path) -> Result<()> {
        let _call = self.begin_call()?;
        let fs = self.store.env.fs.as_ref();
        prepare(fs, target)?;
        let outcome = self.fill_checkpoint(fs, target);
        self.scheduler.submit(Work::ReleaseLog);
        if outcome.is_err() {
            clear_away(fs, target);
        }
        outcome
    }

    fn fill_checkpoint(&self, fs: &dyn Fs, target: &Path) -> Result<()> {
        // No segment that is about to be copied may go.
        let _keep_log = self.store.log_removal.lock();
        let moment = self.take_moment();
        let state = moment.state(self.store.env.new_uid());
        for (_, _, view) in &moment.views {
            for (_, table) in view.tables.tables() {
                link_or_copy(fs, table.path(), &target.join(table_file_name(table.number())))?;
            }
        }
        for &(number, bytes) in &moment.segments {
            let from = lsm_log::segment_path(&self.store.directory, number);
            copy(fs, &from, &lsm_log::segment_path(target, number), Some(bytes))?;
        }
        fs.sync_dir(target)?;
        // The manifest makes it a database, so it comes last.
        Ok(Manifest::write_copy(fs, target, &state, self.store.env.new_uid())?)
    }

    fn take_moment(&self) -> Moment {
        self.store.with_manifest(|manifest| {
            let known = manifest.state();
            let state = self.commit.lock();
            let views = state
                .active
                .iter()
                .filter_map(|(&id, active)| {
                    let known = known.keyspaces.get(&id)?;
                    let (name, options) = (known.name.clone(), known.options.clone());
                    let named = KeyspaceState { name, options, ..KeyspaceState::default() };
                    Some((id, named, active.core.history.latest()))
                })
                .collect();
            let segments = state.log_files();
            Moment {
                views,
                first_segment: segments.first().map_or(0, |(number, _)| *number),
                log_first_base: state.log.segments().first().map_or(0, |segment| segment.base.0),
                segments,
                log_end: state.log.end().0,
                next_seqno: state.next_seqno,
                next_keyspace: known.next_keyspace,
                next_file: known.next_file,
            }
        })
    }
}

impl Moment {
    /// What the checkpoint's manifest says.
    fn state(&self, uid: u64) -> ManifestState {
        let keyspaces = self.views.iter().map(|(id, named, view)| {
            let tables = view.tables.tables();
            let tables = tables.map(|(placement, table)| (table.number(), (placement, table.meta().clone())));
            let flushed_through = view.tables.flushed_through();
            (*id, KeyspaceState { tables: tables.collect(), flushed_through, ..named.clone() })
        });
        ManifestState {
            kind: Some(StoreKind::Database),
            uid,
            keyspaces: keyspaces.collect(),
            next_file: self.next_file,
            next_seqno: self.next_seqno,
            next_keyspace: self.next_keyspace,
            first_segment: self.first_segment,
            log_first_base: self.log_first_base,
            log_durable_through: self.log_end,
        }
    }
}

/// Makes sure that `target` is an empty directory.
fn prepare(fs: &dyn Fs, target: &Path) -> Result<()> {
    if fs.exists(target)? && !fs.read_dir(target)?.is_empty() {
        return Err(Error::invalid(format!(
            "{} is not empty: choose a directory that does not exist",
            target.display()
        )));
    }
    Ok(fs.create_dir_durably(target)?)
}

/// Removes what a checkpoint that failed has left in a directory that was empty, as far
/// as that goes.
fn clear_away(fs: &dyn Fs, target: &Path) {
    for entry in fs.read_dir(target).unwrap_or_default() {
        if let Err(error) = fs.remove_file(&target.join(&entry.name)) {
            tracing::warn!(%error, "a part of a checkpoint that failed stays behind");
        }
    }
}

/// Gives an immutable file a second name, or copies it where links cannot reach.
fn link_or_copy(fs: &dyn Fs, from: &Path, to: &Path) -> Result<()> {
    match fs.hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.is_disk_full() => Err(error.into()),
        Err(_) => copy(fs, from, to, None),
    }
}

/// Copies the first `len_bytes` of a file, or all of it, and syncs the copy.
fn copy(fs: &dyn Fs, from: &Path, to: &Path, len_bytes: Option<u64>) -> Result<()> {
    let source = fs.open_read(from)?;
    let target = fs.create_new(to)?;
    let len = match len_bytes {
        Some(len) => len,
        None => source.len()?,
    };
    copy_contents(source.as_ref(), target.as_ref(), len)?;
    Ok(target.sync_data()?)
}

fn copy_contents(source: &dyn File, target: &dyn File, len_bytes: u64) -> std::result::Result<(), IoError> {
    let mut buffer = vec![0; COPY_BYTES.min(len_bytes as usize)];
    let mut offset = 0;
    while offset < len_bytes {
        let step = (len_bytes - offset).min(buffer.len() as u64) as usize;
        let Some(piece) = buffer.get_mut(..step) else { break };
        source.read_exact_at(piece, offset)?;
        target.write_all_at(piece, offset)?;
        offset += step as u64;
    }
    Ok(())
}
