//! [`SimFs`]: the disk of a simulation as the engine sees it. It counts the steps that
//! change something, hashes every call with its answer, loses power or its process at a
//! step chosen beforehand, and, to see whether the simulator has teeth, lies.

use crate::hook_fs::Call;
use lsm_vfs::{DirEntry, FaultFs, File, Fs, IoError, LockGuard, MemFs, mix64};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The power goes: what was not synced is a matter of the seed.
    PowerCut {
        /// Chooses what survives.
        seed: u64,
    },
    /// The process dies: the disk has all that was written.
    Kill,
}

/// A lie that a disk may tell: what it claims to have done and has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Syncs of files whose name ends so are ignored.
    SyncOf(&'static str),
    /// Syncs of directories are ignored.
    SyncOfDirectories,
}

/// What the disks of one simulation have in common over all of its lives.
#[derive(Debug, Default)]
struct State {
    /// Steps left in this life, if it is to end by itself.
    steps_left: Option<(u64, Ending)>,
    /// The disk as it was left, and how, once the life is over.
    left: Option<(MemFs, Ending)>,
    steps: u64,
    hash: u64,
}

/// A disk that ends lives. Clones are the same; one thread uses it at a time.
#[derive(Clone, Debug)]
pub struct SimFs {
    faults: FaultFs<MemFs>,
    /// Guards the counts; held for no call of the disk below.
    state: Arc<Mutex<State>>,
    lie: Option<Lie>,
}

impl SimFs {
    /// A disk over `disk`, which goes on where `before` has stopped counting.
    #[must_use]
    pub fn new(disk: MemFs, before: Option<&Self>, lie: Option<Lie>) -> Self {
        let (steps, hash) = before.map_or((0, 0), |before| {
            let state = before.state();
            (state.steps, state.hash)
        });
        let state = State { steps, hash, ..State::default() };
        Self { faults: FaultFs::new(disk), state: Arc::new(Mutex::new(state)), lie }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life ends so before the step that comes after `steps` more.
    pub fn end_after(&self, steps: u64, ending: Ending) {
        self.state().steps_left = Some((steps, ending));
    }

    /// What is left behind, if the life is over; then every call fails.
    #[must_use]
    pub fn left(&self) -> Option<MemFs> {
        self.state().left.as_ref().map(|(disk, _)| disk.clone())
    }

    /// How the life ended, if it is over.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.state().left.as_ref().map(|(_, ending)| *ending)
    }

    /// Ends the life now, if it is not over.
    pub fn end_now(&self, ending: Ending) -> MemFs {
        let disk = self.faults.inner();
        let mut state = self.state();
        let (left, _) = state.left.get_or_insert_with(|| match ending {
            Ending::PowerCut { seed } => (disk.power_cut(seed), ending),
            Ending::Kill => (disk.process_kill(), ending),
        });
        left.clone()
    }

    /// Steps so far, over all lives.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// A number that follows from every call so far and its answer.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.state().hash
    }

    /// Where faults are ordered.
    #[must_use]
    pub const fn faults(&self) -> &FaultFs<MemFs> {
        &self.faults
    }

    /// Counts a call; an error when the life is over.
    fn begin(&self, call: Call, path: &Path, detail: u64) -> Result<(), IoError> {
        let mut state = self.state();
        let name = path.to_string_lossy();
        state.hash = mix64(state.hash ^ hash_bytes(name.as_bytes()) ^ detail ^ call as u64);
        if state.left.is_none() && call != Call::Read {
            state.steps += 1;
            match &mut state.steps_left {
                Some((0, ending)) => {
                    let ending = *ending;
                    drop(state);
                    self.end_now(ending);
                    state = self.state();
                }
                Some((steps, _)) => *steps -= 1,
                None => {}
            }
        }
        if state.left.is_some() {
            return Err(IoError::new("reach", path, io::Error::other("the life of this disk is over")));
        }
        Ok(())
    }

    /// Makes a call and hashes its answer.
    fn run<R>(
        &self,
        call: Call,
        path: &Path,
        detail: u64,
        body: impl FnOnce() -> Result<R, IoError>,
        answer: impl FnOnce(&R) -> u64,
    ) -> Result<R, IoError> {
        self.begin(call, path, detail)?;
        let outcome = body();
        let answer = match &outcome {
            Ok(result) => answer(result),
            Err(error) => hash_bytes(error.to_string().as_bytes()) | 1,
        };
        let mut state = self.state();
        state.hash = mix64(state.hash ^ answer);
        drop(state);
        outcome
    }

    fn wrap(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(SimFile { inner, fs: self.clone() })
    }

    fn lies_about(&self, path: &Path) -> bool {
        matches!(self.lie, Some(Lie::SyncOf(end)) if path.to_string_lossy().ends_with(end))
    }
}

