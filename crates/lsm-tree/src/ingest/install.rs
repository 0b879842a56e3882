//! Where an ingestion takes its place in the order of writes. The place must have nothing of
//! the same keys in memtables before it, and nothing of them may be written until readers
//! see it: else a reader could see a later write and not yet the ingestion.
//!
//! 1. Memtables that hold something between the ingestion's first and last key are flushed,
//!    until under the commit lock there are none. From then on writers of keys in between
//!    wait ([`Hold`]), in the worst case from a few flushes before. Readers never wait.
//! 2. In the same step the ingestion takes its number X; the log is made durable up to there,
//!    so that power loss leaves a prefix of the order of writes below X.
//! 3. The tables, renumbered, join the manifest at a place with nothing newer below, claimed
//!    as a compaction would claim it.
//! 4. The view is swapped at a number Y of its own. For snapshots between X and Y, who saw
//!    nothing of the ingestion, the new version is not exact; all others may use it, since
//!    nobody wrote a key in between from X to Y.
//! 5. The log is made durable up to Y before anybody is told that the ingestion is: until then
//!    power loss could keep it and take writes of other keys that were seen before it was.

use crate::Result;
use crate::background::compact::Claim;
use crate::background::flush::discard;
use crate::core::{Core, Counters};
use crate::engine::Engine;
use crate::keyspace_options::Compaction;
use crate::view::{self, Step};
use crate::write::{hold, order};
use lsm_compaction::{GcRules, PickView, Plan};
use lsm_log::LogPosition;
use lsm_memtable::Memtable;
use lsm_types::{Cursor, InternalKey, KeySpan, SeqNo};
use lsm_version::{Change, Edit, LEVELS, Needed, Placement, Run, SuperVersion, TableHandle, Version};
use std::cell::Cell;
use std::sync::Arc;

/// After so many flushes that did not suffice, writers wait for the next one.
const PATIENCE: u32 = 3;

/// Keys that writers leave alone until this is dropped.
struct Hold<'a> {
    engine: &'a Engine,
    core: &'a Core,
    span: &'a KeySpan,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let engine = self.engine;
        hold::let_go(&engine.commit, |state| &mut state.holds, self.core.id, self.span, &engine.scheduler);
    }
}

/// A place in the order of writes.
struct Place {
    seqno: SeqNo,
    log_end: LogPosition,
}

impl Engine {
    /// Puts `tables`, whose keys lie in `span` and are numbered 0, into their place behind
    /// everything written so far.
    pub(crate) fn ingest(
        &self,
        core: &Arc<Core>,
        tables: &[Arc<TableHandle>],
        span: &KeySpan,
        raw_bytes: u64,
    ) -> Result<()> {
        let seen_at = self.try_ingest(core, tables, span).inspect_err(|_| discard(&self.store, tables))?;
        let bytes = tables.iter().map(|table| table.size_bytes()).sum();
        Counters::add(&core.counters.written_bytes, raw_bytes);
        Counters::add(&core.counters.flushed_bytes, bytes);
        self.refresh_pressure(core);
        self.compact_soon(core);
        self.sync_log(seen_at)
    }

    /// Says how far the log reached when readers saw the tables first.
    fn try_ingest(
        &self,
        core: &Arc<Core>,
        tables: &[Arc<TableHandle>],
        span: &KeySpan,
    ) -> Result<LogPosition> {
        // It may make one run more.
        self.admit(core, 0)?;
        let (_hold, place) = self.take_place(core, span)?;
        self.sync_log(place.log_end)?;
        self.install_ingested(core, tables, span, place)
    }

