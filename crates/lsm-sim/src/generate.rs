//! [`generate`]: a random script from a seed. A small universe of keys, so that
//! writes meet; long, empty and 0xff keys among them, so that edges are met too.

use crate::op::{Durability, Op, Write};
use crate::random::Random;
use crate::read::{Order, Read, Step, View};
use crate::script::Script;
use crate::shrink::Simpler;
use crate::text::{Bounds, Value};
use lsm_types::Slice;
use std::collections::BTreeSet;
use std::ops::Bound;

/// How many keyspaces scripts play with.
pub const KEYSPACES: u8 = 3;

/// How many slots there are for snapshots, and as many for iterators.
pub const SLOTS: u8 = 4;

/// What kind of script.
#[derive(Clone, Debug)]
pub struct Profile {
    /// How many ordinary keys there are.
    pub keys: u64,
    /// The longest value in bytes.
    pub value_bytes: u32,
    /// Out of 10,000 operations, how often the database is reopened; checkpoints
    /// and drops come half as often.
    pub reopens: u64,
    /// Whether keyspaces are dropped and created again.
    pub drops: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self { keys: 150, value_bytes: 120, reopens: 40, drops: true }
    }
}

/// The script that belongs to `seed`: `len` operations.
#[must_use]
pub fn generate(seed: u64, len: usize, profile: &Profile) -> Script<Op> {
    let mut generator = Generator { random: Random::new(seed), profile, next_tag: 1 };
    Script { seed, ops: (0..len).map(|_| generator.op()).collect() }
}

/// The script that the choices of `random` spell: it ends with them, or after `len`
/// operations.
pub(crate) fn generate_from(random: Random, len: usize, profile: &Profile) -> Script<Op> {
    let mut generator = Generator { random, profile, next_tag: 1 };
    let mut ops = Vec::new();
    while ops.len() < len && generator.random.has_choices() {
        ops.push(generator.op());
    }
    Script { seed: 0, ops }
}

/// Chance over a universe of keys, shared by the generators of both kinds of script.
pub(crate) fn random_key(random: &mut Random, keys: u64) -> Slice {
    match random.below(100) {
        0 => Slice::empty(),
        1 => Slice::from(vec![0xff; 1 + random.index(3)]),
        2 => Slice::from([b"k".as_slice(), &vec![0xff; 1 + random.index(2)]].concat()),
        3 => Slice::from([b"k0001".as_slice(), &vec![b'x'; 200 + random.index(3) * 900]].concat()),
        4 => Slice::from([random.below(4) as u8]),
        5 => Slice::from([random_plain_key(random, keys).as_bytes(), &[0]].concat()),
        _ => random_plain_key(random, keys),
    }
}

fn random_plain_key(random: &mut Random, keys: u64) -> Slice {
    // The square favours small numbers: some keys are written often, some seldom.
    let (a, b) = (random.below(keys), random.below(keys));
    let number = if random.chance(50) { a * b / keys.max(1) } else { a };
    Slice::from(format!("k{number:04}"))
}

pub(crate) fn random_bounds(random: &mut Random, keys: u64) -> Bounds {
    let (mut low, mut high) = (random_key(random, keys), random_key(random, keys));
    if low > high && !random.chance(10) {
        std::mem::swap(&mut low, &mut high);
    }
    let mut bound = |key| match random.below(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(key),
        _ => Bound::Excluded(key),
    };
    Bounds { start: bound(low), end: bound(high) }
}

/// A short range: most range deletions are, or there would be nothing left.
pub(crate) fn random_short_bounds(random: &mut Random, keys: u64) -> Bounds {
    if random.chance(8) {
        return random_bounds(random, keys);
    }
    let from = random.below(keys);
    let to = from + random.below(8);
    let key = |number: u64| Slice::from(format!("k{number:04}"));
    let start = if random.chance(70) { Bound::Included(key(from)) } else { Bound::Excluded(key(from)) };
    let end = if random.chance(70) { Bound::Excluded(key(to)) } else { Bound::Included(key(to)) };
    Bounds { start, end }
}

pub(crate) fn random_order(random: &mut Random) -> Order {
    match random.below(3) {
        0 => Order::Forward,
        1 => Order::Reverse,
        _ => Order::Alternate(random.next()),
    }
}

pub(crate) fn random_value(random: &mut Random, next_tag: &mut u64, value_bytes: u32) -> Value {
    let len = match random.below(20) {
        0 => 0,
        1 => value_bytes,
        2 if random.chance(10) => value_bytes.saturating_mul(50),
        _ => random.below(u64::from(value_bytes) / 2) as u32,
    };
    *next_tag += 1;
    Value { tag: *next_tag, len }
}

