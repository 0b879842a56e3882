//! Compacting: carrying out the plans of a strategy, one claim on tables at a time.

use crate::background::flush::{Retry, discard};
use crate::background::schedule::Work;
use crate::core::{Core, Counters};
use crate::engine::Engine;
use crate::store::{Outputs, Store};
use crate::view::{self, Step};
use crate::{Error, Result};
use lsm_compaction::{GcRules, GcStream, MergePlan, PickView, Plan, Strategy, write_tables};
use lsm_sstable::ReadOptions;
use lsm_types::{KeySpan, SeqNo};
use lsm_version::{Needed, TableHandle, Version};
use std::sync::Arc;

/// How much of each input a compaction reads at once.
const READAHEAD_BYTES: usize = 1 << 20;

/// A plan whose tables nobody else may plan with until it is dropped.
struct Claim<'a> {
    core: &'a Core,
    plan: Plan,
    /// The version that the plan was made for.
    version: Arc<Version>,
}

impl<'a> Claim<'a> {
    /// Has `choose` pick a plan and claims its tables, in one step.
    fn pick(
        core: &'a Core,
        rules: &GcRules,
        choose: impl FnOnce(&PickView<'_>) -> Option<Plan>,
    ) -> Option<Self> {
        let mut busy = core.busy.lock();
        let version = Arc::clone(&core.history.latest().tables);
        let plan = choose(&PickView::new(&version, &busy, rules))?;
        busy.begin(&plan);
        core.begin_job();
        Some(Self { core, plan, version })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut busy = self.core.busy.lock();
        busy.end(&self.plan);
        self.core.end_job();
    }
}

/// What a job of this store may drop.
fn rules(store: &Store, needed: &Needed, zero_seqnos: bool) -> GcRules {
    GcRules { zero_seqnos, ..GcRules::new(needed, store.env.clock.unix_ms()) }
}

/// Reads, merges and writes.
fn merge(
    store: &Store,
    core: &Core,
    version: &Version,
    plan: &MergePlan,
    rules: &GcRules,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Arc<TableHandle>>> {
    let read = ReadOptions { fill_cache: false, readahead_bytes: READAHEAD_BYTES };
    let mut stream = GcStream::new(plan.cursor(read), plan.range_tombstones()?, rules, plan.older(version));
    let mut outputs = Outputs::new(store, core.options.writer(usize::from(plan.output.level)));
    let options = plan.output_options(version, store.env.clock.unix_ms());
    let tables = write_tables(&mut stream, &mut outputs, &options, is_cancelled)?;
    outputs.finish(tables)
}

/// Carries out a claimed plan and installs the result. `published` stamps the view.
fn carry_out(
    store: &Store,
    claim: &Claim<'_>,
    rules: &GcRules,
    needed: &Needed,
    published: SeqNo,
    live: impl Fn() -> Vec<SeqNo>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let Claim { core, plan, version } = claim;
    let outputs = match plan {
        Plan::Merge(plan) => merge(store, core, version, plan, rules, is_cancelled)?,
        Plan::Move { .. } | Plan::Drop { .. } => Vec::new(),
    };
    let written: Vec<_> = outputs.iter().map(Arc::clone).collect();
    let written_bytes: u64 = outputs.iter().map(|table| table.size_bytes()).sum();
    let mut change = plan.change(outputs);
    change.needed = match plan {
        Plan::Move { .. } => None,
        Plan::Merge(_) | Plan::Drop { .. } => Some(needed.clone()),
    };
    let step = Step::Tables { change, flushed_rotation: 0, more_edits: Vec::new() };
    if let Err(error) = view::install(store, core, step, published, live) {
        discard(store, &written);
        return Err(error);
    }
    Counters::add(&core.counters.compacted_in_bytes, plan.input_bytes());
    Counters::add(&core.counters.compacted_out_bytes, written_bytes);
    Counters::add(&core.counters.compactions, 1);
    Ok(())
}

/// One step that `choose` picks, for a tree, which has no snapshots of its own. False
/// when there was nothing to do.
pub(crate) fn tree_step(
    store: &Store,
    core: &Core,
    needed: &Needed,
    choose: impl FnOnce(&PickView<'_>) -> Option<Plan>,
) -> Result<bool> {
    let rules = rules(store, needed, false);
    let Some(claim) = Claim::pick(core, &rules, choose) else { return Ok(false) };
    let seqno = core.history.latest_seqno();
    carry_out(store, &claim, &rules, needed, seqno, Vec::new, &|| false)?;
    Ok(true)
}

impl Engine {
    /// Queues a look at whether the keyspace's strategy wants something.
    pub(crate) fn compact_soon(&self, core: &Core) {
        self.scheduler.submit(Work::Compact(core.id));
    }

    /// One step, as a background job. After a step there may be another.
    pub(crate) fn run_compaction(&self, core: &Arc<Core>) {
        let outcome = self.compaction_step(core, |view, strategy| strategy.pick(view));
        match outcome {
            Ok(true) => {
                core.compaction_retry.reset();
                self.clear_trouble();
                self.compact_soon(core);
            }
            Ok(false) => {}
            Err(error) => self.retry(core, &core.compaction_retry, error, Work::Compact(core.id)),
        }
    }

    /// One step that `choose` picks. False when there was nothing to do.
    fn compaction_step(
        &self,
        core: &Arc<Core>,
        choose: impl FnOnce(&PickView<'_>, &dyn Strategy) -> Option<Plan>,
    ) -> Result<bool> {
        self.store.check_usable()?;
        if core.is_dropped() {
            return Ok(false);
        }
        let strategy = core.strategy.as_ref();
        let mut needed = self.snapshots.needed(&self.clock);
        let rules = rules(&self.store, &needed, true);
        let Some(claim) = Claim::pick(core, &rules, |view| choose(view, strategy)) else { return Ok(false) };
        if matches!(claim.plan, Plan::Drop { .. }) && strategy.drops_visible_data() {
            // Snapshots up to now keep what they see: the version without the tables is
            // exact for later ones alone, so there must be a later bound.
            needed = Needed::from_watermark(self.burn_seqno()?);
        }
        let is_cancelled = || self.scheduler.is_closing() || core.is_dropped();
        let live = || self.snapshots.live();
        carry_out(&self.store, &claim, &rules, &needed, needed.published, live, &is_cancelled)?;
        drop(claim);
        self.refresh_pressure(core);
        Ok(true)
    }

    /// Publishes one number that no entry has. Returns the bound after it.
    fn burn_seqno(&self) -> Result<SeqNo> {
        let mut state = self.commit.lock();
        self.store.check_usable()?;
        let base = state.next_seqno;
        self.publish(&mut state, base, 1);
        Ok(state.next_seqno)
    }

    /// Merges everything in `span` down, in the calling thread.
    pub(crate) fn compact_span(&self, core: &Arc<Core>, span: &KeySpan) -> Result<()> {
        loop {
            if self.compaction_step(core, |view, strategy| strategy.pick_range(view, span))? {
                continue;
            }
            if !core.has_jobs() {
                return self.store.check_usable();
            }
            // Background jobs have claimed what is needed: wait for them and look again.
            self.wait_for_work(|| !core.has_jobs())?;
        }
    }

    /// What to do after background work failed: what may go away is tried again after a
    /// growing pause; anything else makes the database read-only.
    pub(crate) fn retry(&self, core: &Core, retry: &Retry, error: Error, work: Work) {
        if self.scheduler.is_closing() || core.is_dropped() || self.store.check_usable().is_err() {
            return;
        }
        let Some(pause_ns) = retry.pause_ns(&error) else {
            self.store.fail(error);
            self.scheduler.wake_waiters();
            return;
        };
        tracing::warn!(%error, keyspace = core.name, ?work, "background work failed and will be tried again");
        self.note_trouble(&error);
        self.scheduler.submit_at(self.store.env.clock.monotonic_ns() + pause_ns, work);
    }
}
