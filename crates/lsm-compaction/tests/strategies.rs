//! Strategies at work on real tables: after any history and any order of jobs the
//! data is what was written, the tree has its shape, and the cost is bounded.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;
#[path = "common/engine.rs"]
mod engine;

use engine::Engine;
use lsm_compaction::{Leveled, Plan, SizeTiered, Strategy};
use lsm_types::{InternalKey, KeySpan, RangeTombstone, SeqNo, Slice, ValueKind};
use lsm_version::{LEVELS, Version};
use lsm_vfs::SplitMix64;
use std::collections::BTreeMap;

fn seed() -> u64 {
    std::env::var("LSM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_241)
}

fn key(number: u64) -> Slice {
    Slice::from(format!("key{number:010}"))
}

const KIB: u64 = 1 << 10;

fn leveled() -> Leveled {
    Leveled::with_table_bytes(16 * KIB)
}

fn size_tiered() -> SizeTiered {
    SizeTiered { table_bytes: 16 * KIB, ..SizeTiered::default() }
}

/// A writer that remembers what each snapshot must see.
struct Writer {
    seqno: SeqNo,
    live: BTreeMap<Slice, Slice>,
    entries: Vec<(InternalKey<Slice>, Slice)>,
    tombstones: Vec<RangeTombstone>,
}

impl Writer {
    fn new() -> Self {
        Self { seqno: 1, live: BTreeMap::new(), entries: Vec::new(), tombstones: Vec::new() }
    }

    fn put(&mut self, number: u64) {
        let value = Slice::from(format!("{:060}", self.seqno));
        self.entries.push((InternalKey::new(key(number), self.seqno, ValueKind::Value), value.clone()));
        self.live.insert(key(number), value);
        self.seqno += 1;
    }

    fn remove(&mut self, number: u64) {
        self.entries.push((InternalKey::new(key(number), self.seqno, ValueKind::Tombstone), Slice::empty()));
        self.live.remove(&key(number));
        self.seqno += 1;
    }

    fn remove_range(&mut self, from: u64, to: u64) {
        let span = KeySpan { start: key(from), end: Some(key(to)) };
        self.live.retain(|key, _| !span.contains(key));
        self.tombstones.push(RangeTombstone { span, seqno: self.seqno });
        self.seqno += 1;
    }

    fn flush(&mut self, engine: &mut Engine) {
        engine.rules.published = self.seqno;
        engine.flush(std::mem::take(&mut self.entries), std::mem::take(&mut self.tombstones));
    }
}

fn check_contents(engine: &Engine, live: &BTreeMap<Slice, Slice>, snapshot: SeqNo) {
    let mut cursor = engine.scan(snapshot);
    cursor.seek_to_first().expect("tables can be read");
    for (key, value) in live {
        assert!(cursor.valid(), "{key:?} is missing at {snapshot}");
        assert_eq!((cursor.key(), cursor.value()), (key.as_bytes(), value.as_bytes()), "at {snapshot}");
        cursor.next().expect("tables can be read");
    }
    assert!(!cursor.valid(), "{:?} should be gone at {snapshot}", Slice::copy_from(cursor.key()));
}

/// A random history with deletes, range deletes, snapshots and several jobs at once
/// that end in any order.
fn check_history(strategy: &dyn Strategy, seed: u64) {
    let mut random = SplitMix64::new(seed);
    let mut engine = Engine::new(16 * KIB);
    engine.rules.zero_seqnos = seed.is_multiple_of(2);
    let mut writer = Writer::new();
    let mut snapshots: Vec<(SeqNo, BTreeMap<Slice, Slice>)> = Vec::new();
    let mut under_way: Vec<(Plan, Version)> = Vec::new();
    for _ in 0..60 {
        for _ in 0..random.below(400) {
            match random.below(100) {
                0..70 => writer.put(random.below(3000)),
                70..99 => writer.remove(random.below(3000)),
                _ => {
                    let from = random.below(3000);
                    writer.remove_range(from, from + random.below(200));
                }
            }
        }
        writer.flush(&mut engine);
        // A snapshot opens or closes; jobs under way keep to the rules they started with,
        // of which these are a subset, so only opening while jobs run would be wrong.
        if under_way.is_empty() && random.below(3) == 0 {
            snapshots.push((writer.seqno, writer.live.clone()));
        } else if !snapshots.is_empty() && random.below(3) == 0 {
            let index = random.below(snapshots.len() as u64) as usize;
            snapshots.swap_remove(index);
        }
        engine.rules.snapshots = snapshots.iter().map(|(seqno, _)| *seqno).collect();
        for _ in 0..random.below(8) {
            if random.below(2) == 0
                && let Some(plan) = engine.pick(strategy)
            {
                engine.busy.begin(&plan);
                under_way.push((plan, engine.version.clone()));
            } else if !under_way.is_empty() {
                let index = random.below(under_way.len() as u64) as usize;
                let (plan, picked_from) = under_way.swap_remove(index);
                engine.carry_out(&plan, &picked_from);
                engine.busy.end(&plan);
            }
        }
        check_contents(&engine, &writer.live, writer.seqno);
        for (snapshot, live) in &snapshots {
            check_contents(&engine, live, *snapshot);
        }
    }
    for (plan, picked_from) in under_way {
        engine.carry_out(&plan, &picked_from);
        engine.busy.end(&plan);
    }
    assert!(engine.busy.is_idle());
    engine.settle(strategy);
    check_contents(&engine, &writer.live, writer.seqno);

    // With all snapshots closed a manual compaction leaves nothing but the live data.
    engine.rules.snapshots.clear();
    let mut steps = 0;
    while let Some(plan) =
        strategy.pick_major(&lsm_compaction::PickView::new(&engine.version, &engine.busy, &engine.rules))
    {
        let version = engine.version.clone();
        engine.carry_out(&plan, &version);
        steps += 1;
        assert!(steps < 100, "a manual compaction never ends");
    }
    check_contents(&engine, &writer.live, writer.seqno);
    assert_eq!(engine.sum(|meta| meta.entries), writer.live.len() as u64, "deleted data is left over");
    assert_eq!(engine.sum(|meta| meta.range_tombstones), 0);
}

#[test]
fn leveled_keeps_all_data_through_any_order_of_jobs() {
    let seed = seed();
    // The last ones once left old versions in the last level that no snapshot saw any more.
    for seed in (seed..seed + 12).chain([1003, 1295]) {
        println!("LSM_SEED={seed}");
        check_history(&leveled(), seed);
    }
}

#[test]
fn size_tiered_keeps_all_data_through_any_order_of_jobs() {
    let seed = seed();
    for seed in seed..seed + 12 {
        println!("LSM_SEED={seed}");
        check_history(&size_tiered(), seed);
    }
}

#[test]
fn leveled_changed_to_size_tiered_and_back_keeps_all_data() {
    let mut engine = Engine::new(16 * KIB);
    let mut writer = Writer::new();
    let mut random = SplitMix64::new(seed());
    let strategies: [&dyn Strategy; 2] = [&leveled(), &size_tiered()];
    for round in 0..60 {
        for _ in 0..200 {
            writer.put(random.below(5000));
        }
        writer.flush(&mut engine);
        engine.settle(strategies[round / 10 % 2]);
        check_contents(&engine, &writer.live, writer.seqno);
    }
}

/// Loads random keys and answers the write amplification of compaction.
fn load(strategy: &dyn Strategy, engine: &mut Engine, flushes: u64) -> f64 {
    let mut random = SplitMix64::new(seed());
    let mut writer = Writer::new();
    for _ in 0..flushes {
        for _ in 0..200 {
            writer.put(random.below(1 << 40));
        }
        writer.flush(engine);
        engine.settle(strategy);
    }
    check_contents(engine, &writer.live, writer.seqno);
    engine.compacted_bytes as f64 / engine.flushed_bytes as f64
}

#[test]
fn a_random_load_keeps_the_shape_at_a_bounded_cost() {
    let strategy = leveled();
    let mut engine = Engine::new(16 * KIB);
    let amplification = load(&strategy, &mut engine, 400);
    let shape = engine.shape();
    println!("leveled: amplification {amplification:.1}, shape {shape:?}");
    assert!(amplification < 14.0, "each byte was rewritten {amplification} times: {shape:?}");
    assert!(shape[0].0 < strategy.level0_runs, "level 0 is not emptied: {shape:?}");
    assert!(shape[1..].iter().all(|(runs, _, _)| *runs <= 1), "{shape:?}");
    let total: u64 = shape.iter().map(|(_, _, bytes)| bytes).sum();
    assert!(shape[LEVELS - 1].2 * 10 >= total * 8, "most data lies in the last level: {shape:?}");
    assert_eq!(strategy.debt_bytes(&engine.version), 0, "a tree at rest has no debt");
}

#[test]
fn size_tiered_rewrites_less_and_keeps_few_runs() {
    let strategy = size_tiered();
    let mut engine = Engine::new(16 * KIB);
    let amplification = load(&strategy, &mut engine, 400);
    println!("size-tiered: amplification {amplification:.1}, shape {:?}", engine.shape());
    assert!(amplification < 8.0, "each byte was rewritten {amplification} times");
    assert!(engine.shape()[0].0 < strategy.max_runs);
}

#[test]
fn what_arrives_in_order_is_written_once() {
    let mut engine = Engine::new(16 * KIB);
    let mut writer = Writer::new();
    for round in 0..100 {
        for number in 0..200 {
            writer.put(round * 200 + number);
        }
        writer.flush(&mut engine);
        engine.settle(&leveled());
    }
    check_contents(&engine, &writer.live, writer.seqno);
    assert_eq!(engine.compacted_bytes, 0, "{} merges", engine.merges);
    assert!(engine.shape()[0].0 < leveled().level0_runs, "{:?}", engine.shape());
}

#[test]
fn the_deleted_head_of_a_queue_does_not_pile_up() {
    let mut engine = Engine::new(64 * KIB);
    let mut writer = Writer::new();
    let strategy = Leveled::with_table_bytes(64 * KIB);
    let (mut head, mut tail) = (0, 0);
    let mut worst = 0;
    for _ in 0..30_000 {
        writer.put(tail);
        tail += 1;
    }
    writer.flush(&mut engine);
    engine.settle(&strategy);
    for _ in 0..40 {
        // The backlog stays: what is popped was flushed long before.
        for _ in 0..2000 {
            writer.put(tail);
            writer.remove(head);
            (head, tail) = (head + 1, tail + 1);
        }
        writer.flush(&mut engine);
        engine.settle(&strategy);
        worst = worst.max(engine.sum(|meta| meta.tombstones));
    }
    check_contents(&engine, &writer.live, writer.seqno);
    println!(
        "at most {worst} tombstones, {} bytes rewritten of {}",
        engine.compacted_bytes, engine.flushed_bytes
    );
    assert!(worst <= 2500, "{worst} tombstones lie before the head of the queue");
    assert!(engine.compacted_bytes < engine.flushed_bytes * 4, "getting rid of them costs too much");
}

#[test]
fn tables_under_a_range_tombstone_are_dropped_unread() {
    let mut engine = Engine::new(16 * KIB);
    let mut writer = Writer::new();
    for number in 0..20_000 {
        writer.put(number);
    }
    writer.flush(&mut engine);
    engine.settle(&leveled());
    let before = engine.version.size_bytes();
    writer.remove_range(100, 19_900);
    writer.flush(&mut engine);
    engine.rules.snapshots = vec![writer.seqno - 1];
    engine.settle(&leveled());
    assert!(engine.version.size_bytes() >= before, "the open snapshot still sees all of it");
    engine.rules.snapshots.clear();
    let rewritten = engine.compacted_bytes;
    engine.settle(&leveled());
    assert!(engine.version.size_bytes() < before / 20, "{:?}", engine.shape());
    assert!(engine.compacted_bytes - rewritten < before / 20, "it was read and rewritten");
    check_contents(&engine, &writer.live, writer.seqno);
}