pub(crate) fn random_steps(random: &mut Random, keys: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..1 + random.below(4) {
        steps.push(match random.below(6) {
            0 => Step::First,
            1 => Step::Last,
            2 | 3 => Step::Seek(random_key(random, keys)),
            _ => Step::SeekForPrev(random_key(random, keys)),
        });
        let back = random.chance(50);
        for _ in 0..random.below(8) {
            let turn = random.chance(20);
            steps.push(if back == turn { Step::Next } else { Step::Prev });
        }
    }
    steps
}

struct Generator<'a> {
    random: Random,
    profile: &'a Profile,
    next_tag: u64,
}

impl Generator<'_> {
    fn key(&mut self) -> Slice {
        random_key(&mut self.random, self.profile.keys)
    }

    fn keyspace(&mut self) -> u8 {
        // The first one is busier, so that keyspaces fill at different speeds.
        let keyspace = self.random.below(u64::from(KEYSPACES) + 2) as u8;
        if keyspace < KEYSPACES { keyspace } else { 0 }
    }

    fn slot(&mut self) -> u8 {
        self.random.below(u64::from(SLOTS)) as u8
    }

    fn view(&mut self) -> View {
        if self.random.chance(70) { View::Live } else { View::Slot(self.slot()) }
    }

    fn durability(&mut self) -> Durability {
        if self.random.chance(50) { Durability::Buffered } else { Durability::Sync }
    }

    fn write(&mut self) -> Write {
        let keyspace = self.keyspace();
        match self.random.below(100) {
            0..60 => Write::Insert { keyspace, key: self.key(), value: self.value() },
            60..68 => Write::InsertShared { keyspace, key: self.key(), value: self.value() },
            68..84 => Write::Remove { keyspace, key: self.key() },
            84..96 => Write::RemoveWeak { keyspace, key: self.key() },
            _ => Write::RemoveRange {
                keyspace,
                bounds: random_short_bounds(&mut self.random, self.profile.keys),
            },
        }
    }

    fn value(&mut self) -> Value {
        random_value(&mut self.random, &mut self.next_tag, self.profile.value_bytes)
    }

    fn read(&mut self) -> Op {
        let (view, keyspace, keys) = (self.view(), self.keyspace(), self.profile.keys);
        let order = random_order(&mut self.random);
        let read = match self.random.below(100) {
            0..40 => Read::Get(self.key()),
            40..46 => Read::ContainsKey(self.key()),
            46..52 => Read::MultiGet((0..self.random.below(12)).map(|_| self.key()).collect()),
            52..58 => Read::First,
            58..64 => Read::Last,
            64..65 => Read::Len,
            65..67 => Read::IsEmpty,
            67..68 => Read::Iter(order),
            68..82 => Read::Range(random_bounds(&mut self.random, keys), order),
            82..90 => {
                let key = self.key();
                let cut = self.random.index(key.len() + 1);
                Read::Prefix(key.get_slice(..cut).unwrap_or_default(), order)
            }
            _ => Read::Walk(random_steps(&mut self.random, keys)),
        };
        Op::Read { view, keyspace, read }
    }

    fn op(&mut self) -> Op {
        let keys = self.profile.keys;
        if self.random.below(10_000) < self.profile.reopens * 2 {
            return self.rare_op();
        }
        match self.random.below(1000) {
            0..400 => Op::Write(self.write()),
            400..470 => {
                let durability = self.random.chance(60).then(|| self.durability());
                Op::Batch { durability, writes: (0..self.random.below(10)).map(|_| self.write()).collect() }
            }
            470..910 => self.read(),
            910..922 => Op::Snapshot { slot: self.slot() },
            922..932 => Op::DropSnapshot { slot: self.slot() },
            932..938 => Op::Hold {
                slot: self.slot(),
                view: self.view(),
                keyspace: self.keyspace(),
                bounds: random_bounds(&mut self.random, keys),
            },
            938..944 => self.ingest(),
            944..962 => Op::Take {
                slot: self.slot(),
                count: self.random.below(12) as u32,
                order: random_order(&mut self.random),
            },
            962..978 => Op::Flush { keyspace: self.keyspace() },
            978..986 => {
                Op::Compact { keyspace: self.keyspace(), bounds: random_bounds(&mut self.random, keys) }
            }
            986..990 => Op::WaitIdle,
            990..994 => Op::Persist(self.durability()),
            994..996 => Op::Clear { keyspace: self.keyspace() },
            996 => Op::Check,
            997 => Op::Stats,
            _ => Op::Verify,
        }
    }

    fn ingest(&mut self) -> Op {
        let count = 1 << self.random.below(7);
        let keys: BTreeSet<Slice> = (0..self.random.below(count)).map(|_| self.key()).collect();
        let entries = keys.into_iter().map(|key| (key, self.value())).collect();
        Op::Ingest { keyspace: self.keyspace(), is_finished: !self.random.chance(10), entries }
    }

    fn rare_op(&mut self) -> Op {
        match self.random.below(8) {
            0..4 => Op::Reopen { close: self.random.chance(50) },
            4 | 5 => Op::Checkpoint,
            6 if self.profile.drops => Op::DropKeyspace { keyspace: self.keyspace() },
            _ => Op::CreateKeyspace { keyspace: self.keyspace() },
        }
    }
}

