//! [`BlockBuilder`]: collects entries and lays them out as the image that
//! [`crate::block`] reads. Called by the table writer only.

use crate::block::{
    BlockHeader, FINGERPRINT_GROUP, Layout, SHARED_TRAILER, UNIFORM_KEYS, UNIFORM_ROWS, WIDE_OFFSETS,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U64};

/// Room that is left before the rows: the image of a block of one entry, as large values have
/// them, is then there without a copy.
const HEAD_OF_ONE: usize = Layout::rows_at(1, SHARED_TRAILER | UNIFORM_KEYS | UNIFORM_ROWS);

/// The entries of the block being built.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    fingerprints: Vec<u8>,
    row_ends: Vec<u32>,
    trailers: Vec<u64>,
    key_lens: Vec<u16>,
    /// Behind [`HEAD_OF_ONE`] zeros, once there are any.
    rows: Vec<u8>,
    /// What is the same in all entries so far; without an entry, everything is.
    mixed_trailers: bool,
    mixed_keys: bool,
    mixed_rows: bool,
}

impl BlockBuilder {
    pub(crate) const fn is_empty(&self) -> bool {
        self.row_ends.is_empty()
    }

    /// Whether not even one more entry can be counted.
    pub(crate) const fn is_full(&self) -> bool {
        self.row_ends.len() >= u16::MAX as usize
    }

    /// Bytes of the image if this entry were added.
    pub(crate) fn image_bytes_with(&self, key_bytes: usize, value_bytes: usize, trailer: u64) -> usize {
        let row_bytes = key_bytes + value_bytes;
        let rows = self.row_bytes() + row_bytes;
        let flags = flags(
            self.mixed_trailers || self.trailers.first().is_some_and(|&first| first != trailer),
            self.mixed_keys || self.key_lens.first().is_some_and(|&first| usize::from(first) != key_bytes),
            self.mixed_rows || self.row_ends.first().is_some_and(|&first| first as usize != row_bytes),
            rows,
        );
        Layout::rows_at(self.row_ends.len() + 1, flags) + rows
    }

    /// Bytes of rows so far: what the image has at least.
    pub(crate) const fn row_bytes(&self) -> usize {
        self.rows.len().saturating_sub(HEAD_OF_ONE)
    }

    /// Adds an entry; the caller has checked order and limits.
    pub(crate) fn add(&mut self, user_key: &[u8], value: &[u8], trailer: u64, fingerprint: u8) {
        let row_bytes = (user_key.len() + value.len()) as u32;
        if let (Some(&first_trailer), Some(&first_key), Some(&first_row)) =
            (self.trailers.first(), self.key_lens.first(), self.row_ends.first())
        {
            self.mixed_trailers |= first_trailer != trailer;
            self.mixed_keys |= usize::from(first_key) != user_key.len();
            self.mixed_rows |= first_row != row_bytes;
        }
        self.fingerprints.push(fingerprint);
        self.trailers.push(trailer);
        self.key_lens.push(user_key.len() as u16);
        if self.rows.is_empty() {
            self.rows.resize(HEAD_OF_ONE, 0);
        }
        self.rows.extend_from_slice(user_key);
        self.rows.extend_from_slice(value);
        self.row_ends.push(self.row_bytes() as u32);
    }

    /// The image, if there is just one entry; then starts afresh. [`reuse`](Self::reuse) takes
    /// its memory back.
    pub(crate) fn finish_alone(&mut self) -> Option<Vec<u8>> {
        let &[fingerprint] = self.fingerprints.as_slice() else { return None };
        let header = self.header();
        let mut image = std::mem::take(&mut self.rows);
        let head = header.as_bytes().iter().chain([&fingerprint]);
        image.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        self.clear();
        Some(image)
    }

    /// Takes back the memory of an image.
    pub(crate) fn reuse(&mut self, image: Vec<u8>) {
        if self.rows.is_empty() {
            self.rows = image;
            self.rows.clear();
        }
    }

