//! [`View`]: the image of a data block, in memory. Everything stands at a fixed
//! place, so a look-up decodes nothing; layout and bounds are checked once, when
//! the block is loaded. Called by `get` and by cursors; never reads a file, and leaves
//! it to [`crate::cache`] where the image lies.
//!
//! ```text
//! image := header | fingerprints | [offsets] | [trailers] | [key lengths] | rows
//! row   := user key | value
//! ```
//!
//! What is equal in all entries of the block (trailer, key length, row length)
//! stands once, in the header, and its array is absent.

#![deny(clippy::indexing_slicing)]

use lsm_types::{InternalKey, SeqNo, Trailer, ValueKind};
use std::ops::Range;
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of the image.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct BlockHeader {
    pub(crate) count: U16,
    pub(crate) flags: U16,
    /// Length of every key, with [`UNIFORM_KEYS`].
    pub(crate) key_bytes: U16,
    pub(crate) reserved: U16,
    /// Trailer of every entry, with [`SHARED_TRAILER`].
    pub(crate) trailer: U64,
}

/// Offsets of rows take four bytes instead of two.
pub(crate) const WIDE_OFFSETS: u16 = 1;
/// All entries have the trailer in the header.
pub(crate) const SHARED_TRAILER: u16 = 2;
/// All keys have the length in the header.
pub(crate) const UNIFORM_KEYS: u16 = 4;
/// All rows have the same length, so there are no offsets.
pub(crate) const UNIFORM_ROWS: u16 = 8;
const ALL_FLAGS: u16 = WIDE_OFFSETS | SHARED_TRAILER | UNIFORM_KEYS | UNIFORM_ROWS;

/// Fingerprints are compared in groups of this many, one word; the last group is
/// filled up with zeros.
pub(crate) const FINGERPRINT_GROUP: usize = 8;
const EACH_BYTE: u64 = u64::from_le_bytes([1; FINGERPRINT_GROUP]);
const FINGERPRINTS_AT: usize = size_of::<BlockHeader>();

/// Where the arrays of an image start, from what its header says. What every look-up
/// needs stands first.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Layout {
    trailer: u64,
    rows_at: u32,
    row_bytes: u32,
    count: u16,
    flags: u16,
    key_bytes: u16,
    trailers_at: u32,
    key_lens_at: u32,
}

/// Where the offsets of rows start, behind the fingerprints.
const fn offsets_at(count: usize) -> usize {
    FINGERPRINTS_AT + count.next_multiple_of(FINGERPRINT_GROUP)
}

impl Layout {
    /// Bytes before the rows of a block of `count` entries with these flags.
    pub(crate) const fn rows_at(count: usize, flags: u16) -> usize {
        let [_, _, _, rows_at] = Self::starts(count, flags);
        rows_at
    }

    /// Starts of offsets, trailers, key lengths and rows.
    const fn starts(count: usize, flags: u16) -> [usize; 4] {
        let offsets_at = offsets_at(count);
        let offset_bytes = if flags & WIDE_OFFSETS == 0 { 2 } else { 4 };
        let offsets = if flags & UNIFORM_ROWS == 0 { (count + 1) * offset_bytes } else { 0 };
        let trailers_at = offsets_at + offsets;
        let key_lens_at = trailers_at + if flags & SHARED_TRAILER == 0 { count * 8 } else { 0 };
        let rows_at = key_lens_at + if flags & UNIFORM_KEYS == 0 { count * 2 } else { 0 };
        [offsets_at, trailers_at, key_lens_at, rows_at]
    }

