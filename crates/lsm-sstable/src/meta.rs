//! [`TableMeta`]: what is known of a table without reading its blocks. Stands in
//! the table's properties block and in the manifest; never refers to a path.

use crate::Compression;
use lsm_types::coding::{put_bytes, put_varint64, take_bytes, take_u64, take_varint64};
use lsm_types::{KeySpan, SeqNo, Slice, UpperBound};

/// What is known of a finished table. The default is that of a table which holds
/// nothing yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMeta {
    /// Random number that tells this file from every other one.
    pub uid: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Bytes of data blocks as stored.
    pub data_bytes: u64,
    /// Point entries, tombstones among them.
    pub entries: u64,
    /// Distinct user keys among the point entries.
    pub user_keys: u64,
    /// Tombstones and weak tombstones.
    pub tombstones: u64,
    /// Range tombstones as they were added.
    pub range_tombstones: u64,
    /// Bytes of user keys of point entries, before compression.
    pub raw_key_bytes: u64,
    /// Bytes of values, before compression.
    pub raw_value_bytes: u64,
    /// Data blocks.
    pub blocks: u64,
    /// The smallest key of any entry, or start of any range tombstone.
    pub smallest: Slice,
    /// The greatest key of any entry, or end of any range tombstone.
    pub upper: UpperBound,
    /// The lowest number of any entry or range tombstone.
    pub lowest_seqno: SeqNo,
    /// The highest number of any entry or range tombstone.
    pub highest_seqno: SeqNo,
    /// When the table was finished, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// What its blocks were asked to be compressed with.
    pub compression: Compression,
}

/// Numbers of the fields on disk. A reader skips numbers that it does not know.
mod tag {
    pub(super) const UID: u64 = 1;
    pub(super) const FILE_BYTES: u64 = 2;
    pub(super) const DATA_BYTES: u64 = 3;
    pub(super) const ENTRIES: u64 = 4;
    pub(super) const USER_KEYS: u64 = 5;
    pub(super) const TOMBSTONES: u64 = 6;
    pub(super) const RANGE_TOMBSTONES: u64 = 7;
    pub(super) const RAW_KEY_BYTES: u64 = 8;
    pub(super) const RAW_VALUE_BYTES: u64 = 9;
    pub(super) const BLOCKS: u64 = 10;
    pub(super) const SMALLEST: u64 = 11;
    pub(super) const UPPER_INCLUDED: u64 = 12;
    pub(super) const UPPER_EXCLUDED: u64 = 13;
    pub(super) const LOWEST_SEQNO: u64 = 14;
    pub(super) const HIGHEST_SEQNO: u64 = 15;
    pub(super) const CREATED_MS: u64 = 16;
    pub(super) const COMPRESSION: u64 = 17;
}

impl TableMeta {
    /// The hull of all entries and range tombstones.
    #[must_use]
    pub fn span(&self) -> KeySpan {
        KeySpan { start: self.smallest.clone(), end: self.upper.to_exclusive() }
    }

    /// The same table with the number `seqno` in the place of 0: what a manifest says of a
    /// table that was written before its number was known. `None` unless each entry is
    /// numbered 0 and there is nothing but values: only such blocks have their trailer in one
    /// place.
    #[must_use]
    pub fn renumbered(&self, seqno: SeqNo) -> Option<Self> {
        let is_plain = self.entries > 0 && self.tombstones == 0 && self.range_tombstones == 0;
        let is_unnumbered = (self.lowest_seqno, self.highest_seqno) == (0, 0);
        let renumbered = || Self { lowest_seqno: seqno, highest_seqno: seqno, ..self.clone() };
        (is_plain && is_unnumbered).then(renumbered)
    }

