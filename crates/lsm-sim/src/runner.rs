//! [`run_script`]: does what a script says, to a database and to the model, and
//! compares. Called by the oracle tests; a difference ends the run.

use crate::answer::{Answer, Entry, difference, take};
use crate::config::Config;
use crate::engine::{Engine, Handle, Items, Reader, take_items};
use crate::generate::{KEYSPACES, SLOTS};
use crate::model::{Model, ModelSnapshot};
use crate::op::{Op, Write};
use crate::read::{Order, Read, View};
use crate::text::Bounds;
use lsm_types::KeySpan;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

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
pub(crate) fn guarded<O: fmt::Display>(
    ops: &[O],
    run: impl FnOnce(&mut usize) -> Result<(), String>,
) -> Result<usize, Difference> {
    let mut at = 0;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&mut at)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something");
        Err(format!("the engine panicked: {text}"))
    });
    let op = ops.get(at).map_or_else(|| "the last check".into(), ToString::to_string);
    outcome.map(|()| ops.len()).map_err(|what| Difference { at, op, what })
}

/// A snapshot of both sides, with the handles of its time.
struct Held {
    reader: Reader,
    model: ModelSnapshot,
    handles: BTreeMap<u8, Handle>,
}

/// An iterator that was opened a while ago, and what it must still give.
struct HeldItems {
    items: Items,
    expected: VecDeque<Entry>,
}

/// Runs `ops` against a fresh database; the number of operations done.
///
/// # Errors
/// The first difference; a panic of the engine is one too.
pub fn run_script(config: &Config, ops: &[Op]) -> Result<usize, Difference> {
    guarded(ops, |at| {
        let mut runner = Runner::open(config)?;
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
    })
}

/// One database under one script.
struct Runner<'a> {
    config: &'a Config,
    engine: Option<Engine>,
    handles: BTreeMap<u8, Handle>,
    model: Model,
    slots: BTreeMap<u8, Held>,
    iterators: BTreeMap<u8, HeldItems>,
    checkpoints: u32,
}

impl<'a> Runner<'a> {
    fn open(config: &'a Config) -> Result<Self, String> {
        config.start_afresh()?;
        let mut runner = Self {
            config,
            engine: Some(Engine::open(config)?),
            handles: BTreeMap::new(),
            model: Model::new(),
            slots: BTreeMap::new(),
            iterators: BTreeMap::new(),
            checkpoints: 0,
        };
        for keyspace in 0..KEYSPACES {
            runner.create(keyspace)?;
        }
        Ok(runner)
    }

    fn engine(&self) -> Result<&Engine, String> {
        self.engine.as_ref().ok_or_else(|| "the database could not be opened again".into())
    }