impl Simpler for Op {
    fn simpler(&self) -> Vec<Self> {
        match self {
            Self::Batch { durability, writes } => {
                let without = |left_out: usize| {
                    let kept = writes.iter().enumerate().filter(|(at, _)| *at != left_out);
                    Self::Batch { durability: *durability, writes: kept.map(|(_, w)| w.clone()).collect() }
                };
                let alone = match writes.as_slice() {
                    [only] => Some(Self::Write(only.clone())),
                    _ => None,
                };
                alone.into_iter().chain((0..writes.len()).map(without)).collect()
            }
            Self::Ingest { keyspace, is_finished, entries } => {
                let with = |entries| Self::Ingest { keyspace: *keyspace, is_finished: *is_finished, entries };
                let half = entries.len() / 2;
                let halves = [entries.get(half..), entries.get(..half)].into_iter().flatten();
                let without = |left_out: usize| {
                    let kept = entries.iter().enumerate().filter(|(at, _)| *at != left_out);
                    kept.map(|(_, entry)| entry.clone()).collect()
                };
                let halves = halves.filter(|_| entries.len() > 1).map(<[_]>::to_vec);
                halves.chain((0..entries.len()).map(without)).map(with).collect()
            }
            Self::Write(Write::Insert { keyspace, key, value }) if value.len != 1 => {
                let value = Value { tag: value.tag, len: 1 };
                vec![Self::Write(Write::Insert { keyspace: *keyspace, key: key.clone(), value })]
            }
            Self::Write(Write::InsertShared { keyspace, key, value }) => {
                vec![Self::Write(Write::Insert { keyspace: *keyspace, key: key.clone(), value: *value })]
            }
            Self::Read { view, keyspace, read } => {
                let simpler = |read| Self::Read { view: *view, keyspace: *keyspace, read };
                match read {
                    Read::Range(_, Order::Forward) => vec![simpler(Read::Iter(Order::Forward))],
                    Read::Range(bounds, _) => vec![simpler(Read::Range(bounds.clone(), Order::Forward))],
                    Read::MultiGet(keys) => keys.iter().map(|key| simpler(Read::Get(key.clone()))).collect(),
                    Read::Walk(steps) if steps.len() > 1 => (0..steps.len())
                        .map(|left_out| {
                            let mut steps = steps.clone();
                            steps.remove(left_out);
                            simpler(Read::Walk(steps))
                        })
                        .collect(),
                    _ => Vec::new(),
                }
            }
            Self::Compact { keyspace, bounds } if *bounds != Bounds::all() => {
                vec![Self::Compact { keyspace: *keyspace, bounds: Bounds::all() }]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_script_and_every_operation_comes_up() {
        let profile = Profile { reopens: 500, ..Profile::default() };
        let script = generate(3, 20_000, &profile);
        assert_eq!(script, generate(3, 20_000, &profile));
        let text = script.to_string();
        let verbs = [
            "put",
            "shared",
            "del",
            "weak",
            "delrange",
            "batch",
            "clear",
            "ingest",
            "get",
            "has",
            "mget",
            "first",
            "last",
            "len",
            "empty",
            "iter",
            "range",
            "prefix",
            "walk",
            "snap",
            "unsnap",
            "hold",
            "take",
            "flush",
            "compact",
            "idle",
            "persist",
            "reopen",
            "checkpoint",
            "drop",
            "create",
            "verify",
            "check",
            "stats",
        ];
        for verb in verbs {
            assert!(text.lines().any(|line| line.split(' ').next() == Some(verb)), "{verb} never comes up");
        }
    }

    #[test]
    fn simpler_forms_end() {
        for op in generate(4, 3000, &Profile::default()).ops {
            let mut op = op;
            for round in 0.. {
                assert!(round < 200, "{op} never becomes simple");
                let Some(simpler) = op.simpler().into_iter().next_back() else { break };
                op = simpler;
            }
        }
    }
}
