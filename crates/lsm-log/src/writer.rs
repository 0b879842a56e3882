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
    /// The segment that is being written; `None` before the log has begun to be.
    current: Option<SegmentWriter>,
    /// What the log goes on from, until it is begun.
    resting: Option<Recovered>,
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

/// Room is made ready in pieces of this many bytes, each when an eighth of the one before it is
/// written: early, since the rest is full in two milliseconds, and who makes it ready may have
/// to wait for a processor. The second one of a segment when half of the first is written, since
/// many a log never comes so far.
const ROOM_BYTES: u64 = 1 << 20;

impl LogWriter {
    /// Goes on after what was recovered (`Recovered::default()` for a new log): makes
    /// that durable, then a new segment in `dir` that names where the old one ended.
    /// Once it returns, `recovered.discarded_segments` may be removed. Room that the old
    /// segments reserve is given back by [`SegmentPreparer::prepare_wished`].
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
        let mut log = Self::resting(fs, dir, options, ids, recovered);
        log.try_begin()?;
        Ok(log)
    }

    /// As [`start`](Self::start), for a log that was closed and is not written to yet:
    /// touches no file before [`begin`](Self::begin), which the first record brings about.
    /// Until then the log on disk stays closed, so whoever changes something that a closed
    /// log vouches for calls `begin` before.
    #[must_use]
    pub fn resting(
        fs: Arc<dyn Fs>,
        dir: PathBuf,
        options: LogOptions,
        ids: SegmentIds,
        recovered: &Recovered,
    ) -> Self {
        Self {
            preparer: SegmentPreparer::new(fs, dir, options.segment_bytes, ids),
            options,
            current: None,
            resting: Some(recovered.clone()),
            older: recovered.segments.clone(),
            discarded: recovered.discarded_segments.clone(),
            sync: Arc::new(GroupSync::resting(recovered.end)),
            asked_after: 0,
            asked_room: 0,
        }
    }

    /// Whether there is a segment to write to.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.current.is_some()
    }

    /// Begins to write, unless that was done: makes durable what was recovered, then a
    /// segment that names where the old one ended. Waits for the disk.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk is full, and [`Error::NumberNotAscending`]: the log is as
    /// it was. [`Error::Failed`] for any other failure.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.sync.check()?;
        let outcome = self.try_begin();
        self.latch(outcome.map_err(fatal))
    }

    fn try_begin(&mut self) -> Result<(), Error> {
        let Some(recovered) = &self.resting else { return Ok(()) };
        recovered.make_durable(self.preparer.fs(), self.preparer.dir())?;
        let prepared = self.preparer.take(recovered.highest_number)?;
        let unused = Prepared { id: prepared.id, file: Arc::clone(&prepared.file) };
        let begun = begin(prepared, recovered.end, recovered.last_segment).and_then(|mut current| {
            current.sync()?;
            Ok(current)
        });
        let current = begun.inspect_err(|_| self.preparer.remove(&unused))?;
        self.sync.begin(Arc::clone(current.file()), recovered.end);
        // Whoever prepares what comes next does this in passing.
        self.preparer.wish_for_room(current.file(), 0);
        self.current = Some(current);
        if let Some(recovered) = self.resting.take() {
            self.preparer.wish_for_less(recovered);
        }
        Ok(())
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
        let Some(current) = &self.current else { return false };
        let (number, end) = (current.header().number, current.end_offset());
        let wants_file = end * 2 > self.options.segment_bytes && self.asked_after != number;
        if wants_file {
            // In good time, or a commit would have to make the file.
            self.asked_after = number;
            self.preparer.wish_for_file();
        }
        let next_room = (end / ROOM_BYTES + 1) * ROOM_BYTES;
        let lead = if end < ROOM_BYTES { ROOM_BYTES / 2 } else { ROOM_BYTES / 8 * 7 };
        let wants_room = next_room - end <= lead && self.asked_room != next_room;
        if wants_room {
            self.asked_room = next_room;
            self.preparer.wish_for_room(current.file(), next_room);
        }
        wants_file || wants_room
    }

    /// The position after the last record written.
    #[must_use]
    pub fn end(&self) -> LogPosition {
        match (&self.current, &self.resting) {
            (Some(current), _) => current.end(),
            (None, Some(recovered)) => recovered.end,
            (None, None) => self.sync.written_through(),
        }
    }

    /// The segment that is being written, once the log has begun to be; its bytes are
    /// those used.
    #[must_use]
    pub fn current_segment(&self) -> Option<SegmentInfo> {
        self.current.as_ref().map(|current| SegmentInfo {
            number: current.header().number,
            base: current.header().base,
            end: current.end(),
            bytes: current.end_offset(),
        })
    }

    /// All segments that have not been forgotten, oldest first, the current one last.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let mut segments = self.older.clone();
        segments.extend(self.current_segment());
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
        if let Some(oldest) = self.older.first().copied().or(self.current_segment()) {
            self.sync.forget_before(oldest.base);
        }
        self.discarded.retain(|number| !numbers.contains(number));
    }

    /// Frames a record behind those staged before, in a new segment when this one is
    /// full and nothing is staged. The first one [begins](Self::begin) the log.
    ///
    /// # Errors
    /// As [`SegmentWriter::stage`]; those of a new segment's creation and of `begin`. After any error
    /// but [`Error::RecordTooLarge`] drop the group: [`discard_staged`](Self::discard_staged).
    pub fn stage(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        self.sync.check()?;
        match &self.current {
            None => self.begin()?,
            Some(current) if current.staged_bytes() == 0 => {
                let bytes: usize = parts.iter().map(|part| part.len()).sum();
                let after = current.end_offset() + crate::record::framed_len(bytes as u64);
                let is_empty = current.end_offset() == SEGMENT_HEADER_BYTES;
                if (after > self.options.segment_bytes && !is_empty) || current.is_exhausted() {
                    self.roll()?;
                }
            }
            Some(_) => {}
        }
        let Some(current) = &mut self.current else { return Err(Error::GroupDiscarded) };
        if current.staged_bytes() == 0 {
            current.note_synced(self.sync.synced_through());
        }
        let outcome = current.stage(parts);
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
        // Nothing can be staged in a log that has not begun.
        let Some(current) = &mut self.current else { return Ok(self.end()) };
        let outcome = current.write_staged();
        // Also after a failure: the segment may have grown by a mark.
        let end = current.end();
        if outcome.is_ok() {
            self.sync.wrote(end);
        }
        self.latch(outcome).map(|_| end)
    }

    /// Forgets the staged records.
    pub fn discard_staged(&mut self) {
        if let Some(current) = &mut self.current {
            current.discard_staged();
        }
    }

    /// Goes on in a new segment, so that the current one can be released by and by. Does
    /// nothing while records are staged or the current one has none, or there is none.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk is full, and [`Error::NumberNotAscending`]: the log goes
    /// on in the current segment. [`Error::Failed`] for any other failure.
    pub fn roll(&mut self) -> Result<(), Error> {
        self.sync.check()?;
        let Some(current) = &self.current else { return Ok(()) };
        let is_empty = current.end_offset() == SEGMENT_HEADER_BYTES;
        if current.staged_bytes() > 0 || (is_empty && !current.is_exhausted()) {
            return Ok(());
        }
        let outcome = self.try_roll();
        self.latch(outcome.map_err(fatal))
    }

    fn try_roll(&mut self) -> Result<(), Error> {
        let Some(finished) = self.current_segment() else { return Ok(()) };
        let prepared = self.preparer.take(finished.number)?;
        // Its bytes are those used, so they end where its records do.
        let predecessor = SegmentEnd { number: finished.number, offset: finished.bytes };
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
        if let Some(full) = self.current.replace(next) {
            // Whoever prepares what comes next does this in passing.
            self.preparer.note_full(full.file());
        }
        self.asked_room = 0;
        Ok(())
    }

    /// Ends the log cleanly: makes all of it durable, and says so in a last mark. One that
    /// was closed and has not begun stays as it is.
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
        self.preparer.clear();
        let Some(current) = &mut self.current else { return Ok(()) };
        self.sync.wrote(current.end());
        self.sync.sync_through(current.end())?;
        current.note_synced(self.sync.synced_through());
        current.mark()
    }

    /// Tells everyone who shares the log when it has just failed.
    fn latch<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Failed(cause)) = &outcome {
            self.sync.fail(Arc::clone(cause));
        }
        outcome
    }
}

/// What a failure to begin a segment means: only a full disk passes by itself.
fn fatal(error: Error) -> Error {
    match error {
        Error::Io(cause) if !cause.is_disk_full() => Error::Failed(cause),
        other => other,
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
