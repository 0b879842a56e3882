//! [`Plan`], [`Strategy`] and [`PickView`]: what a strategy sees and what it answers.
//! The facade carries plans out; a strategy reads nothing, starts nothing and keeps
//! no state, so the same view always gives the same plan.

use crate::{Busy, GcRules, InputRun, OlderTables, OutputOptions, RunParts, merge_runs, range_tombstones_of};
use lsm_merge::{ConcatCursor, MergeCursor};
use lsm_sstable::ReadOptions;
use lsm_types::{KeySpan, RangeTombstoneSet};
use lsm_version::{Change, LEVELS, Placement, TableHandle, Version};
use std::fmt::Debug;
use std::sync::Arc;

/// How many times its own length of the next deeper level an output may overlap.
const MAX_GRANDPARENT_FACTOR: u64 = 10;

/// One thing to do with the tables of a version.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Read, merge, drop and write.
    Merge(MergePlan),
    /// Change places without touching a byte.
    Move {
        /// The tables.
        tables: Vec<Arc<TableHandle>>,
        /// Where they go.
        to: Placement,
    },
    /// Remove without reading: nothing in them can be seen, or they are too old.
    Drop {
        /// The tables.
        tables: Vec<Arc<TableHandle>>,
    },
}

/// Tables to be merged into one run.
#[derive(Clone, Debug)]
pub struct MergePlan {
    /// What is read, newest run first. For each key in it, all data that is not in it is
    /// either newer than all of it or older than all of it.
    pub inputs: Vec<InputRun>,
    /// Where the outputs go.
    pub output: Placement,
    /// About how long an output should be.
    pub table_bytes: u64,
}

impl Plan {
    /// All tables that the plan needs for itself.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableHandle>> {
        let (runs, tables): (&[InputRun], &[Arc<TableHandle>]) = match self {
            Self::Merge(merge) => (&merge.inputs, &[]),
            Self::Move { tables, .. } | Self::Drop { tables } => (&[], tables),
        };
        runs.iter().flat_map(|run| &run.tables).chain(tables)
    }

    /// Bytes to be read; 0 for a move or a drop.
    #[must_use]
    pub fn input_bytes(&self) -> u64 {
        match self {
            Self::Merge(merge) => merge.tables().map(|table| table.size_bytes()).sum(),
            Self::Move { .. } | Self::Drop { .. } => 0,
        }
    }

    /// Where the plan adds tables, and between which keys; a drop adds none.
    #[must_use]
    pub fn output(&self) -> Option<(Placement, KeySpan)> {
        let placement = match self {
            Self::Merge(merge) => merge.output,
            Self::Move { to, .. } => *to,
            Self::Drop { .. } => return None,
        };
        Some((placement, hull(self.tables())?))
    }

    /// The change of the version when the plan has been carried out and a merge wrote
    /// `outputs`. What the job kept readable is the caller's to add.
    #[must_use]
    pub fn change(&self, outputs: Vec<Arc<TableHandle>>) -> Change {
        let numbers = || self.tables().map(|table| table.number());
        match self {
            Self::Merge(merge) => Change {
                added: outputs.into_iter().map(|table| (merge.output, table)).collect(),
                removed: numbers().collect(),
                ..Change::default()
            },
            Self::Move { to, .. } => {
                Change { moved: numbers().map(|number| (number, *to)).collect(), ..Change::default() }
            }
            Self::Drop { .. } => Change { removed: numbers().collect(), ..Change::default() },
        }
    }
}

impl MergePlan {
    /// All inputs.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableHandle>> {
        self.inputs.iter().flat_map(|run| &run.tables)
    }

    /// A cursor over all inputs.
    #[must_use]
    pub fn cursor(&self, options: ReadOptions) -> MergeCursor<ConcatCursor<RunParts>> {
        merge_runs(&self.inputs, options)
    }

    /// The range tombstones of all inputs.
    ///
    /// # Errors
    /// Those of opening the tables that have some.
    pub fn range_tombstones(&self) -> Result<RangeTombstoneSet, lsm_sstable::Error> {
        range_tombstones_of(self.tables())
    }

    /// What is older than the inputs in the version that the plan was made for.
    #[must_use]
    pub fn older(&self, version: &Version) -> OlderTables {
        match self.inputs.iter().map(|run| run.placement).max_by_key(|at| (at.level, u64::MAX - at.run)) {
            Some(oldest) => OlderTables::below(version, oldest),
            None => OlderTables::all(version),
        }
    }

    /// How to cut the outputs, in regard to the level below them.
    #[must_use]
    pub fn output_options(&self, version: &Version, created_ms: u64) -> OutputOptions {
        let mut options = OutputOptions::new(self.table_bytes, created_ms);
        let below = version.level(usize::from(self.output.level) + 1);
        if let ([run], true) = (below.runs(), self.output.level > 0)
            && let Some(span) = hull(self.tables())
        {
            options.grandparents = run
                .overlapping(&span)
                .iter()
                .map(|table| (table.span().clone(), table.size_bytes()))
                .collect();
            options.max_grandparent_bytes = self.table_bytes.saturating_mul(MAX_GRANDPARENT_FACTOR);
        }
        options
    }

    /// Whether nothing lies deeper than the outputs.
    #[must_use]
    pub fn is_last_level(&self) -> bool {
        usize::from(self.output.level) + 1 == LEVELS
    }
}