    /// Checks an image; the error says what it has that a block has not. O(entries). The
    /// order of the keys is left to `verify`.
    pub(crate) fn check(image: &[u8]) -> Result<Self, &'static str> {
        let layout = Self::read(image)?;
        let view = View::new(image, &layout);
        view.check_rows()?;
        view.check_trailers()?;
        Ok(layout)
    }

    /// Gives all entries, which are values numbered 0, another trailer.
    pub(crate) fn renumber(&mut self, trailer: Trailer) -> Result<(), &'static str> {
        let unnumbered = Trailer::new(0, ValueKind::Value).word();
        if self.flags & SHARED_TRAILER == 0 || self.trailer != unnumbered {
            return Err("entries with numbers of their own");
        }
        self.trailer = trailer.word();
        Ok(())
    }

    /// Reads the header and checks that arrays and rows fill the image exactly.
    fn read(image: &[u8]) -> Result<Self, &'static str> {
        let (header, _) = BlockHeader::ref_from_prefix(image).map_err(|_| "less than a block header")?;
        let (count, flags) = (usize::from(header.count.get()), header.flags.get());
        if count == 0 {
            return Err("a block without entries");
        }
        if flags & !ALL_FLAGS != 0 || header.reserved.get() != 0 {
            return Err("a block header with unknown flags");
        }
        let [_, trailers_at, key_lens_at, rows_at] = Self::starts(count, flags);
        let rows = image.len().checked_sub(rows_at).ok_or("arrays past the end of the block")?;
        if u32::try_from(image.len()).is_err() {
            return Err("a block of more than 4 GiB");
        }
        let mut row_bytes = 0;
        if flags & UNIFORM_ROWS != 0 {
            row_bytes = rows / count;
            if rows % count != 0 {
                return Err("rows that do not fill the block");
            }
        }
        Ok(Self {
            count: header.count.get(),
            flags,
            key_bytes: header.key_bytes.get(),
            trailer: header.trailer.get(),
            trailers_at: trailers_at as u32,
            key_lens_at: key_lens_at as u32,
            rows_at: rows_at as u32,
            row_bytes: row_bytes as u32,
        })
    }
}

/// Where an entry's row lies in the image.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    key_at: u32,
    value_at: u32,
    end: u32,
}

impl Row {
    #[inline]
    pub(crate) const fn key(self) -> Range<usize> {
        self.key_at as usize..self.value_at as usize
    }

    #[inline]
    pub(crate) const fn value(self) -> Range<usize> {
        self.value_at as usize..self.end as usize
    }
}

/// The checked image of a data block. Indexes past the last entry give empty keys, never
/// a panic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    image: &'a [u8],
    layout: &'a Layout,
}

impl<'a> View<'a> {
    /// An image with the layout that [`Layout::check`] found in it.
    #[inline]
    pub(crate) const fn new(image: &'a [u8], layout: &'a Layout) -> Self {
        Self { image, layout }
    }

