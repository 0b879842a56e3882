//! [`Source`]: the file of an open table, read and checked piece by piece. Called
//! by everything that needs bytes of the file; knows nothing of what they mean.

use crate::format::open_stored;
use crate::{Error, TableContext};
use lsm_vfs::Corruption;
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

/// Longer blocks are read into memory that is given back.
const MAX_SCRATCH_BYTES: usize = 64 << 10;

thread_local! {
    /// Memory for a stored block between its read and its decompression. Its contents are
    /// whatever was read last.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A table's file by name, and how to tell that it is the right one.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) context: Arc<TableContext>,
    pub(crate) path: PathBuf,
    /// The key in the context's pool and cache.
    pub(crate) id: u64,
    pub(crate) uid: u64,
    pub(crate) file_bytes: u64,
}

impl Source {
    /// Damage in this file.
    #[cold]
    pub(crate) fn damage(&self, offset: u64, expected: impl Into<String>, got: impl Into<String>) -> Error {
        Corruption::new(&self.path, offset, expected, got).into()
    }

    fn check_range(&self, start: u64, end: u64) -> Result<(), Error> {
        if start <= end && end <= self.file_bytes {
            return Ok(());
        }
        let got = format!("a file of {} bytes", self.file_bytes);
        Err(self.damage(start, format!("bytes up to {end}"), got))
    }

    /// The bytes from `start` to `end`, which must lie within the file: damage never
    /// makes it allocate more than that.
    pub(crate) fn read(&self, start: u64, end: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.read_into(start, end, &mut bytes)?;
        Ok(bytes)
    }

    /// As [`read`](Self::read), into a buffer whose contents are replaced.
    pub(crate) fn read_into(&self, start: u64, end: u64, buffer: &mut Vec<u8>) -> Result<(), Error> {
        self.check_range(start, end)?;
        buffer.clear();
        buffer.resize((end - start) as usize, 0);
        self.read_exact(start, buffer)
    }

    /// Runs `use_them` on the bytes from `start` to `end`, in memory that is kept for the
    /// next time: nothing is allocated, and nothing zeroed.
    pub(crate) fn with_stored<R>(
        &self,
        start: u64,
        end: u64,
        use_them: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Error> {
        self.check_range(start, end)?;
        let len = (end - start) as usize;
        // Taken out meanwhile: whoever comes in between makes their own.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        if scratch.len() < len {
            scratch.resize(len, 0);
        }
        let stored = scratch.get_mut(..len).unwrap_or_default();
        let outcome = self.read_exact(start, stored).map(|()| use_them(stored));
        if scratch.len() <= MAX_SCRATCH_BYTES {
            // A thread that ends has no scratch any more.
            let _kept = SCRATCH.try_with(|kept| kept.set(scratch));
        }
        outcome
    }

    fn read_exact(&self, start: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let file = self.context.file(self.id, &self.path)?;
        let end = start + buffer.len() as u64;
        file.read_exact_at(buffer, start).map_err(|error| {
            // The length was right at opening, so the file has been cut since.
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                self.damage(start, format!("bytes up to {end}"), "the end of the file")
            } else {
                error.into()
            }
        })
    }

    /// The image of a section that was read from `offset`; an empty one is absent.
    pub(crate) fn section(&self, stored: &[u8], offset: u64) -> Result<Option<Vec<u8>>, Error> {
        if stored.is_empty() {
            return Ok(None);
        }
        open_stored(stored.to_vec(), self.uid, offset, &self.path).map(Some)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.context.forget(self.id);
    }
}
