//! Compacting: carrying out the plans of a strategy, one claim on tables at a time.

use crate::background::flush::{Retry, discard};
use crate::background::schedule::Work;
use crate::core::{Core, Counters};
use crate::engine::Engine;
use crate::store::{Outputs, Store};
use crate::view::{self, Step};
use crate::write::commit::CommitState;
use crate::write::order;
use crate::{Error, Result};
use lsm_compaction::{GcRules, GcStream, MergePlan, PickView, Plan, Strategy, write_tables};
use lsm_sstable::{Admission, ReadOptions};
use lsm_sync::atomic::Ordering;
use lsm_types::{KeySpan, SeqNo};
use lsm_version::{Needed, TableHandle, Version};
use std::sync::Arc;

/// How much of each input a compaction reads at once.
const READAHEAD_BYTES: usize = 256 << 10;

/// How often one looks whether a keyspace rests that could use it.
const REST_NS: u64 = 50_000_000;

/// A keyspace rests while less than this part of a write buffer is written between two
/// looks.
const REST_PART: usize = 64;

/// A plan whose tables nobody else may plan with until it is dropped.
pub(crate) struct Claim<'a> {
    core: &'a Core,
    plan: Plan,
    /// The version that the plan was made for.
    version: Arc<Version>,
}

impl<'a> Claim<'a> {
    /// Has `choose` pick a plan and claims its tables, in one step.
    pub(crate) fn pick(
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

/// Whether most blocks of these tables are cached, as far as a sample tells.
pub(crate) fn are_warm<'a>(tables: impl Iterator<Item = &'a TableHandle>) -> bool {
    let (mut cached, mut all) = (0, 0);
    for table in tables {
        let (cached_here, here) = table.opened().map_or((0, 1), |table| table.sample_cached());
        // Each table counts by its size.
        let weight = table.meta().blocks;
        cached += cached_here as u64 * weight / (here as u64).max(1);
        all += weight;
    }
    cached * 2 > all
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
    // What is read stays cached: the inputs' blocks, which are about to go, make way.
    let inputs = plan.inputs.iter().flat_map(|input| &input.tables).map(AsRef::as_ref);
    let keep = if are_warm(inputs) { Admission::Always } else { Admission::Never };
    let writer = core.options.writer(usize::from(plan.output.level));
    let mut outputs = Outputs::new(store, writer).keeping(keep);
    let options = plan.output_options(version, store.env.clock.unix_ms());
    let tables = write_tables(&mut stream, &mut outputs, &options, is_cancelled)?;
    outputs.finish(tables)
}

/// Carries out a claimed plan and installs the result.
fn carry_out(
    store: &Store,
    claim: &Claim<'_>,
    rules: &GcRules,
    needed: &Needed,
    live: impl Fn() -> Vec<SeqNo>,
    at_new_seqno: Option<view::AtNewSeqno<'_>>,
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
        // The swap says for whom the tables are exact.
        Plan::Drop { .. } if at_new_seqno.is_some() => None,
        Plan::Merge(_) | Plan::Drop { .. } => Some(needed.clone()),
    };
    let step = Step::Tables { change, flushed_rotation: 0, more_edits: Vec::new() };
    if let Err(error) = view::install(store, core, step, needed.published, live, at_new_seqno) {
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
    carry_out(store, &claim, &rules, needed, Vec::new, None, &|| false)?;
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
            Ok(false) => {
                self.look_again_in_time(core);
                self.look_for_rest_soon(core);
            }
            Err(error) => self.retry(core, &core.compaction_retry, error, Work::Compact(core.id)),
        }
    }

    /// Sets out to do what is worth doing at rest, if there is any of it: level 0 gives
    /// cause, and memory that is kept for memtables to come, or will be. Not while nothing was written
    /// since a clean close: who only reads changes no file.
    fn look_for_rest_soon(&self, core: &Core) {
        let view = core.history.latest();
        if view.tables.level(0).runs().is_empty() && !view.active.keeps_spare() {
            return;
        }
        if !self.commit.lock().log.has_begun() {
            return;
        }
        core.written_before.store(core.counters.written_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        let at_ns = self.store.env.clock.monotonic_ns().saturating_add(REST_NS);
        self.scheduler.set_timer(at_ns, Work::LookForRest(core.id));
    }

    /// Has keyspaces looked at that could use rest, when the log begins: who looked before
    /// has found that nothing was written.
    pub(crate) fn look_again_for_rest(&self, state: &CommitState) {
        for active in state.active.values() {
            if !active.core.history.latest().tables.level(0).runs().is_empty() {
                self.compact_soon(&active.core);
            }
        }
    }

    /// Tidies if little was written since the last look, or else looks again later.
    pub(crate) fn look_for_rest(&self, core: &Core) {
        let written = core.counters.written_bytes.load(Ordering::Relaxed);
        let since = written.saturating_sub(core.written_before.load(Ordering::Relaxed));
        if since < (self.store.options.write_buffer_bytes / REST_PART) as u64 {
            self.scheduler.submit(Work::Tidy(core.id));
        } else {
            self.look_for_rest_soon(core);
        }
    }

    /// One step of what is worth doing at rest, as a background job.
    pub(crate) fn run_tidying(&self, core: &Arc<Core>) {
        core.history.latest().active.release_spare();
        match self.compaction_step(core, |view, strategy| strategy.pick_at_rest(view)) {
            Ok(true) => {
                core.compaction_retry.reset();
                self.clear_trouble();
                self.compact_soon(core);
            }
            Ok(false) => {}
            Err(error) => self.retry(core, &core.compaction_retry, error, Work::Tidy(core.id)),
        }
    }

    /// Has the strategy asked again when something will be due by its age.
    fn look_again_in_time(&self, core: &Core) {
        let tables = Arc::clone(&core.history.latest().tables);
        if let Some(due_ms) = core.strategy.next_due_ms(&tables) {
            let clock = &self.store.env.clock;
            let wait_ms = due_ms.saturating_sub(clock.unix_ms()).max(1);
            let at_ns = clock.monotonic_ns().saturating_add(wait_ms.saturating_mul(1_000_000));
            self.scheduler.set_timer(at_ns, Work::Compact(core.id));
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
        let needed = self.snapshots.needed(&self.clock);
        let rules = rules(&self.store, &needed, true);
        let Some(claim) = Claim::pick(core, &rules, |view| choose(view, strategy)) else { return Ok(false) };
        let drops_visible = matches!(claim.plan, Plan::Drop { .. }) && strategy.drops_visible_data();
        let at_new_seqno = |swap: &mut dyn FnMut(Needed)| {
            self.burn_seqno(|_, bound| swap(Needed::from_watermark(bound)));
        };
        let at_new_seqno: Option<view::AtNewSeqno<'_>> = drops_visible.then_some(&at_new_seqno);
        let is_cancelled = || self.scheduler.is_closing() || core.is_dropped();
        let live = || self.snapshots.live();
        carry_out(&self.store, &claim, &rules, &needed, live, at_new_seqno, &is_cancelled)?;
        drop(claim);
        self.refresh_pressure(core);
        Ok(true)
    }

    /// Runs `swap` under the commit lock at a number that no entry has, as [`order::burn`] says.
    pub(crate) fn burn_seqno(&self, swap: impl FnOnce(&CommitState, SeqNo)) {
        order::burn(&self.commit, &self.clock, &self.snapshots, swap);
    }

    /// Merges what `span` holds now down, in the calling thread.
    pub(crate) fn compact_span(&self, core: &Arc<Core>, span: &KeySpan) -> Result<()> {
        let _call = self.begin_call()?;
        let outcome = self.compact_span_steps(core, span);
        // While this call had claims, background jobs may have found nothing to do and
        // others may have waited for the claims to end.
        self.compact_soon(core);
        self.scheduler.wake_waiters();
        outcome
    }

    fn compact_span_steps(&self, core: &Arc<Core>, span: &KeySpan) -> Result<()> {
        // What is flushed from now on is not this call's work, or it might never end.
        let first_new = self.store.new_file_number();
        let is_old = |table: &TableHandle| table.number() < first_new && table.span().overlaps(span);
        loop {
            let ended_before = core.ended_jobs();
            if self.compaction_step(core, |view, strategy| strategy.pick_range(view, span))? {
                let tables = Arc::clone(&core.history.latest().tables);
                if tables.tables().any(|(_, table)| is_old(table)) {
                    continue;
                }
                return Ok(());
            }
            if core.has_jobs() {
                // They have claimed what is needed: wait for them and look again.
                self.wait_for_work(|| core.ended_jobs() != ended_before || !core.has_jobs())?;
            } else if core.ended_jobs() == ended_before {
                return self.store.check_usable();
            }
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

#[cfg(all(test, not(lsm_loom)))]
mod tests {
    use crate::{Database, KeyspaceOptions};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn memory_kept_for_memtables_goes_back_though_level_0_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let db = Database::open(directory.path()).unwrap();
        let keyspace = db.keyspace("k", KeyspaceOptions::default().level_base_size(1024)).unwrap();
        for number in 0..100_000_u32 {
            keyspace.insert(number.to_be_bytes(), [7; 100]).unwrap();
        }
        // So much in level 0 goes down at once.
        keyspace.flush().unwrap();
        let is_kept = || keyspace.core.history.latest().active.spare_bytes() > 0;
        // The last reader of the memtable lets go of it a moment later.
        lsm_sync::thread::sleep(Duration::from_millis(300));
        let mut looks = 0;
        while is_kept() {
            looks += 1;
            assert!(looks < 500, "memory is kept for ever");
            lsm_sync::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn memory_of_a_memtable_that_an_iterator_held_until_all_was_at_rest_goes_back() {
        for level_base_bytes in [1024, 256 << 20] {
            let directory = tempfile::tempdir().unwrap();
            let db = Database::open(directory.path()).unwrap();
            let options = KeyspaceOptions::default().level_base_size(level_base_bytes);
            let keyspace = db.keyspace("k", options).unwrap();
            for number in 0..100_000_u32 {
                keyspace.insert(number.to_be_bytes(), [7; 100]).unwrap();
            }
            let held = Arc::downgrade(&keyspace.core.history.latest().active);
            let iterator = keyspace.iter();
            keyspace.flush().unwrap();
            lsm_sync::thread::sleep(Duration::from_millis(500));
            assert!(held.upgrade().is_some(), "the iterator reads it");
            drop(iterator);
            let mut looks = 0;
            while held.upgrade().is_some() || keyspace.core.history.latest().active.spare_bytes() > 0 {
                looks += 1;
                assert!(looks < 500, "memory is kept for ever");
                lsm_sync::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
