//! The way of a write: allocate sequence numbers, append to the log with one
//! write(2), insert into the memtables, publish. All under the commit lock, in the order
//! of [`order::commit`], so publication is in order by construction; waiting for the disk
//! is not.

use crate::background::schedule::Work;
use crate::core::{Core, Counters};
use crate::engine::Engine;
use crate::options::Durability;
use crate::write::hold::{Admitted, Holds, Refusal};
use crate::write::order::{self, Numbered, Write};
use crate::{Error, Result};
use lsm_log::{LogPosition, LogWriter};
use lsm_memtable::Memtable;
use lsm_types::batch::{self, BatchEntry, BatchReader, KeyspaceId};
use lsm_types::coding::{put_varint32, put_varint64};
use lsm_types::{InternalKey, MAX_SEQNO, RangeTombstone, SeqNo, Slice, ValueKind};
use lsm_version::Manifest;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What the commit lock protects. Held over one write(2) to the log; never over a
/// sync; no reader waits for it.
#[derive(Debug)]
pub(crate) struct CommitState {
    pub(crate) log: LogWriter,
    /// The number of the next entry. Equal to the published bound whenever the lock
    /// is free: a failed append takes no number.
    pub(crate) next_seqno: SeqNo,
    /// The active memtable of each keyspace, as in the newest super version.
    pub(crate) active: BTreeMap<KeyspaceId, Active>,
    /// Keys that writers leave alone for the moment.
    pub(crate) holds: Holds,
    /// Full log segments, oldest first, each with a number above all in it.
    pub(crate) full_segments: VecDeque<(u64, SeqNo)>,
    /// Bytes written since the memtables of all keyspaces were last summed up.
    pub(crate) unsummed_bytes: usize,
    /// The lengths around a single entry, encoded; kept for its allocation.
    pub(crate) scratch: Vec<u8>,
}

/// Where the writes of a keyspace go.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) memtable: Arc<Memtable>,
    pub(crate) core: Arc<Core>,
}

/// One entry to write, with what the application gave.
pub(crate) struct Single<'a> {
    pub(crate) kind: ValueKind,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// Key and value as slices to be kept instead of copied.
    pub(crate) shared: Option<(Slice, Slice)>,
}

/// What the log did with a record.
struct Appended {
    /// Behind the record.
    end: LogPosition,
    /// Whether it is the first of a new segment.
    has_rolled: bool,
}

impl Numbered for CommitState {
    fn next_seqno(&mut self) -> &mut SeqNo {
        &mut self.next_seqno
    }
}

/// A [`Single`] on its way.
struct One<'a> {
    engine: &'a Engine,
    core: &'a Arc<Core>,
    entry: Single<'a>,
}

impl Write for One<'_> {
    type State = CommitState;
    type Appended = Appended;
    type Target = Option<Arc<Memtable>>;
    type Error = Refusal;

    fn count(&self) -> u64 {
        1
    }

    fn check(&self, state: &mut CommitState) -> Admitted<()> {
        self.engine.check_room(state, self.core, 1)?;
        state.holds.check(self.core.id, self.entry.kind, self.entry.key, self.entry.value)
    }

    fn append(&mut self, state: &mut CommitState, base: SeqNo) -> Admitted<Appended> {
        let entry = &self.entry;
        let mut scratch = std::mem::take(&mut state.scratch);
        scratch.clear();
        scratch.extend_from_slice(&batch::header(base, 1));
        scratch.push(entry.kind as u8);
        put_varint32(&mut scratch, self.core.id);
        put_varint64(&mut scratch, entry.key.len() as u64);
        let head_len = scratch.len();
        if !entry.kind.is_tombstone() {
            put_varint64(&mut scratch, entry.value.len() as u64);
        }
        let (head, value_len) = scratch.split_at_checked(head_len).unwrap_or_default();
        let appended = self.engine.append(state, base, &[head, entry.key, value_len, entry.value]);
        state.scratch = scratch;
        Ok(appended?)
    }

    fn pin(&self, state: &CommitState) -> Option<Arc<Memtable>> {
        state.active.get(&self.core.id).map(|active| Arc::clone(&active.memtable))
    }

    fn insert(&mut self, _: &CommitState, memtable: Option<Arc<Memtable>>, base: SeqNo) -> Admitted<()> {
        let Some(memtable) = memtable else { return Err(dropped(self.core).into()) };
        let entry = &mut self.entry;
        if may_show(entry.kind) {
            self.core.dead.inserting(base, entry.key);
        }
        match entry.shared.take() {
            Some((key, value)) => {
                let trailer = InternalKey::new(entry.key, base, entry.kind).trailer;
                memtable.insert_shared(InternalKey { user_key: key, trailer }, value);
            }
            None => apply(&memtable, base, entry.kind, entry.key, entry.value),
        }
        Ok(())
    }

    fn rotate_full(&mut self, state: &mut CommitState) -> bool {
        let bytes = self.entry.key.len() + self.entry.value.len();
        self.engine.rotate_full(state, std::slice::from_ref(self.core), bytes)
    }
}

