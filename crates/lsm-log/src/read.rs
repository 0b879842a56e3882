//! [`read_segment`]: the records of one file that is no part of a sequence: the manifest,
//! or a segment to be looked at. Judges as recovery of a whole log does.
#![deny(clippy::indexing_slicing)]

use crate::chain::{OpenSegment, read_header};
use crate::segment::Found;
use crate::walk::Walk;
use crate::{Cut, Error, LogPosition, OnRecord, RecoverOptions, SEGMENT_HEADER_BYTES, SegmentHeader};
use lsm_vfs::{Corruption, Fs};
use std::path::Path;

/// What was read from one file.
#[derive(Clone, Debug)]
pub struct ReadSegment {
    /// Its header.
    pub header: SegmentHeader,
    /// The offset after the last record that counts.
    pub end_offset: u64,
    /// What was cut off the end.
    pub cut: Option<Cut>,
    /// What salvage passed over.
    pub skipped: Vec<Cut>,
    /// How many records were read.
    pub records: u64,
    /// Whether it ends with a mark that vouches for all of it.
    pub closed_cleanly: bool,
}

/// Reads the file `path` and hands each payload to `on_record` with the position after
/// it, in the order of writing. Changes nothing. Memory is bounded by the longest record.
///
/// # Errors
/// [`Error::Corruption`] as the mode has it, and for a damaged or missing header in any
/// mode; [`Error::Io`], [`Error::Incompatible`], and whatever `on_record` returns.
pub fn read_segment<E: From<Error>>(
    fs: &dyn Fs,
    path: &Path,
    magic: [u8; 8],
    options: RecoverOptions,
    on_record: OnRecord<'_, E>,
) -> Result<ReadSegment, E> {
    let file = fs.open_read(path).map_err(Error::from)?;
    let (found, len_bytes) = read_header(&*file, magic, None)?;
    let header = match found {
        Found::Header(header) => header,
        Found::Blank => {
            let wrong = Corruption::new(path, 0, "a segment header", "zeros");
            return Err(Error::Corruption(wrong).into());
        }
        Found::Damaged(wrong) => return Err(Error::Corruption(wrong).into()),
    };
    let segment = OpenSegment { path: path.to_path_buf(), file, len_bytes, header, named_end: None };
    let mut walk = Walk::new(options.mode, LogPosition::ZERO, on_record);
    walk.segments(&[segment])?;
    let outcome = walk.finish(path, None, options.durable_through)?;
    Ok(ReadSegment {
        header,
        end_offset: outcome.last.map_or(SEGMENT_HEADER_BYTES, |(_, offset)| offset),
        cut: outcome.cut,
        skipped: outcome.skipped,
        records: outcome.records,
        closed_cleanly: outcome.closed_cleanly,
    })
}
