//! [`MappedFs`]: the operating system's files, of which those that never change are read
//! through memory mapped onto them. For databases much larger than their cache whose files
//! lie in memory anyway; chosen by the application, since it moves the fault of a disk that
//! fails to read from an error of one call to the end of the process.

#![expect(unsafe_code, reason = "reads memory that the kernel shares; see docs/unsafe.md")]

use crate::os::OsFile;
use crate::{DirEntry, File, Fs, IoError, LockGuard, OsFs};
use lsm_sync::atomic::{AtomicU32, Ordering};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::ffi::c_void;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

/// The operating system's file system, with mapped reads of what never changes: tables.
/// Saves a call into the kernel for each block that is not cached, half a microsecond.
///
/// Where the disk fails to read a page, or somebody cuts the file, the process ends with
/// `SIGBUS`; with [`OsFs`] a read fails with an error. Everything else is as there. Stateless.
#[derive(Clone, Copy, Debug, Default)]
pub struct MappedFs;

impl Fs for MappedFs {
    fn open_immutable(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        let plain = OsFile::open(path, std::fs::OpenOptions::new().read(true), "open")?;
        Ok(Arc::new(MappedFile { plain, short_reads: AtomicU32::new(0), mapping: OnceLock::new() }))
    }

    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        OsFs.create_new(path)
    }

    fn open_read(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        OsFs.open_read(path)
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        OsFs.open_write(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        OsFs.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        OsFs.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        OsFs.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        OsFs.remove_file(path)
    }

    fn hard_link(&self, original: &Path, link: &Path) -> Result<(), IoError> {
        OsFs.hard_link(original, link)
    }

    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        OsFs.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, IoError> {
        OsFs.exists(path)
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>, IoError> {
        OsFs.try_lock(path)
    }
}

/// Longer reads go through the kernel: those of compactions, which would otherwise hold the
/// pages of whole tables in the memory of the process.
const MAX_MAPPED_READ: usize = 64 << 10;

/// So many short reads go through the kernel before a file is mapped: most tables of level 0
/// are merged away before anybody reads more of them. One touch of a mapping can bring half a
/// MiB into the memory of the process, where the page cache has such pages.
const FIRST_READS: u32 = 16;

/// A file whose short reads are copies out of mapped memory, once there have been a few.
#[derive(Debug)]
struct MappedFile {
    plain: OsFile,
    /// Counts to [`FIRST_READS`]. Relaxed: one more or fewer does not matter.
    short_reads: AtomicU32,
    /// Empty where the file cannot be mapped.
    mapping: OnceLock<Option<Mapping>>,
}

impl MappedFile {
    #[inline]
    fn mapping(&self) -> Option<&Mapping> {
        match self.mapping.get() {
            Some(mapping) => mapping.as_ref(),
            None => self.map_in_time(),
        }
    }

    #[cold]
    fn map_in_time(&self) -> Option<&Mapping> {
        if self.short_reads.fetch_add(1, Ordering::Relaxed) < FIRST_READS {
            return None;
        }
        let map = || Mapping::over(&self.plain.file, self.plain.len().ok()?);
        self.mapping.get_or_init(map).as_ref()
    }
}

impl File for MappedFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        if buffer.len() <= MAX_MAPPED_READ
            && self.mapping().is_some_and(|mapping| mapping.copy_to(buffer, offset))
        {
            return Ok(());
        }
        self.plain.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), IoError> {
        self.plain.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> Result<(), IoError> {
        self.plain.sync_data()
    }

    fn preallocate(&self, len_bytes: u64) -> Result<(), IoError> {
        self.plain.preallocate(len_bytes)
    }

    fn set_len(&self, len_bytes: u64) -> Result<(), IoError> {
        self.plain.set_len(len_bytes)
    }

    fn len(&self) -> Result<u64, IoError> {
        self.plain.len()
    }

    fn path(&self) -> &Path {
        self.plain.path()
    }
}

/// A whole file, mapped for reading.
#[derive(Debug)]
struct Mapping {
    memory: NonNull<c_void>,
    len: usize,
}

