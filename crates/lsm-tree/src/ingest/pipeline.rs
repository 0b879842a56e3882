//! The rear half of an ingestion: blocks become tables. On a thread of its own, which comes
//! with the first full load of blocks and goes with the ingestion; in deterministic
//! execution, and for what is less than one load, in the calling thread. Decides nothing
//! about what readers see.

use crate::core::Core;
use crate::engine::Engine;
use crate::options::Execution;
use crate::store::{Outputs, Store};
use crate::{Error, Result};
use lsm_compaction::TableSink;
use lsm_sstable::{BuiltBlocks, Compression, TableMeta, TableWriter, WriterOptions};
use lsm_sync::thread::JoinHandle;
use lsm_sync::{Arc, Condvar, Mutex};
use lsm_version::{FileNumber, TableHandle};
use std::collections::VecDeque;

/// The tables that were written.
pub(super) type Tables = Vec<std::sync::Arc<TableHandle>>;

/// So many loads wait for the writing thread at most; with those being filled and emptied
/// they come to about a MiB and a half.
const MAX_WAITING: usize = 16;

/// So many bytes of them wait at most, as large values make large loads; but one load may
/// always wait.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// The memory of a larger load is not kept for the next one.
const MAX_SPARE_BYTES: usize = 256 << 10;

/// While so many wait, the calling thread compresses its load itself: whichever of the two
/// has time does that part of the work.
const LONG_LINE: usize = 2;

/// The store of an engine, for whom outlives the call.
pub(super) struct OwnStore(std::sync::Arc<Engine>);

impl std::ops::Deref for OwnStore {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.0.store
    }
}

/// Writes blocks into tables. Dropped before the end, its files go.
pub(super) struct Rear {
    engine: std::sync::Arc<Engine>,
    table_bytes: u64,
    compression: Compression,
    open: Option<(FileNumber, TableWriter)>,
    finished: Vec<(FileNumber, TableMeta)>,
    outputs: Outputs<OwnStore>,
}

impl std::fmt::Debug for Rear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rear").field("open", &self.open).field("finished", &self.finished).finish()
    }
}

impl Rear {
    pub(super) fn new(engine: &std::sync::Arc<Engine>, core: &Core, options: WriterOptions) -> Self {
        Self {
            engine: std::sync::Arc::clone(engine),
            table_bytes: core.options.table_bytes,
            compression: options.compression,
            open: None,
            finished: Vec::new(),
            outputs: Outputs::new(OwnStore(std::sync::Arc::clone(engine)), options),
        }
    }

    /// Appends blocks; a table that is long enough ends between two of them.
    fn write(&mut self, built: &BuiltBlocks) -> Result<()> {
        let engine = std::sync::Arc::clone(&self.engine);
        // Once the database is closed, nobody writes into its directory.
        let _call = engine.begin_call()?;
        for at in 0..built.len() {
            if self.open.as_ref().is_some_and(|(_, writer)| writer.estimated_bytes() >= self.table_bytes) {
                self.finish_table()?;
            }
            let open = match self.open.take() {
                Some(open) => open,
                None => self.outputs.create()?,
            };
            self.open.insert(open).1.append(built, at)?;
        }
        Ok(())
    }

    fn finish_table(&mut self) -> Result<()> {
        if let Some((number, writer)) = self.open.take() {
            self.finished.push((number, writer.finish(self.engine.store.env.clock.unix_ms())?));
        }
        Ok(())
    }

    /// Ends the last table. All are durable then, with their names.
    fn finish(mut self) -> Result<Tables> {
        let engine = std::sync::Arc::clone(&self.engine);
        let _call = engine.begin_call()?;
        self.finish_table()?;
        self.outputs.finish(self.finished)
    }
}

/// Has blocks written, here or elsewhere.
#[derive(Debug)]
pub(super) enum Loader {
    /// In the calling thread; nothing, once it has ended.
    Here(Option<Box<Rear>>),
    /// In a thread of its own.
    Beside(Beside),
}

impl Loader {
    pub(super) fn new(rear: Rear) -> Self {
        Self::Here(Some(Box::new(rear)))
    }

    /// Memory for the next load of blocks.
    pub(super) fn spare(&self) -> BuiltBlocks {
        match self {
            Self::Here(_) => BuiltBlocks::default(),
            Self::Beside(beside) => beside.line.state.lock().spare.pop().unwrap_or_default(),
        }
    }

    /// Has `built` written, not necessarily by the time this returns. The first full load
    /// brings the thread.
    pub(super) fn write(&mut self, built: BuiltBlocks) -> Result<()> {
        match self {
            Self::Beside(beside) => beside.line.put(built),
            Self::Here(None) => Err(ended()),
            Self::Here(Some(rear)) if !rear.wants_thread(&built) => rear.write(&built),
            Self::Here(rear) => {
                let Some(rear) = rear.take() else { return Err(ended()) };
                let beside = Beside::start(*rear)?;
                let put = beside.line.put(built);
                *self = Self::Beside(beside);
                put
            }
        }
    }