/// The span from the first start to the last end of `tables`.
pub(crate) fn hull<'a>(tables: impl IntoIterator<Item = &'a Arc<TableHandle>>) -> Option<KeySpan> {
    tables.into_iter().fold(None, |hull: Option<KeySpan>, table| {
        Some(hull.map_or_else(|| table.span().clone(), |hull| join(&hull, table.span())))
    })
}

/// The smallest span around both.
pub(crate) fn join(a: &KeySpan, b: &KeySpan) -> KeySpan {
    let end = match (&a.end, &b.end) {
        (Some(a), Some(b)) => Some(a.max(b).clone()),
        _ => None,
    };
    KeySpan { start: (&a.start).min(&b.start).clone(), end }
}

/// What a strategy sees.
pub struct PickView<'a> {
    /// The newest version.
    pub version: &'a Version,
    /// What jobs under way keep for themselves.
    pub busy: &'a Busy,
    /// What a job may drop if it starts now, and the time.
    pub rules: &'a GcRules,
    /// The range tombstones of a table that has some, if it can be opened.
    pub range_tombstones: &'a dyn for<'t> Fn(&'t TableHandle) -> Option<&'t RangeTombstoneSet>,
}

impl<'a> PickView<'a> {
    /// A view that reads range tombstones from the tables themselves.
    #[must_use]
    pub fn new(version: &'a Version, busy: &'a Busy, rules: &'a GcRules) -> Self {
        Self { version, busy, rules, range_tombstones: &|table| Some(table.table().ok()?.range_tombstones()) }
    }

    /// Whether no job under way needs the table.
    #[must_use]
    pub fn is_free(&self, table: &TableHandle) -> bool {
        !self.busy.has_table(table.number())
    }

    /// Whether no job under way needs any of the tables.
    #[must_use]
    pub fn are_free(&self, tables: &[Arc<TableHandle>]) -> bool {
        tables.iter().all(|table| self.is_free(table))
    }

    /// The plan, unless it is in the way of a job under way.
    #[must_use]
    pub fn admit(&self, plan: Plan) -> Option<Plan> {
        let free = plan.tables().all(|table| self.is_free(table));
        let has_room = plan.output().is_none_or(|(placement, span)| !self.busy.adds_to(placement, &span));
        (free && has_room).then_some(plan)
    }
}

impl Debug for PickView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PickView").field("busy", self.busy).field("rules", self.rules).finish_non_exhaustive()
    }
}

/// Decides what to compact next.
///
/// Shared between threads. A strategy is asked again after each change of the version
/// and after each job, until it answers `None`; several jobs may run at once.
pub trait Strategy: Send + Sync + Debug {
    /// Its name, for logs and statistics.
    fn name(&self) -> &'static str;

    /// The most useful thing to do now, if any. Never names a busy table.
    fn pick(&self, view: &PickView<'_>) -> Option<Plan>;

    /// What is worth doing while nobody writes and [`pick`](Self::pick) has nothing to do:
    /// work that spares later reads, at a bounded price.
    fn pick_at_rest(&self, _: &PickView<'_>) -> Option<Plan> {
        None
    }

    /// One step towards all data of `span` lying in one run, without deleted data that
    /// no snapshot needs; `None` when that is so, or when the tables that it needs are
    /// busy.
    fn pick_range(&self, view: &PickView<'_>, span: &KeySpan) -> Option<Plan>;

    /// As [`pick_range`](Self::pick_range) over all keys.
    fn pick_major(&self, view: &PickView<'_>) -> Option<Plan> {
        self.pick_range(view, &KeySpan::all())
    }

    /// About how many bytes have to be rewritten until `pick` has nothing left to do:
    /// the measure for slowing writers down.
    fn debt_bytes(&self, version: &Version) -> u64;

    /// Whether its [`Plan::Drop`] removes what newer snapshots would still see, so that
    /// it needs a place of its own in the order of writes.
    fn drops_visible_data(&self) -> bool {
        false
    }

    /// When, in milliseconds since the Unix epoch, `pick` may have something to do although
    /// nothing changes until then; `None` when only a change can bring that about.
    fn next_due_ms(&self, _: &Version) -> Option<u64> {
        None
    }

    /// How many sorted runs wait to be merged: the other measure for slowing writers
    /// down. Runs that are where they belong do not count.
    fn waiting_runs(&self, version: &Version) -> usize {
        version.level(0).runs().len()
    }
}
