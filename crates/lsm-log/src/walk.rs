//! [`Walk`]: one pass over the records of some segments, which hands them out up to the
//! first damage and then goes on looking for marks; in salvage it goes on handing out.
//! Called by recovery and by the reader of a single file, which give it the segments.
#![deny(clippy::indexing_slicing)]

use crate::chain::OpenSegment;
use crate::record::{Bad, RecordKind};
use crate::recover::ends_early;
use crate::scan::{Scanner, Step};
use crate::{Cut, Error, LogPosition, OnRecord, RecoveryMode, SEGMENT_HEADER_BYTES};
use lsm_vfs::Corruption;
use std::path::{Path, PathBuf};

/// A place where a record should stand and does not.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) file: PathBuf,
    pub(crate) offset: u64,
    pub(crate) position: LogPosition,
    pub(crate) reason: String,
}

fn damage_at(segment: &OpenSegment, offset: u64, bad: Bad) -> Damage {
    let position = segment.header.position(offset);
    Damage { file: segment.path.clone(), offset, position, reason: bad.to_string() }
}

/// What a walk came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: LogPosition,
    /// The last segment that counts, as an index over all that were walked, and the offset
    /// after its last record.
    pub(crate) last: Option<(usize, u64)>,
    pub(crate) durable_through: LogPosition,
    pub(crate) cut: Option<Cut>,
    pub(crate) skipped: Vec<Cut>,
    pub(crate) records: u64,
    pub(crate) closed_cleanly: bool,
}

/// A pass over segments.
pub(crate) struct Walk<'f, E> {
    mode: RecoveryMode,
    on_record: OnRecord<'f, E>,
    /// How many segments were begun.
    segments: usize,
    last: Option<(usize, u64)>,
    last_file: PathBuf,
    end: LogPosition,
    /// The greatest end before the segment that is walked: salvage takes segments in
    /// whatever order their bases are.
    highest: LogPosition,
    /// The greatest mark of any valid record.
    mark: LogPosition,
    /// The first damage, and later ones in salvage, with what was left out behind each.
    damage: Vec<(Damage, Cut)>,
    records: u64,
    /// The mark of the last record, if that was a record of the log.
    last_mark: Option<LogPosition>,
}

impl<'f, E: From<Error>> Walk<'f, E> {
    pub(crate) fn new(mode: RecoveryMode, begin: LogPosition, on_record: OnRecord<'f, E>) -> Self {
        Self {
            mode,
            on_record,
            segments: 0,
            last: None,
            last_file: PathBuf::new(),
            end: begin,
            highest: LogPosition::ZERO,
            mark: LogPosition::ZERO,
            damage: Vec::new(),
            records: 0,
            last_mark: None,
        }
    }

    /// The position after the last record that counts.
    pub(crate) const fn end(&self) -> LogPosition {
        self.end
    }

    /// Whether records still count.
    fn delivers(&self) -> bool {
        self.damage.is_empty() || self.mode == RecoveryMode::Salvage
    }

    /// Notes damage found by the caller.
    pub(crate) fn damaged(&mut self, damage: Damage) {
        if self.delivers() {
            let cut = Cut {
                file: damage.file.clone(),
                offset: damage.offset,
                discarded_bytes: 0,
                discarded_records: 0,
                reason: damage.reason.clone(),
            };
            self.damage.push((damage, cut));
        }
    }

    /// Counts what is left out behind the last damage.
    fn left_out(&mut self, bytes: u64, records: u64) {
        if let Some((_, cut)) = self.damage.last_mut() {
            cut.discarded_bytes += bytes;
            cut.discarded_records += records;
        }
    }

    /// Walks further segments, oldest first.
    pub(crate) fn segments(&mut self, segments: &[OpenSegment]) -> Result<(), E> {
        for segment in segments {
            self.segment(segment)?;
        }
        Ok(())
    }

