//! [`run_sim`]: a database, its disk and its clock under one script: it is opened, used,
//! killed in the middle of a step, recovered, killed while it recovers, and each time
//! compared with what it had promised.

use crate::config::Config;
use crate::engine::{Engine, Stop};
use crate::generate::KEYSPACES;
use crate::op::{Durability, Op};
use crate::promises::NameChange;
use crate::runner::{Difference, Runner, guarded};
use crate::script::Script;
use crate::sim::clock::SimClock;
use crate::sim::disk::{Ending, Lie, SimFs};
use crate::sim::setting::Setting;
use crate::sim::step::{Cut, SimOp};
use lsm_tree::{Error, Execution, KeyspaceOptions, Options, RecoveryMode};
use lsm_vfs::{Fault, Fs, MemFs, mix64};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod oracle;
mod trouble;

/// The directory of databases, made long before the simulation.
const HOME: &str = "home";
const DIR: &str = "home/db";

/// What a simulation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Lives that ended in a crash.
    pub crashes: u64,
    /// Those of them that ended within a recovery.
    pub in_recovery: u64,
    /// Operations of the disk that were made to fail.
    pub faults: u64,
    /// Operations of the script.
    pub ops: u64,
    /// Steps that changed the disk.
    pub steps: u64,
    /// Follows from every call of the disk and its answer.
    pub trace: u64,
    /// Follows from the files at the end, as they are and as a power cut leaves them.
    pub image: u64,
    /// When, in simulated nanoseconds, it ended.
    pub ended_ns: u64,
    /// The number, within its life, of the first operation that was made to fail.
    pub first_fault_at: Option<u64>,
}

/// Runs a script from an empty disk.
///
/// # Errors
/// The first thing that should not be; a panic of the engine is one too.
pub fn run_sim(script: &Script<SimOp>, lie: Option<Lie>) -> Result<Outcome, Difference> {
    guarded(&script.ops, |at| {
        let mut world = World::new(script.seed, lie).map_err(|error| error.to_string())?;
        let outcome = world.run(&script.ops, at);
        world.forget();
        outcome.map_err(|stop| stop.to_string())
    })
}

/// What has gone wrong in this life on purpose.
#[derive(Clone, Copy, Debug, Default)]
struct Ordered {
    /// Any fault.
    any: bool,
    /// A fault other than a full disk: the database may turn read-only.
    serious: bool,
    /// A full disk has room again, so everything has to work.
    must_work: bool,
}

struct World {
    fs: SimFs,
    clock: Arc<SimClock>,
    runner: Runner,
    settings: Vec<Setting>,
    /// The cuts that wait for their life.
    cuts: VecDeque<Cut>,
    seed: u64,
    lie: Option<Lie>,
    opens: u64,
    is_open: bool,
    /// Opening has succeeded once: the database is there for good.
    exists: bool,
    /// Every keyspace has been created once.
    is_complete: bool,
    /// Some crash since the last recovery was a power cut.
    lost_power: bool,
    /// Faults were ordered in an earlier life: half of a record may lie behind the end of
    /// a segment for as long as that is there.
    had_faults: bool,
    /// Strict recovery refused a torn log, as it should.
    lenient: bool,
    ordered: Ordered,
    outcome: Outcome,
}

impl World {
    fn new(seed: u64, lie: Option<Lie>) -> Result<Self, lsm_vfs::IoError> {
        let disk = MemFs::new();
        disk.create_dir_all(Path::new(HOME))?;
        disk.sync_dir(Path::new(""))?;
        let fs = SimFs::new(disk, None, lie);
        let mut runner = Runner::new(Config::in_memory("simulation", Options::default(), Default::default()));
        runner.kept_checkpoints = Some(Vec::new());
        Ok(Self {
            fs,
            clock: Arc::default(),
            runner,
            settings: Vec::new(),
            cuts: VecDeque::new(),
            seed,
            lie,
            opens: 0,
            is_open: false,
            exists: false,
            is_complete: false,
            lost_power: false,
            had_faults: false,
            lenient: false,
            ordered: Ordered::default(),
            outcome: Outcome::default(),
        })
    }

    fn run(&mut self, ops: &[SimOp], at: &mut usize) -> Result<Outcome, Stop> {
        for (index, op) in ops.iter().enumerate() {
            *at = index;
            self.step(op)?;
        }
        *at = ops.len();
        self.finish()?;
        let mut outcome = self.outcome;
        outcome.ops = ops.len() as u64;
        outcome.steps = self.fs.steps();
        outcome.trace = self.fs.hash();
        outcome.ended_ns = lsm_tree::Clock::monotonic_ns(&*self.clock);
        Ok(outcome)
    }

