//! Single decisions on synthetic versions: tables that exist in name only.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;
#[path = "common/engine.rs"]
mod engine;

use engine::Engine;
use lsm_compaction::{Busy, Fifo, GcRules, Leveled, PickView, Plan, SizeTiered, Strategy};
use lsm_sstable::TableMeta;
use lsm_types::{InternalKey, KeySpan, SeqNo, Slice, UpperBound, ValueKind};
use lsm_version::{Exactness, Placement, TableHandle, Version};
use lsm_vfs::SplitMix64;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

/// Makes tables that nobody can open.
struct Fakes {
    engine: Engine,
    template: TableMeta,
    next_number: u64,
}

impl Fakes {
    fn new() -> Self {
        let mut engine = Engine::new(1 << 20);
        let key = InternalKey::new(Slice::from("k"), 1, ValueKind::Value);
        engine.flush(vec![(key, Slice::from("v"))], vec![]);
        let template = engine.version.tables().next().expect("just flushed").1.meta().clone();
        Self { engine, template, next_number: 1000 }
    }

    fn table(&mut self, first: u64, last: u64, bytes: u64) -> Arc<TableHandle> {
        self.table_with(first, last, bytes, |_| {})
    }

    fn table_with(
        &mut self,
        first: u64,
        last: u64,
        bytes: u64,
        change: impl FnOnce(&mut TableMeta),
    ) -> Arc<TableHandle> {
        let mut meta = self.template.clone();
        meta.smallest = key(first);
        meta.upper = UpperBound::Included(key(last));
        meta.file_bytes = bytes;
        meta.entries = bytes / 100;
        meta.user_keys = meta.entries;
        (meta.lowest_seqno, meta.highest_seqno) = (1, 1);
        change(&mut meta);
        self.next_number += 1;
        self.engine.handle(self.next_number, meta)
    }
}

fn key(number: u64) -> Slice {
    Slice::from(number.to_be_bytes())
}

fn at(level: u8, run: u64) -> Placement {
    Placement { level, run }
}

fn version(tables: Vec<(Placement, Arc<TableHandle>)>) -> Version {
    Version::from_tables(tables, Exactness::everything(), 0).expect("runs are disjoint")
}

fn rules() -> GcRules {
    GcRules { published: 1 << 40, ..GcRules::default() }
}

fn pick(strategy: &dyn Strategy, version: &Version, busy: &Busy) -> Option<Plan> {
    strategy.pick(&PickView::new(version, busy, &rules()))
}

fn numbers<'a>(tables: impl IntoIterator<Item = &'a Arc<TableHandle>>) -> Vec<u64> {
    let mut numbers: Vec<u64> = tables.into_iter().map(|table| table.number()).collect();
    numbers.sort_unstable();
    numbers
}

/// Applies a plan as if merges dropped nothing and wrote tables of the wanted size.
fn apply(fakes: &mut Fakes, version: &Version, plan: &Plan) -> Version {
    let mut outputs = Vec::new();
    if let Plan::Merge(merge) = plan {
        let bytes: u64 = plan.input_bytes();
        let first = merge.tables().map(|t| t.meta().smallest.clone()).min().expect("has inputs");
        let last = merge
            .tables()
            .map(|t| t.meta().upper.clone())
            .fold(UpperBound::Included(key(0)), UpperBound::max);
        let UpperBound::Included(last) = last else { panic!("fakes have included bounds") };
        let number = |key: &Slice| u64::from_be_bytes(key[..8].try_into().expect("eight bytes"));
        let (first, last) = (number(&first), number(&last));
        let count = bytes.div_ceil(merge.table_bytes).clamp(1, last - first + 1);
        let cut = |index: u64| {
            first + ((u128::from(last - first) + 1) * u128::from(index) / u128::from(count)) as u64
        };
        for index in 0..count {
            outputs.push(fakes.table(cut(index), cut(index + 1) - 1, bytes / count));
        }
    }
    version.apply(&plan.change(outputs)).expect("the plan contradicts the version")
}

