//! [`MemFs`]: a disk in memory that forgets what was not synced when its power is
//! cut. Simulations and tests run the whole engine on it; production never does.
//!
//! The model: a file is its image at the last sync and the changes since; a directory
//! its names at the last sync and the changes since. A power cut keeps none, all, a
//! prefix or any subset of a file's changes, each whole, torn at 512-byte sectors, or
//! as a length over zeros; and none, all, a prefix or any subset of a directory's.
//! Only [`Fs::sync_dir`] of the parent keeps a name, a new directory's included. A
//! failed sync loses half of the changes for good, while reads still see them and a
//! later sync succeeds. Which, follows from seeds alone.

mod inode;
mod pages;
mod tree;

use crate::{DirEntry, File, Fs, IoError, LockGuard, SplitMix64};
use lsm_sync::{Mutex, MutexGuard};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tree::{Node, Tree};

/// A disk in memory. Clones are the same disk.
///
/// Thread-safe; every operation takes one lock and costs O(bytes) plus O(log names).
/// The root directory exists; relative paths start there.
#[derive(Clone, Debug)]
pub struct MemFs {
    state: Arc<Mutex<State>>,
}

/// Guarded by the one lock of the disk, under which nothing blocks: a power cut must
/// see all files at the same instant.
#[derive(Debug)]
struct State {
    tree: Tree,
    locked: BTreeSet<PathBuf>,
    capacity_bytes: u64,
    /// Decides what a failed sync loses.
    random: SplitMix64,
}

impl Default for MemFs {
    fn default() -> Self {
        Self::new()
    }
}

impl MemFs {
    /// An empty disk without limit.
    #[must_use]
    pub fn new() -> Self {
        Self::from_tree(Tree::new(), u64::MAX, 0)
    }

    fn from_tree(tree: Tree, capacity_bytes: u64, seed: u64) -> Self {
        let state = State { tree, locked: BTreeSet::new(), capacity_bytes, random: SplitMix64::new(seed) };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Limits the sum of all lengths; growing past it fails with `StorageFull`, after
    /// the part that fits was written. A file counts until its last name and handle go.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity_bytes = bytes;
    }

    /// The sum of the lengths of all files that a name or a handle reaches.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().tree.used_bytes()
    }

    /// The disk as it may be found when the power fails now: a new disk, on which
    /// everything is durable and nothing is locked or open. This one goes on unchanged.
    /// The same seed and the same history give the same disk.
    #[must_use]
    pub fn power_cut(&self, seed: u64) -> Self {
        let state = self.state.lock();
        Self::from_tree(state.tree.after_power_cut(seed), state.capacity_bytes, seed)
    }

    /// The disk as the next process finds it when this one is killed now: a new disk
    /// with all that was written, synced or not, and nothing locked or open.
    #[must_use]
    pub fn process_kill(&self) -> Self {
        let state = self.state.lock();
        let killed = Self::from_tree(state.tree.after_kill(), state.capacity_bytes, 0);
        killed.state.lock().random = state.random.clone();
        killed
    }

    fn run<R>(
        &self,
        operation: &'static str,
        path: &Path,
        body: impl FnOnce(&mut Tree) -> Result<R, ErrorKind>,
    ) -> Result<R, IoError> {
        body(&mut self.state.lock().tree).map_err(|kind| IoError::new(operation, path, kind.into()))
    }

    fn handle(
        &self,
        operation: &'static str,
        path: &Path,
        writable: bool,
        find: impl FnOnce(&mut Tree) -> Result<u64, ErrorKind>,
    ) -> Result<Arc<dyn File>, IoError> {
        let number = self.run(operation, path, |tree| {
            let number = find(tree)?;
            tree.files.get_mut(&number).ok_or(ErrorKind::NotFound)?.handles += 1;
            Ok(number)
        })?;
        Ok(Arc::new(MemFile { fs: self.clone(), number, path: path.to_path_buf(), writable }))
    }
}

