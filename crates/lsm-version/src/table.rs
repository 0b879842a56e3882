//! [`TableHandle`]: one table file and its life, from the edit that adds it to the
//! removal of its file after the last reader is gone.

use crate::{FileLife, Graveyard};
use lsm_sstable::{Table, TableContext, TableMeta};
use lsm_sync::Mutex;
use lsm_types::KeySpan;
use std::path::Path;
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
/// The file is opened at the first use, and goes as [`FileLife`] says: when the table is
/// obsolete and the last `Arc` is gone.
#[derive(Debug)]
pub struct TableHandle {
    number: FileNumber,
    meta: TableMeta,
    span: KeySpan,
    context: Arc<TableContext>,
    /// Set once by the first successful open.
    opened: OnceLock<Arc<Table>>,
    /// Held over the I/O of opening, by those who need this very table only.
    opening: Mutex<()>,
    life: FileLife,
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
            context,
            opened: OnceLock::new(),
            opening: Mutex::new(()),
            life: FileLife::new(path, graveyard),
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
        self.life.path()
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

    /// The table if it is open, that is, has its index and filter in memory.
    #[must_use]
    #[inline]
    pub fn opened(&self) -> Option<&Arc<Table>> {
        self.opened.get()
    }

    /// Whether the table is open.
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
        let table = Table::open(&self.context, self.path().to_path_buf(), self.number, &self.meta)?;
        Ok(self.opened.get_or_init(|| Arc::new(table)))
    }

    /// Says that no current version names the table any more.
    pub fn mark_obsolete(&self) {
        self.life.mark_obsolete();
    }
}
