//! [`FaultSweep`]: fixed scripts in which every single operation of the disk is made to
//! fail in turn, in each way that fits it, while the database works and while it recovers.

use crate::generate::{Profile, generate};
use crate::op::Op;
use crate::script::Script;
use crate::sim::campaign::SimFailure;
use crate::sim::disk::Ending;
use crate::sim::setting::Setting;
use crate::sim::step::{FAULTS, SimOp};
use crate::sim::world::{Outcome, run_sim};
use lsm_tree::Compaction;
use lsm_vfs::Fault;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// When the operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// From the creation of the database on.
    Work,
    /// From the beginning of a recovery on.
    Recovery(Ending),
}

/// What one thread takes at a time: one way to fail, at every place of one script.
#[derive(Clone, Copy, Debug)]
struct Job {
    workload: usize,
    fault: Fault,
    sticky: bool,
    stage: Stage,
}

/// How thorough and on how many threads.
#[derive(Clone, Copy, Debug)]
pub struct FaultSweep {
    /// Every operation for 1, every second for 2, …
    pub stride: u64,
    /// Each simulation runs on one.
    pub threads: usize,
}

/// How many scripts there are.
const WORKLOADS: usize = 3;

impl FaultSweep {
    /// Runs all of it; how many operations were made to fail, in how many ways, and the
    /// sum of what the simulations did.
    ///
    /// # Errors
    /// The first failure, with its whole script.
    pub fn run(&self) -> Result<(u64, usize, Outcome), Box<SimFailure>> {
        let jobs = jobs();
        // Relaxed: the number is all that is shared; the threads are joined.
        let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let sum = Mutex::new((0, Outcome::default()));
        let failed = Mutex::new(None);
        let work = || {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                match self.sweep(*job) {
                    Ok((count, outcome)) => {
                        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                        sum.0 += count;
                        sum.1.add(&outcome);
                    }
                    Err(failure) => {
                        is_over.store(true, Ordering::Relaxed);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(work);
            }
        });
        if let Some(failure) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(failure);
        }
        let (count, outcome) = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((count, jobs.len(), outcome))
    }

    /// Makes the first operation fail, then the next one that can, to the last.
    fn sweep(&self, job: Job) -> Result<(u64, Outcome), Box<SimFailure>> {
        let (mut at, mut count, mut sum) = (0_u64, 0, Outcome::default());
        loop {
            let script = script(job, at as u32);
            match run_sim(&script, None) {
                Ok(outcome) => {
                    sum.add(&outcome);
                    let Some(hit) = outcome.first_fault_at else { return Ok((count, sum)) };
                    count += 1;
                    at = at.max(hit) + self.stride.max(1);
                }
                Err(found) => {
                    return Err(Box::new(SimFailure { first: found.clone(), last: found, script }));
                }
            }
        }
    }
}

fn jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for workload in 0..WORKLOADS {
        for (_, fault) in FAULTS {
            for sticky in [false, true] {
                // What a second failed sync would add, a single one shows.
                if sticky && fault == Fault::FailedSync {
                    continue;
                }
                let power = Ending::PowerCut { seed: 7 };
                for stage in [Stage::Work, Stage::Recovery(Ending::Kill), Stage::Recovery(power)] {
                    jobs.push(Job { workload, fault, sticky, stage });
                }
            }
        }
    }
    jobs
}

/// The script of a job, with its fault after `after` operations of the disk.
fn script(job: Job, after: u32) -> Script<SimOp> {
    let fault = SimOp::Fault { fault: job.fault, after, sticky: job.sticky };
    let mut ops: Vec<SimOp> = settings(job.workload).into_iter().map(SimOp::Set).collect();
    let work = workload(job.workload);
    match job.stage {
        Stage::Work => {
            ops.push(fault);
            ops.extend(work);
        }
        Stage::Recovery(ending) => {
            ops.extend(work);
            ops.extend([SimOp::Stop(ending), fault]);
            ops.push(SimOp::Op(Op::Verify));
        }
    }
    let tail =
        ["heal", "batch sync; put a tail 1x100; put b tail 2x100", "flush a", "idle", "verify", "check"];
    ops.extend(tail.into_iter().filter_map(|line| line.parse().ok()));
    Script { seed: 0x5eed ^ job.workload as u64, ops }
}

fn settings(workload: usize) -> Vec<Setting> {
    let mut settings = vec![
        Setting::WriteBufferSize(1024),
        Setting::LogSegmentSize(4096),
        Setting::MaxLogSize(8192),
        Setting::CacheSize(4096),
        Setting::MaxOpenFiles(4),
    ];
    for keyspace in 0..crate::generate::KEYSPACES {
        settings.extend([Setting::TableSize(keyspace, 1024), Setting::LevelBaseSize(keyspace, 4096)]);
        settings.push(Setting::BlockSize(keyspace, 256));
    }
    match workload {
        0 => {}
        1 => settings.push(Setting::Compaction(0, Compaction::SizeTiered)),
        _ => settings.extend([
            Setting::Durability(lsm_tree::Durability::Sync),
            Setting::Compaction(1, Compaction::Fifo { max_bytes: 3000, max_age_ms: 60_000 }),
        ]),
    }
    settings
}

fn workload(workload: usize) -> Vec<SimOp> {
    let profile = Profile { keys: 40, value_bytes: 120, reopens: 150, drops: true };
    let ops = generate(0xfa17 + workload as u64, 110, &profile).ops;
    let mut ops: Vec<SimOp> = ops.into_iter().map(SimOp::Op).collect();
    for (at, line) in [(20, "flush a"), (40, "checkpoint"), (60, "compact a - -"), (80, "reopen close")] {
        ops.extend(line.parse().ok());
        let last = ops.len() - 1;
        ops.swap(at, last);
    }
    ops
}
