//! Recovery: reads the records of a log after a clean end or a crash, tells tearing
//! from damage, and makes what it found durable. Called once when a database opens;
//! changes nothing but in [`Recovered::make_durable`].
//!
//! Let D be how far the log is known durable: the greatest mark in any valid record,
//! also in those behind damage, or the caller's own. Where a valid record should stand
//! below D and does not, bytes were damaged that had been synced. At or above D they
//! were never synced and power loss may have kept any part of them: the log ends there.
#![deny(clippy::indexing_slicing)]

use crate::chain::{Chain, OpenSegment};
use crate::walk::{Damage, Walk};
use crate::{Error, LOG_MAGIC, LogPosition, SEGMENT_HEADER_BYTES, SegmentEnd, segment_path};
use lsm_vfs::{Corruption, Fs};
use std::path::{Path, PathBuf};

/// What recovery accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecoveryMode {
    /// Nothing but a log that ends behind a whole record.
    Strict,
    /// A torn end, which is cut off and reported. Damage to what was durable is an error.
    #[default]
    TornTail,
    /// Anything: every record that can be read is, also behind damage.
    Salvage,
}

/// How to recover.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoverOptions {
    /// What to accept.
    pub mode: RecoveryMode,
    /// How far the log is known durable from elsewhere.
    pub durable_through: LogPosition,
    /// Segments with lower numbers are not read, and this one and later ones must be
    /// there. To be known durably before any of the lower ones is removed: power loss may
    /// bring a removed segment back without its neighbours. 0: not known.
    pub oldest_needed: u64,
    /// The position of the oldest needed segment's first record. Nothing before it needs
    /// to be there, nor that segment's header as long as nothing behind it was durable.
    pub needed_from: LogPosition,
}

/// A part of the log that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file with the first byte left out.
    pub file: PathBuf,
    /// Where that is.
    pub offset: u64,
    /// How many bytes were left out there and in later files, not counting trailing zeros.
    pub discarded_bytes: u64,
    /// How many of the records left out could be read.
    pub discarded_records: u64,
    /// What was wrong there.
    pub reason: String,
}

/// A segment that holds records of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The number in its name.
    pub number: u64,
    /// The position of its first record.
    pub base: LogPosition,
    /// The position after its last record.
    pub end: LogPosition,
    /// The length of its file.
    pub bytes: u64,
}

/// What recovery found.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Where the log goes on: after the last record, and never below what was durable.
    pub end: LogPosition,
    /// The last segment and the offset where its records end; `None` for no segment.
    pub last_segment: Option<SegmentEnd>,
    /// D: how far the log was known durable.
    pub durable_through: LogPosition,
    /// The segments of the log, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// Files that are no part of the log, to be removed once the next segment is durable.
    pub discarded_segments: Vec<u64>,
    /// What was cut off the end.
    pub cut: Option<Cut>,
    /// What salvage passed over.
    pub skipped: Vec<Cut>,
    /// How many records were read.
    pub records: u64,
    /// Whether the log was closed: it ends with a mark that vouches for all of it.
    pub closed_cleanly: bool,
    /// The greatest number among all segments, discarded ones included.
    pub highest_number: u64,
}