#[test]
fn three_hundred_overlapping_runs_are_worked_off() {
    let mut fakes = Fakes::new();
    let tables = (0..300).map(|run| (at(0, run), fakes.table(run, 1 << 30, 4 * MIB))).collect();
    let mut version = version(tables);
    let strategy = Leveled::with_table_bytes(4 * MIB);
    assert!(strategy.debt_bytes(&version) >= 1200 * MIB);
    let mut plans = 0;
    while let Some(plan) = pick(&strategy, &version, &Busy::new()) {
        version = apply(&mut fakes, &version, &plan);
        plans += 1;
        assert!(plans < 1000, "the runs are never worked off");
    }
    assert!(version.level(0).runs().len() < strategy.level0_runs);
    assert_eq!(strategy.debt_bytes(&version), 0);
}

#[test]
fn sixteen_thousand_tables_are_not_looked_at_in_pairs() {
    // A pick that compared all pairs would make this test take an hour.
    let mut fakes = Fakes::new();
    let mut tables = Vec::new();
    for index in 0..16_000 {
        tables.push((at(6, 0), fakes.table(index * 1000, index * 1000 + 999, 64 * MIB)));
    }
    for index in 0..1600 {
        tables.push((at(5, 0), fakes.table(index * 10_000 + 500, index * 10_000 + 9_000, 70 * MIB)));
    }
    for run in 0..16 {
        tables.push((at(0, run), fakes.table(run, 16_000_000, 64 * MIB)));
    }
    let version = version(tables);
    let mut busy = Busy::new();
    for strategy in [&Leveled::default() as &dyn Strategy, &SizeTiered::default()] {
        for _ in 0..200 {
            if let Some(plan) = pick(strategy, &version, &busy) {
                busy.begin(&plan);
            }
        }
    }
    let view_rules = rules();
    let view = PickView::new(&version, &busy, &view_rules);
    assert!(Leveled::default().pick_major(&view).is_none(), "busy tables are left alone");
}

#[test]
fn a_load_through_four_levels_costs_what_they_promise() {
    let mut fakes = Fakes::new();
    let mut random = SplitMix64::new(7);
    let strategy = Leveled::with_table_bytes(MIB);
    let mut version = Version::empty();
    let (mut flushed, mut rewritten) = (0, 0);
    for run in 0..3000 {
        let first = random.below(1000);
        let table = fakes.table(first, (1 << 30) - random.below(1000), 2 * MIB);
        flushed += table.size_bytes();
        let change = lsm_version::Change { added: vec![(at(0, run), table)], ..Default::default() };
        version = version.apply(&change).expect("a new run");
        while let Some(plan) = pick(&strategy, &version, &Busy::new()) {
            rewritten += plan.input_bytes();
            version = apply(&mut fakes, &version, &plan);
        }
    }
    let amplification = rewritten as f64 / flushed as f64;
    println!("{} tables, amplification {amplification:.1}", version.table_count());
    assert!(amplification < 30.0, "each byte was rewritten {amplification} times");
    assert!(version.level(6).size_bytes() * 10 > version.size_bytes() * 8);
}

#[test]
fn the_table_that_rewrites_least_goes_down_first() {
    let mut fakes = Fakes::new();
    let dear = fakes.table(0, 500, 4 * MIB);
    let cheap = fakes.table(600, 900, 4 * MIB);
    let mut tables = vec![(at(5, 0), dear), (at(5, 0), cheap.clone())];
    for index in 0..5 {
        tables.push((at(6, 0), fakes.table(index * 100, index * 100 + 99, 4 * MIB)));
    }
    let below = fakes.table(700, 800, 4 * MIB);
    tables.push((at(6, 0), below.clone()));
    let strategy = Leveled { base_bytes: 10 * MIB, ..Leveled::with_table_bytes(4 * MIB) };
    let plan = pick(&strategy, &version(tables), &Busy::new()).expect("level 5 is full");
    assert_eq!(numbers(plan.tables()), numbers([&cheap, &below]));
}

#[test]
fn a_table_over_nothing_changes_place_without_being_read() {
    let mut fakes = Fakes::new();
    let alone = fakes.table(600, 900, 4 * MIB);
    let over = fakes.table(0, 500, 4 * MIB);
    let tables = vec![(at(5, 0), over), (at(5, 0), alone.clone()), (at(6, 0), fakes.table(0, 100, 16 * MIB))];
    let strategy = Leveled { base_bytes: 10 * MIB, ..Leveled::with_table_bytes(4 * MIB) };
    let Some(Plan::Move { tables, to }) = pick(&strategy, &version(tables), &Busy::new()) else {
        panic!("not a move")
    };
    assert_eq!((numbers(&tables), to), (numbers([&alone]), at(6, 0)));
}

