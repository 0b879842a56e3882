//! [`Random`]: the one source of chance in scripts and tests. A seed decides
//! everything; nothing here reads a clock except [`seed_from_env`].

use lsm_vfs::SplitMix64;

/// The draws that scripts need, from one [`SplitMix64`].
#[derive(Clone, Debug)]
pub struct Random(SplitMix64);

impl Random {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `limit`; 0 when `limit` is 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.0.below(limit)
    }

    /// True in `percent` of a hundred cases.
    pub const fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// An index below `len`; 0 when `len` is 0.
    pub const fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// One of the items; `None` of an empty list.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = self.index(items.len());
        items.get(at)
    }
}

/// The seed in the variable `LSM_SEED` (decimal, or hexadecimal after `0x`), or a
/// fresh one.
#[must_use]
pub fn seed_from_env() -> u64 {
    let given = std::env::var("LSM_SEED").ok();
    given.as_deref().and_then(parse_seed).unwrap_or_else(|| {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(std::process::id())
    })
}

/// Reads a seed as [`seed_from_env`] does.
#[must_use]
pub fn parse_seed(text: &str) -> Option<u64> {
    match text.trim().strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_sequence_everywhere() {
        let mut random = Random::new(1);
        assert_eq!(random.next(), 0x910A_2DEC_8902_5CC1);
        assert_eq!(Random::new(7).next(), Random::new(7).next());
        assert!((0..1000).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn seeds_are_read_as_they_are_printed() {
        assert_eq!(parse_seed("0x1f"), Some(31));
        assert_eq!(parse_seed(" 31 "), Some(31));
        assert_eq!(parse_seed("x"), None);
    }
}
