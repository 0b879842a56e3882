//! The framing of one record: a header that can be found and checked by itself, the
//! payload, zeros up to the next multiple of eight. Called by the segment's writer and
//! scanner; never touches a file.
//!
//! The header has a checksum of its own, so that looking for records in damaged bytes
//! reads a payload only where a true header stands: the search stays linear whatever
//! the bytes are. Both checksums are mixed with the file's uid and the record's offset.

use crate::LogPosition;
use lsm_vfs::mix64;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The longest payload of one record.
pub const MAX_PAYLOAD_BYTES: u64 = u32::MAX as u64;

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = size_of::<RawHeader>();

/// Records start at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

/// The first two bytes of every record.
const MARKER: u16 = 0xb5e7;

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// Carries the caller's payload.
    Data = 1,
    /// Only says how far the log is durable.
    Mark = 2,
    /// As a mark, and nothing follows: the log was closed.
    Closed = 3,
}

/// A record's header on disk; docs/format/log.md draws it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    marker: U16,
    kind: u8,
    generation: u8,
    payload_len: U32,
    synced_through: U64,
    payload_crc: U32,
    header_crc: U32,
}

/// What a record's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: RecordKind,
    /// How many writes to this segment had failed before. A record of a lower generation
    /// than one before it is the rest of a failed write.
    pub(crate) generation: u8,
    pub(crate) payload_len: u32,
    /// How far the log was durable when the record was made.
    pub(crate) synced_through: LogPosition,
    /// Of the payload alone, as yet unmixed.
    pub(crate) payload_crc: u32,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The record would reach past the end.
    CutShort,
    Marker(u16),
    Kind(u8),
    HeaderChecksum,
    PayloadChecksum,
    /// Bytes other than zero behind the payload.
    Padding,
    /// A record that an earlier, failed write left behind.
    Leftover,
    /// Zeros where a record must be.
    Missing,
}

impl std::fmt::Display for Bad {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CutShort => out.write_str("a record that is cut short"),
            Self::Marker(found) => write!(out, "a record marker of {found:#06x}"),
            Self::Kind(found) => write!(out, "the unknown record kind {found}"),
            Self::HeaderChecksum => out.write_str("a record header with a wrong checksum"),
            Self::PayloadChecksum => out.write_str("a record with a wrong checksum"),
            Self::Padding => out.write_str("a record with bytes in its padding"),
            Self::Leftover => out.write_str("the rest of a write that failed"),
            Self::Missing => out.write_str("no record"),
        }
    }
}

/// Ties a checksum to its file and place, so that a misplaced or stale record is not valid.
pub(crate) const fn mix(crc: u32, uid: u64, offset: u64) -> u32 {
    crc ^ (mix64(uid ^ mix64(offset)) >> 32) as u32
}

/// Bytes that a record with this payload takes up.
pub(crate) const fn framed_len(payload_len: u64) -> u64 {
    (HEADER_BYTES as u64 + payload_len).next_multiple_of(ALIGNMENT as u64)
}

impl RecordHeader {
    /// The bytes of the header of a record that stands at `offset` of the file `uid`.
    pub(crate) fn encode(&self, uid: u64, offset: u64) -> [u8; HEADER_BYTES] {
        let mut raw = RawHeader {
            marker: MARKER.into(),
            kind: self.kind as u8,
            generation: self.generation,
            payload_len: self.payload_len.into(),
            synced_through: self.synced_through.0.into(),
            payload_crc: mix(self.payload_crc, uid, offset).into(),
            header_crc: 0.into(),
        };
        raw.header_crc = raw.crc(uid, offset).into();
        zerocopy::transmute!(raw)
    }

    /// Reads a header found at `offset` of the file `uid`.
    pub(crate) fn decode(bytes: [u8; HEADER_BYTES], uid: u64, offset: u64) -> Result<Self, Bad> {
        let raw: RawHeader = zerocopy::transmute!(bytes);
        if raw.marker.get() != MARKER {
            return Err(Bad::Marker(raw.marker.get()));
        }
        if raw.header_crc.get() != raw.crc(uid, offset) {
            return Err(Bad::HeaderChecksum);
        }
        let kind = match raw.kind {
            1 => RecordKind::Data,
            2 => RecordKind::Mark,
            3 => RecordKind::Closed,
            other => return Err(Bad::Kind(other)),
        };
        Ok(Self {
            kind,
            generation: raw.generation,
            payload_len: raw.payload_len.get(),
            synced_through: LogPosition(raw.synced_through.get()),
            payload_crc: mix(raw.payload_crc.get(), uid, offset),
        })
    }

    /// Bytes that the whole record takes up.
    pub(crate) const fn framed_len(&self) -> u64 {
        framed_len(self.payload_len as u64)
    }
}

impl RawHeader {
    /// The checksum of all but the checksum.
    fn crc(&self, uid: u64, offset: u64) -> u32 {
        let (covered, _) = self.as_bytes().split_at(HEADER_BYTES - size_of::<U32>());
        mix(crc32fast::hash(covered), uid, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: RecordHeader = RecordHeader {
        kind: RecordKind::Data,
        generation: 3,
        payload_len: 500,
        synced_through: LogPosition(1 << 40),
        payload_crc: 77,
    };

    #[test]
    fn a_header_is_valid_only_in_its_place_and_unchanged() {
        let bytes = HEADER.encode(9, 64);
        assert_eq!(RecordHeader::decode(bytes, 9, 64), Ok(HEADER));
        assert_eq!(RecordHeader::decode(bytes, 9, 72), Err(Bad::HeaderChecksum));
        assert_eq!(RecordHeader::decode(bytes, 8, 64), Err(Bad::HeaderChecksum));
        for bit in 0..HEADER_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(RecordHeader::decode(damaged, 9, 64).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn records_start_at_multiples_of_eight() {
        assert_eq!(HEADER_BYTES, 24);
        assert_eq!([0, 1, 8, 9].map(framed_len), [24, 32, 32, 40]);
        assert_eq!(framed_len(MAX_PAYLOAD_BYTES) % 8, 0);
    }
}