#[test]
fn a_table_of_tombstones_goes_down_though_no_level_is_full() {
    let mut fakes = Fakes::new();
    let dense = fakes.table_with(0, 99, MIB, |meta| meta.tombstones = meta.entries);
    let below = fakes.table(0, 150, 4 * MIB);
    let tables = vec![(at(0, 9), dense.clone()), (at(6, 0), below.clone())];
    let version_before = version(tables);
    let strategy = Leveled::with_table_bytes(4 * MIB);
    let plan = pick(&strategy, &version_before, &Busy::new()).expect("the tombstones are worth it");
    assert_eq!(numbers(plan.tables()), numbers([&dense, &below]));

    let light = fakes.table_with(0, 99, MIB, |meta| meta.tombstones = meta.entries / 10);
    let lighter = version(vec![(at(0, 9), light), (at(6, 0), below)]);
    assert!(pick(&strategy, &lighter, &Busy::new()).is_none(), "a few tombstones can wait");
}

#[test]
fn tombstones_in_the_last_level_go_when_their_snapshot_has_closed() {
    let mut fakes = Fakes::new();
    let table = fakes.table_with(0, 99, MIB, |meta| {
        meta.tombstones = meta.entries;
        meta.highest_seqno = 50;
    });
    let version = version(vec![(at(6, 0), table)]);
    let strategy = Leveled::with_table_bytes(4 * MIB);
    let busy = Busy::new();
    let with = |snapshots: Vec<SeqNo>| {
        let rules = GcRules { snapshots, ..rules() };
        strategy.pick(&PickView::new(&version, &busy, &rules))
    };
    assert!(with(vec![40]).is_none(), "a rewrite would drop nothing, for ever");
    assert!(with(vec![]).is_some());
}

#[test]
fn old_versions_in_the_last_level_go_once_no_snapshot_sees_them() {
    let mut fakes = Fakes::new();
    let mut of = |parts: u64| {
        let table = fakes.table_with(0, 99, MIB, |meta| {
            meta.user_keys = meta.entries / parts;
            meta.highest_seqno = 50;
        });
        version(vec![(at(6, 0), table)])
    };
    let (many, few) = (of(3), of(1));
    let strategy = Leveled::with_table_bytes(4 * MIB);
    let busy = Busy::new();
    let with = |version: &Version, snapshots: Vec<SeqNo>| {
        let rules = GcRules { snapshots, ..rules() };
        let view = PickView::new(version, &busy, &rules);
        (strategy.pick(&view).is_some(), strategy.pick_major(&view).is_some())
    };
    assert_eq!(with(&many, vec![40]), (false, false), "a rewrite would drop nothing, for ever");
    assert_eq!(with(&many, vec![]), (true, true));
    assert_eq!(with(&few, vec![]), (false, false));
}

#[test]
fn newer_runs_are_merged_among_themselves_while_the_way_down_is_taken() {
    let mut fakes = Fakes::new();
    let mut tables: Vec<_> = (0..4).map(|run| (at(0, run), fakes.table(0, 999, MIB / 2))).collect();
    let strategy = Leveled { level0_runs: 4, ..Leveled::with_table_bytes(4 * MIB) };
    let mut busy = Busy::new();
    let first = pick(&strategy, &version(tables.clone()), &busy).expect("four runs");
    busy.begin(&first);
    tables.extend((4..9).map(|run| (at(0, run), fakes.table(0, 999, MIB))));
    let version = version(tables);
    let Some(Plan::Merge(second)) = pick(&strategy, &version, &busy) else { panic!("not a merge") };
    assert_eq!((second.output, second.inputs.len()), (at(0, 8), 5));
    busy.begin(&Plan::Merge(second));
    assert!(pick(&strategy, &version, &busy).is_none());
    busy.end(&first);
    assert!(!busy.is_idle());
}

