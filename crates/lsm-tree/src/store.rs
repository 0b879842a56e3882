//! [`Store`]: what a database and a tree share below their faces: the locked
//! directory, the manifest, file numbers, the table context, and the failure that
//! makes everything read-only.

use crate::env::Env;
use crate::latch::Latch;
use crate::options::Options;
use crate::{Error, Result};
use lsm_compaction::TableSink;
use lsm_sstable::{Admission, TableContext, TableMeta, TableWriter, WriterOptions, WrittenBlocks};
use lsm_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use lsm_sync::{Mutex, OnceLock};
use lsm_version::{Edit, FileNumber, Graveyard, Manifest, TableHandle, table_file_name};
use lsm_vfs::LockGuard;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What has to be done before the manifest changes.
#[derive(Default)]
struct BeforeChange(OnceLock<Box<dyn Fn() -> Result<()> + Send + Sync>>);

impl std::fmt::Debug for BeforeChange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("BeforeChange").finish_non_exhaustive()
    }
}

/// One open directory.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) env: Env,
    pub(crate) directory: PathBuf,
    pub(crate) options: Options,
    /// Block cache and open files of all tables.
    pub(crate) tables: Arc<TableContext>,
    pub(crate) graveyard: Arc<Graveyard>,
    /// Held over the writing and syncing of the manifest, and over the computation
    /// of the next version from the present one. No reader and no writer of data
    /// takes it. Taken before any history's lock and any registry's.
    manifest: Mutex<Manifest>,
    next_file: AtomicU64,
    before_change: BeforeChange,
    /// Held over the removal of log segments and by a checkpoint that copies them.
    pub(crate) log_removal: Mutex<()>,
    /// Set by who found that lock held: whoever held it has the log looked at once more.
    pub(crate) release_again: AtomicBool,
    /// The first failure that cannot be recovered from without reopening.
    failure: Latch<Error>,
    is_closed: AtomicBool,
    /// The directory's lock, until the store is closed.
    lock: Mutex<Option<Box<dyn LockGuard>>>,
}

impl Store {
    pub(crate) fn new(
        env: Env,
        directory: &Path,
        options: Options,
        manifest: Manifest,
        tables: Arc<TableContext>,
        next_file: FileNumber,
        lock: Box<dyn LockGuard>,
    ) -> Self {
        Self {
            env,
            directory: directory.to_path_buf(),
            options,
            tables,
            graveyard: Arc::new(Graveyard::new()),
            manifest: Mutex::new(manifest),
            next_file: AtomicU64::new(next_file),
            before_change: BeforeChange::default(),
            log_removal: Mutex::new(()),
            release_again: AtomicBool::new(false),
            failure: Latch::new(),
            is_closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        }
    }

