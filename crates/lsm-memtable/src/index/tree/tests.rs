//! The tree against a sorted map, at fan-outs that make it deep, so that nodes divide
//! on every level.

#![cfg(not(lsm_loom))]

use super::{TreeIndex, TreeSpare};
use crate::index::{MemtableIndex, NewValue};
use lsm_types::{InternalKey, SeqNo, ValueKind};
use std::collections::BTreeMap;
use std::ops::Bound;

/// A pseudo-random sequence (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// The model's order: numbers counted backwards.
type ModelKey = (Vec<u8>, SeqNo);

fn model_key(key: &[u8], seqno: SeqNo) -> ModelKey {
    (key.to_vec(), SeqNo::MAX - seqno)
}

type Model = BTreeMap<ModelKey, u64>;

fn found<const N: usize>(
    tree: &TreeIndex<N>,
    position: Option<&<TreeIndex<N> as MemtableIndex>::Position>,
) -> Option<(ModelKey, u64)> {
    position.map(|position| {
        let entry = tree.entry(position);
        let value = u64::from_le_bytes(entry.value.as_bytes().try_into().unwrap());
        (model_key(entry.key.user_key, entry.key.seqno()), value)
    })
}

fn own(entry: Option<(&ModelKey, &u64)>) -> Option<(ModelKey, u64)> {
    entry.map(|(key, value)| (key.clone(), *value))
}

fn check_at<const N: usize>(tree: &TreeIndex<N>, model: &Model, key: &[u8], seqno: SeqNo) {
    let target = InternalKey::new(key, seqno, ValueKind::Value);
    let at = model_key(key, seqno);
    let after = tree.at_or_after(target);
    assert_eq!(found(tree, after.as_ref()), own(model.range(at.clone()..).next()), "at or after {at:?}");
    let before = tree.at_or_before(target);
    assert_eq!(found(tree, before.as_ref()), own(model.range(..=at).next_back()), "at or before");
    if let Some(position) = after {
        let (at, _) = found(tree, Some(&position)).unwrap();
        let next = model.range((Bound::Excluded(at.clone()), Bound::Unbounded)).next();
        assert_eq!(found(tree, tree.after(&position).as_ref()), own(next), "after {at:?}");
        let prev = model.range(..at.clone()).next_back();
        assert_eq!(found(tree, tree.before(&position).as_ref()), own(prev), "before {at:?}");
    }
}

fn check_all<const N: usize>(tree: &TreeIndex<N>, model: &Model) {
    let mut position = tree.first();
    for entry in model {
        assert_eq!(found(tree, position.as_ref()), own(Some(entry)));
        position = tree.after(&position.unwrap());
    }
    assert!(position.is_none());
    let mut position = tree.last();
    for entry in model.iter().rev() {
        assert_eq!(found(tree, position.as_ref()), own(Some(entry)));
        position = tree.before(&position.unwrap());
    }
    assert!(position.is_none());
}

/// Inserts `count` entries whose keys come from `key`, looking about in between.
fn check<const N: usize>(seed: u64, count: u64, key: fn(&mut Random, u64) -> Vec<u8>, spare: &TreeSpare) {
    let tree = TreeIndex::<N>::new(spare);
    let mut model = Model::new();
    let mut random = Random(seed);
    let mut held = None;
    for number in 0..count {
        let user_key = key(&mut random, number);
        let seqno = random.below(3);
        let is_new = tree.insert(
            InternalKey::new(&user_key, seqno, ValueKind::Value),
            NewValue::Copied(&number.to_le_bytes()),
        );
        assert_eq!(is_new, model.insert(model_key(&user_key, seqno), number).is_none(), "seed {seed}");
        let probe = key(&mut random, number);
        check_at(&tree, &model, &probe, random.below(4));
        // A position made long ago steps on as one made now.
        if let Some((at, position)) = &held {
            let next = model.range((Bound::Excluded(ModelKey::clone(at)), Bound::Unbounded)).next();
            assert_eq!(found(&tree, tree.after(position).as_ref()), own(next), "seed {seed}");
            let prev = model.range(..ModelKey::clone(at)).next_back();
            assert_eq!(found(&tree, tree.before(position).as_ref()), own(prev), "seed {seed}");
        }
        if number % 16 == 0 {
            held = tree.at_or_after(InternalKey::before_all(&probe)).map(|position| {
                let (at, _) = found(&tree, Some(&position)).unwrap();
                (at, position)
            });
        }
    }
    check_all(&tree, &model);
}

#[test]
fn deep_trees_do_what_a_sorted_map_does() {
    let seed = std::env::var("LSM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
    println!("replay with LSM_SEED={seed}");
    let patterns: [fn(&mut Random, u64) -> Vec<u8>; 10] = [
        |random, _| random.below(u64::MAX).to_be_bytes().to_vec(),
        |random, _| random.below(200).to_be_bytes().to_vec(),
        |_, number| number.to_be_bytes().to_vec(),
        |_, number| (u64::MAX - number).to_be_bytes().to_vec(),
        // A few streams, each ascending, behind a long shared prefix.
        |random, number| format!("a long shared prefix/{}/{number:08}", random.below(4)).into_bytes(),
        |random, _| vec![b'x'; random.below(60) as usize],
        // Keys that are each other's beginnings, and end where heads are filled up with zeros.
        |random, _| (0..random.below(14)).map(|_| [0, 0, 0, 1, 255][random.below(5) as usize]).collect(),
        // What is shared differs from place to place, and ends within, before and behind heads.
        |random, _| {
            let shared = random.below(6) * 5;
            let mut key = vec![b'a' + shared as u8; shared as usize];
            key.extend((0..random.below(4)).map(|_| random.below(3) as u8));
            key
        },
        // A crowd behind a long prefix comes between keys that share nothing, and ends.
        |random, number| match number / 300 % 2 {
            0 => random.below(u64::MAX).to_be_bytes()[..1 + random.below(8) as usize].to_vec(),
            _ => format!("{}{:04}", "x".repeat(1 + number as usize / 40 % 30), random.below(10_000))
                .into_bytes(),
        },
        // As long as keys may be, and different only at their ends.
        |random, number| match number % 50 {
            0 => [&[7; 65_000][..], &random.below(9).to_be_bytes()[..random.below(9) as usize]].concat(),
            _ => [&[7; 40][..], &random.below(300).to_be_bytes()].concat(),
        },
    ];
    // Each has the memory of those before it, with all that was in there.
    let spare = TreeSpare::default();
    for (number, pattern) in patterns.into_iter().enumerate() {
        let seed = seed.wrapping_add(number as u64);
        check::<2>(seed, 700, pattern, &spare);
        check::<3>(seed, 700, pattern, &spare);
        check::<14>(seed, 4000, pattern, &spare);
    }
    assert!(spare.leaves.bytes() > 0, "no nodes were used again");
}
