//! [`FaultFs`]: a file system that fails on request, over any other. Tests wrap it
//! around what they run on; production never does.

use crate::{DirEntry, File, Fs, IoError, LockGuard};
use lsm_sync::Mutex;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Any operation: it does nothing and fails with this kind.
    Error(ErrorKind),
    /// An operation that takes up room (write, reserve, resize, create, create directory,
    /// link): it does nothing and fails with `StorageFull`.
    DiskFull,
    /// A write: only the first half of its bytes is written, then it fails with `StorageFull`.
    ShortWrite,
    /// A sync of a file or directory, or the beginning of one: it fails, and a simulated disk
    /// loses half of what was not durable in the file, for good.
    FailedSync,
}

/// What an operation does, as far as faults care.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Read,
    Write,
    /// Takes up room, but writes no bytes of the caller's.
    Grow,
    Sync,
    Name,
}

impl Fault {
    fn applies_to(self, class: Class) -> bool {
        match self {
            Self::Error(_) => true,
            Self::DiskFull => matches!(class, Class::Write | Class::Grow),
            Self::ShortWrite => class == Class::Write,
            Self::FailedSync => class == Class::Sync,
        }
    }

    fn kind(self) -> ErrorKind {
        match self {
            Self::Error(kind) => kind,
            Self::DiskFull | Self::ShortWrite => ErrorKind::StorageFull,
            Self::FailedSync => ErrorKind::Other,
        }
    }
}

/// A fault that waits for its operation.
#[derive(Clone, Debug)]
struct Planned {
    at: u64,
    fault: Fault,
    sticky: bool,
    path_contains: String,
}

/// Operations so far and faults to come. The mutex that guards it is held for no I/O.
#[derive(Debug, Default)]
struct Plan {
    operations: u64,
    faults: Vec<Planned>,
    injected: u64,
    first_injected_at: Option<u64>,
}

impl Plan {
    /// Counts an operation and says how it must fail.
    fn next(&mut self, class: Class, path: &Path) -> Option<Fault> {
        let number = self.operations;
        self.operations += 1;
        let hit = self.faults.iter().position(|planned| {
            number >= planned.at
                && planned.fault.applies_to(class)
                && path.to_string_lossy().contains(&planned.path_contains)
        })?;
        self.injected += 1;
        self.first_injected_at.get_or_insert(number);
        let planned = self.faults.get(hit)?.clone();
        if !planned.sticky {
            self.faults.remove(hit);
        }
        Some(planned.fault)
    }
}

/// A file system whose operations fail on request; files opened through it included.
///
/// Every operation counts, from 0, reads too. Clones share the count and the faults.
/// Thread-safe.
#[derive(Clone, Debug)]
pub struct FaultFs<F> {
    inner: F,
    plan: Arc<Mutex<Plan>>,
}

impl<F: Fs> FaultFs<F> {
    /// Wraps `inner`; nothing fails yet.
    pub fn new(inner: F) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// What it wraps.
    pub const fn inner(&self) -> &F {
        &self.inner
    }

    /// How many operations there have been.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.plan.lock().operations
    }

    /// How many of them were made to fail.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.plan.lock().injected
    }

    /// The number of the first operation that was made to fail.
    #[must_use]
    pub fn first_injected_at(&self) -> Option<u64> {
        self.plan.lock().first_injected_at
    }

    /// Makes the first operation fail that has at least the number `at` and to which the
    /// fault applies; once.
    pub fn fail_at(&self, at: u64, fault: Fault) {
        self.fail_on("", at, fault, false);
    }

    /// Makes all operations fail that have at least the number `at` and to which the
    /// fault applies, until [`heal`](Self::heal).
    pub fn fail_from(&self, at: u64, fault: Fault) {
        self.fail_on("", at, fault, true);
    }

    /// As [`fail_at`](Self::fail_at), or [`fail_from`](Self::fail_from) when `sticky`,
    /// for operations whose path contains `path_contains`.
    pub fn fail_on(&self, path_contains: &str, at: u64, fault: Fault, sticky: bool) {
        let path_contains = path_contains.to_string();
        self.plan.lock().faults.push(Planned { at, fault, sticky, path_contains });
    }

    /// Forgets all faults to come.
    pub fn heal(&self) {
        self.plan.lock().faults.clear();
    }

    fn check(&self, class: Class, operation: &'static str, path: &Path) -> Result<(), IoError> {
        let fault = self.plan.lock().next(class, path);
        fault.map_or(Ok(()), |fault| Err(failed(operation, path, fault)))
    }

    fn wrap(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(FaultFile { inner: file, plan: Arc::clone(&self.plan) })
    }
}