impl Fs for MemFs {
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.handle("create", path, true, |tree| tree.create(path))
    }

    fn open_read(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.handle("open", path, false, |tree| tree.file(path))
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.handle("open for writing", path, true, |tree| tree.file(path))
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        self.run("create the directory", path, |tree| tree.create_dir_all(path))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        self.run("list", path, |tree| tree.list(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.run("rename", from, |tree| tree.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        self.run("remove", path, |tree| tree.remove(path))
    }

    fn hard_link(&self, original: &Path, link: &Path) -> Result<(), IoError> {
        self.run("link", original, |tree| tree.link(original, link))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        self.run("sync the directory", path, |tree| tree.sync_dir(path))
    }

    fn exists(&self, path: &Path) -> Result<bool, IoError> {
        self.run("look for", path, |tree| match tree.look_up(path) {
            Ok(Node::File(_) | Node::Dir(_)) => Ok(true),
            Err(ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
            Err(kind) => Err(kind),
        })
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>, IoError> {
        self.run("lock", path, |tree| match tree.create(path) {
            Ok(_) | Err(ErrorKind::AlreadyExists) => Ok(()),
            Err(kind) => Err(kind),
        })?;
        let path = tree::normal(path);
        let taken = self.state.lock().locked.insert(path.clone());
        Ok(taken.then(|| Box::new(MemLock { fs: self.clone(), path }) as Box<dyn LockGuard>))
    }
}

/// A handle to a file; the file lives on without a name until the handle goes.
#[derive(Debug)]
struct MemFile {
    fs: MemFs,
    number: u64,
    path: PathBuf,
    writable: bool,
}

impl MemFile {
    fn failed(&self, operation: &'static str, kind: ErrorKind) -> IoError {
        IoError::new(operation, &self.path, kind.into())
    }

    /// The locked disk, if this handle may write to it.
    fn to_write(&self, operation: &'static str) -> Result<MutexGuard<'_, State>, IoError> {
        if self.writable {
            Ok(self.fs.state.lock())
        } else {
            Err(self.failed(operation, ErrorKind::PermissionDenied))
        }
    }

    /// How far the file may grow towards `wanted_bytes`, in all.
    fn room(&self, state: &State, wanted_bytes: u64) -> u64 {
        let len = self.len_in(state);
        if wanted_bytes <= len || state.capacity_bytes == u64::MAX {
            return wanted_bytes;
        }
        let free = state.capacity_bytes.saturating_sub(state.tree.used_bytes());
        wanted_bytes.min(len + free)
    }

    fn len_in(&self, state: &State) -> u64 {
        state.tree.files.get(&self.number).map_or(0, |inode| inode.cached.len())
    }

    /// Changes the length, or says that the disk is full and changes nothing.
    fn resize(
        &self,
        operation: &'static str,
        len_bytes: u64,
        change: impl FnOnce(&mut inode::Inode),
    ) -> Result<(), IoError> {
        let mut state = self.to_write(operation)?;
        if self.room(&state, len_bytes) < len_bytes {
            return Err(self.failed(operation, ErrorKind::StorageFull));
        }
        if let Some(inode) = state.tree.files.get_mut(&self.number) {
            change(inode);
        }
        Ok(())
    }
}

impl File for MemFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        let state = self.fs.state.lock();
        match state.tree.files.get(&self.number) {
            Some(inode) if inode.cached.read(buffer, offset) => Ok(()),
            _ => Err(self.failed("read", ErrorKind::UnexpectedEof)),
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), IoError> {
        let mut state = self.to_write("write")?;
        let end = offset
            .checked_add(bytes.len() as u64)
            .ok_or_else(|| self.failed("write", ErrorKind::InvalidInput))?;
        let fitting = self.room(&state, end).saturating_sub(offset).min(bytes.len() as u64);
        let (written, refused) = bytes.split_at(fitting as usize);
        if let Some(inode) = state.tree.files.get_mut(&self.number) {
            inode.write(written, offset);
        }
        if refused.is_empty() { Ok(()) } else { Err(self.failed("write", ErrorKind::StorageFull)) }
    }

    fn sync_data(&self) -> Result<(), IoError> {
        if let Some(inode) = self.fs.state.lock().tree.files.get_mut(&self.number) {
            inode.sync();
        }
        Ok(())
    }

    fn preallocate(&self, len_bytes: u64) -> Result<(), IoError> {
        self.resize("reserve room for", len_bytes, |inode| inode.grow(len_bytes))
    }

    fn set_len(&self, len_bytes: u64) -> Result<(), IoError> {
        self.resize("resize", len_bytes, |inode| inode.set_len(len_bytes))
    }

    fn len(&self) -> Result<u64, IoError> {
        Ok(self.len_in(&self.fs.state.lock()))
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn lose_unsynced(&self) {
        let mut state = self.fs.state.lock();
        let state = &mut *state;
        if let Some(inode) = state.tree.files.get_mut(&self.number) {
            inode.lose_unsynced(&mut state.random);
        }
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        self.fs.state.lock().tree.close(self.number);
    }
}

/// A held lock of a [`MemFs`].
#[derive(Debug)]
struct MemLock {
    fs: MemFs,
    path: PathBuf,
}

impl LockGuard for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.fs.state.lock().locked.remove(&self.path);
    }
}
