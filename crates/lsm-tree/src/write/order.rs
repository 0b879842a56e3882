//! The order of steps in a commit, a rotation, a flush and a swap at a number of its own, apart from what the steps do.
//! Called by [`commit`](super::commit), [`rotate`](super::rotate) and the flush with the
//! engine's parts, and by the models with stand-ins. Keeps no state and does no I/O of
//! its own.
//!
//! 1. A commit takes its number, appends to the log, inserts and publishes, all under the
//!    commit lock: what is numbered below the state's next number is published whenever
//!    the lock is free.
//! 2. A rotation runs under the same lock, so no write lands in a sealed memtable, and
//!    all that is sealed is published.
//! 3. A flush therefore need not wait for writers. One runs at a time in a keyspace, and
//!    before its tables are installed power loss can no longer take from other keyspaces
//!    what is older than they are: it is in tables, or the log is durable through it.

use lsm_sync::Mutex;
use lsm_types::SeqNo;
use lsm_version::{Needed, SeqnoClock, SnapshotRegistry};

/// What the commit lock guards, as far as the order of commits goes.
pub(crate) trait Numbered {
    /// The number of the next entry.
    fn next_seqno(&mut self) -> &mut SeqNo;
}

/// One write: its steps, in the order in which [`commit`] takes them. All are called under
/// the commit lock.
pub(crate) trait Write {
    /// What the lock guards.
    type State: Numbered;
    /// What the append tells the writer.
    type Appended;
    /// The memtable to insert into, where that is known before the insert.
    type Target;
    /// Why the write cannot be done.
    type Error;

    /// How many numbers it takes.
    fn count(&self) -> u64;
    /// Refuses the write when it cannot be done now.
    fn check(&self, state: &mut Self::State) -> Result<(), Self::Error>;
    /// Appends it to the log as numbered from `base`. When this fails, no number is taken.
    fn append(&mut self, state: &mut Self::State, base: SeqNo) -> Result<Self::Appended, Self::Error>;
    /// The active memtable.
    fn pin(&self, state: &Self::State) -> Self::Target;
    /// Inserts it.
    fn insert(&mut self, state: &Self::State, target: Self::Target, base: SeqNo) -> Result<(), Self::Error>;
    /// Seals the memtables that it has filled. Says whether there were any.
    fn rotate_full(&mut self, state: &mut Self::State) -> bool;
}

/// Commits `write`. Returns what the append told, and whether a memtable was sealed.
pub(crate) fn commit<W: Write>(
    lock: &Mutex<W::State>,
    clock: &SeqnoClock,
    write: &mut W,
) -> Result<(W::Appended, bool), W::Error> {
    let stale = lsm_sync::mutant("tree.memtable_pinned_before_the_lock").then(|| write.pin(&lock.lock()));
    let mut state = lock.lock();
    write.check(&mut state)?;
    let base = *state.next_seqno();
    let appended = write.append(&mut state, base)?;
    let target = stale.unwrap_or_else(|| write.pin(&state));
    if lsm_sync::mutant("tree.publish_before_insert") {
        publish(clock, &mut *state, base, write.count());
        write.insert(&state, target, base)?;
        return Ok((appended, write.rotate_full(&mut state)));
    }
    write.insert(&state, target, base)?;
    if lsm_sync::mutant("tree.commit_lock_dropped_before_publishing") {
        *state.next_seqno() = base + write.count();
        drop(state);
        let _in_order = clock.publish(base, write.count());
        return Ok((appended, false));
    }
    publish(clock, &mut *state, base, write.count());
    Ok((appended, write.rotate_full(&mut state)))
}

/// Makes the `count` entries from `base` visible. Called under the commit lock, after
/// they were inserted.
pub(crate) fn publish(clock: &SeqnoClock, state: &mut impl Numbered, base: SeqNo, count: u64) {
    *state.next_seqno() = base + count;
    let in_order = clock.publish(base, count);
    debug_assert!(in_order, "the commit lock orders publication");
}

