//! [`Leveled`]: few runs to read and little dead data, at the price of rewriting each
//! byte a few times per level. The default.
//!
//! A pick tries, in this order:
//!
//! 1. Drop tables that lie whole under a range tombstone (`covered`).
//! 2. The fullest level against its target (`shape`): level 0 by its number of runs
//!    and its size, the others by their size. Of a level the table goes down that rewrites the
//!    least of the level below for each of its own bytes; one that overlaps nothing
//!    changes place without being read.
//! 3. Tables that hold mostly tombstones, however small their level is, when little
//!    has to be rewritten for it; and in the last level tombstones that nobody needs, and
//!    tables that are mostly old versions for snapshots that are closed.

use crate::covered::pick_covered;
use crate::plan::{hull, join};
use crate::range_pick::{is_worth_rewriting, pick_whole, rewrite_first, superseded};
use crate::shape::{LAST, Shape};
use crate::{InputRun, MergePlan, PickView, Plan, Strategy};
use lsm_types::KeySpan;
use lsm_version::{Placement, Run, TableHandle, Version};
use std::sync::Arc;

/// The score of a level that is exactly full.
const FULL: u64 = 1000;

/// The score of a level that is to be emptied: before a level that is just full, after
/// a level 0 that is overfull.
const DRAINING: u64 = 1500;

/// A tombstone-dense table has at least so many tombstones.
const DENSE_TOMBSTONES: u64 = 32;

/// So many times its own length may be read and rewritten to push a dense table down.
const DENSE_COST_FACTOR: u64 = 64;

/// So many times the length of level 0 may be rewritten below it when it goes down at rest.
const REST_COST_FACTOR: u64 = 4;

/// Levels that grow by a fixed factor, each one sorted run, below a level 0 of flushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leveled {
    /// About how long a table should be.
    pub table_bytes: u64,
    /// The most that the level below level 0 should hold.
    pub base_bytes: u64,
    /// The factor between neighbouring levels.
    pub ratio: u64,
    /// So many runs in level 0 are merged.
    pub level0_runs: usize,
    /// A table is tombstone-dense from this percentage of tombstones on.
    pub dense_percent: u64,
    /// Level 0 gives about this much to one merge; its oldest run in any case.
    pub max_merge_bytes: u64,
}

impl Default for Leveled {
    fn default() -> Self {
        Self::with_table_bytes(64 << 20)
    }
}

impl Leveled {
    /// Tables of about `table_bytes` and everything else in proportion.
    #[must_use]
    pub const fn with_table_bytes(table_bytes: u64) -> Self {
        Self {
            table_bytes,
            base_bytes: table_bytes.saturating_mul(4),
            ratio: 10,
            level0_runs: 8,
            dense_percent: 50,
            max_merge_bytes: table_bytes.saturating_mul(24),
        }
    }

    fn shape(&self, version: &Version) -> Shape {
        Shape::new(version, self.base_bytes, self.ratio)
    }

    /// The levels that are full, the fullest first, by what no job has taken yet.
    fn full_levels(&self, view: &PickView<'_>, shape: &Shape) -> Vec<usize> {
        let mut full = Vec::new();
        for (level, content) in view.version.levels().iter().enumerate().take(LAST) {
            let free = content.runs().iter().map(|run| free_bytes(view, run));
            let score = if level == 0 {
                let whole = content.runs().iter().filter(|run| view.are_free(run.tables())).count();
                let by_runs = whole as u64 * FULL / self.level0_runs.max(1) as u64;
                by_runs.max(score(free.sum(), self.base_bytes))
            } else {
                match (shape.target_bytes(level), free.sum()) {
                    (0, 0) => 0,
                    (0, _) => DRAINING,
                    (target, bytes) => score(bytes, target),
                }
            };
            if score >= FULL {
                full.push((score, level));
            }
        }
        full.sort_by_key(|&(score, level)| (std::cmp::Reverse(score), level));
        full.into_iter().map(|(_, level)| level).collect()
    }

