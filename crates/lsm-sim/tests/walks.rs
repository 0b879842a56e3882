//! Cursors and ranges that live long: they turn, jump and stop in the middle, while what they
//! walk over is overwritten, removed, ingested, flushed and compacted under them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use lsm_tree::{Compaction, Cursor, Database, Keyspace, KeyspaceOptions, Options, Range};
use lsm_vfs::{MemFs, SplitMix64};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

const OPERATIONS: u64 = 2000;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

struct Walk {
    cursor: Cursor,
    model: Arc<Model>,
    at: Option<Vec<u8>>,
}

struct Ends {
    range: Range,
    left: VecDeque<(Vec<u8>, Vec<u8>)>,
}

struct World {
    random: SplitMix64,
    db: Database,
    keyspace: Keyspace,
    keys: u64,
    model: Arc<Model>,
    walks: Vec<Walk>,
    ends: Vec<Ends>,
}

/// Of two lengths, with a prefix that fills more than eight bytes.
fn key(number: u64) -> Vec<u8> {
    let mut key = b"prefix--".to_vec();
    key.extend_from_slice(&(number as u16).to_be_bytes());
    if number.is_multiple_of(3) {
        key.push(7);
    }
    key
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let mut pick = |choices: &[usize]| choices[(random.next_u64() % choices.len() as u64) as usize];
        let mut options =
            Options::default().write_buffer_size(1 << 16).cache_size(pick(&[1 << 14, 1 << 20]) as u64);
        options.advanced().fs(Arc::new(MemFs::new()));
        let keyspace = KeyspaceOptions::default()
            .block_size(pick(&[64, 200, 1000, 4096]))
            .table_size(pick(&[1024, 8192, 1 << 20]) as u64)
            .level_base_size(16384)
            .compaction(if pick(&[0, 1, 1, 1]) == 0 { Compaction::SizeTiered } else { Compaction::Leveled });
        let keys = pick(&[120, 1500]) as u64;
        let db = options.open("db").unwrap();
        let keyspace = db.keyspace("k", keyspace).unwrap();
        Self { random, db, keyspace, keys, model: Arc::default(), walks: Vec::new(), ends: Vec::new() }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    fn key(&mut self) -> u64 {
        self.below(self.keys)
    }

    /// One random change, of what is stored or of how.
    fn change(&mut self, operation: u64, has_range_tombstones: bool) {
        let (from, count) = (self.key(), self.below(80) + 1);
        let model = Arc::make_mut(&mut self.model);
        let value = operation.to_le_bytes();
        match self.random.next_u64() % 32 {
            0..=7 => {
                for number in from..from + count {
                    self.keyspace.insert(key(number), value).unwrap();
                    model.insert(key(number), value.to_vec());
                }
            }
            8..=19 => {
                self.keyspace.insert(key(from), value).unwrap();
                model.insert(key(from), value.to_vec());
            }
            20..=24 => {
                self.keyspace.remove(key(from)).unwrap();
                model.remove(&key(from));
            }
            25 if has_range_tombstones => {
                let (low, high) = (key(from), key(from + count / 4));
                self.keyspace.remove_range(low.clone()..high.clone()).unwrap();
                model.retain(|key, _| *key < low || *key >= high);
            }
            26 => {
                let mut ingestion = self.keyspace.ingestion().unwrap();
                for number in from..from + count {
                    ingestion.insert(key(number), value).unwrap();
                    model.insert(key(number), value.to_vec());
                }
                ingestion.finish().unwrap();
            }
            27 | 28 => self.keyspace.flush().unwrap(),
            29 => self.keyspace.compact_range(..).unwrap(),
            30 => self.keyspace.compact_range(key(from)..key(from + count)).unwrap(),
            _ => {}
        }
    }

    /// A new walk and a new range, in the place of old ones.
    fn begin(&mut self) {
        const MOST: usize = 6;
        let is_plain = self.below(2) == 0;
        let cursor =
            if is_plain { self.keyspace.cursor() } else { self.db.snapshot().cursor(&self.keyspace) };
        let walk = Walk { cursor, model: Arc::clone(&self.model), at: None };
        let (a, b) = (self.key(), self.key());
        let (low, high) = (key(a.min(b)), key(a.max(b)));
        let left = self.model.range(low.clone()..high.clone());
        let left = left.map(|(key, value)| (key.clone(), value.clone())).collect();
        let ends = Ends { range: self.keyspace.range(low..high), left };
        if self.walks.len() == MOST {
            let place = self.below(MOST as u64) as usize;
            self.walks.swap_remove(place);
            self.ends.swap_remove(place);
        }
        self.walks.push(walk);
        self.ends.push(ends);
    }

    /// Moves one of the ranges, from one end or from both; how many steps.
    fn consume(&mut self) -> u64 {
        if self.ends.is_empty() {
            return 0;
        }
        let place = self.below(self.ends.len() as u64) as usize;
        let (steps, is_mixed, mut is_front) = (self.below(60), self.below(4) == 0, self.below(2) == 0);
        let Ends { range, left } = &mut self.ends[place];
        for _ in 0..steps {
            is_front ^= is_mixed && self.random.next_u64().is_multiple_of(2);
            let (shown, expected) = match is_front {
                true => (range.next(), left.pop_front()),
                false => (range.next_back(), left.pop_back()),
            };
            assert_eq!(shown.map(|item| item.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()), expected);
        }
        steps
    }

    /// Moves one of the cursors, most often along a direction; how many steps.
    fn step(&mut self) -> u64 {
        if self.walks.is_empty() {
            return 0;
        }
        let place = self.below(self.walks.len() as u64) as usize;
        let (target, choice, most) = (key(self.key()), self.below(8), [4, 80][self.below(2) as usize]);
        let steps = if choice < 3 { 1 } else { self.below(most) + 1 };
        let Walk { cursor, model, at } = &mut self.walks[place];
        for _ in 0..steps {
            let first = |mut entries: std::collections::btree_map::Range<'_, Vec<u8>, Vec<u8>>| {
                entries.next().map(|(key, _)| key.clone())
            };
            *at = match choice {
                0 => {
                    cursor.seek(&target).unwrap();
                    first(model.range(target.clone()..))
                }
                1 => {
                    cursor.seek_for_prev(&target).unwrap();
                    model.range(..=target.clone()).next_back().map(|(key, _)| key.clone())
                }
                2 => {
                    cursor.seek_to_last().unwrap();
                    model.keys().next_back().cloned()
                }
                3..=5 => {
                    cursor.next().unwrap();
                    at.take().and_then(|at| first(model.range((Excluded(at), Unbounded))))
                }
                _ => {
                    cursor.prev().unwrap();
                    at.take().and_then(|at| model.range(..at).next_back().map(|(key, _)| key.clone()))
                }
            };
            let shown = cursor.valid().then(|| (cursor.key(), cursor.value()));
            let expected = at.as_ref().map(|at| (at.as_slice(), model[at].as_slice()));
            assert_eq!(shown, expected);
        }
        steps
    }
}

/// How many steps were compared.
fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    let has_range_tombstones = seed.is_multiple_of(3);
    let mut steps = 0;
    for operation in 0..OPERATIONS {
        match world.below(10) {
            0..=2 => world.change(operation, has_range_tombstones),
            3 => world.begin(),
            4..=6 => steps += world.consume(),
            _ => steps += world.step(),
        }
    }
    steps
}

#[test]
fn what_a_long_walk_shows_is_what_was_there_when_it_began() {
    let is_given = std::env::var_os("LSM_SEED").is_some();
    let first = lsm_sim::seed_from_env();
    let mut steps = 0;
    for seed in (0..if is_given { 1 } else { 60 }).map(|more| first.wrapping_add(more)) {
        println!("LSM_SEED=0x{seed:x} walks the same way again");
        steps += run(seed);
    }
    println!("{steps} steps");
}