/// What is called with each payload and the position after its record.
pub type OnRecord<'f, E> = &'f mut (dyn FnMut(LogPosition, &[u8]) -> Result<(), E> + 'f);

/// Reads the log of `dir`, whose segments are `numbers` in any order, and hands each
/// payload to `on_record` with the position after it, in the order of writing.
///
/// Memory is bounded by the
/// longest record, time linear in the bytes. After an error some records may have been
/// handed out.
///
/// # Errors
/// [`Error::Corruption`] as the mode has it, [`Error::Io`], [`Error::Incompatible`], and
/// whatever `on_record` returns.
pub fn recover<E: From<Error>>(
    fs: &dyn Fs,
    dir: &Path,
    numbers: &[u64],
    options: RecoverOptions,
    on_record: OnRecord<'_, E>,
) -> Result<Recovered, E> {
    let chain = Chain::open(fs, dir, numbers, LOG_MAGIC, &options)?;
    let mut walk = Walk::new(options.mode, options.needed_from, on_record);
    walk.segments(&chain.log)?;
    let gap = chain.beyond.first().map(|segment| gap_before(dir, segment, walk.end()));
    if let Some(gap) = gap {
        walk.damaged(gap);
    }
    walk.segments(&chain.beyond)?;
    let newest = chain.log.iter().chain(&chain.beyond).map(|segment| segment.header.number).max();
    let never_begun = chain.dead.iter().find(|&&number| Some(number) > newest);
    let never_begun = never_begun.map(|&number| segment_path(dir, number));
    let outcome = walk.finish(dir, never_begun.as_deref(), options.durable_through)?;

    let all = || chain.log.iter().chain(&chain.beyond);
    // In salvage the log goes on behind damage, else it ends with the segment of the cut.
    let kept = outcome.last.map_or(0, |(index, _)| index + 1);
    let infos = all().take(kept).enumerate().map(|(index, segment)| {
        let last_offset = outcome.last.filter(|(last, _)| *last == index).map(|(_, offset)| offset);
        let offset = last_offset.or(segment.named_end).unwrap_or(segment.len_bytes);
        let (number, base) = (segment.header.number, segment.header.base);
        SegmentInfo { number, base, end: segment.header.position(offset), bytes: segment.len_bytes }
    });
    let segments: Vec<_> = infos.collect();
    let mut discarded_segments = chain.dead.clone();
    discarded_segments.extend(all().skip(kept).map(|segment| segment.header.number));
    discarded_segments.sort_unstable();
    let unreadable = chain.unreadable.into_iter().map(|corruption| Cut {
        file: corruption.file,
        offset: corruption.offset,
        discarded_bytes: 0,
        discarded_records: 0,
        reason: corruption.got,
    });
    Ok(Recovered {
        end: outcome.end,
        last_segment: outcome
            .last
            .zip(segments.last())
            .map(|((_, offset), info)| SegmentEnd { number: info.number, offset }),
        durable_through: outcome.durable_through,
        segments,
        discarded_segments,
        cut: outcome.cut,
        skipped: outcome.skipped.into_iter().chain(unreadable).collect(),
        records: outcome.records,
        closed_cleanly: outcome.closed_cleanly,
        highest_number: chain.highest_number,
    })
}

/// The damage that a missing segment is.
fn gap_before(dir: &Path, segment: &OpenSegment, position: LogPosition) -> Damage {
    let missing = segment.header.predecessor.map_or(0, |end| end.number);
    let named_by = segment.header.number;
    Damage {
        file: segment_path(dir, missing),
        offset: 0,
        position,
        reason: format!("no segment, although segment {named_by} goes on from it"),
    }
}

impl Recovered {
    /// Makes all that was recovered durable. Until then nothing may rely on it: it may
    /// exist in the page cache only, even where an earlier sync of the same file failed
    /// and a new one would succeed without writing. What is not known durable is
    /// therefore written once more over itself. Safe to repeat, also after a crash, and
    /// beside somebody who reads.
    ///
    /// # Errors
    /// [`Error::Io`]; recover again.
    pub fn make_durable(&self, fs: &dyn Fs, dir: &Path) -> Result<(), Error> {
        const PIECE_BYTES: u64 = 256 << 10;
        let mut piece = Vec::new();
        for segment in &self.segments {
            let known = self.durable_through;
            if segment.base < known && segment.end <= known {
                continue;
            }
            let file = fs.open_write(&segment_path(dir, segment.number))?;
            let offset_of = |position: LogPosition| SEGMENT_HEADER_BYTES + (position.0 - segment.base.0);
            let mut at = if segment.base < known { offset_of(known) } else { 0 };
            let end = offset_of(segment.end).min(segment.bytes);
            while at < end {
                let len = (end - at).min(PIECE_BYTES);
                piece.resize(len as usize, 0);
                file.read_exact_at(&mut piece, at)?;
                file.write_all_at(&piece, at)?;
                at += len;
            }
            file.sync_data()?;
        }
        fs.sync_dir(dir)?;
        Ok(())
    }

    /// Gives back the room that is reserved behind the records, but for what salvage may
    /// want to look at. Called once the log goes on elsewhere and nobody recovers from it;
    /// what a crash undoes of it is given back after the next one.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing depends on it.
    pub(crate) fn give_back_room(&self, fs: &dyn Fs, dir: &Path) -> Result<(), Error> {
        let mut outcome = Ok(());
        for segment in self.segments.iter().filter(|_| self.skipped.is_empty()) {
            let end = SEGMENT_HEADER_BYTES + (segment.end.0 - segment.base.0);
            if segment.bytes > end {
                // It may be gone by now.
                let file = fs.open_write(&segment_path(dir, segment.number));
                outcome = file.and_then(|file| file.set_len(end)).and(outcome);
            }
        }
        Ok(outcome?)
    }
}

/// The corruption that a log is which ends before what was durable.
pub(crate) fn ends_early(file: &Path, offset: u64, durable_through: LogPosition, got: &str) -> Corruption {
    Corruption::new(file, offset, format!("a record, as the log was durable through {durable_through}"), got)
}