    /// Merges `upper`, newest run first, with what it overlaps in `level`.
    fn merge_into(&self, view: &PickView<'_>, mut upper: Vec<InputRun>, level: usize) -> Option<Plan> {
        let mut span = hull(upper.iter().flat_map(|run| &run.tables))?;
        let runs = view.version.level(level).runs();
        // With one run its tables beyond the span cannot overlap the outputs. With more,
        // the span grows until no table of the level reaches over its edge.
        while runs.len() > 1
            && let Some(wider) = hull(runs.iter().flat_map(|run| run.overlapping(&span)))
            && join(&span, &wider) != span
        {
            span = join(&span, &wider);
        }
        for run in runs {
            let tables = run.overlapping(&span);
            if !tables.is_empty() {
                upper.push(InputRun { placement: place(level, run), tables: tables.to_vec() });
            }
        }
        let output = output_place(view.version, level);
        view.admit(Plan::Merge(MergePlan { inputs: upper, output, table_bytes: self.table_bytes }))
    }

    /// Whether the table may go to `level` as it is.
    fn is_movable(&self, view: &PickView<'_>, table: &TableHandle, level: usize) -> bool {
        let meta = table.meta();
        let target = view.version.level(level).runs();
        view.is_free(table)
            && target.len() <= 1
            && target.iter().all(|run| run.overlapping(table.span()).is_empty())
            // In the last level tombstones would stay for good; they go in a merge.
            && (level < LAST || (meta.tombstones == 0 && meta.range_tombstones == 0))
    }

    /// Takes the oldest runs of level 0 down, or merges newer ones meanwhile.
    fn pick_level0(&self, view: &PickView<'_>, shape: &Shape) -> Option<Plan> {
        let runs = view.version.level(0).runs();
        let oldest_first = || runs.iter().rev().take_while(|run| view.are_free(run.tables()));
        if oldest_first().next().is_none() {
            return self.pick_within_level0(view);
        }
        if let Some(plan) = self.move_level0(view, oldest_first(), shape.level0_output) {
            return Some(plan);
        }
        let mut bytes = 0;
        let mut upper: Vec<InputRun> = oldest_first()
            .take_while(|run| {
                let has_room = bytes < self.max_merge_bytes;
                bytes += run.size_bytes();
                has_room
            })
            .map(|run| InputRun { placement: place(0, run), tables: run.tables().to_vec() })
            .collect();
        upper.reverse();
        self.merge_into(view, upper, shape.level0_output).or_else(|| self.pick_within_level0(view))
    }

