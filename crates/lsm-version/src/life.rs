//! [`FileLife`]: the end of a file's life, and the [`Graveyard`] where files wait to be
//! removed. Part of every [`TableHandle`](crate::TableHandle); never touches a file.

use lsm_sync::Mutex;
use lsm_sync::atomic::{AtomicBool, Ordering};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The name of a file that goes once it is obsolete and its last holder is gone.
///
/// Held by all that may read the file, through an `Arc` around it. When that goes and
/// the file is obsolete, its path is handed to the graveyard; removing files is I/O, and
/// the last holder may be a reader.
#[derive(Debug)]
pub struct FileLife {
    path: PathBuf,
    obsolete: AtomicBool,
    graveyard: Arc<Graveyard>,
}

impl FileLife {
    /// The life of the file at `path`, which is needed so far.
    #[must_use]
    pub fn new(path: PathBuf, graveyard: Arc<Graveyard>) -> Self {
        Self { path, obsolete: AtomicBool::new(false), graveyard }
    }

    /// Where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that no current version names the file any more.
    pub fn mark_obsolete(&self) {
        if lsm_sync::mutant("version.buried_when_obsolete") {
            self.graveyard.bury(self.path.clone());
        }
        // Relaxed: whoever calls this holds the `Arc`, and its count orders the mark before
        // the last holder's `drop`.
        self.obsolete.store(true, Ordering::Relaxed);
    }
}

impl Drop for FileLife {
    fn drop(&mut self) {
        // Relaxed: see `mark_obsolete`.
        if self.obsolete.load(Ordering::Relaxed) && !lsm_sync::mutant("version.buried_when_obsolete") {
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
        let bury = || self.paths.lock().push(path);
        let wake = || self.on_burial.get().map(|wake| wake());
        if lsm_sync::mutant("version.woken_before_the_burial") {
            wake();
            return bury();
        }
        bury();
        wake();
    }

    /// Takes all files out; the caller removes them.
    #[must_use]
    pub fn take(&self) -> Vec<PathBuf> {
        let mut paths = self.paths.lock();
        if lsm_sync::mutant("version.sweep_takes_nothing_out") {
            return paths.clone();
        }
        std::mem::take(&mut *paths)
    }

    /// Whether no file waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.lock().is_empty()
    }
}
