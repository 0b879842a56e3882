//! [`Chain`]: which segment files make up the log, found from their headers alone.
//! Called first by recovery; reads no record.
//!
//! Each header names its predecessor. From the newest segment backwards the chain is
//! followed; segments that it passes over were discarded by an earlier recovery. Where
//! a predecessor is missing although it or older segments must exist there is a gap: the
//! log is what lies before the first gap, and only marks count of what lies beyond.
#![deny(clippy::indexing_slicing)]

use crate::segment::Found;
use crate::{Error, RecoverOptions, RecoveryMode, SEGMENT_HEADER_BYTES, SegmentHeader, segment_path};
use lsm_vfs::{Corruption, File, Fs, IoError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A segment with a valid header.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) len_bytes: u64,
    pub(crate) header: SegmentHeader,
    /// Where its records end, if a successor says so.
    pub(crate) named_end: Option<u64>,
}

/// The segments found, sorted into what they are worth.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// The log, oldest first.
    pub(crate) log: Vec<OpenSegment>,
    /// Segments behind a gap, oldest first.
    pub(crate) beyond: Vec<OpenSegment>,
    /// Numbers of files that are no part of the log: not needed, never begun, or discarded.
    pub(crate) dead: Vec<u64>,
    /// Headers that cannot be read though records follow; only in salvage.
    pub(crate) unreadable: Vec<Corruption>,
    /// The greatest number of all.
    pub(crate) highest_number: u64,
}

impl Chain {
    /// Opens the segments `numbers` of `dir`, in any order.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Incompatible`]; [`Error::Corruption`] for a header that is
    /// damaged with records behind it, except in salvage.
    pub(crate) fn open(
        fs: &dyn Fs,
        dir: &Path,
        numbers: &[u64],
        magic: [u8; 8],
        options: &RecoverOptions,
    ) -> Result<Self, Error> {
        let mode = options.mode;
        let mut chain =
            Self { highest_number: numbers.iter().copied().max().unwrap_or(0), ..Self::default() };
        let mut begun = BTreeMap::new();
        for &number in numbers {
            if number < options.oldest_needed {
                chain.dead.push(number);
                continue;
            }
            let path = segment_path(dir, number);
            let file = fs.open_read(&path)?;
            let (found, len_bytes) = read_header(&*file, magic, Some(number))?;
            match found {
                Found::Header(header) => {
                    let segment = OpenSegment { path, file, len_bytes, header, named_end: None };
                    begun.insert(number, segment);
                    continue;
                }
                // With its header a segment also loses the right to its records: they are
                // not durable, or a mark elsewhere or the manifest knows better.
                Found::Blank if mode != RecoveryMode::Strict => {}
                Found::Blank if no_records(&*file, len_bytes)? => {}
                Found::Blank => {
                    return Err(Corruption::new(&path, 0, "a segment header", "zeros").into());
                }
                // The header is one write into an empty file: a part of it without any
                // record behind it is that write, cut short.
                Found::Damaged(_) if no_records(&*file, len_bytes)? => {}
                Found::Damaged(corruption) if mode == RecoveryMode::Salvage => {
                    chain.unreadable.push(corruption);
                }
                Found::Damaged(corruption) => return Err(corruption.into()),
            }
            chain.dead.push(number);
        }
        // A missing segment is a hole where the caller knows it to be needed, or where its
        // file is there without a header; else it was removed when nobody needed it.
        let must_exist = |number: u64| {
            number >= options.oldest_needed && (options.oldest_needed > 0 || numbers.contains(&number))
        };
        chain.sort(begun, must_exist);
        Ok(chain)
    }

    fn sort(&mut self, mut begun: BTreeMap<u64, OpenSegment>, must_exist: impl Fn(u64) -> bool) {
        // Groups of segments without a gap, the newest group first.
        let mut groups = Vec::new();
        while let Some((_, newest)) = begun.pop_last() {
            let mut predecessor = newest.header.predecessor;
            let mut group = vec![newest];
            loop {
                // A segment without a predecessor began the log anew.
                let passed_over = begun.split_off(&predecessor.map_or(0, |end| end.number.saturating_add(1)));
                self.dead.extend(passed_over.into_keys());
                let Some(end) = predecessor else { break };
                let Some(mut segment) = begun.remove(&end.number) else { break };
                segment.named_end = Some(end.offset);
                predecessor = segment.header.predecessor;
                group.push(segment);
            }
            group.reverse();
            groups.push(group);
        }
        let oldest = groups.last().and_then(|group: &Vec<OpenSegment>| group.first());
        let before = oldest.and_then(|segment| segment.header.predecessor);
        if !before.is_some_and(|end| must_exist(end.number)) {
            self.log = groups.pop().unwrap_or_default();
        }
        self.beyond = groups.into_iter().rev().flatten().collect();
        self.dead.sort_unstable();
    }
}

/// What stands where the header should, and the length of the file.
pub(crate) fn read_header(
    file: &dyn File,
    magic: [u8; 8],
    number: Option<u64>,
) -> Result<(Found, u64), Error> {
    let len_bytes = file.len()?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    let (present, _) = bytes.split_at_mut(len_bytes.min(SEGMENT_HEADER_BYTES) as usize);
    file.read_exact_at(present, 0)?;
    let found = SegmentHeader::decode(bytes, magic, file.path())?;
    if let (Found::Header(header), Some(number)) = (&found, number)
        && header.number != number
    {
        let (expected, got) = (format!("the segment number {number}"), header.number.to_string());
        return Ok((Found::Damaged(Corruption::new(file.path(), 24, expected, got)), len_bytes));
    }
    if let (Found::Header(SegmentHeader { predecessor: Some(end), .. }), Some(number)) = (&found, number)
        && end.number >= number
    {
        // The number may be given to a segment yet to come, which would close a ring.
        let expected = format!("a predecessor of segment {number}");
        return Ok((
            Found::Damaged(Corruption::new(file.path(), 40, expected, end.number.to_string())),
            len_bytes,
        ));
    }
    Ok((found, len_bytes))
}

/// Whether there are only zeros where records would be.
fn no_records(file: &dyn File, len_bytes: u64) -> Result<bool, IoError> {
    let anyones = SegmentHeader::single([0; 8], 0);
    crate::scan::Scanner::new(file, &anyones, len_bytes).only_zeros_left()
}