    /// Moves the oldest runs that overlap neither each other nor the level below: what
    /// comes in ascending order is written once.
    fn move_level0<'r>(
        &self,
        view: &PickView<'_>,
        oldest_first: impl Iterator<Item = &'r Run>,
        level: usize,
    ) -> Option<Plan> {
        let mut tables: Vec<Arc<TableHandle>> = Vec::new();
        let mut moved: Option<KeySpan> = None;
        for run in oldest_first {
            let Some(span) = hull(run.tables()) else { continue };
            // Small tables are merged with each other first, or there would be too many.
            let is_large = run.size_bytes() >= self.table_bytes / 4 * run.tables().len() as u64;
            let is_apart = moved.as_ref().is_none_or(|moved| !moved.overlaps(&span));
            if !is_large || !is_apart || !run.tables().iter().all(|t| self.is_movable(view, t, level)) {
                break;
            }
            tables.extend_from_slice(run.tables());
            moved = Some(moved.map_or_else(|| span.clone(), |moved| join(&moved, &span)));
        }
        if tables.is_empty() {
            return None;
        }
        view.admit(Plan::Move { tables, to: output_place(view.version, level) })
    }

    /// While the way down is taken: makes one run of the newest free ones, so that reads
    /// do not suffer.
    fn pick_within_level0(&self, view: &PickView<'_>) -> Option<Plan> {
        let mut bytes = 0;
        let newest: Vec<&Run> = view
            .version
            .level(0)
            .runs()
            .iter()
            .take_while(|run| {
                bytes += run.size_bytes();
                bytes <= self.max_merge_bytes && view.are_free(run.tables())
            })
            .collect();
        let (first, true) = (newest.first()?, newest.len() >= self.level0_runs.max(2)) else { return None };
        let output = place(0, first);
        let inputs =
            newest.iter().map(|run| InputRun { placement: place(0, run), tables: run.tables().to_vec() });
        view.admit(Plan::Merge(MergePlan { inputs: inputs.collect(), output, table_bytes: self.table_bytes }))
    }

    /// Takes the cheapest table of a level in between one level down.
    fn pick_level(&self, view: &PickView<'_>, shape: &Shape, level: usize) -> Option<Plan> {
        let content = view.version.level(level);
        let [run] = content.runs() else {
            // Several runs come from another strategy; they go down together.
            let upper = content.runs().iter();
            let upper =
                upper.map(|run| InputRun { placement: place(level, run), tables: run.tables().to_vec() });
            return self.merge_into(view, upper.collect(), level + 1);
        };
        let mut excess = content.size_bytes().saturating_sub(shape.target_bytes(level));
        let movable: Vec<Arc<TableHandle>> = run
            .tables()
            .iter()
            .filter(|table| {
                let moves = excess > 0 && self.is_movable(view, table, level + 1);
                excess = excess.saturating_sub(if moves { table.size_bytes() } else { 0 });
                moves
            })
            .cloned()
            .collect();
        if !movable.is_empty()
            && let Some(plan) =
                view.admit(Plan::Move { tables: movable, to: output_place(view.version, level + 1) })
        {
            return Some(plan);
        }
        self.cheapest_first(view, run, level).into_iter().find_map(|table| {
            let tables = vec![Arc::clone(table)];
            self.merge_into(view, vec![InputRun { placement: place(level, run), tables }], level + 1)
        })
    }

    /// The free tables of `run`, by how many bytes below are rewritten for each of
    /// their own.
    fn cheapest_first<'r>(
        &self,
        view: &PickView<'_>,
        run: &'r Run,
        level: usize,
    ) -> Vec<&'r Arc<TableHandle>> {
        let below = view.version.level(level + 1).runs();
        let mut costs: Vec<(u64, &Arc<TableHandle>)> = Vec::new();
        for table in run.tables().iter().filter(|table| view.is_free(table)) {
            let overlapped = || below.iter().flat_map(|run| run.overlapping(table.span()));
            if overlapped().all(|table| view.is_free(table)) {
                let bytes: u64 = overlapped().map(|table| table.size_bytes()).sum();
                costs.push((bytes.saturating_mul(1024) / table.size_bytes().max(1), table));
            }
        }
        // The older of two equals, so that the picks go round the keys.
        costs.sort_by_key(|(cost, table)| (*cost, table.number()));
        costs.into_iter().map(|(_, table)| table).collect()
    }

    fn is_dense(&self, table: &TableHandle) -> bool {
        self.are_many(table.meta().tombstones, table)
    }

    /// Whether so many of a table's entries are worth getting rid of.
    fn are_many(&self, entries: u64, table: &TableHandle) -> bool {
        entries >= DENSE_TOMBSTONES
            && entries.saturating_mul(100) >= table.meta().entries.saturating_mul(self.dense_percent)
    }

    /// Takes a table down that is mostly tombstones.
    fn pick_dense(&self, view: &PickView<'_>, shape: &Shape) -> Option<Plan> {
        for (placement, table) in view.version.tables() {
            let level = usize::from(placement.level);
            let has_cause = self.is_dense(table) || (level > 0 && table.meta().range_tombstones > 0);
            if level == LAST || !has_cause || !view.is_free(table) {
                continue;
            }
            let below = if level == 0 { shape.level0_output } else { level + 1 };
            let upper = if level == 0 {
                with_older_overlapping(view.version, placement.run, table)
            } else {
                vec![InputRun { placement, tables: vec![Arc::clone(table)] }]
            };
            let Some(plan) = self.merge_into(view, upper, below) else { continue };
            let own = table.size_bytes().saturating_mul(DENSE_COST_FACTOR);
            let limit = if table.meta().range_tombstones > 0 { own.max(self.table_bytes * 4) } else { own };
            if plan.input_bytes() <= limit.min(self.max_merge_bytes) {
                return Some(plan);
            }
        }
        let last = view.version.level(LAST);
        let [run] = last.runs() else { return None };
        rewrite_first(view, place(LAST, run), run.tables().iter(), self.table_bytes, |table| {
            let meta = table.meta();
            (self.are_many(meta.tombstones.saturating_add(superseded(meta)), table)
                || meta.range_tombstones > 0)
                && is_worth_rewriting(view, table)
        })
    }
}

/// The bytes of a run that no job has taken.
fn free_bytes(view: &PickView<'_>, run: &Run) -> u64 {
    run.tables().iter().filter(|table| view.is_free(table)).map(|table| table.size_bytes()).sum()
}

/// How full a level is.
fn score(bytes: u64, target: u64) -> u64 {
    (u128::from(bytes) * u128::from(FULL) / u128::from(target.max(1))).min(u128::from(u64::MAX)) as u64
}

fn place(level: usize, run: &Run) -> Placement {
    Placement { level: level as u8, run: run.id() }
}