/// A batch on its way: its wire form without the header.
struct Batch<'a> {
    engine: &'a Engine,
    cores: &'a [Arc<Core>],
    entries: &'a [u8],
    count: u32,
}

impl Write for Batch<'_> {
    type State = CommitState;
    type Appended = Appended;
    /// Each entry finds its own keyspace's memtable.
    type Target = ();
    type Error = Refusal;

    fn count(&self) -> u64 {
        u64::from(self.count)
    }

    fn check(&self, state: &mut CommitState) -> Admitted<()> {
        self.cores.iter().try_for_each(|core| self.engine.check_room(state, core, self.count))?;
        if state.holds.is_empty() {
            return Ok(());
        }
        for entry in BatchReader::from_parts(0, self.count, self.entries).iter() {
            let (_, entry) = entry.map_err(|error| Error::invalid(error.to_string()))?;
            state.holds.check(entry.keyspace, entry.kind, entry.key, entry.value)?;
        }
        Ok(())
    }

    fn append(&mut self, state: &mut CommitState, base: SeqNo) -> Admitted<Appended> {
        let header = batch::header(base, self.count);
        Ok(self.engine.append(state, base, &[&header, self.entries])?)
    }

    fn pin(&self, _: &CommitState) {}

    fn insert(&mut self, state: &CommitState, (): (), base: SeqNo) -> Admitted<()> {
        // The batch was checked entry by entry as it was built, so it reads back.
        let reader = BatchReader::from_parts(base, self.count, self.entries);
        for entry in reader.iter() {
            let (seqno, entry) = entry.map_err(|error| Error::invalid(error.to_string()))?;
            if let Some(active) = state.active.get(&entry.keyspace) {
                if may_show(entry.kind) {
                    active.core.dead.inserting(seqno, entry.key);
                }
                apply(&active.memtable, seqno, entry.kind, entry.key, entry.value);
                let bytes = entry.key.len() + entry.value.len();
                Counters::add(&active.core.counters.written_bytes, bytes as u64);
            }
        }
        Ok(())
    }

    fn rotate_full(&mut self, state: &mut CommitState) -> bool {
        self.engine.rotate_full(state, self.cores, self.entries.len())
    }
}

impl CommitState {
    /// The log's segment files, oldest first, with the bytes of each that are in use.
    pub(crate) fn log_files(&self) -> Vec<(u64, u64)> {
        let used =
            |segment: &lsm_log::SegmentInfo| lsm_log::SEGMENT_HEADER_BYTES + (segment.end.0 - segment.base.0);
        self.log.segments().iter().map(|segment| (segment.number, used(segment))).collect()
    }

    /// The bytes of the log.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_files().iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Engine {
    /// Writes one entry.
    pub(crate) fn write_one(
        &self,
        core: &Arc<Core>,
        entry: Single<'_>,
        durability: Durability,
    ) -> Result<()> {
        lsm_types::check_key(entry.key)?;
        lsm_types::check_value(entry.value)?;
        self.write_checked(core, entry, durability)
    }

    /// Writes one entry whose lengths were checked.
    pub(crate) fn write_checked(
        &self,
        core: &Arc<Core>,
        entry: Single<'_>,
        durability: Durability,
    ) -> Result<()> {
        let bytes = entry.key.len() + entry.value.len();
        self.admit(core, bytes)?;
        let committed = self.commit(&mut One { engine: self, core, entry })?;
        Counters::add(&core.counters.written_bytes, bytes as u64);
        self.after_commit(committed, durability)
    }

    /// Writes a batch: `entries` is its wire form without the header, and `cores`
    /// the keyspaces it names. Empty batches are fine.
    pub(crate) fn write_batch(
        &self,
        cores: &[Arc<Core>],
        entries: &[u8],
        count: u32,
        durability: Durability,
    ) -> Result<()> {
        for core in cores {
            self.admit(core, entries.len() / cores.len().max(1))?;
        }
        if count == 0 {
            self.store.check_usable()?;
            return match durability {
                Durability::Buffered => Ok(()),
                Durability::Sync => self.persist(durability),
            };
        }
        let mut batch = Batch { engine: self, cores, entries, count };
        let committed = self.commit(&mut batch)?;
        self.after_commit(committed, durability)
    }

    /// Commits, as soon as none of the keys is held.
    fn commit<W>(&self, write: &mut W) -> Result<(Appended, bool)>
    where
        W: Write<State = CommitState, Appended = Appended, Error = Refusal>,
    {
        loop {
            match order::commit(&self.commit, &self.clock, write) {
                Ok(committed) => return Ok(committed),
                Err(Refusal::Failed(error)) => return Err(error),
                Err(Refusal::Held) => {
                    let is_held = || matches!(write.check(&mut self.commit.lock()), Err(Refusal::Held));
                    self.wait_for_work(|| !is_held())?;
                }
            }
        }
    }

