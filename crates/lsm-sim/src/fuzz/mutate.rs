//! [`Mutator`]: makes inputs from inputs; and [`minimise`]: makes a failing one short.
//! Knows nothing of what the bytes mean.

use crate::Random;
use std::time::{Duration, Instant};

/// Numbers at which code tends to change its mind.
const EDGES: [u64; 15] =
    [0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 65_535, 65_536, u32::MAX as u64, i64::MAX as u64, u64::MAX];

/// A source of changes that a seed decides.
#[derive(Debug)]
pub struct Mutator {
    random: Random,
    max_bytes: usize,
}

impl Mutator {
    /// Changes that belong to `seed` and keep inputs within `max_bytes`.
    #[must_use]
    pub const fn new(seed: u64, max_bytes: usize) -> Self {
        Self { random: Random::new(seed), max_bytes }
    }

    /// The choices of this mutator, for its caller's own.
    pub const fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// A changed copy of `input`; `other` is what parts may be taken from.
    pub fn mutate(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut changed = input.to_vec();
        let rounds = 1 + self.random.below(3) * self.random.below(3);
        for _ in 0..rounds {
            self.change(&mut changed, other);
        }
        changed.truncate(self.max_bytes);
        changed
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        if bytes.is_empty() {
            bytes.extend((0..=self.random.below(40)).map(|_| self.random.next() as u8));
            return;
        }
        let at = self.random.index(bytes.len());
        match self.random.below(12) {
            0..3 => self.number(bytes, at),
            3 => set(bytes, at, |byte| byte ^ 1 << self.random.below(8)),
            4 => set(bytes, at, |_| self.random.next() as u8),
            5 => set(bytes, at, |byte| byte.wrapping_add(self.random.below(9) as u8).wrapping_sub(4)),
            6 => {
                let (from, len) = self.piece(bytes.len());
                bytes.drain(from..from + len);
            }
            7 => {
                let (from, len) = self.piece(bytes.len());
                let copy = bytes.get(from..from + len).unwrap_or_default().to_vec();
                bytes.splice(at..at, copy);
            }
            8 => {
                let (from, len) = self.piece(bytes.len());
                let copy = bytes.get(from..from + len).unwrap_or_default().to_vec();
                let end = (at + len).min(bytes.len());
                bytes.splice(at..end, copy);
            }
            9 if !other.is_empty() => {
                let (from, len) = self.piece(other.len());
                let end = (at + self.random.index(len + 1)).min(bytes.len());
                bytes.splice(at..end, other.get(from..from + len).unwrap_or_default().iter().copied());
            }
            10 => {
                let (from, len) = self.piece(bytes.len());
                let with = if self.random.chance(60) { 0 } else { self.random.next() as u8 };
                bytes.get_mut(from..from + len).unwrap_or_default().fill(with);
            }
            _ if self.random.chance(30) => bytes.truncate(at),
            _ => {
                let new: Vec<u8> = (0..=self.random.below(12)).map(|_| self.random.next() as u8).collect();
                bytes.splice(at..at, new);
            }
        }
    }

    /// Puts an edge, or a number near the one that stands there, at `at`.
    fn number(&mut self, bytes: &mut [u8], at: usize) {
        let width = 1 << self.random.below(4);
        let Some(place) = bytes.get_mut(at..at + width) else { return };
        let mut word = [0; 8];
        word.iter_mut().zip(place.iter()).for_each(|(to, from)| *to = *from);
        let old = u64::from_le_bytes(word);
        let new = match self.random.below(4) {
            0 => old.wrapping_add(self.random.below(17)).wrapping_sub(8),
            1 => EDGES
                .get(self.random.index(EDGES.len()))
                .map_or(0, |edge| edge.wrapping_sub(self.random.below(2))),
            2 => self.random.below(bytes_as_limit(at)),
            _ => EDGES.get(self.random.index(EDGES.len())).copied().unwrap_or(0),
        };
        place.iter_mut().zip(new.to_le_bytes()).for_each(|(to, from)| *to = from);
    }

    /// A place and a length within `len` bytes; mostly short.
    fn piece(&mut self, len: usize) -> (usize, usize) {
        let from = self.random.index(len);
        let longest = if self.random.chance(70) { 16 } else { 512 };
        (from, (1 + self.random.index(longest)).min(len - from))
    }
}

const fn bytes_as_limit(at: usize) -> u64 {
    2 * at as u64 + 16
}

fn set(bytes: &mut [u8], at: usize, change: impl FnOnce(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = change(*byte);
    }
}

/// A shorter and plainer input that still `fails`, found within `limit`.
pub fn minimise(input: &[u8], limit: Duration, mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let end = Instant::now() + limit;
    let mut best = input.to_vec();
    let mut piece = best.len().div_ceil(2).max(1);
    loop {
        let mut improved = false;
        let mut at = 0;
        while at < best.len() && Instant::now() < end {
            let stop = (at + piece).min(best.len());
            let mut shorter = best.clone();
            shorter.drain(at..stop);
            let mut plainer = best.clone();
            plainer.get_mut(at..stop).unwrap_or_default().fill(0);
            if fails(&shorter) {
                best = shorter;
                improved = true;
            } else {
                if plainer != best && fails(&plainer) {
                    best = plainer;
                    improved = true;
                }
                at = stop;
            }
        }
        if Instant::now() >= end || (piece == 1 && !improved) {
            return best;
        }
        piece = piece.div_ceil(2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_belong_to_their_seed_and_stay_short() {
        let run = |seed| {
            let mut mutator = Mutator::new(seed, 64);
            let mut input = vec![7; 20];
            for _ in 0..2_000 {
                input = mutator.mutate(&input, b"other bytes to take from");
                assert!(input.len() <= 64);
            }
            input
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn a_failing_input_becomes_short() {
        let mut input = vec![9; 300];
        input[200] = 42;
        let small = minimise(&input, Duration::from_secs(5), |bytes| bytes.contains(&42));
        assert_eq!(small, [42]);
    }
}