    fn check_rows(self) -> Result<(), &'static str> {
        let (layout, image) = (self.layout, self.image);
        let uniform_keys = layout.flags & UNIFORM_KEYS != 0;
        if uniform_keys && layout.flags & UNIFORM_ROWS != 0 {
            let fits = u32::from(layout.key_bytes) <= layout.row_bytes;
            return if fits { Ok(()) } else { Err("a key longer than its row") };
        }
        let mut end = layout.rows_at;
        let mut bad_order = false;
        let mut bad_key = false;
        for index in 0..usize::from(layout.count) {
            let row = self.row(index);
            bad_order |= row.key_at != end || row.end < row.key_at || row.end as usize > image.len();
            bad_key |= row.value_at > row.end;
            end = row.end;
        }
        if bad_order || end as usize != image.len() {
            return Err("rows that do not fill the block");
        }
        if bad_key { Err("a key longer than its row") } else { Ok(()) }
    }

    fn check_trailers(self) -> Result<(), &'static str> {
        let distinct = if self.layout.flags & SHARED_TRAILER != 0 { 1 } else { self.count() };
        let known = (0..distinct).all(|index| {
            ValueKind::try_from(self.trailer_word(index) as u8)
                .is_ok_and(|kind| kind != ValueKind::RangeTombstone)
        });
        if known { Ok(()) } else { Err("an entry of unknown kind") }
    }

    /// Entries in the block, at least one.
    #[inline]
    pub(crate) const fn count(self) -> usize {
        self.layout.count as usize
    }

    /// The bytes that rows point into.
    #[inline]
    pub(crate) const fn image(self) -> &'a [u8] {
        self.image
    }

    /// Where the row of an entry lies.
    #[inline]
    pub(crate) fn row(self, index: usize) -> Row {
        let layout = self.layout;
        let (start, end) = if layout.flags & UNIFORM_ROWS != 0 {
            let start = (index as u32).wrapping_mul(layout.row_bytes);
            (start, start.wrapping_add(layout.row_bytes))
        } else if layout.flags & WIDE_OFFSETS == 0 {
            // Both ends of a row in one load.
            let pair = u32::from_le_bytes(self.load(offsets_at(self.count()) + index * 2));
            (pair & 0xffff, pair >> 16)
        } else {
            let pair = u64::from_le_bytes(self.load(offsets_at(self.count()) + index * 4));
            (pair as u32, (pair >> 32) as u32)
        };
        let key_at = layout.rows_at.wrapping_add(start);
        let value_at = key_at.wrapping_add(u32::from(self.key_bytes(index)));
        Row { key_at, value_at, end: layout.rows_at.wrapping_add(end) }
    }

    #[inline]
    fn key_bytes(self, index: usize) -> u16 {
        if self.layout.flags & UNIFORM_KEYS != 0 {
            self.layout.key_bytes
        } else {
            u16::from_le_bytes(self.load(self.layout.key_lens_at as usize + index * 2))
        }
    }

    #[inline]
    fn trailer_word(self, index: usize) -> u64 {
        if self.layout.flags & SHARED_TRAILER != 0 {
            self.layout.trailer
        } else {
            u64::from_le_bytes(self.load(self.layout.trailers_at as usize + index * 8))
        }
    }

    #[inline]
    fn load<const N: usize>(self, at: usize) -> [u8; N] {
        self.image.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    /// Number and kind of an entry.
    #[inline]
    pub(crate) fn trailer(self, index: usize) -> Trailer {
        // The check at loading admits only known kinds.
        Trailer::from_word(self.trailer_word(index)).unwrap_or(Trailer::new(0, ValueKind::Value))
    }

    /// Number and kind, if all entries have the same.
    #[inline]
    pub(crate) fn shared_trailer(self) -> Option<Trailer> {
        (self.layout.flags & SHARED_TRAILER != 0).then(|| self.trailer(0))
    }

    /// The user key of an entry.
    #[inline]
    pub(crate) fn user_key(self, index: usize) -> &'a [u8] {
        self.image.get(self.row(index).key()).unwrap_or_default()
    }

    /// The key of an entry.
    #[inline]
    pub(crate) fn key(self, index: usize) -> InternalKey<&'a [u8]> {
        InternalKey { user_key: self.user_key(index), trailer: self.trailer(index) }
    }

    /// The value of an entry.
    pub(crate) fn value(self, index: usize) -> &'a [u8] {
        self.image.get(self.row(index).value()).unwrap_or_default()
    }

    /// The fingerprint of an entry.
    pub(crate) fn fingerprint(self, index: usize) -> u8 {
        self.image.get(FINGERPRINTS_AT + index).copied().unwrap_or_default()
    }

    /// The newest version of `user_key` with a number below `snapshot`: compares one
    /// byte an entry, and keys only where that byte fits.
    #[inline]
    pub(crate) fn find(self, user_key: &[u8], fingerprint: u8, snapshot: SeqNo) -> Option<usize> {
        let fingerprints = self.image.get(FINGERPRINTS_AT..offsets_at(self.count()))?;
        let (groups, _) = fingerprints.as_chunks::<FINGERPRINT_GROUP>();
        let pattern = EACH_BYTE * u64::from(fingerprint);
        let mut first = 0;
        for group in groups {
            let mut matches = matching(*group, pattern);
            while matches != 0 {
                let index = first + matches.trailing_zeros() as usize / 8;
                if index >= self.count() {
                    return None;
                }
                // The value will be read right after the key.
                crate::cache::prefetch(self.image.as_ptr().wrapping_add(self.row(index).end as usize));
                if self.user_key(index) == user_key && self.trailer(index).seqno() < snapshot {
                    return Some(index);
                }
                matches &= matches - 1;
            }
            first += FINGERPRINT_GROUP;
        }
        None
    }

    /// The first entry at or after `target`, or the count. O(log entries).
    pub(crate) fn lower_bound(self, target: InternalKey<&[u8]>) -> usize {
        self.partition_point(|key| key < target)
    }

    /// The first entry after `target`, or the count. O(log entries).
    pub(crate) fn upper_bound(self, target: InternalKey<&[u8]>) -> usize {
        self.partition_point(|key| key <= target)
    }

    /// Has the lines fetched where the keys of these entries lie.
    #[inline]
    fn fetch_keys(self, entries: impl Iterator<Item = usize>) {
        for entry in entries {
            crate::cache::prefetch(self.image.as_ptr().wrapping_add(self.row(entry).key_at as usize));
        }
    }

    /// Has the first lines fetched of the rows of these entries.
    #[inline]
    pub(crate) fn fetch_rows(self, entries: impl Iterator<Item = usize>) {
        const LINE_BYTES: usize = 64;
        for entry in entries {
            let row = self.image.as_ptr().wrapping_add(self.row(entry).key_at as usize);
            crate::cache::prefetch(row);
            crate::cache::prefetch(row.wrapping_add(LINE_BYTES));
        }
    }

    fn partition_point(self, is_before: impl Fn(InternalKey<&[u8]>) -> bool) -> usize {
        const FETCHED_AT_ONCE: usize = 8;
        let (mut low, mut high) = (0, self.count());
        // In a block that is in no cache of the processor each comparison would wait for a
        // line of its own: those of the first three are fetched together, and once few rows
        // are left, all of those.
        self.fetch_keys((1..FETCHED_AT_ONCE).map(|eighth| high * eighth / FETCHED_AT_ONCE));
        let mut are_fetched = false;
        while low < high {
            if !are_fetched && high - low <= FETCHED_AT_ONCE {
                are_fetched = true;
                self.fetch_keys(low..high);
            }
            let middle = low.midpoint(high);
            if is_before(self.key(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Sets the top bit of each byte of `group` that equals the one repeated in
/// `pattern`. Above the lowest match it may also set bits of bytes that differ by
/// one, which costs a comparison of keys and nothing else.
#[inline]
const fn matching(group: [u8; FINGERPRINT_GROUP], pattern: u64) -> u64 {
    let differences = u64::from_le_bytes(group) ^ pattern;
    differences.wrapping_sub(EACH_BYTE) & !differences & (EACH_BYTE << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_matching_byte_is_missed_and_the_lowest_is_exact() {
        let mut state = 3_u64;
        for _ in 0..5000 {
            let group: [u8; FINGERPRINT_GROUP] = std::array::from_fn(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                [0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff][(state >> 40) as usize % 8]
            });
            for byte in [0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff] {
                let found = matching(group, EACH_BYTE * u64::from(byte));
                for (at, &other) in group.iter().enumerate() {
                    let is_set = found >> (8 * at + 7) & 1 != 0;
                    assert!(is_set || other != byte, "{group:?} {byte}");
                }
                let lowest = (found != 0).then(|| found.trailing_zeros() as usize / 8);
                assert_eq!(lowest, group.iter().position(|&other| other == byte), "{group:?} {byte}");
            }
        }
    }

    #[test]
    fn an_image_that_is_no_block_is_refused() {
        let image = |bytes: &[u8]| Layout::check(bytes).err();
        assert_eq!(image(b"short"), Some("less than a block header"));
        assert_eq!(image(&[0; 16]), Some("a block without entries"));
        let mut header = [0; 16];
        header[0] = 1;
        header[2] = 0xf0;
        assert_eq!(image(&header), Some("a block header with unknown flags"));
        header[2] = 0;
        assert_eq!(image(&header), Some("arrays past the end of the block"));
    }
}