/// Where tables that join `level` go: to its oldest run.
fn output_place(version: &Version, level: usize) -> Placement {
    let run = version.level(level).runs().last().map_or(0, Run::id);
    Placement { level: level as u8, run }
}

/// A table of level 0 with all that it overlaps in older runs of the level, and what
/// those overlap in turn; newest run first.
fn with_older_overlapping(version: &Version, run_id: u64, table: &Arc<TableHandle>) -> Vec<InputRun> {
    let older: Vec<&Run> = version.level(0).runs().iter().filter(|run| run.id() <= run_id).collect();
    let mut span = table.span().clone();
    loop {
        // Of its own run only what the span has grown over.
        let inputs: Vec<InputRun> = older
            .iter()
            .map(|run| InputRun { placement: place(0, run), tables: run.overlapping(&span).to_vec() })
            .filter(|run| !run.tables.is_empty())
            .collect();
        match hull(inputs.iter().flat_map(|run| &run.tables)).map(|hull| join(&hull, &span)) {
            Some(wider) if wider != span => span = wider,
            _ => return inputs,
        }
    }
}

impl Strategy for Leveled {
    fn name(&self) -> &'static str {
        "leveled"
    }

    fn pick(&self, view: &PickView<'_>) -> Option<Plan> {
        if let Some(plan) = pick_covered(view) {
            return Some(plan);
        }
        let shape = self.shape(view.version);
        self.full_levels(view, &shape)
            .into_iter()
            .find_map(|level| match level {
                0 => self.pick_level0(view, &shape),
                level => self.pick_level(view, &shape, level),
            })
            .or_else(|| self.pick_dense(view, &shape))
    }

    /// Empties level 0 although it is not full, so that reads look into fewer runs.
    fn pick_at_rest(&self, view: &PickView<'_>) -> Option<Plan> {
        let plan = self.pick_level0(view, &self.shape(view.version))?;
        if let Plan::Merge(merge) = &plan {
            let of_level0 = merge.inputs.iter().filter(|run| run.placement.level == 0);
            let own: u64 = of_level0.flat_map(|run| &run.tables).map(|table| table.size_bytes()).sum();
            let limit = own.saturating_mul(1 + REST_COST_FACTOR).min(self.max_merge_bytes);
            if merge.inputs.len() < 2 || plan.input_bytes() > limit {
                return None;
            }
        }
        Some(plan)
    }

    fn pick_range(&self, view: &PickView<'_>, span: &KeySpan) -> Option<Plan> {
        let mut span = span.clone();
        let mut inputs: Vec<InputRun>;
        // Whatever overlaps what is merged is merged too, so that the outputs can go to
        // the last level past nothing.
        loop {
            inputs = Vec::new();
            for (level, content) in view.version.levels().iter().enumerate() {
                let runs = content.runs().iter();
                inputs.extend(
                    runs.map(|run| InputRun {
                        placement: place(level, run),
                        tables: run.overlapping(&span).to_vec(),
                    })
                    .filter(|run| !run.tables.is_empty()),
                );
            }
            let hull = hull(inputs.iter().flat_map(|run| &run.tables))?;
            let wider = join(&hull, &span);
            if wider == span {
                break;
            }
            span = wider;
        }
        if let ([only], [run]) = (inputs.as_slice(), view.version.level(LAST).runs())
            && usize::from(only.placement.level) == LAST
        {
            return pick_whole(view, only.placement, run, &span, self.table_bytes);
        }
        let output = output_place(view.version, LAST);
        view.admit(Plan::Merge(MergePlan { inputs, output, table_bytes: self.table_bytes }))
    }

    fn debt_bytes(&self, version: &Version) -> u64 {
        let shape = self.shape(version);
        let level0 = version.level(0);
        let mut debt = 0_u64;
        // What a level gives down is rewritten with what it meets there.
        let mut arriving = 0_u64;
        if level0.runs().len() >= self.level0_runs || level0.size_bytes() >= self.base_bytes {
            arriving = level0.size_bytes();
            debt =
                arriving.saturating_add(version.level(shape.level0_output).size_bytes().min(self.base_bytes));
        }
        for level in shape.level0_output..LAST {
            let size = version.level(level).size_bytes().saturating_add(arriving);
            let below = version.level(level + 1).size_bytes();
            arriving = size.saturating_sub(shape.target_bytes(level));
            let fan_out = if size == 0 { 0 } else { (below / size.max(1)).min(self.ratio) };
            debt = debt.saturating_add(arriving.saturating_mul(1 + fan_out));
        }
        debt
    }
}