/// A hash of bytes that is the same on every machine.
#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let start = mix64(bytes.len() as u64 + 1);
    let hash = words.iter().fold(start, |hash, word| mix64(hash ^ u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, byte| mix64(hash ^ u64::from(*byte)))
}

fn nothing<R>(_: &R) -> u64 {
    0
}

#[derive(Debug)]
struct SimFile {
    inner: Arc<dyn File>,
    fs: SimFs,
}

impl File for SimFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        let detail = mix64(offset) ^ buffer.len() as u64;
        let outcome = self.fs.run(
            Call::Read,
            self.path(),
            detail,
            || self.inner.read_exact_at(buffer, offset).map(|()| hash_bytes(buffer)),
            |hash| *hash,
        );
        outcome.map(drop)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), IoError> {
        let detail = mix64(offset) ^ hash_bytes(bytes);
        self.fs.run(Call::Write, self.path(), detail, || self.inner.write_all_at(bytes, offset), nothing)
    }
    fn sync_data(&self) -> Result<(), IoError> {
        let sync = || if self.fs.lies_about(self.path()) { Ok(()) } else { self.inner.sync_data() };
        self.fs.run(Call::Sync, self.path(), 0, sync, nothing)
    }
    fn start_writeback(&self, offset: u64, len_bytes: u64) -> Result<(), IoError> {
        let start = || self.inner.start_writeback(offset, len_bytes);
        self.fs.run(Call::Sync, self.path(), mix64(offset) ^ len_bytes, start, nothing)
    }
    fn preallocate(&self, len_bytes: u64) -> Result<(), IoError> {
        self.fs.run(Call::Write, self.path(), len_bytes, || self.inner.preallocate(len_bytes), nothing)
    }
    fn set_len(&self, len_bytes: u64) -> Result<(), IoError> {
        self.fs.run(Call::Write, self.path(), !len_bytes, || self.inner.set_len(len_bytes), nothing)
    }
    fn len(&self) -> Result<u64, IoError> {
        self.fs.run(Call::Read, self.path(), 1, || self.inner.len(), |len| *len)
    }
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn lose_unsynced(&self) {
        self.inner.lose_unsynced();
    }
}

impl Fs for SimFs {
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        let file = self.run(Call::Name, path, 1, || self.faults.create_new(path), nothing)?;
        Ok(self.wrap(file))
    }
    fn open_read(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        Ok(self.wrap(self.run(Call::Read, path, 2, || self.faults.open_read(path), nothing)?))
    }
    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>, IoError> {
        Ok(self.wrap(self.run(Call::Read, path, 3, || self.faults.open_write(path), nothing)?))
    }
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        self.run(Call::Name, path, 4, || self.faults.create_dir_all(path), nothing)
    }
    fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        self.run(
            Call::Read,
            path,
            5,
            || self.faults.read_dir(path),
            |names| {
                names
                    .iter()
                    .fold(0, |hash, entry| mix64(hash ^ hash_bytes(entry.name.as_bytes()) ^ entry.len_bytes))
            },
        )
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.run(Call::Name, to, 6, || self.faults.rename(from, to), nothing)
    }
    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        self.run(Call::Name, path, 7, || self.faults.remove_file(path), nothing)
    }
    fn hard_link(&self, original: &Path, link: &Path) -> Result<(), IoError> {
        self.run(Call::Name, link, 8, || self.faults.hard_link(original, link), nothing)
    }
    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        let lies = self.lie == Some(Lie::SyncOfDirectories);
        let sync = || if lies { Ok(()) } else { self.faults.sync_dir(path) };
        self.run(Call::SyncDir, path, 9, sync, nothing)
    }
    fn exists(&self, path: &Path) -> Result<bool, IoError> {
        self.run(Call::Read, path, 10, || self.faults.exists(path), |exists| u64::from(*exists))
    }
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>, IoError> {
        self.run(Call::Name, path, 11, || self.faults.try_lock(path), |lock| u64::from(lock.is_some()))
    }
}