// SAFETY: the memory belongs to this value alone until drop unmaps it, from whichever
// thread; nothing about a mapping is tied to the thread that made it.
unsafe impl Send for Mapping {}
// SAFETY: it is only read.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes; `None` where that cannot be done.
    fn over(file: &std::fs::File, len: u64) -> Option<Self> {
        let len = usize::try_from(len).ok().filter(|&len| len > 0)?;
        // SAFETY: without an address the kernel chooses one that is free, so no memory
        // that anybody uses is replaced. A failure is an error, and never null.
        let memory = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, file, 0)
        };
        let mapping = Self { memory: NonNull::new(memory.ok()?)?, len };
        // SAFETY: the range is the whole of this mapping, and the advice changes no byte. What
        // is not in memory is to be read alone: blocks are asked for at random.
        let _a_hint = unsafe { rustix::mm::madvise(mapping.memory.as_ptr(), len, Advice::Random) };
        Some(mapping)
    }

    /// Copies what lies at `offset` into `buffer`, if all of it lies within.
    fn copy_to(&self, buffer: &mut [u8], offset: u64) -> bool {
        let Ok(start) = usize::try_from(offset) else { return false };
        if start.checked_add(buffer.len()).is_none_or(|end| end > self.len) {
            return false;
        }
        // SAFETY: `start + buffer.len()` is at most the length of the mapping, which stays
        // until drop. No reference into it is ever made, so whoever writes to the file
        // meanwhile changes bytes that are copied, as with a read through the kernel;
        // checksums tell. `buffer` is no part of it.
        unsafe {
            let from = self.memory.as_ptr().cast::<u8>().add(start);
            std::ptr::copy_nonoverlapping(from, buffer.as_mut_ptr(), buffer.len());
        }
        true
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping, and nothing refers to it any more.
        let _nothing_to_do_about_it = unsafe { rustix::mm::munmap(self.memory.as_ptr(), self.len) };
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn mapped_reads_are_what_plain_reads_are_and_end_where_the_file_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table");
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at * 7 + at / 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let (mapped, plain) = (MappedFs.open_immutable(&path).unwrap(), OsFs.open_read(&path).unwrap());
        let cases = [
            (0, 10),
            (4095, 2),
            (0, 300_000),
            (299_999, 1),
            (299_999, 2),
            (300_000, 0),
            (300_000, 1),
            (u64::MAX, 1),
            (u64::MAX, 0),
            (100, 64 << 10),
            (100, (64 << 10) + 1),
            (240_000, 60_001),
        ];
        // From somewhere in the second time through on it is mapped.
        for (offset, len) in cases.into_iter().cycle().take(4 * cases.len()) {
            let (mut one, mut other) = (vec![0; len], vec![0; len]);
            let outcomes = (mapped.read_exact_at(&mut one, offset), plain.read_exact_at(&mut other, offset));
            match outcomes {
                (Ok(()), Ok(())) => assert!(one == other, "{len} bytes at {offset} differ"),
                (Err(one), Err(other)) => assert_eq!(one.kind(), other.kind(), "{len} bytes at {offset}"),
                (one, other) => assert!(len == 0, "{len} bytes at {offset}: {one:?}, {other:?}"),
            }
        }
        assert_eq!(mapped.len().unwrap(), 300_000);
        let late = MappedFs.open_immutable(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for _ in 0..2 * FIRST_READS {
            for file in [&mapped, &late] {
                let mut kept = [0; 3];
                file.read_exact_at(&mut kept, 1000).unwrap();
                assert_eq!(kept, bytes[1000..1003], "a removed file stays readable while it is open");
            }
        }
    }

    #[test]
    fn threads_that_read_first_together_read_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table");
        let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at * 7 + at / 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        for _ in 0..20 {
            let file = MappedFs.open_immutable(&path).unwrap();
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (file, bytes) = (&file, &bytes);
                    scope.spawn(move || {
                        for read in 0..2 * FIRST_READS as usize {
                            let (mut found, at) = ([0; 500], (thread * 977 + read * 3331) % 99_500);
                            file.read_exact_at(&mut found, at as u64).unwrap();
                            assert_eq!(found, bytes[at..at + 500]);
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn a_file_is_mapped_once_it_has_been_read_a_few_times() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table");
        std::fs::write(&path, [7; 10_000]).unwrap();
        let plain = OsFile::open(&path, std::fs::OpenOptions::new().read(true), "open").unwrap();
        let file = MappedFile { plain, short_reads: AtomicU32::new(0), mapping: OnceLock::new() };
        for read in 0..2 * FIRST_READS {
            assert_eq!(matches!(file.mapping.get(), Some(Some(_))), read > FIRST_READS);
            file.read_exact_at(&mut [0; 10], u64::from(read)).unwrap();
        }
        let long = &mut vec![0; MAX_MAPPED_READ + 1];
        assert_eq!(file.read_exact_at(long, 0).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_empty_or_missing_file_is_as_with_plain_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table");
        assert_eq!(MappedFs.open_immutable(&path).unwrap_err().kind(), std::io::ErrorKind::NotFound);
        std::fs::write(&path, b"").unwrap();
        let file = MappedFs.open_immutable(&path).unwrap();
        assert_eq!(file.read_exact_at(&mut [0], 0).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
