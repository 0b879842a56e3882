//! [`Window`]: a file read forwards in large pieces. Called by the scanner only; it
//! never holds more of the file than a caller asks for at once, or one piece.
#![deny(clippy::indexing_slicing)]

use crate::record::ALIGNMENT;
use lsm_vfs::{File, IoError};

/// How much is read at once, in bytes.
const PIECE_BYTES: u64 = 256 << 10;

/// The part of a file that is in memory.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    file: &'a dyn File,
    /// Bytes at and after it do not exist for the reader.
    limit: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// Reads `file` up to `limit`, which must not lie past its end.
    pub(crate) const fn new(file: &'a dyn File, limit: u64) -> Self {
        Self { file, limit, start: 0, bytes: Vec::new() }
    }

    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// The `len` bytes at `offset`; `None` when they reach past the limit.
    pub(crate) fn get(&mut self, offset: u64, len: u64) -> Result<Option<&[u8]>, IoError> {
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.limit) else {
            return Ok(None);
        };
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            self.load(offset, len)?;
        }
        let from = (offset - self.start) as usize;
        Ok(self.bytes.get(from..from + len as usize))
    }

    /// What is in memory from `offset` on, at least one byte; nothing at the limit.
    pub(crate) fn rest(&mut self, offset: u64) -> Result<&[u8], IoError> {
        if offset >= self.limit {
            return Ok(&[]);
        }
        self.get(offset, 1)?;
        Ok(self.bytes.get((offset - self.start) as usize..).unwrap_or_default())
    }

    /// `offset`, or a place behind it before which there are only zeros that the file system
    /// knows to be such: room that was reserved and never written.
    pub(crate) fn behind_hole(&self, offset: u64) -> u64 {
        let is_loaded = self.start <= offset && offset < self.start + self.bytes.len() as u64;
        if is_loaded {
            return offset;
        }
        let data = self.file.next_data(offset).min(self.limit);
        offset.max(data - data % ALIGNMENT as u64)
    }

    fn load(&mut self, offset: u64, len: u64) -> Result<(), IoError> {
        // Whole words, unless the file ends in the middle of one.
        let whole = len.max(PIECE_BYTES).checked_next_multiple_of(ALIGNMENT as u64).unwrap_or(len);
        let wanted = whole.min(self.limit - offset) as usize;
        // Were the read to fail half way, nothing of the old window may be believed.
        self.bytes.clear();
        self.start = offset;
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(wanted, 0);
        self.file.read_exact_at(&mut bytes, offset)?;
        self.bytes = bytes;
        Ok(())
    }
}
