//! [`SimCampaign`]: many simulations from one seed on several threads; the first that
//! fails is shrunk and printed. Called by `cargo xtask sim` and by tests.

use crate::runner::Difference;
use crate::script::Script;
use crate::shrink::shrink;
use crate::sim::disk::Lie;
use crate::sim::generator::{Mix, generate_sim};
use crate::sim::step::SimOp;
use crate::sim::world::{Outcome, run_sim};
use lsm_vfs::mix64;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a failing script is shrunk.
const SHRINK_LIMIT: Duration = Duration::from_secs(60);

/// Simulations from one seed.
#[derive(Clone, Copy, Debug)]
pub struct SimCampaign {
    /// Decides all of them.
    pub seed: u64,
    /// Ends when so many crashes were recovered from.
    pub crashes: u64,
    /// Or when so much time has passed.
    pub limit: Option<Duration>,
    /// On so many threads; each simulation runs on one.
    pub threads: usize,
    /// What the scripts are made of.
    pub mix: Mix,
    /// What the disk lies about.
    pub lie: Option<Lie>,
}

/// A simulation that failed, as short as it could be made.
#[derive(Clone, Debug)]
pub struct SimFailure {
    /// What was found first.
    pub first: Difference,
    /// What the shrunk script shows.
    pub last: Difference,
    /// The shrunk script.
    pub script: Script<SimOp>,
}

impl SimCampaign {
    /// Two threads without a limit of time.
    #[must_use]
    pub fn new(seed: u64, crashes: u64) -> Self {
        Self { seed, crashes, limit: None, threads: 2, mix: Mix::default(), lie: None }
    }

    /// The script of one simulation.
    #[must_use]
    pub fn script(&self, number: u64) -> Script<SimOp> {
        generate_sim(mix64(self.seed.wrapping_add(mix64(number))), &self.mix)
    }

    /// Runs simulations until there were enough crashes; the sum of what they did, and
    /// how many they were.
    ///
    /// # Errors
    /// The first failure, shrunk.
    pub fn run(&self) -> Result<(u64, Outcome), Box<SimFailure>> {
        let start = Instant::now();
        // Relaxed: the numbers are all that is shared; the threads are joined.
        let (next, crashes, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let sum = Mutex::new((0, Outcome::default()));
        let failed = Mutex::new(None);
        let work = || {
            while !is_over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let script = self.script(number);
                match run_sim(&script, self.lie) {
                    Ok(outcome) => {
                        let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        sum.0 += 1;
                        sum.1.add(&outcome);
                        let crashes = crashes.fetch_add(outcome.crashes, Ordering::Relaxed) + outcome.crashes;
                        let late = self.limit.is_some_and(|limit| start.elapsed() > limit);
                        if crashes >= self.crashes || late {
                            is_over.store(true, Ordering::Relaxed);
                        }
                    }
                    Err(found) => {
                        is_over.store(true, Ordering::Relaxed);
                        let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        failed.get_or_insert((script, found));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(work);
            }
        });
        match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some((script, found)) => Err(Box::new(self.shrunk(script, found))),
            None => Ok(sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)),
        }
    }

    /// Makes a failing script as short as it gets.
    fn shrunk(&self, script: Script<SimOp>, first: Difference) -> SimFailure {
        let mut last = first.clone();
        let failing = script.ops.iter().take(first.at + 1).cloned().collect::<Vec<_>>();
        let seed = script.seed;
        let fails = |ops: &[SimOp]| match run_sim(&Script { seed, ops: ops.to_vec() }, self.lie) {
            Ok(_) => false,
            Err(found) => {
                last = found;
                true
            }
        };
        let ops = shrink(failing, SHRINK_LIMIT, fails);
        let script = Script { seed, ops };
        // `last` may stand for a candidate that was found before the shortest one.
        let last = run_sim(&script, self.lie).err().unwrap_or(last);
        SimFailure { first, last, script }
    }
}

impl std::fmt::Display for SimFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "first found: {}\nshrunk: {}\n{}", self.first, self.last, self.script)
    }
}

impl Outcome {
    /// Adds up the counts, and mixes what follows from each run.
    pub fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.in_recovery += other.in_recovery;
        self.faults += other.faults;
        self.ops += other.ops;
        self.steps += other.steps;
        self.ended_ns += other.ended_ns;
        self.trace = self.trace.wrapping_add(mix64(other.trace));
        self.image = self.image.wrapping_add(mix64(other.image));
    }
}