    /// A number that no file has or had.
    pub(crate) fn new_file_number(&self) -> FileNumber {
        // Relaxed: the number itself is all that is shared.
        self.next_file.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs `body` with the manifest locked: nothing else changes what exists.
    pub(crate) fn with_manifest<T>(&self, body: impl FnOnce(&mut Manifest) -> T) -> T {
        body(&mut self.manifest.lock())
    }

    /// Has `step` called before each change of the manifest, under the manifest's lock.
    /// Only the first call counts.
    pub(crate) fn before_each_change(&self, step: impl Fn() -> Result<()> + Send + Sync + 'static) {
        let _first_wins = self.before_change.0.set(Box::new(step));
    }

    /// Writes `edits` durably. A failure that leaves unknown what stands on disk makes
    /// the store read-only: retrying could contradict it.
    pub(crate) fn commit_edits(&self, manifest: &mut Manifest, mut edits: Vec<Edit>) -> Result<()> {
        self.check_usable()?;
        if let Some(step) = self.before_change.0.get() {
            step()?;
        }
        let free = self.next_file.load(Ordering::Relaxed);
        let counters = edits.iter_mut().find_map(|edit| match edit {
            Edit::Counters { next_file, .. } => Some(next_file),
            _ => None,
        });
        match counters {
            Some(next_file) => *next_file = free,
            None => edits.push(Edit::Counters { next_file: free, next_seqno: 0, next_keyspace: 0 }),
        }
        manifest.commit(self.env.fs.as_ref(), &edits, || self.env.new_uid()).map_err(|error| {
            match manifest.is_latched() {
                true => self.fail(error.into()),
                false => error.into(),
            }
        })
    }

    /// A handle for a table file of this directory.
    pub(crate) fn handle(&self, number: FileNumber, meta: TableMeta) -> Arc<TableHandle> {
        let (tables, graveyard) = (Arc::clone(&self.tables), Arc::clone(&self.graveyard));
        Arc::new(TableHandle::new(&self.directory, number, meta, tables, graveyard))
    }

    pub(crate) fn table_path(&self, number: FileNumber) -> PathBuf {
        self.directory.join(table_file_name(number))
    }

    /// Latches `error`: from now on every write gets it as the cause. Returns it.
    pub(crate) fn fail(&self, error: Error) -> Error {
        if matches!(error, Error::Closed) {
            return error;
        }
        self.failure.set(error.clone());
        tracing::error!(%error, "the database is read-only from now on");
        error
    }

    /// The latched failure.
    pub(crate) fn failure(&self) -> Option<Arc<Error>> {
        self.failure.cause()
    }

    /// Refuses a write when the store is closed or read-only.
    #[inline]
    pub(crate) fn check_usable(&self) -> Result<()> {
        self.check_open()?;
        if self.failure.is_set()
            && let Some(cause) = self.failure()
        {
            return Err(Error::ReadOnly { cause });
        }
        Ok(())
    }

    /// Refuses any use after closing.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        // Relaxed: a handle that races with `close` may finish its call either way.
        if self.is_closed.load(Ordering::Relaxed) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Marks the store closed; false when it was closed before.
    pub(crate) fn close(&self) -> bool {
        // AcqRel orders the closers among themselves; users only need to see it soon.
        !self.is_closed.swap(true, Ordering::AcqRel)
    }

    /// Lets others open the directory.
    pub(crate) fn unlock(&self) {
        self.lock.lock().take();
    }

    /// Removes the files that nobody needs. A file that cannot be removed now is
    /// removed at the next open.
    pub(crate) fn sweep(&self) {
        for path in self.graveyard.take() {
            if let Err(error) = self.env.fs.remove_file(&path) {
                tracing::warn!(%error, "a file that is not needed stays until the next open");
            }
        }
    }
}

/// Creates the output tables of one job, and buries them if the job fails.
pub(crate) struct Outputs<S: Deref<Target = Store>> {
    store: S,
    options: WriterOptions,
    created: Vec<FileNumber>,
    /// Whether blocks stay in the cache as they are written, and those that did.
    keep: Admission,
    kept: Vec<(FileNumber, WrittenBlocks)>,
}

impl<S: Deref<Target = Store>> Outputs<S> {
    pub(crate) fn new(store: S, options: WriterOptions) -> Self {
        Self { store, options, created: Vec::new(), keep: Admission::Never, kept: Vec::new() }
    }

    /// Keeps the blocks in the cache that are written.
    pub(crate) fn keeping(mut self, keep: Admission) -> Self {
        self.keep = keep;
        self
    }

    /// Makes the names of the finished tables durable and gives out their handles;
    /// files that were created but not finished go.
    pub(crate) fn finish(mut self, tables: Vec<(FileNumber, TableMeta)>) -> Result<Vec<Arc<TableHandle>>> {
        self.store.env.fs.sync_dir(&self.store.directory)?;
        let handles: Vec<_> =
            tables.into_iter().map(|(number, meta)| self.store.handle(number, meta)).collect();
        self.show_kept(&handles)?;
        self.created.retain(|number| !handles.iter().any(|finished| finished.number() == *number));
        Ok(handles)
    }

    /// Opens the tables of which blocks were kept, which then finds them.
    fn show_kept(&mut self, handles: &[Arc<TableHandle>]) -> Result<()> {
        for (number, blocks) in self.kept.drain(..) {
            if let Some(handle) = handles.iter().find(|handle| handle.number() == number) {
                handle.table()?.adopt(blocks);
            }
        }
        Ok(())
    }
}

impl<S: Deref<Target = Store>> TableSink for Outputs<S> {
    fn create(&mut self) -> std::result::Result<(FileNumber, TableWriter), lsm_sstable::Error> {
        let number = self.store.new_file_number();
        self.created.push(number);
        let path = self.store.table_path(number);
        let uid = self.store.env.new_uid();
        let mut writer = TableWriter::create(self.store.env.fs.as_ref(), &path, uid, &self.options)?;
        if self.keep != Admission::Never {
            writer.keep_blocks(&self.store.tables, self.keep);
        }
        Ok((number, writer))
    }

    fn keep(&mut self, number: FileNumber, blocks: WrittenBlocks) {
        if !blocks.is_empty() {
            self.kept.push((number, blocks));
        }
    }
}

impl<S: Deref<Target = Store>> Drop for Outputs<S> {
    fn drop(&mut self) {
        for &number in &self.created {
            self.store.graveyard.bury(self.store.table_path(number));
        }
    }
}
