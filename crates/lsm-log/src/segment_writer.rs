//! [`SegmentWriter`]: appends records to one file. The write-ahead log owns one at a
//! time, the manifest one for its life. It never reads the file and never starts a
//! second one.
//!
//! 1. `stage` frames a record behind the ones staged before; nothing is written yet.
//! 2. `write_staged` writes them all with one write at the last good offset.
//! 3. If that fails, the offset stays. What the write left behind could still be taken
//!    for records, so the generation grows, and a mark of the new generation is tried
//!    over it at once: readers end at a record of a lower generation than the last.
//! 4. A failure other than a full disk, and any failure of a sync, latches.

use crate::record::{ALIGNMENT, HEADER_BYTES, RecordHeader, RecordKind, framed_len};
use crate::{Error, LogPosition, MAX_PAYLOAD_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader};
use lsm_vfs::{File, Fs, IoError};
use std::path::Path;
use std::sync::Arc;

/// A record with a longer payload is written from where it lies, not copied.
const COPY_LIMIT_BYTES: u64 = 256 << 10;

/// A staging buffer that has grown past this is given back.
const KEEP_BUFFER_BYTES: usize = 1 << 20;

/// Appends records to one file. Not thread-safe: it has one owner.
///
/// Invariants: bytes before `end` are whole records and never change; `written` and
/// `buffer` belong to the group that is being staged.
#[derive(Debug)]
pub struct SegmentWriter {
    file: Arc<dyn File>,
    header: SegmentHeader,
    /// After the last record that was written for good.
    end: u64,
    /// After what the group under way has written already: `end` but for large records.
    written: u64,
    /// The framed records that stand at `written`.
    buffer: Vec<u8>,
    generation: u8,
    synced_through: LogPosition,
    /// Some record of the group under way could not be staged.
    group_failed: bool,
    failure: Option<Arc<IoError>>,
}

impl SegmentWriter {
    /// Creates the file `path`, reserves `preallocate_bytes` for it (as far as there is
    /// room) and writes the header. Neither the file nor its name is synced.
    ///
    /// # Errors
    /// [`Error::Io`]; the file may be left behind.
    pub fn create(
        fs: &dyn Fs,
        path: &Path,
        header: SegmentHeader,
        preallocate_bytes: u64,
    ) -> Result<Self, Error> {
        let file = fs.create_new(path)?;
        reserve(&*file, preallocate_bytes)?;
        Self::begin(file, header)
    }

    /// Writes the header into a new file that holds nothing but zeros.
    ///
    /// # Errors
    /// [`Error::Io`]; the file must not be used again.
    pub(crate) fn begin(file: Arc<dyn File>, header: SegmentHeader) -> Result<Self, Error> {
        file.write_all_at(&header.encode(), 0)?;
        Ok(Self {
            file,
            header,
            end: SEGMENT_HEADER_BYTES,
            written: SEGMENT_HEADER_BYTES,
            buffer: Vec::new(),
            generation: 0,
            // Whatever lies before this file need not be durable yet.
            synced_through: LogPosition::ZERO,
            group_failed: false,
            failure: None,
        })
    }

    /// The header it was created with.
    #[must_use]
    pub const fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The offset after the last record written.
    #[must_use]
    pub const fn end_offset(&self) -> u64 {
        self.end
    }

    /// The log position after the last record written.
    #[must_use]
    pub const fn end(&self) -> LogPosition {
        self.header.position(self.end)
    }

    /// Bytes of records staged and not yet written for good.
    #[must_use]
    pub const fn staged_bytes(&self) -> u64 {
        self.written - self.end + self.buffer.len() as u64
    }

    /// The position through which the log is known to be durable.
    #[must_use]
    pub const fn synced_through(&self) -> LogPosition {
        self.synced_through
    }

    /// Tells it that somebody else has synced the log through `position`; later records
    /// carry it.
    pub fn note_synced(&mut self, position: LogPosition) {
        self.synced_through = self.synced_through.max(position);
    }

    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Whether it can tell no further failed write apart.
    pub(crate) const fn is_exhausted(&self) -> bool {
        self.generation == u8::MAX
    }

    /// Frames a record whose payload is `parts` one after the other. O(bytes); one copy,
    /// or none and a write at once when the payload is longer than 256 KiB.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`] leaves the group as it was. [`Error::SegmentExhausted`]
    /// after 255 failed writes. Any other error discards the group: `write_staged` will
    /// fail too.
    pub fn stage(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        self.stage_kind(RecordKind::Data, parts)
    }

    fn stage_kind(&mut self, kind: RecordKind, parts: &[&[u8]]) -> Result<(), Error> {
        self.check()?;
        if self.group_failed {
            return Err(Error::GroupDiscarded);
        }
        if self.is_exhausted() {
            return Err(Error::SegmentExhausted);
        }
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let Some(payload_len) = u32::try_from(bytes).ok().filter(|_| bytes <= MAX_PAYLOAD_BYTES) else {
            return Err(Error::RecordTooLarge { bytes });
        };
        let mut payload_crc = crc32fast::Hasher::new();
        for part in parts {
            payload_crc.update(part);
        }
        let header = RecordHeader {
            kind,
            generation: self.generation,
            payload_len,
            synced_through: self.synced_through,
            payload_crc: payload_crc.finalize(),
        };
        let offset = self.written + self.buffer.len() as u64;
        self.buffer.extend_from_slice(&header.encode(self.header.uid, offset));
        if bytes > COPY_LIMIT_BYTES {
            let through = offset + framed_len(bytes);
            return self.write_through(parts).map_err(|cause| {
                let error = self.discard(cause, through);
                self.group_failed = true;
                error
            });
        }
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
        self.buffer.resize(self.buffer.len().next_multiple_of(ALIGNMENT), 0);
        Ok(())
    }