    fn segment(&mut self, segment: &OpenSegment) -> Result<(), E> {
        let index = self.segments;
        self.segments += 1;
        if self.delivers() {
            if segment.header.base < self.end {
                let (expected, got) = (format!("a base of at least {}", self.end), segment.header.base);
                let wrong = Corruption::new(&segment.path, 32, expected, got.to_string());
                if self.mode != RecoveryMode::Salvage {
                    return Err(Error::Corruption(wrong).into());
                }
                self.damaged(Damage {
                    file: wrong.file,
                    offset: wrong.offset,
                    position: segment.header.base,
                    reason: format!("a base of {got}, below the records before it"),
                });
            }
            self.highest = self.highest.max(self.end);
            self.end = segment.header.base;
            self.last = Some((index, SEGMENT_HEADER_BYTES));
            self.last_file.clone_from(&segment.path);
        }
        let limit = segment.named_end.unwrap_or(u64::MAX).min(segment.len_bytes);
        let mut scanner = Scanner::new(&*segment.file, &segment.header, limit);
        loop {
            let offset = scanner.offset();
            let (header, payload) = match scanner.step().map_err(Error::from)? {
                Step::Record(header, payload) => (header, payload),
                Step::End if offset >= limit => {
                    if segment.named_end.is_some_and(|end| end > limit) {
                        self.damaged(damage_at(segment, offset, Bad::CutShort));
                    }
                    return Ok(());
                }
                // Zeros are reserved room, but not where a successor says that records are.
                Step::End => {
                    if segment.named_end.is_none() && scanner.only_zeros_left().map_err(Error::from)? {
                        return Ok(());
                    }
                    self.bad(segment, &mut scanner, Bad::Missing)?;
                    continue;
                }
                Step::Bad(bad) => {
                    self.bad(segment, &mut scanner, bad)?;
                    continue;
                }
            };
            self.mark = self.mark.max(header.synced_through);
            if !self.delivers() {
                self.left_out(header.framed_len(), 1);
                continue;
            }
            let after = (offset + header.framed_len()).min(limit);
            self.end = segment.header.position(after);
            self.last = Some((index, after));
            match header.kind {
                RecordKind::Data => {
                    self.records += 1;
                    self.last_mark = None;
                    (self.on_record)(self.end, payload)?;
                }
                // Made when a write has failed: it vouches for what is before, not for the end.
                RecordKind::Mark => self.last_mark = None,
                RecordKind::Closed => self.last_mark = Some(header.synced_through),
            }
        }
    }

    /// Notes that no record stands here and goes on to the next one.
    fn bad(&mut self, segment: &OpenSegment, scanner: &mut Scanner<'_>, bad: Bad) -> Result<(), E> {
        let offset = scanner.offset();
        self.damaged(damage_at(segment, offset, bad));
        let mut data_end = offset;
        scanner.resync(&mut data_end).map_err(Error::from)?;
        self.left_out(data_end - offset, 0);
        Ok(())
    }

    /// Judges what was found. `place` is blamed when there is no segment at all, and
    /// `never_begun`, a later segment without a header, for an early end.
    pub(crate) fn finish(
        mut self,
        place: &Path,
        never_begun: Option<&Path>,
        known_durable: LogPosition,
    ) -> Result<Outcome, E> {
        let durable_through = self.mark.max(known_durable);
        let salvage = self.mode == RecoveryMode::Salvage;
        if let Some((damage, _)) = self.damage.first()
            && !salvage
            && (self.mode == RecoveryMode::Strict || damage.position < durable_through)
        {
            let wrong = ends_early(&damage.file, damage.offset, durable_through, &damage.reason);
            return Err(Error::Corruption(wrong).into());
        }
        if self.end < durable_through && !salvage {
            let (file, offset) = match (never_begun, self.last) {
                (Some(file), _) => (file, 0),
                (None, Some((_, offset))) => (self.last_file.as_path(), offset),
                (None, None) => (place, 0),
            };
            let wrong = ends_early(file, offset, durable_through, "the end of the log");
            return Err(Error::Corruption(wrong).into());
        }
        let closed_cleanly = self.damage.is_empty()
            && self.last_mark.is_some_and(|mark| mark.0 + crate::record::framed_len(0) >= self.end.0);
        let mut left_out: Vec<Cut> = self.damage.drain(..).map(|(_, cut)| cut).collect();
        let (cut, skipped) = if salvage { (None, left_out) } else { (left_out.pop(), Vec::new()) };
        Ok(Outcome {
            end: self.end.max(durable_through).max(self.highest),
            last: self.last,
            durable_through,
            cut,
            skipped,
            records: self.records,
            closed_cleanly,
        })
    }
}
