//! [`TableHandle`]: one table file and its life, from the edit that adds it to the
//! removal of its file after the last reader is gone.

use lsm_sstable::{Table, TableContext, TableMeta};
use lsm_sync::Mutex;
use lsm_sync::atomic::{AtomicBool, Ordering};
use lsm_types::KeySpan;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The number of a file within its database; never reused.
pub type FileNumber = u64;

/// `directory/{number}.sst`.
#[must_use]
pub fn table_file_name(number: FileNumber) -> String {
    format!("{number:020}.sst")
}

/// A table that a version names, or that a reader still holds.
///
/// Shared by `Arc`: every version and iterator that may read the table holds one.
/// The file is opened at the first use. When the table is obsolete and the last
/// `Arc` goes, its path is handed to the [`Graveyard`]; removing files is I/O, and
/// the last holder may be a reader.
#[derive(Debug)]
pub struct TableHandle {
    number: FileNumber,
    meta: TableMeta,
    span: KeySpan,
    path: PathBuf,
    context: Arc<TableContext>,
    /// Set once by the first successful open.
    opened: OnceLock<Arc<Table>>,
    /// Held over the I/O of opening, by those who need this very table only.
    opening: Mutex<()>,
    obsolete: AtomicBool,
    graveyard: Arc<Graveyard>,
}

impl TableHandle {
    /// A handle for the file `number` in `directory`; nothing is opened yet.
    #[must_use]
    pub fn new(
        directory: &Path,
        number: FileNumber,
        meta: TableMeta,
        context: Arc<TableContext>,
        graveyard: Arc<Graveyard>,
    ) -> Self {
        let span = KeySpan { start: meta.smallest.clone(), end: meta.upper.to_exclusive() };
        let path = directory.join(table_file_name(number));
        Self {
            number,
            meta,
            span,
            path,
            context,
            opened: OnceLock::new(),
            opening: Mutex::new(()),
            obsolete: AtomicBool::new(false),
            graveyard,
        }
    }

    /// The file's number.
    #[must_use]
    pub const fn number(&self) -> FileNumber {
        self.number
    }

    /// What the manifest knows of the table.
    #[must_use]
    pub const fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// The length of the file.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.meta.file_bytes
    }

    /// The hull of all its entries and range tombstones.
    #[must_use]
    pub const fn span(&self) -> &KeySpan {
        &self.span
    }

    /// Where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open table; opens it at the first use.
    ///
    /// # Errors
    /// A failed or damaged read of header, footer, index or filter. The next call
    /// tries again.
    #[inline]
    pub fn table(&self) -> Result<&Arc<Table>, lsm_sstable::Error> {
        match self.opened.get() {
            Some(table) => Ok(table),
            None => self.open(),
        }
    }

    /// Whether the table is open, that is, has its index and filter in memory.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opened.get().is_some()
    }

    #[cold]
    fn open(&self) -> Result<&Arc<Table>, lsm_sstable::Error> {
        let _only_one_opens = self.opening.lock();
        if let Some(table) = self.opened.get() {
            return Ok(table);
        }
        let table = Table::open(&self.context, self.path.clone(), self.number, &self.meta)?;
        Ok(self.opened.get_or_init(|| Arc::new(table)))
    }

    /// Says that no current version names the table any more.
    pub fn mark_obsolete(&self) {
        // Pairs with the load in `drop`; the count of the Arc orders the two anyway,
        // since the caller holds one.
        self.obsolete.store(true, Ordering::Release);
    }
}

impl Drop for TableHandle {
    fn drop(&mut self) {
        // Pairs with the store in `mark_obsolete`.
        if self.obsolete.load(Ordering::Acquire) {
            self.graveyard.bury(std::mem::take(&mut self.path));
        }
    }
}

/// Files that nobody needs any more, waiting to be removed.
#[derive(Default)]
pub struct Graveyard {
    /// Guards the list alone; nothing is done while it is held.
    paths: Mutex<Vec<PathBuf>>,
    /// Called after each burial, without a lock; may only wake somebody.
    on_burial: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Graveyard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graveyard").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Graveyard {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `wake` called after each burial. It must not block: the caller may be a
    /// reader that dropped an iterator. The first call counts.
    pub fn on_burial(&self, wake: Box<dyn Fn() + Send + Sync>) {
        let _first_wins = self.on_burial.set(wake);
    }

    /// Adds a file.
    pub fn bury(&self, path: PathBuf) {
        self.paths.lock().push(path);
        if let Some(wake) = self.on_burial.get() {
            wake();
        }
    }

    /// Takes all files out; the caller removes them.
    #[must_use]
    pub fn take(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.paths.lock())
    }

    /// Whether no file waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.lock().is_empty()
    }
}
