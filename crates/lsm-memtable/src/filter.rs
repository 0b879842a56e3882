//! [`KeyFilter`]: which keys a memtable may hold, so that a look-up of one that it does not
//! hold costs a few lines instead of a walk down the tree. Written before the entry can be
//! seen, never wrong about a key that is there. Called by [`Memtable`](crate::Memtable).
//!
//! A Bloom filter of single words (each key sets four bits of one; Putze, Sanders and
//! Singler, "Cache-, hash- and space-efficient Bloom filters", 2007) that grows: when a part
//! has as many keys as it is good for, those to come go into the next one, sixteen
//! times as large. So a small memtable has a small filter, and a full one three or four parts.

use lsm_sync::OnceLock;
use lsm_sync::atomic::{AtomicU64, Ordering};

/// Words of the first part.
const FIRST_WORDS: usize = if cfg!(lsm_loom) { 1 } else { 64 };
/// How much larger each part is than the one before.
const GROWTH: usize = if cfg!(lsm_loom) { 2 } else { 16 };
const PARTS: usize = if cfg!(lsm_loom) { 2 } else { 5 };
/// Keys for each word: twelve bits a key.
const KEYS_IN_THREE_WORDS: usize = 16;

/// The keys of one memtable, nearly. `Send + Sync`.
#[derive(Debug, Default)]
pub(crate) struct KeyFilter {
    /// Made when the first key goes into it.
    parts: [OnceLock<Box<[AtomicU64]>>; PARTS],
}

/// The words of part `at`.
const fn words(at: usize) -> usize {
    FIRST_WORDS * GROWTH.pow(at as u32)
}

/// How many keys are in the parts up to `at` when it is full.
const fn keys_through(at: usize) -> usize {
    let mut keys = 0;
    let mut part = 0;
    while part <= at {
        keys += words(part) * KEYS_IN_THREE_WORDS / 3;
        part += 1;
    }
    keys
}

/// Bytes of a filter that `keys` keys have gone into.
pub(crate) fn bytes_for(keys: usize) -> usize {
    (0..=part_for(keys.saturating_sub(1))).map(|at| words(at) * size_of::<AtomicU64>()).sum()
}

/// The part for the next key when there are `keys`.
fn part_for(keys: usize) -> usize {
    (0..PARTS - 1).find(|&at| keys < keys_through(at)).unwrap_or(PARTS - 1)
}

/// The bits of a key in its word.
const fn bits_of(hash: u64) -> u64 {
    1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63) | 1 << (hash >> 18 & 63)
}

/// The word of a key. The number of words is a power of two.
fn word_of(part: &[AtomicU64], hash: u64) -> Option<&AtomicU64> {
    part.get((hash >> 32) as usize & (part.len() - 1))
}

impl KeyFilter {
    /// Takes in a key; `keys` is how many there are, roughly.
    #[inline]
    pub(crate) fn add(&self, hash: u64, keys: usize) {
        let at = part_for(keys);
        let Some(part) = self.parts.get(at) else { return };
        let part = part.get_or_init(|| (0..words(at)).map(|_| AtomicU64::new(0)).collect());
        if let Some(word) = word_of(part, hash) {
            // Relaxed: the entry is shown after this by whatever orders it for its readers,
            // and this with it.
            word.fetch_or(bits_of(hash), Ordering::Relaxed);
        }
    }

    /// Whether a key with this hash may be there: always when it is, seldom when not.
    #[inline]
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let bits = bits_of(hash);
        self.parts
            .iter()
            .filter_map(OnceLock::get)
            .any(|part| word_of(part, hash).is_none_or(|word| word.load(Ordering::Relaxed) & bits == bits))
    }
}

#[cfg(all(test, not(lsm_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_held_and_little_else() {
        let filter = KeyFilter::default();
        let hash = |number: u64| lsm_types::key_hash(&number.to_be_bytes());
        const KEYS: u64 = 500_000;
        let mut wrong = 0;
        for number in 0..KEYS {
            wrong += u64::from(filter.may_hold(hash(number)));
            filter.add(hash(number), number as usize);
            assert!(filter.may_hold(hash(number)));
        }
        assert!((0..KEYS).all(|number| filter.may_hold(hash(number))));
        assert!(wrong < KEYS / 25, "{wrong} of {KEYS} keys were taken for known");
    }

    #[test]
    fn it_grows_with_its_keys() {
        assert_eq!((bytes_for(0), bytes_for(300)), (512, 512));
        assert_eq!(bytes_for(1_000), 512 + (8 << 10));
        assert!(bytes_for(400_000) < 3 << 20);
        assert!((0..3_000_000).step_by(997).map(part_for).is_sorted());
    }
}
