//! [`Filter`]: says for most absent keys that they are absent, at the cost of one
//! cache line. A Bloom filter cut into lines of 512 bits: the upper half of the hash
//! chooses the line, the whole of it the bits therein. Built by the table writer.

#![deny(clippy::indexing_slicing)]

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const LINE_BYTES: usize = 64;
const LINE_BITS: f64 = 512.0;
/// Bits of the hash that choose a bit of a line, and how many such choices one
/// mixed word holds.
const CHOICE_BITS: u32 = 9;
const CHOICES_PER_WORD: u32 = 7;
const MAX_PROBES: u32 = 2 * CHOICES_PER_WORD;

/// The first bytes of the image; the lines follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct FilterHeader {
    lines: U32,
    probes: U32,
}

#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// The hashes of a set of keys. Immutable, `Send + Sync`.
#[derive(Debug)]
pub(crate) struct Filter {
    lines: Vec<Line>,
    probes: u32,
}

/// So many hashes lie side by side.
const PIECE: usize = 8192;

/// The hashes of the keys of a table that is being written. In pieces, since a vector that
/// doubles takes three times the memory of a table's hashes while it is copied, and leaves
/// holes that nothing fits into.
#[derive(Debug, Default)]
pub(crate) struct Hashes {
    /// All but the last are full.
    pieces: Vec<Vec<u64>>,
    len: usize,
}

impl Hashes {
    #[inline]
    pub(crate) fn push(&mut self, hash: u64) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(hash),
            _ => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(hash);
                self.pieces.push(piece);
            }
        }
        self.len += 1;
    }

    pub(crate) fn extend(&mut self, hashes: &[u64]) {
        hashes.iter().for_each(|&hash| self.push(hash));
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        self.pieces.iter().flatten().copied()
    }
}

/// The bits of a line that belong to a hash.
#[inline]
fn choices(hash: u64, probes: u32) -> impl Iterator<Item = u32> {
    // Multiplied, since the upper half of the hash is spent on choosing the line.
    let mut word = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..probes).map(move |probe| {
        if probe == CHOICES_PER_WORD {
            word = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        }
        let choice = word as u32 & ((1 << CHOICE_BITS) - 1);
        word >>= CHOICE_BITS;
        choice
    })
}

impl Filter {
    /// A filter over `hashes` with so many bits for each; 0 bits give `None`.
    pub(crate) fn build(hashes: &Hashes, bits_per_key: f32) -> Option<Self> {
        let bits_per_key = f64::from(bits_per_key);
        if bits_per_key.is_nan() || bits_per_key <= 0.0 || hashes.len() == 0 {
            return None;
        }
        let lines = (hashes.len() as f64 * bits_per_key / LINE_BITS).ceil().clamp(1.0, f64::from(u32::MAX));
        // Less than the ln 2 of a plain Bloom filter: the keys spread unevenly over lines.
        let probes = (bits_per_key * 0.6).round().clamp(1.0, f64::from(MAX_PROBES)) as u32;
        let mut filter = Self { lines: vec![Line([0; 8]); lines as usize], probes };
        for hash in hashes.iter() {
            filter.insert(hash);
        }
        Some(filter)
    }

    fn insert(&mut self, hash: u64) {
        let (at, probes) = (self.line_of(hash), self.probes);
        if let Some(Line(words)) = self.lines.get_mut(at) {
            for choice in choices(hash, probes) {
                if let Some(word) = words.get_mut(choice as usize / 64) {
                    *word |= 1 << (choice % 64);
                }
            }
        }
    }

    #[inline]
    fn line_of(&self, hash: u64) -> usize {
        (((hash >> 32) * self.lines.len() as u64) >> 32) as usize
    }

