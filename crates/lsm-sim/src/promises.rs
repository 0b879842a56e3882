//! [`Promises`]: what the application has been told, and so what must be found again
//! after a kill or a power cut. Kept by the runner, asked by the simulator.

use crate::op::{Durability, Write};
use lsm_types::SeqNo;
use std::collections::BTreeSet;

/// A change of the set of keyspaces that is under way, or whose fate is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameChange {
    /// The keyspace is being created.
    Create(u8),
    /// The keyspace is being dropped.
    Drop(u8),
}

/// Commits are named by the model's number behind them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    /// Behind each commit since the database was last opened, tried ones included.
    boundaries: BTreeSet<SeqNo>,
    /// All commits up to here were acknowledged: a kill keeps them.
    acknowledged: SeqNo,
    /// All commits up to here were acknowledged as durable: a power cut keeps them.
    durable: SeqNo,
    /// Which commits touched which keyspace: a delete of an empty range leaves nothing that a
    /// flush would have to write.
    touched: BTreeSet<(u8, SeqNo)>,
    /// Names change by themselves, at once and durably, not in the order of commits.
    pub(crate) names: Option<NameChange>,
    /// An ingestion whose change of the manifest failed: it is there after reopening or not.
    pub(crate) unknown: Option<Vec<Write>>,
}

impl Promises {
    /// A commit is about to be made; `end` is the number behind it.
    pub(crate) fn begin(&mut self, end: SeqNo, writes: &[Write]) {
        self.boundaries.insert(end);
        let touching = writes.iter().filter(|write| !write.is_of_nothing());
        self.touched.extend(touching.map(|write| (write.keyspace(), end)));
    }

    /// As [`begin`](Self::begin), for a commit that touches one keyspace.
    pub(crate) fn begin_in(&mut self, end: SeqNo, keyspace: u8) {
        self.boundaries.insert(end);
        self.touched.insert((keyspace, end));
    }

    /// All commits up to `end` were acknowledged.
    pub(crate) fn acknowledge(&mut self, end: SeqNo, lasting: Durability) {
        self.acknowledged = self.acknowledged.max(end);
        if lasting == Durability::Sync {
            self.durable = self.durable.max(end);
        }
    }

    /// Everything acknowledged was made durable.
    pub(crate) fn persisted(&mut self) {
        self.durable = self.acknowledged;
    }

    /// The keyspace was flushed: what came before its last commit is durable with it.
    pub(crate) fn flushed(&mut self, keyspace: u8) {
        let all = (keyspace, 0)..=(keyspace, self.acknowledged);
        let last = self.touched.range(all).next_back().map_or(0, |(_, end)| *end);
        self.durable = self.durable.max(last);
    }

    /// The keyspace was dropped: to flush another one of its name later says nothing of what
    /// had been committed to it.
    pub(crate) fn dropped(&mut self, keyspace: u8) {
        self.touched.retain(|(touched, _)| *touched != keyspace);
    }

    /// The commit behind which `end` stands failed, and nothing of it is there.
    pub(crate) fn withdraw(&mut self, end: SeqNo) {
        self.boundaries.remove(&end);
        self.touched.retain(|(_, commit)| *commit != end);
    }

    /// What a crash may leave: every boundary from the promised one on, newest first.
    pub(crate) fn candidates(&self, after_power_cut: bool) -> Vec<SeqNo> {
        let promised = self.promised(after_power_cut);
        let later = self.boundaries.range(promised..).rev().copied();
        let mut candidates: Vec<_> = later.collect();
        if candidates.last() != Some(&promised) {
            candidates.push(promised);
        }
        candidates
    }

    /// Up to where a crash may lose nothing.
    pub(crate) const fn promised(&self, after_power_cut: bool) -> SeqNo {
        if after_power_cut { self.durable } else { self.acknowledged }
    }

    /// The database was opened and holds all commits up to `end`, durably.
    pub(crate) fn found(&mut self, end: SeqNo) {
        *self = Self { acknowledged: end, durable: end, ..Self::default() };
    }
}
