//! [`run_script`]: does what a script says, to a database and to the model, and
//! compares. Called by the oracle tests; a difference ends the run. The simulator drives
//! the same [`Runner`] through crashes and faults.

use crate::answer::Entry;
use crate::config::Config;
use crate::engine::{Engine, Handle, Items, Reader, Stop};
use crate::generate::{KEYSPACES, SLOTS};
use crate::model::{Model, ModelSnapshot};
use crate::op::{Durability, Op, Write};
use crate::promises::{NameChange, Promises};
use crate::text::Value;
use lsm_types::Slice;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

pub(crate) mod checks;

/// How often the model forgets old versions, in operations.
const FORGET_EVERY: usize = 100;

/// The engine and the model do not agree.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The index of the operation that showed it.
    pub at: usize,
    /// The operation.
    pub op: String,
    /// What was expected and what came.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {}, {:?}: {}", self.at, self.op, self.what)
    }
}

/// Calls `run`, which says how far it came, and turns its error or panic into a
/// [`Difference`].
pub(crate) fn guarded<O: fmt::Display, T>(
    ops: &[O],
    run: impl FnOnce(&mut usize) -> Result<T, String>,
) -> Result<T, Difference> {
    let mut at = 0;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&mut at)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something");
        Err(format!("the engine panicked: {text}"))
    });
    let op = ops.get(at).map_or_else(|| "the last check".into(), ToString::to_string);
    outcome.map_err(|what| Difference { at, op, what })
}

/// A snapshot of both sides, with the handles of its time.
pub(crate) struct Held {
    reader: Reader,
    model: ModelSnapshot,
    handles: BTreeMap<u8, Handle>,
}

/// An iterator that was opened a while ago, and what it must still give.
struct HeldItems {
    items: Items,
    expected: VecDeque<Entry>,
    /// All that was expected, where some of it may be missing.
    lossy: Option<Vec<Entry>>,
}

/// Runs `ops` against a fresh database; the number of operations done.
///
/// # Errors
/// The first difference; a panic of the engine is one too.
pub fn run_script(config: &Config, ops: &[Op]) -> Result<usize, Difference> {
    guarded(ops, |at| {
        run(config, ops, at).map_err(|stop| stop.to_string())?;
        Ok(ops.len())
    })
}

fn run(config: &Config, ops: &[Op], at: &mut usize) -> Result<(), Stop> {
    config.start_afresh()?;
    let mut runner = Runner::new(config.clone());
    runner.open()?;
    for keyspace in 0..KEYSPACES {
        runner.create(keyspace)?;
    }
    for (index, op) in ops.iter().enumerate() {
        *at = index;
        runner.step(op)?;
        if index % FORGET_EVERY == 0 {
            runner.model.forget(runner.slots.values().map(|held| &held.model));
        }
    }
    *at = ops.len();
    runner.verify()?;
    runner.reopen(true)?;
    runner.verify()
}

/// What an ingestion means.
pub(crate) fn inserts(keyspace: u8, entries: &[(Slice, Value)]) -> Vec<Write> {
    let insert = |(key, value): &(Slice, Value)| Write::Insert { keyspace, key: key.clone(), value: *value };
    entries.iter().map(insert).collect()
}

/// One database under one script.
pub(crate) struct Runner {
    pub(crate) config: Config,
    pub(crate) engine: Option<Engine>,
    pub(crate) handles: BTreeMap<u8, Handle>,
    pub(crate) model: Model,
    pub(crate) slots: BTreeMap<u8, Held>,
    iterators: BTreeMap<u8, HeldItems>,
    checkpoints: u32,
    pub(crate) promises: Promises,
    /// Of writes that do not say otherwise.
    pub(crate) durability: Durability,
    /// Keyspaces that may forget what is old.
    pub(crate) lossy: BTreeSet<u8>,
    /// Where checkpoints that are kept lie, and what each must hold.
    pub(crate) kept_checkpoints: Option<Vec<KeptCheckpoint>>,
}

