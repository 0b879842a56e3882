//! A table is on its way to the disk while it is written: piece by piece, nothing twice, nothing
//! that is not there yet, and all of it before the sync at the end says that it has arrived.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails should stop there")]

use lsm_sstable::{Compression, TableWriter, WriterOptions};
use lsm_sync::Mutex;
use lsm_types::{InternalKey, ValueKind};
use lsm_vfs::{DirEntry, Fault, FaultFs, File, Fs, IoError, LockGuard, MemFs};
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    /// The end of what was written.
    Write(u64),
    /// From where to where.
    Start(u64, u64),
    Sync,
}

/// Remembers what is asked of a file.
#[derive(Debug, Default)]
struct Recorder {
    inner: MemFs,
    calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Debug)]
struct Recorded {
    inner: Arc<dyn File>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl File for Recorded {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        self.inner.read_exact_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), IoError> {
        self.calls.lock().push(Call::Write(offset + bytes.len() as u64));
        self.inner.write_all_at(bytes, offset)
    }
    fn sync_data(&self) -> Result<(), IoError> {
        self.calls.lock().push(Call::Sync);
        self.inner.sync_data()
    }
    fn start_writeback(&self, offset: u64, len_bytes: u64) -> Result<(), IoError> {
        self.calls.lock().push(Call::Start(offset, offset + len_bytes));
        self.inner.start_writeback(offset, len_bytes)
    }
    fn preallocate(&self, len_bytes: u64) -> Result<(), IoError> {
        self.inner.preallocate(len_bytes)
    }
    fn set_len(&self, len_bytes: u64) -> Result<(), IoError> {
        self.inner.set_len(len_bytes)
    }
    fn len(&self) -> Result<u64, IoError> {
        self.inner.len()
    }
    fn path(&self) -> &Path {
        self.inner.path()
    }
}

impl Fs for Recorder {
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        let (inner, calls) = (self.inner.create_new(path)?, Arc::clone(&self.calls));
        Ok(Arc::new(Recorded { inner, calls }))
    }
    fn open_read(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.inner.open_read(path)
    }
    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        self.inner.open_write(path)
    }
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        self.inner.create_dir_all(path)
    }
    fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        self.inner.read_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.inner.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        self.inner.remove_file(path)
    }
    fn hard_link(&self, original: &Path, link: &Path) -> Result<(), IoError> {
        self.inner.hard_link(original, link)
    }
    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        self.inner.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> Result<bool, IoError> {
        self.inner.exists(path)
    }
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>, IoError> {
        self.inner.try_lock(path)
    }
}

/// Some three megabytes.
fn write(fs: &dyn Fs) -> Result<u64, lsm_sstable::Error> {
    let options = WriterOptions { compression: Compression::None, ..WriterOptions::default() };
    let mut writer = TableWriter::create(fs, Path::new("table"), 1, &options)?;
    for number in 0..3000_u32 {
        let key = number.to_be_bytes();
        writer.add(InternalKey::new(key.as_slice(), 7, ValueKind::Value), &[number as u8; 1000])?;
    }
    Ok(writer.finish(0)?.file_bytes)
}

#[test]
fn all_but_the_end_is_on_its_way_before_the_sync() {
    let fs = Recorder::default();
    let file_bytes = write(&fs).unwrap();
    let calls = fs.calls.lock();
    let (mut written, mut begun, mut most_at_once) = (0, 0, 0);
    for call in &*calls {
        match *call {
            Call::Write(end) => written = end,
            Call::Start(from, through) => {
                assert_eq!(from, begun, "nothing is left out or sent twice");
                assert!(through <= written, "nothing is sent that is not there");
                most_at_once = most_at_once.max(through - from);
                begun = through;
            }
            // The last buffer and the sections behind it are left to the sync.
            Call::Sync => assert!(begun + (600 << 10) > file_bytes && begun <= file_bytes),
        }
    }
    assert_eq!(calls.last(), Some(&Call::Sync));
    assert!(most_at_once < 1 << 20, "in small steps, and not {most_at_once} bytes at once");
}

#[test]
fn a_piece_that_cannot_be_sent_is_an_error_of_the_table() {
    let fs = FaultFs::new(MemFs::new());
    write(&fs).unwrap();
    fs.remove_file(Path::new("table")).unwrap();
    // The first sync that is asked for is that of the first piece.
    fs.fail_at(fs.operations(), Fault::FailedSync);
    let failed = write(&fs).unwrap_err();
    assert!(failed.to_string().contains("begin to sync"), "{failed}");
}
