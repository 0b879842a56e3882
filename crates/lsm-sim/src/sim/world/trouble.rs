//! What a simulation expects of calls that fail because the disk was made to fail: a
//! typed error, a state that is one of two, and life as usual when a full disk has room.

use super::World;
use crate::engine::Stop;
use crate::op::Op;
use crate::promises::NameChange;
use crate::runner::inserts;
use crate::sim::world::oracle::is_uncertain;
use lsm_tree::Error;
use lsm_types::SeqNo;

/// How things stood before an operation.
pub(super) struct Before {
    end: SeqNo,
    is_latched: bool,
    names: Option<NameChange>,
}

impl World {
    pub(super) fn before(&self) -> Before {
        let is_latched = self.runner.engine.as_ref().is_some_and(|e| e.stats().read_only_cause.is_some());
        Before { end: self.runner.model.end(), is_latched, names: self.runner.promises.names }
    }

    /// Judges the outcome of an operation: the life may be over, or the call may have
    /// failed because the disk was made to.
    pub(super) fn judge(&mut self, op: &Op, before: &Before, result: Result<(), Stop>) -> Result<(), Stop> {
        let Err(stop) = result else {
            if self.is_over() {
                return self.end_life();
            }
            if before.is_latched && writes(op) && self.runner.model.end() > before.end {
                return Err(Stop::Differs("a read-only database took a write".into()));
            }
            return Ok(());
        };
        if matches!(stop, Stop::Differs(_)) {
            return Err(stop);
        }
        if self.is_over() {
            return self.end_life();
        }
        let Stop::Failed { call, error } = stop else { return Err(stop) };
        let injected = self.fs.faults().injected();
        let is_typed = matches!(error, Error::Io(_) | Error::ReadOnly { .. });
        if injected == 0 || !is_typed || self.ordered.must_work {
            return Err(Stop::Failed { call, error });
        }
        if self.runner.engine.is_none() {
            // Closing or opening again failed.
            return self.reopen_after_failure();
        }
        if before.is_latched {
            self.runner.promises.names = before.names;
        }
        self.settle_write(op, before, &error)
    }

    /// Closes and opens a database in whose life something has failed: closing says so,
    /// and what is found is to be told like after a kill.
    pub(super) fn reopen_after_faults(&mut self, close: bool) -> Result<(), Stop> {
        let is_latched = self.before().is_latched;
        self.runner.slots.clear();
        self.runner.let_go_of_iterators();
        if let Some(engine) = self.runner.engine.take()
            && close
        {
            match engine.close() {
                Ok(()) if is_latched && !self.is_over() => {
                    return Err(Stop::Differs("closing a read-only database said that all was well".into()));
                }
                Ok(()) => self.runner.promises.persisted(),
                Err(Stop::Failed { error: Error::Io(_) | Error::ReadOnly { .. }, .. }) => {}
                Err(_) if self.is_over() => {}
                Err(stop) => return Err(stop),
            }
        }
        self.runner.let_go();
        if self.is_over() {
            return self.end_life();
        }
        self.is_open = false;
        self.ordered.must_work = false;
        self.ensure_open()
    }

    /// The database was closed, or not, under a fault: it must open without it, and
    /// hold everything acknowledged.
    fn reopen_after_failure(&mut self) -> Result<(), Stop> {
        self.runner.let_go();
        self.fs.faults().heal();
        self.is_open = false;
        self.configure();
        self.ensure_open()
    }

    /// A call failed: what it was to write is there, or it is not.
    fn settle_write(&mut self, op: &Op, before: &Before, error: &Error) -> Result<(), Stop> {
        let end = self.runner.model.end();
        let is_latched = self.runner.engine()?.stats().read_only_cause.is_some();
        if !is_latched {
            self.settle_failed_names(op, before)?;
        } else if !self.ordered.serious {
            return Err(Stop::Differs(format!("a full disk has made the database read-only: {error}")));
        }
        if end == before.end {
            return Ok(());
        }
        let found = self.read_on()?;
        let (with, without) = (self.runner.is_as_of(end, &found), self.runner.is_as_of(before.end, &found));
        if without && !with {
            self.runner.model.rewind(before.end, before.end);
            self.runner.promises.withdraw(end);
            if let (Op::Ingest { keyspace, entries, .. }, true) = (op, is_latched && !before.is_latched) {
                // What stands in the manifest only reading it again can tell.
                self.runner.promises.unknown = Some(inserts(*keyspace, entries));
            }
            return Ok(());
        }
        if with && (without || is_latched) {
            // Seen, and not acknowledged: a failed sync leaves its fate open.
            return Ok(());
        }
        let what =
            if with { "is there all the same" } else { "has left neither its state nor the one before" };
        Err(Stop::Differs(format!("a write that failed with {error} {what}")))
    }

    /// A change of names that failed without a latch has not happened.
    fn settle_failed_names(&mut self, op: &Op, before: &Before) -> Result<(), Stop> {
        if let Op::CreateKeyspace { keyspace } | Op::DropKeyspace { keyspace } = op
            && is_uncertain(self.runner.promises.names, *keyspace)
        {
            self.runner.promises.names = before.names;
            crate::runner::checks::same_names(self.runner.engine()?, &self.runner.model.keyspaces())?;
        }
        Ok(())
    }

    /// Reads everything; while every call of the disk fails, reads may as well.
    fn read_on(&mut self) -> Result<std::collections::BTreeMap<u8, Vec<crate::Entry>>, Stop> {
        match self.runner.read_all() {
            Err(Stop::Failed { error: Error::Io(_), .. }) if self.ordered.serious => {
                self.fs.faults().heal();
                self.runner.read_all()
            }
            other => other,
        }
    }

    /// Nothing fails any more. When nothing worse than a full disk has happened, all
    /// work goes on by itself.
    pub(super) fn heal(&mut self) -> Result<(), Stop> {
        let injected = self.fs.faults().injected();
        self.fs.faults().heal();
        if injected == 0 || self.ordered.serious || !self.is_open {
            return Ok(());
        }
        // The first wait may be told of the last failure before there was room.
        let mut last = Ok(());
        for _ in 0..4 {
            last = self.runner.engine()?.wait_idle();
            if self.is_over() {
                return self.end_life();
            }
            if last.is_ok() {
                self.ordered.must_work = true;
                return self.runner.verify();
            }
        }
        last
    }

    /// Whether this life has ended.
    pub(super) fn is_over(&self) -> bool {
        self.fs.ending().is_some()
    }
}

/// Whether an operation is to change what readers see.
fn writes(op: &Op) -> bool {
    match op {
        Op::Write(_) | Op::Batch { .. } | Op::Clear { .. } => true,
        Op::Ingest { is_finished, entries, .. } => *is_finished && !entries.is_empty(),
        _ => false,
    }
}