    /// Waits until no memtable holds anything in `span`, keeps it so, and takes a number.
    fn take_place<'a>(&'a self, core: &'a Arc<Core>, span: &'a KeySpan) -> Result<(Hold<'a>, Place)> {
        let mut hold = None;
        for round in 0.. {
            let mut state = self.commit.lock();
            self.check_room(&state, core, 2)?;
            if hold.is_none() && state.holds.overlap(core.id, span) {
                drop(state);
                self.wait_for_work(|| !self.commit.lock().holds.overlap(core.id, span))?;
                continue;
            }
            let is_free = !is_touched(&core.history.latest(), span);
            if hold.is_none() && (is_free || round >= PATIENCE) {
                state.holds.add(core.id, span.clone());
                hold = Some(Hold { engine: self, core, span });
            }
            if is_free && let Some(hold) = hold.take() {
                let seqno = state.next_seqno;
                order::publish(&self.clock, &mut *state, seqno, 1);
                let log_end = LogPosition(state.log.end().0);
                drop(state);
                return Ok((hold, Place { seqno, log_end }));
            }
            drop(state);
            self.flush_and_wait(core)?;
        }
        Err(crate::Error::Closed)
    }

    fn install_ingested(
        &self,
        core: &Arc<Core>,
        written: &[Arc<TableHandle>],
        span: &KeySpan,
        place: Place,
    ) -> Result<LogPosition> {
        let Place { seqno, log_end } = place;
        let renumbered = |table: &Arc<TableHandle>| {
            let meta = table.meta().renumbered(seqno);
            meta.map(|meta| self.store.handle(table.number(), meta))
        };
        let tables: Vec<_> = written.iter().filter_map(renumbered).collect();
        debug_assert_eq!(tables.len(), written.len(), "an ingestion holds values numbered 0 alone");
        let mut to = Placement { level: 0, run: 0 };
        let claim = Claim::pick(core, &GcRules::default(), |view| {
            to = self.placement(core, view, span);
            Some(Plan::Move { tables: tables.clone(), to })
        });
        let change =
            Change { added: tables.into_iter().map(|table| (to, table)).collect(), ..Change::default() };
        let more_edits = vec![
            Edit::Log { first_segment: 0, first_base: 0, durable_through: self.log_sync.synced_through().0 },
            Edit::Counters { next_file: 0, next_seqno: seqno + 1, next_keyspace: 0 },
        ];
        let step = Step::Tables { change, flushed_rotation: 0, more_edits };
        let seen_at = Cell::new(log_end);
        let at_new_seqno = |swap: &mut dyn FnMut(Needed)| {
            self.burn_seqno(|state, bound| {
                seen_at.set(state.log.end());
                core.dead.forget();
                swap(hold::who_may_see(seqno, bound, self.snapshots.live()));
            });
        };
        let live = || self.snapshots.live();
        let installed =
            view::install(&self.store, core, step, self.clock.published(), live, Some(&at_new_seqno));
        drop(claim);
        installed.map(|()| seen_at.get())
    }

    /// The deepest level down to which nothing overlaps `span`, where the strategy keeps
    /// levels and no job is about to put something there; else a new run above all others.
    fn placement(&self, core: &Core, view: &PickView<'_>, span: &KeySpan) -> Placement {
        let is_leveled = core.options.compaction == Compaction::Leveled;
        let deepest = deepest_free_level(view.version, span).filter(|level| *level > 0 && is_leveled);
        let below = deepest.map(|level| {
            let run = view.version.level(level).runs().last().map_or(0, Run::id);
            Placement { level: level as u8, run }
        });
        // A flush that holds anything of these keys comes later, and so has a greater number.
        let above = || Placement { level: 0, run: self.store.new_file_number() };
        below.filter(|below| !view.busy.adds_to(*below, span)).unwrap_or_else(above)
    }
}

/// The last of the levels from 0 on in which no table overlaps `span`.
fn deepest_free_level(version: &Version, span: &KeySpan) -> Option<usize> {
    let is_free = |level: &usize| {
        let mut runs = version.level(*level).runs().iter();
        runs.all(|run| run.overlapping(span).is_empty())
    };
    (0..LEVELS).take_while(is_free).last()
}

/// Whether a memtable of the view holds an entry or a range tombstone in `span`.
fn is_touched(view: &SuperVersion, span: &KeySpan) -> bool {
    let sealed = view.sealed.iter().map(|sealed| &sealed.memtable);
    sealed.chain([&view.active]).any(|memtable| holds_some_of(memtable, span))
}

fn holds_some_of(memtable: &Arc<Memtable>, span: &KeySpan) -> bool {
    if memtable.is_empty() {
        return false;
    }
    let sets = memtable.range_tombstones();
    if sets.iter().any(|set| set.visible_in(span, SeqNo::MAX).next().is_some()) {
        return true;
    }
    let mut cursor = memtable.cursor();
    let Some(target) = InternalKey::seek_to(span.start.as_bytes(), SeqNo::MAX) else { return true };
    match cursor.seek(target) {
        Ok(()) => cursor.valid() && !span.is_past_end(cursor.key().user_key),
    }
}