#[test]
fn nobody_writes_into_the_gap_of_a_job_under_way() {
    let mut fakes = Fakes::new();
    let runs = [(0, 10), (900, 999), (0, 20), (950, 990)];
    let mut tables: Vec<_> = runs
        .iter()
        .enumerate()
        .map(|(run, &(first, last))| (at(0, run as u64), fakes.table(first, last, MIB)))
        .collect();
    let strategy = Leveled { level0_runs: 4, ..Leveled::with_table_bytes(64 * MIB) };
    let mut busy = Busy::new();
    let first = pick(&strategy, &version(tables.clone()), &busy).expect("four runs");
    busy.begin(&first);
    // The new run lies between the keys of the job, which may write a table across it.
    tables.push((at(0, 9), fakes.table(400, 500, MIB)));
    let version = version(tables);
    let rules = rules();
    let view = PickView::new(&version, &busy, &rules);
    let span = KeySpan { start: key(400), end: Some(key(450)) };
    assert!(strategy.pick_range(&view, &span).is_none(), "the two outputs would overlap");
    busy.end(&first);
    let view = PickView::new(&version, &busy, &rules);
    assert!(strategy.pick_range(&view, &span).is_some());
}

#[test]
fn fifo_drops_the_oldest_and_nothing_else() {
    let mut fakes = Fakes::new();
    let tables: Vec<_> = (0..5)
        .map(|run| (at(0, run), fakes.table_with(0, 99, MIB, |meta| meta.created_ms = run * 1000)))
        .collect();
    let version = version(tables.clone());
    let oldest = |count: usize| numbers(tables.iter().take(count).map(|(_, table)| table));
    let by_size = Fifo { max_bytes: 3 * MIB, max_age_ms: None };
    let plan = pick(&by_size, &version, &Busy::new()).expect("two too many");
    assert_eq!(numbers(plan.tables()), oldest(2));
    let by_age = Fifo { max_bytes: u64::MAX, max_age_ms: Some(500) };
    let rules = GcRules { now_ms: 2600, ..rules() };
    let busy = Busy::new();
    let plan = by_age.pick(&PickView::new(&version, &busy, &rules)).expect("three are old");
    assert_eq!(numbers(plan.tables()), oldest(3));
    assert!(pick(&Fifo { max_bytes: 5 * MIB, max_age_ms: None }, &version, &busy).is_none());
}

#[test]
fn size_tiered_merges_neighbours_of_like_size() {
    let mut fakes = Fakes::new();
    let sizes = [1000, 100, 100, 100, 100, 1, 1];
    let tables: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(run, &size)| (at(0, run as u64), fakes.table(0, 999, size * MIB)))
        .collect();
    let version = version(tables.clone());
    let Some(Plan::Merge(merge)) = pick(&SizeTiered::default(), &version, &Busy::new()) else {
        panic!("not a merge")
    };
    assert_eq!(numbers(merge.tables()), numbers(tables[1..5].iter().map(|(_, table)| table)));
    assert_eq!(merge.output, at(0, 1));
}

#[test]
fn at_rest_level_0_goes_down_unless_that_rewrites_too_much() {
    let mut fakes = Fakes::new();
    let strategy = Leveled::with_table_bytes(64 * MIB);
    let rest = |version: &Version| strategy.pick_at_rest(&PickView::new(version, &Busy::new(), &rules()));
    let mut with = |of_level0: u64, below: u64| {
        let mut tables = vec![(at(6, 1), fakes.table(0, 1000, below))];
        for run in 0..of_level0 {
            tables.push((at(0, 10 + run), fakes.table(0, 1000, 20 * MIB)));
        }
        version(tables)
    };
    assert!(rest(&with(0, 80 * MIB)).is_none(), "there is nothing to do");
    assert!(rest(&with(1, 81 * MIB)).is_none(), "four times as much is rewritten");
    for (of_level0, below) in [(1, 80 * MIB), (3, 80 * MIB), (3, 0)] {
        let version = with(of_level0, below);
        assert!(pick(&strategy, &version, &Busy::new()).is_none(), "no level is full");
        let Some(Plan::Merge(plan)) = rest(&version) else { panic!("{of_level0} runs stay in level 0") };
        assert_eq!((plan.inputs.len() as u64, plan.output.level), (of_level0 + 1, 6));
    }
    let small = fakes.table(0, 1000, MIB);
    let only = version(vec![(at(0, 1), small)]);
    assert!(rest(&only).is_none(), "one small run alone is not worth rewriting");
}
