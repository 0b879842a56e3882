//! [`Index`]: which data block may hold a key. One for each open table, wholly in
//! memory; a look-up decodes nothing. Built by the table writer.
//!
//! Each block has a separator: a key at or after its last one and before the first
//! of the next block, as short as possible. The prefix common to all is cut, the
//! next eight bytes stand in an array of their own (the heads), and a radix table
//! over the heads leaves only a few to search. Where the versions of one user key
//! straddle two blocks, a sequence number tells their sides apart, so that a look-up
//! always touches exactly one block.

#![deny(clippy::indexing_slicing)]

use crate::format::{BLOCK_TRAILER_BYTES, HEADER_BYTES};
use lsm_types::SeqNo;
use std::cmp::Ordering;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of the image. The prefix follows, then the arrays of block ends,
/// separator ends and, with [`STRADDLES`], sequence numbers; then the separators.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct IndexHeader {
    blocks: U32,
    flags: U32,
    prefix_bytes: U32,
    separator_bytes: U32,
}

const STRADDLES: u32 = 1;
/// The radix table has at most so many bits.
const MAX_RADIX_BITS: u32 = 14;

/// The blocks of a table by their separators. Immutable, `Send + Sync`.
#[derive(Debug)]
pub(crate) struct Index {
    prefix: Vec<u8>,
    /// The first eight bytes of each separator after the prefix, as a number that
    /// orders as they do.
    heads: Vec<u64>,
    /// For each block, where its separator ends in `separators`, after a leading 0.
    separator_ends: Vec<u32>,
    separators: Vec<u8>,
    /// For each block, where it ends in the file, after the start of the first.
    block_ends: Vec<u64>,
    /// For each block, the number of its last entry where the next block goes on with
    /// the same user key, else 0. Empty when no key straddles two blocks.
    last_seqnos: Vec<SeqNo>,
    radix: Radix,
}

/// For each value of the upper bits of a head, the first block that has it or more.
#[derive(Debug, Default)]
struct Radix {
    lowest: u64,
    highest: u64,
    shift: u32,
    starts: Vec<u32>,
}

/// The first eight bytes as a number, filled up with zeros.
#[inline]
fn head(bytes: &[u8]) -> u64 {
    if let Some(eight) = bytes.first_chunk() {
        return u64::from_be_bytes(*eight);
    }
    bytes.iter().zip((0..8).rev()).fold(0, |head, (&byte, place)| head | u64::from(byte) << (8 * place))
}

impl Radix {
    fn new(heads: &[u64]) -> Self {
        let (Some(&lowest), Some(&highest)) = (heads.first(), heads.last()) else { return Self::default() };
        let bits = heads.len().next_power_of_two().ilog2().clamp(1, MAX_RADIX_BITS);
        let shift = (u64::BITS - (highest - lowest).leading_zeros()).saturating_sub(bits);
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        let mut at = 0;
        for bucket in 0..=1_u64 << bits {
            while heads.get(at).is_some_and(|head| (head - lowest) >> shift < bucket) {
                at += 1;
            }
            starts.push(at as u32);
        }
        Self { lowest, highest, shift, starts }
    }

    /// Two bounds around the first head at or after `head`, which is within the heads.
    #[inline]
    fn around(&self, head: u64) -> (usize, usize) {
        let bucket = ((head - self.lowest) >> self.shift) as usize;
        match self.starts.get(bucket..bucket + 2) {
            Some(&[low, high]) => (low as usize, high as usize),
            _ => (0, usize::MAX),
        }
    }
}

