//! The traits [`Fs`] and [`File`]: the whole of what the engine asks of a file system.

use crate::IoError;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// An open file. Positions are explicit, so one handle serves many threads.
pub trait File: Send + Sync + std::fmt::Debug {
    /// Fills `buffer` from `offset`; reading past the end is an error of kind
    /// `UnexpectedEof`.
    ///
    /// # Errors
    /// The file system's.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError>;

    /// Writes all of `bytes` at `offset`, growing the file with zeros if needed.
    /// After an error any part of it may have been written.
    ///
    /// # Errors
    /// The file system's.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), IoError>;

    /// Makes contents and length durable (`fdatasync`).
    ///
    /// # Errors
    /// The file system's. After a failure the state on disk is unknown, and a later
    /// success says nothing about the writes before: never retry.
    fn sync_data(&self) -> Result<(), IoError>;

    /// Has the system begin to write `len_bytes` bytes from `offset` on to the disk, so that a
    /// later [`sync_data`](Self::sync_data) has less to wait for. Makes nothing durable; where
    /// the system cannot do it, does nothing.
    ///
    /// # Errors
    /// The file system's. As after a failed sync, the state on disk is unknown: never retry.
    fn start_writeback(&self, _offset: u64, _len_bytes: u64) -> Result<(), IoError> {
        Ok(())
    }

    /// Reserves room up to `len_bytes` and extends the length to it, reading as zeros,
    /// so that later syncs need not write metadata. May do less where unsupported.
    ///
    /// # Errors
    /// The file system's; the disk may be full.
    fn preallocate(&self, len_bytes: u64) -> Result<(), IoError>;

    /// Says that the room just reserved will be filled by many small writes, so that it is
    /// worth while to make each of them cheap. Only a hint.
    fn expect_small_writes(&self) {}

    /// Makes ready for small writes from `offset` on, as far as that is worth while: takes
    /// time off them and is to be called from another thread. Only a hint.
    fn make_ready(&self, _offset: u64) {}

    /// Says that nothing will be written to this file any more, so that what was made ready
    /// for that can go. A hint: writes work as before.
    fn expect_no_writes(&self) {}

    /// Cuts or extends the file with zeros.
    ///
    /// # Errors
    /// The file system's.
    fn set_len(&self, len_bytes: u64) -> Result<(), IoError>;

    /// The length in bytes.
    ///
    /// # Errors
    /// The file system's.
    fn len(&self) -> Result<u64, IoError>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// The file system's.
    fn is_empty(&self) -> Result<bool, IoError> {
        self.len().map(|len| len == 0)
    }

    /// The first place at or behind `offset` where there may be something but zeros; the
    /// length of the file or more when there is none. Only a hint: `offset` is always right.
    fn next_data(&self, offset: u64) -> u64 {
        offset
    }

    /// Where the file was opened.
    fn path(&self) -> &Path;

    /// Lets a simulated disk lose part of what no sync has made durable, as a real one
    /// does when a sync fails. Any other file system loses nothing.
    fn lose_unsynced(&self) {}
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name within its directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes; 0 for a directory.
    pub len_bytes: u64,
}

/// Keeps a directory locked until dropped.
pub trait LockGuard: Send + Sync + std::fmt::Debug {}

/// A file system. Names become durable by [`sync_dir`](Self::sync_dir) of their
/// directory, contents by [`File::sync_data`].
pub trait Fs: Send + Sync + std::fmt::Debug {
    /// Creates a file that must not exist, for reading and writing.
    ///
    /// # Errors
    /// The file system's; `AlreadyExists` among them.
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>, IoError>;

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// The file system's; `NotFound` among them.
    fn open_read(&self, path: &Path) -> Result<Arc<dyn File>, IoError>;

    /// Opens an existing file for reading that never changes any more: no byte, and not its
    /// length.
    ///
    /// # Errors
    /// The file system's; `NotFound` among them.
    fn open_immutable(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.open_read(path)
    }

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// The file system's; `NotFound` among them.
    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>, IoError>;

    /// Creates a directory and its parents; one that exists is fine.
    ///
    /// # Errors
    /// The file system's.
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// The file system's.
    fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, IoError>;

    /// Renames a file over another one or none, atomically.
    ///
    /// # Errors
    /// The file system's.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError>;

    /// Removes a file's name; open handles keep its contents.
    ///
    /// # Errors
    /// The file system's.
    fn remove_file(&self, path: &Path) -> Result<(), IoError>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// The file system's; some cannot link, none links across devices.
    fn hard_link(&self, original: &Path, link: &Path) -> Result<(), IoError>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The file system's.
    fn sync_dir(&self, path: &Path) -> Result<(), IoError>;

    /// Whether something has this name.
    ///
    /// # Errors
    /// The file system's; absence is not one.
    fn exists(&self, path: &Path) -> Result<bool, IoError>;

    /// Takes the exclusive lock that the file `path` stands for, creating the file
    /// if needed; `None` when somebody else holds it. Released on drop and at the
    /// death of the process.
    ///
    /// # Errors
    /// The file system's.
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>, IoError>;

    /// Creates a directory and its parents, and makes their names durable: also those
    /// that exist, since whoever made them may have been killed before it could. Parents
    /// that were there and may not be read are taken on trust.
    ///
    /// # Errors
    /// The file system's.
    fn create_dir_durably(&self, path: &Path) -> Result<(), IoError> {
        let mut created = Vec::new();
        for ancestor in path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
            if self.exists(ancestor)? {
                break;
            }
            created.push(ancestor);
        }
        self.create_dir_all(path)?;
        for ancestor in path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
            let synced = match ancestor.parent() {
                Some(parent) if parent.as_os_str().is_empty() => self.sync_dir(Path::new(".")),
                Some(parent) => self.sync_dir(parent),
                None => Ok(()),
            };
            match synced {
                Err(error) if created.contains(&ancestor) || error.kind() != ErrorKind::PermissionDenied => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The whole contents of a file.
    ///
    /// # Errors
    /// The file system's, and `FileTooLarge` over `limit_bytes`.
    fn read_to_vec(&self, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, IoError> {
        let file = self.open_read(path)?;
        let len = file.len()?;
        if len > limit_bytes {
            return Err(IoError::new("read", path, std::io::ErrorKind::FileTooLarge.into()));
        }
        let mut contents = vec![0; len as usize];
        file.read_exact_at(&mut contents, 0)?;
        Ok(contents)
    }
}

impl<F: Fs + ?Sized> Fs for Arc<F> {
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        (**self).create_new(path)
    }

    fn open_read(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        (**self).open_read(path)
    }

    fn open_immutable(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        (**self).open_immutable(path)
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        (**self).open_write(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        (**self).create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        (**self).read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        (**self).rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        (**self).remove_file(path)
    }

    fn hard_link(&self, original: &Path, link: &Path) -> Result<(), IoError> {
        (**self).hard_link(original, link)
    }

    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        (**self).sync_dir(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, IoError> {
        (**self).exists(path)
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>, IoError> {
        (**self).try_lock(path)
    }
}