    /// Appends the image of at least one entry to `out` and starts afresh.
    pub(crate) fn finish_into(&mut self, out: &mut Vec<u8>) {
        let header = self.header();
        let (count, flags) = (self.row_ends.len(), header.flags.get());
        out.reserve(Layout::rows_at(count, flags) + self.row_bytes());
        out.extend_from_slice(header.as_bytes());
        self.fingerprints.resize(count.next_multiple_of(FINGERPRINT_GROUP), 0);
        out.extend_from_slice(&self.fingerprints);
        if flags & UNIFORM_ROWS == 0 {
            let offsets = std::iter::once(&0).chain(&self.row_ends);
            if flags & WIDE_OFFSETS == 0 {
                offsets.for_each(|&at| out.extend_from_slice(&(at as u16).to_le_bytes()));
            } else {
                offsets.for_each(|&at| out.extend_from_slice(&at.to_le_bytes()));
            }
        }
        if flags & SHARED_TRAILER == 0 {
            self.trailers.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        }
        if flags & UNIFORM_KEYS == 0 {
            self.key_lens.iter().for_each(|len| out.extend_from_slice(&len.to_le_bytes()));
        }
        out.extend_from_slice(self.rows.get(HEAD_OF_ONE..).unwrap_or_default());
        self.clear();
    }

    /// The header of the image of all entries so far.
    fn header(&self) -> BlockHeader {
        let flags = flags(self.mixed_trailers, self.mixed_keys, self.mixed_rows, self.row_bytes());
        BlockHeader {
            count: U16::new(self.row_ends.len() as u16),
            flags: U16::new(flags),
            key_bytes: U16::new(first_if(flags & UNIFORM_KEYS != 0, &self.key_lens)),
            reserved: U16::ZERO,
            trailer: U64::new(first_if(flags & SHARED_TRAILER != 0, &self.trailers)),
        }
    }

    fn clear(&mut self) {
        self.fingerprints.clear();
        self.row_ends.clear();
        self.trailers.clear();
        self.key_lens.clear();
        self.rows.clear();
        (self.mixed_trailers, self.mixed_keys, self.mixed_rows) = (false, false, false);
    }
}

fn flags(mixed_trailers: bool, mixed_keys: bool, mixed_rows: bool, rows: usize) -> u16 {
    let mut flags = 0;
    flags |= if mixed_trailers { 0 } else { SHARED_TRAILER };
    flags |= if mixed_keys { 0 } else { UNIFORM_KEYS };
    flags |= if mixed_rows { 0 } else { UNIFORM_ROWS };
    // Without offsets their width means nothing and stays 0.
    flags | if mixed_rows && rows > usize::from(u16::MAX) { WIDE_OFFSETS } else { 0 }
}

