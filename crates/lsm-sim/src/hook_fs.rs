//! [`HookFs`]: a file system that asks before each operation. Tests use it to
//! count, to hold an operation back, or to forbid it.

use lsm_vfs::{DirEntry, File, Fs, IoError, LockGuard};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Reading bytes, lengths or names, or opening for that.
    Read,
    /// Writing bytes or lengths, or opening for that.
    Write,
    /// Making contents durable.
    Sync,
    /// Making names durable.
    SyncDir,
    /// Creating, renaming, linking or removing names; taking the lock.
    Name,
}

/// Called before each operation; an error is what the operation returns.
pub type Hook = dyn Fn(Call, &Path) -> io::Result<()> + Send + Sync;

/// A file system behind a hook, files opened through it included.
#[derive(Clone)]
pub struct HookFs {
    inner: Arc<dyn Fs>,
    hook: Arc<Hook>,
}

impl fmt::Debug for HookFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookFs").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl HookFs {
    /// Puts `hook` before `inner`.
    pub fn new(
        inner: Arc<dyn Fs>,
        hook: impl Fn(Call, &Path) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { inner, hook: Arc::new(hook) }
    }

    fn ask(&self, call: Call, path: &Path) -> Result<(), IoError> {
        (self.hook)(call, path).map_err(|error| IoError::new("be allowed to use", path, error))
    }

    fn file(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(HookFile { inner, fs: self.clone() })
    }
}

#[derive(Debug)]
struct HookFile {
    inner: Arc<dyn File>,
    fs: HookFs,
}

impl HookFile {
    fn ask(&self, call: Call) -> Result<(), IoError> {
        self.fs.ask(call, self.inner.path())
    }
}

impl File for HookFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        self.ask(Call::Read)?;
        self.inner.read_exact_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), IoError> {
        self.ask(Call::Write)?;
        self.inner.write_all_at(bytes, offset)
    }
    fn sync_data(&self) -> Result<(), IoError> {
        self.ask(Call::Sync)?;
        self.inner.sync_data()
    }
    fn start_writeback(&self, offset: u64, len_bytes: u64) -> Result<(), IoError> {
        self.ask(Call::Sync)?;
        self.inner.start_writeback(offset, len_bytes)
    }
    fn preallocate(&self, len_bytes: u64) -> Result<(), IoError> {
        self.ask(Call::Write)?;
        self.inner.preallocate(len_bytes)
    }
    fn set_len(&self, len_bytes: u64) -> Result<(), IoError> {
        self.ask(Call::Write)?;
        self.inner.set_len(len_bytes)
    }
    fn len(&self) -> Result<u64, IoError> {
        self.ask(Call::Read)?;
        self.inner.len()
    }
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn lose_unsynced(&self) {
        self.inner.lose_unsynced();
    }
}

impl Fs for HookFs {
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.ask(Call::Name, path)?;
        Ok(self.file(self.inner.create_new(path)?))
    }
    fn open_read(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.ask(Call::Read, path)?;
        Ok(self.file(self.inner.open_read(path)?))
    }
    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.ask(Call::Write, path)?;
        Ok(self.file(self.inner.open_write(path)?))
    }
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        self.ask(Call::Name, path)?;
        self.inner.create_dir_all(path)
    }
    fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        self.ask(Call::Read, path)?;
        self.inner.read_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.ask(Call::Name, to)?;
        self.inner.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        self.ask(Call::Name, path)?;
        self.inner.remove_file(path)
    }
    fn hard_link(&self, original: &Path, link: &Path) -> Result<(), IoError> {
        self.ask(Call::Name, link)?;
        self.inner.hard_link(original, link)
    }
    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        self.ask(Call::SyncDir, path)?;
        self.inner.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> Result<bool, IoError> {
        self.ask(Call::Read, path)?;
        self.inner.exists(path)
    }
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>, IoError> {
        self.ask(Call::Name, path)?;
        self.inner.try_lock(path)
    }
}
