//! Stalled writers: one wakes when room appears, is told when the work that would make
//! room fails, and is released when the database closes or turns read-only.

use crate::background::schedule::{Job, Lane, Scheduler};
use crate::background::wait::{Ended, Troubles};
use crate::latch::Latch;
use crate::options::Execution;
use lsm_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use lsm_sync::{Arc, thread};

#[derive(Debug, Clone, PartialEq)]
struct Flush;

impl Job for Flush {
    fn is_long(&self) -> bool {
        false
    }
}

/// Why a writer may not write on.
#[derive(Debug, Clone, PartialEq)]
enum Refusal {
    Trouble,
    ReadOnly,
    Closed,
}

/// What a flush does in a model.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    MakesRoom,
    /// Fails this often, is tried again each time, and then makes room.
    Fails(u64),
    /// Fails once, is tried again, and then turns the store read-only.
    Breaks,
}

/// An engine with one keyspace, whose sealed memtables are a number.
struct Engine {
    scheduler: Scheduler<Flush>,
    troubles: Troubles<Refusal>,
    failure: Latch<Refusal>,
    is_closed: AtomicBool,
    sealed: AtomicU64,
    fate: Fate,
    failed: AtomicU64,
}

impl Engine {
    fn new(sealed: u64, fate: Fate) -> Arc<Self> {
        Arc::new(Self {
            scheduler: Scheduler::new(Execution::Threads(2)),
            troubles: Troubles::new(),
            failure: Latch::new(),
            is_closed: AtomicBool::new(false),
            sealed: AtomicU64::new(sealed),
            fate,
            failed: AtomicU64::new(0),
        })
    }

    fn run(&self, flush: Flush) {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed);
        match self.fate {
            Fate::Fails(times) if failed < times => self.retry(flush),
            Fate::Breaks if failed < 1 => self.retry(flush),
            Fate::Breaks => {
                self.failure.set(Refusal::ReadOnly);
                self.scheduler.wake_waiters();
            }
            Fate::MakesRoom | Fate::Fails(_) => {
                // Relaxed: the scheduler's lock must carry it.
                self.sealed.store(0, Ordering::Relaxed);
                self.troubles.clear();
            }
        }
    }

    fn retry(&self, flush: Flush) {
        self.troubles.note(Refusal::Trouble, &self.scheduler);
        self.scheduler.submit_at(0, flush);
    }

    fn check_usable(&self) -> Result<(), Refusal> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Refusal::Closed);
        }
        if self.failure.is_set() { Err(Refusal::ReadOnly) } else { Ok(()) }
    }

    /// As a write does that finds too many sealed memtables.
    fn admit(&self) -> Result<(), Ended<Refusal>> {
        let has_room = || self.sealed.load(Ordering::Relaxed) == 0;
        if has_room() {
            return Ok(());
        }
        self.scheduler.submit(Flush);
        let run = |_| unreachable!("a writer ran a job though there are threads");
        self.troubles.wait(&self.scheduler, has_room, || self.check_usable(), run)
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.scheduler.wake_waiters();
        self.scheduler.close();
    }
}

fn worker(engine: &Arc<Engine>) -> thread::JoinHandle<()> {
    let engine = Arc::clone(engine);
    thread::spawn(move || engine.scheduler.run_until_closed(Lane::Heavy, || 0, |flush| engine.run(flush)))
}

fn writer(engine: &Arc<Engine>) -> thread::JoinHandle<Result<(), Ended<Refusal>>> {
    let engine = Arc::clone(engine);
    thread::spawn(move || engine.admit())
}

#[test]
fn two_stalled_writers_wake_when_room_appears() {
    lsm_sync::model_at_most(2, || {
        let engine = Engine::new(3, Fate::MakesRoom);
        let (worker, other) = (worker(&engine), writer(&engine));
        assert_eq!(engine.admit(), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
        engine.close();
        worker.join().unwrap();
    });
}

#[test]
fn a_stalled_writer_is_told_of_failures_or_finds_room_after_them() {
    lsm_sync::model(|| {
        let engine = Engine::new(3, Fate::Fails(2));
        let worker = worker(&engine);
        let outcome = engine.admit();
        assert!(matches!(outcome, Ok(()) | Err(Ended::Failed(Refusal::Trouble))), "{outcome:?}");
        assert!(engine.scheduler.wait_idle_unless(|| false, |_| unreachable!()));
        assert_eq!(engine.admit(), Ok(()), "the last retry made room");
        engine.close();
        worker.join().unwrap();
    });
}

#[test]
fn a_stalled_writer_is_told_when_the_store_turns_read_only() {
    lsm_sync::model(|| {
        let engine = Engine::new(3, Fate::Breaks);
        let worker = worker(&engine);
        let outcome = engine.admit();
        assert!(matches!(outcome, Err(Ended::Failed(Refusal::Trouble | Refusal::ReadOnly))), "{outcome:?}");
        engine.close();
        worker.join().unwrap();
    });
}

#[test]
fn a_stalled_writer_is_released_when_the_database_closes() {
    lsm_sync::model(|| {
        // No thread makes room: only closing ends the wait.
        let engine = Engine::new(3, Fate::MakesRoom);
        let writers = [writer(&engine), writer(&engine)];
        engine.close();
        for writer in writers {
            assert_eq!(writer.join().unwrap(), Err(Ended::Failed(Refusal::Closed)));
        }
    });
}

#[test]
fn a_failure_after_the_wait_began_reaches_the_waiter_though_nothing_else_happens() {
    lsm_sync::model(|| {
        let engine = Engine::new(3, Fate::MakesRoom);
        let failing = std::cell::Cell::new(None);
        // The first look is when the wait has begun.
        let has_room = || {
            let failing_now = failing.take().unwrap_or_else(|| {
                let engine = Arc::clone(&engine);
                thread::spawn(move || engine.troubles.note(Refusal::Trouble, &engine.scheduler))
            });
            failing.set(Some(failing_now));
            false
        };
        let run = |_| unreachable!("a writer ran a job though there are threads");
        let outcome = engine.troubles.wait(&engine.scheduler, has_room, || engine.check_usable(), run);
        assert_eq!(outcome, Err(Ended::Failed(Refusal::Trouble)));
        failing.take().map(thread::JoinHandle::join).unwrap().unwrap();
    });
}