/// Runs `swap` under the commit lock with the first snapshot behind it, and then publishes one
/// number that no entry has, so that snapshots before and after the swap differ. A plain reader
/// in between takes its bound again.
///
/// A snapshot that opens in between is from before the number, and is right with the view from
/// before the swap alone. Until the number is published one stands open there, so that nobody
/// retires that view: neither the swap nor a sweep.
pub(crate) fn burn<S: Numbered>(
    lock: &Mutex<S>,
    clock: &SeqnoClock,
    snapshots: &SnapshotRegistry,
    swap: impl FnOnce(&S, SeqNo),
) {
    let mut state = lock.lock();
    let base = *state.next_seqno();
    let mut opening = (!lsm_sync::mutant("tree.opening_snapshot_forgotten")).then(|| snapshots.open(clock));
    swap(&state, base + 1);
    if lsm_sync::mutant("tree.opening_snapshot_kept_from_the_swap_alone") {
        opening = None;
    }
    publish(clock, &mut *state, base, 1);
    drop(opening);
}

/// The steps of sealing a memtable, in the order in which [`seal`] takes them. That the
/// state is lent shows that the commit lock is held.
pub(crate) trait Seal {
    /// What the commit lock guards.
    type State: Numbered;
    /// A memtable, shared.
    type Memtable: Clone;

    /// An empty memtable to take the place of the active one; `None` when that one is
    /// empty itself.
    fn fresh(&self, state: &Self::State) -> Option<Self::Memtable>;
    /// From now on writers insert into `fresh`.
    fn activate(&self, state: &mut Self::State, fresh: Self::Memtable);
    /// From now on readers look into `fresh` first, and the sealed memtable holds
    /// everything that no older one holds below `sealed_at`.
    fn install(&self, state: &Self::State, fresh: Self::Memtable, sealed_at: SeqNo);
}

/// Seals the active memtable, unless it is empty. Says whether it did.
pub(crate) fn seal<S: Seal>(step: &S, state: &mut S::State) -> bool {
    let sealed_at = *state.next_seqno();
    let Some(fresh) = step.fresh(state) else { return false };
    if !lsm_sync::mutant("tree.writers_keep_the_sealed_memtable") {
        step.activate(state, fresh.clone());
    }
    step.install(state, fresh, sealed_at);
    true
}

/// The steps of a flush, in the order in which [`flush`] takes them, without the commit
/// lock.
pub(crate) trait Flush {
    /// The sealed memtables of a view.
    type Sealed;
    /// Tables with what of them is needed.
    type Tables;
    /// Why the flush failed; the memtables stay.
    type Error;

    /// All sealed memtables, if there are any and they may be flushed.
    fn sealed(&self) -> Result<Option<Self::Sealed>, Self::Error>;
    /// What the tables must keep.
    fn needed(&self) -> Needed;
    /// Writes the tables.
    fn write(&self, sealed: &Self::Sealed, needed: &Needed) -> Result<Self::Tables, Self::Error>;
    /// Makes the log durable through the end of `sealed`.
    fn sync_log(&self, sealed: &Self::Sealed) -> Result<(), Self::Error>;
    /// Puts the tables in the place of the memtables, in one step.
    fn install(&self, sealed: &Self::Sealed, tables: Self::Tables, needed: Needed)
    -> Result<(), Self::Error>;
}

/// Flushes all sealed memtables. Says whether there were any.
pub(crate) fn flush<F: Flush>(one_at_a_time: &Mutex<()>, step: &F) -> Result<bool, F::Error> {
    let _one_at_a_time = (!lsm_sync::mutant("tree.no_flush_lock")).then(|| one_at_a_time.lock());
    let Some(sealed) = step.sealed()? else { return Ok(false) };
    let needed = step.needed();
    let tables = step.write(&sealed, &needed)?;
    // Else power loss could keep half of a batch that spans two keyspaces: the half that
    // is in these tables.
    if !lsm_sync::mutant("tree.flush_does_not_wait_for_the_log") {
        step.sync_log(&sealed)?;
    }
    step.install(&sealed, tables, needed)?;
    Ok(true)
}
