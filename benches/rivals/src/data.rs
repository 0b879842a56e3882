//! Keys and values that every workload can make again from an index, so that every
//! answer can be checked without keeping a copy of the data.
//!
//! A value begins with a fingerprint of its key and the number of its version. While
//! the clock runs, fingerprints are compared; whole values are compared afterwards.

use crate::engine::{Failure, Source};

/// A key of up to 64 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    bytes: [u8; 64],
    len: usize,
}

impl Key {
    fn new(parts: &[&[u8]]) -> Self {
        let mut key = Self { bytes: [0; 64], len: 0 };
        for part in parts {
            let room = key.bytes.get_mut(key.len..key.len + part.len());
            room.into_iter().for_each(|room| room.copy_from_slice(part));
            key.len += part.len();
        }
        key
    }
}

impl AsRef<[u8]> for Key {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// How keys are made from indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// 16 bytes that look random: indexes in order are keys at random.
    Random,
    /// 8 bytes of the index, then 8 zeros in ASCII: indexes in order are keys in order.
    Sequential,
    /// 64 bytes of which the first 40 are the same in all keys.
    Shared,
    /// 16 bytes: 256 indexes share their first 8 bytes.
    Grouped,
}

/// How many keys share a prefix in [`Layout::Grouped`].
pub(crate) const GROUP: u64 = 256;

const SHARED: &[u8; 40] = b"tenant/0000042/collection/articles/body/";

impl Layout {
    /// The key of `index`.
    #[inline]
    pub(crate) fn key(self, index: u64) -> Key {
        let second = mix(index ^ 0x5851_f42d_4c95_7f2d).to_be_bytes();
        match self {
            Self::Random => Key::new(&[&mix(index).to_be_bytes(), &second]),
            Self::Sequential => Key::new(&[&index.to_be_bytes(), b"00000000"]),
            Self::Shared => Key::new(&[SHARED, &mix(index).to_be_bytes(), &second, &index.to_be_bytes()]),
            Self::Grouped => Key::new(&[&Self::group(index / GROUP), &second]),
        }
    }

    /// The prefix that the keys of a group share in [`Layout::Grouped`].
    pub(crate) fn group(group: u64) -> [u8; 8] {
        mix(group).to_be_bytes()
    }

    /// The length of a key.
    pub(crate) fn key_bytes(self) -> usize {
        if self == Self::Shared { 64 } else { 16 }
    }
}

/// A one-to-one map of numbers that looks random.
#[inline]
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => u64::from_be_bytes(bytes),
        None => 0,
    }
}

/// What the first 8 bytes of a key's value must be.
#[inline]
pub(crate) fn fingerprint(key: &[u8]) -> u64 {
    let at = key.len().saturating_sub(16);
    word(key, at) ^ word(key, at + 8).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The first 8 bytes of a key, as a number that sorts as the keys do.
#[inline]
pub(crate) fn head(key: &[u8]) -> u64 {
    word(key, 0)
}

/// Makes and checks values of one length, half of which compresses.
#[derive(Clone)]
pub(crate) struct Values {
    pool: Vec<u8>,
    buffer: Vec<u8>,
}

const POOL_BYTES: usize = 1 << 20;
const PIECE: usize = 100;

impl Values {
    pub(crate) fn new(len: usize) -> Self {
        let mut pool = Vec::with_capacity(POOL_BYTES + len);
        let mut state = 1;
        while pool.len() < POOL_BYTES + len {
            if pool.len() % PIECE < PIECE / 2 {
                state = mix(state);
                pool.push(state as u8);
            } else {
                pool.push(b'v');
            }
        }
        Self { pool, buffer: vec![0; len] }
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// The value of `key` in its version `version`.
    #[inline]
    pub(crate) fn make(&mut self, key: &[u8], version: u32) -> &[u8] {
        let fingerprint = fingerprint(key);
        let piece = (fingerprint >> 11) as usize % (POOL_BYTES / PIECE);
        let len = self.buffer.len();
        if let Some(template) = self.pool.get(piece * PIECE..piece * PIECE + len) {
            self.buffer.copy_from_slice(template);
        }
        if let Some(room) = self.buffer.get_mut(..8) {
            room.copy_from_slice(&fingerprint.to_be_bytes());
        }
        if let Some(room) = self.buffer.get_mut(8..12) {
            room.copy_from_slice(&version.to_be_bytes());
        }
        &self.buffer
    }

    /// Whether `value` is of the right length and belongs to `key`, in any version.
    #[inline]
    pub(crate) fn belongs(&self, key: &[u8], value: &[u8]) -> bool {
        value.len() == self.buffer.len() && word(value, 0) == fingerprint(key)
    }

    /// Fails unless `value` is, byte by byte, the value of `key` in its version.
    pub(crate) fn check(&mut self, key: &[u8], value: &[u8], version: u32) -> Result<(), Failure> {
        if self.make(key, version) == value {
            return Ok(());
        }
        let found = value.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        Err(format!("wrong value of {} bytes, version {found:?} instead of {version}", value.len()).into())
    }
}

/// A small generator of random numbers (xorshift of Marsaglia).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed) | 1)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// `count` numbers below `bound` in the distribution of YCSB (theta 0.99), the most
/// frequent first: rank 0 is the most frequent.
pub(crate) fn zipfian_ranks(bound: u64, count: u64, seed: u64) -> Vec<u32> {
    const THETA: f64 = 0.99;
    let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-THETA)).sum::<f64>();
    let (zeta_two, zeta_all) = (zeta(2), zeta(bound));
    let alpha = 1.0 / (1.0 - THETA);
    let eta = (1.0 - (2.0 / bound as f64).powf(1.0 - THETA)) / (1.0 - zeta_two / zeta_all);
    let mut random = Random::new(seed);
    let mut rank = || {
        let uniform = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
        let scaled = uniform * zeta_all;
        if scaled < 1.0 {
            0
        } else if scaled < 1.0 + 0.5f64.powf(THETA) {
            1
        } else {
            (bound as f64 * (eta * uniform - eta + 1.0).powf(alpha)) as u64
        }
    };
    (0..count).map(|_| rank().min(bound - 1) as u32).collect()
}

/// The same with the frequent ones scattered over all indexes.
pub(crate) fn zipfian(bound: u64, count: u64, seed: u64) -> Vec<u32> {
    let mut picks = zipfian_ranks(bound, count, seed);
    for pick in &mut picks {
        *pick = (mix(u64::from(*pick)) % bound) as u32;
    }
    picks
}

/// The entries of a list of indexes, lent one after another.
pub(crate) struct Entries<'a, I> {
    layout: Layout,
    values: &'a mut Values,
    /// Index and version of what is to come.
    picks: I,
    key: Key,
}

impl<'a, I: Iterator<Item = (u64, u32)>> Entries<'a, I> {
    pub(crate) fn new(layout: Layout, values: &'a mut Values, picks: I) -> Self {
        Self { layout, values, picks, key: layout.key(0) }
    }
}

impl<I: Iterator<Item = (u64, u32)>> Source for Entries<'_, I> {
    fn next(&mut self) -> Option<(&[u8], &[u8])> {
        let (index, version) = self.picks.next()?;
        self.key = self.layout.key(index);
        Some((self.key.as_ref(), self.values.make(self.key.as_ref(), version)))
    }
}
