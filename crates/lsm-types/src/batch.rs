//! The wire form of a batch: what one log record holds and what a replay reads.
//!
//! ```text
//! batch := base_seqno u64 LE | count u32 LE | entry*
//! entry := kind u8 | keyspace varint | key_len varint | key | [value_len varint | value]
//! ```
//!
//! Entry i has the number `base_seqno + i`. Tombstones have no value; a range
//! tombstone's key is its inclusive start and its value [`encode_range_end`].
//! A batch is built once and stamped with its base when it is committed.

use crate::coding::{put_bytes, put_varint32, take, take_bytes, take_u8, take_u32, take_u64, take_varint32};
use crate::{KeySpan, SeqNo, Slice, ValueKind};

/// Bytes before the first entry.
pub const HEADER_BYTES: usize = 12;

/// The number of a keyspace; never reused within a database.
pub type KeyspaceId = u32;

/// One entry, borrowed from the wire form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEntry<'a> {
    /// Which keyspace it belongs to.
    pub keyspace: KeyspaceId,
    /// What it says.
    pub kind: ValueKind,
    /// The user key.
    pub key: &'a [u8],
    /// The value; empty for tombstones.
    pub value: &'a [u8],
}

/// A wire form that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// An entry or the header ends early, at this byte.
    #[error("the batch ends in the middle of an entry at byte {0}")]
    Truncated(usize),
    /// Bytes are left over after the last entry.
    #[error("the batch goes on after its last entry, at byte {0}")]
    TrailingBytes(usize),
    /// An entry's kind is unknown.
    #[error(transparent)]
    UnknownKind(#[from] crate::UnknownKind),
}

/// Appends the entry to `out`.
#[inline]
pub fn put_entry(out: &mut Vec<u8>, entry: BatchEntry<'_>) {
    out.push(entry.kind as u8);
    put_varint32(out, entry.keyspace);
    put_bytes(out, entry.key);
    if !entry.kind.is_tombstone() {
        put_bytes(out, entry.value);
    }
}

/// The header of a batch of `count` entries.
#[must_use]
pub fn header(base_seqno: SeqNo, count: u32) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let (base, rest) = bytes.split_at_mut(8);
    base.copy_from_slice(&base_seqno.to_le_bytes());
    rest.copy_from_slice(&count.to_le_bytes());
    bytes
}

/// The end of a range tombstone as it is stored in its value.
#[must_use]
pub fn encode_range_end(end: Option<&[u8]>) -> Vec<u8> {
    match end {
        None => vec![0],
        Some(end) => [&[1], end].concat(),
    }
}

/// Reads [`encode_range_end`] back; `None` when it is neither form.
#[must_use]
pub fn decode_range_span(start: &[u8], value: &[u8]) -> Option<KeySpan> {
    let end = match value.split_first()? {
        (0, []) => None,
        (1, end) => Some(Slice::copy_from(end)),
        _ => return None,
    };
    Some(KeySpan { start: Slice::copy_from(start), end })
}

/// A batch read from its wire form.
#[derive(Clone, Copy, Debug)]
pub struct BatchReader<'a> {
    base_seqno: SeqNo,
    count: u32,
    whole: usize,
    entries: &'a [u8],
}

impl<'a> BatchReader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`BatchError::Truncated`].
    pub fn new(wire: &'a [u8]) -> Result<Self, BatchError> {
        let mut entries = wire;
        let truncated = BatchError::Truncated(wire.len());
        let base_seqno = take_u64(&mut entries).ok_or(truncated)?;
        let count = take_u32(&mut entries).ok_or(truncated)?;
        Ok(Self { base_seqno, count, whole: wire.len(), entries })
    }

    /// A batch whose header and entries lie apart.
    #[must_use]
    pub const fn from_parts(base_seqno: SeqNo, count: u32, entries: &'a [u8]) -> Self {
        Self { base_seqno, count, whole: entries.len(), entries }
    }

    /// The number of the first entry.
    #[must_use]
    pub const fn base_seqno(&self) -> SeqNo {
        self.base_seqno
    }

    /// How many entries the header promises.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The entries with their numbers; ends after the first error, and reports
    /// bytes that follow the last entry.
    pub fn iter(&self) -> impl Iterator<Item = Result<(SeqNo, BatchEntry<'a>), BatchError>> + use<'a> {
        let (base, count, whole) = (self.base_seqno, self.count, self.whole);
        let mut rest = self.entries;
        let mut index = 0;
        let mut failed = false;
        std::iter::from_fn(move || {
            if failed {
                return None;
            }
            if index == count {
                failed = true;
                return (!rest.is_empty()).then(|| Err(BatchError::TrailingBytes(whole - rest.len())));
            }
            let entry =
                take_entry(&mut rest, whole).map(|entry| (base.saturating_add(u64::from(index)), entry));
            index += 1;
            failed = entry.is_err();
            Some(entry)
        })
    }
}

/// Takes one entry; `whole` is the length of the batch, for the error.
fn take_entry<'a>(rest: &mut &'a [u8], whole: usize) -> Result<BatchEntry<'a>, BatchError> {
    let truncated = BatchError::Truncated(whole - rest.len());
    let kind = ValueKind::try_from(take_u8(rest).ok_or(truncated)?)?;
    let keyspace = take_varint32(rest).ok_or(truncated)?;
    let key = take_bytes(rest).ok_or(truncated)?;
    let value = if kind.is_tombstone() { take(rest, 0) } else { take_bytes(rest) };
    Ok(BatchEntry { keyspace, kind, key, value: value.ok_or(truncated)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut wire = header(40, 3).to_vec();
        put_entry(&mut wire, BatchEntry { keyspace: 1, kind: ValueKind::Value, key: b"k", value: b"v" });
        put_entry(&mut wire, BatchEntry { keyspace: 300, kind: ValueKind::Tombstone, key: b"", value: b"" });
        let end = encode_range_end(Some(b"z"));
        put_entry(
            &mut wire,
            BatchEntry { keyspace: 1, kind: ValueKind::RangeTombstone, key: b"a", value: &end },
        );
        wire
    }

    #[test]
    fn entries_come_back_with_consecutive_numbers() {
        let wire = sample();
        let entries: Vec<_> = BatchReader::new(&wire).unwrap().iter().map(Result::unwrap).collect();
        assert_eq!(entries.iter().map(|(seqno, _)| *seqno).collect::<Vec<_>>(), [40, 41, 42]);
        assert_eq!(entries[1].1.keyspace, 300);
        let span = decode_range_span(entries[2].1.key, entries[2].1.value).unwrap();
        assert_eq!((span.start, span.end), ("a".into(), Some("z".into())));
        assert_eq!(decode_range_span(b"", &encode_range_end(None)), Some(KeySpan::all()));
    }

    #[test]
    fn every_cut_and_every_extra_byte_is_an_error() {
        let wire = sample();
        for cut in 0..wire.len() {
            let outcome =
                BatchReader::new(&wire[..cut]).and_then(|batch| batch.iter().collect::<Result<Vec<_>, _>>());
            assert!(outcome.is_err(), "cut at {cut}");
        }
        let longer = [wire.as_slice(), &[0]].concat();
        let outcome: Result<Vec<_>, _> = BatchReader::new(&longer).unwrap().iter().collect();
        assert_eq!(outcome, Err(BatchError::TrailingBytes(wire.len())));
    }
}