    /// Writes the buffer, which ends with a record's header, and that record's payload.
    fn write_through(&mut self, parts: &[&[u8]]) -> Result<(), IoError> {
        const ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];
        let mut at = self.written;
        let payload_len: usize = parts.iter().map(|part| part.len()).sum();
        let pad = payload_len.next_multiple_of(ALIGNMENT) - payload_len;
        let (padding, _) = ZEROS.split_at(pad);
        for part in [self.buffer.as_slice()].iter().chain(parts).chain([&padding]) {
            if !part.is_empty() {
                self.file.write_all_at(part, at)?;
                at += part.len() as u64;
            }
        }
        self.written = at;
        self.buffer.clear();
        Ok(())
    }

    /// Writes all staged records with one write and returns the offset after them. They
    /// are not durable before the next sync. Without staged records it does nothing.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk is full: none of the records counts as written, and
    /// later ones may be. [`Error::Failed`] for any other failure, from then on.
    /// [`Error::GroupDiscarded`] when a record of the group could not be staged.
    pub fn write_staged(&mut self) -> Result<u64, Error> {
        self.check()?;
        if std::mem::take(&mut self.group_failed) {
            return Err(Error::GroupDiscarded);
        }
        if !self.buffer.is_empty()
            && let Err(cause) = self.file.write_all_at(&self.buffer, self.written)
        {
            return Err(self.discard(cause, self.written + self.buffer.len() as u64));
        }
        self.end = self.written + self.buffer.len() as u64;
        self.drop_group();
        Ok(self.end)
    }

    /// Forgets the group under way, after a failed `stage` or instead of writing it.
    pub fn discard_staged(&mut self) {
        self.group_failed = false;
        let (began_to_write, through) = (self.written > self.end, self.written);
        self.drop_group();
        if began_to_write && self.failure.is_none() {
            self.outdate(through);
        }
    }

    fn drop_group(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(KEEP_BUFFER_BYTES);
        self.written = self.end;
    }

    /// Drops the group after a failed write of it, which has left no byte behind `through`,
    /// and latches unless the disk was full.
    fn discard(&mut self, cause: IoError, through: u64) -> Error {
        self.drop_group();
        let disk_full = cause.is_disk_full();
        let cause = Arc::new(cause);
        if disk_full {
            self.outdate(through);
            Error::Io(cause)
        } else {
            self.failure = Some(Arc::clone(&cause));
            Error::Failed(cause)
        }
    }

    /// Makes what a failed write may have left between `end` and `through` tell from later
    /// records, and tries to cover it right away: with a mark, and zeros behind. A failure
    /// of that is not news: the next record outdates it as well.
    fn outdate(&mut self, through: u64) {
        self.generation = self.generation.saturating_add(1);
        if !self.is_exhausted() {
            let mark = self.mark_header().encode(self.header.uid, self.end);
            if self.file.write_all_at(&mark, self.end).is_ok() {
                self.end += framed_len(0);
                self.written = self.end;
            }
        }
        let _torn_end_at_worst = self.clear_through(through);
    }

    /// Zeros behind `end`, as far as the file goes, so that even strict recovery takes it
    /// for room that nobody has written to.
    fn clear_through(&self, through: u64) -> Result<(), IoError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut at = self.end;
        let through = through.min(self.file.len()?);
        while at < through {
            let (piece, _) = ZEROS.split_at((through - at).min(ZEROS.len() as u64) as usize);
            self.file.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn mark_header(&self) -> RecordHeader {
        RecordHeader {
            kind: RecordKind::Mark,
            generation: self.generation,
            payload_len: 0,
            synced_through: self.synced_through,
            payload_crc: crc32fast::hash(&[]),
        }
    }

    /// Makes all written records durable; later records say so. What lies in files before
    /// this one must be durable already.
    ///
    /// # Errors
    /// [`Error::Failed`], from then on.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.check()?;
        if let Err(cause) = self.file.sync_data() {
            return Err(self.latch(cause));
        }
        self.synced_through = self.synced_through.max(self.end());
        Ok(())
    }

    /// Ends the file cleanly: makes all records durable, then a mark that says so, and
    /// gives back the room behind it. A reader will then find damage in any of them.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Io`]; without the mark the file is as after a crash.
    pub fn mark(&mut self) -> Result<(), Error> {
        // The mark must not reach the disk before what it vouches for.
        self.sync()?;
        self.stage_kind(RecordKind::Closed, &[])?;
        self.write_staged()?;
        if let Err(cause) = self.file.set_len(self.end) {
            return Err(self.latch(cause));
        }
        self.sync()
    }

    fn latch(&mut self, cause: IoError) -> Error {
        let cause = Arc::new(cause);
        self.failure = Some(Arc::clone(&cause));
        Error::Failed(cause)
    }

    fn check(&self) -> Result<(), Error> {
        self.failure.as_ref().map_or(Ok(()), |cause| Err(Error::Failed(Arc::clone(cause))))
    }
}

/// Reserves room; on a disk too full for it, takes what comes.
pub(crate) fn reserve(file: &dyn File, bytes: u64) -> Result<(), IoError> {
    if bytes == 0 {
        return Ok(());
    }
    match file.preallocate(bytes) {
        // What was reserved by half is given back: small records may still fit.
        Err(cause) if cause.is_disk_full() => file.set_len(0),
        outcome => outcome,
    }
}

// A header alone must fit the smallest step of the file.
const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT));