fn failed(operation: &'static str, path: &Path, fault: Fault) -> IoError {
    IoError::new(operation, path, std::io::Error::new(fault.kind(), "injected fault"))
}

impl<F: Fs> Fs for FaultFs<F> {
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.check(Class::Grow, "create", path)?;
        self.inner.create_new(path).map(|file| self.wrap(file))
    }

    fn open_read(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.check(Class::Read, "open", path)?;
        self.inner.open_read(path).map(|file| self.wrap(file))
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.check(Class::Read, "open for writing", path)?;
        self.inner.open_write(path).map(|file| self.wrap(file))
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        self.check(Class::Grow, "create the directory", path)?;
        self.inner.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        self.check(Class::Read, "list", path)?;
        self.inner.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.check(Class::Name, "rename", from)?;
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        self.check(Class::Name, "remove", path)?;
        self.inner.remove_file(path)
    }

    fn hard_link(&self, original: &Path, link: &Path) -> Result<(), IoError> {
        self.check(Class::Grow, "link", original)?;
        self.inner.hard_link(original, link)
    }

    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        self.check(Class::Sync, "sync the directory", path)?;
        self.inner.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, IoError> {
        self.check(Class::Read, "look for", path)?;
        self.inner.exists(path)
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>, IoError> {
        self.check(Class::Name, "lock", path)?;
        self.inner.try_lock(path)
    }
}

/// A file opened through a [`FaultFs`].
#[derive(Debug)]
struct FaultFile {
    inner: Arc<dyn File>,
    plan: Arc<Mutex<Plan>>,
}

impl FaultFile {
    fn next(&self, class: Class) -> Option<Fault> {
        self.plan.lock().next(class, self.inner.path())
    }

    fn check(&self, class: Class, operation: &'static str) -> Result<(), IoError> {
        self.next(class).map_or(Ok(()), |fault| Err(failed(operation, self.inner.path(), fault)))
    }

    fn sync(
        &self,
        operation: &'static str,
        sync: impl FnOnce() -> Result<(), IoError>,
    ) -> Result<(), IoError> {
        let Some(fault) = self.next(Class::Sync) else { return sync() };
        if fault == Fault::FailedSync {
            self.inner.lose_unsynced();
        }
        Err(failed(operation, self.inner.path(), fault))
    }
}

impl File for FaultFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        self.check(Class::Read, "read")?;
        self.inner.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), IoError> {
        let Some(fault) = self.next(Class::Write) else {
            return self.inner.write_all_at(bytes, offset);
        };
        if fault == Fault::ShortWrite {
            let (first, _) = bytes.split_at(bytes.len() / 2);
            self.inner.write_all_at(first, offset)?;
        }
        Err(failed("write", self.inner.path(), fault))
    }

    fn sync_data(&self) -> Result<(), IoError> {
        self.sync("sync", || self.inner.sync_data())
    }

    fn start_writeback(&self, offset: u64, len_bytes: u64) -> Result<(), IoError> {
        self.sync("begin to sync", || self.inner.start_writeback(offset, len_bytes))
    }

    fn preallocate(&self, len_bytes: u64) -> Result<(), IoError> {
        self.check(Class::Grow, "reserve room for")?;
        self.inner.preallocate(len_bytes)
    }

    fn set_len(&self, len_bytes: u64) -> Result<(), IoError> {
        self.check(Class::Grow, "resize")?;
        self.inner.set_len(len_bytes)
    }

    fn len(&self) -> Result<u64, IoError> {
        self.check(Class::Read, "measure")?;
        self.inner.len()
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn lose_unsynced(&self) {
        self.inner.lose_unsynced();
    }
}
