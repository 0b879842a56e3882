//! [`TreeOp`]: one step of a script against a `Tree`, where every write and read
//! names its sequence number, and the generator of such scripts.

use crate::generate::{random_bounds, random_key, random_order, random_short_bounds, random_value};
use crate::random::Random;
use crate::read::Order;
use crate::script::Script;
use crate::shrink::Simpler;
use crate::text::{Bounds, Value, Words, print_key};
use lsm_types::{SeqNo, Slice};
use std::fmt;
use std::str::FromStr;

/// One step of a script against a `Tree`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are explained, the fields named after what they hold")]
pub enum TreeOp {
    /// `put k 1x8 5`
    Insert { key: Slice, value: Value, seqno: SeqNo },
    /// `del k 5`
    Remove { key: Slice, seqno: SeqNo },
    /// `weak k 5`; skipped when the key was written more than once.
    RemoveWeak { key: Slice, seqno: SeqNo },
    /// `delrange [a b) 5`
    RemoveRange { bounds: Bounds, seqno: SeqNo },
    /// `get k 5`
    Get { key: Slice, snapshot: SeqNo },
    /// `range [a b) fwd 5`
    Range { bounds: Bounds, order: Order, snapshot: SeqNo },
    /// `prefix k rev 5`
    Prefix { prefix: Slice, order: Order, snapshot: SeqNo },
    /// `first 5`
    First { snapshot: SeqNo },
    /// `len 5`
    Len { snapshot: SeqNo },
    /// `version 5`: asks for the version of a snapshot.
    Version { snapshot: SeqNo },
    /// `rotate`
    Rotate,
    /// `flush 5`: rotates and flushes with this watermark.
    Flush { watermark: SeqNo },
    /// `compact 5`
    Compact { watermark: SeqNo },
    /// `major 5`
    Major { watermark: SeqNo },
    /// `reopen`: what was not flushed is gone.
    Reopen,
    /// `verify`: compares everything at every snapshot.
    Verify,
}

impl fmt::Display for TreeOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Insert { key, value, seqno } => write!(f, "put {} {value} {seqno}", print_key(key)),
            Self::Remove { key, seqno } => write!(f, "del {} {seqno}", print_key(key)),
            Self::RemoveWeak { key, seqno } => write!(f, "weak {} {seqno}", print_key(key)),
            Self::RemoveRange { bounds, seqno } => write!(f, "delrange {bounds} {seqno}"),
            Self::Get { key, snapshot } => write!(f, "get {} {snapshot}", print_key(key)),
            Self::Range { bounds, order, snapshot } => write!(f, "range {bounds} {order} {snapshot}"),
            Self::Prefix { prefix, order, snapshot } => {
                write!(f, "prefix {} {order} {snapshot}", print_key(prefix))
            }
            Self::First { snapshot } => write!(f, "first {snapshot}"),
            Self::Len { snapshot } => write!(f, "len {snapshot}"),
            Self::Version { snapshot } => write!(f, "version {snapshot}"),
            Self::Rotate => f.write_str("rotate"),
            Self::Flush { watermark } => write!(f, "flush {watermark}"),
            Self::Compact { watermark } => write!(f, "compact {watermark}"),
            Self::Major { watermark } => write!(f, "major {watermark}"),
            Self::Reopen => f.write_str("reopen"),
            Self::Verify => f.write_str("verify"),
        }
    }
}

impl FromStr for TreeOp {
    type Err = String;
    fn from_str(line: &str) -> Result<Self, String> {
        let words = &mut Words::new(line);
        let verb = words.word()?;
        let op = match verb {
            "put" => Self::Insert { key: words.key()?, value: words.parse()?, seqno: words.parse()? },
            "del" => Self::Remove { key: words.key()?, seqno: words.parse()? },
            "weak" => Self::RemoveWeak { key: words.key()?, seqno: words.parse()? },
            "delrange" => Self::RemoveRange { bounds: words.bounds()?, seqno: words.parse()? },
            "get" => Self::Get { key: words.key()?, snapshot: words.parse()? },
            "range" => {
                Self::Range { bounds: words.bounds()?, order: words.parse()?, snapshot: words.parse()? }
            }
            "prefix" => {
                Self::Prefix { prefix: words.key()?, order: words.parse()?, snapshot: words.parse()? }
            }
            "first" => Self::First { snapshot: words.parse()? },
            "len" => Self::Len { snapshot: words.parse()? },
            "version" => Self::Version { snapshot: words.parse()? },
            "rotate" => Self::Rotate,
            "flush" => Self::Flush { watermark: words.parse()? },
            "compact" => Self::Compact { watermark: words.parse()? },
            "major" => Self::Major { watermark: words.parse()? },
            "reopen" => Self::Reopen,
            "verify" => Self::Verify,
            _ => return Err(format!("{verb:?} is not an operation on a tree")),
        };
        words.end()?;
        Ok(op)
    }
}