    /// Whether `count` more numbers fit and the keyspace lives.
    pub(crate) fn check_room(&self, state: &CommitState, core: &Core, count: u32) -> Result<()> {
        self.store.check_usable()?;
        if core.is_dropped() || !state.active.contains_key(&core.id) {
            return Err(dropped(core));
        }
        if state.next_seqno.saturating_add(u64::from(count)) > MAX_SEQNO {
            return Err(Error::invalid(
                "all sequence numbers are used up: copy the data into a new database",
            ));
        }
        Ok(())
    }

    /// Appends one record with one write(2). A full disk leaves the log as it was, and
    /// the numbers unused; any other failure leaves its state unknown and is latched.
    fn append(&self, state: &mut CommitState, base: SeqNo, parts: &[&[u8]]) -> Result<Appended> {
        self.begin_log(state)?;
        let number_of = |log: &LogWriter| log.current_segment().map(|segment| segment.number);
        let before = number_of(&state.log);
        let appended = state.log.stage(parts).and_then(|()| state.log.write_staged());
        let full = before.filter(|_| number_of(&state.log) != before);
        let has_rolled = full.is_some();
        // The record was meant for the new segment, so all in the old one are below.
        state.full_segments.extend(full.map(|segment| (segment, base)));
        let end = appended.map_err(|error| {
            state.log.discard_staged();
            match error {
                lsm_log::Error::RecordTooLarge { .. } => Error::from(error),
                _ if error.is_disk_full() => Error::from(error),
                _ => self.store.fail(error.into()),
            }
        })?;
        if state.log.wants_preparing() {
            self.scheduler.submit(Work::PrepareLog);
        }
        Ok(Appended { end, has_rolled })
    }

    /// Does what opening has left undone because the database was closed and might only be
    /// read: makes the marks of the close durable and begins a log segment. Called under the
    /// commit lock before the first record, and before the manifest changes: a log on disk
    /// that is closed says that the manifest is.
    pub(crate) fn begin_log(&self, state: &mut CommitState) -> Result<()> {
        if state.log.has_begun() {
            return Ok(());
        }
        let (fs, directory) = (self.store.env.fs.as_ref(), &self.store.directory);
        let refused = |is_disk_full: bool, error: Error| match is_disk_full {
            true => error,
            false => self.store.fail(error),
        };
        if let Err(error) = Manifest::make_closed_durable(fs, directory).map_err(Error::from) {
            return Err(refused(error.is_disk_full(), error));
        }
        state.log.begin().map_err(|error| refused(error.is_disk_full(), error.into()))?;
        self.scheduler.submit(Work::PrepareLog);
        if state.full_segments.len() > 1 {
            self.scheduler.submit(Work::ReleaseLog);
        }
        self.look_again_for_rest(state);
        Ok(())
    }

    fn after_commit(&self, committed: (Appended, bool), durability: Durability) -> Result<()> {
        let (appended, has_rotated) = committed;
        if has_rotated {
            self.flush_soon();
        }
        if appended.has_rolled {
            self.cap_log();
        }
        if durability == Durability::Sync {
            self.sync_log(appended.end)?;
        }
        self.interleave();
        Ok(())
    }

    /// Makes the log durable up to `position`; concurrent callers share one sync.
    pub(crate) fn sync_log(&self, position: LogPosition) -> Result<()> {
        self.log_sync.sync_through(position).map_err(|error| self.store.fail(error.into()))
    }

    /// Makes every acknowledged write as durable as asked.
    pub(crate) fn persist(&self, durability: Durability) -> Result<()> {
        self.store.check_usable()?;
        if durability == Durability::Sync {
            let end = self.commit.lock().log.end();
            self.sync_log(end)?;
        }
        Ok(())
    }
}

/// Inserts one entry of a batch.
pub(crate) fn apply(memtable: &Memtable, seqno: SeqNo, kind: ValueKind, key: &[u8], value: &[u8]) {
    if kind == ValueKind::RangeTombstone {
        if let Some(span) = batch::decode_range_span(key, value) {
            memtable.insert_range_tombstone(RangeTombstone { span, seqno });
        }
    } else {
        memtable.insert(InternalKey::new(key, seqno, kind), value);
    }
}

/// Whether an entry of this kind can make its key visible.
const fn may_show(kind: ValueKind) -> bool {
    !kind.is_tombstone() && !matches!(kind, ValueKind::RangeTombstone)
}

/// Appends an entry to the wire form of a batch that is being built.
pub(crate) fn put_entry(out: &mut Vec<u8>, keyspace: KeyspaceId, kind: ValueKind, key: &[u8], value: &[u8]) {
    batch::put_entry(out, BatchEntry { keyspace, kind, key, value });
}

fn dropped(core: &Core) -> Error {
    Error::invalid(format!("the keyspace {:?} was dropped", core.name))
}