impl Index {
    /// Data blocks.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.heads.len()
    }

    /// Where a block starts and ends in the file.
    #[inline]
    pub(crate) fn extent(&self, block: usize) -> Option<(u64, u64)> {
        match self.block_ends.get(block..block + 2)? {
            &[start, end] => Some((start, end)),
            _ => None,
        }
    }

    /// The block that holds the first entry at or after `(user_key, seqno)`, or ends
    /// just before it; `None` past the last separator.
    #[inline]
    pub(crate) fn find(&self, user_key: &[u8], seqno: SeqNo) -> Option<usize> {
        // Comparing with nothing is not free: with an empty vector's dangling address the
        // C library's memcmp took about half of a hot look-up where this was measured.
        let stripped =
            if self.prefix.is_empty() { Some(user_key) } else { user_key.strip_prefix(&*self.prefix) };
        let rest = match stripped {
            Some(rest) => rest,
            None if user_key < self.prefix.as_slice() => return (self.len() > 0).then_some(0),
            None => return None,
        };
        let head = head(rest);
        if head <= self.radix.lowest || head > self.radix.highest {
            // Also the case of no blocks at all.
            return if head > self.radix.highest { None } else { self.find_among(0, rest, head, seqno) };
        }
        let (low, high) = self.radix.around(head);
        let range = self.heads.get(low..high.min(self.len()))?;
        self.find_among(low + lower_bound(range, head), rest, head, seqno)
    }

    /// From the first block whose head is not below: nearly always this one.
    #[inline]
    fn find_among(&self, first: usize, rest: &[u8], head: u64, seqno: SeqNo) -> Option<usize> {
        if *self.heads.get(first)? != head {
            return Some(first);
        }
        self.find_among_equal(first, rest, head, seqno)
    }

    #[cold]
    fn find_among_equal(&self, first: usize, rest: &[u8], head: u64, seqno: SeqNo) -> Option<usize> {
        let equal = self.heads.get(first..)?.partition_point(|&other| other == head);
        let (mut low, mut high) = (first, first + equal);
        while low < high {
            let middle = low.midpoint(high);
            let is_before = match self.separator(middle).cmp(rest) {
                Ordering::Less => true,
                Ordering::Equal => self.last_seqno(middle) > seqno,
                Ordering::Greater => false,
            };
            if is_before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low < self.len()).then_some(low)
    }

    /// The separator of a block, without the prefix.
    pub(crate) fn separator(&self, block: usize) -> &[u8] {
        match self.separator_ends.get(block..block + 2) {
            Some(&[start, end]) => self.separators.get(start as usize..end as usize).unwrap_or_default(),
            _ => &[],
        }
    }

    /// The prefix of all separators.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The number of a block's last entry if the next block goes on with its user key.
    pub(crate) fn last_seqno(&self, block: usize) -> SeqNo {
        self.last_seqnos.get(block).copied().unwrap_or(0)
    }

    /// Bytes in memory.
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.prefix.len()
            + self.separators.len()
            + self.heads.len() * 8
            + self.separator_ends.len() * 4
            + self.block_ends.len() * 8
            + self.last_seqnos.len() * 8
            + self.radix.starts.len() * 4
    }

    /// Reads an image whose last block must end at `data_end`; the error says what is
    /// wrong with it.
    pub(crate) fn decode(image: &[u8], data_end: u64) -> Result<Self, &'static str> {
        let (header, rest) = IndexHeader::ref_from_prefix(image).map_err(|_| "less than an index header")?;
        let blocks = header.blocks.get() as usize;
        let seqnos = match header.flags.get() {
            0 => 0,
            STRADDLES => blocks,
            _ => return Err("an index with unknown flags"),
        };
        let short = |_| "an index that ends early";
        let (prefix, rest) =
            rest.split_at_checked(header.prefix_bytes.get() as usize).ok_or("an index that ends early")?;
        // Each of these fails before it allocates when the image is too short.
        let (ends, rest) = <[U64]>::ref_from_prefix_with_elems(rest, blocks).map_err(|_| short(()))?;
        let (separator_ends, rest) =
            <[U32]>::ref_from_prefix_with_elems(rest, blocks).map_err(|_| short(()))?;
        let (seqnos, separators) =
            <[U64]>::ref_from_prefix_with_elems(rest, seqnos).map_err(|_| short(()))?;
        if separators.len() != header.separator_bytes.get() as usize {
            return Err("an index of the wrong length");
        }
        let mut index = Self {
            prefix: prefix.to_vec(),
            heads: Vec::with_capacity(blocks),
            separator_ends: std::iter::once(0).chain(separator_ends.iter().map(|end| end.get())).collect(),
            separators: separators.to_vec(),
            block_ends: std::iter::once(HEADER_BYTES).chain(ends.iter().map(|end| end.get())).collect(),
            last_seqnos: seqnos.iter().map(|seqno| seqno.get()).collect(),
            radix: Radix::default(),
        };
        index.check(data_end)?;
        index.heads = (0..blocks).map(|block| head(index.separator(block))).collect();
        index.radix = Radix::new(&index.heads);
        Ok(index)
    }

    fn check(&self, data_end: u64) -> Result<(), &'static str> {
        let too_short =
            |pair: &[u64]| matches!(pair, [a, b] if b.saturating_sub(*a) < BLOCK_TRAILER_BYTES as u64);
        if self.block_ends.windows(2).any(too_short) || self.block_ends.last() != Some(&data_end) {
            return Err("blocks that do not fill the file");
        }
        if !self.separator_ends.is_sorted()
            || self.separator_ends.last().map(|&end| end as usize) != Some(self.separators.len())
        {
            return Err("separators that do not fill the index");
        }
        let blocks = self.block_ends.len() - 1;
        let sorted = (1..blocks).all(|block| match self.separator(block - 1).cmp(self.separator(block)) {
            Ordering::Less => true,
            Ordering::Equal => self.last_seqno(block - 1) > self.last_seqno(block),
            Ordering::Greater => false,
        });
        if sorted { Ok(()) } else { Err("separators out of order") }
    }
}

