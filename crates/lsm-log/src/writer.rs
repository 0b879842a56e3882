//! [`LogWriter`]: the write-ahead log as its one owner, the holder of the commit lock,
//! sees it: a sequence of segments that looks endless. It never syncs while it appends;
//! that is [`GroupSync`]'s, outside the commit lock.

use crate::prepare::Prepared;
use crate::{
    Error, GroupSync, LOG_MAGIC, LogPosition, Recovered, SEGMENT_HEADER_BYTES, SegmentEnd, SegmentHeader,
    SegmentIds, SegmentInfo, SegmentPreparer, SegmentWriter,
};
use lsm_vfs::Fs;
use std::path::PathBuf;
use std::sync::Arc;

/// How a log is written.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// The length of a segment; only a group of records that is longer, or that was
    /// begun before, makes it longer.
    pub segment_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 32 << 20 }
    }
}

/// Appends to the log. Not thread-safe: it has one owner.
///
/// Invariants: the numbers of segments ascend; a segment's header names the one before
/// and where that ended, so nothing behind that place ever counts again.
#[derive(Debug)]
pub struct LogWriter {
    preparer: SegmentPreparer,
    options: LogOptions,
    current: SegmentWriter,
    /// The segments before the current one that nobody has forgotten, oldest first.
    older: Vec<SegmentInfo>,
    /// Numbers of segments that recovery discarded and nobody has removed.
    discarded: Vec<u64>,
    sync: Arc<GroupSync>,
    /// The segment for whose successor a file was asked for.
    asked_after: u64,
    /// The offset in the current segment from which room was asked for last.
    asked_room: u64,
}

/// Room is made ready in pieces of this many bytes, each when half of the one before it
/// is written.
const ROOM_BYTES: u64 = 1 << 20;

impl LogWriter {
    /// Goes on after what was recovered (`Recovered::default()` for a new log): makes
    /// that durable, then a new segment in `dir` that names where the old one ended.
    /// Once it returns, `recovered.discarded_segments` may be removed.
    ///
    /// # Errors
    /// [`Error::Io`]; recover again. [`Error::NumberNotAscending`].
    pub fn start(
        fs: Arc<dyn Fs>,
        dir: PathBuf,
        options: LogOptions,
        ids: SegmentIds,
        recovered: &Recovered,
    ) -> Result<Self, Error> {
        recovered.make_durable(&*fs, &dir)?;
        let preparer = SegmentPreparer::new(fs, dir, options.segment_bytes, ids);
        let prepared = preparer.take(recovered.highest_number)?;
        let mut current = begin(prepared, recovered.end, recovered.last_segment)?;
        current.sync()?;
        let sync = Arc::new(GroupSync::new(Arc::clone(current.file()), recovered.end));
        let older = recovered.segments.clone();
        let discarded = recovered.discarded_segments.clone();
        Ok(Self { preparer, options, current, older, discarded, sync, asked_after: 0, asked_room: 0 })
    }

    /// The handle through which other threads make the log durable.
    #[must_use]
    pub const fn group_sync(&self) -> &Arc<GroupSync> {
        &self.sync
    }

    /// The handle through which a background job makes the next segment ready.
    #[must_use]
    pub fn preparer(&self) -> SegmentPreparer {
        self.preparer.clone()
    }

    /// Whether the background should be told to
    /// [`prepare_wished`](SegmentPreparer::prepare_wished): once for each need. To be asked
    /// after each write; two comparisons.
    pub fn wants_preparing(&mut self) -> bool {
        let (number, end) = (self.current.header().number, self.current.end_offset());
        let wants_file = end * 2 > self.options.segment_bytes && self.asked_after != number;
        if wants_file {
            // In good time, or a commit would have to make the file.
            self.asked_after = number;
            self.preparer.wish_for_file();
        }
        let next_room = (end / ROOM_BYTES + 1) * ROOM_BYTES;
        let wants_room = next_room - end < ROOM_BYTES / 2 && self.asked_room != next_room;
        if wants_room {
            self.asked_room = next_room;
            self.preparer.wish_for_room(self.current.file(), next_room);
        }
        wants_file || wants_room
    }

    /// The position after the last record written.
    #[must_use]
    pub const fn end(&self) -> LogPosition {
        self.current.end()
    }

    /// The segment that is being written; its bytes are those used.
    #[must_use]
    pub fn current_segment(&self) -> SegmentInfo {
        SegmentInfo {
            number: self.current.header().number,
            base: self.current.header().base,
            end: self.current.end(),
            bytes: self.current.end_offset(),
        }
    }