fn first_if<T: Copy + Default>(wanted: bool, values: &[T]) -> T {
    values.first().copied().filter(|_| wanted).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Layout;
    use crate::cache::{Admission, Block, BlockCache, Draft, Slots};
    use crate::hash::{fingerprint, key_hash};
    use lsm_types::{InternalKey, Trailer, ValueKind};

    type Entry = (Vec<u8>, u64, Vec<u8>);

    /// A block as it is loaded.
    fn load(image: &[u8]) -> Result<Block, &'static str> {
        let cache = BlockCache::new(0);
        let mut draft = Draft::new(&cache, image.len() as u32, Admission::Always);
        draft.image().copy_from_slice(image);
        let layout = Layout::check(draft.image())?;
        Ok(draft.finish(layout, &Slots::new(&cache, 1), 0))
    }

    fn build(entries: &[Entry]) -> Block {
        let mut builder = BlockBuilder::default();
        let mut image = Vec::new();
        let mut promised = 0;
        for (key, seqno, value) in entries {
            let trailer = Trailer::new(*seqno, ValueKind::Value).word();
            promised = builder.image_bytes_with(key.len(), value.len(), trailer);
            builder.add(key, value, trailer, fingerprint(key_hash(key)));
        }
        builder.finish_into(&mut image);
        assert_eq!(image.len(), promised, "the size is known before the image is built");
        assert!(builder.is_empty());
        load(&image).unwrap()
    }

    fn check(entries: &[Entry]) {
        let loaded = build(entries);
        let block = loaded.view();
        assert_eq!(block.count(), entries.len());
        for (index, (key, seqno, value)) in entries.iter().enumerate() {
            assert_eq!(block.user_key(index), key);
            assert_eq!(block.value(index), value);
            assert_eq!(block.trailer(index).seqno(), *seqno);
            let found = block.find(key, fingerprint(key_hash(key)), seqno + 1);
            assert_eq!(found, Some(index), "{key:?} is found at its own snapshot");
            let internal = InternalKey::new(key.as_slice(), *seqno, ValueKind::Value);
            assert_eq!(block.lower_bound(internal), index);
            assert_eq!(block.upper_bound(internal), index + 1);
            let absent = [key.as_slice(), b"?"].concat();
            assert_eq!(block.find(&absent, fingerprint(key_hash(&absent)), u64::MAX), None);
            let range = block.row(index).value();
            assert_eq!(loaded.slice(range.clone()), *value);
            assert_eq!(loaded.clone().into_slice(range), *value);
        }
    }

    #[test]
    fn each_layout_gives_its_entries_back() {
        let key = |i: usize| format!("{i:05}").into_bytes();
        let uniform: Vec<Entry> = (0..40).map(|i| (key(i), 0, vec![1; 30])).collect();
        check(&uniform);
        check(&uniform[..1]);
        check(&(0..40).map(|i| (key(i), 0, vec![2; i])).collect::<Vec<_>>());
        check(&(0..40).map(|i| (vec![b'k'; i], i as u64, vec![3; i % 3])).collect::<Vec<_>>());
        check(&(0..40).map(|i| (vec![b'k'; i], 7, vec![3; 40 - i])).collect::<Vec<_>>());
        check(&(0..9).map(|i| (b"same".to_vec(), 9 - i, vec![0; 20_000 + i as usize])).collect::<Vec<_>>());
        check(&[(vec![], 0, vec![])]);
    }

    #[test]
    fn the_image_of_one_entry_is_the_same_either_way() {
        let mut builder = BlockBuilder::default();
        for (key_len, value_len) in [(0, 0), (3, 5), (16, 16 << 10), (60_000, 3), (7, 100_000), (1, 0)] {
            let (key, value) = (vec![b'k'; key_len], vec![b'v'; value_len]);
            let mut image = Vec::new();
            builder.add(&key, &value, 77, 200);
            builder.finish_into(&mut image);
            builder.add(&key, &value, 77, 200);
            let alone = builder.finish_alone().unwrap();
            assert!(alone == image, "a key of {key_len} and a value of {value_len} bytes");
            assert!(builder.is_empty() && builder.row_bytes() == 0);
            builder.reuse(alone);
        }
        builder.add(b"a", b"", 1, 0);
        builder.add(b"b", b"", 1, 0);
        assert!(builder.finish_alone().is_none());
        assert_eq!(builder.row_bytes(), 2);
    }

    /// Without a checksum in front: damage that happens to fit it must not panic either.
    #[test]
    fn no_damaged_image_makes_a_reader_panic() {
        let mixed: Vec<Entry> = (0..12).map(|i| (vec![b'k'; i], i as u64, vec![3; i % 3])).collect();
        let uniform: Vec<Entry> = (0..12).map(|i| (vec![i as u8], 7, vec![3; 2])).collect();
        for image in [mixed, uniform].map(|entries| build(&entries).view().image().to_vec()) {
            for bit in 0..image.len() * 8 {
                let mut damaged = image.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                read_anyhow(&damaged);
            }
            for cut in 0..image.len() {
                read_anyhow(&image[..cut]);
            }
        }
    }

    fn read_anyhow(image: &[u8]) {
        let Ok(loaded) = load(image) else { return };
        let block = loaded.view();
        for index in (0..block.count() + 2).chain([usize::MAX / 16]) {
            let key = block.key(index);
            block.find(key.user_key, block.fingerprint(index), u64::MAX);
            assert!(block.lower_bound(key) <= block.upper_bound(key) || index >= block.count());
            assert_eq!(loaded.slice(block.row(index).value()), block.value(index));
            loaded.clone().into_slice(block.row(index).key());
        }
    }
}