    /// Appends the stored form: `length varint | (tag varint | length varint | bytes)*`.
    /// Numbers take eight bytes each, so that the length does not depend on them.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(256);
        for (tag, number) in self.numbers() {
            put_varint64(&mut body, tag);
            put_bytes(&mut body, &number.to_le_bytes());
        }
        let mut put = |tag, bytes: &[u8]| {
            put_varint64(&mut body, tag);
            put_bytes(&mut body, bytes);
        };
        put(tag::SMALLEST, &self.smallest);
        match &self.upper {
            UpperBound::Included(last) => put(tag::UPPER_INCLUDED, last),
            UpperBound::Excluded(end) => put(tag::UPPER_EXCLUDED, end),
            // No field: a table always has an upper bound, so absence can mean this.
            UpperBound::Unbounded => {}
        }
        put_bytes(out, &body);
    }

    const fn numbers(&self) -> [(u64, u64); 14] {
        [
            (tag::UID, self.uid),
            (tag::FILE_BYTES, self.file_bytes),
            (tag::DATA_BYTES, self.data_bytes),
            (tag::ENTRIES, self.entries),
            (tag::USER_KEYS, self.user_keys),
            (tag::TOMBSTONES, self.tombstones),
            (tag::RANGE_TOMBSTONES, self.range_tombstones),
            (tag::RAW_KEY_BYTES, self.raw_key_bytes),
            (tag::RAW_VALUE_BYTES, self.raw_value_bytes),
            (tag::BLOCKS, self.blocks),
            (tag::LOWEST_SEQNO, self.lowest_seqno),
            (tag::HIGHEST_SEQNO, self.highest_seqno),
            (tag::CREATED_MS, self.created_ms),
            (tag::COMPRESSION, self.compression as u64),
        ]
    }

    /// Takes what [`encode`](Self::encode) wrote; `None` when it is not that. Fields
    /// of newer versions are skipped.
    #[must_use]
    pub fn decode(input: &mut &[u8]) -> Option<Self> {
        let mut body = take_bytes(input)?;
        let mut meta = Self::empty();
        let mut seen = 0_u32;
        while !body.is_empty() {
            let tag = take_varint64(&mut body)?;
            let mut field = take_bytes(&mut body)?;
            let number = match tag {
                tag::UID => &mut meta.uid,
                tag::FILE_BYTES => &mut meta.file_bytes,
                tag::DATA_BYTES => &mut meta.data_bytes,
                tag::ENTRIES => &mut meta.entries,
                tag::USER_KEYS => &mut meta.user_keys,
                tag::TOMBSTONES => &mut meta.tombstones,
                tag::RANGE_TOMBSTONES => &mut meta.range_tombstones,
                tag::RAW_KEY_BYTES => &mut meta.raw_key_bytes,
                tag::RAW_VALUE_BYTES => &mut meta.raw_value_bytes,
                tag::BLOCKS => &mut meta.blocks,
                tag::LOWEST_SEQNO => &mut meta.lowest_seqno,
                tag::HIGHEST_SEQNO => &mut meta.highest_seqno,
                tag::CREATED_MS => &mut meta.created_ms,
                tag::COMPRESSION => {
                    let number = take_u64(&mut field).filter(|_| field.is_empty())?;
                    meta.compression = Compression::from_byte(u8::try_from(number).ok()?)?;
                    seen |= 1 << tag;
                    continue;
                }
                tag::SMALLEST => {
                    meta.smallest = Slice::copy_from(field);
                    seen |= 1 << tag;
                    continue;
                }
                tag::UPPER_INCLUDED => {
                    meta.upper = UpperBound::Included(Slice::copy_from(field));
                    continue;
                }
                tag::UPPER_EXCLUDED => {
                    meta.upper = UpperBound::Excluded(Slice::copy_from(field));
                    continue;
                }
                _ => continue,
            };
            *number = take_u64(&mut field).filter(|_| field.is_empty())?;
            seen |= 1 << tag;
        }
        // Every field of this version but the upper bound, which may be absent.
        let required = ((1 << 18) - 2) & !(1 << tag::UPPER_INCLUDED | 1 << tag::UPPER_EXCLUDED);
        (seen & required == required).then_some(meta)
    }

    /// The meta of a table that holds nothing yet.
    pub(crate) const fn empty() -> Self {
        Self {
            uid: 0,
            file_bytes: 0,
            data_bytes: 0,
            entries: 0,
            user_keys: 0,
            tombstones: 0,
            range_tombstones: 0,
            raw_key_bytes: 0,
            raw_value_bytes: 0,
            blocks: 0,
            smallest: Slice::empty(),
            upper: UpperBound::Unbounded,
            lowest_seqno: SeqNo::MAX,
            highest_seqno: 0,
            created_ms: 0,
            compression: Compression::None,
        }
    }
}

impl Default for TableMeta {
    fn default() -> Self {
        Self::empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(upper: UpperBound) -> TableMeta {
        TableMeta { uid: 7, entries: 300, smallest: "a".into(), upper, ..TableMeta::empty() }
    }

    #[test]
    fn a_meta_comes_back_and_leaves_what_follows() {
        for upper in
            [UpperBound::Included("z".into()), UpperBound::Excluded(Slice::empty()), UpperBound::Unbounded]
        {
            let meta = sample(upper);
            let mut out = Vec::new();
            meta.encode(&mut out);
            out.push(9);
            let mut input = out.as_slice();
            assert_eq!(TableMeta::decode(&mut input), Some(meta));
            assert_eq!(input, [9]);
        }
    }

    #[test]
    fn fields_of_newer_versions_are_skipped() {
        let meta = sample(UpperBound::Included("z".into()));
        let mut out = Vec::new();
        meta.encode(&mut out);
        let body = take_bytes(&mut out.as_slice()).unwrap().to_vec();
        let mut newer = body;
        put_varint64(&mut newer, 1 << 40);
        put_bytes(&mut newer, b"from the future");
        let mut out = Vec::new();
        put_bytes(&mut out, &newer);
        assert_eq!(TableMeta::decode(&mut out.as_slice()), Some(meta));
    }

    #[test]
    fn every_truncation_is_none() {
        let mut out = Vec::new();
        sample(UpperBound::Unbounded).encode(&mut out);
        for cut in 0..out.len() {
            assert_eq!(TableMeta::decode(&mut &out[..cut]), None, "cut at {cut}");
        }
    }
}