    /// Waits until all is written.
    pub(super) fn finish(self) -> Result<Tables> {
        match self {
            Self::Here(rear) => rear.ok_or_else(ended)?.finish(),
            Self::Beside(beside) => beside.finish(),
        }
    }
}

impl Rear {
    fn wants_thread(&self, built: &BuiltBlocks) -> bool {
        let may = matches!(self.engine.store.options.advanced.execution, Execution::Threads(_));
        // Less than a load comes at the end alone.
        may && built.is_load()
    }
}

fn ended() -> Error {
    Error::invalid("the ingestion has ended")
}

/// A thread that writes, and the line before it.
#[derive(Debug)]
pub(super) struct Beside {
    line: Arc<Line>,
    thread: Option<JoinHandle<()>>,
}

/// Loads of blocks between two threads: one puts, one takes.
#[derive(Debug)]
struct Line {
    /// How blocks are compressed.
    compression: Compression,
    /// Guards the loads; held for a push or a pop.
    state: Mutex<State>,
    /// Signalled when the state has changed; the other one of the two waits for that.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<BuiltBlocks>,
    /// The memory of those that wait.
    waiting_bytes: usize,
    /// Whether the one who adds waits for room.
    wants_room: bool,
    spare: Vec<BuiltBlocks>,
    /// What is to come of it, once nothing is added any more: true for tables, false for
    /// nothing.
    end: Option<bool>,
    /// What has come of it.
    outcome: Option<Result<Tables>>,
}

impl State {
    /// Whether a load of `bytes` has to wait before it may wait in line.
    fn is_full_for(&self, bytes: usize) -> bool {
        let is_too_much = self.waiting_bytes.saturating_add(bytes) > MAX_WAITING_BYTES;
        self.waiting.len() >= MAX_WAITING || (is_too_much && !self.waiting.is_empty())
    }

    /// Whether there is so much room that it is worth while to wake who waits for it; in any
    /// case once nothing is in line.
    fn has_much_room(&self) -> bool {
        self.waiting.len() <= MAX_WAITING / 2 && self.waiting_bytes <= MAX_WAITING_BYTES / 2
    }
}

impl Line {
    /// Waits for room, and adds a load. Says why the other one has given up.
    fn put(&self, mut built: BuiltBlocks) -> Result<()> {
        if self.state.lock().waiting.len() >= LONG_LINE {
            built.compress(self.compression);
        }
        let bytes = built.memory_bytes();
        let mut state = self.state.lock();
        while state.is_full_for(bytes) && state.outcome.is_none() {
            state.wants_room = true;
            self.changed.wait(&mut state);
        }
        if let Some(Err(error)) = &state.outcome {
            return Err(error.clone());
        }
        state.waiting.push_back(built);
        state.waiting_bytes += bytes;
        if state.waiting.len() == 1 {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Waits for a load. `None` at the end.
    fn take(&self, emptied: Option<BuiltBlocks>) -> Option<BuiltBlocks> {
        let worth_keeping = emptied.filter(|emptied| emptied.memory_bytes() <= MAX_SPARE_BYTES);
        let mut state = self.state.lock();
        state.spare.extend(worth_keeping);
        loop {
            if state.end == Some(false) {
                return None;
            }
            if let Some(built) = state.waiting.pop_front() {
                state.waiting_bytes -= built.memory_bytes();
                if state.has_much_room() && std::mem::take(&mut state.wants_room) {
                    self.changed.notify_one();
                }
                return Some(built);
            }
            if state.end.is_some() {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    fn end(&self, is_wanted: bool) {
        self.state.lock().end.get_or_insert(is_wanted);
        self.changed.notify_all();
    }

    /// The life of the writing thread.
    fn serve(&self, mut rear: Rear) -> Result<Tables> {
        let mut emptied = None;
        while let Some(built) = self.take(emptied.take()) {
            rear.write(&built)?;
            emptied = Some(built);
        }
        if self.state.lock().end == Some(true) { rear.finish() } else { Err(ended()) }
    }
}

/// Tells the other side in any case, a panic included.
struct Telling<'a>(&'a Line);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let died = || Err(Error::invalid("the thread of an ingestion panicked: this is a bug"));
        self.0.state.lock().outcome.get_or_insert_with(died);
        self.0.changed.notify_all();
    }
}

impl Beside {
    fn start(rear: Rear) -> Result<Self> {
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        let line = Arc::new(Line { compression: rear.compression, state, changed });
        let own = Arc::clone(&line);
        let directory = rear.engine.store.directory.clone();
        let body = move || {
            let _telling = Telling(&own);
            let outcome = own.serve(rear);
            own.state.lock().outcome = Some(outcome);
        };
        let thread = lsm_sync::thread::spawn_named("lsm-ingestion".to_owned(), body);
        let failed = |source| lsm_vfs::IoError::new("start a thread for", &directory, source);
        Ok(Self { line, thread: Some(thread.map_err(failed)?) })
    }

    fn finish(mut self) -> Result<Tables> {
        self.line.end(true);
        self.join();
        self.line.state.lock().outcome.take().unwrap_or_else(|| Err(ended()))
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // That it panicked is in the outcome.
            let _panicked = thread.join();
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.line.end(false);
        self.join();
    }
}
