//! [`Scanner`]: the records of one segment in order, and the search for records behind
//! damage. Called by recovery; decides nothing about what damage means.
#![deny(clippy::indexing_slicing)]

use crate::record::{ALIGNMENT, Bad, HEADER_BYTES, RecordHeader};
use crate::window::Window;
use crate::{SEGMENT_HEADER_BYTES, SegmentHeader};
use lsm_vfs::{File, IoError};

/// What stands at the scanner's place.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A valid record; the scanner stands behind it.
    Record(RecordHeader, &'a [u8]),
    /// The limit, or nothing but zeros as far as a header reaches.
    End,
    /// Something else; the scanner stays.
    Bad(Bad),
}

/// Walks the records of one segment.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    window: Window<'a>,
    uid: u64,
    offset: u64,
    generation: u8,
}

impl<'a> Scanner<'a> {
    /// Starts at the first record; `limit` must not lie past the end of the file.
    pub(crate) fn new(file: &'a dyn File, header: &SegmentHeader, limit: u64) -> Self {
        let offset = SEGMENT_HEADER_BYTES;
        Self { window: Window::new(file, limit.max(offset)), uid: header.uid, offset, generation: 0 }
    }

    /// The place where the next record must start.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the record at this place.
    pub(crate) fn step(&mut self) -> Result<Step<'_>, IoError> {
        if self.offset == self.window.limit() {
            return Ok(Step::End);
        }
        let header = match self.header_at(self.offset)? {
            Ok(header) => header,
            Err(Bad::Missing) => return Ok(Step::End),
            Err(bad) => return Ok(Step::Bad(bad)),
        };
        let at = self.offset;
        let generation = self.generation;
        let payload = match self.payload_at(at, &header)? {
            Ok(()) if header.generation < generation => return Ok(Step::Bad(Bad::Leftover)),
            Ok(()) => {
                self.offset = (at + header.framed_len()).min(self.window.limit());
                self.generation = header.generation;
                let payload = self.window.get(at + HEADER_BYTES as u64, header.payload_len.into())?;
                payload.unwrap_or_default()
            }
            Err(bad) => return Ok(Step::Bad(bad)),
        };
        Ok(Step::Record(header, payload))
    }

    /// Leaves what is no record here and stands at the next place where one is, or at the
    /// limit. `data_end` becomes the end of the last bytes passed that are not zero, if
    /// there are any. Time is linear in the bytes passed.
    pub(crate) fn resync(&mut self, data_end: &mut u64) -> Result<(), IoError> {
        let limit = self.window.limit();
        let mut at = self.offset;
        match self.header_at(at)? {
            // A true header says where the next record starts; its payload is not searched.
            Ok(header) if header.generation >= self.generation && header.framed_len() <= limit - at => {
                at += header.framed_len();
                *data_end = at;
            }
            Err(Bad::Missing) => {}
            _ => {
                at = (at + ALIGNMENT as u64).min(limit);
                *data_end = at;
            }
        }
        loop {
            at = self.skip_zeros(at)?;
            if at >= limit {
                self.offset = limit;
                return Ok(());
            }
            if let Ok(header) = self.header_at(at)?
                && header.generation >= self.generation
                && self.payload_at(at, &header)?.is_ok()
            {
                self.offset = at;
                return Ok(());
            }
            at = (at + ALIGNMENT as u64).min(limit);
            *data_end = at;
        }
    }

    /// Whether there is nothing but zeros from here to the limit.
    pub(crate) fn only_zeros_left(&mut self) -> Result<bool, IoError> {
        let at = self.offset;
        Ok(self.skip_zeros(at)? >= self.window.limit())
    }

    /// The first place from `at` on, in steps of the alignment, where not all is zero.
    fn skip_zeros(&mut self, mut at: u64) -> Result<u64, IoError> {
        loop {
            at = self.window.behind_hole(at);
            let rest = self.window.rest(at)?;
            if rest.is_empty() {
                return Ok(at);
            }
            let (words, tail) = rest.as_chunks::<ALIGNMENT>();
            if let Some(word) = words.iter().position(|word| *word != [0; ALIGNMENT]) {
                return Ok(at + (word * ALIGNMENT) as u64);
            }
            at += (words.len() * ALIGNMENT) as u64;
            // Only the last word of a file can be cut short.
            if words.is_empty() {
                let zero = tail.iter().all(|byte| *byte == 0);
                return Ok(if zero { at + tail.len() as u64 } else { at });
            }
        }
    }

    /// The header at `at`; [`Bad::Missing`] when there are only zeros.
    fn header_at(&mut self, at: u64) -> Result<Result<RecordHeader, Bad>, IoError> {
        let left = self.window.limit().saturating_sub(at);
        let bytes = self.window.get(at, left.min(HEADER_BYTES as u64))?.unwrap_or_default();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Err(Bad::Missing));
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(Err(Bad::CutShort));
        };
        Ok(RecordHeader::decode(*bytes, self.uid, at))
    }

    /// Checks the payload of the record at `at`, and that nothing but zeros pads it.
    fn payload_at(&mut self, at: u64, header: &RecordHeader) -> Result<Result<(), Bad>, IoError> {
        let payload_at = at + HEADER_BYTES as u64;
        let payload_len = u64::from(header.payload_len);
        let end = (at + header.framed_len()).min(self.window.limit());
        let framed_len = end.saturating_sub(payload_at).max(payload_len);
        let Some(framed) = self.window.get(payload_at, framed_len)? else {
            return Ok(Err(Bad::CutShort));
        };
        let (payload, padding) = framed.split_at_checked(payload_len as usize).unwrap_or((framed, &[]));
        Ok(if crc32fast::hash(payload) != header.payload_crc {
            Err(Bad::PayloadChecksum)
        } else if padding.iter().any(|byte| *byte != 0) {
            Err(Bad::Padding)
        } else {
            Ok(())
        })
    }
}