    fn step(&mut self, op: &SimOp) -> Result<(), Stop> {
        match op {
            SimOp::Set(setting) => {
                self.settings.push(*setting);
                self.configure();
                Ok(())
            }
            SimOp::Wait(ms) => {
                self.clock.advance(Duration::from_millis(*ms));
                Ok(())
            }
            SimOp::Crash(cuts) => {
                self.cuts = cuts.iter().copied().collect();
                self.plan_cut();
                Ok(())
            }
            SimOp::Stop(ending) => {
                self.fs.end_now(*ending);
                self.end_life()
            }
            SimOp::Fault { fault, after, sticky } => {
                self.order(*fault, *after, *sticky);
                Ok(())
            }
            SimOp::Heal => self.heal(),
            SimOp::Account => {
                self.ensure_open()?;
                self.account()
            }
            SimOp::Op(op) => self.operate(op),
        }
    }

    fn operate(&mut self, op: &Op) -> Result<(), Stop> {
        self.ensure_open()?;
        if let Op::Reopen { close } = op {
            self.configure();
            if self.had_faults || self.ordered.any {
                return self.reopen_after_faults(*close);
            }
        }
        let before = self.before();
        let result = self.runner.step(op);
        self.judge(op, &before, result)
    }

    fn plan_cut(&mut self) {
        if let Some(cut) = self.cuts.pop_front() {
            self.fs.end_after(u64::from(cut.after), cut.ending);
        }
    }

    /// The life is over: lets go of everything, looks at the checkpoints, and puts the
    /// disk that is left in place of the old one.
    fn end_life(&mut self) -> Result<(), Stop> {
        let (Some(left), Some(ending)) = (self.fs.left(), self.fs.ending()) else { return Ok(()) };
        self.outcome.crashes += 1;
        self.outcome.faults += self.fs.faults().injected();
        self.outcome.first_fault_at =
            self.outcome.first_fault_at.or_else(|| self.fs.faults().first_injected_at());
        self.runner.let_go();
        self.lost_power |= matches!(ending, Ending::PowerCut { .. });
        self.had_faults |= self.ordered.any;
        self.check_checkpoints(&left)?;
        self.fs = SimFs::new(left, Some(&self.fs), self.lie);
        self.ordered = Ordered::default();
        self.is_open = false;
        self.plan_cut();
        self.configure();
        Ok(())
    }

    /// Puts the options of the script, and what the simulation needs, where the next
    /// opening looks.
    fn configure(&mut self) {
        self.opens += 1;
        let options = self.settings.iter().fold(Options::default(), |options, set| set.of_database(options));
        let mut options = if self.exists { options } else { options.create_if_missing(true) };
        let mode = self.settings.iter().rev().find_map(|setting| match setting {
            Setting::RecoveryMode(mode) => Some(*mode),
            _ => None,
        });
        // Salvage takes what it can get, which need not be a prefix once pages are lost.
        let is_torn = self.lost_power || self.had_faults || self.ordered.any;
        if self.lenient || (mode == Some(RecoveryMode::Salvage) && is_torn) {
            options = options.recovery_mode(RecoveryMode::TornTail);
        }
        let seed = mix64(self.seed ^ self.opens);
        let clock = Arc::clone(&self.clock) as Arc<dyn lsm_tree::Clock>;
        options.advanced().seed(seed).clock(clock).execution(Execution::Deterministic { seed });
        let fs = Arc::new(self.fs.clone());
        let mut config = Config::on("simulation", fs, Path::new(DIR), options, KeyspaceOptions::default());
        for keyspace in 0..KEYSPACES {
            let of = self
                .settings
                .iter()
                .fold(KeyspaceOptions::default(), |options, setting| setting.of_keyspace(keyspace, options));
            config.keyspaces.insert(keyspace, of);
            if self.settings.iter().filter_map(|setting| setting.forgets(keyspace)).next_back() == Some(true)
            {
                config.forgetful.insert(keyspace);
            }
        }
        config.durability = self.durability();
        self.runner.config = config;
    }

    fn durability(&self) -> Durability {
        let set = self.settings.iter().rev().find_map(|setting| match setting {
            Setting::Durability(lsm_tree::Durability::Sync) => Some(Durability::Sync),
            Setting::Durability(lsm_tree::Durability::Buffered) => Some(Durability::Buffered),
            _ => None,
        });
        set.unwrap_or(Durability::Buffered)
    }