/// The first of the sorted `heads` that is not below `head`; no branch depends on
/// the data.
#[inline]
fn lower_bound(heads: &[u64], head: u64) -> usize {
    let mut low = 0;
    let mut size = heads.len();
    while size > 0 {
        let half = size / 2;
        let probe = heads.get(low + half).copied().unwrap_or(u64::MAX);
        low = if probe < head { low + size - half } else { low };
        size = half;
    }
    low
}

/// The separators of the table being written.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    separators: Vec<u8>,
    separator_ends: Vec<usize>,
    block_ends: Vec<u64>,
    last_seqnos: Vec<SeqNo>,
    straddles: bool,
}

impl IndexBuilder {
    /// Adds a block that ends at `block_end`, with its last entry and the user key of
    /// the entry after it.
    pub(crate) fn add(
        &mut self,
        block_end: u64,
        last_key: &[u8],
        last_seqno: SeqNo,
        next_key: Option<&[u8]>,
    ) {
        let straddles = next_key == Some(last_key);
        self.straddles |= straddles;
        self.last_seqnos.push(if straddles { last_seqno } else { 0 });
        match next_key {
            Some(next_key) if !straddles => put_separator(&mut self.separators, last_key, next_key),
            _ => self.separators.extend_from_slice(last_key),
        }
        self.separator_ends.push(self.separators.len());
        self.block_ends.push(block_end);
    }

    /// Blocks so far.
    pub(crate) const fn len(&self) -> usize {
        self.block_ends.len()
    }

    /// Bytes of the image, nearly.
    pub(crate) const fn estimated_bytes(&self) -> usize {
        self.separators.len() + self.block_ends.len() * 12
    }

    fn separator(&self, block: usize) -> &[u8] {
        let start = block.checked_sub(1).and_then(|before| self.separator_ends.get(before)).copied();
        let end = self.separator_ends.get(block).copied();
        self.separators.get(start.unwrap_or(0)..end.unwrap_or(0)).unwrap_or_default()
    }

