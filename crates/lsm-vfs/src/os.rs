//! [`OsFs`]: the operating system's files. Every production database stands on
//! it; simulations never touch it. It keeps no state but the locks it holds.

#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::os_map::Windows;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use crate::os_no_map::Windows;
use crate::{DirEntry, File, Fs, IoError, LockGuard};
use lsm_sync::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// How much a thread gives way: of a processor that it shares with another, that one gets
/// nine tenths.
const NICENESS: i32 = 10;

/// Has the calling thread give way to others where the system can do so for one thread: for
/// work that nobody waits for as long as it keeps up. A request; nothing depends on it.
pub fn give_way() {
    // Elsewhere the call is about the whole process.
    if cfg!(any(target_os = "linux", target_os = "android")) && !cfg!(miri) {
        let _only_a_request = rustix::process::setpriority_process(None, NICENESS);
    }
}

/// The operating system's file system. Stateless: every value is the same one.
///
/// Names that are not UTF-8 are listed with replacement characters; none of ours is such.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

impl OsFs {
    fn open(
        path: &Path,
        options: &std::fs::OpenOptions,
        verb: &'static str,
    ) -> Result<Arc<dyn File>, IoError> {
        Ok(Arc::new(OsFile::open(path, options, verb)?))
    }
}

impl Fs for OsFs {
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        Self::open(path, std::fs::OpenOptions::new().read(true).write(true).create_new(true), "create")
    }

    fn open_read(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        Self::open(path, std::fs::OpenOptions::new().read(true), "open")
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        Self::open(path, std::fs::OpenOptions::new().read(true).write(true), "open for writing")
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        std::fs::create_dir_all(path).map_err(|source| IoError::new("create the directory", path, source))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        let failed = |source| IoError::new("list", path, source);
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed between the listing and the look at it.
                Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(failed(source)),
            };
            let is_dir = metadata.is_dir();
            let len_bytes = if is_dir { 0 } else { metadata.len() };
            entries.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_dir,
                len_bytes,
            });
        }
        entries.sort();
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        std::fs::rename(from, to).map_err(|source| IoError::new("rename", from, source))
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        std::fs::remove_file(path).map_err(|source| IoError::new("remove", path, source))
    }

    fn hard_link(&self, original: &Path, link: &Path) -> Result<(), IoError> {
        std::fs::hard_link(original, link).map_err(|source| IoError::new("link", original, source))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        // The parent of a bare file name is the empty path, which means here.
        let opened = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        std::fs::File::open(opened)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| IoError::new("sync the directory", path, source))
    }

    fn exists(&self, path: &Path) -> Result<bool, IoError> {
        std::fs::exists(path).map_err(|source| IoError::new("look for", path, source))
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>, IoError> {
        let failed = |source| IoError::new("lock", path, source);
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let identity = (metadata.dev(), metadata.ino());
        // Holding the registry meanwhile keeps two threads from racing for one file;
        // `try_lock` does not wait.
        let mut held = held_locks().lock();
        if held.contains(&identity) {
            return Ok(None);
        }
        match file.try_lock() {
            Ok(()) => {
                held.insert(identity);
                Ok(Some(Box::new(OsLock { file, identity })))
            }
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// An open file and the path it was opened at.
#[derive(Debug)]
pub(crate) struct OsFile {
    pub(crate) file: std::fs::File,
    path: PathBuf,
    /// Memory mapped onto the file, once small writes are expected.
    windows: OnceLock<Option<Windows>>,
}

impl OsFile {
    pub(crate) fn open(
        path: &Path,
        options: &std::fs::OpenOptions,
        verb: &'static str,
    ) -> Result<Self, IoError> {
        let file = options.open(path).map_err(|source| IoError::new(verb, path, source))?;
        Ok(Self { file, path: path.to_path_buf(), windows: OnceLock::new() })
    }

    fn windows(&self) -> Option<&Windows> {
        self.windows.get()?.as_ref()
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> IoError + '_ {
        move |source| IoError::new(operation, &self.path, source)
    }
}

impl File for OsFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        self.file.read_exact_at(buffer, offset).map_err(self.failed("read"))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), IoError> {
        let stored = self.windows().map_or(0, |windows| windows.write(&self.file, bytes, offset));
        match bytes.split_at_checked(stored) {
            Some((_, [])) => Ok(()),
            Some((_, rest)) => {
                self.file.write_all_at(rest, offset + stored as u64).map_err(self.failed("write"))
            }
            None => Ok(()),
        }
    }

    fn sync_data(&self) -> Result<(), IoError> {
        self.file.sync_data().map_err(self.failed("sync"))
    }

    #[cfg(target_os = "linux")]
    fn start_writeback(&self, offset: u64, len_bytes: u64) -> Result<(), IoError> {
        crate::os_writeback::start(&self.file, offset, len_bytes).map_err(self.failed("begin to sync"))
    }

    fn preallocate(&self, len_bytes: u64) -> Result<(), IoError> {
        let outcome = reserve(&self.file, len_bytes);
        match outcome.map_err(self.failed("reserve room for"))? {
            Reserved::Yes => Ok(()),
            Reserved::Unsupported if self.len()? >= len_bytes => Ok(()),
            Reserved::Unsupported => self.set_len(len_bytes),
        }
    }

    fn expect_small_writes(&self) {
        // Asked for once more, since growing a file is not the same as having room for it.
        let len = self.len().unwrap_or(0);
        if len > 0 && matches!(reserve(&self.file, len), Ok(Reserved::Yes)) {
            self.windows.get_or_init(|| Windows::over(&self.file, len));
        }
    }

    fn make_ready(&self, offset: u64) {
        if let Some(windows) = self.windows() {
            windows.make_ready(&self.file, offset);
        }
    }

    fn expect_no_writes(&self) {
        if let Some(windows) = self.windows() {
            windows.close();
        }
    }

    fn set_len(&self, len_bytes: u64) -> Result<(), IoError> {
        let set_len = || self.file.set_len(len_bytes).map_err(self.failed("resize"));
        match self.windows() {
            Some(windows) => windows.cut(len_bytes, set_len),
            None => set_len(),
        }
    }

    fn len(&self) -> Result<u64, IoError> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(self.failed("measure"))
    }

    fn next_data(&self, offset: u64) -> u64 {
        next_data(&self.file, offset)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// The first byte at or behind `offset` that is not in a hole or in reserved room. That it
/// moves the position of the file matters to nobody: every access names its own. Not asked
/// where a wrong answer has been heard of: it would cut the log.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn next_data(file: &std::fs::File, offset: u64) -> u64 {
    if !crate::os_map::is_well_known(file) {
        return offset;
    }
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(data) => data.max(offset),
        // Nothing follows.
        Err(rustix::io::Errno::NXIO) => u64::MAX,
        Err(_) => offset,
    }
}