/// A checkpoint that is looked at again later.
#[derive(Clone, Debug)]
pub(crate) struct KeptCheckpoint {
    pub(crate) config: Config,
    pub(crate) entries: BTreeMap<u8, Vec<Entry>>,
    /// The call has returned, so it must be there.
    pub(crate) is_promised: bool,
}

impl Runner {
    /// With nothing open yet.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            engine: None,
            handles: BTreeMap::new(),
            model: Model::new(),
            slots: BTreeMap::new(),
            iterators: BTreeMap::new(),
            checkpoints: 0,
            promises: Promises::default(),
            durability: Durability::Buffered,
            lossy: BTreeSet::new(),
            kept_checkpoints: None,
        }
    }

    /// Opens the database, without its keyspaces.
    pub(crate) fn open(&mut self) -> Result<(), Stop> {
        self.engine = Some(Engine::open(&self.config)?);
        self.durability = self.config.durability;
        Ok(())
    }

    /// Lets go of everything that is open.
    pub(crate) fn let_go(&mut self) {
        self.slots.clear();
        self.iterators.clear();
        self.handles.clear();
        self.engine = None;
    }

    /// Lets go of open iterators.
    pub(crate) fn let_go_of_iterators(&mut self) {
        self.iterators.clear();
    }

    pub(crate) fn engine(&self) -> Result<&Engine, Stop> {
        self.engine.as_ref().ok_or_else(|| Stop::Differs("the database could not be opened again".into()))
    }

    pub(crate) fn create(&mut self, keyspace: u8) -> Result<(), Stop> {
        let is_new = !self.model.has(keyspace);
        if is_new {
            self.promises.names = Some(NameChange::Create(keyspace));
        }
        let options = self.config.options_of(keyspace).clone();
        let handle = self.engine()?.keyspace(keyspace, options)?;
        self.handles.insert(keyspace, handle);
        self.model.create(keyspace);
        if is_new {
            self.promises.names = None;
        }
        if is_new && self.config.forgetful.contains(&keyspace) {
            // For good: a snapshot may still see this life when the next has begun.
            self.lossy.insert(keyspace);
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, op: &Op) -> Result<(), Stop> {
        match op {
            Op::Write(write) => self.write(write),
            Op::Batch { durability, writes } => self.commit(writes, *durability),
            Op::Clear { keyspace } => self.clear(*keyspace),
            Op::Ingest { keyspace, is_finished, entries } => self.ingest(*keyspace, entries, *is_finished),
            Op::Read { view, keyspace, read } => self.read(*view, *keyspace, read),
            Op::Snapshot { slot } => {
                let reader = self.engine()?.snapshot();
                let (model, handles) = (self.model.snapshot(), self.handles.clone());
                self.slots.insert(slot % SLOTS, Held { reader, model, handles });
                Ok(())
            }
            Op::DropSnapshot { slot } => {
                self.slots.remove(&(slot % SLOTS));
                Ok(())
            }
            Op::Hold { slot, view, keyspace, bounds } => self.hold(*slot, *view, *keyspace, bounds),
            Op::Take { slot, count, order } => self.take(*slot, *count as usize, *order),
            Op::Flush { keyspace } => {
                let Some(handle) = self.handles.get(keyspace) else { return Ok(()) };
                handle.flush()?;
                self.promises.flushed(*keyspace);
                Ok(())
            }
            Op::Compact { keyspace, bounds } => {
                let Some(handle) = self.handles.get(keyspace) else { return Ok(()) };
                handle.compact(bounds)?;
                self.promises.flushed(*keyspace);
                Ok(())
            }
            Op::WaitIdle => self.engine()?.wait_idle(),
            Op::Persist(durability) => {
                self.engine()?.persist(*durability)?;
                if *durability == Durability::Sync {
                    self.promises.persisted();
                }
                Ok(())
            }
            Op::Reopen { close } => self.reopen(*close),
            Op::Checkpoint => self.checkpoint(),
            Op::DropKeyspace { keyspace } => self.drop_keyspace(*keyspace),
            Op::CreateKeyspace { keyspace } => self.create(*keyspace),
            Op::Verify => self.verify(),
            Op::Check => self.engine()?.check_tables(),
            Op::Stats => {
                let reader = self.slots.values().next().map(|held| &held.reader);
                self.engine()?.check_stats(&self.handles, reader)
            }
        }
    }

    fn write(&mut self, write: &Write) -> Result<(), Stop> {
        let legal = self.legal(std::slice::from_ref(write));
        let Some(handle) = self.handles.get(&write.keyspace()) else { return Ok(()) };
        let Some(write) = legal.first() else { return Ok(()) };
        self.promises.begin(self.model.end(), &legal);
        handle.write(write)?;
        // An empty range is nothing to be synced, and nothing before it is.
        let is_nothing = matches!(write, Write::RemoveRange { bounds, .. } if bounds.span().is_empty());
        let lasting = if is_nothing { Durability::Buffered } else { self.durability };
        self.promises.acknowledge(self.model.end(), lasting);
        Ok(())
    }

    fn commit(&mut self, writes: &[Write], durability: Option<Durability>) -> Result<(), Stop> {
        let legal = self.legal(writes);
        self.promises.begin(self.model.end(), &legal);
        self.engine()?.commit(&self.handles, &legal, durability)?;
        self.promises.acknowledge(self.model.end(), durability.unwrap_or(self.durability));
        Ok(())
    }

    fn clear(&mut self, keyspace: u8) -> Result<(), Stop> {
        let Some(handle) = self.handles.get(&keyspace) else { return Ok(()) };
        self.model.clear(keyspace);
        self.promises.begin_in(self.model.end(), keyspace);
        handle.clear()?;
        self.promises.acknowledge(self.model.end(), self.durability);
        Ok(())
    }

    fn ingest(&mut self, keyspace: u8, entries: &[(Slice, Value)], is_finished: bool) -> Result<(), Stop> {
        let Some(handle) = self.handles.get(&keyspace) else { return Ok(()) };
        if !is_finished || entries.is_empty() {
            return handle.ingest(entries, is_finished);
        }
        self.model.apply(&inserts(keyspace, entries));
        self.promises.begin_in(self.model.end(), keyspace);
        handle.ingest(entries, is_finished)?;
        // It lasts, and everything before with it.
        self.promises.acknowledge(self.model.end(), Durability::Sync);
        Ok(())
    }

    /// Applies to the model those of `writes` that keep their contract, and returns
    /// them.
    fn legal(&mut self, writes: &[Write]) -> Vec<Write> {
        let mut legal = Vec::new();
        for write in writes {
            let kept = match write {
                Write::RemoveWeak { keyspace, key } => self.model.may_remove_weak(*keyspace, key),
                _ => self.model.has(write.keyspace()),
            };
            if kept {
                self.model.apply(std::slice::from_ref(write));
                legal.push(write.clone());
            }
        }
        legal
    }

    pub(crate) fn reopen(&mut self, close: bool) -> Result<(), Stop> {
        self.slots.clear();
        self.iterators.clear();
        if let Some(engine) = self.engine.take()
            && close
        {
            engine.close()?;
            self.promises.persisted();
        }
        self.handles.clear();
        // Dropping closes as well, where nothing has failed.
        self.open()?;
        self.promises.persisted();
        self.take_up_keyspaces()
    }

    /// Opens the keyspaces that there must be.
    pub(crate) fn take_up_keyspaces(&mut self) -> Result<(), Stop> {
        let keyspaces = self.model.keyspaces();
        checks::same_names(self.engine()?, &keyspaces)?;
        keyspaces.into_iter().try_for_each(|keyspace| self.create(keyspace))
    }

    fn drop_keyspace(&mut self, keyspace: u8) -> Result<(), Stop> {
        let Some(handle) = self.handles.remove(&keyspace) else { return Ok(()) };
        self.promises.names = Some(NameChange::Drop(keyspace));
        if let Err(stop) = self.engine()?.drop_keyspace(keyspace) {
            self.handles.insert(keyspace, handle);
            return Err(stop);
        }
        self.model.drop_keyspace(keyspace);
        self.promises.names = None;
        self.promises.dropped(keyspace);
        handle.refuses_writes()
    }
}
