//! [`Random`]: the one source of chance in scripts and tests. A seed decides
//! everything; nothing here reads a clock except [`seed_from_env`].

use lsm_vfs::SplitMix64;

/// The draws that scripts need, from one [`SplitMix64`], or from given choices until
/// those are used up.
#[derive(Clone, Debug)]
pub struct Random {
    sequence: SplitMix64,
    /// What is left of the choices, the next one last.
    choices: Vec<u8>,
}

impl Random {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { sequence: SplitMix64::new(seed), choices: Vec::new() }
    }

    /// Draws that `choices` decide, as few bytes each as its range needs: what fuzzing
    /// changes, so that a small change of the bytes is one of what is drawn.
    #[must_use]
    pub fn from_choices(choices: &[u8]) -> Self {
        Self { sequence: SplitMix64::new(0), choices: choices.iter().rev().copied().collect() }
    }

    /// Whether there are choices left.
    #[must_use]
    pub const fn has_choices(&self) -> bool {
        !self.choices.is_empty()
    }

    fn choose(&mut self, bytes: usize) -> Option<u64> {
        let rest = self.choices.len().checked_sub(bytes)?;
        Some(self.choices.drain(rest..).fold(0, |word, byte| word << 8 | u64::from(byte)))
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "a sequence without an end is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.choose(8).unwrap_or_else(|| {
            self.choices.clear();
            self.sequence.next_u64()
        })
    }

    /// A number below `limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        let bytes = match limit {
            0..=1 if self.has_choices() => return 0,
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 8,
        };
        match self.choose(bytes) {
            Some(word) => word % limit,
            None => {
                self.choices.clear();
                self.sequence.below(limit)
            }
        }
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// An index below `len`; 0 when `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
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
    fn choices_decide_until_they_are_used_up() {
        let mut random = Random::from_choices(&[7, 1, 2]);
        assert_eq!((random.below(5), random.below(1000)), (2, 0x0201));
        assert!(!random.has_choices());
        assert!(random.below(3) < 3);
    }

    #[test]
    fn seeds_are_read_as_they_are_printed() {
        assert_eq!(parse_seed("0x1f"), Some(31));
        assert_eq!(parse_seed(" 31 "), Some(31));
        assert_eq!(parse_seed("x"), None);
    }
}
