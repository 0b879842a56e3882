//! The header of a segment, and how segments are named. Called by whoever writes or
//! reads one; the records that follow are `record`'s.

use crate::record::mix;
use crate::{Error, LogPosition};
use lsm_vfs::{Corruption, Fs};
use std::path::{Path, PathBuf};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The magic of a segment of the write-ahead log.
pub const LOG_MAGIC: [u8; 8] = *b"LSM.LOG\n";

/// The version of the framing that is written; all up to it can be read.
pub const VERSION: u32 = 1;

/// No log gets this far: a base above it would leave no room to count on in.
const MAX_BASE: u64 = 1 << 62;

/// Bytes before the first record.
pub const SEGMENT_HEADER_BYTES: u64 = size_of::<RawHeader>() as u64;

/// A segment's header on disk; docs/format/log.md draws it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U32,
    reserved: U32,
    uid: U64,
    number: U64,
    base: U64,
    predecessor: U64,
    predecessor_end: U64,
    reserved_too: U32,
    crc: U32,
}

/// Where a segment's records end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEnd {
    /// The segment's number; not 0.
    pub number: u64,
    /// The offset in its file after the last record.
    pub offset: u64,
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// What kind of file it is: [`LOG_MAGIC`], or another user's of this framing.
    pub magic: [u8; 8],
    /// Random, so that no other file's records are taken for its own.
    pub uid: u64,
    /// The number in its name, if it has one.
    pub number: u64,
    /// The log position of its first record.
    pub base: LogPosition,
    /// The segment before it, and where that ended; later bytes there do not count.
    pub predecessor: Option<SegmentEnd>,
}

/// What stands where a header should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Header(SegmentHeader),
    /// Zeros: the header was never written, or lost with the power.
    Blank,
    /// Anything else, and why it is none.
    Damaged(Corruption),
}

impl SegmentHeader {
    /// The header of a file that is not part of a sequence.
    #[must_use]
    pub const fn single(magic: [u8; 8], uid: u64) -> Self {
        Self { magic, uid, number: 0, base: LogPosition::ZERO, predecessor: None }
    }

    /// The log position of a place in the file; the base for places in the header.
    #[must_use]
    pub const fn position(&self, offset: u64) -> LogPosition {
        LogPosition(self.base.0.saturating_add(offset.saturating_sub(SEGMENT_HEADER_BYTES)))
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let (number, offset) = self.predecessor.map_or((0, 0), |end| (end.number, end.offset));
        let mut raw = RawHeader {
            magic: self.magic,
            version: VERSION.into(),
            reserved: 0.into(),
            uid: self.uid.into(),
            number: self.number.into(),
            base: self.base.0.into(),
            predecessor: number.into(),
            predecessor_end: offset.into(),
            reserved_too: 0.into(),
            crc: 0.into(),
        };
        raw.crc = raw.crc().into();
        zerocopy::transmute!(raw)
    }

    /// Reads the header of `file`.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for a valid header of a newer version.
    pub(crate) fn decode(
        bytes: [u8; SEGMENT_HEADER_BYTES as usize],
        magic: [u8; 8],
        file: &Path,
    ) -> Result<Found, Error> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Found::Blank);
        }
        let raw: RawHeader = zerocopy::transmute!(bytes);
        let damaged =
            |offset, expected, got| Ok(Found::Damaged(Corruption::new(file, offset, expected, got)));
        if raw.magic != magic {
            let (expected, got) = (magic.escape_ascii(), raw.magic.escape_ascii());
            return damaged(0, format!("the magic {expected}"), got.to_string());
        }
        if raw.crc.get() != raw.crc() {
            let (expected, got) = (raw.crc(), raw.crc.get());
            return damaged(60, format!("the header checksum {expected:#010x}"), format!("{got:#010x}"));
        }
        if raw.version.get() > VERSION {
            let (file, found) = (file.to_path_buf(), raw.version.get());
            return Err(Error::Incompatible { file, found, supported: VERSION });
        }
        if raw.base.get() > MAX_BASE {
            return damaged(32, format!("a base of at most {MAX_BASE}"), raw.base.get().to_string());
        }
        let predecessor = SegmentEnd { number: raw.predecessor.get(), offset: raw.predecessor_end.get() };
        Ok(Found::Header(Self {
            magic,
            uid: raw.uid.get(),
            number: raw.number.get(),
            base: LogPosition(raw.base.get()),
            predecessor: (predecessor.number != 0).then_some(predecessor),
        }))
    }
}

impl RawHeader {
    /// The checksum of all but the checksum.
    fn crc(&self) -> u32 {
        let (covered, _) = self.as_bytes().split_at(SEGMENT_HEADER_BYTES as usize - size_of::<U32>());
        mix(crc32fast::hash(covered), self.uid.get(), 0)
    }
}

/// The file of the segment `number`.
#[must_use]
pub fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.log"))
}

/// The number of the segment with this file name, if it is one.
#[must_use]
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

/// Removes the files of `numbers`, the lowest first and each durably before the next:
/// what a power cut leaves has no hole. One that is not there is fine.
///
/// # Errors
/// [`Error::Io`]; the rest stays.
pub fn remove_segments(fs: &dyn Fs, dir: &Path, numbers: &[u64]) -> Result<(), Error> {
    let mut ascending = numbers.to_vec();
    ascending.sort_unstable();
    for number in ascending {
        match fs.remove_file(&segment_path(dir, number)) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(cause.into()),
            _ => fs.sync_dir(dir)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_no_bit_may_change() {
        let header = SegmentHeader {
            magic: LOG_MAGIC,
            uid: 5,
            number: 12,
            base: LogPosition(4096),
            predecessor: Some(SegmentEnd { number: 7, offset: 99 }),
        };
        let file = Path::new("f");
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(bytes, LOG_MAGIC, file).unwrap(), Found::Header(header));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = SegmentHeader::decode(damaged, LOG_MAGIC, file).unwrap();
            assert!(matches!(found, Found::Damaged(_)), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode([0; 64], LOG_MAGIC, file).unwrap(), Found::Blank);
        assert_eq!((header.position(64).0, header.position(72).0), (4096, 4104));
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut raw: RawHeader = zerocopy::transmute!(SegmentHeader::single(LOG_MAGIC, 1).encode());
        raw.version = 9.into();
        raw.crc = raw.crc().into();
        let outcome = SegmentHeader::decode(zerocopy::transmute!(raw), LOG_MAGIC, Path::new("f"));
        assert!(matches!(outcome, Err(Error::Incompatible { found: 9, supported: 1, .. })));
    }

    #[test]
    fn a_base_from_which_nothing_can_be_counted_is_damage() {
        let base = LogPosition(u64::MAX - 5);
        let header = SegmentHeader { base, ..SegmentHeader::single(LOG_MAGIC, 1) };
        let found = SegmentHeader::decode(header.encode(), LOG_MAGIC, Path::new("f")).unwrap();
        assert!(matches!(found, Found::Damaged(damage) if damage.offset == 32));
    }

    #[test]
    fn names_are_numbers() {
        let path = segment_path(Path::new("d"), 42);
        assert_eq!(path, Path::new("d/00000000000000000042.log"));
        assert_eq!(segment_number("00000000000000000042.log"), Some(42));
        for foreign in
            ["42.log", "00000000000000000042.sst", "0000000000000000004x.log", "99999999999999999999.log"]
        {
            assert_eq!(segment_number(foreign), None);
        }
    }
}
