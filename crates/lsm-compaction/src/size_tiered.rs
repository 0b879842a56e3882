//! [`SizeTiered`]: runs of like size are merged into one. Rewrites each byte about
//! once per tier, at the price of more runs to read and of more space.

use crate::covered::pick_covered;
use crate::range_pick::pick_whole;
use crate::{InputRun, MergePlan, PickView, Plan, Strategy};
use lsm_types::KeySpan;
use lsm_version::{Placement, Run, Version};

/// Merges neighbouring runs when enough of them are of like size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeTiered {
    /// So many runs of like size are merged.
    pub min_runs: usize,
    /// Never more than this many in one merge.
    pub max_merged_runs: usize,
    /// From this many runs on the cheapest neighbours are merged, like or not.
    pub max_runs: usize,
    /// A run is like those before it when it is at most this percentage of their sum
    /// longer.
    pub tolerance_percent: u64,
    /// When all newer runs together reach this percentage of the oldest one, everything
    /// is merged.
    pub max_space_percent: u64,
    /// About how long a table should be.
    pub table_bytes: u64,
}

impl Default for SizeTiered {
    fn default() -> Self {
        Self {
            min_runs: 4,
            max_merged_runs: 32,
            max_runs: 24,
            tolerance_percent: 25,
            max_space_percent: 200,
            table_bytes: 64 << 20,
        }
    }
}

/// All runs with their places, newest first.
fn runs_of(version: &Version) -> Vec<(Placement, &Run)> {
    let of_level = |(level, content)| {
        let content: &lsm_version::Level = content;
        content.runs().iter().map(move |run| (Placement { level: level as u8, run: run.id() }, run))
    };
    version.levels().iter().enumerate().flat_map(of_level).collect()
}

impl SizeTiered {
    /// The first stretch of free runs, from the newest on, in which each is like those
    /// before it.
    fn like_runs<'r, 'v>(&self, free: &'r [(Placement, &'v Run)]) -> Option<&'r [(Placement, &'v Run)]> {
        (0..free.len()).find_map(|first| {
            let mut sum = 0_u64;
            let mut past = first;
            while let Some((_, run)) = free.get(past)
                && past - first < self.max_merged_runs
            {
                let limit = sum.saturating_add(sum / 100 * self.tolerance_percent);
                if past > first && run.size_bytes() > limit {
                    break;
                }
                sum = sum.saturating_add(run.size_bytes());
                past += 1;
            }
            free.get(first..past).filter(|stretch| stretch.len() >= self.min_runs)
        })
    }

    /// The cheapest stretch whose merge brings the runs below `max_runs`.
    fn cheapest<'r, 'v>(&self, free: &'r [(Placement, &'v Run)]) -> Option<&'r [(Placement, &'v Run)]> {
        let excess = (free.len() + 1).checked_sub(self.max_runs)?;
        let width = (excess + 1).clamp(2, self.max_merged_runs.max(2));
        free.windows(width).min_by_key(|window| window.iter().map(|(_, run)| run.size_bytes()).sum::<u64>())
    }

    fn merge(&self, runs: &[(Placement, &Run)]) -> Option<Plan> {
        // In the place of the oldest: what is newer than all of them stays newer.
        let output = runs.last()?.0;
        let inputs = runs
            .iter()
            .map(|(placement, run)| InputRun { placement: *placement, tables: run.tables().to_vec() });
        Some(Plan::Merge(MergePlan { inputs: inputs.collect(), output, table_bytes: self.table_bytes }))
    }
}

impl Strategy for SizeTiered {
    fn name(&self) -> &'static str {
        "size-tiered"
    }

    fn pick(&self, view: &PickView<'_>) -> Option<Plan> {
        if let Some(plan) = pick_covered(view) {
            return Some(plan);
        }
        let runs = runs_of(view.version);
        let is_free = |&(_, run): &(Placement, &Run)| view.are_free(run.tables());
        if let [newer @ .., (_, oldest)] = runs.as_slice()
            && !newer.is_empty()
            && runs.iter().all(is_free)
        {
            let newer_bytes: u64 = newer.iter().map(|(_, run)| run.size_bytes()).sum();
            if newer.len() + 1 >= self.min_runs
                && newer_bytes >= (oldest.size_bytes() / 100).saturating_mul(self.max_space_percent)
            {
                return view.admit(self.merge(&runs)?);
            }
        }
        // Only neighbours may be merged, and a busy run parts its neighbours.
        let stretches = || runs.split(|run| !is_free(run));
        let like = stretches().find_map(|free| self.like_runs(free));
        like.or_else(|| {
            (runs.len() >= self.max_runs).then(|| stretches().find_map(|free| self.cheapest(free))).flatten()
        })
        .and_then(|stretch| view.admit(self.merge(stretch)?))
    }

    fn pick_range(&self, view: &PickView<'_>, span: &KeySpan) -> Option<Plan> {
        let runs = runs_of(view.version);
        let touched = |(_, run): &(Placement, &Run)| !run.overlapping(span).is_empty();
        let first = runs.iter().position(touched)?;
        let last = runs.iter().rposition(touched)?;
        let stretch = runs.get(first..=last)?;
        if let [(placement, run)] = stretch {
            return pick_whole(view, *placement, run, span, self.table_bytes);
        }
        view.admit(self.merge(stretch)?)
    }

    fn debt_bytes(&self, version: &Version) -> u64 {
        let runs = runs_of(version);
        if runs.len() < self.max_runs {
            return 0;
        }
        // All but the oldest are merged sooner or later.
        let newer = runs.split_last().map_or(&[][..], |(_, newer)| newer);
        newer.iter().map(|(_, run)| run.size_bytes()).sum()
    }
}