    /// Appends the image.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        // Sorted: what the first and the last one share, all share.
        let (first, last) = (self.separator(0), self.separator(self.len().saturating_sub(1)));
        let prefix = first.get(..common_prefix(first, last)).unwrap_or_default();
        let cut = |block: usize| self.separator(block).get(prefix.len()..).unwrap_or_default();
        let header = IndexHeader {
            blocks: U32::new(self.len() as u32),
            flags: U32::new(if self.straddles { STRADDLES } else { 0 }),
            prefix_bytes: U32::new(prefix.len() as u32),
            separator_bytes: U32::new((self.separators.len() - prefix.len() * self.len()) as u32),
        };
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(prefix);
        self.block_ends.iter().for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
        let mut end = 0;
        for block in 0..self.len() {
            end += cut(block).len() as u32;
            out.extend_from_slice(&end.to_le_bytes());
        }
        if self.straddles {
            self.last_seqnos.iter().for_each(|seqno| out.extend_from_slice(&seqno.to_le_bytes()));
        }
        (0..self.len()).for_each(|block| out.extend_from_slice(cut(block)));
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Appends a short key at or after `last` and before `next`, which is greater.
fn put_separator(out: &mut Vec<u8>, last: &[u8], next: &[u8]) {
    let common = common_prefix(last, next);
    // A proper prefix of `next` that goes one byte past what both share is greater
    // than `last`, unless `last` is itself what both share.
    match next.get(..=common) {
        Some(prefix) if common < last.len() && prefix.len() < next.len() => out.extend_from_slice(prefix),
        _ => put_raised(out, last, next, common),
    }
}

/// Appends the shortest prefix of `last` that can be raised by one and stays below
/// `next`, else `last`.
fn put_raised(out: &mut Vec<u8>, last: &[u8], next: &[u8], common: usize) {
    for at in common..last.len() {
        let (Some(kept), Some(&byte)) = (last.get(..at), last.get(at)) else { break };
        let Some(raised) = byte.checked_add(1) else { continue };
        if at == common && next.get(at).is_none_or(|&limit| raised >= limit) {
            continue;
        }
        if at + 1 >= last.len() {
            break;
        }
        out.extend_from_slice(kept);
        out.push(raised);
        return;
    }
    out.extend_from_slice(last);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of one entry each, of 100 bytes.
    fn build(keys: &[(&[u8], SeqNo)]) -> Index {
        let mut builder = IndexBuilder::default();
        for (block, (key, seqno)) in keys.iter().enumerate() {
            let next = keys.get(block + 1).map(|(next, _)| *next);
            builder.add(HEADER_BYTES + 100 * (block as u64 + 1), key, *seqno, next);
        }
        let mut image = Vec::new();
        builder.encode(&mut image);
        for cut in 0..image.len() {
            assert!(Index::decode(&image[..cut], HEADER_BYTES + 100 * keys.len() as u64).is_err());
        }
        Index::decode(&image, HEADER_BYTES + 100 * keys.len() as u64).unwrap()
    }

    /// Each key leads to its own block, and every other key to the block where it
    /// would stand or the one before.
    fn check(keys: &[(&[u8], SeqNo)]) {
        let index = build(keys);
        for (block, (key, seqno)) in keys.iter().enumerate() {
            assert_eq!(index.find(key, *seqno), Some(block), "{key:?} {seqno}");
            let start = HEADER_BYTES + 100 * block as u64;
            assert_eq!(index.extent(block), Some((start, start + 100)));
        }
        for (key, _) in keys {
            for probe in
                [[key, &b"\0"[..]].concat(), [key, &b"\xff"[..]].concat(), key[..key.len() / 2].to_vec()]
            {
                let position = keys.partition_point(|(other, _)| *other < probe.as_slice());
                match index.find(&probe, 0) {
                    Some(block) => assert!(block == position || block + 1 == position, "{probe:?}"),
                    None => assert_eq!(position, keys.len(), "{probe:?}"),
                }
            }
        }
        assert_eq!(index.extent(keys.len()), None);
    }

    #[test]
    fn each_key_leads_to_its_block() {
        check(&[]);
        check(&[(b"", 0)]);
        check(&[(b"only", 5)]);
        check(&[(b"a", 0), (b"a\0", 0), (b"a\0\0", 0), (b"b", 0)]);
        check(&[
            (b"", 1),
            (b"\0", 1),
            (b"\xff", 1),
            (b"\xff\xff", 1),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1),
        ]);
        check(&[
            (b"prefix/12345678a", 0),
            (b"prefix/12345678b", 0),
            (b"prefix/12345678bb", 0),
            (b"prefix/2", 0),
        ]);
        check(&[(b"k", 90), (b"k", 70), (b"k", 2), (b"l", 9), (b"m", 8), (b"m", 7)]);
        let many: Vec<_> = (0..5000_u32).map(|i| format!("user{:08}", i * 7)).collect();
        check(&many.iter().map(|key| (key.as_bytes(), 0)).collect::<Vec<_>>());
        let skewed: Vec<_> = (0..64).map(|i| (u64::MAX >> i).to_be_bytes()).rev().collect();
        check(&skewed.iter().map(|key| (key.as_slice(), 0)).collect::<Vec<_>>());
    }

    #[test]
    fn versions_that_straddle_blocks_are_told_apart() {
        let index = build(&[(b"k", 90), (b"k", 70), (b"k", 2), (b"l", 9)]);
        let found: Vec<_> = [99, 90, 89, 70, 69, 2, 1, 0].map(|seqno| index.find(b"k", seqno)).into();
        // Below 2 the last block of the key answers that there is nothing older.
        assert_eq!(found, [0, 0, 1, 1, 2, 2, 2, 2].map(Some));
    }

    #[test]
    fn separators_are_short_and_separate() {
        let separator = |last: &str, next: &str| {
            let mut out = Vec::new();
            put_separator(&mut out, last.as_bytes(), next.as_bytes());
            assert!(last.as_bytes() <= out.as_slice() && out.as_slice() < next.as_bytes());
            String::from_utf8(out).unwrap()
        };
        assert_eq!(separator("apple", "banana"), "b");
        assert_eq!(separator("apple", "apricot"), "apr");
        assert_eq!(separator("apple", "apq"), "app".to_owned() + "m");
        assert_eq!(separator("app", "apple"), "app");
        assert_eq!(separator("apple", "b"), "aq");
        assert_eq!(separator("a", "c"), "a");
        assert_eq!(separator("axyz", "c"), "b");
    }

    #[test]
    fn an_image_that_is_no_index_is_refused() {
        let mut builder = IndexBuilder::default();
        builder.add(HEADER_BYTES + 50, b"b", 0, Some(b"c"));
        builder.add(HEADER_BYTES + 100, b"c", 0, None);
        let mut image = Vec::new();
        builder.encode(&mut image);
        assert!(Index::decode(&image, HEADER_BYTES + 99).is_err());
        assert!(Index::decode(&image, HEADER_BYTES + 100).is_ok());
        let last = image.len() - 1;
        image[last] = b'a';
        assert_eq!(Index::decode(&image, HEADER_BYTES + 100).err(), Some("separators out of order"));
    }
}