/// Elsewhere every byte is looked at.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn next_data(_file: &std::fs::File, offset: u64) -> u64 {
    offset
}

/// Whether the operating system could reserve room.
enum Reserved {
    Yes,
    Unsupported,
}

/// Reserves room for the first `len_bytes` bytes, growing the file if it is shorter.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn reserve(file: &std::fs::File, len_bytes: u64) -> io::Result<Reserved> {
    use rustix::fs::FallocateFlags;
    use rustix::io::Errno;
    loop {
        return match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len_bytes) {
            Ok(()) => Ok(Reserved::Yes),
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(Reserved::Unsupported),
            Err(errno) => Err(errno.into()),
        };
    }
}

/// Elsewhere the length is all we can set.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn reserve(_file: &std::fs::File, _len_bytes: u64) -> io::Result<Reserved> {
    Ok(Reserved::Unsupported)
}

/// The locks of this process by device and inode. `flock` refuses a second open file
/// of one process too, but some network file systems turn it into a lock that belongs
/// to the process. The mutex guards the set; only non-blocking calls are made under it.
fn held_locks() -> &'static Mutex<BTreeSet<(u64, u64)>> {
    static HELD: OnceLock<Mutex<BTreeSet<(u64, u64)>>> = OnceLock::new();
    HELD.get_or_init(|| Mutex::new(BTreeSet::new()))
}

/// A held lock; closing the file releases it.
#[derive(Debug)]
struct OsLock {
    file: std::fs::File,
    identity: (u64, u64),
}

impl LockGuard for OsLock {}

impl Drop for OsLock {
    fn drop(&mut self) {
        // Unlocked and not just closed: a child process that is being started may hold a
        // copy of the descriptor for a moment, and with it the lock.
        let _closing_unlocks_too = self.file.unlock();
        // Whoever came in between was refused by this entry.
        held_locks().lock().remove(&self.identity);
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn no_data_is_taken_for_a_hole_however_it_was_written() {
        const RESERVED: u64 = 4 << 20;
        let directory = tempfile::tempdir().unwrap();
        for (index, is_mapped) in [false, true].into_iter().enumerate() {
            let file = OsFs.create_new(&directory.path().join(index.to_string())).unwrap();
            file.preallocate(RESERVED).unwrap();
            if is_mapped {
                file.expect_small_writes();
            }
            // From the end on, so that all before the last one written is a hole.
            for at in [RESERVED - 1, 3 << 20, (2 << 20) + 4097, 1 << 20, 70_000, 4096] {
                file.write_all_at(&[1], at).unwrap();
                for from in [0, at / 2, at] {
                    let data = file.next_data(from);
                    assert!(from <= data && data <= at, "{data} for {at}, asked from {from}");
                }
                file.sync_data().unwrap();
                assert!(file.next_data(0) <= at);
            }
            assert!(file.next_data(RESERVED) >= RESERVED);
        }
    }
}