    fn create(&mut self, keyspace: u8) -> Result<(), String> {
        let handle = self.engine()?.keyspace(keyspace)?;
        self.handles.insert(keyspace, handle);
        self.model.create(keyspace);
        Ok(())
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Write(write) => self.write(write),
            Op::Batch { durability, writes } => {
                let writes = self.legal(writes);
                self.engine()?.commit(&self.handles, &writes, *durability)
            }
            Op::Clear { keyspace } => {
                let Some(handle) = self.handles.get(keyspace) else { return Ok(()) };
                handle.clear()?;
                self.model.clear(*keyspace);
                Ok(())
            }
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
            Op::Flush { keyspace } => self.handles.get(keyspace).map_or(Ok(()), Handle::flush),
            Op::Compact { keyspace, bounds } => {
                self.handles.get(keyspace).map_or(Ok(()), |handle| handle.compact(bounds))
            }
            Op::WaitIdle => self.engine()?.wait_idle(),
            Op::Persist(durability) => self.engine()?.persist(*durability),
            Op::Reopen { close } => self.reopen(*close),
            Op::Checkpoint => self.checkpoint(),
            Op::DropKeyspace { keyspace } => self.drop_keyspace(*keyspace),
            Op::CreateKeyspace { keyspace } => self.create(*keyspace),
            Op::Verify => self.verify(),
        }
    }

    fn write(&mut self, write: &Write) -> Result<(), String> {
        match self.legal(std::slice::from_ref(write)).first() {
            Some(write) => self.handles.get(&write.keyspace()).map_or(Ok(()), |handle| handle.write(write)),
            None => Ok(()),
        }
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

    fn read(&self, view: View, keyspace: u8, read: &Read) -> Result<(), String> {
        let Some((reader, handle, model)) = self.view(view, keyspace) else { return Ok(()) };
        let got = handle.read(reader, read)?;
        let expected = self.expected(&model, keyspace, read);
        if got == expected { Ok(()) } else { Err(difference(&expected, &got)) }
    }

    fn expected(&self, model: &ModelSnapshot, keyspace: u8, read: &Read) -> Answer {
        match read {
            Read::Get(key) => Answer::Value(self.model.get(model, keyspace, key)),
            _ => {
                let entries = self.model.range(model, keyspace, &Answer::needed_span(read));
                Answer::expected(&entries, read)
            }
        }
    }

    /// Whom to ask, through which handle, and what the model calls it.
    fn view(&self, view: View, keyspace: u8) -> Option<(Option<&Reader>, &Handle, ModelSnapshot)> {
        match view {
            View::Live => Some((None, self.handles.get(&keyspace)?, self.model.snapshot())),
            View::Slot(slot) => {
                let held = self.slots.get(&(slot % SLOTS))?;
                let handle = held.handles.get(&keyspace).or_else(|| self.handles.get(&keyspace))?;
                Some((Some(&held.reader), handle, held.model.clone()))
            }
        }
    }

    fn hold(&mut self, slot: u8, view: View, keyspace: u8, bounds: &Bounds) -> Result<(), String> {
        let Some((reader, handle, model)) = self.view(view, keyspace) else { return Ok(()) };
        let items = handle.range(reader, bounds);
        let expected = self.model.range(&model, keyspace, &bounds.span()).into();
        self.iterators.insert(slot % SLOTS, HeldItems { items, expected });
        Ok(())
    }

    fn take(&mut self, slot: u8, count: usize, order: Order) -> Result<(), String> {
        let Some(held) = self.iterators.get_mut(&(slot % SLOTS)) else { return Ok(()) };
        let got = Answer::Entries(take_items(&mut held.items, count, order)?);
        let expected = Answer::Entries(take(&mut held.expected, count, order));
        if got == expected { Ok(()) } else { Err(difference(&expected, &got)) }
    }

    fn reopen(&mut self, close: bool) -> Result<(), String> {
        self.slots.clear();
        self.iterators.clear();
        let keyspaces = self.model.keyspaces();
        if let Some(engine) = self.engine.take()
            && close
        {
            engine.close()?;
        }
        self.handles.clear();
        let engine = Engine::open(self.config)?;
        same_names(&engine, &keyspaces)?;
        self.engine = Some(engine);
        keyspaces.into_iter().try_for_each(|keyspace| self.create(keyspace))
    }

    fn checkpoint(&mut self) -> Result<(), String> {
        self.checkpoints += 1;
        let copy = self.config.beside(&format!("checkpoint-{}", self.checkpoints));
        self.engine()?.checkpoint(&copy)?;
        let engine = Engine::open(&copy)?;
        same_names(&engine, &self.model.keyspaces())?;
        let now = self.model.snapshot();
        for keyspace in self.model.keyspaces() {
            let handle = engine.keyspace(keyspace)?;
            let what = format!("keyspace {keyspace} of the checkpoint");
            self.compare(&what, None, &handle, &now, keyspace)?;
            handle.clear()?;
        }
        engine.close()?;
        copy.remove()
    }

    fn drop_keyspace(&mut self, keyspace: u8) -> Result<(), String> {
        let Some(handle) = self.handles.remove(&keyspace) else { return Ok(()) };
        self.engine()?.drop_keyspace(keyspace)?;
        self.model.drop_keyspace(keyspace);
        handle.refuses_writes()
    }

    /// Compares all that can be read: the present and every snapshot.
    fn verify(&self) -> Result<(), String> {
        same_names(self.engine()?, &self.model.keyspaces())?;
        let now = self.model.snapshot();
        for (&keyspace, handle) in &self.handles {
            self.compare(&format!("keyspace {keyspace}"), None, handle, &now, keyspace)?;
        }
        for (slot, held) in &self.slots {
            for (&keyspace, handle) in &held.handles {
                let what = format!("keyspace {keyspace} at snapshot {slot}");
                self.compare(&what, Some(&held.reader), handle, &held.model, keyspace)?;
            }
            for (&keyspace, handle) in &self.handles {
                if held.model.incarnation(keyspace) != now.incarnation(keyspace) {
                    let got = handle.read(Some(&held.reader), &Read::Iter(Order::Forward))?;
                    if got != Answer::Entries(Vec::new()) {
                        return Err(format!(
                            "keyspace {keyspace} is younger than snapshot {slot}, which sees {got}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn compare(
        &self,
        what: &str,
        reader: Option<&Reader>,
        handle: &Handle,
        model: &ModelSnapshot,
        keyspace: u8,
    ) -> Result<(), String> {
        let entries = self.model.range(model, keyspace, &KeySpan::all());
        for read in [Read::Iter(Order::Forward), Read::Iter(Order::Reverse), Read::Len] {
            let expected = Answer::expected(&entries, &read);
            let got = handle.read(reader, &read).map_err(|error| format!("{what}: {error}"))?;
            if got != expected {
                return Err(format!("{what}: {}", difference(&expected, &got)));
            }
        }
        Ok(())
    }
}

fn same_names(engine: &Engine, expected: &[u8]) -> Result<(), String> {
    let got = engine.keyspace_names();
    let expected: Vec<String> = expected.iter().map(|&keyspace| Engine::name(keyspace)).collect();
    if got == expected { Ok(()) } else { Err(format!("keyspaces: expected {expected:?}, got {got:?}")) }
}