    /// Opens the database, through as many crashes as are planned.
    fn ensure_open(&mut self) -> Result<(), Stop> {
        let mut failures = 0;
        while !self.is_open {
            if self.opens == 0 {
                self.configure();
            }
            let opened = self.recover().and_then(|()| self.complete());
            let Err(stop) = opened else {
                self.is_open = true;
                self.lenient = false;
                break;
            };
            failures += 1;
            if failures > 50 {
                return Err(stop);
            }
            self.survive_opening(stop)?;
        }
        Ok(())
    }

    fn survive_opening(&mut self, stop: Stop) -> Result<(), Stop> {
        if self.is_over() {
            self.outcome.in_recovery += 1;
            return self.end_life();
        }
        let Stop::Failed { call, error } = stop else { return Err(stop) };
        let injected = self.fs.faults().injected() > 0;
        match &error {
            Error::Corruption { .. } if self.refuses_torn_logs() => {
                self.runner.let_go();
                self.lenient = true;
                self.configure();
                Ok(())
            }
            Error::Io(_) | Error::ReadOnly { .. } if injected => {
                // It must have said why; without the fault it must work.
                self.runner.let_go();
                self.fs.faults().heal();
                self.configure();
                Ok(())
            }
            _ => Err(Stop::Failed { call, error }),
        }
    }

    /// Strict recovery may refuse what a power cut or a fault has torn.
    fn refuses_torn_logs(&self) -> bool {
        let mode = self.settings.iter().rev().find_map(|setting| match setting {
            Setting::RecoveryMode(mode) => Some(*mode),
            _ => None,
        });
        let torn = self.lost_power || self.had_faults || self.ordered.any;
        mode == Some(RecoveryMode::Strict) && !self.lenient && torn
    }

    /// Creates the keyspaces, the first time.
    fn complete(&mut self) -> Result<(), Stop> {
        if !self.is_complete {
            for keyspace in 0..KEYSPACES {
                self.runner.create(keyspace)?;
            }
            self.is_complete = true;
        }
        Ok(())
    }

    /// Opens what is there and finds out how much of it survived.
    fn recover(&mut self) -> Result<(), Stop> {
        self.runner.open()?;
        self.exists = true;
        self.settle_names()?;
        self.runner.take_up_keyspaces()?;
        self.find_prefix()?;
        self.lost_power = false;
        Ok(())
    }

    /// A keyspace that was being created or dropped is there or not.
    fn settle_names(&mut self) -> Result<(), Stop> {
        let there = self.runner.engine()?.keyspace_names();
        match self.runner.promises.names {
            Some(NameChange::Create(keyspace)) if there.contains(&Engine::name(keyspace)) => {
                self.runner.model.create(keyspace);
                if self.runner.config.forgetful.contains(&keyspace) {
                    self.runner.lossy.insert(keyspace);
                }
            }
            Some(NameChange::Drop(keyspace)) if !there.contains(&Engine::name(keyspace)) => {
                self.runner.model.drop_keyspace(keyspace);
            }
            _ => {}
        }
        Ok(())
    }

    /// The last checks: a kill, a power cut, a clean close.
    fn finish(&mut self) -> Result<(), Stop> {
        if self.fs.left().is_none() {
            self.heal()?;
        }
        self.ensure_open()?;
        self.check(|runner| runner.verify())?;
        let seed = mix64(self.seed ^ 0xe4d);
        for ending in [Ending::Kill, Ending::PowerCut { seed }] {
            self.step(&SimOp::Stop(ending))?;
            self.ensure_open()?;
            self.check(|runner| runner.verify())?;
        }
        self.cuts.clear();
        self.fs.end_after(u64::MAX, Ending::Kill);
        self.ensure_open()?;
        self.account()?;
        self.outcome.image = self.image()?;
        self.operate(&Op::Reopen { close: true })?;
        self.runner.verify()
    }

    /// Compares something, unless the life ends under it.
    fn check(&mut self, compare: impl Fn(&mut Runner) -> Result<(), Stop>) -> Result<(), Stop> {
        let outcome = compare(&mut self.runner);
        if self.is_over() {
            self.end_life()?;
            return self.ensure_open();
        }
        outcome
    }

    /// Lets go of everything without another thought.
    fn forget(&mut self) {
        self.fs.end_now(Ending::Kill);
        self.runner.let_go();
    }

    fn order(&mut self, fault: Fault, after: u32, sticky: bool) {
        let faults = self.fs.faults();
        faults.fail_on("", faults.operations() + u64::from(after), fault, sticky);
        self.ordered.any = true;
        self.ordered.serious |= !matches!(fault, Fault::DiskFull | Fault::ShortWrite);
        self.ordered.must_work = false;
    }
}