impl Simpler for TreeOp {
    fn simpler(&self) -> Vec<Self> {
        match self {
            Self::Insert { key, value, seqno } if value.len != 1 => {
                let value = Value { tag: value.tag, len: 1 };
                vec![Self::Insert { key: key.clone(), value, seqno: *seqno }]
            }
            Self::Range { bounds, order, snapshot } if *order != Order::Forward => {
                vec![Self::Range { bounds: bounds.clone(), order: Order::Forward, snapshot: *snapshot }]
            }
            Self::Compact { watermark } => vec![Self::Major { watermark: *watermark }],
            _ => Vec::new(),
        }
    }
}

/// The tree script that belongs to `seed`.
#[must_use]
pub fn generate_tree(seed: u64, len: usize) -> Script<TreeOp> {
    let mut generator =
        TreeGenerator { random: Random::new(seed), rotated: 0, next: 0, tag: 0, watermark: 0 };
    Script { seed, ops: (0..len).map(|_| generator.op()).collect() }
}

const KEYS: u64 = 60;

struct TreeGenerator {
    random: Random,
    /// The greatest number before the last rotation.
    rotated: SeqNo,
    /// All numbers used are below this one.
    next: SeqNo,
    tag: u64,
    watermark: SeqNo,
}

impl TreeGenerator {
    fn seqno(&mut self) -> SeqNo {
        match self.random.below(20) {
            // Too old: must be refused.
            0 if self.rotated > 0 => self.random.below(self.rotated),
            // Out of order, or equal to one that was used.
            1..6 => self.rotated + self.random.below((self.next - self.rotated).max(1)),
            _ => {
                self.next += self.random.below(3);
                let seqno = self.next;
                self.next += 1;
                seqno
            }
        }
    }

    fn snapshot(&mut self) -> SeqNo {
        match self.random.below(4) {
            0 => SeqNo::MAX,
            1 => self.random.below(self.next + 2),
            _ => {
                let span = (self.next + 2).saturating_sub(self.watermark);
                self.watermark + self.random.below(span)
            }
        }
    }

    fn watermark(&mut self) -> SeqNo {
        // Mostly creeping up, sometimes none at all.
        if self.random.chance(30) {
            return self.random.below(self.watermark + 1);
        }
        let span = self.next.saturating_sub(self.watermark);
        self.watermark += self.random.below(span + 1);
        self.watermark
    }

    fn op(&mut self) -> TreeOp {
        let random = &mut self.random;
        match random.below(1000) {
            0..330 => {
                let value = random_value(random, &mut self.tag, 100);
                TreeOp::Insert { key: random_key(random, KEYS), value, seqno: self.seqno() }
            }
            330..410 => TreeOp::Remove { key: random_key(random, KEYS), seqno: self.seqno() },
            410..470 => TreeOp::RemoveWeak { key: random_key(random, KEYS), seqno: self.seqno() },
            470..500 => {
                TreeOp::RemoveRange { bounds: random_short_bounds(random, KEYS), seqno: self.seqno() }
            }
            500..700 => TreeOp::Get { key: random_key(random, KEYS), snapshot: self.snapshot() },
            700..800 => {
                let (bounds, order) = (random_bounds(random, KEYS), random_order(random));
                TreeOp::Range { bounds, order, snapshot: self.snapshot() }
            }
            800..830 => {
                let key = random_key(random, KEYS);
                let prefix = key.get_slice(..random.index(key.len() + 1)).unwrap_or_default();
                TreeOp::Prefix { prefix, order: random_order(random), snapshot: self.snapshot() }
            }
            830..850 => TreeOp::First { snapshot: self.snapshot() },
            850..860 => TreeOp::Len { snapshot: self.snapshot() },
            860..900 => TreeOp::Version { snapshot: self.snapshot() },
            900..930 => {
                self.rotated = self.next.saturating_sub(1);
                TreeOp::Rotate
            }
            930..960 => {
                self.rotated = self.next.saturating_sub(1);
                TreeOp::Flush { watermark: self.watermark() }
            }
            960..978 => TreeOp::Compact { watermark: self.watermark() },
            978..988 => TreeOp::Major { watermark: self.watermark() },
            988..993 => TreeOp::Reopen,
            _ => TreeOp::Verify,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_tree_script_survives_the_round_trip_through_text() {
        let script = generate_tree(9, 5000);
        let read: Script<TreeOp> = script.to_string().parse().unwrap();
        for (was, is) in script.ops.iter().zip(&read.ops) {
            assert_eq!(was, is, "printed as {was}");
        }
        let text = script.to_string();
        let verbs = [
            "put", "del", "weak", "delrange", "get", "range", "prefix", "first", "len", "version", "rotate",
            "flush", "compact", "major", "reopen", "verify",
        ];
        for verb in verbs {
            assert!(text.lines().any(|line| line.split(' ').next() == Some(verb)), "{verb} never comes up");
        }
    }
}
