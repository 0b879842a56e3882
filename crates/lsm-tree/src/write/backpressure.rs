//! Pacing: a writer waits in proportion to what flushes and compactions are behind,
//! long before it would have to stop. No sleep has a fixed length.

use crate::Result;
use crate::core::{Core, Counters};
use crate::engine::Engine;
use std::time::Duration;

/// Runs that wait to be merged from which on writers are slowed.
const SLOW_FROM_RUNS: usize = 11;
/// Runs that wait to be merged at which writers wait for a compaction.
const STOP_AT_RUNS: usize = 32;
/// The slowest pace short of stopping: 1 MiB a second.
const SLOWEST_NS_PER_BYTE: f64 = 1000.0;
/// No single write is delayed for longer.
const LONGEST_DELAY_NS: u64 = 1_000_000_000;
/// How long a delayed writer sleeps before it looks again.
const SLICE_NS: u64 = 5_000_000;
/// Delays shorter than this are owed, and slept together: a sleep has its own cost, and of a
/// thousand small writes not one should meet it while the background is a little late.
const SHORTEST_SLEEP_NS: u64 = 4_000_000;

/// Memtables of a keyspace hold about so many write buffers at most: there the pace is the
/// slowest. A sealed one of three eighths and an active one that is full come to less.
const STOP_AT_BUFFERS: f64 = 1.5;
/// Writers are slowed from here on: when a memtable is full and the one before is not flushed.
const SLOW_FROM_BUFFERS: f64 = 0.75;

/// What the background has still to do.
#[derive(Clone, Copy, Debug, Default)]
struct Backlog {
    /// Runs that wait to be merged.
    runs: usize,
    /// Bytes that wait to be merged, and how many may.
    debt_bytes: u64,
    soft_debt_bytes: u64,
    /// Bytes in memtables, those that wait to be flushed included, and how many may be.
    memtable_bytes: usize,
    write_buffer_bytes: usize,
}

impl Backlog {
    /// How far behind the background is, between 0 (not) and 1 (writers must stop).
    fn pressure(self) -> f64 {
        let span = (STOP_AT_RUNS - SLOW_FROM_RUNS) as f64;
        let by_runs = self.runs.saturating_sub(SLOW_FROM_RUNS) as f64 / span;
        let over = self.debt_bytes.saturating_sub(self.soft_debt_bytes) as f64;
        let by_debt = over / (self.soft_debt_bytes.max(1) as f64 * 7.0);
        let buffers = self.memtable_bytes as f64 / self.write_buffer_bytes.max(1) as f64;
        let by_memory = (buffers - SLOW_FROM_BUFFERS) / (STOP_AT_BUFFERS - SLOW_FROM_BUFFERS);
        by_runs.max(by_debt).max(by_memory).clamp(0.0, 1.0)
    }
}

/// The pace for a pressure: nothing at 0, growing smoothly to the slowest.
fn ns_per_byte(pressure: f64) -> f64 {
    SLOWEST_NS_PER_BYTE * pressure.powi(3)
}

impl Engine {
    /// Lets a write of `bytes` pass when the background keeps up, and else makes it
    /// wait its share. Called without any lock.
    pub(crate) fn admit(&self, core: &Core, bytes: usize) -> Result<()> {
        self.store.check_usable()?;
        if !core.is_behind(self.store.options.advanced.max_sealed_memtables) {
            return Ok(());
        }
        self.wait_for_room(core)?;
        self.pace(core, bytes);
        Ok(())
    }

    fn wait_for_room(&self, core: &Core) -> Result<()> {
        let max_sealed = self.store.options.advanced.max_sealed_memtables;
        let has_room = || {
            let view = core.history.latest();
            let has_room =
                view.sealed.len() < max_sealed && core.strategy.waiting_runs(&view.tables) < STOP_AT_RUNS;
            has_room || core.is_dropped()
        };
        if has_room() {
            return Ok(());
        }
        let start_ns = self.store.env.clock.monotonic_ns();
        self.flush_soon();
        self.compact_soon(core);
        // Background work that fails is tried again; the writer is told instead of kept.
        self.wait_for_work(has_room)?;
        let waited_ns = self.store.env.clock.monotonic_ns().saturating_sub(start_ns);
        Counters::add(&core.counters.stalls_ns, waited_ns);
        Ok(())
    }

    fn pace(&self, core: &Core, bytes: usize) {
        let delay_ns = (bytes as f64 * ns_per_byte(self.backlog(core).pressure())) as u64;
        let mut owed_ns = core.owe_delay(delay_ns, SHORTEST_SLEEP_NS).unwrap_or(0).min(LONGEST_DELAY_NS);
        while owed_ns > 0 {
            // In slices: the debt may be gone, or the database closed, long before.
            let slice_ns = owed_ns.min(SLICE_NS);
            self.store.env.clock.sleep(Duration::from_nanos(slice_ns));
            Counters::add(&core.counters.stalls_ns, slice_ns);
            owed_ns -= slice_ns;
            if !core.is_slowed() || self.store.check_usable().is_err() {
                break;
            }
        }
    }

    /// Recomputes whether runs or debt slow writers of `core` down. Called after each
    /// change of its tables.
    pub(crate) fn refresh_pressure(&self, core: &Core) {
        self.count_table_change();
        core.set_slowed(self.backlog(core).pressure() > 0.0);
        self.scheduler.wake_waiters();
    }

    fn backlog(&self, core: &Core) -> Backlog {
        let view = core.history.latest();
        // One memtable alone may fill the buffer; it is full of what nobody could flush yet.
        let sealed = view.sealed.iter().map(|sealed| sealed.memtable.approximate_bytes()).sum::<usize>();
        let active = if sealed == 0 { 0 } else { view.active.approximate_bytes() };
        Backlog {
            runs: core.strategy.waiting_runs(&view.tables),
            debt_bytes: core.strategy.debt_bytes(&view.tables),
            soft_debt_bytes: core.options.level_base_bytes.saturating_mul(2),
            memtable_bytes: sealed + active,
            write_buffer_bytes: self.store.options.write_buffer_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_slow_down_gradually_and_never_suddenly() {
        let none = Backlog { soft_debt_bytes: 100, write_buffer_bytes: 100, ..Backlog::default() };
        let runs = |runs| Backlog { runs, ..none }.pressure();
        let debt = |debt_bytes| Backlog { debt_bytes, ..none }.pressure();
        let memory = |memtable_bytes| Backlog { memtable_bytes, ..none }.pressure();
        assert_eq!((runs(SLOW_FROM_RUNS), debt(100), memory(75)), (0.0, 0.0, 0.0));
        assert_eq!((runs(STOP_AT_RUNS), debt(800), memory(150)), (1.0, 1.0, 1.0));
        assert!((0..=40).map(runs).is_sorted());
        assert!((0..=200).map(memory).is_sorted());
        assert!(ns_per_byte(debt(150)) < 1.0, "a little debt costs little");
        assert!(ns_per_byte(memory(82)) < 1.0, "and so does a flush that is late by a little");
    }
}