    /// All segments that have not been forgotten, oldest first, the current one last.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let mut segments = self.older.clone();
        segments.push(self.current_segment());
        segments
    }

    /// The segments below `number` that may be removed, in order: by
    /// [`remove_segments`](crate::remove_segments), and then
    /// [`forget_segments`](Self::forget_segments). Those that recovery discarded are among
    /// them. A segment is held back until the header of a later one is durable, or a power
    /// cut could leave no log at all; [`GroupSync::sync_begun`] brings that about.
    #[must_use]
    pub fn releasable_below(&self, number: u64) -> Vec<u64> {
        let begun = self.sync.begun_durably();
        self.older_where(|segment| segment.number < number && segment.base < begun)
    }

    /// As [`releasable_below`](Self::releasable_below) for a caller who has made durable
    /// elsewhere where the log begins, and will recover with
    /// [`oldest_needed`](crate::RecoverOptions::oldest_needed) and
    /// [`needed_from`](crate::RecoverOptions::needed_from): nothing is held back, and what
    /// was never synced need never reach the disk.
    #[must_use]
    pub fn removable_below(&self, number: u64) -> Vec<u64> {
        self.older_where(|segment| segment.number < number)
    }

    fn older_where(&self, may_go: impl Fn(&SegmentInfo) -> bool) -> Vec<u64> {
        let older = self.older.iter().filter(|segment| may_go(segment)).map(|segment| segment.number);
        // Left behind when their neighbours are gone, discarded ones would look like a log.
        let mut numbers: Vec<u64> = older.chain(self.discarded.iter().copied()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Drops segments that have been removed from [`segments`](Self::segments). After a
    /// failed removal do not call it: what stays must be removed before any later one.
    /// The current one is never dropped.
    pub fn forget_segments(&mut self, numbers: &[u64]) {
        self.older.retain(|segment| !numbers.contains(&segment.number));
        self.sync.forget_before(self.older.first().map_or(self.current.header().base, |oldest| oldest.base));
        self.discarded.retain(|number| !numbers.contains(number));
    }

    /// Frames a record behind those staged before, in a new segment when this one is
    /// full and nothing is staged.
    ///
    /// # Errors
    /// As [`SegmentWriter::stage`]; those of a new segment's creation. After any error
    /// but [`Error::RecordTooLarge`] drop the group: [`discard_staged`](Self::discard_staged).
    pub fn stage(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        self.sync.check()?;
        if self.current.staged_bytes() == 0 {
            let bytes: usize = parts.iter().map(|part| part.len()).sum();
            let after = self.current.end_offset() + crate::record::framed_len(bytes as u64);
            let is_empty = self.current.end_offset() == SEGMENT_HEADER_BYTES;
            if (after > self.options.segment_bytes && !is_empty) || self.current.is_exhausted() {
                self.roll()?;
            }
            self.current.note_synced(self.sync.synced_through());
        }
        let outcome = self.current.stage(parts);
        self.latch(outcome)
    }

    /// Writes all staged records with one write and returns the position after them,
    /// from which on [`GroupSync::sync_through`] can make them durable.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk is full: nothing was written and later groups may be.
    /// [`Error::Failed`]: the log takes no more writes. [`Error::GroupDiscarded`].
    pub fn write_staged(&mut self) -> Result<LogPosition, Error> {
        if let Err(error) = self.sync.check() {
            self.discard_staged();
            return Err(error);
        }
        let outcome = self.current.write_staged();
        // Also after a failure: the segment may have grown by a mark.
        let end = self.current.end();
        if outcome.is_ok() {
            self.sync.wrote(end);
        }
        self.latch(outcome).map(|_| end)
    }

    /// Forgets the staged records.
    pub fn discard_staged(&mut self) {
        self.current.discard_staged();
    }

    /// Goes on in a new segment, so that the current one can be released by and by. Does
    /// nothing while records are staged or the current one has none.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk is full, and [`Error::NumberNotAscending`]: the log goes
    /// on in the current segment. [`Error::Failed`] for any other failure.
    pub fn roll(&mut self) -> Result<(), Error> {
        self.sync.check()?;
        let is_empty = self.current.end_offset() == SEGMENT_HEADER_BYTES;
        if self.current.staged_bytes() > 0 || (is_empty && !self.current.is_exhausted()) {
            return Ok(());
        }
        let outcome = self.try_roll();
        self.latch(outcome.map_err(|error| match error {
            Error::Io(cause) if !cause.is_disk_full() => Error::Failed(cause),
            other => other,
        }))
    }

    fn try_roll(&mut self) -> Result<(), Error> {
        let finished = self.current_segment();
        let prepared = self.preparer.take(finished.number)?;
        let predecessor = SegmentEnd { number: finished.number, offset: self.current.end_offset() };
        let unused = Prepared { id: prepared.id, file: Arc::clone(&prepared.file) };
        let next = match begin(prepared, finished.end, Some(predecessor)) {
            Ok(next) => next,
            Err(error) => {
                // Its header may stand there in part; another file will do.
                self.preparer.remove(&unused);
                return Err(error);
            }
        };
        self.sync.add_segment(Arc::clone(next.file()), finished.end);
        self.older.push(finished);
        self.current = next;
        self.asked_room = 0;
        Ok(())
    }

    /// Ends the log cleanly: makes all of it durable, and says so in a last mark.
    ///
    /// # Errors
    /// [`Error::Failed`]; the log is as after a crash.
    pub fn close(mut self) -> Result<(), Error> {
        self.finish()
    }

    /// As [`close`](Self::close), for an owner who cannot give the log away. Nothing may
    /// be appended afterwards.
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub fn finish(&mut self) -> Result<(), Error> {
        self.discard_staged();
        self.sync.wrote(self.current.end());
        self.preparer.clear();
        self.sync.sync_through(self.current.end())?;
        self.current.note_synced(self.sync.synced_through());
        self.current.mark()
    }

    /// Tells everyone who shares the log when it has just failed.
    fn latch<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Failed(cause)) = &outcome {
            self.sync.fail(Arc::clone(cause));
        }
        outcome
    }
}

fn begin(
    prepared: Prepared,
    base: LogPosition,
    predecessor: Option<SegmentEnd>,
) -> Result<SegmentWriter, Error> {
    let Prepared { id, file } = prepared;
    let header = SegmentHeader { magic: LOG_MAGIC, uid: id.uid, number: id.number, base, predecessor };
    SegmentWriter::begin(file, header)
}