    /// Has the line of a hash fetched.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        crate::cache::prefetch(self.lines.as_ptr().wrapping_add(self.line_of(hash)));
    }

    /// Whether the hash may be inside; always true when it is.
    #[inline]
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let Some(Line(words)) = self.lines.get(self.line_of(hash)) else { return true };
        // All bits without a branch: most lines answer in their first miss, but which
        // one it is cannot be predicted.
        let mut all = 1;
        for choice in choices(hash, self.probes) {
            let word = words.get(choice as usize / 64).copied().unwrap_or_default();
            all &= word >> (choice % 64);
        }
        all & 1 != 0
    }

    /// Appends the image.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let header = FilterHeader { lines: U32::new(self.lines.len() as u32), probes: U32::new(self.probes) };
        out.reserve(size_of::<FilterHeader>() + self.lines.len() * LINE_BYTES);
        out.extend_from_slice(header.as_bytes());
        for Line(words) in &self.lines {
            words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        }
    }

    /// Reads an image; the error says what is wrong with it.
    pub(crate) fn decode(image: &[u8]) -> Result<Self, &'static str> {
        let (header, lines) =
            FilterHeader::ref_from_prefix(image).map_err(|_| "less than a filter header")?;
        let (chunks, rest) = lines.as_chunks::<LINE_BYTES>();
        if !rest.is_empty() || chunks.is_empty() || chunks.len() != header.lines.get() as usize {
            return Err("a filter of the wrong length");
        }
        let probes = header.probes.get();
        if !(1..=MAX_PROBES).contains(&probes) {
            return Err("a filter with an impossible number of probes");
        }
        let lines = chunks
            .iter()
            .map(|line| {
                let mut words = line.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
                Line(std::array::from_fn(|_| words.next().unwrap_or_default()))
            })
            .collect();
        Ok(Self { lines, probes })
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.lines.len() * LINE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_hash;

    fn gather(list: &[u64]) -> Hashes {
        let mut hashes = Hashes::default();
        hashes.extend(list);
        hashes
    }

    fn false_positives(bits_per_key: f32) -> f64 {
        let hashes: Vec<u64> = (0..100_000_u32).map(|i| key_hash(&i.to_le_bytes())).collect();
        let filter = Filter::build(&gather(&hashes), bits_per_key).unwrap();
        assert!(hashes.iter().all(|&hash| filter.may_contain(hash)), "a present key was denied");
        let mut image = Vec::new();
        filter.encode(&mut image);
        let filter = Filter::decode(&image).unwrap();
        assert!(
            hashes.iter().all(|&hash| filter.may_contain(hash)),
            "a present key was denied after decoding"
        );
        let absent = (1_000_000..1_200_000_u32).map(|i| key_hash(&i.to_le_bytes()));
        absent.filter(|&hash| filter.may_contain(hash)).count() as f64 / 200_000.0
    }

    #[test]
    fn more_bits_let_fewer_absent_keys_pass() {
        let rates = [4.0, 6.5, 8.0, 10.0, 12.0, 16.0, 20.0].map(false_positives);
        println!("{rates:?}");
        assert!(rates.is_sorted_by(|a, b| a > b), "{rates:?}");
        assert!(rates[3] < 0.012, "10 bits let {} pass", rates[3]);
        assert!(rates[5] < 0.0018, "16 bits let {} pass", rates[5]);
    }

    #[test]
    fn no_bits_mean_no_filter() {
        for bits in [0.0, -1.0, f32::NAN] {
            assert!(Filter::build(&gather(&[1]), bits).is_none());
        }
        assert!(Filter::build(&gather(&[]), 10.0).is_none());
        assert!(Filter::build(&gather(&[1]), 1e9).is_some());
    }

    #[test]
    fn an_image_that_is_no_filter_is_refused() {
        let mut image = Vec::new();
        Filter::build(&gather(&[1, 2, 3]), 10.0).unwrap().encode(&mut image);
        for cut in 0..image.len() {
            assert!(Filter::decode(&image[..cut]).is_err());
        }
        image[4] = 200;
        assert!(Filter::decode(&image).is_err());
    }
}
